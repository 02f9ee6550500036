// SPDX-License-Identifier: GPL-2.0-only
/*
 * A job. The contract is in job.h.
 */

#include "job-int.h"
#include "txn.h"

#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/sched/mm.h>

#define BK_BACKOFF_FIRST_MS	10
#define BK_BACKOFF_LAST_MS	1000

const char *const bk_policy_names[] = {
	[BK_POLICY_REPORT]	= "report",
	[BK_POLICY_IGNORE]	= "ignore",
	[BK_POLICY_ENOSPC]	= "enospc",
	[BK_POLICY_STOP]	= "stop",
	NULL
};

const struct bk_job_params bk_job_defaults = {
	.on_error = { BK_POLICY_REPORT, BK_POLICY_REPORT },
	.auto_finalize = 1,
	.auto_dismiss = 1,
};

/*----------------------------------------------------------------*/
/* Kicking */

/**
 * bk_job_kick - something changed: let the job look
 * @job:	the job
 *
 * Context: process; does not sleep.
 */
void bk_job_kick(struct bk_job *job)
{
	spin_lock(&job->lock);
	/*
	 * A null job's filter may have no workqueue any more. A queued
	 * step_work holds a reference: the run before may drop the last other.
	 */
	if (job->state != BK_JOB_NULL &&
	    queue_work(job->origin->wait_wq, &job->step_work))
		bk_job_get(job);
	spin_unlock(&job->lock);
}

/*
 * Run it then, or earlier if that was asked for: who waits for long must not put
 * off what somebody else has asked for meanwhile. Job->lock is held, so that
 * only the timer may be in between, and then it runs a @delay late at most.
 */
static void bk_job_run_by(struct workqueue_struct *wq,
			  struct delayed_work *work, unsigned long delay)
{
	if (!queue_delayed_work(wq, work, delay) &&
	    timer_pending(&work->timer) &&
	    time_before(jiffies + delay, work->timer.expires))
		mod_delayed_work(wq, work, delay);
}

/**
 * bk_job_wake_in - kick the job after a while, or earlier
 * @job:	the job
 * @ms:		how long
 */
void bk_job_wake_in(struct bk_job *job, unsigned int ms)
{
	spin_lock(&job->lock);
	if (job->state != BK_JOB_NULL)
		bk_job_run_by(job->origin->wait_wq, &job->wake_work,
			      msecs_to_jiffies(ms));
	spin_unlock(&job->lock);
}

static void bk_job_wake_work(struct work_struct *work)
{
	bk_job_kick(container_of(to_delayed_work(work), struct bk_job,
				 wake_work));
}

/**
 * bk_job_queue_copy - let copy_work look
 * @job:	the job; nothing happens if it does not copy now
 * @delay_ns:	when, at the latest
 *
 * Context: process; does not sleep.
 */
void bk_job_queue_copy(struct bk_job *job, u64 delay_ns)
{
	spin_lock(&job->lock);
	if (job->state == BK_JOB_RUNNING || job->state == BK_JOB_READY)
		bk_job_run_by(job->origin->copy_wq, &job->copy_work,
			      delay_ns ? nsecs_to_jiffies(delay_ns) + 1 : 0);
	spin_unlock(&job->lock);
}

/**
 * bk_job_start_copy - background copies may start that might not before
 * @job:	the job
 *
 * Context: process; does not sleep.
 */
void bk_job_start_copy(struct bk_job *job)
{
	bk_job_queue_copy(job, 0);
}

/**
 * bk_job_copy_in - look for something to copy after a while
 * @job:	the job
 * @ms:		how long
 *
 * Context: process; does not sleep.
 */
void bk_job_copy_in(struct bk_job *job, unsigned int ms)
{
	bk_job_queue_copy(job, (u64)ms * NSEC_PER_MSEC);
}

/**
 * bk_job_kick_copy - a background copy may find what it lacked
 * @job:	the job
 *
 * Context: process; does not sleep.
 */
void bk_job_kick_copy(struct bk_job *job)
{
	/* What has changed before it: pairs with the one in bk_job_copy_work(). */
	smp_mb();
	if (READ_ONCE(job->hungry))
		bk_job_queue_copy(job, 0);
}

/*----------------------------------------------------------------*/
/* Errors and outcome */

/**
 * bk_job_say - the job fails, and this is why
 * @job:	the job
 * @err:	negative errno
 * @fmt:	a sentence without the errno
 *
 * The first reason stays.
 *
 * Context: process; does not sleep. Return: @err.
 */
