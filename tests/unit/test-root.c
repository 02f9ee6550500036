// SPDX-License-Identifier: GPL-2.0-only
/*
 * The root of a metadata device: superblock and directory, both copies.
 */

#include "image.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void test_round_trip(void)
{
	u8 *buf = blocks_new(ROOT_BLOCKS), *again = blocks_new(ROOT_BLOCKS);
	struct bk_md_root root, got;
	unsigned int copy, i;

	for (i = 0; i < 8; i++) {
		if (i & 1)
			full_root(&root);
		else
			small_root(&root);
		root.clean = i & 2;
		root.broken = i & 4;
		for (copy = 0; copy < 2; copy++) {
			int ret;

			memset(buf, 0xcc, ROOT_BLOCKS * BLOCK);
			memset(&got, 0xcc, sizeof(got));
			bk_md_root_encode(&root, copy, buf);
			CHECK(bk_md_is_ours(buf), "it is not ours");
			ret = decode(&got, copy, buf);
			CHECK(!ret, "root %u, copy %u: %d", i, copy, ret);
			CHECK(roots_equal(&root, &got),
			      "root %u, copy %u has changed", i, copy);
			bk_md_root_encode(&got, copy, again);
			CHECK(!memcmp(buf, again, ROOT_BLOCKS * BLOCK),
			      "root %u, copy %u: other bytes", i, copy);
		}
	}
	free(buf);
	free(again);
}

static void test_root_bytes(void)
{
	u8 *got = blocks_new(ROOT_BLOCKS), *want = blocks_new(ROOT_BLOCKS);
	struct bk_md_root root = {
		.seq = 0x1122334455667788, .blocks = 0x0001020304050607,
		.len = 0x0000a1a2a3a4a5a6, .origin = "LVM-xyz", .below = "CRYPT-abc",
		.region_shift = 0x1f, .hot_blocks = 0x0fed,
		.next_set = 0xb1b2b3b4b5b6b7b8, .clean = true, .broken = true,
		.print = 0xc1c2c3c4,
		.written = { 0xd1d2d3d4d5d6d7d8, 0xe1e2e3e4e5e6e7e8 },
		.device = { 0x0800001, 0x0fd00002 },
	};
	u8 *e;
	unsigned int i;

	memcpy(root.uuid, root_uuid, 16);
	memcpy(root.session, "sessionsessionss", 16);
	root.entry[10] = (struct bk_md_entry){
		.name = "weekly", .tag = "tape-7", .why = "because",
		.set = 0x0102030405060708, .first = 0x1112131415161718,
		.pages = 0x21222324, .crc = 0x31323334, .half = 1,
		.shift = 22, .recording = true,
	};
	bk_md_root_encode(&root, 1, got);

	memcpy(want + 64, "dm-backup bitmap", 16);
	put(want + 80, 1, 4);				/* version */
	put(want + 84, 3, 4);				/* flags */
	put(want + 88, 0x0001020304050607, 8);		/* blocks */
	put(want + 96, 0x0000a1a2a3a4a5a6, 8);		/* len */
	put(want + 104, 0x1f, 4);			/* region_shift */
	put(want + 108, 0x0fed, 4);			/* hot_blocks */
	put(want + 112, 0xb1b2b3b4b5b6b7b8, 8);		/* next_set */
	put(want + 120, 0xd1d2d3d4d5d6d7d8, 8);		/* written */
	put(want + 128, 0xe1e2e3e4e5e6e7e8, 8);
	put(want + 136, 0x0800001, 8);			/* device */
	put(want + 144, 0x0fd00002, 8);
	put(want + 152, 0xc1c2c3c4, 4);			/* print */
	put(want + 156, 64, 4);				/* nr_bitmaps */
	memcpy(want + 160, "sessionsessionss", 16);
	memcpy(want + 176, "LVM-xyz", 7);		/* origin */
	memcpy(want + 336, "CRYPT-abc", 9);		/* below */
	by_hand(want, "SMdb", 9, 0x1122334455667788, 0);

	/* entry 10 is the third one of the second block of the directory */
	e = want + 2 * 4096 + 64 + 2 * 504;
	memcpy(e, "weekly", 6);
	memcpy(e + 128, "tape-7", 6);
	memcpy(e + 256, "because", 7);
	put(e + 384, 0x0102030405060708, 8);		/* set */
	put(e + 392, 0x1112131415161718, 8);		/* first */
	put(e + 400, 0x21222324, 4);			/* pages */
	put(e + 404, 0x31323334, 4);			/* crc */
	put(e + 408, 1, 4);				/* flags */
	e[412] = 1;					/* half */
	e[413] = 22;					/* shift */
	for (i = 1; i < ROOT_BLOCKS; i++)
		by_hand(want + i * 4096, "DMdb", 9 + i, 0x1122334455667788, 0);
	check_bytes(got, want, ROOT_BLOCKS, "root");
	/* so that the sum here can't be wrong in the same way */
	CHECK(naive_crc((const u8 *)"123456789", 9) == 0xe3069283,
	      "no CRC-32C");

	root.clean = false;
	bk_md_root_encode(&root, 0, got);
	CHECK(got[84] == 2 && got[AT_WHERE] == 0, "flags %u, block %u",
	      got[84], got[AT_WHERE]);
	root.clean = true;
	root.broken = false;
	bk_md_root_encode(&root, 0, got);
	CHECK(got[84] == 1, "flags %u", got[84]);
	free(got);
	free(want);
}

