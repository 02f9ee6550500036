/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the torture program share: how it ends when it has trouble
 * itself, and chance. Not for history.c and readers.c, which stand alone.
 */

#ifndef TORTURE_H
#define TORTURE_H

#include <stdint.h>
#include <time.h>

/* Says what, and errno; the program ends with status 2. */
void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

static inline uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* The next of a sequence that @state decides; @state is never 0. */
static inline uint64_t chance(uint64_t *state, uint64_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (*state * 0x2545f4914f6cdd1dull >> 16) % below;
}

#endif
