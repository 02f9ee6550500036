// SPDX-License-Identifier: GPL-2.0-only
/*
 * A point in time. The contract is in pit.h.
 */

#include "pit.h"
#include "lend.h"
#include "module.h"
#include "op.h"
#include "trace.h"

#include <linux/log2.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

/**
 * bk_map_alloc - make a map
 * @bits:	how many clusters
 * @set:	all are marked, or none
 *
 * Context: process, may sleep. Return: the map, for vfree(), or NULL.
 */
unsigned long *bk_map_alloc(unsigned long bits, bool set)
{
	size_t size = BITS_TO_LONGS(bits) * sizeof(long);
	unsigned long *map;

	/* Rather none than to look for memory for ever: somebody waits. */
	map = __vmalloc(size, GFP_KERNEL | __GFP_NOWARN | __GFP_RETRY_MAYFAIL);
	if (!map)
		return NULL;
	memset(map, set ? 0xff : 0, size);
	if (set)
		map[BIT_WORD(bits - 1)] &= BITMAP_LAST_WORD_MASK(bits);
	return map;
}

static void bk_pit_free(struct bk_pit *pit)
{
	bk_reserve_exit(&pit->origin->pool, &pit->reserve);
	mempool_exit(&pit->op_pool);
	vfree(pit->pending);
	vfree(pit->claimed);
	vfree(pit->covered);
	bk_fleece_exit(pit);
	vfree(pit->lent);
	bk_pit_repay(pit);
	bk_bits_put(pit->params.only);
	bk_dest_put(pit->dest);
	bk_origin_put(pit->origin);
	kfree(pit);
}

static void bk_pit_free_work(struct work_struct *work)
{
	struct bk_pit *pit = container_of(work, struct bk_pit, free_work);

	if (pit->successor)
		bk_pit_put(pit->successor);
	pit->ops->release(pit);
	bk_pit_free(pit);
}

static void bk_pit_release(struct kref *ref)
{
	struct bk_pit *pit = container_of(ref, struct bk_pit, ref);

	/* The last op may end on a queue of the filter's, under a lock. */
	INIT_WORK(&pit->free_work, bk_pit_free_work);
	queue_work(bk_wq, &pit->free_work);
}

/**
 * bk_pit_put - drop a reference
 * @pit:	the point in time
 *
 * Context: process; does not sleep.
 */
void bk_pit_put(struct bk_pit *pit)
{
	kref_put(&pit->ref, bk_pit_release);
}

/**
 * bk_pit_quit - end what a stopped point in time may still have planned
 * @pit:	the point in time, stopped
 *
 * Context: process, sleeps; not from the filter's copy queue.
 */
void bk_pit_quit(struct bk_pit *pit)
{
	/* Who found it running, and is about to queue retry_work, has done so. */
	spin_lock(&pit->lock);
	spin_unlock(&pit->lock);
	cancel_delayed_work_sync(&pit->retry_work);
}

static void bk_pit_setup(struct bk_pit *pit)
{
	unsigned int i, chunk = pit->params.max_chunk >> pit->shift;

	kref_init(&pit->ref);
	pit->lane_shift = chunk > 1 ? ilog2(roundup_pow_of_two(chunk)) : 0;
	atomic_long_set(&pit->todo, pit->clusters);
	atomic_set(&pit->writers, 1);	/* dropped by bk_pit_replace() */
	pit->lean_until = jiffies;
	spin_lock_init(&pit->lock);
	INIT_LIST_HEAD(&pit->staged);
	INIT_LIST_HEAD(&pit->retry);
	INIT_LIST_HEAD(&pit->unread);
	INIT_DELAYED_WORK(&pit->retry_work, bk_pit_retry_work);
	for (i = 0; i < ARRAY_SIZE(pit->buckets); i++) {
		spin_lock_init(&pit->buckets[i].lock);
		INIT_LIST_HEAD(&pit->buckets[i].ops);
		spin_lock_init(&pit->buckets[i].reader_lock);
		INIT_LIST_HEAD(&pit->buckets[i].readers);
	}
}

/**
 * bk_pit_create - make a point in time, to be installed
 * @origin:	the filter
 * @dest:	where it goes, open
 * @params:	how
 * @ops:	the owner's
 * @owner:	the owner; ops->release drops it
 * @name:	for traces; stays as long as the owner
 * @error:	set on failure: -ENOSPC if the budget is too small, -ENOMEM,
 *		-EFBIG if there would be too many clusters
 *
 * Context: process, may sleep. Return: a reference, or NULL.
 */
