// SPDX-License-Identifier: GPL-2.0-only
/*
 * Jobs of one transaction that look at one another. The contract is in group.h.
 */

#include "group.h"
#include "job.h"

#include <linux/slab.h>

/**
 * bk_group_create - make a group
 * @size:	how many jobs there will be at most
 * @grouped:	they have one outcome
 * @sequential:	they copy one after the other
 *
 * Context: process, may sleep. Return: a reference, or NULL.
 */
struct bk_group *bk_group_create(unsigned int size, bool grouped,
				 bool sequential)
{
	struct bk_group *group = kzalloc(struct_size(group, jobs, size),
					 GFP_NOIO);

	if (!group)
		return NULL;
	kref_init(&group->ref);
	spin_lock_init(&group->lock);
	group->size = size;
	group->grouped = grouped;
	group->sequential = sequential;
	return group;
}

static void bk_group_release(struct kref *ref)
{
	kfree(container_of(ref, struct bk_group, ref));
}

/**
 * bk_group_put - drop a reference
 * @group:	the group, or NULL
 */
void bk_group_put(struct bk_group *group)
{
	if (group)
		kref_put(&group->ref, bk_group_release);
}

/**
 * bk_group_join - a job is one of the group
 * @group:	the group
 * @job:	the job, not kicked yet; it gets a reference on @group
 */
void bk_group_join(struct bk_group *group, struct bk_job *job)
{
	kref_get(&group->ref);
	job->group = group;
	spin_lock(&group->lock);
	WARN_ON_ONCE(group->nr >= group->size);
	job->member = group->nr;
	group->jobs[group->nr++] = job;
	spin_unlock(&group->lock);
}

/**
 * bk_group_leave - a job is about to be null: nobody looks at it any more
 * @job:	the job
 */
void bk_group_leave(struct bk_job *job)
{
	struct bk_group *group = job->group;

	if (!group)
		return;
	bk_group_pass(job);
	spin_lock(&group->lock);
	group->jobs[job->member] = NULL;
	spin_unlock(&group->lock);
}

/*----------------------------------------------------------------*/
/* One outcome */

/* End a member, because another one has. Under the group's lock. */
static void bk_group_cancel(struct bk_job *job, struct bk_job *because)
{
	spin_lock(&job->lock);
	WRITE_ONCE(job->cancel, true);
	spin_unlock(&job->lock);
	bk_job_say(job, -ECANCELED, "job '%.64s' of its group %s", because->id,
		   because->err == -ECANCELED ? "was cancelled" : "failed");
	bk_job_kick(job);
}

/**
 * bk_group_failed - a job has failed or was cancelled, and so do the others
 * @job:	the job; it has noted why
 *
 * Context: process; does not sleep.
 */
void bk_group_failed(struct bk_job *job)
{
	struct bk_group *group = job->group;
	unsigned int i;

	if (!group || !group->grouped)
		return;
	spin_lock(&group->lock);
	for (i = 0; i < group->nr && !group->failed; i++)
		if (group->jobs[i] && group->jobs[i] != job)
			bk_group_cancel(group->jobs[i], job);
	group->failed = true;
	spin_unlock(&group->lock);
}

/**
 * bk_group_has_settled - a job is done: are all?
 * @job:	the job
 *
 * The last one kicks the others. Context: the job's step.
 */
bool bk_group_has_settled(struct bk_job *job)
{
	struct bk_group *group = job->group;
	unsigned int i;
	bool all;

	if (!group || !group->grouped)
		return true;
	spin_lock(&group->lock);
	group->settled += !job->settled;
	all = group->settled == group->nr;
	for (i = 0; i < group->nr && all && !job->settled; i++)
		if (group->jobs[i] && group->jobs[i] != job)
			bk_job_kick(group->jobs[i]);
	job->settled = true;
	spin_unlock(&group->lock);
	return all;
}

/* Can a member still be stopped from being finalized? If not it says so. */
static bool bk_group_seal(struct bk_job *job)
{
	bool ok;

	spin_lock(&job->lock);
	ok = !job->cancel && !job->err;
	if (ok)
		job->finalize = true;	/* no error is taken any more */
	spin_unlock(&job->lock);
	return ok;
}

static void bk_group_unseal(struct bk_job *job)
{
	spin_lock(&job->lock);
	job->finalize = false;
	spin_unlock(&job->lock);
}

/* Must somebody say so first? Under the lock. */
static bool bk_group_is_manual(struct bk_group *group)
{
	unsigned int i;

	for (i = 0; i < group->nr; i++)
		if (group->jobs[i] && !group->jobs[i]->params.auto_finalize)
			return true;
	return false;
}

/**
 * bk_group_finalize - finalize all, or none
 * @job:	one of them, pending
 * @asked:	by a message, not by itself
 *
 * A member that has been cancelled, or has an error that it has not acted on,
 * prevents it.
 *
 * Context: process; does not sleep. Return: whether all are being finalized.
 */
bool bk_group_finalize(struct bk_job *job, bool asked)
{
	struct bk_group *group = job->group;
	bool ok;
	int i = 0;

	spin_lock(&group->lock);
	ok = group->finalizing || (!group->failed &&
				   (asked || !bk_group_is_manual(group)));
	for (i = 0; ok && !group->finalizing && i < group->nr; i++)
		ok = !group->jobs[i] || bk_group_seal(group->jobs[i]);
	if (!ok) {
		/* The last one refused; those before it may fail again. */
		for (i -= 2; i >= 0; i--)
			if (group->jobs[i])
				bk_group_unseal(group->jobs[i]);
	} else if (!group->finalizing) {
		group->finalizing = true;
		for (i = 0; i < group->nr; i++)
			if (group->jobs[i])
				bk_job_kick(group->jobs[i]);
	}
	spin_unlock(&group->lock);
	return ok;
}

/*----------------------------------------------------------------*/
/* Turns */

/**
 * bk_group_may_copy - may a job start background copies?
 * @job:	the job
 */
bool bk_group_may_copy(struct bk_job *job)
{
	struct bk_group *group = job->group;

	/* Who passes a turn on kicks the next: a stale answer does no harm. */
	return !group || !group->sequential ||
	       READ_ONCE(group->turn) == job->member;
}

/**
 * bk_group_pass - a job needs no turn (any more): the next one may copy
 * @job:	the job
 *
 * Context: process; does not sleep.
 */
void bk_group_pass(struct bk_job *job)
{
	struct bk_group *group = job->group;
	unsigned int turn;

	if (!group || !group->sequential)
		return;
	spin_lock(&group->lock);
	job->passed = true;
	turn = group->turn;
	while (turn < group->nr &&
	       (!group->jobs[turn] || group->jobs[turn]->passed))
		turn++;
	if (turn != group->turn) {
		WRITE_ONCE(group->turn, turn);
		if (turn < group->nr)
			bk_job_start_copy(group->jobs[turn]);
	}
	spin_unlock(&group->lock);
}
