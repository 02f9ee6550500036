// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writers. The contract is in writers.h.
 */

#include "torture.h"
#include "uring.h"
#include "writers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

enum way { DIRECT, FUA, CACHED, URING, NOWAIT, ZERO, DISCARD, WAYS };

static const char *const way_names[WAYS] = {
	"direct", "fua", "cached", "uring", "nowait", "zeroed", "discarded"
};

struct writer {
	unsigned int nr;
	uint64_t random;
	uint64_t sweep;			/* where its sequential writes are */
	uint8_t *buf;
	struct uring *ring;		/* NULL: the kernel has none */
	pthread_t thread;
	uint64_t made[WAYS];
	uint64_t sent_back[WAYS];
};

static struct {
	struct history *history;
	const char *device;
	struct writers_mix mix;
	uint64_t sectors;
	unsigned int block;		/* sectors per logical block */
	unsigned int most;		/* sectors of one write */
	unsigned int threads;
	int direct;
	int cached;
	struct writer writer[MAX_THREADS];
} all;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static bool writing;			/* lock */
static unsigned int resting;		/* lock */
static atomic_bool quit;

static uint64_t rnd(struct writer *w, uint64_t below)
{
	return chance(&w->random, below);
}

/* Small and large, scattered, swept, and crowded into a few places. */
static void choose(struct writer *w, uint64_t *sector, unsigned int *nr)
{
	unsigned int how = rnd(w, 100), where = rnd(w, 10);
	uint64_t at;

	*nr = 1 + rnd(w, how < 60 ? 16 : how < 96 ? 256 : all.most);
	if (where < 5)
		at = rnd(w, all.sectors);
	else if (where < 8)
		at = rnd(w, 4) * (all.sectors / 4) + rnd(w, 1024);
	else
		at = w->sweep += *nr;
	at %= all.sectors;
	at -= at % all.block;
	*nr += (all.block - *nr % all.block) % all.block;
	if (at + *nr > all.sectors)
		*nr = all.sectors - at;
	*sector = at;
}

/*
 * A discard of half a page zeroes that half in the page cache, while the device
 * may leave it as it was; the next cached write of the other half takes the
 * zeroes there. Then what a sector holds changes though nobody has written it,
 * which is the device's right after a discard, and no fault of the filter's.
 */
static void whole_pages(uint64_t *sector, unsigned int *nr)
{
	uint64_t end = *sector + *nr + UNIT - 1;

	end -= end % UNIT;
	if (end > all.sectors)
		end = all.sectors;
	*sector -= *sector % UNIT;
	*nr = end - *sector;
}

static enum way choose_way(struct writer *w)
{
	const struct {
		enum way way;
		unsigned int share;
	} ways[] = {
		{ ZERO, all.mix.zeroes }, { DISCARD, all.mix.discards },
		{ FUA, all.mix.fua }, { CACHED, all.mix.cached },
		{ URING, all.mix.uring }, { NOWAIT, all.mix.nowait },
	};
	unsigned int dice = rnd(w, 1000), i;

	for (i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		if (dice < ways[i].share)
			return ways[i].way;
		dice -= ways[i].share;
	}
	return DIRECT;
}

/* Through the page cache: complete when the device has it. */
static ssize_t write_cached(struct writer *w, size_t len, off_t at)
{
	ssize_t r = pwrite(all.cached, w->buf, len, at);

	if (r == (ssize_t)len && rnd(w, 2))
		return fdatasync(all.cached) ? -1 : r;
	if (r == (ssize_t)len &&
	    sync_file_range(all.cached, at, len, SYNC_FILE_RANGE_WAIT_BEFORE |
			    SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER))
		return -1;
	return r;
}

static ssize_t write_uring(struct writer *w, size_t len, off_t at, int flags)
{
	ssize_t r;

	if (!w->ring)
		return pwrite(all.direct, w->buf, len, at);
	r = uring_write(w->ring, all.direct, w->buf, len, at, flags);
	if (r < 0)
		errno = -r;
	return r;
}

/* Nothing was done of it: it would have had to wait, or this can't be had. */
static bool was_sent_back(enum way way)
{
	switch (way) {
	case NOWAIT:
		return errno == EAGAIN || errno == EOPNOTSUPP;
	case URING:
		return errno == EAGAIN;
	default:
		return false;
	}
}

static bool submit(struct writer *w, enum way way, uint64_t sector,
		   unsigned int nr)
{
	uint64_t range[2] = { sector * SECTOR, nr * (uint64_t)SECTOR };
	struct iovec v = { .iov_base = w->buf, .iov_len = range[1] };
	ssize_t r;

	switch (way) {
	case ZERO:
		return !ioctl(all.direct, BLKZEROOUT, range);
	case DISCARD:
		/* Advice: a device that can't is no failure. */
		return !ioctl(all.direct, BLKDISCARD, range) ||
		       errno == EOPNOTSUPP;
	case FUA:
		r = pwritev2(all.direct, &v, 1, range[0], RWF_DSYNC);
		break;
	case CACHED:
		r = write_cached(w, range[1], range[0]);
		break;
	case URING:
		r = write_uring(w, range[1], range[0], 0);
		break;
	case NOWAIT:
		r = write_uring(w, range[1], range[0], RWF_NOWAIT);
		break;
	default:
		r = pwrite(all.direct, w->buf, range[1], range[0]);
		break;
	}
	if (r >= 0 && r != (ssize_t)range[1])
		errno = EIO;
	return r == (ssize_t)range[1];
}

