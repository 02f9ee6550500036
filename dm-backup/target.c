// SPDX-License-Identifier: GPL-2.0-only
/*
 * Device-mapper glue: the target "backup", and the module.
 *
 * Hooks, what they do, and the lock of dm's they run under
 *   ctr           type_lock   parse, open the origin, find or make the filter
 *   preresume     suspend_lock jobs for another length or origin end; is what the
 *                             metadata device says to be believed? never fails
 *   resume        suspend_lock the instance goes live
 *   presuspend    suspend_lock noflush: push waiting bios back; flush: bound
 *                             what they may wait. Copy-before-write goes on
 *   presuspend_undo           undo that
 *   postsuspend   suspend_lock wait for own I/O on the origin, forget it; save
 *                             everything if the filter goes
 *   dtr           none        the last instance shuts the filter down
 *   message       SRCU        message.c
 *   map, end_io   SRCU / irq  io.c
 *
 * "backup" is immutable: LVM and others can't replace its table with one of
 * their own without noticing. Only its twin can, pass.c.
 */

#include "backup.h"
#include "bitmap.h"
#include "cfg.h"
#include "io.h"
#include "job.h"
#include "message.h"
#include "module.h"
#include "op.h"
#include "options.h"
#include "origin.h"
#include "pass.h"
#include "pivot.h"
#include "store.h"
#include "trust.h"
#include "txn.h"
#include "view.h"

#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#define CREATE_TRACE_POINTS
#include "trace.h"

#define BK_BUDGET_DEFAULT	(SZ_64M >> SECTOR_SHIFT)
#define BK_BUDGET_MIN		(SZ_128K >> SECTOR_SHIFT)
#define BK_BUDGET_MAX		(SZ_1G >> SECTOR_SHIFT)
#define BK_CBW_TIMEOUT_DEFAULT	45000

/* What a bio may wait after a flush suspend has begun. */
#define BK_SUSPEND_MS		3000

/* First word of the status line. */
#define BK_STATUS_FORMAT	1

struct workqueue_struct *bk_wq;

/*----------------------------------------------------------------*/
/* Constructor */

/**
 * struct bk_features - what a table may say
 * @buffer:	byte budget, sectors
 * @cbw_timeout: default for jobs, ms
 * @discard:	enum bk_discard
 * @metadata:	NULL, or the metadata device: MAJ:MIN or a path
 * @on_metadata_error: 0: continue, 1: hold
 * @after_crash: 0: witness, 1: trust
 * @write_zeroes: 0: on, 1: off
 */
struct bk_features {
	u64 buffer;
	u64 cbw_timeout;
	u64 discard;
	const char *metadata;
	u64 on_metadata_error;
	u64 after_crash;
	u64 write_zeroes;
};

static const char *const bk_discard_names[] = {
	[BK_DISCARD_AUTO]	= "auto",
	[BK_DISCARD_COPY]	= "copy",
	[BK_DISCARD_SKIP]	= "skip",
	NULL
};

static const char *const bk_on_metadata_error_names[] = {
	"continue", "hold", NULL
};

static const char *const bk_after_crash_names[] = {
	"witness", "trust", NULL
};

static const char *const bk_write_zeroes_names[] = {
	"on", "off", NULL
};

static const struct bk_option bk_feature_options[] = {
	{ "buffer", BK_OPT_NUMBER, offsetof(struct bk_features, buffer),
	  .min = BK_BUDGET_MIN, .max = BK_BUDGET_MAX },
	{ "cbw_timeout", BK_OPT_NUMBER,
	  offsetof(struct bk_features, cbw_timeout), .max = 1ULL << 31 },
	{ "discard", BK_OPT_WORD, offsetof(struct bk_features, discard),
	  .words = bk_discard_names },
	{ "metadata", BK_OPT_STRING, offsetof(struct bk_features, metadata) },
	{ "on_metadata_error", BK_OPT_WORD,
	  offsetof(struct bk_features, on_metadata_error),
	  .words = bk_on_metadata_error_names },
	{ "after_crash", BK_OPT_WORD, offsetof(struct bk_features, after_crash),
	  .words = bk_after_crash_names },
	{ "write_zeroes", BK_OPT_WORD, offsetof(struct bk_features, write_zeroes),
	  .words = bk_write_zeroes_names },
};

/* dm shows ti->error, which must stay when the instance has gone. */
static void bk_ctr_error(struct dm_target *ti, const char *error)
{
	static char text[8][BK_ERROR_LEN];
	static atomic_t next;
	char *mine = text[(unsigned int)atomic_inc_return(&next) % ARRAY_SIZE(text)];

	/* Read when ctr has returned; that many don't fail at the same time. */
	strscpy(mine, error, BK_ERROR_LEN);
	ti->error = mine;
}

