// SPDX-License-Identifier: GPL-2.0-only
/*
 * A bio's way through the filter. The contract is in io.h.
 */

#include "io.h"
#include "cfg.h"
#include "cow.h"
#include "module.h"
#include "store.h"

#include <linux/jiffies.h>

/* How often deadlines are looked at. */
#define BK_HELD_TICK	msecs_to_jiffies(50)

/* What a bio is given after a break before it may break another. */
#define BK_HELD_SPARE	HZ

/* When a bio for which there was no memory comes in again. */
#define BK_STARVED_WAIT	msecs_to_jiffies(5)

/*----------------------------------------------------------------*/
/* Bios that wait, and their deadlines */

static void bk_io_again(struct work_struct *work);

static struct bio *bk_bio_of(struct bk_bio *pb)
{
	return dm_bio_from_per_bio_data(pb, sizeof(*pb));
}

static struct bk_bio *bk_bio_data(struct bio *bio)
{
	return dm_per_bio_data(bio, sizeof(struct bk_bio));
}

/*
 * Send @bio to the origin. What changes data is counted by then: a pivot changes
 * in->dev while nothing is, and opens the gate after that (pivot.c).
 *
 * bio_set_dev(), but for associating the bio with a blkg of its cgroup on the
 * new device: dm_submit_bio_remap(), in which every bio ends that goes on from
 * here, does that again anyway, from the original bio. It is the dearest part
 * of a pass-through map: without it an idle filter costs less than dm-linear.
 */
static __always_inline int bk_bio_redirect(struct bk_instance *in,
					   struct bio *bio)
{
	bio_clear_flag(bio, BIO_REMAPPED);
	bio_clear_flag(bio, BIO_BPS_THROTTLED);
	bio->bi_bdev = READ_ONCE(in->dev)->bdev;
	return DM_MAPIO_REMAPPED;
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
}

static void bk_held_add(struct bk_origin *origin, struct bk_bio *pb)
{
	struct bk_held *held = &origin->held;

	spin_lock(&held->lock);
	list_add_tail(&pb->held, &held->list);
	held->count++;
	held->total++;
	spin_unlock(&held->lock);
	/* Ticks on while anything waits, so mostly it is pending already. */
	queue_delayed_work(origin->cow_wq, &held->work, BK_HELD_TICK);
}

static void bk_held_del(struct bk_origin *origin, struct bk_bio *pb)
{
	struct bk_held *held = &origin->held;
	unsigned int ms;

	if (pb->discard_bytes)
		atomic64_sub(pb->discard_bytes, &origin->discard_wait);
	if (list_empty(&pb->held))
		return;
	spin_lock(&held->lock);
	list_del_init(&pb->held);
	held->count--;
	ms = jiffies_to_msecs(jiffies - pb->since);
	if (ms > held->longest_ms)
		held->longest_ms = ms;
	spin_unlock(&held->lock);
}

