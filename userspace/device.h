/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: from what people call a device to what it is.
 *
 * A device is vg/lv, a path, a dm name, MAJ:MIN, or a mount point.
 */

#ifndef DEVICE_H
#define DEVICE_H

#include "dm.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device {
	const char *arg;	/* what the user said */
	unsigned int major;
	unsigned int minor;
	bool is_dm;
	struct dm_dev dm;	/* if it is */
	uint64_t sectors;
};

/* Finds a block device. 0, or an exit code after saying why not. */
int device_find(const char *arg, struct device *d);

/* Finds a device that has the backup target live. The same. */
int device_find_filter(const char *arg, struct device *d);

/*
 * The same, for a command that changes tables: until this process has ended, and
 * the guard that finishes what it began, no other such command finds the device.
 */
int device_find_locked(const char *arg, struct device *d);
int device_find_filter_locked(const char *arg, struct device *d);

/*
 * Opens it as open(2) does, by its number: its node's name may be anything, or
 * missing. @flags: and O_CLOEXEC. -1 and errno on failure.
 */
int device_open(const struct device *d, int flags);

/* Does @d, through whatever layers and files, stand on @on? */
bool device_stands_on(const struct device *d, const struct device *on);

/*
 * May @to be what is written when @d is? It must not stand on it, and be as long,
 * or longer if that is allowed. 0, or an exit code after saying why not.
 */
int device_check_apart(const struct device *to, const struct device *d);
int device_check_length(const struct device *to, const struct device *d,
			bool larger);

/* May @d be overwritten? 0, or an exit code after saying why not. */
int device_check_target(const struct device *d, bool force);

/* The same, whatever is on it. */
int device_check_unused(const struct device *d);

/*
 * Nothing is to be found on @d any more, by libblkid, udev or LVM; what can be found is
 * wiped, the rest stays. 0, or an exit code after saying why not.
 */
int device_wipe_signatures(const struct device *d);

/* Has @d the file system of @of, by its UUID? */
enum likeness {
	LIKE_SAME,
	LIKE_OTHER,
	LIKE_UNKNOWN,		/* @of has none that is known */
	LIKE_TYPE,		/* the same, and what is on @d is of another type */
};

enum likeness device_likeness(const struct device *d, const struct device *of);

unsigned int device_block_size(const struct device *d);

/* The UUID of the file system that @file is in, or NULL. To be freed. */
char *device_uuid_below(const char *file);

/* The type of the file system on it, or NULL. To be freed. */
char *device_file_system(const struct device *d);

/*
 * The uuid of a view: the volume's, this and the view's name; or, if it is of no
 * volume, the other and the name. LVM passes over what begins with "LVM-",
 * whatever follows; our udev rules know both.
 */
#define VIEW_UUID_INFIX	"-bkview-"
#define VIEW_UUID	"LVM-DMBACKUP-VIEW-"

/* "vg/lv" of a dm device that LVM made: to be freed; NULL if it is none. */
char *device_lv_name(const struct dm_dev *dm);

/* Where it is mounted: to be freed; NULL if nowhere. */
char *device_mountpoint(const struct device *d);

/* Is it what is seen at @dir, not covered by something that was mounted later? */
bool device_is_seen_at(const struct device *d, const char *dir);

#endif
