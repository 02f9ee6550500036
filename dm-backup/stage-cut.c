// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bitmaps in the cut of a transaction, and after it. The contract is in stage.h.
 */

#include "stage.h"
#include "cfg.h"
#include "store.h"
#include "txn.h"

#include <linux/jiffies.h>
#include <linux/slab.h>

/**
 * bk_stages_check - can it still be done?
 * @part:	the filter, not dead; bk_cut_mutex is held, so it stays true
 * @action:	set to the one that is to blame if not
 * @error:	filled with a sentence if not
 * @size:	of @error
 *
 * Return: 0 or a negative errno.
 */
int bk_stages_check(struct bk_txn_part *part, unsigned int *action,
		    char *error, size_t size)
{
	struct bk_origin *origin = part->origin;
	struct bk_stage *stage;
	int err = 0;

	mutex_lock(&origin->lock);
	if (origin->len != part->len) {
		*action = part->action;
		err = bk_stage_refuse(error, size, -EBUSY,
				      "the length of the device has changed");
	}
	list_for_each_entry(stage, &part->stages, list) {
		struct bk_bitmap *bitmap = stage->bitmap;

		if (err)
			break;
		*action = stage->action;
		if (bk_store_is_stopped(origin, bitmap->slot))
			err = bk_stage_refuse(error, size, -EBUSY,
					      "bitmap '%.64s' can't be changed while the filter is suspended or read-only",
					      stage->name);
		else if (bitmap->why[0] && !stage->removed)
			err = bk_stage_refuse(error, size, -EUCLEAN,
					      "bitmap '%.64s' has become inconsistent: %.80s",
					      stage->name, bitmap->why);
	}
	mutex_unlock(&origin->lock);
	return err;
}

/* Will the disk have to be told, other than by saving what was set? */
static bool bk_stage_is_noted(const struct bk_stage *stage)
{
	const struct bk_bitmap *bitmap = stage->bitmap;

	return stage->added || stage->removed || bk_stage_is_changed(stage) ||
	       bitmap->will_record != bitmap->recording;
}

/**
 * bk_stages_install - put all of it into what the cut publishes
 * @part:	the filter; bk_cut_mutex and its gate's cfg_lock are held
 * @cfg:	with room for one more of each stage
 */
void bk_stages_install(struct bk_txn_part *part, struct bk_cfg *cfg)
{
	struct bk_stage *stage;

	list_for_each_entry(stage, &part->stages, list)
		bk_bitmap_install(stage->bitmap, cfg);
}

/**
 * bk_stages_cover - a crash from now on is to have what was, and what will be
 * @part:	the filter; its cut is about to be made, which nothing prevents any more
 *
 * To whoever reads the disk then it is as if the change had been taken back.
 */
void bk_stages_cover(struct bk_txn_part *part)
{
	struct bk_stage *stage;

	list_for_each_entry(stage, &part->stages, list) {
		bk_store_cover(part->origin, stage->bitmap->slot,
			       stage->bitmap->next);
		if (bk_stage_is_noted(stage))
			bk_store_announce(part->origin, stage->bitmap->slot,
					  stage->removed);
	}
}

/* Nobody of the transaction needs the bitmap any more. The filter's lock is held. */
static void bk_stage_release(struct bk_txn_part *part, struct bk_stage *stage)
{
	if (!stage->job)
		bk_bitmap_release(part->origin, stage->bitmap);
}

/* Ask the disk to follow. The filter's lock is held. */
static void bk_stage_ask(struct bk_txn_part *part, struct bk_stage *stage,
			 bool changed)
{
	struct bk_bitmap *bitmap = stage->bitmap;

	if (changed)
		stage->req[0] = bk_store_rewrite(part->origin, bitmap->slot,
						 bitmap->bits, bitmap->tag,
						 false, NULL);
	if (stage->noted)
		stage->req[1] = bk_store_update(part->origin, bitmap->slot,
						bitmap->recording, true);
}

