// SPDX-License-Identifier: GPL-2.0-only
/*
 * Beginning and ending with a metadata device, and what there is to see of it. The
 * contract is in store.h; opening and loading are in store-load.c.
 */

#include "store-int.h"
#include "compat.h"
#include "dest.h"
#include "module.h"
#include "origin.h"
#include "trust.h"

/**
 * bk_store_give_up - no bitmap of a filter can be trusted any more
 * @origin:	the filter
 * @why:	what they say from then on
 *
 * Context: process, sleeps; takes the filter's lock.
 */
void bk_store_give_up(struct bk_origin *origin, const char *why)
{
	mutex_lock(&origin->lock);
	origin->ops->distrust(origin, why, BK_STORE_ALL);
	mutex_unlock(&origin->lock);
}

/**
 * bk_store_begin - a filter goes live: may its bitmaps be believed?
 * @in:		its instance; nothing is written through it yet
 *
 * From here on the disk says that the filter is in use. If it can't be made to
 * say so the bitmaps are inconsistent; the filter goes live in any case.
 *
 * Context: dm's preresume: process, sleeps for a bounded time.
 */
void bk_store_begin(struct bk_instance *in)
{
	struct bk_origin *origin = in->origin;
	struct bk_store *store = origin->store;
	struct bk_store_req *req;
	struct bk_evidence e;
	const char *why;
	int r;

	if (!store)
		return;
	store->hold = in->hold;
	if (!store->live)
		store->read_only = !(dm_table_get_mode(in->ti->table) &
				     BK_MODE_WRITE);
	if (READ_ONCE(store->failed))	/* to write that down */
		queue_delayed_work(origin->wait_wq, &store->tick, 0);
	if (store->live || READ_ONCE(store->failed))
		return;
	bk_trust_look(in, store->root.clean, &e);
	why = bk_trust_judge(&store->root, &store->lease, store->lease.seq, &e,
			     in->trust_crash);
	/* A table that only read had another length: nothing was written here. */
	if (!why && store->root.len != origin->len)
		why = "the length of the device changed while it was read-only";
	if (why)
		bk_store_give_up(origin, why);
	if (store->read_only)
		return;
	store->witness = e.witness;
	req = bk_store_req_alloc(BK_STORE_BEGIN, 0);
	strscpy(req->why, why ?: "", sizeof(req->why));
	memcpy(req->below, e.below, sizeof(req->below));
	r = bk_store_ask_and_wait(store, req, BK_STORE_MUST_MS, true);
	if (r) {
		bk_store_fail(store);
		bk_store_give_up(origin, "the metadata device failed");
	}
	spin_lock(&store->lock);
	WRITE_ONCE(store->live, !r);
	spin_unlock(&store->lock);
	/* If it has failed, to write that down. */
	bk_store_start(origin);
}

/**
 * bk_store_follow - a filter goes on, on the device of another table
 * @in:		its instance; nothing is written through it yet, and what can't be
 *		trusted there has been distrusted
 *
 * Context: dm's preresume: process, sleeps for a bounded time.
 */
void bk_store_follow(struct bk_instance *in)
{
	struct bk_origin *origin = in->origin;
	struct bk_store *store = origin->store;
	struct bk_store_req *req;

	if (!store || !store->live || READ_ONCE(store->failed))
		return;
	req = bk_store_stand_prepare(origin);
	bk_store_stand_on(req, in->dev->bdev);
	if (bk_store_ask_and_wait(store, req, BK_STORE_MUST_MS, true))
		bk_store_give_up(origin, "the metadata device failed");
}

/**
 * bk_store_end - a filter stops: save everything exactly
 * @in:		its last instance; nothing is in flight in it
 * @why:	NULL, or why its bitmaps can't be trusted any more
 *
 * Context: dm's postsuspend or dtr: process, sleeps for a bounded time, but for
 * the origin's.
 */
