// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes that go to a mirror's destination as well. The contract is in
 * mirror-write.h.
 */

#include "mirror-write.h"
#include "cfg.h"

#include <linux/blk-crypto.h>
#include <linux/highmem.h>
#include <linux/slab.h>

/* How often it looks who waits for the destination too long. */
#define BK_MWRITE_TICK		msecs_to_jiffies(50)

/* How long it is waited for when a suspend is to give waiting bios back. */
#define BK_MWRITE_NOFLUSH	HZ

/* The destination's leg of a write of data: as it is, zero or not. Never changed. */
static enum bk_zeroes bk_mwrite_as_data = BK_ZEROES_OFF;

static void bk_mwrite_origin_work(struct work_struct *work);

/**
 * bk_mwrite_init - make what writes need to go both ways
 * @mc:		the mirror, not in use yet
 *
 * Context: process, may sleep. Return: 0 or -ENOMEM; bk_mwrite_free() is to be
 * called in any case.
 */
int bk_mwrite_init(struct bk_mcopy *mc)
{
	struct bk_mwrite *op;
	unsigned int i;

	for (i = 0; i < BK_MIRROR_WRITES; i++) {
		op = kzalloc(sizeof(*op), GFP_NOIO);
		if (!op)
			return -ENOMEM;
		op->mc = mc;
		INIT_WORK(&op->work, bk_mwrite_origin_work);
		list_add_tail(&op->list, &mc->spare);
	}
	return 0;
}

/**
 * bk_mwrite_free - the opposite
 * @mc:		the mirror, whose last reference has gone
 */
void bk_mwrite_free(struct bk_mcopy *mc)
{
	struct bk_mwrite *op, *next;

	list_for_each_entry_safe(op, next, &mc->spare, list)
		kfree(op);
}

/*----------------------------------------------------------------*/
/* Bios that wait */

/**
 * bk_mwrite_send_in - send bios in again that waited
 * @mc:		the mirror
 * @bios:	the bios; empty afterwards
 *
 * Context: process; does not sleep.
 */
void bk_mwrite_send_in(struct bk_mcopy *mc, struct bio_list *bios)
{
	struct bio *bio;

	while ((bio = bio_list_pop(bios))) {
		struct bk_bio *pb = dm_per_bio_data(bio, sizeof(*pb));

		queue_work(mc->origin->cow_wq, &pb->work);
	}
}

static void bk_mwrite_take(struct bio_list *bios, struct bio_list *from)
{
	bio_list_merge(bios, from);
	bio_list_init(from);
}

/* Take all bios that wait, wherever they do; lock is held. */
static void bk_mwrite_take_waiting(struct bk_mcopy *mc, struct bio_list *bios)
{
	struct bk_mwrite *op;
	struct bk_mop *copy;

	bk_mwrite_take(bios, &mc->queue);
	list_for_each_entry(op, &mc->writes, list)
		bk_mwrite_take(bios, &op->holders);
	list_for_each_entry(copy, &mc->busy, list)
		bk_mwrite_take(bios, &copy->holders);
}

/**
 * bk_mwrite_kick - send all waiting bios in again
 * @mc:		the mirror
 *
 * Context: process; does not sleep.
 */
void bk_mwrite_kick(struct bk_mcopy *mc)
{
	struct bio_list bios = BIO_EMPTY_LIST;

	spin_lock(&mc->lock);
	bk_mwrite_take_waiting(mc, &bios);
	spin_unlock(&mc->lock);
	bk_mwrite_send_in(mc, &bios);
}

/*----------------------------------------------------------------*/
/* Admission */

/* Does it take part at all? Lock is held. */
static bool bk_mwrite_wanted(struct bk_mcopy *mc)
{
	return !mc->stopped && !mc->held && !mc->late && !mc->ops->paused(mc);
}

static size_t bk_mwrite_bytes(struct bio *bio)
{
	return bio_op(bio) == REQ_OP_WRITE ?
	       round_up((size_t)bio->bi_iter.bi_size, PAGE_SIZE) : 0;
}

/* What the buffers of all writes may take: a quarter of the budget. */
static size_t bk_mwrite_limit(struct bk_mcopy *mc)
{
	return READ_ONCE(mc->origin->pool.limit) / 4;
}

