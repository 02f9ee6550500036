// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes that go to a mirror's destination as well: which may go, which wait, and for how
 * long. The contract is in mirror-write.h.
 */

#include "mirror-write-int.h"

#include <linux/blk-crypto.h>

/* How often it looks who waits for the destination too long. */
#define BK_MWRITE_TICK		msecs_to_jiffies(50)

/* How long it is waited for when a suspend is to give waiting bios back. */
#define BK_MWRITE_NOFLUSH	HZ

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

void bk_mwrite_take(struct bio_list *bios, struct bio_list *from)
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

/* Has something taken longer than anybody may wait? */
static bool bk_mwrite_too_long(struct bk_mcopy *mc, unsigned long since)
{
	unsigned int ms = READ_ONCE(mc->timeout);

	return ms && time_after_eq(jiffies, since + msecs_to_jiffies(ms));
}

/* Has somebody waited longer than he may? held.lock is held, for the suspend's. */
static bool bk_mwrite_waited(struct bk_mcopy *mc, struct bk_instance *in,
			     unsigned long since)
{
	if (dm_noflush_suspending(in->ti) &&
	    time_after_eq(jiffies, since + BK_MWRITE_NOFLUSH))
		return true;
	return bk_instance_is_overdue(in, since) ||
	       bk_mwrite_too_long(mc, since);
}

/* Does the buffer of @bio fit in beside @bytes? One that is too large needs none. */
static bool bk_mwrite_fits(struct bk_mcopy *mc, size_t bytes, struct bio *bio)
{
	size_t more = bk_mwrite_bytes(bio), limit = bk_mwrite_limit(mc);

	return more > limit || bytes + more <= limit;
}

/*
 * Is anything in the way of @bio? If so it may wait on *@list; or *@plain: it is to go
 * to the origin, as if the mode were background. Lock is held.
 */
static bool bk_mwrite_is_blocked(struct bk_mcopy *mc, struct bio *bio,
				 struct bio_list **list, bool *plain)
{
	sector_t start = bio->bi_iter.bi_sector, end = bio_end_sector(bio);
	unsigned int let_go = 0;
	struct bk_mwrite *op;
	struct bk_mop *copy;

	list_for_each_entry(copy, &mc->busy, list) {
		*list = &copy->holders;
		if (bk_mop_start(copy) >= end || start >= copy->end)
			continue;
		/* It begins after what it awaits, which may take any time. */
		*plain = copy->awaits &&
			 bk_mwrite_let_go_in(mc, bk_mop_start(copy), copy->end);
		return true;
	}
	list_for_each_entry(op, &mc->writes, list) {
		let_go += !op->bio;
		if (op->start >= end || start >= op->end)
			continue;
		/* A leg whose writer did not wait for it may take any time. */
		*plain = !op->bio;
		*list = &op->holders;
		return true;
	}
	*list = &mc->queue;
	/* So may all of them; one that is on no list is about to be put back. */
	*plain = mc->nr_writes == let_go;
	return list_empty(&mc->spare) ||
	       !bk_mwrite_fits(mc, mc->write_bytes, bio);
}

/*
 * Is @bio to wait? If so, *@list is where. *@plain: it is to go to the origin only, also
 * if it has waited too long already, for whatever. Lock is held.
 */
static bool bk_mwrite_must_wait(struct bk_mcopy *mc, struct bk_bio *pb,
				struct bio *bio, struct bio_list **list,
				bool *plain)
{
	*plain = !bk_mwrite_wanted(mc);
	if (*plain)
		return false;
	if (!bk_mwrite_is_blocked(mc, bio, list, plain)) {
		*plain = false;
		return false;
	}
	if (!*plain) {
		spin_lock(&mc->origin->held.lock);
		*plain = bk_mwrite_waited(mc, pb->in, pb->since);
		spin_unlock(&mc->origin->held.lock);
	}
	return !*plain;
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
	wait = bk_mwrite_must_wait(mc, pb, bio, &list, &plain);
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
	wait = bk_mwrite_must_wait(mc, pb, bio, &list, &plain) &&
	       !dm_noflush_suspending(pb->in->ti);
	if (wait) {
		bio_list_add(list, bio);
		queue_delayed_work(mc->origin->cow_wq, &mc->tick,
				   BK_MWRITE_TICK);
	}
	spin_unlock(&mc->lock);
	return wait;
}

