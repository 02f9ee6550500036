// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is random, what is told, and bytes.
 */

#include "fuzz-metadata.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static u64 state;

static u64 mix(u64 x)
{
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ULL;
	x = (x ^ x >> 32) * 0xd6e8feb86659fd93ULL;
	return x ^ x >> 32;
}

void chance_init(u64 a, u64 b)
{
	state = mix(seed + mix(a + mix(b + 1)));
}

u64 chance(void)
{
	state += 0x9e3779b97f4a7c15ULL;
	return mix(state);
}

u64 below(u64 limit)
{
	return chance() % limit;
}

bool check(bool ok, const char *file, int line, const char *fmt, ...)
{
	va_list args;

	if (ok || ++failures > FAILURES_SHOWN)
		return ok;
	printf("# --seed %llu --case %lu %s: %s:%d: ", seed, case_nr,
	       kinds[kind].name, file, line);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	return false;
}

void died(void)
{
	printf("Bail out! --seed %llu --case %lu %s\n", seed, case_nr,
	       kinds[kind].name);
	fflush(stdout);
}

void hangs(int sig)
{
	(void)sig;
	died();
	_exit(1);
}

void *need(size_t size)
{
	void *p = calloc(1, size ?: 1);

	if (!p)
		abort();
	return p;
}

u64 get(const u8 *p, unsigned int bytes)
{
	u64 v = 0;

	while (bytes--)
		v = v << 8 | p[bytes];
	return v;
}

void put(u8 *p, u64 v, unsigned int bytes)
{
	for (; bytes--; v >>= 8)
		*p++ = v;
}

void count(bool good)
{
	if (good)
		accepted++;
	else
		refused++;
}
