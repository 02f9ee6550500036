/* SPDX-License-Identifier: GPL-2.0-only */
/* Looking for bits, rounding to words. */

#ifndef SHIM_LINUX_BITOPS_H
#define SHIM_LINUX_BITOPS_H

#include <asm/byteorder.h>
#include <linux/bits.h>
#include <linux/minmax.h>

/* The number of the lowest bit set; undefined for 0, as in the kernel. */
static inline unsigned long __ffs(unsigned long word)
{
	return __builtin_ctzl(word);
}

#define DIV_ROUND_UP(n, d)	(((n) + (d) - 1) / (d))
#define BITS_TO_LONGS(nr)	DIV_ROUND_UP(nr, (unsigned long)BITS_PER_LONG)

static inline unsigned long hweight_long(unsigned long word)
{
	return __builtin_popcountl(word);
}

/* The next bit from @from on that is (not) set, or @size. Bit by bit. */
static inline unsigned long find_next_bit(const unsigned long *map,
					  unsigned long size,
					  unsigned long from)
{
	while (from < size && !(map[BIT_WORD(from)] & BIT_MASK(from)))
		from++;
	return from;
}

static inline unsigned long find_next_zero_bit(const unsigned long *map,
					       unsigned long size,
					       unsigned long from)
{
	while (from < size && map[BIT_WORD(from)] & BIT_MASK(from))
		from++;
	return from;
}

/* @to is a power of two; the result has the type of @x. */
#define round_down(x, to)	((x) & ~(__typeof__(x))((to) - 1))

#endif
