// SPDX-License-Identifier: GPL-2.0-only
/*
 * The cut of a transaction. The contract is in txn.h.
 */

#include "txn.h"
#include "cfg.h"
#include "stage.h"
#include "trace.h"

#include <linux/jiffies.h>
#include <linux/slab.h>

/**
 * bk_txn_wait_drained - wait until the last cut of every part has drained
 * @txn:	the transaction
 * @end:	jiffies until which
 *
 * Context: process, sleeps; not under bk_cut_mutex. Return: 0; else it has
 * failed, and said why.
 */
int bk_txn_wait_drained(struct bk_txn *txn, unsigned long end)
{
	struct bk_txn_part *part;

	list_for_each_entry(part, &txn->parts, list)
		if (!bk_gate_wait_drained(&part->origin->gate,
					  max_t(long, end - jiffies, 1)))
			return bk_txn_fail(txn, part->action, -ETIMEDOUT,
					   "writes from before the last start are still in flight");
	return 0;
}

/*
 * Under bk_cut_mutex: are all filters there, and have they drained? -EAGAIN:
 * another cut came between.
 */
static int bk_txn_check_parts(struct bk_txn *txn)
{
	struct bk_txn_part *part;
	char error[BK_ERROR_LEN];
	unsigned int action;
	int err;

	list_for_each_entry(part, &txn->parts, list) {
		if (part->origin->dead)
			return bk_txn_fail(txn, part->action, -ENODEV,
					   "the filter is going away");
		if (bk_gate_is_draining(&part->origin->gate))
			return -EAGAIN;
		err = bk_stages_check(part, &action, error, sizeof(error));
		if (err)
			return bk_txn_fail(txn, action, err, "%s", error);
	}
	return 0;
}

/* What the actions of one filter want published. Under its cfg_lock. */
static struct bk_cfg *bk_txn_next_cfg(struct bk_txn_part *part)
{
	struct bk_txn *txn = part->txn;
	/* A job may have bits of its own: a mirror. */
	struct bk_cfg *next = bk_cfg_copy(&part->origin->gate, part->nr_jobs,
					  part->nr_stages + part->nr_jobs,
					  GFP_NOIO);
	unsigned int i;

	if (!next)
		return NULL;
	for (i = 0; i < txn->nr_actions; i++) {
		struct bk_act *a = &txn->actions[i];

		if (a->type->install && a->part == part)
			a->type->install(a, next);
	}
	bk_stages_install(part, next);
	return next;
}

/* Lock all gates' cfgs and make their next ones. Undone by bk_txn_unlock(). */
static int bk_txn_lock(struct bk_txn *txn, struct list_head *parts)
{
	struct bk_txn_part *part;
	int err = 0;

	list_for_each_entry(part, &txn->parts, list) {
		/* bk_cut_mutex is held: nobody else holds two. */
		mutex_lock_nest_lock(&part->origin->gate.cfg_lock,
				     &bk_cut_mutex);
		part->cut.gate = &part->origin->gate;
		part->cut.next = bk_txn_next_cfg(part);
		list_add_tail(&part->cut.list, parts);
		if (!part->cut.next && !err)
			err = bk_txn_fail(txn, part->action, -ENOMEM,
					  "out of memory");
	}
	return err;
}

static void bk_txn_unlock(struct bk_txn *txn)
{
	struct bk_txn_part *part;

	list_for_each_entry_reverse(part, &txn->parts, list) {
		if (part->cut.next)
			bk_cfg_put(part->cut.next);
		part->cut.next = NULL;
		mutex_unlock(&part->origin->gate.cfg_lock);
	}
}

static void bk_txn_end_actions(struct bk_txn *txn, unsigned int nr, bool made)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (txn->actions[i].type->end)
			txn->actions[i].type->end(&txn->actions[i], made);
}

/* Nothing that an action needs ends until the cut has been made. */
static int bk_txn_begin_actions(struct bk_txn *txn)
{
	char error[BK_ERROR_LEN];
	struct bk_act *a;
	unsigned int i;
	int err;

	for (i = 0; i < txn->nr_actions; i++) {
		a = &txn->actions[i];
		err = a->type->begin ? a->type->begin(a, error, sizeof(error)) :
				       0;
		if (err) {
			bk_txn_end_actions(txn, i, false);
			return bk_txn_fail(txn, a->nr, err, "%s", error);
		}
	}
	return 0;
}

/* Nothing can fail any more. The callbacks of the gates find the transaction by this. */
static void bk_txn_announce(struct bk_txn *txn)
{
	struct bk_txn_part *part;

	atomic_add(txn->nr_parts, &txn->undrained);
	list_for_each_entry(part, &txn->parts, list) {
		bk_stages_cover(part);
		part->origin->cut = part;
	}
}

/* It is as it is to be from now on. */
static void bk_txn_take_effect(struct bk_txn *txn)
{
	struct bk_txn_part *part;
	unsigned int i;

	txn->made = true;
	list_for_each_entry(part, &txn->parts, list) {
		bk_stages_commit(part);
		txn->must_save |= bk_stages_must_save(part);
	}
	for (i = 0; i < txn->nr_actions; i++)
		trace_bk_action(txn->token, txn->actions[i].filter, i + 1,
				"commit");
	bk_txn_end_actions(txn, txn->nr_actions, true);
}

/* Under bk_cut_mutex, all parts there and drained. */
static int bk_txn_cut_locked(struct bk_txn *txn)
{
	LIST_HEAD(parts);
	int err;

	/* First: a job that ends has nothing left to install. */
	err = bk_txn_begin_actions(txn);
	if (err)
		return err;
	err = bk_txn_lock(txn, &parts);
	if (!err) {
		bk_txn_announce(txn);
		bk_gate_cut(&parts);
	}
	bk_txn_unlock(txn);
	if (err)
		bk_txn_end_actions(txn, txn->nr_actions, false);
	else
		bk_txn_take_effect(txn);
	return err;
}

/**
 * bk_txn_cut - make the cut
 * @txn:	the transaction, all actions prepared
 *
 * Context: process, sleeps for a bounded time.
 * Return: 0; else it has failed, and said why, and nothing has changed.
 */
int bk_txn_cut(struct bk_txn *txn)
{
	unsigned long end = jiffies + msecs_to_jiffies(BK_DRAIN_MS);
	int err;

	do {
		err = bk_txn_wait_drained(txn, end);
		if (err)
			break;
		mutex_lock(&bk_cut_mutex);
		err = bk_txn_check_parts(txn);
		if (!err && bk_txn_is_stopped(txn))
			err = bk_txn_fail(txn, 0, -ECANCELED, "aborted");
		if (!err)
			err = bk_txn_cut_locked(txn);
		mutex_unlock(&bk_cut_mutex);
	} while (err == -EAGAIN);
	return err;
}

/**
 * bk_txn_origin_drained - writes from before a filter's last cut have ended
 * @origin:	the filter
 *
 * Before anything else is told of it.
 *
 * Context: the gate's callback: process, may sleep.
 */
void bk_txn_origin_drained(struct bk_origin *origin)
{
	struct bk_txn_part *part = origin->cut;

	/* The next cut of the filter, which sets it, comes after us. */
	origin->cut = NULL;
	if (!part)
		return;
	bk_stages_derive(part);
	bk_txn_drained(part->txn);
}
