// SPDX-License-Identifier: GPL-2.0-only
/*
 * quick message NAME WORD...               what dmsetup message NAME 0 WORD... does
 * quick status NAME                        its status line
 * quick write DEVICE BYTE OFFSET LENGTH    one direct write of a byte, repeated
 * quick timed DEVICE BYTE OFFSET LENGTH    the same, and how long it took, ms
 * quick holds DEVICE BYTE OFFSET LENGTH    does it hold that there?
 * quick fill DEVICE FILE                   writes all of a file to its beginning
 * quick same DEVICE DEVICE                  do both hold the same, page cache aside?
 * quick flush DEVICE
 * quick exclusive DEVICE                   can it be opened so?
 * quick durable LOG MARK FILE              what dm-log-writes says was durable at the
 *                                          mark, written to FILE
 * quick covered OLD NEW                    do the ranges on stdin ("start length",
 *                                          sectors) hold all that differs?
 * quick log [clear]                        the kernel's log since it was cleared
 * quick sleep MS
 * quick devno DEVICE                       its numbers, MAJOR:MINOR
 * quick sectors DEVICE                     its length
 * quick dmsetup WORD...                    see quick-dm.c
 *
 * What tests do thousands of times. In an emulated machine starting a program is
 * what costs; so this is a builtin of bash (quick-bash.c), which starts nothing.
 * As a program it is linked statically and starts in a third of others' time.
 */
#include "quick.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

static int failed(const char *what)
{
	fprintf(stderr, "quick: %s: %s\n", what, strerror(errno));
	return 1;
}

static bool number(const char *text, unsigned long long *n)
{
	char *end;

	*n = strtoull(text, &end, 0);
	if (*text && !*end)
		return true;
	fprintf(stderr, "quick: '%s' is not a number\n", text);
	return false;
}

int quick_dm(unsigned long cmd, const char *name, unsigned int flags, unsigned int targets,
	     const void *payload, size_t length, struct dm_ioctl **reply)
{
	size_t size = sizeof(**reply) + length + 16384;
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC), err = fd < 0;
	struct dm_ioctl *d = NULL;

	while (!err) {
		free(d);
		d = calloc(1, size);
		if (!d) {
			err = 1;
			break;
		}
		d->version[0] = DM_VERSION_MAJOR;
		d->data_size = size;
		d->data_start = sizeof(*d);
		d->flags = flags;
		d->target_count = targets;
		snprintf(d->name, sizeof(d->name), "%s", name);
		memcpy(d + 1, payload, length);
		err = ioctl(fd, cmd, d) < 0;
		if (err || !(d->flags & DM_BUFFER_FULL_FLAG))
			break;
		size *= 4;
	}
	if (err)
		failed(name);
	if (fd >= 0)
		close(fd);
	*reply = d;
	return err;
}

static int message(FILE *out, const char *name, int argc, char **argv)
{
	struct dm_target_msg *m;
	struct dm_ioctl *d;
	size_t size = sizeof(*m) + 1;
	char *p;
	int i, err;

	for (i = 0; i < argc; i++)
		size += strlen(argv[i]) + 1;
	m = calloc(1, size);
	if (!m)
		return failed(name);
	p = m->message;
	for (i = 0; i < argc; i++)
		p += sprintf(p, "%s%s", i ? " " : "", argv[i]);
	err = quick_dm(DM_TARGET_MSG, name, 0, 0, m, size, &d);
	if (!err && d->flags & DM_DATA_OUT_FLAG)
		fprintf(out, "%s\n", (char *)d + d->data_start);
	free(d);
	free(m);
	return err;
}

static int status(FILE *out, const char *name)
{
	struct dm_ioctl *d;
	int err = quick_dm(DM_TABLE_STATUS, name, DM_NOFLUSH_FLAG, 0, "", 0, &d);

	if (!err && d->target_count) {
		struct dm_target_spec *t = (void *)((char *)d + d->data_start);

		fprintf(out, "%llu %llu %s %s\n", (unsigned long long)t->sector_start,
			(unsigned long long)t->length, t->target_type,
			(char *)(t + 1));
	}
	free(d);
	return err;
}

/* One transfer, which must be a whole one. */
static int transfer(const char *device, void *buf, size_t len,
		    unsigned long long at, bool in)
{
	int fd = open(device, (in ? O_RDONLY : O_WRONLY) | O_DIRECT | O_CLOEXEC);
	ssize_t n = -1;

	if (fd >= 0)
		n = in ? pread(fd, buf, len, at) : pwrite(fd, buf, len, at);
	if (n >= 0 && n != (ssize_t)len)
		errno = EIO;
	if (n != (ssize_t)len)
		failed(device);
	if (fd >= 0)
		close(fd);
	return n != (ssize_t)len;
}

