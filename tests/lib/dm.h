/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * device-mapper without libdevmapper, for test programs that send it many
 * thousands of requests, some of which are to fail. A request is one ioctl on a
 * buffer that was prepared before, so between dm_prepare() and dm_send() nothing
 * else happens in the kernel on behalf of this process.
 *
 * What fails returns a negative errno. One thread only.
 */
#ifndef TESTS_DM_H
#define TESTS_DM_H

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#define DM_BUFFER 65536

static union {
	struct dm_ioctl head;
	char bytes[DM_BUFFER];
} dm;

static int dm_control = -1;

static inline void dm_prepare(const char *name)
{
	if (dm_control < 0)
		dm_control = open("/dev/mapper/control", O_RDWR);
	memset(&dm, 0, sizeof(dm));
	dm.head.version[0] = DM_VERSION_MAJOR;
	dm.head.data_size = sizeof(dm);
	dm.head.data_start = sizeof(dm.head);
	snprintf(dm.head.name, sizeof(dm.head.name), "%s", name);
}

static inline int dm_send(unsigned long command)
{
	return ioctl(dm_control, command, &dm) ? -errno : 0;
}

/* Add a target to the table that is about to be loaded. */
static inline void dm_target(uint64_t start, uint64_t sectors, const char *type,
			     const char *params)
{
	struct dm_target_spec *t = (void *)(dm.bytes + sizeof(dm.head));
	unsigned int i;

	for (i = 0; i < dm.head.target_count; i++)
		t = (void *)((char *)t + t->next);
	t->sector_start = start;
	t->length = sectors;
	snprintf(t->target_type, sizeof(t->target_type), "%s", type);
	snprintf((char *)(t + 1), dm.bytes + sizeof(dm) - (char *)(t + 1), "%s",
		 params);
	/* From one target to the next, as a table that is loaded has it. */
	t->next = (sizeof(*t) + strlen(params) + 1 + 7) & ~7u;
	dm.head.target_count++;
}

static inline int dm_simple(const char *name, unsigned long command,
			    unsigned int flags)
{
	dm_prepare(name);
	dm.head.flags = flags;
	return dm_send(command);
}

/* Makes a device without a table; its path goes to @path. */
static inline int dm_create(const char *name, char *path, size_t size)
{
	int r = dm_simple(name, DM_DEV_CREATE, 0);

	if (!r && path)
		snprintf(path, size, "/dev/dm-%u", minor(dm.head.dev));
	return r;
}

static inline int dm_remove(const char *name)
{
	return dm_simple(name, DM_DEV_REMOVE, 0);
}

static inline int dm_suspend(const char *name, unsigned int flags)
{
	return dm_simple(name, DM_DEV_SUSPEND, DM_SUSPEND_FLAG | flags);
}

static inline int dm_resume(const char *name)
{
	return dm_simple(name, DM_DEV_SUSPEND, 0);
}

/* Load a table of one target, do not resume. */
static inline int dm_load(const char *name, uint64_t sectors, const char *type,
			  const char *params)
{
	dm_prepare(name);
	dm_target(0, sectors, type, params);
	return dm_send(DM_TABLE_LOAD);
}

static inline void dm_prepare_message(const char *name, const char *text)
{
	struct dm_target_msg *m = (void *)(dm.bytes + sizeof(dm.head));

	dm_prepare(name);
	snprintf(m->message, dm.bytes + sizeof(dm) - m->message, "%s", text);
}

/* The answer to a message that was sent, or "". */
static inline const char *dm_answer(void)
{
	if (!(dm.head.flags & DM_DATA_OUT_FLAG))
		return "";
	dm.bytes[sizeof(dm) - 1] = '\0';
	return dm.bytes + dm.head.data_start;
}

static inline int dm_message(const char *name, const char *text)
{
	dm_prepare_message(name, text);
	return dm_send(DM_TARGET_MSG);
}

/* The status of a device with one target, or "". */
static inline const char *dm_status(const char *name)
{
	if (dm_simple(name, DM_TABLE_STATUS, DM_NOFLUSH_FLAG) ||
	    !dm.head.target_count)
		return "";
	dm.bytes[sizeof(dm) - 1] = '\0';
	return dm.bytes + dm.head.data_start + sizeof(struct dm_target_spec);
}

#endif
