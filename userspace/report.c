// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: what is told of filters, bitmaps and jobs. The contract is in
 * report.h.
 */

#include "report.h"
#include "dm.h"
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/*------------------------------------------------------------------*/
/* list */

static const struct column list_columns[] = {
	{ "NAME", TEXT }, { "DEVICE", TEXT }, { "SIZE", SIZE },
	{ "STATE", TEXT }, { "ORIGIN", TEXT }, { "JOBS", NUMBER },
	{ "STAGED", SIZE }, { "BUFFER", SIZE }, { "MOUNTPOINT", TEXT },
};

struct list {
	struct table table;
	const char *only;
};

static int list_one(const char *name, void *ctx)
{
	struct list *l = ctx;
	struct table *t = &l->table;
	struct filter f = { 0 };
	struct dm_tab tab;
	struct device d;
	char *where, devno[32];
	bool filter, pass;

	if (dm_tab_read(name, &tab))
		return 0;
	filter = dm_tab_is(&tab, "backup");
	pass = dm_tab_is(&tab, "backup-pass");
	snprintf(devno, sizeof(devno), "%.*s",
		 tab.n ? (int)strcspn(tab.seg[0].params, " ") : 0,
		 tab.n ? tab.seg[0].params : "");
	memset(&d, 0, sizeof(d));
	d.arg = name;
	if ((filter || pass) && !dm_by_name(name, &d.dm)) {
		d.is_dm = true;
		d.major = d.dm.major;
		d.minor = d.dm.minor;
		if (filter && filter_read(&d, &f))
			filter = false;
		where = device_lv_name(&d.dm);
		table_row(t);
		table_text(t, 0, where ? where : name);
		free(where);
		table_number(t, 2, dm_tab_len(&tab) * 512);
		table_text(t, 3, pass ? "detaching" : d.dm.suspended ?
				 "suspended" : "attached");
		table_text(t, 4, devno);
		table_number(t, 5, f.nr_jobs);
		table_number(t, 6, f.staged * 512);
		table_number(t, 7, f.budget * 512);
		where = device_mountpoint(&d);
		table_text(t, 8, where ? where : "");
		free(where);
		snprintf(devno, sizeof(devno), "%u:%u", d.major, d.minor);
		table_text(t, 1, devno);
		filter_free(&f);
	}
	dm_tab_free(&tab);
	return 0;
}

int cmd_list(int argc, char **argv, const struct options *o)
{
	struct list l;
	int r;

	(void)argc;
	(void)argv;
	table_begin(&l.table, "filters", list_columns,
		    sizeof(list_columns) / sizeof(*list_columns), o);
	r = dm_for_each(list_one, &l);
	if (r) {
		say("devices can't be listed: %s", dm_why());
		return code_of_errno(r);
	}
	return table_end(&l.table);
}

/*------------------------------------------------------------------*/
/* jobs */

static const struct column job_columns[] = {
	{ "ID", TEXT }, { "TYPE", TEXT }, { "STATE", TEXT },
	{ "DONE", SIZE }, { "TOTAL", SIZE }, { "PERCENT", NUMBER },
	{ "SPEED", SIZE }, { "IO", TEXT }, { "ERROR", TEXT },
};

static unsigned int percent(uint64_t done, uint64_t total)
{
	return total ? done * 100 / total : 100;
}

int report_jobs(const struct device *d, const struct filter *f,
		const struct options *o)
{
	struct table t;
	unsigned int i;

	(void)d;
	table_begin(&t, "jobs", job_columns,
		    sizeof(job_columns) / sizeof(*job_columns), o);
	for (i = 0; i < f->nr_jobs; i++) {
		const struct job *j = &f->jobs[i];

		table_row(&t);
		table_text(&t, 0, j->id);
		table_text(&t, 1, j->type);
		table_text(&t, 2, j->state);
		table_number(&t, 3, j->done * 512);
		table_number(&t, 4, j->total * 512);
		table_number(&t, 5, percent(j->done, j->total));
		table_number(&t, 6, j->speed);
		table_text(&t, 7, j->io_status);
		table_text(&t, 8, j->error);
	}
	return table_end(&t);
}

/*------------------------------------------------------------------*/
/* bitmaps */

