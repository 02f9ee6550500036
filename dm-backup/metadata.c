// SPDX-License-Identifier: GPL-2.0-only
/*
 * The on-disk form of persistent bitmaps. The contract is in metadata.h.
 */

#include "map.h"
#include "metadata.h"

#include <asm/byteorder.h>
#include <linux/bitops.h>
#include <linux/build_bug.h>
#include <linux/crc32c.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/string.h>

/* A bitmap's granules: 512 bytes to 2 GiB. */
#define BK_MD_SHIFT_MAX		22

static const u8 bk_md_magic[16] = "dm-backup bitmap";

/* In the superblock, after the header. */
struct bk_md_super_disk {
	u8 magic[16];
	__le32 version;
	__le32 flags;
	__le64 blocks;
	__le64 len;
	__le32 region_shift;
	__le32 hot_blocks;
	__le64 next_set;
	__le64 written[2];
	__le64 device[2];
	__le32 print;
	__le32 nr_bitmaps;
	u8 session[BK_MD_UUID];
	char origin[BK_MD_ORIGIN];
	char below[BK_MD_ORIGIN];
};

#define BK_MD_SUPER_CLEAN	1u
#define BK_MD_SUPER_BROKEN	2u

/* In a block of the directory, after the header, eight times. */
struct bk_md_entry_disk {
	char name[BK_MD_NAME];
	char tag[BK_MD_NAME];
	char why[BK_MD_NAME];
	__le64 set;
	__le64 first;
	__le32 pages;
	__le32 crc;
	__le32 flags;
	u8 half;
	u8 shift;
	u8 zero[90];
};

#define BK_MD_ENTRY_RECORDING	1u

/* In the lease, after the header. */
struct bk_md_lease_disk {
	__le64 time;
	u8 session[BK_MD_UUID];
	__le32 witness_kind;
	__le32 witness_mark;
	__le64 witness_time;
};

__printf(4, 5)
static int bk_md_refuse(char *error, size_t size, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(error, size, fmt, args);
	va_end(args);
	return err;
}

/*----------------------------------------------------------------*/
/* Blocks */

static u32 bk_md_crc(const void *block)
{
	return ~crc32c(~0U, (const u8 *)block + sizeof(__le32),
		       BK_MD_BLOCK - sizeof(__le32));
}

static void *bk_md_payload(void *block)
{
	return (u8 *)block + BK_MD_HEADER;
}

/* Fill in the header; the payload is there. */
static void bk_md_seal(void *block, enum bk_md_type type, const u8 *uuid,
		       u64 where, u64 seq, u64 set)
{
	struct bk_md_header *h = block;

	memset(h, 0, BK_MD_HEADER);
	h->type = cpu_to_le32(type);
	memcpy(h->uuid, uuid, BK_MD_UUID);
	h->where = cpu_to_le64(where);
	h->seq = cpu_to_le64(seq);
	h->set = cpu_to_le64(set);
	h->crc = cpu_to_le32(bk_md_crc(block));
}

/* Is it what it should be? @uuid: NULL if any will do. */
static bool bk_md_is_good(const void *block, enum bk_md_type type,
			  const u8 *uuid, u64 where)
{
	const struct bk_md_header *h = block;

	return le32_to_cpu(h->crc) == bk_md_crc(block) &&
	       le32_to_cpu(h->type) == type && le64_to_cpu(h->where) == where &&
	       (!uuid || !memcmp(h->uuid, uuid, BK_MD_UUID));
}

/**
 * bk_md_move - make a block the one that belongs elsewhere
 * @buf:	a sealed block
 * @where:	the block it is to be
 */
void bk_md_move(void *buf, u64 where)
{
	struct bk_md_header *h = buf;

	h->where = cpu_to_le64(where);
	h->crc = cpu_to_le32(bk_md_crc(buf));
}

/*----------------------------------------------------------------*/
/* Root */

/**
 * bk_md_init - what the root of a new metadata device says
 * @root:	filled in
 * @uuid:	random
 * @blocks:	of the metadata device, of 4 KiB
 * @len:	of the origin, sectors
 * @origin:	what is written down of whose it is
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * The hot map has room for an origin twice as long.
 *
 * Return: 0, -EINVAL, or -ENOSPC if the device is too small for one bitmap with
 * granules of 64 KiB.
 */
