// SPDX-License-Identifier: GPL-2.0-only
/*
 * An op: a run of clusters on its way. The contract is in op.h.
 */

#include "op.h"
#include "lend.h"
#include "module.h"
#include "reader.h"
#include "trace.h"

#include <linux/slab.h>

#define BK_RETRY_FIRST_MS	10
#define BK_RETRY_LAST_MS	1000

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

static void bk_op_read_done(struct bk_read *read);
static void bk_op_write_done(struct bk_write *write);

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
static void bk_op_arrived(struct bk_op *op)
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
		bk_read_give_up(&base->read);
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
	return max(1u, max_sectors >> pit->shift);
}

/**
 * bk_op_set_claim - clusters are the op's from here on
 * @op:		the op
 * @bucket:	of the clusters; its lock is held, and the pit has not stopped
 * @first:	first cluster
 * @end:	end, exclusive
 */
void bk_op_set_claim(struct bk_op *op, struct bk_bucket *bucket,
		     unsigned long first, unsigned long end)
{
	op->first = first;
	op->nr = end - first;
	op->state = BK_OP_READING;
	bk_map_set(op->pit->claimed, first, end);
	list_add(&op->bucket, &bucket->ops);
	atomic_inc(&op->pit->writers);	/* until bk_op_finish() */
}

/*
 * Where is it to go, and are writes to wait until it is there? With fleecing none
 * waits for the destination, which is slow. The bucket's lock is held.
 */
static void bk_op_set_aim(struct bk_op *op)
{
	struct bk_pit *pit = op->pit;
	bool fleecing = pit->fleece.map;

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
 * bk_op_claim - claim the first needed run of a range
 * @op:		for which op
 * @from:	first cluster of the range
 * @end:	its end, exclusive; the range lies in one lane
 * @max_sectors: take no more than that, but one cluster in any case
 *
 * Return: false if nothing there is needed.
 */
bool bk_op_claim(struct bk_op *op, unsigned long from, unsigned long end,
		 unsigned int max_sectors)
{
	struct bk_pit *pit = op->pit;
	struct bk_bucket *bucket = bk_pit_bucket(pit, from);
	unsigned long run_end;

	spin_lock(&bucket->lock);
	from = bk_map_next_run(pit->pending, pit->claimed, from, end, &run_end);
	if (from >= end || bk_pit_is_stopped(pit)) {
		spin_unlock(&bucket->lock);
		return false;
	}
	run_end = min(run_end,
		      from + bk_pit_run_limit(pit, from, max_sectors));
	bk_op_set_aim(op);
	bk_op_set_claim(op, bucket, from, run_end);
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
/* The op's read has ended. */

/* How a read that has ended leaves its op. */
enum bk_stage {
	BK_STAGE_DONE,		/* writes go; its own is to be started */
	BK_STAGE_LATER,		/* it waits for readers; not the caller's any more */
	BK_STAGE_NEVER,		/* the pit has stopped: it is to end */
};

/* Take @op off pit->retry or pit->unread, if it is on one. */
static bool bk_op_cancel_retry(struct bk_op *op)
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
	struct bk_pit *pit = op->pit;

	if (likely(!bk_readers_exist(bucket)))
		return false;
	op->state = state;
	spin_lock(&pit->lock);
	list_add_tail(&op->retry, &pit->unread);
	spin_unlock(&pit->lock);
	if (bk_readers_await(bucket, op->first, op->first + op->nr, dest))
		return true;
	/* None, or none any more: unless bk_pit_unread() was quicker. */
	return !bk_op_cancel_retry(op);
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
static enum bk_stage bk_op_stage(struct bk_op *op)
{
	struct bk_pit *pit = op->pit;
	struct bk_bucket *bucket = bk_pit_bucket(pit, op->first);
	struct bio_list holders = BIO_EMPTY_LIST;
	enum bk_stage stage = BK_STAGE_DONE;

	spin_lock(&bucket->lock);
	if (bk_pit_is_stopped(pit))
		stage = BK_STAGE_NEVER;
	else if (op->kind == BK_OP_MOVE)
		op->state = BK_OP_STAGED;
	else if (bk_op_is_read(op, bucket, BK_OP_VALID, NULL))
		stage = BK_STAGE_LATER;
	if (likely(stage == BK_STAGE_DONE && op->kind != BK_OP_MOVE)) {
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
	return stage;
}

/*
 * Keep @op until what its point in time has replaced has ended; if that is stopped
 * itself nobody wants @op any more. False if it need not wait.
 */
static bool bk_op_stay_behind(struct bk_op *op)
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
	if (!behind) {
		bk_op_count(op, true);
	} else if (stopped) {
		bk_op_unstage(op);
		bk_op_unclaim(op, BLK_STS_OK);
		bk_op_finish(op);
	}
	return behind;
}

/* Zeroes are data on a fleece device: they are looked for when they are moved. */
static enum bk_zeroes bk_no_zeroes = BK_ZEROES_OFF;

/* On the destination's queue: this one may be the one that releases bios. */
static void bk_op_start_write(struct bk_op *op)
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

/* The next background copy is to find @first: a hint, so a race does no harm. */
static void bk_pit_look_from(struct bk_pit *pit, unsigned long first)
{
	if (first < READ_ONCE(pit->cursor))
		WRITE_ONCE(pit->cursor, first);
}

/* As the policy is now: it may have changed since the op was claimed. */
static bool bk_pit_may_break(struct bk_pit *pit)
{
	return READ_ONCE(pit->params.cbw->policy) == BK_BREAK_SNAPSHOT;
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
static void bk_op_has_read(struct bk_op *op)
{
	switch (bk_op_stage(op)) {
	case BK_STAGE_DONE:
		bk_op_arrived(op);
		bk_op_start_write(op);
		break;
	case BK_STAGE_LATER:
		break;
	case BK_STAGE_NEVER:
		bk_op_unclaim(op, BLK_STS_OK);
		bk_op_finish(op);
		break;
	}
}

static void bk_op_read_done(struct bk_read *read)
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
/* The op's write has ended. */

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

/* Keep @op for its write to be tried again. False if the pit has stopped. */
static bool bk_op_keep(struct bk_op *op)
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
	if (bk_op_keep(op)) {
		bk_pit_retry(pit);	/* op may be anybody's */
	} else {
		bk_op_unstage(op);
		bk_op_unclaim(op, BLK_STS_OK);
		bk_op_finish(op);
	}
	bk_pit_put(pit);
}

/* Try what was kept again after a while. */
static void bk_pit_retry_later(struct bk_pit *pit)
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
		bk_op_unstage(op);
		bk_op_unclaim(op, BLK_STS_OK);
		bk_op_finish(op);
		return;
	}
	pit->ops->diverted(pit, bk_op_sectors(op));
	bk_op_start_write(op);
}

static void bk_op_write_done(struct bk_write *write)
{
	struct bk_op *op = container_of(write, struct bk_op, write);

	if (likely(!write->status))
		bk_op_saved(op);
	else if (op->kind == BK_OP_FLEECE)
		bk_op_divert(op, write->status);
	else
		bk_op_write_failed(op, write->status);
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

	/* Queued, not started: one that fails at once is for the next round. */
	while (!READ_ONCE(pit->behind) && (op = bk_pit_pop(pit, &pit->retry))) {
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
	} else if (bk_op_cancel_retry(op) || bk_op_stop_borrowing(op) ||
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
