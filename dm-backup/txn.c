// SPDX-License-Identifier: GPL-2.0-only
/*
 * The life of a transaction. The contract is in txn.h.
 */

#include "txn.h"
#include "group.h"
#include "job.h"
#include "module.h"
#include "options.h"
#include "stage.h"
#include "trace.h"

#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

/*----------------------------------------------------------------*/
/* Outcome */

/* The first reason stays. Under the lock. */
static void bk_txn_note(struct bk_txn *txn, unsigned int action, int err,
			const char *text)
{
	if (txn->result)
		return;
	txn->result = err;
	txn->failed = action;
	if (txn->single)
		strscpy(txn->error, text, sizeof(txn->error));
	else if (action)
		scnprintf(txn->error, sizeof(txn->error),
			  "action %u on %s: %s", action,
			  txn->actions[action - 1].filter, text);
	else
		scnprintf(txn->error, sizeof(txn->error), "transaction: %s",
			  text);
	bk_make_printable(txn->error);
}

/**
 * bk_txn_fail - it fails, or something is amiss, and this is why
 * @txn:	the transaction
 * @action:	number of the action it is about, or 0
 * @err:	negative errno
 * @fmt:	a sentence
 *
 * The first reason stays.
 *
 * Context: process; does not sleep. Return: @err.
 */
int bk_txn_fail(struct bk_txn *txn, unsigned int action, int err,
		const char *fmt, ...)
{
	char text[BK_ERROR_LEN];
	va_list args;

	va_start(args, fmt);
	vscnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	spin_lock(&txn->lock);
	bk_txn_note(txn, action, err, text);
	spin_unlock(&txn->lock);
	return err;
}

/**
 * bk_txn_become - it is in another state
 * @txn:	the transaction
 * @state:	the state
 */
void bk_txn_become(struct bk_txn *txn, enum bk_txn_state state)
{
	spin_lock(&txn->lock);
	txn->state = state;
	spin_unlock(&txn->lock);
	wake_up_all(&txn->wait);
}

/**
 * bk_txn_is_stopped - is it given up before it has begun to commit?
 * @txn:	the transaction
 */
bool bk_txn_is_stopped(struct bk_txn *txn)
{
	return READ_ONCE(txn->stop);
}

/* The job of an action, with a reference, or NULL. */
static struct bk_job *bk_action_job(struct bk_act *a)
{
	struct bk_job *job;

	spin_lock(&a->txn->lock);
	job = a->job;
	if (job)
		bk_job_get(job);
	spin_unlock(&a->txn->lock);
	return job;
}

/**
 * bk_txn_accept - nobody waits for a plain start any more: its job goes on alone
 * @txn:	the transaction
 *
 * Context: process; does not sleep. Return: false if the job has failed already,
 * and left no trace.
 */
bool bk_txn_accept(struct bk_txn *txn)
{
	struct bk_job *job = bk_action_job(&txn->actions[0]);
	bool goes_on = job && bk_job_unsilence(job);

	if (goes_on) {
		spin_lock(&txn->lock);
		txn->accepted = true;
		spin_unlock(&txn->lock);
		wake_up_all(&txn->wait);
	}
	if (job)
		bk_job_put(job);
	return goes_on;
}

/**
 * bk_txn_prepared - a job has prepared, or can't; each reports once
 * @txn:	the transaction
 * @err:	0 or a negative errno
 *
 * Context: process; does not sleep.
 */
void bk_txn_prepared(struct bk_txn *txn, int err)
{
	spin_lock(&txn->lock);
	txn->report = err;
	txn->reported = true;
	spin_unlock(&txn->lock);
	wake_up_all(&txn->wait);
}

/* Has the job reported, and what? Under the lock: the one comes with the other. */
static bool bk_txn_reported(struct bk_txn *txn, int *report)
{
	bool reported;

	spin_lock(&txn->lock);
	reported = txn->reported;
	*report = txn->report;
	spin_unlock(&txn->lock);
	return reported;
}

