// SPDX-License-Identifier: GPL-2.0-only
/*
 * An op's read has ended: who reads the same is waited for, then writes go. The contract
 * is in op.h.
 */

#include "op-int.h"
#include "reader.h"

/* How a read that has ended leaves its op. */
enum bk_op_next {
	BK_NEXT_START,		/* writes go; its own is to be started */
	BK_NEXT_LATER,		/* it waits for readers; not the caller's any more */
	BK_NEXT_END,		/* the pit has stopped: it is to end */
};

/*
 * Views may be reading from the origin what a writer is about to overwrite, or from
 * @dest, the fleece device, what is about to be discarded. None begins from here on:
 * the bucket's lock is held, and the data is in the buffer, or saved. On the list
 * before readers are asked to tell their end, so that the last one's bk_pit_unread()
 * finds it.
 */
static bool bk_op_is_read(struct bk_op *op, struct bk_bucket *bucket,
			  enum bk_op_state state, struct bk_dest *dest)
{
	if (likely(!bk_readers_exist(bucket)))
		return false;
	op->state = state;
	bk_op_await_readers(op);
	if (bk_readers_await(bucket, op->first, op->first + op->nr, dest))
		return true;
	/* None, or none any more: unless bk_pit_unread() was quicker. */
	return !bk_op_stop_waiting(op);
}

/**
 * bk_op_wait_moved - make a move wait for who reads its clusters on the fleece device
 * @op:		the op
 *
 * Return: whether it waits: then it is not the caller's any more.
 */
bool bk_op_wait_moved(struct bk_op *op)
{
	struct bk_bucket *bucket = bk_pit_bucket(op->pit, op->first);
	bool waits;

	spin_lock(&bucket->lock);
	waits = bk_op_is_read(op, bucket, BK_OP_MOVED, op->fleece);
	spin_unlock(&bucket->lock);
	return waits;
}

/*
 * The buffer is valid: writes may go, unless they are to wait for the
 * destination, or for who reads the origin. None waits for a move.
 */
static enum bk_op_next bk_op_stage(struct bk_op *op)
{
	struct bk_pit *pit = op->pit;
	struct bk_bucket *bucket = bk_pit_bucket(pit, op->first);
	struct bio_list holders = BIO_EMPTY_LIST;
	enum bk_op_next next = BK_NEXT_START;

	spin_lock(&bucket->lock);
	if (bk_pit_is_stopped(pit))
		next = BK_NEXT_END;
	else if (op->kind == BK_OP_MOVE)
		op->state = BK_OP_STAGED;
	else if (bk_op_is_read(op, bucket, BK_OP_VALID, NULL))
		next = BK_NEXT_LATER;
	if (likely(next == BK_NEXT_START && op->kind != BK_OP_MOVE)) {
		op->state = BK_OP_STAGED;
		op->staged_at = jiffies;
		spin_lock(&pit->lock);
		list_add_tail(&op->staged, &pit->staged);
		spin_unlock(&pit->lock);
		if (!op->hold) {
			/* pairs with the acquire in bk_pit_is_pending() */
			bk_map_clear_release(pit->pending, op->first,
					     op->first + op->nr);
			bk_holders_take(op, &holders);
		}
	}
	spin_unlock(&bucket->lock);
	bk_holders_kick(pit->origin, &holders);
	return next;
}

/* Copy the clusters of @op one by one from now on: one of them is bad. */
static void bk_pit_be_careful(struct bk_pit *pit, struct bk_op *op)
{
	spin_lock(&pit->lock);
	if (pit->careful[0] >= pit->careful[1])
		pit->careful[0] = op->first;
	WRITE_ONCE(pit->careful[0], min(pit->careful[0], op->first));
	WRITE_ONCE(pit->careful[1], max(pit->careful[1], op->first + op->nr));
	spin_unlock(&pit->lock);
}

/*
 * Reading failed. Of a run not all clusters need be bad: they are needed
 * again, to be copied one by one. The same goes for those of an op that shared
 * a wider read, whose own will tell. A single bad one is for the policy: a
 * guest's write never fails for it, unless the job was told to prefer that.
 */
static void bk_op_read_failed(struct bk_op *op, blk_status_t status)
{
	struct bk_pit *pit = op->pit;
	blk_status_t fail = BLK_STS_OK;

	bk_pit_look_from(pit, op->first);
	if (op->base != op) {
		;	/* who waits looks again */
	} else if (op->nr > 1 && status == BLK_STS_RESOURCE) {
		/* There is memory for one cluster at least: who waits takes it. */
		WRITE_ONCE(pit->lean_until, jiffies + BK_LEAN);
	} else if (op->nr > 1) {
		bk_pit_be_careful(pit, op);
	} else if (!bk_pit_is_stopped(pit)) {
		pit->ops->error(pit, op->kind == BK_OP_MOVE ?
				BK_FAULT_FLEECE_READ : BK_FAULT_READ,
				bk_op_sector(op), status, op->guest);
		if (op->guest && bk_pit_may_break(pit))
			bk_pit_break(pit, blk_status_to_errno(status));
		else if (op->guest)
			fail = status;
	}
	bk_op_unclaim(op, fail);
}

/* Its data is in the buffer. @op may have ended when this returns. */
void bk_op_has_read(struct bk_op *op)
{
	switch (bk_op_stage(op)) {
	case BK_NEXT_START:
		bk_op_arrived(op);
		bk_op_start_write(op);
		break;
	case BK_NEXT_LATER:
		break;
	case BK_NEXT_END:
		bk_op_drop(op);
		break;
	}
}

void bk_op_read_done(struct bk_read *read)
{
	struct bk_op *base = container_of(read, struct bk_op, read);
	blk_status_t status = read->status;
	struct bk_op *op;
	bool last;

	if (unlikely(status) && base->guest && base->nr == 1 &&
	    !base->retried && !bk_pit_is_stopped(base->pit)) {
		base->retried = true;
		bk_read_start(read);
		return;
	}

	/* Each op not yet taken off the list keeps base; the last may free it. */
	do {
		last = list_is_singular(&base->sharers);
		op = list_first_entry(&base->sharers, struct bk_op, batch);
		list_del_init(&op->batch);
		if (unlikely(status)) {
			bk_op_read_failed(op, status);
			bk_op_finish(op);
		} else {
			bk_op_has_read(op);
		}
	} while (!last);
}
