/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a filter does to writes: making the next struct bk_cfg from the
 * published one.
 *
 * A cfg holds a reference on each point in time and on all bits in it. Putting
 * something in, or other bits in the place of some, is a cut; taking something
 * out is not (gate.h). All of this is done under gate->cfg_lock.
 */

#ifndef BK_CFG_H
#define BK_CFG_H

#include "bits.h"
#include "pit.h"

struct bk_mcopy;

struct bk_cfg *bk_cfg_copy(struct bk_gate *gate, unsigned int extra_pits,
			   unsigned int extra_bits, gfp_t gfp);
void bk_cfg_add_pit(struct bk_cfg *cfg, struct bk_pit *pit);
void bk_cfg_swap_pit(struct bk_cfg *cfg, struct bk_pit *old,
		     struct bk_pit *next);
void bk_cfg_add_bits(struct bk_cfg *cfg, struct bk_bits *bits);
void bk_cfg_drop_bits(struct bk_cfg *cfg, struct bk_bits *bits);
void bk_cfg_add_end(struct bk_cfg *cfg, struct bk_bits *bits);
void bk_cfg_add_both(struct bk_cfg *cfg, struct bk_mcopy *mc);
int bk_cfg_publish_both(struct bk_origin *origin, struct bk_mcopy *mc);
void bk_cfg_swap_bits(struct bk_cfg *cfg, struct bk_bits *old,
		      struct bk_bits *next);
void bk_cfg_remove_pit(struct bk_origin *origin, struct bk_pit *pit);
void bk_cfg_remove_jobs(struct bk_origin *origin);
void bk_cfg_remove_end(struct bk_origin *origin, struct bk_bits *bits);
void bk_cfg_release(struct bk_cfg *cfg);

/**
 * bk_cfg_mark - a range is about to be written, or has been
 * @cfg:	under RCU or with a reference
 * @start:	first sector
 * @end:	end of the range, exclusive
 *
 * Context: any, interrupts included.
 */
static __always_inline void bk_cfg_mark(struct bk_cfg *cfg, sector_t start,
					sector_t end)
{
	unsigned int i;

	for (i = 0; i < cfg->nr_bits; i++)
		bk_bits_mark(cfg->bits[i], start, end);
}

/**
 * bk_cfg_mark_ended_but - a range has been written
 * @cfg:	under RCU or with a reference
 * @start:	first sector
 * @end:	end of the range, exclusive
 * @but:	the bits of a mirror that has it already, or NULL
 *
 * Context: any, interrupts included.
 */
static inline void bk_cfg_mark_ended_but(struct bk_cfg *cfg, sector_t start,
					 sector_t end, struct bk_bits *but)
{
	unsigned int i;

	/*
	 * Pairs with the one in bk_bits_clear(): if we find a bit set that a
	 * mirror is about to clear, what it reads after that has the write.
	 */
	smp_mb();
	for (i = 0; i < cfg->nr_ends; i++)
		if (cfg->ends[i] != but)
			bk_bits_mark(cfg->ends[i], start, end);
}

/**
 * bk_cfg_mark_ended - the same, and no mirror has it
 * @cfg:	under RCU or with a reference
 * @start:	first sector
 * @end:	end of the range, exclusive
 *
 * Context: any, interrupts included.
 */
static inline void bk_cfg_mark_ended(struct bk_cfg *cfg, sector_t start,
				     sector_t end)
{
	bk_cfg_mark_ended_but(cfg, start, end, NULL);
}

#endif
