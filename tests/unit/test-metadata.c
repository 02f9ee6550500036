// SPDX-License-Identifier: GPL-2.0-only
/*
 * The on-disk form of bitmaps: against bytes that are written down here once
 * more, with numbers for offsets. A change that makes one of these tests fail
 * makes another format of it: see Documentation/metadata-format.rst.
 */

#include "tap.h"

#include "metadata.h"

#include <linux/bitops.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static const u8 uuid[16] = "\xff\x01\x80\x7f uuid uuid.";

/* A block at least, aligned as a buffer for I/O is; it ends where it ends. */
static u8 *blocks_new(unsigned int nr)
{
	u8 *buf = calloc(nr, BLOCK);

	if (!buf)
		abort();
	return buf;
}

static void put(u8 *p, u64 v, unsigned int bytes)
{
	while (bytes--) {
		*p++ = v;
		v >>= 8;
	}
}

/* Bit by bit, and not that of the shim. */
static u32 naive_crc(const u8 *p, size_t len)
{
	u32 crc = 0xffffffff;
	int i;

	for (; len; len--) {
		crc ^= *p++;
		for (i = 0; i < 8; i++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
	}
	return crc ^ 0xffffffff;
}

static void reseal(u8 *block)
{
	put(block, naive_crc(block + 4, BLOCK - 4), 4);
}

/* Exactly as long as it can be. */
static void fill_text(char *to, size_t size, char c, unsigned int nr)
{
	memset(to, c, size - 1);
	to[snprintf(to, size, "%u", nr)] = c;
	to[size - 1] = 0;
}

/* An origin of 1 GiB; two bitmaps with room for more between them. */
static void small_root(struct bk_md_root *root)
{
	char error[200];

	if (bk_md_init(root, uuid, 1000, 1 << 21, "CRYPT-abc", error,
		       sizeof(error)))
		abort();
	root->seq = 7;
	root->next_set = 10;
	strcpy(root->entry[0].name, "a");
	root->entry[0].set = 1;
	root->entry[0].first = 24;
	root->entry[0].pages = 1;
	root->entry[0].shift = 7;
	strcpy(root->entry[9].name, "b");
	root->entry[9].set = 9;
	root->entry[9].first = 100;
	root->entry[9].pages = 9;
	root->entry[9].shift = 3;
}

/* All that can be there, and every field at an end of its range or odd. */
static void full_root(struct bk_md_root *root)
{
	u64 at = 18 + 2 + 2 * 4096;
	unsigned int i;

	memset(root, 0, sizeof(*root));
	memcpy(root->uuid, uuid, sizeof(uuid));
	root->seq = ~0ULL;
	root->blocks = 1ULL << 52;
	root->len = (1ULL << 20) - 1;
	fill_text(root->origin, sizeof(root->origin), 'o', 0);
	fill_text(root->below, sizeof(root->below), 'b', 0);
	root->region_shift = 32;
	root->hot_blocks = 4096;
	root->next_set = ~0ULL;
	root->clean = true;
	root->print = 0xfedcba98;
	memset(root->session, 0xa5, sizeof(root->session));
	root->written[0] = ~0ULL;
	root->written[1] = 0x8070605040302010;
	root->device[0] = 0x0102030405060708;
	root->device[1] = 1ULL << 63;
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		struct bk_md_entry *e = &root->entry[i];

		fill_text(e->name, sizeof(e->name), 'n', i);
		fill_text(e->tag, sizeof(e->tag), '~', i);
		if (i % 3)
			fill_text(e->why, sizeof(e->why), 'w', i);
		e->set = i % 2 ? ~0ULL - 1 - i : 1 + i;
		e->shift = i % 23;
		e->pages = i == 60 ? 0xffffffff : 33 + i;
		e->first = at;
		at += 4ULL * e->pages;
		e->half = i & 1;
		e->recording = i / 2 & 1;
		e->crc = 0x80000001 + i;
	}
	/* the last one ends with the device */
	root->entry[63].first = root->blocks - 4ULL * root->entry[63].pages;
}

static bool entries_equal(const struct bk_md_entry *a,
			  const struct bk_md_entry *b)
{
	return !strcmp(a->name, b->name) && !strcmp(a->tag, b->tag) &&
	       !strcmp(a->why, b->why) && a->set == b->set &&
	       a->first == b->first && a->pages == b->pages &&
	       a->half == b->half && a->shift == b->shift &&
	       a->recording == b->recording && a->crc == b->crc;
}

