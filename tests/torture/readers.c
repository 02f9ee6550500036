// SPDX-License-Identifier: GPL-2.0-only
/*
 * Readers of a view. The contract is in readers.h.
 */

#include "readers.h"
#include "history.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_READERS	16
#define MOST		(1u << 20)	/* bytes of one read */
#define LOCKS		64

static struct {
	int fd;
	int kept_fd;
	uint8_t *kept;
	atomic_bool *seen;		/* of each sector */
	uint64_t sectors;
	unsigned int block;		/* sectors per logical block of the view */
	atomic_ullong nr_seen;
	atomic_ullong errors;
	atomic_bool quit;
	atomic_bool may_fail;
	atomic_bool failed;
	unsigned int threads;
	pthread_t thread[MAX_READERS];
	uint64_t seed[MAX_READERS];
} all;

static pthread_mutex_t locks[LOCKS];	/* of kept and seen, by sector */
static atomic_ullong total;

static uint64_t rnd(uint64_t *state, uint64_t below)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (*state * 0x2545f4914f6cdd1dull >> 16) % below;
}

static void show(const char *what, const uint8_t *data)
{
	struct stamp s;

	memcpy(&s, data, sizeof(s));
	printf("# %s: magic %x thread %u seq %llu sector %llu\n", what, s.magic,
	       s.thread, (unsigned long long)s.seq,
	       (unsigned long long)s.sector);
}

/* The first look at a sector is kept, any other is compared. */
static void look(uint64_t sector, const uint8_t *data)
{
	pthread_mutex_t *lock = &locks[sector / 8 % LOCKS];
	uint8_t *kept = all.kept + sector * SECTOR;
	bool same = true;

	pthread_mutex_lock(lock);
	if (all.seen[sector]) {
		same = !memcmp(kept, data, SECTOR);
	} else {
		memcpy(kept, data, SECTOR);
		all.seen[sector] = true;
		all.nr_seen++;
	}
	pthread_mutex_unlock(lock);
	if (!same && !atomic_exchange(&all.failed, true)) {
		printf("# sector %llu of the view reads differently\n",
		       (unsigned long long)sector);
		show("first", kept);
		show("now", data);
	}
}

static void read_once(uint8_t *buf, uint64_t sector, unsigned int nr)
{
	ssize_t n = pread(all.fd, buf, nr * (size_t)SECTOR, sector * SECTOR);
	unsigned int i;

	if (n < 0 && !all.may_fail && !atomic_exchange(&all.failed, true))
		printf("# reading %u sectors at %llu of the view: %s\n", nr,
		       (unsigned long long)sector, strerror(errno));
	if (n < 0) {
		all.errors++;
		usleep(1000);
		return;
	}
	for (i = 0; i < n / SECTOR; i++)
		look(sector + i, buf + i * (size_t)SECTOR);
	total += n / SECTOR;
}

/* Even ones from end to end, with reads of one size; odd ones anywhere. */
static void *reader_main(void *arg)
{
	unsigned int nr = (uintptr_t)arg;
	uint64_t *state = &all.seed[nr], at = 0;
	unsigned int step = MOST / SECTOR >> 2 * (nr / 2 % 4);
	void *buf;

	if (posix_memalign(&buf, 4096, MOST))
		exit(2);
	while (!all.quit) {
		unsigned int n = step;

		if (nr % 2) {
			n = 1 + rnd(state, rnd(state, 4) ? 32 : MOST / SECTOR);
			at = rnd(state, all.sectors);
			at -= at % all.block;
			n += (all.block - n % all.block) % all.block;
		}
		if (at + n > all.sectors)
			n = all.sectors - at;
		read_once(buf, at, n);
		at = (at + n) % all.sectors;
	}
	free(buf);
	return NULL;
}

int readers_start(const char *dev, uint64_t sectors, unsigned int threads,
		  uint64_t seed)
{
	unsigned int i;
	int block;

	memset(&all, 0, sizeof(all));
	all.sectors = sectors;
	all.threads = threads < MAX_READERS ? threads : MAX_READERS;
	all.fd = open(dev, O_RDONLY | O_DIRECT);
	all.kept_fd = memfd_create("kept", 0);
	if (all.fd < 0 || all.kept_fd < 0 ||
	    ioctl(all.fd, BLKSSZGET, &block) ||
	    ftruncate(all.kept_fd, sectors * SECTOR))
		return -1;
	all.block = block / SECTOR;
	all.kept = mmap(NULL, sectors * SECTOR, PROT_READ | PROT_WRITE,
			MAP_SHARED, all.kept_fd, 0);
	all.seen = calloc(sectors, sizeof(*all.seen));
	if (all.kept == MAP_FAILED || !all.seen)
		return -1;
	for (i = 0; i < LOCKS; i++)
		pthread_mutex_init(&locks[i], NULL);
	for (i = 0; i < all.threads; i++) {
		all.seed[i] = seed + 0x9e3779b97f4a7c15ull * (i + 1);
		if (pthread_create(&all.thread[i], NULL, reader_main,
				   (void *)(uintptr_t)i))
			return -1;
	}
	return 0;
}

void readers_allow_errors(void)
{
	all.may_fail = true;
}

uint64_t readers_sectors(void)
{
	return total;
}

uint64_t readers_errors(void)
{
	return all.errors;
}

bool readers_saw_all(void)
{
	return all.nr_seen == all.sectors || all.failed;
}

int readers_stop(void)
{
	unsigned int i;

	all.quit = true;
	for (i = 0; i < all.threads; i++)
		pthread_join(all.thread[i], NULL);
	munmap(all.kept, all.sectors * SECTOR);
	free(all.seen);
	close(all.fd);
	if (!all.failed)
		return all.kept_fd;
	close(all.kept_fd);
	return -1;
}
