// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writes that go to a mirror's destination as well: their two legs. The contract is in
 * mirror-write.h.
 */

#include "mirror-write-int.h"
#include "cfg.h"

#include <linux/highmem.h>
#include <linux/slab.h>

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
/* The end of a write */

/* Tell the writer. */
void bk_mwrite_tell(struct bio_list *bios)
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
void bk_mwrite_let_go(struct bk_mwrite *op, struct bio_list *bios)
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
	bk_mcopy_wake(mc);
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
static void bk_mwrite_origin_done(struct bk_mwrite *op)
{
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

static void bk_mwrite_origin_work(struct work_struct *work)
{
	bk_mwrite_origin_done(container_of(work, struct bk_mwrite, work));
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
	if (bk_phase_ended(&op->phase))
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
	bk_phase_begin(&op->phase);
	dm_submit_bio_remap(bio, NULL);
	/* If it has not ended, @op may have gone. */
	if (bk_phase_submitted(&op->phase))
		bk_mwrite_origin_done(op);
}