int bk_job_say(struct bk_job *job, int err, const char *fmt, ...)
{
	va_list args;

	spin_lock(&job->lock);
	/* What is being finalized is complete. */
	if (!job->err && !job->finalize && job->state < BK_JOB_CONCLUDED) {
		WRITE_ONCE(job->err, err);
		va_start(args, fmt);
		vscnprintf(job->cause, sizeof(job->cause), fmt, args);
		va_end(args);
	}
	spin_unlock(&job->lock);
	return err;
}

/* What the policy makes of an error. */
static enum bk_action bk_job_action(struct bk_job *job, bool write, int err)
{
	switch (READ_ONCE(job->params.on_error[write])) {
	case BK_POLICY_IGNORE:
		return BK_ACTION_IGNORE;
	case BK_POLICY_STOP:
		return BK_ACTION_STOP;
	case BK_POLICY_ENOSPC:
		return err == -ENOSPC ? BK_ACTION_STOP : BK_ACTION_REPORT;
	default:
		return BK_ACTION_REPORT;
	}
}

/* Keep the first error; lock is held. */
static void bk_job_note_error(struct bk_job *job, bool write, sector_t sector,
			      int err)
{
	WRITE_ONCE(job->errors, job->errors + 1);
	WRITE_ONCE(job->synced, false);
	job->io_status = err == -ENOSPC ? BK_IO_NOSPACE : BK_IO_FAILED;
	if (!job->first_errno) {
		job->first_errno = err;
		job->first_write = write;
		job->first_sector = sector;
	}
}

/**
 * bk_job_event - tell whoever watches the job
 * @job:	the job
 * @what:	the event's word
 * @cause:	why, or ""
 *
 * Context: process, may sleep.
 */
void bk_job_event(struct bk_job *job, const char *what, const char *cause)
{
	bk_origin_event(job->origin, what, job->id, &job->events, cause);
}

/**
 * bk_job_error_in - something has failed
 * @job:	the job
 * @what:	in words: doing what to what
 * @write:	what it was writing is taken for the destination, what it was reading for
 *		the origin: it is that policy that is asked
 * @sector:	where
 * @status:	how
 * @guest:	it was guest-triggered: noted, but the policy is not asked
 *
 * Context: process; does not sleep.
 * Return: what to do about a background copy.
 */
enum bk_action bk_job_error_in(struct bk_job *job, const char *what, bool write,
			       sector_t sector, blk_status_t status, bool guest)
{
	int err = blk_status_to_errno(status);
	enum bk_action action = bk_job_action(job, write, err);

	spin_lock(&job->lock);
	bk_job_note_error(job, write, sector, err);
	if (!guest && action == BK_ACTION_IGNORE) {
		job->backoff_ms = clamp(job->backoff_ms * 2,
					BK_BACKOFF_FIRST_MS,
					BK_BACKOFF_LAST_MS);
		job->not_before = ktime_get_ns() +
				  job->backoff_ms * NSEC_PER_MSEC;
	} else if (!guest && action == BK_ACTION_STOP) {
		/* Told by step_work: telling allocates. */
		if (!job->user_paused)
			snprintf(job->stopped_by, sizeof(job->stopped_by),
				 "paused: %s sector %llu failed", what,
				 (unsigned long long)sector);
		bk_job_suspend(job);
	}
	spin_unlock(&job->lock);

	if (!guest && action == BK_ACTION_REPORT)
		bk_job_say(job, err, "%s sector %llu failed", what,
			   (unsigned long long)sector);
	bk_job_kick(job);
	return action;
}

/**
 * bk_job_error - a copy has failed
 * @job:	the job
 * @write:	writing to the destination, not reading the origin
 * @sector:	where
 * @status:	how
 * @guest:	as bk_job_error_in()
 *
 * Context: process; does not sleep.
 * Return: what to do about a background copy.
 */
enum bk_action bk_job_error(struct bk_job *job, bool write, sector_t sector,
			    blk_status_t status, bool guest)
{
	return bk_job_error_in(job, write ? "writing destination" :
			       "reading origin", write, sector, status, guest);
}

/**
 * bk_job_unsync - it has not caught up any more, though nothing has failed
 * @job:	the job
 *
 * Context: process; does not sleep.
 */
void bk_job_unsync(struct bk_job *job)
{
	spin_lock(&job->lock);
	WRITE_ONCE(job->synced, false);
	/* for who is about to say that it has caught up */
	WRITE_ONCE(job->unsyncs, job->unsyncs + 1);
	spin_unlock(&job->lock);
	bk_job_kick(job);
}

