/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: "--metadata auto", the logical volume that goes with another one.
 */

#ifndef METADATA_LV_H
#define METADATA_LV_H

#include "device.h"

#include <stdbool.h>

/*
 * The volume VG/LV-dmbackup for @d, which is VG/LV: there and active, made if
 * need be. @lv: its name, NULL on failure; to be freed. @fresh: it was made just
 * now. 0, or an exit code after saying why.
 */
int metadata_lv(const struct device *d, char **lv, bool *fresh);

#endif
