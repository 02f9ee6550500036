/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The target "backup-pass", the twin of "backup": a plain pass-through.
 *
 * It is a wildcard: it may replace an immutable table, which "backup" is, and may be
 * replaced by anything. So detaching a filter is two steps.
 *
 * In a filter's device it is refused over what a pivot has left, or would: no table is to
 * bring old data back. While one is loaded there no pivot is made.
 */

#ifndef BK_PASS_H
#define BK_PASS_H

struct dm_target;

void bk_ask_all_bios(struct dm_target *ti);
int bk_pass_init(void);
void bk_pass_exit(void);

#endif
