/* SPDX-License-Identifier: GPL-2.0-only */
/* CRC-32C, eight bytes at a time. */

#ifndef SHIM_LINUX_CRC32C_H
#define SHIM_LINUX_CRC32C_H

#include <linux/types.h>

/* [i][b]: what byte b becomes when i zero bytes follow it. */
static u32 shim_crc32c_table[8][256];

__attribute__((constructor)) static void shim_crc32c_init(void)
{
	u32 b, i;

	for (b = 0; b < 256; b++) {
		u32 crc = b;

		for (i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
		shim_crc32c_table[0][b] = crc;
	}
	for (i = 1; i < 8; i++)
		for (b = 0; b < 256; b++) {
			u32 crc = shim_crc32c_table[i - 1][b];

			shim_crc32c_table[i][b] =
				crc >> 8 ^ shim_crc32c_table[0][crc & 255];
		}
}

/* Sanitizers make it seven times slower: see crc32c() for what they check. */
__attribute__((no_sanitize("address", "undefined"), unused))
static u32 shim_crc32c(u32 crc, const u8 *p, unsigned int length)
{
	u32 (*t)[256] = shim_crc32c_table;

	for (; length >= 8; p += 8, length -= 8) {
		crc ^= p[0] | p[1] << 8 | p[2] << 16 | (u32)p[3] << 24;
		crc = t[7][crc & 255] ^ t[6][crc >> 8 & 255] ^
		      t[5][crc >> 16 & 255] ^ t[4][crc >> 24] ^
		      t[3][p[4]] ^ t[2][p[5]] ^ t[1][p[6]] ^ t[0][p[7]];
	}
	while (length--)
		crc = crc >> 8 ^ t[0][(crc ^ *p++) & 255];
	return crc;
}

static inline u32 crc32c(u32 crc, const void *data, unsigned int length)
{
	const volatile u8 *p = data;

	/* Both ends are looked at here, where a sanitizer sees it. */
	if (length) {
		(void)p[0];
		(void)p[length - 1];
	}
	return shim_crc32c(crc, data, length);
}

#endif
