// SPDX-License-Identifier: GPL-2.0-only
/*
 * faults: what happens if this one fails? Sweeps over every allocation and every I/O
 * of what the module does, one failing at a time, mostly on the sanitizer kernel.
 *
 *   faults [--verbose] [--only N] [--thorough] SWEEP...
 *
 * A sweep is tables, messages, transactions, workers, io, or "io LIFE" for one of io.c. --only: this point
 * of each. Of each: a guest's write never fails and reads are right; what was asked
 * for is done, or refused with nothing changed; a job that says it has completed has
 * copied its point in time; all can be removed. Leaks, and use of what was freed,
 * are for kmemleak and KASAN.
 */

#include "lab.h"
#include "sweeps.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void usage(void)
{
	fprintf(stderr, "faults [--verbose] [--only N] [--thorough] tables|messages|transactions|workers|io [LIFE]...\n");
	exit(2);
}

static void skip(const char *why)
{
	printf("1..0 # SKIP %s\n", why);
	exit(0);
}

int main(int argc, char **argv)
{
	bool thorough = false;
	int i;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--verbose"))
			verbose = true;
		else if (!strcmp(argv[i], "--thorough"))
			thorough = true;
		else if (i + 1 < argc && !strcmp(argv[i], "--only"))
			only = atoi(argv[++i]);
		else
			usage();
	}
	if (i == argc)
		usage();
	devices_init();
	for (; i < argc; i++) {
		if (!strcmp(argv[i], "io")) {
			const char *life = i + 1 < argc ? argv[i + 1] : NULL;

			if (!io_init())
				skip("there is no target nth");
			if (sweep_io(life, thorough))
				i += !!life;
			else if (!sweep_io(NULL, thorough))
				usage();
			io_exit();
		} else if (!allocations_init()) {
			skip("this kernel injects no faults");
		} else if (!strcmp(argv[i], "tables")) {
			sweep_tables(thorough);
		} else if (!strcmp(argv[i], "messages")) {
			sweep_messages();
		} else if (!strcmp(argv[i], "transactions")) {
			sweep_transactions();
		} else if (!strcmp(argv[i], "workers")) {
			if (!io_init())
				skip("there is no target nth");
			sweep_workers(thorough);
			io_exit();
		} else {
			usage();
		}
	}
	return finish();
}
