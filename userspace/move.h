/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: a pivot, so that nobody brings the old data back later.
 *
 * After a pivot the device's data is on the target, but whoever makes the device
 * (LVM, cryptsetup, a script at boot) does not know: it would make it of the old
 * one again, with old data. There are three cases.
 *
 *   A device that "dmbackup open" has made: whoever opens it says of what.
 *
 *   A volume that moves to another one of its group: both exchange their places
 *   on disk, in LVM's metadata and then in dm:
 *
 *                         before          the pivot       after
 *     vg-lv (the filter)  vg-lv-bkreal    vg-to           vg-lv-bkreal
 *     vg-lv-bkreal        old place       old place       new place
 *     vg-to               new place       new place       is not active
 *
 *   All names, uuids and numbers stay. vg/to has the old data, and LVM is told not
 *   to activate it by itself: its file system has the same UUID. LVM's lock of the
 *   group is held from before the pivot to the end, and a guard goes on if this
 *   process dies.
 *
 *   All others: refused without --without-lvm.
 */

#ifndef MOVE_H
#define MOVE_H

#include "device.h"

/*
 * May @d move to @to? 0, or an exit code after saying why not. @without_lvm: if LVM
 * can't be told at all, yes.
 */
int move_check(const struct device *d, const struct device *to,
	       bool without_lvm);

/*
 * Lets the mirror @id, which is ready, take the place of @d, waits for that, and
 * does all that is above. @bar: with a progress bar.
 */
int move_to(const struct device *d, const struct device *to, const char *id,
	    const char *title, bool without_lvm, bool bar);

/*
 * A filter stands on @major:@minor, not on @lower. Was it moved in LVM's metadata, and
 * @lower with it, but not put on that again? Then @stand_in is what it stands on, and
 * @place both's table, to be freed.
 */
bool move_is_unfinished(const struct dm_dev *lower, unsigned int major,
			unsigned int minor, struct dm_dev *stand_in,
			struct dm_tab *place);

#endif