/* "<#words> [<name> <value>]..." */
static int bk_ctr_features(struct bk_instance *in, unsigned int argc,
			   char **argv, const char **metadata)
{
	struct bk_features f = {
		.buffer = BK_BUDGET_DEFAULT,
		.cbw_timeout = BK_CBW_TIMEOUT_DEFAULT,
	};
	char error[BK_ERROR_LEN];
	unsigned int words;
	u64 given;
	int r = 0;

	if (argc) {
		if (kstrtouint(argv[0], 10, &words) || words != argc - 1) {
			in->ti->error = "Number of feature words is wrong";
			return -EINVAL;
		}
		r = bk_options_parse_pairs(bk_feature_options,
					   ARRAY_SIZE(bk_feature_options), &f,
					   words, argv + 1, &given, error,
					   sizeof(error));
	}
	if (r) {
		bk_ctr_error(in->ti, error);
		return r;
	}
	in->budget = f.buffer << SECTOR_SHIFT;
	in->cbw_timeout = f.cbw_timeout;
	in->discard = f.discard;
	in->hold = f.on_metadata_error;
	in->trust_crash = f.after_crash;
	in->zeroes_as_data = f.write_zeroes;
	*metadata = f.metadata;
	return 0;
}

static int bk_ctr_origin(struct bk_instance *in, const char *name)
{
	struct dm_target *ti = in->ti;
	int r;

	r = dm_get_device(ti, name, dm_table_get_mode(ti->table), &in->dev);
	if (r) {
		ti->error = "Origin can't be opened";
		return r;
	}
	if (bdev_is_zoned(in->dev->bdev)) {
		ti->error = "Zoned origins are not supported";
		return -EINVAL;
	}
	if (ti->len > bdev_nr_sectors(in->dev->bdev)) {
		ti->error = "Origin is shorter than the target";
		return -EINVAL;
	}
	return 0;
}

/* The filter, and its metadata device. */
static int bk_ctr_attach(struct bk_instance *in, const char *metadata)
{
	char error[BK_ERROR_LEN];
	unsigned int noio;
	int r;

	r = bk_origin_attach(in, &bk_origin_callbacks);
	if (r)
		return r;
	noio = memalloc_noio_save();
	r = bk_store_open(in, metadata, error);
	memalloc_noio_restore(noio);
	if (r)
		bk_ctr_error(in->ti, error);
	else
		r = bk_pivot_follow(in);
	if (r)
		bk_origin_detach(in);
	else
		bk_origin_loaded(in->origin);
	return r;
}

static int bk_backup_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	const char *metadata = NULL;
	struct bk_instance *in;
	int r;

	if (!argc) {
		ti->error = "Origin is missing";
		return -EINVAL;
	}
	if (ti->begin) {
		ti->error = "Target must begin at sector 0";
		return -EINVAL;
	}
	in = kzalloc(sizeof(*in), GFP_KERNEL);
	if (!in) {
		ti->error = "Out of memory";
		return -ENOMEM;
	}
	in->ti = ti;
	r = bk_ctr_features(in, argc - 1, argv + 1, &metadata);
	if (!r)
		r = bk_ctr_origin(in, argv[0]);
	if (!r)
		r = bk_ctr_attach(in, metadata);
	if (r)
		goto out;

	bk_ask_all_bios(ti);
	/* Whoever writes zeroes to it finds that it can't, and writes data. */
	if (in->zeroes_as_data)
		ti->num_write_zeroes_bios = 0;
	/* A caching device may take the origin's place (a pivot): lose no flush. */
	ti->flush_supported = true;
	ti->accounts_remapped_io = true;
	ti->per_io_data_size = sizeof(struct bk_bio);
	ti->private = in;
	return 0;

out:
	if (in->dev)
		dm_put_device(ti, in->dev);
	kfree(in);
	return r;
}

static void bk_backup_dtr(struct dm_target *ti)
{
	struct bk_instance *in = ti->private;

	bk_origin_detach(in);
	if (in->next)
		dm_put_device(ti, in->next);
	if (in->left)
		dm_put_device(ti, in->left);
	dm_put_device(ti, in->dev);
	kfree(in);
}

/*----------------------------------------------------------------*/
/* Suspend and resume */

