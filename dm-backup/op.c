// SPDX-License-Identifier: GPL-2.0-only
/*
 * An op: making it, its claim, and its end. The contract is in op.h.
 */

#include "op-int.h"
#include "lend.h"

#include <linux/slab.h>

static struct kmem_cache *bk_op_cache;

/**
 * bk_op_init - when the module comes
 *
 * Return: 0 or -ENOMEM.
 */
int __init bk_op_init(void)
{
	bk_op_cache = KMEM_CACHE(bk_op, 0);
	return bk_op_cache ? 0 : -ENOMEM;
}

/**
 * bk_op_exit - when it goes
 */
void bk_op_exit(void)
{
	kmem_cache_destroy(bk_op_cache);
}

/**
 * bk_op_pool_init - set ops aside for one point in time
 * @pool:	its pool
 *
 * Return: 0 or -ENOMEM.
 */
int bk_op_pool_init(mempool_t *pool)
{
	return mempool_init_slab_pool(pool, BK_OPS_RESERVED, bk_op_cache);
}

/*----------------------------------------------------------------*/
/* Ops */

/**
 * bk_op_alloc - make an op
 * @pit:	for which point in time
 * @guest:	because of a guest's write
 *
 * Return: an op that has claimed nothing, or NULL if there is no memory now.
 */
struct bk_op *bk_op_alloc(struct bk_pit *pit, bool guest)
{
	struct bk_op *op = mempool_alloc(&pit->op_pool,
					 GFP_NOWAIT | __GFP_NOWARN);

	if (!op)
		return NULL;
	memset(op, 0, sizeof(*op));
	kref_init(&op->ref);
	op->guest = guest;
	op->base = op;
	op->pit = pit;
	bk_pit_get(pit);
	INIT_LIST_HEAD(&op->bucket);
	INIT_LIST_HEAD(&op->batch);
	INIT_LIST_HEAD(&op->sharers);
	INIT_LIST_HEAD(&op->borrowers);
	INIT_LIST_HEAD(&op->borrow);
	INIT_LIST_HEAD(&op->staged);
	INIT_LIST_HEAD(&op->retry);
	bk_read_init(&op->read, pit->origin,
		     guest ? pit->origin->cow_wq : pit->origin->copy_wq,
		     bk_op_read_done);
	op->read.buf.background = !guest;
	op->read.buf.reserve = guest ? &pit->reserve : NULL;
	bk_write_init(&op->write, pit->dest, guest, bk_op_write_done);
	return op;
}

static void bk_op_release(struct kref *ref)
{
	struct bk_op *op = container_of(ref, struct bk_op, ref);
	struct bk_pit *pit = op->pit;

	bk_read_drop(&op->read);
	mempool_free(op, &pit->op_pool);
	bk_pit_put(pit);
}

/**
 * bk_op_put - drop a reference
 * @op:		the op
 */
void bk_op_put(struct bk_op *op)
{
	kref_put(&op->ref, bk_op_release);
}

/**
 * bk_op_count - a background op is in flight, or its write waits for better days
 * @op:		the op; nothing happens if it is a guest's
 * @in_flight:	which of the two
 */
void bk_op_count(struct bk_op *op, bool in_flight)
{
	struct bk_pit *pit = op->pit;

	if (op->guest || op->counted == in_flight)
		return;
	op->counted = in_flight;
	if (in_flight)
		atomic_inc(&pit->background);
	else if (atomic_dec_and_test(&pit->background) &&
		 !bk_pit_is_stopped(pit))
		pit->ops->idle(pit);
}

/* Its data has been read: the destination is told of it next. */
void bk_op_arrived(struct bk_op *op)
{
	if (op->coming)
		atomic64_sub(op->read.buf.bytes, &op->pit->coming);
	op->coming = false;
}

/**
 * bk_op_finish - the op has ended
 * @op:		the op, in no bucket
 *
 * The buffer may be in use by others yet: if all of those were given up, it is
 * an orphan now.
 */
void bk_op_finish(struct bk_op *op)
{
	struct bk_pit *pit = op->pit;
	struct bk_op *base = op->base;
	bool saved = op->saved;
	LIST_HEAD(borrowers);

	bk_pit_get(pit);
	bk_op_lend_no_more(op, &borrowers, saved);
	/* It may be the base, of which those who use the buffer are counted. */
	if (op->lender)
		bk_op_put(op->lender);
	op->lender = NULL;
	bk_op_arrived(op);
	bk_op_count(op, false);
	if (!op->given_up && kref_read(&base->ref) > 1)
		bk_read_leave(&base->read);
	if (base != op)
		bk_op_put(base);
	if (unlikely(op->fleece))
		bk_dest_put(op->fleece);
	bk_op_put(op);
	bk_borrowers_go_on(pit, &borrowers, saved);
	bk_pit_writer_gone(pit);
	if (!bk_pit_is_stopped(pit))
		pit->ops->kick(pit);
	bk_pit_put(pit);
}