int bk_md_init(struct bk_md_root *root, const u8 *uuid, u64 blocks, u64 len,
	       const char *origin, char *error, size_t size)
{
	u64 need, hot;

	memset(root, 0, sizeof(*root));
	if (!len || len > 1ULL << 55)
		return bk_md_refuse(error, size, -EINVAL,
				    "the origin has an impossible length");
	memcpy(root->uuid, uuid, BK_MD_UUID);
	root->blocks = blocks;
	root->len = len;
	root->next_set = 1;
	root->clean = true;
	snprintf(root->origin, sizeof(root->origin), "%s", origin);

	root->region_shift = BK_MD_REGION_SHIFT;
	do {
		hot = 2 * bk_md_pages(len, root->region_shift);
	} while (hot > BK_MD_HOT_BLOCKS_MAX && root->region_shift++);
	root->hot_blocks = hot;

	need = bk_md_area_start(root) +
	       bk_md_area_blocks(bk_md_pages(len, 7));
	if (blocks < need)
		return bk_md_refuse(error, size, -ENOSPC,
				    "the metadata device is too small: %llu KiB are needed",
				    (unsigned long long)need * 4);
	return 0;
}

static void bk_md_entry_encode(const struct bk_md_entry *e,
			       struct bk_md_entry_disk *d)
{
	memset(d, 0, sizeof(*d));
	if (!e->name[0] || e->hidden)
		return;
	memcpy(d->name, e->name, strnlen(e->name, BK_MD_NAME - 1));
	memcpy(d->tag, e->tag, strnlen(e->tag, BK_MD_NAME - 1));
	memcpy(d->why, e->why, strnlen(e->why, BK_MD_NAME - 1));
	d->set = cpu_to_le64(e->set);
	d->first = cpu_to_le64(e->first);
	d->pages = cpu_to_le32(e->pages);
	d->crc = cpu_to_le32(e->crc);
	d->flags = cpu_to_le32(e->recording ? BK_MD_ENTRY_RECORDING : 0);
	d->half = e->half;
	d->shift = e->shift;
}

static void bk_md_super_encode(const struct bk_md_root *root,
			       struct bk_md_super_disk *d)
{
	unsigned int i;

	memcpy(d->magic, bk_md_magic, sizeof(d->magic));
	d->version = cpu_to_le32(BK_MD_VERSION);
	d->flags = cpu_to_le32((root->clean ? BK_MD_SUPER_CLEAN : 0) |
			       (root->broken ? BK_MD_SUPER_BROKEN : 0));
	d->blocks = cpu_to_le64(root->blocks);
	d->len = cpu_to_le64(root->len);
	d->region_shift = cpu_to_le32(root->region_shift);
	d->hot_blocks = cpu_to_le32(root->hot_blocks);
	d->next_set = cpu_to_le64(root->next_set);
	for (i = 0; i < 2; i++) {
		d->written[i] = cpu_to_le64(root->written[i]);
		d->device[i] = cpu_to_le64(root->device[i]);
	}
	d->print = cpu_to_le32(root->print);
	d->nr_bitmaps = cpu_to_le32(BK_MD_MAX_BITMAPS);
	memcpy(d->session, root->session, BK_MD_UUID);
	memcpy(d->origin, root->origin, strnlen(root->origin, BK_MD_ORIGIN - 1));
	memcpy(d->below, root->below, strnlen(root->below, BK_MD_ORIGIN - 1));
}

/**
 * bk_md_root_encode - make a copy of the root
 * @root:	what it is to say
 * @copy:	0 or 1
 * @buf:	BK_MD_ROOT_BLOCKS blocks
 */
void bk_md_root_encode(const struct bk_md_root *root, unsigned int copy,
		       void *buf)
{
	u64 where = bk_md_root_block(copy);
	unsigned int i, j;

	memset(buf, 0, BK_MD_ROOT_BLOCKS * BK_MD_BLOCK);
	bk_md_super_encode(root, bk_md_payload(buf));
	bk_md_seal(buf, BK_MD_SUPER, root->uuid, where, root->seq, 0);
	for (i = 1; i < BK_MD_ROOT_BLOCKS; i++) {
		u8 *block = (u8 *)buf + i * BK_MD_BLOCK;
		struct bk_md_entry_disk *d = bk_md_payload(block);

		for (j = 0; j < BK_MD_ENTRIES; j++)
			bk_md_entry_encode(&root->entry[(i - 1) * BK_MD_ENTRIES + j],
					   d + j);
		bk_md_seal(block, BK_MD_DIRECTORY, root->uuid, where + i,
			   root->seq, 0);
	}
}