static bool roots_equal(const struct bk_md_root *a, const struct bk_md_root *b)
{
	unsigned int i;

	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		if (!entries_equal(&a->entry[i], &b->entry[i]))
			return false;
	return !memcmp(a->uuid, b->uuid, 16) && a->seq == b->seq &&
	       a->blocks == b->blocks && a->len == b->len &&
	       !strcmp(a->origin, b->origin) && !strcmp(a->below, b->below) &&
	       a->region_shift == b->region_shift &&
	       a->hot_blocks == b->hot_blocks && a->next_set == b->next_set &&
	       a->clean == b->clean && a->broken == b->broken &&
	       a->print == b->print && !memcmp(a->session, b->session, 16) &&
	       a->written[0] == b->written[0] &&
	       a->written[1] == b->written[1] && a->device[0] == b->device[0] &&
	       a->device[1] == b->device[1];
}

/* A refusal comes with a sentence. */
static int decode(struct bk_md_root *root, unsigned int copy, const u8 *buf)
{
	char error[200] = "";
	int ret = bk_md_root_decode(root, copy, buf, error, sizeof(error));

	CHECK(!ret == !error[0], "%d with the sentence '%s'", ret, error);
	return ret;
}

/* What becomes of it when it is written and read again. */
static int through(const struct bk_md_root *root)
{
	u8 *buf = blocks_new(ROOT_BLOCKS);
	struct bk_md_root got;
	int ret;

	bk_md_root_encode(root, 0, buf);
	ret = decode(&got, 0, buf);
	if (!ret)
		CHECK(roots_equal(root, &got), "it reads as another one");
	free(buf);
	return ret;
}

/*----------------------------------------------------------------*/
/* Root */

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

/* Header of a block; the payload is there. */
static void by_hand(u8 *block, const char *type, u64 where, u64 seq, u64 set)
{
	memcpy(block + AT_TYPE, type, 4);
	memcpy(block + AT_UUID, uuid, 16);
	put(block + AT_WHERE, where, 8);
	put(block + AT_SEQ, seq, 8);
	put(block + AT_SET, set, 8);
	reseal(block);
}

