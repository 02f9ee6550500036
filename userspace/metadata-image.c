// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: reading what is on a metadata device. The contract is in
 * metadata-image.h.
 */

#include "../dm-backup/metadata.h"

#include "dmbackup.h"
#include "metadata-image.h"

#include <ctype.h>
#include <linux/bitops.h>
#include <linux/crc32c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bits of a bitmap: the kernel refuses more. */
#define MAX_BITS	(8ULL << 30)

/*------------------------------------------------------------------*/
/* Ranges of bits */

static void set_range(unsigned long *words, unsigned long first,
		      unsigned long end)
{
	for (; first < end; first++)
		words[BIT_WORD(first)] |= BIT_MASK(first);
}

static void clear_from(unsigned long *words, unsigned long first,
		       unsigned long end)
{
	unsigned long whole = BITS_TO_LONGS(first);

	if (first % BITS_PER_LONG)
		words[BIT_WORD(first)] &= BIT_MASK(first) - 1;
	memset(words + whole, 0, (BITS_TO_LONGS(end) - whole) * sizeof(long));
}

static unsigned long count_bits(const unsigned long *words, unsigned long nr)
{
	unsigned long i, n = 0;

	for (i = 0; i < BITS_TO_LONGS(nr); i++)
		n += hweight_long(words[i]);
	return n;
}

/* As bytes, least significant bit first. */
static u32 crc_of_bits(const unsigned long *words, unsigned long nr)
{
	unsigned long i, bytes = DIV_ROUND_UP(nr, BITS_PER_BYTE);
	u32 crc = ~0U;

	for (i = 0; i < bytes; i++) {
		u8 byte = words[i / sizeof(long)] >>
			  (i % sizeof(long) * BITS_PER_BYTE);

		crc = crc32c(crc, &byte, 1);
	}
	return ~crc;
}

/*
 * The next run of bits from @at on, in sectors; each bit stands for 1 << @shift
 * of @len.
 */
static bool next_run(const unsigned long *words, unsigned long nr,
		     unsigned int shift, u64 len, unsigned long *at,
		     u64 *start, u64 *end)
{
	unsigned long i = find_next_bit(words, nr, *at);

	if (i >= nr)
		return false;
	*start = (u64)i << shift;
	*at = find_next_zero_bit(words, nr, i);
	*end = (u64)*at << shift;
	if (*end > len)
		*end = len;
	return true;
}

/* The same in bytes. */
static bool next_bytes(const unsigned long *words, unsigned long nr,
		       unsigned int shift, u64 len, unsigned long *at,
		       uint64_t *start, uint64_t *length)
{
	u64 first, end;

	if (!next_run(words, nr, shift, len, at, &first, &end))
		return false;
	*start = first << 9;
	*length = (end - first) << 9;
	return true;
}

/*------------------------------------------------------------------*/
/* Blocks and their copies */

static const char unreadable[] = "can't be read";
static const char not_good[] = "is damaged";
static const char impossible[] = "has bits behind the end";

static bool read_blocks(const struct image *image, u64 block, unsigned int n,
			u8 *buf)
{
	return meta_read(image->m, block * BK_MD_BLOCK, buf,
			 (size_t)n * BK_MD_BLOCK);
}

static void damaged(struct image *image, u64 block, unsigned int copy,
		    const char *what, const char *why)
{
	struct damage *d;

	image->damage = xreallocarray(image->damage, image->nr_damage + 1,
				      sizeof(*d));
	d = &image->damage[image->nr_damage++];
	d->block = block;
	d->copy = copy;
	d->what = xstrdup(what);
	d->why = why;
}

/*
 * The bits of the newer good one of a block's two copies are set in @words.
 * False if there is none.
 */
static bool read_bits(struct image *image, enum bk_md_type type,
		      const u64 *where, u64 set, const char *what,
		      unsigned long *words, unsigned long nr)
{
	const u8 *best = NULL;
	u64 seq, best_seq = 0;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		u8 *buf = image->buf + i * BK_MD_BLOCK;
		bool ok = read_blocks(image, where[i], 1, buf);

		if (!bk_md_bits_check(image->root, type, where[i], set, buf,
				      &seq)) {
			damaged(image, where[i], i, what,
				ok ? not_good : unreadable);
		} else if (!best || seq > best_seq) {
			best = buf;
			best_seq = seq;
		}
	}
	if (!best)
		return false;
	if (!bk_md_bits_or(words, nr, best))
		return true;
	i = best != image->buf;
	damaged(image, where[i], i, what, impossible);
	return false;
}

/*------------------------------------------------------------------*/
/* All but the bitmaps */

/* Names and sentences are shown: whoever wrote them. */
static void make_printable(char *text, const char *but_not)
{
	for (; *text; text++)
		if (!isprint((unsigned char)*text) || strchr(but_not, *text))
			*text = '?';
}