static bool bk_md_text(char *to, const char *from, size_t size)
{
	memcpy(to, from, size);
	return strnlen(to, size) < size;
}

/* What bitmap_add takes for a name: see bitmap.c. */
static bool bk_md_is_name(const char *s)
{
	for (; *s; s++)
		if (!(*s >= 'a' && *s <= 'z') && !(*s >= 'A' && *s <= 'Z') &&
		    !(*s >= '0' && *s <= '9') && !strchr("#+-.:=@_", *s))
			return false;
	return true;
}

/* It goes into lines of text. */
static bool bk_md_is_printable(const char *s)
{
	for (; *s; s++)
		if (*s < ' ' || *s > '~')
			return false;
	return true;
}

static bool bk_md_areas_overlap(const struct bk_md_entry *a,
				const struct bk_md_entry *b)
{
	return a->first < b->first + bk_md_area_blocks(b->pages) &&
	       b->first < a->first + bk_md_area_blocks(a->pages);
}

/* Can what the entry says be? */
static bool bk_md_entry_is_sound(const struct bk_md_root *root,
				 const struct bk_md_entry *e)
{
	if (e->half > 1 || e->shift > BK_MD_SHIFT_MAX || !e->set ||
	    e->set >= root->next_set || !e->pages)
		return false;
	/* Room for more is fine: the device may have been longer. */
	if (e->pages < bk_md_pages(root->len, e->shift))
		return false;
	return e->first >= bk_md_area_start(root) && e->first < root->blocks &&
	       bk_md_area_blocks(e->pages) <= root->blocks - e->first;
}

static bool bk_md_entry_decode(const struct bk_md_root *root,
			       struct bk_md_entry *e,
			       const struct bk_md_entry_disk *d)
{
	memset(e, 0, sizeof(*e));
	if (!d->name[0])
		return true;
	if (!bk_md_text(e->name, d->name, BK_MD_NAME) ||
	    !bk_md_text(e->tag, d->tag, BK_MD_NAME) ||
	    !bk_md_text(e->why, d->why, BK_MD_NAME) ||
	    !bk_md_is_name(e->name) || strchr(e->tag, ' ') ||
	    !bk_md_is_printable(e->tag) || !bk_md_is_printable(e->why))
		return false;
	e->set = le64_to_cpu(d->set);
	e->first = le64_to_cpu(d->first);
	e->pages = le32_to_cpu(d->pages);
	e->crc = le32_to_cpu(d->crc);
	e->recording = le32_to_cpu(d->flags) & BK_MD_ENTRY_RECORDING;
	e->half = d->half;
	e->shift = d->shift;
	return bk_md_entry_is_sound(root, e);
}

static int bk_md_directory_decode(struct bk_md_root *root, unsigned int copy,
				  const u8 *buf)
{
	unsigned int i, j;

	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		const u8 *block = buf + (1 + i / BK_MD_ENTRIES) * BK_MD_BLOCK;
		const struct bk_md_header *h = (const void *)block;
		const struct bk_md_entry_disk *d =
			(const void *)(block + BK_MD_HEADER);
		struct bk_md_entry *e = &root->entry[i];

		if (!(i % BK_MD_ENTRIES) &&
		    (!bk_md_is_good(block, BK_MD_DIRECTORY, root->uuid,
				    bk_md_root_block(copy) + 1 + i / BK_MD_ENTRIES) ||
		     le64_to_cpu(h->seq) != root->seq))
			return -EBADMSG;
		if (!bk_md_entry_decode(root, e, d + i % BK_MD_ENTRIES))
			return -EUCLEAN;
		for (j = 0; e->name[0] && j < i; j++)
			if (root->entry[j].name[0] &&
			    (bk_md_areas_overlap(e, &root->entry[j]) ||
			     !strcmp(e->name, root->entry[j].name)))
				return -EUCLEAN;
	}
	return 0;
}

static bool bk_md_super_is_sound(const struct bk_md_root *root)
{
	if (!root->len || root->len > 1ULL << 55 || root->blocks > 1ULL << 52 ||
	    root->region_shift < BK_MD_REGION_SHIFT ||
	    root->region_shift > BK_MD_REGION_SHIFT_MAX ||
	    root->hot_blocks > BK_MD_HOT_BLOCKS_MAX)
		return false;
	return bk_md_pages(root->len, root->region_shift) <= root->hot_blocks &&
	       bk_md_area_start(root) <= root->blocks;
}

