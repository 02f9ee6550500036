// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages of bitmaps: which have changed, and writing them. The contract is in
 * store.h.
 */

#include "store-int.h"

#include <linux/crc32c.h>
#include <linux/slab.h>

/**
 * bk_store_get_bits - what the pages of a slot must cover
 * @store:	the store
 * @slot:	the slot
 * @bits:	set to references, or NULL
 */
void bk_store_get_bits(struct bk_store *store, unsigned int slot,
		       struct bk_bits *bits[2])
{
	unsigned int i;

	spin_lock(&store->lock);
	for (i = 0; i < 2; i++) {
		bits[i] = store->slot[slot].bits[i];
		if (bits[i])
			bk_bits_get(bits[i]);
	}
	spin_unlock(&store->lock);
}

/* The words of a page, and how many bits are set. */
static u32 bk_store_gather(struct bk_store *store, struct bk_bits *bits[2],
			   u32 page, unsigned long *nr)
{
	unsigned long at = (unsigned long)page * BK_STORE_WORDS;
	unsigned long i, words, word;
	u32 count = 0;
	unsigned int b;

	*nr = 0;
	memset(store->tmp, 0, BK_MD_PAYLOAD);
	for (b = 0; b < 2; b++) {
		words = bits[b] ? BITS_TO_LONGS(bits[b]->nr) : 0;
		words = words > at ? min_t(unsigned long, words - at,
					   BK_STORE_WORDS) : 0;
		for (i = 0; i < words; i++) {
			word = READ_ONCE(bits[b]->words[at + i]);
			count += hweight_long(word & ~store->tmp[i]);
			store->tmp[i] |= word;
		}
		*nr = max(*nr, words);
	}
	return count;
}

/**
 * struct bk_store_run - pages that are written
 * @slot:	of which bitmap
 * @half:	where to
 * @set:	what they belong to
 * @bits:	what is in them
 * @all:	all, not only those that have changed
 * @counts:	updated
 */
struct bk_store_run {
	unsigned int slot;
	unsigned int half;
	u64 set;
	struct bk_bits *bits[2];
	bool all;
	u32 *counts;
};

/*
 * Which copy of a page is to be kept until the other one is good, while its
 * count is not known: see bk_store_slot.counts.
 */
static unsigned int bk_store_newer(const struct bk_store_run *run, u32 page)
{
	return run->all || run->counts[page] != BK_STORE_NEWER_0;
}

/*
 * Write as many pages as the buffer takes, from @page on, and tell where the
 * next begin. They are neighbours; those that need not be written end a run.
 */
static int bk_store_write_run(struct bk_store *store, struct bk_store_run *run,
			      u32 page, u32 end, u32 *next)
{
	const struct bk_md_entry *e = &store->root.entry[run->slot];
	const u64 where[2] = {
		bk_md_page_block(e, run->half, page, 0),
		bk_md_page_block(e, run->half, page, 1),
	};
	unsigned int newer = bk_store_newer(run, page);
	u32 first = page, count, counts[BK_STORE_BUF];
	unsigned long nr;
	int r;

	for (; page < end && page - first < BK_STORE_BUF; page++) {
		count = bk_store_gather(store, run->bits, page, &nr);
		if ((!run->all && count == run->counts[page]) ||
		    bk_store_newer(run, page) != newer)
			break;
		counts[page - first] = count;
		bk_md_bits_encode(&store->root, BK_MD_PAGE,
				  bk_md_page_block(e, run->half, page, !newer),
				  ++store->seq, run->set, store->tmp, nr,
				  bk_store_block(store, page - first));
	}
	*next = page + (page == first);
	if (page == first)
		return 0;
	r = bk_store_write(store, where, page - first, &newer, 0, NULL);
	if (!r)
		memcpy(run->counts + first, counts,
		       (page - first) * sizeof(*counts));
	for (; r && first < page; first++)
		run->counts[first] = newer ? BK_STORE_NEWER_1 :
					     BK_STORE_NEWER_0;
	return r;
}

/* Write pages [@page, @end). */
static int bk_store_write_pages(struct bk_store *store,
				struct bk_store_run *run, u32 page, u32 end)
{
	int r = 0;

