/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: dirty bitmaps of a filter, as "bitmap list" tells of them.
 */

#ifndef BITMAP_H
#define BITMAP_H

#include "device.h"

#include <stdbool.h>
#include <stdint.h>

#define BITMAP_NAME_SIZE 128

struct bitmap {
	char name[BITMAP_NAME_SIZE];
	uint64_t granularity;	/* sectors */
	uint64_t dirty;
	uint64_t total;
	uint64_t successor;	/* what was written since its job's cut */
	bool recording;
	bool persistent;
	bool inconsistent;
	char busy[BITMAP_NAME_SIZE];	/* a job's id, or "" */
	char tag[BITMAP_NAME_SIZE];	/* of the target it goes with, or "" */
	char cause[192];
};

/* All bitmaps of a filter; to be freed. 0, or an exit code after saying why. */
int bitmaps_read(const struct device *d, struct bitmap **list, unsigned int *n);

/* One of them. False if there is none of that name. */
bool bitmap_find(const struct bitmap *list, unsigned int n, const char *name,
		 struct bitmap *found);

/* Add one with all of it dirty. 0, or an exit code after saying why. */
int bitmap_add(const struct device *d, const char *name);
int bitmap_remove(const struct device *d, const char *name);

#endif
