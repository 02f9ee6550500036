// SPDX-License-Identifier: GPL-2.0-only
/*
 * The backup job. The contract is in backup.h.
 */

#include "backup.h"
#include "bitmap.h"
#include "cfg.h"
#include "cow.h"
#include "group.h"
#include "module.h"
#include "op.h"
#include "options.h"
#include "stage.h"
#include "store.h"
#include "txn.h"

#include <linux/log2.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#define BK_CLUSTER_DEFAULT	(SZ_64K >> SECTOR_SHIFT)
#define BK_CLUSTER_MIN		(SZ_4K >> SECTOR_SHIFT)
#define BK_CLUSTER_MAX		(SZ_64M >> SECTOR_SHIFT)
#define BK_CHUNK_DEFAULT	(SZ_1M >> SECTOR_SHIFT)
#define BK_WORKERS_DEFAULT	64

/* How often a job that ends looks whether its destination has been closed. */
#define BK_RELEASE_TICK_MS	100

enum bk_sync {
	BK_SYNC_FULL,		/* everything */
	BK_SYNC_TOP,		/* what is allocated, as far as that is known */
	BK_SYNC_BITMAP,		/* what is dirty */
	BK_SYNC_INCREMENTAL,	/* the same, and on success it is clean */
	BK_SYNC_NONE,		/* only what is overwritten */
};

/* What becomes of the bitmap. */
enum bk_bitmap_mode {
	BK_MODE_ON_SUCCESS,	/* success: what was copied is clean */
	BK_MODE_NEVER,		/* it keeps everything */
	BK_MODE_ALWAYS,		/* what was copied is clean, also on failure */
	BK_MODE_ABSENT,		/* not given */
};

/* How far it is with making what was copied durable. */
enum bk_flush {
	BK_FLUSH_NONE,
	BK_FLUSH_DEST,		/* the origin has been flushed, the dest is being */
	BK_FLUSH_DONE,
	BK_FLUSH_FAILED,
};

/**
 * struct bk_backup_params - what a backup is told
 * @job:	what every job is told
 * @target:	MAJ:MIN or path
 * @sync:	enum bk_sync
 * @bitmap:	NULL, or the name of the bitmap it works with
 * @bitmap_mode: enum bk_bitmap_mode
 * @allocated:	NULL, or the name of the bitmap that sync=top goes by
 * @tag:	NULL, or what the bitmap is to remember on success
 * @cluster:	sectors; 0: the default, or what the destination prefers
 * @max_chunk:	sectors of one background copy
 * @max_workers: background copies at a time
 * @zeroes:	enum bk_zeroes
 * @policy:	enum bk_cbw_policy
 * @cbw_timeout: ms
 * @freeze:	freeze the file system around the cut
 * @allow_larger: the destination may be longer than the origin
 */
struct bk_backup_params {
	struct bk_job_params job;
	const char *target;
	u64 sync;
	const char *bitmap;
	u64 bitmap_mode;
	const char *allocated;
	const char *tag;
	u64 cluster;
	u64 max_chunk;
	u64 max_workers;
	u64 zeroes;
	u64 policy;
	u64 cbw_timeout;
	u64 freeze;
	u64 allow_larger;
};

/**
 * struct bk_backup - a backup
 * @job:	the job
 * @params:	as given; target is the backup's own copy
 * @cluster:	in effect, sectors
 * @zeroes:	in effect
 * @cbw:	in effect
 * @dest:	where it goes; a user until @released
 * @notify:	kicks the job for the destination, and for the origin's resume
 * @deferred:	waits for the origin's resume
 * @pit:	its point in time, until @released; job->lock, but for who keeps the
 *		job from moving on: sync is not none, or the job ends
 * @next:	a transaction is about to put it in the place of @pit; job->lock
 * @bitmap:	its bitmap, claimed, until that has been let go of
 * @allocated:	what sync=top is limited to, or NULL; claimed, so that its bits
 *		are those that are published
 * @only:	the bits that it is limited to, or NULL; a reference, until there is
 *		a point in time
 * @commit:	what the metadata device is to do about @bitmap, or NULL
 * @uncopied:	@bitmap's successor has been told what was not copied
 * @settled:	@bitmap has abdicated, or reclaimed
 * @flush:	enum bk_flush
 * @bitmap_by:	jiffies until which a failed job waits for its flush, and any job
 *		for @commit
 * @released:	all is let go of but the closing of @dest
 * @release_by:	jiffies until which that is waited for
 * @guest_sectors: copied because of guests' writes
 * @checkpoints: how often its point in time has moved; job->lock
 */
