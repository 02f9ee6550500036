/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which parts of a device were written: one bit for each granule.
 *
 * What it promises
 *   Once a bit is set it stays set for as long as the bits are published in a
 *   cfg. Losing bits (clear, the end of a job) is always done by putting other
 *   bits in their place, so nobody ever looks at a word that may fall.
 *   Marking takes no lock, does not sleep, and writes to memory only where a
 *   bit is not set yet. It is done before the write is submitted.
 *   A mirror's bits are the exception: they are marked when a write has ended
 *   (bk_cfg_mark_ended()), and the mirror clears them, before it reads.
 *   @dirty counts what is set; it is exact when nobody marks, and never ahead
 *   of what can be found in @words by who orders its reads.
 *
 * Geometry
 *   The last granule may reach beyond the end of the device. Bits behind it are
 *   zero. In memory, words are the machine's; what leaves it (metadata.h,
 *   bk_bits_crc()) is bytes, least significant bit first, on every machine.
 *
 * References
 *   A named bitmap holds its bits, and so does each cfg that they are published
 *   in, each point in time that is to be narrowed to them, and whoever reads
 *   them outside of the filter's lock.
 */

#ifndef BK_BITS_H
#define BK_BITS_H

#include <linux/cache.h>
#include <linux/kref.h>

#include "map.h"

/**
 * struct bk_bits - what was written
 * @ref:	references
 * @len:	of the device, sectors
 * @shift:	log2 of sectors per granule
 * @nr:		granules
 * @words:	the bits
 * @persistent:	writes that set them wait for their region to be hot (store.h)
 * @dirty:	granules that are set
 */
struct bk_bits {
	struct kref ref;
	sector_t len;
	unsigned int shift;
	unsigned long nr;
	unsigned long *words;
	bool persistent;

	/* written by who sets a bit; the others are read by every writer */
	atomic_long_t dirty ____cacheline_aligned_in_smp;
};

struct bk_bits *bk_bits_alloc(sector_t len, unsigned int shift, bool set,
			      int *error);
void bk_bits_put(struct bk_bits *bits);

static inline void bk_bits_get(struct bk_bits *bits)
{
	kref_get(&bits->ref);
}

void bk_bits_set(struct bk_bits *bits, unsigned long first, unsigned long end);
void bk_bits_set_many(struct bk_bits *bits, unsigned long first,
		      unsigned long end);
void bk_bits_clear(struct bk_bits *bits, unsigned long first,
		   unsigned long end);
void bk_bits_clear_many(struct bk_bits *bits, unsigned long first,
			unsigned long end);
void bk_bits_or(struct bk_bits *dst, const struct bk_bits *src);
void bk_bits_or_range(struct bk_bits *dst, const struct bk_bits *src,
		      sector_t from, sector_t to);
bool bk_bits_next(const struct bk_bits *bits, sector_t from, sector_t *start,
		  sector_t *end);
void bk_bits_recount(struct bk_bits *bits);
u32 bk_bits_crc(const struct bk_bits *bits);

/**
 * bk_bits_mark - a range is about to be written
 * @bits:	the bits
 * @start:	first sector
 * @end:	end of the range, exclusive; > @start, not behind the device's
 *
 * Context: any, interrupts included.
 */
static __always_inline void bk_bits_mark(struct bk_bits *bits, sector_t start,
					 sector_t end)
{
	unsigned long first = start >> bits->shift;
	unsigned long last = (end - 1) >> bits->shift;

	/* A bit that is set stays: nothing is lost by only looking. */
	if (likely(first == last &&
		   READ_ONCE(bits->words[BIT_WORD(first)]) & BIT_MASK(first)))
		return;
	bk_bits_set(bits, first, last + 1);
}

/* Sectors that the granules which are set stand for. */
static inline u64 bk_bits_dirty(const struct bk_bits *bits)
{
	return (u64)atomic_long_read(&bits->dirty) << bits->shift;
}

/* Sectors of all granules. */
static inline u64 bk_bits_total(const struct bk_bits *bits)
{
	return (u64)bits->nr << bits->shift;
}

#endif
