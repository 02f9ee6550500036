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

/* The results of backups, a row for each. */
struct result {
	const char *device;
	const char *target;
	const char *answer;	/* the last "job show"; NULL: not known */
	uint64_t ms;
	unsigned int longest_ms;
};

int report_backups(const struct result *r, unsigned int n,
		   const struct options *o);

/*
 * One line on stderr, drawn over and over; bytes. In a log: one for each ten per
 * cent.
 */
struct progress {
	const char *title;
	char *state;
	uint64_t done;
	uint64_t total;
	uint64_t began;		/* now_ms() */
};

void progress_show(const struct progress *p);
/* The same for a job, as "job show" tells of it; @p->state is to be freed. */
void progress_job(struct progress *p, const char *answer);
void progress_end(const struct progress *p);
void progress_clear(void);

#endif
