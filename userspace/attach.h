/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: the hidden device below an attached filter.
 */

#ifndef ATTACH_H
#define ATTACH_H

#include "device.h"
#include "table.h"

#define LOWER_SUFFIX	"-bkreal"

/* The name of the hidden device below @d. To be freed. */
char *attach_lower_name(const struct device *d);

/* The device that the only target of a filter's table stands on. */
bool attach_stands_on(const struct dm_tab *t, unsigned int *ma,
		      unsigned int *mi);

/*
 * The hidden device below an attached filter, which must stand on it. 0 or a
 * negative errno.
 */
int attach_lower(const struct device *d, struct dm_dev *lower);

#endif
