// SPDX-License-Identifier: GPL-2.0-only
/*
 * Regions: hot on disk, then in memory, so that writes may go. The contract is in
 * store.h.
 */

#include "store-int.h"
#include "trace.h"

/* Make a copy of a block of the hot map. */
static void bk_store_encode_hot(struct bk_store *store, unsigned int block,
				unsigned int copy, void *buf)
{
	bk_md_bits_encode(&store->root, BK_MD_HOT,
			  bk_md_hot_block(&store->root, block, copy),
			  ++store->seq, 0, store->disk_hot +
			  (unsigned long)block * BK_STORE_WORDS, BK_STORE_WORDS,
			  buf);
}

/**
 * bk_store_even_out - make the copies of the hot map's blocks the same
 * @store:	the store, loaded after a crash, or after a failed write
 *
 * They may differ then, for each block in its own way; from here on the same
 * copy of all of them is overwritten first.
 *
 * Context: the worker. Return: 0 or -EIO.
 */
int bk_store_even_out(struct bk_store *store)
{
	unsigned int i, newer;
	int r = 0;

	for (i = 0; i < store->root.hot_blocks && !r; i++) {
		u64 where[2] = {
			bk_md_hot_block(&store->root, i, 0),
			bk_md_hot_block(&store->root, i, 1),
		};

		newer = test_bit(i, store->second_hot);
		bk_store_encode_hot(store, i, !newer, store->buf);
		r = bk_store_write(store, where, 1, &newer, 0, NULL);
		__assign_bit(i, store->second_hot, newer);
	}
	return r;
}

/*
 * Write blocks [@first, @end) of the hot map as @disk_hot has it. @durable is
 * called when the first copies of all of them are. After a failure all blocks
 * are written, each in its own order: copies may differ.
 */
static int bk_store_write_hot(struct bk_store *store, unsigned int first,
			      unsigned int end,
			      void (*durable)(struct bk_store *store))
{
	const struct bk_md_root *root = &store->root;
	unsigned int i, nr = 0, newer = store->hot_newer, copy = !newer;
	int r = 0;

	if (store->retry) {
		r = bk_store_even_out(store);
		store->retry = r;
		if (!r && durable)
			durable(store);
		return r;
	}
	for (; first < end && !r; first += nr) {
		u64 where[2] = {
			bk_md_hot_block(root, first, 0),
			bk_md_hot_block(root, first, 1),
		};

		nr = min_t(unsigned int, end - first, BK_STORE_BUF);
		for (i = first; i < first + nr; i++)
			bk_store_encode_hot(store, i, copy,
					    bk_store_block(store, i - first));
		newer = !copy;
		r = bk_store_write(store, where, nr, &newer, 0,
				   first + nr == end ? durable : NULL);
	}
	for (i = first - nr; r && i < first; i++)
		__assign_bit(i, store->second_hot, newer);
	store->hot_newer = newer;
	store->retry = r;
	return r;
}

/**
 * bk_store_want - a write waits for its regions
 * @store:	the store
 * @start:	first sector
 * @end:	end of the range, exclusive
 *
 * Context: process; does not sleep.
 */
void bk_store_want(struct bk_store *store, sector_t start, sector_t end)
{
	unsigned long first = start >> store->shift;
	unsigned long last = (end - 1) >> store->shift;

	for (; first <= last; first++) {
		if (test_bit(first, store->hot))
			continue;
		set_bit(first, store->wanted);
		/* Pairs with test_and_clear_bit() in bk_store_take(). */
		smp_mb__after_atomic();
		set_bit(first / BK_MD_BITS, store->wanted_blocks);
	}
	/* After the bits: the worker takes this before it takes them. */
	smp_mb();
	cmpxchg(&store->want_since, 0, jiffies | 1);
	bk_store_kick(store);
}

/* Take what is wanted in a block of the map; true if it must be written. */
static bool bk_store_take(struct bk_store *store, unsigned int block)
{
	unsigned long i = (unsigned long)block * BK_STORE_WORDS;
	unsigned long end = i + BK_STORE_WORDS;
	bool dirty = false;

	if (!test_and_clear_bit(block, store->wanted_blocks))
		return false;
	for (; i < end; i++) {
		unsigned long w = READ_ONCE(store->wanted[i]);

		if (w)
			w = xchg(&store->wanted[i], 0);
		store->cooling[i] &= ~w;
		dirty |= w & ~store->disk_hot[i];
		store->disk_hot[i] |= w;
	}
	return dirty;
}

