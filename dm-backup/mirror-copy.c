// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keeping a destination the same as the origin. The contract is in
 * mirror-copy.h.
 */

#include "mirror-copy.h"
#include "mirror-write.h"

#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>

/* Zeroes are looked for in pieces of at most that many sectors. */
#define BK_MIRROR_UNIT	128u

/*----------------------------------------------------------------*/
/* Making and freeing */

static void bk_mcopy_free(struct bk_mcopy *mc)
{
	struct bk_mop *op, *next;

	list_for_each_entry_safe(op, next, &mc->idle, list)
		kfree(op);
	bk_mwrite_free(mc);
	bk_bits_put(mc->zero);
	bk_bits_put(mc->bits);
	kfree(mc);
}

static int bk_mcopy_alloc(struct bk_mcopy *mc, sector_t len,
			  const struct bk_mcopy_params *params)
{
	unsigned int i, shift = ilog2(params->granularity);
	struct bk_mop *op;
	int error;

	for (i = 0; i < BK_MIRROR_OPS; i++) {
		op = kzalloc(sizeof(*op), GFP_NOIO);
		if (!op)
			return -ENOMEM;
		list_add_tail(&op->list, &mc->idle);
	}
	if (bk_mwrite_init(mc))
		return -ENOMEM;
	mc->bits = bk_bits_alloc(len, shift, !params->empty, &error);
	if (!mc->bits)
		return error;
	mc->first.wanted = params->zero_target;
	if (!params->target_is_zero && !params->zero_target)
		return 0;
	mc->zero = bk_bits_alloc(len, shift, true, &error);
	return mc->zero ? 0 : error;
}

/**
 * bk_mcopy_create - set up to copy
 * @origin:	the filter
 * @dest:	the destination, open; it gets a user
 * @params:	how
 * @ops:	the owner's
 * @owner:	the owner
 * @error:	set on failure: -ENOMEM, or -EFBIG if there are too many granules
 *
 * Context: process, may sleep. Return: a reference, or NULL.
 */
struct bk_mcopy *bk_mcopy_create(struct bk_origin *origin, struct bk_dest *dest,
				 const struct bk_mcopy_params *params,
				 const struct bk_mcopy_ops *ops, void *owner,
				 int *error)
{
	struct bk_mcopy *mc = kzalloc(sizeof(*mc), GFP_NOIO);

	*error = -ENOMEM;
	if (!mc)
		return NULL;
	INIT_LIST_HEAD(&mc->idle);
	INIT_LIST_HEAD(&mc->busy);
	INIT_LIST_HEAD(&mc->spare);
	INIT_LIST_HEAD(&mc->writes);
	INIT_DELAYED_WORK(&mc->tick, bk_mwrite_tick);
	*error = bk_mcopy_alloc(mc, origin->len, params);
	if (*error) {
		bk_mcopy_free(mc);
		return NULL;
	}
	kref_init(&mc->ref);
	mc->params = *params;
	mc->ops = ops;
	mc->owner = owner;
	mutex_init(&mc->next);
	init_waitqueue_head(&mc->wait);
	spin_lock_init(&mc->lock);
	mc->origin = origin;
	bk_origin_get(origin);
	mc->dest = dest;
	bk_dest_get(dest);
	return mc;
}

static void bk_mcopy_release(struct kref *ref)
{
	struct bk_mcopy *mc = container_of(ref, struct bk_mcopy, ref);
	struct bk_origin *origin = mc->origin;

	bk_dest_put(mc->dest);
	mc->ops->release(mc);
	bk_mcopy_free(mc);
	bk_origin_put(origin);
}

/**
 * bk_mcopy_put - drop a reference
 * @mc:		what copies, or NULL
 *
 * Context: process, may sleep.
 */
void bk_mcopy_put(struct bk_mcopy *mc)
{
	if (mc)
		kref_put(&mc->ref, bk_mcopy_release);
}

/*----------------------------------------------------------------*/
/* A copy's end */

/* Its piece has been read, or will not be; lock is held. */
static void bk_mop_arrived(struct bk_mop *op)
{
	if (op->coming)
		WRITE_ONCE(op->mc->coming,
			   op->mc->coming - op->read.buf.bytes);
	op->coming = false;
}

/*
 * A copy has ended, @ok or not: then what it had taken is dirty again, before it
 * stops to count as being in flight.
 */
