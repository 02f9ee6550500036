// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mirror job. The contract is in mirror.h.
 */

#include "mirror-int.h"
#include "bitmap.h"
#include "cfg.h"
#include "job-dest.h"
#include "mirror-write.h"
#include "options.h"
#include "pivot.h"
#include "trust.h"
#include "txn.h"

#include <linux/sizes.h>
#include <linux/slab.h>

#define BK_MIRROR_GRANULARITY	(SZ_64K >> SECTOR_SHIFT)
#define BK_MIRROR_GRANULARITY_MAX (SZ_64M >> SECTOR_SHIFT)
#define BK_MIRROR_PIECE_MIN	(SZ_4K >> SECTOR_SHIFT)
#define BK_MIRROR_CHUNK		(SZ_1M >> SECTOR_SHIFT)
#define BK_MIRROR_BUF		(SZ_16M >> SECTOR_SHIFT)

/* How often it looks for room, if it must. */
#define BK_MIRROR_ROOM_MS	10

static const char *const bk_mirror_sync_names[] = {
	[BK_MIRROR_FULL]	= "full",
	[BK_MIRROR_NONE]	= "none",
	[BK_MIRROR_BITMAP]	= "bitmap",
	NULL
};

static const char *const bk_mirror_bitmap_mode_names[] = {
	[BK_MIRROR_NEVER]	= "never",
	[BK_MIRROR_ON_SUCCESS]	= "on_success",
	[BK_MIRROR_ALWAYS]	= "always",
	[BK_MIRROR_MODE_ABSENT]	= NULL
};

const char *const bk_mirror_copy_mode_names[] = {
	[BK_MIRROR_BACKGROUND]	= "background",
	[BK_MIRROR_WRITE_BLOCKING] = "write_blocking",
	NULL
};

#define BK_FIELD(f)	offsetof(struct bk_mirror_params, f)

static const struct bk_option bk_mirror_options[] = {
	{ "target", BK_OPT_STRING, BK_FIELD(target), .required = true },
	{ "sync", BK_OPT_WORD, BK_FIELD(sync), .words = bk_mirror_sync_names,
	  .required = true },
	{ "bitmap", BK_OPT_STRING, BK_FIELD(bitmap) },
	{ "bitmap_mode", BK_OPT_WORD, BK_FIELD(bitmap_mode),
	  .words = bk_mirror_bitmap_mode_names },
	{ "granularity", BK_OPT_POWER2, BK_FIELD(granularity),
	  .min = 1, .max = BK_MIRROR_GRANULARITY_MAX },
	{ "buf_size", BK_OPT_NUMBER, BK_FIELD(buf_size),
	  .min = BK_MIRROR_PIECE_MIN, .max = INT_MAX },
	{ "max_chunk", BK_OPT_NUMBER, BK_FIELD(max_chunk),
	  .min = BK_MIRROR_PIECE_MIN, .max = BK_MIRROR_GRANULARITY_MAX },
	{ "copy_mode", BK_OPT_WORD, BK_FIELD(copy_mode),
	  .words = bk_mirror_copy_mode_names },
	{ "auto_switch", BK_OPT_BOOL, BK_FIELD(auto_switch) },
	{ "cbw_timeout", BK_OPT_NUMBER, BK_FIELD(cbw_timeout),
	  .max = 1ULL << 31 },
	{ "unmap", BK_OPT_BOOL, BK_FIELD(unmap) },
	{ "target_is_zero", BK_OPT_BOOL, BK_FIELD(target_is_zero) },
	{ "zero_target", BK_OPT_BOOL, BK_FIELD(zero_target) },
	{ "allow_larger", BK_OPT_BOOL, BK_FIELD(allow_larger) },
	{ "speed", BK_OPT_NUMBER, BK_FIELD(job.speed), .max = S64_MAX },
	{ "on_source_error", BK_OPT_WORD, BK_FIELD(job.on_error[0]),
	  .words = bk_policy_names },
	{ "on_target_error", BK_OPT_WORD, BK_FIELD(job.on_error[1]),
	  .words = bk_policy_names },
	{ "auto_finalize", BK_OPT_BOOL, BK_FIELD(job.auto_finalize) },
	{ "auto_dismiss", BK_OPT_BOOL, BK_FIELD(job.auto_dismiss) },
};

/*----------------------------------------------------------------*/
/* What copying asks */

