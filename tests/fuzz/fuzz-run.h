/* SPDX-License-Identifier: GPL-2.0-only */
/* What a fuzzer is asked for. */

#ifndef FUZZ_RUN_H
#define FUZZ_RUN_H

#include <sanitizer/common_interface_defs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/**
 * struct fuzz_run - its options
 * @seed:	--seed: of all that is random
 * @cases:	--cases: how many
 * @only:	--case: this one, or -1
 */
struct fuzz_run {
	unsigned long long seed;
	long cases;
	long only;
};

/* @died says which case it was when a sanitizer ends the program. */
static inline void fuzz_begin(struct fuzz_run *run, int argc, char **argv,
			      void (*died)(void))
{
	int i;

	for (i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--seed"))
			run->seed = strtoull(argv[i + 1], NULL, 0);
		else if (!strcmp(argv[i], "--cases"))
			run->cases = atol(argv[i + 1]);
		else if (!strcmp(argv[i], "--case"))
			run->only = atol(argv[i + 1]);
	}
	/* What a sanitizer stops must have been said before. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	__sanitizer_set_death_callback(died);
}

/* Is this case to be run? */
static inline bool fuzz_wants(const struct fuzz_run *run, long nr)
{
	return run->only < 0 || nr == run->only;
}

#endif