/**
 * bk_op_size_read - tell the op's read what to read, and how much that takes
 * @op:		the op; its clusters are set
 */
void bk_op_size_read(struct bk_op *op)
{
	op->read.sector = bk_op_sector(op);
	op->read.sectors = bk_op_sectors(op);
	op->read.buf.bytes = round_up((size_t)op->read.sectors << SECTOR_SHIFT,
				      PAGE_SIZE);
}

/*----------------------------------------------------------------*/
/* Buckets and claims */

/**
 * bk_pit_run_limit - how many clusters may be copied in one op
 * @pit:	the point in time
 * @cluster:	the first of them
 * @max_sectors: what the caller would take
 *
 * Return: 1 or more.
 */
unsigned long bk_pit_run_limit(struct bk_pit *pit, unsigned long cluster,
			       unsigned int max_sectors)
{
	if (unlikely(cluster >= READ_ONCE(pit->careful[0]) &&
		     cluster < READ_ONCE(pit->careful[1])))
		return 1;
	if (unlikely(bk_pit_is_lean(pit)))
		return 1;
	return max(1u, max_sectors >> pit->shift);
}

/*
 * Where from, and where to, and are writes to wait until it is there? With fleecing
 * none waits for the destination, which is slow. The bucket's lock is held.
 */
static void bk_op_set_aim(struct bk_op *op)
{
	struct bk_pit *pit = op->pit;
	bool fleecing = pit->fleece.map;

	if (op->kind == BK_OP_MOVE) {
		bk_fleece_take(op);
		return;
	}
	op->hold = READ_ONCE(pit->params.cbw->policy) == BK_BREAK_GUEST_WRITE &&
		   (op->guest || !fleecing);
	if (likely(!fleecing || !op->guest))
		return;
	op->kind = BK_OP_FLEECE;
	op->fleece = pit->fleece.dest;
	bk_dest_get(op->fleece);	/* until bk_op_finish() */
	bk_write_init(&op->write, op->fleece, true, bk_op_write_done);
}

/**
 * bk_op_claim - claim the first run of a range that is needed, or to be moved
 * @op:		for which op; of a move kind says so
 * @from:	first cluster of the range
 * @end:	its end, exclusive; the range lies in one lane
 * @max_sectors: take no more than that, but one cluster in any case
 *
 * Return: false if there is none.
 */
bool bk_op_claim(struct bk_op *op, unsigned long from, unsigned long end,
		 unsigned int max_sectors)
{
	struct bk_pit *pit = op->pit;
	struct bk_bucket *bucket = bk_pit_bucket(pit, from);
	const unsigned long *wanted = op->kind == BK_OP_MOVE ?
				      pit->fleece.map : pit->pending;
	unsigned long run_end;

	spin_lock(&bucket->lock);
	from = bk_map_next_run(wanted, pit->claimed, from, end, &run_end);
	if (from >= end || bk_pit_is_stopped(pit)) {
		spin_unlock(&bucket->lock);
		return false;
	}
	run_end = min(run_end,
		      from + bk_pit_run_limit(pit, from, max_sectors));
	op->first = from;
	op->nr = run_end - from;
	op->state = BK_OP_READING;
	bk_op_set_aim(op);
	bk_map_set(pit->claimed, from, run_end);
	list_add(&op->bucket, &bucket->ops);
	atomic_inc(&pit->writers);	/* until bk_op_finish() */
	spin_unlock(&bucket->lock);
	return true;
}

/**
 * bk_op_share - let an op use what another one reads
 * @op:		claimed, its read not started
 * @base:	claimed, its read not started, and not narrower
 */
void bk_op_share(struct bk_op *op, struct bk_op *base)
{
	struct bk_bucket *bucket = bk_pit_bucket(op->pit, op->first);

	kref_get(&base->ref);
	/* bk_op_give_up() takes back what it finds here, once. */
	spin_lock(&bucket->lock);
	op->base = base;
	if (!op->given_up)
		atomic_inc(&base->read.live);
	spin_unlock(&bucket->lock);
}

/**
 * bk_op_find - the op that has claimed a cluster
 * @bucket:	the cluster's; its lock is held
 * @cluster:	the cluster
 *
 * Return: the op, or NULL.
 */
struct bk_op *bk_op_find(struct bk_bucket *bucket, unsigned long cluster)
{
	struct bk_op *op;

	list_for_each_entry(op, &bucket->ops, bucket)
		if (cluster - op->first < op->nr)
			return op;
	return NULL;
}

/**
 * bk_holders_kick - send bios in again
 * @origin:	their filter
 * @holders:	the bios; empty afterwards
 */
