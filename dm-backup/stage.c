// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bitmaps as a transaction sees and changes them. The contract is in stage.h.
 */

#include "stage.h"
#include "cfg.h"
#include "store.h"
#include "txn.h"

#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/slab.h>

/**
 * bk_stage_refuse - say why not
 * @error:	filled with the sentence
 * @size:	of @error
 * @err:	negative errno
 * @fmt:	the sentence
 *
 * Return: @err.
 */
int bk_stage_refuse(char *error, size_t size, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vscnprintf(error, size, fmt, args);
	va_end(args);
	return err;
}

/*----------------------------------------------------------------*/
/* Taking a bitmap in */

static struct bk_stage *bk_stage_find(struct bk_txn_part *part,
				      const char *name)
{
	struct bk_stage *stage;

	list_for_each_entry(stage, &part->stages, list)
		if (!strcmp(stage->name, name))
			return stage;
	return NULL;
}

/* One that the transaction has already: may another action use it? */
static int bk_stage_again(struct bk_stage *stage, char *error, size_t size)
{
	if (stage->removed)
		return bk_stage_refuse(error, size, -EBUSY,
				       "bitmap '%.64s' is removed by this transaction",
				       stage->name);
	if (stage->job)
		return bk_stage_refuse(error, size, -EBUSY,
				       "bitmap '%.64s' is in use by job '%.64s'",
				       stage->name, stage->bitmap->busy);
	return 0;
}

static struct bk_stage *bk_stage_new(struct bk_txn_part *part,
				     struct bk_bitmap *bitmap)
{
	struct bk_stage *stage = kzalloc(sizeof(*stage), GFP_NOIO |
					 __GFP_NOFAIL);

	stage->bitmap = bitmap;
	strscpy(stage->name, bitmap->name, sizeof(stage->name));
	stage->content = bitmap->bits;
	bk_bits_get(stage->content);
	stage->action = part->txn->current_action;
	list_add_tail(&stage->list, &part->stages);
	part->nr_stages++;
	return stage;
}

/* An inconsistent bitmap can be removed. */
static struct bk_bitmap *bk_stage_removable(struct bk_origin *origin,
					    const char *name, int *err,
					    char *error, size_t size)
{
	struct bk_bitmap *bitmap = bk_bitmap_find(origin, name);

	if (bitmap && !bitmap->busy[0] && bitmap->why[0] &&
	    !bk_store_is_stopped(origin, bitmap->slot) &&
	    !bk_store_is_pending(origin, bitmap->slot))
		return bitmap;
	return bk_bitmap_usable(origin, name, err, error, size);
}

/* The filter's lock is held. -EAGAIN: another transaction has it. */
static struct bk_stage *bk_stage_try(struct bk_txn_part *part, const char *name,
				     bool remove, int *err, char *error,
				     size_t size)
{
	struct bk_stage *stage = bk_stage_find(part, name);
	struct bk_origin *origin = part->origin;
	struct bk_bitmap *bitmap;

	if (stage) {
		*err = bk_stage_again(stage, error, size);
		if (*err)
			return NULL;
		stage->action = part->txn->current_action;
		return stage;
	}
	*err = 0;
	bitmap = remove ? bk_stage_removable(origin, name, err, error, size) :
			  bk_bitmap_usable(origin, name, err, error, size);
	if (!bitmap) {
		bitmap = bk_bitmap_find(origin, name);
		if (bitmap && !strcmp(bitmap->busy, BK_BITMAP_IN_TXN))
			*err = -EAGAIN;
		return NULL;
	}
	bk_bitmap_claim(bitmap, BK_BITMAP_IN_TXN);
	return bk_stage_new(part, bitmap);
}

/**
 * bk_stage_take - a bitmap that an action changes, or reads
 * @part:	the filter, in use
 * @name:	the bitmap
 * @remove:	it may be inconsistent
 * @err:	set to a negative errno on failure
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Two transactions that use the same one come one after the other: it is waited
 * for, for a bounded time.
 *
 * Context: process, sleeps. Return: the stage, or NULL.
 */
struct bk_stage *bk_stage_take(struct bk_txn_part *part, const char *name,
			       bool remove, int *err, char *error, size_t size)
{
	unsigned long end = jiffies + msecs_to_jiffies(BK_DRAIN_MS);
	struct bk_origin *origin = part->origin;
	struct bk_stage *stage;
	unsigned int seen;

	for (;;) {
		mutex_lock(&origin->lock);
		seen = READ_ONCE(origin->bitmaps_freed);
		stage = bk_stage_try(part, name, remove, err, error, size);
		mutex_unlock(&origin->lock);
		if (stage || *err != -EAGAIN)
			return stage;
		if (!wait_event_timeout(origin->jobs_wait,
					READ_ONCE(origin->bitmaps_freed) != seen ||
					READ_ONCE(origin->dead) ||
					bk_txn_is_stopped(part->txn),
					max_t(long, end - jiffies, 1)) ||
		    READ_ONCE(origin->dead) || bk_txn_is_stopped(part->txn)) {
			*err = -EBUSY;
			return NULL;
		}
	}
}

