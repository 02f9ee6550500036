/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What tests of the on-disk form of bitmaps share: roots, and bytes that are
 * written down here once more, with numbers for offsets. A change that makes
 * one of these tests fail makes another format of it: see
 * Documentation/metadata-format.rst.
 */

#ifndef UNIT_IMAGE_H
#define UNIT_IMAGE_H

#include "metadata.h"

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

#define BLOCK		4096
#define ROOT_BLOCKS	9
#define PAYLOAD_BITS	32256

/* Where things are in a block, and in an entry of the directory. */
#define AT_TYPE		4
#define AT_UUID		8
#define AT_WHERE	24
#define AT_SEQ		32
#define AT_SET		40
#define AT_MAGIC	64
#define AT_VERSION	80
#define AT_NR_BITMAPS	156
#define AT_ORIGIN	176
#define AT_ENTRY	64
#define ENTRY		504

extern const u8 root_uuid[16];

/* Blocks, zeroed, and not a byte more: ASan sees a step beyond. To be freed. */
u8 *blocks_new(unsigned int nr);

/* Little endian. */
void put(u8 *p, u64 v, unsigned int bytes);

/* Bit by bit, and not that of the shim. */
u32 naive_crc(const u8 *p, size_t len);

/* The checksum of a block that was changed. */
void reseal(u8 *block);

/* Header of a block; the payload is there. */
void by_hand(u8 *block, const char *type, u64 where, u64 seq, u64 set);

/* Each byte of @nr blocks that is not as it should be is a failure. */
void check_bytes(const u8 *got, const u8 *want, unsigned int nr,
		 const char *what);

/* An origin of 1 GiB; two bitmaps with room for more between them. */
void small_root(struct bk_md_root *root);

/* All that can be there, and every field at an end of its range or odd. */
void full_root(struct bk_md_root *root);

bool roots_equal(const struct bk_md_root *a, const struct bk_md_root *b);

/* Decodes; a refusal must come with a sentence. */
int decode(struct bk_md_root *root, unsigned int copy, const u8 *buf);

/* What becomes of it when it is written and read again. */
int through(const struct bk_md_root *root);

#endif
