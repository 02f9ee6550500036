// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup resize: a filter follows its origin's growth.
 *
 * LVM can't load a table into a device that has a filter. So an LV is grown in
 * LVM's metadata only (lvextend --driverloaded n), and here the hidden lower
 * device gets the table that the metadata asks for, then the filter its new
 * length. What was there must stay where it was.
 */

#include "attach.h"
#include "dm.h"
#include "dmbackup.h"
#include "end.h"
#include "filter.h"
#include "guard.h"
#include "lvm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MAX_FIELDS 8

/*------------------------------------------------------------------*/
/* Asking LVM */

/* "a|b|c" into fields, leading blanks dropped. */
static int split(char *line, char **field)
{
	int n = 0;

	while (line && n < MAX_FIELDS) {
		field[n] = strsep(&line, "|");
		while (*field[n] == ' ')
			field[n]++;
		n++;
	}
	return n;
}

struct pv {
	struct pv *next;
	char *name;
	unsigned int major;
	unsigned int minor;
	uint64_t start;		/* of its first extent, sectors */
	uint64_t extent;	/* sectors */
};

struct layout {
	struct pv *pvs;
	struct dm_tab tab;
};

/* pv_name|pe_start|vg_extent_size */
static bool read_pv(char *line, void *ctx)
{
	struct layout *l = ctx;
	char *field[MAX_FIELDS];
	struct stat st;
	struct pv *pv;

	if (split(line, field) != 3 || stat(field[0], &st))
		return false;
	pv = xcalloc(1, sizeof(*pv));
	pv->name = xstrdup(field[0]);
	pv->major = major(st.st_rdev);
	pv->minor = minor(st.st_rdev);
	pv->start = strtoull(field[1], NULL, 10);
	pv->extent = strtoull(field[2], NULL, 10);
	pv->next = l->pvs;
	l->pvs = pv;
	return true;
}

/* "/dev/sda1(17)" to "8:1 <sector>". To be freed; NULL if it is not known. */
static char *place(struct layout *l, char *device)
{
	char *paren = strrchr(device, '(');
	uint64_t extent;
	struct pv *pv;

	if (!paren)
		return NULL;
	*paren = '\0';
	extent = strtoull(paren + 1, NULL, 10);
	for (pv = l->pvs; pv; pv = pv->next)
		if (!strcmp(pv->name, device))
			return xasprintf("%u:%u %llu", pv->major, pv->minor,
					 (unsigned long long)
					 (pv->start + extent * pv->extent));
	return NULL;
}

/* segtype|seg_start|seg_size|stripes|stripe_size|devices */
static bool read_segment(char *line, void *ctx)
{
	struct layout *l = ctx;
	char *field[MAX_FIELDS], *params, *device, *where, *next;
	unsigned int stripes;
	bool linear;

	if (split(line, field) != 6)
		return false;
	stripes = strtoul(field[3], NULL, 10);
	linear = stripes == 1 && !strcmp(field[0], "linear");
	if (!linear && strcmp(field[0], "striped")) {
		say("segments of type %s can't be resized below a filter",
		    field[0]);
		hint("detach, resize, attach again");
		return false;
	}
	params = linear ? xstrdup("") : xasprintf("%u %s", stripes, field[4]);
	while ((device = strsep(&field[5], ","))) {
		where = place(l, device);
		if (!where)
			return false;
		next = xasprintf("%s%s%s", params, *params ? " " : "", where);
		free(params);
		free(where);
		params = next;
	}
	dm_tab_add(&l->tab, strtoull(field[1], NULL, 10),
		   strtoull(field[2], NULL, 10), linear ? "linear" : "striped",
		   params);
	free(params);
	return true;
}

/* The table that LVM's metadata asks for. */
static int read_layout(const char *lv, struct layout *l)
{
	char *vg = lvm_vg(lv);
	char *select = xasprintf("vg_name=%s", vg);
	char *pvs[] = {
		"pvs", "--noheadings", "--nosuffix", "--units", "s",
		"--separator", "|", "-o", "pv_name,pe_start,vg_extent_size",
		"-S", select, NULL
	};
	char *lvs[] = {
		"lvs", "--noheadings", "--nosuffix", "--units", "s",
		"--separator", "|", "--segments", "-o",
		"segtype,seg_start,seg_size,stripes,stripe_size,devices",
		(char *)lv, NULL
	};
	int r;

	r = lvm_run(pvs, read_pv, l);
	if (!r)
		r = lvm_run(lvs, read_segment, l);
	free(vg);
	free(select);
	return r;
}

