// SPDX-License-Identifier: GPL-2.0-only
/*
 * The end of a mirror. The contract is in mirror.h.
 */

#include "mirror-int.h"
#include "job-dest.h"
#include "pivot.h"

#include <linux/math64.h>

/* What is left to copy is little if it takes so long, or is that much. */
#define BK_MIRROR_LITTLE_MS	500
#define BK_MIRROR_LITTLE	(SZ_4M >> SECTOR_SHIFT)

/*
 * How a try to end has gone. No errno, as what the destination answers is one, and may
 * be any.
 */
enum bk_mirror_try {
	BK_MTRY_OK,
	BK_MTRY_SOON,		/* not now, or it is not wanted any more */
	BK_MTRY_LATE,		/* writes would have waited too long */
	BK_MTRY_TAKEN,		/* the destination is not ours alone */
	BK_MTRY_OBSTACLE,	/* somebody has to see to something first */
	BK_MTRY_LACKING,	/* the destination can't do what the filter can */
	BK_MTRY_FAILED,		/* the destination could not be flushed: its error */
};

/**
 * bk_mirror_ask - ask the destination for something
 * @m:		the mirror
 * @what:	what
 *
 * One thing at a time: if something else was asked for before, that is waited for.
 *
 * Context: the job's step. Return: 0 or a negative errno when it has been done;
 * -EINPROGRESS: the job is kicked then, and is to ask again.
 */
int bk_mirror_ask(struct bk_mirror *m, enum bk_mirror_ask what)
{
	enum bk_mirror_ask was = m->asked;

	if (was != BK_MASK_NONE) {
		if (bk_dest_busy(m->dest))
			return -EINPROGRESS;
		m->asked = BK_MASK_NONE;
		if (was == BK_MASK_SHARE && !m->dest->error)
			m->shared = true;
		if (was != BK_MASK_SHARE && m->dest->error)
			bk_mcopy_doubt(m->mc);
		/* The other's error is as good: nothing may be told of it again. */
		if (was == what || m->dest->error)
			return m->dest->error;
	}
	m->asked = what;
	if (what == BK_MASK_SHARE)
		bk_dest_share(m->dest);
	else
		bk_dest_flush(m->dest);
	return -EINPROGRESS;
}

/* Is what is left so little that writes may wait for it? */
static bool bk_mirror_is_near(struct bk_mirror *m)
{
	u64 left = bk_mcopy_left(m->mc);
	u64 little = div_u64(READ_ONCE(m->dest->speed) * BK_MIRROR_LITTLE_MS,
			     MSEC_PER_SEC) >> SECTOR_SHIFT;

	return left <= max_t(u64, little, BK_MIRROR_LITTLE);
}

/* Is it still to be done? Asked while the gate is closed. */
static bool bk_mirror_go_on(struct bk_mcopy *mc)
{
	struct bk_mirror *m = mc->owner;

	return READ_ONCE(m->job.synced) && !READ_ONCE(m->job.err) &&
	       !READ_ONCE(m->job.cancel);
}

/* With the gate closed, which has until @end to be opened again: copy the rest. */
static enum bk_mirror_try bk_mirror_copy_rest(struct bk_mirror *m,
					      unsigned long end)
{
	int r = bk_mcopy_finish(m->mc, end, bk_mirror_go_on);

	if (r)
		return r == -ECANCELED ? BK_MTRY_SOON : BK_MTRY_LATE;
	return BK_MTRY_OK;
}

/* The same, and leave the destination as it is then, for good. */
static enum bk_mirror_try bk_mirror_freeze_closed(struct bk_mirror *m,
						  unsigned long end)
{
	enum bk_mirror_try how = bk_mirror_copy_rest(m, end);

	if (how == BK_MTRY_OK)
		bk_mcopy_hold(m->mc, true);
	return how;
}

/* From here on it can't be taken back. False if it has been already, or paused. */
static bool bk_mirror_seal(struct bk_mirror *m)
{
	struct bk_job *job = &m->job;
	bool ok;

	spin_lock(&job->lock);
	ok = job->complete && !job->cancel && !job->err;
	job->finalize |= ok;
	spin_unlock(&job->lock);
	return ok;
}

/* With the gate closed, all being copied: is it durable, and does the device answer? */
static enum bk_mirror_try bk_mirror_flush_rest(struct bk_mirror *m,
					       unsigned long end)
{
	m->asked = BK_MASK_END;
	bk_dest_flush(m->dest);
	if (!bk_dest_wait(m->dest, max_t(long, end - jiffies, 1)))
		return BK_MTRY_LATE;
	m->asked = BK_MASK_NONE;
	return m->dest->error ? BK_MTRY_FAILED : BK_MTRY_OK;
}

/*
 * Copy the rest, and let the destination take the origin's place. What writes were
 * told to be durable is so there before the first of them can end there, and it
 * answers: nothing else may have been sent to it for a while. The metadata device is
 * told last: as long as nothing is written both devices are the same, and after a
 * crash only the one that it names is believed.
 */