static void bk_mirror_error(struct bk_mcopy *mc, bool write, sector_t sector,
			    blk_status_t status)
{
	struct bk_mirror *m = mc->owner;

	bk_job_error(&m->job, write, sector, status, false);
}

/* Writes that had to wait for the destination were told without it. */
static void bk_mirror_late(struct bk_mcopy *mc)
{
	struct bk_mirror *m = mc->owner;

	atomic_inc(&m->late);
	bk_job_unsync(&m->job);
}

/* Also for a pause that is asked for: then nothing is written to it any more. */
static bool bk_mirror_is_paused(struct bk_mcopy *mc)
{
	struct bk_mirror *m = mc->owner;

	return READ_ONCE(m->job.user_paused);
}

static bool bk_mirror_mc_is_idle(struct bk_job *job, struct bk_mcopy *mc)
{
	return bk_mcopy_is_idle(mc) &&
	       (!READ_ONCE(job->user_paused) || !READ_ONCE(mc->nr_writes));
}

static bool bk_mirror_is_idle(struct bk_job *job)
{
	return bk_mirror_mc_is_idle(job, bk_mirror_of(job)->mc);
}

/* What is left is told anew each time: writers add to it. */
static void bk_mirror_ended(struct bk_mcopy *mc)
{
	struct bk_mirror *m = mc->owner;
	struct bk_job *job = &m->job;
	u64 done = READ_ONCE(mc->done);

	atomic64_set(&job->done, done);
	bk_job_set_total(job, done + bk_mcopy_left(mc));
	bk_job_kick_copy(job);
	if (READ_ONCE(job->user_paused) || !READ_ONCE(job->synced) ||
	    READ_ONCE(job->complete) || READ_ONCE(job->soft))
		/* What the job has it may have let go of by now. */
		if (bk_mirror_mc_is_idle(job, mc))
			bk_job_kick(job);
}

static void bk_mirror_mc_release(struct bk_mcopy *mc)
{
	struct bk_mirror *m = mc->owner;

	bk_job_put(&m->job);
}

static const struct bk_mcopy_ops bk_mirror_mc_ops = {
	.error		= bk_mirror_error,
	.ended		= bk_mirror_ended,
	.late		= bk_mirror_late,
	.paused		= bk_mirror_is_paused,
	.release	= bk_mirror_mc_release,
};

/*----------------------------------------------------------------*/
/* Preparing */

static int bk_mirror_check(struct bk_mirror *m)
{
	struct bk_origin *origin = m->job.origin;
	struct block_device *d = m->dest->bdev.bdev;
	const char *name = m->params.target;
	struct bk_job *job = &m->job;
	struct block_device *o;
	unsigned int block;
	int r;

	mutex_lock(&bk_cut_mutex);
	if (origin->dead) {
		r = bk_job_say(job, -ENODEV, "the filter is going away");
		goto out;
	}
	o = list_first_entry(&origin->instances, struct bk_instance,
			     list)->dev->bdev;
	r = bk_job_dest_check(job, "destination", name, o, d,
			      m->params.allow_larger);
	if (!r)
		r = bk_job_dest_contains(job, name, d);
	if (!r && m->params.zero_target && !bdev_write_zeroes_sectors(d))
		r = bk_job_say(job, -EOPNOTSUPP,
			       "destination %.64s can't write zeroes", name);
	block = max(bdev_logical_block_size(o), bdev_logical_block_size(d)) >>
		SECTOR_SHIFT;
	if (!r && m->params.granularity && m->params.granularity < block)
		r = bk_job_say(job, -EINVAL,
			       "granularity %llu is less than a block of %u sectors",
			       m->params.granularity, block);
	m->granularity = m->params.granularity ?:
			 max_t(unsigned int, BK_MIRROR_GRANULARITY, block);
out:
	mutex_unlock(&bk_cut_mutex);
	return r;
}

