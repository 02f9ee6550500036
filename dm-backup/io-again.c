// SPDX-License-Identifier: GPL-2.0-only
/*
 * A bio that had to wait comes in again. The contract is in io.h.
 */

#include "io-int.h"
#include "mirror-write.h"

/* A bio has waited enough. Who sent it does not wait here: submit_bio() may sleep. */
static void bk_io_go(struct bk_bio *pb, struct bio *bio)
{
	bk_held_del(pb->in->origin, pb);
	bk_bio_redirect(pb->in, bio);
	if (pb->mw)
		bk_mwrite_submit(pb->mw);
	else
		dm_submit_bio_remap(bio, NULL);
}

/* A bio ends here. */
static void bk_io_finish(struct bk_bio *pb, struct bio *bio,
			 blk_status_t status)
{
	bk_held_del(pb->in->origin, pb);
	bio->bi_status = status;
	bio_endio(bio);
}

/*
 * @bio is not counted and may have to wait for @cfg's points in time: start
 * what it waits for, in all of them, then wait. True if it is to look again;
 * otherwise it is not the caller's any more.
 */
static bool bk_io_hold(struct bk_bio *pb, struct bio *bio, struct bk_cfg *cfg)
{
	struct bk_origin *origin = pb->in->origin;
	sector_t start = bio->bi_iter.bi_sector;
	sector_t end = bio_end_sector(bio);
	int r;

	r = bk_cow_start(cfg, start, end);
	switch (bk_cow_hold(cfg, bio, start, end)) {
	case BK_HOLD_HELD:
		return false;
	case BK_HOLD_UNDRAINED:
		return !bk_io_wait_drained(pb, bio, cfg);
	case BK_HOLD_AGAIN:
		if (r) {
			bk_io_starve(origin, bio);
			return false;
		}
		fallthrough;
	default:
		return true;
	}
}

/*
 * @bio is counted: may it go? If not it has left the gate, and has to wait for
 * what is in @wait, with a reference; NULL: a cut came between, enter again.
 */
static bool bk_io_may_go(struct bk_gate *gate, struct bk_bio *pb,
			 struct bio *bio, struct bk_cfg **wait)
{
	struct bk_cfg *cfg;
	bool go = false;

	*wait = NULL;
	rcu_read_lock();
	cfg = bk_gate_cfg(gate, pb);
	if (cfg) {
		go = !bk_io_is_pending(cfg, bio) &&
		     !bk_io_is_cold(container_of(gate, struct bk_origin, gate),
				    cfg, bio) &&
		     (!cfg->both || bk_mwrite_admit(cfg->both, pb, bio));
		if (go) {
			bk_io_mark(cfg, bio);
		} else {
			refcount_inc(&cfg->ref);	/* published: not zero */
			*wait = cfg;
		}
	}
	rcu_read_unlock();
	if (!go)
		bk_gate_leave(gate, pb);
	return go;
}

/* Wait for what keeps @bio from going. True if it is to look again. */
static bool bk_io_wait_for(struct bk_bio *pb, struct bio *bio,
			   struct bk_cfg *cfg)
{
	if (bk_io_is_pending(cfg, bio))
		return bk_io_hold(pb, bio, cfg);
	if (bk_io_is_cold(pb->in->origin, cfg, bio))
		return !bk_io_wait_hot(pb, bio);
	return !cfg->both || !bk_mwrite_wait(cfg->both, pb, bio);
}

/* Enter the gate in process context. */
static enum bk_enter bk_io_enter(struct bk_gate *gate, struct bk_bio *pb,
				 struct bio *bio)
{
	enum bk_enter enter = bk_gate_enter(gate, pb);

	if (unlikely(enter == BK_ENTER_SLOW))
		enter = bk_gate_enter_slow(gate, bio, pb);
	return enter;
}

/* Send a bio in again. True if it is to look once more. */
static bool bk_io_try(struct bk_bio *pb, struct bio *bio)
{
	struct bk_origin *origin = pb->in->origin;
	bool again, go = true, skip = false;
	struct bk_cfg *cfg = NULL;
	blk_status_t fail;

	if (dm_noflush_suspending(pb->in->ti)) {
		bk_io_finish(pb, bio, BLK_STS_DM_REQUEUE);
		return false;
	}
	fail = READ_ONCE(pb->fail);
	if (unlikely(fail)) {
		bk_io_finish(pb, bio, fail);
		return false;
	}

	switch (bk_io_enter(&origin->gate, pb, bio)) {
	case BK_ENTER_PARKED:
		return false;
	case BK_ENTER_LOOK:
		go = bk_io_may_go(&origin->gate, pb, bio, &cfg);
		break;
	default:	/* BK_ENTER_PASS */
		break;
	}
	if (go)
		bk_io_go(pb, bio);
	if (!cfg)
		return !go;

	if (list_empty(&pb->held))
		bk_held_add(origin, pb);
	if (bio_op(bio) == REQ_OP_DISCARD)
		skip = bk_io_discard_again(pb, bio, cfg);
	if (skip)
		bk_io_finish(pb, bio, BLK_STS_OK);
	again = !skip && bk_io_wait_for(pb, bio, cfg);
	bk_cfg_put(cfg);
	return again;
}

/**
 * bk_io_again - a bio's work: it comes in again
 * @work:	of its per-bio data
 *
 * Context: the filter's cow_wq.
 */
void bk_io_again(struct work_struct *work)
{
	struct bk_bio *pb = container_of(work, struct bk_bio, work);
	struct bio *bio = bk_bio_of(pb);

	/*
	 * Its sender does not wait here, and would not send it again: io_uring does
	 * so only with what fails as it is sent.
	 */
	bio->bi_opf &= ~REQ_NOWAIT;
	while (bk_io_try(pb, bio))
		cond_resched();
}
