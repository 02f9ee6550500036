// SPDX-License-Identifier: GPL-2.0-only
/*
 * What messages ask of transactions, and waiting for them. The contract is in
 * txn.h.
 */

#include "txn.h"
#include "stage.h"

#include <linux/jiffies.h>

static const char *const bk_txn_state_names[] = {
	[BK_TXN_PREPARING]	= "preparing",
	[BK_TXN_PREPARED]	= "prepared",
	[BK_TXN_COMMITTING]	= "committing",
	[BK_TXN_COMMITTED]	= "committed",
	[BK_TXN_ABORTING]	= "aborting",
	[BK_TXN_ABORTED]	= "aborted",
};

/* Has its message nothing to wait for any more? */
static bool bk_txn_is_settled(struct bk_txn *txn)
{
	switch (READ_ONCE(txn->state)) {
	case BK_TXN_PREPARED:
	case BK_TXN_COMMITTED:
	case BK_TXN_ABORTED:
		return true;
	default:
		return READ_ONCE(txn->accepted);
	}
}

static void bk_txn_stop(struct bk_txn *txn)
{
	WRITE_ONCE(txn->stop, true);
	wake_up_all(&txn->wait);
}

/* Whatever is left of it is bounded, and short. */
static bool bk_txn_wait_settled(struct bk_txn *txn, unsigned int ms)
{
	return wait_event_killable_timeout(txn->wait, bk_txn_is_settled(txn),
					   msecs_to_jiffies(ms)) > 0;
}

/*
 * It has not settled in time. One that nobody can ask for is not to go on behind
 * everybody's back, if it can still be stopped.
 */
static void bk_txn_late(struct bk_txn *txn)
{
	if (txn->plain && bk_txn_accept(txn))
		return;
	if (!txn->token[0]) {
		bk_txn_stop(txn);
		bk_txn_wait_settled(txn, BK_GONE_MS);
	}
}

/* Of one that can be asked for no more, and has not settled. */
static int bk_txn_answer_late(struct bk_txn *txn, char *error, size_t size)
{
	bool made;

	/* It makes the cut under this mutex, unless it finds that it is stopped. */
	mutex_lock(&bk_cut_mutex);
	made = txn->made;
	mutex_unlock(&bk_cut_mutex);
	if (!made) {
		strscpy(error, "it takes too long", size);
		return -ETIMEDOUT;
	}
	/* It has not drained, or the metadata device is slow. */
	if (!txn->must_save)
		return 0;
	strscpy(error,
		"it is done, but not all of its bitmaps are on the metadata device yet",
		size);
	return -ETIMEDOUT;
}

/**
 * bk_txn_wait - what a message answers
 * @txn:	the transaction, started or committing
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: a message: process, sleeps killably, for a bounded time.
 * Return: 0: it is prepared, if that was asked for, or committed; or it goes on
 * without us. Else a negative errno.
 */
int bk_txn_wait(struct bk_txn *txn, char *error, size_t size)
{
	bool over, goes_on;
	int err;

	if (!bk_txn_wait_settled(txn, txn->plain ? BK_PREPARE_MS :
				 BK_TXN_WAIT_MS))
		bk_txn_late(txn);
	spin_lock(&txn->lock);
	over = txn->state == BK_TXN_COMMITTED ||
	       txn->state == BK_TXN_ABORTING || txn->state == BK_TXN_ABORTED;
	goes_on = txn->accepted || (!over && txn->token[0]);
	err = txn->result;
	strscpy(error, txn->error, size);
	spin_unlock(&txn->lock);
	if (goes_on)
		return 0;
	return over ? err : bk_txn_answer_late(txn, error, size);
}

/*----------------------------------------------------------------*/
/* By token */

__printf(4, 5)
static int bk_txn_refuse(char *error, size_t size, int err, const char *fmt,
			 ...)
{
	va_list args;

	va_start(args, fmt);
	vscnprintf(error, size, fmt, args);
	va_end(args);
	return err;
}

