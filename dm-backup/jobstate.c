// SPDX-License-Identifier: GPL-2.0-only
/*
 * The states of a job. The contract is in jobstate.h.
 */

#include "jobstate.h"

#include <linux/bits.h>

static const char *const bk_job_state_names[BK_JOB_STATES] = {
	[BK_JOB_CREATED]	= "created",
	[BK_JOB_RUNNING]	= "running",
	[BK_JOB_PAUSED]		= "paused",
	[BK_JOB_READY]		= "ready",
	[BK_JOB_STANDBY]	= "standby",
	[BK_JOB_WAITING]	= "waiting",
	[BK_JOB_PENDING]	= "pending",
	[BK_JOB_ABORTING]	= "aborting",
	[BK_JOB_CONCLUDED]	= "concluded",
	[BK_JOB_NULL]		= "null",
};

static const char *const bk_job_verb_names[BK_VERBS] = {
	[BK_VERB_CANCEL]	= "cancel",
	[BK_VERB_PAUSE]		= "pause",
	[BK_VERB_RESUME]	= "resume",
	[BK_VERB_SET_SPEED]	= "set_speed",
	[BK_VERB_COMPLETE]	= "complete",
	[BK_VERB_FINALIZE]	= "finalize",
	[BK_VERB_DISMISS]	= "dismiss",
	[BK_VERB_CHANGE]	= "change",
	[BK_VERB_CHECKPOINT]	= "checkpoint",
};

/* Which states a state may be left for. */
static const unsigned int bk_job_next[BK_JOB_STATES] = {
	[BK_JOB_CREATED]	= BIT(BK_JOB_RUNNING) | BIT(BK_JOB_ABORTING) |
				  BIT(BK_JOB_NULL),
	[BK_JOB_RUNNING]	= BIT(BK_JOB_PAUSED) | BIT(BK_JOB_READY) |
				  BIT(BK_JOB_WAITING) | BIT(BK_JOB_ABORTING),
	[BK_JOB_PAUSED]		= BIT(BK_JOB_RUNNING),
	[BK_JOB_READY]		= BIT(BK_JOB_STANDBY) | BIT(BK_JOB_WAITING) |
				  BIT(BK_JOB_ABORTING),
	[BK_JOB_STANDBY]	= BIT(BK_JOB_READY),
	[BK_JOB_WAITING]	= BIT(BK_JOB_PENDING) | BIT(BK_JOB_ABORTING),
	[BK_JOB_PENDING]	= BIT(BK_JOB_ABORTING) | BIT(BK_JOB_CONCLUDED),
	[BK_JOB_ABORTING]	= BIT(BK_JOB_ABORTING) | BIT(BK_JOB_CONCLUDED),
	[BK_JOB_CONCLUDED]	= BIT(BK_JOB_NULL),
};

#define BK_ALIVE (BIT(BK_JOB_CREATED) | BIT(BK_JOB_RUNNING) | \
		  BIT(BK_JOB_PAUSED) | BIT(BK_JOB_READY) | BIT(BK_JOB_STANDBY))

/* The states in which a verb is taken. */
static const unsigned int bk_job_verbs[BK_VERBS] = {
	[BK_VERB_CANCEL]	= BK_ALIVE | BIT(BK_JOB_WAITING) |
				  BIT(BK_JOB_PENDING),
	[BK_VERB_PAUSE]		= BK_ALIVE,
	[BK_VERB_RESUME]	= BK_ALIVE,
	[BK_VERB_SET_SPEED]	= BK_ALIVE,
	[BK_VERB_COMPLETE]	= BIT(BK_JOB_READY) | BIT(BK_JOB_STANDBY),
	[BK_VERB_FINALIZE]	= BIT(BK_JOB_PENDING),
	[BK_VERB_DISMISS]	= BIT(BK_JOB_CONCLUDED),
	[BK_VERB_CHANGE]	= BK_ALIVE,
	[BK_VERB_CHECKPOINT]	= BIT(BK_JOB_RUNNING) | BIT(BK_JOB_PAUSED),
};

/**
 * bk_job_state_name - the word for a state
 * @state:	the state
 */
const char *bk_job_state_name(enum bk_job_state state)
{
	return bk_job_state_names[state];
}

/**
 * bk_job_verb_name - the word for a verb
 * @verb:	the verb
 */
const char *bk_job_verb_name(enum bk_job_verb verb)
{
	return bk_job_verb_names[verb];
}

/**
 * bk_job_may_become - is a transition one of those there are?
 * @from:	the state
 * @to:		the next one
 */
bool bk_job_may_become(enum bk_job_state from, enum bk_job_state to)
{
	return bk_job_next[from] & BIT(to);
}

/**
 * bk_job_may - may a verb be used in a state?
 * @state:	the state
 * @verb:	the verb
 */
bool bk_job_may(enum bk_job_state state, enum bk_job_verb verb)
{
	return bk_job_verbs[verb] & BIT(state);
}
