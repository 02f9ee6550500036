// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cooling: passes that save pages, so that few regions are hot. The contract is in
 * store.h.
 */

#include "store-int.h"
#include "bits.h"
#include "origin.h"

/**
 * bk_store_has_pending - is any change of a bitmap not on disk yet?
 * @store:	the store; its lock is held
 */
bool bk_store_has_pending(struct bk_store *store)
{
	bool pending = false;
	unsigned int i;

	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		pending |= store->slot[i].announced || store->slot[i].asked;
	return pending;
}

/**
 * bk_store_pass_begin - begin to cool what was hot the last time, too
 * @store:	the store
 *
 * Context: the worker, sleeps. Return: false: not now.
 */
bool bk_store_pass_begin(struct bk_store *store)
{
	struct bk_origin *origin = bk_store_origin(store);
	unsigned long i, any = 0, c;
	bool later;

	spin_lock(&store->lock);
	WRITE_ONCE(store->pass_due, false);
	later = bk_store_has_pending(store);
	spin_unlock(&store->lock);
	later |= !origin || bk_gate_is_draining(&origin->gate);
	if (origin)
		bk_origin_put(origin);
	if (later)
		return false;
	for (i = 0; i < bk_store_words(store); i++) {
		c = store->disk_hot[i] & store->old[i];
		store->old[i] = store->disk_hot[i] & ~c;
		store->cooling[i] = c;
		any |= c;
		if (c)
			atomic_long_andnot(c, (atomic_long_t *)&store->hot[i]);
	}
	if (!any)
		return true;
	/* Who found one of them hot has set its bits after this. */
	synchronize_rcu();
	store->pass = true;
	store->entry = 0;
	store->page = 0;
	return true;
}

/**
 * bk_store_pass_abort - give up a pass, if one is under way
 * @store:	the store
 *
 * What it was cooling is hot on disk, so it may be hot.
 *
 * Context: the worker.
 */
void bk_store_pass_abort(struct bk_store *store)
{
	if (!store->pass)
		return;
	store->pass = false;
	memset(store->cooling, 0, bk_store_words(store) * sizeof(long));
	/* Unless some of it is not on disk: then the next record grants it. */
	if (!store->retry)
		bk_store_grant(store);
}

/*
 * Is any region that page @page of slot @slot has bits of being cooled? Regions of the
 * disk's map: a resize may have other ones in memory already.
 */
static bool bk_store_page_cools(struct bk_store *store, unsigned int slot,
				u32 page)
{
	unsigned int region_shift = store->root.region_shift;
	unsigned int shift = store->root.entry[slot].shift;
	u64 first = ((u64)page * BK_MD_BITS << shift) >> region_shift;
	u64 last = ((((u64)page + 1) * BK_MD_BITS << shift) - 1) >>
		   region_shift;

	last = min_t(u64, last, bk_store_regions(store) - 1);
	return first <= last &&
	       find_next_bit(store->cooling, last + 1, first) <= last;
}

/**
 * bk_store_pass_step - one step of a pass: a run of pages, or the map at the end
 * @store:	the store
 *
 * Context: the worker. Return: 0 or -EIO.
 */
int bk_store_pass_step(struct bk_store *store)
{
	const struct bk_md_entry *e;
	u32 from, end;

	if (store->entry == BK_MD_MAX_BITMAPS) {
		store->pass = false;
		return bk_store_cold(store);
	}
	e = &store->root.entry[store->entry];
	if (!e->name[0] || !e->recording || store->page >= e->pages) {
		store->entry++;
		store->page = 0;
		return 0;
	}
	for (from = store->page; from < e->pages; from++)
		if (bk_store_page_cools(store, store->entry, from))
			break;
	for (end = from; end < e->pages && end - from < BK_STORE_BUF; end++)
		if (!bk_store_page_cools(store, store->entry, end))
			break;
	store->page = end;
	return bk_store_save(store, store->entry, from, end);
}

/**
 * bk_store_do_cool - cool what is hot now, but for what is written meanwhile
 * @store:	the store
 *
 * Context: the worker. Return: 0, -EAGAIN if that is not possible now, or -EIO.
 */
int bk_store_do_cool(struct bk_store *store)
{
	int r = 0;

	bk_store_pass_abort(store);
	memcpy(store->old, store->disk_hot,
	       bk_store_words(store) * sizeof(long));
	if (!bk_store_pass_begin(store))
		return -EAGAIN;
	while (store->pass && !r) {
		r = bk_store_pass_step(store);
		if (!r)
			r = bk_store_serve(store);
	}
	return r;
}