static enum bk_mirror_try bk_mirror_pivot_closed(struct bk_mirror *m,
						 struct bk_pivot *p,
						 unsigned long end)
{
	enum bk_mirror_try how = bk_mirror_copy_rest(m, end);

	if (how == BK_MTRY_OK)
		how = bk_mirror_flush_rest(m, end);
	if (how != BK_MTRY_OK)
		return how;
	if (bk_pivot_record(p, end))
		return BK_MTRY_LATE;
	if (!bk_mirror_seal(m)) {
		bk_pivot_take_back(p);
		return BK_MTRY_SOON;
	}
	/* Else it would go on copying, from the destination to itself. */
	bk_mcopy_hold(m->mc, true);
	bk_pivot_exchange(m->job.origin);
	return BK_MTRY_OK;
}

/* Whoever has the destination now may have written to it: it is no copy any more. */
static int bk_mirror_taken(struct bk_mirror *m, int err)
{
	bk_mcopy_doubt(m->mc);
	bk_job_say(&m->job, err, err == -EBUSY ?
		   "destination %.64s was claimed by others" :
		   "claiming destination %.64s failed", m->params.target);
	/* The next step ends it; nobody else may ask for one. */
	bk_job_kick(&m->job);
	return err;
}

/*
 * May the gate be closed for this? If there is an obstacle, *@why is the end of a
 * sentence about the job; if the destination lacks something, about that. Under all
 * locks: nothing is allocated.
 */
static enum bk_mirror_try bk_mirror_may_close(struct bk_mirror *m, bool pivot,
					      const char **why)
{
	struct bk_origin *origin = m->job.origin;

	if (!origin->live || bk_gate_is_draining(&origin->gate) ||
	    !bk_mirror_go_on(m->mc))
		return BK_MTRY_SOON;
	/* Once it is shared others of dm's may have it, though it is to be a copy only. */
	if (m->shared && !bk_dest_has_one_claim(m->dest))
		return BK_MTRY_TAKEN;
	if (!pivot)
		return BK_MTRY_OK;
	if (!bk_pivot_is_claimed(origin, m->dest))
		return BK_MTRY_SOON;
	/* It, or what the filter's table says, may have changed since it was checked. */
	*why = bk_job_dest_lacks(&m->job, m->dest->bdev.bdev);
	if (*why)
		return BK_MTRY_LACKING;
	*why = bk_pivot_obstacle(origin, &m->job);
	return *why ? BK_MTRY_OBSTACLE : BK_MTRY_OK;
}

static void bk_mirror_unlock(struct bk_origin *origin)
{
	mutex_unlock(&origin->gate.cfg_lock);
	mutex_unlock(&origin->lock);
	mutex_unlock(&origin->live_lock);
}

/*
 * Take all locks that are needed while the gate is closed, and see whether it may
 * be. While live_lock is held the table stays, and does not stop. bk_cut_mutex is
 * every filter's and is only needed to begin: after that this one is occupied.
 */
static enum bk_mirror_try bk_mirror_lock(struct bk_mirror *m, bool pivot,
					 const char **why)
{
	struct bk_origin *origin = m->job.origin;
	enum bk_mirror_try how;

	bk_origin_lock_cut(origin);
	mutex_lock(&origin->live_lock);
	mutex_lock(&origin->lock);
	mutex_lock(&origin->gate.cfg_lock);
	how = bk_mirror_may_close(m, pivot, why);
	if (how == BK_MTRY_OK) {
		bk_origin_occupy(origin);
		bk_gate_close_begin(&origin->gate);
	} else {
		bk_mirror_unlock(origin);
	}
	mutex_unlock(&bk_cut_mutex);
	return how;
}

/*
 * Close the gate, do what is to be done, and open it. All that takes longer, or may
 * wait for memory, is the caller's to do afterwards.
 */
static enum bk_mirror_try bk_mirror_close(struct bk_mirror *m, bool pivot,
					  const char **why)
{
	struct bk_origin *origin = m->job.origin;
	struct bk_gate *gate = &origin->gate;
	struct bk_pivot p = { };
	enum bk_mirror_try how;
	unsigned long end;

	if (pivot)
		bk_pivot_prepare(&p, origin, m->dest->bdev.bdev);
	how = bk_mirror_lock(m, pivot, why);
	if (how != BK_MTRY_OK)
		goto out;
	end = jiffies + msecs_to_jiffies(BK_MIRROR_CLOSED_MS);
	how = BK_MTRY_LATE;
	if (bk_gate_close(gate, end - jiffies)) {
		how = pivot ? bk_mirror_pivot_closed(m, &p, end) :
			      bk_mirror_freeze_closed(m, end);
		bk_gate_reopen(gate);
	}
	bk_mirror_unlock(origin);
	bk_origin_vacate(origin);
	/* Who found the gate closed meanwhile waits to be told. */
	gate->ops->idle(gate);
out:
	bk_pivot_finish(&p);
	return how;
}

/* A try that failed, for now: later again. */
static int bk_mirror_later(struct bk_mirror *m, unsigned int ms)
{
	m->end_at = get_jiffies_64() + msecs_to_jiffies(ms);
	bk_job_wake_in(&m->job, ms);
	return -EINPROGRESS;
}