struct bk_backup {
	struct bk_job job;
	struct bk_backup_params params;
	unsigned int cluster;
	enum bk_zeroes zeroes;
	struct bk_cbw cbw;
	struct bk_dest *dest;
	struct work_struct notify;
	struct bk_deferred deferred;
	struct bk_pit *pit;
	struct bk_pit *next;
	struct bk_bitmap *bitmap;
	struct bk_bitmap *allocated;
	struct bk_bits *only;
	struct bk_store_req *commit;
	bool uncopied;
	bool settled;
	enum bk_flush flush;
	unsigned long bitmap_by;
	bool released;
	unsigned long release_by;
	atomic64_t guest_sectors;
	unsigned int checkpoints;
};

static const char *const bk_sync_names[] = {
	[BK_SYNC_FULL]		= "full",
	[BK_SYNC_TOP]		= "top",
	[BK_SYNC_BITMAP]	= "bitmap",
	[BK_SYNC_INCREMENTAL]	= "incremental",
	[BK_SYNC_NONE]		= "none",
	NULL
};

static const char *const bk_bitmap_mode_names[] = {
	[BK_MODE_ON_SUCCESS]	= "on_success",
	[BK_MODE_NEVER]		= "never",
	[BK_MODE_ALWAYS]	= "always",
	[BK_MODE_ABSENT]	= NULL
};

static const char *const bk_zeroes_names[] = {
	[BK_ZEROES_OFF]		= "off",
	[BK_ZEROES_ON]		= "on",
	[BK_ZEROES_UNMAP]	= "unmap",
	NULL
};

static const char *const bk_cbw_policy_names[] = {
	[BK_BREAK_SNAPSHOT]	= "break_snapshot",
	[BK_BREAK_GUEST_WRITE]	= "break_guest_write",
	NULL
};

#define BK_FIELD(f)	offsetof(struct bk_backup_params, f)

static const struct bk_option bk_backup_options[] = {
	{ "target", BK_OPT_STRING, BK_FIELD(target), .required = true },
	{ "sync", BK_OPT_WORD, BK_FIELD(sync), .words = bk_sync_names,
	  .required = true },
	{ "bitmap", BK_OPT_STRING, BK_FIELD(bitmap) },
	{ "bitmap_mode", BK_OPT_WORD, BK_FIELD(bitmap_mode),
	  .words = bk_bitmap_mode_names },
	{ "allocated", BK_OPT_STRING, BK_FIELD(allocated) },
	{ "tag", BK_OPT_STRING, BK_FIELD(tag) },
	{ "cluster", BK_OPT_POWER2, BK_FIELD(cluster),
	  .min = BK_CLUSTER_MIN, .max = BK_CLUSTER_MAX },
	{ "max_chunk", BK_OPT_NUMBER, BK_FIELD(max_chunk),
	  .min = BK_CLUSTER_MIN, .max = BK_CLUSTER_MAX },
	{ "max_workers", BK_OPT_NUMBER, BK_FIELD(max_workers),
	  .min = 1, .max = INT_MAX },
	{ "speed", BK_OPT_NUMBER, BK_FIELD(job.speed), .max = S64_MAX },
	{ "detect_zeroes", BK_OPT_WORD, BK_FIELD(zeroes),
	  .words = bk_zeroes_names },
	{ "on_source_error", BK_OPT_WORD, BK_FIELD(job.on_error[0]),
	  .words = bk_policy_names },
	{ "on_target_error", BK_OPT_WORD, BK_FIELD(job.on_error[1]),
	  .words = bk_policy_names },
	{ "on_cbw_error", BK_OPT_WORD, BK_FIELD(policy),
	  .words = bk_cbw_policy_names },
	{ "cbw_timeout", BK_OPT_NUMBER, BK_FIELD(cbw_timeout),
	  .max = 1ULL << 31 },
	{ "auto_finalize", BK_OPT_BOOL, BK_FIELD(job.auto_finalize) },
	{ "auto_dismiss", BK_OPT_BOOL, BK_FIELD(job.auto_dismiss) },
	{ "freeze", BK_OPT_BOOL, BK_FIELD(freeze) },
	{ "allow_larger", BK_OPT_BOOL, BK_FIELD(allow_larger) },
};

