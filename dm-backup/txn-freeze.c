// SPDX-License-Identifier: GPL-2.0-only
/*
 * Freezing file systems around the cut of a transaction. The contract is in txn.h.
 */

#include "txn.h"
#include "compat.h"
#include "module.h"

#include <linux/completion.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

enum bk_freeze_state {
	BK_FREEZE_RUNNING,	/* bdev_freeze() has not returned */
	BK_FREEZE_DONE,		/* it has */
	BK_FREEZE_ABANDONED,	/* whoever waited has gone: thaw at once */
};

/**
 * struct bk_freeze - a file system being frozen
 * @work:	calls bdev_freeze()
 * @disk:	whose file system; a reference, so that it outlives the device
 * @state:	enum bk_freeze_state
 * @done:	bdev_freeze() has returned
 * @err:	what it returned
 */
struct bk_freeze {
	struct work_struct work;
	struct gendisk *disk;
	atomic_t state;
	struct completion done;
	int err;
};

static void bk_freeze_free(struct bk_freeze *f)
{
	put_device(disk_to_dev(f->disk));
	kfree(f);
}

static void bk_freeze_work(struct work_struct *work)
{
	struct bk_freeze *f = container_of(work, struct bk_freeze, work);
	unsigned int noio = memalloc_noio_save();

	f->err = bdev_freeze(f->disk->part0);
	if (atomic_cmpxchg(&f->state, BK_FREEZE_RUNNING, BK_FREEZE_DONE) ==
	    BK_FREEZE_RUNNING) {
		complete_all(&f->done);
	} else {
		if (!f->err)
			bdev_thaw(f->disk->part0);
		bk_freeze_free(f);
	}
	memalloc_noio_restore(noio);
}

/* Begin to freeze what is mounted on a filter. */
static struct bk_freeze *bk_freeze_start(struct bk_origin *origin, int *err)
{
	struct bk_freeze *f = kzalloc(sizeof(*f), GFP_NOIO);

	*err = -ENOMEM;
	if (!f)
		return NULL;
	INIT_WORK(&f->work, bk_freeze_work);
	init_completion(&f->done);

	/* While it is in the registry, the mapped device is there. */
	*err = -EBUSY;
	bk_origin_lock_cut(origin);
	mutex_lock(&origin->live_lock);
	if (!origin->dead && origin->live) {
		f->disk = dm_disk(origin->md);
		get_device(disk_to_dev(f->disk));
	}
	mutex_unlock(&origin->live_lock);
	mutex_unlock(&bk_cut_mutex);
	if (!f->disk) {
		kfree(f);
		return NULL;
	}
	*err = 0;
	queue_work(bk_wq, &f->work);
	return f;
}

/* Wait for it, not for ever. If it fails, @f is gone. */
static int bk_freeze_wait(struct bk_freeze *f, unsigned long timeout)
{
	int err;

	if (!wait_for_completion_timeout(&f->done, timeout) &&
	    atomic_cmpxchg(&f->state, BK_FREEZE_RUNNING,
			   BK_FREEZE_ABANDONED) == BK_FREEZE_RUNNING)
		return -ETIMEDOUT;	/* it is the work's to free */
	/* In time after all, then; the work is done with it in a moment. */
	wait_for_completion(&f->done);
	err = f->err;
	if (err)
		bk_freeze_free(f);
	return err;
}

static void bk_freeze_thaw(struct bk_freeze *f)
{
	bdev_thaw(f->disk->part0);
	bk_freeze_free(f);
}

/* Why it fails. */
static int bk_freeze_say(struct bk_txn_part *part, int err)
{
	return bk_txn_fail(part->txn, part->action, err, err == -ETIMEDOUT ?
			   "freezing the file system took too long" :
			   err == -EBUSY ?
			   "the filter is suspended or its file system is frozen" :
			   err == -ENOMEM ? "out of memory" :
			   "the file system can't be frozen");
}

/**
 * bk_txn_freeze - freeze the file systems of all parts, all at once
 * @txn:	the transaction
 *
 * Context: process, sleeps for a bounded time. Return: 0; else it has failed,
 * and said why; bk_txn_thaw() is to be called in both cases.
 */
int bk_txn_freeze(struct bk_txn *txn)
{
	unsigned long end = jiffies + msecs_to_jiffies(BK_FREEZE_MS);
	struct bk_txn_part *part;
	int r, err = 0;

	list_for_each_entry(part, &txn->parts, list) {
		part->freeze = bk_freeze_start(part->origin, &r);
		if (!part->freeze) {
			err = bk_freeze_say(part, r);
			break;
		}
	}
	list_for_each_entry(part, &txn->parts, list) {
		if (!part->freeze)
			continue;
		r = bk_freeze_wait(part->freeze,
				   max_t(long, end - jiffies, 1));
		if (r) {
			part->freeze = NULL;
			err = err ?: bk_freeze_say(part, r);
		}
	}
	return err;
}

/**
 * bk_txn_thaw - end that
 * @txn:	the transaction
 */
void bk_txn_thaw(struct bk_txn *txn)
{
	struct bk_txn_part *part;

	list_for_each_entry_reverse(part, &txn->parts, list) {
		if (part->freeze)
			bk_freeze_thaw(part->freeze);
		part->freeze = NULL;
	}
}