static void check_bytes(const u8 *got, const u8 *want, unsigned int nr,
			const char *what)
{
	unsigned int i;

	for (i = 0; i < nr * BLOCK; i++)
		if (got[i] != want[i])
			CHECK(false, "%s: block %u, byte %u is 0x%02x, not 0x%02x",
			      what, i / BLOCK, i % BLOCK, got[i], want[i]);
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

	memcpy(root.uuid, uuid, 16);
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

/*----------------------------------------------------------------*/
/* A new device */

/* Sectors of the origin; blocks that are needed; what the hot map is like. */
static const struct {
	u64 len;
	u64 need;
	u32 region_shift;
	u32 hot_blocks;
} devices[] = {
	{ 1, 28, 16, 2 },
	{ 1 << 21, 28, 16, 2 },
	{ 32256 << 7, 28, 16, 2 },
	{ (32256 << 7) + 1, 32, 16, 2 },
	{ 32256ULL << 16, 24 + 4 * 512, 16, 2 },
	{ (32256ULL << 16) + 1, 28 + 4 * 513, 16, 4 },
	/* 16 TiB: 2^19 regions, 2^28 granules */
	{ 1ULL << 35, 20 + 2 * 34 + 4 * 8323ULL, 16, 34 },
	/* the last for which regions of 32 MiB will do, and the next one */
	{ 32256ULL << 27, 20 + 2 * 4096 + (4ULL << 20), 16, 4096 },
	{ (32256ULL << 27) + 1, 20 + 2 * 2050 + 4 * ((1ULL << 20) + 1), 17,
	  2050 },
	/* the longest that is allowed */
	{ 1ULL << 55, 20 + 2 * 2082 + 4 * 8726282761ULL, 30, 2082 },
};

static void test_init(void)
{
	struct bk_md_root root;
	char error[200];
	unsigned int i;
	int ret;

	for (i = 0; i < COUNT(devices); i++) {
		u64 len = devices[i].len, need = devices[i].need;
		char kib[40];

		error[0] = 0;
		ret = bk_md_init(&root, uuid, need - 1, len, "o", error,
				 sizeof(error));
		snprintf(kib, sizeof(kib), " %llu KiB", need * 4);
		CHECK(ret == -ENOSPC && strstr(error, kib),
		      "%llu sectors, a block too few: %d, '%s', not%s", len, ret,
		      error, kib);
		ret = bk_md_init(&root, uuid, 0, len, "o", error,
				 sizeof(error));
		CHECK(ret == -ENOSPC, "%llu sectors, no block: %d", len, ret);
		memset(&root, 0xcc, sizeof(root));
		ret = bk_md_init(&root, uuid, need, len, "o", error,
				 sizeof(error));
		CHECK(!ret, "%llu sectors, just enough: %d, '%s'", len, ret,
		      error);
		CHECK(root.region_shift == devices[i].region_shift &&
		      root.hot_blocks == devices[i].hot_blocks,
		      "%llu sectors: regions of 2^%u, %u blocks", len,
		      root.region_shift, root.hot_blocks);
		CHECK(root.blocks == need && root.len == len &&
		      !memcmp(root.uuid, uuid, 16) && root.clean &&
		      !root.broken && root.next_set == 1 && !root.seq &&
		      !strcmp(root.origin, "o") && !root.entry[0].name[0],
		      "%llu sectors: wrong values", len);
		CHECK(!through(&root), "%llu sectors: can't be read", len);
	}
	for (i = 0; i < 2; i++) {
		error[0] = 0;
		ret = bk_md_init(&root, uuid, 1ULL << 52,
				 i ? (1ULL << 55) + 1 : 0, "o", error,
				 sizeof(error));
		CHECK(ret == -EINVAL && error[0], "no such length: %d", ret);
	}
}

/* Any length: the hot map is bounded, and has room for twice as much. */
static void test_init_any(void)
{
	struct unit_random r;
	struct bk_md_root root;
	char error[200], name[400];
	unsigned int i;

	unit_random_init(&r, unit_args.seed, 200);
	for (i = 0; i < 20000; i++) {
		u64 len = 1 + (unit_random(&r) & ((2ULL << unit_below(&r, 55)) - 1));
		u64 region;

		if (len > 1ULL << 55)
			len = 1ULL << 55;
		if (!CHECK(!bk_md_init(&root, uuid, 1ULL << 52, len, "", error,
				       sizeof(error)), "%llu: '%s'", len, error))
			continue;
		CHECK(root.region_shift >= 16 && root.region_shift <= 32 &&
		      root.hot_blocks <= BK_MD_HOT_BLOCKS_MAX,
		      "%llu: regions of 2^%u, %u blocks", len,
		      root.region_shift, root.hot_blocks);
		region = 1ULL << root.region_shift;
		CHECK((u64)root.hot_blocks * PAYLOAD_BITS * region >= 2 * len,
		      "%llu: no room for twice as much", len);
		/* no larger regions than need be */
		CHECK(root.region_shift == 16 ||
		      (len + region / 2 - 1) / (region / 2) >
		      2048ULL * PAYLOAD_BITS, "%llu: regions of 2^%u", len,
		      root.region_shift);
	}
	/* longer than there is room: cut, and ended */
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = 0;
	CHECK(!bk_md_init(&root, uuid, 28, 1, name, error, sizeof(error)) &&
	      strlen(root.origin) == 159, "a long name of the origin: %zu",
	      strlen(root.origin));
}

/*----------------------------------------------------------------*/
/* Room for areas */

/* Its area is taken, and nobody who reads the device knows of it. */
static void test_hidden(void)
{
	u8 *buf = blocks_new(ROOT_BLOCKS);
	struct bk_md_root root, got;
	u64 first = 0;
	int ret;

	small_root(&root);
	root.entry[9].hidden = true;
	bk_md_root_encode(&root, 0, buf);
	ret = decode(&got, 0, buf);
	CHECK(!ret && !got.entry[9].name[0] && !got.entry[9].set,
	      "it is in the directory: %d", ret);
	CHECK(!ret && !strcmp(got.entry[0].name, "a"), "the other is not");
	ret = bk_md_place(&root, BK_MD_MAX_BITMAPS, 19, &first);
	CHECK(!ret && first == 136, "its area is not taken: %d, %llu", ret,
	      first);
	free(buf);
}

#define PLACE_BLOCKS	600

/* Blocks that are taken, one by one; entry @skip is not. */
static void model_taken(const struct bk_md_root *root, unsigned int skip,
			bool *taken)
{
	unsigned int i;
	u64 b;

	memset(taken, 0, PLACE_BLOCKS);
	for (b = 0; b < bk_md_area_start(root); b++)
		taken[b] = true;
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		const struct bk_md_entry *e = &root->entry[i];

		if (i == skip || !e->name[0])
			continue;
		for (b = e->first; b < e->first + 4 * e->pages; b++)
			taken[b] = true;
	}
}

/* The first place with so many free blocks, or 0. */
static unsigned int model_place(const bool *taken, unsigned int want)
{
	unsigned int at, run = 0;

	for (at = 0; at < PLACE_BLOCKS; at++) {
		run = taken[at] ? 0 : run + 1;
		if (run == want)
			return at + 1 - want;
	}
	return 0;
}

