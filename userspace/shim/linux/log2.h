/* SPDX-License-Identifier: GPL-2.0-only */
/* Powers of two. */

#ifndef SHIM_LINUX_LOG2_H
#define SHIM_LINUX_LOG2_H

#include <linux/types.h>

/* unsigned long, as in the kernel: half a u64 is lost on 32 bits */
static inline bool is_power_of_2(unsigned long n)
{
	return __builtin_popcountl(n) == 1;
}

#endif
