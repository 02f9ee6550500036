// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: a pivot. The contract is in move.h.
 */

#include "move.h"
#include "attach.h"
#include "dmbackup.h"
#include "filter.h"
#include "follow.h"
#include "guard.h"
#include "lvm-swap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct move {
	const struct device *d;
	const struct device *to;
	const char *id;
	char *lv;		/* "vg/lv", and the same of the target */
	char *to_lv;
	struct dm_dev lower;	/* the hidden device */
	struct dm_tab place;	/* the target's table */
	struct lvm_swap swap;
	bool swaps;
};

static void move_free(struct move *m)
{
	dm_tab_free(&m->place);
	free(m->lv);
	free(m->to_lv);
}

/*------------------------------------------------------------------*/
/* Which case is it? */

static bool same_group(const struct move *m)
{
	size_t n = m->lv ? strcspn(m->lv, "/") : 0;

	return m->lv && m->to_lv && !strncmp(m->lv, m->to_lv, n + 1);
}

static bool is_of_disks(const char *name, struct dm_tab *t)
{
	unsigned int i;

	if (dm_tab_read(name, t))
		return false;
	for (i = 0; i < t->n; i++)
		if (strcmp(t->seg[i].type, "linear") &&
		    strcmp(t->seg[i].type, "striped"))
			return false;
	return true;
}

/* Are both volumes what can be exchanged, as far as dm tells? */
static bool can_swap(struct move *m)
{
	struct dm_tab old = { 0 };
	bool ok;

	m->lv = device_lv_name(&m->d->dm);
	m->to_lv = m->to->is_dm ? device_lv_name(&m->to->dm) : NULL;
	ok = same_group(m) && m->d->sectors == m->to->sectors &&
	     !attach_lower(m->d, &m->lower) &&
	     is_of_disks(m->lower.name, &old) &&
	     is_of_disks(m->to->dm.name, &m->place);
	dm_tab_free(&old);
	return ok;
}

static int refuse(const struct move *m)
{
	if (m->lv) {
		say("%s: LVM would bring the old data back when it activates %s the next time",
		    m->d->arg, m->lv);
		hint("move it to a volume of the same group and size, made of plain extents: LVM is told of that");
		hint("--force moves it to %s all the same: see dmbackup(8) for what has to be done then, at once",
		     m->to->arg);
	} else {
		say("%s: what has made this device would bring the old data back the next time",
		    m->d->arg);
		hint("--force moves it all the same: see to that yourself, at once");
	}
	return EX_REFUSED;
}

/* What is left of other jobs would keep the filter from being put on another device. */
static int check_jobs(const struct move *m)
{
	struct filter f;
	unsigned int i;
	int r = filter_read(m->d, &f);

	if (r)
		return r;
	for (i = 0; i < f.nr_jobs; i++)
		if (!m->id || strcmp(f.jobs[i].id, m->id))
			break;
	if (i < f.nr_jobs) {
		say("%s: has another job: %s is %s", m->d->arg, f.jobs[i].id,
		    f.jobs[i].state);
		hint("it has to end, and to be dismissed, before the device moves");
		r = EX_REFUSED;
	}
	filter_free(&f);
	return r;
}

/* On success with the group locked, if it is that case. */
static int move_begin(struct move *m, bool force)
{
	int r;

	m->swap.lock = -1;
	if (!strncmp(m->d->dm.uuid, "DMBACKUP-", 9))
		return EX_OK;
	if (!can_swap(m))
		return force ? EX_OK : refuse(m);
	r = check_jobs(m);
	if (r)
		return r;
	r = lvm_swap_begin(&m->swap, m->lv, m->to_lv);
	m->swaps = !r;
	if (r && !force)
		hint("--force moves it without LVM's knowledge");
	return force ? EX_OK : r;
}

int move_check(const struct device *d, const struct device *to, bool force)
{
	struct move m = { .d = d, .to = to };
	int r = move_begin(&m, force);

	lvm_swap_end(&m.swap, false);
	move_free(&m);
	return r;
}

/*------------------------------------------------------------------*/
/* After the pivot */

/* A filter's table over another device, which has the same contents. */
static int load_over(const struct device *d, const struct dm_dev *over)
{
	struct dm_tab t = { 0 }, next = { 0 };
	char *params;
	int err = dm_tab_read(d->dm.name, &t);

	if (!err && over) {
		params = xasprintf("%u:%u%s", over->major, over->minor,
				   t.seg[0].params +
				   strcspn(t.seg[0].params, " "));
		dm_tab_add(&next, 0, dm_tab_len(&t), "backup", params);
		free(params);
	}
	if (!err)
		err = dm_load(d->dm.name, over ? &next : &t, d->dm.read_only);
	if (!err)
		err = dm_resume(d->dm.name);
	dm_tab_free(&t);
	dm_tab_free(&next);
	return err;
}

