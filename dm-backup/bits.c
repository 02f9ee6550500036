// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which parts of a device were written. The contract is in bits.h.
 */

#include "bits.h"

#include <linux/crc32c.h>
#include <linux/errno.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

/* More is refused: it could only be a mistake. */
#define BK_BITS_MAX_BYTES	BIT(30)

/* Words that are gone through before others may run. */
#define BK_BITS_STRIDE		4096UL

/* All are set; nobody else knows of them. */
static void bk_bits_fill(struct bk_bits *bits)
{
	unsigned long i, n, nr = BITS_TO_LONGS(bits->nr);

	for (i = 0; i < nr; i += n) {
		n = min(nr - i, BK_BITS_STRIDE);
		memset(bits->words + i, 0xff, n * sizeof(long));
		cond_resched();
	}
	bits->words[nr - 1] &= bk_map_mask((nr - 1) * BITS_PER_LONG, bits->nr);
	atomic_long_add(bits->nr, &bits->dirty);
}

/**
 * bk_bits_alloc - make bits
 * @len:	of the device, sectors
 * @shift:	log2 of sectors per granule
 * @set:	all set, or none
 * @error:	set on failure: -ENOMEM, or -EFBIG if they would take more than
 *		1 GiB
 *
 * Context: process, may sleep. Return: a reference, or NULL.
 */
struct bk_bits *bk_bits_alloc(sector_t len, unsigned int shift, bool set,
			      int *error)
{
	u64 nr = (len >> shift) + !!(len & ((1ULL << shift) - 1));
	struct bk_bits *bits;
	size_t size;

	*error = -EFBIG;
	if (nr > (u64)BK_BITS_MAX_BYTES * BITS_PER_BYTE || nr > ULONG_MAX / 2)
		return NULL;
	*error = -ENOMEM;
	bits = kzalloc(sizeof(*bits), GFP_KERNEL);
	if (!bits)
		return NULL;
	kref_init(&bits->ref);
	bits->len = len;
	bits->shift = shift;
	bits->nr = nr;
	size = BITS_TO_LONGS(nr) * sizeof(long);
	/* Rather none than to look for memory for ever: somebody waits. */
	bits->words = __vmalloc(size, GFP_KERNEL | __GFP_NOWARN | __GFP_ZERO |
				__GFP_RETRY_MAYFAIL);
	if (!bits->words) {
		kfree(bits);
		return NULL;
	}
	if (set && nr)
		bk_bits_fill(bits);
	return bits;
}

static void bk_bits_release(struct kref *ref)
{
	struct bk_bits *bits = container_of(ref, struct bk_bits, ref);

	vfree(bits->words);
	kfree(bits);
}

/**
 * bk_bits_put - drop a reference
 * @bits:	the bits, or NULL
 *
 * Context: process, may sleep.
 */
void bk_bits_put(struct bk_bits *bits)
{
	if (bits)
		kref_put(&bits->ref, bk_bits_release);
}

/**
 * bk_bits_set - set a range of granules
 * @bits:	the bits
 * @first:	first granule
 * @end:	end of the range, exclusive; > @first
 *
 * Context: any, interrupts included.
 */
void bk_bits_set(struct bk_bits *bits, unsigned long first, unsigned long end)
{
	unsigned long mask, old;
	long added = 0;

	while (first < end) {
		unsigned long *word = &bits->words[BIT_WORD(first)];

		mask = bk_map_mask(first, end);
		if ((READ_ONCE(*word) & mask) != mask) {
			old = atomic_long_fetch_or(mask, (atomic_long_t *)word);
			added += hweight_long(mask & ~old);
		}
		first = round_down(first, BITS_PER_LONG) + BITS_PER_LONG;
	}
	if (added)
		atomic_long_add(added, &bits->dirty);
}

/**
 * bk_bits_set_many - set a range of granules, however long
 * @bits:	the bits
 * @first:	first granule
 * @end:	end of the range, exclusive
 *
 * Context: process, may sleep; takes as long as there is to look through.
 */
void bk_bits_set_many(struct bk_bits *bits, unsigned long first,
		      unsigned long end)
{
	unsigned long next;

	for (; first < end; first = next) {
		next = first + min(end - first, BK_BITS_STRIDE * BITS_PER_LONG);
		bk_bits_set(bits, first, next);
		cond_resched();
	}
}

/**
 * bk_bits_clear - clear a range of granules
 * @bits:	a mirror's
 * @first:	first granule
 * @end:	end of the range, exclusive; > @first
 *
 * What is read after it is not older than any write whose mark it took.
 *
 * Context: any.
 */
void bk_bits_clear(struct bk_bits *bits, unsigned long first, unsigned long end)
{
	unsigned long mask, old;
	long gone = 0;

	while (first < end) {
		mask = bk_map_mask(first, end);
		old = atomic_long_fetch_andnot(mask, (atomic_long_t *)
					       &bits->words[BIT_WORD(first)]);
		gone += hweight_long(mask & old);
		first = round_down(first, BITS_PER_LONG) + BITS_PER_LONG;
	}
	atomic_long_sub(gone, &bits->dirty);
	/* pairs with the one in bk_cfg_mark_ended() */
	smp_mb__after_atomic();
}

