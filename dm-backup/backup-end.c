// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a backup: what was copied is made durable, its bitmap gets what it is to
 * have, and all is let go of. The contract is in backup.h.
 */

#include "backup-int.h"
#include "cfg.h"
#include "store.h"

static int bk_backup_flush_origin(struct bk_backup *b)
{
	struct bk_origin *origin = b->job.origin;
	struct block_device *bdev;
	int r;

	bdev = bk_origin_io_begin(origin, &b->deferred);
	if (IS_ERR(bdev))
		return bk_job_say(&b->job, PTR_ERR(bdev),
				  "the filter is going away");
	if (!bdev)
		return -EINPROGRESS;
	r = blkdev_issue_flush(bdev);
	bk_origin_io_end(origin);
	if (r)
		return bk_job_say(&b->job, r, "flushing the origin failed");
	return 0;
}

/**
 * bk_backup_settle - make what was copied durable
 * @job:	the job
 *
 * First the origin, then the destination: what was copied may have been in the
 * origin's volatile cache only.
 *
 * Context: process, may wait for the origin. Return: 0, -EINPROGRESS: to be called
 * again after a kick; or a negative errno, and why has been said.
 */
int bk_backup_settle(struct bk_job *job)
{
	struct bk_backup *b = bk_backup_of(job);
	int r = 0;

	if (b->flush == BK_FLUSH_NONE) {
		r = bk_backup_flush_origin(b);
		if (r == -EINPROGRESS)
			return r;
		b->flush = r ? BK_FLUSH_FAILED : BK_FLUSH_DEST;
		if (!r)
			bk_dest_flush(b->dest);
	}
	if (b->flush == BK_FLUSH_DEST) {
		if (bk_dest_busy(b->dest))
			return -EINPROGRESS;
		r = b->dest->error;
		b->flush = r ? BK_FLUSH_FAILED : BK_FLUSH_DONE;
		if (r)
			bk_job_say(job, r, "flushing destination %.64s failed",
				   b->params.target);
	}
	return r;
}

/**
 * bk_backup_abort - stop, now
 * @job:	the job
 */
void bk_backup_abort(struct bk_job *job)
{
	struct bk_backup *b = bk_backup_of(job);

	if (b->pit && !b->released)
		bk_pit_stop(b->pit);
}

/*
 * A job that failed, and whose bitmap is to keep only what was not copied:
 * what was has to be durable first. -EINPROGRESS: not yet; 0: it is.
 */
static int bk_backup_keep_uncopied(struct bk_backup *b, bool hurry)
{
	int r;

	if (hurry || !b->bitmap->started)
		return -ECANCELED;
	if (!b->uncopied) {
		/* Before the flush: what ends after it counts as not copied. */
		bk_pit_uncopied(b->pit, b->bitmap->next);
		b->uncopied = true;
		b->bitmap_by = jiffies + msecs_to_jiffies(BK_RELEASE_MS);
	}
	if (b->flush == BK_FLUSH_FAILED)
		return -EIO;
	r = bk_backup_settle(&b->job);
	if (r == -EINPROGRESS) {
		if (time_after_eq(jiffies, b->bitmap_by))
			return -ETIMEDOUT;
		bk_job_wake_in(&b->job, BK_RELEASE_TICK_MS);
	}
	return r;
}

/*
 * The bitmap has lost its bits: is that on the metadata device, too? If that is
 * slow the job ends all the same, and if it fails the bitmap is inconsistent.
 */
static bool bk_backup_is_committed(struct bk_backup *b, bool hurry)
{
	if (!b->commit)
		return true;
	if (!completion_done(&b->commit->done) && !hurry &&
	    time_before(jiffies, b->bitmap_by)) {
		bk_job_wake_in(&b->job, BK_RELEASE_TICK_MS);
		return false;
	}
	bk_store_forget(b->job.origin, b->commit);
	b->commit = NULL;
	return true;
}

/* Nothing is claimed any more. */
static void bk_backup_release_bitmaps(struct bk_backup *b)
{
	struct bk_origin *origin = b->job.origin;

	mutex_lock(&origin->lock);
	if (b->bitmap)
		bk_bitmap_release(origin, b->bitmap);
	if (b->allocated && b->allocated != b->bitmap)
		bk_bitmap_release(origin, b->allocated);
	mutex_unlock(&origin->lock);
	b->bitmap = NULL;
	b->allocated = NULL;
}

