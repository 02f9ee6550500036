/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The on-disk form of persistent bitmaps: coding and decoding, and nothing else.
 *
 * Specified byte by byte in Documentation/metadata-format.rst. All numbers are
 * little-endian. The same source is built into the kernel module and into the
 * utility, which reads a metadata device without the module; so nothing in here
 * does I/O, allocates, or believes what it reads.
 *
 * Everything is in blocks of 4 KiB, and each block begins with struct
 * bk_md_header: a checksum, what it is, of which metadata device, where it
 * belongs, and a sequence number.
 *
 * What is overwritten is there twice. The first copy is written and made
 * durable before the second one is touched, so a write that is torn by a crash
 * leaves one good copy: the old one, or the new one. Of two good copies the one
 * with the larger sequence number counts.
 *
 *   block 0                  root, first copy: superblock and directory
 *   BK_MD_ROOT_BLOCKS        root, second copy
 *   2 * BK_MD_ROOT_BLOCKS    lease, two copies
 *   two blocks later         each block of the hot map, first copies before
 *                            second ones
 *   the rest                 areas of bitmaps, as the directory says
 *
 * The area of a bitmap has two halves, of which one is in use; each half has all
 * pages, first copies before second ones. Within a half bits are only ever added;
 * a bitmap that loses bits is written to the other half, which then comes into
 * use by one write of the root.
 */

#ifndef BK_METADATA_H
#define BK_METADATA_H

#include <linux/math64.h>
#include <linux/types.h>

#define BK_MD_BLOCK		4096
#define BK_MD_SECTORS		(BK_MD_BLOCK >> 9)
#define BK_MD_HEADER		64
#define BK_MD_PAYLOAD		(BK_MD_BLOCK - BK_MD_HEADER)

/* Bits in a block of the hot map, and in a page of a bitmap. */
#define BK_MD_BITS		(BK_MD_PAYLOAD * 8)

#define BK_MD_VERSION		1
#define BK_MD_MAX_BITMAPS	64
#define BK_MD_ENTRIES		8	/* in a block of the directory */
#define BK_MD_ROOT_BLOCKS	(1 + BK_MD_MAX_BITMAPS / BK_MD_ENTRIES)

/* Regions of the hot map: 32 MiB, unless there were too many. */
#define BK_MD_REGION_SHIFT	16
#define BK_MD_REGION_SHIFT_MAX	32
#define BK_MD_HOT_BLOCKS_MAX	4096

#define BK_MD_UUID		16
#define BK_MD_NAME		128
#define BK_MD_ORIGIN		160

enum bk_md_type {
	BK_MD_SUPER	= 0x62644d53,
	BK_MD_DIRECTORY	= 0x62644d44,
	BK_MD_LEASE	= 0x62644d4c,
	BK_MD_HOT	= 0x62644d48,
	BK_MD_PAGE	= 0x62644d50,
};

/* Begins each block. @crc is over what follows it in the block. */
struct bk_md_header {
	__le32 crc;
	__le32 type;
	u8 uuid[BK_MD_UUID];
	__le64 where;
	__le64 seq;
	__le64 set;
	u8 zero[16];
};

/**
 * struct bk_md_entry - a persistent bitmap
 * @name:	its name; empty: there is none in this place
 * @tag:	where its bits were last taken care of, or empty
 * @why:	why it is inconsistent, or empty
 * @set:	number of the set of pages that is in use
 * @first:	first block of its area
 * @pages:	in each half of it
 * @half:	which of them is in use
 * @shift:	log2 of sectors per granule
 * @recording:	it records
 * @hidden:	its area is taken, but the directory is not to tell of it yet
 * @crc:	of all bits (bk_bits_crc()) if the root is clean
 */
struct bk_md_entry {
	char name[BK_MD_NAME];
	char tag[BK_MD_NAME];
	char why[BK_MD_NAME];
	u64 set;
	u64 first;
	u32 pages;
	u8 half;
	u8 shift;
	bool recording;
	bool hidden;
	u32 crc;
};

/**
 * struct bk_md_root - what the root says
 * @uuid:	of this metadata device
 * @seq:	of the copy it was read from
 * @blocks:	of the metadata device when it was made
 * @len:	of the origin, sectors
 * @origin:	the filter's dm uuid, else its name, when it was made
 * @below:	which device the filter stands on, if that has a name for good; else
 *		empty
 * @region_shift: log2 of sectors per region of the hot map
 * @hot_blocks:	blocks of the hot map, one copy
 * @next_set:	no set of pages has this number, nor a larger one
 * @clean:	the filter stopped with everything saved: the hot map means
 *		nothing, each @crc and all below is valid
 * @broken:	the metadata device failed once: everything in it is inconsistent
 * @print:	checksum of samples of the origin
 * @session:	who wrote this: another one after each loading of the module
 * @written:	sectors that had been written by then to the filter's device, and
 *		to the origin below it
 * @device:	device numbers of those two
 * @entry:	the directory
 */
