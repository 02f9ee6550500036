// SPDX-License-Identifier: GPL-2.0-only
/*
 * The target "backup-view". The contract is in view.h.
 */

#include "view.h"
#include "job.h"
#include "lend.h"
#include "module.h"
#include "options.h"
#include "origin.h"
#include "reader.h"
#include "txn.h"

#include <linux/module.h>
#include <linux/slab.h>

/* First word of the status line. */
#define BK_VIEW_FORMAT		1

/*
 * How long a discard waits for copies under way before it leaves out giving back
 * their space: others wait behind it, and may be what makes room for those copies.
 */
#define BK_VIEW_PATIENCE	HZ

/* How long removing the last view waits for its destination to be closed. */
#define BK_VIEW_CLOSE_MS	2000

/**
 * struct bk_view - a view
 * @ti:		the target
 * @dev:	the origin
 * @pit:	the point in time, a reference
 * @may_discard: the job allows it
 * @filter:	as the table has it
 * @job:	the same
 * @wq:		see view.h
 * @unread_work: ops go on that waited for reads of ours
 * @fleece:	limits of the job's fleece device, which may go before the view does
 * @fleece_start: where on its disk that begins
 * @fleeced:	it has one
 * @sectors:	read, by source
 * @lock:	protects @discards
 * @discards:	bios
 * @discard_work: does them, one after the other
 */
struct bk_view {
	struct dm_target *ti;
	struct dm_dev *dev;
	struct bk_pit *pit;
	bool may_discard;
	char *filter;
	char *job;
	struct workqueue_struct *wq;
	struct work_struct unread_work;
	struct queue_limits fleece;
	sector_t fleece_start;
	bool fleeced;
	atomic64_t sectors[BK_SOURCES];
	spinlock_t lock;	/* discards */
	struct bio_list discards;
	struct work_struct discard_work;
};

/**
 * struct bk_view_bio - what a view keeps with each bio
 * @reader:	source is none if there is nothing to end
 * @work:	copies from a buffer, or reads the origin when it may
 * @deferred:	waits until it may
 * @own_io:	it is in flight as the filter's own I/O
 */
struct bk_view_bio {
	struct bk_reader reader;
	struct work_struct work;
	struct bk_deferred deferred;
	bool own_io;
};

static const char bk_view_no_point[] =
	"The job has no point in time, or not any more";

/*----------------------------------------------------------------*/
/* Bios */

static void bk_view_unread_work(struct work_struct *work)
{
	struct bk_view *view = container_of(work, struct bk_view, unread_work);

	bk_pit_unread(view->pit);
}

static void bk_view_copy_work(struct work_struct *work)
{
	struct bk_view_bio *vb = container_of(work, struct bk_view_bio, work);
	struct bio *bio = dm_bio_from_per_bio_data(vb, sizeof(*vb));

	bk_reader_copy(&vb->reader, bio);
	bio_endio(bio);		/* bk_view_end_io() lets the buffer go */
}

/*
 * May @vb read the origin? 0: it is the filter's own I/O. -EAGAIN: its work will be
 * queued when that changes, perhaps has been: @vb is not ours to look at. Else never.
 */
static int bk_view_begin_origin(struct bk_view_bio *vb)
{
	struct bk_pit *pit = vb->reader.pit;
	struct block_device *bdev;

	if (!bk_pit_is_readable(pit))
		return -EIO;
	bdev = bk_origin_io_begin(pit->origin, &vb->deferred);
	if (IS_ERR(bdev))
		return PTR_ERR(bdev);
	if (bdev) {
		vb->own_io = true;
		return 0;
	}
	/* Who stopped it before it was on the list has not found it there. */
	if (unlikely(!bk_pit_is_readable(pit)))
		bk_origin_io_give_up(pit->origin, pit);
	return -EAGAIN;
}