/* What needs not wait for the drain. The filter's lock is held. */
static void bk_stage_commit(struct bk_txn_part *part, struct bk_stage *stage)
{
	struct bk_bitmap *bitmap = stage->bitmap;
	bool changed = bk_stage_is_changed(stage);

	stage->enabled = bitmap->will_record && !bitmap->recording;
	stage->noted = stage->added ||
		       bitmap->will_record != bitmap->recording;
	if (stage->removed) {
		list_del_init(&bitmap->list);	/* and drop frees it */
		return;
	}
	bitmap->hidden = false;
	bitmap->recording = bitmap->will_record;
	bitmap->started = bitmap->next;
	WRITE_ONCE(bitmap->ceding, stage->cedes);
	if (stage->job) {
		if (changed)
			swap(bitmap->bits, stage->content);
		bitmap->deriving = changed && stage->derived && !part->stepped;
		bk_stage_ask(part, stage, false);
	} else if (bitmap->next &&
		   (stage->derived || stage->cedes || !changed)) {
		bitmap->deriving = stage->derived;
		stage->rest = true;
	} else {
		if (bitmap->next)
			bk_bitmap_promote(bitmap);
		bk_stage_ask(part, stage, changed);
		bk_stage_release(part, stage);
	}
}

/**
 * bk_stages_commit - the cut has been made
 * @part:	the filter; bk_cut_mutex is held
 */
void bk_stages_commit(struct bk_txn_part *part)
{
	struct bk_stage *stage;

	mutex_lock(&part->origin->lock);
	list_for_each_entry(stage, &part->stages, list) {
		bk_stage_commit(part, stage);
		part->txn->cedes |= stage->cedes;
	}
	mutex_unlock(&part->origin->lock);
}

/**
 * bk_steps_run - merge what could not be merged before all filters had drained
 * @txn:	the transaction
 *
 * Context: process; takes as long as there is to look through.
 */
void bk_steps_run(struct bk_txn *txn)
{
	struct bk_step *step;

	/* In their order: a filter's may need what another one's have done. */
	list_for_each_entry(step, &txn->steps, list)
		if (step->part->remote)
			bk_bits_or(step->to, step->from);
}

/**
 * bk_stages_derive - writes from before the cut have ended
 * @part:	the filter
 *
 * Before its points in time are narrowed. The cut's commit may not be through.
 *
 * Context: the gate's callback; takes as long as there is to look through.
 */
void bk_stages_derive(struct bk_txn_part *part)
{
	struct bk_stage *stage;
	struct bk_step *step;

	if (part->remote)
		return;
	list_for_each_entry(step, &part->txn->steps, list)
		if (step->part == part)
			bk_bits_or(step->to, step->from);
	mutex_lock(&part->origin->lock);
	part->stepped = true;
	/* The job does not end before that, so its bitmap is there. */
	list_for_each_entry(stage, &part->stages, list)
		if (stage->job && stage->derived)
			WRITE_ONCE(stage->bitmap->deriving, false);
	mutex_unlock(&part->origin->lock);
}

/* What writes since the cut have set and what it is to have: one. The lock is held. */
static void bk_stage_gain(struct bk_stage *stage)
{
	struct bk_bitmap *bitmap = stage->bitmap;

	/* Nobody else changes these two while we have the bitmap, but a resize. */
	if (bitmap->next != stage->content && !bitmap->why[0])
		bk_bits_or(bitmap->next, stage->content);
	WRITE_ONCE(bitmap->deriving, false);
}

/* Memory has it all, and so is the disk to. The filter's lock is held. */
static void bk_stage_finish(struct bk_txn_part *part, struct bk_stage *stage)
{
	struct bk_bitmap *bitmap = stage->bitmap;
	bool changed = bk_stage_is_changed(stage);

	bk_bitmap_promote(bitmap);
	if (changed || stage->noted)
		bk_stage_ask(part, stage, true);
	else
		bk_store_uncover(part->origin, bitmap->slot, bitmap->bits);
	stage->rest = false;
	bk_stage_release(part, stage);
}

/**
 * bk_stages_gain - all has been merged: let memory have it, and then the disk
 * @part:	the filter, in use
 *
 * What cedes has on disk all that it gains, and what it is to lose yet.
 *
 * Context: process; takes as long as there is to look through.
 */
