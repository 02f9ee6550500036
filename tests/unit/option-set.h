/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the tests of options share.
 *
 * A refusal names the first word that is bad, and neither that word nor any
 * after it is stored. Words before it may have been: the contract leaves that
 * open, and callers throw the structure away.
 */

#ifndef UNIT_OPTION_SET_H
#define UNIT_OPTION_SET_H

#include "options.h"

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

#define ERROR_MAX	1024

/* What is filled; guards on both sides of all. */
struct values {
	u64 guard1;
	u64 speed;
	u64 speed_limit;
	u64 any;
	u64 cluster;
	u64 any_power;
	u64 unmap;
	u64 sync;
	const char *target;
	const char *note;
	u64 guard2;
};

enum { SPEED, SPEED_LIMIT, ANY, CLUSTER, ANY_POWER, UNMAP, SYNC, TARGET, NOTE,
       OPTIONS };

#define SYNCS	4

extern const char *const syncs[SYNCS + 1];
extern const struct bk_option options[OPTIONS];
/* No value that a test gives. */
extern const struct values before;

/* Words "key=value", or as in tables @pairs of words. */
int parse(bool pairs, void *into, unsigned int argc, char **argv,
	  u64 *given, char *error, size_t size);

/* Is @word there, and not as a part of a longer name? */
bool names(const char *text, const char *word);

#endif