/**
 * bk_bits_clear_many - clear a range of granules, however long
 * @bits:	a mirror's
 * @first:	first granule
 * @end:	end of the range, exclusive
 *
 * Context: process, may sleep; takes as long as there is to look through.
 */
void bk_bits_clear_many(struct bk_bits *bits, unsigned long first,
			unsigned long end)
{
	unsigned long next;

	for (; first < end; first = next) {
		next = first + min(end - first, BK_BITS_STRIDE * BITS_PER_LONG);
		bk_bits_clear(bits, first, next);
		cond_resched();
	}
}

/* The next run in a range: nothing behind its end @to is looked at. */
static bool bk_bits_next_in(const struct bk_bits *bits, sector_t from,
			    sector_t to, sector_t *start, sector_t *end)
{
	unsigned long nr, first, last;

	if (from >= to)
		return false;
	nr = ((to - 1) >> bits->shift) + 1;
	first = find_next_bit(bits->words, nr, from >> bits->shift);
	if (first >= nr)
		return false;
	last = find_next_zero_bit(bits->words, nr, first);
	*start = max(from, (sector_t)first << bits->shift);
	*end = min(to, (sector_t)last << bits->shift);
	return true;
}

/**
 * bk_bits_next - find the next run that is set
 * @bits:	the bits
 * @from:	sector to look from
 * @start:	set to the first sector of the run, not before @from
 * @end:	set to its end, exclusive; not behind the device's
 *
 * Context: any. Return: false if there is none.
 */
bool bk_bits_next(const struct bk_bits *bits, sector_t from, sector_t *start,
		  sector_t *end)
{
	return bk_bits_next_in(bits, from, bits->len, start, end);
}

/**
 * bk_bits_or_range - set what is set elsewhere in a range
 * @dst:	the bits
 * @src:	of a device of the same length; its granules may be others
 * @from:	first sector of the range
 * @to:		its end, exclusive
 *
 * Context: process; takes as long as there is to look through.
 */
void bk_bits_or_range(struct bk_bits *dst, const struct bk_bits *src,
		      sector_t from, sector_t to)
{
	sector_t start, end = from;

	while (bk_bits_next_in(src, end, to, &start, &end)) {
		bk_bits_mark(dst, start, end);
		cond_resched();
	}
}

/* The same for all, granules being the same: without looking for runs. */
static void bk_bits_or_words(struct bk_bits *dst, const struct bk_bits *src)
{
	unsigned long i, nr = BITS_TO_LONGS(src->nr);
	long added = 0;

	for (i = 0; i < nr; i++) {
		unsigned long word = READ_ONCE(src->words[i]);
		unsigned long *to = &dst->words[i];

		if (word & ~READ_ONCE(*to))
			added += hweight_long(word &
				~atomic_long_fetch_or(word, (atomic_long_t *)to));
		if (!(i % BK_BITS_STRIDE))
			cond_resched();
	}
	if (added)
		atomic_long_add(added, &dst->dirty);
}

/**
 * bk_bits_or - set all that is set elsewhere
 * @dst:	the bits
 * @src:	of a device of the same length; its granules may be others
 *
 * Context: process; takes as long as there is to look through.
 */
void bk_bits_or(struct bk_bits *dst, const struct bk_bits *src)
{
	if (dst->shift == src->shift)
		bk_bits_or_words(dst, src);
	else
		bk_bits_or_range(dst, src, 0, src->len);
}

/**
 * bk_bits_recount - count what is set
 * @bits:	the bits; nobody else knows of them
 *
 * Context: process; takes as long as there is to look through.
 */
void bk_bits_recount(struct bk_bits *bits)
{
	unsigned long i, nr = BITS_TO_LONGS(bits->nr);
	long dirty = 0;

	for (i = 0; i < nr; i++) {
		dirty += hweight_long(bits->words[i]);
		if (!(i % BK_BITS_STRIDE))
			cond_resched();
	}
	atomic_long_add(dirty - atomic_long_read(&bits->dirty), &bits->dirty);
}

/**
 * bk_bits_crc - a checksum, the same for the same bits on every machine
 * @bits:	the bits
 *
 * It is the CRC-32C of the bits as bytes, least significant bit first, as many
 * as hold a bit.
 *
 * Context: process; takes as long as there is to look through.
 */
u32 bk_bits_crc(const struct bk_bits *bits)
{
	size_t left = DIV_ROUND_UP(bits->nr, BITS_PER_BYTE);
	u32 crc = ~0U;
	unsigned long i;

	for (i = 0; left; i++) {
		unsigned long word = bk_map_wire(READ_ONCE(bits->words[i]));
		size_t n = min(left, sizeof(word));

		crc = crc32c(crc, &word, n);
		left -= n;
		if (!(i % BK_BITS_STRIDE))
			cond_resched();
	}
	return ~crc;
}