static int bk_mirror_make_mc(struct bk_mirror *m)
{
	size_t buf = (size_t)m->params.buf_size << SECTOR_SHIFT;
	struct bk_mcopy_params params = {
		.granularity	= m->granularity,
		.buf_size	= buf,
		.zeroes		= m->params.unmap ? BK_ZEROES_UNMAP :
						    BK_ZEROES_ON,
		.empty		= m->params.sync != BK_MIRROR_FULL,
		.target_is_zero	= m->params.target_is_zero,
		.zero_target	= m->params.zero_target,
	};
	struct bk_origin *origin = m->job.origin;
	struct bk_mcopy *mc;
	int err;

	/* A piece has to fit into what there is of the budget for it. */
	params.max_chunk = min3(m->params.max_chunk, m->params.buf_size,
				(u64)READ_ONCE(origin->pool.limit) / 4 >>
				SECTOR_SHIFT) & ~(BK_MIRROR_PIECE_MIN - 1);
	mc = bk_mcopy_create(origin, m->dest, &params, &bk_mirror_mc_ops, m,
			     &err);
	if (mc) {
		bk_job_get(&m->job);	/* dropped by bk_mirror_mc_release() */
		mutex_lock(&origin->lock);	/* bk_mirror_change() */
		mc->timeout = m->params.cbw_timeout;
		mc->blocking = m->blocking;
		m->mc = mc;
		mutex_unlock(&origin->lock);
		return 0;
	}
	if (err == -EFBIG)
		return bk_job_say(&m->job, err,
				  "granules of %u sectors are too many",
				  m->granularity);
	return bk_job_say(&m->job, err, "out of memory");
}

static int bk_mirror_prepare(struct bk_job *job)
{
	struct bk_mirror *m = bk_mirror_of(job);
	char name[BK_MD_ORIGIN];
	int r;

	if (!m->dest)
		m->dest = bk_dest_open(m->params.target, job->origin->wait_wq,
				       &m->notify);
	if (!m->dest)
		return bk_job_say(job, -ENOMEM, "out of memory");
	if (bk_dest_busy(m->dest))
		return -EINPROGRESS;
	if (m->dest->error)
		return bk_job_dest_failed(job, "destination", m->params.target,
					  m->dest->error);
	r = bk_mirror_check(m);
	if (r)
		return r;
	if (m->bitmap && bk_bitmap_prepare(m->bitmap))
		return bk_job_say(job, -ENOMEM, "out of memory");
	m->nameless = !bk_trust_name(m->dest->bdev.bdev, name);
	/* With all I/O going there, one that hangs would hang it all. */
	if (bk_dest_probe(m->dest))
		return bk_job_say(job, -ENOMEM, "out of memory");
	return bk_mirror_make_mc(m);
}

static void bk_mirror_install(struct bk_job *job, struct bk_cfg *cfg)
{
	struct bk_mirror *m = bk_mirror_of(job);

	bk_cfg_add_end(cfg, m->mc->bits);
	if (m->blocking)
		bk_cfg_add_both(cfg, m->mc);
}

static void bk_mirror_started(struct bk_job *job)
{
	struct bk_mirror *m = bk_mirror_of(job);

	bk_job_set_total(job, bk_mcopy_left(m->mc));
	bk_mirror_watch(m);
}

/*----------------------------------------------------------------*/
/* Running */

static int bk_mirror_copy(struct bk_job *job)
{
	struct bk_mirror *m = bk_mirror_of(job);
	int n = bk_mcopy_next(m->mc);

	if (n > 0 || n == -EBUSY)
		return n;
	if (n == -EAGAIN) {
		bk_job_copy_in(job, BK_MIRROR_ROOM_MS);
		return n;
	}
	/* Writers that mark tell nobody. */
	bk_job_copy_in(job, BK_MIRROR_IDLE_MS);
	if (!READ_ONCE(job->synced) && bk_mcopy_is_idle(m->mc))
		bk_job_kick(job);
	return 0;
}

static bool bk_mirror_never(struct bk_job *job)
{
	return false;
}

static void bk_mirror_resumed(struct bk_job *job)
{
	bk_mirror_of(job)->end_at = get_jiffies_64();
}

static bool bk_mirror_is_ready(struct bk_job *job)
{
	struct bk_mirror *m = bk_mirror_of(job);
	int r;

	bk_mirror_begin_bitmap(m);
	if (m->asked != BK_MASK_READY) {
		/* Counted first: an error after that means that something is dirty. */
		m->errors = READ_ONCE(job->errors);
		m->unsyncs = READ_ONCE(job->unsyncs);
		if (!bk_mcopy_is_converged(m->mc))
			return false;
	}
	r = bk_mirror_ask(m, BK_MASK_READY);
	if (r && r != -EINPROGRESS &&
	    bk_job_error(job, true, 0, errno_to_blk_status(r), false) ==
	    BK_ACTION_IGNORE)
		bk_job_wake_in(job, BK_MIRROR_AGAIN_MS);
	return !r && m->errors == READ_ONCE(job->errors) &&
	       m->unsyncs == READ_ONCE(job->unsyncs);
}

