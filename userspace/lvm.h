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

/* "vg" of "vg/lv". To be freed. */
char *lvm_vg(const char *lv);

#endif
