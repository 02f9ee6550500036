// SPDX-License-Identifier: GPL-2.0-only
/*
 * A sound device, as it was before its last writes and as it is.
 */

#include "fuzz-metadata.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct state old, now;
u8 *image;

u8 *block_of(u8 *of, u64 block)
{
	return of + block * BLOCK;
}

static void random_text(char *to, size_t size, const char *prefix,
			unsigned int nr)
{
	static const char *const fill[] = { "", "-with-a-longer-name", "@" };
	size_t len = snprintf(to, size, "%s%u%s", prefix, nr,
			      fill[below(COUNT(fill))]);

	if (!below(8)) {
		memset(to + len, 'x', size - 1 - len);
		to[size - 1] = 0;
	}
}

static void random_bytes(u8 *p, size_t size)
{
	while (size--)
		*p++ = chance();
}

static void make_root(struct bk_md_root *root)
{
	unsigned int nr = below(16) ? 1 + below(8) : BK_MD_MAX_BITMAPS, i;
	u64 len = 1 + (below(4) ? below(200000) : below(1ULL << 33)), at;
	u8 uuid[BK_MD_UUID];
	char error[100];

	random_bytes(uuid, sizeof(uuid));
	if (bk_md_init(root, uuid, 1ULL << 40, len, "", error, sizeof(error)))
		abort();
	random_text(root->origin, sizeof(root->origin), "LVM-", 0);
	random_text(root->below, sizeof(root->below), "LVM-", 0);
	root->seq = 100 + below(1000);
	root->hot_blocks += below(3);
	root->next_set = 1000 + below(1000);
	root->clean = below(2);
	root->broken = !below(16);
	root->print = chance();
	random_bytes(root->session, sizeof(root->session));
	for (i = 0; i < 2; i++) {
		root->written[i] = chance();
		root->device[i] = below(1 << 30);
	}
	at = bk_md_area_start(root);
	for (i = 0; i < nr; i++) {
		struct bk_md_entry *e =
			&root->entry[nr == BK_MD_MAX_BITMAPS ? i : i * 8 + below(8)];

		random_text(e->name, sizeof(e->name), "bitmap", i);
		if (below(2))
			random_text(e->tag, sizeof(e->tag), "tag", i);
		if (!below(8))
			random_text(e->why, sizeof(e->why), "because ", i);
		e->set = 1 + below(root->next_set - 1);
		e->shift = below(nr == BK_MD_MAX_BITMAPS ? 23 : 12);
		while (bk_md_pages(len, e->shift) > 4)
			e->shift++;
		e->pages = bk_md_pages(len, e->shift) + !below(4);
		e->half = below(2);
		e->recording = below(4);
		at += below(3);
		e->first = at;
		at += bk_md_area_blocks(e->pages);
	}
	root->blocks = at + below(3);
}

unsigned long *page_words(const struct bk_bits *bits, u32 page,
				 unsigned long *bits_left)
{
	unsigned long from = (unsigned long)page * PAGE_BITS;

	*bits_left = bits->nr > from ? bits->nr - from : 0;
	return bits->words + from / BITS_PER_LONG;
}

static void write_pages(struct state *s, unsigned int i, unsigned int half,
			u64 set, u64 seq)
{
	const struct bk_md_entry *e = &s->root.entry[i];
	unsigned int copy;
	u32 page;

	for (copy = 0; copy < 2; copy++)
		for (page = 0; page < e->pages; page++) {
			u64 at = bk_md_page_block(e, half, page, copy);
			unsigned long left;
			unsigned long *words =
				page_words(s->bits[i], page, &left);

			if (left > PAGE_BITS)
				left = PAGE_BITS;
			bk_md_bits_encode(&s->root, BK_MD_PAGE, at, seq, set,
					  words, BITS_TO_LONGS(left),
					  block_of(s->image, at));
		}
}

/* Some regions are hot; those that there are, of the length that there is. */
static void write_hot(struct state *s)
{
	unsigned long regions = bk_md_units(s->root.len, s->root.region_shift);
	unsigned long nr = (size_t)s->root.hot_blocks * PAGE_BITS;
	unsigned long *words = need(nr / 8);
	unsigned int i, copy;

	for (i = 0; i < 3; i++) {
		unsigned long r = below(regions);

		words[BIT_WORD(r)] |= BIT_MASK(r);
	}
	for (copy = 0; copy < 2; copy++)
		for (i = 0; i < s->root.hot_blocks; i++) {
			u64 at = bk_md_hot_block(&s->root, i, copy);

			bk_md_bits_encode(&s->root, BK_MD_HOT, at,
					  s->root.seq + 2 + i, 0,
					  words + i * PAGE_BITS / BITS_PER_LONG,
					  PAGE_BITS / BITS_PER_LONG,
					  block_of(s->image, at));
		}
	free(words);
}

static void write_image(struct state *s)
{
	unsigned int i, copy;

	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		struct bk_md_entry *e = &s->root.entry[i];

		if (!e->name[0])
			continue;
		e->crc = bk_bits_crc(s->bits[i]);
		write_pages(s, i, !e->half, e->set > 1 ? e->set - 1 : 2,
			    s->root.seq + 50);
		write_pages(s, i, e->half, e->set, s->root.seq + 3);
	}
	write_hot(s);
	for (copy = 0; copy < 2; copy++) {
		bk_md_root_encode(&s->root, copy,
				  block_of(s->image, bk_md_root_block(copy)));
		bk_md_lease_encode(&s->root, &s->lease, copy,
				   block_of(s->image, bk_md_lease_block(copy)));
	}
}

void free_state(struct state *s)
{
	unsigned int i;

	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		if (s->bits[i])
			bk_bits_put(s->bits[i]);
	free(s->image);
	memset(s, 0, sizeof(*s));
}

static void mark(struct bk_bits *bits)
{
	unsigned int i;

	for (i = 0; i < 12; i++) {
		unsigned long first = below(bits->nr);
		unsigned long end = first + 1 + below(i ? 20 : bits->nr);

		bk_bits_set(bits, first, end < bits->nr ? end : bits->nr);
	}
}

void make_device(u64 nr)
{
	unsigned int i;
	int error;

	chance_init(KINDS + kind, nr);
	free_state(&old);
	free_state(&now);
	free(image);
	make_root(&old.root);
	old.lease.seq = old.root.seq + 1;
	old.lease.time = below(1ULL << 33);
	memcpy(old.lease.session, old.root.session, BK_MD_UUID);
	old.lease.witness.kind = below(3);
	old.lease.witness.mark = chance();
	old.lease.witness.time = below(1ULL << 33);
	now.root = old.root;
	now.lease = old.lease;
	now.root.seq += 100;
	now.root.print = chance();
	now.lease.seq += 100;
	now.lease.time += 5;
	old.image = need(old.root.blocks * BLOCK);
	now.image = need(now.root.blocks * BLOCK);
	image = need(now.root.blocks * BLOCK);
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		const struct bk_md_entry *e = &old.root.entry[i];

		if (!e->name[0])
			continue;
		old.bits[i] = bk_bits_alloc(old.root.len, e->shift, false, &error);
		now.bits[i] = bk_bits_alloc(old.root.len, e->shift, false, &error);
		if (!old.bits[i] || !now.bits[i])
			abort();
		mark(old.bits[i]);
		bk_bits_or(now.bits[i], old.bits[i]);
		mark(now.bits[i]);
	}
	write_image(&old);
	write_image(&now);
	memcpy(image, now.image, now.root.blocks * BLOCK);
}
