// SPDX-License-Identifier: GPL-2.0-only
/*
 * Verbs of jobs, and what is told about one. The contract is in job.h.
 */

#include "job-int.h"

#include <linux/ktime.h>

static const char *const bk_io_status_names[] = {
	[BK_IO_OK]		= "ok",
	[BK_IO_FAILED]		= "failed",
	[BK_IO_NOSPACE]		= "nospace",
};

/* May a verb that the state allows be used? If not, why; lock is held. */
static const char *bk_job_objection(struct bk_job *job, enum bk_job_verb verb,
				    bool force, char *buf, size_t size)
{
	switch (verb) {
	case BK_VERB_COMPLETE:
		if (job->finalize || job->complete)
			return "is being completed";
		if (job->soft || job->cancel)
			return "is being cancelled";
		if (job->user_paused)
			return "is paused: resume it first";
		if (!job->synced)
			return "is not in sync with the origin, after an error";
		return job->type->objection(job, buf, size);
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
		bk_job_suspend(job);
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
	char why[BK_ERROR_LEN];
	bool may;

	spin_lock(&job->lock);
	state = job->state;
	may = bk_job_may(state, verb);
	if (may)
		objection = bk_job_objection(job, verb, force, why,
					     sizeof(why));
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
