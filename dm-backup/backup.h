/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The job that copies a point in time of the whole device to a destination.
 * Policy only: clusters are cow.c's, moving data is copy.c's, states are job.c's.
 *
 * Its life
 *   prepare   open the destination, check it against the origin, make the maps
 *             and the reserve
 *   install   the point in time goes into the cfg that the cut publishes
 *   copy      while the destination has room for what is coming, guests' copies
 *             do not wait for the budget, and fewer than max_workers are at work
 *   settle    when every cluster is on the destination: flush the origin (its
 *             volatile cache could take back what was copied), then the
 *             destination
 *   release   take the point in time out and close the destination
 */

#ifndef BK_BACKUP_H
#define BK_BACKUP_H

#include "job.h"

struct bk_txn_part;

struct bk_job *bk_backup_create(struct bk_txn_part *part, const char *id,
				unsigned int argc, char **argv, bool *freeze,
				char *error, size_t size);

#endif