/**
 * bk_mwrite_overlaps - is any write in flight in a range?
 * @mc:		the mirror; lock is held
 * @start:	first sector
 * @end:	end of the range, exclusive
 */
bool bk_mwrite_overlaps(struct bk_mcopy *mc, sector_t start, sector_t end)
{
	struct bk_mwrite *op;

	list_for_each_entry(op, &mc->writes, list)
		if (op->start < end && start < op->end)
			return true;
	return false;
}

/* Is any of the writes in a range one whose writer does not wait for it? Lock is held. */
static bool bk_mwrite_let_go_in(struct bk_mcopy *mc, sector_t start,
				sector_t end)
{
	struct bk_mwrite *op;

	list_for_each_entry(op, &mc->writes, list)
		if (!op->bio && op->start < end && start < op->end)
			return true;
	return false;
}

/*
 * Is @bio to wait? If so, *@list is where. *@plain: it is to go to the origin, as if
 * the mode were background. Lock is held.
 */
static bool bk_mwrite_must_wait(struct bk_mcopy *mc, struct bio *bio,
				struct bio_list **list, bool *plain)
{
	sector_t start = bio->bi_iter.bi_sector, end = bio_end_sector(bio);
	size_t bytes = bk_mwrite_bytes(bio);
	struct bk_mwrite *op;
	struct bk_mop *copy;

	*plain = !bk_mwrite_wanted(mc);
	if (*plain)
		return false;
	list_for_each_entry(copy, &mc->busy, list) {
		*list = &copy->holders;
		if (bk_mop_start(copy) >= end || start >= copy->end)
			continue;
		/* It begins after what it awaits, which may take any time. */
		*plain = copy->awaits &&
			 bk_mwrite_let_go_in(mc, bk_mop_start(copy), copy->end);
		return !*plain;
	}
	list_for_each_entry(op, &mc->writes, list) {
		if (op->start >= end || start >= op->end)
			continue;
		/* A leg whose writer did not wait for it may take any time. */
		*plain = !op->bio;
		*list = &op->holders;
		return !*plain;
	}
	*list = &mc->queue;
	/* One that is too large for a buffer needs none: bk_mwrite_leg(). */
	return list_empty(&mc->spare) ||
	       (bytes <= bk_mwrite_limit(mc) &&
		mc->write_bytes + bytes > bk_mwrite_limit(mc));
}

/* What is to go to the destination? Lock is held. */
static enum bk_mleg bk_mwrite_leg(struct bk_mcopy *mc, struct bio *bio)
{
	unsigned long first = bio->bi_iter.bi_sector >> mc->bits->shift;
	unsigned long end = ((bio_end_sector(bio) - 1) >> mc->bits->shift) + 1;

	if (find_next_zero_bit(mc->bits->words, end, first) >= end)
		return BK_MLEG_NONE;
	if (bio_op(bio) == REQ_OP_WRITE_ZEROES)
		return READ_ONCE(mc->params.zeroes) == BK_ZEROES_OFF ?
		       BK_MLEG_NONE : BK_MLEG_ZEROES;
	if (bio_op(bio) != REQ_OP_WRITE || bio_has_crypt_ctx(bio) ||
	    bio->bi_opf & (REQ_INTEGRITY | BK_REQ_ATOMIC) ||
	    bk_mwrite_bytes(bio) > bk_mwrite_limit(mc))
		return BK_MLEG_NONE;
	return BK_MLEG_DATA;
}

static void bk_mwrite_buf_ready(struct bk_buf *buf)
{
}

/* A buffer, if there is one now. */
static bool bk_mwrite_get_buf(struct bk_mwrite *op)
{
	struct bk_pool *pool = &op->mc->origin->pool;
	struct bk_buf *buf = &op->read.buf;

	while (bk_buf_get(pool, buf))
		if (bk_buf_cancel(pool, buf))
			return false;
	return true;
}

/* Set up an op that has been taken for @bio; lock is held. */
static void bk_mwrite_begin(struct bk_mwrite *op, struct bk_instance *in,
			    struct bio *bio)
{
	struct bk_mcopy *mc = op->mc;

