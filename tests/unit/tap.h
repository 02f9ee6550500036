/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tests of the module's pure parts in userspace: what they share.
 *
 * A test is a function that calls CHECK(). It goes on after a failure, and all
 * failures but the first few of a test are only counted. Not for use by more
 * than one thread at a time.
 */

#ifndef UNIT_TAP_H
#define UNIT_TAP_H

#include <linux/types.h>

/**
 * struct unit_test - one line of the result
 * @name:	what is shown to be so; NULL ends an array
 * @fn:		the test
 */
struct unit_test {
	const char *name;
	void (*fn)(void);
};

extern const struct unit_test unit_jobstate[];
extern const struct unit_test unit_rate[];
extern const struct unit_test unit_options[];
extern const struct unit_test unit_options_random[];
extern const struct unit_test unit_map[];
extern const struct unit_test unit_bits[];
extern const struct unit_test unit_root[];
extern const struct unit_test unit_area[];
extern const struct unit_test unit_page[];
extern const struct unit_test unit_witness[];
extern const struct unit_test unit_words[];

/**
 * struct unit_args - from the command line
 * @seed:	of all that is random
 * @cases:	how many random cases of options
 * @one_case:	the only one of them to run, if >= 0
 */
struct unit_args {
	u64 seed;
	long cases;
	long one_case;
};

extern struct unit_args unit_args;

/* A line of diagnosis. */
void unit_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Returns @ok; the rest says what was wrong. */
bool unit_check(bool ok, const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#define CHECK(ok, ...)	unit_check(ok, __FILE__, __LINE__, __VA_ARGS__)

/* A random sequence. Different @stream: a different one. */
struct unit_random {
	u64 state;
};

void unit_random_init(struct unit_random *r, u64 seed, u64 stream);
u64 unit_random(struct unit_random *r);
/* 0 to @limit - 1 */
u64 unit_below(struct unit_random *r, u64 limit);

#endif
