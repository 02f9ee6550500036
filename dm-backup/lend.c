// SPDX-License-Identifier: GPL-2.0-only
/*
 * One saved copy for several points in time. The contract is in lend.h.
 */

#include "lend.h"

/**
 * bk_pit_borrow - a new point in time is to borrow from another one
 * @pit:	the point in time, being made
 * @lender:	of the same filter, with clusters of the same size
 */
void bk_pit_borrow(struct bk_pit *pit, struct bk_pit *lender)
{
	bk_pit_get(lender);
	atomic_inc(&lender->borrowers);
	atomic_inc(&lender->dest->viewers);
	pit->lender = lender;
	pit->depth = lender->depth + 1;
}

/**
 * bk_pit_repay - it does not any more
 * @pit:	the point in time, which nobody reads
 */
void bk_pit_repay(struct bk_pit *pit)
{
	struct bk_pit *lender = pit->lender;

	if (!lender)
		return;
	pit->lender = NULL;
	atomic_dec(&lender->dest->viewers);
	atomic_dec(&lender->borrowers);
	bk_pit_put(lender);
}

/**
 * bk_pit_borrowed_on - the destination that holds a saved cluster
 * @pit:	the point in time; the bucket's lock is held
 * @cluster:	the cluster
 * @end:	made less, to where the same destination holds them
 */
struct bk_dest *bk_pit_borrowed_on(struct bk_pit *pit, unsigned long cluster,
				   unsigned long *end)
{
	while (pit->lender) {
		if (!test_bit(cluster, pit->lent)) {
			*end = find_next_bit(pit->lent, *end, cluster);
			break;
		}
		*end = find_next_zero_bit(pit->lent, *end, cluster);
		pit = pit->lender;
	}
	return pit->dest;
}

/**
 * bk_batch_lend - find who can borrow from whom
 * @batch:	ops, claimed for one write, of which none has been started
 */
void bk_batch_lend(struct list_head *batch)
{
	struct bk_op *op, *lender;

	list_for_each_entry(op, batch, batch) {
		if (likely(!op->pit->lender) || op->hold)
			continue;
		list_for_each_entry(lender, batch, batch) {
			if (lender->pit != op->pit->lender || lender->hold ||
			    lender->first != op->first || lender->nr != op->nr)
				continue;
			kref_get(&lender->ref);
			lender->lends = true;
			op->lender = lender;
			break;
		}
	}
}

/* Its clusters are saved, on the lender's destination. */
static void bk_op_lent(struct bk_op *op)
{
	op->lent = true;
	atomic64_add(bk_op_sectors(op), &op->pit->lent_sectors);
	bk_op_saved(op);
}

/**
 * bk_op_borrow - wait for the lender's op instead of being written
 * @op:		staged, and what to write is set
 *
 * Return: false if it is to be written. Else it may have ended.
 */
bool bk_op_borrow(struct bk_op *op)
{
	struct bk_op *lender = op->lender;
	bool waits, saved, stopped;

	if (likely(!lender))
		return false;
	bk_op_unstage(op);
	spin_lock(&lender->pit->lock);
	/*
	 * Who stops it looks for it here, after the flag: pairs with the barrier
	 * in bk_pit_stop() and the lock in bk_op_stop_borrowing().
	 */
	stopped = bk_pit_is_stopped(op->pit);
	saved = lender->lasting;
	waits = !lender->over && !stopped;
	if (waits)
		list_add_tail(&op->borrow, &lender->borrowers);
	spin_unlock(&lender->pit->lock);
	if (waits)
		return true;
	if (stopped) {
		bk_op_drop(op);
		return true;
	}
	if (saved)
		bk_op_lent(op);
	else
		bk_op_restage(op);
	return saved;
}

/**
 * bk_op_stop_borrowing - it need not wait for the lender's op any more
 * @op:		the op; its bucket's lock is held
 *
 * Return: true if it did: the caller ends it.
 */
bool bk_op_stop_borrowing(struct bk_op *op)
{
	struct bk_op *lender = op->lender;
	bool waited;

	if (likely(!lender))
		return false;
	spin_lock(&lender->pit->lock);
	waited = !list_empty(&op->borrow);
	if (waited)
		list_del_init(&op->borrow);
	spin_unlock(&lender->pit->lock);
	return waited;
}

/**
 * bk_op_lend_no_more - who waits for an op is not to wait any longer
 * @op:		the op: it has ended, or was given up
 * @borrowers:	they are added to this, which bk_borrowers_go_on() takes; until
 *		then they can still stop
 * @saved:	it has ended, and its clusters are saved
 */
void bk_op_lend_no_more(struct bk_op *op, struct list_head *borrowers,
			bool saved)
{
	if (likely(!op->lends))
		return;
	spin_lock(&op->pit->lock);
	op->over = true;
	op->lasting = saved;
	list_splice_tail_init(&op->borrowers, borrowers);
	spin_unlock(&op->pit->lock);
}

/**
 * bk_pit_lend_no_more - who waits for what is staged is not to wait any longer
 * @pit:	the point in time
 *
 * Each saves for itself, whatever becomes of this one. So what its destination,
 * that is slow or hangs, keeps in memory is soon kept by that alone.
 */
void bk_pit_lend_no_more(struct bk_pit *pit)
{
	LIST_HEAD(borrowers);
	struct bk_op *op;

	spin_lock(&pit->lock);
	list_for_each_entry(op, &pit->staged, staged) {
		if (!op->lends || op->over)
			continue;
		op->over = true;
		list_splice_tail_init(&op->borrowers, &borrowers);
	}
	spin_unlock(&pit->lock);
	bk_borrowers_go_on(pit, &borrowers, false);
}

/**
 * bk_borrowers_go_on - ops go on that waited for one of their lender's
 * @lender:	the lender, held by the caller
 * @borrowers:	of bk_op_lend_no_more(); empty afterwards
 * @saved:	is what they waited for saved? What is lent is known by then
 */
void bk_borrowers_go_on(struct bk_pit *lender, struct list_head *borrowers,
			bool saved)
{
	struct bk_op *op;

	for (;;) {
		spin_lock(&lender->lock);
		op = list_first_entry_or_null(borrowers, struct bk_op, borrow);
		if (op)
			list_del_init(&op->borrow);
		spin_unlock(&lender->lock);
		if (!op)
			break;
		if (saved)
			bk_op_lent(op);
		else
			bk_op_write_later(op);
	}
}
