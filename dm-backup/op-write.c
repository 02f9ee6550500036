// SPDX-License-Identifier: GPL-2.0-only
/*
 * An op's write, to the destination or the fleece device, and its end. The contract is in
 * op.h.
 */

#include "op-int.h"
#include "lend.h"
#include "trace.h"

/**
 * bk_op_unstage - the op's data is no longer only in memory, or not wanted
 * @op:		the op
 */
void bk_op_unstage(struct bk_op *op)
{
	spin_lock(&op->pit->lock);
	list_del_init(&op->staged);
	spin_unlock(&op->pit->lock);
}

/**
 * bk_op_restage - it is only in memory again, or still
 * @op:		the op, unstaged
 */
void bk_op_restage(struct bk_op *op)
{
	spin_lock(&op->pit->lock);
	op->staged_at = jiffies;
	list_add_tail(&op->staged, &op->pit->staged);
	spin_unlock(&op->pit->lock);
}

/* Zeroes are data on a fleece device: they are looked for when they are moved. */
static enum bk_zeroes bk_no_zeroes = BK_ZEROES_OFF;

/* On the destination's queue: this one may be the one that releases bios. */
void bk_op_start_write(struct bk_op *op)
{
	struct bk_pit *pit = op->pit;

	op->write.src = &op->base->read;
	op->write.sector = bk_op_sector(op);
	op->write.sectors = bk_op_sectors(op);
	op->write.unit = 1u << pit->shift;
	op->write.zeroes = pit->params.zeroes;
	if (unlikely(op->kind == BK_OP_FLEECE)) {
		op->write.zeroes = &bk_no_zeroes;
		bk_fleece_charge(pit, op->write.sectors);
	}
	if (bk_op_borrow(op))
		return;
	if (unlikely(READ_ONCE(pit->behind)) && bk_op_stay_behind(op))
		return;
	bk_write_start(&op->write);
}

/* It has been written. On the fleece device it is not there yet. */
static void bk_op_tell_saved(struct bk_op *op)
{
	unsigned int sectors = bk_op_sectors(op);
	struct bk_pit *pit = op->pit;

	if (op->kind == BK_OP_FLEECE) {
		trace_bk_fleeced(pit->name, bk_op_sector(op), sectors);
		return;
	}
	atomic_long_sub(op->nr, &pit->todo);
	trace_bk_copy_done(pit->name, bk_op_sector(op), sectors, op->guest);
	pit->ops->copied(pit, sectors, op->guest);
}

/**
 * bk_op_saved - what the op holds is on a destination
 * @op:		the op; it ends
 */
void bk_op_saved(struct bk_op *op)
{
	struct bk_pit *pit = op->pit;

	bk_op_unstage(op);
	op->saved = true;
	if (op->hold) {
		struct bk_bucket *bucket = bk_pit_bucket(pit, op->first);

		spin_lock(&bucket->lock);
		bk_map_clear_release(pit->pending, op->first,
				     op->first + op->nr);
		spin_unlock(&bucket->lock);
	}
	bk_op_unclaim(op, BLK_STS_OK);
	if (!bk_pit_is_stopped(pit)) {
		WRITE_ONCE(pit->backoff, 0);
		bk_op_tell_saved(op);
	}
	if (op->kind == BK_OP_MOVE)
		bk_op_give_back(op);
	else
		bk_op_finish(op);
}

static bool bk_op_too_late(struct bk_op *op)
{
	unsigned int ms = READ_ONCE(op->pit->params.cbw->timeout);

	return ms && time_after_eq(jiffies,
				   op->staged_at + msecs_to_jiffies(ms));
}

/*
 * The buffer is the only copy of what the guest may have overwritten: it is
 * kept and written again, until it is too late. If no write went (hold), the
 * clusters are needed again; the waiting ones fail, or copy them anew.
 */
static void bk_op_write_failed(struct bk_op *op, blk_status_t status)
{
	sector_t sector = op->write.sector + op->write.pos;
	bool late = bk_op_too_late(op), guest = op->guest;
	struct bk_pit *pit = op->pit;
	enum bk_action action;
	LIST_HEAD(borrowers);
	bool kept = false;

	if (!bk_pit_is_stopped(pit)) {
		/*
		 * Kept before the policy is asked: a resume that comes after
		 * the policy has paused the job is to find it.
		 */
		bk_pit_get(pit);
		bk_op_lend_no_more(op, &borrowers, false);
		kept = !op->hold && bk_op_keep(op);
		bk_borrowers_go_on(pit, &borrowers, false);
		action = pit->ops->error(pit, BK_FAULT_WRITE, sector, status,
					 guest);
		if (kept && guest && late && bk_pit_may_break(pit))
			bk_pit_break(pit, blk_status_to_errno(status));
		else if (kept && (guest || action == BK_ACTION_IGNORE))
			bk_pit_retry_later(pit);
		if (kept)
			pit->ops->kick(pit);
		bk_pit_put(pit);
	}
	if (kept)
		return;
	bk_pit_look_from(pit, op->first);
	bk_op_unstage(op);
	bk_op_unclaim(op, bk_pit_may_break(pit) ? BLK_STS_OK : status);
	bk_op_finish(op);
}

/*
 * The fleece device is full, or fails: to the destination then, as if there were no
 * such device. What stops the pit looks at op->write, under the bucket's lock.
 */
static void bk_op_divert(struct bk_op *op, blk_status_t status)
{
	sector_t sector = op->write.sector + op->write.pos;
	struct bk_pit *pit = op->pit;
	struct bk_bucket *bucket = bk_pit_bucket(pit, op->first);

	if (!bk_pit_is_stopped(pit))
		pit->ops->error(pit, BK_FAULT_FLEECE_WRITE, sector, status,
				true);
	bk_fleece_uncharge(pit, bk_op_sectors(op));
	spin_lock(&bucket->lock);
	op->kind = BK_OP_COPY;
	bk_write_init(&op->write, pit->dest, true, bk_op_write_done);
	op->write.pos = 0;
	spin_unlock(&bucket->lock);
	if (bk_pit_is_stopped(pit)) {
		bk_op_drop(op);
		return;
	}
	pit->ops->diverted(pit, bk_op_sectors(op));
	bk_op_start_write(op);
}

void bk_op_write_done(struct bk_write *write)
{
	struct bk_op *op = container_of(write, struct bk_op, write);

	if (likely(!write->status))
		bk_op_saved(op);
	else if (op->kind == BK_OP_FLEECE)
		bk_op_divert(op, write->status);
	else
		bk_op_write_failed(op, write->status);
}
