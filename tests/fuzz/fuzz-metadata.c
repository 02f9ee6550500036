// SPDX-License-Identifier: GPL-2.0-only
/*
 * Damages metadata devices and reads them as the kernel and the utility do.
 * Result: TAP version 13, a line for each part that is damaged.
 *
 *   fuzz-metadata [--seed N] [--cases N] [--case N] [kind...]
 *
 * --seed:	of all that is random; printed at the start
 * --cases:	how many, all kinds together
 * --case:	only this one of each kind, as it was printed when it failed
 * kind:	root, lease, hot, page or device; all if none is given
 *
 * A case takes a sound device and changes some of its blocks. In some cases the
 * checksums of what was changed are made good again, so that what they protect
 * is looked at. Whatever is accepted then must be something that can be; where
 * no checksum was made good it must also be what somebody wrote there.
 */

#include "bits.h"
#include "metadata.h"

#include <linux/crc32c.h>

#include <errno.h>
#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

#define BLOCK		4096
#define HEADER		64
#define PAYLOAD		(BLOCK - HEADER)
#define PAGE_BITS	(PAYLOAD * 8)
#define ROOT_BLOCKS	9
#define LEASE		18
#define HOT		20

/* Cases that share a device. */
#define DEVICE_CASES	2048
/* Nothing larger is loaded, whatever a root says. */
#define BITS_MAX	(1UL << 20)
#define TOUCHED_MAX	64
#define FAILURES_SHOWN	8
/* A case that runs for so many seconds hangs. */
#define CASE_SECONDS	20

enum kind { ROOT, LEASES, HOTS, PAGES, DEVICE, KINDS };

static const struct {
	const char *name;
	const char *what;
	unsigned int percent;
} kinds[KINDS] = {
	[ROOT] = { "root", "copies of the root", 40 },
	[LEASES] = { "lease", "copies of the lease", 10 },
	[HOTS] = { "hot", "blocks of the hot map", 15 },
	[PAGES] = { "page", "pages", 20 },
	[DEVICE] = { "device", "devices", 15 },
};

_Thread_local struct shim_trace shim_trace;

static u64 seed = 20240229;
static long cases = 1000000;
static long one_case = -1;

/* Of the kind that is running. */
static enum kind kind;
static unsigned long case_nr;
static unsigned long failures;
static unsigned long accepted;
static unsigned long refused;
static unsigned long bitmaps_accepted;
static unsigned long bitmaps_refused;

/*----------------------------------------------------------------*/
/* Chance, and telling */

static u64 state;

static u64 mix(u64 x)
{
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ULL;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ULL;
	return x ^ x >> 32;
}

static void chance_init(u64 a, u64 b)
{
	state = mix(seed + mix(a + mix(b + 1)));
}

static u64 chance(void)
{
	state += 0x9e3779b97f4a7c15ULL;
	return mix(state);
}

/* 0 to @limit - 1 */
static u64 below(u64 limit)
{
	return chance() % limit;
}

#define CHECK(ok, ...)	check(ok, __LINE__, __VA_ARGS__)

__attribute__((format(printf, 3, 4)))
static bool check(bool ok, int line, const char *fmt, ...)
{
	va_list args;

	if (ok || ++failures > FAILURES_SHOWN)
		return ok;
	printf("# --seed %llu --case %lu %s: line %d: ", seed, case_nr,
	       kinds[kind].name, line);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	return false;
}

static void died(void)
{
	printf("Bail out! --seed %llu --case %lu %s\n", seed, case_nr,
	       kinds[kind].name);
	fflush(stdout);
}

static void hangs(int sig)
{
	(void)sig;
	died();
	_exit(1);
}

static void *need(size_t size)
{
	void *p = calloc(1, size ?: 1);

	if (!p)
		abort();
	return p;
}