/**
 * bk_txn_wait_job - wait until the job that was kicked last has reported
 * @txn:	the transaction
 * @job:	the job
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, sleeps: for a plain start, until the job has prepared or is
 * cancelled; else for a bounded time. Return: 0 or a negative errno.
 */
int bk_txn_wait_job(struct bk_txn *txn, struct bk_job *job, char *error,
		    size_t size)
{
	long left = txn->plain ? MAX_SCHEDULE_TIMEOUT :
		    max_t(long, txn->prepare_by - jiffies, 1);
	int report;

	left = wait_event_idle_timeout(txn->wait,
				       bk_txn_reported(txn, &report) ||
				       bk_txn_is_stopped(txn), left);
	if (bk_txn_reported(txn, &report)) {
		if (report)
			strscpy(error, job->cause, size);
		return report;
	}
	if (left) {
		strscpy(error, "aborted", size);
		return -ECANCELED;
	}
	strscpy(error, "preparing takes too long", size);
	return -ETIMEDOUT;
}

/*----------------------------------------------------------------*/
/* Its end */

static void bk_txn_trace(struct bk_act *a, const char *phase)
{
	trace_bk_action(a->txn->token, a->filter, a->nr, phase);
}

/* Undo what was prepared, the last one first. */
static void bk_txn_undo(struct bk_txn *txn)
{
	unsigned int i;

	for (i = txn->prepared; i-- > 0;) {
		struct bk_act *a = &txn->actions[i];

		bk_txn_trace(a, "abort");
		if (a->type->undo)
			a->type->undo(a);
	}
}

static void bk_txn_drop_parts(struct bk_txn *txn, bool committed)
{
	struct bk_txn_part *part, *next;

	list_for_each_entry_safe(part, next, &txn->parts, list) {
		bk_stages_drop(part, committed);
		bk_origin_put(part->origin);
		list_del(&part->list);
		kfree(part);
	}
	bk_steps_drop(txn);
}

/* A job that was never heard of goes without a trace; do not wait for ever. */
static void bk_txn_wait_gone(struct bk_job *job, unsigned long end)
{
	if (READ_ONCE(job->silent))
		wait_event_idle_timeout(job->origin->jobs_wait,
					READ_ONCE(job->state) == BK_JOB_NULL,
					max_t(long, end - jiffies, 1));
}

/* Whatever happened, the first one first. */
static void bk_txn_clean(struct bk_txn *txn, bool committed)
{
	unsigned long end = jiffies + msecs_to_jiffies(BK_GONE_MS);
	struct bk_job *job;
	unsigned int i;

	for (i = 0; i < txn->prepared; i++) {
		struct bk_act *a = &txn->actions[i];

		bk_txn_trace(a, "clean");
		job = a->job;
		if (!job)
			continue;
		if (!committed)
			bk_txn_wait_gone(job, end);
		spin_lock(&txn->lock);
		a->job = NULL;		/* bk_action_job() */
		spin_unlock(&txn->lock);
		bk_job_put(job);	/* it holds us */
	}
	bk_txn_drop_parts(txn, committed);
}

static void bk_txn_abort_work(struct bk_txn *txn)
{
	bk_txn_become(txn, BK_TXN_ABORTING);
	bk_txn_undo(txn);
	bk_txn_clean(txn, false);
	bk_txn_become(txn, BK_TXN_ABORTED);
}

/* Wait until what was merged is on disk, if anything is to go from where it was. */
static bool bk_txn_gained(struct bk_txn *txn)
{
	struct bk_txn_part *part;
	int err = 0;

	if (txn->cedes)
		list_for_each_entry(part, &txn->parts, list)
			err = err ?: bk_stages_gained(part);
	return !err;
}

