// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transactions. The contract is in txn.h.
 */

#include "txn.h"
#include "bitmap.h"
#include "cfg.h"
#include "job.h"
#include "module.h"

#include <linux/sched/mm.h>
#include <linux/slab.h>

/*----------------------------------------------------------------*/
/* Freezing */

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
	mutex_lock(&bk_cut_mutex);
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

/* Freeze the file systems of all parts, all at once. Undone if one fails. */
static int bk_txn_freeze(struct bk_txn *txn)
{
	unsigned long end = jiffies + msecs_to_jiffies(BK_FREEZE_MS);
	unsigned int i;
	int err = 0;

	for (i = 0; i < txn->nr_parts && !err; i++)
		txn->parts[i].freeze = bk_freeze_start(txn->parts[i].origin,
						       &err);
	for (i = 0; i < txn->nr_parts; i++) {
		struct bk_txn_part *part = &txn->parts[i];
		long left = max_t(long, end - jiffies, 1);
		int r;

		if (!part->freeze)
			continue;
		r = bk_freeze_wait(part->freeze, left);
		if (r) {
			part->freeze = NULL;
			err = err ?: r;
		}
	}
	return err;
}

static void bk_txn_thaw(struct bk_txn *txn)
{
	unsigned int i;

	for (i = txn->nr_parts; i-- > 0;) {
		if (txn->parts[i].freeze)
			bk_freeze_thaw(txn->parts[i].freeze);
		txn->parts[i].freeze = NULL;
	}
}

/*----------------------------------------------------------------*/
/* The cut */

/* Wait until the last cut of every part has drained. Not under bk_cut_mutex. */
static int bk_txn_wait_drained(struct bk_txn *txn, unsigned long end)
{
	unsigned int i;

	for (i = 0; i < txn->nr_parts; i++)
		if (!bk_gate_wait_drained(&txn->parts[i].origin->gate,
					  max_t(long, end - jiffies, 1)))
			return -ETIMEDOUT;
	return 0;
}

/*
 * Under bk_cut_mutex: are all filters there, and have they drained? -EAGAIN:
 * another cut came between.
 */
static int bk_txn_check_parts(struct bk_txn *txn)
{
	unsigned int i;

	for (i = 0; i < txn->nr_parts; i++) {
		struct bk_origin *origin = txn->parts[i].origin;

		if (origin->dead)
			return -ENODEV;
		if (READ_ONCE(origin->gate.mode))
			return -EAGAIN;
	}
	return 0;
}

/* What the jobs of one filter want published. Under its cfg_lock. */
static struct bk_cfg *bk_txn_next_cfg(struct bk_txn *txn,
				      struct bk_origin *origin)
{
	struct bk_cfg *next = bk_cfg_copy(&origin->gate, txn->nr_jobs,
					  txn->nr_jobs, GFP_NOIO);
	unsigned int i;

	for (i = 0; next && i < txn->nr_jobs; i++)
		if (txn->jobs[i]->origin == origin)
			txn->jobs[i]->type->install(txn->jobs[i], next);
	return next;
}

/* Lock all gates' cfgs and make their next ones. Undone by bk_txn_unlock(). */
static int bk_txn_lock(struct bk_txn *txn, struct list_head *parts)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < txn->nr_parts; i++) {
		struct bk_txn_part *part = &txn->parts[i];

		/* bk_cut_mutex is held: nobody else holds two. */
		mutex_lock_nest_lock(&part->origin->gate.cfg_lock,
				     &bk_cut_mutex);
		part->cut.gate = &part->origin->gate;
		part->cut.next = bk_txn_next_cfg(txn, part->origin);
		list_add_tail(&part->cut.list, parts);
		if (!part->cut.next)
			err = -ENOMEM;
	}
	return err;
}

static void bk_txn_unlock(struct bk_txn *txn)
{
	unsigned int i;

	for (i = txn->nr_parts; i-- > 0;) {
		if (txn->parts[i].cut.next)
			bk_cfg_put(txn->parts[i].cut.next);
		txn->parts[i].cut.next = NULL;
		mutex_unlock(&txn->parts[i].origin->gate.cfg_lock);
	}
}

/* Keep all jobs from ending until the cut has been made. */
static int bk_txn_commit_begin(struct bk_txn *txn)
{
	unsigned int i;

	for (i = 0; i < txn->nr_jobs; i++)
		if (!bk_job_commit_begin(txn->jobs[i]))
			break;
	if (i == txn->nr_jobs)
		return 0;
	while (i-- > 0)
		bk_job_commit_end(txn->jobs[i], false);
	return -ECANCELED;
}

/* Under bk_cut_mutex, all parts there and drained. */
static int bk_txn_cut_locked(struct bk_txn *txn)
{
	LIST_HEAD(parts);
	unsigned int i;
	int err;

	/* First: a job that ends has nothing left to install. */
	err = bk_txn_commit_begin(txn);
	if (err)
		return err;
	err = bk_txn_lock(txn, &parts);
	if (!err)
		bk_gate_cut(&parts);
	bk_txn_unlock(txn);
	for (i = 0; i < txn->nr_jobs; i++)
		bk_job_commit_end(txn->jobs[i], !err);
	return err;
}