struct bk_pit *bk_pit_create(struct bk_origin *origin, struct bk_dest *dest,
			     const struct bk_pit_params *params,
			     const struct bk_pit_ops *ops, void *owner,
			     const char *name, int *error)
{
	u64 clusters = (origin->len + params->cluster - 1) >>
		       ilog2(params->cluster);
	struct bk_pit *pit;

	*error = -EFBIG;
	if (clusters > ULONG_MAX / 2)
		return NULL;
	*error = -ENOMEM;
	pit = kzalloc(sizeof(*pit), GFP_KERNEL);
	if (!pit)
		return NULL;
	pit->origin = origin;
	pit->dest = dest;
	pit->ops = ops;
	pit->owner = owner;
	pit->name = name;
	pit->params = *params;
	pit->len = origin->len;
	pit->shift = ilog2(params->cluster);
	pit->clusters = clusters;
	bk_pit_setup(pit);
	bk_origin_get(origin);
	bk_dest_get(dest);
	if (pit->params.only)
		bk_bits_get(pit->params.only);
	if (params->lender)
		bk_pit_borrow(pit, params->lender);

	pit->pending = bk_map_alloc(clusters, true);
	pit->claimed = bk_map_alloc(clusters, false);
	if (params->only_grows)
		pit->covered = bk_map_alloc(clusters, false);
	if (params->lender)
		pit->lent = bk_map_alloc(clusters, false);
	if (!pit->pending || !pit->claimed ||
	    (params->only_grows && !pit->covered) ||
	    (params->fleece && bk_fleece_init(pit, params->fleece)) ||
	    (params->lender && !pit->lent) ||
	    bk_op_pool_init(&pit->op_pool))
		goto out_free;
	*error = bk_reserve_init(&origin->pool, &pit->reserve,
				 round_up((size_t)params->cluster <<
					  SECTOR_SHIFT, PAGE_SIZE));
	if (*error)
		goto out_free;
	return pit;

out_free:
	bk_pit_free(pit);
	return NULL;
}

/**
 * bk_pit_create_next - make another point in time that is to take this one's place
 * @pit:	the point in time
 * @error:	as bk_pit_create(); -EAGAIN: too many wait for one before to end
 *
 * Of the same owner, which is asked to release this one as well. It writes
 * nothing until this one has ended.
 *
 * Context: process, may sleep. Return: a reference, or NULL.
 */
struct bk_pit *bk_pit_create_next(struct bk_pit *pit, int *error)
{
	unsigned int chain = READ_ONCE(pit->behind) ? pit->chain + 1 : 1;
	struct bk_pit_params params = pit->params;
	struct bk_pit *next;

	/* One that has ended saves nothing. */
	if (params.lender && bk_pit_is_stopped(params.lender))
		params.lender = NULL;
	/* Each keeps its maps: a destination that hangs is not to fill memory. */
	if (chain > BK_PIT_CHAIN) {
		*error = -EAGAIN;
		return NULL;
	}
	next = bk_pit_create(pit->origin, pit->dest, &params, pit->ops,
			     pit->owner, pit->name, error);
	if (next) {
		next->behind = true;
		next->chain = chain;
	}
	return next;
}

/*----------------------------------------------------------------*/
/* The end */

static void bk_pit_empty_bucket(struct bk_pit *pit, struct bk_bucket *bucket,
				struct bio_list *holders)
{
	struct bk_op *op, *next;
	LIST_HEAD(borrowers);
	LIST_HEAD(ended);

	spin_lock(&bucket->lock);
	list_for_each_entry_safe(op, next, &bucket->ops, bucket) {
		bk_holders_take(op, holders);
		if (bk_op_give_up(op, &borrowers))
			list_move(&op->bucket, &ended);
	}
	spin_unlock(&bucket->lock);

	list_for_each_entry_safe(op, next, &ended, bucket)
		bk_op_drop(op);
	bk_borrowers_go_on(pit, &borrowers, false);
}

/* Another one is stopping it: wait for who has found it running yet. */
static void bk_pit_stopped_before(struct bk_pit *pit)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pit->buckets); i++) {
		spin_lock(&pit->buckets[i].lock);
		spin_unlock(&pit->buckets[i].lock);
	}
}

/**
 * bk_pit_stop - stop a point in time, for whatever reason
 * @pit:	the point in time
 *
 * Who waits for it goes. What is staged is dropped; ops whose I/O is in flight
 * end when that does, and their buffers leave the budget. It may still be
 * published; being stopped is enough for writers to pass. When this returns nobody
 * is in a bucket any more who has found it running, whoever else is stopping it.
 *
 * Context: process; neither sleeps nor allocates.
 */
