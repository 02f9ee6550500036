// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moving a job's point in time to now: an action of a transaction.
 *
 * The job gets another point in time on the same destination, made while the
 * action is prepared and put in the place of the one it has by the transaction's
 * cut. Nothing else of the job changes: id, destination, policies and views' right
 * to come stay.
 */

#include "job.h"
#include "options.h"
#include "txn.h"

struct bk_checkpoint_params {
	u64 freeze;
};

static const struct bk_option bk_checkpoint_options[] = {
	{ "freeze", BK_OPT_BOOL, offsetof(struct bk_checkpoint_params, freeze) },
};

/* The job, with a reference, or NULL. */
static struct bk_job *bk_checkpoint_job(struct bk_act *a, char *error,
					size_t size)
{
	struct bk_origin *origin = a->part->origin;
	struct bk_job *job;

	mutex_lock(&origin->lock);
	job = bk_job_find(origin, a->argv[0]);
	if (job)
		bk_job_get(job);
	mutex_unlock(&origin->lock);
	if (!job)
		scnprintf(error, size, "there is no job '%.64s'", a->argv[0]);
	return job;
}

/* "<id> [freeze=]" */
static int bk_checkpoint_prepare(struct bk_act *a, char *error, size_t size)
{
	struct bk_checkpoint_params p = {};
	struct bk_job *job;
	u64 given;
	int r;

	r = bk_action_check_freeze(a, error, size) ?:
	    bk_options_parse(bk_checkpoint_options,
			     ARRAY_SIZE(bk_checkpoint_options), &p,
			     a->argc - 1, a->argv + 1, &given, error, size);
	if (r)
		return r;
	job = bk_checkpoint_job(a, error, size);
	if (!job)
		return -ENOENT;
	r = bk_job_check_move(job, error, size) ?:
	    job->type->move_prepare(job, error, size);
	if (r) {
		bk_job_put(job);
		return r;
	}
	bk_action_set_job(a, job);
	if (a->txn->single)
		a->txn->options.freeze = p.freeze;
	return 0;
}

static int bk_checkpoint_begin(struct bk_act *a, char *error, size_t size)
{
	return bk_job_move_begin(a->job, error, size);
}

static void bk_checkpoint_install(struct bk_act *a, struct bk_cfg *cfg)
{
	a->job->type->move_install(a->job, cfg);
}

static void bk_checkpoint_end(struct bk_act *a, bool made)
{
	if (made)
		a->job->type->move_end(a->job, true);
	bk_job_move_end(a->job);
}

static void bk_checkpoint_undo(struct bk_act *a)
{
	if (a->job)
		a->job->type->move_end(a->job, false);
}

const struct bk_action_type bk_action_checkpoint = {
	.prepare	= bk_checkpoint_prepare,
	.begin		= bk_checkpoint_begin,
	.install	= bk_checkpoint_install,
	.end		= bk_checkpoint_end,
	.undo		= bk_checkpoint_undo,
};
