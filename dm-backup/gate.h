/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The gate: every write passes it, and the cut happens in it.
 *
 * What it promises
 *   A cut is one instant. A write that is counted in the old epoch goes by
 *   the old struct bk_cfg, a write that is counted in the new one by the new.
 *   There is no third kind. Nobody waits for I/O to make a cut: what is still in flight
 *   in the old epoch is drained afterwards, with the gate open.
 *
 * How
 *   Entering and leaving add and subtract on this CPU's counter of an epoch.
 *   Two counters per CPU are enough: a cut is refused until the epoch before
 *   has drained. A count may be taken on one CPU and given back on another,
 *   so only the sum over all possible CPUs means anything; once nobody can
 *   enter an epoch any more its sum only falls, so a sum of zero is final.
 *
 * The cut (bk_gate_cut), for any number of gates at once
 *   1. mode := SLOW | DRAINING on all, then one synchronize_rcu(). Writers
 *      flow on, but enter under gate->lock. Entering reads mode, cfg and
 *      counts with preemption off, so after the grace period nobody stands
 *      between reading the old cfg and being counted, and everybody who
 *      leaves sees DRAINING.
 *   2. mode |= CLOSED on each, under its lock: who comes now is parked.
 *   3. The next cfg is published on each. Pointers only.
 *   4. mode := DRAINING on each, parked bios are sent in again.
 *   5. drain_work waits until the old epoch's sum is zero, then calls
 *      ops->drained. Until then a write that ends marks the bits of the cfg
 *      that is published by then, before it leaves: bits that came with the cut
 *      may not know of it. One that finds DRAINING not set has written what it
 *      had to before the instant.
 *   Between 2 and 4 nothing is allocated, no I/O is done, no other lock is
 *   taken, and the work does not grow with the devices.
 *   While the published cfg has @ends, BK_GATE_ENDS is set: it comes with the
 *   opening, so a write that is counted by then finds it set when it ends, and
 *   one of the old epoch finds DRAINING set.
 *
 * Closing for longer (bk_gate_close_begin, bk_gate_close), for a mirror's end
 *   As 1 and 2, then it waits for all writes in flight, but not for long. Until
 *   bk_gate_reopen() none is: what is on the origin stays. From the beginning to
 *   that it has not drained: who wants to cut waits, and not with bk_cut_mutex.
 *
 * Locks and contexts
 *   lock      spinlock: mode (writes), parked. Process context only; taken
 *             inside anything else, nothing is taken inside it.
 *   cfg_lock  mutex: whoever replaces cfg, by a cut or otherwise. Held across
 *             allocations by who takes a job out, so a cut takes it before
 *             step 1.
 *   cfg       RCU. Read with preemption off or under rcu_read_lock(); workers
 *             take a reference.
 *   map() and end_io() neither sleep nor allocate here.
 */

#ifndef BK_GATE_H
#define BK_GATE_H

#include <linux/bio.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

struct bk_bits;
struct bk_gate;
struct bk_instance;
struct bk_mcopy;
struct bk_mwrite;
struct bk_pit;

/**
 * struct bk_bio - what the filter keeps with each bio, in dm's per-bio data
 *
 * dm does not clear it: @counted is stored for every bio, the range for every
 * write, the rest when it first waits.
 *
 * @counted:	0: in no epoch; else 1 + the epoch it is counted in
 * @sector:	where it writes; when it ends its iterator doesn't know any more
 * @sectors:	how much
 * @fail:	if not 0, the status it is to end with (break_guest_write)
 * @work:	sends the bio in again
 * @in:		the target instance that mapped it
 * @held:	on origin->held.list while it waits; held.lock
 * @since:	jiffies of its first wait
 * @discard_bytes: what this held discard asks to be copied
 * @mw:		NULL, or what it was admitted as to go to a mirror as well
 */
struct bk_bio {
	u8 counted;
	blk_status_t fail;
	unsigned int sectors;
	sector_t sector;
	struct work_struct work;
	struct bk_instance *in;
	struct list_head held;
	unsigned long since;
	u64 discard_bytes;
	struct bk_mwrite *mw;
};

