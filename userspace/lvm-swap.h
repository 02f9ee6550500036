/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: two volumes of a group exchange their places on disk, in LVM's
 * metadata.
 *
 * Names, uuids and all else stay, only the segments change hands. LVM has no
 * command for that. So its text of the group's metadata is taken (vgcfgbackup),
 * changed, and given back (vgcfgrestore), all under the group's lock, which is
 * LVM's own. The second volume is marked not to be activated by itself.
 *
 * What dm has is not touched: that is the caller's.
 */

#ifndef LVM_SWAP_H
#define LVM_SWAP_H

#include <stdbool.h>

struct lvm_swap {
	char *vg;
	char *file;		/* what the group's metadata is to be */
	char *path;		/* LVM's lock of the group */
	int lock;		/* the same, open, or -1 */
	bool thin;		/* there are thin volumes in it */
	int at_work[2];		/* a pipe, open while LVM is; for a guard */
};

#define LVM_SWAP_NONE ((struct lvm_swap){ .lock = -1, .at_work = { -1, -1 } })

/* A volume: "vg/lv", and the uuid that dm has of it. */
struct lvm_volume {
	const char *name;
	const char *uuid;
};

/*
 * From here to lvm_swap_end() no other command changes the group of @lv, "vg/lv".
 * 0, or an exit code after saying why not; then, too, lvm_swap_end() is to be
 * called. The same goes for lvm_swap_begin().
 */
int lvm_swap_lock(struct lvm_swap *s, const char *lv);

/*
 * @lv and @other: of that group, as they are since it is locked; plain volumes of
 * one size. Looks whether LVM would take the result.
 */
int lvm_swap_begin(struct lvm_swap *s, const struct lvm_volume *lv,
		   const struct lvm_volume *other);

/*
 * In a guard, whose parent has died: waits until what that has started has ended. For
 * the guard to have it, lvm_swap_lock() comes before it.
 */
void lvm_swap_take_over(struct lvm_swap *s);

/* Changes the metadata. Doing it twice is the same as doing it once. */
int lvm_swap_commit(struct lvm_swap *s);

/* @keep: the file stays, for who has to do it by hand. */
void lvm_swap_end(struct lvm_swap *s, bool keep);

#endif