/* The filter on its hidden device again, which is in the new place. */
static int restack(struct move *m)
{
	int err = dm_load(m->lower.name, &m->place, m->d->dm.read_only);

	if (!err)
		err = dm_resume_hidden(m->lower.name);
	/* Its bitmaps go on. */
	if (!err && filter_send(m->d, "move", "origin same %u:%u",
				m->lower.major, m->lower.minor))
		return EX_FAILED;
	if (!err)
		err = load_over(m->d, &m->lower);
	if (err) {
		say("%s: has moved, but can't be put on %s again: %s",
		    m->d->arg, m->lower.name, dm_why());
		return code_of_errno(err);
	}
	err = dm_remove(m->to->dm.name);
	if (err) {
		say("%s: has moved, but %s is still active, with the new place: %s",
		    m->d->arg, m->to_lv, dm_why());
		hint("lvchange -an %s, before anything else is done to it",
		     m->to_lv);
	}
	return code_of_errno(err);
}

/*
 * All of this may be done twice. LVM first: until it has been told a power cut brings
 * the old data back.
 */
static int move_settle(struct move *m)
{
	int r = m->swaps ? lvm_swap_commit(&m->swap) : EX_OK, err;

	if (r) {
		say("%s: its data is in the place of %s now, which LVM does not know: it must not be deactivated before this has been done:",
		    m->lv, m->to_lv);
		hint("vgcfgrestore -f %s %s", m->swap.file, m->swap.vg);
	}
	/* The old origin is let go of. */
	err = load_over(m->d, NULL);
	if (err)
		say("%s: has moved, but its table can't be loaded anew: %s",
		    m->d->arg, dm_why());
	if (r || err || !m->swaps)
		return r ? r : code_of_errno(err);
	return restack(m);
}

static bool is_on_target(const struct move *m)
{
	struct dm_tab t = { 0 };
	unsigned int ma = 0, mi = 0;
	bool on = !dm_tab_read(m->d->dm.name, &t) && t.n == 1 &&
		  sscanf(t.seg[0].params, "%u:%u", &ma, &mi) == 2 &&
		  ma == m->to->major && mi == m->to->minor;

	dm_tab_free(&t);
	return on;
}

/* Has restack() begun? */
static bool is_restacked(const struct move *m)
{
	struct dm_tab t = { 0 };
	bool yes = m->swaps && !dm_tab_read(m->lower.name, &t) &&
		   t.n == m->place.n &&
		   !strcmp(t.seg[0].params, m->place.seg[0].params);

	dm_tab_free(&t);
	return yes;
}

/* The guard's: this process has died, wherever it was. */
static void move_finish(void *ctx)
{
	struct move *m = ctx;
	char *why = NULL, *answer, *state;
	bool over = false;

	filter_try(m->d, filter_token(), &why, "job complete %s", m->id);
	free(why);	/* it may be being completed, or be over */
	while (!over) {
		answer = filter_ask(m->d, "job show %s", m->id);
		state = answer ? show_value(answer, "state") : NULL;
		over = !state || !strcmp(state, "concluded") ||
		       !strcmp(state, "standby");
		free(answer);
		free(state);
		if (!over)
			usleep(100000);
	}
	if (!is_on_target(m) && !is_restacked(m))
		return;
	filter_send(m->d, "dismiss", "job dismiss %s", m->id);
	move_settle(m);
	lvm_swap_end(&m->swap, false);
}

static int pivot(struct move *m, const char *title, bool bar)
{
	struct follow f = { .d = m->d, .id = m->id };
	int r = filter_send(m->d, "complete", "job complete %s", m->id);

	if (r)
		return r;
	if (!follow_until(m->d, m->id, title, "concluded", bar))
		return EX_FAILED;
	r = follow_jobs(&f, 1, title, bar);
	free(f.last);
	return r;
}

static int guarded(struct move *m, const char *title, bool bar)
{
	struct guard g;
	int r = guard_begin(&g, m->d->dm.name, move_finish, m);

	if (r)
		return r;
	r = pivot(m, title, bar);
	if (!r)
		r = move_settle(m);
	guard_end(&g);
	return r;
}

int move_to(const struct device *d, const struct device *to, const char *id,
	    const char *title, bool force, bool bar)
{
	struct move m = { .d = d, .to = to, .id = id };
	int r = move_begin(&m, force);
	bool moved = false;

	if (!r) {
		r = guarded(&m, title, bar);
		moved = is_on_target(&m);
	}
	if (!r && m.swaps)
		printf("%s has moved to the place of %s, which has the old data and is not active\n",
		       m.lv, m.to_lv);
	else if (!r)
		printf("%s is on %s\n", d->arg, to->arg);
	lvm_swap_end(&m.swap, r && moved);
	move_free(&m);
	return r;
}
