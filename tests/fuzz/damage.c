// SPDX-License-Identifier: GPL-2.0-only
/*
 * What can happen to blocks of a device.
 */

#include "fuzz-metadata.h"

#include <linux/crc32c.h>

#include <stdlib.h>
#include <string.h>

#define TOUCHED_MAX	64

bool resealed;

/* The blocks of @image that are not as in @now. */
static unsigned int touched[TOUCHED_MAX];
static unsigned int nr_touched;

static const u64 values[] = {
	0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 22, 23, 31, 32, 33, 63, 64, 65, 127,
	128, 255, 256, 4095, 4096, 4097, 32255, 32256, 32257, 0x3fffffff,
	0x40000000, 0x40000001, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
	1ULL << 32, (1ULL << 32) + 1, 1ULL << 52, (1ULL << 52) + 1, 1ULL << 55,
	(1ULL << 55) + 1, 1ULL << 62, 1ULL << 63, ~0ULL - 3, ~0ULL,
};

/* What is somewhere in a root, or may be next to it. */
static u64 value_of_root(void)
{
	const struct bk_md_entry *e =
		&now.root.entry[below(BK_MD_MAX_BITMAPS)];

	switch (below(8)) {
	case 0:
		return now.root.blocks;
	case 1:
		return now.root.len;
	case 2:
		return now.root.next_set;
	case 3:
		return now.root.seq;
	case 4:
		return bk_md_area_start(&now.root);
	case 5:
		return e->first;
	case 6:
		return e->first + bk_md_area_blocks(e->pages);
	default:
		return now.root.blocks - bk_md_area_blocks(1);
	}
}

struct field {
	unsigned int at;
	unsigned int bytes;
};

static const struct field header_fields[] = {
	{ 4, 4 }, { 8, 8 }, { 16, 8 }, { 24, 8 }, { 32, 8 }, { 40, 8 },
};

static const struct field super_fields[] = {
	{ 80, 4 }, { 84, 4 }, { 88, 8 }, { 96, 8 }, { 104, 4 }, { 108, 4 },
	{ 112, 8 }, { 120, 8 }, { 136, 8 }, { 152, 4 }, { 156, 4 },
};

static const struct field lease_fields[] = {
	{ 64, 8 }, { 72, 8 }, { 88, 4 }, { 92, 4 }, { 96, 8 },
};

/* Within an entry of the directory. */
static const struct field entry_fields[] = {
	{ 0, 1 }, { 128, 1 }, { 256, 1 }, { 384, 8 }, { 392, 8 }, { 400, 4 },
	{ 404, 4 }, { 408, 4 }, { 412, 1 }, { 413, 1 },
};

static bool is_super(u64 block)
{
	return block == 0 || block == ROOT_BLOCKS;
}

static bool is_directory(u64 block)
{
	return block < LEASE && !is_super(block);
}

/* An entry that is in use, mostly. */
static unsigned int entry_of(const u8 *block)
{
	unsigned int i, j = below(BK_MD_ENTRIES);

	for (i = 0; i < BK_MD_ENTRIES && below(16); i++, j++)
		if (block[HEADER + j % BK_MD_ENTRIES * 504])
			break;
	return HEADER + j % BK_MD_ENTRIES * 504;
}

static struct field some_field(u64 block)
{
	struct field f = { below(BLOCK / 8) * 8, 8 };

	if (!below(8))
		return header_fields[below(COUNT(header_fields))];
	if (is_super(block))
		return super_fields[below(COUNT(super_fields))];
	if (is_directory(block)) {
		f = entry_fields[below(COUNT(entry_fields))];
		f.at += entry_of(block_of(image, block));
	} else if (block < HOT) {
		f = lease_fields[below(COUNT(lease_fields))];
	}
	return f;
}

static bool is_touched(u64 block)
{
	unsigned int i;

	for (i = 0; i < nr_touched; i++)
		if (touched[i] == block)
			return true;
	return false;
}

u8 *touch(u64 block)
{
	if (!is_touched(block)) {
		if (nr_touched == TOUCHED_MAX)
			abort();
		touched[nr_touched++] = block;
	}
	return block_of(image, block);
}

static void set_field(u64 block)
{
	struct field f = some_field(block);
	u8 *p = touch(block) + f.at;

	switch (below(4)) {
	case 0:
		put(p, get(p, f.bytes) + below(7) - 3, f.bytes);
		break;
	case 1:
		put(p, value_of_root() + below(3) - 1, f.bytes);
		break;
	default:
		put(p, values[below(COUNT(values))], f.bytes);
		break;
	}
}

