// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lease, hot map and pages of bitmaps: their bytes, and what is refused.
 */

#include "image.h"
#include "tap.h"

#include <linux/bitops.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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

const struct unit_test unit_page[] = {
	{ "the lease: bytes, both copies, torn", test_lease },
	{ "the bytes of pages and hot map", test_bits_bytes },
	{ "bits of any number are merged", test_bits_round_trip },
	{ "a bit behind the end", test_bits_behind },
	{ "bits of another set, device, type or place", test_bits_foreign },
	{ NULL, NULL }
};
