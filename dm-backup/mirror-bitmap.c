// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bitmap of a mirror: what it begins with, and what becomes of it.
 *
 * The mirror's own bits begin with those that the bitmap has at the cut. That
 * needs no drain: a write that is in flight then has marked the bitmap before it
 * was submitted, and marks the mirror's bits when it ends. The bitmap has a
 * successor from the cut on, as that of a backup has. If the job succeeds the
 * destination has all that the bitmap had, and the successor, what was written
 * since the start, is the bitmap: a little more than was written since the end.
 *
 * With bitmap_mode=always a job that fails leaves in it what was not copied, too, and
 * nothing else: what was copied is made durable for that. What is not copied is known
 * when nothing is in flight, and taken before the flushes.
 */

#include "mirror-int.h"
#include "bitmap.h"
#include "stage.h"
#include "store.h"

#include <linux/slab.h>

static const char *bk_mirror_bitmap_objection(const struct bk_mirror_params *p)
{
	if (!p->bitmap && p->sync == BK_MIRROR_BITMAP)
		return "sync=bitmap needs a bitmap";
	if (!p->bitmap && p->bitmap_mode != BK_MIRROR_MODE_ABSENT)
		return "bitmap_mode without a bitmap";
	if (p->bitmap && p->sync != BK_MIRROR_BITMAP)
		return "a mirror makes use of a bitmap with sync=bitmap only";
	if (p->bitmap && p->bitmap_mode == BK_MIRROR_MODE_ABSENT)
		return "bitmap_mode must be given with a bitmap";
	return NULL;
}

/**
 * bk_mirror_find_bitmap - find the bitmap that a start names
 * @part:	the filter; its lock is held
 * @params:	what the start says
 * @stage:	set to the bitmap in the transaction, or NULL
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Return: 0 or a negative errno.
 */
int bk_mirror_find_bitmap(struct bk_txn_part *part,
			  const struct bk_mirror_params *params,
			  struct bk_stage **stage, char *error, size_t size)
{
	const char *objection = bk_mirror_bitmap_objection(params);
	int err = 0;

	*stage = NULL;
	if (objection) {
		strscpy(error, objection, size);
		return -EINVAL;
	}
	if (!params->bitmap)
		return 0;
	*stage = bk_stage_for_job(part, params->bitmap, &err, error, size);
	/* What is merged into it is only known after a drain. */
	if (!err && bk_stage_is_changed(*stage)) {
		scnprintf(error, size,
			  "bitmap '%.64s': what it holds can't change in the same transaction",
			  params->bitmap);
		err = -EINVAL;
	}
	return err;
}

/**
 * bk_mirror_take_bitmap - the bitmap is the job's from here on
 * @m:		the mirror
 * @stage:	the bitmap, or NULL; the filter's lock is held
 */
void bk_mirror_take_bitmap(struct bk_mirror *m, struct bk_stage *stage)
{
	if (!stage)
		return;
	bk_stage_give(stage, m->job.id);
	m->bitmap = stage->bitmap;
	m->only = stage->content;
	bk_bits_get(m->only);
}

/**
 * bk_mirror_begin_bitmap - what the bitmap had at the cut is dirty
 * @m:		the mirror, started
 *
 * Context: the job's step; takes as long as there is to look through.
 */
void bk_mirror_begin_bitmap(struct bk_mirror *m)
{
	if (!m->only)
		return;
	bk_bits_or(m->mc->bits, m->only);
	bk_bits_put(m->only);
	m->only = NULL;
	bk_job_set_total(&m->job, atomic64_read(&m->job.done) +
			 bk_mcopy_left(m->mc));
	bk_job_start_copy(&m->job);
}

/* Has the metadata device followed? If that is slow the job ends all the same. */
static bool bk_mirror_is_committed(struct bk_mirror *m, bool hurry)
{
	if (!m->commit)
		return true;
	if (!completion_done(&m->commit->done) && !hurry &&
	    time_before(jiffies, m->bitmap_by)) {
		bk_job_wake_in(&m->job, BK_RELEASE_TICK_MS);
		return false;
	}
	bk_store_forget(m->job.origin, m->commit);
	m->commit = NULL;
	return true;
}

/*
 * A job that failed, and whose bitmap is to keep only what was not copied.
 * -EINPROGRESS: not yet; 0: it has that, and the rest is durable.
 */
static int bk_mirror_keep_uncopied(struct bk_mirror *m, bool hurry)
{
	int r;

	if (hurry || !m->bitmap->started)
		return -ECANCELED;
	if (!m->uncopied && bk_mcopy_is_idle(m->mc)) {
		/* Others may have written to what is there. */
		if (m->shared && !bk_dest_has_one_claim(m->dest))
			bk_mcopy_doubt(m->mc);
		bk_mirror_begin_bitmap(m);	/* if it never came to that */
		bk_bits_or(m->bitmap->next, m->mc->bits);
		m->uncopied = true;
	}
	r = -EINPROGRESS;
	if (m->uncopied && m->end != BK_MEND_FLUSHED)
		r = bk_mirror_flush_origin(m);
	if (!r)
		m->end = BK_MEND_FLUSHED;
	if (m->end == BK_MEND_FLUSHED)
		r = bk_mirror_ask(m, BK_MASK_KEEP);
	if (r == -EINPROGRESS) {
		if (time_after_eq(jiffies, m->bitmap_by))
			return -ETIMEDOUT;
		bk_job_wake_in(&m->job, BK_RELEASE_TICK_MS);
	}
	return r;
}

/**
 * bk_mirror_end_bitmap - what becomes of the bitmap
 * @m:		the mirror; if it has not failed, its destination is durable
 * @hurry:	do not wait
 *
 * Context: the job's step. Return: 0; -EINPROGRESS: call again after a kick.
 */
int bk_mirror_end_bitmap(struct bk_mirror *m, bool hurry)
{
	bool drop = !m->job.err && m->params.bitmap_mode != BK_MIRROR_NEVER;
	struct bk_origin *origin = m->job.origin;
	int r;

	if (!m->bitmap)
		return 0;
	if (bk_bitmap_is_unsettled(origin, m->bitmap)) {
		bk_job_wake_in(&m->job, BK_RELEASE_TICK_MS);
		return -EINPROGRESS;
	}
	drop &= !READ_ONCE(m->bitmap->ceding);
	if (m->job.err && m->params.bitmap_mode == BK_MIRROR_ALWAYS &&
	    !m->bitmap_settled) {
		if (!m->bitmap_by)
			m->bitmap_by = jiffies + msecs_to_jiffies(BK_RELEASE_MS);
		r = bk_mirror_keep_uncopied(m, hurry);
		if (r == -EINPROGRESS)
			return r;
		drop = !r;
	}
	if (!m->bitmap_settled) {
		m->bitmap_settled = true;
		m->bitmap_by = jiffies + msecs_to_jiffies(BK_RELEASE_MS);
		mutex_lock(&origin->lock);
		if (drop)
			m->commit = bk_bitmap_abdicate(origin, m->bitmap, NULL,
						       &m->notify);
		else
			bk_bitmap_reclaim(origin, m->bitmap);
		mutex_unlock(&origin->lock);
	}
	if (!bk_mirror_is_committed(m, hurry))
		return -EINPROGRESS;
	mutex_lock(&origin->lock);
	bk_bitmap_release(origin, m->bitmap);
	mutex_unlock(&origin->lock);
	m->bitmap = NULL;
	return 0;
}
