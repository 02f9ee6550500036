// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who reads a point in time. The contract is in reader.h.
 */

#include "reader.h"
#include "lend.h"

#include <linux/delay.h>
#include <linux/highmem.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/vmalloc.h>

/* How often a discard looks whether what is under way has ended. */
#define BK_DISCARD_TICK_MS	10

/*----------------------------------------------------------------*/
/* Where is it? All of this under the bucket's lock. */

/* How far is it needed, or being read with nothing in the buffer yet? */
static unsigned long bk_pit_unread_end(struct bk_pit *pit,
				       struct bk_bucket *bucket,
				       unsigned long first, unsigned long end)
{
	unsigned long run_end;

	while (first < end) {
		struct bk_op *op = NULL;

		if (bk_map_next_run(pit->pending, pit->claimed, first, end,
				    &run_end) == first) {
			first = run_end;
			continue;
		}
		if (test_bit(first, pit->claimed))
			op = bk_op_find(bucket, first);
		/* What is being moved may have been overwritten there. */
		if (!op || op->state != BK_OP_READING ||
		    op->kind == BK_OP_MOVE)
			break;
		first = op->first + op->nr;
	}
	return min(first, end);
}

/* Is @first on the fleece device only? What is being moved is. */
static bool bk_pit_is_fleeced(const struct bk_pit *pit, unsigned long first)
{
	return pit->fleece.map && test_bit(first, pit->fleece.map);
}

/* Where is the saved copy of @first, and of what is saved there too up to *@end? */
static struct bk_dest *bk_pit_saved_on(struct bk_pit *pit, unsigned long first,
				       unsigned long *end)
{
	if (bk_pit_is_fleeced(pit, first)) {
		*end = find_next_zero_bit(pit->fleece.map, *end, first);
		return pit->fleece.dest;
	}
	*end = find_next_bit(pit->pending, *end, first);
	*end = find_next_bit(pit->claimed, *end, first);
	if (pit->fleece.map)
		*end = find_next_bit(pit->fleece.map, *end, first);
	return bk_pit_borrowed_on(pit, first, end);
}

/*
 * Where is @r's first cluster to be had, and the same up to its end, which is made
 * less if need be? *@op: the op whose buffer it is in.
 */
static enum bk_source bk_pit_source(struct bk_pit *pit,
				    struct bk_bucket *bucket,
				    struct bk_reader *r, struct bk_op **op)
{
	unsigned long first = r->first, *end = &r->end;
	const unsigned long *covered = READ_ONCE(pit->covered);

	if (!bk_pit_is_readable(pit))
		return BK_SOURCE_NONE;
	if (covered) {
		if (!test_bit(first, covered))
			return BK_SOURCE_NONE;
		*end = find_next_zero_bit(covered, *end, first);
	}
	if (bk_pit_is_fleeced(pit, first)) {
		r->dest = bk_pit_saved_on(pit, first, end);
		return BK_SOURCE_FLEECE;
	}
	if (test_bit(first, pit->claimed)) {
		*op = bk_op_find(bucket, first);
		if (*op && (*op)->state != BK_OP_READING) {
			*end = min(*end, (*op)->first + (*op)->nr);
			return BK_SOURCE_MEMORY;
		}
	} else if (!test_bit(first, pit->pending)) {
		r->dest = bk_pit_saved_on(pit, first, end);
		return BK_SOURCE_DEST;
	}
	*end = bk_pit_unread_end(pit, bucket, first, *end);
	return BK_SOURCE_ORIGIN;
}

/*----------------------------------------------------------------*/

/**
 * bk_reader_begin - a read of a range begins
 * @r:		the reader; source says where to read
 * @pit:	the point in time, held by the caller
 * @start:	first sector
 * @end:	end of the range, exclusive
 *
 * Unless the source is none, bk_reader_end() follows.
 *
 * Context: process; does not sleep.
 * Return: how many sectors from @start on are to be read there.
 */
