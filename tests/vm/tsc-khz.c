// SPDX-License-Identifier: GPL-2.0-only
/* Prints the frequency of this machine's TSC in kHz, measured for 0.3 s. */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

struct instant {
	double ns;
	double ticks;
};

/* Both clocks at once: of many looks, the one in between which least happened. */
static struct instant look(void)
{
	struct instant best = { 0 };
	uint64_t least = UINT64_MAX, before, after;
	struct timespec t;
	int i;

	for (i = 0; i < 1000; i++) {
		before = __rdtsc();
		clock_gettime(CLOCK_MONOTONIC_RAW, &t);
		after = __rdtsc();
		if (after - before >= least)
			continue;
		least = after - before;
		best.ns = t.tv_sec * 1e9 + t.tv_nsec;
		best.ticks = before + least / 2;
	}
	return best;
}

int main(void)
{
	struct instant a, b;

	a = look();
	nanosleep(&(struct timespec){ 0, 300000000 }, NULL);
	b = look();
	printf("%.0f\n", (b.ticks - a.ticks) / (b.ns - a.ns) * 1e6);
	return 0;
}