/**
 * struct bk_cfg - what the filter does to writes; immutable once published
 *
 * @ref:	the publication's, and one for each worker that reads it
 * @rwork:	drops the publication's reference after a grace period
 * @ops:	of the gate it was made for, which it may outlive
 * @epoch:	0 or 1, the counters that its writes are counted in
 * @active:	there is anything to do to a write at all
 * @persistent:	some bits are, or were: regions are to be hot. Stays set, as the
 *		disk has a bitmap for a while after it was taken out here
 * @nr_pits:	number of points in time
 * @nr_bits:	number of bits
 * @nr_ends:	number of @ends
 * @bits:	to mark for each write; a reference on each
 * @ends:	to mark when a write has ended: mirrors'; a reference on each
 * @both:	NULL, or the mirror that writes go to as well (mirror-write.h); a
 *		reference. Its bits are in @ends
 * @pits:	points in time to copy for before a write; a reference on each
 */
struct bk_cfg {
	refcount_t ref;
	struct rcu_work rwork;
	const struct bk_gate_ops *ops;
	u8 epoch;
	bool active;
	bool persistent;
	unsigned int nr_pits;
	unsigned int nr_bits;
	unsigned int nr_ends;
	struct bk_bits **bits;
	struct bk_bits **ends;
	struct bk_mcopy *both;
	struct bk_pit *pits[];
};

/**
 * struct bk_gate_ops - what the gate asks of the filter it belongs to
 * @drained:	the old epoch of the last cut has no write in flight any more;
 *		process context, may sleep
 * @idle:	the same, and the next cut may come
 * @release:	the last reference to @cfg has gone; drop what it holds and
 *		free it; process context, may sleep
 */
struct bk_gate_ops {
	void (*drained)(struct bk_gate *gate);
	void (*idle)(struct bk_gate *gate);
	void (*release)(struct bk_cfg *cfg);
};

#define BK_GATE_SLOW		1u	/* enter under the lock */
#define BK_GATE_CLOSED		2u	/* park */
#define BK_GATE_DRAINING	4u	/* who leaves wakes the drainer */
#define BK_GATE_ENDS		8u	/* cfg->ends: who leaves marks them */

struct bk_gate_count {
	unsigned long n[2];
};

struct bk_gate {
	unsigned int mode;
	struct bk_cfg __rcu *cfg;
	struct bk_gate_count __percpu *count;

	const struct bk_gate_ops *ops;
	spinlock_t lock;	/* mode (to write), parked */
	struct bio_list parked;
	struct mutex cfg_lock;	/* who replaces cfg */

	/* the wq that sends parked bios in again, and the one that may wait */
	struct workqueue_struct *reenter_wq;
	struct workqueue_struct *wait_wq;
	wait_queue_head_t drain_wait;
	struct work_struct drain_work;
};

/**
 * struct bk_cut_part - one gate's part in a cut
 * @list:	in the list given to bk_gate_cut()
 * @gate:	the gate; its cfg_lock is held by the caller
 * @next:	the cfg to publish, from bk_cfg_alloc(), epoch set by the cut
 */
struct bk_cut_part {
	struct list_head list;
	struct bk_gate *gate;
	struct bk_cfg *next;
};

/**
 * enum bk_enter - how a write was left
 * @BK_ENTER_SLOW:	not counted; bk_gate_enter_slow() is to be asked
 * @BK_ENTER_PASS:	counted, and there is nothing to do to it
 * @BK_ENTER_LOOK:	counted, and bk_gate_cfg() says what to do to it
 * @BK_ENTER_PARKED:	not counted, and not the caller's any more: it comes in
 *			again through its work when the gate opens
 * @BK_ENTER_AGAIN:	not counted; it would have been parked but is REQ_NOWAIT
 */
enum bk_enter {
	BK_ENTER_SLOW,
	BK_ENTER_PASS,
	BK_ENTER_LOOK,
	BK_ENTER_PARKED,
	BK_ENTER_AGAIN,
};

int bk_gate_init(struct bk_gate *gate, const struct bk_gate_ops *ops,
		 struct workqueue_struct *reenter_wq,
		 struct workqueue_struct *wait_wq);
void bk_gate_exit(struct bk_gate *gate);
enum bk_enter bk_gate_enter_slow(struct bk_gate *gate, struct bio *bio,
				 struct bk_bio *pb);
bool bk_gate_wait_drained(struct bk_gate *gate, unsigned long timeout);
void bk_gate_cut(struct list_head *parts);
void bk_gate_replace(struct bk_gate *gate, struct bk_cfg *next);
void bk_gate_close_begin(struct bk_gate *gate);
bool bk_gate_close(struct bk_gate *gate, unsigned long timeout);
void bk_gate_reopen(struct bk_gate *gate);

struct bk_cfg *bk_cfg_alloc(struct bk_gate *gate, unsigned int nr_pits,
			    unsigned int nr_bits, unsigned int nr_ends,
			    gfp_t gfp);