static const struct column bitmap_columns[] = {
	{ "NAME", TEXT }, { "GRANULARITY", SIZE }, { "DIRTY", SIZE },
	{ "PERCENT", NUMBER }, { "STATE", TEXT }, { "PERSISTENT", NUMBER },
	{ "JOB", TEXT }, { "SUCCESSOR", SIZE }, { "CAUSE", TEXT },
};

static const char *bitmap_state(const struct bitmap *b)
{
	return b->inconsistent ? "inconsistent" :
	       b->recording ? "recording" : "disabled";
}

int report_bitmaps(const struct bitmap *list, unsigned int n,
		   const struct options *o)
{
	struct table t;
	unsigned int i;

	table_begin(&t, "bitmaps", bitmap_columns,
		    sizeof(bitmap_columns) / sizeof(*bitmap_columns), o);
	for (i = 0; i < n; i++) {
		const struct bitmap *b = &list[i];

		table_row(&t);
		table_text(&t, 0, b->name);
		table_number(&t, 1, b->granularity * 512);
		table_number(&t, 2, b->dirty * 512);
		table_number(&t, 3, percent(b->dirty, b->total));
		table_text(&t, 4, bitmap_state(b));
		table_number(&t, 5, b->persistent);
		table_text(&t, 6, b->busy);
		table_number(&t, 7, b->successor * 512);
		table_text(&t, 8, b->cause);
	}
	return table_end(&t);
}

int report_bitmap(const struct bitmap *b, const struct options *o)
{
	return report_bitmaps(b, 1, o);
}

/* "key=value ..." as one row of a table a person reads downwards. */
int report_job(const char *answer, const struct options *o)
{
	static const struct column columns[] = {
		{ "KEY", TEXT }, { "VALUE", TEXT },
	};
	char *copy = xstrdup(answer), *p = copy, *eq, *end;
	struct table t;
	struct options plain = *o;

	plain.noheadings = true;
	table_begin(&t, "job", columns, 2, &plain);
	while (p && *p && (eq = strchr(p, '='))) {
		bool last = !strncmp(p, "cause=", 6);

		*eq = '\0';
		end = last ? NULL : strchr(eq + 1, ' ');
		if (end)
			*end++ = '\0';
		table_row(&t);
		table_text(&t, 0, p);
		table_text(&t, 1, eq + 1);
		p = end;
	}
	free(copy);
	return table_end(&t);
}

/*------------------------------------------------------------------*/
/* status */

static const struct column status_columns[] = {
	{ "NAME", TEXT }, { "MODE", TEXT }, { "STAGED", SIZE },
	{ "BUFFER", SIZE }, { "HELD", NUMBER }, { "LONGEST-HOLD-MS", NUMBER },
	{ "GUEST-COPIED", SIZE }, { "HELD-TOTAL", NUMBER },
	{ "DISCARDS-SKIPPED", SIZE }, { "JOBS", NUMBER },
};

static int report_filter(const struct device *d, const struct filter *f,
			 const struct options *o)
{
	struct table t;

	table_begin(&t, "filter", status_columns,
		    sizeof(status_columns) / sizeof(*status_columns), o);
	table_row(&t);
	table_text(&t, 0, d->arg);
	table_text(&t, 1, f->mode);
	table_number(&t, 2, f->staged * 512);
	table_number(&t, 3, f->budget * 512);
	table_number(&t, 4, f->held);
	table_number(&t, 5, f->longest_ms);
	table_number(&t, 6, f->guest_copied * 512);
	table_number(&t, 7, f->held_total);
	table_number(&t, 8, f->discards_skipped * 512);
	table_number(&t, 9, f->nr_jobs);
	return table_end(&t);
}

int cmd_status(int argc, char **argv, const struct options *o)
{
	struct filter f;
	struct device d;
	int r;

	(void)argc;
	r = filter_find(argv[0], &d, &f);
	if (r)
		return r;
	r = report_filter(&d, &f, o);
	if (!r && f.nr_jobs && !o->json) {
		printf("\n");
		r = report_jobs(&d, &f, o);
	}
	filter_free(&f);
	return r;
}

/*------------------------------------------------------------------*/
/* The result of a backup */

