// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bios that wait, and their deadlines. The contract is in io.h.
 */

#include "io-int.h"
#include "lend.h"
#include "mirror-write.h"

#include <linux/jiffies.h>

/* How often deadlines are looked at. */
#define BK_HELD_TICK	msecs_to_jiffies(50)

/* What a bio is given after a break before it may break another. */
#define BK_HELD_SPARE	HZ

/* When a bio for which there was no memory comes in again. */
#define BK_STARVED_WAIT	msecs_to_jiffies(5)

/**
 * bk_held_add - a bio waits for more than an instant: note it, for its deadline
 * @origin:	the filter
 * @pb:		the bio's data
 *
 * Context: process; does not sleep.
 */
void bk_held_add(struct bk_origin *origin, struct bk_bio *pb)
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

/**
 * bk_held_del - a bio does not wait any more
 * @origin:	the filter
 * @pb:		the bio's data; it may not have been noted
 *
 * Context: process; does not sleep.
 */
void bk_held_del(struct bk_origin *origin, struct bk_bio *pb)
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

/**
 * bk_io_starve - no memory for an op: come again in a while
 * @origin:	the filter
 * @bio:	a bio that waits
 *
 * An op in flight will free some.
 *
 * Context: process; does not sleep.
 */
void bk_io_starve(struct bk_origin *origin, struct bio *bio)
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
	if (cfg->both)
		bk_mwrite_kick(cfg->both);
	bk_cfg_put(cfg);
	bk_io_kick_list(origin, &origin->undrained);
	bk_io_kick_list(origin, &origin->starved);
	bk_io_kick_list(origin, &origin->cold);
}

/* Is @pb to be given back, or to fail? held.lock: who asks for it takes lists. */
static bool bk_io_is_called_off(struct bk_bio *pb)
{
	return dm_noflush_suspending(pb->in->ti) || READ_ONCE(pb->fail);
}

/**
 * bk_io_wait_drained - wait until the old epoch has drained
 * @pb:		the bio's data
 * @bio:	the bio
 * @cfg:	what it meets, with a reference
 *
 * Context: process; does not sleep.
 * Return: false if it has drained: bk_io_drained() marks the points in time first
 * and takes the list then.
 */
bool bk_io_wait_drained(struct bk_bio *pb, struct bio *bio, struct bk_cfg *cfg)
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

/**
 * bk_io_wait_hot - wait until the regions are hot
 * @pb:		the bio's data
 * @bio:	the bio
 *
 * Context: process; does not sleep.
 * Return: false if they are by now: bk_io_heated() takes the list after they have
 * become so.
 */
bool bk_io_wait_hot(struct bk_bio *pb, struct bio *bio)
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

/*----------------------------------------------------------------*/
/* Deadlines */

/*
 * Has @pb waited longer for @pit than it may? What it has waited for before the cut was
 * something else.
 */
static bool bk_held_is_late(struct bk_bio *pb, struct bk_pit *pit)
{
	unsigned int ms = READ_ONCE(pit->params.cbw->timeout);
	u64 waited;

	if (bk_instance_is_overdue(pb->in, pb->since))
		return true;
	waited = min_t(u64, jiffies - pb->since, get_jiffies_64() - pit->cut_at);
	return ms && waited >= msecs_to_jiffies(ms);
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
 * Is the budget spent, and somebody has waited for it for a while, or must not? Then
 * nothing is kept in memory that could be on a destination.
 */
static bool bk_held_is_crowded(struct bk_origin *origin, struct bk_bio *first)
{
	return bk_pool_has_waiters(&origin->pool) &&
	       (READ_ONCE(first->in->suspending) ||
		time_after_eq(jiffies, first->since + BK_HELD_SPARE));
}

/* What those wait for who could write themselves is not waited for any longer. */
static void bk_held_part(struct bk_cfg *cfg)
{
	unsigned int i;

	for (i = 0; i < cfg->nr_pits; i++)
		if (atomic_read(&cfg->pits[i]->borrowers))
			bk_pit_lend_no_more(cfg->pits[i]);
}

/* Was one broken a moment ago? In a range: jiffies may have wrapped since. */
static bool bk_held_is_spared(const struct bk_held *held)
{
	return time_in_range_open(jiffies, held->spare_until - BK_HELD_SPARE,
				  held->spare_until);
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
	bool fail = false, hurry = false, crowded = false, again;
	unsigned long tick = BK_HELD_TICK;
	struct bk_pit *pit = NULL;
	struct bk_bio *pb;

	spin_lock(&held->lock);
	pb = list_first_entry_or_null(&held->list, struct bk_bio, held);
	if (pb) {
		hurry = READ_ONCE(pb->in->suspending);
		crowded = bk_held_is_crowded(origin, pb);
	}
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
		if (!tick || !bk_held_is_spared(held)) {
			held->spare_until = jiffies + BK_HELD_SPARE;
			pit = bk_held_victim(cfg, pit);
			break;
		}
		pit = NULL;
	}
	again = !list_empty(&held->list);
	spin_unlock(&held->lock);

	if (crowded)
		bk_held_part(cfg);
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

/**
 * bk_io_hint - have a range's copies started, for a bio that is not to wait
 * @origin:	the filter
 * @bio:	the bio
 *
 * Context: process; neither sleeps nor allocates.
 */
void bk_io_hint(struct bk_origin *origin, struct bio *bio)
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
/* What others call */

/**
 * bk_io_drained - the gate's callback: the old epoch has drained
 * @gate:	the gate
 */
void bk_io_drained(struct bk_gate *gate)
{
	struct bk_origin *origin = container_of(gate, struct bk_origin, gate);
	struct bk_cfg *cfg = bk_cfg_get(gate);
	bool any = false;
	unsigned int i;

	for (i = 0; i < cfg->nr_pits; i++)
		any |= bk_pit_drained(cfg->pits[i]);
	bk_cfg_put(cfg);
	/* Who waits for something else is to have its data copied for the new one, too. */
	if (any)
		bk_io_kick_all(origin);
	else
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
	/* pairs with bk_instance_is_overdue(), under held.lock */
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
