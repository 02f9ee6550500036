/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: what verbs that change tables share.
 */

#ifndef ATTACH_H
#define ATTACH_H

#include "device.h"

/* With @force cancel what jobs there are. 0, or an exit code after saying why. */
int end_jobs(const struct device *d, bool force);

/*
 * The hidden device below an attached filter, which must stand on it. 0 or a
 * negative errno.
 */
int attach_lower(const struct device *d, struct dm_dev *lower);

#endif
