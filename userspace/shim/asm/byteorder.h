/* SPDX-License-Identifier: GPL-2.0-only */
/* To and from little-endian. */

#ifndef SHIM_ASM_BYTEORDER_H
#define SHIM_ASM_BYTEORDER_H

#include_next <asm/byteorder.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define cpu_to_le64(x)	(x)
#define cpu_to_le32(x)	(x)
#define le64_to_cpu(x)	(x)
#define le32_to_cpu(x)	(x)
#else
#define cpu_to_le64(x)	__builtin_bswap64(x)
#define cpu_to_le32(x)	__builtin_bswap32(x)
#define le64_to_cpu(x)	__builtin_bswap64(x)
#define le32_to_cpu(x)	__builtin_bswap32(x)
#endif

#endif
