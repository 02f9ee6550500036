/* SPDX-License-Identifier: GPL-2.0-only */
/* Printing and reading numbers. */

#ifndef SHIM_LINUX_KERNEL_H
#define SHIM_LINUX_KERNEL_H

#include <linux/minmax.h>
#include <linux/types.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/*
 * Base 10 only. Takes what the kernel's takes: one plus sign before, one
 * newline after. 0, -EINVAL or -ERANGE.
 */
static inline int kstrtoull(const char *s, unsigned int base, u64 *result)
{
	u64 v = 0;

	if (base != 10)
		return -EINVAL;
	if (*s == '+')
		s++;
	if (*s < '0' || *s > '9')
		return -EINVAL;
	for (; *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (u64)(*s - '0'), &v))
			return -ERANGE;
	if (*s == '\n')
		s++;
	if (*s)
		return -EINVAL;
	*result = v;
	return 0;
}

#endif