struct bk_cfg *bk_cfg_get(struct bk_gate *gate);
void bk_cfg_put(struct bk_cfg *cfg);

/**
 * bk_bio_may_wait - may a write wait here, or is it to be sent back?
 * @bio:	the write; if it may, it is made fit for that
 *
 * Polled bios are all marked REQ_NOWAIT as well, but their sender waits for
 * their end in any case and does not send them again. While they wait here
 * there is nothing to poll.
 */
static inline bool bk_bio_may_wait(struct bio *bio)
{
	if (bio->bi_opf & REQ_POLLED)
		bio->bi_opf &= ~(REQ_POLLED | REQ_NOWAIT);
	return !(bio->bi_opf & REQ_NOWAIT);
}

/**
 * bk_gate_enter - count a write, if that takes no lock
 * @gate:	the gate
 * @pb:		the write's per-bio data; it is not counted
 *
 * Context: process; does not sleep.
 * Return: BK_ENTER_SLOW, BK_ENTER_PASS or BK_ENTER_LOOK.
 */
static __always_inline enum bk_enter bk_gate_enter(struct bk_gate *gate,
						   struct bk_bio *pb)
{
	enum bk_enter enter = BK_ENTER_SLOW;
	struct bk_cfg *cfg;

	/*
	 * Preemption stays off from reading the mode to being counted: the
	 * synchronize_rcu() of bk_gate_cut() waits for that.
	 */
	preempt_disable();
	/*
	 * Pairs with the release in bk_gate_open(): who sees the gate open
	 * again sees the cfg that was published before.
	 */
	if (likely(!(smp_load_acquire(&gate->mode) &
		     (BK_GATE_SLOW | BK_GATE_CLOSED)))) {
		cfg = rcu_dereference_sched(gate->cfg);
		this_cpu_inc(gate->count->n[cfg->epoch]);
		pb->counted = 1 + cfg->epoch;
		enter = cfg->active ? BK_ENTER_LOOK : BK_ENTER_PASS;
	}
	preempt_enable();
	return enter;
}

/**
 * bk_gate_cfg - what is to be done to a counted write
 * @gate:	the gate
 * @pb:		the write's per-bio data
 *
 * Context: any, under rcu_read_lock().
 * Return: the cfg of the epoch it is counted in. NULL if a cut has come since:
 * it is to leave, and enter again.
 */
static __always_inline struct bk_cfg *bk_gate_cfg(struct bk_gate *gate,
						  struct bk_bio *pb)
{
	struct bk_cfg *cfg = rcu_dereference(gate->cfg);

	return likely(pb->counted == 1 + cfg->epoch) ? cfg : NULL;
}

/**
 * bk_gate_is_draining - is there a cut, or one that has not drained?
 * @gate:	the gate
 */
static __always_inline bool bk_gate_is_draining(struct bk_gate *gate)
{
	return READ_ONCE(gate->mode) & BK_GATE_DRAINING;
}

/**
 * bk_gate_marks_ends - has a write that ends anything to mark?
 * @gate:	the gate
 *
 * Asked before it leaves: there may have been a cut that it does not know of,
 * or there are mirrors. One test for both, as it is made for every write.
 */
static __always_inline bool bk_gate_marks_ends(struct bk_gate *gate)
{
	return READ_ONCE(gate->mode) & (BK_GATE_DRAINING | BK_GATE_ENDS);
}

/**
 * bk_gate_leave - take a write's count back
 * @gate:	the gate
 * @pb:		the write's per-bio data; it is counted
 *
 * Context: any, interrupts included.
 */
static __always_inline void bk_gate_leave(struct bk_gate *gate,
					  struct bk_bio *pb)
{
	unsigned int mode;

	/*
	 * Preemption off from giving the count back to reading the mode: a
	 * leaver that misses DRAINING has been waited for by the cut's
	 * synchronize_rcu(), so the drainer's sum has its count.
	 */
	preempt_disable();
	/*
	 * Pairs with smp_mb() in bk_gate_idle(): who finds the sum zero sees
	 * what the writes' completions stored.
	 */
	smp_wmb();
	this_cpu_dec(gate->count->n[pb->counted - 1]);
	mode = READ_ONCE(gate->mode);
	preempt_enable();
	/* dm does not know of the write's end yet, so the gate is still there. */
	if (unlikely(mode & BK_GATE_DRAINING))
		wake_up(&gate->drain_wait);
	pb->counted = 0;
}

#endif
