/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's basic types, for tests in userspace. */

#ifndef SHIM_LINUX_TYPES_H
#define SHIM_LINUX_TYPES_H

#include <stdbool.h>
#include <limits.h>
#include <stddef.h>

typedef unsigned int u32;

#undef __always_inline
#define __always_inline	inline __attribute__((__always_inline__))
#define likely(x)	__builtin_expect(!!(x), 1)
#define __force
/* unsigned long long on every architecture, as in the kernel */
typedef unsigned long long u64;
typedef u64 sector_t;

#endif
