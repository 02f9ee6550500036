// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counting writes, epochs, and the cut. The contract is in gate.h.
 */

#include "gate.h"
#include "module.h"

#include <linux/device-mapper.h>
#include <linux/slab.h>

static void bk_cfg_rcu(struct work_struct *work)
{
	bk_cfg_put(container_of(to_rcu_work(work), struct bk_cfg, rwork));
}

/* Drop the publication's reference once no writer can be reading @cfg. */
static void bk_cfg_retire(struct bk_cfg *cfg)
{
	queue_rcu_work(bk_wq, &cfg->rwork);
}

/**
 * bk_cfg_alloc - make an empty cfg
 * @gate:	the gate it is for
 * @nr_pits:	how many points in time it has room for
 * @nr_bits:	and how many bits
 * @nr_ends:	and how many to mark at the end
 * @gfp:	how to allocate
 *
 * Return: a cfg with one reference, which publishing it takes over, or NULL.
 */
struct bk_cfg *bk_cfg_alloc(struct bk_gate *gate, unsigned int nr_pits,
			    unsigned int nr_bits, unsigned int nr_ends,
			    gfp_t gfp)
{
	size_t size = struct_size((struct bk_cfg *)NULL, pits, nr_pits);
	struct bk_cfg *cfg;

	/* With a thousand bitmaps it is more than a page: not to be contiguous. */
	cfg = kvzalloc(size + (nr_bits + nr_ends) * sizeof(*cfg->bits), gfp);
	if (!cfg)
		return NULL;
	cfg->bits = (void *)cfg + size;
	cfg->ends = cfg->bits + nr_bits;
	refcount_set(&cfg->ref, 1);
	INIT_RCU_WORK(&cfg->rwork, bk_cfg_rcu);
	cfg->ops = gate->ops;
	return cfg;
}

/**
 * bk_cfg_get - the published cfg, with a reference
 * @gate:	the gate
 *
 * Context: process; does not sleep. Return: the cfg, for bk_cfg_put().
 */
struct bk_cfg *bk_cfg_get(struct bk_gate *gate)
{
	struct bk_cfg *cfg;

	/*
	 * The publication's reference lasts until a grace period after the
	 * cfg was replaced, so under rcu_read_lock() the count is not zero.
	 */
	rcu_read_lock();
	cfg = rcu_dereference(gate->cfg);
	refcount_inc(&cfg->ref);
	rcu_read_unlock();
	return cfg;
}

/**
 * bk_cfg_put - drop a reference
 * @cfg:	the cfg
 *
 * Context: process, may sleep.
 */
void bk_cfg_put(struct bk_cfg *cfg)
{
	if (refcount_dec_and_test(&cfg->ref))
		cfg->ops->release(cfg);
}

/*----------------------------------------------------------------*/

/* Is no write of @epoch in flight? Only asked when none can enter any more. */
static bool bk_gate_idle(struct bk_gate *gate, unsigned int epoch)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(gate->count, cpu)->n[epoch]);
	smp_mb();	/* pairs with smp_wmb() in bk_gate_leave() */
	return !sum;
}

static unsigned int bk_gate_epoch(struct bk_gate *gate)
{
	unsigned int epoch;

	rcu_read_lock();
	epoch = rcu_dereference(gate->cfg)->epoch;
	rcu_read_unlock();
	return epoch;
}

/*
 * Waits for the writes of the epoch before the last cut: for as long as the
 * origin takes, which is why this is not done on the queue that releases bios.
 */
static void bk_gate_drain(struct work_struct *work)
{
	struct bk_gate *gate = container_of(work, struct bk_gate, drain_work);
	unsigned int old = !bk_gate_epoch(gate);

	/* Idle: an origin that takes long is not a task that hangs. */
	wait_event_idle(gate->drain_wait, bk_gate_idle(gate, old));

	/* Told first: once the mode says so the next cut may publish its cfg. */
	gate->ops->drained(gate);

	spin_lock(&gate->lock);
	WRITE_ONCE(gate->mode, gate->mode & ~BK_GATE_DRAINING);
	spin_unlock(&gate->lock);
	wake_up_all(&gate->drain_wait);	/* bk_gate_wait_drained() */
	gate->ops->idle(gate);
}

/**
 * bk_gate_init - make a gate, open, in epoch 0, with an empty cfg
 * @gate:	the gate, zeroed
 * @ops:	its filter's callbacks
 * @reenter_wq:	where parked bios are sent in again
 * @wait_wq:	where the drain may wait for the origin
 *
 * Context: process, may sleep. Return: 0 or -ENOMEM.
 */
