/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: what is told of metadata devices, on stdout.
 */

#ifndef METADATA_REPORT_H
#define METADATA_REPORT_H

#include "bitmap.h"
#include "dmbackup.h"
#include "metadata-image.h"

/*
 * "metadata check": three tables, or JSON. @all: all @n bitmaps. 0, or an exit
 * code.
 */
int metadata_report_check(const struct image *image,
			  const struct image_bitmap *all, unsigned int n,
			  const struct options *o);

/* "metadata dump" without a bitmap: JSON. */
void metadata_report_dump(const struct image *image);

/* "metadata dump" of a bitmap that is ok. */
void metadata_report_dirty(const struct image *image,
			   const struct image_bitmap *b,
			   const struct dump_format *f);

#endif