	list_move(&op->list, &mc->writes);
	WRITE_ONCE(mc->nr_writes, mc->nr_writes + 1);
	kref_get(&mc->ref);
	op->in = in;
	op->bio = bio;
	op->start = bio->bi_iter.bi_sector;
	op->end = bio_end_sector(bio);
	op->since = jiffies;
	op->leg = bk_mwrite_leg(mc, bio);
	op->bytes = op->leg == BK_MLEG_DATA ? bk_mwrite_bytes(bio) : 0;
	mc->write_bytes += op->bytes;
	op->origin_ended = false;
	op->dest_ended = false;
	bio_list_init(&op->holders);
	/* Until it stops, or nothing is in flight any more. */
	queue_delayed_work(mc->origin->cow_wq, &mc->tick, BK_MWRITE_TICK);
}

/**
 * bk_mwrite_admit - a write may go; is it to go both ways, and can it now?
 * @mc:		the mirror
 * @pb:		the bio's data; mw is set, to NULL if it goes to the origin only
 * @bio:	the bio, counted in the gate
 *
 * Context: process, under RCU; does not sleep. Return: false if it has to wait:
 * it is to leave the gate, and to call bk_mwrite_wait().
 */
bool bk_mwrite_admit(struct bk_mcopy *mc, struct bk_bio *pb, struct bio *bio)
{
	struct bk_mwrite *op = NULL;
	struct bio_list *list;
	bool wait, plain;

	spin_lock(&mc->lock);
	wait = bk_mwrite_must_wait(mc, bio, &list, &plain);
	if (!wait && !plain) {
		op = list_first_entry(&mc->spare, struct bk_mwrite, list);
		bk_mwrite_begin(op, pb->in, bio);
	}
	spin_unlock(&mc->lock);
	pb->mw = op;
	if (!op)
		return !wait;

	memset(&op->read, 0, sizeof(op->read));
	bk_read_init(&op->read, mc->origin, mc->origin->cow_wq, NULL);
	op->read.sector = op->start;
	op->read.buf.ready = bk_mwrite_buf_ready;
	op->read.buf.bytes = op->bytes;
	if (op->leg == BK_MLEG_DATA && !bk_mwrite_get_buf(op))
		op->leg = BK_MLEG_NONE;
	return true;
}

/**
 * bk_mwrite_wait - wait for what keeps a write from being admitted
 * @mc:		the mirror
 * @pb:		the bio's data
 * @bio:	the bio, not counted
 *
 * Context: process; does not sleep.
 * Return: false if nothing does any more: it is to look again.
 */
bool bk_mwrite_wait(struct bk_mcopy *mc, struct bk_bio *pb, struct bio *bio)
{
	struct bio_list *list;
	bool wait, plain;

	spin_lock(&mc->lock);
	wait = bk_mwrite_must_wait(mc, bio, &list, &plain) &&
	       !dm_noflush_suspending(pb->in->ti);
	if (wait) {
		bio_list_add(list, bio);
		queue_delayed_work(mc->origin->cow_wq, &mc->tick,
				   BK_MWRITE_TICK);
	}
	spin_unlock(&mc->lock);
	return wait;
}

/*----------------------------------------------------------------*/
/* The end of a write */

/* Tell the writer. */
static void bk_mwrite_tell(struct bio_list *bios)
{
	struct bio *bio;

	while ((bio = bio_list_pop(bios)))
		bio_endio(bio);
}

/* The bio is as it was, and goes on @bios, for bk_mwrite_tell(); lock is held. */
static void bk_mwrite_release_bio(struct bk_mwrite *op, struct bio_list *bios)
{
	struct bio *bio = op->bio;

	if (!bio)
		return;
	op->bio = NULL;
	bio->bi_io_vec = op->vec;
	bio->bi_iter = op->iter;
	bio->bi_end_io = op->end_io;
	bio->bi_status = op->status;
	bio_list_add(bios, bio);
}

/*
 * Its writer does not wait for the destination any more, which may have the data or
 * not, and keeps buffer and range; lock is held.
 */
static void bk_mwrite_let_go(struct bk_mwrite *op, struct bio_list *bios)
{
	struct bk_bits *bits = op->mc->bits;

	if (!op->origin_ended || !op->bio)
		return;
	bk_bits_mark(bits, op->start, op->end);
	bk_mwrite_release_bio(op, bios);
	bk_read_give_up(&op->read);
}