unsigned int bk_reader_begin(struct bk_reader *r, struct bk_pit *pit,
			     sector_t start, sector_t end)
{
	unsigned long first = bk_pit_cluster(pit, start);
	struct bk_bucket *bucket = bk_pit_bucket(pit, first);
	struct bk_op *op = NULL;

	r->pit = pit;
	r->first = first;
	r->end = min(bk_pit_cluster(pit, end - 1) + 1,
		     bk_pit_lane_end(pit, first));
	r->awaited = false;
	r->dest = NULL;

	spin_lock(&bucket->lock);
	r->source = bk_pit_source(pit, bucket, r, &op);
	if (r->dest)
		bk_dest_get(r->dest);
	if (r->source == BK_SOURCE_MEMORY) {
		/* One more user: the buffer stays, in the budget or not. */
		r->base = op->base;
		kref_get(&r->base->ref);
		atomic_inc(&r->base->read.live);
	} else if (r->source != BK_SOURCE_NONE) {
		spin_lock_irq(&bucket->reader_lock);
		list_add(&r->list, &bucket->readers);
		spin_unlock_irq(&bucket->reader_lock);
	}
	spin_unlock(&bucket->lock);
	return min(end, (sector_t)r->end << pit->shift) - start;
}

/**
 * bk_reader_copy - fill a bio from an op's buffer
 * @r:		its reader; source is memory
 * @bio:	the bio
 *
 * Context: process; does not sleep.
 */
void bk_reader_copy(struct bk_reader *r, struct bio *bio)
{
	struct bk_read *read = &r->base->read;
	size_t skip = (size_t)(bio->bi_iter.bi_sector - read->sector)
		      << SECTOR_SHIFT;
	struct bio_vec *from = read->buf.vec;
	struct bvec_iter iter;
	struct bio_vec to;

	bio_for_each_segment(to, bio, iter) {
		char *dst = bvec_kmap_local(&to);
		unsigned int done = 0;

		while (done < to.bv_len) {
			unsigned int n;

			while (skip >= from->bv_len)
				skip -= from++->bv_len;
			n = min_t(size_t, to.bv_len - done,
				  from->bv_len - skip);
			/* lowmem, as in bk_buf_is_zero() */
			memcpy(dst + done,
			       page_address(from->bv_page) + skip, n);
			done += n;
			skip += n;
		}
		kunmap_local(dst);
		flush_dcache_page(to.bv_page);
	}
}

/* The buffer is not used any more. */
static void bk_reader_put_base(struct bk_op *base)
{
	/* As in bk_op_finish(): who is left may all have been given up. */
	if (kref_read(&base->ref) > 1)
		bk_read_leave(&base->read);
	bk_op_put(base);
}

/**
 * bk_reader_end - a read has ended
 * @r:		the reader
 * @status:	of the read; becomes an error if the point in time was given up, as
 *		what was read may be newer
 *
 * Context: any; process, if source is memory.
 * Return: bk_pit_unread() is to be called, in process context.
 */
bool bk_reader_end(struct bk_reader *r, blk_status_t *status)
{
	struct bk_bucket *bucket = bk_pit_bucket(r->pit, r->first);
	unsigned long flags;
	bool awaited;

	/*
	 * Data first, then the flag: a write that was let go by bk_pit_stop()
	 * comes after the flag was set. Pairs with the barrier there.
	 */
	smp_rmb();
	if (!bk_pit_is_readable(r->pit))
		*status = BLK_STS_IOERR;
	if (r->source == BK_SOURCE_MEMORY) {
		bk_reader_put_base(r->base);
		return false;
	}
	spin_lock_irqsave(&bucket->reader_lock, flags);
	list_del(&r->list);
	awaited = r->awaited;
	spin_unlock_irqrestore(&bucket->reader_lock, flags);
	if (r->dest)
		bk_dest_put(r->dest);
	return awaited;
}