static struct bk_backup *bk_backup_of(struct bk_job *job)
{
	return container_of(job, struct bk_backup, job);
}

static struct bk_backup *bk_pit_backup(struct bk_pit *pit)
{
	return pit->owner;
}

/*----------------------------------------------------------------*/
/* What the point in time asks */

static void bk_backup_claimed(struct bk_pit *pit, unsigned int sectors)
{
	struct bk_backup *b = bk_pit_backup(pit);

	atomic64_add(sectors, &b->guest_sectors);
	atomic64_add((u64)sectors << SECTOR_SHIFT, &pit->origin->guest_bytes);
	/* Guests' copies are not limited, but the background pays for them. */
	if (READ_ONCE(b->job.rate.speed))
		bk_job_charge(&b->job, sectors);
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

static enum bk_action bk_backup_error(struct bk_pit *pit, bool write,
				      sector_t sector, blk_status_t status,
				      bool guest)
{
	return bk_job_error(&bk_pit_backup(pit)->job, write, sector, status,
			    guest);
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
	.error		= bk_backup_error,
	.broken		= bk_backup_broken,
	.kick		= bk_backup_kick,
	.idle		= bk_backup_idle,
	.release	= bk_backup_pit_release,
};

/*----------------------------------------------------------------*/
/* Preparing */

static int bk_backup_say_open(struct bk_backup *b, int err)
{
	const char *why = "can't be opened";

	switch (err) {
	case -EBUSY:
		why = "is in use";
		break;
	case -EACCES:
	case -EROFS:
	case -EPERM:
		why = "is read-only";
		break;
	case -ENXIO:
	case -ENODEV:
	case -ENOENT:
		why = "does not exist";
		break;
	case -ENOTBLK:
		why = "is not a block device";
		break;
	}
	return bk_job_say(&b->job, err, "destination %.64s %s",
			  b->params.target, why);
}

/* Do two block devices share sectors of one disk? */
static bool bk_bdevs_overlap(struct block_device *x, struct block_device *y)
{
	sector_t xs = get_start_sect(x), ys = get_start_sect(y);

	return x->bd_disk == y->bd_disk && xs < ys + bdev_nr_sectors(y) &&
	       ys < xs + bdev_nr_sectors(x);
}

/* Can @d take what is on @o? Under bk_cut_mutex, which keeps @o open. */
static int bk_backup_check_dest(struct bk_backup *b, struct block_device *o,
				struct block_device *d)
{
	struct bk_origin *origin = b->job.origin;
	unsigned int block = bdev_logical_block_size(d);
	sector_t have = bdev_nr_sectors(d);
	const char *name = b->params.target;

	if (d->bd_disk == dm_disk(origin->md))
		return bk_job_say(&b->job, -EINVAL,
				  "destination %.64s is the filter itself",
				  name);
	if (bk_bdevs_overlap(o, d))
		return bk_job_say(&b->job, -EINVAL,
				  "destination %.64s is the origin, or a part of it",
				  name);
	if (bdev_is_zoned(d))
		return bk_job_say(&b->job, -EINVAL,
				  "destination %.64s is zoned", name);
	if (have < origin->len || (have > origin->len &&
				   !b->params.allow_larger))
		return bk_job_say(&b->job, -ENOSPC,
				  "destination %.64s has %llu sectors, the origin %llu",
				  name, (unsigned long long)have,
				  (unsigned long long)origin->len);
	if (origin->len & ((block >> SECTOR_SHIFT) - 1))
		return bk_job_say(&b->job, -EINVAL,
				  "the origin's length is no multiple of destination %.64s's block of %u bytes",
				  name, block);
	return 0;
}

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

static int bk_backup_check(struct bk_backup *b)
{
	struct bk_origin *origin = b->job.origin;
	struct block_device *d = b->dest->bdev.bdev;
	struct bk_instance *in;
	int r;

	mutex_lock(&bk_cut_mutex);
	if (origin->dead) {
		r = bk_job_say(&b->job, -ENODEV, "the filter is going away");
	} else {
		in = list_first_entry(&origin->instances, struct bk_instance,
				      list);
		r = bk_backup_check_dest(b, in->dev->bdev, d);
		b->cluster = max_t(unsigned int,
				   b->params.cluster ?: BK_CLUSTER_DEFAULT,
				   bk_backup_natural(in->dev->bdev, d));
	}
	mutex_unlock(&bk_cut_mutex);
	return r;
}

/* Why there is no memory for a point in time. */
static void bk_backup_say_pit(struct bk_backup *b, int err, char *text,
			      size_t size)
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
	};
	int err;

	b->pit = bk_pit_create(b->job.origin, b->dest, &params,
			       &bk_backup_pit_ops, b, b->job.id, &err);
	if (b->pit) {
		bk_bits_put(b->only);	/* the point in time has its own */
		b->only = NULL;
		bk_job_get(&b->job);	/* dropped by bk_backup_pit_release() */
		return 0;
	}
	bk_backup_say_pit(b, err, why, sizeof(why));
	return bk_job_say(&b->job, err, "%s", why);
}

