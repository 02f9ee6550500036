/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Readers of a view, while others write to what it is a view of.
 *
 * Some read it from end to end, over and over, others at random. The first that
 * is read of a sector is kept; whatever is read of it later, by whomever, must be
 * the same. So what is kept is what the view showed all the time, and can be
 * looked at as a destination is (history_find_cut()).
 */

#ifndef READERS_H
#define READERS_H

#include <stdbool.h>
#include <stdint.h>

/* Opens @dev. 0, or -1 and errno. */
int readers_start(const char *dev, uint64_t sectors, unsigned int threads,
		  uint64_t seed);

/* From here on reads may fail; those that don't are as good as before. */
void readers_allow_errors(void);

/* How many sectors have been read, in all rounds. */
uint64_t readers_sectors(void);
/* How many reads have failed in this round. */
uint64_t readers_errors(void);

/* Has each sector been read? */
bool readers_saw_all(void);

/*
 * Ends them. Returns what was kept, as a file; -1: a sector read differently, or a
 * read failed that must not, which has been printed.
 */
int readers_stop(void);

#endif
