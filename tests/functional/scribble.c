// SPDX-License-Identifier: GPL-2.0-only
/*
 * scribble DEVICE COUNT: writes to the first MiB of a device, directly, from pages
 * that another thread keeps changing while each write is in flight. What is to be
 * found there afterwards nobody can say; but on both legs of a mirror, the same.
 */

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SIZE	(1 << 20)
#define CHUNK	(64 << 10)

static uint64_t *words;
static atomic_bool over;

static void *scribbler(void *arg)
{
	volatile uint64_t *to = words;
	uint64_t n = 0;

	(void)arg;
	while (!over)
		for (int i = 0; i < CHUNK / 8; i++)
			to[i] = ++n;
	return NULL;
}

int main(int argc, char **argv)
{
	int fd = argc == 3 ? open(argv[1], O_WRONLY | O_DIRECT) : -1;
	pthread_t thread;

	if (fd < 0) {
		perror("scribble DEVICE COUNT");
		return 2;
	}
	words = aligned_alloc(4096, CHUNK);
	if (!words || pthread_create(&thread, NULL, scribbler, NULL))
		return 2;
	for (int i = 0; i < atoi(argv[2]); i++) {
		if (pwrite(fd, words, CHUNK, (off_t)i * CHUNK % SIZE) != CHUNK) {
			perror(argv[1]);
			return 1;
		}
	}
	over = true;
	pthread_join(thread, NULL);
	return close(fd) != 0;
}