static void test_places(void)
{
	struct bk_md_root root = { .hot_blocks = 34 };
	struct bk_md_entry e = { .first = 1000, .pages = 5 };

	CHECK(bk_md_root_block(0) == 0 && bk_md_root_block(1) == 9, "root");
	CHECK(bk_md_lease_block(0) == 18 && bk_md_lease_block(1) == 19,
	      "lease");
	CHECK(bk_md_hot_block(&root, 0, 0) == 20 &&
	      bk_md_hot_block(&root, 33, 0) == 53 &&
	      bk_md_hot_block(&root, 0, 1) == 54 &&
	      bk_md_hot_block(&root, 33, 1) == 87, "hot map");
	CHECK(bk_md_area_start(&root) == 88, "areas");
	CHECK(bk_md_page_block(&e, 0, 0, 0) == 1000 &&
	      bk_md_page_block(&e, 0, 4, 0) == 1004 &&
	      bk_md_page_block(&e, 0, 0, 1) == 1005 &&
	      bk_md_page_block(&e, 1, 0, 0) == 1010 &&
	      bk_md_page_block(&e, 1, 4, 1) == 1019, "pages");
	e.first = 1ULL << 51;
	e.pages = 0xffffffff;
	CHECK(bk_md_page_block(&e, 1, 0xfffffffe, 1) ==
	      (1ULL << 51) + 0x3fffffffbULL, "pages of the largest bitmap");
	CHECK(bk_md_area_blocks(5) == 20 &&
	      bk_md_area_blocks(0xffffffff) == 0x3fffffffcULL, "areas' length");
	CHECK(bk_md_units(1, 0) == 1 && bk_md_units(8, 3) == 1 &&
	      bk_md_units(9, 3) == 2 && bk_md_units(~0ULL, 1) == 1ULL << 63 &&
	      bk_md_units(1, 22) == 1, "units");
	CHECK(bk_md_pages(1, 0) == 1 && bk_md_pages(32256, 0) == 1 &&
	      bk_md_pages(32257, 0) == 2 && bk_md_pages(32256 << 7, 7) == 1 &&
	      bk_md_pages((32256 << 7) + 1, 7) == 2, "pages of a bitmap");
}

/* Every checksum is looked at before anything is believed. */
static void test_flips(void)
{
	u8 *buf = blocks_new(ROOT_BLOCKS);
	struct bk_md_root root, got;
	unsigned int copy, bit;

	full_root(&root);
	for (copy = 0; copy < 2; copy++) {
		bk_md_root_encode(&root, copy, buf);
		for (bit = copy * 11; bit < ROOT_BLOCKS * BLOCK * 8; bit += 37) {
			unsigned int byte = bit / 8;
			bool magic = byte >= AT_MAGIC && byte < AT_MAGIC + 16;
			int ret, want = magic ? -EINVAL : -EBADMSG;

			buf[byte] ^= 1 << bit % 8;
			ret = decode(&got, copy, buf);
			CHECK(ret == want, "copy %u, bit %u of byte %u: %d",
			      copy, bit % 8, byte, ret);
			buf[byte] ^= 1 << bit % 8;
		}
		CHECK(!decode(&got, copy, buf), "it was not put back");
	}
	free(buf);
}