/* The filter was suspended, and is not any more; or there is nothing to wait for. */
static void bk_view_origin_work(struct work_struct *work)
{
	struct bk_view_bio *vb = container_of(work, struct bk_view_bio, work);
	struct bio *bio = dm_bio_from_per_bio_data(vb, sizeof(*vb));
	int r = bk_view_begin_origin(vb);

	if (!r)
		submit_bio_noacct(bio);	/* dm has accounted for it */
	else if (r != -EAGAIN)
		bio_io_error(bio);
}

/* While it waits it is a reader: writes let it be when the filter goes on. */
static int bk_view_map_origin(struct bk_view *view, struct bio *bio,
			      struct bk_view_bio *vb)
{
	bio_set_dev(bio, view->dev->bdev);
	INIT_WORK(&vb->work, bk_view_origin_work);
	INIT_LIST_HEAD(&vb->deferred.list);
	vb->deferred.work = &vb->work;
	vb->deferred.wq = view->wq;
	vb->deferred.pit = vb->reader.pit;
	switch (bk_view_begin_origin(vb)) {
	case 0:
		return DM_MAPIO_REMAPPED;
	case -EAGAIN:
		return DM_MAPIO_SUBMITTED;
	default:
		bio_io_error(bio);	/* bk_view_end_io() ends the reader */
		return DM_MAPIO_SUBMITTED;
	}
}

static void bk_view_discard_work(struct work_struct *work)
{
	struct bk_view *view = container_of(work, struct bk_view, discard_work);
	struct bio *bio;

	for (;;) {
		int r;

		spin_lock(&view->lock);
		bio = bio_list_pop(&view->discards);
		spin_unlock(&view->lock);
		if (!bio)
			break;
		r = bk_pit_discard(view->pit, bio->bi_iter.bi_sector,
				   bio_end_sector(bio), BK_VIEW_PATIENCE);
		/* Done with: that it takes space yet is nobody's error. */
		if (r == -ETIME)
			r = 0;
		bio->bi_status = errno_to_blk_status(r);
		bio_endio(bio);
	}
}

static int bk_view_map_discard(struct bk_view *view, struct bio *bio)
{
	if (!view->may_discard)
		return DM_MAPIO_KILL;
	spin_lock(&view->lock);
	bio_list_add(&view->discards, bio);
	spin_unlock(&view->lock);
	queue_work(bk_wq, &view->discard_work);
	return DM_MAPIO_SUBMITTED;
}

/* A read: of the first part that is to be had in one place; dm sends the rest. */
static int bk_view_map_read(struct bk_view *view, struct bio *bio,
			    struct bk_view_bio *vb)
{
	unsigned int sectors;

	sectors = bk_reader_begin(&vb->reader, view->pit,
				  bio->bi_iter.bi_sector, bio_end_sector(bio));
	if (vb->reader.source == BK_SOURCE_NONE)
		return DM_MAPIO_KILL;
	if (sectors < bio_sectors(bio))
		dm_accept_partial_bio(bio, sectors);
	atomic64_add(sectors, &view->sectors[vb->reader.source]);
	/* There may be nothing to poll. */
	bio->bi_opf &= ~REQ_POLLED;

	switch (vb->reader.source) {
	case BK_SOURCE_ORIGIN:
		return bk_view_map_origin(view, bio, vb);
	case BK_SOURCE_DEST:
	case BK_SOURCE_FLEECE:
		bio_set_dev(bio, vb->reader.dest->bdev.bdev);
		return DM_MAPIO_REMAPPED;
	default:
		INIT_WORK(&vb->work, bk_view_copy_work);
		queue_work(view->wq, &vb->work);
		return DM_MAPIO_SUBMITTED;
	}
}

