// SPDX-License-Identifier: GPL-2.0-only
/*
 * A new metadata device, and room for the areas of bitmaps.
 */

#include "image.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
		ret = bk_md_init(&root, root_uuid, need - 1, len, "o", error,
				 sizeof(error));
		snprintf(kib, sizeof(kib), " %llu KiB", need * 4);
		CHECK(ret == -ENOSPC && strstr(error, kib),
		      "%llu sectors, a block too few: %d, '%s', not%s", len, ret,
		      error, kib);
		ret = bk_md_init(&root, root_uuid, 0, len, "o", error,
				 sizeof(error));
		CHECK(ret == -ENOSPC, "%llu sectors, no block: %d", len, ret);
		memset(&root, 0xcc, sizeof(root));
		ret = bk_md_init(&root, root_uuid, need, len, "o", error,
				 sizeof(error));
		CHECK(!ret, "%llu sectors, just enough: %d, '%s'", len, ret,
		      error);
		CHECK(root.region_shift == devices[i].region_shift &&
		      root.hot_blocks == devices[i].hot_blocks,
		      "%llu sectors: regions of 2^%u, %u blocks", len,
		      root.region_shift, root.hot_blocks);
		CHECK(root.blocks == need && root.len == len &&
		      !memcmp(root.uuid, root_uuid, 16) && root.clean &&
		      !root.broken && root.next_set == 1 && !root.seq &&
		      !strcmp(root.origin, "o") && !root.entry[0].name[0],
		      "%llu sectors: wrong values", len);
		CHECK(!through(&root), "%llu sectors: can't be read", len);
	}
	for (i = 0; i < 2; i++) {
		error[0] = 0;
		ret = bk_md_init(&root, root_uuid, 1ULL << 52,
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
		if (!CHECK(!bk_md_init(&root, root_uuid, 1ULL << 52, len, "", error,
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
	CHECK(!bk_md_init(&root, root_uuid, 28, 1, name, error, sizeof(error)) &&
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
	ret = bk_md_place(&root, 19, &first);
	CHECK(!ret && first == 136, "its area is not taken: %d, %llu", ret,
	      first);
	free(buf);
}

#define PLACE_BLOCKS	600

/* Blocks that are taken, one by one; entry @skip is not. */
static void model_taken(const struct bk_md_root *root, bool *taken)
{
	unsigned int i;
	u64 b;

	memset(taken, 0, PLACE_BLOCKS);
	for (b = 0; b < bk_md_area_start(root); b++)
		taken[b] = true;
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		const struct bk_md_entry *e = &root->entry[i];

		if (!e->name[0])
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
	ret = bk_md_place(&root, 18, &first);
	CHECK(!ret && first == 28, "all between the two: %d, %llu", ret, first);
	ret = bk_md_place(&root, 19, &first);
	CHECK(!ret && first == 136, "behind both: %d, %llu", ret, first);
	ret = bk_md_place(&root, 216, &first);
	CHECK(!ret && first == 136, "all to the end: %d, %llu", ret, first);
	first = 99;
	ret = bk_md_place(&root, 217, &first);
	CHECK(ret == -ENOSPC && first == 99, "a page too much: %d, %llu", ret,
	      first);
	ret = bk_md_place(&root, 0xffffffff, &first);
	CHECK(ret == -ENOSPC, "the most there can be: %d", ret);
	ret = bk_md_place(&root, 0x40000001, &first);
	CHECK(ret == -ENOSPC, "4 in 32 bits: %d", ret);
	root.blocks = 1ULL << 52;
	ret = bk_md_place(&root, 0xffffffff, &first);
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
		unsigned int want;
		u64 first = 0;
		int ret;

		/* Another one in its place, now and then. */
		if (e->name[0]) {
			memset(e, 0, sizeof(*e));
			if (unit_below(&r, 4))
				continue;
		}
		model_taken(&root, taken);
		want = model_place(taken, 4 * pages);
		ret = bk_md_place(&root, pages, &first);
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

const struct unit_test unit_area[] = {
	{ "a new device: too small, just enough, the longest origin",
	  test_init },
	{ "the hot map of any origin", test_init_any },
	{ "a bitmap that is not to be known yet", test_hidden },
	{ "room for an area", test_place },
	{ "random areas, against a model", test_place_random },
	{ NULL, NULL }
};
