/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Writers: threads that write, zero and discard all over a filter, as the history
 * (history.h) has it. A writer does one thing after the other. How it writes is
 * mixed:
 *
 *   direct	One bio, of 512 bytes to 1 MiB.
 *   fua	The same, with RWF_DSYNC: a bio with FUA, then a flush.
 *   cached	Through the page cache, then fdatasync() or sync_file_range(). It is
 *		submitted when it is written, and complete when it is synced; each
 *		page gets to the device by itself, some time between.
 *   uring	By io_uring, which tries without waiting first, as applications do. What
 *		fails with EAGAIN while it is submitted is tried again in a thread
 *		that may wait; what does later, in another context, the kernel does
 *		not try again: EAGAIN, and it was not done.
 *   nowait	The same, and that was all: if it fails with EAGAIN it was not done.
 *
 * The writers of direct and of cached data never use a page at the same time, as a
 * page is what the history has them take (UNIT). Where there are cached ones,
 * what is discarded are whole pages.
 */

#ifndef WRITERS_H
#define WRITERS_H

#include "history.h"

/* What is wanted, of 1000 operations; what remains is direct. */
struct writers_mix {
	unsigned int zeroes;
	unsigned int discards;
	unsigned int fua;
	unsigned int cached;
	unsigned int uring;
	unsigned int nowait;
	unsigned int pace;	/* us a thread rests after a write, at most */
};

/* Makes @threads of them for @device, resting. */
void writers_create(struct history *h, const char *device, uint64_t sectors,
		    unsigned int threads, uint64_t seed,
		    const struct writers_mix *mix);

void writers_start(void);

/* Returns when nothing is in flight any more. */
void writers_stop(void);

/* Ends them, and says how much of what there was. */
void writers_end(void);

#endif