static bool bk_md_super_decode(struct bk_md_root *root,
			       const struct bk_md_super_disk *d)
{
	unsigned int i;

	root->clean = le32_to_cpu(d->flags) & BK_MD_SUPER_CLEAN;
	root->broken = le32_to_cpu(d->flags) & BK_MD_SUPER_BROKEN;
	root->blocks = le64_to_cpu(d->blocks);
	root->len = le64_to_cpu(d->len);
	root->region_shift = le32_to_cpu(d->region_shift);
	root->hot_blocks = le32_to_cpu(d->hot_blocks);
	root->next_set = le64_to_cpu(d->next_set);
	for (i = 0; i < 2; i++) {
		root->written[i] = le64_to_cpu(d->written[i]);
		root->device[i] = le64_to_cpu(d->device[i]);
	}
	root->print = le32_to_cpu(d->print);
	memcpy(root->session, d->session, BK_MD_UUID);
	return le32_to_cpu(d->nr_bitmaps) == BK_MD_MAX_BITMAPS &&
	       bk_md_text(root->origin, d->origin, BK_MD_ORIGIN) &&
	       bk_md_text(root->below, d->below, BK_MD_ORIGIN) &&
	       bk_md_super_is_sound(root);
}

/**
 * bk_md_is_ours - does a block look like the first one of a root?
 * @buf:	a block, whatever its checksum
 */
bool bk_md_is_ours(const void *buf)
{
	return !memcmp((const u8 *)buf + BK_MD_HEADER, bk_md_magic,
		       sizeof(bk_md_magic));
}

/**
 * bk_md_root_decode - read a copy of the root
 * @root:	filled in
 * @copy:	0 or 1
 * @buf:	BK_MD_ROOT_BLOCKS blocks, as they were read
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Return: 0; -EINVAL: it is something else; -EBADMSG: a checksum is wrong, which
 * a torn write may have made; -EPROTONOSUPPORT: of another version; -EUCLEAN:
 * what it says can't be.
 */
int bk_md_root_decode(struct bk_md_root *root, unsigned int copy,
		      const void *buf, char *error, size_t size)
{
	const struct bk_md_header *h = buf;
	const struct bk_md_super_disk *d =
		(const void *)((const u8 *)buf + BK_MD_HEADER);
	int err;

	BUILD_BUG_ON(sizeof(struct bk_md_header) != BK_MD_HEADER);
	BUILD_BUG_ON(sizeof(struct bk_md_entry_disk) * BK_MD_ENTRIES !=
		     BK_MD_PAYLOAD);

	memset(root, 0, sizeof(*root));
	if (!bk_md_is_ours(buf))
		return bk_md_refuse(error, size, -EINVAL,
				    "it is no metadata device of dm-backup");
	if (!bk_md_is_good(buf, BK_MD_SUPER, NULL, bk_md_root_block(copy)))
		return bk_md_refuse(error, size, -EBADMSG,
				    "the checksum of its superblock is wrong");
	if (le32_to_cpu(d->version) != BK_MD_VERSION)
		return bk_md_refuse(error, size, -EPROTONOSUPPORT,
				    "its format has version %u, not %u",
				    le32_to_cpu(d->version), BK_MD_VERSION);
	memcpy(root->uuid, h->uuid, BK_MD_UUID);
	root->seq = le64_to_cpu(h->seq);
	if (!bk_md_super_decode(root, d))
		return bk_md_refuse(error, size, -EUCLEAN,
				    "what its superblock says can't be");
	err = bk_md_directory_decode(root, copy, buf);
	if (err)
		bk_md_refuse(error, size, err, err == -EBADMSG ?
			     "the checksum of its directory is wrong" :
			     "what its directory says can't be");
	return err;
}

/**
 * bk_md_place - find room for a bitmap's area
 * @root:	the root
 * @pages:	it is to have
 * @first:	set to its first block
 *
 * Return: 0 or -ENOSPC.
 */
