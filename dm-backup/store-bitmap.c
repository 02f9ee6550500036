// SPDX-License-Identifier: GPL-2.0-only
/*
 * What bitmaps ask of the store: their place on disk, and that the disk follows
 * them. The contract is in store.h.
 */

#include "store-int.h"
#include "origin.h"

#include <linux/slab.h>

/**
 * bk_store_reserve - make room for a bitmap, and write it there
 * @origin:	the filter
 * @name:	its name
 * @bits:	its bits; nobody else knows of them
 * @recording:	it is to record
 * @slot:	set to its slot
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, sleeps for a bounded time. Return: 0 or a negative errno.
 */
int bk_store_reserve(struct bk_origin *origin, const char *name,
		     struct bk_bits *bits, bool recording, int *slot,
		     char *error, size_t size)
{
	struct bk_store *store = origin->store;
	u32 nr = DIV_ROUND_UP(bits->nr, BK_MD_BITS);
	struct bk_store_req *req;
	unsigned int i;
	u32 *counts;
	int r;

	if (!bk_store_is_usable(store, error, size))
		return -ENODEV;
	/* Not by the worker: writes may wait for it. */
	counts = kvcalloc(nr, sizeof(*counts), GFP_NOIO);
	if (!counts) {
		scnprintf(error, size, "bitmap '%.64s': out of memory", name);
		return -ENOMEM;
	}
	mutex_lock(&origin->lock);
	for (i = 0; i < BK_MD_MAX_BITMAPS && store->slot[i].taken; i++)
		;
	if (i < BK_MD_MAX_BITMAPS)
		store->slot[i].taken = true;
	mutex_unlock(&origin->lock);
	if (i == BK_MD_MAX_BITMAPS) {
		scnprintf(error, size, "there are %u persistent bitmaps already",
			  i);
		kvfree(counts);
		return -ENOSPC;
	}
	req = bk_store_req_alloc(BK_STORE_PLACE, i);
	req->counts = counts;
	req->nr_counts = nr;
	strscpy(req->name, name, sizeof(req->name));
	req->recording = recording;
	req->shift = bits->shift;
	req->bits = bits;
	bk_bits_get(bits);
	/* It may be large. */
	r = bk_store_ask_and_wait(store, req, BK_STORE_MUST_MS, false);
	if (!r) {
		*slot = i;
		return 0;
	}
	scnprintf(error, size, "bitmap '%.64s': the metadata device %s", name,
		  r == -ENOSPC ? "has no room for it" :
		  r == -EAGAIN ? "is changing its length: try again" :
		  r == -ETIMEDOUT ? "is slow" : "has failed");
	/* What is being written yet is dropped when it is; the slot stays taken. */
	if (r == -ETIMEDOUT) {
		req = bk_store_req_alloc(BK_STORE_DROP, i);
		bk_store_ask(store, req);
		bk_store_req_put(req);
		return r;
	}
	mutex_lock(&origin->lock);
	store->slot[i].taken = false;
	mutex_unlock(&origin->lock);
	return r;
}

/**
 * bk_store_drop - a bitmap is gone, or will not be
 * @origin:	the filter
 * @slot:	the bitmap's; -1: it has none
 *
 * Context: process, sleeps for a bounded time.
 */
void bk_store_drop(struct bk_origin *origin, int slot)
{
	struct bk_store *store = origin->store;
	struct bk_store_req *req;
	int r;

	if (slot < 0)
		return;
	req = bk_store_req_alloc(BK_STORE_DROP, slot);
	if (bk_store_is_stopped(origin, slot)) {
		/* Done if it goes live again; the slot stays taken. */
		bk_store_ask(store, req);
		bk_store_req_put(req);
		return;
	}
	r = bk_store_ask_and_wait(store, req, BK_STORE_WAIT_MS, false);
	mutex_lock(&origin->lock);
	store->slot[slot].taken = r;
	mutex_unlock(&origin->lock);
}

/**
 * bk_store_cover - from now on the disk is to have other bits, too
 * @origin:	the filter
 * @slot:	the bitmap's; -1: it has none
 * @bits:	bits that are about to be published in the place of the bitmap's;
 *		or NULL if it keeps those
 *
 * Context: process; does not sleep, but for freeing memory.
 */
void bk_store_cover(struct bk_origin *origin, int slot, struct bk_bits *bits)
{
	struct bk_bits *old;
	struct bk_store_slot *s;

	if (slot < 0 || !bits)
		return;
	s = &origin->store->slot[slot];
	bk_bits_get(bits);
	spin_lock(&origin->store->lock);
	old = s->bits[1];
	s->bits[1] = bits;
	spin_unlock(&origin->store->lock);
	bk_bits_put(old);
}

/**
 * bk_store_announce - a bitmap is about to change, and the disk to follow
 * @origin:	the filter
 * @slot:	the bitmap's; -1: it has none
 * @removed:	it goes, which ends with bk_store_drop()
 *
 * Until it is asked to, nothing is cooled, and nobody else uses the bitmap.
 *
 * Context: process; does not sleep.
 */
void bk_store_announce(struct bk_origin *origin, int slot, bool removed)
{
	struct bk_store *store = origin->store;

	if (slot < 0)
		return;
	spin_lock(&store->lock);
	store->slot[slot].announced = true;
	store->slot[slot].removed = removed;
	spin_unlock(&store->lock);
}

