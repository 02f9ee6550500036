/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: the metadata device, on which persistent bitmaps live, of a filter
 * that is to be made.
 */

#ifndef METADATA_H
#define METADATA_H

#include "device.h"

/* What a filter in @d is known by to its metadata device; "" if @d is not dm. */
const char *metadata_origin(const struct device *d);

/*
 * What --metadata says, for a filter in or on @d that is known as @origin: a
 * device, or "auto" for the LV that goes with @d, which is made and activated if
 * need be. If it is blank it is formatted.
 *
 * @meta: filled in. 0, or an exit code after saying why.
 */
int metadata_prepare(const struct device *d, const char *origin,
		     const char *arg, struct device *meta);

#endif