static int bk_backup_prepare(struct bk_job *job)
{
	struct bk_backup *b = bk_backup_of(job);
	int r;

	if (!b->dest)
		b->dest = bk_dest_open(b->params.target, job->origin->wait_wq,
				       &b->notify);
	if (!b->dest)
		return bk_job_say(job, -ENOMEM, "out of memory");
	if (bk_dest_busy(b->dest))
		return -EINPROGRESS;
	if (b->dest->error)
		return bk_backup_say_open(b, b->dest->error);
	r = bk_backup_check(b);
	if (!r && b->bitmap && bk_bitmap_prepare(b->bitmap))
		r = bk_job_say(job, -ENOMEM, "out of memory");
	return r ?: bk_backup_make_pit(b);
}

static void bk_backup_install(struct bk_job *job, struct bk_cfg *cfg)
{
	struct bk_backup *b = bk_backup_of(job);

	bk_cfg_add_pit(cfg, b->pit);
}

static void bk_backup_started(struct bk_job *job)
{
	/* It would never pass its turn. */
	if (bk_backup_of(job)->params.sync == BK_SYNC_NONE)
		bk_group_pass(job);
}

/* With a reference; NULL when the job has let go of it. */
static struct bk_pit *bk_backup_get_pit(struct bk_backup *b)
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
/* Moving on */

/* It is published no more, or never was; its destination may keep it for long. */
static void bk_backup_drop_pit(struct bk_pit *pit)
{
	bk_reserve_exit(&pit->origin->pool, &pit->reserve);
	bk_pit_put(pit);
}

/* It is to take the place of @pit, if that is still the job's. */
static bool bk_backup_set_next(struct bk_backup *b, struct bk_pit *pit,
			       struct bk_pit *next)
{
	bool ok;

	spin_lock(&b->job.lock);
	ok = b->pit == pit && !b->next;
	if (ok)
		b->next = next;
	spin_unlock(&b->job.lock);
	return ok;
}

static int bk_backup_move_prepare(struct bk_job *job, char *error, size_t size)
{
	struct bk_backup *b = bk_backup_of(job);
	struct bk_pit *pit, *next = NULL;
	int err = -EBUSY;

	if (b->params.sync != BK_SYNC_NONE) {
		scnprintf(error, size,
			  "job '%.64s' copies: only with sync=none can the point in time move",
			  job->id);
		return -EINVAL;
	}
	pit = bk_backup_get_pit(b);
	if (pit)
		next = bk_pit_create_next(pit, &err);
	if (next) {
		bk_job_get(job);	/* dropped by bk_backup_pit_release() */
		err = 0;
		if (!bk_backup_set_next(b, pit, next)) {
			bk_backup_drop_pit(next);
			err = -EBUSY;
		}
	}
	if (err == -EBUSY)
		scnprintf(error, size,
			  "job '%.64s' ends, or is being moved by another transaction",
			  job->id);
	else if (err)
		bk_backup_say_pit(b, err, error, size);
	if (pit)
		bk_pit_put(pit);
	return err;
}

/* The job does not end now, so both are there. */
static void bk_backup_move_install(struct bk_job *job, struct bk_cfg *cfg)
{
	struct bk_backup *b = bk_backup_of(job);

	bk_cfg_swap_pit(cfg, b->pit, b->next);
}