/*----------------------------------------------------------------*/
/* Ending */

static const char *bk_mirror_objection(struct bk_job *job, char *buf,
				       size_t size)
{
	struct bk_mirror *m = bk_mirror_of(job);
	const char *lacks;

	if (job->origin->store && m->nameless)
		return "can't take the origin's place: it has neither a dm uuid nor a partition's";
	/* Since it was prepared another table may have been loaded. */
	lacks = bk_job_dest_lacks(job, m->dest->bdev.bdev);
	if (lacks) {
		scnprintf(buf, size, BK_MIRROR_LACKS, lacks);
		return buf;
	}
	return bk_pivot_objection(job->origin, job);
}

static int bk_mirror_settle(struct bk_job *job)
{
	return 0;	/* all of that was done to finish */
}

static void bk_mirror_abort(struct bk_job *job)
{
	struct bk_mirror *m = bk_mirror_of(job);

	if (m->mc && !m->released)
		bk_mcopy_stop(m->mc);
}

static void bk_mirror_let_go(struct bk_mirror *m)
{
	struct bk_origin *origin = m->job.origin;
	struct bk_mcopy *mc;

	m->released = true;
	m->release_by = jiffies + msecs_to_jiffies(BK_RELEASE_MS);
	bk_origin_io_cancel(origin, &m->deferred);
	if (m->mc) {
		bk_mcopy_stop(m->mc);
		bk_mwrite_exit(m->mc);
		bk_cfg_remove_end(origin, m->mc->bits);
		mutex_lock(&origin->lock);	/* bk_mirror_change() */
		mc = m->mc;
		m->mc = NULL;
		mutex_unlock(&origin->lock);
		bk_mcopy_put(mc);
	}
	if (m->shared && m->end != BK_MEND_PIVOTED)
		bk_pivot_unclaim(origin);
	if (m->dest)
		bk_dest_put(m->dest);
}

static int bk_mirror_release(struct bk_job *job, bool hurry)
{
	struct bk_mirror *m = bk_mirror_of(job);

	if (bk_mirror_end_bitmap(m, hurry))
		return -EINPROGRESS;
	if (!m->released)
		bk_mirror_let_go(m);
	if (m->dest) {
		if (!bk_dest_closed(m->dest) && !hurry &&
		    time_before(jiffies, m->release_by)) {
			bk_job_wake_in(job, BK_RELEASE_TICK_MS);
			return -EINPROGRESS;
		}
		bk_dest_forget(m->dest);
		m->dest = NULL;
	}
	/* Nobody queues it any more. */
	cancel_work_sync(&m->notify);
	cancel_delayed_work_sync(&m->switch_work);
	return 0;
}

/* Is the destination the same, and does it stay so whatever is written? */
static bool bk_mirror_is_in_step(struct bk_mirror *m)
{
	return m->blocking && m->mc && READ_ONCE(m->job.synced) &&
	       !READ_ONCE(m->job.user_paused) && bk_mcopy_is_converged(m->mc);
}

/**
 * bk_mirror_show - the driver's show
 * @job:	the job; the filter's lock is held
 * @buf:	where to
 * @size:	of @buf
 *
 * Return: length.
 */
size_t bk_mirror_show(struct bk_job *job, char *buf, size_t size)
{
	struct bk_mirror *m = bk_mirror_of(job);

	return scnprintf(buf, size,
			 " target=%s sync=%s bitmap=%s bitmap_mode=%s granularity=%u buf_size=%llu max_chunk=%llu copy_mode=%s unmap=%llu target_is_zero=%llu synced=%d attempts=%u pivoted=%d actively_synced=%d mirrored=%llu late=%u auto_switch=%llu cbw_timeout=%llu zero_target=%llu zeroed=%llu completing=%d",
			 m->params.target, bk_mirror_sync_names[m->params.sync],
			 m->params.bitmap ?: "-",
			 bk_mirror_bitmap_mode_names[m->params.bitmap_mode] ?: "-",
			 m->granularity, m->params.buf_size,
			 m->params.max_chunk,
			 bk_mirror_copy_mode_names[m->params.copy_mode],
			 m->params.unmap, m->params.target_is_zero,
			 READ_ONCE(job->synced), READ_ONCE(m->attempts),
			 READ_ONCE(m->end) == BK_MEND_PIVOTED,
			 bk_mirror_is_in_step(m),
			 m->mc ? READ_ONCE(m->mc->mirrored) : 0,
			 atomic_read(&m->late), m->params.auto_switch,
			 m->params.cbw_timeout, m->params.zero_target,
			 m->mc ? (u64)READ_ONCE(m->mc->first.done) : 0,
			 READ_ONCE(job->complete));
}