static u64 get(const u8 *p, unsigned int bytes)
{
	u64 v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

static void put(u8 *p, u64 v, unsigned int bytes)
{
	for (; bytes--; v >>= 8)
		*p++ = v;
}

/*----------------------------------------------------------------*/
/* A sound device, as it was before its last writes and as it is */

struct state {
	struct bk_md_root root;
	struct bk_md_lease lease;
	struct bk_bits *bits[BK_MD_MAX_BITMAPS];
	u8 *image;
};

static struct state old, now;

/* What a case changes: @now's image, but for these blocks. */
static u8 *image;
static unsigned int touched[TOUCHED_MAX];
static unsigned int nr_touched;
static bool resealed;

static u8 *block_of(u8 *of, u64 block)
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

/* A part of the words of @bits, which end with it. */
static unsigned long *page_words(const struct bk_bits *bits, u32 page,
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

static void free_state(struct state *s)
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

/* @now is @old, and what was written later. */
static void make_device(u64 nr)
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

/*----------------------------------------------------------------*/
/* Damage */

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

static u8 *touch(u64 block)
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

/* Checksums good again; and then, now and then, place and device too. */
static void reseal(void)
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

static void damage_range(u64 first, u64 end)
{
	unsigned int n = below(32) ? 1 + below(3) : 0;

	while (n--)
		if (below(8))
			damage(first, end);
		else
			go_back(first, end);
}

static void restore(void)
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

/* A block that was accepted as one of this type. */
static void check_block(u64 block, const char *type, const u8 *uuid, u64 set)
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

/*----------------------------------------------------------------*/
/* Roots */

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

/* Room for one more bitmap, or for another one in place of one of them. */
static void check_place(const struct bk_md_root *root)
{
	unsigned int skip = below(2) ? BK_MD_MAX_BITMAPS :
			    below(BK_MD_MAX_BITMAPS), i;
	u32 pages = below(4) ? 1 + below(4) : 1 + (chance() >> 32) % 0xffffffff;
	u64 first = 0, last = HOT + 2ULL * root->hot_blocks;
	int ret = bk_md_place(root, skip, pages, &first);
	wide end = (wide)first + (wide)4 * pages;

	if (!ret)
		CHECK(first >= last && end <= root->blocks,
		      "%u pages are placed outside, at %llu", pages, first);
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		const struct bk_md_entry *e = &root->entry[i];
		u64 behind = e->first + 4 * (u64)e->pages;

		if (i == skip || !e->name[0])
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

/* Decode a copy of the root; what is accepted is looked through. */
static bool read_root(unsigned int copy, struct bk_md_root *root)
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

/* Is a block of it another one than before the case? */
static bool is_changed(u64 first, unsigned int nr)
{
	return memcmp(block_of(image, first), block_of(now.image, first),
		      nr * BLOCK);
}

static void count(bool good)
{
	if (good)
		accepted++;
	else
		refused++;
}

static void case_root(void)
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

static bool read_lease(const struct bk_md_root *root, unsigned int copy,
		       struct bk_md_lease *lease)
{
	u64 at = LEASE + copy;

	if (!bk_md_lease_decode(root, lease, copy, block_of(image, at)))
		return false;
	check_block(at, "LMdb", root->uuid, get(block_of(image, at) + 40, 8));
	return true;
}

static void case_lease(void)
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

/*----------------------------------------------------------------*/
/* Bits */

static u8 byte_of(const unsigned long *words, unsigned long i)
{
	return words[i / sizeof(long)] >> i % sizeof(long) * 8;
}

/* The one of two copies that counts, or NULL. */
static const u8 *pick(const struct bk_md_root *root, enum bk_md_type type,
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

static void case_hot(void)
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

static void case_page(void)
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

static void case_device(void)
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

/*----------------------------------------------------------------*/
/* Running */

static void (*const run_case[KINDS])(void) = {
	[ROOT] = case_root,
	[LEASES] = case_lease,
	[HOTS] = case_hot,
	[PAGES] = case_page,
	[DEVICE] = case_device,
};

static bool run_kind(unsigned int line)
{
	unsigned long end = cases * kinds[kind].percent / 100;
	unsigned long device = ~0UL;

	failures = accepted = refused = 0;
	bitmaps_accepted = bitmaps_refused = 0;
	case_nr = one_case >= 0 ? one_case : 0;
	if (one_case >= 0)
		end = case_nr + 1;
	for (; case_nr < end; case_nr++) {
		alarm(CASE_SECONDS);
		if (case_nr / DEVICE_CASES != device) {
			device = case_nr / DEVICE_CASES;
			make_device(device);
		}
		chance_init(kind, case_nr);
		run_case[kind]();
		restore();
	}
	alarm(0);
	if (failures > FAILURES_SHOWN)
		printf("# %lu failures in all\n", failures);
	if (one_case < 0) {
		CHECK(accepted, "nothing was accepted");
		CHECK(refused, "nothing was refused");
		CHECK(kind != DEVICE || (bitmaps_accepted && bitmaps_refused),
		      "no bitmap was accepted, or none was refused");
	}
	printf("%sok %u - %s: %lu cases; of damaged %s %lu accepted, %lu refused",
	       failures ? "not " : "", line, kinds[kind].name,
	       one_case < 0 ? end : 1, kinds[kind].what, accepted, refused);
	if (kind == DEVICE)
		printf("; of bitmaps %lu and %lu", bitmaps_accepted,
		       bitmaps_refused);
	putchar('\n');
	return !failures;
}

static void usage(void)
{
	fputs("Usage: fuzz-metadata [--seed N] [--cases N] [--case N] [root|lease|hot|page|device]...\n",
	      stderr);
	exit(2);
}

static u64 number(const char *s)
{
	char *end;
	u64 n = s ? strtoull(s, &end, 0) : 0;

	if (!s || !*s || *end)
		usage();
	return n;
}

static enum kind kind_of(const char *name)
{
	unsigned int i;

	for (i = 0; i < KINDS; i++)
		if (!strcmp(kinds[i].name, name))
			return i;
	usage();
	return KINDS;
}

/* Which kinds are asked for: a mask. */
static unsigned int take_args(char **argv)
{
	unsigned int asked = 0;

	for (argv++; *argv; argv++) {
		if (!strcmp(*argv, "--seed"))
			seed = number(*++argv);
		else if (!strcmp(*argv, "--cases"))
			cases = number(*++argv);
		else if (!strcmp(*argv, "--case"))
			one_case = number(*++argv);
		else
			asked |= 1U << kind_of(*argv);
	}
	return asked ?: (1U << KINDS) - 1;
}

int main(int argc, char **argv)
{
	unsigned int asked = take_args(argv), line = 0;
	bool good = true;

	(void)argc;
	/* What a sanitizer stops must have been said before. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	__sanitizer_set_death_callback(died);
	signal(SIGALRM, hangs);
	printf("TAP version 13\n1..%u\n", __builtin_popcount(asked));
	printf("# seed %llu (fuzz-metadata --seed)\n", seed);
	for (kind = 0; kind < KINDS; kind++)
		if (asked & 1U << kind)
			good &= run_kind(++line);
	free_state(&old);
	free_state(&now);
	free(image);
	return !good;
}