static void test_place(void)
{
	struct bk_md_root root;
	u64 first = 99;
	int ret;

	small_root(&root);	/* 24 to 28, 100 to 136, of 1000 */
	ret = bk_md_place(&root, BK_MD_MAX_BITMAPS, 18, &first);
	CHECK(!ret && first == 28, "all between the two: %d, %llu", ret, first);
	ret = bk_md_place(&root, BK_MD_MAX_BITMAPS, 19, &first);
	CHECK(!ret && first == 136, "behind both: %d, %llu", ret, first);
	ret = bk_md_place(&root, 0, 1, &first);
	CHECK(!ret && first == 24, "in place of the first: %d, %llu", ret,
	      first);
	ret = bk_md_place(&root, 0, 19, &first);
	CHECK(!ret && first == 24, "and further: %d, %llu", ret, first);
	ret = bk_md_place(&root, 9, 243, &first);
	CHECK(!ret && first == 28, "all but the first: %d, %llu", ret, first);
	ret = bk_md_place(&root, BK_MD_MAX_BITMAPS, 216, &first);
	CHECK(!ret && first == 136, "all to the end: %d, %llu", ret, first);
	first = 99;
	ret = bk_md_place(&root, BK_MD_MAX_BITMAPS, 217, &first);
	CHECK(ret == -ENOSPC && first == 99, "a page too much: %d, %llu", ret,
	      first);
	ret = bk_md_place(&root, BK_MD_MAX_BITMAPS, 0xffffffff, &first);
	CHECK(ret == -ENOSPC, "the most there can be: %d", ret);
	ret = bk_md_place(&root, BK_MD_MAX_BITMAPS, 0x40000001, &first);
	CHECK(ret == -ENOSPC, "4 in 32 bits: %d", ret);
	root.blocks = 1ULL << 52;
	ret = bk_md_place(&root, BK_MD_MAX_BITMAPS, 0xffffffff, &first);
	CHECK(!ret && first == 136, "on a large device: %d, %llu", ret, first);
}

static void test_place_random(void)
{
	unsigned int placed = 0, refused = 0, i;
	bool taken[PLACE_BLOCKS];
	struct bk_md_root root;
	struct unit_random r;

	unit_random_init(&r, unit_args.seed, 201);
	small_root(&root);
	root.blocks = PLACE_BLOCKS;
	for (i = 0; i < 20000; i++) {
		unsigned int slot = unit_below(&r, BK_MD_MAX_BITMAPS);
		struct bk_md_entry *e = &root.entry[slot];
		u32 pages = 1 + unit_below(&r, 1 + unit_below(&r, 20));
		unsigned int skip = BK_MD_MAX_BITMAPS, want;
		u64 first = 0;
		int ret;

		if (e->name[0] && unit_below(&r, 4)) {
			memset(e, 0, sizeof(*e));
			continue;
		}
		if (e->name[0])
			skip = slot;
		model_taken(&root, skip, taken);
		want = model_place(taken, 4 * pages);
		ret = bk_md_place(&root, skip, pages, &first);
		if (!CHECK(ret == (want ? 0 : -ENOSPC) && first == want,
			   "step %u: %u pages: %d, block %llu, not %u", i, pages,
			   ret, first, want))
			return;
		if (want) {
			placed++;
			snprintf(e->name, sizeof(e->name), "%u", slot);
			e->first = first;
			e->pages = pages;
			e->shift = 7;
			e->set = 1;
		} else {
			refused++;
		}
		/* only entries as large as need be are let through */
		if (!(i % 16))
			CHECK(!through(&root), "step %u: it can't be read", i);
	}
	CHECK(placed > 1000 && refused > 1000, "%u placed, %u refused", placed,
	      refused);
}

/*----------------------------------------------------------------*/
/* Lease */

static bool leases_equal(const struct bk_md_lease *a,
			 const struct bk_md_lease *b)
{
	return a->seq == b->seq && a->time == b->time &&
	       !memcmp(a->session, b->session, 16) &&
	       a->witness.kind == b->witness.kind &&
	       a->witness.mark == b->witness.mark &&
	       a->witness.time == b->witness.time;
}