static void bk_mop_finish(struct bk_mop *op, bool ok)
{
	struct bio_list holders = BIO_EMPTY_LIST;
	struct bk_mcopy *mc = op->mc;
	size_t bytes = op->read.buf.bytes;
	bool stopped;

	if (!ok)
		bk_bits_set(mc->bits, op->first, op->first + op->nr);
	spin_lock(&mc->lock);
	bk_mop_arrived(op);
	list_del(&op->list);
	bio_list_merge(&holders, &op->holders);
	bio_list_init(&op->holders);
	spin_unlock(&mc->lock);
	bk_mwrite_send_in(mc, &holders);
	bk_read_drop(&op->read);

	spin_lock(&mc->lock);
	mc->flight -= bytes;
	WRITE_ONCE(mc->nr_busy, mc->nr_busy - 1);
	list_add(&op->list, &mc->idle);
	stopped = mc->stopped;
	spin_unlock(&mc->lock);
	if (!stopped)
		mc->ops->ended(mc);
	bk_mcopy_wake(mc);
	bk_mcopy_put(mc);
}

static void bk_mop_failed(struct bk_mop *op, bool write, sector_t sector,
			  blk_status_t status)
{
	struct bk_mcopy *mc = op->mc;

	if (!write && op->nr > 1) {
		/* Not all of it need be bad: that is for each granule to tell. */
		spin_lock(&mc->lock);
		if (mc->careful[0] >= mc->careful[1])
			mc->careful[0] = op->first;
		mc->careful[0] = min(mc->careful[0], op->first);
		mc->careful[1] = max(mc->careful[1], op->first + op->nr);
		spin_unlock(&mc->lock);
	} else if (!READ_ONCE(mc->stopped)) {
		/* Before it ends: who sees it converge has been told. */
		mc->ops->error(mc, write, sector, status);
	}
	bk_mop_finish(op, false);
}

/*----------------------------------------------------------------*/
/* Piece by piece */

static void bk_mop_read_done(struct bk_read *read);
static void bk_mop_write_done(struct bk_write *write);

/* Set the read of the next piece up; its buffer stays, if it has one. */
static void bk_mop_piece(struct bk_mop *op)
{
	struct bk_read *read = &op->read;

	read->sector = op->sector;
	read->sectors = min_t(sector_t, op->end - op->sector,
			      op->mc->params.max_chunk);
	read->pos = 0;
}

/*
 * False: nobody waits for it any more, and it is to end. What is started here
 * bk_mcopy_stop() finds, or we find it stopped.
 */
static bool bk_mop_may_write(struct bk_mop *op)
{
	struct bk_mcopy *mc = op->mc;
	bool go;

	spin_lock(&mc->lock);
	go = !mc->stopped;
	op->writing = true;
	op->since = jiffies;
	bk_mop_arrived(op);
	spin_unlock(&mc->lock);
	return go;
}

/*
 * The same for the read of the next piece, which is queued under the lock: once
 * it is stopped the filter's workqueues may go, and the destination's, on which
 * we run, stays.
 */
static bool bk_mop_read_on(struct bk_mop *op)
{
	struct bk_mcopy *mc = op->mc;
	bool go;

	spin_lock(&mc->lock);
	go = !mc->stopped;
	if (go) {
		op->writing = false;
		op->since = jiffies;
		bk_mop_piece(op);
		bk_read_queue(&op->read);
	}
	spin_unlock(&mc->lock);
	return go;
}

static void bk_mop_write_done(struct bk_write *write)
{
	struct bk_mop *op = container_of(write, struct bk_mop, write);
	struct bk_mcopy *mc = op->mc;

	if (unlikely(write->status)) {
		bk_mop_failed(op, true, write->sector + write->pos,
			      write->status);
		return;
	}
	spin_lock(&mc->lock);
	/* Not if all of it was skipped: then the destination has not been asked. */
	if (write->io.bio.bi_bdev)
		mc->late = false;
	WRITE_ONCE(mc->done, mc->done + write->sectors);
	op->sector += write->sectors;	/* bk_mcopy_left() looks */
	spin_unlock(&mc->lock);
	if (op->sector < op->end && bk_mop_read_on(op))
		return;
	bk_mop_finish(op, op->sector == op->end);
}