/* What follows when all parts have drained. */
static void bk_txn_finish_parts(struct bk_txn *txn)
{
	struct bk_txn_part *part;
	bool gained;

	/* Those of one filter alone are done: bk_stages_derive(). */
	bk_steps_run(txn);
	list_for_each_entry(part, &txn->parts, list) {
		part->gone = !bk_origin_use(part->origin);
		if (part->gone)
			continue;
		bk_stages_gain(part);
		bk_origin_unuse(part->origin);
	}
	gained = bk_txn_gained(txn);
	list_for_each_entry(part, &txn->parts, list)
		if (bk_origin_use(part->origin)) {
			bk_stages_cede(part, gained);
			bk_origin_unuse(part->origin);
		}
}

static void bk_txn_wait_saved(struct bk_txn *txn)
{
	unsigned long end = jiffies + msecs_to_jiffies(BK_DRAIN_MS);
	struct bk_txn_part *part;
	char error[BK_ERROR_LEN];
	unsigned int action;
	int err;

	list_for_each_entry(part, &txn->parts, list) {
		err = bk_stages_wait(part, max_t(long, end - jiffies, 1),
				     &action, error, sizeof(error));
		if (err)
			bk_txn_fail(txn, action, err, "%s", error);
	}
}

static void bk_txn_finish_work(struct work_struct *work)
{
	struct bk_txn *txn = container_of(work, struct bk_txn, finish);
	unsigned int noio = memalloc_noio_save();

	bk_txn_finish_parts(txn);
	bk_txn_wait_saved(txn);
	bk_txn_clean(txn, true);
	bk_txn_become(txn, BK_TXN_COMMITTED);
	memalloc_noio_restore(noio);
	bk_txn_put(txn);	/* bk_txn_commit_work()'s */
}

/**
 * bk_txn_drained - another part of it has drained
 * @txn:	the transaction
 *
 * Context: process; does not sleep.
 */
void bk_txn_drained(struct bk_txn *txn)
{
	if (atomic_dec_and_test(&txn->undrained))
		queue_work(bk_wq, &txn->finish);
}

/*----------------------------------------------------------------*/
/* Prepare, freeze, cut, thaw */

/* What would make freezing hang or fail for certain is a refusal. */
static int bk_txn_check_live(struct bk_txn *txn)
{
	struct bk_txn_part *part;

	list_for_each_entry(part, &txn->parts, list) {
		struct bk_origin *origin = part->origin;
		bool live;

		mutex_lock(&origin->live_lock);
		live = origin->live;
		mutex_unlock(&origin->live_lock);
		if (!live)
			return bk_txn_fail(txn, part->action, -EBUSY,
					   "the filter is suspended or its file system is frozen");
	}
	return 0;
}

static int bk_txn_freeze_and_cut(struct bk_txn *txn)
{
	int err;

	if (!txn->options.freeze)
		return bk_txn_cut(txn);
	/* Rather before than while everything is frozen. */
	err = bk_txn_wait_drained(txn, jiffies +
				  msecs_to_jiffies(BK_DRAIN_MS));
	if (!err)
		err = bk_txn_freeze(txn);
	if (!err)
		err = bk_txn_cut(txn);
	bk_txn_thaw(txn);
	return err;
}

static void bk_txn_commit_work(struct bk_txn *txn)
{
	int err = 0;

	if (txn->options.freeze)
		err = bk_txn_check_live(txn);
	if (!err && txn->plain)
		bk_txn_accept(txn);	/* if not, the cut finds out */
	if (!err) {
		kref_get(&txn->ref);	/* for @finish */
		atomic_set(&txn->undrained, 1);
		err = bk_txn_freeze_and_cut(txn);
		if (!err)
			bk_txn_drained(txn);
		else
			bk_txn_put(txn);
	}
	if (err)
		bk_txn_abort_work(txn);
}