static void test_lease(void)
{
	static const struct bk_md_lease leases[] = {
		{ 0 },
		{ 1, 1700000000, "\x01session session",
		  { BK_MD_WITNESS_EXT, 0xdeadbeef, 1699999999 } },
		{ ~0ULL, ~0ULL, "\xff\xff\xff\xff\xff\xff\xff\xff",
		  { 0xffffffff, 0xffffffff, ~0ULL } },
	};
	u8 *buf = blocks_new(1), *want = blocks_new(1);
	struct bk_md_root root, other;
	struct bk_md_lease got;
	unsigned int i, copy, bit;

	small_root(&root);
	other = root;
	other.uuid[0]++;
	for (i = 0; i < COUNT(leases); i++)
		for (copy = 0; copy < 2; copy++) {
			memset(buf, 0xcc, BLOCK);
			bk_md_lease_encode(&root, &leases[i], copy, buf);
			memset(&got, 0xcc, sizeof(got));
			CHECK(bk_md_lease_decode(&root, &got, copy, buf) &&
			      leases_equal(&got, &leases[i]),
			      "lease %u, copy %u", i, copy);
			CHECK(!bk_md_lease_decode(&root, &got, !copy, buf),
			      "lease %u, copy %u in the other's place", i, copy);
			CHECK(!bk_md_lease_decode(&other, &got, copy, buf),
			      "lease %u, copy %u of another device", i, copy);
		}

	bk_md_lease_encode(&root, &leases[1], 1, buf);
	put(want + 64, 1700000000, 8);
	memcpy(want + 72, "\x01session session", 16);
	put(want + 88, 1, 4);
	put(want + 92, 0xdeadbeef, 4);
	put(want + 96, 1699999999, 8);
	by_hand(want, "LMdb", 19, 1, 0);
	check_bytes(buf, want, 1, "lease");

	for (bit = 0; bit < BLOCK * 8; bit += 7) {
		buf[bit / 8] ^= 1 << bit % 8;
		CHECK(!bk_md_lease_decode(&root, &got, 1, buf),
		      "bit %u is another one", bit);
		buf[bit / 8] ^= 1 << bit % 8;
	}
	/* torn: its first sectors are new, the others of what was there before */
	for (i = 1; i < 8; i++) {
		memset(want, 0x11, BLOCK);
		memcpy(want, buf, i * 512);
		CHECK(!bk_md_lease_decode(&root, &got, 1, want),
		      "%u sectors of it", i);
	}
	memset(buf, 0, BLOCK);
	CHECK(!bk_md_lease_decode(&root, &got, 1, buf), "zeroes");
	bk_md_bits_encode(&root, BK_MD_HOT, 19, 1, 0, NULL, 0, buf);
	CHECK(!bk_md_lease_decode(&root, &got, 1, buf), "another type");
	free(buf);
	free(want);
}

/*----------------------------------------------------------------*/
/* Bits */

/* Just as long as need be, so that ASan sees a step beyond. */
static unsigned long *words_new(unsigned long nr)
{
	unsigned long *words = calloc(BITS_TO_LONGS(nr) ?: 1, sizeof(long));

	if (!words)
		abort();
	return words;
}

static bool word_bit(const unsigned long *words, unsigned long i)
{
	return words[BIT_WORD(i)] & BIT_MASK(i);
}

static void test_bits_bytes(void)
{
	u8 *buf = blocks_new(1), *want = blocks_new(1);
	unsigned long *words = words_new(PAYLOAD_BITS);
	static const unsigned int bits[] = { 0, 9, 31, 32, 63, 64, 71, 32255 };
	struct bk_md_root root;
	unsigned int i;

	small_root(&root);
	for (i = 0; i < COUNT(bits); i++)
		words[BIT_WORD(bits[i])] |= BIT_MASK(bits[i]);
	memset(buf, 0xcc, BLOCK);
	bk_md_bits_encode(&root, BK_MD_PAGE, 0x0102030405060708,
			  0x1112131415161718, 0x2122232425262728, words,
			  PAYLOAD_BITS / BITS_PER_LONG, buf);
	want[64] = 0x01;
	want[65] = 0x02;
	want[67] = 0x80;
	want[68] = 0x01;
	want[71] = 0x80;
	want[72] = 0x81;
	want[4095] = 0x80;
	by_hand(want, "PMdb", 0x0102030405060708, 0x1112131415161718,
		0x2122232425262728);
	check_bytes(buf, want, 1, "page");

	/* one word only: the others are not there */
	bk_md_bits_encode(&root, BK_MD_HOT, 21, 3, 0, words, 1, buf);
	memset(want, 0, BLOCK);
	for (i = 0; i < COUNT(bits) && bits[i] < BITS_PER_LONG; i++)
		want[64 + bits[i] / 8] |= 1 << bits[i] % 8;
	by_hand(want, "HMdb", 21, 3, 0);
	check_bytes(buf, want, 1, "hot map");

	/* the same as its second copy */
	bk_md_move(buf, 0x0102030405060708);
	by_hand(want, "HMdb", 0x0102030405060708, 3, 0);
	check_bytes(buf, want, 1, "another place");
	free(words);
	free(buf);
	free(want);
}

