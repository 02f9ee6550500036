// SPDX-License-Identifier: GPL-2.0-only
/*
 * The backup job. The contract is in backup.h.
 */

#include "backup-int.h"
#include "cfg.h"
#include "cow.h"
#include "group.h"
#include "job-dest.h"
#include "op.h"

#include <linux/log2.h>
#include <linux/slab.h>

static struct bk_backup *bk_pit_backup(struct bk_pit *pit)
{
	return pit->owner;
}

/*----------------------------------------------------------------*/
/* What the point in time asks */

/* Guests' copies are not limited, but the background pays for them. */
static void bk_backup_charge(struct bk_backup *b, unsigned int sectors)
{
	if (READ_ONCE(b->job.rate.speed))
		bk_job_charge(&b->job, sectors);
}

static void bk_backup_claimed(struct bk_pit *pit, unsigned int sectors)
{
	struct bk_backup *b = bk_pit_backup(pit);

	atomic64_add(sectors, &b->guest_sectors);
	atomic64_add((u64)sectors << SECTOR_SHIFT, &pit->origin->guest_bytes);
	/* With fleecing it is the move that is paid for. */
	if (!b->params.fleece)
		bk_backup_charge(b, sectors);
}

static void bk_backup_diverted(struct bk_pit *pit, unsigned int sectors)
{
	bk_backup_charge(bk_pit_backup(pit), sectors);
}

static void bk_backup_narrowed(struct bk_pit *pit, u64 sectors)
{
	struct bk_job *job = &bk_pit_backup(pit)->job;

	bk_job_set_total(job, sectors);
	bk_job_kick(job);	/* there may be nothing to do */
}

static void bk_backup_copied(struct bk_pit *pit, unsigned int sectors,
			     bool guest)
{
	struct bk_backup *b = bk_pit_backup(pit);

	atomic64_add(sectors, &b->job.done);
	if (!atomic_long_read(&pit->todo))
		bk_job_kick(&b->job);
}

static void bk_backup_dropped(struct bk_pit *pit, u64 sectors)
{
	struct bk_backup *b = bk_pit_backup(pit);

	bk_job_drop(&b->job, sectors);
	if (!atomic_long_read(&pit->todo))
		bk_job_kick(&b->job);
}

static enum bk_action bk_backup_error(struct bk_pit *pit, enum bk_fault fault,
				      sector_t sector, blk_status_t status,
				      bool guest)
{
	static const struct {
		const char *what;
		bool write;
	} faults[] = {
		[BK_FAULT_READ]		= { "reading origin" },
		[BK_FAULT_WRITE]	= { "writing destination", true },
		[BK_FAULT_FLEECE_READ]	= { "reading fleece device" },
		[BK_FAULT_FLEECE_WRITE]	= { "writing fleece device", true },
	};

	return bk_job_error_in(&bk_pit_backup(pit)->job, faults[fault].what,
			       faults[fault].write, sector, status, guest);
}

static void bk_backup_broken(struct bk_pit *pit, int err)
{
	/* It is not its job's any more. */
	if (READ_ONCE(pit->successor))
		return;
	bk_job_broken(&bk_pit_backup(pit)->job, err);
}

static void bk_backup_kick(struct bk_pit *pit)
{
	bk_job_kick_copy(&bk_pit_backup(pit)->job);
}

static void bk_backup_idle(struct bk_pit *pit)
{
	struct bk_job *job = &bk_pit_backup(pit)->job;

	if (READ_ONCE(job->user_paused))
		bk_job_kick(job);
}

static void bk_backup_pit_release(struct bk_pit *pit)
{
	bk_job_put(&bk_pit_backup(pit)->job);
}