int bk_md_place(const struct bk_md_root *root, u32 pages, u64 *first)
{
	struct bk_md_entry want = {
		.first = bk_md_area_start(root),
		.pages = pages,
	};
	unsigned int i;

	/* The first that fits is behind none, or behind one of those there. */
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		const struct bk_md_entry *e = &root->entry[i];

		if (!e->name[0] || !bk_md_areas_overlap(&want, e))
			continue;
		want.first = e->first + bk_md_area_blocks(e->pages);
		i = -1U;	/* look at all again: it only moves up */
	}
	if (want.first > root->blocks ||
	    bk_md_area_blocks(pages) > root->blocks - want.first)
		return -ENOSPC;
	*first = want.first;
	return 0;
}

/*----------------------------------------------------------------*/
/* Lease */

/**
 * bk_md_lease_encode - make a copy of the lease
 * @root:	of the metadata device
 * @lease:	what it is to say
 * @copy:	0 or 1
 * @buf:	a block
 */
void bk_md_lease_encode(const struct bk_md_root *root,
			const struct bk_md_lease *lease, unsigned int copy,
			void *buf)
{
	struct bk_md_lease_disk *d = bk_md_payload(buf);

	memset(buf, 0, BK_MD_BLOCK);
	d->time = cpu_to_le64(lease->time);
	memcpy(d->session, lease->session, BK_MD_UUID);
	d->witness_kind = cpu_to_le32(lease->witness.kind);
	d->witness_mark = cpu_to_le32(lease->witness.mark);
	d->witness_time = cpu_to_le64(lease->witness.time);
	bk_md_seal(buf, BK_MD_LEASE, root->uuid, bk_md_lease_block(copy),
		   lease->seq, 0);
}

/**
 * bk_md_lease_decode - read a copy of the lease
 * @root:	of the metadata device
 * @lease:	filled in
 * @copy:	0 or 1
 * @buf:	the block, as it was read
 *
 * Return: whether it is a good one.
 */
bool bk_md_lease_decode(const struct bk_md_root *root,
			struct bk_md_lease *lease, unsigned int copy,
			const void *buf)
{
	const struct bk_md_header *h = buf;
	const struct bk_md_lease_disk *d =
		(const void *)((const u8 *)buf + BK_MD_HEADER);

	if (!bk_md_is_good(buf, BK_MD_LEASE, root->uuid,
			   bk_md_lease_block(copy)))
		return false;
	lease->seq = le64_to_cpu(h->seq);
	lease->time = le64_to_cpu(d->time);
	memcpy(lease->session, d->session, BK_MD_UUID);
	lease->witness.kind = le32_to_cpu(d->witness_kind);
	lease->witness.mark = le32_to_cpu(d->witness_mark);
	lease->witness.time = le64_to_cpu(d->witness_time);
	return true;
}

/*----------------------------------------------------------------*/
/* Bits: pages of bitmaps, blocks of the hot map */

#define BK_MD_WORDS	(BK_MD_PAYLOAD / sizeof(unsigned long))

/**
 * bk_md_bits_encode - make a block of bits
 * @root:	of the metadata device
 * @type:	BK_MD_HOT or BK_MD_PAGE
 * @where:	its block
 * @seq:	its sequence number
 * @set:	BK_MD_PAGE: the set of pages it belongs to; else 0
 * @words:	the bits; may be set by others meanwhile
 * @nr:		words, at most those of BK_MD_BITS bits; the others are zero
 * @buf:	a block
 */
void bk_md_bits_encode(const struct bk_md_root *root, enum bk_md_type type,
		       u64 where, u64 seq, u64 set, const unsigned long *words,
		       unsigned long nr, void *buf)
{
	unsigned long *to = bk_md_payload(buf);
	unsigned long i;

	for (i = 0; i < BK_MD_WORDS; i++)
		to[i] = i < nr ? bk_map_wire(READ_ONCE(words[i])) : 0;
	bk_md_seal(buf, type, root->uuid, where, seq, set);
}

/**
 * bk_md_bits_check - is a block of bits a good one?
 * @root:	of the metadata device
 * @type:	BK_MD_HOT or BK_MD_PAGE
 * @where:	its block
 * @set:	as for bk_md_bits_encode(): one of another set is none
 * @buf:	the block, as it was read
 * @seq:	set to its sequence number
 */
bool bk_md_bits_check(const struct bk_md_root *root, enum bk_md_type type,
		      u64 where, u64 set, const void *buf, u64 *seq)
{
	const struct bk_md_header *h = buf;

	*seq = le64_to_cpu(h->seq);
	return bk_md_is_good(buf, type, root->uuid, where) &&
	       le64_to_cpu(h->set) == set;
}