	while (page < end && !r) {
		r = bk_store_write_run(store, run, page, end, &page);
		if (!r)
			r = bk_store_serve(store);
		cond_resched();
	}
	return r;
}

/**
 * bk_store_save - write pages of a slot that have changed
 * @store:	the store
 * @slot:	the slot
 * @page:	the first
 * @end:	behind the last; may be behind the slot's
 *
 * Context: the worker. Return: 0 or -EIO.
 */
int bk_store_save(struct bk_store *store, unsigned int slot, u32 page, u32 end)
{
	const struct bk_md_entry *e = &store->root.entry[slot];
	struct bk_store_run run = {
		.slot	= slot,
		.half	= e->half,
		.set	= e->set,
		.counts	= store->slot[slot].counts,
	};
	int r;

	bk_store_get_bits(store, slot, run.bits);
	r = bk_store_write_pages(store, &run, page, min(end, e->pages));
	bk_bits_put(run.bits[0]);
	bk_bits_put(run.bits[1]);
	return r;
}

/**
 * bk_store_write_new - write the pages of a bitmap that is not on disk yet
 * @store:	the store
 * @slot:	its slot; the root has its entry
 * @bits:	its bits
 * @counts:	of its pages, zero; updated
 *
 * Both halves: a page that was never written is damaged.
 *
 * Context: the worker. Return: 0 or -EIO.
 */
int bk_store_write_new(struct bk_store *store, unsigned int slot,
		       struct bk_bits *bits, u32 *counts)
{
	const struct bk_md_entry *e = &store->root.entry[slot];
	struct bk_store_run run = {
		.slot	= slot,
		.half	= 1,
		.set	= e->set,
		.bits	= { bits },
		.all	= true,
		.counts	= counts,
	};
	int r;

	r = bk_store_write_pages(store, &run, 0, e->pages);
	run.half = 0;
	if (!r)
		r = bk_store_write_pages(store, &run, 0, e->pages);
	return r;
}

/**
 * bk_store_write_other - write all of a slot's pages to its other half, or area
 * @store:	the store
 * @slot:	the slot
 * @bits:	what is to be in them
 *
 * They take effect with the root.
 *
 * Context: the worker. Return: 0 or -EIO.
 */
int bk_store_write_other(struct bk_store *store, unsigned int slot,
			 struct bk_bits *bits)
{
	struct bk_md_entry *e = &store->root.entry[slot];
	struct bk_store_run run = {
		.slot	= slot,
		.half	= !e->half,
		.set	= store->root.next_set++,
		.bits	= { bits },
		.all	= true,
		.counts	= store->slot[slot].counts,
	};
	int r = bk_store_write_pages(store, &run, 0, e->pages);

	if (r) {
		/* Nothing is known of either half any more: write all of it. */
		memset(run.counts, 0xff, e->pages * sizeof(*run.counts));
		return r;
	}
	e->half = run.half;
	e->set = run.set;
	return 0;
}

/**
 * bk_store_crc - the checksum of a slot's bits, as bk_bits_crc() makes it
 * @store:	the store
 * @slot:	the slot; its pages are saved
 */
u32 bk_store_crc(struct bk_store *store, unsigned int slot)
{
	const struct bk_md_entry *e = &store->root.entry[slot];
	struct bk_bits *bits[2];
	unsigned long nr;
	size_t left;
	u32 page, crc = ~0U;

	bk_store_get_bits(store, slot, bits);
	left = bits[0] ? DIV_ROUND_UP(bits[0]->nr, BITS_PER_BYTE) : 0;
	for (page = 0; page < e->pages && left; page++) {
		size_t n = min_t(size_t, left, BK_MD_PAYLOAD);

		bk_store_gather(store, bits, page, &nr);
		bk_md_bits_encode(&store->root, BK_MD_PAGE, 0, 0, 0, store->tmp,
				  nr, store->buf);
		crc = crc32c(crc, store->buf + BK_MD_HEADER, n);
		left -= n;
		cond_resched();
	}
	bk_bits_put(bits[0]);
	bk_bits_put(bits[1]);
	return ~crc;
}