/**
 * bk_stage_for_job - a bitmap that a job of the transaction uses
 * @part:	the filter, in use, its lock held
 * @name:	the bitmap
 * @err:	set to a negative errno on failure
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * The job goes by the stage's content. bk_stage_give() makes the bitmap its own.
 *
 * Return: the stage, or NULL.
 */
struct bk_stage *bk_stage_for_job(struct bk_txn_part *part, const char *name,
				  int *err, char *error, size_t size)
{
	struct bk_stage *stage = bk_stage_try(part, name, false, err, error,
					      size);

	if (!stage) {
		if (*err == -EAGAIN)
			*err = -EBUSY;
		return NULL;
	}
	if (bk_stage_is_changed(stage) && stage->bitmap->slot >= 0) {
		*err = bk_stage_refuse(error, size, -EINVAL,
				       "bitmap '%.64s' is persistent: a job can't use it in the transaction that changes what it holds",
				       name);
		return NULL;
	}
	return stage;
}

/* What it had until now goes: has anybody been merged from that? */
static void bk_stage_may_cede(struct bk_stage *stage)
{
	stage->cedes |= stage->source && stage->bitmap->slot >= 0;
}

/**
 * bk_stage_give - a bitmap that was found for a job becomes the job's
 * @stage:	the stage; the filter's lock is held
 * @id:		the job
 */
void bk_stage_give(struct bk_stage *stage, const char *id)
{
	stage->job = true;
	bk_stage_may_cede(stage);
	strscpy(stage->bitmap->busy, id, sizeof(stage->bitmap->busy));
}

/*----------------------------------------------------------------*/
/* Changing */

static struct bk_bits *bk_stage_bits(struct bk_txn_part *part,
				     const char *name, unsigned int shift,
				     bool set, int *err, char *error,
				     size_t size)
{
	struct bk_bits *bits = bk_bits_alloc(part->len, shift, set, err);

	if (bits)
		*err = 0;
	else
		bk_stage_refuse(error, size, *err, *err == -EFBIG ?
				"bitmap '%.64s' needs over 1 GiB: choose a larger granularity" :
				"bitmap '%.64s': out of memory", name);
	return bits;
}

/* The same granules as the bitmap has, none set. */
static struct bk_bits *bk_stage_empty(struct bk_txn_part *part,
				      struct bk_stage *stage, int *err,
				      char *error, size_t size)
{
	struct bk_bits *bits = bk_stage_bits(part, stage->name,
					     stage->content->shift, false, err,
					     error, size);

	if (bits)
		bits->persistent = stage->content->persistent;
	return bits;
}

/* Reserve the name: it is on the list, but nobody is told of it. */
static int bk_stage_enlist(struct bk_txn_part *part, struct bk_bitmap *bitmap,
			   char *error, size_t size)
{
	struct bk_origin *origin = part->origin;
	struct bk_bitmap *other;
	unsigned int nr = 0;
	int err = 0;

	mutex_lock(&origin->lock);
	list_for_each_entry(other, &origin->bitmaps, list)
		nr++;
	if (nr >= BK_BITMAPS_MAX)
		err = bk_stage_refuse(error, size, -ENOSPC,
				      "there are %d bitmaps already", nr);
	else if (bk_bitmap_find(origin, bitmap->name))
		err = bk_stage_refuse(error, size, -EEXIST,
				      "bitmap '%.64s' exists already",
				      bitmap->name);
	else
		list_add_tail(&bitmap->list, &origin->bitmaps);
	mutex_unlock(&origin->lock);
	return err;
}

/**
 * bk_stage_add - a new bitmap
 * @part:	the filter, in use
 * @name:	its name
 * @params:	how it is to be
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, sleeps. Return: 0 or a negative errno.
 */
int bk_stage_add(struct bk_txn_part *part, const char *name,
		 const struct bk_bitmap_params *params, char *error,
		 size_t size)
{
	struct bk_bitmap *bitmap;
	struct bk_stage *stage;
	struct bk_bits *bits;
	int err;

	err = bk_bitmap_check_name(name, error, size);
	if (err)
		return err;
	bits = bk_stage_bits(part, name, ilog2(params->granularity),
			     params->all_dirty, &err, error, size);
	if (!bits)
		return err;
	bits->persistent = params->persistent;
	bitmap = bk_bitmap_create(name, bits);
	if (!bitmap) {
		bk_bits_put(bits);
		return bk_stage_refuse(error, size, -ENOMEM,
				       "bitmap '%.64s': out of memory", name);
	}
	bk_bitmap_claim(bitmap, BK_BITMAP_IN_TXN);
	bitmap->will_record = !params->disabled;
	err = bk_stage_enlist(part, bitmap, error, size);
	if (err) {
		bk_bitmap_free(bitmap);
		return err;
	}
	stage = bk_stage_new(part, bitmap);
	stage->added = true;
	if (!params->persistent)
		return 0;
	return bk_store_reserve(part->origin, bitmap->name, bits,
				!params->disabled, &bitmap->slot, error, size);
}