/*
 * Copies that waited for writes in their range, and need not any more, begin. Lock is
 * held: what is begun here is queued before the mirror stops, or not at all.
 */
static void bk_mwrite_begin_copies(struct bk_mcopy *mc)
{
	struct bk_mop *copy;

	list_for_each_entry(copy, &mc->busy, list)
		if (copy->awaits && !bk_mwrite_overlaps(mc, bk_mop_start(copy),
							copy->end)) {
			copy->awaits = false;
			bk_mop_begin(copy);
		}
}

/* An op can be used again: one that waits for that may be in luck; lock is held. */
static void bk_mwrite_put_back(struct bk_mwrite *op, struct bio_list *again)
{
	struct bk_mcopy *mc = op->mc;
	struct bio *bio;

	list_add(&op->list, &mc->spare);
	WRITE_ONCE(mc->nr_writes, mc->nr_writes - 1);
	mc->write_bytes -= op->bytes;
	bio = bio_list_pop(&mc->queue);
	if (bio)
		bio_list_add(again, bio);
	/* If it finds something else to wait for, nobody would ask the others. */
	if (!mc->nr_writes)
		bk_mwrite_take(again, &mc->queue);
}

/* Both legs have ended. */
static void bk_mwrite_finish(struct bk_mwrite *op)
{
	struct bio_list told = BIO_EMPTY_LIST, again = BIO_EMPTY_LIST;
	struct bk_mcopy *mc = op->mc;

	spin_lock(&mc->lock);
	list_del(&op->list);	/* nobody gives the buffer up from here on */
	bk_mwrite_release_bio(op, &told);
	bk_mwrite_take(&again, &op->holders);
	bk_mwrite_begin_copies(mc);
	spin_unlock(&mc->lock);
	bk_read_drop(&op->read);
	bk_mwrite_tell(&told);

	spin_lock(&mc->lock);
	bk_mwrite_put_back(op, &again);
	spin_unlock(&mc->lock);
	bk_mwrite_send_in(mc, &again);
	if (!READ_ONCE(mc->nr_writes) && !READ_ONCE(mc->stopped) &&
	    mc->ops->paused(mc))
		mc->ops->ended(mc);
	wake_up_all(&mc->wait);
	bk_mcopy_put(mc);
}

/* What the destination has not got is dirty, before the write stops to count. */
static void bk_mwrite_leg_failed(struct bk_mwrite *op)
{
	blk_status_t status = op->write.status;
	struct bk_mcopy *mc = op->mc;

	bk_bits_mark(mc->bits, op->start, op->end);
	if (op->leg == BK_MLEG_ZEROES &&
	    (status == BLK_STS_NOTSUPP || status == BLK_STS_TARGET))
		WRITE_ONCE(mc->params.zeroes, BK_ZEROES_OFF);
	else if (!READ_ONCE(mc->stopped))
		mc->ops->error(mc, true, op->start + op->write.pos, status);
}

/* The destination's leg has ended. */
static void bk_mwrite_dest_done(struct bk_write *write)
{
	struct bk_mwrite *op = container_of(write, struct bk_mwrite, write);
	struct bk_mcopy *mc = op->mc;
	bool done;

	if (unlikely(write->status))
		bk_mwrite_leg_failed(op);
	spin_lock(&mc->lock);
	if (!write->status) {
		mc->late = false;
		WRITE_ONCE(mc->mirrored, mc->mirrored + op->end - op->start);
	}
	op->dest_ended = true;
	done = op->origin_ended;
	spin_unlock(&mc->lock);
	if (done)
		bk_mwrite_finish(op);
}

/* The origin's leg has ended. */
static void bk_mwrite_origin_work(struct work_struct *work)
{
	struct bk_mwrite *op = container_of(work, struct bk_mwrite, work);
	struct bio_list told = BIO_EMPTY_LIST;
	struct bk_mcopy *mc = op->mc;
	bool done;

	spin_lock(&mc->lock);
	op->origin_ended = true;
	done = op->dest_ended || op->leg == BK_MLEG_NONE;
	if (!done && (mc->late || mc->stopped))
		bk_mwrite_let_go(op, &told);
	spin_unlock(&mc->lock);
	if (done)
		bk_mwrite_finish(op);
	else
		bk_mwrite_tell(&told);
}

