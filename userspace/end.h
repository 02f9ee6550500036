/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: what must have ended before a filter goes, or gets another length. All
 * return 0, or an exit code after saying why.
 */

#ifndef END_H
#define END_H

#include "device.h"
#include "filter.h"

/* Jobs that run forbid it; with @force they are cancelled. */
int end_jobs(const struct device *d, bool force);

/* Refuses something for the sake of a job. @or_else: what may be done to one that runs. */
int end_refuse(const struct device *d, const struct job *j, const char *or_else);

/* Bitmaps that would be lost forbid it, but for @force. */
int end_bitmaps(const struct device *d, bool force);

#endif