/* DEVICE BYTE OFFSET LENGTH */
static int repeated(char **argv, bool holds)
{
	unsigned long long byte, at, len;
	unsigned char *buf;
	int err;

	if (!number(argv[1], &byte) || !number(argv[2], &at) || !number(argv[3], &len))
		return 2;
	if (posix_memalign((void **)&buf, 4096, len))
		return failed(argv[0]);
	memset(buf, holds ? ~byte : byte, len);
	err = transfer(argv[0], buf, len, at, holds);
	/* All bytes are the first one if each is as the one before. */
	if (!err && holds && len)
		err = buf[0] != (unsigned char)byte || memcmp(buf, buf + 1, len - 1);
	free(buf);
	return err;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000.0 + t.tv_nsec / 1e6;
}

static int timed(FILE *out, char **argv)
{
	double began = now();
	int err = repeated(argv, false);

	fprintf(out, "%.0f\n", now() - began);
	return err;
}

static int fill(const char *device, const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC), err = 1;
	void *data = MAP_FAILED;
	struct stat s;

	if (fd >= 0 && !fstat(fd, &s))
		data = mmap(NULL, s.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (data != MAP_FAILED) {
		err = transfer(device, data, s.st_size, 0, false);
		munmap(data, s.st_size);
	} else {
		failed(file);
	}
	if (fd >= 0)
		close(fd);
	return err;
}

#define COMPARE	(1 << 20)