static int bk_txn_cut(struct bk_txn *txn)
{
	unsigned long end = jiffies + msecs_to_jiffies(BK_DRAIN_MS);
	int err;

	do {
		err = bk_txn_wait_drained(txn, end);
		if (err)
			break;
		mutex_lock(&bk_cut_mutex);
		err = bk_txn_check_parts(txn);
		if (!err)
			err = bk_txn_cut_locked(txn);
		mutex_unlock(&bk_cut_mutex);
	} while (err == -EAGAIN);
	return err;
}

/*----------------------------------------------------------------*/
/* The transaction */

static void bk_txn_find_parts(struct bk_txn *txn)
{
	unsigned int i, j;

	for (i = 0; i < txn->nr_jobs; i++) {
		struct bk_origin *origin = txn->jobs[i]->origin;

		for (j = 0; j < txn->nr_parts; j++)
			if (txn->parts[j].origin == origin)
				break;
		if (j == txn->nr_parts)
			txn->parts[txn->nr_parts++].origin = origin;
	}
}

static void bk_txn_abandon(struct bk_txn *txn, int err, const char *cause)
{
	unsigned int i;

	for (i = 0; i < txn->nr_jobs; i++)
		bk_job_abandon(txn->jobs[i], err, cause);
}

static const char *bk_txn_cause(int err, bool froze)
{
	if (froze)
		return err == -ETIMEDOUT ?
		       "freezing the file system took too long" :
		       err == -EBUSY ?
		       "the filter is suspended or its file system is frozen" :
		       "the file system can't be frozen";
	switch (err) {
	case -ETIMEDOUT:
		return "writes from before the last start are still in flight";
	case -ENODEV:
		return "the filter is going away";
	case -ENOMEM:
		return "out of memory";
	default:
		return "another job of the transaction could not start";
	}
}

/* What would make freezing hang or fail for certain is a refusal. */
static int bk_txn_check_live(struct bk_txn *txn)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < txn->nr_parts && !err; i++) {
		struct bk_origin *origin = txn->parts[i].origin;

		mutex_lock(&origin->live_lock);
		if (!origin->live)
			err = -EBUSY;
		mutex_unlock(&origin->live_lock);
	}
	return err;
}

/* The start is taken: from now on its jobs end as jobs do. */
static void bk_txn_accept(struct bk_txn *txn)
{
	unsigned int i;

	for (i = 0; i < txn->nr_jobs; i++)
		bk_job_unsilence(txn->jobs[i]);
	complete_all(&txn->prepared);
}

/* Freeze, cut, thaw. */
static int bk_txn_commit(struct bk_txn *txn, bool *froze)
{
	int err = 0;

	if (txn->freeze) {
		/* Rather before than while everything is frozen. */
		err = bk_txn_wait_drained(txn, jiffies +
					  msecs_to_jiffies(BK_DRAIN_MS));
		if (!err) {
			err = bk_txn_freeze(txn);
			*froze = err;
		}
	}
	if (!err)
		err = bk_txn_cut(txn);
	bk_txn_thaw(txn);
	return err;
}

static void bk_txn_run(struct bk_txn *txn)
{
	bool froze = false;
	int err;

	spin_lock(&txn->lock);
	err = txn->err;
	spin_unlock(&txn->lock);
	if (!err) {
		bk_txn_find_parts(txn);
		if (txn->freeze) {
			err = bk_txn_check_live(txn);
			froze = err;
			txn->err = err;	/* read once @prepared is complete */
		}
		if (!err) {
			bk_txn_accept(txn);
			err = bk_txn_commit(txn, &froze);
		}
	}
	if (err)
		bk_txn_abandon(txn, err, bk_txn_cause(err, froze));
	complete_all(&txn->prepared);
}

static void bk_txn_work(struct work_struct *work)
{
	struct bk_txn *txn = container_of(work, struct bk_txn, work);
	unsigned int noio = memalloc_noio_save();
	unsigned int i;

	bk_txn_run(txn);
	/* The jobs hold us, and we no longer them. */
	for (i = 0; i < txn->nr_jobs; i++)
		bk_job_put(txn->jobs[i]);
	memalloc_noio_restore(noio);
	bk_txn_put(txn);
}

static void bk_txn_release(struct kref *ref)
{
	struct bk_txn *txn = container_of(ref, struct bk_txn, ref);

	kfree(txn->jobs);
	kfree(txn->parts);
	kfree(txn);
}

/**
 * bk_txn_put - drop a reference
 * @txn:	the transaction
 */
void bk_txn_put(struct bk_txn *txn)
{
	kref_put(&txn->ref, bk_txn_release);
}

/**
 * bk_txn_create - make a transaction
 * @nr_jobs:	how many jobs there will be
 *
 * It runs when that many jobs have been added and have reported.
 *
 * Context: process, may sleep. Return: the creator's reference, or NULL.
 */