static enum kind kind_of(enum way way)
{
	switch (way) {
	case ZERO:
		return K_ZERO;
	case DISCARD:
		return K_DISCARD;
	case CACHED:
		return K_PAGES;
	default:
		return K_WRITE;
	}
}

/* False: the round's history is full. */
static bool write_once(struct writer *w)
{
	enum way way = choose_way(w);
	unsigned int nr;
	uint64_t sector;
	bool room;

	choose(w, &sector, &nr);
	if (way == DISCARD && all.mix.cached)
		whole_pages(&sector, &nr);
	if (!history_take(all.history, sector, nr))
		return true;
	room = history_enter(all.history, w->nr, kind_of(way), sector, nr,
			     now_ns());
	if (room) {
		w->made[way]++;
		if (way != ZERO && way != DISCARD)
			history_fill(all.history, w->nr, w->buf);
		if (submit(w, way, sector, nr)) {
			history_finish(all.history, w->nr, now_ns());
		} else if (was_sent_back(way)) {
			history_withdraw(all.history, w->nr);
			w->sent_back[way]++;
		} else {
			die("%s: %s, %u sectors at %llu", all.device,
			    way_names[way], nr, (unsigned long long)sector);
		}
	}
	history_give(all.history, sector, nr);
	if (all.mix.pace && rnd(w, 4) == 0)
		usleep(rnd(w, all.mix.pace));
	return room;
}

static void rest(void)
{
	pthread_mutex_lock(&lock);
	resting++;
	pthread_cond_broadcast(&cond);
	while (!writing && !quit)
		pthread_cond_wait(&cond, &lock);
	resting--;
	pthread_mutex_unlock(&lock);
}

static void *writer_main(void *arg)
{
	struct writer *w = arg;

	while (!quit) {
		bool on;

		pthread_mutex_lock(&lock);
		on = writing;
		pthread_mutex_unlock(&lock);
		if (!on)
			rest();
		else if (!write_once(w))
			usleep(1000);
	}
	return NULL;
}

void writers_start(void)
{
	pthread_mutex_lock(&lock);
	writing = true;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
}

void writers_stop(void)
{
	pthread_mutex_lock(&lock);
	writing = false;
	while (resting < all.threads)
		pthread_cond_wait(&cond, &lock);
	pthread_mutex_unlock(&lock);
}

static void writer_init(struct writer *w, unsigned int nr, uint64_t seed)
{
	w->nr = nr;
	w->random = seed + 0x9e3779b97f4a7c15ull * (nr + 1);
	w->sweep = nr * (all.sectors / all.threads);
	w->ring = uring_create();
	/* 1 MiB from the beginning of a page fits one bio. */
	if (posix_memalign((void **)&w->buf, 4096, (all.most + 8) * SECTOR))
		die("memory");
	if (pthread_create(&w->thread, NULL, writer_main, w))
		die("thread");
}

/* A write may have a 32nd of the device, so that there is room for others. */
static void choose_most(void)
{
	all.most = all.sectors / 32 < MAX_SECTORS ? all.sectors / 32 :
						    MAX_SECTORS;
	if (all.most < 256)
		all.most = 256;
}

void writers_create(struct history *h, const char *device, uint64_t sectors,
		    unsigned int threads, uint64_t seed,
		    const struct writers_mix *mix)
{
	int block, page;
	unsigned int i;

	all.history = h;
	all.device = device;
	all.mix = *mix;
	all.sectors = sectors;
	all.threads = threads;
	choose_most();
	all.direct = open(device, O_RDWR | O_DIRECT);
	all.cached = open(device, O_RDWR);
	if (all.direct < 0 || all.cached < 0 ||
	    ioctl(all.direct, BLKSSZGET, &block) ||
	    ioctl(all.cached, BLKBSZGET, &page))
		die("%s", device);
	all.block = block / SECTOR;
	/* Otherwise it is not a page that gets to the device as a whole. */
	if (page != UNIT * SECTOR) {
		all.mix.cached = 0;
		printf("# its blocks are no pages: nothing is cached\n");
	}
	for (i = 0; i < threads; i++)
		writer_init(&all.writer[i], i, seed);
	writers_stop();
}

void writers_end(void)
{
	uint64_t back[WAYS] = { };
	unsigned int i, j;

	pthread_mutex_lock(&lock);
	quit = true;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
	for (i = 0; i < all.threads; i++) {
		pthread_join(all.writer[i].thread, NULL);
		for (j = 0; j < WAYS; j++)
			back[j] += all.writer[i].sent_back[j];
	}
	printf("# writes:");
	for (j = 0; j < WAYS; j++) {
		uint64_t n = 0;

		for (i = 0; i < all.threads; i++)
			n += all.writer[i].made[j];
		printf(" %llu %s", (unsigned long long)n, way_names[j]);
	}
	printf(", sent back: %llu of nowait, %llu of uring%s\n",
	       (unsigned long long)back[NOWAIT], (unsigned long long)back[URING],
	       all.writer[0].ring ? "" : ", no io_uring");
}