/* All actions in their order, then what they mean together. */
static int bk_txn_prepare_all(struct bk_txn *txn)
{
	char error[BK_ERROR_LEN] = "";
	struct bk_txn_part *part;
	unsigned int i, action = 0;
	int err;

	for (i = 0; i < txn->nr_actions; i++) {
		if (bk_txn_is_stopped(txn))
			return bk_txn_fail(txn, 0, -ECANCELED, "aborted");
		txn->prepared++;
		bk_txn_trace(&txn->actions[i], "prepare");
		err = bk_action_prepare(&txn->actions[i], error, sizeof(error));
		if (err)
			return bk_txn_fail(txn, bk_txn_is_stopped(txn) ? 0 :
					   i + 1, err, "%s", error);
	}
	list_for_each_entry(part, &txn->parts, list) {
		if (!bk_origin_use(part->origin))
			return bk_txn_fail(txn, part->action, -ENODEV,
					   "the filter is going away");
		err = bk_stages_plan(part, &action, error, sizeof(error));
		bk_origin_unuse(part->origin);
		if (err)
			return bk_txn_fail(txn, action, err, "%s", error);
	}
	return 0;
}

/* It waits for a word, if it is not told to stop already. */
static bool bk_txn_hold(struct bk_txn *txn)
{
	bool held;

	spin_lock(&txn->lock);
	held = !txn->stop;
	if (held) {
		txn->state = BK_TXN_PREPARED;
		kref_get(&txn->ref);	/* dropped by bk_txn_expire_work() */
		queue_delayed_work(bk_wq, &txn->expire,
				   msecs_to_jiffies(BK_HOLD_MS));
	}
	spin_unlock(&txn->lock);
	wake_up_all(&txn->wait);
	return held;
}

static void bk_txn_prepare_work(struct bk_txn *txn)
{
	int err = bk_txn_prepare_all(txn);

	if (!err && txn->options.prepare) {
		if (bk_txn_hold(txn))
			return;
		err = bk_txn_fail(txn, 0, -ECANCELED, "aborted");
	}
	if (err) {
		bk_txn_abort_work(txn);
		return;
	}
	bk_txn_become(txn, BK_TXN_COMMITTING);
	bk_txn_commit_work(txn);
}

static void bk_txn_work(struct work_struct *work)
{
	struct bk_txn *txn = container_of(work, struct bk_txn, work);
	unsigned int noio = memalloc_noio_save();

	switch (READ_ONCE(txn->state)) {
	case BK_TXN_PREPARING:
		bk_txn_prepare_work(txn);
		break;
	case BK_TXN_COMMITTING:
		bk_txn_commit_work(txn);
		break;
	default:
		bk_txn_abort_work(txn);
		break;
	}
	memalloc_noio_restore(noio);
	bk_txn_put(txn);
}

/**
 * bk_txn_go_on - one that is prepared commits, or aborts
 * @txn:	the transaction
 * @state:	BK_TXN_COMMITTING or BK_TXN_ABORTING
 * @err:	0, or why it aborts
 * @text:	the same in words
 *
 * Context: process; does not sleep. Return: false if it is not prepared.
 */
bool bk_txn_go_on(struct bk_txn *txn, enum bk_txn_state state, int err,
		  const char *text)
{
	bool prepared;

	spin_lock(&txn->lock);
	prepared = txn->state == BK_TXN_PREPARED;
	if (prepared) {
		txn->state = state;
		if (err)
			bk_txn_note(txn, 0, err, text);
	}
	spin_unlock(&txn->lock);
	if (!prepared)
		return false;
	if (cancel_delayed_work(&txn->expire))
		bk_txn_put(txn);
	kref_get(&txn->ref);	/* dropped by bk_txn_work() */
	queue_work(bk_wq, &txn->work);
	return true;
}

static void bk_txn_expire_work(struct work_struct *work)
{
	struct bk_txn *txn = container_of(to_delayed_work(work), struct bk_txn,
					  expire);

	bk_txn_go_on(txn, BK_TXN_ABORTING, -ETIME, "not committed in time");
	bk_txn_put(txn);
}

/*----------------------------------------------------------------*/
/* Making one */

static void bk_txn_release(struct kref *ref)
{
	struct bk_txn *txn = container_of(ref, struct bk_txn, ref);
	unsigned int i;

	for (i = 0; i < txn->nr_actions; i++)
		kvfree(txn->actions[i].argv);
	kvfree(txn->actions);
	bk_group_put(txn->group);
	kfree(txn);
}

