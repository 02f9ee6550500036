// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup attach.
 *
 * Attaching stacks as LVM does with its own layers. The visible device keeps its
 * number, name and uuid and gets the table "backup"; its old table moves to a
 * hidden device NAME-bkreal with the same uuid and a suffix, which LVM takes for
 * one of its own: it does not scan it, and removes it together with the LV.
 *
 *   vg-lv          0 N backup MAJ:MIN      what everybody has open
 *   vg-lv-bkreal   the old table           uuid LVM-...-bkreal
 */

#include "attach.h"
#include "dm.h"
#include "dmbackup.h"
#include "filter-features.h"
#include "guard.h"
#include "metadata.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Two live instances of these read and write the same blocks and that is all.
 * Of others (raid, cache, integrity, snapshot, ...) two would destroy data.
 */
static const char *const movable[] = {
	"linear", "striped", "error", "zero", "crypt", "thin", NULL
};

static bool ends_with(const char *s, const char *end)
{
	size_t a = strlen(s), b = strlen(end);

	return a >= b && !strcmp(s + a - b, end);
}

char *attach_lower_name(const struct device *d)
{
	return xasprintf("%s%s", d->dm.name, LOWER_SUFFIX);
}

bool attach_stands_on(const struct dm_tab *t, unsigned int *ma,
		      unsigned int *mi)
{
	return t->n == 1 && sscanf(t->seg[0].params, "%u:%u", ma, mi) == 2;
}

int attach_lower(const struct device *d, struct dm_dev *lower)
{
	unsigned int ma, mi;
	char *expected = attach_lower_name(d);
	struct dm_tab t = { 0 };
	int err = dm_by_name(expected, lower);

	if (!err)
		err = dm_tab_read(d->dm.name, &t);
	if (!err && (!attach_stands_on(&t, &ma, &mi) || ma != lower->major ||
		     mi != lower->minor))
		err = -ENXIO;
	dm_tab_free(&t);
	free(expected);
	return err;
}

struct attach {
	const struct device *d;
	char *lower;
	struct dm_tab old;	/* the table that moves down */
	struct dm_tab top;	/* the filter's */
	bool resuming;		/* the lower device was there already */
};

/*
 * LVM is moving its extents: it loads the volume's table again when that has ended,
 * and takes the device away that the copy below the filter would stand on.
 */
static bool is_pvmove(const char *word)
{
	unsigned int ma, mi, n;
	struct dm_dev on;
	char rest, *at;

	if (sscanf(word, "%u:%u%c", &ma, &mi, &rest) != 2 ||
	    dm_by_devno(ma, mi, &on) || strncmp(on.uuid, "LVM-", 4))
		return false;
	/* "vg-pvmove0"; hyphens of other names are doubled. */
	at = strstr(on.name, "-pvmove");
	return at && at > on.name && at[-1] != '-' &&
	       sscanf(at, "-pvmove%u", &n) == 1;
}

static bool is_being_moved(const struct dm_segment *seg)
{
	char *params = xstrdup(seg->params), *rest = NULL, *word;
	bool yes = false;

	for (word = strtok_r(params, " ", &rest); word && !yes;
	     word = strtok_r(NULL, " ", &rest))
		yes = is_pvmove(word);
	/* It may hold a key. */
	explicit_bzero(params, strlen(seg->params));
	free(params);
	return yes;
}

static int attach_check_table(const struct attach *a)
{
	unsigned int i, j;

	for (i = 0; i < a->old.n; i++)
		if (is_being_moved(&a->old.seg[i])) {
			say("%s: is being moved by pvmove", a->d->arg);
			hint("wait for its end, or pvmove --abort");
			return EX_REFUSED;
		}
	for (i = 0; i < a->old.n; i++) {
		for (j = 0; movable[j]; j++)
			if (!strcmp(a->old.seg[i].type, movable[j]))
				break;
		if (movable[j])
			continue;
		say("%s: a table of type %s can't be moved below a filter",
		    a->d->arg, a->old.seg[i].type);
		hint("two live instances of it would destroy data; put the filter on top, under another name:");
		hint("dmbackup open %s NAME", a->d->arg);
		return EX_REFUSED;
	}
	return EX_OK;
}

static int attach_check(struct attach *a)
{
	const struct dm_dev *dm = &a->d->dm;

	if (!a->d->is_dm) {
		say("%s: is not a device-mapper device, so nothing can be put below it while it is in use",
		    a->d->arg);
		hint("for a device that is not in use: dmbackup open %s NAME",
		     a->d->arg);
		return EX_REFUSED;
	}
	if (ends_with(dm->uuid, LOWER_SUFFIX) ||
	    ends_with(dm->name, LOWER_SUFFIX)) {
		say("%s: is the hidden device below a filter", a->d->arg);
		return EX_REFUSED;
	}
	if (!dm->live) {
		say("%s: has no table", a->d->arg);
		return EX_REFUSED;
	}
	if (dm->suspended) {
		say("%s: is suspended", a->d->arg);
		return EX_REFUSED;
	}
	if (dm->inactive) {
		say("%s: has a table loaded that waits for a resume; whoever did that is not done",
		    a->d->arg);
		return EX_REFUSED;
	}
	if (strlen(dm->name) + strlen(LOWER_SUFFIX) >= DM_NAME_SIZE ||
	    strlen(dm->uuid) + strlen(LOWER_SUFFIX) >= DM_UUID_SIZE) {
		say("%s: its name or uuid is too long", a->d->arg);
		return EX_REFUSED;
	}
	return EX_OK;
}

