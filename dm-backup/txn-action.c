// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is done to prepare each kind of action. The contract is in txn.h.
 */

#include "txn.h"
#include "backup.h"
#include "bitmap.h"
#include "compat.h"
#include "group.h"
#include "io.h"
#include "job.h"
#include "mirror.h"
#include "options.h"
#include "stage.h"

#include <linux/jiffies.h>
#include <linux/slab.h>

/*----------------------------------------------------------------*/
/* Filters */

static struct bk_txn_part *bk_part_find(struct bk_txn *txn,
					struct bk_origin *origin)
{
	struct bk_txn_part *part;

	list_for_each_entry(part, &txn->parts, list)
		if (part->origin == origin)
			return part;
	return NULL;
}

static struct bk_txn_part *bk_part_new(struct bk_txn *txn,
				       struct bk_origin *origin,
				       unsigned int action)
{
	struct bk_txn_part *part = kzalloc(sizeof(*part), GFP_NOIO |
					   __GFP_NOFAIL);

	part->txn = txn;
	part->origin = origin;
	bk_origin_get(origin);
	part->action = action;
	part->len = origin->len;
	INIT_LIST_HEAD(&part->stages);
	list_add_tail(&part->list, &txn->parts);
	txn->nr_parts++;
	return part;
}

/*
 * A filter takes part. It is in use until bk_origin_unuse(). NULL: there is no
 * such filter, or its bitmaps are still being loaded, and @error says so.
 */
static struct bk_txn_part *bk_part_get(struct bk_act *a, const char *name,
				       size_t len, char *error, size_t size)
{
	struct bk_txn_part *part = NULL;
	struct bk_origin *origin;
	bool loading;

	mutex_lock(&bk_cut_mutex);
	origin = bk_origin_find(name, len);
	loading = origin && origin->loading;
	if (origin && !loading) {
		part = bk_part_find(a->txn, origin) ?:
		       bk_part_new(a->txn, origin, a->nr);
		atomic_inc(&origin->users);
	}
	mutex_unlock(&bk_cut_mutex);
	if (!part)
		scnprintf(error, size, loading ?
			  "the table of backup filter %.*s is still being loaded" :
			  "there is no backup filter %.*s",
			  (int)min_t(size_t, len, 32), name);
	return part;
}

static bool bk_part_is_read_only(struct bk_txn_part *part)
{
	struct bk_instance *in;
	bool read_only;

	/* It is in use, so it has one. The first one is live, or was. */
	mutex_lock(&bk_cut_mutex);
	in = list_first_entry_or_null(&part->origin->instances,
				      struct bk_instance, list);
	read_only = in && !(dm_table_get_mode(in->ti->table) & BK_MODE_WRITE);
	mutex_unlock(&bk_cut_mutex);
	return read_only;
}

/*----------------------------------------------------------------*/
/* Starts of jobs */

/*
 * Make the job and put it on the list, where messages find it: it is in its
 * transaction by then.
 */
static struct bk_job *bk_start_job(struct bk_act *a, char *error,
				   size_t size)
{
	struct bk_txn *txn = a->txn;
	struct bk_origin *origin = a->part->origin;
	const char *id = a->argv[0];
	bool freeze = false;
	struct bk_job *job;

	mutex_lock(&origin->lock);
	if (bk_job_find(origin, id)) {
		scnprintf(error, size, "job '%.64s' exists already", id);
		job = ERR_PTR(-EEXIST);
	} else {
		job = a->type->create(a->part, id, a->argc - 1, a->argv + 1,
				      &freeze, error, size);
	}
	if (!IS_ERR(job)) {
		if (list_empty(&origin->jobs))
			bk_io_forget_longest(origin);
		job->silent = true;
		kref_get(&txn->ref);
		job->txn = txn;
		if (txn->group)
			bk_group_join(txn->group, job);
		bk_job_get(job);
		list_add_tail(&job->list, &origin->jobs);
	}
	mutex_unlock(&origin->lock);
	if (!IS_ERR(job) && txn->single)
		txn->options.freeze = freeze;
	return job;
}

