/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: dirty bitmaps of a filter, as "bitmap list" tells of them, and the
 * printing of what is dirty.
 */

#ifndef BITMAP_H
#define BITMAP_H

#include "device.h"
#include "dmbackup.h"

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

/*
 * Add one with all of it dirty, persistent if the filter has a metadata device.
 * 0, or an exit code after saying why.
 */
int bitmap_add(const struct device *d, const char *name);
int bitmap_remove(const struct device *d, const char *name);

/*
 * Words of a message, to be freed. Of "bitmap add": " granularity=..." and so on;
 * NULL after saying why not. Of a source of "bitmap merge": "NAME" stays,
 * "DEVICE/NAME" becomes "MAJ:MIN/NAME"; 0, or an exit code after saying why not.
 */
char *bitmap_add_words(const struct options *o);
int bitmap_source_word(const char *arg, char **word);

/*
 * What is dirty, printed as --format says: begin, each range in turn, end. All
 * in bytes.
 */
struct dump_format;

/* The format of that name; NULL: the default one. NULL after saying why not. */
const struct dump_format *dump_format(const char *name);
void dump_begin(const struct dump_format *f, const char *name,
		uint64_t granularity, uint64_t size);
void dump_range(const struct dump_format *f, uint64_t start, uint64_t length);
void dump_end(const struct dump_format *f, uint64_t size);

#endif