static int bk_view_map(struct dm_target *ti, struct bio *bio)
{
	struct bk_view_bio *vb = dm_per_bio_data(bio, sizeof(*vb));
	struct bk_view *view = ti->private;

	vb->reader.source = BK_SOURCE_NONE;
	vb->own_io = false;
	switch (bio_op(bio)) {
	case REQ_OP_READ:
		return bk_view_map_read(view, bio, vb);
	case REQ_OP_DISCARD:
		return bk_view_map_discard(view, bio);
	default:
		return DM_MAPIO_KILL;
	}
}

static int bk_view_end_io(struct dm_target *ti, struct bio *bio,
			  blk_status_t *error)
{
	struct bk_view_bio *vb = dm_per_bio_data(bio, sizeof(*vb));
	struct bk_view *view = ti->private;

	if (vb->reader.source != BK_SOURCE_NONE &&
	    bk_reader_end(&vb->reader, error))
		queue_work(view->wq, &view->unread_work);
	if (vb->own_io)
		bk_origin_io_end(view->pit->origin);
	return DM_ENDIO_DONE;
}

/*----------------------------------------------------------------*/
/* Constructor */

/* Is @dev what the filter's table has as its origin? */
static bool bk_view_is_origin(struct bk_origin *origin, struct dm_dev *dev)
{
	struct bk_instance *in = list_first_entry(&origin->instances,
						  struct bk_instance, list);

	lockdep_assert_held(&bk_cut_mutex);
	return in->dev->bdev == dev->bdev;
}

/* Find the point in time. A sentence if there is none. */
static const char *bk_view_find(struct bk_view *view)
{
	const char *error = NULL;
	struct bk_origin *origin;
	struct bk_job *job;

	mutex_lock(&bk_cut_mutex);
	do {
		origin = bk_origin_find(view->filter, strlen(view->filter));
	} while (origin && bk_origin_await(origin));
	if (!origin) {
		error = "There is no such backup filter";
	} else if (!bk_view_is_origin(origin, view->dev)) {
		error = "Device is not the filter's origin";
	} else if (view->ti->len != origin->len) {
		error = "Length is not the filter's";
	} else {
		mutex_lock(&origin->lock);
		job = bk_job_find(origin, view->job);
		if (job)
			view->pit = bk_job_view(job, &view->may_discard);
		mutex_unlock(&origin->lock);
		if (!job)
			error = "There is no such job";
		else if (!view->pit)
			error = bk_view_no_point;
	}
	mutex_unlock(&bk_cut_mutex);
	if (view->pit) {
		bk_dest_get(view->pit->dest);
		atomic_inc(&view->pit->dest->viewers);
	}
	return error;
}

/* What is read of a fleece device has to suit that, too. */
static void bk_view_look_at_fleece(struct bk_view *view)
{
	struct bk_dest *fleece = bk_fleece_get(view->pit);

	if (!fleece)
		return;
	view->fleece = bdev_get_queue(fleece->bdev.bdev)->limits;
	view->fleece_start = get_start_sect(fleece->bdev.bdev);
	view->fleeced = true;
	bk_dest_put(fleece);
}

/*
 * The destinations that nobody needs when the last view of @pit has gone: its own if
 * its job has gone, and so on along its lenders. Returns how many.
 */
static unsigned int bk_view_closing(struct bk_pit *pit, dev_t *closing)
{
	unsigned int nr = 0;

	while (pit && bk_pit_is_stopped(pit)) {
		closing[nr++] = pit->dest->dev;
		pit = pit->lender;
		if (pit && atomic_read(&pit->dest->viewers) > 1)
			break;
	}
	return nr;
}

/* Let go of everything that there is. */
static void bk_view_free(struct bk_view *view)
{
	dev_t closing[BK_LEND_DEPTH];
	struct bk_pit *pit = view->pit;
	unsigned int nr = 0;

	if (view->wq)
		destroy_workqueue(view->wq);
	if (pit) {
		struct bk_dest *dest = pit->dest;

		if (atomic_dec_and_test(&dest->viewers))
			nr = bk_view_closing(pit, closing);
		bk_dest_put(dest);
		atomic_dec(&pit->views);
		bk_pit_put(pit);
	}
	if (view->dev)
		dm_put_device(view->ti, view->dev);
	kfree(view->filter);
	kfree(view->job);
	kfree(view);
	/* So that it can be used when the view is gone, unless it hangs. */
	while (nr)
		bk_dest_wait_closed(closing[--nr],
				    msecs_to_jiffies(BK_VIEW_CLOSE_MS));
}