static void test_bits_round_trip(void)
{
	static const unsigned long sizes[] = {
		1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1000,
		PAYLOAD_BITS - 65, PAYLOAD_BITS - 64, PAYLOAD_BITS - 1,
		PAYLOAD_BITS, PAYLOAD_BITS + 1, PAYLOAD_BITS + 200,
	};
	u8 *buf = blocks_new(1);
	struct bk_md_root root;
	struct unit_random r;
	unsigned int s, i;

	unit_random_init(&r, unit_args.seed, 202);
	small_root(&root);
	for (s = 0; s < COUNT(sizes); s++) {
		unsigned long nr = sizes[s], bit;
		unsigned long in = nr < PAYLOAD_BITS ? nr : PAYLOAD_BITS;
		unsigned long *words = words_new(nr), *got = words_new(nr);
		unsigned long *had = words_new(nr);
		bool good = true;
		u64 seq = 0;
		int ret;

		for (i = 0; i < 1 + in / 3; i++) {
			bit = unit_below(&r, in);
			words[BIT_WORD(bit)] |= BIT_MASK(bit);
			bit = unit_below(&r, nr);
			had[BIT_WORD(bit)] |= BIT_MASK(bit);
		}
		memcpy(got, had, BITS_TO_LONGS(nr) * sizeof(long));
		bk_md_bits_encode(&root, BK_MD_PAGE, 30, 5 + s, 4, words,
				  BITS_TO_LONGS(in), buf);
		CHECK(bk_md_bits_check(&root, BK_MD_PAGE, 30, 4, buf, &seq) &&
		      seq == 5 + s, "%lu bits: not good, or %llu", nr, seq);
		ret = bk_md_bits_or(got, nr, buf);
		CHECK(!ret, "%lu bits: %d", nr, ret);
		for (bit = 0; bit < nr; bit++)
			good &= word_bit(got, bit) ==
				(word_bit(words, bit) || word_bit(had, bit));
		CHECK(good, "%lu bits: others are set", nr);
		free(words);
		free(got);
		free(had);
	}
	free(buf);
}

/* A bit that there is not is a lie about all the others. */
static void test_bits_behind(void)
{
	u8 *buf = blocks_new(1);
	unsigned long words[PAYLOAD_BITS / BITS_PER_LONG], nr;
	struct bk_md_root root;
	struct unit_random r;
	unsigned int i;

	unit_random_init(&r, unit_args.seed, 203);
	small_root(&root);
	for (i = 0; i < 500; i++) {
		unsigned long *got, bit;
		int ret;

		nr = unit_below(&r, i % 2 ? 200 : PAYLOAD_BITS);
		bit = i % 3 ? nr : nr + unit_below(&r, PAYLOAD_BITS - nr);
		memset(words, 0, sizeof(words));
		words[BIT_WORD(bit)] = BIT_MASK(bit);
		got = words_new(nr);
		bk_md_bits_encode(&root, BK_MD_HOT, 20, 1, 0, words,
				  COUNT(words), buf);
		ret = bk_md_bits_or(got, nr, buf);
		CHECK(ret == -EUCLEAN, "bit %lu of %lu: %d", bit, nr, ret);
		free(got);
		got = words_new(bit + 1);
		ret = bk_md_bits_or(got, bit + 1, buf);
		CHECK(!ret && word_bit(got, bit), "bit %lu of %lu: %d", bit,
		      bit + 1, ret);
		free(got);
	}
	free(buf);
}

static void test_bits_foreign(void)
{
	unsigned long words[2] = { 5, 6 };
	u8 *buf = blocks_new(1);
	struct bk_md_root root, other;
	unsigned int bit;
	u64 seq;

	small_root(&root);
	other = root;
	other.uuid[7] ^= 1;
	bk_md_bits_encode(&root, BK_MD_PAGE, 30, 5, 4, words, 2, buf);
	CHECK(bk_md_bits_check(&root, BK_MD_PAGE, 30, 4, buf, &seq), "it");
	CHECK(!bk_md_bits_check(&root, BK_MD_HOT, 30, 4, buf, &seq), "type");
	CHECK(!bk_md_bits_check(&root, BK_MD_PAGE, 31, 4, buf, &seq), "where");
	CHECK(!bk_md_bits_check(&root, BK_MD_PAGE, 30 + (1ULL << 32), 4, buf,
				&seq), "where, 32 bits of it");
	CHECK(!bk_md_bits_check(&root, BK_MD_PAGE, 30, 3, buf, &seq), "set");
	CHECK(!bk_md_bits_check(&root, BK_MD_PAGE, 30, 0, buf, &seq), "no set");
	CHECK(!bk_md_bits_check(&root, BK_MD_PAGE, 30, 4 + (1ULL << 32), buf,
				&seq), "set, 32 bits of it");
	CHECK(!bk_md_bits_check(&other, BK_MD_PAGE, 30, 4, buf, &seq), "uuid");
	for (bit = 0; bit < BLOCK * 8; bit += 7) {
		buf[bit / 8] ^= 1 << bit % 8;
		CHECK(!bk_md_bits_check(&root, BK_MD_PAGE, 30, 4, buf, &seq),
		      "bit %u is another one", bit);
		buf[bit / 8] ^= 1 << bit % 8;
	}
	memset(buf, 0, BLOCK);
	CHECK(!bk_md_bits_check(&root, BK_MD_PAGE, 30, 4, buf, &seq), "zeroes");
	free(buf);
}

