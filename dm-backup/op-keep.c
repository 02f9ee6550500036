// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ops that wait: for readers, for what their point in time has replaced, or for their
 * write to be tried again. The contract is in op.h.
 */

#include "op-int.h"

#define BK_RETRY_FIRST_MS	10
#define BK_RETRY_LAST_MS	1000

/* Take @op off pit->retry or pit->unread, if it is on one. */
bool bk_op_stop_waiting(struct bk_op *op)
{
	struct bk_pit *pit = op->pit;
	bool waiting;

	spin_lock(&pit->lock);
	waiting = !list_empty(&op->retry);
	if (waiting)
		list_del_init(&op->retry);
	spin_unlock(&pit->lock);
	return waiting;
}

/* The next op on one of the pit's lists of those that wait, off it. */
static struct bk_op *bk_pit_pop(struct bk_pit *pit, struct list_head *list)
{
	struct bk_op *op;

	spin_lock(&pit->lock);
	op = list_first_entry_or_null(list, struct bk_op, retry);
	if (op)
		list_del_init(&op->retry);
	spin_unlock(&pit->lock);
	return op;
}

/*----------------------------------------------------------------*/
/* For readers */

/* Make @op wait for them. Whoever finds them gone first goes on with it. */
void bk_op_await_readers(struct bk_op *op)
{
	struct bk_pit *pit = op->pit;

	spin_lock(&pit->lock);
	list_add_tail(&op->retry, &pit->unread);
	spin_unlock(&pit->lock);
}

/**
 * bk_pit_unread - readers have ended for which ops wait: those go on
 * @pit:	the point in time
 *
 * Context: process; does not sleep.
 */
void bk_pit_unread(struct bk_pit *pit)
{
	struct bk_op *op;
	LIST_HEAD(ops);

	/* Once round: one that waits for another reader is on the list again. */
	spin_lock(&pit->lock);
	list_splice_init(&pit->unread, &ops);
	spin_unlock(&pit->lock);
	while ((op = bk_pit_pop(pit, &ops)))
		if (op->state == BK_OP_MOVED)
			bk_op_give_back(op);
		else
			bk_op_has_read(op);
}

/*----------------------------------------------------------------*/
/* For their write */

/* Keep @op for its write to be tried again. False if the pit has stopped. */
bool bk_op_keep(struct bk_op *op)
{
	struct bk_pit *pit = op->pit;
	bool stopped;

	bk_op_count(op, false);	/* once on the list it may be anybody's */
	spin_lock(&pit->lock);
	stopped = bk_pit_is_stopped(pit);
	if (!stopped)
		list_add_tail(&op->retry, &pit->retry);
	spin_unlock(&pit->lock);
	return !stopped;
}

/*
 * Keep @op until what its point in time has replaced has ended; if that is stopped
 * itself nobody wants @op any more. False if it need not wait.
 */
bool bk_op_stay_behind(struct bk_op *op)
{
	struct bk_pit *pit = op->pit;
	bool behind, stopped;

	bk_op_count(op, false);	/* once on the list it may be anybody's */
	spin_lock(&pit->lock);
	behind = pit->behind;
	stopped = bk_pit_is_stopped(pit);
	if (behind && !stopped)
		list_add_tail(&op->retry, &pit->retry);
	spin_unlock(&pit->lock);
	if (!behind)
		bk_op_count(op, true);
	else if (stopped)
		bk_op_drop(op);
	return behind;
}

/**
 * bk_op_write_later - write it after all, from the copy queue
 * @op:		unstaged, and what to write is set
 *
 * If the point in time has stopped it ends.
 */
void bk_op_write_later(struct bk_op *op)
{
	struct bk_pit *pit = op->pit;

	bk_op_restage(op);
	bk_pit_get(pit);
	if (bk_op_keep(op))
		bk_pit_retry(pit);	/* op may be anybody's */
	else
		bk_op_drop(op);
	bk_pit_put(pit);
}

/* Try what was kept again after a while. */
void bk_pit_retry_later(struct bk_pit *pit)
{
	unsigned int ms;

	spin_lock(&pit->lock);
	ms = clamp(READ_ONCE(pit->backoff) * 2, BK_RETRY_FIRST_MS,
		   BK_RETRY_LAST_MS);
	WRITE_ONCE(pit->backoff, ms);
	if (!bk_pit_is_stopped(pit))
		queue_delayed_work(pit->origin->copy_wq, &pit->retry_work,
				   msecs_to_jiffies(ms));
	spin_unlock(&pit->lock);
}

/**
 * bk_pit_retry_work - try failed writes to the destination again
 * @work:	pit->retry_work
 */
void bk_pit_retry_work(struct work_struct *work)
{
	struct bk_pit *pit = container_of(to_delayed_work(work), struct bk_pit,
					  retry_work);
	struct bk_op *op;
	LIST_HEAD(round);

	/* One that fails at once is for the next round. */
	spin_lock(&pit->lock);
	if (!pit->behind)
		list_splice_init(&pit->retry, &round);
	spin_unlock(&pit->lock);
	while ((op = bk_pit_pop(pit, &round))) {
		bk_op_count(op, true);
		bk_write_start(&op->write);
	}
}

/**
 * bk_pit_retry - try failed writes to the destination again now
 * @pit:	the point in time
 */
void bk_pit_retry(struct bk_pit *pit)
{
	spin_lock(&pit->lock);
	WRITE_ONCE(pit->backoff, 0);
	if (!list_empty(&pit->retry) && !bk_pit_is_stopped(pit))
		mod_delayed_work(pit->origin->copy_wq, &pit->retry_work, 0);
	spin_unlock(&pit->lock);
}

/**
 * bk_pit_go_ahead - what the point in time has replaced has ended
 * @pit:	the point in time
 *
 * Context: process; does not sleep.
 */
void bk_pit_go_ahead(struct bk_pit *pit)
{
	spin_lock(&pit->lock);
	WRITE_ONCE(pit->behind, false);
	spin_unlock(&pit->lock);
	bk_pit_retry(pit);
}
