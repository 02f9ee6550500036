// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copy before write: what is copied when, and who waits for it. The contract is
 * in cow.h.
 */

#include "cow.h"
#include "lend.h"
#include "module.h"
#include "op.h"
#include "trace.h"

/* Claim what a write of [first, last] needs; the ops go to @batch. */
static int bk_pit_claim(struct bk_pit *pit, unsigned long first,
			unsigned long last, struct list_head *batch)
{
	unsigned int max = min_t(size_t, pit->params.max_chunk,
				 READ_ONCE(pit->origin->pool.limit) / 8 >>
				 SECTOR_SHIFT);
	unsigned int nr = 0;
	unsigned long run_end;
	struct bk_op *op;

	while (first <= last && nr < BK_OPS_AT_ONCE) {
		unsigned long end;

		/* A first look without the lock, to skip. */
		first = bk_map_next_run(pit->pending, pit->claimed, first,
					last + 1, &run_end);
		if (first > last)
			break;
		end = min(last + 1, bk_pit_lane_end(pit, first));
		op = bk_op_alloc(pit, true);
		if (!op)
			return -ENOMEM;
		if (!bk_op_claim(op, first, end, max)) {
			bk_op_put(op);
			first = end;
			continue;
		}
		first = op->first + op->nr;
		bk_op_size_read(op);
		list_add_tail(&op->batch, batch);
		trace_bk_guest_copy(pit->name, bk_op_sector(op),
				    bk_op_sectors(op));
		pit->ops->claimed(pit, bk_op_sectors(op));
		nr++;
	}
	return 0;
}

/* The op that reads most. */
static struct bk_op *bk_batch_widest(struct list_head *batch)
{
	struct bk_op *op, *widest = NULL;

	list_for_each_entry(op, batch, batch)
		if (!widest || op->read.sectors > widest->read.sectors)
			widest = op;
	return widest;
}

/*
 * Start the reads of @batch. An op of another point in time that lies within
 * what is read anyway shares it: both were claimed before any was read, so
 * none of the data can have been overwritten. Not with one that would rather
 * fail the write: if its read fails, who waits for the other looks again, and
 * would find both again.
 */
static void bk_batch_launch(struct list_head *batch)
{
	struct bk_op *base, *op, *next;

	while ((base = bk_batch_widest(batch))) {
		sector_t start = base->read.sector;
		sector_t end = start + base->read.sectors;

		list_move(&base->batch, &base->sharers);
		list_for_each_entry_safe(op, next, batch, batch) {
			if (base->hold || op->hold || op->read.sector < start ||
			    op->read.sector + op->read.sectors > end)
				continue;
			bk_op_share(op, base);
			list_move_tail(&op->batch, &base->sharers);
		}
		/*
		 * A read that fails at once is to find who waits for it: that
		 * write is not here to start it over.
		 */
		if (unlikely(base->hold))
			bk_read_queue(&base->read);
		else
			bk_read_start(&base->read);
	}
}

/**
 * bk_cow_start - start all copies that a write of a range has to wait for
 * @cfg:	with a reference
 * @start:	first sector
 * @end:	end of the range, exclusive
 *
 * Context: work item on the queue that releases bios. Sleeps only in the
 * origin's submit_bio().
 * Return: 0, or -ENOMEM if some could not be started.
 */
int bk_cow_start(struct bk_cfg *cfg, sector_t start, sector_t end)
{
	LIST_HEAD(batch);
	unsigned int i;
	int r = 0;

	for (i = 0; i < cfg->nr_pits; i++) {
		struct bk_pit *pit = cfg->pits[i];

		if (bk_pit_is_drained(pit) &&
		    bk_pit_is_pending(pit, start, end) &&
		    bk_pit_claim(pit, bk_pit_cluster(pit, start),
				 bk_pit_cluster(pit, end - 1), &batch))
			r = -ENOMEM;
	}
	bk_batch_lend(&batch);
	bk_batch_launch(&batch);
	return r;
}

/* Make @bio wait for the op that copies @cluster, if there is need and an op. */
static enum bk_hold bk_pit_hold(struct bk_pit *pit, struct bio *bio,
				unsigned long cluster)
{
	struct bk_bio *pb = dm_per_bio_data(bio, sizeof(*pb));
	struct bk_bucket *bucket = bk_pit_bucket(pit, cluster);
	enum bk_hold hold = BK_HOLD_AGAIN;
	struct bk_op *op;

	spin_lock(&bucket->lock);
	/*
	 * Who stops the pit, suspends the device or fails the bio sets its
	 * flag first and then takes the bucket's holders, under this lock.
	 */
	op = bk_op_find(bucket, cluster);
	if (op && test_bit(cluster % BITS_PER_LONG,
			   &pit->pending[BIT_WORD(cluster)]) &&
	    !bk_pit_is_stopped(pit) && !dm_noflush_suspending(pb->in->ti) &&
	    !READ_ONCE(pb->fail)) {
		bio_list_add(&op->holders, bio);
		hold = BK_HOLD_HELD;
	}
	spin_unlock(&bucket->lock);
	return hold;
}

/**
 * bk_cow_hold - make a write wait for a copy that is under way
 * @cfg:	with a reference
 * @bio:	the write
 * @start:	its first sector
 * @end:	end of its range, exclusive
 *
 * It waits for one op at a time, and is sent in again by that op's end. All
 * its copies were started before, so this costs no time; it needs no counter
 * and no allocation.
 *
 * Return: see enum bk_hold.
 */