/* With a reference; or it is said that there is none. */
static struct bk_txn *bk_txn_of(const char *token, char *error, size_t size)
{
	struct bk_txn *txn = bk_txn_find(token);

	if (!txn)
		bk_txn_refuse(error, size, -ENOENT,
			      "transaction: there is no transaction '%.31s'",
			      token);
	return txn;
}

static int bk_txn_may_not(struct bk_txn *txn, const char *verb, char *error,
			  size_t size)
{
	return bk_txn_refuse(error, size, -EBUSY,
			     "transaction: '%s' is %s: %s is not possible",
			     txn->token,
			     bk_txn_state_names[READ_ONCE(txn->state)], verb);
}

/**
 * bk_txn_commit - make the cut of one that is prepared
 * @token:	which one
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: a message: process, sleeps killably, for a bounded time.
 * Return: as bk_txn_wait(), -ENOENT or -EBUSY.
 */
int bk_txn_commit(const char *token, char *error, size_t size)
{
	struct bk_txn *txn = bk_txn_of(token, error, size);
	int err;

	if (!txn)
		return -ENOENT;
	if (bk_txn_go_on(txn, BK_TXN_COMMITTING, 0, NULL))
		err = bk_txn_wait(txn, error, size);
	else
		err = bk_txn_may_not(txn, "commit", error, size);
	bk_txn_put(txn);
	return err;
}

/* One that prepares stops as soon as it looks; one that commits does not. */
static bool bk_txn_try_abort(struct bk_txn *txn)
{
	bool preparing;

	if (bk_txn_go_on(txn, BK_TXN_ABORTING, -ECANCELED, "aborted"))
		return true;
	spin_lock(&txn->lock);
	preparing = txn->state == BK_TXN_PREPARING;
	if (preparing)
		WRITE_ONCE(txn->stop, true);
	spin_unlock(&txn->lock);
	wake_up_all(&txn->wait);
	return preparing;
}

/**
 * bk_txn_abort - undo one that is prepared, or being prepared
 * @token:	which one
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: a message: process, sleeps killably, for a bounded time.
 * Return: 0: nothing is left of it; -ENOENT, -EBUSY, or -ETIMEDOUT: it is being
 * undone yet.
 */
int bk_txn_abort(const char *token, char *error, size_t size)
{
	struct bk_txn *txn = bk_txn_of(token, error, size);
	int err = 0;

	if (!txn)
		return -ENOENT;
	if (!bk_txn_try_abort(txn))
		err = bk_txn_may_not(txn, "abort", error, size);
	else if (wait_event_killable_timeout(txn->wait,
					     READ_ONCE(txn->state) ==
					     BK_TXN_ABORTED,
					     msecs_to_jiffies(BK_TXN_WAIT_MS)) <= 0)
		err = bk_txn_refuse(error, size, -ETIMEDOUT,
				    "transaction: '%s' is being undone",
				    txn->token);
	bk_txn_put(txn);
	return err;
}

/**
 * bk_txn_show - all there is to know about a transaction, as key=value words
 * @token:	which one
 * @buf:	where to
 * @len:	of @buf
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * "cause" is the last one and goes to the end of the line.
 *
 * Return: 0 or -ENOENT.
 */
int bk_txn_show(const char *token, char *buf, size_t len, char *error,
		size_t size)
{
	struct bk_txn *txn = bk_txn_of(token, error, size);

	if (!txn)
		return -ENOENT;
	spin_lock(&txn->lock);
	scnprintf(buf, len,
		  "token=%s state=%s completion_mode=%s freeze=%llu sequential=%llu actions=%u failed_action=%u failed_filter=%s result=%d cause=%s",
		  txn->token, bk_txn_state_names[txn->state],
		  bk_completion_names[txn->options.completion],
		  txn->options.freeze, txn->options.sequential,
		  txn->nr_actions, txn->failed,
		  txn->failed ? txn->actions[txn->failed - 1].filter : "-",
		  txn->result, txn->error);
	spin_unlock(&txn->lock);
	bk_txn_put(txn);
	return 0;
}
