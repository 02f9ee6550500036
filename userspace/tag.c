// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: what a bitmap remembers of a target. The contract is in tag.h.
 */

#include "tag.h"
#include "dmbackup.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* A name of a plain mapping of dm-crypt's: the user's, whatever disk is below. */
#define PLAIN_UUID "CRYPT-PLAIN-"

/* The first of @what in /sys/dev/block/MAJ:MIN that has a line. To be freed, or NULL. */
static char *sys_line(dev_t dev, const char *const *what)
{
	char path[PATH_MAX], line[256], *p, *end;
	FILE *f;

	for (; *what; what++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s",
			 major(dev), minor(dev), *what);
		f = fopen(path, "re");
		if (!f)
			continue;
		p = fgets(line, sizeof(line), f);
		fclose(f);
		if (!p)
			continue;
		end = p + strlen(p);
		while (end > p && (unsigned char)end[-1] <= ' ')
			*--end = '\0';
		p += strspn(p, " ");
		if (*p)
			return xstrdup(p);
	}
	return NULL;
}

static char *disk_name(dev_t dev)
{
	static const char *const what[] = {
		"wwid", "device/wwid", "device/cid", "serial", "md/uuid", NULL
	};
	char *id = sys_line(dev, what), *name;

	name = id ? xasprintf("disk:%s", id) : NULL;
	free(id);
	return name;
}

/* The uuid of the partition @part of @disk, as it is written there. To be freed. */
static char *partition_uuid(dev_t disk, dev_t part)
{
	struct device d = { .major = major(disk), .minor = minor(disk) };
	blkid_probe pr = blkid_new_probe();
	int fd = device_open(&d, O_RDONLY);
	const char *uuid = NULL;
	blkid_partition p;
	blkid_partlist l;
	char *found;

	if (pr && fd >= 0 && !blkid_probe_set_device(pr, fd, 0, 0)) {
		l = blkid_probe_get_partitions(pr);
		p = l ? blkid_partlist_devno_to_partition(l, part) : NULL;
		uuid = p ? blkid_partition_get_uuid(p) : NULL;
	}
	found = uuid && *uuid ? xstrdup(uuid) : NULL;
	blkid_free_probe(pr);
	if (fd >= 0)
		close(fd);
	return found;
}

/* The path alone would be the same for each disk that is mounted there in turn. */
static char *loop_name(dev_t dev)
{
	static const char *const what[] = { "loop/backing_file", NULL };
	static const char *const at[] = { "loop/offset", NULL };
	char *file = sys_line(dev, what), *uuid = NULL, *name = NULL;
	char *offset = sys_line(dev, at);
	struct statx st;

	if (file && !statx(AT_FDCWD, file, 0, STATX_INO | STATX_BTIME, &st) &&
	    st.stx_mask & STATX_BTIME)
		uuid = device_uuid_below(file);
	if (uuid)
		name = xasprintf("loop:%s:%llu:%lld.%09u+%s", uuid,
				 (unsigned long long)st.stx_ino,
				 (long long)st.stx_btime.tv_sec,
				 st.stx_btime.tv_nsec, offset ? offset : "0");
	free(file);
	free(offset);
	free(uuid);
	return name;
}

static char *whole_name(dev_t dev)
{
	char *name = loop_name(dev);

	return name ? name : disk_name(dev);
}

/* NULL if @dev is no partition, or has no uuid. */
static char *partition_name(dev_t dev, bool *is_partition)
{
	static const char *const part[] = { "partition", NULL };
	static const char *const of[] = { "../dev", NULL };
	char *number = sys_line(dev, part), *whole = NULL, *uuid = NULL;
	char *disk = NULL, *name = NULL;
	unsigned int ma, mi;

	*is_partition = number;
	if (number)
		whole = sys_line(dev, of);
	if (whole && sscanf(whole, "%u:%u", &ma, &mi) == 2) {
		uuid = partition_uuid(makedev(ma, mi), dev);
		disk = whole_name(makedev(ma, mi));
	}
	if (uuid)
		name = xasprintf("part:%s%s%s", uuid, disk ? "@" : "",
				 disk ? disk : "");
	free(number);
	free(whole);
	free(uuid);
	free(disk);
	return name;
}

static char *lasting_name(const struct device *d)
{
	dev_t dev = makedev(d->major, d->minor);
	bool is_partition;
	char *name;

	if (d->is_dm)
		return d->dm.uuid[0] && strncmp(d->dm.uuid, PLAIN_UUID,
						strlen(PLAIN_UUID)) ?
		       xstrdup(d->dm.uuid) : NULL;
	name = partition_name(dev, &is_partition);
	return name || is_partition ? name : whole_name(dev);
}

void tag_of(const struct device *d, char *tag, size_t size)
{
	char *name = lasting_name(d), *p;

	/* One word, whatever the disk says. */
	for (p = name; p && *p; p++)
		if (*p <= ' ' || *p >= 0x7f || *p == '\\')
			*p = '_';
	if (name && strlen(name) < size)
		snprintf(tag, size, "%s", name);
	else
		snprintf(tag, size, "%u:%u", d->major, d->minor);
	free(name);
}

/* FNV-1a. */
static uint32_t number_of(const char *text)
{
	uint32_t n = 2166136261u;

	for (; *text; text++)
		n = (n ^ (unsigned char)*text) * 16777619u;
	return n;
}

char *tag_label(const struct device *d, const char *tag)
{
	static const char *const what[] = { "loop/backing_file", NULL };
	char *file, *label;

	if (d->is_dm)
		return xstrdup(d->dm.name);
	file = strncmp(tag, "loop:", 5) ? NULL :
	       sys_line(makedev(d->major, d->minor), what);
	if (!file)
		return xstrdup(tag);
	label = xasprintf("%.60s-%08x", basename(file), number_of(tag));
	free(file);
	return label;
}

bool tag_lasts(const char *tag)
{
	unsigned int ma, mi;
	char rest;

	return *tag && sscanf(tag, "%u:%u%c", &ma, &mi, &rest) != 2;
}