/* What was in flight at the job's cut is part of the point in time. */
static const char *bk_view_prepare(struct bk_view *view)
{
	struct bk_pit *pit = view->pit;

	bk_gate_wait_drained(&pit->origin->gate,
			     msecs_to_jiffies(BK_DRAIN_MS));
	if (!bk_pit_is_readable(pit))
		return bk_view_no_point;
	if (!bk_pit_is_drained(pit))
		return "Writes from before the job's start have not ended yet";
	if (bk_pit_cover(pit))
		return "Out of memory";
	bk_view_look_at_fleece(view);
	return NULL;
}

/* Without the sentence: @ti->error has it. */
static int bk_view_setup(struct bk_view *view, char **argv)
{
	struct dm_target *ti = view->ti;
	const char *error;
	int r;

	ti->error = "Out of memory";
	view->filter = kstrdup(argv[1], GFP_KERNEL);
	view->job = kstrdup(argv[2], GFP_KERNEL);
	view->wq = alloc_workqueue("dm_backup_view/%s",
				   WQ_MEM_RECLAIM | WQ_HIGHPRI, 0,
				   dm_table_device_name(ti->table));
	if (!view->filter || !view->job || !view->wq)
		return -ENOMEM;

	/* Whatever the table's mode: nothing is ever written to it. */
	r = dm_get_device(ti, argv[0], BK_MODE_READ, &view->dev);
	if (r) {
		ti->error = "Origin can't be opened";
		return r;
	}
	error = bk_view_find(view);
	if (!error)
		error = bk_view_prepare(view);
	ti->error = (char *)error;
	return error ? -EINVAL : 0;
}

static int bk_view_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct bk_view *view;
	int r;

	if (argc != 3) {
		ti->error = "Three arguments are required: origin, filter, job";
		return -EINVAL;
	}
	if (ti->begin) {
		ti->error = "Target must begin at sector 0";
		return -EINVAL;
	}
	view = kzalloc(sizeof(*view), GFP_KERNEL);
	if (!view) {
		ti->error = "Out of memory";
		return -ENOMEM;
	}
	view->ti = ti;
	spin_lock_init(&view->lock);
	bio_list_init(&view->discards);
	INIT_WORK(&view->unread_work, bk_view_unread_work);
	INIT_WORK(&view->discard_work, bk_view_discard_work);
	r = bk_view_setup(view, argv);
	if (r) {
		bk_view_free(view);
		return r;
	}

	ti->num_flush_bios = 0;		/* nothing is written */
	ti->num_discard_bios = view->may_discard;
	ti->discards_supported = view->may_discard;
	ti->per_io_data_size = sizeof(struct bk_view_bio);
	ti->private = view;
	return 0;
}

static void bk_view_dtr(struct dm_target *ti)
{
	struct bk_view *view = ti->private;

	/* Its bios have ended; it may be about to return. */
	flush_work(&view->discard_work);
	bk_view_free(view);
}

/*----------------------------------------------------------------*/
/* Status, messages, limits */

static const char *bk_view_state(const struct bk_pit *pit)
{
	if (!bk_pit_is_stopped(pit))
		return "live";
	if (bk_pit_is_readable(pit))
		return "complete";
	return test_bit(BK_PIT_BROKEN, &pit->flags) ? "broken" : "ended";
}

