/* SPDX-License-Identifier: GPL-2.0-only */
/* Masks for the ends of a range of bits. */

#ifndef SHIM_LINUX_BITMAP_H
#define SHIM_LINUX_BITMAP_H

#include <linux/bitops.h>

static inline unsigned long shim_first_word_mask(unsigned long from)
{
	return ~0UL << from % BITS_PER_LONG;
}

/* A range that ends with a word wants all of it. */
static inline unsigned long shim_last_word_mask(unsigned long end)
{
	return end % BITS_PER_LONG ? (1UL << end % BITS_PER_LONG) - 1 : ~0UL;
}

#define BITMAP_FIRST_WORD_MASK(from)	shim_first_word_mask(from)
#define BITMAP_LAST_WORD_MASK(end)	shim_last_word_mask(end)

#endif
