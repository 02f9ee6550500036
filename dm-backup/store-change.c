// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changes that the disk follows, by one write of the root. The contract is in
 * store.h.
 */

#include "store-int.h"
#include "trust.h"

#include <linux/slab.h>

/**
 * bk_store_settle - the disk is to have these bits, and no others
 * @store:	the store
 * @slot:	of this bitmap
 * @bits:	all that it has, and what memory has
 *
 * Nothing that was announced is to come any more. Context: process, may sleep.
 */
void bk_store_settle(struct bk_store *store, unsigned int slot,
		     struct bk_bits *bits)
{
	struct bk_store_slot *s = &store->slot[slot];
	struct bk_bits *old[2];

	bk_bits_get(bits);
	spin_lock(&store->lock);
	s->announced = false;
	memcpy(old, s->bits, sizeof(old));
	s->bits[0] = bits;
	s->bits[1] = NULL;
	spin_unlock(&store->lock);
	bk_bits_put(old[0]);
	bk_bits_put(old[1]);
}

/* The disk has a bitmap's new bits: those that it had before are to go. */
static void bk_store_followed(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_store_slot *s = &store->slot[req->slot];
	struct bk_bits *old = NULL;

	spin_lock(&store->lock);
	/* Else a resize has given it other ones meanwhile. */
	if (s->bits[1] == req->bits) {
		old = s->bits[0];
		s->bits[0] = s->bits[1];
		s->bits[1] = NULL;
	}
	spin_unlock(&store->lock);
	bk_bits_put(old);
}

static int bk_store_do_begin(struct bk_store *store, struct bk_store_req *req)
{
	bool clean = store->root.clean;
	unsigned int i;
	int r = 0;

	for (i = 0; i < BK_MD_MAX_BITMAPS && req->why[0]; i++)
		if (!store->root.entry[i].why[0])
			strscpy(store->root.entry[i].why, req->why, BK_MD_NAME);
	store->root.clean = false;
	store->root.broken = false;
	memcpy(store->root.session, bk_trust_session, BK_MD_UUID);
	memcpy(store->root.below, req->below, BK_MD_ORIGIN);
	if (!clean)
		r = bk_store_even_out(store);
	/*
	 * The lease tells of the origin as it is now: it is not to be there
	 * without the verdict. Else it is first, an unclean root needs one.
	 */
	if (!r && req->why[0])
		r = bk_store_write_root(store);
	if (!r)
		r = bk_store_write_lease(store);
	if (!r && !req->why[0])
		r = bk_store_write_root(store);
	if (!r)
		WRITE_ONCE(store->begun, true);
	return r;
}

static int bk_store_do_place(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_md_entry *e = &store->root.entry[req->slot];
	u32 pages = bk_md_pages(store->root.len, req->shift);
	u64 first;
	int r;

	r = bk_md_place(&store->root, pages, &first);
	if (r)
		return r;
	memset(e, 0, sizeof(*e));
	strscpy(e->name, req->name, sizeof(e->name));
	e->set = store->root.next_set++;
	e->first = first;
	e->pages = pages;
	e->shift = req->shift;
	e->recording = req->recording;
	e->hidden = true;
	/* The device may have another length now. */
	r = req->nr_counts < pages ? -EAGAIN :
	    bk_store_write_new(store, req->slot, req->bits, req->counts);
	if (r) {
		memset(e, 0, sizeof(*e));
		return r;
	}
	store->slot[req->slot].counts = req->counts;
	req->counts = NULL;
	bk_store_settle(store, req->slot, req->bits);
	return 0;
}

static int bk_store_do_drop(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_store_slot *s = &store->slot[req->slot];
	struct bk_md_entry *e = &store->root.entry[req->slot];
	bool hidden = e->hidden;
	struct bk_bits *old[2];

	memset(e, 0, sizeof(*e));
	spin_lock(&store->lock);
	s->announced = false;
	s->removed = false;
	memcpy(old, s->bits, sizeof(old));
	memset(s->bits, 0, sizeof(s->bits));
	spin_unlock(&store->lock);
	bk_bits_put(old[0]);
	bk_bits_put(old[1]);
	kvfree(s->counts);
	s->counts = NULL;
	return hidden ? 0 : bk_store_write_root(store);
}