/*
 * An op can be used again. Those that wait for one come in again, as many as there is
 * room for; lock is held.
 */
void bk_mwrite_put_back(struct bk_mwrite *op, struct bio_list *again)
{
	struct bk_mcopy *mc = op->mc;
	unsigned int spare;
	struct bio *bio;
	size_t bytes;

	list_add(&op->list, &mc->spare);
	WRITE_ONCE(mc->nr_writes, mc->nr_writes - 1);
	mc->write_bytes -= op->bytes;
	/* If they find something else to wait for, nobody would ask the others. */
	if (!mc->nr_writes) {
		bk_mwrite_take(again, &mc->queue);
		return;
	}
	spare = BK_MIRROR_WRITES - mc->nr_writes;
	bytes = mc->write_bytes;
	while (spare-- && (bio = bio_list_peek(&mc->queue)) &&
	       bk_mwrite_fits(mc, bytes, bio)) {
		bytes += bk_mwrite_bytes(bio);
		bio_list_add(again, bio_list_pop(&mc->queue));
	}
}

/*----------------------------------------------------------------*/
/* Deadlines, and the end */

/*
 * Is the destination late? It is if what it was given has taken too long and somebody
 * waits for that, not if he has waited for other writes, or for the origin. Lock and
 * held.lock are held.
 */
static bool bk_mwrite_is_late(struct bk_mcopy *mc)
{
	struct bk_mwrite *op;
	struct bk_mop *copy;

	list_for_each_entry(op, &mc->writes, list)
		if (op->bio && op->origin_ended &&
		    bk_mwrite_waited(mc, op->in, op->since))
			return true;
	list_for_each_entry(copy, &mc->busy, list)
		if (copy->writing && !bio_list_empty(&copy->holders) &&
		    bk_mwrite_too_long(mc, copy->since))
			return true;
	return false;
}

/* Those of @from that have waited too long go on @bios; as above. */
static void bk_mwrite_take_waited(struct bk_mcopy *mc, struct bio_list *bios,
				  struct bio_list *from)
{
	struct bio_list rest = BIO_EMPTY_LIST;
	struct bio *bio;

	while ((bio = bio_list_pop(from))) {
		struct bk_bio *pb = dm_per_bio_data(bio, sizeof(*pb));

		bio_list_add(bk_mwrite_waited(mc, pb->in, pb->since) ?
			     bios : &rest, bio);
	}
	*from = rest;
}

/* The same, wherever they wait. Returns whether anybody waits yet. */
static bool bk_mwrite_take_all_waited(struct bk_mcopy *mc,
				      struct bio_list *bios)
{
	struct bk_mwrite *op;
	struct bk_mop *copy;
	bool waiting = false;

	bk_mwrite_take_waited(mc, bios, &mc->queue);
	list_for_each_entry(op, &mc->writes, list) {
		bk_mwrite_take_waited(mc, bios, &op->holders);
		waiting |= op->bio || !bio_list_empty(&op->holders);
	}
	list_for_each_entry(copy, &mc->busy, list) {
		bk_mwrite_take_waited(mc, bios, &copy->holders);
		waiting |= !bio_list_empty(&copy->holders);
	}
	return waiting || !bio_list_empty(&mc->queue);
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
	spin_lock(&mc->origin->held.lock);
	late = bk_mwrite_is_late(mc);
	waiting = bk_mwrite_take_all_waited(mc, &again);
	spin_unlock(&mc->origin->held.lock);
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