enum bk_hold bk_cow_hold(struct bk_cfg *cfg, struct bio *bio,
			 sector_t start, sector_t end)
{
	unsigned int i;

	for (i = 0; i < cfg->nr_pits; i++) {
		struct bk_pit *pit = cfg->pits[i];
		unsigned long first = bk_pit_cluster(pit, start);
		unsigned long last = bk_pit_cluster(pit, end - 1);

		if (!bk_pit_is_pending(pit, start, end))
			continue;
		if (!bk_pit_is_drained(pit))
			return BK_HOLD_UNDRAINED;
		first = find_next_bit(pit->pending, last + 1, first);
		if (first > last)
			return BK_HOLD_AGAIN;
		return bk_pit_hold(pit, bio, first);
	}
	return BK_HOLD_GO;
}

/**
 * bk_cow_wanted - how much of a range is still to be copied
 * @pit:	the point in time
 * @start:	first sector
 * @end:	end of the range, exclusive
 * @most:	stop counting beyond that many bytes
 *
 * Context: any, under RCU or a reference. Return: bytes.
 */
u64 bk_cow_wanted(struct bk_pit *pit, sector_t start, sector_t end, u64 most)
{
	unsigned long from = bk_pit_cluster(pit, start);
	unsigned long last = bk_pit_cluster(pit, end - 1);
	unsigned int byte_shift = pit->shift + SECTOR_SHIFT;
	u64 bytes = 0;

	if (bk_pit_is_stopped(pit))
		return 0;
	while (from <= last && bytes <= most) {
		unsigned long word = READ_ONCE(pit->pending[BIT_WORD(from)]) &
				     bk_map_mask(from, last + 1);

		bytes += (u64)hweight_long(word) << byte_shift;
		from = round_down(from, BITS_PER_LONG) + BITS_PER_LONG;
	}
	return bytes;
}

/*----------------------------------------------------------------*/
/* Background copies */

/* The next needed run from the cursor on, wrapping round once. */
static unsigned long bk_pit_next(struct bk_pit *pit, unsigned long *end)
{
	unsigned long from = READ_ONCE(pit->cursor);
	unsigned long first;

	first = bk_map_next_run(pit->pending, pit->claimed, from,
				pit->clusters, end);
	if (first >= pit->clusters && from)
		first = bk_map_next_run(pit->pending, pit->claimed, 0,
					pit->clusters, end);
	return first;
}

/*
 * The next run for @op: what is on the fleece device first, so that little is; else
 * what is needed.
 */
static unsigned long bk_op_find_work(struct bk_op *op, unsigned long *end)
{
	struct bk_pit *pit = op->pit;
	unsigned long first = bk_fleece_next(pit, end);

	if (first < pit->clusters)
		op->kind = BK_OP_MOVE;
	else
		first = bk_pit_next(pit, end);
	return first;
}

/* Claim what was found, or the first of it that is still to be had. */
static bool bk_op_claim_work(struct bk_op *op, unsigned int max)
{
	unsigned long end = op->first + op->nr;
	struct bk_pit *pit = op->pit;

	if (!bk_op_claim(op, op->first, end, max))
		return false;
	end = op->first + op->nr;
	if (op->kind == BK_OP_MOVE)
		pit->fleece.cursor = end;
	else
		WRITE_ONCE(pit->cursor, end);
	return true;
}

/**
 * bk_cow_copy_next - start one background copy, or move
 * @pit:	the point in time; not called by two at a time
 * @max:	sectors it may have, at least one cluster is taken
 *
 * Context: work item on the copy queue; does not sleep.
 * Return: sectors of the copy that was started; 0 if nothing is needed that
 * is not under way; -EAGAIN if the budget or memory is short, the pit's kick
 * says when it is not; -EBUSY before the old epoch has drained, or when it has
 * been stopped.
 */
int bk_cow_copy_next(struct bk_pit *pit, unsigned int max)
{
	unsigned long first, end;
	struct bk_op *op;
	int r;

	if (!bk_pit_is_drained(pit) || bk_pit_is_stopped(pit))
		return -EBUSY;
	op = bk_op_alloc(pit, false);
	if (!op)
		return -EAGAIN;
	max = min_t(size_t, max, READ_ONCE(pit->origin->pool.limit) / 4 >>
				 SECTOR_SHIFT);

	/* The buffer comes first: once claimed, a cluster makes guests wait. */
	first = bk_op_find_work(op, &end);
	if (first >= pit->clusters) {
		r = 0;
		goto out_put;
	}
	end = min(end, bk_pit_lane_end(pit, first));
	op->first = first;
	op->nr = min(end - first, bk_pit_run_limit(pit, first, max));
	bk_op_size_read(op);
	if (bk_buf_get(&pit->origin->pool, &op->read.buf)) {
		r = -EAGAIN;
		goto out_put;
	}
	if (!bk_op_claim_work(op, max)) {
		r = -EAGAIN;	/* somebody else has */
		pit->ops->kick(pit);
		goto out_put;
	}

	op->read.sector = bk_op_sector(op);
	op->read.sectors = bk_op_sectors(op);
	bk_op_count(op, true);
	op->coming = true;
	atomic64_add(op->read.buf.bytes, &pit->coming);
	list_add(&op->batch, &op->sharers);
	r = op->read.sectors;
	bk_read_queue(&op->read);
	return r;

out_put:
	bk_op_put(op);
	return r;
}
