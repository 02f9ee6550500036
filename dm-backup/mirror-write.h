/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writes that go to a mirror's destination as well: copy_mode=write_blocking.
 *
 * What it promises
 *   A write that goes both ways ends when the origin and the destination have it:
 *   the same bytes on both, whatever becomes of the writer's pages meanwhile. Two
 *   writes that overlap never go at the same time, so both devices get them in the
 *   same order; nor does one go while a granule of it is being copied.
 *   A destination that fails or is late costs the writer nothing but the time: the
 *   range is dirty, the write has ended as far as the origin goes. While the
 *   destination is late nothing waits for it, and all goes to the origin only.
 *   Dirty is set again, never cleared here, so whoever does not go this way (a write
 *   from before the mode was changed, one that has waited too long) marks when it has
 *   ended, as with copy_mode=background, and nothing is lost.
 *   A REQ_NOWAIT write goes both ways, too, and may wait: not for its sender.
 *
 * Which writes go both ways
 *   Data, and zeroes if the destination can write them. Not: discards and secure
 *   erases; what has a crypto context or integrity data of the writer's bytes;
 *   atomic writes; what the budget has no buffer for; what is all dirty anyway.
 *   Those take their range, so that a copy waits for them rather than being in
 *   vain, and mark it.
 *   Flushes, and the FUA of a write, are the origin's: the destination is flushed
 *   by the job.
 *
 * Admission
 *   bk_mwrite_admit(): the write is counted in the gate, may go as far as anything
 *   else is concerned, and takes its range, a struct bk_mwrite and a buffer. If the
 *   range is taken, or all BK_MIRROR_WRITES are in use, or a quarter of the budget
 *   is, it has to wait: it leaves the gate, and bk_mwrite_wait() puts it on the
 *   list of what it waits for, having looked again. What has been admitted never
 *   waits for another bio, so it always ends.
 *   None of the waiting bios is counted; each looks at everything again. One that has
 *   waited for cbw_timeout of the mirror, or as long as a suspend allows, for whatever,
 *   does not wait here any more: it goes to the origin only.
 *
 * Lateness
 *   The destination is late when a write's leg, or a copy's write that others wait for,
 *   has been with it for cbw_timeout, or as long as a suspend allows; until it has
 *   written anything. What was waited for before that, other writes for one, is not its
 *   fault, and makes nobody late but who has waited.
 *
 * The two legs
 *   The origin's is the bio itself, its data pointing to the buffer, so its flags
 *   and its cgroup are what they were. It leaves the gate when it has ended: cuts do
 *   not wait for the destination. The destination's is a struct bk_write. The
 *   writer is told when both have ended, or after cbw_timeout of the mirror, or
 *   when a suspend is in a hurry, or the mirror stops: then its leg goes on, with
 *   its range and its buffer, until the destination has ended it.
 *
 * Copies (mirror-copy.h)
 *   One that finds a write in its range is busy from then on, so that no other
 *   write can get in, and begins when the last of those has ended.
 *
 * Locks and contexts
 *   mc->lock: all lists. pb->mw and the legs' results are the op's own.
 *   Whether an op ends is decided under mc->lock, in process context.
 *   bk_mwrite_admit() is called under RCU, neither sleeps nor waits for memory.
 *   The hooked end of the bio may come in an interrupt: then a work item goes on. If
 *   it comes inside submit_bio(), who has submitted goes on.
 *   mirror-write-int.h says which file is about what.
 */

#ifndef BK_MIRROR_WRITE_H
#define BK_MIRROR_WRITE_H

#include "mirror-copy.h"

/**
 * enum bk_mleg - what goes to the destination
 * @BK_MLEG_NONE:	nothing: the range is marked
 * @BK_MLEG_DATA:	the buffer
 * @BK_MLEG_ZEROES:	zeroes, without a buffer
 */
enum bk_mleg {
	BK_MLEG_NONE,
	BK_MLEG_DATA,
	BK_MLEG_ZEROES,
};

/**
 * struct bk_mwrite - a write that has its range
 * @list:	on spare or writes; lock
 * @mc:		whose
 * @in:		the instance the bio came through
 * @bio:	the bio; NULL when its writer has been told; lock
 * @start:	first sector
 * @end:	end of the range, exclusive
 * @since:	jiffies when it was submitted
 * @leg:	what goes to the destination
 * @bytes:	of the budget that it has
 * @origin_ended: the origin's leg has ended; lock
 * @dest_ended:	the destination's has; lock
 * @phase:	of the origin's leg, see copy.h
 * @status:	of the origin's leg
 * @end_io:	the bio's own, while it is hooked
 * @vec:	the bio's own data...
 * @iter:	...and where in it
 * @holders:	bios that wait for the range; lock
 * @work:	the origin's leg has ended
 * @zeroes:	how zeroes are written
 * @read:	holds the buffer; nothing is read
 * @write:	the destination's leg
 */
struct bk_mwrite {
	struct list_head list;
	struct bk_mcopy *mc;
	struct bk_instance *in;
	struct bio *bio;
	sector_t start;
	sector_t end;
	unsigned long since;
	enum bk_mleg leg;
	size_t bytes;
	bool origin_ended;
	bool dest_ended;
	atomic_t phase;
	blk_status_t status;
	bio_end_io_t *end_io;
	struct bio_vec *vec;
	struct bvec_iter iter;
	struct bio_list holders;
	struct work_struct work;
	enum bk_zeroes zeroes;
	struct bk_read read;
	struct bk_write write;
};

int bk_mwrite_init(struct bk_mcopy *mc);
void bk_mwrite_free(struct bk_mcopy *mc);
bool bk_mwrite_admit(struct bk_mcopy *mc, struct bk_bio *pb, struct bio *bio);
bool bk_mwrite_wait(struct bk_mcopy *mc, struct bk_bio *pb, struct bio *bio);
void bk_mwrite_submit(struct bk_mwrite *op);
void bk_mwrite_kick(struct bk_mcopy *mc);
void bk_mwrite_stop(struct bk_mcopy *mc);
void bk_mwrite_exit(struct bk_mcopy *mc);
void bk_mwrite_tick(struct work_struct *work);

bool bk_mwrite_overlaps(struct bk_mcopy *mc, sector_t start, sector_t end);
void bk_mwrite_send_in(struct bk_mcopy *mc, struct bio_list *bios);

#endif
