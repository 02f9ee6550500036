/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside ops: what their files have from each other. The contract, for them and for
 * others, is in op.h.
 *
 *   op.c	making one, what it claims, and its end
 *   op-read.c	its read has ended: valid, staged, or given back
 *   op-write.c	its write: where to; saved, diverted, or failed
 *   op-keep.c	what waits on pit->retry and pit->unread, and when it goes on
 *
 * An op on one of those two lists may be anybody's: whoever takes it off under pit->lock
 * goes on with it, or ends it.
 */

#ifndef BK_OP_INT_H
#define BK_OP_INT_H

#include "op.h"

/* The next background copy is to find @first: a hint, so a race does no harm. */
static inline void bk_pit_look_from(struct bk_pit *pit, unsigned long first)
{
	if (first < READ_ONCE(pit->cursor))
		WRITE_ONCE(pit->cursor, first);
}

/* As the policy is now: it may have changed since the op was claimed. */
static inline bool bk_pit_may_break(const struct bk_pit *pit)
{
	return READ_ONCE(pit->params.cbw->policy) == BK_BREAK_SNAPSHOT;
}

/* op.c */
void bk_op_arrived(struct bk_op *op);
void bk_op_unclaim(struct bk_op *op, blk_status_t fail);

/* op-read.c */
void bk_op_read_done(struct bk_read *read);
void bk_op_has_read(struct bk_op *op);

/* op-write.c */
void bk_op_start_write(struct bk_op *op);
void bk_op_write_done(struct bk_write *write);

/* op-keep.c */
void bk_op_await_readers(struct bk_op *op);
bool bk_op_keep(struct bk_op *op);
bool bk_op_stay_behind(struct bk_op *op);
bool bk_op_stop_waiting(struct bk_op *op);
void bk_pit_retry_later(struct bk_pit *pit);

#endif