void bk_stages_gain(struct bk_txn_part *part)
{
	struct bk_origin *origin = part->origin;
	struct bk_stage *stage;

	list_for_each_entry(stage, &part->stages, list) {
		if (!stage->rest)
			continue;
		mutex_lock(&origin->lock);
		bk_stage_gain(stage);
		if (!stage->cedes)
			bk_stage_finish(part, stage);
		else if (stage->derived)
			stage->req[0] = bk_store_update(origin,
							stage->bitmap->slot,
							stage->bitmap->recording,
							false);
		mutex_unlock(&origin->lock);
	}
}

/* Does any of them go for good? Then nothing keeps what it had. */
static bool bk_txn_removes_source(struct bk_txn *txn)
{
	struct bk_txn_part *part;
	struct bk_stage *stage;

	list_for_each_entry(part, &txn->parts, list)
		list_for_each_entry(stage, &part->stages, list)
			if (stage->cedes && stage->removed)
				return true;
	return false;
}

/*
 * Is there no use in waiting for the filter's disk? Its bitmaps may have gone. If it has
 * failed, but nothing else will have the bits, that is to be written down first, which
 * is tried as soon as its request has ended.
 */
static bool bk_part_is_lost(struct bk_txn_part *part)
{
	bool patient = bk_txn_removes_source(part->txn), lost = true;

	if (bk_origin_use(part->origin)) {
		lost = !bk_store_is_following(part->origin, patient);
		bk_origin_unuse(part->origin);
	}
	return lost;
}

/* Wait until the disk has what was merged into one bitmap. */
static int bk_stage_gained(struct bk_txn_part *part, struct bk_stage *stage)
{
	unsigned int i;
	int r, err = 0;

	for (i = 0; i < ARRAY_SIZE(stage->req); i++) {
		if (!stage->req[i])
			continue;
		do {
			r = bk_store_wait(stage->req[i], HZ);
		} while (r == -ETIMEDOUT && !bk_part_is_lost(part));
		err = err ?: r;
		if (!stage->rest)
			continue;
		/* There will be others. */
		bk_store_req_put(stage->req[i]);
		stage->req[i] = NULL;
	}
	return err;
}

/**
 * bk_stages_gained - wait until the disk has what was merged
 * @part:	the filter; not in use, so that it may go
 *
 * Context: process, sleeps: until the metadata device has done it or has failed, or
 * the filter is stopped or gone.
 *
 * Return: 0, or a negative errno: it may never have it.
 */
int bk_stages_gained(struct bk_txn_part *part)
{
	struct bk_stage *stage;
	int err = 0;

	list_for_each_entry(stage, &part->stages, list) {
		if (!stage->derived || !stage->content->persistent)
			continue;
		if (!err)
			err = part->gone ? -ENODEV :
			      bk_stage_gained(part, stage);
	}
	return err;
}

/* The filter's lock is held. */
static void bk_stage_cede(struct bk_txn_part *part, struct bk_stage *stage,
			  bool gained)
{
	struct bk_bitmap *bitmap = stage->bitmap;

	if (!gained && bitmap->next && !bitmap->why[0])
		bk_bits_or(bitmap->next, bitmap->bits);
	WRITE_ONCE(bitmap->ceding, false);
	if (stage->rest)
		bk_stage_finish(part, stage);
}

/**
 * bk_stages_cede - what cedes bits takes effect
 * @part:	the filter, in use
 * @gained:	the disk has what was merged; else it keeps them, but for what is
 *		removed
 *
 * Context: process; takes as long as there is to look through.
 */
void bk_stages_cede(struct bk_txn_part *part, bool gained)
{
	struct bk_stage *stage;

	mutex_lock(&part->origin->lock);
	list_for_each_entry(stage, &part->stages, list)
		if (stage->cedes && !stage->removed)
			bk_stage_cede(part, stage, gained);
	mutex_unlock(&part->origin->lock);
}

/* What has more bits on disk, or records there for longer, is fine. */
static bool bk_stage_must_save(const struct bk_stage *stage)
{
	return stage->added || stage->enabled || stage->derived;
}

