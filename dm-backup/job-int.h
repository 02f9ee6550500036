/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside jobs: what their files have from each other. The contract, for them and for
 * others, is in job.h.
 *
 *   job.c		kicking, errors, background copies, making and ending
 *   job-step.c		from state to state
 *   job-txn.c		what a job's transaction does to it
 *   job-verb.c		verbs, and what is told about a job
 */

#ifndef BK_JOB_INT_H
#define BK_JOB_INT_H

#include "group.h"
#include "job.h"

static inline bool bk_job_is_grouped(const struct bk_job *job)
{
	return job->group && job->group->grouped;
}

/*
 * It is paused until somebody resumes it; lock is held. Whoever that is need not know
 * that it was to take the origin's place, so that has to be asked for again.
 */
static inline void bk_job_suspend(struct bk_job *job)
{
	WRITE_ONCE(job->user_paused, true);
	WRITE_ONCE(job->complete, false);
}

/* job.c */
void bk_job_queue_copy(struct bk_job *job, u64 delay_ns);
void bk_job_event(struct bk_job *job, const char *what, const char *cause);

/* job-step.c */
void bk_job_become(struct bk_job *job, enum bk_job_state to);
const char *bk_job_outcome(struct bk_job *job);
void bk_job_step_work(struct work_struct *work);

#endif