void bk_pit_stop(struct bk_pit *pit)
{
	struct bio_list holders = BIO_EMPTY_LIST;
	unsigned int i;

	/*
	 * A full barrier: whoever finds a bucket or a list without what we
	 * are about to take finds the flag set.
	 */
	if (test_and_set_bit(BK_PIT_STOPPED, &pit->flags)) {
		bk_pit_stopped_before(pit);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(pit->buckets); i++)
		bk_pit_empty_bucket(pit, &pit->buckets[i], &holders);
	bk_holders_kick(pit->origin, &holders);
	pit->origin->ops->stopped(pit->origin);
	bk_origin_io_give_up(pit->origin, pit);
}

/**
 * bk_pit_replace - the cut has been made that puts another one in its place
 * @pit:	the point in time
 * @next:	of bk_pit_create_next()
 *
 * Who waits for this one comes in again, and meets the other. Its writes in
 * flight may be to the same clusters: the other's come later. No op of this one
 * begins once it is stopped.
 *
 * Context: process, sleeps; not from the filter's copy queue.
 */
void bk_pit_replace(struct bk_pit *pit, struct bk_pit *next)
{
	bk_pit_get(next);
	atomic_inc(&next->writers);
	/* before the put below, and so before the last one: a full barrier */
	WRITE_ONCE(pit->successor, next);
	bk_pit_stop(pit);
	bk_pit_quit(pit);
	bk_pit_writer_gone(pit);
}

/**
 * bk_pit_writer_gone - something has ended that might have written
 * @pit:	the point in time; the caller holds it
 *
 * If that was the last one, and another is in its place, that may write.
 *
 * Context: process; does not sleep.
 */
void bk_pit_writer_gone(struct bk_pit *pit)
{
	/* Each holds the next one, and is counted there. */
	while (atomic_dec_and_test(&pit->writers)) {
		pit = pit->successor;
		bk_pit_go_ahead(pit);
	}
}

/**
 * bk_pit_complete - stop a point in time that is on the destination, as a whole
 * @pit:	the point in time; nothing is pending or under way
 *
 * Who reads it goes on, from the destination alone.
 *
 * Context: process; neither sleeps nor allocates.
 */
void bk_pit_complete(struct bk_pit *pit)
{
	/* seen by who sees it stopped: the barrier is bk_pit_stop()'s */
	set_bit(BK_PIT_COMPLETE, &pit->flags);
	bk_pit_stop(pit);
}

/**
 * bk_pit_break - give a point in time up so that a guest goes on
 * @pit:	the point in time
 * @err:	why: negative errno
 *
 * Context: process; neither sleeps nor allocates.
 */
void bk_pit_break(struct bk_pit *pit, int err)
{
	if (bk_pit_is_stopped(pit) ||
	    test_and_set_bit(BK_PIT_BROKEN, &pit->flags))
		return;
	trace_bk_break(pit->name, err);
	bk_pit_stop(pit);
	pit->ops->broken(pit, err);
}

/**
 * bk_pit_kick_holders - send in again who waits for a point in time's copies
 * @pit:	the point in time
 *
 * For when a waiting bio is to be failed or pushed back; others wait again.
 */
void bk_pit_kick_holders(struct bk_pit *pit)
{
	struct bio_list holders = BIO_EMPTY_LIST;
	unsigned int i;
	struct bk_op *op;

	for (i = 0; i < ARRAY_SIZE(pit->buckets); i++) {
		struct bk_bucket *bucket = &pit->buckets[i];

		spin_lock(&bucket->lock);
		list_for_each_entry(op, &bucket->ops, bucket)
			bk_holders_take(op, &holders);
		spin_unlock(&bucket->lock);
	}
	bk_holders_kick(pit->origin, &holders);
}

/**
 * bk_pit_oldest - since when has data been only in memory?
 * @pit:	the point in time
 * @since:	set to jiffies
 *
 * Return: false if there is no such data.
 */
bool bk_pit_oldest(struct bk_pit *pit, unsigned long *since)
{
	struct bk_op *op;

	spin_lock(&pit->lock);
	op = list_first_entry_or_null(&pit->staged, struct bk_op, staged);
	if (op)
		*since = op->staged_at;
	spin_unlock(&pit->lock);
	return op;
}

/**
 * bk_pit_sectors - how many sectors are clusters [@first, @end)?
 * @pit:	the point in time
 * @first:	first cluster
 * @end:	end, exclusive
 */
u64 bk_pit_sectors(struct bk_pit *pit, unsigned long first, unsigned long end)
{
	return min(pit->len, (sector_t)end << pit->shift) -
	       ((sector_t)first << pit->shift);
}

