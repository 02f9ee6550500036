// SPDX-License-Identifier: GPL-2.0-only
/*
 * pairs: is a transaction over two filters one instant?
 *
 * Writers write N to the first filter, then N to the second one, then N + 1, and so
 * on, each at a place of its own; others write elsewhere. Meanwhile both filters are
 * backed up in one transaction after the other. On the destinations N of the first
 * must be N of the second, or one more. With --apart the two backups are started one
 * after the other, which must be noticed.
 *
 * Prints TAP. Status: 0, 1 if a check failed, 2 if it had trouble itself.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#define BLOCK		4096u
#define PAIRS		3u
#define NOISE		2u
#define REPLY		65536

static const char *name[2], *dest[2];
static char number[2][32];		/* MAJ:MIN of the filters */
static int filter[2];
static uint64_t blocks;			/* of a filter */
static atomic_bool quit;

static struct {
	atomic_ullong begun;		/* N was about to be written to the first */
	atomic_ullong done;		/* and is written to the second */
} pair[PAIRS];

static void die(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(2);
}

static void *buffer(void)
{
	void *p;

	if (posix_memalign(&p, BLOCK, BLOCK))
		die("memory");
	return p;
}

/* Where a pair is: in different places of the two, and not in one cluster. */
static uint64_t place(unsigned int nr, unsigned int side)
{
	return (nr * 2 + 1 + side) * (blocks / (2 * PAIRS + 2)) * BLOCK;
}

static void put(unsigned int side, void *buf, uint64_t at)
{
	if (pwrite(filter[side], buf, BLOCK, at) != BLOCK)
		die(name[side]);
}

static void *pair_main(void *arg)
{
	unsigned int i, nr = (uintptr_t)arg;
	uint64_t n, *buf = buffer();

	for (n = 1; !quit; n++) {
		for (i = 0; i < BLOCK / sizeof(n); i++)
			buf[i] = n;
		atomic_store(&pair[nr].begun, n);
		put(0, buf, place(nr, 0));
		put(1, buf, place(nr, 1));
		atomic_store(&pair[nr].done, n);
	}
	return NULL;
}

/* Writes all over the rest, so that there is always something to be copied. */
static void *noise_main(void *arg)
{
	uint64_t at, random = 88172645463325252ull + (uintptr_t)arg;
	void *buf = buffer();
	unsigned int i;
	bool taken;

	while (!quit) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		at = random % blocks * BLOCK;
		taken = false;
		for (i = 0; i < 2 * PAIRS; i++)
			taken |= at == place(i / 2, i % 2);
		memset(buf, random >> 32, BLOCK);
		if (!taken)
			put(random >> 63, buf, at);
	}
	return NULL;
}

/* Sends a message; the answer, or NULL if it is refused. */
static const char *message(const char *to, const char *text)
{
	static struct {
		struct dm_ioctl d;
		char data[REPLY];
	} m;
	static int control = -1;
	struct dm_target_msg *msg = (void *)m.data;

	if (control < 0)
		control = open("/dev/mapper/control", O_RDWR);
	memset(&m.d, 0, sizeof(m.d));
	m.d.version[0] = DM_VERSION_MAJOR;
	m.d.data_size = sizeof(m);
	m.d.data_start = sizeof(m.d);
	snprintf(m.d.name, sizeof(m.d.name), "%s", to);
	msg->sector = 0;
	snprintf(msg->message, REPLY - sizeof(*msg), "%s", text);
	if (ioctl(control, DM_TARGET_MSG, &m.d))
		return NULL;
	m.data[REPLY - 1] = '\0';
	return m.d.flags & DM_DATA_OUT_FLAG ? m.data : "";
}

static void must(const char *to, const char *text)
{
	char why[256];

	if (message(to, text))
		return;
	snprintf(why, sizeof(why), "%s", message(to, "last_error") ?: "?");
	printf("Bail out! %s: %s: %s\n", to, text, why);
	exit(2);
}

static void start(bool apart)
{
	char text[512], one[2][128];
	unsigned int i;

	for (i = 0; i < 2; i++)
		snprintf(one[i], sizeof(one[i]),
			 "backup start p target=%s sync=full", dest[i]);
	if (apart) {
		must(name[0], one[0]);
		must(name[1], one[1]);
		return;
	}
	snprintf(text, sizeof(text), "transaction 2 %s 5 %s %s 5 %s",
		 number[0], one[0], number[1], one[1]);
	must(name[0], text);
}

