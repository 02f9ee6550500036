// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bits of granules: against arrays of bools, one for each sector.
 */

#include "tap.h"

#include "bits.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LEN	5000	/* sectors; no multiple of most granules */

/* What is dirty, sector by sector. */
struct model {
	bool dirty[LEN];
};

static struct bk_bits *make(u64 len, unsigned int shift, bool set)
{
	struct bk_bits *bits;
	int error;

	bits = bk_bits_alloc(len, shift, set, &error);
	if (!bits)
		abort();
	return bits;
}

/* The model of a range, rounded out to granules. */
static void model_mark(struct model *m, unsigned int shift, unsigned int start,
		       unsigned int end)
{
	unsigned int i, last = (((end - 1) >> shift) + 1) << shift;

	for (i = start >> shift << shift; i < last && i < LEN; i++)
		m->dirty[i] = true;
}

static bool equal(const struct bk_bits *bits, const struct model *m)
{
	sector_t start, end = 0;
	unsigned int at = 0;
	unsigned long nr = 0, i;

	while (bk_bits_next(bits, end, &start, &end)) {
		for (; at < start; at++)
			if (m->dirty[at])
				return false;
		for (; at < end; at++)
			if (!m->dirty[at])
				return false;
	}
	for (; at < LEN; at++)
		if (m->dirty[at])
			return false;
	for (i = 0; i < bits->nr; i++)
		nr += m->dirty[i << bits->shift];
	return bk_bits_dirty(bits) == (u64)nr << bits->shift;
}

/* A mirror's bits are cleared by granules. */
static void test_clear(void)
{
	struct unit_random r;
	unsigned int shift, i, j;

	unit_random_init(&r, unit_args.seed, 101);
	for (shift = 0; shift <= 14; shift++) {
		struct bk_bits *bits = make(LEN, shift, true);
		struct model m;

		memset(m.dirty, true, sizeof(m.dirty));
		for (i = 0; i < 40; i++) {
			unsigned int start = unit_below(&r, bits->nr);
			unsigned int end = start + 1 +
				unit_below(&r, bits->nr - start);
			unsigned int at = unit_below(&r, LEN);

			bk_bits_clear(bits, start, end);
			for (j = start << shift; j < end << shift && j < LEN; j++)
				m.dirty[j] = false;
			bk_bits_mark(bits, at, at + 1);
			model_mark(&m, shift, at, at + 1);
			CHECK(equal(bits, &m), "shift %u: cleared %u to %u",
			      shift, start, end);
		}
		bk_bits_put(bits);
	}
}

static void test_mark(void)
{
	struct unit_random r;
	unsigned int shift, i;

	unit_random_init(&r, unit_args.seed, 100);
	for (shift = 0; shift <= 14; shift++) {
		struct bk_bits *bits = make(LEN, shift, false);
		struct model m = { 0 };

		CHECK(equal(bits, &m), "shift %u: not empty", shift);
		for (i = 0; i < 40; i++) {
			unsigned int start = unit_below(&r, LEN);
			unsigned int end = start + 1 +
				unit_below(&r, i % 4 ? 20 : LEN - start);

			end = end > LEN ? LEN : end;
			bk_bits_mark(bits, start, end);
			model_mark(&m, shift, start, end);
			CHECK(equal(bits, &m), "shift %u: %u to %u", shift,
			      start, end);
		}
		bk_bits_put(bits);
	}
}

/* More than is gone through at once, at either end, and the last granule. */
static void test_many(void)
{
	static const unsigned long range[][2] = {
		{ 0, 0 }, { 0, 262144 }, { 262143, 524289 }, { 262144, 262145 },
		{ 599999, 600001 }, { 0, 600001 },
	};
	sector_t start, end;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(range); i++) {
		struct bk_bits *bits = make(600001, 0, false);
		unsigned long first = range[i][0], last = range[i][1];

		bk_bits_set_many(bits, first, last);
		CHECK(bk_bits_dirty(bits) == last - first, "%lu to %lu: %llu",
		      first, last, bk_bits_dirty(bits));
		if (last > first)
			CHECK(bk_bits_next(bits, 0, &start, &end) &&
			      start == first && end == last, "%lu to %lu",
			      first, last);
		bk_bits_set_many(bits, 0, bits->nr);
		bk_bits_clear_many(bits, first, last);
		CHECK(bk_bits_dirty(bits) == bits->nr - (last - first) &&
		      find_next_bit(bits->words, last, first) >= last,
		      "%lu to %lu cleared: %llu", first, last,
		      bk_bits_dirty(bits));
		bk_bits_put(bits);
	}
	for (i = 1; i <= 600001; i = i * 3 + i % 2) {
		struct bk_bits *bits = make(i, 0, true);

		CHECK(bk_bits_dirty(bits) == i &&
		      bk_bits_next(bits, 0, &start, &end) && !start && end == i &&
		      find_next_bit(bits->words, BITS_TO_LONGS(i) * BITS_PER_LONG,
				    i) >= BITS_TO_LONGS(i) * BITS_PER_LONG,
		      "all of %u", i);
		bk_bits_put(bits);
	}
}