/**
 * bk_readers_await - who reads clusters of a device is to tell its end
 * @bucket:	of the clusters; its lock is held
 * @first:	first cluster
 * @end:	end, exclusive
 * @dest:	who reads this one; NULL: any device
 *
 * Return: whether there is any. Those of the destination count as any: the clusters
 * of an op that has read the origin have none.
 */
bool bk_readers_await(struct bk_bucket *bucket, unsigned long first,
		      unsigned long end, struct bk_dest *dest)
{
	struct bk_reader *r;
	bool any = false;

	spin_lock_irq(&bucket->reader_lock);
	list_for_each_entry(r, &bucket->readers, list) {
		if (r->first >= end || r->end <= first ||
		    (dest && r->dest != dest))
			continue;
		r->awaited = true;
		any = true;
	}
	spin_unlock_irq(&bucket->reader_lock);
	return any;
}

/*----------------------------------------------------------------*/
/* What can be read */

static void bk_pit_cover_bits(struct bk_pit *pit, unsigned long *covered)
{
	sector_t start, end = 0;

	while (bk_bits_next(pit->params.only, end, &start, &end)) {
		bk_map_set(covered, bk_pit_cluster(pit, start),
			   bk_pit_cluster(pit, end - 1) + 1);
		cond_resched();
	}
}

/* Make the map of what can be read, if there is none. */
static int bk_pit_make_covered(struct bk_pit *pit)
{
	unsigned int noio;
	unsigned long *map;

	if (READ_ONCE(pit->covered))
		return 0;
	noio = memalloc_noio_save();
	map = bk_map_alloc(pit->clusters, !pit->params.only);
	memalloc_noio_restore(noio);
	if (!map)
		return -ENOMEM;
	if (pit->params.only)
		bk_pit_cover_bits(pit, map);
	/* A full barrier: who sees the map sees its bits. Another may be first. */
	if (cmpxchg(&pit->covered, NULL, map))
		vfree(map);
	return 0;
}

/**
 * bk_pit_cover - know what can be read
 * @pit:	the point in time; its cut's old epoch has drained
 *
 * Context: process, may sleep. Return: 0 or -ENOMEM.
 */
int bk_pit_cover(struct bk_pit *pit)
{
	return pit->params.only ? bk_pit_make_covered(pit) : 0;
}

/*----------------------------------------------------------------*/
/* Discards */

/*
 * Clusters [first, end) of one lane are done with. True if nothing is under way
 * there any more, and nothing is read.
 */
static bool bk_lane_discard(struct bk_pit *pit, unsigned long first,
			    unsigned long end)
{
	struct bk_bucket *bucket = bk_pit_bucket(pit, first);
	unsigned long at = first, run_end;
	u64 sectors = 0;
	bool idle;

	spin_lock(&bucket->lock);
	bk_map_clear(pit->covered, first, end);
	idle = !bk_readers_await(bucket, first, end, NULL);
	while (idle && !bk_pit_is_stopped(pit)) {
		at = bk_map_next_run(pit->pending, pit->claimed, at, end,
				     &run_end);
		if (at >= end)
			break;
		/* Nothing was copied and nobody reads: writes may go. */
		bk_map_clear_release(pit->pending, at, run_end);
		atomic_long_sub(run_end - at, &pit->todo);
		sectors += bk_pit_sectors(pit, at, run_end);
		at = run_end;
	}
	if (idle && !bk_pit_is_stopped(pit))
		sectors += bk_fleece_drop(pit, first, end);
	idle &= find_next_bit(pit->claimed, end, first) >= end &&
		find_next_bit(pit->pending, end, first) >= end;
	spin_unlock(&bucket->lock);
	if (sectors)
		pit->ops->dropped(pit, sectors);
	return idle;
}

/*
 * The same for any clusters: from where on that is not so, or @end. All of them have
 * left the job.
 */
