/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The history of a device under torture: which write put what where, and when.
 *
 * Writers take the units they are about to change (history_take), so no two
 * writes of one sector are ever in flight together: each sector has versions in
 * one order. A write is entered before it is submitted and finished after it
 * has completed; both moments are kept.
 *
 * A point in time is a set of writes. It is one instant of the history if
 *   - of each thread it holds the first k writes (a thread writes one after
 *     the other), and of the next one, if that is of pages, any of these,
 *   - with a write it holds every write that had completed before that one was
 *     submitted,
 *   - it holds all that had completed before the instant could be, and none
 *     that was submitted after it must have been,
 *   - every sector reads as the last of its versions that is in the set.
 * history_find_cut() finds the smallest such set, or says which sector can't be
 * explained. Each condition only ever adds writes to the smallest set, so adding
 * what they ask for until nothing changes is exact.
 */

#ifndef HISTORY_H
#define HISTORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define SECTOR		512u
#define UNIT		8u	/* sectors that are taken together: a page */
#define MAX_SECTORS	2048u	/* of one write */
#define MAX_THREADS	64

enum kind {
	K_WRITE,	/* sectors carry a stamp */
	K_PAGES,	/* the same; each page of them is written by itself */
	K_ZERO,		/* sectors read as zeroes */
	K_DISCARD,	/* sectors read as zeroes or as before */
};

/* What a written sector carries, over and over. */
struct stamp {
	uint32_t magic;
	uint16_t device;
	uint16_t thread;
	uint64_t seq;
	uint64_t sector;
	uint32_t salt;
	uint32_t check;
};

struct history;

struct history *history_create(unsigned int device, uint64_t sectors,
			       unsigned int threads, unsigned int writes);

/* Forget all writes; what @fd holds now is where the next round begins. */
int history_rebase(struct history *h, int fd);

bool history_take(struct history *h, uint64_t sector, unsigned int nr);
void history_give(struct history *h, uint64_t sector, unsigned int nr);

/* False: the round's writes are used up. */
bool history_enter(struct history *h, unsigned int thread, enum kind kind,
		   uint64_t sector, unsigned int nr, uint64_t now);
void history_finish(struct history *h, unsigned int thread, uint64_t now);
/* Instead of that: it was not done. What it would have left is nobody's. */
void history_withdraw(struct history *h, unsigned int thread);
void history_fill(struct history *h, unsigned int thread, void *buf);

/*
 * Is what @fd holds one instant of the history between @after and @before?
 * Prints what was found.
 */
bool history_find_cut(struct history *h, int fd, uint64_t after,
		      uint64_t before, const char *what);

/* Does @fd hold the last version of every sector? */
bool history_is_latest(struct history *h, int fd, const char *what);

uint64_t history_writes(struct history *h);

#endif
