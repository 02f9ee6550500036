/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What else happens to a filter while a round of torture lasts: a thread suspends
 * and resumes it, exchanges its table for the same one, and sends verbs to the job
 * "torture", whatever that is at just then.
 *
 * It does a limited number of things in a round, so a round ends; what it does is
 * undone: the filter is live, and the job is not paused, when meanwhile_stop()
 * returns.
 */

#ifndef MEANWHILE_H
#define MEANWHILE_H

#include <stdint.h>

enum {
	/* What may happen. */
	M_ANY		= 1,	/* what no job may end by */
	M_FLUSH		= 2,	/* suspends that flush: a job may break by one */
	M_CANCEL	= 4,	/* the job may be cancelled, once */
};

/* Makes it for a filter, resting; it does @acts things in a round. */
void meanwhile_create(const char *filter, uint64_t seed, unsigned int acts);

void meanwhile_start(unsigned int what);

/* Which of these happened since then. */
unsigned int meanwhile_stop(void);

/* Says how much of what there was, in all rounds. */
void meanwhile_print(void);

#endif