static int bk_store_do_update(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_md_entry *e = &store->root.entry[req->slot];
	bool hidden = e->hidden, recording = e->recording;
	int r = bk_store_save(store, req->slot, 0, e->pages);

	if (!r && (hidden || recording != req->recording)) {
		e->hidden = false;
		e->recording = req->recording;
		r = bk_store_write_root(store);
	}
	if (r) {
		/* It may be done again. */
		e->hidden = hidden;
		e->recording = recording;
	}
	return r;
}

/* Are these still what the slot is to have? */
static bool bk_store_is_current(struct bk_store *store,
				struct bk_store_req *req)
{
	struct bk_store_slot *s = &store->slot[req->slot];
	bool current_bits;

	spin_lock(&store->lock);
	current_bits = req->bits == s->bits[0] || req->bits == s->bits[1];
	spin_unlock(&store->lock);
	return current_bits;
}

static int bk_store_do_rewrite(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_md_entry *e = &store->root.entry[req->slot];
	int r = 0;

	/* That stays true of bits that a resize has replaced meanwhile. */
	if (e->name[0])
		strscpy(e->tag, req->tag, sizeof(e->tag));
	if (!bk_store_is_current(store, req))
		return 0;
	/* Done again it must not touch the half that the disk's root is with. */
	if (!req->pages_done)
		r = bk_store_write_other(store, req->slot, req->bits);
	if (r)
		return r;
	req->pages_done = true;
	r = bk_store_write_root(store);
	if (!r)
		bk_store_followed(store, req);
	return r;
}

static int bk_store_do_distrust(struct bk_store *store,
				struct bk_store_req *req)
{
	struct bk_md_entry *e = &store->root.entry[req->slot];

	if (!e->name[0])	/* lost in a resize */
		return 0;
	strscpy(e->why, req->why, sizeof(e->why));
	return store->begun ? bk_store_write_root(store) : 0;
}

/*
 * Bitmaps that are being removed do not record any more: what is there without hot
 * regions, or with another filter's writes, lacks bits. They can't be left out: what
 * they had may have to be on another filter's disk first.
 */
static void bk_store_spoil_removed(struct bk_store *store, const char *why)
{
	struct bk_md_entry *e = store->root.entry;
	unsigned int i;

	spin_lock(&store->lock);
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		if (store->slot[i].removed && e[i].name[0] && !e[i].why[0])
			strscpy(e[i].why, why, BK_MD_NAME);
	spin_unlock(&store->lock);
}

/* Give a slot's bitmap the room it needs now, and write it there. */
static int bk_store_resize_slot(struct bk_store *store, unsigned int slot)
{
	struct bk_md_entry *e = &store->root.entry[slot];
	u32 pages = bk_md_pages(store->root.len, e->shift);
	struct bk_bits *bits[2];
	unsigned int old;
	u32 *counts;
	u64 first;
	int r = 0;

	if (pages > e->pages) {
		for (old = 0; old < BK_MD_MAX_BITMAPS; old++)
			if (!store->root.entry[old].name[0])
				break;
		if (old == BK_MD_MAX_BITMAPS)
			return -ENOSPC;
		r = bk_md_place(&store->root, pages, &first);
		counts = r ? NULL : kvcalloc(pages, sizeof(*counts), GFP_NOIO);
		if (!counts)
			return r ?: -ENOMEM;
		/* Its area now is taken until the root says otherwise. */
		store->root.entry[old] = *e;
		store->root.entry[old].hidden = true;
		__set_bit(old, store->moved);
		kvfree(store->slot[slot].counts);
		store->slot[slot].counts = counts;
		e->first = first;
		e->pages = pages;
	}
	bk_store_get_bits(store, slot, bits);
	if (bits[0])
		r = bk_store_write_other(store, slot, bits[0]);
	bk_bits_put(bits[0]);
	bk_bits_put(bits[1]);
	return r;
}

/*
 * The origin has another length. What can't be kept is dropped from the disk:
 * its owner says so. Nothing is in flight.
 */
