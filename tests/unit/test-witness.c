// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the origin tells of itself: witness and samples.
 */

#include "image.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

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

const struct unit_test unit_witness[] = {
	{ "witness: ext4", test_witness_ext },
	{ "witness: XFS, nothing", test_witness_others },
	{ "samples are inside of the origin", test_sample },
	{ NULL, NULL }
};