/**
 * bk_job_stand_by - it can't finish now, and waits to be resumed
 * @job:	the job
 * @err:	negative errno
 * @fmt:	why: a sentence without the errno
 *
 * Context: process. Return: @err.
 */
int bk_job_stand_by(struct bk_job *job, int err, const char *fmt, ...)
{
	char cause[BK_ERROR_LEN];
	va_list args;

	va_start(args, fmt);
	vscnprintf(cause, sizeof(cause), fmt, args);
	va_end(args);
	spin_lock(&job->lock);
	bk_job_suspend(job);
	job->io_status = err == -ENOSPC ? BK_IO_NOSPACE : BK_IO_FAILED;
	if (!job->err)
		strscpy(job->cause, cause, sizeof(job->cause));
	spin_unlock(&job->lock);
	bk_job_event(job, "error", cause);
	bk_job_kick(job);
	return err;
}

/**
 * bk_job_broken - the job's point in time was given up
 * @job:	the job
 * @err:	why: negative errno
 *
 * Context: process; neither sleeps nor allocates.
 */
void bk_job_broken(struct bk_job *job, int err)
{
	spin_lock(&job->lock);
	job->broken = !job->err;
	spin_unlock(&job->lock);
	bk_job_say(job, err, err == -ETIMEDOUT ?
		   "broken: a guest's write would have waited too long" :
		   "broken: copying for a guest's write failed");
	bk_job_kick(job);
}

/**
 * bk_job_set_total - it is known now how much there is to copy
 * @job:	the job
 * @sectors:	that much
 */
void bk_job_set_total(struct bk_job *job, u64 sectors)
{
	spin_lock(&job->lock);
	job->total = sectors;
	spin_unlock(&job->lock);
}

/**
 * bk_job_drop - some of it is not to be copied any more
 * @job:	the job
 * @sectors:	that much
 */
void bk_job_drop(struct bk_job *job, u64 sectors)
{
	spin_lock(&job->lock);
	job->total -= min_t(u64, sectors, job->total);
	spin_unlock(&job->lock);
}

/**
 * bk_job_view - a job's point in time, for a view
 * @job:	the job; the filter's lock is held
 * @may_discard: set to whether parts of it can leave the job
 *
 * Return: a reference, counted in the point in time's views; NULL if there is
 * none: the job has not started, has ended, or is of a kind without one.
 */
struct bk_pit *bk_job_view(struct bk_job *job, bool *may_discard)
{
	struct bk_pit *pit = NULL;

	spin_lock(&job->lock);
	if (job->type->view && job->state > BK_JOB_CREATED &&
	    job->state < BK_JOB_ABORTING)
		pit = job->type->view(job, may_discard);
	if (pit) {
		bk_pit_get(pit);
		atomic_inc(&pit->views);
	}
	spin_unlock(&job->lock);
	return pit;
}

/**
 * bk_job_charge - sectors were sent
 * @job:	the job
 * @sectors:	how many
 */
void bk_job_charge(struct bk_job *job, unsigned int sectors)
{
	spin_lock(&job->lock);
	bk_rate_charge(&job->rate, sectors << SECTOR_SHIFT, ktime_get_ns());
	spin_unlock(&job->lock);
}

/*----------------------------------------------------------------*/
/* Background copies */

/* How long is there to wait, ns? U64_MAX: it may not copy at all now. */
static u64 bk_job_delay(struct bk_job *job)
{
	u64 now = ktime_get_ns();
	u64 delay = U64_MAX;

	spin_lock(&job->lock);
	if ((job->state == BK_JOB_RUNNING || job->state == BK_JOB_READY) &&
	    !job->user_paused && !job->cancel && !job->err &&
	    bk_group_may_copy(job)) {
		delay = bk_rate_delay(&job->rate, now);
		if (job->not_before > now)
			delay = max(delay, job->not_before - now);
	}
	spin_unlock(&job->lock);
	return delay;
}

static void bk_job_copy_work(struct work_struct *work)
{
	struct bk_job *job = container_of(to_delayed_work(work), struct bk_job,
					  copy_work);

	WRITE_ONCE(job->hungry, false);
	for (;;) {
		u64 delay = bk_job_delay(job);
		int n;

		if (delay == U64_MAX)
			break;
		if (delay) {
			/* In parts: jiffies may not hold it all. */
			bk_job_queue_copy(job, min_t(u64, delay, 1000ULL *
						     NSEC_PER_SEC));
			break;
		}
		/*
		 * Set before looking: what changes after we looked finds it
		 * set, and kicks us.
		 */
		WRITE_ONCE(job->hungry, true);
		smp_mb();	/* pairs with the one in bk_job_kick_copy() */
		n = job->type->copy(job);
		if (n <= 0)
			break;
		WRITE_ONCE(job->hungry, false);
		bk_job_charge(job, n);
		cond_resched();
	}
}

