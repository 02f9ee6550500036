// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup detach.
 *
 * The backup target can't be replaced by LVM; it can by its twin backup-pass,
 * and that by anything. So detaching is two swaps.
 */

#include "attach.h"
#include "dm.h"
#include "dmbackup.h"
#include "end.h"
#include "filter.h"
#include "guard.h"
#include "move.h"
#include "view.h"

#include <stdlib.h>

struct detach {
	const struct device *d;
	struct dm_tab live;
	struct dm_tab old;	/* the table that is to be there again */
	unsigned int major;	/* what the filter stands on */
	unsigned int minor;
	struct dm_dev lower;
	struct dm_dev stand_in;	/* of a move that was not finished: move.h */
};

/*
 * It stands on something else: was it moved there, without LVM? Then what is to be
 * there again is that, as long as it is active.
 */
static int detach_moved(struct detach *x, bool force)
{
	char *expected = attach_lower_name(x->d), *params;
	int err = dm_by_name(expected, &x->lower);

	free(expected);
	if (!err && move_is_unfinished(&x->lower, x->major, x->minor,
				       &x->stand_in, &x->old))
		return EX_OK;
	if (err) {
		say("%s: was not attached but opened", x->d->arg);
		hint("dmbackup close %s", x->d->arg);
		return EX_REFUSED;
	}
	if (!force) {
		say("%s: was moved to %u:%u without LVM: when the filter is gone, nothing keeps what has made it from bringing the old data back",
		    x->d->arg, x->major, x->minor);
		hint("--force leaves it there, until it is deactivated");
		return EX_REFUSED;
	}
	params = xasprintf("%u:%u 0", x->major, x->minor);
	dm_tab_add(&x->old, 0, dm_tab_len(&x->live), "linear", params);
	free(params);
	return EX_OK;
}

/* What is below a filter, and what is to be there again. */
static int detach_read(struct detach *x, bool force)
{
	int r = dm_tab_read(x->d->dm.name, &x->live);

	if (r || (!dm_tab_is(&x->live, "backup") &&
		  !dm_tab_is(&x->live, "backup-pass")) ||
	    !attach_stands_on(&x->live, &x->major, &x->minor)) {
		say("%s: has no backup filter", x->d->arg);
		return EX_NODEV;
	}
	if (attach_lower(x->d, &x->lower))
		return detach_moved(x, force);
	r = dm_tab_read(x->lower.name, &x->old);
	if (r)
		say("%s: the table of %s can't be read: %s", x->d->arg,
		    x->lower.name, dm_why());
	return code_of_errno(r);
}

/* Put one table into the visible device. */
static int detach_swap(struct detach *x, const struct dm_tab *tab)
{
	int r = dm_load(x->d->dm.name, tab, x->d->dm.read_only);

	if (!r)
		r = dm_resume(x->d->dm.name);
	return r;
}

/* Go on from wherever it is; twice does no harm. */
static void detach_finish(void *ctx)
{
	struct detach *x = ctx;
	struct dm_tab live;
	bool filter, pass;

	if (dm_tab_read(x->d->dm.name, &live))
		return;
	filter = dm_tab_is(&live, "backup");
	pass = dm_tab_is(&live, "backup-pass");
	dm_tab_free(&live);
	if (filter)
		dm_clear(x->d->dm.name);
	else if (!pass || !detach_swap(x, &x->old))
		dm_remove(x->lower.name);
}

static int detach_failed(const struct detach *x, int err)
{
	say("%s: the filter can't be detached: %s", x->d->arg, dm_why());
	return code_of_errno(err);
}

/*
 * The twin instead of the filter. The filter is told only when all is ready:
 * from then on it takes another table for the end that was meant, at which what
 * is persistent is saved.
 */
static int detach_filter(struct detach *x)
{
	char *params = xasprintf("%u:%u", x->major, x->minor);
	struct dm_tab pass = { 0 };
	int err, r;

	dm_tab_add(&pass, 0, dm_tab_len(&x->old), "backup-pass", params);
	free(params);
	err = dm_load(x->d->dm.name, &pass, x->d->dm.read_only);
	dm_tab_free(&pass);
	if (err)
		return detach_failed(x, err);
	r = filter_send(x->d, "detach", "detach");
	if (r)
		return r;
	err = dm_resume(x->d->dm.name);
	return err ? detach_failed(x, err) : EX_OK;
}

static int detach_lower(struct detach *x)
{
	int err = detach_swap(x, &x->old);

	if (err)
		return detach_failed(x, err);
	err = dm_remove(x->lower.name);
	if (err)
		say("%s: detached, but %s stays: %s", x->d->arg,
		    x->lower.name, dm_why());
	/* It is in the place of the device now. */
	if (!err && x->stand_in.name[0]) {
		err = dm_remove(x->stand_in.name);
		if (err)
			say("%s: detached, but %s has to be deactivated before anything else is done to it: %s",
			    x->d->arg, x->stand_in.name, dm_why());
	}
	return code_of_errno(err);
}

static int detach_do(struct detach *x)
{
	struct guard g;
	int r = guard_begin(&g, x->d->dm.name, detach_finish, x);

	if (r)
		return r;
	if (dm_tab_is(&x->live, "backup"))
		r = detach_filter(x);
	if (!r)
		r = detach_lower(x);
	if (r)
		dm_clear(x->d->dm.name);
	guard_end(&g);
	return r;
}

int cmd_detach(int argc, char **argv, const struct options *o)
{
	struct detach x = { 0 };
	struct device d;
	int r;

	(void)argc;
	r = device_find_locked(argv[0], &d);
	if (r)
		return r;
	x.d = &d;
	r = detach_read(&x, o->force);
	if (!r)
		r = view_check_none(&d);
	if (!r && dm_tab_is(&x.live, "backup"))
		r = end_bitmaps(&d, o->force);
	if (!r && dm_tab_is(&x.live, "backup"))
		r = end_jobs(&d, o->force);
	if (!r)
		r = detach_do(&x);
	dm_tab_free(&x.live);
	dm_tab_free(&x.old);
	return r;
}
