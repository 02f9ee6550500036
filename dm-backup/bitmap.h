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
 *   install        in the cut (stage-cut.c) the successor takes the place of the bits:
 *                  those stay as they were at the cut (what was written by then
 *                  and was in flight sets its bits in both), new writes go to
 *                  the successor
 *   then either    abdicate: the successor is the bitmap now
 *   or             reclaim: the successor gets what the bits had, and is the
 *                  bitmap now
 *   In both the successor stays published, so neither is a cut, and neither
 *   waits for anything.
 *   release        the bitmap is not busy any more; without one of those two
 *                  it is as it was before
 *
 * Changes (add, remove, clear, enable, disable, merge) are made by transactions:
 * stage.h.
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
 * @will_record: while it is claimed: whether they are from the next cut on
 * @hidden:	it is being added: nobody is told of it
 * @started:	the job's cut has been made: writes go to @next
 * @deriving:	and what it is to hold has not been merged yet
 * @ceding:	what @bits hold is not to go from the disk yet: others have been
 *		merged from it, and are not there
 * @busy:	id of the job that uses it, or BK_BITMAP_IN_TXN and the like, or
 *		empty. Read without the lock by who waits for that
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
	bool will_record;
	bool hidden;
	bool started;
	bool deriving;
	bool ceding;
	char busy[BK_BITMAP_NAME_SIZE];
	char tag[BK_BITMAP_NAME_SIZE];
	char why[BK_ERROR_LEN];
	int slot;
};

/* Instead of a job's id: a transaction has it. */
#define BK_BITMAP_IN_TXN	"transaction"

int bk_bitmap_check_name(const char *name, char *error, size_t size);
struct bk_bitmap *bk_bitmap_create(const char *name, struct bk_bits *bits);
void bk_bitmap_free(struct bk_bitmap *bitmap);

struct bk_bitmap *bk_bitmap_find(struct bk_origin *origin, const char *name);
struct bk_bitmap *bk_bitmap_usable(struct bk_origin *origin, const char *name,
				   int *err, char *error, size_t size);
size_t bk_bitmap_status(struct bk_bitmap *bitmap, char *buf, size_t size);
struct bk_bitmap *bk_bitmap_next(struct bk_origin *origin,
				 struct bk_bitmap *bitmap);
size_t bk_bitmap_show(struct bk_bitmap *bitmap, char *buf, size_t size);

void bk_bitmap_claim(struct bk_bitmap *bitmap, const char *job);
int bk_bitmap_prepare(struct bk_bitmap *bitmap);
void bk_bitmap_install(struct bk_bitmap *bitmap, struct bk_cfg *cfg);
bool bk_bitmap_is_unsettled(struct bk_origin *origin,
			    struct bk_bitmap *bitmap);
void bk_bitmap_promote(struct bk_bitmap *bitmap);
struct bk_store_req *bk_bitmap_abdicate(struct bk_origin *origin,
					struct bk_bitmap *bitmap,
					const char *tag,
					struct work_struct *notify);
void bk_bitmap_reclaim(struct bk_origin *origin, struct bk_bitmap *bitmap);
void bk_bitmap_release(struct bk_origin *origin, struct bk_bitmap *bitmap);
int bk_bitmap_added(struct bk_origin *origin, struct bk_bitmap *bitmap);

void bk_bitmaps_distrust(struct bk_origin *origin, const char *why, u64 slots);
void bk_bitmaps_distrust_unmerged(struct bk_origin *origin);
void bk_bitmaps_resize(struct bk_origin *origin, sector_t len);
void bk_bitmaps_free(struct bk_origin *origin);

#endif