/**
 * bk_store_grant - what is hot on disk, and not being cooled, is hot
 * @store:	the store
 *
 * Context: the worker, when the map is durable as it is in memory.
 */
void bk_store_grant(struct bk_store *store)
{
	unsigned long i, w;

	for (i = 0; i < bk_store_words(store); i++) {
		w = store->disk_hot[i] & ~store->cooling[i];
		if (w & ~READ_ONCE(store->hot[i]))
			atomic_long_or(w, (atomic_long_t *)&store->hot[i]);
	}
	WRITE_ONCE(store->heat_since, 0);
	smp_mb();	/* before those who wait look again, under held.lock */
	bk_store_release(store);
}

/*
 * Make regions hot that writes wait for: all of them at once, by one write if
 * they are near each other in the map.
 */
static int bk_store_heat(struct bk_store *store)
{
	unsigned int first = -1U, end = 0, i;
	int r = 0;

	if (READ_ONCE(store->failed) || !READ_ONCE(store->want_since))
		return 0;
	/* Older kernels let writes to a read-only device go on. */
	if (store->read_only)
		return -EROFS;
	WRITE_ONCE(store->heat_since, xchg(&store->want_since, 0));
	for (i = 0; i < store->root.hot_blocks; i++) {
		if (!bk_store_take(store, i))
			continue;
		first = min(first, i);
		end = i + 1;
	}
	if (first < end || store->retry)
		r = bk_store_write_hot(store, first, end, bk_store_grant);
	else
		bk_store_grant(store);
	trace_bk_regions(store->name, true, end ? end - first : 0, r);
	return r;
}

/**
 * bk_store_serve - let writes go that wait, by one record
 * @store:	the store
 *
 * Called between any two writes: nobody is to wait for more than one of them.
 *
 * Context: the worker. Return: 0 or a negative errno.
 */
int bk_store_serve(struct bk_store *store)
{
	int r = bk_store_heat(store);

	if (!r)
		return 0;
	if (!store->hold || store->read_only || READ_ONCE(store->failed)) {
		/* It answers: let it say so before the writes go. */
		bk_store_mark_broken(store);
		bk_store_fail(store);
		return r;
	}
	/* Writes go on waiting, since when they have. */
	WRITE_ONCE(store->want_since, READ_ONCE(store->heat_since) ?:
				      jiffies | 1);
	bk_store_retry(store);
	return r;
}

/**
 * bk_store_cold - write what is hot on disk without what has been cooled
 * @store:	the store
 *
 * Context: the worker. Return: 0 or -EIO.
 */
int bk_store_cold(struct bk_store *store)
{
	unsigned int first = -1U, end = 0;
	unsigned long i;
	int r = 0;

	for (i = 0; i < bk_store_words(store); i++) {
		if (!store->cooling[i])
			continue;
		store->disk_hot[i] &= ~store->cooling[i];
		store->cooling[i] = 0;
		first = min_t(unsigned int, first, i / BK_STORE_WORDS);
		end = i / BK_STORE_WORDS + 1;
	}
	if (first < end)
		r = bk_store_write_hot(store, first, end, NULL);
	trace_bk_regions(store->name, false, first < end ? end - first : 0, r);
	return r;
}

/**
 * bk_store_cool_all - make all regions cold, at once
 * @store:	the store; nothing is in flight, and all pages are as they should be
 *
 * Context: the worker. Return: 0 or -EIO.
 */
int bk_store_cool_all(struct bk_store *store)
{
	size_t size = bk_store_words(store) * sizeof(long);

	if (READ_ONCE(store->failed))
		return -EIO;
	store->pass = false;
	memset(store->disk_hot, 0, size);
	memset(store->cooling, 0, size);
	memset(store->old, 0, size);
	memset(store->hot, 0, size);
	return bk_store_write_hot(store, 0, store->root.hot_blocks, NULL);
}