static unsigned long bk_clusters_discard(struct bk_pit *pit,
					 unsigned long first, unsigned long end)
{
	unsigned long lane_end, busy = end;

	for (; first < end; first = lane_end) {
		lane_end = min(end, bk_pit_lane_end(pit, first));
		if (!bk_lane_discard(pit, first, lane_end))
			busy = min(busy, first);
		cond_resched();
	}
	return busy;
}

/* Let a device give the space of clusters back, if it can. */
static int bk_pit_free_space(struct bk_pit *pit, struct bk_dest *dest,
			     unsigned long first, unsigned long end)
{
	unsigned int noio = memalloc_noio_save();
	int r;

	r = blkdev_issue_discard(dest->bdev.bdev, (sector_t)first << pit->shift,
				 bk_pit_sectors(pit, first, end), GFP_NOIO);
	memalloc_noio_restore(noio);
	return r == -EOPNOTSUPP ? 0 : r;
}

/*
 * The destination may have clusters [first, last) back; but for those that never
 * were the job's: there it may hold what an earlier backup has left.
 */
static int bk_pit_give_back(struct bk_pit *pit, unsigned long first,
			    unsigned long last)
{
	sector_t start, end, at, limit;
	unsigned long from;
	int r = 0;

	/* What others have borrowed stays, and what may not be ours. */
	if (atomic_read(&pit->borrowers) || pit->params.only_grows)
		return 0;
	if (!pit->params.only)
		return bk_pit_free_space(pit, pit->dest, first, last);
	at = (sector_t)first << pit->shift;
	limit = at + bk_pit_sectors(pit, first, last);
	while (!r && first < last &&
	       bk_bits_next(pit->params.only, at, &start, &end) &&
	       start < limit) {
		from = max(first, bk_pit_cluster(pit, start));
		first = min(last, bk_pit_cluster(pit, end - 1) + 1);
		r = bk_pit_free_space(pit, pit->dest, from, first);
		at = (sector_t)first << pit->shift;
		cond_resched();
	}
	return r;
}

/* Clusters leave the job, and what is under way there ends. As bk_pit_discard(). */
static int bk_pit_leave(struct bk_pit *pit, unsigned long first,
			unsigned long last, unsigned long patience)
{
	unsigned long by = jiffies + patience;

	for (;;) {
		first = bk_clusters_discard(pit, first, last);
		if (!bk_pit_is_readable(pit))
			return -EIO;
		if (first >= last)
			return 0;
		if (fatal_signal_pending(current))
			return -EINTR;
		if (patience && time_after_eq(jiffies, by))
			return -ETIME;
		msleep(BK_DISCARD_TICK_MS);
	}
}

/**
 * bk_pit_discard - a reader is done with a range
 * @pit:	the point in time; its job allows that
 * @start:	first sector
 * @end:	end of the range, exclusive; what is not a whole cluster stays
 * @patience:	how long to wait, in jiffies; 0: no limit
 *
 * Copies that are under way in the range, and reads of it, are waited for. A copy
 * takes as long as its device, or waits for the job to be resumed.
 *
 * Context: process, sleeps; killably.
 * Return: 0; -ETIME: the range has left the job, but not all of it has been given
 * back; -EIO if the point in time was given up; -ENOMEM; -EINTR; what the
 * destination says.
 */
int bk_pit_discard(struct bk_pit *pit, sector_t start, sector_t end,
		   unsigned long patience)
{
	unsigned long last = end == pit->len ? pit->clusters : end >> pit->shift;
	unsigned long first = bk_pit_cluster(pit, start + (1 << pit->shift) - 1);
	struct bk_dest *fleece;
	int r;

	if (first >= last)
		return 0;
	r = bk_pit_make_covered(pit);
	if (r)
		return r;
	/* Now: when nothing is left to move the job lets go of it. */
	fleece = bk_fleece_get(pit);
	r = bk_pit_leave(pit, first, last, patience);
	if (!r && fleece)
		bk_pit_free_space(pit, fleece, first, last);
	if (fleece)
		bk_dest_put(fleece);
	return r ?: bk_pit_give_back(pit, first, last);
}
