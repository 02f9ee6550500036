// SPDX-License-Identifier: GPL-2.0-only
/*
 * dm-quick message NAME WORD...   what dmsetup message NAME 0 WORD... does
 * dm-quick status NAME            its status line
 *
 * For tests only: linked statically, it starts in a third of dmsetup's time in
 * an emulated machine, and tests send thousands of messages.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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
	fprintf(stderr, "dm-quick: %s: %s\n", d->name, strerror(errno));
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

int main(int argc, char **argv)
{
	if (argc > 3 && !strcmp(argv[1], "message"))
		return message(argv[2], argc - 3, argv + 3);
	if (argc == 3 && !strcmp(argv[1], "status"))
		return status(argv[2]);
	fprintf(stderr, "dm-quick message NAME WORD... | status NAME\n");
	return 2;
}
