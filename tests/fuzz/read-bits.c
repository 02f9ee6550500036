// SPDX-License-Identifier: GPL-2.0-only
/*
 * Blocks of the hot map and pages, and a whole device with all that is on it.
 */

#include "fuzz-metadata.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Nothing larger is loaded, whatever a root says. */
#define BITS_MAX	(1UL << 20)

static u8 byte_of(const unsigned long *words, unsigned long i)
{
	return words[i / sizeof(long)] >> i % sizeof(long) * 8;
}

/* The one of two copies that counts, or NULL. */
const u8 *pick(const struct bk_md_root *root, enum bk_md_type type,
		      u64 first, u64 second, u64 set)
{
	const u8 *p = block_of(image, first), *q = block_of(image, second);
	const char *name = type == BK_MD_HOT ? "HMdb" : "PMdb";
	u64 seq[2];
	bool good[2];

	good[0] = bk_md_bits_check(root, type, first, set, p, &seq[0]);
	good[1] = bk_md_bits_check(root, type, second, set, q, &seq[1]);
	if (good[0])
		check_block(first, name, root->uuid, set);
	if (good[1])
		check_block(second, name, root->uuid, set);
	if (good[0] && (!good[1] || seq[0] >= seq[1]))
		return p;
	return good[1] ? q : NULL;
}

/*
 * Into as many words as hold @nr bits and no more, with some set before; each
 * bit by itself.
 */
static bool check_or(const u8 *block, unsigned long nr)
{
	unsigned long *words = need(BITS_TO_LONGS(nr) * sizeof(long));
	unsigned long *had = need(BITS_TO_LONGS(nr) * sizeof(long));
	const u8 *from = block + HEADER;
	bool behind = false;
	unsigned long i;
	int ret;

	for (i = 0; i < 4 && nr; i++) {
		unsigned long bit = below(nr);

		words[BIT_WORD(bit)] |= BIT_MASK(bit);
		had[BIT_WORD(bit)] |= BIT_MASK(bit);
	}
	ret = bk_md_bits_or(words, nr, block);
	for (i = 0; i < PAYLOAD; i++) {
		unsigned int left = nr > i * 8 ? nr - i * 8 : 0;

		behind |= left < 8 && from[i] >> left;
	}
	CHECK(ret == (behind ? -EUCLEAN : 0), "%lu bits: %d", nr, ret);
	for (i = 0; i < (nr + 7) / 8; i++) {
		u8 want = byte_of(had, i) | (i < PAYLOAD ? from[i] : 0);

		if (!ret && !CHECK(byte_of(words, i) == want,
				   "byte %lu of %lu bits", i, nr))
			break;
	}
	free(words);
	free(had);
	return !ret;
}

static unsigned long some_nr(unsigned long nr)
{
	switch (below(4)) {
	case 0:
		return below(PAGE_BITS + 100);
	case 1:
		return nr < 3 ? nr : nr + below(5) - 2;
	default:
		return nr;
	}
}

static void read_two(enum bk_md_type type, u64 first, u64 second, u64 set,
		     unsigned long nr)
{
	const u8 *block = pick(&now.root, type, first, second, set);

	if (!block)
		CHECK(is_changed(first, 1) && is_changed(second, 1),
		      "sound blocks are refused");
	count(block && check_or(block, some_nr(nr)));
}

static unsigned long part(u64 nr, unsigned long i)
{
	u64 from = (u64)i * PAGE_BITS;

	if (nr <= from)
		return 0;
	return nr - from < PAGE_BITS ? nr - from : PAGE_BITS;
}

/* Two copies of a block. */
static void damage_two(u64 first, u64 second)
{
	if (below(2))
		damage_range(first, first + 1);
	if (below(2))
		damage_range(second, second + 1);
	/* what was written elsewhere is somebody else's */
	if (!below(8))
		memcpy(touch(first), block_of(now.image,
					      below(now.root.blocks)), BLOCK);
	if (!below(8))
		memcpy(touch(second), block_of(now.image,
					       below(now.root.blocks)), BLOCK);
	if (below(2))
		reseal();
}

void case_hot(void)
{
	unsigned int i = below(now.root.hot_blocks);
	u64 first = HOT + i, second = first + now.root.hot_blocks;

	damage_two(first, second);
	read_two(BK_MD_HOT, first, second, 0,
		 part(bk_md_units(now.root.len, now.root.region_shift), i));
}

static unsigned int some_bitmap(void)
{
	unsigned int i = below(BK_MD_MAX_BITMAPS);

	while (!now.root.entry[i].name[0])
		i = (i + 1) % BK_MD_MAX_BITMAPS;
	return i;
}

void case_page(void)
{
	const struct bk_md_entry *e = &now.root.entry[some_bitmap()];
	u32 page = below(e->pages);
	u64 first = e->first + 2 * (u64)e->half * e->pages + page;
	u64 second = first + e->pages;

	damage_two(first, second);
	read_two(BK_MD_PAGE, first, second, e->set,
		 part(bk_md_units(now.root.len, e->shift), page));
}

/*----------------------------------------------------------------*/
/* A whole device */

