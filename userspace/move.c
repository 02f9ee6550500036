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
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* How long LVM's group may be locked for a pivot that is not made. */
#define PIVOT_MS 30000

/* How long to try again what has to be done after it. */
#define AGAIN_MS 10000

/* LVM is told, or it was said that it can't be (move_to()'s force). */
#define COMPLETE "job complete %s force"

/* How often to look whether it has been made: LVM is to be told at once. */
#define LOOK_US 20000

struct move {
	struct device d;	/* its names are those of now */
	struct device to;	/* the same */
	const char *id;
	char *lv;		/* "vg/lv", and the same of the target */
	char *to_lv;
	struct dm_dev lower;	/* the hidden device */
	struct dm_tab place;	/* the target's table */
	struct lvm_swap swap;
	bool swaps;
	bool untold;		/* it has moved, and LVM does not know */
};

static void move_free(struct move *m)
{
	dm_tab_free(&m->place);
	free(m->lv);
	free(m->to_lv);
	m->lv = m->to_lv = NULL;
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

/* Are both volumes what can be exchanged, as far as dm tells, and by now? */
static bool can_swap(struct move *m)
{
	struct dm_tab old = { 0 };
	bool ok;

	move_free(m);
	/* Names may change while a mirror copies; numbers do not. */
	dm_by_devno(m->d.major, m->d.minor, &m->d.dm);
	if (m->to.is_dm)
		dm_by_devno(m->to.major, m->to.minor, &m->to.dm);
	m->lv = device_lv_name(&m->d.dm);
	m->to_lv = m->to.is_dm ? device_lv_name(&m->to.dm) : NULL;
	ok = same_group(m) && m->d.sectors == m->to.sectors &&
	     !attach_lower(&m->d, &m->lower) &&
	     is_of_disks(m->lower.name, &old) &&
	     is_of_disks(m->to.dm.name, &m->place);
	dm_tab_free(&old);
	return ok;
}

static void say_old_comes_back(const struct move *m)
{
	if (m->lv)
		say("%s: LVM would bring the old data back when it activates %s the next time",
		    m->d.arg, m->lv);
	else
		say("%s: what has made this device would bring the old data back the next time",
		    m->d.arg);
}

static int refuse(const struct move *m)
{
	say_old_comes_back(m);
	if (m->lv)
		hint("move it to a volume of the same group and size, made of plain extents: LVM is told of that");
	hint("--without-lvm moves it to %s all the same: see mirror in dmbackup(8) for what has to be done then, at once",
	     m->to.arg);
	return EX_REFUSED;
}

/* Who has opened it says the next time of what. */
static bool is_opened(const struct move *m)
{
	return !strncmp(m->d.dm.uuid, "DMBACKUP-", 9);
}

/* The kernel would refuse it, or put the mirror on standby. */
static int check_jobs(const struct move *m)
{
	struct filter f;
	unsigned int i;
	int r = filter_read(&m->d, &f);

	if (r)
		return r;
	for (i = 0; i < f.nr_jobs; i++)
		if (!job_is_over(&f.jobs[i]) &&
		    (!m->id || strcmp(f.jobs[i].id, m->id)))
			break;
	if (i < f.nr_jobs) {
		say("%s: has another job: %s is %s", m->d.arg, f.jobs[i].id,
		    f.jobs[i].state);
		hint("it has to end before the device moves");
		r = EX_REFUSED;
	}
	filter_free(&f);
	return r;
}

/* Locks the group. What both are made of can't change from then on. */
static int take_group(struct move *m)
{
	struct lvm_volume lv, to;
	int r = lvm_swap_lock(&m->swap, m->lv);

	if (r)
		return r;
	if (!can_swap(m))
		return refuse(m);
	lv = (struct lvm_volume){ m->lv, m->d.dm.uuid };
	to = (struct lvm_volume){ m->to_lv, m->to.dm.uuid };
	return lvm_swap_begin(&m->swap, &lv, &to);
}

/*
 * On success with the group locked, if it is that case. What LVM can be told it is
 * told: if that is not possible just now, it is to be tried again.
 */
static int move_begin(struct move *m, bool without_lvm)
{
	int r;

	m->swap = LVM_SWAP_NONE;
	if (is_opened(m))
		return EX_OK;
	if (!can_swap(m))
		return without_lvm ? EX_OK : refuse(m);
	r = check_jobs(m);
	if (!r)
		r = take_group(m);
	m->swaps = !r;
	return r;
}

int move_check(const struct device *d, const struct device *to,
	       bool without_lvm)
{
	struct move m = { .d = *d, .to = *to };
	int r = move_begin(&m, without_lvm);

	lvm_swap_end(&m.swap, false);
	move_free(&m);
	return r;
}

/*------------------------------------------------------------------*/
/* What is there: nothing else tells whether it has moved. */

/* Is the filter over the target? A table that can't be read is asked for again. */
static bool is_on_target(const struct move *m)
{
	uint64_t end = now_ms() + AGAIN_MS;
	unsigned int ma = 0, mi = 0;
	struct dm_tab t = { 0 };
	bool on;
	int err;

	while ((err = dm_tab_read(m->d.dm.name, &t)) &&
	       code_of_errno(err) != EX_NODEV && now_ms() < end) {
		dm_tab_free(&t);
		usleep(LOOK_US);
	}
	on = !err && t.n == 1 &&
	     sscanf(t.seg[0].params, "%u:%u", &ma, &mi) == 2 &&
	     ma == m->to.major && mi == m->to.minor;
	dm_tab_free(&t);
	return on;
}

/* Has restack() begun? */
static bool is_restacked(const struct move *m)
{
	struct dm_tab t = { 0 };
	bool yes = m->swaps && !dm_tab_read(m->lower.name, &t) &&
		   dm_tab_same(&t, &m->place);

	dm_tab_free(&t);
	return yes;
}

/*------------------------------------------------------------------*/
/* After the pivot. All of this may be done twice. */

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

/*
 * The mirror has nothing to do any more, but to close the target. Who has started it,
 * or waits for it, may be the one that dismisses it.
 */
static void bury(const struct move *m)
{
	uint64_t end = now_ms() + AGAIN_MS;
	char *answer, *state, *why;
	bool gone = false;

	while (!gone && now_ms() < end) {
		answer = filter_show(&m->d, m->id, &gone);
		state = answer ? show_value(answer, "state") : NULL;
		if (state && !strcmp(state, "concluded")) {
			filter_try(&m->d, filter_token(), &why,
				   "job dismiss %s", m->id);
			free(why);
		}
		free(answer);
		free(state);
		if (!gone)
			usleep(LOOK_US);
	}
}

/* The filter on its hidden device again, which is in the new place. @why: to be freed. */
static int try_restack(const struct move *m, char **why)
{
	char *ignored;
	/* The old origin is let go of. */
	int err = load_over(&m->d, NULL);

	*why = NULL;
	if (!err)
		err = dm_load(m->lower.name, &m->place, m->d.dm.read_only);
	if (!err)
		err = dm_resume_hidden(m->lower.name);
	if (err) {
		*why = xstrdup(dm_why());
		return err;
	}
	/* Its bitmaps go on, and so do jobs that have started meanwhile. */
	err = filter_try(&m->d, filter_token(), why, "origin same %u:%u",
			 m->lower.major, m->lower.minor);
	if (!err)
		err = load_over(&m->d, &m->lower);
	if (err && !*why) {
		*why = xstrdup(dm_why());
		/* Of no other table it is said. */
		dm_clear(m->d.dm.name);
		filter_try(&m->d, filter_token(), &ignored, "origin same 0:0");
		free(ignored);
	}
	return err;
}

static int restack(const struct move *m)
{
	uint64_t end = now_ms() + AGAIN_MS;
	char *why;
	int err;

	while ((err = try_restack(m, &why)) && now_ms() < end) {
		free(why);
		usleep(100000);
	}
	if (err) {
		say("%s: has moved, and LVM knows, but it can't be put on %s again: %s",
		    m->d.arg, m->lower.name, why);
		hint("no lvextend and no lvchange --refresh of %s or %s now: the old data would come under it",
		     m->lv, m->to_lv);
		hint("dmbackup detach %s finishes it, or deactivating both",
		     m->lv);
	}
	free(why);
	return code_of_errno(err);
}

/* It has the place that the volume has now: the old one comes when it is activated. */
static int remove_target(const struct move *m)
{
	struct dm_dev left;
	int err;

	if (dm_by_devno(m->to.major, m->to.minor, &left) ||
	    strcmp(left.uuid, m->to.dm.uuid))
		return EX_OK;
	err = dm_remove(left.name);
	if (err) {
		say("%s: has moved, but %s is still active, with the new place: %s",
		    m->d.arg, m->to_lv, dm_why());
		hint("lvchange -an %s, before anything else is done to it",
		     m->to_lv);
	}
	return code_of_errno(err);
}

bool move_is_unfinished(const struct dm_dev *lower, unsigned int major,
			unsigned int minor, struct dm_dev *stand_in,
			struct dm_tab *place)
{
	struct dm_tab t = { 0 };
	bool yes = !dm_tab_read(lower->name, place) &&
		   !dm_by_devno(major, minor, stand_in) &&
		   !dm_tab_read(stand_in->name, &t) && dm_tab_same(place, &t);

	dm_tab_free(&t);
	if (!yes) {
		dm_tab_free(place);
		stand_in->name[0] = '\0';
	}
	return yes;
}

/* LVM first: until it is told a power cut brings the old data back. */
static int move_settle(struct move *m)
{
	int r = m->swaps ? lvm_swap_commit(&m->swap) : EX_OK, err;

	m->untold = r;
	if (r) {
		say("%s: its data is in the place of %s now, which LVM does not know: it must not be deactivated before this has been done, and that before any other LVM command:",
		    m->lv, m->to_lv);
		hint("vgcfgrestore%s -f %s %s", m->swap.thin ? " --force" : "",
		     m->swap.file, m->swap.vg);
	}
	bury(m);
	if (!r && m->swaps) {
		r = restack(m);
		return r ? r : remove_target(m);
	}
	err = load_over(&m->d, NULL);
	if (err)
		say("%s: has moved, but its table can't be loaded anew: %s",
		    m->d.arg, dm_why());
	return r ? r : code_of_errno(err);
}

/*------------------------------------------------------------------*/
/* The pivot */

/*
 * It is not to be done any more. A job that is paused forgets that it was to
 * complete; and who has it paused waits for a pivot that is under way.
 */
static void take_back(const struct move *m)
{
	char *why;

	if (!filter_try(&m->d, filter_token(), &why, "job pause %s", m->id))
		filter_try(&m->d, filter_token(), &why, "job resume %s", m->id);
	free(why);
}

/* That has been done. */
static int taken_back(const struct move *m, bool interrupted)
{
	say("%s: was not moved: %s; job %s follows on", m->d.arg, interrupted ?
	    "interrupted" : "too much is left to copy, or the target does not answer",
	    m->id);
	if (interrupted)
		return EX_CANCELLED;
	hint("LVM's group is not kept locked for longer; dmbackup job complete tries again");
	hint("dmbackup job change --copy-mode write-blocking lets the target keep up with any writer");
	return EX_FAILED;
}

/* It stands by. */
static int not_now(const struct move *m, const char *answer)
{
	char *cause = show_value(answer, "cause");

	say("%s: was not moved: job %s is on standby: %s", m->d.arg, m->id,
	    cause && *cause ? cause : "it was paused");
	hint("dmbackup job resume lets it follow again, dmbackup job complete then tries again");
	free(cause);
	return EX_FAILED;
}

/* It has ended without that. */
static int not_moved(const struct move *m, const char *title, bool bar)
{
	struct follow f = { .d = &m->d, .id = m->id };
	int r = follow_jobs(&f, 1, title, bar);

	free(f.last);
	if (r)
		return r;
	say("%s: was not moved: somebody has cancelled job %s", m->d.arg,
	    m->id);
	return EX_CANCELLED;
}

enum prospect {
	GOES_ON,
	STANDS_BY,	/* and has forgotten that it was to move the device */
	ENDED,
};

static bool shows(const char *answer, const char *key, const char *value)
{
	char *is = show_value(answer, key);
	bool yes = is && !strcmp(is, value);

	free(is);
	return yes;
}

/* One that is paused while its target hangs stands by only when that answers. */
static enum prospect prospect_of(const char *answer)
{
	if (shows(answer, "state", "concluded"))
		return ENDED;
	if (shows(answer, "state", "standby") ||
	    (shows(answer, "paused", "1") && shows(answer, "completing", "0")))
		return STANDS_BY;
	return GOES_ON;
}

/*
 * Waits until it has moved. @ms: no longer than that; 0: as long as it takes. Else it
 * will not move by itself any more, and why has been said.
 */
static int await_pivot(const struct move *m, const char *title, bool bar,
		       uint64_t ms)
{
	struct progress p = { .title = title, .began = now_ms() };
	bool gone, moved, late = false, stop = false;
	enum prospect prospect;
	unsigned int looks = 0;
	char *answer = NULL;
	int r = EX_OK;

	for (;;) {
		free(answer);
		/* In this order: what is over has moved by now, or never will. */
		answer = filter_show(&m->d, m->id, &gone);
		moved = is_on_target(m);
		prospect = gone ? ENDED : prospect_of(answer);
		if (moved || prospect != GOES_ON || late || stop)
			break;
		if (bar && answer && !(looks++ % 10))
			progress_job(&p, answer);
		usleep(LOOK_US);
		late = ms && now_ms() > p.began + ms;
		/* Or it came before signals were blocked. */
		stop = guard_interrupted() || follow_interrupted();
		if (late || stop)
			take_back(m);
	}
	if (bar)
		progress_clear();
	if (!moved && prospect == STANDS_BY && !late && !stop)
		r = not_now(m, answer);
	else if (!moved && prospect == ENDED)
		r = not_moved(m, title, bar);
	else if (!moved)
		r = taken_back(m, stop);
	free(answer);
	free(p.state);
	return r;
}

/* The guard's: this process has died, wherever it was. */
static void move_finish(void *ctx)
{
	struct move *m = ctx;
	char *why = NULL;

	lvm_swap_take_over(&m->swap);
	if (!is_on_target(m) && !is_restacked(m)) {
		filter_try(&m->d, filter_token(), &why, COMPLETE, m->id);
		free(why);	/* it may be being completed, or be over */
		await_pivot(m, m->id, false, PIVOT_MS);
	}
	if (is_on_target(m) || is_restacked(m))
		move_settle(m);
	lvm_swap_end(&m->swap, m->untold);
}

static int pivot(const struct move *m, const char *title, bool bar)
{
	int r = filter_send(&m->d, "complete", COMPLETE, m->id);

	/* Nobody waits for a device that LVM has not made. */
	return r ? r : await_pivot(m, title, bar || isatty(2),
				   m->swaps ? PIVOT_MS : 0);
}

static int guarded(struct move *m, const char *title, bool bar)
{
	struct guard g;
	int r = guard_begin(&g, m->d.dm.name, move_finish, m);

	if (r)
		return r;
	r = pivot(m, title, bar);
	if (!r)
		r = move_settle(m);
	lvm_swap_end(&m->swap, m->untold);
	guard_end(&g);
	return r;
}

int move_to(const struct device *d, const struct device *to, const char *id,
	    const char *title, bool without_lvm, bool bar)
{
	struct move m = { .d = *d, .to = *to, .id = id };
	int r = move_begin(&m, without_lvm);

	if (follow_interrupted())
		r = taken_back(&m, true);
	else if (r)
		hint("job %s follows on: dmbackup job complete tries again, dmbackup job cancel ends it",
		     id);
	else
		r = guarded(&m, title, bar);
	if (!r && m.swaps)
		printf("%s has moved to the place of %s, which has the old data and is not active\n",
		       m.lv, m.to_lv);
	else if (!r)
		printf("%s is on %s\n", d->arg, to->arg);
	if (!r && !m.swaps && !is_opened(&m)) {
		fflush(stdout);
		say_old_comes_back(&m);
		hint("see mirror in dmbackup(8) for what has to be done now");
	}
	lvm_swap_end(&m.swap, m.untold);
	move_free(&m);
	return r;
}