struct bk_txn *bk_txn_create(unsigned int nr_jobs)
{
	struct bk_txn *txn = kzalloc(sizeof(*txn), GFP_NOIO);

	if (!txn)
		return NULL;
	kref_init(&txn->ref);
	INIT_WORK(&txn->work, bk_txn_work);
	init_completion(&txn->prepared);
	spin_lock_init(&txn->lock);
	txn->waiting = nr_jobs;
	txn->jobs = kcalloc(nr_jobs, sizeof(*txn->jobs), GFP_NOIO);
	txn->parts = kcalloc(nr_jobs, sizeof(*txn->parts), GFP_NOIO);
	if (!txn->jobs || !txn->parts) {
		bk_txn_put(txn);
		return NULL;
	}
	return txn;
}

/**
 * bk_txn_add - add a job, before it is kicked
 * @txn:	the transaction
 * @job:	the job; it gets a reference on @txn, which gets one on it
 */
void bk_txn_add(struct bk_txn *txn, struct bk_job *job)
{
	bk_job_get(job);
	txn->jobs[txn->nr_jobs++] = job;
	kref_get(&txn->ref);
	job->txn = txn;
}

/**
 * bk_txn_prepared - a job has prepared, or can't; each reports once
 * @txn:	the transaction
 * @err:	0 or a negative errno
 *
 * Context: process; does not sleep.
 */
void bk_txn_prepared(struct bk_txn *txn, int err)
{
	bool run;

	spin_lock(&txn->lock);
	txn->waiting--;
	if (err && !txn->err)
		txn->err = err;
	run = !txn->queued && (!txn->waiting || txn->err);
	txn->queued |= run;
	spin_unlock(&txn->lock);
	if (run) {
		kref_get(&txn->ref);	/* dropped by bk_txn_work() */
		queue_work(bk_wq, &txn->work);
	}
}

/*----------------------------------------------------------------*/
/* Changes of bitmaps */

/* Make the cut. bk_cut_mutex and the filter's lock are held. */
static int bk_change_cut(struct bk_origin *origin, struct bk_bitmap_change *c)
{
	struct bk_gate *gate = &origin->gate;
	struct bk_cut_part part = { .gate = gate };
	LIST_HEAD(parts);

	mutex_lock(&gate->cfg_lock);
	part.next = bk_cfg_copy(gate, 0, 1, GFP_NOIO);
	if (part.next) {
		bk_bitmap_change_install(origin, c, part.next);
		list_add(&part.list, &parts);
		bk_gate_cut(&parts);
	}
	mutex_unlock(&gate->cfg_lock);
	return list_empty(&parts) ? -ENOMEM : 0;
}

/* -EAGAIN: another cut is being drained. */
static int bk_change_try(struct bk_origin *origin, struct bk_bitmap_change *c,
			 char *error, size_t size)
{
	int err;

	if (mutex_lock_killable(&bk_cut_mutex)) {
		strscpy(error, "interrupted", size);
		return -EINTR;
	}
	mutex_lock(&origin->lock);
	if (origin->dead) {
		err = -ENODEV;
		strscpy(error, "the filter is going away", size);
	} else if (READ_ONCE(origin->gate.mode)) {
		err = -EAGAIN;
	} else {
		err = bk_bitmap_change_check(origin, c, error, size);
		if (!err) {
			err = bk_change_cut(origin, c);
			if (err)
				strscpy(error, "out of memory", size);
			else
				bk_bitmap_change_commit(origin, c);
		}
	}
	mutex_unlock(&origin->lock);
	mutex_unlock(&bk_cut_mutex);
	return err;
}

/**
 * bk_txn_change - change a bitmap
 * @origin:	the filter
 * @c:		the change
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * When it returns, what was in flight before has ended and is recorded, and the
 * metadata device has followed, unless all of this takes more than BK_DRAIN_MS:
 * the change stands anyway.
 *
 * Context: process, sleeps for at most BK_DRAIN_MS, killably: a message's.
 * Return: 0 or a negative errno.
 */
int bk_txn_change(struct bk_origin *origin, struct bk_bitmap_change *c,
		  char *error, size_t size)
{
	unsigned long end = jiffies + msecs_to_jiffies(BK_DRAIN_MS);
	int err;

	err = bk_bitmap_change_prepare(origin, c, error, size);
	while (!err) {
		if (!bk_gate_wait_drained(&origin->gate,
					  max_t(long, end - jiffies, 1))) {
			err = -ETIMEDOUT;
			strscpy(error, bk_txn_cause(err, false), size);
			break;
		}
		err = bk_change_try(origin, c, error, size);
		if (err != -EAGAIN)
			break;
		err = 0;
	}
	if (!err) {
		bk_gate_wait_drained(&origin->gate,
				     max_t(long, end - jiffies, 1));
		err = bk_bitmap_change_finish(origin, c,
					      max_t(long, end - jiffies, HZ),
					      error, size);
		bk_bitmap_change_clean(origin, c, true);
	} else {
		bk_bitmap_change_clean(origin, c, false);
	}
	return err;
}
