// SPDX-License-Identifier: GPL-2.0-only
/*
 * A pivot. The contract is in pivot.h.
 */

#include "pivot.h"
#include "dest.h"
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

/* The claim changes hands. live_lock is held. */
static int bk_pivot_take(struct bk_instance *in, struct bk_dest *dest)
{
	struct dm_dev *next;
	char name[32];
	int r;

	format_dev_t(name, dest->bdev.bdev->bd_dev);
	bk_dest_unclaim(dest);
	r = dm_get_device(in->ti, name, dm_table_get_mode(in->ti->table),
			  &next);
	if (r)
		return r;
	/* pairs with the acquire in bk_instance_has() */
	smp_store_release(&in->next, next);
	/* All dm devices share one claim. If not, bk_pivot_unclaim() lets go of it. */
	return bk_dest_has_one_claim(dest) ? 0 : -EBUSY;
}

/**
 * bk_pivot_claim - have the live table open a device
 * @job:	the job that would exchange it
 * @dest:	the device, shared
 * @why:	set to the end of a sentence about the job if it can't be done now, and
 *		the device has not been unclaimed; else to NULL
 *
 * dm lets tables do that while they are live, as its multipath target does. What is
 * loaded afterwards follows (bk_pivot_follow()).
 *
 * Context: process, memory reclaim not allowed; sleeps for as long as opening the
 * device takes, which holds a suspend up. The filter is occupied meanwhile.
 * Return: 0; 1 if there is no live table now; -EBUSY for @why, or if somebody else has
 * claimed it, another dm device perhaps; another negative errno: opening has failed.
 */
int bk_pivot_claim(struct bk_job *job, struct bk_dest *dest, const char **why)
{
	struct bk_origin *origin = job->origin;
	struct bk_instance *in;
	int r = 0;

	*why = NULL;
	bk_origin_lock_cut(origin);
	mutex_lock(&origin->live_lock);
	in = origin->live;
	if (!in)
		r = 1;
	if (r || in->next)
		goto out;
	mutex_lock(&origin->lock);
	*why = bk_pivot_obstacle(origin, job);
	mutex_unlock(&origin->lock);
	if (*why) {
		r = -EBUSY;
		goto out;
	}
	bk_origin_occupy(origin);
	mutex_unlock(&bk_cut_mutex);
	r = bk_pivot_take(in, dest);
	mutex_unlock(&origin->live_lock);
	bk_origin_vacate(origin);
	return r;

out:
	mutex_unlock(&origin->live_lock);
	mutex_unlock(&bk_cut_mutex);
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

/* What another table of the filter has claimed, or NULL. bk_cut_mutex is held. */
static struct dm_dev *bk_pivot_claimed_beside(struct bk_instance *in)
{
	struct bk_instance *other;

	lockdep_assert_held(&bk_cut_mutex);
	list_for_each_entry(other, &in->origin->instances, list)
		if (other != in && other->next)
			return other->next;
	return NULL;
}

/* 1: there is something to follow, of that name; 0: nothing; -EBUSY: it can't. */
static int bk_pivot_may_follow(struct bk_instance *in, char *name)
{
	struct dm_dev *next;
	int r = 0;

	bk_origin_lock_cut(in->origin);
	next = bk_pivot_claimed_beside(in);
	if (next) {
		format_dev_t(name, next->bdev->bd_dev);
		r = next->mode == dm_table_get_mode(in->ti->table) ? 1 : -EBUSY;
	}
	mutex_unlock(&bk_cut_mutex);
	return r;
}

/* It has been opened. Is it still what there is to follow? */
static bool bk_pivot_join(struct bk_instance *in, struct dm_dev *next)
{
	struct bk_origin *origin = in->origin;
	bool same;

	bk_origin_lock_cut(origin);
	same = bk_pivot_claimed_beside(in) == next;
	if (same) {
		mutex_lock(&origin->live_lock);
		in->next = next;
		mutex_unlock(&origin->live_lock);
	}
	mutex_unlock(&bk_cut_mutex);
	return same;
}

/**
 * bk_pivot_follow - claim what the table beside it has claimed, too
 * @in:		the instance, on the list, and not live yet
 *
 * So whichever of the two is live has it, and at no moment nobody has. dm's tables
 * for one device share what they open in the same mode, so nothing is opened here;
 * another mode would be a claim more. While there are two tables none begins to claim
 * anything, see bk_pivot_obstacle(): it can only have been let go of meanwhile.
 *
 * Context: dm's ctr: process, may sleep.
 * Return: 0; a negative errno and ti->error set.
 */
int bk_pivot_follow(struct bk_instance *in)
{
	struct dm_dev *next;
	char name[32];
	int r;

	r = bk_pivot_may_follow(in, name);
	if (r > 0)
		r = dm_get_device(in->ti, name,
				  dm_table_get_mode(in->ti->table), &next);
	else if (!r)
		return 0;
	if (r && bk_pivot_may_follow(in, name)) {
		in->ti->error = "A mirror's destination can't be claimed, too: cancel it by force";
		return r;
	}
	if (!r && !bk_pivot_join(in, next))
		dm_put_device(in->ti, next);
	return 0;
}

/**
 * bk_pivot_is_claimed - has the live table claimed a device?
 * @origin:	the filter; live_lock is held
 * @dest:	the device; whether it is the only one, bk_dest_has_one_claim() tells
 */
bool bk_pivot_is_claimed(struct bk_origin *origin, struct bk_dest *dest)
{
	struct bk_instance *in = origin->live;

	lockdep_assert_held(&origin->live_lock);
	return in && in->next && in->next->bdev == dest->bdev.bdev;
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
	if (!list_is_singular(&origin->instances) || origin->passes)
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