static const struct bk_pit_ops bk_backup_pit_ops = {
	.narrowed	= bk_backup_narrowed,
	.claimed	= bk_backup_claimed,
	.copied		= bk_backup_copied,
	.dropped	= bk_backup_dropped,
	.diverted	= bk_backup_diverted,
	.error		= bk_backup_error,
	.broken		= bk_backup_broken,
	.kick		= bk_backup_kick,
	.idle		= bk_backup_idle,
	.release	= bk_backup_pit_release,
};

/*----------------------------------------------------------------*/
/* Preparing */

/* The smallest cluster that suits both devices, in sectors. */
static unsigned int bk_backup_natural(struct block_device *o,
				      struct block_device *d)
{
	unsigned int bytes = max3(bdev_logical_block_size(o),
				  bdev_logical_block_size(d),
				  bdev_physical_block_size(d));
	unsigned int min = bdev_io_min(d);
	unsigned int opt = bdev_io_opt(d);

	if (is_power_of_2(min))
		bytes = max(bytes, min);
	if (is_power_of_2(opt))
		bytes = max(bytes, opt);
	return min_t(unsigned int, bytes, SZ_64M) >> SECTOR_SHIFT;
}

/* What the cluster is, in sectors, if that was not said. */
static unsigned int bk_backup_default(const struct bk_backup *b)
{
	return b->lender ? b->lender->cluster : BK_CLUSTER_DEFAULT;
}

static int bk_backup_check(struct bk_backup *b)
{
	struct bk_origin *origin = b->job.origin;
	struct block_device *d = b->dest->bdev.bdev, *o, *f;
	int r;

	mutex_lock(&bk_cut_mutex);
	if (origin->dead) {
		r = bk_job_say(&b->job, -ENODEV, "the filter is going away");
	} else {
		o = list_first_entry(&origin->instances, struct bk_instance,
				     list)->dev->bdev;
		f = b->fleece ? b->fleece->bdev.bdev : NULL;
		r = bk_job_dest_check(&b->job, "destination", b->params.target,
				      o, d, b->params.allow_larger);
		if (!r && f)
			r = bk_job_dest_check(&b->job, "fleece device",
					      b->params.fleece, o, f,
					      b->params.allow_larger);
		b->cluster = max3(b->params.cluster ?: bk_backup_default(b),
				  bk_backup_natural(o, d),
				  f ? bk_backup_natural(o, f) : 0);
	}
	mutex_unlock(&bk_cut_mutex);
	return r;
}

/**
 * bk_backup_say_pit - why there is no memory for a point in time
 * @b:		the backup
 * @err:	of bk_pit_create()
 * @text:	filled with a sentence
 * @size:	of @text
 */
void bk_backup_say_pit(struct bk_backup *b, int err, char *text, size_t size)
{
	if (err == -ENOSPC)
		scnprintf(text, size,
			  "the filter's buffer has no room for two clusters of %u sectors",
			  b->cluster);
	else if (err == -EFBIG)
		scnprintf(text, size, "clusters of %u sectors are too many",
			  b->cluster);
	else
		strscpy(text, "out of memory", size);
}

static int bk_backup_make_pit(struct bk_backup *b)
{
	char why[BK_ERROR_LEN];
	struct bk_pit_params params = {
		.cluster	= b->cluster,
		.max_chunk	= max_t(u64, b->params.max_chunk, b->cluster),
		.zeroes		= &b->zeroes,
		.cbw		= &b->cbw,
		.only		= b->only,
		/* a job's own bitmap has a successor by then */
		.only_grows	= b->params.sync == BK_SYNC_TOP && b->allocated,
		.fleece		= b->fleece,
	};
	int err;

	err = bk_backup_lender_pit(b, &params.lender);
	if (err)
		return err;
	b->pit = bk_pit_create(b->job.origin, b->dest, &params,
			       &bk_backup_pit_ops, b, b->job.id, &err);
	if (params.lender)
		bk_pit_put(params.lender);	/* the point in time has its own */
	bk_backup_forget_lender(b);
	if (b->pit) {
		bk_bits_put(b->only);	/* the point in time has its own */
		b->only = NULL;
		bk_job_get(&b->job);	/* dropped by bk_backup_pit_release() */
		return 0;
	}
	bk_backup_say_pit(b, err, why, sizeof(why));
	return bk_job_say(&b->job, err, "%s", why);
}