/**
 * bk_action_check_freeze - one action of several does not say what is frozen
 * @a:		the action; its first word is a job's id
 * @error:	filled with a sentence if it does
 * @size:	of @error
 *
 * Return: 0 or -EINVAL.
 */
int bk_action_check_freeze(struct bk_act *a, char *error, size_t size)
{
	unsigned int i;

	for (i = 1; i < a->argc && !a->txn->single; i++)
		if (!strncmp(a->argv[i], "freeze=", 7)) {
			strscpy(error, "freeze is an option of the whole transaction",
				size);
			return -EINVAL;
		}
	return 0;
}

/**
 * bk_action_set_job - the job that an action is about
 * @a:		the action
 * @job:	the job; the reference is taken over
 */
void bk_action_set_job(struct bk_act *a, struct bk_job *job)
{
	spin_lock(&a->txn->lock);
	a->job = job;
	spin_unlock(&a->txn->lock);
}

/* "<id> target=... ..." */
static int bk_action_start(struct bk_act *a, char *error, size_t size)
{
	struct bk_txn *txn = a->txn;
	struct bk_job *job;
	int r;

	r = bk_option_check_id(a->argv[0], error, size) ?:
	    bk_action_check_freeze(a, error, size);
	if (r)
		return r;
	spin_lock(&txn->lock);
	txn->reported = false;
	spin_unlock(&txn->lock);
	job = bk_start_job(a, error, size);
	if (IS_ERR(job))
		return PTR_ERR(job);
	bk_action_set_job(a, job);
	a->part->nr_jobs++;
	bk_job_kick(job);
	return 0;
}

/* It does not end until the cut has been made. */
static int bk_start_begin(struct bk_act *a, char *error, size_t size)
{
	struct bk_job *job = a->job;
	int err;

	if (bk_job_commit_begin(job))
		return 0;
	err = READ_ONCE(job->err);
	strscpy(error, err ? job->cause : "cancelled", size);
	return err ?: -ECANCELED;
}

static void bk_start_install(struct bk_act *a, struct bk_cfg *cfg)
{
	a->job->type->install(a->job, cfg);
}

static void bk_start_end(struct bk_act *a, bool made)
{
	bk_job_commit_end(a->job, made);
}

static void bk_start_undo(struct bk_act *a)
{
	if (a->job)
		bk_job_abandon(a->job, a->txn->result, a->txn->error);
}

/*----------------------------------------------------------------*/
/* Bitmaps */

static const struct bk_option bk_bitmap_options[] = {
	{ "granularity", BK_OPT_POWER2,
	  offsetof(struct bk_bitmap_params, granularity),
	  .min = BK_GRANULARITY_MIN, .max = BK_GRANULARITY_MAX },
	{ "disabled", BK_OPT_FLAG, offsetof(struct bk_bitmap_params, disabled) },
	{ "all_dirty", BK_OPT_FLAG,
	  offsetof(struct bk_bitmap_params, all_dirty) },
	{ "persistent", BK_OPT_FLAG,
	  offsetof(struct bk_bitmap_params, persistent) },
};

/* "<name> [granularity=] [disabled] [all_dirty] [persistent]" */
static int bk_action_add(struct bk_act *a, char *error, size_t size)
{
	struct bk_bitmap_params p = { .granularity = BK_GRANULARITY_DEFAULT };
	u64 given;
	int r;

	r = bk_options_parse(bk_bitmap_options, ARRAY_SIZE(bk_bitmap_options),
			     &p, a->argc - 1, a->argv + 1, &given, error, size);
	return r ?: bk_stage_add(a->part, a->argv[0], &p, error, size);
}

/* The bitmap that is changed. */
static struct bk_stage *bk_action_stage(struct bk_act *a, bool remove,
					int *err, char *error, size_t size)
{
	return bk_stage_take(a->part, a->argv[0], remove, err, error, size);
}

static int bk_action_remove(struct bk_act *a, char *error, size_t size)
{
	struct bk_stage *stage;
	int err = 0;

	stage = bk_action_stage(a, true, &err, error, size);
	if (stage)
		bk_stage_remove(stage);
	return err;
}

static int bk_action_clear(struct bk_act *a, char *error, size_t size)
{
	struct bk_stage *stage;
	int err = 0;

	stage = bk_action_stage(a, false, &err, error, size);
	return stage ? bk_stage_clear(a->part, stage, error, size) : err;
}