static void bk_mop_read_done(struct bk_read *read)
{
	struct bk_mop *op = container_of(read, struct bk_mop, read);
	struct bk_mcopy *mc = op->mc;

	if (unlikely(read->status)) {
		bk_mop_failed(op, false, read->sector + read->pos,
			      read->status);
		return;
	}
	memset(&op->write, 0, sizeof(op->write));
	bk_write_init(&op->write, mc->dest, false, bk_mop_write_done);
	op->write.src = read;
	op->write.sector = read->sector;
	op->write.sectors = read->sectors;
	op->write.unit = min(mc->params.granularity, BK_MIRROR_UNIT);
	op->write.zeroes = &mc->params.zeroes;
	op->write.skip_zeroes = op->skip;
	if (bk_mop_may_write(op))
		bk_write_start(&op->write);
	else
		bk_mop_finish(op, false);
}

/*----------------------------------------------------------------*/
/* Looking for what is to be copied */

/*
 * Where in-flight copies leave of [@first, @end): false if @first is in one, and
 * then it is moved behind that; lock is held.
 */
static bool bk_mcopy_clip(struct bk_mcopy *mc, unsigned long *first,
			  unsigned long *end)
{
	struct bk_mop *op;

	list_for_each_entry(op, &mc->busy, list) {
		if (*first - op->first < op->nr) {
			*first = op->first + op->nr;
			return false;
		}
		if (op->first > *first)
			*end = min(*end, op->first);
	}
	return true;
}

/* The next run of dirty granules from @from on that nobody is copying. */
static bool bk_mcopy_find_from(struct bk_mcopy *mc, unsigned long from,
			       unsigned long *first, unsigned long *end)
{
	struct bk_bits *bits = mc->bits;
	unsigned long most;

	most = max(1UL, (unsigned long)mc->params.max_chunk >> bits->shift);
	for (;;) {
		*first = find_next_bit(bits->words, bits->nr, from);
		if (*first >= bits->nr)
			return false;
		*end = min(bits->nr, *first + most);
		*end = find_next_zero_bit(bits->words, *end, *first);
		spin_lock(&mc->lock);
		from = *first;
		if (bk_mcopy_clip(mc, &from, end))
			break;
		spin_unlock(&mc->lock);
	}
	if (*first >= mc->careful[0] && *first < mc->careful[1])
		*end = *first + 1;
	spin_unlock(&mc->lock);
	return true;
}

static bool bk_mcopy_find(struct bk_mcopy *mc, unsigned long *first,
			  unsigned long *end)
{
	if (bk_mcopy_find_from(mc, mc->cursor, first, end))
		return true;
	return mc->cursor && bk_mcopy_find_from(mc, 0, first, end);
}

/* Is there room for @nr granules more? Then there is a copy to use. */
static struct bk_mop *bk_mcopy_take(struct bk_mcopy *mc, unsigned long nr)
{
	size_t bytes = min_t(u64, (u64)nr << mc->bits->shift,
			     mc->params.max_chunk) << SECTOR_SHIFT;
	struct bk_mop *op = NULL;

	spin_lock(&mc->lock);
	if (!mc->stopped && !mc->held &&
	    (!mc->flight || mc->flight + bytes <= mc->params.buf_size)) {
		op = list_first_entry_or_null(&mc->idle, struct bk_mop, list);
		if (op)
			list_del_init(&op->list);
	}
	spin_unlock(&mc->lock);
	return op;
}

/* A copy that was not started after all. */
static void bk_mcopy_give_back(struct bk_mcopy *mc, struct bk_mop *op)
{
	bk_read_drop(&op->read);
	spin_lock(&mc->lock);
	list_add(&op->list, &mc->idle);
	spin_unlock(&mc->lock);
}

static void bk_mop_init(struct bk_mop *op, struct bk_mcopy *mc,
			unsigned long first, unsigned long end)
{
	unsigned int shift = mc->bits->shift;

	memset(op, 0, sizeof(*op));
	INIT_LIST_HEAD(&op->list);
	op->mc = mc;
	op->first = first;
	op->nr = end - first;
	op->sector = (sector_t)first << shift;
	op->end = min(mc->bits->len, (sector_t)end << shift);
	bk_read_init(&op->read, mc->origin, mc->origin->copy_wq,
		     bk_mop_read_done);
	bk_mop_piece(op);
	op->read.buf.background = true;
	op->read.buf.bytes = round_up((size_t)op->read.sectors << SECTOR_SHIFT,
				      PAGE_SIZE);
}

