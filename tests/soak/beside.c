// SPDX-License-Identifier: GPL-2.0-only
/*
 * beside DEVICE OFFSET STEP OTHER COUNT: writes 4 KiB to DEVICE, then to OTHER, and so
 * on, COUNT times, each time STEP bytes further (0: at the same place), directly. Prints
 * what a write takes on both, ns: that than which three of four take longer. What else
 * the machine or its host has to do makes many writes slow, on both, and none fast.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static int later(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static uint8_t block[BLOCK] __attribute__((aligned(BLOCK)));
	unsigned long long offset, step;
	uint64_t *took[2], began;
	size_t i, n;
	int fd[2], k;

	if (argc != 6)
		return 2;
	offset = strtoull(argv[2], NULL, 0);
	step = strtoull(argv[3], NULL, 0);
	n = strtoull(argv[5], NULL, 0);
	fd[0] = open(argv[1], O_WRONLY | O_DIRECT);
	fd[1] = open(argv[4], O_WRONLY | O_DIRECT);
	took[0] = calloc(n, sizeof(uint64_t));
	took[1] = calloc(n, sizeof(uint64_t));
	if (fd[0] < 0 || fd[1] < 0 || !n || !took[0] || !took[1]) {
		perror("beside");
		return 2;
	}
	for (i = 0; i < n; i++) {
		memset(block, (int)i + 1, sizeof(block));
		for (k = 0; k < 2; k++) {
			began = now();
			if (pwrite(fd[k], block, BLOCK, k ? 0 : offset + i * step) != BLOCK) {
				perror(argv[k ? 4 : 1]);
				return 1;
			}
			took[k][i] = now() - began;
		}
	}
	for (k = 0; k < 2; k++)
		qsort(took[k], n, sizeof(uint64_t), later);
	printf("%llu %llu\n", (unsigned long long)took[0][n / 4],
	       (unsigned long long)took[1][n / 4]);
	return 0;
}
