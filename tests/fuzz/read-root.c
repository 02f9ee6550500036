// SPDX-License-Identifier: GPL-2.0-only
/*
 * Roots and leases: what is accepted is looked through.
 */

#include "fuzz-metadata.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool same_entry(const struct bk_md_entry *a, const struct bk_md_entry *b)
{
	return !strcmp(a->name, b->name) && !strcmp(a->tag, b->tag) &&
	       !strcmp(a->why, b->why) && a->set == b->set &&
	       a->first == b->first && a->pages == b->pages &&
	       a->half == b->half && a->shift == b->shift &&
	       a->recording == b->recording && a->crc == b->crc;
}

static bool same_root(const struct bk_md_root *a, const struct bk_md_root *b)
{
	unsigned int i;

	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		if (!same_entry(&a->entry[i], &b->entry[i]))
			return false;
	return !memcmp(a->uuid, b->uuid, BK_MD_UUID) && a->seq == b->seq &&
	       a->blocks == b->blocks && a->len == b->len &&
	       !strcmp(a->origin, b->origin) && !strcmp(a->below, b->below) &&
	       a->region_shift == b->region_shift &&
	       a->hot_blocks == b->hot_blocks && a->next_set == b->next_set &&
	       a->clean == b->clean && a->broken == b->broken &&
	       a->print == b->print &&
	       !memcmp(a->session, b->session, BK_MD_UUID) &&
	       !memcmp(a->written, b->written, sizeof(a->written)) &&
	       !memcmp(a->device, b->device, sizeof(a->device));
}

static bool is_text(const char *p)
{
	for (; *p; p++)
		if (*p < ' ' || *p > '~')
			return false;
	return true;
}

static bool has_end(const char *text, size_t size)
{
	return memchr(text, 0, size);
}

/* Numbers that can't overflow, whatever was accepted. */
typedef unsigned __int128 wide;

static wide units(u64 len, unsigned int shift)
{
	return ((wide)len + ((wide)1 << shift) - 1) >> shift;
}

static void check_entry(const struct bk_md_root *root, unsigned int i)
{
	const struct bk_md_entry *e = &root->entry[i];
	wide end = (wide)e->first + (wide)4 * e->pages;
	unsigned int j;

	if (!CHECK(has_end(e->name, 128) && has_end(e->tag, 128) &&
		   has_end(e->why, 128), "entry %u: a text has no end", i))
		return;
	CHECK(is_text(e->name) && is_text(e->tag) && is_text(e->why) &&
	      !strpbrk(e->name, " /\\'\""),
	      "entry %u: a text that can't be shown", i);
	if (!e->name[0]) {
		static const struct bk_md_entry none;

		CHECK(same_entry(e, &none), "entry %u: no name but more", i);
		return;
	}
	CHECK(e->half < 2 && e->shift <= 22, "entry %u: half %u, shift %u", i,
	      e->half, e->shift);
	CHECK(e->set && e->set < root->next_set, "entry %u: set %llu", i,
	      e->set);
	CHECK((wide)e->pages * PAGE_BITS >= units(root->len, e->shift),
	      "entry %u: %u pages", i, e->pages);
	CHECK(e->first >= HOT + 2 * (u64)root->hot_blocks && end <= root->blocks,
	      "entry %u: its area is outside", i);
	for (j = 0; j < i; j++) {
		const struct bk_md_entry *o = &root->entry[j];

		if (!o->name[0])
			continue;
		CHECK(e->first >= (wide)o->first + (wide)4 * o->pages ||
		      o->first >= end, "entries %u and %u overlap", i, j);
		CHECK(strcmp(e->name, o->name), "entries %u and %u: one name", i,
		      j);
	}
}

/* What can be in a root that was accepted. */
static void check_root(const struct bk_md_root *root)
{
	unsigned int i;

	CHECK(root->len && root->len <= 1ULL << 55, "length %llu", root->len);
	CHECK(root->blocks <= 1ULL << 52, "%llu blocks", root->blocks);
	CHECK(root->region_shift >= 16 && root->region_shift <= 32,
	      "regions of 2^%u", root->region_shift);
	CHECK(root->hot_blocks <= 4096 &&
	      HOT + 2ULL * root->hot_blocks <= root->blocks,
	      "%u blocks of the hot map", root->hot_blocks);
	CHECK((wide)root->hot_blocks * PAGE_BITS >=
	      units(root->len, root->region_shift),
	      "%u blocks of the hot map are too few", root->hot_blocks);
	CHECK(has_end(root->origin, 160), "the origin's name has no end");
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		check_entry(root, i);
}

