// SPDX-License-Identifier: GPL-2.0-only
/*
 * A job goes from state to state, in step_work. The contract is in job.h.
 */

#include "job-int.h"
#include "trace.h"
#include "txn.h"

#include <linux/sched/mm.h>

/**
 * bk_job_become - the job is in another state
 * @job:	the job
 * @to:		the state; it must be one that may follow
 */
void bk_job_become(struct bk_job *job, enum bk_job_state to)
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
	unsigned int unsyncs = READ_ONCE(job->unsyncs);
	bool synced;

	if (READ_ONCE(job->synced) || !job->type->is_ready(job))
		return;
	spin_lock(&job->lock);
	synced = job->errors == errors && job->unsyncs == unsyncs;
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

/**
 * bk_job_outcome - the word for how a job ends, or has ended
 * @job:	the job
 */
const char *bk_job_outcome(struct bk_job *job)
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

/**
 * bk_job_step_work - look at everything, and move on as far as that goes
 * @work:	job->step_work, with the reference of bk_job_kick()
 */
void bk_job_step_work(struct work_struct *work)
{
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