/* Need zeroes be written? What is known of the destination afterwards: nothing. */
static void bk_mop_zeroes(struct bk_mop *op)
{
	struct bk_mcopy *mc = op->mc;
	unsigned long end = op->first + op->nr;

	op->skip = mc->zero &&
		   find_next_zero_bit(mc->zero->words, end, op->first) >= end;
	if (mc->zero)
		bk_bits_clear(mc->zero, op->first, end);
}

/**
 * bk_mop_begin - no write is in flight in a copy's range: read it
 * @op:		the copy, busy, so none comes
 *
 * Cleared before it is read: a write that does not take its range (mirror-write.h)
 * and ends after this marks it again.
 *
 * Context: process; does not sleep.
 */
void bk_mop_begin(struct bk_mop *op)
{
	bk_bits_clear(op->mc->bits, op->first, op->first + op->nr);
	bk_mop_zeroes(op);
	bk_read_queue(&op->read);
}

/* It has its buffer: take the granules, then read. Returns sectors. */
static int bk_mcopy_start(struct bk_mcopy *mc, struct bk_mop *op)
{
	int sectors = min_t(u64, op->end - op->sector, INT_MAX);
	bool awaits;

	mc->cursor = op->first + op->nr;
	kref_get(&mc->ref);
	spin_lock(&mc->lock);
	list_add(&op->list, &mc->busy);
	mc->flight += op->read.buf.bytes;
	WRITE_ONCE(mc->nr_busy, mc->nr_busy + 1);
	WRITE_ONCE(mc->coming, mc->coming + op->read.buf.bytes);
	op->coming = true;
	awaits = bk_mwrite_overlaps(mc, bk_mop_start(op), op->end);
	op->awaits = awaits;
	spin_unlock(&mc->lock);
	/* In flight first, so that nobody finds it converged in between. */
	if (likely(!awaits))
		bk_mop_begin(op);
	return sectors;
}

/**
 * bk_mcopy_next - start one copy
 * @mc:		what copies
 *
 * Context: process; sleeps for others that do the same.
 * Return: sectors; 0 if nothing is dirty but what is being copied; -EBUSY if there
 * is no room, which a copy's end will change; -EAGAIN if that may change otherwise.
 */
int bk_mcopy_next(struct bk_mcopy *mc)
{
	struct bk_pool *pool = &mc->origin->pool;
	unsigned long first, end;
	struct bk_mop *op = NULL;
	int r;

	if (bk_pool_defer_background(pool))
		return -EAGAIN;
	/* One goes in any case while writers take what room there is. */
	if (!bk_dest_has_room(mc->dest, READ_ONCE(mc->coming)) &&
	    (READ_ONCE(mc->nr_busy) || !READ_ONCE(mc->blocking)))
		return READ_ONCE(mc->nr_busy) ? -EBUSY : -EAGAIN;
	mutex_lock(&mc->next);
	r = -EBUSY;
	if (bk_mzero_next(mc))
		goto out;
	r = 0;
	if (!bk_mcopy_find(mc, &first, &end))
		goto out;
	r = -EBUSY;
	op = bk_mcopy_take(mc, end - first);
	if (!op)
		goto out;
	bk_mop_init(op, mc, first, end);
	r = -EAGAIN;
	if (!bk_buf_get(pool, &op->read.buf)) {
		r = bk_mcopy_start(mc, op);
		op = NULL;
	}
out:
	if (op)
		bk_mcopy_give_back(mc, op);
	mutex_unlock(&mc->next);
	return r;
}

/*----------------------------------------------------------------*/
/* How it stands */

/**
 * bk_mcopy_dirty - sectors that are dirty
 * @mc:		what copies
 *
 * While others mark it may be a little off.
 */
u64 bk_mcopy_dirty(struct bk_mcopy *mc)
{
	long dirty = max(0L, atomic_long_read(&mc->bits->dirty));

	return min((u64)dirty << mc->bits->shift, (u64)mc->bits->len);
}

/**
 * bk_mcopy_left - sectors that are not on the destination yet
 * @mc:		what copies
 */