static int lvextend(const char *lv, const char *size)
{
	char *argv[] = {
		"lvextend", "--driverloaded", "n", "-L", (char *)size,
		(char *)lv, NULL
	};

	return lvm_run(argv, NULL, NULL);
}

/*------------------------------------------------------------------*/
/* The swap */

struct resize {
	const struct device *d;
	struct dm_dev lower;
	struct dm_tab live;	/* the filter's table */
	struct dm_tab old;	/* the lower device's */
	struct dm_tab lower_tab; /* the lower device's new one; empty: as it is */
	struct dm_tab top;	/* the filter's new one */
	bool extended;		/* by LVM */
};

/* Does linear segment @new map what @old maps to the same place? */
static bool covers(const struct dm_segment *new, const struct dm_segment *old)
{
	unsigned long long new_at, old_at;
	unsigned int a, b, c, d;

	if (strcmp(new->type, old->type) || new->start > old->start ||
	    new->start + new->len < old->start + old->len)
		return false;
	if (strcmp(new->type, "linear"))
		return new->start == old->start &&
		       !strcmp(new->params, old->params);
	return sscanf(new->params, "%u:%u %llu", &a, &b, &new_at) == 3 &&
	       sscanf(old->params, "%u:%u %llu", &c, &d, &old_at) == 3 &&
	       a == c && b == d &&
	       new_at + (old->start - new->start) == old_at;
}

static bool keeps_data(const struct dm_tab *new, const struct dm_tab *old)
{
	unsigned int i, j;

	for (i = 0; i < old->n; i++) {
		for (j = 0; j < new->n; j++)
			if (covers(&new->seg[j], &old->seg[i]))
				break;
		if (j == new->n)
			return false;
	}
	return true;
}

static bool read_number(char *line, void *ctx)
{
	while (*line == ' ')
		line++;
	*(uint64_t *)ctx = strtoull(line, NULL, 10);
	return true;
}

/* A thin volume's table says nothing of where its data is. */
static int plan_thin(struct resize *z, const char *lv)
{
	char *argv[] = {
		"lvs", "--noheadings", "--nosuffix", "--units", "s", "-o",
		"lv_size", (char *)lv, NULL
	};
	uint64_t size = 0;
	int r = lvm_run(argv, read_number, &size);

	if (!r)
		dm_tab_add(&z->lower_tab, 0, size, "thin",
			   z->old.seg[0].params);
	return r;
}

/* What the lower device of an LV is to become. */
static int plan_lv(struct resize *z, const char *lv)
{
	struct layout l = { 0 };
	int r;

	if (dm_tab_is(&z->old, "thin"))
		return plan_thin(z, lv);
	r = read_layout(lv, &l);
	z->lower_tab = l.tab;
	if (r || keeps_data(&l.tab, &z->old))
		return r;
	say("%s: LVM has moved data of it; its table can't be replaced",
	    z->d->arg);
	hint("detach, lvchange --refresh, attach again");
	return EX_REFUSED;
}

/* The filter's new table: its old one, longer. */
static int plan_top(struct resize *z, uint64_t len)
{
	uint64_t now = dm_tab_len(&z->live);

	if (len < now) {
		say("%s: would shrink from %llu to %llu sectors; only growing is possible",
		    z->d->arg, (unsigned long long)now,
		    (unsigned long long)len);
		return EX_REFUSED;
	}
	dm_tab_add(&z->top, 0, len, "backup", z->live.seg[0].params);
	return EX_OK;
}

static void resize_finish(void *ctx)
{
	struct resize *z = ctx;

	/* A lower device that is longer than the filter does no harm. */
	dm_clear(z->lower.name);
	dm_clear(z->d->dm.name);
}

static int resize_swap(struct resize *z)
{
	int r = 0;

	if (z->lower_tab.n) {
		r = dm_load(z->lower.name, &z->lower_tab, z->lower.read_only);
		if (!r)
			r = dm_resume_hidden(z->lower.name);
	}
	if (!r)
		r = dm_load(z->d->dm.name, &z->top, z->d->dm.read_only);
	if (!r)
		r = dm_resume(z->d->dm.name);
	if (r) {
		say("%s: can't be resized: %s", z->d->arg, dm_why());
		resize_finish(z);
	}
	return code_of_errno(r);
}