/**
 * bk_store_uncover - the disk is to have a bitmap's bits, and no others
 * @origin:	the filter
 * @slot:	the bitmap's; -1: it has none
 * @bits:	its bits; they have all that the disk has
 *
 * Context: process, may sleep.
 */
void bk_store_uncover(struct bk_origin *origin, int slot, struct bk_bits *bits)
{
	if (slot >= 0)
		bk_store_settle(origin->store, slot, bits);
}

/**
 * bk_store_rewrite - a bitmap has lost bits: let the disk follow
 * @origin:	the filter; its lock is held
 * @slot:	the bitmap's; -1: it has none
 * @bits:	its bits now
 * @tag:	what it remembers
 * @flushed:	the origin has been flushed since the bits were dropped from
 *		memory and the cut that did it had drained; else it will be
 * @notify:	queued to the filter's wait_wq when that is so, or NULL
 *
 * Done once the last cut has drained and the origin has been flushed after that.
 *
 * Return: a request to wait for, and to put; NULL if there is nothing to do.
 */
struct bk_store_req *bk_store_rewrite(struct bk_origin *origin, int slot,
				      struct bk_bits *bits, const char *tag,
				      bool flushed, struct work_struct *notify)
{
	struct bk_store_req *req;

	if (slot < 0)
		return NULL;
	bk_store_cover(origin, slot, bits);
	req = bk_store_req_alloc(BK_STORE_REWRITE, slot);
	req->bits = bits;
	bk_bits_get(bits);
	strscpy(req->tag, tag, sizeof(req->tag));
	req->drained = true;
	req->flushed = flushed;
	req->notify = notify;
	bk_store_ask(origin->store, req);
	if (!flushed)
		bk_store_idle(origin);
	return req;
}

/**
 * bk_store_forget - the asker does not wait any more
 * @origin:	the filter
 * @req:	the request; its notify is not queued any more after this
 */
void bk_store_forget(struct bk_origin *origin, struct bk_store_req *req)
{
	spin_lock(&origin->store->lock);
	req->notify = NULL;
	spin_unlock(&origin->store->lock);
	bk_store_req_put(req);
}

/**
 * bk_store_update - bits were added, or it records or not: let the disk follow
 * @origin:	the filter; its lock is held
 * @slot:	the bitmap's; -1: it has none
 * @recording:	it records
 * @drained:	a cut has done this: not before that has drained
 *
 * Return: a request to wait for, and to put; NULL if there is nothing to do.
 */
struct bk_store_req *bk_store_update(struct bk_origin *origin, int slot,
				     bool recording, bool drained)
{
	struct bk_store_req *req;

	if (slot < 0)
		return NULL;
	req = bk_store_req_alloc(BK_STORE_UPDATE, slot);
	req->recording = recording;
	req->drained = drained;
	bk_store_ask(origin->store, req);
	return req;
}

/**
 * bk_store_distrust - a bitmap has become inconsistent: let the disk follow
 * @origin:	the filter; its lock is held
 * @slot:	the bitmap's; -1: it has none
 * @why:	why
 *
 * Context: process; waits for nothing.
 */
void bk_store_distrust(struct bk_origin *origin, int slot, const char *why)
{
	struct bk_store_req *req;

	if (slot < 0)
		return;
	req = bk_store_req_alloc(BK_STORE_DISTRUST, slot);
	strscpy(req->why, why, sizeof(req->why));
	bk_store_ask(origin->store, req);
	bk_store_req_put(req);
}

/**
 * bk_store_distrust_removed - the same for those whose removal is not on disk yet
 * @origin:	the filter; its lock is held
 * @why:	why
 */
void bk_store_distrust_removed(struct bk_origin *origin, const char *why)
{
	struct bk_store *store = origin->store;
	u64 removed = 0;
	int i;

	if (!store)
		return;
	spin_lock(&store->lock);
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		if (store->slot[i].removed)
			removed |= BIT_ULL(i);
	spin_unlock(&store->lock);
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		if (removed & BIT_ULL(i))
			bk_store_distrust(origin, i, why);
}

/**
 * bk_store_is_following - is the disk going to follow what it is asked to?
 * @origin:	the filter, in use
 * @patient:	also if it has failed: what it is asked for ends with that, some time
 *
 * Not if the filter is stopped: then perhaps in another life.
 */
bool bk_store_is_following(struct bk_origin *origin, bool patient)
{
	struct bk_store *store = origin->store;

	return store && READ_ONCE(store->live) &&
	       (patient || !READ_ONCE(store->failed));
}

/**
 * bk_store_is_stopped - can no change of a bitmap be written?
 * @origin:	the filter
 * @slot:	the bitmap's; -1: it has none
 */
bool bk_store_is_stopped(struct bk_origin *origin, int slot)
{
	struct bk_store *store = origin->store;

	return slot >= 0 && !READ_ONCE(store->live) &&
	       !READ_ONCE(store->failed);
}

/**
 * bk_store_is_pending - is a bitmap's last change not on disk yet?
 * @origin:	the filter
 * @slot:	the bitmap's; -1: it has none
 */
bool bk_store_is_pending(struct bk_origin *origin, int slot)
{
	struct bk_store *store = origin->store;
	bool pending;

	if (slot < 0)
		return false;
	spin_lock(&store->lock);
	pending = (store->slot[slot].announced || store->slot[slot].asked) &&
		  !store->failed;
	spin_unlock(&store->lock);
	return pending;
}
