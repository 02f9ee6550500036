/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who reads a point in time.
 *
 * What it promises
 *   A reader gets what the origin held at the cut, or EIO, whatever is written
 *   meanwhile and wherever the old data is:
 *
 *   state              read from
 *   needed, reading    the origin; no write reaches the range before the read
 *                      has ended
 *   valid, staged      the op's buffer
 *   fleeced, moving    the fleece device
 *   saved              the destination
 *   out                nowhere: EIO. Not part of the job (sync=bitmap, top), or
 *                      discarded
 *
 *   Readers share; none ever waits, for each other or for a copy. One of the
 *   origin waits while the filter is suspended: see view.h. A write waits for
 *   readers only through its own copy: when the copy's read has ended while
 *   others read the same of the origin, the op is valid and stays on pit->unread
 *   until they have ended. From then on readers get the buffer, so a write waits
 *   for those that were there before, and for no others. In the same way a move's
 *   discard waits for those who read the fleece device.
 *   A write's deadline counts on meanwhile. A point in time that breaks, or whose
 *   job fails or is cancelled, lets writes go at once: its readers find that when
 *   their I/O completes, and fail. One whose job has completed is read from the
 *   destination for as long as a view holds it, job and filter or not.
 *
 * Discards
 *   "Done with this": whole clusters leave the point in time. A needed one is not
 *   copied any more, for whomever; an op under way goes on, as a write may have
 *   passed its buffer; then the destination may give the space back, but for what
 *   was never part of the point in time, which is an earlier backup's. Readers of
 *   the range are waited for, new ones fail.
 *
 * Locks and contexts
 *   bk_reader_begin() and, for an op's buffer, bk_reader_end(): process, do not
 *   sleep. bk_reader_end() for a device: any context, interrupts included; then
 *   bk_pit_unread(), in process context, if it says so. Discards sleep.
 *   A cluster's state is looked at, and its reader noted, in one section of
 *   bucket->lock; see pit.h.
 */

#ifndef BK_READER_H
#define BK_READER_H

#include "pit.h"

struct bk_op;

enum bk_source {
	BK_SOURCE_NONE,		/* it can't be read */
	BK_SOURCE_ORIGIN,
	BK_SOURCE_DEST,
	BK_SOURCE_MEMORY,	/* bk_reader_copy() */
	BK_SOURCE_FLEECE,
	BK_SOURCES,
};

/**
 * struct bk_reader - a read of a run of clusters that are to be had in one place
 * @list:	in its bucket's readers, if it is of a device; reader_lock
 * @pit:	the point in time; the reader's owner holds it
 * @source:	where
 * @dest:	the destination or fleece device that is read, as its user, or NULL
 * @awaited:	an op waits for its end; reader_lock
 * @first:	first cluster
 * @end:	end, exclusive
 * @base:	of which op the buffer is, a reference
 */
struct bk_reader {
	struct list_head list;
	struct bk_pit *pit;
	enum bk_source source;
	struct bk_dest *dest;
	bool awaited;
	unsigned long first;
	unsigned long end;
	struct bk_op *base;
};

unsigned int bk_reader_begin(struct bk_reader *r, struct bk_pit *pit,
			     sector_t start, sector_t end);
void bk_reader_copy(struct bk_reader *r, struct bio *bio);
bool bk_reader_end(struct bk_reader *r, blk_status_t *status);

bool bk_readers_await(struct bk_bucket *bucket, unsigned long first,
		      unsigned long end, struct bk_dest *dest);

int bk_pit_cover(struct bk_pit *pit);
int bk_pit_discard(struct bk_pit *pit, sector_t start, sector_t end,
		   unsigned long patience);

/* Could there be any reader of a device? bucket->lock is held: none is added. */
static inline bool bk_readers_exist(const struct bk_bucket *bucket)
{
	return !list_empty(&bucket->readers);
}

#endif