static int bk_action_enable(struct bk_act *a, char *error, size_t size)
{
	struct bk_stage *stage;
	int err = 0;

	stage = bk_action_stage(a, false, &err, error, size);
	if (stage)
		stage->bitmap->will_record = true;
	return err;
}

static int bk_action_disable(struct bk_act *a, char *error, size_t size)
{
	struct bk_stage *stage;
	int err = 0;

	stage = bk_action_stage(a, false, &err, error, size);
	if (stage)
		stage->bitmap->will_record = false;
	return err;
}

/* "[<filter>/]<name>" */
static int bk_action_merge_one(struct bk_act *a, struct bk_stage *to,
			       const char *source, char *error, size_t size)
{
	const char *slash = strchr(source, '/');
	struct bk_txn_part *part = a->part;
	struct bk_stage *from;
	int err = 0;

	if (slash)
		part = bk_part_get(a, source, slash - source, error, size);
	if (!part)
		return -ENODEV;
	from = bk_stage_take(part, slash ? slash + 1 : source, false, &err,
			     error, size);
	if (from)
		err = bk_stage_merge(a->part, to, part, from, error, size);
	if (slash)
		bk_origin_unuse(part->origin);
	return err;
}

static int bk_action_merge(struct bk_act *a, char *error, size_t size)
{
	struct bk_stage *to;
	unsigned int i;
	int err = 0;

	to = bk_action_stage(a, false, &err, error, size);
	for (i = 1; to && i < a->argc && !err; i++)
		err = bk_action_merge_one(a, to, a->argv[i], error, size);
	return err;
}

static int bk_action_fail(struct bk_act *a, char *error, size_t size)
{
	strscpy(error, "'abort' always fails", size);
	return -ECANCELED;
}

const struct bk_action_type bk_action_backup_start = {
	.prepare	= bk_action_start,
	.create		= bk_backup_create,
	.begin		= bk_start_begin,
	.install	= bk_start_install,
	.end		= bk_start_end,
	.undo		= bk_start_undo,
};

const struct bk_action_type bk_action_mirror_start = {
	.prepare	= bk_action_start,
	.endless	= true,
	.create		= bk_mirror_create,
	.begin		= bk_start_begin,
	.install	= bk_start_install,
	.end		= bk_start_end,
	.undo		= bk_start_undo,
};

const struct bk_action_type bk_action_bitmap_add = {
	.prepare	= bk_action_add,
	.bitmap		= true,
};

const struct bk_action_type bk_action_bitmap_remove = {
	.prepare	= bk_action_remove,
	.bitmap		= true,
};

const struct bk_action_type bk_action_bitmap_clear = {
	.prepare	= bk_action_clear,
	.bitmap		= true,
};

const struct bk_action_type bk_action_bitmap_enable = {
	.prepare	= bk_action_enable,
	.bitmap		= true,
};

const struct bk_action_type bk_action_bitmap_disable = {
	.prepare	= bk_action_disable,
	.bitmap		= true,
};

const struct bk_action_type bk_action_bitmap_merge = {
	.prepare	= bk_action_merge,
	.bitmap		= true,
};

const struct bk_action_type bk_action_abort = {
	.prepare	= bk_action_fail,
};

/**
 * bk_action_prepare - do all that can fail
 * @a:		the action; those before it are prepared
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, sleeps for a bounded time. Return: 0 or a negative errno.
 */
int bk_action_prepare(struct bk_act *a, char *error, size_t size)
{
	int err;

	a->txn->current_action = a->nr;
	a->part = bk_part_get(a, a->filter, strlen(a->filter), error, size);
	if (!a->part)
		return -ENODEV;
	if (a->type->bitmap && bk_part_is_read_only(a->part)) {
		strscpy(error, "the filter is read-only", size);
		err = -EROFS;
	} else {
		err = a->type->prepare(a, error, size);
	}
	bk_origin_unuse(a->part->origin);
	/* Not while it is in use: its removal may be what ends the waiting. */
	if (!err && a->type->create)
		err = bk_txn_wait_job(a->txn, a->job, error, size);
	return err;
}