/**
 * bk_md_bits_or - set what is set in a block of bits
 * @words:	where to; nobody else changes them
 * @nr:		bits that there are
 * @buf:	a good block
 *
 * Return: 0, or -EUCLEAN if there is a bit behind them.
 */
int bk_md_bits_or(unsigned long *words, unsigned long nr, const void *buf)
{
	const unsigned long *from =
		(const void *)((const u8 *)buf + BK_MD_HEADER);
	unsigned long i;

	for (i = 0; i < BK_MD_WORDS; i++) {
		unsigned long word = bk_map_wire(from[i]), mask = 0;
		unsigned long at = i * BITS_PER_LONG;

		if (at < nr)
			mask = nr - at >= BITS_PER_LONG ? ~0UL :
			       (1UL << (nr - at)) - 1;
		if (word & ~mask)
			return -EUCLEAN;
		if (word)
			words[i] |= word;
	}
	return 0;
}

/*----------------------------------------------------------------*/
/* What the origin tells */

static u32 bk_md_le32(const u8 *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (u32)p[3] << 24;
}

/*
 * ext2, ext3, ext4: 1 KiB in. Mounting for writing counts the mounts and notes
 * the time; checking it sets both anew; mounting only for reading after a crash
 * writes what the journal has, after which it is not in use any more.
 */
static bool bk_md_witness_ext(const u8 *sb, struct bk_md_witness *w)
{
	u8 recover;
	u32 crc;

	if (sb[0x38] != 0x53 || sb[0x39] != 0xef)
		return false;
	crc = crc32c(~0U, sb + 0x2c, 4);	/* s_mtime */
	crc = crc32c(crc, sb + 0x34, 2);	/* s_mnt_count */
	crc = crc32c(crc, sb + 0x40, 4);	/* s_lastcheck */
	crc = crc32c(crc, sb + 0x68, 16);	/* s_uuid */
	recover = sb[0x60] & 4;			/* its journal is in use */
	crc = crc32c(crc, &recover, 1);
	w->kind = BK_MD_WITNESS_EXT;
	w->mark = ~crc;
	w->time = bk_md_le32(sb + 0x30) |	/* s_wtime, s_wtime_hi */
		  (u64)sb[0x274] << 32;
	return true;
}

/**
 * bk_md_witness_read - what does the start of a device tell?
 * @buf:	its first BK_MD_WITNESS_BYTES
 * @witness:	filled in
 */
void bk_md_witness_read(const void *buf, struct bk_md_witness *witness)
{
	const u8 *p = buf;

	memset(witness, 0, sizeof(*witness));
	if (bk_md_witness_ext(p + 1024, witness))
		return;
	/* XFS writes its superblock when it is unmounted. */
	if (!memcmp(p, "XFSB", 4)) {
		witness->kind = BK_MD_WITNESS_XFS;
		witness->mark = ~crc32c(~0U, p, 512);
	}
}

/**
 * bk_md_sample - which parts of an origin its print is made of
 * @len:	of the origin, sectors
 * @i:		0 to BK_MD_SAMPLES - 1; some may overlap
 * @sector:	set to where it begins
 * @bytes:	set to its length, at most BK_MD_SAMPLE_BYTES
 *
 * 64 KiB each where superblocks are, of the device itself, of a first partition
 * and of what is in a LUKS volume; the last 64 KiB; and many times a block of 4
 * KiB at equal distances.
 *
 * Return: false if the origin is too short for this one.
 */
bool bk_md_sample(u64 len, unsigned int i, u64 *sector, u32 *bytes)
{
	static const u32 starts[] = { 0, 64, 1024, 2048, 16384 };	/* KiB */
	const unsigned int nr = ARRAY_SIZE(starts);
	const u64 big = BK_MD_SAMPLE_BYTES >> 9;

	*bytes = BK_MD_SAMPLE_BYTES;
	if (i < nr) {
		*sector = 2 * (u64)starts[i];
	} else if (i == nr) {
		*sector = len > big ? (len - big) & ~7ULL : 0;
	} else {
		i -= nr + 1;
		*sector = div_u64(len, BK_MD_SAMPLES - nr - 1) * i & ~7ULL;
		*bytes = BK_MD_BLOCK;
	}
	if (*sector >= len)
		return false;
	if (len - *sector < *bytes >> 9)
		*bytes = (len - *sector) << 9;
	return true;
}
