// SPDX-License-Identifier: GPL-2.0-only
/*
 * scan DIR: how long a job's start looks through a clean bitmap of 16 TiB with
 * granules of 64 KiB, on this host: the module's own loop, built here. Writes
 * "scan.ms MILLISECONDS" to DIR/values, once for each of five rounds.
 */

#include "../../dm-backup/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WORDS	((16ULL << 40) / 65536 / 64)
#define STEP	4096

_Thread_local struct shim_trace shim_trace;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
	unsigned long *pending = malloc(WORDS * sizeof(long));
	unsigned long *only = malloc(WORDS * sizeof(long));
	unsigned long i, left, round;
	char path[4096];
	double began;
	FILE *out;

	snprintf(path, sizeof(path), "%s/values", argc == 2 ? argv[1] : ".");
	out = fopen(path, "w");
	if (!pending || !only || !out)
		return 1;
	memset(only, 0, WORDS * sizeof(long));
	only[WORDS - 1] = 1;
	for (round = 0; round < 5; round++) {
		/* as the start has just made it */
		memset(pending, 0xff, WORDS * sizeof(long));
		began = now_ms();
		for (left = i = 0; i < WORDS; i += STEP)
			left += bk_map_keep_alone(pending + i, only + i, STEP);
		fprintf(out, "scan.ms %.3f\n", now_ms() - began);
		if (left != 1)
			return 1;
	}
	return fclose(out);
}