/**
 * bk_txn_put - drop a reference
 * @txn:	the transaction
 */
void bk_txn_put(struct bk_txn *txn)
{
	kref_put(&txn->ref, bk_txn_release);
}

/**
 * bk_txn_create - make a transaction
 * @nr_actions:	how many actions there will be
 * @options:	what is asked of the whole
 * @token:	by which it can be asked for, or NULL
 *
 * Context: process, may sleep. Return: a reference, or NULL.
 */
struct bk_txn *bk_txn_create(unsigned int nr_actions,
			     const struct bk_txn_options *options,
			     const char *token)
{
	struct bk_txn *txn = kzalloc(sizeof(*txn), GFP_NOIO);

	if (!txn)
		return NULL;
	kref_init(&txn->ref);
	INIT_LIST_HEAD(&txn->registry);
	INIT_LIST_HEAD(&txn->parts);
	INIT_LIST_HEAD(&txn->steps);
	INIT_WORK(&txn->work, bk_txn_work);
	INIT_WORK(&txn->finish, bk_txn_finish_work);
	INIT_DELAYED_WORK(&txn->expire, bk_txn_expire_work);
	init_waitqueue_head(&txn->wait);
	spin_lock_init(&txn->lock);
	txn->options = *options;
	strscpy(txn->token, token ?: "", sizeof(txn->token));
	txn->actions = kvcalloc(nr_actions, sizeof(*txn->actions), GFP_KERNEL);
	if (!txn->actions)
		goto out;
	txn->nr_actions = nr_actions;
	if (!options->completion && !options->sequential)
		return txn;
	txn->group = bk_group_create(nr_actions, options->completion,
				     options->sequential);
	if (txn->group)
		return txn;
out:
	bk_txn_put(txn);
	return NULL;
}

/* A copy of words, which may be looked at when their message has gone. */
static char **bk_txn_copy_words(unsigned int argc, char **argv)
{
	size_t size = (argc + 1) * sizeof(*argv), n;
	char **copy, *to;
	unsigned int i;

	for (i = 0; i < argc; i++)
		size += strlen(argv[i]) + 1;
	copy = kvmalloc(size, GFP_KERNEL);
	if (!copy)
		return NULL;
	to = (char *)(copy + argc + 1);
	for (i = 0; i < argc; i++) {
		n = strlen(argv[i]) + 1;
		copy[i] = memcpy(to, argv[i], n);
		to += n;
	}
	copy[argc] = NULL;
	return copy;
}

/**
 * bk_txn_set_action - say what an action is
 * @txn:	the transaction, not started
 * @nr:		which one, from 1
 * @type:	its kind
 * @filter:	MAJ:MIN of the filter, at most 15 characters
 * @argc:	number of words
 * @argv:	the words, behind those that say the kind; they are copied
 *
 * Context: process, may sleep. Return: 0 or -ENOMEM.
 */
int bk_txn_set_action(struct bk_txn *txn, unsigned int nr,
		      const struct bk_action_type *type, const char *filter,
		      unsigned int argc, char **argv)
{
	struct bk_act *a = &txn->actions[nr - 1];

	a->type = type;
	a->txn = txn;
	a->nr = nr;
	strscpy(a->filter, filter, sizeof(a->filter));
	a->argc = argc;
	a->argv = bk_txn_copy_words(argc, argv);
	return a->argv ? 0 : -ENOMEM;
}

/**
 * bk_txn_start - let it run
 * @txn:	the transaction, all its actions set
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, may sleep. Return: 0, or a negative errno: of one with a
 * token only, if that can't be used.
 */
int bk_txn_start(struct bk_txn *txn, char *error, size_t size)
{
	int err = 0;

	txn->prepare_by = jiffies + msecs_to_jiffies(BK_TXN_PREPARE_MS);
	if (txn->token[0])
		err = bk_txn_register(txn, error, size);
	if (err)
		return err;
	kref_get(&txn->ref);	/* dropped by bk_txn_work() */
	queue_work(bk_wq, &txn->work);
	return 0;
}
