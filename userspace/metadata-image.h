/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: what is on a metadata device, and whether it is good.
 *
 * All is there twice; of two good copies the newer one counts. What is not good
 * is remembered, and what else is there is read all the same.
 *
 * What is on one is the codec's, dm-backup/metadata.h, whose structures only who
 * looks into them needs to know.
 */

#ifndef METADATA_IMAGE_H
#define METADATA_IMAGE_H

#include "metadata-device.h"

#include <stdbool.h>
#include <stdint.h>

struct bk_md_lease;
struct bk_md_root;

/* A copy of something that is not good. */
struct damage {
	uint64_t block;
	unsigned int copy;
	char *what;
	const char *why;
};

struct image {
	const struct meta *m;
	const struct bk_md_root *root;	/* all its text is printable */
	const struct bk_md_lease *lease;	/* NULL: there is no good one */
	struct damage *damage;
	unsigned int nr_damage;

	/* of metadata-image.c alone */
	unsigned long *hot;
	unsigned long regions;
	struct bk_md_root *roots;
	struct bk_md_lease *leases;
	unsigned char *buf;
};

/* A bitmap, as a backup after this would find it. */
struct image_bitmap {
	const char *name;
	const char *state;	/* ok, inconsistent, damaged */
	char why[192];		/* it is not ok; or "" */
	bool recording;
	uint64_t granularity;	/* bytes */
	uint64_t dirty;		/* bytes; 0 if it can't be read */

	/* of metadata-image.c alone */
	unsigned int shift;	/* log2 of sectors per granule */
	unsigned long nr;	/* granules; 0 if they can't be read */
	unsigned long *words;
};

/*
 * Reads all but the bitmaps. @image: all zeroes; to be freed in any case, if it
 * was read or not. @m: open, until then. 0, or an exit code after saying why
 * there is nothing to read.
 */
int image_read(struct image *image, const struct meta *m);
void image_free(struct image *image);

/* clean, crashed, in-use, broken */
const char *image_state(const struct image *image);

/* Regions that are hot: their number, and their bytes as far as the origin goes. */
unsigned long image_hot_regions(const struct image *image);
uint64_t image_hot_bytes(const struct image *image);

/*
 * The next range of hot regions, in bytes. @at: 0 at first; where to go on. False:
 * that was all.
 */
bool image_next_hot(const struct image *image, unsigned long *at,
		    uint64_t *start, uint64_t *length);

/* Reads a bitmap. False: there is none of that name. Else to be freed. */
bool image_bitmap_read(struct image *image, const char *name,
		       struct image_bitmap *b);
void image_bitmap_free(struct image_bitmap *b);

/* Reads all of them: an array of @n; to be freed. */
struct image_bitmap *image_bitmaps_read(struct image *image, unsigned int *n);
void image_bitmaps_free(struct image_bitmap *all, unsigned int n);

bool image_bitmap_is_ok(const struct image_bitmap *b);

/* As image_next_hot(), of what is dirty. */
bool image_bitmap_next(const struct image *image, const struct image_bitmap *b,
		       unsigned long *at, uint64_t *start, uint64_t *length);

#endif
