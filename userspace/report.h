/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: what is told of filters, bitmaps and jobs, in tables (table.h); the
 * progress bar.
 */

#ifndef REPORT_H
#define REPORT_H

#include "bitmap.h"
#include "dmbackup.h"
#include "filter.h"

/* Tables, printed. All return 0 or an exit code. */
int report_jobs(const struct device *d, const struct filter *f,
		const struct options *o);
int report_bitmaps(const struct bitmap *list, unsigned int n,
		   const struct options *o);
int report_bitmap(const struct bitmap *b, const struct options *o);

/* A row for each key of @answer, a "job show". */
int report_job(const char *answer, const struct options *o);

/* The result of a backup, as one row. @answer: its last "job show". */
int report_backup(const struct device *d, const char *answer, uint64_t ms,
		  unsigned int longest_ms, const struct options *o);

/* One line on stderr, drawn over and over. @answer: "job show". */
void progress_show(const char *title, const char *answer, uint64_t ms);
void progress_end(const char *title, const char *answer, uint64_t ms);
void progress_clear(void);

#endif
