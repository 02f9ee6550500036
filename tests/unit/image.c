// SPDX-License-Identifier: GPL-2.0-only
/*
 * Roots that are sound, and bytes of the on-disk form that are made by hand.
 */

#include "image.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const u8 root_uuid[16] = "\xff\x01\x80\x7f uuid uuid.";

u8 *blocks_new(unsigned int nr)
{
	u8 *buf = calloc(nr, BLOCK);

	if (!buf)
		abort();
	return buf;
}

void put(u8 *p, u64 v, unsigned int bytes)
{
	while (bytes--) {
		*p++ = v;
		v >>= 8;
	}
}

u32 naive_crc(const u8 *p, size_t len)
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

void reseal(u8 *block)
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

void small_root(struct bk_md_root *root)
{
	char error[200];

	if (bk_md_init(root, root_uuid, 1000, 1 << 21, "CRYPT-abc", error,
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

void full_root(struct bk_md_root *root)
{
	u64 at = 18 + 2 + 2 * 4096;
	unsigned int i;

	memset(root, 0, sizeof(*root));
	memcpy(root->uuid, root_uuid, sizeof(root_uuid));
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

bool roots_equal(const struct bk_md_root *a, const struct bk_md_root *b)
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

int decode(struct bk_md_root *root, unsigned int copy, const u8 *buf)
{
	char error[200] = "";
	int ret = bk_md_root_decode(root, copy, buf, error, sizeof(error));

	CHECK(!ret == !error[0], "%d with the sentence '%s'", ret, error);
	return ret;
}

int through(const struct bk_md_root *root)
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

void by_hand(u8 *block, const char *type, u64 where, u64 seq, u64 set)
{
	memcpy(block + AT_TYPE, type, 4);
	memcpy(block + AT_UUID, root_uuid, 16);
	put(block + AT_WHERE, where, 8);
	put(block + AT_SEQ, seq, 8);
	put(block + AT_SET, set, 8);
	reseal(block);
}

void check_bytes(const u8 *got, const u8 *want, unsigned int nr,
			const char *what)
{
	unsigned int i;

	for (i = 0; i < nr * BLOCK; i++)
		if (got[i] != want[i])
			CHECK(false, "%s: block %u, byte %u is 0x%02x, not 0x%02x",
			      what, i / BLOCK, i % BLOCK, got[i], want[i]);
}
