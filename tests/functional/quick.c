// SPDX-License-Identifier: GPL-2.0-only
/*
 * quick message NAME WORD...               what dmsetup message NAME 0 WORD... does
 * quick status NAME                        its status line
 * quick write DEVICE BYTE OFFSET LENGTH    one direct write of a byte, repeated
 * quick holds DEVICE BYTE OFFSET LENGTH    does it hold that there?
 * quick flush DEVICE
 * quick covered OLD NEW                    do the ranges on stdin ("start length",
 *                                          sectors) hold all that differs?
 * quick sleep MS
 *
 * What tests do thousands of times. Linked statically it starts in a third of
 * other programs' time in an emulated machine, where starting is what costs.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SIZE (1 << 20)

static struct dm_ioctl *request(const char *name)
{
	struct dm_ioctl *d = calloc(1, SIZE);

	if (!d)
		exit(2);
	d->version[0] = DM_VERSION_MAJOR;
	d->data_size = SIZE;
	d->data_start = sizeof(*d);
	snprintf(d->name, sizeof(d->name), "%s", name);
	return d;
}

static int send_request(struct dm_ioctl *d, unsigned long cmd)
{
	int fd = open("/dev/mapper/control", O_RDWR);

	if (fd >= 0 && !ioctl(fd, cmd, d))
		return 0;
	fprintf(stderr, "quick: %s: %s\n", d->name, strerror(errno));
	return 1;
}

static int message(const char *name, int argc, char **argv)
{
	struct dm_ioctl *d = request(name);
	struct dm_target_msg *m = (void *)((char *)d + d->data_start);
	char *end = (char *)d + SIZE - 1, *p = m->message;
	int i;

	for (i = 0; i < argc; i++)
		p += snprintf(p, end - p, "%s%s", i ? " " : "", argv[i]);
	if (send_request(d, DM_TARGET_MSG))
		return 1;
	if (d->flags & DM_DATA_OUT_FLAG)
		puts((char *)d + d->data_start);
	return 0;
}

static int status(const char *name)
{
	struct dm_ioctl *d = request(name);
	struct dm_target_spec *t = (void *)((char *)d + d->data_start);

	d->flags = DM_NOFLUSH_FLAG;
	if (send_request(d, DM_TABLE_STATUS))
		return 1;
	if (d->target_count)
		printf("%llu %llu %s %s\n", (unsigned long long)t->sector_start,
		       (unsigned long long)t->length, t->target_type,
		       (char *)(t + 1));
	return 0;
}

static unsigned long long number(const char *text)
{
	char *end;
	unsigned long long n = strtoull(text, &end, 0);

	if (*text && !*end)
		return n;
	fprintf(stderr, "quick: '%s' is not a number\n", text);
	exit(2);
}

/* DEVICE BYTE OFFSET LENGTH */
static int transfer(char **argv, int holds)
{
	unsigned long long at = number(argv[2]);
	size_t len = number(argv[3]), i;
	int byte = number(argv[1]);
	int fd = open(argv[0], (holds ? O_RDONLY : O_WRONLY) | O_DIRECT);
	unsigned char *buf;
	ssize_t n;

	if (fd < 0 || posix_memalign((void **)&buf, 4096, len)) {
		fprintf(stderr, "quick: %s: %s\n", argv[0], strerror(errno));
		return 1;
	}
	memset(buf, holds ? ~byte : byte, len);
	n = holds ? pread(fd, buf, len, at) : pwrite(fd, buf, len, at);
	if (n != (ssize_t)len) {
		fprintf(stderr, "quick: %s: %s\n", argv[0],
			n < 0 ? strerror(errno) : "short");
		return 1;
	}
	for (i = 0; holds && i < len; i++)
		if (buf[i] != (unsigned char)byte)
			return 1;
	return 0;
}

static int flush(const char *device)
{
	int fd = open(device, O_RDWR);

	if (fd >= 0 && !fsync(fd))
		return 0;
	fprintf(stderr, "quick: %s: %s\n", device, strerror(errno));
	return 1;
}

static int covered(char **argv)
{
	static unsigned char old[512], new[512];
	unsigned long long start = 0, len = 0, at, differ = 0, dirty = 0;
	FILE *a = fopen(argv[0], "r"), *b = fopen(argv[1], "r");

	if (!a || !b) {
		fprintf(stderr, "quick: %s, %s: %s\n", argv[0], argv[1],
			strerror(errno));
		return 1;
	}
	for (at = 0; fread(old, 512, 1, a) == 1 && fread(new, 512, 1, b) == 1; at++) {
		while (at >= start + len && scanf("%llu %llu", &start, &len) == 2)
			dirty += len;
		if (!memcmp(old, new, 512))
			continue;
		differ++;
		if (at < start || at >= start + len) {
			printf("sector %llu differs and is clean\n", at);
			return 1;
		}
	}
	printf("%llu sectors differ, %llu are dirty\n", differ, dirty);
	return !at;
}

static int nap(unsigned long long ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	return nanosleep(&t, NULL);
}

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "message"))
		return message(argv[2], argc - 3, argv + 3);
	if (argc == 3 && !strcmp(argv[1], "status"))
		return status(argv[2]);
	if (argc == 6 && !strcmp(argv[1], "write"))
		return transfer(argv + 2, 0);
	if (argc == 6 && !strcmp(argv[1], "holds"))
		return transfer(argv + 2, 1);
	if (argc == 3 && !strcmp(argv[1], "flush"))
		return flush(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "covered"))
		return covered(argv + 2);
	if (argc == 3 && !strcmp(argv[1], "sleep"))
		return nap(number(argv[2]));
	fprintf(stderr, "quick message|status|write|holds|flush|covered|sleep ...\n");
	return 2;
}
