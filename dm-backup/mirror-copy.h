/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What keeps a destination the same as the origin: it copies whatever is dirty,
 * for as long as something is.
 *
 * What it promises
 *   A granule is dirty while the destination may differ from the origin in it.
 *   Writes mark it when they have ended (bk_cfg_mark_ended()). A copy clears it
 *   before it reads: a write that the read may have missed ends later, and marks
 *   it again. If reading or writing fails it is dirty again.
 *   Two copies in flight never touch the same granule, so what the destination
 *   has is what was read last.
 *   Converged means that nothing is dirty and nothing in flight. While writes go
 *   on that is true for a moment only; with the gate closed (gate.h) it is true.
 *
 * Progress
 *   One copy is a run of dirty granules, of max_chunk at most, or one granule.
 *   It is read and written in pieces of max_chunk, so a granule may be larger
 *   than what memory there is. BK_MIRROR_OPS copies, and buf_size bytes, are in
 *   flight at most, and no more than the budget and the destination have room
 *   for (buffer.h, dest.h): guests' copies of other jobs go first.
 *   A run that can't be read is copied granule by granule from then on.
 *
 * Zeroes
 *   Are written as zeroes (copy.h), never discarded. What the destination is
 *   known to read as zeroes is not written at all if it is to be zero: with
 *   target_is_zero that is everything at first, less whatever was written; with
 *   zero_target too, once it has been written there, which comes first
 *   (bk_mzero_next()) and is bounded by nothing.
 *
 * The end
 *   bk_mcopy_stop(): nothing is started, nobody is told of anything any more, and
 *   copies in flight end when their I/O does; on a destination that hangs that
 *   may be never: their buffers leave the budget.
 *   References: the owner's, and one for each copy in flight. It holds the filter's
 *   memory, a user of the destination, and through ops->release its owner.
 *
 * Locks and contexts
 *   next   mutex: one looks for what is to be copied at a time.
 *   lock   spinlock: the lists of copies and of writes, figures. Process context
 *          only. Taken inside nothing but next, and by writes under RCU; pool.lock,
 *          dest->lock, io_lock, held.lock and job->lock (a buffer that is given
 *          up makes room, of which jobs are told) inside it.
 */

#ifndef BK_MIRROR_COPY_H
#define BK_MIRROR_COPY_H

#include <linux/kref.h>
#include <linux/mutex.h>
#include <linux/wait.h>

#include "bits.h"
#include "copy.h"
#include "pit.h"

#define BK_MIRROR_OPS	16

/* Writes that go to the destination as well, at a time (mirror-write.h). */
#define BK_MIRROR_WRITES	32

struct bk_mcopy;

/**
 * struct bk_mcopy_ops - what it asks of its owner
 * @error:	a copy has failed: as in struct bk_pit_ops
 * @ended:	a copy has ended, or while @paused, all writes; no sleep
 * @late:	the destination was waited for too long; no sleep
 * @paused:	is nothing to be written to it for now? Under lock
 * @release:	it goes away
 */
struct bk_mcopy_ops {
	void (*error)(struct bk_mcopy *mc, bool write, sector_t sector,
		      blk_status_t status);
	void (*ended)(struct bk_mcopy *mc);
	void (*late)(struct bk_mcopy *mc);
	bool (*paused)(struct bk_mcopy *mc);
	void (*release)(struct bk_mcopy *mc);
};

/**
 * struct bk_mop - a copy
 * @list:	on idle or busy
 * @mc:		whose
 * @first:	granules it has taken...
 * @nr:		...and how many
 * @sector:	of the piece under way
 * @end:	of the last one
 * @skip:	the destination reads as zeroes there
 * @coming:	the destination does not know of the piece yet
 * @writing:	which of the two is under way; lock
 * @since:	jiffies when the destination was given the piece; lock
 * @given_up:	nobody waits for it any more
 * @awaits:	writes in its range have to end before it begins; lock
 * @holders:	writes that wait for its end; lock
 * @read:	the piece, and its buffer
 * @write:	the same, to the destination
 */
struct bk_mop {
	struct list_head list;
	struct bk_mcopy *mc;
	unsigned long first;
	unsigned long nr;
	sector_t sector;
	sector_t end;
	bool skip;
	bool coming;
	bool writing;
	unsigned long since;
	bool given_up;
	bool awaits;
	struct bio_list holders;
	struct bk_read read;
	struct bk_write write;
};

/**
 * struct bk_mzero - zeroes that all of the destination gets first
 * @wanted:	not all of it has them yet; lock
 * @busy:	a piece is in flight; lock
 * @done:	sectors that have them; the piece's, as what follows
 * @zeroes:	how they are written
 * @write:	the piece, which never waits for a place in flight: it is alone
 */
