/* SPDX-License-Identifier: GPL-2.0-only */
/* The smaller, the larger; as strict about types as kernel 6.1. */

#ifndef SHIM_LINUX_MINMAX_H
#define SHIM_LINUX_MINMAX_H

#define shim_same_type(a, b) \
	_Static_assert(__builtin_types_compatible_p(__typeof__(a), \
						    __typeof__(b)), \
		       "comparison of different types")

#define min(a, b) __extension__ ({				\
	__typeof__(a) shim_a = (a);				\
	__typeof__(b) shim_b = (b);				\
								\
	shim_same_type(shim_a, shim_b);				\
	shim_a < shim_b ? shim_a : shim_b; })

#define max(a, b) __extension__ ({				\
	__typeof__(a) shim_a = (a);				\
	__typeof__(b) shim_b = (b);				\
								\
	shim_same_type(shim_a, shim_b);				\
	shim_a > shim_b ? shim_a : shim_b; })

#define min_t(type, a, b)	min((type)(a), (type)(b))

#endif