static void test_not_ours(void)
{
	u8 *buf = blocks_new(ROOT_BLOCKS);
	struct bk_md_root root, got;
	char error[200], tiny[8];
	int ret;

	ret = decode(&got, 0, buf);
	CHECK(ret == -EINVAL && !bk_md_is_ours(buf), "zeroes: %d", ret);
	memset(buf, 0xff, ROOT_BLOCKS * BLOCK);
	ret = decode(&got, 0, buf);
	CHECK(ret == -EINVAL, "ones: %d", ret);

	small_root(&root);
	bk_md_root_encode(&root, 0, buf);
	buf[AT_MAGIC] ^= 1;
	reseal(buf);
	ret = decode(&got, 0, buf);
	CHECK(ret == -EINVAL, "another magic: %d", ret);
	buf[AT_MAGIC] ^= 1;

	/* of a version that keeps its checksum elsewhere, nothing is known */
	buf[AT_VERSION] = 2;
	ret = decode(&got, 0, buf);
	CHECK(ret == -EBADMSG, "a bad checksum: %d", ret);
	reseal(buf);
	ret = bk_md_root_decode(&got, 0, buf, error, sizeof(error));
	CHECK(ret == -EPROTONOSUPPORT && strstr(error, "2"),
	      "version 2: %d, '%s'", ret, error);
	put(buf + AT_VERSION, 0, 4);
	reseal(buf);
	ret = decode(&got, 0, buf);
	CHECK(ret == -EPROTONOSUPPORT, "version 0: %d", ret);
	put(buf + AT_VERSION, 0x100, 4);
	reseal(buf);
	memset(tiny, 'x', sizeof(tiny));
	ret = bk_md_root_decode(&got, 0, buf, tiny, sizeof(tiny) - 1);
	CHECK(ret == -EPROTONOSUPPORT, "version 256: %d", ret);
	CHECK(!tiny[sizeof(tiny) - 2] && tiny[sizeof(tiny) - 1] == 'x',
	      "a sentence longer than there is room");
	put(buf + AT_VERSION, 1, 4);
	reseal(buf);
	CHECK(!decode(&got, 0, buf), "it was not put back");
	free(buf);
}

/* Blocks that are good, but not here. */
static void test_foreign_blocks(void)
{
	u8 *buf = blocks_new(ROOT_BLOCKS), *other = blocks_new(ROOT_BLOCKS);
	struct bk_md_root root, got;
	unsigned int i;
	int ret;

	small_root(&root);
	for (i = 0; i < 2; i++) {
		bk_md_root_encode(&root, i, buf);
		ret = decode(&got, !i, buf);
		CHECK(ret == -EBADMSG, "copy %u as the other one: %d", i, ret);
	}
	for (i = 0; i < ROOT_BLOCKS; i++) {
		bk_md_root_encode(&root, 0, buf);
		bk_md_root_encode(&root, 1, other);
		memcpy(buf + i * BLOCK, other + i * BLOCK, BLOCK);
		ret = decode(&got, 0, buf);
		CHECK(ret == -EBADMSG, "block %u of the other copy: %d", i, ret);

		root.seq++;
		bk_md_root_encode(&root, 0, other);
		root.seq--;
		bk_md_root_encode(&root, 0, buf);
		memcpy(buf + i * BLOCK, other + i * BLOCK, BLOCK);
		ret = decode(&got, 0, buf);
		CHECK(ret == -EBADMSG, "block %u of the next root: %d", i, ret);

		root.uuid[15] ^= 0x80;
		bk_md_root_encode(&root, 0, other);
		root.uuid[15] ^= 0x80;
		bk_md_root_encode(&root, 0, buf);
		memcpy(buf + i * BLOCK, other + i * BLOCK, BLOCK);
		ret = decode(&got, 0, buf);
		CHECK(ret == -EBADMSG, "block %u of another device: %d", i, ret);
	}
	bk_md_root_encode(&root, 0, buf);
	for (i = 1; i < ROOT_BLOCKS; i++) {
		u8 *block = buf + i * BLOCK;

		memcpy(block + AT_TYPE, "SMdb", 4);
		reseal(block);
		ret = decode(&got, 0, buf);
		CHECK(ret == -EBADMSG, "block %u is no directory: %d", i, ret);
		memcpy(block + AT_TYPE, "DMdb", 4);
		reseal(block);
	}
	memcpy(buf + AT_TYPE, "DMdb", 4);
	reseal(buf);
	ret = decode(&got, 0, buf);
	CHECK(ret == -EBADMSG, "the superblock is none: %d", ret);
	free(buf);
	free(other);
}

#define SUPER(ret_, field, value_) \
	{ #field " " #value_, offsetof(struct bk_md_root, field), \
	  sizeof_field(field), value_, ret_ }
#define FIRST(ret_, field, value_)	SUPER(ret_, entry[0].field, value_)
#define SECOND(ret_, field, value_)	SUPER(ret_, entry[9].field, value_)
#define sizeof_field(field)	sizeof(((struct bk_md_root *)0)->field)