static void bk_stage_replace(struct bk_stage *stage, struct bk_bits *bits)
{
	bk_bits_put(stage->content);
	stage->content = bits;
}

/**
 * bk_stage_clear - a bitmap that loses its bits
 * @part:	the filter, in use
 * @stage:	the bitmap
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, sleeps. Return: 0 or a negative errno.
 */
int bk_stage_clear(struct bk_txn_part *part, struct bk_stage *stage,
		   char *error, size_t size)
{
	struct bk_bits *bits;
	int err;

	bits = bk_stage_empty(part, stage, &err, error, size);
	if (!bits)
		return err;
	bk_stage_replace(stage, bits);
	bk_stage_may_cede(stage);
	stage->derived = false;
	return 0;
}

/**
 * bk_stage_remove - a bitmap that goes
 * @stage:	the bitmap
 */
void bk_stage_remove(struct bk_stage *stage)
{
	stage->removed = true;
	bk_stage_may_cede(stage);
	stage->bitmap->will_record = false;
}

static int bk_stage_step(struct bk_txn_part *part, struct bk_bits *to,
			 struct bk_bits *from)
{
	struct bk_step *step = kzalloc(sizeof(*step), GFP_NOIO);

	if (!step)
		return -ENOMEM;
	step->part = part;
	step->to = to;
	step->from = from;
	bk_bits_get(to);
	bk_bits_get(from);
	list_add_tail(&step->list, &part->txn->steps);
	return 0;
}

/**
 * bk_stage_merge - a bitmap that gets what another one has
 * @part:	the filter of the first, in use
 * @to:		the bitmap
 * @other:	the filter of the second, in use
 * @from:	the other bitmap
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, sleeps. Return: 0 or a negative errno.
 */
int bk_stage_merge(struct bk_txn_part *part, struct bk_stage *to,
		   struct bk_txn_part *other, struct bk_stage *from,
		   char *error, size_t size)
{
	struct bk_bits *bits;
	int err;

	if (to == from)
		return 0;
	if (from->content->len != to->content->len)
		return bk_stage_refuse(error, size, -EINVAL,
				       "bitmap '%.64s' is of a device of another length",
				       from->name);
	if (!bk_stage_is_changed(to)) {
		bits = bk_stage_empty(part, to, &err, error, size);
		if (!bits)
			return err;
		err = bk_stage_step(part, bits, to->content);
		bk_stage_replace(to, bits);
		if (err)
			goto out;
	}
	to->derived = true;
	from->source = true;
	if (part != other) {
		part->remote = true;
		other->remote = true;
	}
	err = bk_stage_step(part, to->content, from->content);
out:
	if (err)
		bk_stage_refuse(error, size, err,
				"bitmap '%.64s': out of memory", to->name);
	return err;
}

/*----------------------------------------------------------------*/
/* The cut */

/* The bits that are published from the cut on, or take the place after it. */
static int bk_stage_plan(struct bk_txn_part *part, struct bk_stage *stage,
			 char *error, size_t size)
{
	struct bk_bitmap *bitmap = stage->bitmap;
	bool apart = stage->derived || stage->source;
	int err = 0;

	if (stage->job && stage->derived && part->remote)
		return bk_stage_refuse(error, size, -EINVAL,
				       "bitmap '%.64s': a job can't use it in the transaction that merges it with one of another filter",
				       stage->name);
	/* A job has made the successor. */
	if (stage->removed || stage->job)
		return 0;
	if (bitmap->will_record && apart) {
		bitmap->next = bk_stage_empty(part, stage, &err, error, size);
	} else if (bk_stage_is_changed(stage)) {
		bk_bits_get(stage->content);
		bitmap->next = stage->content;
	}
	return err;
}

/**
 * bk_stages_plan - all actions are prepared: so is the cut
 * @part:	the filter, in use
 * @action:	set to the one that is to blame on failure
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, sleeps. Return: 0 or a negative errno.
 */
int bk_stages_plan(struct bk_txn_part *part, unsigned int *action, char *error,
		   size_t size)
{
	struct bk_stage *stage;
	int err;

	list_for_each_entry(stage, &part->stages, list) {
		*action = stage->action;
		err = bk_stage_plan(part, stage, error, size);
		if (err)
			return err;
	}
	return 0;
}
