// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a job's transaction does to it. The contract is in job.h.
 */

#include "job-int.h"
#include "pit.h"

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
	unsigned int views = 0, borrowers = 0;
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
	if (pit) {
		views = atomic_read(&pit->views);
		borrowers = atomic_read(&pit->borrowers);
	}
	spin_unlock(&job->lock);
	if (!views && !borrowers)
		return 0;
	scnprintf(error, size,
		  "job '%.64s' %s", job->id, views ?
		  "is viewed: its point in time can't move while somebody reads it" :
		  "has saved for others, too: its point in time can't move while they are there");
	return -EBUSY;
}

/**
 * bk_job_move_begin - the cut that moves its point in time is about to be made
 * @job:	the job
 * @error:	filled with a sentence if it can't be any more
 * @size:	of @error
 *
 * Context: process; under bk_cut_mutex, so that no view comes. One that is about to
 * borrow may: its own cut comes later, and then this point in time copies nothing.
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