/*----------------------------------------------------------------*/
/* Making and ending */

/**
 * bk_job_init - set a job up
 * @job:	the job, zeroed
 * @origin:	the filter
 * @type:	what it does
 * @id:		its name, checked
 * @params:	what it was told
 *
 * The caller puts it on origin->jobs, which takes over the reference, and
 * kicks it.
 */
void bk_job_init(struct bk_job *job, struct bk_origin *origin,
		 const struct bk_job_type *type, const char *id,
		 const struct bk_job_params *params)
{
	kref_init(&job->ref);
	INIT_LIST_HEAD(&job->list);
	job->origin = origin;
	bk_origin_get(origin);
	job->type = type;
	strscpy(job->id, id, sizeof(job->id));
	job->params = *params;
	INIT_WORK(&job->step_work, bk_job_step_work);
	INIT_DELAYED_WORK(&job->wake_work, bk_job_wake_work);
	INIT_DELAYED_WORK(&job->copy_work, bk_job_copy_work);
	spin_lock_init(&job->lock);
	job->total = READ_ONCE(origin->len);
	bk_rate_set(&job->rate, params->speed, ktime_get_ns());
}

static void bk_job_release(struct kref *ref)
{
	struct bk_job *job = container_of(ref, struct bk_job, ref);
	struct bk_origin *origin = job->origin;

	if (job->txn)
		bk_txn_put(job->txn);
	bk_group_put(job->group);
	job->type->free(job);
	bk_origin_put(origin);
}

/**
 * bk_job_put - drop a reference
 * @job:	the job
 */
void bk_job_put(struct bk_job *job)
{
	kref_put(&job->ref, bk_job_release);
}

/**
 * bk_job_find - find a job by its id
 * @origin:	the filter; its lock is held
 * @id:		the id
 *
 * Return: the job, without a reference, or NULL.
 */
struct bk_job *bk_job_find(struct bk_origin *origin, const char *id)
{
	struct bk_job *job;

	lockdep_assert_held(&origin->lock);
	list_for_each_entry(job, &origin->jobs, list)
		if (!strcmp(job->id, id))
			return job;
	return NULL;
}

/**
 * bk_jobs_exist - is there any job, concluded ones included?
 * @origin:	the filter
 */
bool bk_jobs_exist(struct bk_origin *origin)
{
	bool any;

	mutex_lock(&origin->lock);
	any = !list_empty(&origin->jobs);
	mutex_unlock(&origin->lock);
	return any;
}

/**
 * bk_jobs_are_completing - is any job to take the origin's place?
 * @origin:	the filter
 *
 * One that is paused is not, until that is asked for again.
 */
bool bk_jobs_are_completing(struct bk_origin *origin)
{
	bool any = false;
	struct bk_job *job;

	mutex_lock(&origin->lock);
	list_for_each_entry(job, &origin->jobs, list)
		any |= READ_ONCE(job->complete) &&
		       READ_ONCE(job->state) < BK_JOB_CONCLUDED;
	mutex_unlock(&origin->lock);
	return any;
}

/**
 * bk_jobs_shutdown - end all jobs and wait until they are gone
 * @origin:	the filter, which nobody can reach any more
 *
 * Context: process, sleeps; waits for the origin, not for a destination.
 */
void bk_jobs_shutdown(struct bk_origin *origin)
{
	struct bk_job *job;

	mutex_lock(&origin->lock);
	list_for_each_entry(job, &origin->jobs, list) {
		spin_lock(&job->lock);
		WRITE_ONCE(job->cancel, true);
		job->hurry = true;
		job->dismiss = true;
		spin_unlock(&job->lock);
		bk_job_kick(job);
	}
	mutex_unlock(&origin->lock);
	wait_event_idle(origin->jobs_wait, list_empty_careful(&origin->jobs));
	/* The last one to go may hold the lock yet. */
	mutex_lock(&origin->lock);
	mutex_unlock(&origin->lock);
}

/**
 * bk_jobs_break - all jobs fail that have not concluded
 * @origin:	the filter; its lock is held
 * @err:	negative errno
 * @cause:	why, in words
 */
void bk_jobs_break(struct bk_origin *origin, int err, const char *cause)
{
	struct bk_job *job;

	lockdep_assert_held(&origin->lock);
	list_for_each_entry(job, &origin->jobs, list)
		bk_job_abandon(job, err, cause);
}
