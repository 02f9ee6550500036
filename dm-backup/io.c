// SPDX-License-Identifier: GPL-2.0-only
/*
 * A bio's way through the filter: map and end_io. The contract is in io.h.
 */

#include "io-int.h"

/* Does it change data? An empty flush is a write without data. */
static __always_inline bool bk_io_changes_data(struct bio *bio)
{
	return op_is_write(bio_op(bio)) && bio->bi_iter.bi_size;
}

/* A bio is about to wait for the first time: its deadline counts from here. */
static void bk_io_first_wait(struct bk_instance *in, struct bk_bio *pb)
{
	pb->fail = BLK_STS_OK;
	INIT_WORK(&pb->work, bk_io_again);
	pb->in = in;
	INIT_LIST_HEAD(&pb->held);
	pb->since = jiffies;
	pb->discard_bytes = 0;
	pb->mw = NULL;
}

/*
 * In map: @bio has to wait, if @pending for copies, if @cold for its region; if neither
 * it goes to a mirror as well, which is work for a work item. It is not counted.
 */
static int bk_io_wait(struct bk_instance *in, struct bio *bio,
		      struct bk_bio *pb, bool pending, bool cold)
{
	bool requeue = dm_noflush_suspending(in->ti);

	if (cold)
		bk_store_want(in->origin->store, bio->bi_iter.bi_sector,
			      bio_end_sector(bio));
	/* Here and now: nobody sends it again who hears of that later. */
	if (!bk_bio_may_wait(bio) && (pending || cold || requeue)) {
		if (pending)
			bk_io_hint(in->origin, bio);
		bio_wouldblock_error(bio);
		return DM_MAPIO_SUBMITTED;
	}
	if (requeue)
		return DM_MAPIO_REQUEUE;
	bk_io_first_wait(in, pb);
	queue_work(in->origin->cow_wq, &pb->work);
	return DM_MAPIO_SUBMITTED;
}

/* In map: @bio is counted, and there are points in time, or bits. */
static int bk_io_look(struct bk_instance *in, struct bio *bio,
		      struct bk_bio *pb)
{
	struct bk_gate *gate = &in->origin->gate;
	bool pending = true, skip = false, cold = false, both = false;
	struct bk_cfg *cfg;

	rcu_read_lock();
	cfg = bk_gate_cfg(gate, pb);
	if (likely(cfg)) {
		if (unlikely(bio_op(bio) != REQ_OP_WRITE && cfg->nr_pits))
			skip = bk_io_cut(in, cfg, bio);
		pending = bk_io_is_pending(cfg, bio);
		if (likely(!pending))
			cold = bk_io_is_cold(in->origin, cfg, bio);
		/* What goes to a mirror as well does so from a work item. */
		both = cfg->both;
		if (likely(!pending && !cold && !both))
			bk_io_mark(cfg, bio);
		else if (!pending)
			bk_io_cut_size(in, bio);	/* the same as below */
	} else {
		bk_io_cut_size(in, bio);	/* it can't be cut later */
	}
	rcu_read_unlock();
	bk_io_note(pb, bio);

	if (likely(!pending && !cold && !both))
		return bk_bio_redirect(in, bio);
	bk_gate_leave(gate, pb);
	if (!skip)
		return bk_io_wait(in, bio, pb, pending, cold);
	atomic64_add(bio->bi_iter.bi_size, &in->origin->discards_skipped);
	bio_endio(bio);
	return DM_MAPIO_SUBMITTED;
}

/* In map: the gate is slow or closed. */
static noinline int bk_io_map_slow(struct bk_instance *in, struct bio *bio,
				   struct bk_bio *pb)
{
	bk_io_first_wait(in, pb);
	bk_io_cut_size(in, bio);
	bk_io_note(pb, bio);
	switch (bk_gate_enter_slow(&in->origin->gate, bio, pb)) {
	case BK_ENTER_LOOK:
		return bk_io_look(in, bio, pb);
	case BK_ENTER_AGAIN:
		bio_wouldblock_error(bio);
		return DM_MAPIO_SUBMITTED;
	case BK_ENTER_PARKED:
		return DM_MAPIO_SUBMITTED;
	default:
		return bk_bio_redirect(in, bio);
	}
}

/**
 * bk_io_map - dm's map
 * @ti:		the target
 * @bio:	the bio; its sector is the origin's, as the target begins at 0
 *
 * Context: process; neither sleeps nor allocates.
 */
int bk_io_map(struct dm_target *ti, struct bio *bio)
{
	struct bk_instance *in = ti->private;
	struct bk_bio *pb = bk_bio_data(bio);

	pb->counted = 0;
	if (!bk_io_changes_data(bio))
		return bk_bio_redirect(in, bio);

	bk_io_note(pb, bio);
	switch (bk_gate_enter(&in->origin->gate, pb)) {
	case BK_ENTER_LOOK:
		return bk_io_look(in, bio, pb);
	case BK_ENTER_SLOW:
		return bk_io_map_slow(in, bio, pb);
	default:
		return bk_bio_redirect(in, bio);
	}
}

/*
 * A write has ended: that is when mirrors are told. If there has been a cut that
 * it may have been before, it belongs to both sides, and marks them all.
 */
static noinline void bk_io_mark_ended(struct bk_gate *gate, struct bk_bio *pb)
{
	sector_t end = pb->sector + pb->sectors;
	struct bk_cfg *cfg;

	rcu_read_lock();
	cfg = rcu_dereference(gate->cfg);
	if (bk_gate_is_draining(gate))
		bk_cfg_mark(cfg, pb->sector, end);
	bk_cfg_mark_ended(cfg, pb->sector, end);
	rcu_read_unlock();
}

/**
 * bk_io_end - dm's end_io
 * @ti:		the target
 * @bio:	the bio
 * @error:	its status
 *
 * Context: any, interrupts included.
 */
int bk_io_end(struct dm_target *ti, struct bio *bio, blk_status_t *error)
{
	struct bk_instance *in = ti->private;
	struct bk_bio *pb = bk_bio_data(bio);

	if (pb->counted) {
		struct bk_gate *gate = &in->origin->gate;

		if (unlikely(bk_gate_marks_ends(gate)))
			bk_io_mark_ended(gate, pb);
		bk_gate_leave(gate, pb);
	}
	return DM_ENDIO_DONE;
}
