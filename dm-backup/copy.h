/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The copy engine: a range of the origin into memory, memory to a destination.
 * It knows devices, buffers and sectors; of clusters it knows nothing.
 *
 * What it promises
 *   bk_read_start() gets a buffer (or waits for one), reads the range, and
 *   calls done(). bk_write_start() gets a place among the destination's writes
 *   in flight, writes the buffer, zeroes as zeroes if asked to, and calls
 *   done(). done() is called exactly once for each start that was not
 *   cancelled, in process context, under no lock: a read's inside start when the
 *   device completed at once, else from its workqueue; a write's from the
 *   destination's.
 *   A read may be of another device than the origin: it is submitted from the queue
 *   of that one then.
 *   Bios, page vectors and buffers are part of struct bk_read and struct
 *   bk_write: nothing is allocated once the buffer is there.
 *   A guest's flags are never copied onto these bios.
 *
 * Submitting from a work item
 *   Drivers that complete at once (brd) do so inside submit_bio(). The phase of
 *   struct bk_io tells this from the other case, so that neither costs a work
 *   item too much nor recurses: whoever comes second, submitter or completion,
 *   goes on.
 *
 * Lifetime
 *   A struct bk_read belongs to whoever embeds it, which must stay until
 *   done() and until the last user of the buffer has called bk_read_drop().
 */

#ifndef BK_COPY_H
#define BK_COPY_H

#include <linux/atomic.h>
#include <linux/bio.h>
#include <linux/workqueue.h>

#include "buffer.h"
#include "dest.h"
#include "origin.h"

/* Who comes second, the submitter of a bio or its end? */
enum bk_phase {
	BK_PHASE_SUBMITTING,	/* inside submit_bio() */
	BK_PHASE_SUBMITTED,	/* the submitter has gone on to other things */
	BK_PHASE_ENDED,		/* the bio has ended */
};

/* Before the bio is submitted. */
static inline void bk_phase_begin(atomic_t *phase)
{
	atomic_set(phase, BK_PHASE_SUBMITTING);
}

/*
 * After that. True if it has ended: the caller goes on, else bi_end_io will. The
 * exchanges are full barriers, so just one of the two sees that it is second.
 */
static inline bool bk_phase_submitted(atomic_t *phase)
{
	return atomic_xchg(phase, BK_PHASE_SUBMITTED) == BK_PHASE_ENDED;
}

/* In bi_end_io. True if the submitter has gone: the caller queues work. */
static inline bool bk_phase_ended(atomic_t *phase)
{
	return atomic_xchg(phase, BK_PHASE_ENDED) == BK_PHASE_SUBMITTED;
}

/**
 * struct bk_io - one bio at a time, resubmitted for the next part
 * @bio:	the bio
 * @phase:	who comes second: enum bk_phase
 */
struct bk_io {
	struct bio bio;
	atomic_t phase;
};

/**
 * struct bk_read - a range of the origin, in memory
 * @origin:	the filter
 * @from:	NULL, or the device to read instead of the origin; of whoever embeds it,
 *		who is a user of it
 * @wq:		where it goes on when it had to wait
 * @work:	goes on
 * @deferred:	while the origin is suspended
 * @sector:	first
 * @sectors:	number
 * @buf:	its buffer; bytes, background and reserve are the caller's to set
 * @done:	called when @status is known and, if that is 0, @buf is filled
 * @io:		the bio
 * @pos:	sectors read so far
 * @part:	sectors that @io reads
 * @bdev:	while reading
 * @status:	of the whole
 * @live:	users that need the buffer and have not been given up
 * @given_up:	one has been
 */
struct bk_read {
	struct bk_origin *origin;
	struct bk_dest *from;
	struct workqueue_struct *wq;
	struct work_struct work;
	struct bk_deferred deferred;
	sector_t sector;
	unsigned int sectors;
	struct bk_buf buf;
	void (*done)(struct bk_read *read);

	struct bk_io io;
	unsigned int pos;
	unsigned int part;
	struct block_device *bdev;
	blk_status_t status;
	atomic_t live;
	bool given_up;
};

enum bk_zeroes {
	BK_ZEROES_OFF,		/* write them as any data */
	BK_ZEROES_ON,		/* write zeroes, keep them allocated */
	BK_ZEROES_UNMAP,	/* write zeroes, the device may unmap */
};

/**
 * struct bk_write - a range of a buffer to a destination
 * @dest:	the destination; a reference while the write goes on
 * @slot:	place in flight; bytes and urgent are set by bk_write_start()
 * @work:	goes on
 * @src:	where the data is; NULL: all zeroes, which if the device can't write
 *		them is an error
 * @sector:	first, on origin and destination
 * @sectors:	number
 * @unit:	zeroes are looked for in pieces of that many sectors
 * @zeroes:	what to do with them; UNMAP and ON fall back for good to OFF
 *		when the device can't
 * @skip_zeroes: they need not be written: the device reads as zeroes there
 * @discard:	nothing is written: the range is discarded
 * @done:	called when @status is known
 * @io:		the bio
 * @pos:	sectors written so far
 * @part:	sectors that @io writes
 * @status:	of the whole; if not 0, @pos says where
 */
struct bk_write {
	struct bk_dest *dest;
	struct bk_slot slot;
	struct work_struct work;
	struct bk_read *src;
	sector_t sector;
	unsigned int sectors;
	unsigned int unit;
	enum bk_zeroes *zeroes;
	bool skip_zeroes;
	bool discard;
	void (*done)(struct bk_write *write);

	struct bk_io io;
	unsigned int pos;
	unsigned int part;
	blk_status_t status;
};

void bk_read_init(struct bk_read *read, struct bk_origin *origin,
		  struct workqueue_struct *wq,
		  void (*done)(struct bk_read *read));
void bk_read_from(struct bk_read *read, struct bk_dest *from);
void bk_read_start(struct bk_read *read);
void bk_read_queue(struct bk_read *read);
bool bk_read_cancel(struct bk_read *read);
void bk_read_leave(struct bk_read *read);
void bk_read_give_up(struct bk_read *read);
void bk_read_drop(struct bk_read *read);

void bk_write_init(struct bk_write *write, struct bk_dest *dest, bool urgent,
		   void (*done)(struct bk_write *write));
void bk_write_start(struct bk_write *write);
bool bk_write_cancel(struct bk_write *write);

#endif