/* 0: it is open. -EINPROGRESS: to be called again. Other errors: it has been said. */
static int bk_backup_open(struct bk_backup *b, struct bk_dest **dest,
			  const char *what, const char *name)
{
	struct bk_job *job = &b->job;

	if (!*dest)
		*dest = bk_dest_open(name, job->origin->wait_wq, &b->notify);
	if (!*dest)
		return bk_job_say(job, -ENOMEM, "out of memory");
	if (bk_dest_busy(*dest))
		return -EINPROGRESS;
	if (!(*dest)->error)
		return 0;
	/* It is claimed, by us. */
	if (dest == &b->fleece && b->fleece->dev == b->dest->dev)
		return bk_job_say(job, -EINVAL, "%s %.64s is the destination",
				  what, name);
	return bk_job_dest_failed(job, what, name, (*dest)->error);
}

static int bk_backup_prepare(struct bk_job *job)
{
	struct bk_backup *b = bk_backup_of(job);
	int r;

	r = bk_backup_open(b, &b->dest, "destination", b->params.target);
	/* One after the other: of two that are the same it is the second that is wrong. */
	if (!r && b->params.fleece)
		r = bk_backup_open(b, &b->fleece, "fleece device",
				   b->params.fleece);
	if (!r)
		r = bk_backup_check(b);
	if (!r && b->bitmap && bk_bitmap_prepare(b->bitmap))
		r = bk_job_say(job, -ENOMEM, "out of memory");
	return r ?: bk_backup_make_pit(b);
}

static void bk_backup_install(struct bk_job *job, struct bk_cfg *cfg)
{
	struct bk_backup *b = bk_backup_of(job);

	b->pit->cut_at = get_jiffies_64();
	bk_cfg_add_pit(cfg, b->pit);
}

static void bk_backup_started(struct bk_job *job)
{
	/* It would never pass its turn. */
	if (bk_backup_of(job)->params.sync == BK_SYNC_NONE)
		bk_group_pass(job);
}

/**
 * bk_backup_get_pit - the job's point in time
 * @b:		the backup
 *
 * Context: process. Return: a reference, or NULL when the job has let go of it.
 */
struct bk_pit *bk_backup_get_pit(struct bk_backup *b)
{
	struct bk_pit *pit;

	spin_lock(&b->job.lock);
	pit = b->pit;
	if (pit)
		bk_pit_get(pit);
	spin_unlock(&b->job.lock);
	return pit;
}

/*----------------------------------------------------------------*/
/* Running */

static int bk_backup_copy(struct bk_job *job)
{
	struct bk_backup *b = bk_backup_of(job);
	struct bk_pit *pit;

	if (b->params.sync == BK_SYNC_NONE)
		return -EBUSY;
	pit = b->pit;
	if (atomic_read(&pit->background) >= b->params.max_workers)
		return -EBUSY;
	/* Guests first: both to the budget and to the destination. */
	if (bk_pool_defer_background(&job->origin->pool))
		return -EBUSY;
	if (!bk_dest_has_room(pit->dest, bk_pit_coming(pit)))
		return -EBUSY;
	return bk_cow_copy_next(pit, pit->params.max_chunk);
}

static bool bk_backup_is_idle(struct bk_job *job)
{
	struct bk_backup *b = bk_backup_of(job);

	return b->params.sync == BK_SYNC_NONE ||
	       !atomic_read(&b->pit->background);
}

static bool bk_backup_is_complete(struct bk_job *job)
{
	struct bk_backup *b = bk_backup_of(job);

	/* Of a narrowed one that is only known when it has been narrowed. */
	return b->params.sync != BK_SYNC_NONE &&
	       bk_pit_is_drained(b->pit) && !atomic_long_read(&b->pit->todo);
}