static const struct column backup_columns[] = {
	{ "DEVICE", TEXT }, { "TARGET", TEXT }, { "OUTCOME", TEXT },
	{ "COPIED", SIZE }, { "GUEST-COPIED", SIZE }, { "MS", NUMBER },
	{ "SPEED", SIZE }, { "LONGEST-HOLD-MS", NUMBER },
};

int report_backups(const struct result *r, unsigned int n,
		   const struct options *o)
{
	struct table t;
	unsigned int i;

	table_begin(&t, "backup", backup_columns,
		    sizeof(backup_columns) / sizeof(*backup_columns), o);
	for (i = 0; i < n; i++, r++) {
		uint64_t bytes = show_number(r->answer, "done") * 512;
		char *outcome = show_value(r->answer, "outcome");

		table_row(&t);
		table_text(&t, 0, r->device);
		table_text(&t, 1, r->target);
		table_text(&t, 2, outcome ? outcome : "unknown");
		table_number(&t, 3, bytes);
		table_number(&t, 4,
			     show_number(r->answer, "guest_copied") * 512);
		table_number(&t, 5, r->ms);
		table_number(&t, 6, r->ms ? bytes * 1000 / r->ms : 0);
		table_number(&t, 7, r->longest_ms);
		free(outcome);
	}
	return table_end(&t);
}

/*------------------------------------------------------------------*/
/* Progress */

#define BAR 24

static bool drawn;

static unsigned int width(void)
{
	struct winsize ws;

	return !ioctl(2, TIOCGWINSZ, &ws) && ws.ws_col ? ws.ws_col : 100;
}

/* Over a terminal's line; elsewhere each on a line of its own. */
static void draw(const char *line)
{
	if (isatty(2))
		fprintf(stderr, "\r%-.*s\033[K", (int)width() - 1, line);
	else
		fprintf(stderr, "%s\n", line);
	drawn = isatty(2);
}

/* Bytes per second of the last 5 to 10 seconds; what was there first is not ours. */
static uint64_t rate_of(uint64_t done, uint64_t ms)
{
	static struct { uint64_t done, ms; } from, next;
	static bool begun;

	if (!begun) {
		begun = true;
		from.done = next.done = done;
		from.ms = next.ms = ms;
	}
	if (ms - next.ms > 5000) {
		from = next;
		next.done = done;
		next.ms = ms;
	}
	return ms > from.ms ? (done - from.done) * 1000 / (ms - from.ms) : 0;
}

static char *progress_line(const struct progress *p)
{
	uint64_t rate = rate_of(p->done, now_ms() - p->began);
	unsigned int pc = percent(p->done, p->total), i;
	char bar[BAR + 1], a[32], b[32], c[32], eta[32] = "";
	const char *state = p->state ? p->state : "";

	for (i = 0; i < BAR; i++)
		bar[i] = i < pc * BAR / 100 ? '#' : '.';
	bar[BAR] = '\0';
	if (rate && p->done < p->total)
		snprintf(eta, sizeof(eta), ", %llu s left",
			 (unsigned long long)((p->total - p->done) / rate + 1));
	if (!strcmp(state, "running"))
		state = "";
	return xasprintf("%s [%s] %3u%%  %s of %s, %s/s%s%s%s", p->title, bar,
			 pc, format_bytes(p->done, a, sizeof(a)),
			 format_bytes(p->total, b, sizeof(b)),
			 format_bytes(rate, c, sizeof(c)), eta,
			 *state ? ", " : "", state);
}

static unsigned int last_shown = 101;	/* percent */

void progress_show(const struct progress *p)
{
	unsigned int pc = percent(p->done, p->total);
	char *line;

	/* A log is not to be flooded. */
	if (!isatty(2) && pc / 10 == last_shown / 10)
		return;
	last_shown = pc;
	line = progress_line(p);
	draw(line);
	free(line);
}

void progress_job(struct progress *p, const char *answer)
{
	free(p->state);
	p->state = show_value(answer, "state");
	p->done = show_number(answer, "done") * 512;
	p->total = show_number(answer, "total") * 512;
	progress_show(p);
}

void progress_end(const struct progress *p)
{
	char *line;

	if (!isatty(2) && last_shown == 100)
		return;
	line = progress_line(p);
	draw(line);
	free(line);
	progress_clear();
}

void progress_clear(void)
{
	if (drawn)
		fputc('\n', stderr);
	drawn = false;
}
