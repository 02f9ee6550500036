/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Bitmaps as a transaction sees and changes them.
 *
 * What it promises
 *   Actions are prepared one after the other, and each sees bitmaps as the ones
 *   before it will have left them; everybody else sees them as they are. In the
 *   transaction's cut all of it takes effect. What is dropped before leaves no
 *   trace: nothing was changed.
 *   A bitmap that is merged from counts as it is at the instant of the cut, also
 *   one that records, and also one of another filter.
 *
 * How
 *   A bitmap that is used is claimed (it is busy), and a struct bk_stage says what
 *   it will be: whether it records, and which bits are its content. What loses
 *   bits, or gets those of others, has other bits for its content, which nobody
 *   else knows of.
 *   Bits that are to be read as of the instant must not be published after it:
 *   if such a bitmap goes on recording it gets a successor, as for a job, and
 *   after the drain the successor gets what the bitmap had, or was merged.
 *   Merging (struct bk_step) is done when writes from before the cut have ended:
 *   before the points in time of the filter are narrowed, as a job may go by a
 *   bitmap that is merged into in the same transaction. If another filter has a
 *   part in it: when all have drained, in the order of the actions. A job can't
 *   wait for that (on stacked filters it could be for itself), so this combination
 *   is refused.
 *   On disk, what has been merged must not go from where it was before it is where
 *   it has been merged into: a crash between would have it nowhere. So the disk is
 *   told of what cedes bits (is cleared, removed, or given up by a job, after others
 *   were merged from it) when it has all that was merged. If it never gets there,
 *   what cedes keeps its bits.
 *
 * The calls, in this order
 *   take, for_job, and what changes stages: while actions are prepared
 *   plan      all actions are: make successors
 *   check     may it still be done? under bk_cut_mutex
 *   install   into the cfg that is about to be published
 *   cover     the cut is about to be made: the disk is to have old and new bits
 *   commit    the cut has been made: what needs no drain takes effect
 *   derive    the filter's old epoch has drained (its gate's callback)
 *   gain      all have: the rest takes effect, and the disk is told
 *   gained    wait until the disk has what was merged, if any cedes it
 *   cede      what cedes takes effect, too
 *   wait      until the disk has followed
 *   drop      always, at last: give back what is not used
 *
 * Locks
 *   A stage belongs to its transaction's work. The bitmap is there as long as the
 *   filter is not dead: bk_cut_mutex, or bk_origin_use(). Its fields:
 *   origin->lock. Bits have references.
 */

#ifndef BK_STAGE_H
#define BK_STAGE_H

#include "bitmap.h"

struct bk_store_req;
struct bk_txn;
struct bk_txn_part;

/**
 * struct bk_stage - a bitmap in a transaction
 * @list:	on the part's stages
 * @bitmap:	the bitmap; its will_record is ours
 * @name:	its name
 * @content:	the bits that actions see; a reference
 * @action:	the last one that used it
 * @added:	it is new
 * @removed:	it goes
 * @source:	others are merged from it
 * @cedes:	it is on disk, and loses what others have been merged from
 * @derived:	steps lead to @content
 * @job:	a job of the transaction has it: no further action may use it
 * @noted:	the cut is made: it is new, or records now or no longer
 * @enabled:	the cut is made: it records now, and did not
 * @rest:	it takes effect after the drain
 * @req:	what the disk is to do
 */
struct bk_stage {
	struct list_head list;
	struct bk_bitmap *bitmap;
	char name[BK_BITMAP_NAME_SIZE];
	struct bk_bits *content;
	unsigned int action;
	bool added;
	bool removed;
	bool source;
	bool cedes;
	bool derived;
	bool job;
	bool noted;
	bool enabled;
	bool rest;
	struct bk_store_req *req[2];
};

/**
 * struct bk_step - bits that get what others have, after the drain
 * @list:	on the transaction's steps, in the order of its actions
 * @part:	of the filter of @to
 * @to:		a reference
 * @from:	the same
 */
struct bk_step {
	struct list_head list;
	struct bk_txn_part *part;
	struct bk_bits *to;
	struct bk_bits *from;
};

/**
 * struct bk_bitmap_params - how a bitmap is to be
 * @granularity: sectors
 * @disabled:	it does not record
 * @all_dirty:	with all bits set
 * @persistent:	it is on the metadata device, too
 */
struct bk_bitmap_params {
	u64 granularity;
	u64 disabled;
	u64 all_dirty;
	u64 persistent;
};

/* Do actions see other bits than everybody else? */
static inline bool bk_stage_is_changed(const struct bk_stage *stage)
{
	return stage->content != stage->bitmap->bits;
}

__printf(4, 5)
int bk_stage_refuse(char *error, size_t size, int err, const char *fmt, ...);
struct bk_stage *bk_stage_take(struct bk_txn_part *part, const char *name,
			       bool remove, int *err, char *error, size_t size);
struct bk_stage *bk_stage_for_job(struct bk_txn_part *part, const char *name,
				  int *err, char *error, size_t size);
void bk_stage_give(struct bk_stage *stage, const char *id);
void bk_stage_remove(struct bk_stage *stage);
int bk_stage_add(struct bk_txn_part *part, const char *name,
		 const struct bk_bitmap_params *params, char *error,
		 size_t size);
int bk_stage_clear(struct bk_txn_part *part, struct bk_stage *stage,
		   char *error, size_t size);
int bk_stage_merge(struct bk_txn_part *part, struct bk_stage *to,
		   struct bk_txn_part *other, struct bk_stage *from,
		   char *error, size_t size);

int bk_stages_plan(struct bk_txn_part *part, unsigned int *action, char *error,
		   size_t size);
int bk_stages_check(struct bk_txn_part *part, unsigned int *action,
		    char *error, size_t size);
void bk_stages_install(struct bk_txn_part *part, struct bk_cfg *cfg);
void bk_stages_cover(struct bk_txn_part *part);
void bk_stages_commit(struct bk_txn_part *part);
void bk_stages_derive(struct bk_txn_part *part);
void bk_stages_gain(struct bk_txn_part *part);
int bk_stages_gained(struct bk_txn_part *part);
void bk_stages_cede(struct bk_txn_part *part, bool gained);
bool bk_stages_must_save(struct bk_txn_part *part);
int bk_stages_wait(struct bk_txn_part *part, unsigned long timeout,
		   unsigned int *action, char *error, size_t size);
void bk_stages_drop(struct bk_txn_part *part, bool committed);
void bk_steps_run(struct bk_txn *txn);
void bk_steps_drop(struct bk_txn *txn);

#endif
