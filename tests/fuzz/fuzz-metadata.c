// SPDX-License-Identifier: GPL-2.0-only
/*
 * Damages metadata devices and reads them as the kernel and the utility do.
 * Result: TAP version 13, a line for each part that is damaged.
 *
 *   fuzz-metadata [--seed N] [--cases N] [--case N] [kind...]
 *
 * --seed:	of all that is random; printed at the start
 * --cases:	how many, all kinds together
 * --case:	only this one of each kind, as it was printed when it failed
 * kind:	root, lease, hot, page or device; all if none is given
 *
 * A case takes a sound device and changes some of its blocks. In some cases the
 * checksums of what was changed are made good again, so that what they protect
 * is looked at. Whatever is accepted then must be something that can be; where
 * no checksum was made good it must also be what somebody wrote there.
 */

#include "fuzz-metadata.h"

#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Cases that share a device. */
#define DEVICE_CASES	2048
/* A case that runs for so many seconds hangs. */
#define CASE_SECONDS	20

const struct kind_of_damage kinds[KINDS] = {
	[ROOT] = { "root", "copies of the root", 40 },
	[LEASES] = { "lease", "copies of the lease", 10 },
	[HOTS] = { "hot", "blocks of the hot map", 15 },
	[PAGES] = { "page", "pages", 20 },
	[DEVICE] = { "device", "devices", 15 },
};

_Thread_local struct shim_trace shim_trace;

u64 seed = 20240229;
static long cases = 1000000;
static long one_case = -1;

enum kind kind;
unsigned long case_nr;
unsigned long failures;
unsigned long accepted;
unsigned long refused;
unsigned long bitmaps_accepted;
unsigned long bitmaps_refused;

static void (*const run_case[KINDS])(void) = {
	[ROOT] = case_root,
	[LEASES] = case_lease,
	[HOTS] = case_hot,
	[PAGES] = case_page,
	[DEVICE] = case_device,
};

static bool run_kind(unsigned int line)
{
	unsigned long end = cases * kinds[kind].percent / 100;
	unsigned long device = ~0UL;

	failures = accepted = refused = 0;
	bitmaps_accepted = bitmaps_refused = 0;
	case_nr = one_case >= 0 ? one_case : 0;
	if (one_case >= 0)
		end = case_nr + 1;
	for (; case_nr < end; case_nr++) {
		alarm(CASE_SECONDS);
		if (case_nr / DEVICE_CASES != device) {
			device = case_nr / DEVICE_CASES;
			make_device(device);
		}
		chance_init(kind, case_nr);
		run_case[kind]();
		restore();
	}
	alarm(0);
	if (failures > FAILURES_SHOWN)
		printf("# %lu failures in all\n", failures);
	if (one_case < 0) {
		CHECK(accepted, "nothing was accepted");
		CHECK(refused, "nothing was refused");
		CHECK(kind != DEVICE || (bitmaps_accepted && bitmaps_refused),
		      "no bitmap was accepted, or none was refused");
	}
	printf("%sok %u - %s: %lu cases; of damaged %s %lu accepted, %lu refused",
	       failures ? "not " : "", line, kinds[kind].name,
	       one_case < 0 ? end : 1, kinds[kind].what, accepted, refused);
	if (kind == DEVICE)
		printf("; of bitmaps %lu and %lu", bitmaps_accepted,
		       bitmaps_refused);
	putchar('\n');
	return !failures;
}

static void usage(void)
{
	fputs("Usage: fuzz-metadata [--seed N] [--cases N] [--case N] [root|lease|hot|page|device]...\n",
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

static enum kind kind_of(const char *name)
{
	unsigned int i;

	for (i = 0; i < KINDS; i++)
		if (!strcmp(kinds[i].name, name))
			return i;
	usage();
	return KINDS;
}

/* Which kinds are asked for: a mask. */
static unsigned int take_args(char **argv)
{
	unsigned int asked = 0;

	for (argv++; *argv; argv++) {
		if (!strcmp(*argv, "--seed"))
			seed = number(*++argv);
		else if (!strcmp(*argv, "--cases"))
			cases = number(*++argv);
		else if (!strcmp(*argv, "--case"))
			one_case = number(*++argv);
		else
			asked |= 1U << kind_of(*argv);
	}
	return asked ?: (1U << KINDS) - 1;
}

int main(int argc, char **argv)
{
	unsigned int asked = take_args(argv), line = 0;
	bool good = true;

	(void)argc;
	/* What a sanitizer stops must have been said before. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	__sanitizer_set_death_callback(died);
	signal(SIGALRM, hangs);
	printf("TAP version 13\n1..%u\n", __builtin_popcount(asked));
	printf("# seed %llu (fuzz-metadata --seed)\n", seed);
	for (kind = 0; kind < KINDS; kind++)
		if (asked & 1U << kind)
			good &= run_kind(++line);
	free_state(&old);
	free_state(&now);
	free(image);
	return !good;
}