static void test_next(void)
{
	struct bk_bits *bits = make(LEN, 3, false);
	sector_t start, end;

	CHECK(!bk_bits_next(bits, 0, &start, &end), "found in nothing");
	bk_bits_mark(bits, 100, 200);
	CHECK(bk_bits_next(bits, 0, &start, &end) && start == 96 && end == 200,
	      "%llu to %llu", start, end);
	CHECK(bk_bits_next(bits, 150, &start, &end) && start == 150 &&
	      end == 200, "from the middle: %llu to %llu", start, end);
	CHECK(!bk_bits_next(bits, 200, &start, &end), "behind it");
	CHECK(!bk_bits_next(bits, LEN, &start, &end), "at the end");
	CHECK(!bk_bits_next(bits, ~0ULL, &start, &end), "far behind the end");
	bk_bits_mark(bits, LEN - 1, LEN);
	CHECK(bk_bits_next(bits, 200, &start, &end) && end == LEN,
	      "the last granule ends at %llu", end);
	bk_bits_put(bits);
}

static void test_or(void)
{
	struct unit_random r;
	unsigned int i, j;

	unit_random_init(&r, unit_args.seed, 101);
	for (i = 0; i < 300; i++) {
		unsigned int from_shift = unit_below(&r, 13);
		unsigned int to_shift = unit_below(&r, 13);
		unsigned int from = unit_below(&r, LEN);
		unsigned int to = from + 1 + unit_below(&r, LEN - from);
		struct bk_bits *src = make(LEN, from_shift, false);
		struct bk_bits *dst = make(LEN, to_shift, false);
		struct model s = { 0 }, d = { 0 };

		for (j = 0; j < 10; j++) {
			unsigned int a = unit_below(&r, LEN);

			bk_bits_mark(j % 3 ? src : dst, a, a + 1);
			model_mark(j % 3 ? &s : &d,
				   j % 3 ? from_shift : to_shift, a, a + 1);
		}
		for (j = from; j < to; j++)
			if (s.dirty[j])
				model_mark(&d, to_shift, j, j + 1);
		bk_bits_or_range(dst, src, from, to);
		CHECK(equal(dst, &d), "granules of 2^%u into 2^%u, %u to %u",
		      from_shift, to_shift, from, to);
		CHECK(equal(src, &s), "the source has changed");
		bk_bits_put(src);
		bk_bits_put(dst);
	}
}

static void test_all(void)
{
	struct bk_bits *bits = make(LEN, 7, true);
	sector_t start, end;
	int err = 0;

	CHECK(bk_bits_dirty(bits) == 40 * 128, "%llu dirty",
	      bk_bits_dirty(bits));
	CHECK(bk_bits_total(bits) == 40 * 128, "of %llu",
	      bk_bits_total(bits));
	CHECK(bk_bits_next(bits, 0, &start, &end) && !start && end == LEN,
	      "%llu to %llu", start, end);
	CHECK(!(bits->words[0] >> 40), "bits behind the end");
	bk_bits_put(bits);
	CHECK(!bk_bits_alloc(1ULL << 40, 0, false, &err) && err == -EFBIG,
	      "2^40 bits: %d", err);
}

/* Known sums, so that no machine and no version has others. */
static void test_crc(void)
{
	struct bk_bits *bits = make(9, 0, false);

	/* "\0\0": 2 bytes hold 9 bits */
	CHECK(bk_bits_crc(bits) == 0xf16177d2, "%08x", bk_bits_crc(bits));
	bk_bits_put(bits);
	/* "123456789" has the check value of CRC-32C */
	bits = make(72, 0, false);
	for (unsigned int i = 0; i < 72; i++)
		if ("123456789"[i / 8] >> i % 8 & 1)
			bk_bits_mark(bits, i, i + 1);
	CHECK(bk_bits_crc(bits) == 0xe3069283, "%08x", bk_bits_crc(bits));
	bk_bits_put(bits);
}

#define ROUNDS 2000

static void *marker(void *ctx)
{
	struct bk_bits *bits = ctx;
	static unsigned int next;
	unsigned int odd = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) & 1;

	for (unsigned int i = 0; i < ROUNDS; i++) {
		bk_bits_mark(bits, i * 2 + odd, i * 2 + odd + 1);
		/* the other's, too: it is to be counted once */
		bk_bits_mark(bits, (i * 7) % (2 * ROUNDS),
			     (i * 7) % (2 * ROUNDS) + 1);
	}
	return NULL;
}

static void test_threads(void)
{
	struct bk_bits *bits = make(2 * ROUNDS, 0, false);
	pthread_t a, b;

	if (pthread_create(&a, NULL, marker, bits) ||
	    pthread_create(&b, NULL, marker, bits))
		abort();
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	CHECK(bk_bits_dirty(bits) == 2 * ROUNDS, "%llu of %u are counted",
	      bk_bits_dirty(bits), 2 * ROUNDS);
	bk_bits_put(bits);
}

const struct unit_test unit_bits[] = {
	{ "marked ranges, granules of 1 to 16384 sectors", test_mark },
	{ "cleared granules", test_clear },
	{ "ranges that are long", test_many },
	{ "runs, from anywhere, to the end of the device", test_next },
	{ "merging ranges between all granularities", test_or },
	{ "all set; too many", test_all },
	{ "checksums are CRC-32C of the bits as bytes", test_crc },
	{ "two threads: each bit is counted once", test_threads },
	{ NULL, NULL }
};
