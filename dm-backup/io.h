/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bio's way through the filter: map, end_io, waiting, and coming in again.
 * io-int.h says which file is about what.
 *
 * What it promises
 *   Reads and empty flushes never wait. A write waits only for copies of old
 *   data in its own range, and no longer than the deadline its points in time
 *   give it; then one of them breaks (or, with break_guest_write, the write
 *   fails). Its deadline counts from its first wait. If writes go to a mirror as
 *   well, mirror-write.h says what they wait for.
 *   map() and end_io() neither sleep nor allocate.
 *
 * The way of a bio that changes data
 *   1. enter the gate: counted, or parked until a cut is over;
 *   2. pending clusters in its range: leave the gate, wait (held);
 *   3. a region of it that is cold for a persistent bitmap: the same;
 *   4. with a mirror that writes wait for: take the range, or the same;
 *   5. mark the bitmaps, remap.
 *   A waiting bio is never counted. It comes in again at 1, in a work item,
 *   through bk_io_again(), and ends in dm_submit_bio_remap().
 *
 * Where a waiting bio is
 *   - its work is queued, or
 *   - parked at the gate (gate.h), or
 *   - with the op that copies for it (cow.h), or
 *   - on origin->undrained, until the cut's old epoch has drained, or
 *   - on origin->starved, because memory for an op was short, or
 *   - on origin->cold, until its regions are hot on the metadata device, or
 *   - on a list of a mirror's (mirror-write.h).
 *   All but those parked (that is over in an instant) are also on
 *   origin->held.list, oldest first, for their deadline.
 *
 * Suspend
 *   noflush: waiting bios, and those that would wait, are pushed back to dm.
 *   flush: they wait on, until bk_instance.suspend_by at the latest.
 *
 * Locks
 *   held.lock  spinlock, a leaf: held, undrained, starved, cold. hints.lock: a leaf.
 */

#ifndef BK_IO_H
#define BK_IO_H

#include "origin.h"

int bk_io_map(struct dm_target *ti, struct bio *bio);
int bk_io_end(struct dm_target *ti, struct bio *bio, blk_status_t *error);

void bk_io_init(struct bk_origin *origin);
void bk_io_exit(struct bk_origin *origin);
void bk_io_drained(struct bk_gate *gate);
void bk_io_forget_longest(struct bk_origin *origin);
void bk_io_stopped(struct bk_origin *origin);
void bk_io_heated(struct bk_origin *origin);
void bk_io_push_back(struct bk_instance *in);
void bk_io_hurry(struct bk_instance *in, unsigned int ms);
void bk_io_unhurry(struct bk_instance *in);

#endif
