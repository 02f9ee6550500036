// SPDX-License-Identifier: GPL-2.0-only
/*
 * The worker, and what is done now and then. The contract is in store.h.
 */

#include "store-int.h"
#include "compat.h"
#include "origin.h"
#include "trace.h"
#include "trust.h"

#include <linux/moduleparam.h>
#include <linux/sched/mm.h>

/* How often the lease is renewed, at least. */
#define BK_STORE_TICK_MS	5000

static unsigned int bk_save_interval = 60;
module_param_named(save_interval, bk_save_interval, uint, 0644);
MODULE_PARM_DESC(save_interval, "Seconds between saving persistent bitmaps");

/* How long until the next pass. */
static unsigned long bk_store_pass_time(void)
{
	return clamp(READ_ONCE(bk_save_interval), 1U, 86400U) * (unsigned long)HZ;
}

static void bk_store_queue_tick(struct bk_store *store,
				struct bk_origin *origin)
{
	queue_delayed_work(origin->wait_wq, &store->tick,
			   min(bk_store_pass_time(),
			       msecs_to_jiffies(BK_STORE_TICK_MS)));
}

/* One thing to do; false if there is none. */
static bool bk_store_step(struct bk_store *store)
{
	struct bk_store_req *req;
	int r = 0;

	req = bk_store_next(store);
	if (req) {
		r = READ_ONCE(store->failed) ? -EIO : bk_store_do(store, req);
		if (r == -EIO && store->hold && !READ_ONCE(store->failed)) {
			bk_store_pass_abort(store);
			bk_store_put_back(store, req);
			bk_store_retry(store);
			return false;
		}
		trace_bk_store(store->name, req->verb, req->slot, r);
		bk_store_req_done(store, req, r);
		if (r != -EIO)
			r = 0;	/* an answer, not the device's */
	} else if (READ_ONCE(store->failed)) {
		bk_store_mark_broken(store);
		return false;
	} else if (READ_ONCE(store->lease_due)) {
		r = bk_store_write_lease(store);
	} else if (store->pass) {
		r = bk_store_pass_step(store);
	} else if (READ_ONCE(store->pass_due)) {
		bk_store_pass_begin(store);
	} else {
		return false;
	}
	if (!r)
		return true;
	if (!store->hold) {
		bk_store_fail(store);
		return true;	/* to write that down */
	}
	bk_store_pass_abort(store);
	bk_store_retry(store);
	return false;
}

void bk_store_work(struct work_struct *work)
{
	struct bk_store *store = container_of(work, struct bk_store, work);
	unsigned int noio = memalloc_noio_save();

	do {
		if (bk_store_serve(store) && !READ_ONCE(store->failed))
			break;
		cond_resched();
	} while (bk_store_step(store) || (READ_ONCE(store->want_since) &&
					  !READ_ONCE(store->failed)));
	memalloc_noio_restore(noio);
	bk_store_put(store);
}

/* What has to do with the origin, for which this may wait. */
static void bk_store_ask_origin(struct bk_store *store,
				struct bk_origin *origin)
{
	struct block_device *bdev = bk_origin_io_begin(origin, NULL);
	struct bk_md_witness witness;

	if (IS_ERR_OR_NULL(bdev))
		return;
	if (bk_store_wants_flush(store, true) && !blkdev_issue_flush(bdev))
		bk_store_mark_flushed(store);
	if (!bk_trust_witness(bdev, READ_ONCE(origin->len), &witness)) {
		spin_lock(&store->lock);
		store->witness = witness;
		spin_unlock(&store->lock);
	}
	bk_origin_io_end(origin);
}

/* Now and then: how the origin's file system is, the lease, a pass. */
void bk_store_tick(struct work_struct *work)
{
	struct bk_store *store = container_of(to_delayed_work(work),
					      struct bk_store, tick);
	struct bk_origin *origin = bk_store_origin(store);
	unsigned int noio = memalloc_noio_save();

	if (!origin)
		goto out;
	bk_store_ask_origin(store, origin);
	bk_origin_put(origin);
	spin_lock(&store->lock);
	WRITE_ONCE(store->lease_due, true);
	if (time_after_eq(jiffies, store->pass_at)) {
		WRITE_ONCE(store->pass_due, true);
		store->pass_at = jiffies + bk_store_pass_time();
	}
	if (store->origin && (store->live || store->failed))
		bk_store_queue_tick(store, store->origin);
	spin_unlock(&store->lock);
	bk_store_kick(store);
out:
	memalloc_noio_restore(noio);
}

/**
 * bk_store_start - the filter is live: tick from now on
 * @origin:	the filter
 */
void bk_store_start(struct bk_origin *origin)
{
	struct bk_store *store = origin->store;

	spin_lock(&store->lock);
	store->pass_at = jiffies + bk_store_pass_time();
	bk_store_queue_tick(store, origin);
	spin_unlock(&store->lock);
}

/**
 * bk_store_idle - what waited for a cut's drain, or a resume, may be done
 * @origin:	the filter
 *
 * Context: process; does not sleep.
 */
void bk_store_idle(struct bk_origin *origin)
{
	struct bk_store *store = origin->store;

	if (!store || !READ_ONCE(store->live))
		return;
	if (bk_store_wants_flush(store, false))
		mod_delayed_work(origin->wait_wq, &store->tick, 0);
	bk_store_kick(store);
}