void bk_holders_kick(struct bk_origin *origin, struct bio_list *holders)
{
	struct bio *bio;

	while ((bio = bio_list_pop(holders))) {
		struct bk_bio *pb = dm_per_bio_data(bio, sizeof(*pb));

		queue_work(origin->cow_wq, &pb->work);
	}
}

/**
 * bk_holders_take - take the bios that wait for an op
 * @op:		the op; its bucket's lock is held
 * @holders:	they are added to this
 */
void bk_holders_take(struct bk_op *op, struct bio_list *holders)
{
	bio_list_merge(holders, &op->holders);
	bio_list_init(&op->holders);
}

/* What an op leaves of its clusters when it lets go of them; bucket's lock is held. */
static void bk_op_leave(struct bk_op *op)
{
	unsigned long first = op->first, end = op->first + op->nr;
	struct bk_pit *pit = op->pit;
	struct bk_fleece *fleece = &pit->fleece;

	switch (op->kind) {
	case BK_OP_COPY:
	case BK_OP_FLEECE:
		if (op->state == BK_OP_STAGED && !op->saved)
			bk_map_set(pit->pending, first, end);
		if (op->kind == BK_OP_COPY || !op->saved)
			break;
		bk_map_set(fleece->map, first, end);
		atomic_long_add(op->nr, &fleece->waiting);
		break;
	case BK_OP_MOVE:
		if (op->saved)
			bk_map_clear(fleece->map, first, end);
		else
			atomic_long_add(op->nr, &fleece->waiting);
		break;
	}
}

/**
 * bk_op_unclaim - let go of the op's clusters
 * @op:		the op
 * @fail:	if not 0, those who wait for it fail with that
 *
 * What is still pending is needed again, and what was staged but is not on the
 * destination: that is so only when the point in time has stopped, when nobody
 * waits for it, but its owner may want to know. What was not moved is on the fleece
 * device as before. Who waits looks again.
 */
void bk_op_unclaim(struct bk_op *op, blk_status_t fail)
{
	struct bk_pit *pit = op->pit;
	struct bk_bucket *bucket = bk_pit_bucket(pit, op->first);
	struct bio_list holders = BIO_EMPTY_LIST;
	struct bio *bio;

	spin_lock(&bucket->lock);
	bk_op_leave(op);
	if (op->lent)
		bk_map_set(pit->lent, op->first, op->first + op->nr);
	/* pairs with smp_rmb() in bk_pit_next_uncopied() */
	smp_mb__before_atomic();
	bk_map_clear(pit->claimed, op->first, op->first + op->nr);
	list_del_init(&op->bucket);
	bk_holders_take(op, &holders);
	spin_unlock(&bucket->lock);

	if (fail)
		bio_list_for_each(bio, &holders) {
			struct bk_bio *pb = dm_per_bio_data(bio, sizeof(*pb));

			WRITE_ONCE(pb->fail, fail);	/* bk_held_work() looks */
		}
	bk_holders_kick(pit->origin, &holders);
}

/*----------------------------------------------------------------*/
/* The end */

/* Stop an op that waits for a buffer, or for the origin to be resumed. */
static bool bk_op_cancel_read(struct bk_op *op)
{
	if (op->base != op || !bk_read_cancel(&op->read))
		return false;
	/* It was started, so who shares it is settled; they still want it. */
	if (!list_is_singular(&op->sharers)) {
		bk_read_queue(&op->read);
		return false;
	}
	list_del_init(&op->batch);
	return true;
}

/**
 * bk_op_give_up - nobody waits for the op any more
 * @op:		the op; its bucket's lock is held, its pit has stopped
 * @borrowers:	who waits for it is added to this, for bk_borrowers_go_on()
 *
 * If its I/O is in flight it ends when that does, which on a destination that
 * hangs may be never.
 *
 * Return: true if its read or write was only waiting: the caller ends it.
 */
bool bk_op_give_up(struct bk_op *op, struct list_head *borrowers)
{
	if (op->state == BK_OP_READING) {
		if (bk_op_cancel_read(op))
			return true;
	} else if (bk_op_stop_waiting(op) || bk_op_stop_borrowing(op) ||
		   bk_write_cancel(&op->write)) {
		return true;
	}
	if (!op->given_up) {
		op->given_up = true;
		bk_read_give_up(&op->base->read);
		bk_op_lend_no_more(op, borrowers, false);
	}
	return false;
}

/**
 * bk_op_drop - an op is of no use any more, as its point in time has stopped: it ends
 * @op:		the op, on no list of those that wait
 */
void bk_op_drop(struct bk_op *op)
{
	bk_op_unstage(op);
	bk_op_unclaim(op, BLK_STS_OK);
	bk_op_finish(op);
}