/* Resuming it is for who has suspended it, and so is a table that waits for that. */
static int check_state(const struct resize *z, const struct dm_dev *dm)
{
	if (!dm->suspended && !dm->inactive)
		return EX_OK;
	say("%s: %s%s%s", z->d->arg, dm == &z->d->dm ? "" : dm->name,
	    dm == &z->d->dm ? "" : " ", dm->suspended ? "is suspended" :
	    "has a table loaded that waits for a resume");
	return EX_REFUSED;
}

/*
 * Is the filter on the hidden device of its own? Not if it was opened, or has moved
 * without LVM's knowledge: that is another device, maybe another volume.
 */
static bool is_attached(const struct resize *z)
{
	size_t len = strlen(z->d->dm.uuid);

	return len && !strncmp(z->lower.uuid, z->d->dm.uuid, len) &&
	       !strcmp(z->lower.uuid + len, LOWER_SUFFIX);
}

/* Read what is there. */
static int resize_read(struct resize *z, unsigned int *ma, unsigned int *mi)
{
	int r = dm_tab_read(z->d->dm.name, &z->live);

	if (r || !attach_stands_on(&z->live, ma, mi)) {
		say("%s: the filter's table can't be read: %s", z->d->arg,
		    r ? dm_why() : "it is not understood");
		return r ? code_of_errno(r) : EX_FAILED;
	}
	r = check_state(z, &z->d->dm);
	if (r || dm_by_devno(*ma, *mi, &z->lower) || !is_attached(z))
		return r;
	r = dm_tab_read(z->lower.name, &z->old);
	if (r) {
		say("%s: the table of %s can't be read: %s", z->d->arg,
		    z->lower.name, dm_why());
		return code_of_errno(r);
	}
	return check_state(z, &z->lower);
}

/* Plan what is to be. LVM is not told before it is known that it can be. */
static int resize_plan_lv(struct resize *z, const char *lv,
			  const struct options *o)
{
	int r = plan_lv(z, lv);

	if (!r && o->size) {
		r = lvextend(lv, o->size);
		if (!r) {
			z->extended = true;
			dm_tab_free(&z->lower_tab);
			r = plan_lv(z, lv);
		}
	}
	return r ? r : plan_top(z, dm_tab_len(&z->lower_tab));
}

static int resize_plan(struct resize *z, const struct options *o)
{
	unsigned int ma = 0, mi = 0;
	struct device lower;
	char devno[32], *lv;
	int r = resize_read(z, &ma, &mi);

	if (r)
		return r;
	lv = z->old.n ? device_lv_name(&z->d->dm) : NULL;
	if (lv) {
		r = resize_plan_lv(z, lv, o);
		free(lv);
		return r;
	}
	if (o->size) {
		say("%s: --size is for logical volumes that have a filter by attach; grow what is below it first",
		    z->d->arg);
		return EX_USAGE_;
	}
	snprintf(devno, sizeof(devno), "%u:%u", ma, mi);
	r = device_find(devno, &lower);
	return r ? r : plan_top(z, lower.sectors);
}

/* The kernel refuses another length while there is any job. */
static int check_no_jobs(const struct device *d)
{
	struct filter f;
	int r = filter_read(d, &f);

	if (r)
		return r;
	if (f.nr_jobs)
		r = end_refuse(d, f.jobs, "cancel it (dmbackup job cancel)");
	filter_free(&f);
	return r;
}

int cmd_resize(int argc, char **argv, const struct options *o)
{
	struct resize z = { 0 };
	struct device d;
	struct guard g;
	int r;

	(void)argc;
	r = device_find_filter_locked(argv[0], &d);
	if (!r)
		r = check_no_jobs(&d);
	if (r)
		return r;
	z.d = &d;
	r = resize_plan(&z, o);
	if (!r && dm_tab_len(&z.top) != dm_tab_len(&z.live)) {
		r = guard_begin(&g, d.dm.name, resize_finish, &z);
		if (!r) {
			r = resize_swap(&z);
			guard_end(&g);
		}
	}
	if (r && z.extended)
		hint("LVM has it longer already; dmbackup resize %s tries again",
		     d.arg);
	dm_tab_free(&z.live);
	dm_tab_free(&z.old);
	dm_tab_free(&z.lower_tab);
	dm_tab_free(&z.top);
	return r;
}