/* A bio has waited enough. */
static void bk_io_go(struct bk_bio *pb, struct bio *bio)
{
	bk_held_del(pb->in->origin, pb);
	bk_bio_redirect(pb->in, bio);
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

static void bk_io_kick(struct bk_origin *origin, struct bio_list *bios)
{
	struct bio *bio;

	while ((bio = bio_list_pop(bios)))
		queue_work(origin->cow_wq, &bk_bio_data(bio)->work);
}

/* Send in again what waits on one of the filter's own lists. */
static void bk_io_kick_list(struct bk_origin *origin, struct bio_list *list)
{
	struct bio_list bios;

	spin_lock(&origin->held.lock);
	bios = *list;
	bio_list_init(list);
	spin_unlock(&origin->held.lock);
	bk_io_kick(origin, &bios);
}

static void bk_io_starved_work(struct work_struct *work)
{
	struct bk_origin *origin = container_of(to_delayed_work(work),
						struct bk_origin, starved_work);

	bk_io_kick_list(origin, &origin->starved);
}

/* No memory for an op: come again in a while. An op in flight will free one. */
static void bk_io_starve(struct bk_origin *origin, struct bio *bio)
{
	spin_lock(&origin->held.lock);
	bio_list_add(&origin->starved, bio);
	spin_unlock(&origin->held.lock);
	queue_delayed_work(origin->cow_wq, &origin->starved_work,
			   BK_STARVED_WAIT);
}

/* Send all waiting bios in again, wherever they wait; most will wait again. */
static void bk_io_kick_all(struct bk_origin *origin)
{
	struct bk_cfg *cfg = bk_cfg_get(&origin->gate);
	unsigned int i;

	for (i = 0; i < cfg->nr_pits; i++)
		bk_pit_kick_holders(cfg->pits[i]);
	bk_cfg_put(cfg);
	bk_io_kick_list(origin, &origin->undrained);
	bk_io_kick_list(origin, &origin->starved);
	bk_io_kick_list(origin, &origin->cold);
}

/* Has @pb waited longer for @pit than it may? */
static bool bk_held_is_late(struct bk_bio *pb, struct bk_pit *pit)
{
	unsigned int ms = READ_ONCE(pit->params.cbw->timeout);

	/* Each has that long, also if syncing the file system took longer. */
	if (READ_ONCE(pb->in->suspending) &&
	    time_after_eq(jiffies, pb->in->suspend_by) &&
	    time_after_eq(jiffies, pb->since +
				   msecs_to_jiffies(pb->in->suspend_ms)))
		return true;
	return ms && time_after_eq(jiffies, pb->since + msecs_to_jiffies(ms));
}

/*
 * A suspend gives the points in time that long between two that break, but no
 * more than once: it is to end, however many there are.
 */
static bool bk_held_is_overdue(struct bk_bio *pb)
{
	return READ_ONCE(pb->in->suspending) &&
	       time_after_eq(jiffies, pb->in->suspend_by + BK_HELD_SPARE);
}

/* The point in time that @pb waits for and is late for, if any. */
static struct bk_pit *bk_held_late_for(struct bk_cfg *cfg, struct bk_bio *pb)
{
	struct bio *bio = bk_bio_of(pb);
	unsigned int i;

	for (i = 0; i < cfg->nr_pits; i++) {
		struct bk_pit *pit = cfg->pits[i];

		if (bk_held_is_late(pb, pit) &&
		    bk_pit_is_pending(pit, bio->bi_iter.bi_sector,
				      bio_end_sector(bio)))
			return pit;
	}
	return NULL;
}

/*
 * Which point in time is to be given up for a bio that is late for @pit? If
 * the budget is spent, the one whose destination has kept its data waiting
 * longest, whoever asks; else the one the bio waits for.
 */
static struct bk_pit *bk_held_victim(struct bk_cfg *cfg, struct bk_pit *pit)
{
	unsigned long since, oldest = 0;
	struct bk_pit *victim = NULL;
	unsigned int i;

	if (!bk_pool_has_waiters(&pit->origin->pool))
		return pit;
	for (i = 0; i < cfg->nr_pits; i++) {
		struct bk_pit *p = cfg->pits[i];

		if (bk_pit_is_stopped(p) ||
		    READ_ONCE(p->params.cbw->policy) != BK_BREAK_SNAPSHOT ||
		    !bk_pit_oldest(p, &since))
			continue;
		if (!victim || time_before(since, oldest)) {
			victim = p;
			oldest = since;
		}
	}
	return victim ?: pit;
}

/*
 * Looks for a bio that has waited too long. One measure is taken at a time:
 * what it frees is given BK_HELD_SPARE to help the others, unless a suspend is
 * overdue. The list is in the order of arrival, so a bio whose data no point in
 * time is late with hides none that is much later.
 */
static void bk_held_work(struct work_struct *work)
{
	struct bk_origin *origin = container_of(to_delayed_work(work),
						struct bk_origin, held.work);
	struct bk_cfg *cfg = bk_cfg_get(&origin->gate);
	struct bk_held *held = &origin->held;
	bool fail = false, hurry = false, again;
	unsigned long tick = BK_HELD_TICK;
	struct bk_pit *pit = NULL;
	struct bk_bio *pb;

	spin_lock(&held->lock);
	pb = list_first_entry_or_null(&held->list, struct bk_bio, held);
	if (pb)
		hurry = READ_ONCE(pb->in->suspending);
	list_for_each_entry(pb, &held->list, held) {
		if (READ_ONCE(pb->fail))
			continue;
		pit = bk_held_late_for(cfg, pb);
		if (!pit)
			continue;
		if (READ_ONCE(pit->params.cbw->policy) == BK_BREAK_GUEST_WRITE) {
			WRITE_ONCE(pb->fail, BLK_STS_TIMEOUT);
			fail = true;
			pit = NULL;
			continue;
		}
		if (bk_held_is_overdue(pb))
			tick = 0;
		if (!tick || time_after_eq(jiffies, held->spare_until)) {
			held->spare_until = jiffies + BK_HELD_SPARE;
			pit = bk_held_victim(cfg, pit);
			break;
		}
		pit = NULL;
	}
	again = !list_empty(&held->list);
	spin_unlock(&held->lock);

	if (pit)
		bk_pit_break(pit, -ETIMEDOUT);
	bk_cfg_put(cfg);
	bk_store_late(origin, hurry);
	if (fail)
		bk_io_kick_all(origin);
	if (again)
		queue_delayed_work(origin->cow_wq, &held->work, tick);
}

/*----------------------------------------------------------------*/
/* REQ_NOWAIT writes that were sent back: their copies are started anyway. */

static void bk_hints_work(struct work_struct *work)
{
	struct bk_origin *origin = container_of(work, struct bk_origin,
						hints.work);
	struct bk_hints *hints = &origin->hints;
	struct bk_cfg *cfg = bk_cfg_get(&origin->gate);

	spin_lock(&hints->lock);
	while (hints->nr) {
		sector_t start = hints->range[--hints->nr].start;
		sector_t end = hints->range[hints->nr].end;

		spin_unlock(&hints->lock);
		bk_cow_start(cfg, start, end);
		spin_lock(&hints->lock);
	}
	spin_unlock(&hints->lock);
	bk_cfg_put(cfg);
}

static void bk_io_hint(struct bk_origin *origin, struct bio *bio)
{
	struct bk_hints *hints = &origin->hints;

	spin_lock(&hints->lock);
	if (hints->nr < BK_HINTS) {
		hints->range[hints->nr].start = bio->bi_iter.bi_sector;
		hints->range[hints->nr].end = bio_end_sector(bio);
		hints->nr++;
	}
	spin_unlock(&hints->lock);
	queue_work(origin->cow_wq, &hints->work);
}

/*----------------------------------------------------------------*/
/* Discards, write zeroes, secure erases: their size knows no bound. */

/* What copying for @bio would take, over all points in time, up to @most. */
static u64 bk_io_wanted(struct bk_cfg *cfg, struct bio *bio, u64 most)
{
	u64 bytes = 0;
	unsigned int i;

	for (i = 0; i < cfg->nr_pits && bytes <= most; i++)
		bytes += bk_cow_wanted(cfg->pits[i], bio->bi_iter.bi_sector,
				       bio_end_sector(bio), most - bytes);
	return bytes;
}

/* Is a discard to be completed without being sent, as far as it would wait? */
static bool bk_io_skips(struct bk_instance *in, struct bk_cfg *cfg,
			struct bio *bio, u64 *wanted)
{
	u64 most = READ_ONCE(in->origin->pool.limit) / 4;

	*wanted = bk_io_wanted(cfg, bio, most);
	if (!*wanted || in->discard == BK_DISCARD_COPY)
		return false;
	return in->discard == BK_DISCARD_SKIP ||
	       *wanted + atomic64_read(&in->origin->discard_wait) > most;
}

/*
 * Cut a discard that is to be skipped to its first part that is alike: all
 * waiting for a copy (true), or all free to go (false).
 */
static bool bk_io_cut_discard(struct bk_cfg *cfg, struct bio *bio)
{
	sector_t start = bio->bi_iter.bi_sector;
	sector_t end = bio_end_sector(bio);
	sector_t stop = end;
	bool waits = false;
	unsigned int i;

	for (i = 0; i < cfg->nr_pits && !waits; i++) {
		struct bk_pit *pit = cfg->pits[i];
		unsigned long first = bk_pit_cluster(pit, start);
		unsigned long last = bk_pit_cluster(pit, end - 1);
		unsigned long next;

		if (bk_pit_is_stopped(pit))
			continue;
		next = find_next_bit(pit->pending, last + 1, first);
		if (next > last)
			continue;
		waits = next == first;
		if (waits) {
			next = find_next_zero_bit(pit->pending, last + 1, first);
			stop = end;
		}
		stop = min(stop, (sector_t)next << pit->shift);
	}
	if (stop < end)
		dm_accept_partial_bio(bio, stop - start);
	return waits;
}

/*
 * In map only: cut a bio whose size knows no bound to what may wait for copies.
 * Pieces end at a multiple of their size: at a cluster's border.
 */
static void bk_io_cut_size(struct bk_instance *in, struct bio *bio)
{
	unsigned int most = READ_ONCE(in->origin->pool.limit) / 4 >>
			    SECTOR_SHIFT;

	switch (bio_op(bio)) {
	case REQ_OP_DISCARD:
		if (in->discard != BK_DISCARD_COPY)
			return;		/* else it is skipped */
		break;
	case REQ_OP_SECURE_ERASE:
	case REQ_OP_WRITE_ZEROES:
		break;
	default:
		return;
	}
	if (bio_sectors(bio) > most) {
		most = rounddown_pow_of_two(most);
		dm_accept_partial_bio(bio, most - (bio->bi_iter.bi_sector &
						   (most - 1)));
	}
}

/*
 * In map only: cut @bio so that what it waits for is bounded. Returns true if
 * it is to be completed without being sent.
 */
static bool bk_io_cut(struct bk_instance *in, struct bk_cfg *cfg,
		      struct bio *bio)
{
	u64 wanted;

	if (bio_op(bio) == REQ_OP_DISCARD && bk_io_skips(in, cfg, bio, &wanted))
		return bk_io_cut_discard(cfg, bio);
	bk_io_cut_size(in, bio);
	return false;
}

/*----------------------------------------------------------------*/
/* The way */

/* Does it change data? An empty flush is a write without data. */
static __always_inline bool bk_io_changes_data(struct bio *bio)
{
	return op_is_write(bio_op(bio)) && bio->bi_iter.bi_size;
}

/* Remember what @bio writes. Again when it has been cut. */
static __always_inline void bk_io_note(struct bk_bio *pb, struct bio *bio)
{
	pb->sector = bio->bi_iter.bi_sector;
	pb->sectors = bio_sectors(bio);
}

/* Under RCU or a reference: @bio is counted, and about to be submitted. */
static __always_inline void bk_io_mark(struct bk_cfg *cfg, struct bio *bio)
{
	bk_cfg_mark(cfg, bio->bi_iter.bi_sector, bio_end_sector(bio));
}

/* Under RCU or a reference: must @bio wait for any point in time? */
static __always_inline bool bk_io_is_pending(struct bk_cfg *cfg,
					     struct bio *bio)
{
	sector_t start = bio->bi_iter.bi_sector;
	sector_t end = bio_end_sector(bio);
	unsigned int i;

	for (i = 0; i < cfg->nr_pits; i++)
		if (bk_pit_is_pending(cfg->pits[i], start, end))
			return true;
	return false;
}

/* Under RCU or a reference: must @bio wait for its region to be hot? */
static __always_inline bool bk_io_is_cold(struct bk_origin *origin,
					  struct bk_cfg *cfg, struct bio *bio)
{
	return cfg->persistent &&
	       !bk_store_is_hot(origin->store, bio->bi_iter.bi_sector,
				bio_end_sector(bio));
}

/* In map: @bio has to wait; @cold: for its region only. It is not counted. */
static int bk_io_wait(struct bk_instance *in, struct bio *bio,
		      struct bk_bio *pb, bool cold)
{
	if (dm_noflush_suspending(in->ti))
		return DM_MAPIO_REQUEUE;
	if (cold)
		bk_store_want(in->origin->store, bio->bi_iter.bi_sector,
			      bio_end_sector(bio));
	if (!bk_bio_may_wait(bio)) {
		if (!cold)
			bk_io_hint(in->origin, bio);
		bio_wouldblock_error(bio);
		return DM_MAPIO_SUBMITTED;
	}
	bk_io_first_wait(in, pb);
	queue_work(in->origin->cow_wq, &pb->work);
	return DM_MAPIO_SUBMITTED;
}

/* In map: @bio is counted, and there are points in time, or bits. */
static int bk_io_look(struct bk_instance *in, struct bio *bio,
		      struct bk_bio *pb)
{
	struct bk_gate *gate = &in->origin->gate;
	bool pending = true, skip = false, cold = false;
	struct bk_cfg *cfg;

	rcu_read_lock();
	cfg = bk_gate_cfg(gate, pb);
	if (likely(cfg)) {
		if (unlikely(bio_op(bio) != REQ_OP_WRITE && cfg->nr_pits))
			skip = bk_io_cut(in, cfg, bio);
		pending = bk_io_is_pending(cfg, bio);
		if (likely(!pending))
			cold = bk_io_is_cold(in->origin, cfg, bio);
		if (likely(!pending && !cold))
			bk_io_mark(cfg, bio);
	} else {
		bk_io_cut_size(in, bio);	/* it can't be cut later */
	}
	rcu_read_unlock();
	bk_io_note(pb, bio);

	if (likely(!pending && !cold))
		return bk_bio_redirect(in, bio);
	bk_gate_leave(gate, pb);
	if (!skip)
		return bk_io_wait(in, bio, pb, cold);
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

/* Is @pb to be given back, or to fail? held.lock: who asks for it takes lists. */
static bool bk_io_is_called_off(struct bk_bio *pb)
{
	return dm_noflush_suspending(pb->in->ti) || READ_ONCE(pb->fail);
}

/*
 * Wait until the old epoch has drained. False if it has: bk_io_drained() marks
 * the points in time first and takes the list then.
 */
static bool bk_io_wait_drained(struct bk_bio *pb, struct bio *bio,
			       struct bk_cfg *cfg)
{
	struct bk_origin *origin = pb->in->origin;
	bool wait = false;
	unsigned int i;

	spin_lock(&origin->held.lock);
	for (i = 0; i < cfg->nr_pits; i++)
		wait |= !bk_pit_is_drained(cfg->pits[i]) &&
			!bk_pit_is_stopped(cfg->pits[i]);
	wait = wait && !bk_io_is_called_off(pb);
	if (wait)
		bio_list_add(&origin->undrained, bio);
	spin_unlock(&origin->held.lock);
	return wait;
}

/*
 * Wait until the regions are hot. False if they are by now: bk_io_heated() takes
 * the list after they have become so.
 */
static bool bk_io_wait_hot(struct bk_bio *pb, struct bio *bio)
{
	struct bk_origin *origin = pb->in->origin;
	sector_t start = bio->bi_iter.bi_sector;
	sector_t end = bio_end_sector(bio);
	bool wait;

	spin_lock(&origin->held.lock);
	wait = !bk_store_is_hot(origin->store, start, end) &&
	       !bk_io_is_called_off(pb);
	if (wait)
		bio_list_add(&origin->cold, bio);
	spin_unlock(&origin->held.lock);
	/* Not before: what was hot then may have been cooled meanwhile. */
	if (wait)
		bk_store_want(origin->store, start, end);
	return wait;
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
 * A discard that has waited can't be cut any more: if it would take too much,
 * for a point in time that came meanwhile, it is completed as a whole.
 */
static bool bk_io_discard_again(struct bk_bio *pb, struct bio *bio,
				struct bk_cfg *cfg)
{
	struct bk_origin *origin = pb->in->origin;
	u64 wanted;

	atomic64_sub(pb->discard_bytes, &origin->discard_wait);
	pb->discard_bytes = 0;
	if (bk_io_skips(pb->in, cfg, bio, &wanted)) {
		atomic64_add(bio->bi_iter.bi_size, &origin->discards_skipped);
		return true;
	}
	pb->discard_bytes = wanted;
	atomic64_add(wanted, &origin->discard_wait);
	return false;
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
				    cfg, bio);
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
	default:	/* BK_ENTER_PASS: a REQ_NOWAIT bio never came here */
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
	if (!skip && !bk_io_is_pending(cfg, bio) &&
	    bk_io_is_cold(origin, cfg, bio))
		again = !bk_io_wait_hot(pb, bio);
	else
		again = !skip && bk_io_hold(pb, bio, cfg);
	bk_cfg_put(cfg);
	return again;
}

static void bk_io_again(struct work_struct *work)
{
	struct bk_bio *pb = container_of(work, struct bk_bio, work);
	struct bio *bio = bk_bio_of(pb);

	while (bk_io_try(pb, bio))
		cond_resched();
}

/*----------------------------------------------------------------*/
/* What others call */

/**
 * bk_io_drained - the gate's callback: the old epoch has drained
 * @gate:	the gate
 */
void bk_io_drained(struct bk_gate *gate)
{
	struct bk_origin *origin = container_of(gate, struct bk_origin, gate);
	struct bk_cfg *cfg = bk_cfg_get(gate);
	unsigned int i;

	for (i = 0; i < cfg->nr_pits; i++)
		bk_pit_drained(cfg->pits[i]);
	bk_cfg_put(cfg);
	bk_io_kick_list(origin, &origin->undrained);
}

/**
 * bk_io_forget_longest - the longest wait is told anew for each set of jobs
 * @origin:	the filter
 */
void bk_io_forget_longest(struct bk_origin *origin)
{
	spin_lock(&origin->held.lock);
	origin->held.longest_ms = 0;
	spin_unlock(&origin->held.lock);
}

/**
 * bk_io_stopped - a point in time has stopped: who waits for it looks again
 * @origin:	the filter
 *
 * Those that wait for its ops are released by bk_pit_stop() itself.
 *
 * Context: process; does not sleep.
 */
void bk_io_stopped(struct bk_origin *origin)
{
	bk_io_kick_list(origin, &origin->undrained);
}

/**
 * bk_io_heated - regions are hot, or nobody cares any more
 * @origin:	the filter
 *
 * Context: process; does not sleep.
 */
void bk_io_heated(struct bk_origin *origin)
{
	bk_io_kick_list(origin, &origin->cold);
}

/**
 * bk_io_push_back - noflush suspend: give waiting bios back to dm
 * @in:		the instance; dm_noflush_suspending()
 *
 * Those that come after are given back by map.
 *
 * Context: dm's presuspend.
 */
void bk_io_push_back(struct bk_instance *in)
{
	bk_io_kick_all(in->origin);
}

/**
 * bk_io_hurry - flush suspend: bound what bios may wait from now on
 * @in:		the instance
 * @ms:		the bound
 *
 * Context: dm's presuspend.
 */
void bk_io_hurry(struct bk_instance *in, unsigned int ms)
{
	/* pairs with READ_ONCE() in bk_held_is_late(), under held.lock */
	spin_lock(&in->origin->held.lock);
	in->suspend_ms = ms;
	in->suspend_by = jiffies + msecs_to_jiffies(ms);
	WRITE_ONCE(in->suspending, true);
	spin_unlock(&in->origin->held.lock);
}

/**
 * bk_io_unhurry - the suspend is over, or was given up
 * @in:		the instance
 */
void bk_io_unhurry(struct bk_instance *in)
{
	WRITE_ONCE(in->suspending, false);
}

/**
 * bk_io_init - set up a new filter
 * @origin:	the filter
 */
void bk_io_init(struct bk_origin *origin)
{
	spin_lock_init(&origin->held.lock);
	INIT_LIST_HEAD(&origin->held.list);
	INIT_DELAYED_WORK(&origin->held.work, bk_held_work);
	origin->held.spare_until = jiffies;
	bio_list_init(&origin->undrained);
	bio_list_init(&origin->cold);
	bio_list_init(&origin->starved);
	INIT_DELAYED_WORK(&origin->starved_work, bk_io_starved_work);
	spin_lock_init(&origin->hints.lock);
	INIT_WORK(&origin->hints.work, bk_hints_work);
}

/**
 * bk_io_exit - end what a filter may still have planned
 * @origin:	the filter; no bio is in flight
 *
 * Context: process, sleeps.
 */
void bk_io_exit(struct bk_origin *origin)
{
	cancel_delayed_work_sync(&origin->held.work);
	cancel_delayed_work_sync(&origin->starved_work);
	cancel_work_sync(&origin->hints.work);
	WARN_ON_ONCE(!list_empty(&origin->held.list));
}
