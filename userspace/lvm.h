/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: LVM is asked by its programs, which say themselves what is wrong.
 */

#ifndef LVM_H
#define LVM_H

#include <stdbool.h>

/*
 * Runs a program. @argv: its name and arguments, then NULL. @fn: called with each
 * line that it prints, without its end; once it has returned false it is not
 * called any more, and all has failed. NULL: nobody reads them.
 *
 * 0, or an exit code after saying that it failed.
 */
int lvm_run(char *const argv[], bool (*fn)(char *line, void *ctx), void *ctx);

/* The same; what it prints, errors included, is only shown if it fails. */
int lvm_run_quiet(char *const argv[]);

/*
 * The same; until the program has ended, whatever becomes of this process, it has the
 * descriptor @held open.
 */
int lvm_run_held(char *const argv[], int held);

/* Is there a volume "vg/lv", and is it active? */
struct lvm_state {
	bool there;
	bool active;
};

int lvm_look(const char *lv, struct lvm_state *state);

/* Is there no such volume group, as LVM says? If it says nothing that is not known. */
bool lvm_lacks_vg(const char *vg);

/* Makes a blank one. @size: as lvcreate takes it. */
int lvm_create(const char *lv, const char *size);
int lvm_activate(const char *lv);
int lvm_remove(const char *lv);

/* "vg" of "vg/lv". To be freed. */
char *lvm_vg(const char *lv);

#endif