static void bk_backup_move_end(struct bk_job *job, bool made)
{
	struct bk_backup *b = bk_backup_of(job);
	struct bk_pit *next, *pit = NULL;

	spin_lock(&job->lock);
	next = b->next;
	b->next = NULL;
	if (made) {
		pit = b->pit;
		b->pit = next;
		WRITE_ONCE(b->checkpoints, b->checkpoints + 1);
	}
	spin_unlock(&job->lock);
	if (made) {
		/* for people to look at: a copy or two may be counted wrong */
		atomic64_set(&job->done, 0);
		bk_pit_replace(pit, next);
		bk_backup_drop_pit(pit);
	} else if (next) {
		bk_backup_drop_pit(next);
	}
}

/*----------------------------------------------------------------*/
/* Running */

static int bk_backup_copy(struct bk_job *job)
{
	struct bk_backup *b = bk_backup_of(job);
	struct bk_pit *pit = b->pit;

	if (b->params.sync == BK_SYNC_NONE ||
	    atomic_read(&pit->background) >= b->params.max_workers)
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

/*----------------------------------------------------------------*/
/* Ending */

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

/*
 * First the origin, then the destination: what was copied may have been in the
 * origin's volatile cache only.
 */
static int bk_backup_settle(struct bk_job *job)
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

static void bk_backup_abort(struct bk_job *job)
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
	if (b->bitmap && READ_ONCE(b->bitmap->deriving)) {
		/* What it had is to be known first: that waits for the origin. */
		bk_job_wake_in(&b->job, BK_RELEASE_TICK_MS);
		return -EINPROGRESS;
	}
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

	spin_lock(&b->job.lock);
	pit = b->pit;
	b->pit = NULL;
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
		bk_pit_quit(pit);
		bk_cfg_remove_pit(origin, pit);
		bk_backup_drop_pit(pit);
	}
	if (b->dest)
		bk_dest_put(b->dest);
}

