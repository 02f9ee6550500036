// SPDX-License-Identifier: GPL-2.0-only
/*
 * A pivot. The contract is in pivot.h.
 */

#include "pivot.h"
#include "store.h"

/**
 * bk_pivot_prepare - make ready what the metadata device will be told
 * @p:		filled in; for bk_pivot_finish()
 * @origin:	the filter
 * @bdev:	the device that is to take the origin's place
 *
 * Context: process, sleeps; under no lock.
 */
void bk_pivot_prepare(struct bk_pivot *p, struct bk_origin *origin,
		      struct block_device *bdev)
{
	struct bk_instance *in;

	p->origin = origin;
	p->there = bk_store_stand_prepare(origin);
	p->back = bk_store_stand_prepare(origin);
	bk_store_stand_on(p->there, bdev);
	mutex_lock(&origin->live_lock);
	in = origin->live;
	p->ready = in;
	if (in)
		bk_store_stand_on(p->back, in->dev->bdev);
	mutex_unlock(&origin->live_lock);
}

/**
 * bk_pivot_record - the metadata device is to know the new origin
 * @p:		what was prepared
 * @end:	jiffies by which it has to
 *
 * Context: process, sleeps; allocates nothing. The gate is closed, and the locks
 * are held that keep the table live.
 * Return: 0, also if it does not matter any more; -ETIMEDOUT.
 */
int bk_pivot_record(struct bk_pivot *p, unsigned long end)
{
	/* It was not live when this was prepared: another try. */
	if (!p->ready)
		return -ETIMEDOUT;
	return bk_store_stand(p->origin, p->there, p->back, end);
}

/**
 * bk_pivot_take_back - and now it is not to
 * @p:		what was recorded
 *
 * Context: as for bk_pivot_record(), but does not sleep.
 */
void bk_pivot_take_back(struct bk_pivot *p)
{
	bk_store_stand_back(p->origin, p->back);
}

/**
 * bk_pivot_finish - all that was prepared is done with
 * @p:		what was prepared
 */
void bk_pivot_finish(struct bk_pivot *p)
{
	bk_store_req_put(p->there);
	bk_store_req_put(p->back);
}

/**
 * bk_pivot_claim - have the live table open a device
 * @origin:	the filter
 * @bdev:	the device, which is open, and which nobody has claimed
 *
 * dm lets tables do that while they are live, as its multipath target does.
 *
 * Context: process, memory reclaim not allowed; sleeps for as long as opening the
 * device takes, which holds a suspend up.
 * Return: 0; -EAGAIN if there is no live table now; -EBUSY if somebody else has
 * claimed it; another negative errno.
 */
int bk_pivot_claim(struct bk_origin *origin, struct block_device *bdev)
{
	struct bk_instance *in;
	char name[32];
	int r = 0;

	format_dev_t(name, bdev->bd_dev);
	mutex_lock(&origin->live_lock);
	in = origin->live;
	if (!in)
		r = -EAGAIN;
	else if (!in->next)
		r = dm_get_device(in->ti, name, dm_table_get_mode(in->ti->table),
				  &in->next);
	mutex_unlock(&origin->live_lock);
	return r;
}

/**
 * bk_pivot_unclaim - it will not be exchanged after all
 * @origin:	the filter
 *
 * Context: process, sleeps; the caller has the device open, so closing it here
 * takes no time.
 */
void bk_pivot_unclaim(struct bk_origin *origin)
{
	struct bk_instance *in;

	/* An instance that is on the list has its table. */
	bk_origin_lock_cut(origin);
	mutex_lock(&origin->live_lock);
	list_for_each_entry(in, &origin->instances, list) {
		if (in->next)
			dm_put_device(in->ti, in->next);
		in->next = NULL;
	}
	mutex_unlock(&origin->live_lock);
	mutex_unlock(&bk_cut_mutex);
}

/**
 * bk_pivot_is_claimed - has the live table opened a device?
 * @origin:	the filter; live_lock is held
 * @bdev:	the device
 */
bool bk_pivot_is_claimed(struct bk_origin *origin, struct block_device *bdev)
{
	lockdep_assert_held(&origin->live_lock);
	return origin->live && origin->live->next &&
	       origin->live->next->bdev == bdev;
}

/**
 * bk_pivot_objection - why can't the origin be exchanged?
 * @origin:	the filter; its lock is held
 * @job:	the job that would do it
 *
 * Context: process; does not sleep.
 * Return: the end of a sentence about the job, or NULL.
 */
const char *bk_pivot_objection(struct bk_origin *origin, struct bk_job *job)
{
	struct bk_job *other;

	lockdep_assert_held(&origin->lock);
	list_for_each_entry(other, &origin->jobs, list)
		if (other != job && READ_ONCE(other->state) < BK_JOB_CONCLUDED)
			return "can't take the origin's place while another job reads it";
	return NULL;
}

/**
 * bk_pivot_obstacle - why can't the origin be exchanged now?
 * @origin:	the filter, with a live table; bk_cut_mutex, live_lock and lock are
 *		held
 * @job:	the job that would do it
 *
 * Return: the end of a sentence about the job, or NULL.
 */
const char *bk_pivot_obstacle(struct bk_origin *origin, struct bk_job *job)
{
	lockdep_assert_held(&bk_cut_mutex);
	lockdep_assert_held(&origin->live_lock);
	/* It would bring the old origin back when it goes live. */
	if (!list_is_singular(&origin->instances))
		return "can't take the origin's place while another table is loaded";
	if (origin->live->left)
		return "can't take the origin's place again before the table is loaded anew";
	return bk_pivot_objection(origin, job);
}

/**
 * bk_pivot_exchange - the device that was claimed is the origin from here on
 * @origin:	the filter, occupied; the gate is closed, live_lock and lock are held,
 *		and the live table has claimed it
 *
 * Context: process; does not sleep.
 */
void bk_pivot_exchange(struct bk_origin *origin)
{
	struct bk_instance *in = origin->live;

	lockdep_assert_held(&origin->live_lock);
	lockdep_assert_held(&origin->lock);
	in->left = in->dev;
	/* Who is counted after the gate's opening sees it (order no. 2). */
	WRITE_ONCE(in->dev, in->next);
	/* pairs with the acquire in bk_instance_has() */
	smp_store_release(&in->next, NULL);
	origin->dev = in->dev->bdev->bd_dev;
	spin_lock_irq(&origin->io_lock);
	if (origin->io_bdev)
		origin->io_bdev = in->dev->bdev;
	spin_unlock_irq(&origin->io_lock);
}