static void check_again(const struct bk_md_root *root)
{
	unsigned int copy = below(2);
	u8 *buf = need(ROOT_BLOCKS * BLOCK);
	static struct bk_md_root again;
	char error[100];
	int ret;

	bk_md_root_encode(root, copy, buf);
	ret = bk_md_root_decode(&again, copy, buf, error, sizeof(error));
	if (CHECK(!ret, "written again it is refused: %s", error))
		CHECK(same_root(root, &again), "written again it is another");
	free(buf);
}

/* Room for one more bitmap. */
static void check_place(const struct bk_md_root *root)
{
	u32 pages = below(4) ? 1 + below(4) : 1 + (chance() >> 32) % 0xffffffff;
	u64 first = 0, last = HOT + 2ULL * root->hot_blocks;
	int ret = bk_md_place(root, pages, &first);
	wide end = (wide)first + (wide)4 * pages;
	unsigned int i;

	if (!ret)
		CHECK(first >= last && end <= root->blocks,
		      "%u pages are placed outside, at %llu", pages, first);
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		const struct bk_md_entry *e = &root->entry[i];
		u64 behind = e->first + 4 * (u64)e->pages;

		if (!e->name[0])
			continue;
		if (!ret)
			CHECK(first >= behind || e->first >= end,
			      "%u pages are placed over entry %u", pages, i);
		if (behind > last)
			last = behind;
	}
	if (ret)
		CHECK(root->blocks - last < 4 * (u64)pages,
		      "there is room for %u pages", pages);
}

bool read_root(unsigned int copy, struct bk_md_root *root)
{
	u64 at = copy * ROOT_BLOCKS;
	char error[100] = "";
	int ret;
	u64 i;

	memset(root, 0xcc, sizeof(*root));
	ret = bk_md_root_decode(root, copy, block_of(image, at), error,
				sizeof(error));
	if (ret) {
		CHECK(ret == -EINVAL || ret == -EBADMSG ||
		      ret == -EPROTONOSUPPORT || ret == -EUCLEAN,
		      "refused with %d", ret);
		CHECK(error[0], "refused without a sentence");
		return false;
	}
	CHECK(!error[0], "accepted with '%s'", error);
	check_root(root);
	CHECK(get(block_of(image, at) + 80, 4) == 1 &&
	      get(block_of(image, at) + 156, 4) == 64,
	      "another version, or number of entries");
	for (i = at; i < at + ROOT_BLOCKS; i++) {
		const u8 *block = block_of(image, i);

		check_block(i, i == at ? "SMdb" : "DMdb", root->uuid,
			    get(block + 40, 8));
		CHECK(get(block + 32, 8) == root->seq, "block %llu of another root",
		      i);
	}
	if (!resealed)
		CHECK(same_root(root, &now.root) || same_root(root, &old.root),
		      "a root that is made up");
	return true;
}

void case_root(void)
{
	static struct bk_md_root root;
	unsigned int copy;

	damage_range(0, LEASE);
	if (below(4))
		reseal();
	for (copy = 0; copy < 2; copy++) {
		bool changed = is_changed(copy * ROOT_BLOCKS, ROOT_BLOCKS);

		/* what is as it was is only looked at now and then */
		if (!changed && below(16))
			continue;
		if (!read_root(copy, &root)) {
			CHECK(changed, "a sound root is refused");
			count(false);
			continue;
		}
		if (changed)
			count(true);
		check_again(&root);
		check_place(&root);
	}
}

/*----------------------------------------------------------------*/
/* Leases */

static bool same_lease(const struct bk_md_lease *a, const struct bk_md_lease *b)
{
	return a->seq == b->seq && a->time == b->time &&
	       !memcmp(a->session, b->session, BK_MD_UUID) &&
	       a->witness.kind == b->witness.kind &&
	       a->witness.mark == b->witness.mark &&
	       a->witness.time == b->witness.time;
}

bool read_lease(const struct bk_md_root *root, unsigned int copy,
		       struct bk_md_lease *lease)
{
	u64 at = LEASE + copy;

	if (!bk_md_lease_decode(root, lease, copy, block_of(image, at)))
		return false;
	check_block(at, "LMdb", root->uuid, get(block_of(image, at) + 40, 8));
	return true;
}

void case_lease(void)
{
	struct bk_md_lease lease, again;
	unsigned int copy;

	damage_range(LEASE, HOT);
	if (below(2))
		reseal();
	for (copy = 0; copy < 2; copy++) {
		bool changed = is_changed(LEASE + copy, 1);
		u8 buf[BLOCK] __attribute__((aligned(8)));

		if (!read_lease(&now.root, copy, &lease)) {
			CHECK(changed, "a sound lease is refused");
			count(false);
			continue;
		}
		if (changed)
			count(true);
		bk_md_lease_encode(&now.root, &lease, copy, buf);
		CHECK(bk_md_lease_decode(&now.root, &again, copy, buf) &&
		      same_lease(&lease, &again), "written again it is another");
	}
}