int bk_gate_init(struct bk_gate *gate, const struct bk_gate_ops *ops,
		 struct workqueue_struct *reenter_wq,
		 struct workqueue_struct *wait_wq)
{
	struct bk_cfg *cfg;

	spin_lock_init(&gate->lock);
	mutex_init(&gate->cfg_lock);
	bio_list_init(&gate->parked);
	init_waitqueue_head(&gate->drain_wait);
	INIT_WORK(&gate->drain_work, bk_gate_drain);
	gate->ops = ops;
	gate->reenter_wq = reenter_wq;
	gate->wait_wq = wait_wq;

	gate->count = alloc_percpu(struct bk_gate_count);
	if (!gate->count)
		return -ENOMEM;
	cfg = bk_cfg_alloc(gate, 0, 0, 0, GFP_KERNEL);
	if (!cfg) {
		free_percpu(gate->count);
		return -ENOMEM;
	}
	rcu_assign_pointer(gate->cfg, cfg);
	return 0;
}

/**
 * bk_gate_exit - free what bk_gate_init() made
 * @gate:	the gate; no write is in flight, nobody cuts
 *
 * Context: process, may sleep.
 */
void bk_gate_exit(struct bk_gate *gate)
{
	flush_work(&gate->drain_work);
	WARN_ON_ONCE(!bio_list_empty(&gate->parked));
	WARN_ON_ONCE(!bk_gate_idle(gate, 0) || !bk_gate_idle(gate, 1));
	bk_cfg_put(rcu_dereference_protected(gate->cfg, 1));
	free_percpu(gate->count);
}

/**
 * bk_gate_enter_slow - count a write while the gate is slow, park it if closed
 * @gate:	the gate
 * @bio:	the write, not counted
 * @pb:		its per-bio data; its work sends it in again
 *
 * Context: process; takes gate->lock, does not sleep otherwise.
 * Return: any but BK_ENTER_SLOW.
 */
enum bk_enter bk_gate_enter_slow(struct bk_gate *gate, struct bio *bio,
				 struct bk_bio *pb)
{
	enum bk_enter enter;
	struct bk_cfg *cfg;

	/*
	 * The mode is looked at again under the lock, which also keeps a cut
	 * from closing the gate before we are counted. A bio parked without
	 * this second look would miss the opening.
	 */
	spin_lock(&gate->lock);
	if (!(gate->mode & BK_GATE_CLOSED)) {
		rcu_read_lock();
		cfg = rcu_dereference(gate->cfg);
		this_cpu_inc(gate->count->n[cfg->epoch]);
		pb->counted = 1 + cfg->epoch;
		enter = cfg->active ? BK_ENTER_LOOK : BK_ENTER_PASS;
		rcu_read_unlock();
	} else if (!bk_bio_may_wait(bio)) {
		enter = BK_ENTER_AGAIN;
	} else {
		bio_list_add(&gate->parked, bio);
		enter = BK_ENTER_PARKED;
	}
	spin_unlock(&gate->lock);
	return enter;
}

/**
 * bk_gate_wait_drained - wait until the last cut's old epoch has drained
 * @gate:	the gate
 * @timeout:	in jiffies
 *
 * Context: process, sleeps; not under cfg_lock of another cut's participant. A
 * signal does not end it: a filter that ends in a task that is being killed must
 * not take that for writes in flight.
 * Return: whether it has drained.
 */
bool bk_gate_wait_drained(struct bk_gate *gate, unsigned long timeout)
{
	return wait_event_idle_timeout(gate->drain_wait,
				       !(READ_ONCE(gate->mode) &
					 BK_GATE_DRAINING),
				       timeout) > 0;
}

/* Take bits of the mode away, and add others. */
static void bk_gate_set(struct bk_gate *gate, unsigned int clear,
			unsigned int set)
{
	spin_lock(&gate->lock);
	WRITE_ONCE(gate->mode, (gate->mode & ~clear) | set);
	spin_unlock(&gate->lock);
}

/* What the published cfg wants to be in the mode; cfg_lock is held. */
static unsigned int bk_gate_ends(struct bk_gate *gate)
{
	struct bk_cfg *cfg = rcu_dereference_protected(gate->cfg,
					lockdep_is_held(&gate->cfg_lock));

	return cfg->nr_ends ? BK_GATE_ENDS : 0;
}

/* Let writers in again, on the new cfg; parked ones are sent in again. */
static void bk_gate_open(struct bk_gate *gate, unsigned int mode)
{
	struct bio_list parked;
	struct bio *bio;

	spin_lock(&gate->lock);
	parked = gate->parked;
	bio_list_init(&gate->parked);
	/* pairs with smp_load_acquire() in bk_gate_enter() */
	smp_store_release(&gate->mode, mode | bk_gate_ends(gate));
	spin_unlock(&gate->lock);

	while ((bio = bio_list_pop(&parked))) {
		struct bk_bio *pb = dm_per_bio_data(bio, sizeof(*pb));

		queue_work(gate->reenter_wq, &pb->work);
	}
}