/* What is there: a table to move, or what an interrupted detach left. */
static int attach_read(struct attach *a)
{
	struct dm_dev lower;
	int r = dm_tab_read(a->d->dm.name, &a->old);

	if (r) {
		say("%s: its table can't be read: %s", a->d->arg, dm_why());
		return code_of_errno(r);
	}
	if (dm_tab_is(&a->old, "backup")) {
		say("%s: has a backup filter already", a->d->arg);
		return EX_REFUSED;
	}
	if (dm_tab_is(&a->old, "backup-pass")) {
		a->resuming = true;
		return EX_OK;
	}
	r = attach_check_table(a);
	if (r || dm_by_name(a->lower, &lower))
		return r;
	/* Left by an attach that was killed: nobody uses it. */
	if (!lower.open_count && !dm_remove(a->lower))
		return EX_OK;
	say("%s: the device %s is there already and in use", a->d->arg,
	    a->lower);
	return EX_REFUSED;
}

/* Undo, as far as the swap has not been made. */
static void attach_finish(void *ctx)
{
	struct attach *a = ctx;
	struct dm_dev lower;
	struct dm_tab live;
	bool done;

	/* Not begun: a table that waits there is not ours. */
	if (!a->resuming && dm_by_name(a->lower, &lower))
		return;
	if (dm_tab_read(a->d->dm.name, &live))
		return;
	done = dm_tab_is(&live, "backup");
	dm_tab_free(&live);
	if (done)
		return;
	dm_clear(a->d->dm.name);
	if (!a->resuming)
		dm_remove(a->lower);
}

static int attach_make_lower(struct attach *a)
{
	char *uuid;
	int r;

	if (a->resuming)
		return EX_OK;
	uuid = a->d->dm.uuid[0] ?
	       xasprintf("%s%s", a->d->dm.uuid, LOWER_SUFFIX) : NULL;
	r = dm_make(a->lower, uuid, &a->old, a->d->dm.read_only, true);
	free(uuid);
	if (r)
		say("%s: %s can't be made: %s", a->d->arg, a->lower, dm_why());
	return code_of_errno(r);
}

/*
 * Since it was read LVM may have been asked for metadata, which takes its time, or
 * somebody may have grown the device: what was read would undo that.
 */
static int attach_check_same(const struct attach *a)
{
	const struct dm_dev *was = &a->d->dm;
	struct dm_tab t = { 0 };
	struct dm_dev now;
	int err = dm_by_devno(was->major, was->minor, &now);
	bool same;

	if (!err)
		err = dm_tab_read(now.name, &t);
	same = !err && !now.suspended && !now.inactive &&
	       !strcmp(now.name, was->name) && dm_tab_same(&t, &a->old);
	dm_tab_free(&t);
	if (same)
		return EX_OK;
	say("%s: somebody else is changing it", a->d->arg);
	hint("nothing was done; try again when that has ended");
	return EX_REFUSED;
}

static int attach_swap(struct attach *a, const struct features *f)
{
	struct dm_dev lower;
	char *params;
	int r = dm_by_name(a->lower, &lower);

	if (r) {
		say("%s: %s is gone: %s", a->d->arg, a->lower, strerror(-r));
		return code_of_errno(r);
	}
	params = features_params(lower.major, lower.minor, f);
	dm_tab_add(&a->top, 0, dm_tab_len(&a->old), "backup", params);
	free(params);

	r = dm_load(a->d->dm.name, &a->top, a->d->dm.read_only);
	if (!r)
		r = dm_resume(a->d->dm.name);
	if (r)
		say("%s: the filter can't be attached: %s", a->d->arg, dm_why());
	return code_of_errno(r);
}

static int attach_stack(struct attach *a, const struct features *f)
{
	int r = attach_make_lower(a);

	if (!r)
		r = attach_swap(a, f);
	if (r)
		attach_finish(a);
	return r;
}

static int attach_do(struct attach *a, const struct features *f)
{
	struct guard g;
	int r = guard_begin(&g, a->d->dm.name, attach_finish, a);

	if (r)
		return r;
	r = attach_check_same(a);
	if (!r)
		r = attach_stack(a, f);
	guard_end(&g);
	return r;
}

int cmd_attach(int argc, char **argv, const struct options *o)
{
	struct attach a = { 0 };
	struct features f = { 0 };
	struct device d;
	int r;

	(void)argc;
	r = features_read(o, &f);
	if (!r)
		r = device_find_locked(argv[0], &d);
	if (r)
		return r;
	a.d = &d;
	r = attach_check(&a);
	if (!r)
		r = features_load_module();
	if (r)
		return r;
	a.lower = attach_lower_name(&d);
	r = attach_read(&a);
	if (!r)
		r = features_metadata(o, &d, metadata_origin(&d), &f);
	if (!r)
		r = attach_do(&a, &f);
	dm_tab_free(&a.old);
	dm_tab_free(&a.top);
	free(a.lower);
	free(f.words);
	return r;
}