/*
 * What becomes of the bitmap. A flush that failed takes no bit out. -EINPROGRESS:
 * that is not settled yet.
 */
static int bk_backup_end_bitmap(struct bk_backup *b, bool hurry)
{
	bool drop = !b->job.err && b->params.bitmap_mode != BK_MODE_NEVER;
	struct bk_origin *origin = b->job.origin;
	int r;

	if (!b->bitmap && !b->allocated)
		return 0;
	if (b->bitmap && bk_bitmap_is_unsettled(origin, b->bitmap)) {
		bk_job_wake_in(&b->job, BK_RELEASE_TICK_MS);
		return -EINPROGRESS;
	}
	drop &= !b->bitmap || !READ_ONCE(b->bitmap->ceding);
	if (b->bitmap && b->job.err &&
	    b->params.bitmap_mode == BK_MODE_ALWAYS && !b->settled) {
		r = bk_backup_keep_uncopied(b, hurry);
		if (r == -EINPROGRESS)
			return r;
		drop = !r;
	}
	if (b->bitmap && !b->settled) {
		b->settled = true;
		b->bitmap_by = jiffies + msecs_to_jiffies(BK_RELEASE_MS);
		mutex_lock(&origin->lock);
		if (drop)
			b->commit = bk_bitmap_abdicate(origin, b->bitmap,
						       b->params.tag,
						       &b->notify);
		else
			bk_bitmap_reclaim(origin, b->bitmap);
		mutex_unlock(&origin->lock);
	}
	if (!bk_backup_is_committed(b, hurry))
		return -EINPROGRESS;
	bk_backup_release_bitmaps(b);
	return 0;
}

/*
 * No view is made of it from here on; those that there are keep it. Nothing takes
 * its place.
 */
static struct bk_pit *bk_backup_take_pit(struct bk_backup *b)
{
	struct bk_pit *pit, *next;
	u64 used;

	spin_lock(&b->job.lock);
	pit = b->pit;
	b->pit = NULL;
	if (pit)
		bk_fleece_usage(pit, &used, &b->fleece_peak);
	next = b->next;
	b->next = NULL;
	spin_unlock(&b->job.lock);
	if (next)
		bk_backup_drop_pit(next);
	return pit;
}

static void bk_backup_let_go(struct bk_backup *b)
{
	struct bk_origin *origin = b->job.origin;
	struct bk_pit *pit = bk_backup_take_pit(b);

	b->released = true;
	b->release_by = jiffies + msecs_to_jiffies(BK_RELEASE_MS);
	bk_origin_io_cancel(origin, &b->deferred);
	if (pit) {
		if (b->job.err)
			bk_pit_stop(pit);
		else
			bk_pit_complete(pit);
		bk_fleece_retire(pit);
		bk_pit_quit(pit);
		bk_cfg_remove_pit(origin, pit);
		bk_backup_drop_pit(pit);
	}
	if (b->dest)
		bk_dest_put(b->dest);
	if (b->fleece)
		bk_dest_put(b->fleece);
}

/* Forget a device when it is closed, or when that takes too long. */
static int bk_backup_forget(struct bk_backup *b, struct bk_dest **dest,
			    bool hurry)
{
	if (!*dest)
		return 0;
	if (!bk_dest_closed(*dest) && !hurry && !bk_dest_is_viewed(*dest) &&
	    time_before(jiffies, b->release_by)) {
		bk_job_wake_in(&b->job, BK_RELEASE_TICK_MS);
		return -EINPROGRESS;
	}
	bk_dest_forget(*dest);
	*dest = NULL;
	return 0;
}

/**
 * bk_backup_release - let go of everything
 * @job:	the job
 * @hurry:	do not wait for the destination any more
 *
 * Context: process, sleeps, not for the destination. Return: 0, or -EINPROGRESS: to
 * be called again after a kick, or in a while.
 */
int bk_backup_release(struct bk_job *job, bool hurry)
{
	struct bk_backup *b = bk_backup_of(job);

	if (bk_backup_end_bitmap(b, hurry))
		return -EINPROGRESS;
	if (!b->released)
		bk_backup_let_go(b);
	if (bk_backup_forget(b, &b->dest, hurry) ||
	    bk_backup_forget(b, &b->fleece, hurry))
		return -EINPROGRESS;
	/* Nobody queues it any more. */
	cancel_work_sync(&b->notify);
	return 0;
}