/*
 * As bk_io_end(): mark, then leave. What the destination gets is marked only if it
 * does not, later; until then the write is in flight for the mirror.
 */
static void bk_mwrite_leave(struct bk_mwrite *op, struct bk_bio *pb)
{
	bool both = op->leg != BK_MLEG_NONE && !op->status;
	struct bk_gate *gate = &op->mc->origin->gate;
	struct bk_cfg *cfg;

	rcu_read_lock();
	cfg = rcu_dereference(gate->cfg);
	if (bk_gate_is_draining(gate))
		bk_cfg_mark(cfg, op->start, op->end);
	bk_cfg_mark_ended_but(cfg, op->start, op->end,
			      both ? op->mc->bits : NULL);
	rcu_read_unlock();
	bk_gate_leave(gate, pb);
}

/* The bio's end, hooked: perhaps in an interrupt. */
static void bk_mwrite_endio(struct bio *bio)
{
	struct bk_bio *pb = dm_per_bio_data(bio, sizeof(*pb));
	struct bk_mwrite *op = pb->mw;

	op->status = bio->bi_status;
	bk_mwrite_leave(op, pb);
	/* The filter is there: its bio has not ended. */
	queue_work(op->mc->origin->cow_wq, &op->work);
}

/*----------------------------------------------------------------*/
/* Going both ways */

/* From here on nobody looks at the writer's pages. */
static void bk_mwrite_fill(struct bk_mwrite *op)
{
	struct bio_vec *to = op->read.buf.vec;
	struct bvec_iter iter;
	struct bio_vec from;
	size_t done = 0;

	bio_for_each_segment(from, op->bio, iter) {
		size_t n, at;

		for (at = 0; at < from.bv_len; at += n) {
			if (done == to->bv_len) {
				done = 0;
				to++;
			}
			n = min_t(size_t, from.bv_len - at, to->bv_len - done);
			/* lowmem: buffers are not allocated with __GFP_HIGHMEM */
			memcpy_from_page(page_address(to->bv_page) + done,
					 from.bv_page, from.bv_offset + at, n);
			done += n;
		}
	}
}

static void bk_mwrite_start_leg(struct bk_mwrite *op)
{
	struct bk_mcopy *mc = op->mc;
	bool data = op->leg == BK_MLEG_DATA;

	if (mc->zero)
		bk_bits_clear(mc->zero, op->start >> mc->zero->shift,
			      ((op->end - 1) >> mc->zero->shift) + 1);
	op->zeroes = READ_ONCE(mc->params.zeroes) == BK_ZEROES_UNMAP &&
		     !(op->bio->bi_opf & REQ_NOUNMAP) ? BK_ZEROES_UNMAP :
							BK_ZEROES_ON;
	memset(&op->write, 0, sizeof(op->write));
	bk_write_init(&op->write, mc->dest, true, bk_mwrite_dest_done);
	op->write.src = data ? &op->read : NULL;
	op->write.sector = op->start;
	op->write.sectors = op->end - op->start;
	op->write.unit = op->write.sectors;
	op->write.zeroes = data ? &bk_mwrite_as_data : &op->zeroes;
	bk_write_start(&op->write);
}

/**
 * bk_mwrite_submit - send an admitted write
 * @op:		what it was admitted as; its bio goes to the origin already
 *
 * Context: process; sleeps only in the origin's submit_bio().
 */
void bk_mwrite_submit(struct bk_mwrite *op)
{
	struct bio *bio = op->bio;

	op->end_io = bio->bi_end_io;
	op->vec = bio->bi_io_vec;
	op->iter = bio->bi_iter;
	bio->bi_end_io = bk_mwrite_endio;
	if (op->leg == BK_MLEG_DATA) {
		bk_mwrite_fill(op);
		bio->bi_io_vec = op->read.buf.vec;
		bio->bi_iter.bi_idx = 0;
		bio->bi_iter.bi_bvec_done = 0;
	}
	if (op->leg != BK_MLEG_NONE)
		bk_mwrite_start_leg(op);
	dm_submit_bio_remap(bio, NULL);
}

/*----------------------------------------------------------------*/
/* Deadlines, and the end */

