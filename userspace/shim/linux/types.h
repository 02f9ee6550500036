/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's basic types, for those of its sources that are built here too. */

#ifndef SHIM_LINUX_TYPES_H
#define SHIM_LINUX_TYPES_H

#include_next <linux/types.h>

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

typedef unsigned char u8;
typedef unsigned int u32;

#undef __always_inline
#define __always_inline	inline __attribute__((__always_inline__))
#define likely(x)	__builtin_expect(!!(x), 1)
#define __force
#define __printf(a, b)	__attribute__((format(printf, a, b)))
/* unsigned long long on every architecture, as in the kernel */
typedef unsigned long long u64;
typedef u64 sector_t;

#ifndef READ_ONCE
#define READ_ONCE(x)	(*(const volatile __typeof__(x) *)&(x))
#endif
#ifndef WRITE_ONCE
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#endif

#endif