static void wait_for_jobs(void)
{
	const struct timespec nap = { .tv_nsec = 2000000 };
	unsigned int i;

	for (i = 0; i < 2; i++)
		while (*(message(name[i], "job list") ?: "?"))
			nanosleep(&nap, NULL);
}

static uint64_t get(unsigned int side, unsigned int nr)
{
	int fd = open(dest[side], O_RDONLY | O_DIRECT);
	uint64_t n, *buf = buffer();
	unsigned int i;

	if (fd < 0 || pread(fd, buf, BLOCK, place(nr, side)) != BLOCK)
		die(dest[side]);
	n = buf[0];
	for (i = 1; i < BLOCK / sizeof(n); i++)
		if (buf[i] != n)
			n = UINT64_MAX;	/* torn */
	close(fd);
	free(buf);
	return n;
}

/* False if what was copied is not one instant, while the transaction was made. */
static bool round_once(unsigned int round, bool apart)
{
	uint64_t after[PAIRS], before[PAIRS], x, y;
	bool ok = true;
	unsigned int i;

	for (i = 0; i < PAIRS; i++)
		after[i] = atomic_load(&pair[i].done);
	start(apart);
	for (i = 0; i < PAIRS; i++)
		before[i] = atomic_load(&pair[i].begun);
	wait_for_jobs();
	for (i = 0; i < PAIRS; i++) {
		x = get(0, i);
		y = get(1, i);
		if (x == y || x == y + 1)
			if (apart || (x >= after[i] && y <= before[i]))
				continue;
		ok = false;
		printf("# round %u, pair %u: %llu on the first, %llu on the second, between %llu and %llu\n",
		       round, i, (unsigned long long)x, (unsigned long long)y,
		       (unsigned long long)after[i],
		       (unsigned long long)before[i]);
	}
	return ok;
}

static void open_filter(unsigned int i)
{
	char path[128];
	uint64_t bytes;
	struct stat st;

	snprintf(path, sizeof(path), "/dev/mapper/%s", name[i]);
	filter[i] = open(path, O_RDWR | O_DIRECT);
	if (filter[i] < 0 || fstat(filter[i], &st) ||
	    ioctl(filter[i], BLKGETSIZE64, &bytes))
		die(path);
	snprintf(number[i], sizeof(number[i]), "%u:%u", major(st.st_rdev),
		 minor(st.st_rdev));
	blocks = bytes / BLOCK;
}

int main(int argc, char **argv)
{
	bool apart = argc == 7 && !strcmp(argv[6], "--apart");
	pthread_t threads[PAIRS + NOISE];
	unsigned int rounds, i, bad = 0;
	void *zero = buffer();

	if (argc < 6 || argc > 7 || (argc == 7 && !apart)) {
		fprintf(stderr, "pairs FILTER DEST FILTER DEST ROUNDS [--apart]\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (i = 0; i < 2; i++) {
		name[i] = argv[1 + 2 * i];
		dest[i] = argv[2 + 2 * i];
		open_filter(i);
	}
	rounds = atoi(argv[5]);
	memset(zero, 0, BLOCK);
	for (i = 0; i < 2 * PAIRS; i++)
		put(i % 2, zero, place(i / 2, i % 2));
	for (i = 0; i < PAIRS + NOISE; i++)
		if (pthread_create(&threads[i], NULL, i < PAIRS ? pair_main :
				   noise_main, (void *)(uintptr_t)i))
			die("thread");
	for (i = 0; i < rounds && !(apart && bad); i++)
		bad += !round_once(i, apart);
	quit = true;
	for (i = 0; i < PAIRS + NOISE; i++)
		pthread_join(threads[i], NULL);
	for (i = 0; i < PAIRS; i++)
		printf("# pair %u: %llu times\n", i,
		       (unsigned long long)atomic_load(&pair[i].done));
	printf("%sok 1 - %u rounds: both are of one instant\n1..1\n",
	       bad ? "not " : "", rounds);
	return bad ? 1 : 0;
}