static void bk_mirror_free(struct bk_job *job)
{
	struct bk_mirror *m = bk_mirror_of(job);

	bk_bits_put(m->only);
	kfree(m->params.target);
	kfree(m->params.bitmap);
	kfree(m);
}

static const struct bk_job_type bk_mirror_type = {
	.name		= "mirror",
	.prepare	= bk_mirror_prepare,
	.install	= bk_mirror_install,
	.started	= bk_mirror_started,
	.copy		= bk_mirror_copy,
	.is_idle	= bk_mirror_is_idle,
	.is_complete	= bk_mirror_never,
	.is_ready	= bk_mirror_is_ready,
	.finish		= bk_mirror_finish,
	.objection	= bk_mirror_objection,
	.resumed	= bk_mirror_resumed,
	.settle		= bk_mirror_settle,
	.abort		= bk_mirror_abort,
	.release	= bk_mirror_release,
	.show		= bk_mirror_show,
	.change		= bk_mirror_change,
	.free		= bk_mirror_free,
};

/*----------------------------------------------------------------*/

static void bk_mirror_notify(struct work_struct *work)
{
	bk_job_kick(&container_of(work, struct bk_mirror, notify)->job);
}

/**
 * bk_mirror_create - make a mirror job from a message's options
 * @part:	the filter; its lock is held
 * @id:		the job's id, checked
 * @argc:	number of options
 * @argv:	key=value
 * @freeze:	set to false: the cut is no point in time that anybody wants
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, may sleep, not for I/O.
 * Return: the job, with a reference, or an error pointer.
 */
struct bk_job *bk_mirror_create(struct bk_txn_part *part, const char *id,
				unsigned int argc, char **argv, bool *freeze,
				char *error, size_t size)
{
	struct bk_mirror_params params = {
		.job		= bk_job_defaults,
		.bitmap_mode	= BK_MIRROR_MODE_ABSENT,
		.buf_size	= BK_MIRROR_BUF,
		.max_chunk	= BK_MIRROR_CHUNK,
		.unmap		= 1,
		.cbw_timeout	= READ_ONCE(part->origin->cbw_timeout),
	};
	struct bk_origin *origin = part->origin;
	struct bk_stage *bitmap;
	struct bk_mirror *m;
	u64 given;
	int r;

	r = bk_options_parse(bk_mirror_options, ARRAY_SIZE(bk_mirror_options),
			     &params, argc, argv, &given, error, size);
	if (!r && params.zero_target &&
	    (params.target_is_zero || params.sync != BK_MIRROR_FULL)) {
		strscpy(error, "zero_target goes with sync=full, and not with target_is_zero",
			size);
		r = -EINVAL;
	}
	if (!r)
		r = bk_mirror_find_bitmap(part, &params, &bitmap, error, size);
	if (!r && params.copy_mode == BK_MIRROR_WRITE_BLOCKING)
		r = bk_mirror_may_block(origin, NULL, error, size);
	if (r)
		return ERR_PTR(r);
	m = kzalloc(sizeof(*m), GFP_NOIO);
	params.target = kstrdup(params.target, GFP_NOIO);
	params.bitmap = kstrdup(params.bitmap, GFP_NOIO);
	if (!m || !params.target || (bitmap && !params.bitmap)) {
		kfree(m);
		kfree(params.target);
		kfree(params.bitmap);
		strscpy(error, "out of memory", size);
		return ERR_PTR(-ENOMEM);
	}
	bk_job_init(&m->job, origin, &bk_mirror_type, id, &params.job);
	m->params = params;
	bk_mirror_take_bitmap(m, bitmap);
	m->end_at = get_jiffies_64();
	m->blocking = params.copy_mode == BK_MIRROR_WRITE_BLOCKING;
	m->least = U64_MAX;
	INIT_DELAYED_WORK(&m->switch_work, bk_mirror_switch_work);
	INIT_WORK(&m->notify, bk_mirror_notify);
	INIT_LIST_HEAD(&m->deferred.list);
	m->deferred.work = &m->notify;
	m->deferred.wq = origin->wait_wq;
	*freeze = false;
	return &m->job;
}
