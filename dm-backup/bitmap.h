/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Named dirty bitmaps of a filter.
 *
 * What it promises
 *   A bitmap that records has the bits of all that was written since it was
 *   added, enabled or cleared, from the cut on that did so. One that does not
 *   record stays as it is. Nothing but its own verbs and the job that uses it
 *   ever takes bits out.
 *   An inconsistent bitmap (something was written that it can't know of) can
 *   only be removed, and says why.
 *
 * Use by a job
 *   claim          the bitmap is busy: all verbs that change it, and another
 *                  job, are refused
 *   prepare        a successor, without bits set, is made
 *   install        in the job's cut the successor takes the place of the bits:
 *                  those stay as they were at the cut (what was written by then
 *                  and was in flight sets its bits in both), new writes go to
 *                  the successor
 *   started        the cut has been made
 *   then either    abdicate: the successor is the bitmap now
 *   or             reclaim: the successor gets what the bits had, and is the
 *                  bitmap now
 *   In both the successor stays published, so neither is a cut, and neither
 *   waits for anything.
 *   release        the bitmap is not busy any more; without one of those two
 *                  it is as it was before
 *
 * Changes (add, remove, clear, enable, disable) are cuts, made by txn.c:
 *   prepare   what may take time or memory; no lock is held
 *   check     may it be done? under bk_cut_mutex and origin->lock; from here on
 *             nothing else changes the filter's bitmaps
 *   install   put it into the cfg that is to be published
 *   commit    the cut has been made: names follow
 *   finish    the disk follows, if it is persistent
 *   clean     always, at last: gives back what is not used
 *
 * Persistent bitmaps have a slot of the store (store.h), which is told what the
 * disk must cover before it is published (install), and what it may forget after
 * a change: that is waited for by finish, and by the end of a job.
 *
 * Locks
 *   origin->lock: the list, and everything in a bitmap. bits: see bits.h.
 */

#ifndef BK_BITMAP_H
#define BK_BITMAP_H

#include "bits.h"
#include "gate.h"
#include "origin.h"

#define BK_BITMAP_NAME_SIZE	128

/* Each is looked at for each write. */
#define BK_BITMAPS_MAX		1024

/* Granules, in sectors: 512 bytes to 2 GiB. */
#define BK_GRANULARITY_MIN	1
#define BK_GRANULARITY_MAX	BIT(22)
#define BK_GRANULARITY_DEFAULT	128

/**
 * struct bk_bitmap - a named bitmap
 * @list:	on origin->bitmaps, in the order they were added
 * @name:	its name
 * @bits:	the bits; while a job uses it, as they were at the job's cut
 * @next:	the successor, while a job uses it
 * @recording:	writes are recorded
 * @started:	the job's cut has been made: writes go to @next
 * @busy:	id of the job that uses it, or empty
 * @tag:	what the job was told that last took its bits, or empty: a note
 *		of its user's about where they went
 * @why:	why it is inconsistent, or empty
 * @slot:	of the store, if it is persistent; else -1
 */
struct bk_bitmap {
	struct list_head list;
	char name[BK_BITMAP_NAME_SIZE];
	struct bk_bits *bits;
	struct bk_bits *next;
	bool recording;
	bool started;
	char busy[BK_BITMAP_NAME_SIZE];
	char tag[BK_BITMAP_NAME_SIZE];
	char why[BK_ERROR_LEN];
	int slot;
};

enum bk_bitmap_verb {
	BK_BITMAP_ADD,
	BK_BITMAP_REMOVE,
	BK_BITMAP_CLEAR,
	BK_BITMAP_ENABLE,
	BK_BITMAP_DISABLE,
};

/**
 * struct bk_bitmap_change - a change of one bitmap
 * @verb:	what
 * @name:	of which
 * @granularity: ADD: sectors
 * @disabled:	ADD: does not record
 * @all_dirty:	ADD: with all bits set
 * @persistent:	ADD: it is on the metadata device, too
 * @req:	what the disk is to do, or NULL
 * @bitmap:	ADD: the new one; else the one that is meant, once checked
 * @bits:	CLEAR: those that take the place
 */
struct bk_bitmap_change {
	enum bk_bitmap_verb verb;
	const char *name;
	unsigned int granularity;
	bool disabled;
	bool all_dirty;
	bool persistent;
	struct bk_bitmap *bitmap;
	struct bk_bits *bits;
	struct bk_store_req *req;
};

int bk_bitmap_change_prepare(struct bk_origin *origin,
			     struct bk_bitmap_change *c, char *error,
			     size_t size);
int bk_bitmap_change_check(struct bk_origin *origin, struct bk_bitmap_change *c,
			   char *error, size_t size);
void bk_bitmap_change_install(struct bk_origin *origin,
			      struct bk_bitmap_change *c, struct bk_cfg *cfg);
void bk_bitmap_change_commit(struct bk_origin *origin,
			     struct bk_bitmap_change *c);
int bk_bitmap_change_finish(struct bk_origin *origin,
			    struct bk_bitmap_change *c, unsigned long timeout,
			    char *error, size_t size);
void bk_bitmap_change_clean(struct bk_origin *origin,
			    struct bk_bitmap_change *c, bool committed);

struct bk_bitmap *bk_bitmap_find(struct bk_origin *origin, const char *name);
struct bk_bitmap *bk_bitmap_usable(struct bk_origin *origin, const char *name,
				   int *err, char *error, size_t size);
size_t bk_bitmap_status(struct bk_bitmap *bitmap, char *buf, size_t size);
size_t bk_bitmap_show(struct bk_bitmap *bitmap, char *buf, size_t size);

void bk_bitmap_claim(struct bk_bitmap *bitmap, const char *job);
int bk_bitmap_prepare(struct bk_bitmap *bitmap);
void bk_bitmap_install(struct bk_origin *origin, struct bk_bitmap *bitmap,
		       struct bk_cfg *cfg);
void bk_bitmap_started(struct bk_bitmap *bitmap);
struct bk_store_req *bk_bitmap_abdicate(struct bk_origin *origin,
					struct bk_bitmap *bitmap,
					const char *tag,
					struct work_struct *notify);
void bk_bitmap_reclaim(struct bk_origin *origin, struct bk_bitmap *bitmap);
void bk_bitmap_release(struct bk_origin *origin, struct bk_bitmap *bitmap);
int bk_bitmap_added(struct bk_origin *origin, struct bk_bitmap *bitmap);

void bk_bitmaps_distrust(struct bk_origin *origin, const char *why, u64 slots);
void bk_bitmaps_resize(struct bk_origin *origin, sector_t len);
void bk_bitmaps_free(struct bk_origin *origin);

#endif