/* Has somebody waited longer than he may? held.lock is held, for the suspend's. */
static bool bk_mwrite_waited(struct bk_mcopy *mc, struct bk_instance *in,
			     unsigned long since)
{
	unsigned int ms = READ_ONCE(mc->timeout);

	if (dm_noflush_suspending(in->ti) &&
	    time_after_eq(jiffies, since + BK_MWRITE_NOFLUSH))
		return true;
	return bk_instance_is_overdue(in, since) ||
	       (ms && time_after_eq(jiffies, since + msecs_to_jiffies(ms)));
}

static bool bk_mwrite_bios_waited(struct bk_mcopy *mc, struct bio_list *bios)
{
	struct bio *bio;

	bio_list_for_each(bio, bios) {
		struct bk_bio *pb = dm_per_bio_data(bio, sizeof(*pb));

		if (bk_mwrite_waited(mc, pb->in, pb->since))
			return true;
	}
	return false;
}

/*
 * Is the destination late? *@waiting: somebody may wait for it yet. Lock is held. Who
 * waits for a write's range waits for its legs, so those are not looked at.
 */
static bool bk_mwrite_is_late(struct bk_mcopy *mc, bool *waiting)
{
	struct bk_mwrite *op;
	struct bk_mop *copy;
	bool late;

	*waiting = !bio_list_empty(&mc->queue);
	spin_lock(&mc->origin->held.lock);
	/* What is in use may be with legs whose writers don't wait any more. */
	late = bk_mwrite_bios_waited(mc, &mc->queue);
	list_for_each_entry(op, &mc->writes, list) {
		*waiting |= !!op->bio;
		late |= op->bio && op->origin_ended &&
			bk_mwrite_waited(mc, op->in, op->since);
	}
	list_for_each_entry(copy, &mc->busy, list) {
		*waiting |= !bio_list_empty(&copy->holders);
		late |= bk_mwrite_bios_waited(mc, &copy->holders);
	}
	spin_unlock(&mc->origin->held.lock);
	return late;
}

static void bk_mwrite_let_all_go(struct bk_mcopy *mc, struct bio_list *told,
				 struct bio_list *again)
{
	struct bk_mwrite *op;

	list_for_each_entry(op, &mc->writes, list)
		bk_mwrite_let_go(op, told);
	bk_mwrite_take_waiting(mc, again);
}

/**
 * bk_mwrite_tick - looks who waits for the destination too long
 * @work:	@tick of struct bk_mcopy
 */
void bk_mwrite_tick(struct work_struct *work)
{
	struct bk_mcopy *mc = container_of(to_delayed_work(work),
					   struct bk_mcopy, tick);
	struct bio_list told = BIO_EMPTY_LIST, again = BIO_EMPTY_LIST;
	bool late, waiting;

	spin_lock(&mc->lock);
	late = bk_mwrite_is_late(mc, &waiting);
	if (late) {
		mc->late = true;
		bk_mwrite_let_all_go(mc, &told, &again);
	}
	if (waiting && !mc->stopped)
		queue_delayed_work(mc->origin->cow_wq, &mc->tick,
				   BK_MWRITE_TICK);
	spin_unlock(&mc->lock);

	/* First, so that a writer that has been told finds it. */
	if (late)
		mc->ops->late(mc);
	bk_mwrite_tell(&told);
	bk_mwrite_send_in(mc, &again);
}

/**
 * bk_mwrite_stop - the mirror has stopped: nobody waits for its destination
 * @mc:		the mirror, stopped
 *
 * Context: process; does not sleep.
 */
void bk_mwrite_stop(struct bk_mcopy *mc)
{
	struct bio_list told = BIO_EMPTY_LIST, again = BIO_EMPTY_LIST;

	spin_lock(&mc->lock);
	bk_mwrite_let_all_go(mc, &told, &again);
	spin_unlock(&mc->lock);
	bk_mwrite_tell(&told);
	bk_mwrite_send_in(mc, &again);
}

/**
 * bk_mwrite_exit - nothing of it runs in the filter's queues any more, but writes
 * @mc:		the mirror, stopped
 *
 * Context: process, sleeps.
 */
void bk_mwrite_exit(struct bk_mcopy *mc)
{
	cancel_delayed_work_sync(&mc->tick);
}