static int same(char **devices)
{
	int a = open(devices[0], O_RDONLY | O_DIRECT | O_CLOEXEC);
	int b = open(devices[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
	char *x = NULL, *y = NULL;
	int err = 1;
	ssize_t n;

	if (a < 0 || b < 0 || posix_memalign((void **)&x, 4096, COMPARE) ||
	    posix_memalign((void **)&y, 4096, COMPARE)) {
		failed(devices[0]);
	} else {
		do {
			n = read(a, x, COMPARE);
			err = n < 0 || read(b, y, COMPARE) != n ||
			      memcmp(x, y, n);
		} while (n && !err);
	}
	free(x);
	free(y);
	if (a >= 0)
		close(a);
	if (b >= 0)
		close(b);
	return err;
}

static int flush(const char *device)
{
	int fd = open(device, O_RDWR | O_CLOEXEC), err;

	err = fd < 0 || fsync(fd);
	if (err)
		failed(device);
	if (fd >= 0)
		close(fd);
	return err;
}

static int exclusive(const char *device)
{
	int fd = open(device, O_RDWR | O_EXCL | O_CLOEXEC);

	if (fd < 0)
		return failed(device);
	close(fd);
	return 0;
}

/*
 * The log has a write once the device was flushed after it, and a mark where it was
 * made: what stands before the mark would survive a power cut there. Entries begin
 * with four numbers: sector, sectors, flags, length of a mark; the log itself with
 * three, of which the last is how many there are.
 */
static int apply(FILE *log, FILE *to, const char *mark)
{
	static unsigned char block[512], data[1 << 20];
	unsigned long long e[4], entries, sectors, n;

	if (fread(block, 512, 1, log) != 1)
		return 1;
	memcpy(e, block, sizeof(e));
	for (entries = e[2]; entries && fread(block, 512, 1, log) == 1; entries--) {
		memcpy(e, block, sizeof(e));
		if ((e[2] & 8) && e[3] == strlen(mark) &&
		    !memcmp(block + sizeof(e), mark, e[3]))
			return 0;
		if (e[2] & (4 | 8))
			continue;		/* a discard; another mark */
		fseek(to, e[0] * 512, SEEK_SET);
		for (sectors = e[1]; sectors; sectors -= n) {
			n = sectors < 2048 ? sectors : 2048;
			if (fread(data, 512, n, log) != n ||
			    fwrite(data, 512, n, to) != n)
				return 1;
		}
	}
	fprintf(stderr, "quick: there is no mark '%s'\n", mark);
	return 1;
}

/* LOG MARK FILE */
static int durable(char **argv)
{
	FILE *log = fopen(argv[0], "re"), *to = log ? fopen(argv[2], "r+e") : NULL;
	int err = to ? apply(log, to, argv[1]) : failed(argv[log ? 2 : 0]);

	if (to && fclose(to))
		err = failed(argv[2]);
	if (log)
		fclose(log);
	return err;
}

static int compare(FILE *out, FILE *a, FILE *b)
{
	static unsigned char old[512], new[512];
	unsigned long long start = 0, len = 0, at, differ = 0, dirty = 0;

	for (at = 0; fread(old, 512, 1, a) == 1 && fread(new, 512, 1, b) == 1; at++) {
		while (at >= start + len && scanf("%llu %llu", &start, &len) == 2)
			dirty += len;
		if (!memcmp(old, new, 512))
			continue;
		differ++;
		if (at < start || at >= start + len) {
			fprintf(out, "sector %llu differs and is clean\n", at);
			return 1;
		}
	}
	fprintf(out, "%llu sectors differ, %llu are dirty\n", differ, dirty);
	return !at;
}

static int covered(FILE *out, char **argv)
{
	FILE *a = fopen(argv[0], "r"), *b = a ? fopen(argv[1], "r") : NULL;
	int err = b ? compare(out, a, b) : failed(a ? argv[1] : argv[0]);

	if (b)
		fclose(b);
	if (a)
		fclose(a);
	return err;
}

enum { READ_ALL = 3, CLEAR = 5, SIZE_BUFFER = 10 };	/* of klogctl() */

static int kernel_log(FILE *out, bool clear)
{
	int size = clear ? 0 : klogctl(SIZE_BUFFER, NULL, 0), n = -1;
	char *text = malloc(size + 1);

	if (clear)
		n = klogctl(CLEAR, NULL, 0);
	else if (text && size > 0)
		n = klogctl(READ_ALL, text, size);
	if (n < 0)
		failed("kernel log");
	else if (n > 0)
		fwrite(text, n, 1, out);
	free(text);
	return n < 0;
}

static int nap(const char *ms)
{
	struct timespec t;
	unsigned long long n;

	if (!number(ms, &n))
		return 2;
	t = (struct timespec){ n / 1000, n % 1000 * 1000000 };
	while (nanosleep(&t, &t))
		if (errno != EINTR)
			return failed("sleep");
	return 0;
}

static int devno(FILE *out, const char *device)
{
	struct stat s;

	if (stat(device, &s))
		return failed(device);
	fprintf(out, "%u:%u\n", major(s.st_rdev), minor(s.st_rdev));
	return 0;
}

static int sectors(FILE *out, const char *device)
{
	int fd = open(device, O_RDONLY | O_CLOEXEC);
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : -1;

	if (size < 0)
		failed(device);
	else
		fprintf(out, "%lld\n", (long long)size / 512);
	if (fd >= 0)
		close(fd);
	return size < 0;
}

int quick(FILE *out, int argc, char **argv)
{
	const char *verb = argc > 0 ? argv[0] : "";

	if (argc > 2 && !strcmp(verb, "message"))
		return message(out, argv[1], argc - 2, argv + 2);
	if (argc == 2 && !strcmp(verb, "status"))
		return status(out, argv[1]);
	if (argc == 5 && !strcmp(verb, "write"))
		return repeated(argv + 1, false);
	if (argc == 5 && !strcmp(verb, "holds"))
		return repeated(argv + 1, true);
	if (argc == 5 && !strcmp(verb, "timed"))
		return timed(out, argv + 1);
	if (argc == 3 && !strcmp(verb, "fill"))
		return fill(argv[1], argv[2]);
	if (argc == 3 && !strcmp(verb, "same"))
		return same(argv + 1);
	if (argc == 2 && !strcmp(verb, "flush"))
		return flush(argv[1]);
	if (argc == 2 && !strcmp(verb, "exclusive"))
		return exclusive(argv[1]);
	if (argc == 4 && !strcmp(verb, "durable"))
		return durable(argv + 1);
	if (argc == 3 && !strcmp(verb, "covered"))
		return covered(out, argv + 1);
	if (argc == 1 && !strcmp(verb, "log"))
		return kernel_log(out, false);
	if (argc == 2 && !strcmp(verb, "log") && !strcmp(argv[1], "clear"))
		return kernel_log(out, true);
	if (argc == 2 && !strcmp(verb, "sleep"))
		return nap(argv[1]);
	if (argc == 2 && !strcmp(verb, "devno"))
		return devno(out, argv[1]);
	if (argc == 2 && !strcmp(verb, "sectors"))
		return sectors(out, argv[1]);
	if (argc > 1 && !strcmp(verb, "dmsetup"))
		return quick_dmsetup(argc - 1, argv + 1);
	fprintf(stderr, "quick: no such command: %s (or another number of words)\n", verb);
	return 2;
}