static void bk_view_status(struct dm_target *ti, status_type_t type,
			   unsigned int status_flags, char *result,
			   unsigned int maxlen)
{
	struct bk_view *view = ti->private;
	size_t sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		DMEMIT("%u %s %s", BK_VIEW_FORMAT, bk_view_state(view->pit),
		       view->may_discard ? "discards" : "keeps");
		DMEMIT(" 4 origin %llu dest %llu memory %llu fleece %llu",
		       (u64)atomic64_read(&view->sectors[BK_SOURCE_ORIGIN]),
		       (u64)atomic64_read(&view->sectors[BK_SOURCE_DEST]),
		       (u64)atomic64_read(&view->sectors[BK_SOURCE_MEMORY]),
		       (u64)atomic64_read(&view->sectors[BK_SOURCE_FLEECE]));
		break;
	case STATUSTYPE_TABLE:
		DMEMIT("%s %s %s", view->dev->name, view->filter, view->job);
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",origin=%s,filter=%s,job=%s;", view->dev->name,
		       view->filter, view->job);
		break;
	}
}

/* "discard <start>+<length>": done with this, in sectors. */
static int bk_view_message(struct dm_target *ti, unsigned int argc,
			   char **argv, char *result, unsigned int maxlen)
{
	struct bk_view *view = ti->private;
	u64 start, end;
	int r;

	if (argc != 2 || strcmp(argv[0], "discard")) {
		DMWARN("view: usage: discard <start>+<length>");
		return -EINVAL;
	}
	r = bk_option_range(argv[1], ti->len, &start, &end);
	if (r) {
		DMWARN("view: '%.40s' is not <start>+<length>, or behind the end",
		       argv[1]);
		return r;
	}
	if (!view->may_discard) {
		DMWARN("view: the job's bitmap would lose what it did not copy");
		return -EPERM;
	}
	return bk_pit_discard(view->pit, start, end, 0);
}

static int bk_view_iterate(struct dm_target *ti, iterate_devices_callout_fn fn,
			   void *data)
{
	struct bk_view *view = ti->private;

	return fn(ti, view->dev, 0, ti->len, data);
}

/* Some of what is read is on destinations: blocks are as large as theirs. */
static void bk_view_io_hints(struct dm_target *ti, struct queue_limits *limits)
{
	struct bk_view *view = ti->private;
	unsigned int cluster = 1u << view->pit->shift;
	struct bk_pit *pit;

	for (pit = view->pit; pit; pit = pit->lender) {
		struct block_device *dest = pit->dest->bdev.bdev;

		blk_stack_limits(limits, &bdev_get_queue(dest)->limits,
				 get_start_sect(dest));
	}
	if (view->fleeced)
		blk_stack_limits(limits, &view->fleece, view->fleece_start);
	if (!view->may_discard)
		return;
	limits->discard_alignment = 0;
	limits->discard_granularity = cluster << SECTOR_SHIFT;
	limits->max_discard_sectors = round_down(UINT_MAX >> SECTOR_SHIFT,
						 cluster);
	limits->max_hw_discard_sectors = limits->max_discard_sectors;
}

static struct target_type bk_view_target = {
	.name		= "backup-view",
	.version	= { 1, 0, 0 },
	.features	= DM_TARGET_SINGLETON,
	.module		= THIS_MODULE,
	.ctr		= bk_view_ctr,
	.dtr		= bk_view_dtr,
	.map		= bk_view_map,
	.end_io		= bk_view_end_io,
	.status		= bk_view_status,
	.message	= bk_view_message,
	.iterate_devices = bk_view_iterate,
	.io_hints	= bk_view_io_hints,
};

/**
 * bk_view_init - when the module comes
 *
 * Return: 0 or a negative errno.
 */
int __init bk_view_init(void)
{
	return dm_register_target(&bk_view_target);
}

/**
 * bk_view_exit - when it goes
 */
void bk_view_exit(void)
{
	dm_unregister_target(&bk_view_target);
}

MODULE_ALIAS("dm-backup-view");
