/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One saved copy for several points in time.
 *
 * What it promises
 *   Of two points in time of one filter the younger one may borrow from the older
 *   one, its lender: a cluster that a write touches first since both cuts is
 *   saved once, on the lender's destination, and read from there for both. What
 *   the lender has saved before, or does not have, is saved on the younger one's
 *   own destination. A lender may borrow itself.
 *   Neither's fate is the other's. If a lender's copy does not come to be saved, for
 *   whatever reason, the borrower's is written to its own destination, from the
 *   same buffer, which stays. A lender that is broken, cancelled or whose job has
 *   gone stays open for what it has lent: a viewer of its destination.
 *   Whatever would overwrite or give back what is lent is refused (checkpoints) or
 *   left out (the discards of a view).
 *
 * An op and its lender
 *   Ops of both, for the same clusters, claimed for the same write, are lender and
 *   borrower (bk_batch_lend(), before any read is started). The borrower's, once
 *   staged, waits on the lender's borrowers instead of being written:
 *
 *   the lender's op         the borrower's
 *   is saved                is saved, and `lent' has its clusters
 *   ends otherwise          is written to its own destination
 *   is given up, in flight; the same
 *   fails, and is kept to be
 *   tried again; or writes
 *   wait for the budget
 *   the borrower is stopped it ends
 *
 *   It is not on its pit's staged meanwhile: to break that would free nothing.
 *
 * Locks
 *   lender->lock  pit->lock of the lender: an op's borrowers, over and lasting.
 *                 Taken inside either's bucket->lock.
 *   Bits of `lent' are set under the borrower's bucket->lock, before claimed is
 *   cleared, and never cleared: who finds a cluster saved there finds them.
 *
 * References
 *   A borrower holds its lender and is counted there; an op its lender's op, until
 *   it ends itself. Chains are bounded by BK_LEND_DEPTH: an op's end ends those of
 *   its borrowers, one inside the other.
 *
 * Context: process; nothing here sleeps.
 */

#ifndef BK_LEND_H
#define BK_LEND_H

#include "op.h"

/* How many points in time one saved copy may serve. */
#define BK_LEND_DEPTH	8

void bk_pit_borrow(struct bk_pit *pit, struct bk_pit *lender);
void bk_pit_repay(struct bk_pit *pit);
struct bk_dest *bk_pit_borrowed_on(struct bk_pit *pit, unsigned long cluster,
				   unsigned long *end);

void bk_batch_lend(struct list_head *batch);
bool bk_op_borrow(struct bk_op *op);
bool bk_op_stop_borrowing(struct bk_op *op);
void bk_op_lend_no_more(struct bk_op *op, struct list_head *borrowers,
			bool saved);
void bk_pit_lend_no_more(struct bk_pit *pit);
void bk_borrowers_go_on(struct bk_pit *lender, struct list_head *borrowers,
			bool saved);

#endif