/* One field of small_root() set to a value. */
static const struct {
	const char *what;
	size_t offset;
	unsigned int bytes;
	u64 value;
	int ret;
} table[] = {
	SUPER(-EUCLEAN, len, 0),
	SUPER(-EUCLEAN, len, (1ULL << 55) + 1),
	SUPER(-EUCLEAN, len, ~0ULL),
	/* two blocks of the hot map are for 32256 * 2 regions of 32 MiB */
	SUPER(-EUCLEAN, len, (32256ULL << 17) + 1),
	/* what bitmap "b" has room for, and one sector more */
	SUPER(0, len, 9 * 32256 * 8),
	SUPER(-EUCLEAN, len, 9 * 32256 * 8 + 1),
	SUPER(0, len, 1),
	SUPER(0, blocks, 136),
	SUPER(-EUCLEAN, blocks, 135),
	SUPER(-EUCLEAN, blocks, 23),
	SUPER(-EUCLEAN, blocks, 0),
	SUPER(0, blocks, 1ULL << 52),
	SUPER(-EUCLEAN, blocks, (1ULL << 52) + 1),
	SUPER(-EUCLEAN, blocks, ~0ULL),
	SUPER(-EUCLEAN, region_shift, 15),
	SUPER(-EUCLEAN, region_shift, 0),
	SUPER(0, region_shift, 32),
	SUPER(-EUCLEAN, region_shift, 33),
	SUPER(-EUCLEAN, region_shift, 64),
	SUPER(-EUCLEAN, region_shift, 0xffffffff),
	SUPER(-EUCLEAN, hot_blocks, 0),
	SUPER(0, hot_blocks, 1),
	/* "a" begins at block 24 */
	SUPER(-EUCLEAN, hot_blocks, 3),
	SUPER(-EUCLEAN, hot_blocks, 4097),
	SUPER(-EUCLEAN, hot_blocks, 0xffffffff),
	SUPER(-EUCLEAN, next_set, 9),
	SUPER(-EUCLEAN, next_set, 0),
	SUPER(0, next_set, ~0ULL),
	FIRST(0, half, 1),
	FIRST(-EUCLEAN, half, 2),
	FIRST(-EUCLEAN, half, 255),
	FIRST(0, shift, 22),
	FIRST(-EUCLEAN, shift, 23),
	FIRST(-EUCLEAN, shift, 64),
	FIRST(-EUCLEAN, shift, 255),
	FIRST(-EUCLEAN, set, 0),
	FIRST(0, set, 9),
	FIRST(-EUCLEAN, set, 10),
	FIRST(-EUCLEAN, set, ~0ULL),
	FIRST(-EUCLEAN, pages, 0),
	FIRST(0, pages, 19),
	/* into "b" */
	FIRST(-EUCLEAN, pages, 20),
	FIRST(-EUCLEAN, pages, 0xffffffff),
	/* 4 * pages is 4 in 32 bits */
	FIRST(-EUCLEAN, pages, 0x40000001),
	FIRST(-EUCLEAN, first, 0),
	FIRST(-EUCLEAN, first, 23),
	FIRST(0, first, 96),
	FIRST(-EUCLEAN, first, 97),
	FIRST(-EUCLEAN, first, 100),
	FIRST(-EUCLEAN, first, 135),
	FIRST(0, first, 136),
	FIRST(0, first, 996),
	FIRST(-EUCLEAN, first, 997),
	FIRST(-EUCLEAN, first, 1000),
	FIRST(-EUCLEAN, first, 1ULL << 63),
	FIRST(-EUCLEAN, first, ~0ULL),
	FIRST(-EUCLEAN, first, ~0ULL - 3),
	/* granules of 4 KiB: 2^18 of them are 9 pages */
	SECOND(-EUCLEAN, pages, 8),
	SECOND(0, pages, 10),
	SECOND(-EUCLEAN, shift, 2),
	SECOND(0, first, 964),
	SECOND(-EUCLEAN, first, 965),
	/* around "a" */
	SECOND(0, first, 28),
	SECOND(-EUCLEAN, first, 27),
	SECOND(-EUCLEAN, first, 24),
	SECOND(-EUCLEAN, name, 'a'),
	SECOND(0, name, 'c'),
	/* no name, no bitmap, whatever else is there: not even written */
	SUPER(0, entry[33].set, 77),
};

