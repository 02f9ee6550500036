// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: what must have ended before a filter goes. The contract is in end.h.
 */

#include "end.h"
#include "bitmap.h"
#include "dm.h"
#include "dmbackup.h"
#include "filter.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void cancel_job(const struct device *d, const struct job *j)
{
	char *message;

	if (job_is_over(j) || !strcmp(j->state, "aborting"))
		return;
	message = xasprintf("job cancel %s force", j->id);
	dm_message(d->dm.name, message, NULL);
	free(message);
}

/* There is one, if the filter is busy. */
static const struct job *first_not_over(const struct filter *f)
{
	const struct job *j = f->jobs;

	while (j < f->jobs + f->nr_jobs - 1 && job_is_over(j))
		j++;
	return j;
}

int end_refuse(const struct device *d, const struct job *j, const char *or_else)
{
	say("%s: has a job: %s is %s", d->arg, j->id, j->state);
	if (job_is_over(j))
		hint("dismiss it (dmbackup job dismiss)");
	else
		hint("wait for it (dmbackup job wait), or %s", or_else);
	return EX_REFUSED;
}

int end_jobs(const struct device *d, bool force)
{
	struct filter f;
	uint64_t end = now_ms() + 10000;
	unsigned int i;
	int r;

	for (;;) {
		r = filter_read(d, &f);
		if (r)
			return r;
		if (!filter_is_busy(&f)) {
			filter_free(&f);
			return EX_OK;
		}
		if (!force) {
			r = end_refuse(d, first_not_over(&f),
				       "give --force to cancel it");
			filter_free(&f);
			return r;
		}
		for (i = 0; i < f.nr_jobs; i++)
			cancel_job(d, &f.jobs[i]);
		filter_free(&f);
		if (now_ms() > end) {
			say("%s: its jobs do not end", d->arg);
			return EX_REFUSED;
		}
		usleep(100000);
	}
}

/*
 * What is not on disk would be lost: a full backup would be next. It would be
 * anyhow for one that is inconsistent.
 */
int end_bitmaps(const struct device *d, bool force)
{
	const struct bitmap *first = NULL;
	struct bitmap *list = NULL;
	unsigned int i, n = 0, lost = 0;
	int r = force ? EX_OK : bitmaps_read(d, &list, &n);

	for (i = 0; !r && i < n; i++)
		if (!list[i].persistent && !list[i].inconsistent && !lost++)
			first = &list[i];
	if (lost) {
		say("%s: has bitmaps that would be lost: %s%s", d->arg,
		    first->name, lost > 1 ? " and others" : "");
		hint("give --force to do it all the same; the next backup will have to be a full one");
		r = EX_REFUSED;
	}
	free(list);
	return r;
}
