/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parts of fuzz-metadata: chance.c has what is random and what is told,
 * sound.c makes devices, damage.c changes blocks of them, read-root.c and
 * read-bits.c read them and look at what is accepted; fuzz-metadata.c runs the
 * cases. One case runs at a time, so what it is about is global.
 */

#ifndef FUZZ_METADATA_H
#define FUZZ_METADATA_H

#include "bits.h"
#include "metadata.h"

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

/* The format, in numbers that are written down here once more. */
#define BLOCK		4096
#define HEADER		64
#define PAYLOAD		(BLOCK - HEADER)
#define PAGE_BITS	(PAYLOAD * 8)
#define ROOT_BLOCKS	9
#define LEASE		18
#define HOT		20

#define FAILURES_SHOWN	8

enum kind { ROOT, LEASES, HOTS, PAGES, DEVICE, KINDS };

/**
 * struct kind_of_damage - one line of the result
 * @name:	on the command line
 * @what:	is damaged
 * @percent:	of all cases
 */
struct kind_of_damage {
	const char *name;
	const char *what;
	unsigned int percent;
};

extern const struct kind_of_damage kinds[KINDS];

extern u64 seed;

/* Of the kind that is running. */
extern enum kind kind;
extern unsigned long case_nr;
extern unsigned long failures;
extern unsigned long accepted;
extern unsigned long refused;
extern unsigned long bitmaps_accepted;
extern unsigned long bitmaps_refused;

/**
 * struct state - a device, and what was written to it
 * @root:	what is in its image, as are the others
 * @lease:	both copies
 * @bits:	by entries of the directory; NULL where there is none
 * @image:	its blocks
 */
struct state {
	struct bk_md_root root;
	struct bk_md_lease lease;
	struct bk_bits *bits[BK_MD_MAX_BITMAPS];
	u8 *image;
};

/* @now is @old, and what was written later. */
extern struct state old, now;
/* @now's image, but for the blocks that the case has changed. */
extern u8 *image;
/* Checksums were made good again after the damage. */
extern bool resealed;

/*----------------------------------------------------------------*/
/* chance.c */

/* The same sequence for the same @a and @b, and --seed. */
void chance_init(u64 a, u64 b);
u64 chance(void);
/* 0 to @limit - 1 */
u64 below(u64 limit);

#define CHECK(ok, ...)	check(ok, __FILE__, __LINE__, __VA_ARGS__)

/* Returns @ok; if it is not, the case is told, and the rest says what. */
__attribute__((format(printf, 4, 5)))
bool check(bool ok, const char *file, int line, const char *fmt, ...);

/* For a sanitizer that ends the program, and a case that does not end. */
void died(void);
void hangs(int sig);

/* Zeroed; to be freed. */
void *need(size_t size);

/* Little endian. */
u64 get(const u8 *p, unsigned int bytes);
void put(u8 *p, u64 v, unsigned int bytes);

/* What was damaged, accepted or not. */
void count(bool good);

/*----------------------------------------------------------------*/
/* sound.c */

u8 *block_of(u8 *of, u64 block);
/* Makes @old, @now and @image. */
void make_device(u64 nr);
void free_state(struct state *s);
/* The part of the words of @bits that is in @page, and how many bits follow. */
unsigned long *page_words(const struct bk_bits *bits, u32 page,
			  unsigned long *bits_left);

/*----------------------------------------------------------------*/
/* damage.c */

/* A block of @image, to be changed. */
u8 *touch(u64 block);
/* None, one or more of all kinds of damage to @first to @end - 1. */
void damage_range(u64 first, u64 end);
/* Checksums good again; and then, now and then, place and device too. */
void reseal(void);
/* @image is @now's again. */
void restore(void);
/* Is a block of it another one than before the case? */
bool is_changed(u64 first, unsigned int nr);
/* A block that was accepted as one of this type. */
void check_block(u64 block, const char *type, const u8 *uuid, u64 set);

/*----------------------------------------------------------------*/
/* read-root.c, read-bits.c */

/* Decode a copy of the root; what is accepted is looked through. */
bool read_root(unsigned int copy, struct bk_md_root *root);
bool read_lease(const struct bk_md_root *root, unsigned int copy,
		struct bk_md_lease *lease);

void case_root(void);
void case_lease(void);
void case_hot(void);
void case_page(void);
void case_device(void);

#endif
