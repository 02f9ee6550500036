// SPDX-License-Identifier: GPL-2.0-only
/*
 * keepers DEVICE OFFSET: threads that share a device from an offset on, in bytes, and
 * each of which writes to its part of it, and reads there what it has written last:
 * whichever sector it looks at, never an older one. Until SIGINT; then all of it is
 * looked at once more, and the number of writes is printed. "begins": it takes signals.
 */

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define KEEPERS	4
#define SECTOR	512
#define WORDS	(SECTOR / 8)
#define CHUNK	64	/* sectors of one read or write, at most */

struct keeper {
	pthread_t thread;
	uint64_t first;		/* its sectors */
	uint64_t nr;
	uint64_t *version;	/* of each */
	uint64_t writes;
	uint64_t seed;
	uint64_t *buffer;
};

static const char *device;
static int fd;
static atomic_bool over, failed;

static void end(int signal)
{
	(void)signal;
	over = true;
}

static uint64_t mix(uint64_t n)
{
	n = (n ^ n >> 31) * 0x9e3779b97f4a7c15;
	return n ^ n >> 29;
}

static uint64_t below(struct keeper *k, uint64_t n)
{
	return mix(k->seed++) % n;
}

static uint64_t word_of(uint64_t sector, uint64_t version, unsigned int i)
{
	return i ? mix(sector * WORDS + i) ^ version : version;
}

static bool put(struct keeper *k, uint64_t at, uint64_t nr)
{
	uint64_t i;
	unsigned int w;

	k->writes++;
	for (i = 0; i < nr; i++)
		for (w = 0; w < WORDS; w++)
			k->buffer[i * WORDS + w] = word_of(k->first + at + i, k->writes, w);
	if (pwrite(fd, k->buffer, nr * SECTOR, (k->first + at) * SECTOR) != (ssize_t)(nr * SECTOR)) {
		perror(device);
		return false;
	}
	for (i = 0; i < nr; i++)
		k->version[at + i] = k->writes;
	return true;
}

static bool look(struct keeper *k, uint64_t at, uint64_t nr)
{
	uint64_t i;
	unsigned int w;

	if (pread(fd, k->buffer, nr * SECTOR, (k->first + at) * SECTOR) != (ssize_t)(nr * SECTOR)) {
		perror(device);
		return false;
	}
	for (i = 0; i < nr; i++)
		for (w = 0; w < WORDS; w++) {
			uint64_t is = k->buffer[i * WORDS + w];
			uint64_t want = word_of(k->first + at + i, k->version[at + i], w);

			if (is != want) {
				fprintf(stderr, "sector %ju: write %ju of it, now it holds %ju (word %u)\n",
					(uintmax_t)(k->first + at + i), (uintmax_t)k->version[at + i],
					(uintmax_t)(w ? is ^ want ^ k->version[at + i] : is), w);
				return false;
			}
		}
	return true;
}

static bool all(struct keeper *k, bool (*what)(struct keeper *k, uint64_t at, uint64_t nr))
{
	uint64_t at, n;

	for (at = 0; at < k->nr; at += n) {
		n = k->nr - at < CHUNK ? k->nr - at : CHUNK;
		if (!what(k, at, n))
			return false;
	}
	return true;
}

static void *keep(void *arg)
{
	struct keeper *k = arg;
	bool ok = all(k, put);

	while (ok && !over && !failed) {
		uint64_t nr = 1 + below(k, below(k, 4) ? 8 : CHUNK);
		uint64_t at = below(k, k->nr - nr + 1);

		ok = below(k, 2) ? put(k, at, nr) : look(k, at, nr);
		/* There are others, too, on one CPU perhaps. */
		usleep(5000);
	}
	if (!ok || !all(k, look))
		failed = true;
	return NULL;
}

int main(int argc, char **argv)
{
	static struct keeper keepers[KEEPERS];
	uint64_t from, nr, writes = 0;
	unsigned int i;

	fd = argc == 3 ? open(argv[1], O_RDWR | O_DIRECT) : -1;
	if (fd < 0) {
		perror("keepers DEVICE OFFSET");
		return 2;
	}
	device = argv[1];
	signal(SIGINT, end);
	puts("begins");
	fflush(stdout);
	from = strtoull(argv[2], NULL, 0) / SECTOR;
	nr = (lseek(fd, 0, SEEK_END) / SECTOR - from) / KEEPERS;
	for (i = 0; i < KEEPERS; i++) {
		struct keeper *k = &keepers[i];

		k->first = from + i * nr;
		k->nr = nr;
		k->seed = (uint64_t)i << 32;
		k->version = calloc(nr, sizeof(*k->version));
		k->buffer = aligned_alloc(4096, CHUNK * SECTOR);
		if (!k->version || !k->buffer || pthread_create(&k->thread, NULL, keep, k))
			return 2;
	}
	for (i = 0; i < KEEPERS; i++) {
		pthread_join(keepers[i].thread, NULL);
		writes += keepers[i].writes;
	}
	printf("%ju writes\n", (uintmax_t)writes);
	return failed;
}
