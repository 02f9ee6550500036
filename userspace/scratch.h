/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: the device that "--scratch auto" stands for: where a view keeps what
 * is overwritten. In this order:
 *   - a thin volume, if the device is a logical volume and its group has a thin
 *     pool: takes what is overwritten, and gives back what is discarded
 *   - a volume as large as the device, if the group has room for that
 *   - a zram device: memory, compressed, up to a limit
 * Volumes are called LV-dmbackup-view-NAME; udev's rules know them by that.
 */

#ifndef SCRATCH_H
#define SCRATCH_H

#include "device.h"

#define SCRATCH_KIND_SIZE 32

/*
 * Makes one for a view @name of the filter @d. @lv: "vg/lv", NULL if it is none;
 * @limit: of a zram device, as the user said it; NULL: a quarter of the memory.
 * @kind: by which scratch_remove() finds it, "lv" or "zramN"; untouched if none was
 * made. 0, or an exit code.
 */
int scratch_make(const struct device *d, const char *lv, const char *name,
		 const char *limit, struct device *s,
		 char kind[SCRATCH_KIND_SIZE]);

/* Removes it; nobody uses it any more. The same. */
int scratch_remove(const char *lv, const char *name, const char *kind);

/*
 * Removes volumes that were made for a view @name that is not there any more.
 * @found: is there any? A zram device is gone with the kernel that had it. The same.
 */
int scratch_remove_left(const char *name, bool *found);

#endif