/*----------------------------------------------------------------*/
/* What the origin tells */

/* Offsets in the first 4 KiB of what has an ext4 file system. */
#define EXT_FREE	(1024 + 0x0c)
#define EXT_MTIME	(1024 + 0x2c)
#define EXT_WTIME	(1024 + 0x30)
#define EXT_MNT_COUNT	(1024 + 0x34)
#define EXT_MAGIC	(1024 + 0x38)
#define EXT_STATE	(1024 + 0x3a)
#define EXT_LASTCHECK	(1024 + 0x40)
#define EXT_UUID	(1024 + 0x68)
#define EXT_INCOMPAT	(1024 + 0x60)
#define EXT_WTIME_HI	(1024 + 0x274)

static void make_ext(u8 *buf)
{
	memset(buf, 0, BLOCK);
	put(buf + EXT_FREE, 1000, 4);
	put(buf + EXT_MTIME, 0xe1e2e3e4, 4);
	put(buf + EXT_WTIME, 0xf1f2f3f4, 4);
	put(buf + EXT_MNT_COUNT, 17, 2);
	put(buf + EXT_MAGIC, 0xef53, 2);
	put(buf + EXT_STATE, 1, 2);
	put(buf + EXT_LASTCHECK, 1600000000, 4);
	memcpy(buf + EXT_UUID, "0123456789abcdef", 16);
	buf[EXT_WTIME_HI] = 1;
}

static void test_witness_ext(void)
{
	static const struct {
		unsigned int at;
		bool marks;
	} bytes[] = {
		{ EXT_MTIME, true }, { EXT_MTIME + 3, true },
		{ EXT_MNT_COUNT, true }, { EXT_MNT_COUNT + 1, true },
		{ EXT_LASTCHECK, true }, { EXT_LASTCHECK + 3, true },
		{ EXT_UUID, true }, { EXT_UUID + 15, true },
		{ EXT_INCOMPAT, false }, { EXT_INCOMPAT + 1, false },
		{ EXT_FREE, false }, { EXT_MTIME - 1, false },
		{ EXT_WTIME, false }, { EXT_WTIME + 3, false },
		{ EXT_MNT_COUNT + 2, false }, { EXT_STATE, false },
		{ EXT_LASTCHECK - 1, false }, { EXT_LASTCHECK + 4, false },
		{ EXT_UUID - 1, false }, { EXT_UUID + 16, false },
		{ EXT_WTIME_HI, false }, { 0, false }, { 4095, false },
	};
	u8 *buf = blocks_new(1), sum[27];
	struct bk_md_witness w, x;
	unsigned int i;

	make_ext(buf);
	memset(&w, 0xcc, sizeof(w));
	bk_md_witness_read(buf, &w);
	memcpy(sum, buf + EXT_MTIME, 4);
	memcpy(sum + 4, buf + EXT_MNT_COUNT, 2);
	memcpy(sum + 6, buf + EXT_LASTCHECK, 4);
	memcpy(sum + 10, buf + EXT_UUID, 16);
	sum[26] = buf[EXT_INCOMPAT] & 4;
	CHECK(w.kind == 1 && w.mark == naive_crc(sum, 27) &&
	      w.time == 0x1f1f2f3f4, "kind %u, mark %08x, time %llu", w.kind,
	      w.mark, w.time);
	/* its journal is in use */
	buf[EXT_INCOMPAT] |= 4;
	bk_md_witness_read(buf, &x);
	CHECK(x.kind == 1 && x.mark != w.mark, "mark %08x", x.mark);
	for (i = 0; i < COUNT(bytes); i++) {
		make_ext(buf);
		buf[bytes[i].at] ^= 0x40;
		bk_md_witness_read(buf, &x);
		CHECK(x.kind == 1 && (x.mark != w.mark) == bytes[i].marks,
		      "byte %u: kind %u, mark %08x", bytes[i].at, x.kind,
		      x.mark);
	}
	make_ext(buf);
	buf[EXT_MAGIC + 1] = 0;
	bk_md_witness_read(buf, &w);
	CHECK(!w.kind && !w.mark && !w.time, "without its magic: %u", w.kind);
	free(buf);
}

