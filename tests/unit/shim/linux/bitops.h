/* SPDX-License-Identifier: GPL-2.0-only */
/* Looking for bits, rounding to words. */

#ifndef SHIM_LINUX_BITOPS_H
#define SHIM_LINUX_BITOPS_H

#include <linux/bits.h>
#include <linux/minmax.h>

/* The number of the lowest bit set; undefined for 0, as in the kernel. */
static inline unsigned long __ffs(unsigned long word)
{
	return __builtin_ctzl(word);
}

/* @to is a power of two; the result has the type of @x. */
#define round_down(x, to)	((x) & ~(__typeof__(x))((to) - 1))

#endif