static void test_unsound(void)
{
	struct bk_md_root root, got;
	u8 *buf = blocks_new(ROOT_BLOCKS);
	unsigned int i;

	small_root(&root);
	CHECK(!through(&root), "what the table begins with");
	for (i = 0; i < COUNT(table); i++) {
		int ret;

		small_root(&root);
		if (table[i].bytes > 8)
			*((char *)&root + table[i].offset) = table[i].value;
		else
			memcpy((char *)&root + table[i].offset, &table[i].value,
			       table[i].bytes);
		bk_md_root_encode(&root, 0, buf);
		ret = decode(&got, 0, buf);
		CHECK(ret == table[i].ret, "%s: %d, not %d", table[i].what, ret,
		      table[i].ret);
		CHECK(ret || !got.entry[33].set, "%s: a bitmap without a name",
		      table[i].what);
	}
	free(buf);
}

/* Nothing but the superblock says how large the hot map is. */
static void test_hot_size(void)
{
	struct bk_md_root root;
	unsigned int i;
	int ret;

	for (i = 0; i < 2; i++) {
		small_root(&root);
		memset(root.entry, 0, sizeof(root.entry));
		root.blocks = 20 + 2 * 5 - i;
		root.hot_blocks = 5;
		ret = through(&root);
		CHECK(ret == (i ? -EUCLEAN : 0), "to the end, and %u: %d", i,
		      ret);
		root.blocks = 1 << 20;
		root.hot_blocks = 4096 + i;
		ret = through(&root);
		CHECK(ret == (i ? -EUCLEAN : 0), "the largest, and %u: %d", i,
		      ret);
	}
}

/* What bk_md_root_encode() would not write. */
static void test_unsound_bytes(void)
{
	static const unsigned int texts[] = {
		/* what is there already reaches the end: no zero is left */
		AT_ORIGIN,
		BLOCK + AT_ENTRY, BLOCK + AT_ENTRY + 128, BLOCK + AT_ENTRY + 256,
		2 * BLOCK + AT_ENTRY + ENTRY,
	};
	u8 *buf = blocks_new(ROOT_BLOCKS);
	struct bk_md_root root, got;
	unsigned int i;
	int ret;

	small_root(&root);
	for (i = 0; i < COUNT(texts); i++) {
		u8 *block = buf + texts[i] / BLOCK * BLOCK;
		unsigned int size = texts[i] == AT_ORIGIN ? 160 : 128;

		bk_md_root_encode(&root, 0, buf);
		memset(buf + texts[i], 'x', size - 1);
		reseal(block);
		ret = decode(&got, 0, buf);
		CHECK(!ret, "a text that just fits at %u: %d", texts[i], ret);
		buf[texts[i] + size - 1] = 'x';
		reseal(block);
		ret = decode(&got, 0, buf);
		CHECK(ret == -EUCLEAN, "a text without an end at %u: %d",
		      texts[i], ret);
	}
	for (i = 0; i <= 0x1000; i++) {
		if (i > 70 && i & (i - 1))
			continue;
		bk_md_root_encode(&root, 0, buf);
		put(buf + AT_NR_BITMAPS, i, 4);
		reseal(buf);
		ret = decode(&got, 0, buf);
		CHECK(ret == (i == 64 ? 0 : -EUCLEAN), "%u bitmaps: %d", i, ret);
	}
	/* the same name once more, and the rest of that entry in order */
	for (i = 1; i < 64; i += 31) {
		u8 *block = buf + (1 + i / 8) * BLOCK;
		u8 *entry = block + AT_ENTRY + i % 8 * ENTRY;

		bk_md_root_encode(&root, 0, buf);
		memcpy(entry, buf + BLOCK + AT_ENTRY, ENTRY);
		put(entry + 392, 500, 8);
		reseal(block);
		ret = decode(&got, 0, buf);
		CHECK(ret == -EUCLEAN, "a name in places 0 and %u: %d", i, ret);
		entry[0] = 'z';
		reseal(block);
		ret = decode(&got, 0, buf);
		CHECK(!ret && !strcmp(got.entry[i].name, "z"),
		      "another name: %d", ret);
	}
	free(buf);
}

const struct unit_test unit_root[] = {
	{ "roots, both copies: what is written is read", test_round_trip },
	{ "the bytes of a root", test_root_bytes },
	{ "where blocks are", test_places },
	{ "a root with any bit flipped is refused", test_flips },
	{ "not ours; another version", test_not_ours },
	{ "blocks of another copy, root or device", test_foreign_blocks },
	{ "a table of what can and can't be", test_unsound },
	{ "the size of the hot map", test_hot_size },
	{ "texts without an end, another number of entries",
	  test_unsound_bytes },
	{ NULL, NULL }
};
