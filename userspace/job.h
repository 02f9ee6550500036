/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: following a job.
 */

#ifndef JOB_H
#define JOB_H

#include "dmbackup.h"
#include "filter.h"

/*
 * Follow a job to its end, with a progress bar if wanted; Ctrl-C cancels it if
 * it is ours (@own), else it ends the waiting only. At its end the job is
 * dismissed. @last: NULL, or set to the last "job show", to be freed.
 * Returns the exit code for the outcome.
 */
int job_follow(const struct device *d, const char *id, const char *title,
	       bool own, const struct options *o, char **last);

#endif
