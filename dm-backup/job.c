// SPDX-License-Identifier: GPL-2.0-only
/*
 * A job. The contract is in job.h.
 */

#include "job.h"
#include "group.h"
#include "module.h"
#include "trace.h"
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

static const char *const bk_io_status_names[] = {
	[BK_IO_OK]		= "ok",
	[BK_IO_FAILED]		= "failed",
	[BK_IO_NOSPACE]		= "nospace",
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

/**
 * bk_job_wake_in - kick the job after a while
 * @job:	the job
 * @ms:		how long
 */
void bk_job_wake_in(struct bk_job *job, unsigned int ms)
{
	spin_lock(&job->lock);
	if (job->state != BK_JOB_NULL)
		queue_delayed_work(job->origin->wait_wq, &job->wake_work,
				   msecs_to_jiffies(ms));
	spin_unlock(&job->lock);
}

static void bk_job_wake_work(struct work_struct *work)
{
	bk_job_kick(container_of(to_delayed_work(work), struct bk_job,
				 wake_work));
}

static void bk_job_queue_copy(struct bk_job *job, u64 delay_ns)
{
	spin_lock(&job->lock);
	if (job->state == BK_JOB_RUNNING || job->state == BK_JOB_READY)
		mod_delayed_work(job->origin->copy_wq, &job->copy_work,
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
	bk_job_queue_copy(job, ms * NSEC_PER_MSEC);
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

/* Tell whoever watches the job. */
static void bk_job_event(struct bk_job *job, const char *what,
			 const char *cause)
{
	bk_origin_event(job->origin, what, job->id, &job->events, cause);
}

/**
 * bk_job_error - a copy has failed
 * @job:	the job
 * @write:	writing to the destination, not reading the origin
 * @sector:	where
 * @status:	how
 * @guest:	it was guest-triggered: noted, but the policy is not asked
 *
 * Context: process; does not sleep.
 * Return: what to do about a background copy.
 */
enum bk_action bk_job_error(struct bk_job *job, bool write, sector_t sector,
			    blk_status_t status, bool guest)
{
	const char *what = write ? "writing destination" : "reading origin";
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
		WRITE_ONCE(job->user_paused, true);
	}
	spin_unlock(&job->lock);

	if (!guest && action == BK_ACTION_REPORT)
		bk_job_say(job, err, "%s sector %llu failed", what,
			   (unsigned long long)sector);
	bk_job_kick(job);
	return action;
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
	WRITE_ONCE(job->user_paused, true);
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
			bk_job_queue_copy(job, min(delay, 1000 * NSEC_PER_SEC));
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
/* From state to state, in step_work */

static void bk_job_become(struct bk_job *job, enum bk_job_state to)
{
	enum bk_job_state from;

	spin_lock(&job->lock);
	from = job->state;
	WARN_ON_ONCE(!bk_job_may_become(from, to));
	WRITE_ONCE(job->state, to);
	spin_unlock(&job->lock);
	trace_bk_job_state(job->origin->name, job->id,
			   bk_job_state_name(from), bk_job_state_name(to));
}

/* Is it to end before it is done? Notes why. */
static bool bk_job_must_abort(struct bk_job *job)
{
	bool cancel;

	spin_lock(&job->lock);
	cancel = job->cancel && !job->err;
	spin_unlock(&job->lock);
	if (cancel)
		bk_job_say(job, -ECANCELED, "cancelled");
	return READ_ONCE(job->err);
}

static bool bk_job_is_grouped(struct bk_job *job)
{
	return job->group && job->group->grouped;
}

/* It ends before it is done, and with it those that stand or fall with it. */
static void bk_job_give_up(struct bk_job *job)
{
	bk_job_become(job, BK_JOB_ABORTING);
	bk_group_failed(job);
	bk_group_pass(job);
}

static void bk_job_step_created(struct bk_job *job)
{
	bool stop;
	int r;

	if (!job->prepared) {
		r = bk_job_must_abort(job) ? job->err :
					     job->type->prepare(job);
		if (r == -EINPROGRESS)
			return;
		job->prepared = true;
		bk_txn_prepared(job->txn, r);
	}
	/*
	 * Neither flag is ever taken back: if its cut isn't being made now,
	 * bk_job_commit_begin() won't let it. If it is, bk_job_commit_end()
	 * kicks.
	 */
	spin_lock(&job->lock);
	stop = !job->committing && (job->cancel || job->err);
	spin_unlock(&job->lock);
	if (stop && bk_job_must_abort(job))
		bk_job_give_up(job);
}

/* Back from paused, or from standby. */
static void bk_job_unpause(struct bk_job *job)
{
	bk_job_become(job, job->state == BK_JOB_PAUSED ? BK_JOB_RUNNING :
							 BK_JOB_READY);
}

/* Pause it, if no background copy is in flight. */
static void bk_job_try_pause(struct bk_job *job)
{
	/* It may have looked before it was paused, and start one yet. */
	cancel_delayed_work_sync(&job->copy_work);
	if (job->type->is_idle(job))
		bk_job_become(job, job->state == BK_JOB_RUNNING ?
				   BK_JOB_PAUSED : BK_JOB_STANDBY);
}

/* Has it caught up, or again? An error meanwhile takes that back. */
static void bk_job_try_ready(struct bk_job *job)
{
	unsigned int errors = READ_ONCE(job->errors);
	bool synced;

	if (READ_ONCE(job->synced) || !job->type->is_ready(job))
		return;
	spin_lock(&job->lock);
	synced = job->errors == errors;
	WRITE_ONCE(job->synced, synced);
	spin_unlock(&job->lock);
	if (!synced)
		return;
	if (job->state == BK_JOB_RUNNING)
		bk_job_become(job, BK_JOB_READY);
	bk_job_event(job, "ready", "");
}

/* It runs, and follows the origin. */
static void bk_job_step_following(struct bk_job *job)
{
	bool finish, pivot;

	bk_job_try_ready(job);
	spin_lock(&job->lock);
	pivot = job->complete;
	finish = job->synced && (pivot || job->soft);
	spin_unlock(&job->lock);
	if (finish && !job->type->finish(job, pivot))
		bk_job_become(job, BK_JOB_WAITING);
}

static void bk_job_step_running(struct bk_job *job)
{
	char stopped_by[sizeof(job->stopped_by)];
	bool paused, resumed, stop;

	/* As in bk_job_step_created(). */
	spin_lock(&job->lock);
	stop = !job->committing && (job->cancel || job->err);
	paused = job->user_paused;
	resumed = job->resumed;
	job->resumed = false;
	strscpy(stopped_by, job->stopped_by, sizeof(stopped_by));
	job->stopped_by[0] = '\0';
	spin_unlock(&job->lock);

	if (stopped_by[0])
		bk_job_event(job, "error", stopped_by);
	if (resumed) {
		job->type->resumed(job);
		bk_job_queue_copy(job, 0);
	}
	if (stop && bk_job_must_abort(job)) {
		if (job->state == BK_JOB_PAUSED || job->state == BK_JOB_STANDBY)
			bk_job_unpause(job);
		bk_job_give_up(job);
	} else if (job->state == BK_JOB_PAUSED || job->state == BK_JOB_STANDBY) {
		if (paused)
			return;
		bk_job_unpause(job);
		bk_job_queue_copy(job, 0);
	} else if (paused) {
		bk_job_try_pause(job);
	} else if (job->type->is_ready) {
		bk_job_step_following(job);
	} else if (job->type->is_complete(job)) {
		bk_job_become(job, BK_JOB_WAITING);
		bk_group_pass(job);
	}
}

static void bk_job_step_waiting(struct bk_job *job)
{
	int r = 0;

	if (!bk_job_must_abort(job))
		r = job->type->settle(job);
	if (r == -EINPROGRESS)
		return;
	if (bk_job_must_abort(job)) {
		bk_job_give_up(job);
		return;
	}
	if (!bk_group_has_settled(job))
		return;		/* the last one kicks */
	bk_job_become(job, BK_JOB_PENDING);
	if (!job->params.auto_finalize)
		bk_job_event(job, "pending", "");
}

/* Let go of everything, then conclude. */
static void bk_job_step_release(struct bk_job *job)
{
	bool hurry;

	/* It is not queued in this state, and uses what is let go of now. */
	cancel_delayed_work_sync(&job->copy_work);
	spin_lock(&job->lock);
	hurry = job->hurry;
	spin_unlock(&job->lock);
	if (job->type->release(job, hurry) != -EINPROGRESS)
		bk_job_become(job, BK_JOB_CONCLUDED);
}

static void bk_job_step_pending(struct bk_job *job)
{
	bool finalize;

	if (bk_job_is_grouped(job))
		bk_group_finalize(job, false);
	spin_lock(&job->lock);
	if (job->params.auto_finalize && !job->cancel &&
	    !bk_job_is_grouped(job))
		job->finalize = true;
	finalize = job->finalize;	/* from here on it can't be cancelled */
	spin_unlock(&job->lock);

	if (finalize)
		bk_job_step_release(job);
	else if (bk_job_must_abort(job))
		bk_job_give_up(job);
}

static void bk_job_step_aborting(struct bk_job *job)
{
	job->type->abort(job);
	bk_job_step_release(job);
}

static const char *bk_job_outcome(struct bk_job *job)
{
	if (!job->err)
		return "completed";
	if (job->broken)
		return "broken";
	return job->err == -ECANCELED ? "cancelled" : "error";
}

static void bk_job_step_concluded(struct bk_job *job)
{
	struct bk_origin *origin = job->origin;
	bool dismiss, silent;

	spin_lock(&job->lock);
	silent = job->silent;
	dismiss = job->dismiss || silent || job->params.auto_dismiss;
	spin_unlock(&job->lock);

	if (!job->told && !silent)
		bk_job_event(job, bk_job_outcome(job), job->cause);
	job->told = true;
	if (!dismiss)
		return;

	cancel_delayed_work_sync(&job->wake_work);
	bk_group_leave(job);
	mutex_lock(&origin->lock);
	bk_job_become(job, BK_JOB_NULL);
	list_del_init(&job->list);
	mutex_unlock(&origin->lock);
	wake_up_all(&origin->jobs_wait);
}

static void bk_job_step_work(struct work_struct *work)
{
	/* with the reference of bk_job_kick() */
	struct bk_job *job = container_of(work, struct bk_job, step_work);
	unsigned int noio = memalloc_noio_save();
	enum bk_job_state state;
	bool gone;

	do {
		state = job->state;
		switch (state) {
		case BK_JOB_CREATED:
			bk_job_step_created(job);
			break;
		case BK_JOB_RUNNING:
		case BK_JOB_PAUSED:
		case BK_JOB_READY:
		case BK_JOB_STANDBY:
			bk_job_step_running(job);
			break;
		case BK_JOB_WAITING:
			bk_job_step_waiting(job);
			break;
		case BK_JOB_PENDING:
			bk_job_step_pending(job);
			break;
		case BK_JOB_ABORTING:
			bk_job_step_aborting(job);
			break;
		case BK_JOB_CONCLUDED:
			bk_job_step_concluded(job);
			break;
		default:
			break;
		}
		gone = state != BK_JOB_NULL && job->state == BK_JOB_NULL;
	} while (job->state != state && !gone);
	memalloc_noio_restore(noio);
	if (gone)
		bk_job_put(job);	/* the list's */
	bk_job_put(job);
}

/*----------------------------------------------------------------*/
/* What its transaction does */

/**
 * bk_job_commit_begin - the cut is about to be made
 * @job:	a prepared job
 *
 * Context: process; under bk_cut_mutex.
 * Return: false if the job ends instead; else it can't until
 * bk_job_commit_end().
 */
bool bk_job_commit_begin(struct bk_job *job)
{
	bool ok;

	spin_lock(&job->lock);
	ok = job->state == BK_JOB_CREATED && !job->cancel && !job->err;
	job->committing = ok;
	spin_unlock(&job->lock);
	return ok;
}

/**
 * bk_job_commit_end - the cut has been made, or has been given up
 * @job:	the job
 * @started:	which of the two
 */
void bk_job_commit_end(struct bk_job *job, bool started)
{
	if (started) {
		job->type->started(job);
		bk_job_become(job, BK_JOB_RUNNING);
	}
	spin_lock(&job->lock);
	job->committing = false;
	if (started)
		job->silent = false;	/* from now on it ends as jobs do */
	spin_unlock(&job->lock);
	bk_job_kick(job);
	if (started)
		bk_job_queue_copy(job, 0);
}

/**
 * bk_job_check_move - may its point in time move to now?
 * @job:	the job
 * @error:	filled with a sentence if not
 * @size:	of @error
 *
 * Context: process. Return: 0 or a negative errno.
 */
int bk_job_check_move(struct bk_job *job, char *error, size_t size)
{
	unsigned int views = 0;
	struct bk_pit *pit;
	bool discards;
	int err;

	err = bk_job_check(job, BK_VERB_CHECKPOINT, error, size);
	if (err)
		return err;
	if (!job->type->move_prepare) {
		scnprintf(error, size, "job '%.64s' has no point in time",
			  job->id);
		return -EINVAL;
	}
	spin_lock(&job->lock);
	pit = job->type->view(job, &discards);
	if (pit)
		views = atomic_read(&pit->views);
	spin_unlock(&job->lock);
	if (!views)
		return 0;
	scnprintf(error, size,
		  "job '%.64s' is viewed: its point in time can't move while somebody reads it",
		  job->id);
	return -EBUSY;
}

/**
 * bk_job_move_begin - the cut that moves its point in time is about to be made
 * @job:	the job
 * @error:	filled with a sentence if it can't be any more
 * @size:	of @error
 *
 * Context: process; under bk_cut_mutex, so that no view comes.
 * Return: 0: the job does not end until bk_job_move_end(); else negative errno.
 */
int bk_job_move_begin(struct bk_job *job, char *error, size_t size)
{
	int err = bk_job_check_move(job, error, size);

	if (err)
		return err;
	spin_lock(&job->lock);
	/* the state again: it leaves these for others only for these reasons */
	job->committing = bk_job_may(job->state, BK_VERB_CHECKPOINT) &&
			  !job->cancel && !job->err;
	if (!job->committing) {
		err = job->err ?: -ECANCELED;
		scnprintf(error, size, "job '%.64s' ends: %.120s", job->id,
			  job->err ? job->cause : "cancelled");
	}
	spin_unlock(&job->lock);
	return err;
}

/**
 * bk_job_move_end - that cut has been made, or has been given up
 * @job:	the job
 */
void bk_job_move_end(struct bk_job *job)
{
	spin_lock(&job->lock);
	job->committing = false;
	spin_unlock(&job->lock);
	bk_job_kick(job);
}

/**
 * bk_job_unsilence - nobody waits for the outcome of the job's start any more
 * @job:	the job
 *
 * Return: false if it has ended already, silently.
 */
bool bk_job_unsilence(struct bk_job *job)
{
	bool goes_on;

	spin_lock(&job->lock);
	goes_on = job->state < BK_JOB_CONCLUDED;
	if (goes_on)
		job->silent = false;
	spin_unlock(&job->lock);
	bk_job_kick(job);
	return goes_on;
}

/**
 * bk_job_abandon - end a job from outside
 * @job:	the job
 * @err:	negative errno
 * @cause:	why, in words
 */
void bk_job_abandon(struct bk_job *job, int err, const char *cause)
{
	bk_job_say(job, err, "%s", cause);
	bk_job_kick(job);
}

/*----------------------------------------------------------------*/
/* Verbs and queries */

/* May a verb that the state allows be used? lock is held. */
static const char *bk_job_objection(struct bk_job *job, enum bk_job_verb verb,
				    bool force)
{
	switch (verb) {
	case BK_VERB_COMPLETE:
		if (job->finalize || job->complete)
			return "is being completed";
		if (job->soft || job->cancel)
			return "is being cancelled";
		if (!job->synced)
			return "is not in sync with the origin, after an error";
		return job->type->objection(job);
	case BK_VERB_CANCEL:
		if (job->finalize)
			return "is being finalized";
		if (job->user_paused && !force)
			return "is paused: resume it first, or use force";
		return NULL;
	case BK_VERB_PAUSE:
		return job->user_paused ? "is paused already" : NULL;
	case BK_VERB_RESUME:
		return job->user_paused ? NULL : "is not paused";
	case BK_VERB_FINALIZE:
		return job->cancel ? "is being cancelled" : NULL;
	case BK_VERB_DISMISS:
		return job->dismiss ? "is being dismissed" : NULL;
	default:
		return NULL;
	}
}

/* lock is held. */
static void bk_job_request(struct bk_job *job, enum bk_job_verb verb,
			   bool force, u64 speed)
{
	switch (verb) {
	case BK_VERB_CANCEL:
		/* One that follows the origin leaves a copy, unless forced. */
		if (job->state == BK_JOB_READY && !force) {
			WRITE_ONCE(job->complete, false);
			WRITE_ONCE(job->soft, true);
			break;
		}
		WRITE_ONCE(job->cancel, true);
		job->hurry |= force;
		break;
	case BK_VERB_COMPLETE:
		WRITE_ONCE(job->complete, true);
		break;
	case BK_VERB_PAUSE:
		WRITE_ONCE(job->user_paused, true);
		break;
	case BK_VERB_RESUME:
		WRITE_ONCE(job->user_paused, false);
		job->resumed = true;
		if (!job->err)
			job->cause[0] = '\0';
		job->io_status = BK_IO_OK;
		job->not_before = 0;
		job->backoff_ms = 0;
		break;
	case BK_VERB_SET_SPEED:
		bk_rate_set(&job->rate, speed, ktime_get_ns());
		break;
	case BK_VERB_FINALIZE:
		job->finalize = true;
		break;
	case BK_VERB_DISMISS:
		job->dismiss = true;
		break;
	default:
		break;
	}
}

static int bk_job_may_not(struct bk_job *job, enum bk_job_state state,
			  enum bk_job_verb verb, char *error, size_t size)
{
	snprintf(error, size, "job '%.64s' is %s: %s is not possible", job->id,
		 bk_job_state_name(state), bk_job_verb_name(verb));
	return -EBUSY;
}

/**
 * bk_job_verb - ask something of a job
 * @job:	the job
 * @verb:	what
 * @force:	cancel: even if paused, and without waiting for the destination
 * @speed:	set_speed: bytes per second
 * @error:	filled with a sentence if refused
 * @size:	of @error
 *
 * Context: process; the filter's lock is held. Return: 0 or -EBUSY.
 */
int bk_job_verb(struct bk_job *job, enum bk_job_verb verb, bool force,
		u64 speed, char *error, size_t size)
{
	bool all = verb == BK_VERB_FINALIZE && bk_job_is_grouped(job);
	const char *objection = NULL;
	enum bk_job_state state;
	bool may;

	spin_lock(&job->lock);
	state = job->state;
	may = bk_job_may(state, verb);
	if (may)
		objection = bk_job_objection(job, verb, force);
	if (may && !objection && !all)
		bk_job_request(job, verb, force, speed);
	spin_unlock(&job->lock);
	if (may && !objection && all && !bk_group_finalize(job, true))
		objection = "is being cancelled";

	if (!may)
		return bk_job_may_not(job, state, verb, error, size);
	if (objection) {
		snprintf(error, size, "job '%.64s' %s", job->id, objection);
		return -EBUSY;
	}
	bk_job_kick(job);
	if (verb == BK_VERB_SET_SPEED)
		bk_job_queue_copy(job, 0);
	return 0;
}

/**
 * bk_job_check - does the state allow a verb?
 * @job:	the job
 * @verb:	the verb
 * @error:	filled with a sentence if not
 * @size:	of @error
 *
 * Context: process. Return: 0 or -EBUSY.
 */
int bk_job_check(struct bk_job *job, enum bk_job_verb verb, char *error,
		 size_t size)
{
	enum bk_job_state state = READ_ONCE(job->state);

	return bk_job_may(state, verb) ? 0 :
	       bk_job_may_not(job, state, verb, error, size);
}

/**
 * bk_job_change - change what a job was told at its start
 * @job:	the job; the filter's lock is held
 * @argc:	number of words
 * @argv:	"key=value" words
 * @error:	filled with a sentence if refused
 * @size:	of @error
 *
 * Context: process. Return: 0, -EBUSY or another negative errno.
 */
int bk_job_change(struct bk_job *job, unsigned int argc, char **argv,
		  char *error, size_t size)
{
	lockdep_assert_held(&job->origin->lock);
	/* One that ends a moment later has no use for it, and no harm. */
	return bk_job_check(job, BK_VERB_CHANGE, error, size) ?:
	       job->type->change(job, argc, argv, error, size);
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

/* The first error as one word; lock is held. */
static void bk_job_first_error(struct bk_job *job, char *buf, size_t size)
{
	if (job->first_errno)
		snprintf(buf, size, "%s:%llu:%d",
			 job->first_write ? "write" : "read",
			 (unsigned long long)job->first_sector,
			 job->first_errno);
	else if (job->err)
		snprintf(buf, size, "job:0:%d", job->err);
	else
		strscpy(buf, "-", size);
}

/**
 * bk_job_status - the job's group in the status line
 * @job:	the job
 * @buf:	where to
 * @size:	of @buf
 *
 * Return: length.
 */
size_t bk_job_status(struct bk_job *job, char *buf, size_t size)
{
	char error[48];
	size_t len;

	spin_lock(&job->lock);
	bk_job_first_error(job, error, sizeof(error));
	len = scnprintf(buf, size, "%s %s %s %llu/%llu %llu %s %s", job->id,
			job->type->name, bk_job_state_name(job->state),
			(unsigned long long)atomic64_read(&job->done),
			(unsigned long long)job->total,
			(unsigned long long)job->rate.speed,
			bk_io_status_names[job->io_status], error);
	spin_unlock(&job->lock);
	return len;
}

/**
 * bk_job_show - all there is to know about a job, as key=value words
 * @job:	the job
 * @buf:	where to
 * @size:	of @buf
 *
 * "cause" is the last one and goes to the end. Return: length.
 */
size_t bk_job_show(struct bk_job *job, char *buf, size_t size)
{
	char error[48], cause[BK_ERROR_LEN];
	size_t len;
	int err;

	spin_lock(&job->lock);
	bk_job_first_error(job, error, sizeof(error));
	strscpy(cause, job->cause, sizeof(cause));
	err = job->err;
	len = scnprintf(buf, size,
			"id=%s type=%s state=%s done=%llu total=%llu speed=%llu io_status=%s paused=%d events=%u errors=%u first_error=%s on_source_error=%s on_target_error=%s auto_finalize=%llu auto_dismiss=%llu",
			job->id, job->type->name,
			bk_job_state_name(job->state),
			(unsigned long long)atomic64_read(&job->done),
			(unsigned long long)job->total,
			(unsigned long long)job->rate.speed,
			bk_io_status_names[job->io_status], job->user_paused,
			READ_ONCE(job->events), job->errors, error,
			bk_policy_names[job->params.on_error[0]],
			bk_policy_names[job->params.on_error[1]],
			job->params.auto_finalize, job->params.auto_dismiss);
	spin_unlock(&job->lock);
	len += job->type->show(job, buf + len, size - len);
	len += scnprintf(buf + len, size - len, " outcome=%s result=%d cause=%s",
			 err ? bk_job_outcome(job) :
			 READ_ONCE(job->state) >= BK_JOB_CONCLUDED ?
			 "completed" : "-", err, cause);
	return len;
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
	wait_event(origin->jobs_wait, list_empty_careful(&origin->jobs));
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