/* A text without an end; sometimes it just has one. */
static void set_text(u64 block)
{
	unsigned int at, size = 128;
	u8 *p = touch(block);

	if (is_super(block)) {
		at = 176;
		size = 160;
	} else {
		at = entry_of(p) + below(3) * 128;
	}
	memset(p + at, 'x', size - !below(4));
}

static void copy_entry(u64 block, u64 other)
{
	const u8 *from = block_of(image, other) + entry_of(block_of(image, other));
	u8 entry[504], *to = touch(block) + HEADER + below(BK_MD_ENTRIES) * 504;

	memcpy(entry, from, sizeof(entry));
	memcpy(to, entry, sizeof(entry));
	if (below(2))
		to[0] ^= 1;
	if (below(2))
		put(to + 392, value_of_root() + below(9), 8);
}

static void swap_blocks(u64 a, u64 b)
{
	u8 tmp[BLOCK], *p = touch(a), *q = touch(b);

	memcpy(tmp, p, BLOCK);
	memcpy(p, q, BLOCK);
	memcpy(q, tmp, BLOCK);
}

static void flip_bits(u64 block)
{
	u8 *p = touch(block);
	unsigned int n = 1 + below(8), i;

	for (i = 0; i < n; i++)
		p[below(below(2) ? 512 : BLOCK)] ^= 1 << below(8);
}

/* A write that did not get to its end: the rest is older, or zero. */
static void tear(u64 block)
{
	unsigned int at = below(8) * 512;
	u8 *p = touch(block);

	if (below(2))
		memcpy(p + at, block_of(old.image, block) + at, BLOCK - at);
	else
		memset(p + at, 0, BLOCK - at);
}

/* @first to @end: where the damage is. */
static void damage(u64 first, u64 end)
{
	u64 block = first + below(end - first);
	u64 other = first + below(end - first);

	switch (below(10)) {
	case 0:
		flip_bits(block);
		break;
	case 1:
		touch(block)[below(BLOCK)] = values[below(COUNT(values))];
		break;
	case 2:
		swap_blocks(block, other);
		break;
	case 3:
		memmove(touch(block), block_of(image, other), BLOCK);
		break;
	case 4:
		tear(block);
		break;
	case 5:
		if (block < LEASE) {
			set_text(block);
			break;
		}
		/* fall through */
	case 6:
		if (is_directory(block) && is_directory(other)) {
			copy_entry(block, other);
			break;
		}
		/* fall through */
	default:
		set_field(block);
		break;
	}
}

/* What was there before the last write; of a root, mostly all of it. */
static void go_back(u64 first, u64 end)
{
	u64 block = first + below(end - first);

	if (first == 0 && end == LEASE && below(4)) {
		first = block < ROOT_BLOCKS ? 0 : ROOT_BLOCKS;
		end = first + ROOT_BLOCKS;
	} else {
		first = block;
		end = block + 1;
	}
	for (; first < end; first++)
		memcpy(touch(first), block_of(old.image, first), BLOCK);
}

void reseal(void)
{
	bool place = below(2);
	unsigned int i;

	resealed = true;
	for (i = 0; i < nr_touched; i++) {
		u8 *p = block_of(image, touched[i]);

		if (place) {
			memcpy(p + 8, now.root.uuid, BK_MD_UUID);
			put(p + 24, touched[i], 8);
		}
		put(p, ~crc32c(~0U, p + 4, BLOCK - 4), 4);
	}
}

void damage_range(u64 first, u64 end)
{
	unsigned int n = below(32) ? 1 + below(3) : 0;

	while (n--)
		if (below(8))
			damage(first, end);
		else
			go_back(first, end);
}

void restore(void)
{
	while (nr_touched) {
		u64 block = touched[--nr_touched];

		memcpy(block_of(image, block), block_of(now.image, block), BLOCK);
	}
	resealed = false;
}

/* Did somebody write it there as it is? */
static bool was_written(u64 block)
{
	const u8 *p = block_of(image, block);

	return !memcmp(p, block_of(now.image, block), BLOCK) ||
	       !memcmp(p, block_of(old.image, block), BLOCK);
}

void check_block(u64 block, const char *type, const u8 *uuid, u64 set)
{
	const u8 *p = block_of(image, block);

	CHECK(get(p, 4) == (u32)~crc32c(~0U, p + 4, BLOCK - 4) &&
	      !memcmp(p + 4, type, 4) && !memcmp(p + 8, uuid, BK_MD_UUID) &&
	      get(p + 24, 8) == block && get(p + 40, 8) == set,
	      "block %llu is no good %s", block, type);
	if (!resealed)
		CHECK(was_written(block), "%s in block %llu is made up", type,
		      block);
}

bool is_changed(u64 first, unsigned int nr)
{
	return memcmp(block_of(image, first), block_of(now.image, first),
		      nr * BLOCK);
}