static int bk_backup_preresume(struct dm_target *ti)
{
	struct bk_instance *in = ti->private;
	bool moved = in->dev->bdev->bd_dev != in->origin->dev;
	unsigned int noio = memalloc_noio_save();

	/* The device is suspended: reclaim that writes to it would not return. */
	if (bk_trust_wake(in)) {
		bk_origin_disturbed(in, BK_WHY_WRITTEN);
		/* Now: this table may be one that only reads. */
		bk_store_break(in->origin, BK_WHY_WRITTEN);
	}
	bk_store_begin(in);
	/* Bits may be dropped from disk with what is cut off. */
	if (in->ti->len != in->origin->len && in->origin->store &&
	    blkdev_issue_flush(in->dev->bdev))
		bk_store_give_up(in->origin,
				 "the origin could not be flushed when the length changed");
	bk_origin_adopt(in);
	bk_store_resized(in);
	if (moved)
		bk_store_follow(in);
	memalloc_noio_restore(noio);
	return 0;
}

static void bk_backup_resume(struct dm_target *ti)
{
	struct bk_instance *in = ti->private;

	bk_io_unhurry(in);
	bk_origin_resume(in);
	bk_store_idle(in->origin);
}

static void bk_backup_presuspend(struct dm_target *ti)
{
	struct bk_instance *in = ti->private;

	if (dm_noflush_suspending(ti))
		bk_io_push_back(in);
	else
		bk_io_hurry(in, BK_SUSPEND_MS);
}

static void bk_backup_presuspend_undo(struct dm_target *ti)
{
	bk_io_unhurry(ti->private);
}

static void bk_backup_postsuspend(struct dm_target *ti)
{
	struct bk_instance *in = ti->private;
	struct bk_origin *origin = in->origin;
	unsigned int noio = memalloc_noio_save();
	bool leaving;

	bk_origin_quiesce(in);
	bk_trust_rest(in);
	mutex_lock(&origin->lock);
	leaving = origin->leaving;
	origin->leaving = false;
	mutex_unlock(&origin->lock);
	if (leaving || bk_origin_is_removed(origin)) {
		bk_bitmaps_distrust_unmerged(origin);
		bk_store_end(in, NULL);
	}
	memalloc_noio_restore(noio);
}

/*----------------------------------------------------------------*/
/* Status */

static void bk_status_info(struct bk_instance *in, char *result,
			   unsigned int maxlen)
{
	struct bk_origin *origin = in->origin;
	unsigned int count, longest, jobs = 0, bitmaps = 0;
	struct bk_bitmap *bitmap;
	struct bk_job *job;
	size_t sz = 0;
	u64 total;

	spin_lock(&origin->held.lock);
	count = origin->held.count;
	longest = origin->held.longest_ms;
	total = origin->held.total;
	spin_unlock(&origin->held.lock);

	DMEMIT("%u %s %llu/%llu %u %u", BK_STATUS_FORMAT,
	       dm_table_get_mode(in->ti->table) & BK_MODE_WRITE ? "rw" : "ro",
	       (u64)data_race(origin->pool.used) >> SECTOR_SHIFT,	/* a figure */
	       (u64)READ_ONCE(origin->pool.limit) >> SECTOR_SHIFT,
	       count, longest);

	mutex_lock(&origin->lock);
	for (bitmap = bk_bitmap_next(origin, NULL); bitmap;
	     bitmap = bk_bitmap_next(origin, bitmap))
		bitmaps++;
	DMEMIT(" %u", bitmaps);
	for (bitmap = bk_bitmap_next(origin, NULL); bitmap;
	     bitmap = bk_bitmap_next(origin, bitmap)) {
		DMEMIT(" ");
		sz += bk_bitmap_status(bitmap, result + min_t(size_t, sz, maxlen),
				       maxlen - min_t(size_t, sz, maxlen));
	}
	list_for_each_entry(job, &origin->jobs, list)
		jobs++;
	DMEMIT(" %u", jobs);
	list_for_each_entry(job, &origin->jobs, list) {
		DMEMIT(" ");
		sz += bk_job_status(job, result + min_t(size_t, sz, maxlen),
				    maxlen - min_t(size_t, sz, maxlen));
	}
	mutex_unlock(&origin->lock);

	DMEMIT(" 3 guest_copied %llu held_total %llu discards_skipped %llu",
	       (u64)atomic64_read(&origin->guest_bytes) >> SECTOR_SHIFT, total,
	       (u64)atomic64_read(&origin->discards_skipped) >> SECTOR_SHIFT);
	DMEMIT(" ");
	sz += bk_store_status(origin, result + min_t(size_t, sz, maxlen),
			      maxlen - min_t(size_t, sz, maxlen));
}