/**
 * bk_stages_must_save - is there a bitmap that has to be on disk?
 * @part:	the filter, committed
 *
 * One that, missing there, would be missing something after a crash.
 */
bool bk_stages_must_save(struct bk_txn_part *part)
{
	struct bk_stage *stage;

	list_for_each_entry(stage, &part->stages, list)
		if (stage->content->persistent && bk_stage_must_save(stage))
			return true;
	return false;
}

static int bk_stage_unsaved(struct bk_stage *stage, int err, char *error,
			    size_t size)
{
	return bk_stage_refuse(error, size, err, err == -ETIMEDOUT ?
			       "bitmap '%.64s' is changed, but not on the metadata device yet" :
			       "bitmap '%.64s': the metadata device has failed",
			       stage->name);
}

/**
 * bk_stages_wait - wait until the disk has followed
 * @part:	the filter
 * @timeout:	in jiffies
 * @action:	set to the one whose bitmap it is on failure
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * A disk that takes longer follows later: until then it has more bits set. That
 * is a failure only of a bitmap that might miss something after a crash.
 *
 * Context: process, sleeps. Return: 0 or a negative errno.
 */
int bk_stages_wait(struct bk_txn_part *part, unsigned long timeout,
		   unsigned int *action, char *error, size_t size)
{
	unsigned long end = jiffies + timeout;
	struct bk_stage *stage;
	unsigned int i;
	int err;

	list_for_each_entry(stage, &part->stages, list)
		for (i = 0; i < ARRAY_SIZE(stage->req); i++) {
			if (!stage->req[i])
				continue;
			err = bk_store_wait(stage->req[i],
					    max_t(long, end - jiffies, 1));
			if (!err || (err == -ETIMEDOUT &&
				     !bk_stage_must_save(stage)))
				continue;
			*action = stage->action;
			return bk_stage_unsaved(stage, err, error, size);
		}
	return 0;
}

/* Of one that was not committed; the filter is in use. */
static void bk_stage_undo(struct bk_txn_part *part, struct bk_stage *stage)
{
	struct bk_origin *origin = part->origin;
	struct bk_bitmap *bitmap = stage->bitmap;

	/*
	 * Its job has been told to end. It never began, so its next step lets go
	 * of the bitmap and waits for nobody before that: no bound is needed.
	 * Nobody else can have taken it.
	 */
	if (stage->job && stage->added)
		wait_event_idle(origin->jobs_wait,
				!READ_ONCE(bitmap->busy[0]));
	mutex_lock(&origin->lock);
	bk_stage_release(part, stage);
	if (stage->added)
		list_del(&bitmap->list);
	mutex_unlock(&origin->lock);
}

/**
 * bk_stages_drop - give back what was not used, or was replaced
 * @part:	the filter
 * @committed:	whether the cut was made
 *
 * Context: process, sleeps.
 */
void bk_stages_drop(struct bk_txn_part *part, bool committed)
{
	struct bk_origin *origin = part->origin;
	struct bk_stage *stage, *next;
	bool there = bk_origin_use(origin);

	list_for_each_entry_safe(stage, next, &part->stages, list) {
		struct bk_bitmap *bitmap = stage->bitmap;

		if (there && !committed)
			bk_stage_undo(part, stage);
		if (there && (committed ? stage->removed : stage->added))
			bk_store_drop(origin, bitmap->slot);
		/* One on the filter's list goes with the filter. */
		if (committed ? stage->removed : there && stage->added)
			bk_bitmap_free(bitmap);
		bk_store_req_put(stage->req[0]);
		bk_store_req_put(stage->req[1]);
		bk_bits_put(stage->content);
		list_del(&stage->list);
		kfree(stage);
	}
	if (there)
		bk_origin_unuse(origin);
}

/**
 * bk_steps_drop - nothing is to be merged any more
 * @txn:	the transaction
 */
void bk_steps_drop(struct bk_txn *txn)
{
	struct bk_step *step, *next;

	list_for_each_entry_safe(step, next, &txn->steps, list) {
		bk_bits_put(step->to);
		bk_bits_put(step->from);
		list_del(&step->list);
		kfree(step);
	}
}
