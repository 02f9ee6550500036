/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Maps of clusters: ranges of bits in flat words, shared by writers.
 *
 * Words are shared by clusters under different locks, so every change is
 * atomic per word. Bits are numbered by unsigned long; the caller keeps ranges
 * inside the map. Also built in userspace, by tests/unit.
 */

#ifndef BK_MAP_H
#define BK_MAP_H

#include <asm/byteorder.h>
#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/minmax.h>

/* A word as bytes on disk, least significant bit first; and back. */
static inline unsigned long bk_map_wire(unsigned long word)
{
#if BITS_PER_LONG == 64
	return (__force unsigned long)cpu_to_le64(word);
#else
	return (__force unsigned long)cpu_to_le32(word);
#endif
}

/* Bits of the word that holds @from, from there to @end (exclusive). */
static inline unsigned long bk_map_mask(unsigned long from, unsigned long end)
{
	unsigned long mask = BITMAP_FIRST_WORD_MASK(from);

	if (from / BITS_PER_LONG == (end - 1) / BITS_PER_LONG)
		mask &= BITMAP_LAST_WORD_MASK(end);
	return mask;
}

/**
 * bk_map_set - set bits
 * @map:	the map
 * @from:	first bit
 * @end:	end of the range, exclusive; > @from
 */
static inline void bk_map_set(unsigned long *map, unsigned long from,
			      unsigned long end)
{
	while (from < end) {
		atomic_long_or(bk_map_mask(from, end),
			       (atomic_long_t *)&map[BIT_WORD(from)]);
		from = round_down(from, BITS_PER_LONG) + BITS_PER_LONG;
	}
}

/**
 * bk_map_clear - clear bits
 * @map:	the map
 * @from:	first bit
 * @end:	end of the range, exclusive; > @from
 *
 * Orders nothing; see bk_map_clear_release().
 */
static inline void bk_map_clear(unsigned long *map, unsigned long from,
				unsigned long end)
{
	while (from < end) {
		atomic_long_andnot(bk_map_mask(from, end),
				   (atomic_long_t *)&map[BIT_WORD(from)]);
		from = round_down(from, BITS_PER_LONG) + BITS_PER_LONG;
	}
}

/**
 * bk_map_clear_alone - clear bits while nobody else changes any
 * @map:	the map; may be read without a lock
 * @from:	first bit
 * @end:	end of the range, exclusive; > @from
 */
static inline void bk_map_clear_alone(unsigned long *map, unsigned long from,
				      unsigned long end)
{
	while (from < end) {
		unsigned long *word = &map[BIT_WORD(from)];

		WRITE_ONCE(*word, *word & ~bk_map_mask(from, end));
		from = round_down(from, BITS_PER_LONG) + BITS_PER_LONG;
	}
}

/**
 * bk_map_keep_alone - clear what is not set elsewhere, while nobody else clears
 * @map:	the map; may be read without a lock
 * @keep:	what stays; may be set meanwhile
 * @words:	how many words
 *
 * Return: how many bits are left.
 */
static inline unsigned long bk_map_keep_alone(unsigned long *map,
					      const unsigned long *keep,
					      unsigned long words)
{
	unsigned long i, left = 0;

	for (i = 0; i < words; i++) {
		unsigned long word = map[i] & READ_ONCE(keep[i]);

		WRITE_ONCE(map[i], word);
		if (word)
			left += hweight_long(word);
	}
	return left;
}

/**
 * bk_map_clear_release - clear bits that somebody reads without a lock
 * @map:	the map
 * @from:	first bit
 * @end:	end of the range, exclusive; > @from
 *
 * What was stored before is seen by who finds a bit clear through
 * bk_map_any_acquire().
 */
static inline void bk_map_clear_release(unsigned long *map, unsigned long from,
					unsigned long end)
{
	/* pairs with the acquire in bk_map_any_acquire() */
	smp_mb__before_atomic();
	bk_map_clear(map, from, end);
}

/**
 * bk_map_any_acquire - is any bit of a range set?
 * @map:	the map
 * @from:	first bit
 * @end:	end of the range, exclusive; > @from
 *
 * If none is: acquire, pairs with bk_map_clear_release().
 */
static inline bool bk_map_any_acquire(const unsigned long *map,
				      unsigned long from, unsigned long end)
{
	do {
		/* pairs with the barrier in bk_map_clear_release() */
		if (smp_load_acquire(&map[BIT_WORD(from)]) &
		    bk_map_mask(from, end))
			return true;
		from = round_down(from, BITS_PER_LONG) + BITS_PER_LONG;
	} while (from < end);
	return false;
}

/**
 * bk_map_next_run - find bits that are set in one map and clear in another
 * @set:	bits are to be set here
 * @clear:	and clear here
 * @from:	where to start looking
 * @end:	where to stop, exclusive
 * @run_end:	set to the end of the run, at most @end
 *
 * Return: the first bit of the run, or @end if there is none.
 */
static inline unsigned long bk_map_next_run(const unsigned long *set,
					    const unsigned long *clear,
					    unsigned long from,
					    unsigned long end,
					    unsigned long *run_end)
{
	unsigned long word, first;

	for (first = from; first < end;
	     first = round_down(first, BITS_PER_LONG) + BITS_PER_LONG) {
		word = READ_ONCE(set[BIT_WORD(first)]) &
		       ~READ_ONCE(clear[BIT_WORD(first)]) &
		       BITMAP_FIRST_WORD_MASK(first);
		if (word) {
			first = round_down(first, BITS_PER_LONG) + __ffs(word);
			break;
		}
	}
	if (first >= end)
		return end;

	*run_end = end;
	for (from = first; from < end;
	     from = round_down(from, BITS_PER_LONG) + BITS_PER_LONG) {
		word = READ_ONCE(set[BIT_WORD(from)]) &
		       ~READ_ONCE(clear[BIT_WORD(from)]);
		word = ~word & BITMAP_FIRST_WORD_MASK(from);
		if (word) {
			*run_end = min(end, round_down(from, BITS_PER_LONG) +
					    __ffs(word));
			break;
		}
	}
	return first;
}

#endif