static void make_root_printable(struct bk_md_root *root)
{
	unsigned int i;

	make_printable(root->origin, "");
	make_printable(root->below, "");
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		make_printable(root->entry[i].name, "\"\\");
		make_printable(root->entry[i].tag, "");
		make_printable(root->entry[i].why, "");
	}
}

static int read_root(struct image *image)
{
	struct bk_md_root *roots = image->roots;
	char why[2][128];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		u64 block = bk_md_root_block(i);
		bool ok = read_blocks(image, block, BK_MD_ROOT_BLOCKS,
				      image->buf);
		int err = bk_md_root_decode(&roots[i], i, image->buf, why[i],
					    sizeof(why[i]));

		if (!ok)
			snprintf(why[i], sizeof(why[i]), "it %s", unreadable);
		if (err)
			damaged(image, block, i, "root",
				ok ? not_good : unreadable);
		else if (!image->root || roots[i].seq > image->root->seq)
			image->root = &roots[i];
	}
	for (i = 0; i < 2; i++)
		make_root_printable(&roots[i]);
	if (image->root)
		return EX_OK;
	if (!strcmp(why[0], why[1]))
		say("%s: %s", image->m->d.arg, why[0]);
	else
		say("%s: its root has no good copy: the first: %s; the second: %s",
		    image->m->d.arg, why[0], why[1]);
	return EX_MISMATCH;
}

static void read_lease(struct image *image)
{
	struct bk_md_lease *leases = image->leases;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		u64 block = bk_md_lease_block(i);
		bool ok = read_blocks(image, block, 1, image->buf);

		if (!bk_md_lease_decode(image->root, &leases[i], i, image->buf))
			damaged(image, block, i, "lease",
				ok ? not_good : unreadable);
		else if (!image->lease || leases[i].seq > image->lease->seq)
			image->lease = &leases[i];
	}
}

/* As the kernel does it: what is behind the last region means nothing. */
static void read_hot(struct image *image)
{
	const struct bk_md_root *root = image->root;
	unsigned int i;

	image->regions = bk_md_units(root->len, root->region_shift);
	image->hot = xcalloc((size_t)root->hot_blocks,
			     BK_MD_BITS / BITS_PER_BYTE);
	for (i = 0; i < root->hot_blocks; i++) {
		const u64 where[2] = {
			bk_md_hot_block(root, i, 0),
			bk_md_hot_block(root, i, 1),
		};
		unsigned long first = (unsigned long)i * BK_MD_BITS;

		if (!read_bits(image, BK_MD_HOT, where, 0, "hot map",
			       image->hot + BIT_WORD(first), BK_MD_BITS))
			set_range(image->hot, first, first + BK_MD_BITS);
	}
	clear_from(image->hot, image->regions, root->hot_blocks * BK_MD_BITS);
}

/* Blocks that there are, whatever the root says. */
static u64 blocks_of(const struct image *image)
{
	return image->m->d.sectors / BK_MD_SECTORS;
}

int image_read(struct image *image, const struct meta *m)
{
	int r;

	image->m = m;
	image->roots = xcalloc(2, sizeof(*image->roots));
	image->leases = xcalloc(2, sizeof(*image->leases));
	image->buf = xaligned_alloc(BK_MD_BLOCK,
				    BK_MD_ROOT_BLOCKS * BK_MD_BLOCK);
	r = read_root(image);
	if (r)
		return r;
	if (blocks_of(image) < image->root->blocks)
		say("%s: has become shorter: %llu KiB, not %llu KiB", m->d.arg,
		    blocks_of(image) * 4, image->root->blocks * 4);
	read_lease(image);
	read_hot(image);
	return EX_OK;
}

void image_free(struct image *image)
{
	while (image->nr_damage)
		free(image->damage[--image->nr_damage].what);
	free(image->damage);
	free(image->hot);
	free(image->roots);
	free(image->leases);
	free(image->buf);
}

const char *image_state(const struct image *image)
{
	if (image->root->broken)
		return "broken";
	if (image->root->clean)
		return "clean";
	return image->m->busy ? "in-use" : "crashed";
}

/* Once it is clean they mean nothing. */
unsigned long image_hot_regions(const struct image *image)
{
	return image->root->clean ? 0 : count_bits(image->hot, image->regions);
}

uint64_t image_hot_bytes(const struct image *image)
{
	u64 regions = image_hot_regions(image), end = image->regions;
	unsigned int shift = image->root->region_shift;
	u64 sectors = regions << shift;

	/* The last one may reach beyond the origin's end. */
	if (regions && image->hot[BIT_WORD(end - 1)] & BIT_MASK(end - 1))
		sectors -= (end << shift) - image->root->len;
	return sectors << 9;
}

bool image_next_hot(const struct image *image, unsigned long *at,
		    uint64_t *start, uint64_t *length)
{
	return next_bytes(image->hot, image->regions, image->root->region_shift,
			  image->root->len, at, start, length);
}

/*------------------------------------------------------------------*/
/* Bitmaps */