/*
 * The hot map: which regions, as bits; what is not known is hot. Bits behind the
 * origin's end mean nothing.
 */
static unsigned long *read_hot(const struct bk_md_root *root)
{
	unsigned long *words = need((size_t)root->hot_blocks * PAYLOAD);
	unsigned int i;

	for (i = 0; i < root->hot_blocks; i++) {
		unsigned long from = (unsigned long)i * PAGE_BITS;
		const u8 *block = pick(root, BK_MD_HOT,
				       bk_md_hot_block(root, i, 0),
				       bk_md_hot_block(root, i, 1), 0);

		if (!block)
			bk_map_set(words, from, from + PAGE_BITS);
		else
			CHECK(!bk_md_bits_or(words + from / BITS_PER_LONG,
					     PAGE_BITS, block),
			      "block %u of the hot map is full", i);
	}
	return words;
}

static bool read_pages(const struct bk_md_root *root,
		       const struct bk_md_entry *e, struct bk_bits *bits)
{
	u32 page;

	for (page = 0; page < bk_md_pages(root->len, e->shift); page++) {
		unsigned long left;
		unsigned long *words = page_words(bits, page, &left);
		const u8 *block = pick(root, BK_MD_PAGE,
				       bk_md_page_block(e, e->half, page, 0),
				       bk_md_page_block(e, e->half, page, 1),
				       e->set);

		if (!block || bk_md_bits_or(words, left, block))
			return false;
	}
	return true;
}

static void heat(const struct bk_md_root *root, struct bk_bits *bits,
		 const unsigned long *hot)
{
	unsigned long regions = bk_md_units(root->len, root->region_shift), r;

	for (r = 0; r < regions; r++) {
		u64 start = (u64)r << root->region_shift;
		u64 end = start + (1ULL << root->region_shift);

		if (!hot[BIT_WORD(r)])
			r |= BITS_PER_LONG - 1;
		if (!(hot[BIT_WORD(r)] & BIT_MASK(r)))
			continue;
		if (end > root->len)
			end = root->len;
		bk_bits_set(bits, start >> bits->shift,
			    ((end - 1) >> bits->shift) + 1);
	}
}

static bool covers(const struct bk_bits *bits, const struct bk_bits *all)
{
	unsigned long i;

	for (i = 0; i < BITS_TO_LONGS(all->nr); i++)
		if (all->words[i] & ~bits->words[i])
			return false;
	return true;
}

/* One that was accepted, of a device where no checksum was made good. */
static void check_bitmap(const struct bk_md_root *root, unsigned int i,
			 const struct bk_bits *bits)
{
	bool same;

	if (resealed || !CHECK(old.bits[i] && bits->nr == old.bits[i]->nr,
			       "entry %u is made up", i))
		return;
	CHECK(covers(bits, old.bits[i]), "entry %u lacks bits", i);
	same = covers(old.bits[i], bits) || (covers(now.bits[i], bits) &&
					     covers(bits, now.bits[i]));
	if (root->clean)
		CHECK(same, "entry %u: other bits after a clean stop", i);
}

static bool read_bitmap(const struct bk_md_root *root, unsigned int i,
			const unsigned long *hot)
{
	const struct bk_md_entry *e = &root->entry[i];
	struct bk_bits *bits;
	bool good;
	int error;

	if (e->why[0] || root->broken ||
	    bk_md_units(root->len, e->shift) > BITS_MAX)
		return false;
	bits = bk_bits_alloc(root->len, e->shift, false, &error);
	if (!bits)
		abort();
	good = read_pages(root, e, bits);
	if (good && root->clean)
		good = bk_bits_crc(bits) == e->crc;
	if (good && !root->clean && e->recording)
		heat(root, bits, hot);
	if (good)
		check_bitmap(root, i, bits);
	bk_bits_put(bits);
	return good;
}

/* The copy of the root that counts. */
static const struct bk_md_root *choose_root(void)
{
	static struct bk_md_root roots[2];
	bool good[2] = { read_root(0, &roots[0]), read_root(1, &roots[1]) };

	if (good[0] && (!good[1] || roots[0].seq >= roots[1].seq))
		return &roots[0];
	return good[1] ? &roots[1] : NULL;
}

void case_device(void)
{
	unsigned long *hot = NULL;
	const struct bk_md_root *root;
	struct bk_md_lease lease;
	unsigned int i;

	if (below(2))
		damage_range(0, LEASE);
	if (below(2))
		damage_range(LEASE, HOT + 2 * now.root.hot_blocks);
	damage_range(0, now.root.blocks);
	damage_range(HOT, now.root.blocks);
	if (below(2))
		reseal();

	root = choose_root();
	/* of a longer device: it can't be this one, or it has been cut off */
	if (!root || root->blocks > now.root.blocks) {
		count(false);
		return;
	}
	count(true);
	for (i = 0; i < 2; i++)
		read_lease(root, i, &lease);
	if (!root->clean)
		hot = read_hot(root);
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		if (!root->entry[i].name[0])
			continue;
		if (read_bitmap(root, i, hot))
			bitmaps_accepted++;
		else
			bitmaps_refused++;
	}
	free(hot);
}
