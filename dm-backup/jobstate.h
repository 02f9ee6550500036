/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The states of a job and what may be asked of it in each: tables, nothing
 * else. States, transitions and verbs are QEMU's. Also built in userspace, by
 * tests/unit.
 */

#ifndef BK_JOBSTATE_H
#define BK_JOBSTATE_H

#include <linux/types.h>

enum bk_job_state {
	BK_JOB_CREATED,		/* being prepared; its cut has not been */
	BK_JOB_RUNNING,
	BK_JOB_PAUSED,
	BK_JOB_READY,		/* mirror: converged */
	BK_JOB_STANDBY,		/* ready, and paused */
	BK_JOB_WAITING,		/* done, for the others of its group */
	BK_JOB_PENDING,		/* done, to be finalized */
	BK_JOB_ABORTING,
	BK_JOB_CONCLUDED,	/* over, to be dismissed */
	BK_JOB_NULL,		/* gone */
	BK_JOB_STATES,
};

enum bk_job_verb {
	BK_VERB_CANCEL,
	BK_VERB_PAUSE,
	BK_VERB_RESUME,
	BK_VERB_SET_SPEED,
	BK_VERB_COMPLETE,
	BK_VERB_FINALIZE,
	BK_VERB_DISMISS,
	BK_VERB_CHANGE,
	BK_VERB_CHECKPOINT,	/* move its point in time to now */
	BK_VERBS,
};

const char *bk_job_state_name(enum bk_job_state state);
const char *bk_job_verb_name(enum bk_job_verb verb);
bool bk_job_may_become(enum bk_job_state from, enum bk_job_state to);
bool bk_job_may(enum bk_job_state state, enum bk_job_verb verb);

#endif
