// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs the tests of the module's pure parts. Result: TAP version 13.
 *
 *   unit [--seed N] [--cases N] [--case N] [room...]
 *
 * --seed:	of all that is random; printed at the start
 * --cases:	how many random cases of options
 * --case:	only this one of them, as it was printed when it failed
 * room:	jobstate, rate, options, random-options, map, bits, root, area,
 *		page or witness (of metadata devices), or words (of
 *		transactions); all if none is given
 */

#include "tap.h"

#include <linux/atomic.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOMS		11
#define FAILURES_SHOWN	8
/* A test that runs for so many seconds hangs. */
#define TEST_SECONDS	300

static const struct {
	const char *name;
	const struct unit_test *tests;
} rooms[ROOMS] = {
	{ "jobstate", unit_jobstate },
	{ "rate", unit_rate },
	{ "options", unit_options },
	{ "random-options", unit_options_random },
	{ "map", unit_map },
	{ "bits", unit_bits },
	{ "root", unit_root },
	{ "area", unit_area },
	{ "page", unit_page },
	{ "witness", unit_witness },
	{ "words", unit_words },
};

_Thread_local struct shim_trace shim_trace;

struct unit_args unit_args = {
	.seed		= 20240229,
	.cases		= 250000,
	.one_case	= -1,
};

/* of the test that is running */
static unsigned long failures;

/* A line stays a line of plain text, whatever bytes are quoted in it. */
__attribute__((format(printf, 1, 0)))
static void say(const char *fmt, va_list args)
{
	char text[2048];
	const char *p;

	vsnprintf(text, sizeof(text), fmt, args);
	for (p = text; *p; p++)
		printf(*p >= ' ' && *p < 0x7f ? "%c" : "\\x%02x",
		       (unsigned char)*p);
	putchar('\n');
}

void unit_say(const char *fmt, ...)
{
	va_list args;

	fputs("# ", stdout);
	va_start(args, fmt);
	say(fmt, args);
	va_end(args);
}

bool unit_check(bool ok, const char *file, int line, const char *fmt, ...)
{
	va_list args;

	if (ok || ++failures > FAILURES_SHOWN)
		return ok;
	printf("# %s:%d: ", file, line);
	va_start(args, fmt);
	say(fmt, args);
	va_end(args);
	return ok;
}

/* A counter, scrambled: each step and each seed gives an unrelated number. */
static u64 scramble(u64 x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

void unit_random_init(struct unit_random *r, u64 seed, u64 stream)
{
	r->state = scramble(seed) ^ scramble(~stream);
}

u64 unit_random(struct unit_random *r)
{
	r->state += 0x9e3779b97f4a7c15ULL;
	return scramble(r->state);
}

u64 unit_below(struct unit_random *r, u64 limit)
{
	return unit_random(r) % limit;
}

static void usage(void)
{
	fputs("Usage: unit [--seed N] [--cases N] [--case N] [jobstate|rate|options|random-options|map|bits|root|area|page|witness|words]...\n",
	      stderr);
	exit(2);
}

static u64 number(const char *s)
{
	char *end;
	u64 n = s ? strtoull(s, &end, 0) : 0;

	if (!s || !*s || *end)
		usage();
	return n;
}

static int room_of(const char *name)
{
	int i;

	for (i = 0; i < ROOMS; i++)
		if (!strcmp(rooms[i].name, name))
			return i;
	usage();
	return -1;
}

/* Which rooms are asked for: a mask. */
static unsigned int take_args(char **argv)
{
	unsigned int asked = 0;

	for (argv++; *argv; argv++) {
		if (!strcmp(*argv, "--seed"))
			unit_args.seed = number(*++argv);
		else if (!strcmp(*argv, "--cases"))
			unit_args.cases = number(*++argv);
		else if (!strcmp(*argv, "--case"))
			unit_args.one_case = number(*++argv);
		else
			asked |= 1U << room_of(*argv);
	}
	return asked ?: (1U << ROOMS) - 1;
}

int main(int argc, char **argv)
{
	unsigned int asked = take_args(argv);
	const struct unit_test *t;
	unsigned int n = 0;
	bool failed = false;
	int i;

	(void)argc;
	/* What a sanitizer stops must have been said before. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; i < ROOMS; i++)
		for (t = rooms[i].tests; asked & (1U << i) && t->name; t++)
			n++;
	printf("TAP version 13\n1..%u\n", n);
	unit_say("seed %llu (unit --seed)", unit_args.seed);
	n = 0;
	for (i = 0; i < ROOMS; i++)
		for (t = rooms[i].tests; asked & (1U << i) && t->name; t++) {
			failures = 0;
			alarm(TEST_SECONDS);
			t->fn();
			if (failures > FAILURES_SHOWN)
				unit_say("%lu failures in all", failures);
			printf("%sok %u - %s: %s\n", failures ? "not " : "",
			       ++n, rooms[i].name, t->name);
			failed |= failures;
		}
	return failed;
}
