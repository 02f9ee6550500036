/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is said of a job's destination before it is written to: whether it could
 * be opened, and whether it can take what is on the origin.
 */

#ifndef BK_JOB_DEST_H
#define BK_JOB_DEST_H

#include "job.h"

int bk_job_dest_failed(struct bk_job *job, const char *what, const char *name,
		       int err);
int bk_job_dest_check(struct bk_job *job, const char *what, const char *name,
		      struct block_device *o, struct block_device *d,
		      bool allow_larger);
const char *bk_job_dest_lacks(struct bk_job *job, struct block_device *d);
int bk_job_dest_contains(struct bk_job *job, const char *name,
			 struct block_device *d);

#endif
