/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's basic types, for tests in userspace. */

#ifndef SHIM_LINUX_TYPES_H
#define SHIM_LINUX_TYPES_H

#include <stdbool.h>
#include <stddef.h>

typedef unsigned int u32;
/* unsigned long long on every architecture, as in the kernel */
typedef unsigned long long u64;

#endif
