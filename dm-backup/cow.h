/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Copy before write: the states of a cluster, what is copied when, and who
 * waits for it.
 *
 * What it promises
 *   From the cut that installs a point in time on, no write reaches a cluster on
 *   the origin before the cluster's old data is in memory, and nothing that was
 *   staged is dropped before it is on the destination, unless the point in time
 *   is stopped, which everyone can see. Only a failed read of the origin makes a
 *   cluster needed again.
 *
 * States of a cluster (pending, claimed, fleeced)
 *   needed   1,0,0 not copied; a write waits, after starting the copy
 *   reading  1,1,0 the origin is read, or waits for memory; a write waits
 *   staged   0,1,0 old data in memory, not on the destination; writes go
 *   fleeced  0,0,1 on the fleece device only; writes go
 *   moving   0,1,1 the same, on its way to the destination; writes go
 *   saved    0,0,0 on the destination; writes go
 *
 *   event             needed   reading   staged      fleeced  moving      saved
 *   write             claim    wait      go          go       go          go
 *   background copy   claim    skip      skip        claim    skip        skip
 *   read done                  -> staged                      stays
 *   read failed                -> needed                      -> fleeced
 *   write done                           -> saved             -> saved, then
 *                                                             the discard
 *    (fleece device)                     -> fleeced
 *   write failed                         stays: the          stays
 *                                        only copy
 *    (fleece device)                     stays: it is
 *                                        written to the
 *                                        destination
 *   stopped           everyone waiting goes; ops end when their I/O does, staged
 *                     data is dropped
 *
 *   There is no third map without a fleece device (fleece.h). With one, copies for
 *   guests' writes go there, and others to the destination.
 *
 *   With on_cbw_error=break_guest_write a cluster stays `reading' until the
 *   destination has it, or the fleece device; if that fails its waiting writes
 *   fail and it is needed again, which is safe as no write went. With a fleece
 *   device that is so for guests' copies only: no write waits for the destination.
 *
 *   A point in time copies nothing before its cut's old epoch has drained:
 *   those writes are inside it. If it is limited to a bitmap, all clusters are
 *   needed until then; what is outside becomes (0,0) before anything is claimed.
 *
 * Ordering
 *   pending may be read without a lock, only to skip. The buffer is filled, then
 *   the bit is cleared with release; a writer that finds it clear does so with
 *   acquire, before it submits.
 *
 * Contexts: bk_cow_start() sleeps only in the origin's submit_bio(), the others
 * not at all. Locks: see pit.h.
 */

#ifndef BK_COW_H
#define BK_COW_H

#include "pit.h"

/* Ops that one call may start; a bio that wants more comes again. */
#define BK_OPS_AT_ONCE		64

/* How bk_cow_hold() left a bio. */
enum bk_hold {
	BK_HOLD_GO,		/* nothing to wait for */
	BK_HOLD_HELD,		/* not the caller's any more */
	BK_HOLD_UNDRAINED,	/* to wait for the old epoch */
	BK_HOLD_AGAIN,		/* something changed: start over */
};

int bk_cow_start(struct bk_cfg *cfg, sector_t start, sector_t end);
enum bk_hold bk_cow_hold(struct bk_cfg *cfg, struct bio *bio,
			 sector_t start, sector_t end);
int bk_cow_copy_next(struct bk_pit *pit, unsigned int max);
u64 bk_cow_wanted(struct bk_pit *pit, sector_t start, sector_t end, u64 most);

/**
 * bk_pit_is_pending - must a write of a range wait for the point in time?
 * @pit:	the point in time
 * @start:	first sector
 * @end:	end of the range, exclusive
 *
 * Context: any, under RCU or a reference; takes no lock. A yes is to be
 * looked at again; a no is final, for this point in time, and an acquire.
 */
static __always_inline bool bk_pit_is_pending(const struct bk_pit *pit,
					      sector_t start, sector_t end)
{
	unsigned long first = bk_pit_cluster(pit, start);
	unsigned long last = bk_pit_cluster(pit, end - 1);
	unsigned long word;

	if (likely(first == last)) {
		/* pairs with the barrier in bk_map_clear_release() */
		word = smp_load_acquire(&pit->pending[BIT_WORD(first)]);
		if (likely(!(word & BIT_MASK(first))))
			return false;
	} else if (!bk_map_any_acquire(pit->pending, first, last + 1)) {
		return false;
	}
	return !bk_pit_is_stopped(pit);
}

#endif
