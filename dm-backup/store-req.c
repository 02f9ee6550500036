// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the worker is asked for, and waiting for it. The contract is in store.h.
 */

#include "store-int.h"
#include "origin.h"

#include <linux/slab.h>

static void bk_store_req_free(struct kref *ref)
{
	struct bk_store_req *req = container_of(ref, struct bk_store_req, ref);

	bk_bits_put(req->bits);
	kvfree(req->counts);
	kfree(req);
}

/**
 * bk_store_req_put - drop a reference
 * @req:	the request, or NULL
 */
void bk_store_req_put(struct bk_store_req *req)
{
	if (req)
		kref_put(&req->ref, bk_store_req_free);
}

/**
 * bk_store_req_alloc - something to ask for
 * @verb:	what
 * @slot:	of which bitmap, or 0
 *
 * Context: process, sleeps; does not fail.
 */
struct bk_store_req *bk_store_req_alloc(enum bk_store_verb verb,
					unsigned int slot)
{
	struct bk_store_req *req = kzalloc(sizeof(*req), GFP_NOIO |
					   __GFP_NOFAIL);

	kref_init(&req->ref);
	init_completion(&req->done);
	req->verb = verb;
	req->slot = slot;
	return req;
}

/**
 * bk_store_req_done - it is done; the store's reference goes
 * @store:	the store
 * @req:	the request, on no list
 * @err:	how it went
 */
void bk_store_req_done(struct bk_store *store, struct bk_store_req *req,
		       int err)
{
	req->err = err;
	spin_lock(&store->lock);
	store->slot[req->slot].asked -= req->counted;
	req->counted = false;
	spin_unlock(&store->lock);
	/* Who waits for it finds the bitmap free. */
	complete_all(&req->done);
	spin_lock(&store->lock);
	if (req->notify && store->origin)
		queue_work(store->origin->wait_wq, req->notify);
	spin_unlock(&store->lock);
	bk_store_req_put(req);
}

/* Is it a change of a bitmap that has been made in memory already? */
static bool bk_store_is_change(const struct bk_store_req *req)
{
	return req->verb == BK_STORE_REWRITE ||
	       (req->verb == BK_STORE_UPDATE && req->drained);
}

/* May a request be put on the list? Under the lock. */
static bool bk_store_is_welcome(struct bk_store *store,
				const struct bk_store_req *req)
{
	if (!store->origin)
		return false;
	switch (req->verb) {
	case BK_STORE_PLACE:
	case BK_STORE_RESIZE:
	case BK_STORE_COOL:
	case BK_STORE_STAND:
		return store->live;
	default:
		/* While it is stopped, or only read, too: it may go live again. */
		return true;
	}
}

/**
 * bk_store_ask - ask, without waiting
 * @store:	the store; gets a reference of its own
 * @req:	the request
 */
void bk_store_ask(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_store_slot *s = &store->slot[req->slot];
	bool gone;

	kref_get(&req->ref);
	spin_lock(&store->lock);
	gone = !bk_store_is_welcome(store, req);
	if (!gone && bk_store_is_change(req)) {
		req->counted = true;
		s->asked++;
		s->announced = false;
	}
	if (!gone)
		list_add_tail(&req->list, &store->reqs);
	spin_unlock(&store->lock);
	if (gone)
		bk_store_req_done(store, req, -ENODEV);
	else
		bk_store_kick(store);
}

/**
 * bk_store_wait - wait until the disk has it
 * @req:	the request
 * @timeout:	in jiffies
 *
 * Context: process, sleeps. Return: how it went, or -ETIMEDOUT.
 */
int bk_store_wait(struct bk_store_req *req, unsigned long timeout)
{
	if (!wait_for_completion_timeout(&req->done, timeout))
		return -ETIMEDOUT;
	return req->err;
}

/**
 * bk_store_await - wait for as long as the device goes on
 * @store:	the store
 * @req:	what it was asked; the reference is dropped
 * @ms:	but no longer than this
 * @must:	one that has not done it by then has failed
 *
 * Context: process, sleeps. Return: how it went, or -ETIMEDOUT.
 */
int bk_store_await(struct bk_store *store, struct bk_store_req *req,
		   unsigned int ms, bool must)
{
	unsigned long end = jiffies + msecs_to_jiffies(ms);
	unsigned long soon = jiffies + msecs_to_jiffies(BK_STORE_WAIT_MS);
	bool stuck = false;
	int r;

	do {
		r = bk_store_wait(req, HZ / 4);
		stuck = bk_store_is_late(READ_ONCE(store->io_since)) ||
			(READ_ONCE(store->erring) && time_after(jiffies, soon));
	} while (r == -ETIMEDOUT && !stuck && time_before(jiffies, end));
	if (r == -ETIMEDOUT && (must || (stuck && !store->hold)))
		bk_store_fail(store);
	bk_store_req_put(req);
	return r;
}

