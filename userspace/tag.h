/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: what a bitmap remembers of the target of its last backup.
 *
 * A name that lasts: no other device ever has it, and the same has it after a
 * reboot. A number is none: another disk may have it tomorrow.
 */

#ifndef TAG_H
#define TAG_H

#include "device.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Its dm uuid; a partition's uuid, and its disk's wwid, if that is known; the wwid or
 * serial number of a disk; of a loop device the file system, inode number and birth of
 * its file; or else its number, MAJ:MIN.
 */
void tag_of(const struct device *d, char *tag, size_t size);

/* Is it a name that lasts? */
bool tag_lasts(const char *tag);

/*
 * What a bitmap for @d is called by, to be freed: its name, if it is a dm device; of a loop
 * device the name of its file, and a number made of @tag, which tells it from others of that
 * name; else @tag.
 */
char *tag_label(const struct device *d, const char *tag);

#endif