/* Clusters are granules: what is not set is simply not pending. */
static unsigned long bk_pit_narrow_words(struct bk_pit *pit)
{
	const unsigned long *only = pit->params.only->words;
	unsigned long i, n, todo = 0, nr = BITS_TO_LONGS(pit->clusters);

	for (i = 0; i < nr; i += n) {
		n = min(nr - i, 4096UL);
		todo += bk_map_keep_alone(pit->pending + i, only + i, n);
		cond_resched();
	}
	return todo;
}

/* Of any granularity. */
static unsigned long bk_pit_narrow_runs(struct bk_pit *pit)
{
	unsigned long done = 0, first, last, todo = 0;
	sector_t start, end = 0;

	while (bk_bits_next(pit->params.only, end, &start, &end)) {
		/* The last run's last cluster may be this one's first. */
		first = max(done, bk_pit_cluster(pit, start));
		last = bk_pit_cluster(pit, end - 1) + 1;
		if (first > done)
			bk_map_clear_alone(pit->pending, done, first);
		if (last > first)
			todo += last - first;
		done = max(done, last);
		cond_resched();
	}
	if (done < pit->clusters)
		bk_map_clear_alone(pit->pending, done, pit->clusters);
	return todo;
}

/*
 * Keep pending what is in params.only, rounded out. Nobody has claimed
 * anything, and only we change pending: whole words are simply stored.
 * Returns how many sectors that is.
 */
static u64 bk_pit_narrow(struct bk_pit *pit)
{
	unsigned long last = pit->clusters - 1;
	unsigned long todo;
	u64 sectors;

	if (pit->params.only->shift == pit->shift)
		todo = bk_pit_narrow_words(pit);
	else
		todo = bk_pit_narrow_runs(pit);
	atomic_long_set(&pit->todo, todo);
	if (pit->covered)
		memcpy(pit->covered, pit->pending,
		       BITS_TO_LONGS(pit->clusters) * sizeof(long));

	/* The last one may be shorter. */
	sectors = (u64)todo << pit->shift;
	if (pit->pending[BIT_WORD(last)] & BIT_MASK(last))
		sectors -= ((u64)pit->clusters << pit->shift) - pit->len;
	return sectors;
}

/* The next cluster from @from on that is not on the destination. */
static unsigned long bk_pit_next_uncopied(struct bk_pit *pit,
					  unsigned long from)
{
	unsigned long word;

	while (from < pit->clusters) {
		word = READ_ONCE(pit->claimed[BIT_WORD(from)]);
		/*
		 * Pairs with the barrier in bk_op_unclaim(): what was not saved
		 * is pending, or fleeced, before it is claimed no more.
		 */
		smp_rmb();
		word |= READ_ONCE(pit->pending[BIT_WORD(from)]);
		if (pit->fleece.map)
			word |= READ_ONCE(pit->fleece.map[BIT_WORD(from)]);
		word &= BITMAP_FIRST_WORD_MASK(from);
		from = round_down(from, BITS_PER_LONG);
		if (word)
			return from + __ffs(word);
		from += BITS_PER_LONG;
	}
	return pit->clusters;
}

/**
 * bk_pit_uncopied - which parts are not on the destination?
 * @pit:	the point in time, stopped
 * @bits:	they are set here, rounded out, and if the point in time was
 *		narrowed, only as far as they were to be copied
 *
 * What is being written to the destination counts as not there, and what is on the
 * fleece device.
 *
 * Context: process; takes as long as there is to look through.
 */
void bk_pit_uncopied(struct bk_pit *pit, struct bk_bits *bits)
{
	unsigned long i = 0, end;

	for (; (i = bk_pit_next_uncopied(pit, i)) < pit->clusters; i = end) {
		sector_t from = (sector_t)i << pit->shift;
		sector_t to;

		end = i + 1;
		to = from + bk_pit_sectors(pit, i, end);
		if (pit->params.only)
			bk_bits_or_range(bits, pit->params.only, from, to);
		else
			bk_bits_mark(bits, from, to);
		cond_resched();
	}
}

/**
 * bk_pit_drained - the old epoch of the cut has drained: copying may begin
 * @pit:	the point in time
 *
 * Context: process; takes as long as there is to look through.
 * Return: whether that is new.
 */
bool bk_pit_drained(struct bk_pit *pit)
{
	u64 sectors = 0;

	if (bk_pit_is_drained(pit))
		return false;
	if (pit->params.only)
		sectors = bk_pit_narrow(pit);
	/* What the old epoch wrote is there for who finds the bit set. */
	smp_mb__before_atomic();
	set_bit(BK_PIT_DRAINED, &pit->flags);
	if (bk_pit_is_stopped(pit))
		return false;
	if (pit->params.only)
		pit->ops->narrowed(pit, sectors);
	pit->ops->kick(pit);
	return true;
}