/* What ends goes on as before; the user has to say more. */
static int bk_mirror_stand_by(struct bk_mirror *m, int err, const char *what)
{
	WRITE_ONCE(m->end, BK_MEND_NONE);
	bk_mcopy_hold(m->mc, false);
	return bk_job_stand_by(&m->job, err, "%s %.64s failed", what,
			       m->params.target);
}

/* Hand the claim on the destination over to the live table. */
static int bk_mirror_hand_over(struct bk_mirror *m)
{
	const char *why;
	int r;

	if (!m->shared) {
		r = bk_mirror_ask(m, BK_MASK_SHARE);
		if (r == -EINPROGRESS)
			return r;
		if (r)
			return bk_mirror_stand_by(m, r, "opening destination");
	}
	r = bk_pivot_claim(&m->job, m->dest, &why);
	if (r > 0)
		return bk_mirror_later(m, BK_MIRROR_IDLE_MS);
	if (why)
		return bk_job_stand_by(&m->job, r, "%s", why);
	return r ? bk_mirror_taken(m, r) : 0;
}

/* A flush has failed while writes were stopped, too short a time to do this then. */
static int bk_mirror_flush_failed(struct bk_mirror *m)
{
	bk_mcopy_doubt(m->mc);
	return bk_mirror_stand_by(m, m->dest->error, "flushing destination");
}

/* From ready to a destination that will not change, if all goes well. */
static int bk_mirror_reach(struct bk_mirror *m, bool pivot)
{
	const char *why = NULL;
	int r;

	if (time_before64(get_jiffies_64(), m->end_at))
		return -EINPROGRESS;
	if (m->asked != BK_MASK_END && !bk_mirror_is_near(m))
		return bk_mirror_later(m, BK_MIRROR_IDLE_MS);
	if (pivot) {
		r = bk_mirror_hand_over(m);
		if (r)
			return r;
	}
	r = bk_mirror_ask(m, BK_MASK_END);
	if (r == -EINPROGRESS)
		return r;
	if (r)
		return bk_mirror_stand_by(m, r, "flushing destination");
	switch (bk_mirror_close(m, pivot, &why)) {
	case BK_MTRY_OK:
		WRITE_ONCE(m->end, pivot ? BK_MEND_PIVOTED : BK_MEND_FROZEN);
		return 0;
	case BK_MTRY_LATE:
		WRITE_ONCE(m->attempts, m->attempts + 1);
		return bk_mirror_later(m, BK_MIRROR_AGAIN_MS);
	case BK_MTRY_TAKEN:
		return bk_mirror_taken(m, -EBUSY);
	case BK_MTRY_OBSTACLE:
		return bk_job_stand_by(&m->job, -EBUSY, "%s", why);
	case BK_MTRY_LACKING:
		return bk_job_stand_by(&m->job, -EINVAL, BK_MIRROR_LACKS, why);
	case BK_MTRY_FAILED:
		return bk_mirror_flush_failed(m);
	default:
		return bk_mirror_later(m, BK_MIRROR_IDLE_MS);
	}
}

/**
 * bk_mirror_flush_origin - what was copied may be in its volatile cache only
 * @m:		the mirror
 *
 * Context: the job's step, waits for the origin. Return: 0; a negative errno;
 * -EINPROGRESS: the job is kicked, and is to call again.
 */
int bk_mirror_flush_origin(struct bk_mirror *m)
{
	struct bk_origin *origin = m->job.origin;
	struct block_device *bdev;
	int r;

	bdev = bk_origin_io_begin(origin, &m->deferred);
	if (IS_ERR(bdev))
		return PTR_ERR(bdev);
	if (!bdev)
		return -EINPROGRESS;
	r = blkdev_issue_flush(bdev);
	bk_origin_io_end(origin);
	return r;
}

/* The destination has what it is to have: make it durable. */
static int bk_mirror_leave(struct bk_mirror *m)
{
	int r;

	if (m->end == BK_MEND_FROZEN) {
		r = bk_mirror_flush_origin(m);
		if (r == -EINPROGRESS)
			return r;
		if (r)
			return bk_mirror_stand_by(m, r, "flushing the origin of");
		WRITE_ONCE(m->end, BK_MEND_FLUSHED);
	}
	r = bk_mirror_ask(m, BK_MASK_END);
	if (r && r != -EINPROGRESS)
		return bk_mirror_stand_by(m, r, "flushing destination");
	return r;
}

/**
 * bk_mirror_finish - end, and leave a consistent copy
 * @job:	the job, ready and synced
 * @pivot:	the copy is to take the origin's place
 *
 * Context: the job's step, as struct bk_job_type says.
 */
int bk_mirror_finish(struct bk_job *job, bool pivot)
{
	struct bk_mirror *m = bk_mirror_of(job);
	int r;

	if (m->end == BK_MEND_NONE) {
		r = bk_mirror_reach(m, pivot);
		if (r)
			return r;
	}
	return m->end == BK_MEND_PIVOTED ? 0 : bk_mirror_leave(m);
}