u64 bk_mcopy_left(struct bk_mcopy *mc)
{
	struct bk_mop *op;
	u64 left = 0;

	spin_lock(&mc->lock);
	list_for_each_entry(op, &mc->busy, list)
		if (!op->awaits)	/* else it is dirty yet */
			left += op->end - op->sector;
	spin_unlock(&mc->lock);
	return left + bk_mcopy_dirty(mc);
}

/**
 * bk_mcopy_doubt - what has been copied may be lost
 * @mc:		what copies
 *
 * A device that fails a flush may do so once, and have dropped any of what was
 * written to it: all is to be copied again.
 *
 * Context: process, may sleep; takes as long as there are bits. Not while the gate is
 * closed.
 */
void bk_mcopy_doubt(struct bk_mcopy *mc)
{
	if (mc->zero)
		bk_bits_clear_many(mc->zero, 0, mc->zero->nr);
	bk_bits_set_many(mc->bits, 0, mc->bits->nr);
}

/**
 * bk_mcopy_is_idle - is no copy in flight?
 * @mc:		what copies
 */
bool bk_mcopy_is_idle(struct bk_mcopy *mc)
{
	return !READ_ONCE(mc->nr_busy);
}

/**
 * bk_mcopy_is_converged - is the destination the same, but for writes in flight?
 * @mc:		what copies
 */
bool bk_mcopy_is_converged(struct bk_mcopy *mc)
{
	bool converged;

	/* A copy is in flight before it clears bits, and sets them before it ends. */
	spin_lock(&mc->lock);
	converged = !mc->nr_busy && !atomic_long_read(&mc->bits->dirty);
	spin_unlock(&mc->lock);
	return converged;
}

/*----------------------------------------------------------------*/
/* The end */

/**
 * bk_mcopy_finish - copy the rest
 * @mc:		what copies; the gate is closed, so there will be no more
 * @end:	jiffies by which it has to be done
 * @go_on:	asked now and then; if it says no, it is given up
 *
 * Context: process, sleeps; allocates nothing that waits.
 * Return: 0; -ETIMEDOUT; -ECANCELED if it was given up.
 */
int bk_mcopy_finish(struct bk_mcopy *mc, unsigned long end,
		    bool (*go_on)(struct bk_mcopy *mc))
{
	int r;

	/*
	 * Writes first: they only get fewer, and one whose leg fails marks before it
	 * is counted no more. In the other order that mark would be missed.
	 */
	while (READ_ONCE(mc->nr_writes) || !bk_mcopy_is_converged(mc)) {
		if (!go_on(mc))
			return -ECANCELED;
		if (time_after_eq(jiffies, end))
			return -ETIMEDOUT;
		r = bk_mcopy_next(mc);
		/* Missing a wake-up costs no more than this. */
		if (r <= 0)
			wait_event_timeout(mc->wait, bk_mcopy_is_idle(mc) &&
					   !READ_ONCE(mc->nr_writes),
					   HZ / 100 + 1);
	}
	return 0;
}

/**
 * bk_mcopy_hold - start no copies for now, or again
 * @mc:		what copies
 * @hold:	which
 */
void bk_mcopy_hold(struct bk_mcopy *mc, bool hold)
{
	spin_lock(&mc->lock);
	mc->held = hold;
	spin_unlock(&mc->lock);
}

/* Stop a copy that only waits for something; lock is held. */
static bool bk_mop_cancel(struct bk_mop *op)
{
	if (op->awaits) {
		op->awaits = false;
		return true;
	}
	if (op->writing)
		return bk_write_cancel(&op->write);
	return bk_read_cancel(&op->read);
}

/**
 * bk_mcopy_stop - nothing is copied any more
 * @mc:		what copies
 *
 * Context: process; does not sleep.
 */
void bk_mcopy_stop(struct bk_mcopy *mc)
{
	struct bk_mop *op, *next;
	LIST_HEAD(ended);

	spin_lock(&mc->lock);
	WRITE_ONCE(mc->stopped, true);
	list_for_each_entry_safe(op, next, &mc->busy, list) {
		if (op->given_up)
			continue;
		if (bk_mop_cancel(op)) {
			list_move(&op->list, &ended);
			continue;
		}
		op->given_up = true;
		bk_read_give_up(&op->read);
	}
	spin_unlock(&mc->lock);
	list_for_each_entry_safe(op, next, &ended, list)
		bk_mop_finish(op, false);
	bk_mwrite_stop(mc);
}