static void bk_backup_resumed(struct bk_job *job)
{
	struct bk_pit *pit = bk_backup_get_pit(bk_backup_of(job));

	if (pit) {
		bk_pit_retry(pit);
		bk_pit_put(pit);
	}
}

/*
 * The point in time, for a view. What a view discards is not copied, so a bitmap
 * that is to lose its bits can't have that.
 */
static struct bk_pit *bk_backup_view(struct bk_job *job, bool *may_discard)
{
	struct bk_backup *b = bk_backup_of(job);

	lockdep_assert_held(&job->lock);
	*may_discard = !b->bitmap || b->params.bitmap_mode == BK_MODE_NEVER;
	return b->pit;
}

static unsigned int bk_backup_views(struct bk_job *job)
{
	struct bk_backup *b = bk_backup_of(job);
	unsigned int views;

	spin_lock(&job->lock);
	views = b->pit ? atomic_read(&b->pit->views) : 0;
	spin_unlock(&job->lock);
	return views;
}

static void bk_backup_fleece_usage(struct bk_job *job, u64 *used, u64 *peak)
{
	struct bk_backup *b = bk_backup_of(job);

	*used = 0;
	spin_lock(&job->lock);
	*peak = b->fleece_peak;
	if (b->pit)
		bk_fleece_usage(b->pit, used, peak);
	spin_unlock(&job->lock);
}

static size_t bk_backup_show(struct bk_job *job, char *buf, size_t size)
{
	struct bk_backup *b = bk_backup_of(job);
	u64 fleeced, peak;
	size_t len;

	bk_backup_fleece_usage(job, &fleeced, &peak);
	len = scnprintf(buf, size,
			" target=%s sync=%s bitmap=%s bitmap_mode=%s cluster=%u max_chunk=%llu max_workers=%llu detect_zeroes=%s on_cbw_error=%s cbw_timeout=%u guest_copied=%llu views=%u checkpoints=%u fleece=%s fleeced=%llu fleece_peak=%llu",
			b->params.target, bk_sync_names[b->params.sync],
			b->params.bitmap ?: "-",
			bk_bitmap_mode_names[b->params.bitmap_mode] ?: "-",
			b->cluster, b->params.max_chunk,
			b->params.max_workers,
			bk_zeroes_names[READ_ONCE(b->zeroes)],
			bk_cbw_policy_names[READ_ONCE(b->cbw.policy)],
			READ_ONCE(b->cbw.timeout),
			(unsigned long long)atomic64_read(&b->guest_sectors),
			bk_backup_views(job), READ_ONCE(b->checkpoints),
			b->params.fleece ?: "-", fleeced, peak);
	return len + bk_backup_show_share(b, buf + len, size - len);
}

static void bk_backup_free(struct bk_job *job)
{
	struct bk_backup *b = bk_backup_of(job);

	bk_bits_put(b->only);
	bk_backup_forget_lender(b);
	bk_backup_free_words(&b->params);
	kfree(b);
}

const struct bk_job_type bk_backup_type = {
	.name		= "backup",
	.prepare	= bk_backup_prepare,
	.install	= bk_backup_install,
	.started	= bk_backup_started,
	.copy		= bk_backup_copy,
	.is_idle	= bk_backup_is_idle,
	.is_complete	= bk_backup_is_complete,
	.resumed	= bk_backup_resumed,
	.settle		= bk_backup_settle,
	.abort		= bk_backup_abort,
	.release	= bk_backup_release,
	.view		= bk_backup_view,
	.move_prepare	= bk_backup_move_prepare,
	.move_install	= bk_backup_move_install,
	.move_end	= bk_backup_move_end,
	.show		= bk_backup_show,
	.change		= bk_backup_change,
	.free		= bk_backup_free,
};