struct bk_mzero {
	bool wanted;
	bool busy;
	sector_t done;
	enum bk_zeroes zeroes;
	struct bk_write write;
};

/**
 * struct bk_mcopy_params - how to copy
 * @granularity: sectors, a power of two
 * @max_chunk:	sectors of a piece
 * @buf_size:	bytes in flight
 * @zeroes:	what to do with zeroes
 * @empty:	nothing is dirty at first
 * @target_is_zero: the destination reads as zeroes...
 * @zero_target: ...or can write them, and is to do so first
 */
struct bk_mcopy_params {
	unsigned int granularity;
	unsigned int max_chunk;
	size_t buf_size;
	enum bk_zeroes zeroes;
	bool empty;
	bool target_is_zero;
	bool zero_target;
};

/**
 * struct bk_mcopy - see above
 * @ref:	references
 * @origin:	the filter
 * @dest:	the destination
 * @bits:	what is dirty
 * @zero:	what the destination reads as zeroes, or NULL
 * @params:	as given; zeroes becomes OFF if the destination can't
 * @ops:	the owner's
 * @owner:	the owner
 * @next:	see above
 * @wait:	woken when a copy or a write has ended
 * @stopped:	see above
 * @held:	none is to be started for now
 * @blocking:	writes go to the destination as well, but for some
 * @timeout:	how long they wait for it, ms; 0: as long as it takes
 * @first:	zeroes that come before all copies
 * @lock:	protects what follows
 * @idle:	copies that are not in use
 * @busy:	those that are
 * @flight:	bytes of these
 * @nr_busy:	how many they are, and one for @first
 * @coming:	bytes that the destination does not know of yet
 * @done:	sectors copied
 * @late:	writes do not wait for the destination, until it has written something
 * @spare:	struct bk_mwrite that are not in use
 * @writes:	those that are
 * @nr_writes:	how many they are
 * @write_bytes: of the budget, that they have
 * @mirrored:	sectors that they have brought to the destination
 * @queue:	bios that wait for one of them
 * @tick:	looks who waits too long, while anybody may
 * @careful:	[first, end) of granules to be copied one by one
 * @cursor:	where the next one is looked for; next
 */
struct bk_mcopy {
	struct kref ref;
	struct bk_origin *origin;
	struct bk_dest *dest;
	struct bk_bits *bits;
	struct bk_bits *zero;
	struct bk_mcopy_params params;
	const struct bk_mcopy_ops *ops;
	void *owner;
	struct mutex next;	/* cursor, and starting */
	wait_queue_head_t wait;
	bool stopped;
	bool held;
	bool blocking;
	unsigned int timeout;
	struct delayed_work tick;
	struct bk_mzero first;

	spinlock_t lock;	/* all that follows */
	struct list_head idle;
	struct list_head busy;
	size_t flight;
	unsigned int nr_busy;
	u64 coming;
	u64 done;
	bool late;
	struct list_head spare;
	struct list_head writes;
	unsigned int nr_writes;
	size_t write_bytes;
	u64 mirrored;
	struct bio_list queue;
	unsigned long careful[2];
	unsigned long cursor;
};

struct bk_mcopy *bk_mcopy_create(struct bk_origin *origin, struct bk_dest *dest,
				 const struct bk_mcopy_params *params,
				 const struct bk_mcopy_ops *ops, void *owner,
				 int *error);
void bk_mcopy_put(struct bk_mcopy *mc);

static inline void bk_mcopy_get(struct bk_mcopy *mc)
{
	kref_get(&mc->ref);
}

/* The first sector of all that a copy has taken. */
static inline sector_t bk_mop_start(const struct bk_mop *op)
{
	return (sector_t)op->first << op->mc->bits->shift;
}

/* A copy or a write has ended; bk_mcopy_finish() may wait for that, but rarely does. */
static inline void bk_mcopy_wake(struct bk_mcopy *mc)
{
	/* Full barriers here and in waiting: one of the two sees the other. */
	if (wq_has_sleeper(&mc->wait))
		wake_up_all(&mc->wait);
}

void bk_mop_begin(struct bk_mop *op);
bool bk_mzero_next(struct bk_mcopy *mc);
int bk_mcopy_next(struct bk_mcopy *mc);
void bk_mcopy_hold(struct bk_mcopy *mc, bool hold);
void bk_mcopy_stop(struct bk_mcopy *mc);
bool bk_mcopy_is_idle(struct bk_mcopy *mc);
bool bk_mcopy_is_converged(struct bk_mcopy *mc);
u64 bk_mcopy_dirty(struct bk_mcopy *mc);
void bk_mcopy_doubt(struct bk_mcopy *mc);
u64 bk_mcopy_left(struct bk_mcopy *mc);
int bk_mcopy_finish(struct bk_mcopy *mc, unsigned long end,
		    bool (*go_on)(struct bk_mcopy *mc));

#endif