/**
 * bk_store_ask_and_wait - ask, and wait for as long as the device goes on
 * @store:	the store
 * @req:	the request; the reference is dropped
 * @ms:		but no longer than this
 * @must:	one that has not done it by then has failed
 *
 * Context: process, sleeps. Return: how it went, or -ETIMEDOUT.
 */
int bk_store_ask_and_wait(struct bk_store *store, struct bk_store_req *req,
			  unsigned int ms, bool must)
{
	bk_store_ask(store, req);
	return bk_store_await(store, req, ms, must);
}

/*
 * Is it among those that are done in their order, slot by slot? What is about all
 * bitmaps, and is not left out here, makes all others ready.
 */
static bool bk_store_has_slot(const struct bk_store_req *req)
{
	return req->verb != BK_STORE_BEGIN && req->verb != BK_STORE_COOL &&
	       req->verb != BK_STORE_STAND;
}

/* May a request be done now? Under the lock. */
static bool bk_store_is_ready(struct bk_store *store, struct bk_store_req *req)
{
	if (!store->live)
		return req->verb == BK_STORE_BEGIN;
	if (req->drained && bk_gate_is_draining(&store->origin->gate))
		return false;
	if (req->verb == BK_STORE_COOL)
		return !bk_store_has_pending(store);
	return req->verb != BK_STORE_REWRITE || req->flushed;
}

/**
 * bk_store_next - the next request that can be done, off the list
 * @store:	the store
 *
 * Those of one slot come in their order. At the end, and when the length changes,
 * all are done: whoever asks for that has drained the gate and flushed the origin.
 *
 * Return: NULL if there is none.
 */
struct bk_store_req *bk_store_next(struct bk_store *store)
{
	struct bk_store_req *req, *next = NULL;
	bool all = READ_ONCE(store->failed);
	u64 skipped = 0;

	spin_lock(&store->lock);
	list_for_each_entry(req, &store->reqs, list)
		all |= req->verb == BK_STORE_END ||
		       req->verb == BK_STORE_RESIZE;
	if (store->origin)
		list_for_each_entry(req, &store->reqs, list) {
			if (all || req->verb == BK_STORE_DISTRUST ||
			    (!(bk_store_has_slot(req) &&
			       skipped & BIT_ULL(req->slot)) &&
			     bk_store_is_ready(store, req))) {
				next = req;
				break;
			}
			if (bk_store_has_slot(req))
				skipped |= BIT_ULL(req->slot);
		}
	if (next)
		list_del(&next->list);
	spin_unlock(&store->lock);
	return next;
}

/**
 * bk_store_put_back - it can't be done now; it stays the first
 * @store:	the store
 * @req:	the request
 */
void bk_store_put_back(struct bk_store *store, struct bk_store_req *req)
{
	bool gone;

	spin_lock(&store->lock);
	gone = !store->origin;
	if (!gone)
		list_add(&req->list, &store->reqs);
	spin_unlock(&store->lock);
	if (gone)
		bk_store_req_done(store, req, -ENODEV);
}

/**
 * bk_store_wants_flush - does any request wait for a flush of the origin?
 * @store:	the store
 * @begin:	the flush is about to be made: it is for those that do, and for none
 *		that comes later
 *
 * Only those count whose cut has drained.
 */
bool bk_store_wants_flush(struct bk_store *store, bool begin)
{
	struct bk_store_req *req;
	bool any = false, wants;

	spin_lock(&store->lock);
	list_for_each_entry(req, &store->reqs, list) {
		wants = req->verb == BK_STORE_REWRITE && !req->flushed &&
			store->origin && !bk_gate_is_draining(&store->origin->gate);
		any |= wants;
		if (begin)
			req->flushing = wants;
	}
	spin_unlock(&store->lock);
	return any;
}

/**
 * bk_store_mark_flushed - the flush has been made
 * @store:	the store
 */
void bk_store_mark_flushed(struct bk_store *store)
{
	struct bk_store_req *req;

	spin_lock(&store->lock);
	list_for_each_entry(req, &store->reqs, list)
		req->flushed |= req->flushing;
	spin_unlock(&store->lock);
}