static void test_witness_others(void)
{
	u8 *buf = blocks_new(1);
	struct bk_md_witness w, x;
	unsigned int i;

	memset(&w, 0xcc, sizeof(w));
	bk_md_witness_read(buf, &w);
	CHECK(w.kind == 0 && !w.mark && !w.time, "zeroes: %u", w.kind);

	for (i = 0; i < 512; i++)
		buf[i] = i * 7;
	memcpy(buf, "XFSB", 4);
	bk_md_witness_read(buf, &w);
	CHECK(w.kind == 2 && w.mark == naive_crc(buf, 512) && !w.time,
	      "XFS: kind %u, mark %08x, time %llu", w.kind, w.mark, w.time);
	for (i = 4; i < BLOCK; i++) {
		buf[i] ^= 1;
		bk_md_witness_read(buf, &x);
		CHECK(x.kind == 2 && (x.mark != w.mark) == (i < 512),
		      "XFS, byte %u: kind %u, mark %08x", i, x.kind, x.mark);
		buf[i] ^= 1;
	}
	buf[3] = 'b';
	bk_md_witness_read(buf, &w);
	CHECK(!w.kind, "nearly XFS: %u", w.kind);
	free(buf);
}

/* Sectors of an origin; where the sample of its end begins. */
static const struct {
	u64 len;
	u64 end;
} origins[] = {
	{ 1, 0 }, { 7, 0 }, { 8, 0 }, { 127, 0 }, { 128, 0 }, { 129, 0 },
	{ 136, 8 }, { 2048, 1920 }, { 2049, 1920 }, { 32768, 32640 },
	{ 32769, 32640 }, { 1 << 20, (1 << 20) - 128 },
	{ 1ULL << 40, (1ULL << 40) - 128 },
	{ (1ULL << 40) - 1, (1ULL << 40) - 136 },
	{ 1ULL << 55, (1ULL << 55) - 128 },
};

static void test_sample(void)
{
	static const u64 starts[] = { 0, 128, 2048, 4096, 32768 };
	unsigned int o, i;

	for (o = 0; o < COUNT(origins); o++) {
		u64 len = origins[o].len, sector, want;
		u32 bytes;
		bool got;

		for (i = 0; i < BK_MD_SAMPLES; i++) {
			sector = ~0ULL;
			bytes = 0;
			got = bk_md_sample(len, i, &sector, &bytes);
			want = i < 5 ? starts[i] : i == 5 ? origins[o].end :
			       len / 250 * (i - 6) / 8 * 8;
			CHECK(got == (want < len), "%llu: sample %u: %d", len, i,
			      got);
			if (!got)
				continue;
			CHECK(sector == want, "%llu: sample %u is at %llu", len,
			      i, sector);
			CHECK(bytes && bytes <= (i < 6 ? 65536 : 4096) &&
			      !(bytes % 512) && bytes / 512 <= len - sector,
			      "%llu: sample %u: %u bytes at %llu", len, i, bytes,
			      sector);
			/* none is shorter but at the end of the origin */
			CHECK(bytes == (i < 6 ? 65536 : 4096) ||
			      sector + bytes / 512 == len,
			      "%llu: sample %u has %u bytes", len, i, bytes);
		}
	}
	CHECK(!bk_md_sample(0, 0, &(u64){ 0 }, &(u32){ 0 }), "of nothing");
}

const struct unit_test unit_metadata[] = {
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
	{ "a new device: too small, just enough, the longest origin",
	  test_init },
	{ "the hot map of any origin", test_init_any },
	{ "a bitmap that is not to be known yet", test_hidden },
	{ "room for an area", test_place },
	{ "random areas, against a model", test_place_random },
	{ "the lease: bytes, both copies, torn", test_lease },
	{ "the bytes of pages and hot map", test_bits_bytes },
	{ "bits of any number are merged", test_bits_round_trip },
	{ "a bit behind the end", test_bits_behind },
	{ "bits of another set, device, type or place", test_bits_foreign },
	{ "witness: ext4", test_witness_ext },
	{ "witness: XFS, nothing", test_witness_others },
	{ "samples are inside of the origin", test_sample },
	{ NULL, NULL }
};