void bk_store_end(struct bk_instance *in, const char *why)
{
	struct bk_store *store = in->origin->store;
	struct bk_store_req *req;
	struct bk_evidence e = { };

	if (!store || !store->live)
		return;
	cancel_delayed_work_sync(&store->tick);
	req = bk_store_req_alloc(BK_STORE_END, 0);
	if (!why && !bk_gate_wait_drained(&in->origin->gate, HZ))
		why = "writes were still in flight at the end";
	if (!why && blkdev_issue_flush(in->dev->bdev))
		why = "the origin could not be flushed at the end";
	if (!why) {
		bk_trust_look(in, true, &e);
		if (e.err)
			why = "the origin could not be read at the end";
	}
	strscpy(req->why, why ?: "", sizeof(req->why));
	req->print = e.print;
	memcpy(req->written, e.written, sizeof(req->written));
	memcpy(req->device, e.device, sizeof(req->device));
	bk_store_ask_and_wait(store, req, BK_STORE_MUST_MS, true);
	spin_lock(&store->lock);
	WRITE_ONCE(store->live, false);
	spin_unlock(&store->lock);
}

/**
 * bk_store_break - what was saved when a filter stopped can't be trusted after all
 * @origin:	the filter, whose bitmaps have been distrusted; if it has not stopped
 *		nothing happens
 * @why:	why
 *
 * Context: dm's preresume or dtr: process, sleeps for a bounded time.
 */
void bk_store_break(struct bk_origin *origin, const char *why)
{
	struct bk_store *store = origin->store;
	struct bk_store_req *req;

	/*
	 * What waits for the next life is done before this END: it changes a root that
	 * is clean, and that is marked as broken then.
	 */
	if (!store || store->live || !READ_ONCE(store->begun) ||
	    READ_ONCE(store->failed) || store->root.broken)
		return;
	req = bk_store_req_alloc(BK_STORE_END, 0);
	strscpy(req->why, why, sizeof(req->why));
	bk_store_ask_and_wait(store, req, BK_STORE_MUST_MS, true);
}

/**
 * bk_store_resize - the device has another length, and its bitmaps have followed
 * @origin:	the filter; its lock is held, no bio is in it
 * @len:	the new length, sectors
 *
 * The disk is asked to follow, too; bk_store_resized() waits for that.
 *
 * Context: dm's preresume: process, sleeps; waits for no I/O.
 */
void bk_store_resize(struct bk_origin *origin, sector_t len)
{
	struct bk_store *store = origin->store;
	struct bk_store_req *req;

	if (!store)
		return;
	/* The map in memory is looked at in any case. */
	while (bk_md_units(len, store->shift) > bk_store_regions(store))
		store->shift++;
	if (!store->live || READ_ONCE(store->failed))
		return;
	req = bk_store_req_alloc(BK_STORE_RESIZE, 0);
	req->len = len;
	bk_store_ask(store, req);
	store->resize = req;
}

/* All bitmaps are written anew, which may be much: 1 ms for each page more. */
static unsigned int bk_store_resize_ms(struct bk_store *store)
{
	u64 ms = BK_STORE_MUST_MS;
	unsigned int i;

	spin_lock(&store->lock);
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		if (store->slot[i].bits[0])
			ms += DIV_ROUND_UP(store->slot[i].bits[0]->nr,
					   BK_MD_BITS);
	spin_unlock(&store->lock);
	return min_t(u64, ms, INT_MAX);
}

/**
 * bk_store_resized - wait until the disk has followed another length
 * @in:		the instance that has it; nothing is written through it yet
 *
 * Under no lock: other filters do not wait for this one's metadata device.
 *
 * Context: dm's preresume: process, sleeps for as long as the device goes on, and a
 * time that is bounded by the size of the bitmaps.
 */
