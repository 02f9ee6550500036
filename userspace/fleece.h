/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: a backup's fleece device, where what is overwritten goes first: one that
 * the user gives, or "auto": one that is made (scratch.h) and removed when the backup
 * has ended.
 *
 * A volume that was left by a command that was killed is removed by
 * "view remove ID", ID being the job's.
 */

#ifndef FLEECE_H
#define FLEECE_H

#include "group.h"

/*
 * --fleece of a backup whose target has been found: may it be written, so far as can be
 * told? Adds to @a->words. @detach: nobody stays to remove what is made. 0, or an exit
 * code after saying why not.
 */
int fleece_find(struct action *a, bool detach);

/* Makes what is to be made. The same. */
int fleece_make(struct action *a);

/* Removes what was made; the job has ended, or never began. */
void fleece_remove(struct action *a);

#endif