struct bk_md_root {
	u8 uuid[BK_MD_UUID];
	u64 seq;
	u64 blocks;
	u64 len;
	char origin[BK_MD_ORIGIN];
	char below[BK_MD_ORIGIN];
	u32 region_shift;
	u32 hot_blocks;
	u64 next_set;
	bool clean;
	bool broken;
	u32 print;
	u8 session[BK_MD_UUID];
	u64 written[2];
	u64 device[2];
	struct bk_md_entry entry[BK_MD_MAX_BITMAPS];
};

/* What a file system tells of its having been mounted. */
enum bk_md_witness_kind {
	BK_MD_WITNESS_NONE,	/* nothing, or there is no file system known */
	BK_MD_WITNESS_EXT,	/* ext2, ext3, ext4: when and how often */
	BK_MD_WITNESS_XFS,	/* XFS: its superblock */
};

/**
 * struct bk_md_witness - what was found at the start of the origin
 * @kind:	enum bk_md_witness_kind
 * @mark:	changes when it is mounted for writing, not while it is in use
 * @time:	of its last change that it knows of, seconds since 1970, or 0
 */
struct bk_md_witness {
	u32 kind;
	u32 mark;
	u64 time;
};

/**
 * struct bk_md_lease - the filter was alive then
 * @seq:	of the copy it was read from
 * @time:	seconds since 1970
 * @session:	whose
 * @witness:	what the origin said then
 */
struct bk_md_lease {
	u64 seq;
	u64 time;
	u8 session[BK_MD_UUID];
	struct bk_md_witness witness;
};

/* The first sectors of an origin are looked at for its witness. */
#define BK_MD_WITNESS_BYTES	4096

/* An origin is sampled at its start, its end, and here and there between. */
#define BK_MD_SAMPLES		256
#define BK_MD_SAMPLE_BYTES	65536

int bk_md_init(struct bk_md_root *root, const u8 *uuid, u64 blocks, u64 len,
	       const char *origin, char *error, size_t size);
void bk_md_root_encode(const struct bk_md_root *root, unsigned int copy,
		       void *buf);
int bk_md_root_decode(struct bk_md_root *root, unsigned int copy,
		      const void *buf, char *error, size_t size);
bool bk_md_is_ours(const void *buf);
int bk_md_place(const struct bk_md_root *root, u32 pages, u64 *first);

void bk_md_lease_encode(const struct bk_md_root *root,
			const struct bk_md_lease *lease, unsigned int copy,
			void *buf);
bool bk_md_lease_decode(const struct bk_md_root *root,
			struct bk_md_lease *lease, unsigned int copy,
			const void *buf);

void bk_md_bits_encode(const struct bk_md_root *root, enum bk_md_type type,
		       u64 where, u64 seq, u64 set, const unsigned long *words,
		       unsigned long nr, void *buf);
bool bk_md_bits_check(const struct bk_md_root *root, enum bk_md_type type,
		      u64 where, u64 set, const void *buf, u64 *seq);
void bk_md_move(void *buf, u64 where);
int bk_md_bits_or(unsigned long *words, unsigned long nr, const void *buf);

void bk_md_witness_read(const void *buf, struct bk_md_witness *witness);
bool bk_md_sample(u64 len, unsigned int i, u64 *sector, u32 *bytes);

/* Of a copy of the root. */
static inline u64 bk_md_root_block(unsigned int copy)
{
	return copy * BK_MD_ROOT_BLOCKS;
}

static inline u64 bk_md_lease_block(unsigned int copy)
{
	return 2 * BK_MD_ROOT_BLOCKS + copy;
}

/* Of a copy of a block of the hot map. */
static inline u64 bk_md_hot_block(const struct bk_md_root *root,
				  unsigned int i, unsigned int copy)
{
	return bk_md_lease_block(2) + (u64)copy * root->hot_blocks + i;
}

/* First block that areas of bitmaps may have: behind both copies. */
static inline u64 bk_md_area_start(const struct bk_md_root *root)
{
	return bk_md_hot_block(root, 0, 2);
}

/* Of a copy of a page of a bitmap. */
static inline u64 bk_md_page_block(const struct bk_md_entry *e,
				   unsigned int half, u32 page,
				   unsigned int copy)
{
	return e->first + (2ULL * half + copy) * e->pages + page;
}

/* Blocks of the area of a bitmap with so many pages. */
static inline u64 bk_md_area_blocks(u64 pages)
{
	return 4 * pages;
}

/* Units of 1 << @shift sectors that hold @len sectors. */
static inline u64 bk_md_units(u64 len, unsigned int shift)
{
	return (len >> shift) + !!(len & ((1ULL << shift) - 1));
}

/* Pages of a bitmap of a device. */
static inline u64 bk_md_pages(u64 len, unsigned int shift)
{
	return div_u64(bk_md_units(len, shift) + BK_MD_BITS - 1, BK_MD_BITS);
}

#endif