static void set_state(struct image_bitmap *b, const char *state,
		      const char *why)
{
	/* What was found first is the reason. */
	if (!image_bitmap_is_ok(b))
		return;
	b->state = state;
	snprintf(b->why, sizeof(b->why), "%s", why);
}

/* What can be told without reading it. */
static void check_entry(const struct image *image, const struct bk_md_entry *e,
			struct image_bitmap *b)
{
	const struct bk_md_root *root = image->root;

	if (e->why[0])
		set_state(b, "inconsistent", e->why);
	if (root->broken)
		set_state(b, "inconsistent",
			  "the metadata device failed, or the filter's table was replaced without detach");
	/*
	 * What else speaks against it only the kernel can see, on the origin,
	 * and in the table: see metadata_report_check().
	 */
	if (!root->clean && !image->lease)
		set_state(b, "inconsistent",
			  "the metadata device's lease is damaged");
	if (blocks_of(image) < root->blocks)
		set_state(b, "damaged", "the metadata device has become shorter");
}

/* Is there all of it, and not more than can be? */
static bool can_be_read(const struct image *image, const struct bk_md_entry *e)
{
	u64 blocks = blocks_of(image);

	return bk_md_units(image->root->len, e->shift) <= MAX_BITS &&
	       e->first <= blocks &&
	       bk_md_area_blocks(e->pages) <= blocks - e->first;
}

static void read_pages(struct image *image, const struct bk_md_entry *e,
		       struct image_bitmap *b)
{
	char *what = xasprintf("bitmap %s", e->name), *why;
	u64 pages = bk_md_pages(image->root->len, e->shift), i;

	for (i = 0; i < pages; i++) {
		const u64 where[2] = {
			bk_md_page_block(e, e->half, i, 0),
			bk_md_page_block(e, e->half, i, 1),
		};
		unsigned long first = i * BK_MD_BITS, left = b->nr - first;

		if (read_bits(image, BK_MD_PAGE, where, e->set, what,
			      b->words + BIT_WORD(first),
			      left < BK_MD_BITS ? left : BK_MD_BITS))
			continue;
		why = xasprintf("page %llu of it has no good copy", i);
		set_state(b, "damaged", why);
		free(why);
	}
	free(what);
}

/* After a crash all of a region that is hot may have been written. */
static void add_hot(const struct image *image, struct image_bitmap *b)
{
	const struct bk_md_root *root = image->root;
	unsigned long at = 0;
	u64 start, end;

	while (next_run(image->hot, image->regions, root->region_shift,
			root->len, &at, &start, &end))
		set_range(b->words, start >> b->shift,
			  bk_md_units(end, b->shift));
}

static void read_bitmap(struct image *image, const struct bk_md_entry *e,
			struct image_bitmap *b)
{
	const struct bk_md_root *root = image->root;

	memset(b, 0, sizeof(*b));
	b->name = e->name;
	b->state = "ok";
	b->recording = e->recording;
	b->granularity = 512ULL << e->shift;
	b->shift = e->shift;
	check_entry(image, e, b);
	if (!can_be_read(image, e)) {
		set_state(b, "damaged", "it reaches beyond the device");
		return;
	}
	b->nr = bk_md_units(root->len, e->shift);
	b->words = xcalloc(BITS_TO_LONGS(b->nr), sizeof(long));
	read_pages(image, e, b);
	if (root->clean && crc_of_bits(b->words, b->nr) != e->crc)
		set_state(b, "damaged", "its checksum is wrong");
	if (!root->clean && e->recording)
		add_hot(image, b);
	b->dirty = (u64)count_bits(b->words, b->nr) << b->shift << 9;
}

bool image_bitmap_read(struct image *image, const char *name,
		       struct image_bitmap *b)
{
	const struct bk_md_entry *e = image->root->entry;
	unsigned int i;

	for (i = 0; i < BK_MD_MAX_BITMAPS; i++, e++)
		if (e->name[0] && !strcmp(e->name, name)) {
			read_bitmap(image, e, b);
			return true;
		}
	return false;
}

void image_bitmap_free(struct image_bitmap *b)
{
	free(b->words);
}

struct image_bitmap *image_bitmaps_read(struct image *image, unsigned int *n)
{
	struct image_bitmap *all = xcalloc(BK_MD_MAX_BITMAPS, sizeof(*all));
	const struct bk_md_entry *e = image->root->entry;
	unsigned int i;

	*n = 0;
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++, e++)
		if (e->name[0])
			read_bitmap(image, e, &all[(*n)++]);
	return all;
}

void image_bitmaps_free(struct image_bitmap *all, unsigned int n)
{
	while (n--)
		image_bitmap_free(&all[n]);
	free(all);
}

bool image_bitmap_is_ok(const struct image_bitmap *b)
{
	return !strcmp(b->state, "ok");
}

bool image_bitmap_next(const struct image *image, const struct image_bitmap *b,
		       unsigned long *at, uint64_t *start, uint64_t *length)
{
	return next_bytes(b->words, b->nr, b->shift, image->root->len, at,
			  start, length);
}