static int bk_store_do_resize(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_store_req drop = { };
	unsigned int i;
	int r;

	store->root.len = req->len;
	while (bk_md_pages(req->len, store->root.region_shift) >
	       store->root.hot_blocks)
		store->root.region_shift++;
	store->shift = store->root.region_shift;
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		if (!store->root.entry[i].name[0] || test_bit(i, store->moved))
			continue;
		/* Done again it must not touch the half that the disk's root is with. */
		if (req->resized & BIT_ULL(i))
			continue;
		r = bk_store_resize_slot(store, i);
		if (r == -EIO)
			return r;
		if (!r) {
			req->resized |= BIT_ULL(i);
			continue;
		}
		req->lost |= BIT_ULL(i);
		memset(&store->root.entry[i], 0, sizeof(store->root.entry[i]));
		drop.slot = i;
		store->root.entry[i].hidden = true;	/* the root comes below */
		bk_store_do_drop(store, &drop);
	}
	bk_store_spoil_removed(store,
			       "it was being removed when the length of the device changed");
	r = bk_store_write_root(store);
	if (r)
		return r;
	req->resized = 0;
	for_each_set_bit(i, store->moved, BK_MD_MAX_BITMAPS)
		memset(&store->root.entry[i], 0, sizeof(store->root.entry[i]));
	bitmap_zero(store->moved, BK_MD_MAX_BITMAPS);
	return bk_store_cool_all(store);
}

static int bk_store_do_stand(struct bk_store *store, struct bk_store_req *req)
{
	/* Also if it is that already: a write that failed may have been half done. */
	memcpy(store->root.below, req->below, BK_MD_ORIGIN);
	return bk_store_write_root(store);
}

static int bk_store_do_end(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_md_root *root = &store->root;
	unsigned int i;
	int r = 0;

	bk_store_pass_abort(store);
	if (req->why[0]) {
		root->broken = true;
		r = bk_store_write_root(store);
		root->broken = !r;
		return r;
	}
	bk_store_spoil_removed(store,
			       "it was being removed when the filter stopped");
	for (i = 0; i < BK_MD_MAX_BITMAPS && !r; i++) {
		if (!root->entry[i].name[0] || root->entry[i].hidden)
			continue;
		if (store->slot[i].bits[0])
			r = bk_store_save(store, i, 0, root->entry[i].pages);
		root->entry[i].crc = bk_store_crc(store, i);
	}
	if (!r)
		r = bk_store_cool_all(store);
	if (r)
		return r;
	root->print = req->print;
	memcpy(root->written, req->written, sizeof(root->written));
	memcpy(root->device, req->device, sizeof(root->device));
	root->clean = true;
	r = bk_store_write_root(store);
	if (r)
		return r;
	/* What is asked for after this waits for the next life, or is not done. */
	spin_lock(&store->lock);
	WRITE_ONCE(store->live, false);
	spin_unlock(&store->lock);
	return 0;
}

/**
 * bk_store_do - do what is asked for
 * @store:	the store
 * @req:	the request
 *
 * Context: the worker. Return: 0, -EIO if the device failed, or another errno.
 */
int bk_store_do(struct bk_store *store, struct bk_store_req *req)
{
	switch (req->verb) {
	case BK_STORE_BEGIN:
		return bk_store_do_begin(store, req);
	case BK_STORE_PLACE:
		return bk_store_do_place(store, req);
	case BK_STORE_DROP:
		return bk_store_do_drop(store, req);
	case BK_STORE_UPDATE:
		return bk_store_do_update(store, req);
	case BK_STORE_REWRITE:
		return bk_store_do_rewrite(store, req);
	case BK_STORE_DISTRUST:
		return bk_store_do_distrust(store, req);
	case BK_STORE_RESIZE:
		return bk_store_do_resize(store, req);
	case BK_STORE_COOL:
		return bk_store_do_cool(store);
	case BK_STORE_STAND:
		return bk_store_do_stand(store, req);
	case BK_STORE_END:
		return bk_store_do_end(store, req);
	}
	return -EINVAL;
}