void bk_store_resized(struct bk_instance *in)
{
	struct bk_origin *origin = in->origin;
	struct bk_store *store = origin->store;
	struct bk_store_req *req;
	int r;

	if (!store)
		return;
	/* A table that only read may have had that length already. */
	if (!store->resize && store->root.len != origin->len)
		bk_store_resize(origin, origin->len);
	req = store->resize;
	if (!req)
		return;
	store->resize = NULL;
	kref_get(&req->ref);
	r = bk_store_await(store, req, bk_store_resize_ms(store), true);
	mutex_lock(&origin->lock);
	if (r)
		origin->ops->distrust(origin,
				      "the metadata device failed when the length changed",
				      BK_STORE_ALL);
	else if (req->lost)
		origin->ops->distrust(origin,
				      "the metadata device has no room for the new length",
				      req->lost);
	mutex_unlock(&origin->lock);
	bk_store_req_put(req);
}

/**
 * bk_store_is_usable - is there a metadata device that follows?
 * @store:	the filter's, or NULL
 * @error:	filled with a sentence if not
 * @size:	of @error
 */
bool bk_store_is_usable(struct bk_store *store, char *error, size_t size)
{
	if (store && store->live)
		return true;
	strscpy(error, !store ? "the filter has no metadata device" :
		READ_ONCE(store->failed) ? "the metadata device has failed" :
		"the metadata device is not in use: the filter is read-only, suspended or about to go",
		size);
	return false;
}

/**
 * bk_store_save_now - save everything, so that after a crash no more is dirty
 * @origin:	the filter
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, sleeps for a bounded time. Return: 0 or a negative errno.
 */
int bk_store_save_now(struct bk_origin *origin, char *error, size_t size)
{
	struct bk_store *store = origin->store;
	struct bk_store_req *req;
	int r;

	if (!bk_store_is_usable(store, error, size))
		return -ENODEV;
	req = bk_store_req_alloc(BK_STORE_COOL, 0);
	req->drained = true;
	r = bk_store_ask_and_wait(store, req, BK_STORE_WAIT_MS, false);
	if (r)
		scnprintf(error, size, "the metadata device %s",
			  r == -ETIMEDOUT ? "is slow" :
			  r == -EAGAIN ? "has a change to write: try again" :
			  "has failed");
	return r;
}

/**
 * bk_store_close - the filter goes away
 * @origin:	the filter; nobody writes to it, and its bitmaps are gone
 *
 * Context: process, sleeps for a bounded time.
 */
void bk_store_close(struct bk_origin *origin)
{
	struct bk_store *store = origin->store;
	struct bk_store_req *req, *next;
	LIST_HEAD(reqs);
	dev_t dev;

	if (!store)
		return;
	spin_lock(&store->lock);
	store->origin = NULL;
	list_splice_init(&store->reqs, &reqs);
	spin_unlock(&store->lock);
	cancel_delayed_work_sync(&store->tick);	/* nobody queues it any more */
	list_for_each_entry_safe(req, next, &reqs, list)
		bk_store_req_done(store, req, -ENODEV);
	cancel_work_sync(&origin->distrust);
	origin->store = NULL;
	dev = store->dest ? store->dest->dev : 0;
	bk_store_put(store);
	/* Whoever removes the filter may want to remove the device next. */
	if (dev)
		bk_dest_wait_closed(dev, msecs_to_jiffies(BK_STORE_WAIT_MS));
}

/**
 * bk_store_status - the store's group in the status line
 * @origin:	the filter
 * @buf:	where to
 * @size:	of @buf
 *
 * "0", or the number of words, which may become more: device, state, hot
 * regions, all regions, sectors of a region. Return: length.
 */
size_t bk_store_status(struct bk_origin *origin, char *buf, size_t size)
{
	struct bk_store *store = origin->store;
	unsigned long regions;

	if (!store)
		return scnprintf(buf, size, "0");
	regions = bk_md_units(READ_ONCE(origin->len), store->shift);
	return scnprintf(buf, size, "5 %s %s %u %lu %llu", store->name,
			 READ_ONCE(store->failed) ? "failed" :
			 store->read_only ? "read_only" :
			 READ_ONCE(store->live) ? "ok" : "stopped",
			 READ_ONCE(store->failed) ? 0 :
			 bitmap_weight(store->hot, regions), regions,
			 1ULL << store->shift);
}
