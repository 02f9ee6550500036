// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup view: which views there are, and what is asked of one. Making and
 * removing is in view-make.c.
 */

#include "view.h"
#include "attach.h"
#include "dm.h"
#include "dmbackup.h"
#include "table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool view_read(const char *name, struct view *v)
{
	struct dm_tab t;
	bool ok = false;

	memset(v, 0, sizeof(*v));
	if (dm_by_name(name, &v->dm) || dm_tab_read(name, &t))
		return false;
	if (dm_tab_is(&t, "backup-view"))
		ok = sscanf(t.seg[0].params, "%u:%u %u:%u %127s", &v->origin[0],
			    &v->origin[1], &v->filter[0], &v->filter[1],
			    v->job) == 5;
	dm_tab_free(&t);
	return ok;
}

bool view_filter(const struct view *v, struct device *d)
{
	char *type = NULL, *params = NULL;
	uint64_t len;
	bool ok;

	memset(d, 0, sizeof(*d));
	if (dm_by_devno(v->filter[0], v->filter[1], &d->dm))
		return false;
	d->is_dm = true;
	d->major = v->filter[0];
	d->minor = v->filter[1];
	d->arg = d->dm.name;
	ok = !dm_status(d->dm.name, &type, &params, &len) &&
	     !strcmp(type, "backup");
	free(type);
	free(params);
	return ok;
}

char *view_origin_lv(const unsigned int origin[2])
{
	struct dm_dev dm;
	size_t len;

	if (dm_by_devno(origin[0], origin[1], &dm))
		return NULL;
	len = strlen(dm.name);
	if (len > strlen(LOWER_SUFFIX) &&
	    !strcmp(dm.name + len - strlen(LOWER_SUFFIX), LOWER_SUFFIX))
		dm.name[len - strlen(LOWER_SUFFIX)] = '\0';
	return device_lv_name(&dm);
}

int filter_origin(const struct device *d, unsigned int origin[2])
{
	struct dm_tab t;
	bool ok;

	if (dm_tab_read(d->dm.name, &t)) {
		say("%s: its table can't be read: %s", d->arg, dm_why());
		return EX_FAILED;
	}
	ok = t.n && sscanf(t.seg[0].params, "%u:%u", &origin[0],
			   &origin[1]) == 2;
	dm_tab_free(&t);
	if (ok)
		return EX_OK;
	say("%s: its table is not understood", d->arg);
	return EX_FAILED;
}

struct check {
	const struct device *d;
	bool found;
};

static int check_one(const char *name, void *ctx)
{
	struct check *c = ctx;
	struct view v;

	if (!view_read(name, &v) || v.filter[0] != c->d->major ||
	    v.filter[1] != c->d->minor)
		return 0;
	say("%s: has the view %s", c->d->arg, name);
	hint("dmbackup view remove %s", name);
	c->found = true;
	return 0;
}

int view_check_none(const struct device *d)
{
	struct check c = { .d = d };

	dm_for_each(check_one, &c);
	return c.found ? EX_REFUSED : EX_OK;
}

/*------------------------------------------------------------------*/
/* discard */

int cmd_view_discard(int argc, char **argv, const struct options *o)
{
	uint64_t start, length, end;
	struct view v;
	char *message;
	int r;

	(void)argc;
	(void)o;
	if (!parse_bytes("START", argv[1], &start) ||
	    !parse_bytes("LENGTH", argv[2], &length))
		return EX_USAGE_;
	if (!view_read(argv[0], &v)) {
		say("%s: there is no such view", argv[0]);
		return EX_NODEV;
	}
	if (length > UINT64_MAX - start) {
		say("%s: discard: that is behind its end", argv[0]);
		return EX_USAGE_;
	}
	/* Inward, as the kernel does with clusters. */
	end = (start + length) / 512;
	start = start / 512 + !!(start % 512);
	if (start >= end)
		return EX_OK;
	message = xasprintf("discard %llu+%llu", (unsigned long long)start,
			    (unsigned long long)(end - start));
	r = dm_message(v.dm.name, message, NULL);
	if (r)
		say("%s: discard: %s", argv[0], r == -EPERM ?
		    "the job's bitmap would lose what was not copied" :
		    strerror(-r));
	free(message);
	return code_of_errno(r);
}

/*------------------------------------------------------------------*/
/* list */

static const struct column view_columns[] = {
	{ "NAME", TEXT }, { "DEVICE", TEXT }, { "JOB", TEXT },
	{ "STATE", TEXT }, { "SIZE", SIZE }, { "FROM-ORIGIN", SIZE },
	{ "FROM-SCRATCH", SIZE }, { "FROM-MEMORY", SIZE },
	{ "MOUNTPOINT", TEXT },
};

struct list {
	struct table table;
	const struct device *of;	/* NULL: all */
};

static int list_one(const char *name, void *ctx)
{
	char state[32] = "", *type = NULL, *params = NULL, *where, *lv;
	unsigned long long from[3] = { 0 };
	struct list *l = ctx;
	struct device d = { 0 };
	uint64_t sectors = 0;
	struct view v;
	unsigned int i;

	if (!view_read(name, &v) ||
	    (l->of && (v.filter[0] != l->of->major ||
		       v.filter[1] != l->of->minor)))
		return 0;
	if (!dm_status(name, &type, &params, &sectors))
		sscanf(params, "%*u %31s %*s %*u origin %llu dest %llu memory %llu",
		       state, &from[0], &from[1], &from[2]);
	free(type);
	free(params);
	d.major = v.dm.major;
	d.minor = v.dm.minor;
	where = device_mountpoint(&d);
	lv = view_filter(&v, &d) ? device_lv_name(&d.dm) :
				   view_origin_lv(v.origin);
	if (!lv && d.is_dm)
		lv = xstrdup(d.dm.name);
	table_row(&l->table);
	table_text(&l->table, 0, name);
	table_text(&l->table, 1, lv ? lv : "");
	table_text(&l->table, 2, v.job);
	table_text(&l->table, 3, state);
	table_number(&l->table, 4, sectors * 512);
	for (i = 0; i < 3; i++)
		table_number(&l->table, 5 + i, from[i] * 512);
	table_text(&l->table, 8, where ? where : "");
	free(where);
	free(lv);
	return 0;
}

int cmd_view_list(int argc, char **argv, const struct options *o)
{
	struct list l = { 0 };
	struct device d;
	int r;

	if (argc) {
		r = device_find(argv[0], &d);
		if (r)
			return r;
		l.of = &d;
	}
	table_begin(&l.table, "views", view_columns,
		    sizeof(view_columns) / sizeof(*view_columns), o);
	r = dm_for_each(list_one, &l);
	if (r) {
		say("devices can't be listed: %s", dm_why());
		return code_of_errno(r);
	}
	return table_end(&l.table);
}
