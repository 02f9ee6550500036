/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: making metadata devices, and what is on a device before.
 */

#ifndef METADATA_FORMAT_H
#define METADATA_FORMAT_H

#include "metadata-device.h"

#include <stdint.h>

enum holds {
	HOLDS_NOTHING,
	HOLDS_OURS,		/* it is a metadata device, whatever its state */
	HOLDS_OTHER,
};

/*
 * What is on an open one. A file is to be empty as far as it is looked at. A
 * device need not be: what lvcreate makes is zeroed at its start only.
 */
enum holds metadata_look(const struct meta *m);

/*
 * Makes an open one anew, for an origin of @len sectors that is known as
 * @origin. Once it has begun there is nothing on it until it has succeeded. 0, or
 * an exit code after saying why.
 */
int metadata_format(const struct meta *m, uint64_t len, const char *origin);

/*
 * How long one for @d is to be, in bytes, that has room for so many bitmaps.
 * @shift: log2 of sectors per granule. 0, or an exit code after saying why none
 * can be.
 */
int metadata_size(const struct device *d, unsigned int bitmaps,
		  unsigned int shift, uint64_t *bytes);

#endif