static int bk_backup_release(struct bk_job *job, bool hurry)
{
	struct bk_backup *b = bk_backup_of(job);

	if (bk_backup_end_bitmap(b, hurry))
		return -EINPROGRESS;
	if (!b->released)
		bk_backup_let_go(b);
	if (b->dest) {
		if (!bk_dest_closed(b->dest) && !hurry &&
		    !bk_dest_is_viewed(b->dest) &&
		    time_before(jiffies, b->release_by)) {
			bk_job_wake_in(job, BK_RELEASE_TICK_MS);
			return -EINPROGRESS;
		}
		bk_dest_forget(b->dest);
		b->dest = NULL;
	}
	/* Nobody queues it any more. */
	cancel_work_sync(&b->notify);
	return 0;
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

static size_t bk_backup_show(struct bk_job *job, char *buf, size_t size)
{
	struct bk_backup *b = bk_backup_of(job);

	return scnprintf(buf, size,
			 " target=%s sync=%s bitmap=%s bitmap_mode=%s cluster=%u max_chunk=%llu max_workers=%llu detect_zeroes=%s on_cbw_error=%s cbw_timeout=%u guest_copied=%llu views=%u checkpoints=%u",
			 b->params.target, bk_sync_names[b->params.sync],
			 b->params.bitmap ?: "-",
			 bk_bitmap_mode_names[b->params.bitmap_mode] ?: "-",
			 b->cluster, b->params.max_chunk,
			 b->params.max_workers,
			 bk_zeroes_names[READ_ONCE(b->zeroes)],
			 bk_cbw_policy_names[READ_ONCE(b->cbw.policy)],
			 READ_ONCE(b->cbw.timeout),
			 (unsigned long long)atomic64_read(&b->guest_sectors),
			 bk_backup_views(job), READ_ONCE(b->checkpoints));
}

/**
 * struct bk_backup_change - what can change while a backup runs
 * @on_error:	as in struct bk_job_params
 * @policy:	as in struct bk_backup_params
 * @cbw_timeout: the same
 */
struct bk_backup_change {
	u64 on_error[2];
	u64 policy;
	u64 cbw_timeout;
};

#define BK_CHANGE(f)	offsetof(struct bk_backup_change, f)

static const struct bk_option bk_backup_changes[] = {
	{ "on_source_error", BK_OPT_WORD, BK_CHANGE(on_error[0]),
	  .words = bk_policy_names },
	{ "on_target_error", BK_OPT_WORD, BK_CHANGE(on_error[1]),
	  .words = bk_policy_names },
	{ "on_cbw_error", BK_OPT_WORD, BK_CHANGE(policy),
	  .words = bk_cbw_policy_names },
	{ "cbw_timeout", BK_OPT_NUMBER, BK_CHANGE(cbw_timeout),
	  .max = 1ULL << 31 },
};

/* A write that waits already is measured by the new values. */
static int bk_backup_change(struct bk_job *job, unsigned int argc, char **argv,
			    char *error, size_t size)
{
	struct bk_backup *b = bk_backup_of(job);
	struct bk_backup_change to = {
		.policy		= b->cbw.policy,
		.cbw_timeout	= b->cbw.timeout,
	};
	u64 given;
	int r;

	memcpy(to.on_error, job->params.on_error, sizeof(to.on_error));
	r = bk_options_parse(bk_backup_changes, ARRAY_SIZE(bk_backup_changes),
			     &to, argc, argv, &given, error, size);
	if (r)
		return r;
	WRITE_ONCE(b->cbw.policy, to.policy);
	WRITE_ONCE(b->cbw.timeout, to.cbw_timeout);
	spin_lock(&job->lock);
	memcpy(job->params.on_error, to.on_error, sizeof(to.on_error));
	spin_unlock(&job->lock);
	return 0;
}

static void bk_backup_free(struct bk_job *job)
{
	struct bk_backup *b = bk_backup_of(job);

	bk_bits_put(b->only);
	kfree(b->params.target);
	kfree(b->params.bitmap);
	kfree(b->params.tag);
	kfree(b);
}

static const struct bk_job_type bk_backup_type = {
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

/*----------------------------------------------------------------*/

static void bk_backup_notify(struct work_struct *work)
{
	bk_job_kick(&container_of(work, struct bk_backup, notify)->job);
}

/*
 * Which combinations of sync and bitmap_mode make sense with a bitmap, and what
 * is said of the others.
 */
static const char *const bk_backup_matrix[5][4] = {
	[BK_SYNC_FULL] = {
		[BK_MODE_ABSENT] = "bitmap_mode must be given with a bitmap",
		[BK_MODE_NEVER] = "bitmap_mode=never has no effect with sync=full",
	},
	[BK_SYNC_TOP] = {
		[BK_MODE_ABSENT] = "bitmap_mode must be given with a bitmap",
		[BK_MODE_NEVER] = "bitmap_mode=never has no effect with sync=top",
	},
	[BK_SYNC_BITMAP] = {
		[BK_MODE_ABSENT] = "bitmap_mode must be given with a bitmap",
	},
	[BK_SYNC_INCREMENTAL] = {
		[BK_MODE_NEVER] = "sync=incremental is bitmap_mode=on_success, and no other",
		[BK_MODE_ALWAYS] = "sync=incremental is bitmap_mode=on_success, and no other",
	},
	[BK_SYNC_NONE] = {
		[BK_MODE_ABSENT] = "sync=none makes no use of a bitmap",
		[BK_MODE_ON_SUCCESS] = "sync=none makes no use of a bitmap",
		[BK_MODE_NEVER] = "sync=none makes no use of a bitmap",
		[BK_MODE_ALWAYS] = "sync=none makes no use of a bitmap",
	},
};

/* It is shown in lines of text, and kept on disk. */
static bool bk_backup_tag_is_good(const char *tag)
{
	const char *p;

	for (p = tag; *p; p++)
		if (*p <= ' ' || *p > '~')
			return false;
	return p - tag < BK_BITMAP_NAME_SIZE;
}

/* Do sync, bitmap and bitmap_mode go together? A sentence if not. */
static const char *bk_backup_objection(const struct bk_backup_params *p)
{
	if (p->allocated && p->sync != BK_SYNC_TOP)
		return "allocated goes with sync=top only";
	if (p->tag && (!p->bitmap || !bk_backup_tag_is_good(p->tag)))
		return "tag goes with a bitmap, and has at most 127 characters, all ASCII";
	if (p->bitmap)
		return bk_backup_matrix[p->sync][p->bitmap_mode];
	if (p->sync == BK_SYNC_BITMAP)
		return "sync=bitmap needs a bitmap";
	if (p->sync == BK_SYNC_INCREMENTAL)
		return "sync=incremental needs a bitmap";
	if (p->bitmap_mode != BK_MODE_ABSENT)
		return "bitmap_mode without a bitmap";
	return NULL;
}

/* Find the bitmaps that @params name. 0 or a negative errno, @error filled. */
static int bk_backup_find_bitmaps(struct bk_txn_part *part,
				  const struct bk_backup_params *params,
				  struct bk_stage **bitmap,
				  struct bk_stage **allocated, char *error,
				  size_t size)
{
	const char *objection = bk_backup_objection(params);
	int err = 0;

	*bitmap = NULL;
	*allocated = NULL;
	if (objection) {
		strscpy(error, objection, size);
		return -EINVAL;
	}
	if (params->bitmap)
		*bitmap = bk_stage_for_job(part, params->bitmap, &err, error,
					   size);
	if (err || !params->allocated)
		return err;
	*allocated = bk_stage_for_job(part, params->allocated, &err, error,
				      size);
	/* It has no successor that it could be kept apart by. */
	if (!err && (*allocated)->content != (*allocated)->bitmap->bits) {
		scnprintf(error, size,
			  "bitmap '%.64s': what it holds can't change in the same transaction",
			  params->allocated);
		err = -EINVAL;
	}
	return err;
}

/* Its bitmaps are its own from here on. The filter's lock is held. */
static void bk_backup_take_bitmaps(struct bk_backup *b, struct bk_stage *bitmap,
				   struct bk_stage *allocated)
{
	struct bk_stage *only = NULL;

	if (allocated) {
		bk_stage_give(allocated, b->job.id);
		b->allocated = allocated->bitmap;
		only = allocated;
	}
	if (bitmap) {
		bk_stage_give(bitmap, b->job.id);
		b->bitmap = bitmap->bitmap;
	}
	if (b->params.sync == BK_SYNC_BITMAP ||
	    b->params.sync == BK_SYNC_INCREMENTAL)
		only = bitmap;
	if (only) {
		b->only = only->content;
		bk_bits_get(b->only);
	}
}

/**
 * bk_backup_create - make a backup job from a message's options
 * @part:	the filter; its lock is held
 * @id:		the job's id, checked
 * @argc:	number of options
 * @argv:	key=value
 * @freeze:	set to whether the file system is to be frozen for the cut
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, may sleep, not for I/O.
 * Return: the job, with a reference, or an error pointer.
 */
struct bk_job *bk_backup_create(struct bk_txn_part *part, const char *id,
				unsigned int argc, char **argv, bool *freeze,
				char *error, size_t size)
{
	struct bk_backup_params params = {
		.job		= bk_job_defaults,
		.bitmap_mode	= BK_MODE_ABSENT,
		.max_chunk	= BK_CHUNK_DEFAULT,
		.max_workers	= BK_WORKERS_DEFAULT,
		.cbw_timeout	= part->origin->cbw_timeout,
	};
	struct bk_origin *origin = part->origin;
	struct bk_stage *bitmap, *allocated;
	struct bk_backup *b;
	u64 given;
	int r;

	r = bk_options_parse(bk_backup_options, ARRAY_SIZE(bk_backup_options),
			     &params, argc, argv, &given, error, size);
	if (!r)
		r = bk_backup_find_bitmaps(part, &params, &bitmap, &allocated,
					   error, size);
	if (r)
		return ERR_PTR(r);
	if (params.sync == BK_SYNC_INCREMENTAL)
		params.bitmap_mode = BK_MODE_ON_SUCCESS;

	b = kzalloc(sizeof(*b), GFP_NOIO);
	params.target = kstrdup(params.target, GFP_NOIO);
	params.bitmap = kstrdup(params.bitmap, GFP_NOIO);
	params.allocated = NULL;
	params.tag = kstrdup(params.tag, GFP_NOIO);
	if (!b || !params.target || (bitmap && !params.bitmap)) {
		kfree(b);
		kfree(params.target);
		kfree(params.bitmap);
		kfree(params.tag);
		strscpy(error, "out of memory", size);
		return ERR_PTR(-ENOMEM);
	}
	bk_job_init(&b->job, origin, &bk_backup_type, id, &params.job);
	b->params = params;
	b->zeroes = params.zeroes;
	b->cbw.policy = params.policy;
	b->cbw.timeout = params.cbw_timeout;
	bk_backup_take_bitmaps(b, bitmap, allocated);
	INIT_WORK(&b->notify, bk_backup_notify);
	INIT_LIST_HEAD(&b->deferred.list);
	b->deferred.work = &b->notify;
	b->deferred.wq = origin->wait_wq;
	*freeze = params.freeze;
	return &b->job;
}