/* Returns what was published before. */
static struct bk_cfg *bk_gate_publish(struct bk_gate *gate, struct bk_cfg *cfg)
{
	return rcu_replace_pointer(gate->cfg, cfg,
				   lockdep_is_held(&gate->cfg_lock));
}

/**
 * bk_gate_cut - make one instant in all gates of a list
 * @parts:	list of struct bk_cut_part; of each the gate has drained, its
 *		cfg_lock is held, and @next is ready but for its epoch
 *
 * Cannot fail. The cfgs that were published before are released.
 *
 * Context: process, under the one cut mutex; sleeps for one RCU grace period
 * with all gates open, and not after the first is closed.
 */
void bk_gate_cut(struct list_head *parts)
{
	struct bk_cut_part *p;

	list_for_each_entry(p, parts, list) {
		WARN_ON_ONCE(p->gate->mode & ~BK_GATE_ENDS);
		p->next->epoch = !bk_gate_epoch(p->gate);
		bk_gate_set(p->gate, 0, BK_GATE_SLOW | BK_GATE_DRAINING);
	}
	synchronize_rcu();

	list_for_each_entry(p, parts, list)
		bk_gate_set(p->gate, 0, BK_GATE_CLOSED);
	/* This is the instant: no gate lets anybody in. */
	list_for_each_entry(p, parts, list)
		p->next = bk_gate_publish(p->gate, p->next);
	list_for_each_entry(p, parts, list)
		bk_gate_open(p->gate, BK_GATE_DRAINING);

	list_for_each_entry(p, parts, list) {
		queue_work(p->gate->wait_wq, &p->gate->drain_work);
		bk_cfg_retire(p->next);
		p->next = NULL;
	}
}

/**
 * bk_gate_replace - publish another cfg without a cut: same epoch, no draining
 * @gate:	the gate; its cfg_lock is held
 * @next:	the cfg to publish
 *
 * For taking something out: writes may still meet what was taken out until a
 * grace period has passed, which its owner allows for. Or for putting something
 * in that writes need not meet at once.
 *
 * Context: process.
 */
void bk_gate_replace(struct bk_gate *gate, struct bk_cfg *next)
{
	lockdep_assert_held(&gate->cfg_lock);
	next->epoch = bk_gate_epoch(gate);
	bk_cfg_retire(bk_gate_publish(gate, next));
	if (!next->nr_ends)
		bk_gate_set(gate, BK_GATE_ENDS, 0);
}

/**
 * bk_gate_close_begin - it is about to be closed: no cut comes any more
 * @gate:	the gate, which has drained; its cfg_lock is held, and bk_cut_mutex,
 *		which need not be any longer then
 *
 * Until bk_gate_reopen(). Context: process; does not sleep.
 */
void bk_gate_close_begin(struct bk_gate *gate)
{
	lockdep_assert_held(&gate->cfg_lock);
	WARN_ON_ONCE(gate->mode & ~BK_GATE_ENDS);
	bk_gate_set(gate, 0, BK_GATE_SLOW | BK_GATE_DRAINING);
}

/**
 * bk_gate_close - keep writes out until none is in flight, and then on
 * @gate:	the gate, after bk_gate_close_begin(); its cfg_lock is held
 * @timeout:	how long to wait for those in flight, in jiffies
 *
 * Until bk_gate_reopen() the caller allocates nothing that waits for a write,
 * and takes no lock that somebody may hold who does.
 *
 * Context: process, sleeps. Return: false if they took too long: it is open again.
 */
bool bk_gate_close(struct bk_gate *gate, unsigned long timeout)
{
	lockdep_assert_held(&gate->cfg_lock);
	/* As in bk_gate_cut(): all are counted, and leavers see DRAINING. */
	synchronize_rcu();
	bk_gate_set(gate, 0, BK_GATE_CLOSED);
	if (wait_event_timeout(gate->drain_wait, bk_gate_idle(gate, 0) &&
			       bk_gate_idle(gate, 1), timeout))
		return true;
	bk_gate_reopen(gate);
	return false;
}

/**
 * bk_gate_reopen - let writes in again
 * @gate:	the gate, closed by bk_gate_close(); the same locks are held
 *
 * They see what was stored before.
 *
 * Context: process; does not sleep.
 */
void bk_gate_reopen(struct bk_gate *gate)
{
	bk_gate_open(gate, 0);
	wake_up_all(&gate->drain_wait);	/* bk_gate_wait_drained() */
}