/* The features that are not at their defaults, so that the table round-trips. */
static void bk_status_table(struct bk_instance *in, char *result,
			    unsigned int maxlen)
{
	bool buffer = in->budget != (size_t)BK_BUDGET_DEFAULT << SECTOR_SHIFT;
	bool timeout = in->cbw_timeout != BK_CBW_TIMEOUT_DEFAULT;
	bool discard = in->discard != BK_DISCARD_AUTO;
	struct bk_store *store = in->origin->store;
	unsigned int words = 2 * (buffer + timeout + discard + !!store +
				  in->hold + in->trust_crash +
				  in->zeroes_as_data);
	size_t sz = 0;

	DMEMIT("%s", READ_ONCE(in->dev)->name);	/* a pivot may exchange it */
	if (words)
		DMEMIT(" %u", words);
	if (buffer)
		DMEMIT(" buffer %zu", in->budget >> SECTOR_SHIFT);
	if (timeout)
		DMEMIT(" cbw_timeout %u", in->cbw_timeout);
	if (discard)
		DMEMIT(" discard %s", bk_discard_names[in->discard]);
	if (store)
		DMEMIT(" metadata %s", store->name);
	if (in->hold)
		DMEMIT(" on_metadata_error hold");
	if (in->trust_crash)
		DMEMIT(" after_crash trust");
	if (in->zeroes_as_data)
		DMEMIT(" write_zeroes off");
}

static void bk_backup_status(struct dm_target *ti, status_type_t type,
			     unsigned int status_flags, char *result,
			     unsigned int maxlen)
{
	struct bk_instance *in = ti->private;
	size_t sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		bk_status_info(in, result, maxlen);
		break;
	case STATUSTYPE_TABLE:
		bk_status_table(in, result, maxlen);
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",origin=%s,buffer=%zu,cbw_timeout=%u,discard=%s",
		       READ_ONCE(in->dev)->name, in->budget >> SECTOR_SHIFT,
		       in->cbw_timeout, bk_discard_names[in->discard]);
		DMEMIT(",metadata=%s,on_metadata_error=%s,after_crash=%s,write_zeroes=%s;",
		       in->origin->store ? in->origin->store->name : "-",
		       bk_on_metadata_error_names[in->hold],
		       bk_after_crash_names[in->trust_crash],
		       bk_write_zeroes_names[in->zeroes_as_data]);
		break;
	}
}

static int bk_backup_message(struct dm_target *ti, unsigned int argc,
			     char **argv, char *result, unsigned int maxlen)
{
	return bk_message(ti->private, argc, argv, result, maxlen);
}

static int bk_backup_iterate(struct dm_target *ti,
			     iterate_devices_callout_fn fn, void *data)
{
	struct bk_instance *in = ti->private;

	/* After a pivot the new origin: it is the table's, too. */
	return fn(ti, READ_ONCE(in->dev), 0, ti->len, data);
}

static struct target_type bk_backup_target = {
	.name		= "backup",
	.version	= { 1, 0, 0 },
	.features	= DM_TARGET_SINGLETON | DM_TARGET_IMMUTABLE |
			  DM_TARGET_NOWAIT | DM_TARGET_PASSES_CRYPTO |
			  DM_TARGET_PASSES_INTEGRITY | DM_TARGET_ATOMIC_WRITES,
	.module		= THIS_MODULE,
	.ctr		= bk_backup_ctr,
	.dtr		= bk_backup_dtr,
	.map		= bk_io_map,
	.end_io		= bk_io_end,
	.presuspend	= bk_backup_presuspend,
	.presuspend_undo = bk_backup_presuspend_undo,
	.postsuspend	= bk_backup_postsuspend,
	.preresume	= bk_backup_preresume,
	.resume		= bk_backup_resume,
	.status		= bk_backup_status,
	.message	= bk_backup_message,
	.iterate_devices = bk_backup_iterate,
};

/*----------------------------------------------------------------*/

static int __init bk_module_init(void)
{
	int r;

	bk_wq = alloc_workqueue("dm_backup", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!bk_wq)
		return -ENOMEM;
	bk_trust_init();
	r = bk_op_init();
	if (r)
		goto out_wq;
	r = dm_register_target(&bk_backup_target);
	if (r)
		goto out_op;
	r = bk_pass_init();
	if (r)
		goto out_backup;
	r = bk_view_init();
	if (r)
		goto out_pass;
	return 0;

out_pass:
	bk_pass_exit();
out_backup:
	dm_unregister_target(&bk_backup_target);
out_op:
	bk_op_exit();
out_wq:
	destroy_workqueue(bk_wq);
	return r;
}

static void __exit bk_module_exit(void)
{
	bk_view_exit();
	bk_pass_exit();
	dm_unregister_target(&bk_backup_target);
	bk_txn_exit();
	rcu_barrier();		/* what is still to be queued after a grace period */
	destroy_workqueue(bk_wq);
	bk_op_exit();
}

module_init(bk_module_init);
module_exit(bk_module_exit);

MODULE_DESCRIPTION("device-mapper target for live backups of block devices");
MODULE_AUTHOR("The dm-backup developers");
MODULE_LICENSE("GPL");
MODULE_ALIAS("dm-backup");
MODULE_ALIAS("dm-backup-pass");
