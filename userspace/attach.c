// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup attach, detach, open, close.
 *
 * Attaching stacks as LVM does with its own layers. The visible device keeps its
 * number, name and uuid and gets the table "backup"; its old table moves to a
 * hidden device NAME-bkreal with the same uuid and a suffix, which LVM takes for
 * one of its own: it does not scan it, and removes it together with the LV.
 *
 *   vg-lv          0 N backup MAJ:MIN      what everybody has open
 *   vg-lv-bkreal   the old table           uuid LVM-...-bkreal
 *
 * The backup target can't be replaced by LVM; it can by its twin backup-pass,
 * and that by anything. So detaching is two swaps.
 */

#include "attach.h"
#include "bitmap.h"
#include "dm.h"
#include "dmbackup.h"
#include "filter.h"
#include "guard.h"
#include "metadata.h"
#include "move.h"
#include "view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOWER_SUFFIX "-bkreal"

/*
 * Two live instances of these read and write the same blocks and that is all.
 * Of others (raid, cache, integrity, snapshot, ...) two would destroy data.
 */
static const char *const movable[] = {
	"linear", "striped", "error", "zero", "crypt", "thin", NULL
};

/*------------------------------------------------------------------*/

static bool ends_with(const char *s, const char *end)
{
	size_t a = strlen(s), b = strlen(end);

	return a >= b && !strcmp(s + a - b, end);
}

/* The hidden device under @d. To be freed. */
static char *lower_name(const struct device *d)
{
	return xasprintf("%s%s", d->dm.name, LOWER_SUFFIX);
}

/* "MAJ:MIN ..." of a table's parameters. */
static bool table_devno(const struct dm_tab *t, unsigned int *ma,
			unsigned int *mi)
{
	return t->n == 1 && sscanf(t->seg[0].params, "%u:%u", ma, mi) == 2;
}

static int load_module(void)
{
	pid_t pid;
	int status;

	if (dm_has_target("backup"))
		return EX_OK;
	pid = fork();
	if (!pid) {
		execlp("modprobe", "modprobe", "dm_backup", (char *)NULL);
		_exit(127);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid && !status)
		return EX_OK;
	say("the kernel module dm_backup can't be loaded");
	hint("is it installed for this kernel (sudo make install), and signed if Secure Boot asks for that?");
	return EX_FAILED;
}

/* What a table says of a filter: names and values. */
struct features {
	char *words;
	unsigned int n;
};

static void add_feature(struct features *f, const char *name, char *value)
{
	char *next = xasprintf("%s %s %s", f->words ? f->words : "", name,
			       value);

	free(f->words);
	free(value);
	f->words = next;
	f->n += 2;
}

static int feature_words(const struct options *o, struct features *f)
{
	uint64_t v;

	if (o->buffer) {
		if (!parse_bytes("--buffer", o->buffer, &v))
			return EX_USAGE_;
		if (v % 512) {
			say("--buffer: %s is no multiple of 512 bytes",
			    o->buffer);
			return EX_USAGE_;
		}
		add_feature(f, "buffer", xasprintf("%llu",
						   (unsigned long long)v / 512));
	}
	if (o->cbw_timeout) {
		if (!parse_seconds("--cbw-timeout", o->cbw_timeout, &v))
			return EX_USAGE_;
		add_feature(f, "cbw_timeout",
			    xasprintf("%llu", (unsigned long long)v));
	}
	if (o->discard)
		add_feature(f, "discard", xstrdup(o->discard));
	if ((o->on_metadata_error || o->after_crash) && !o->metadata) {
		say("--%s goes with --metadata", o->after_crash ?
		    "after-crash" : "on-metadata-error");
		return EX_USAGE_;
	}
	if (o->on_metadata_error)
		add_feature(f, "on_metadata_error",
			    xstrdup(o->on_metadata_error));
	if (o->after_crash)
		add_feature(f, "after_crash", xstrdup(o->after_crash));
	if (o->no_write_zeroes)
		add_feature(f, "write_zeroes", xstrdup("off"));
	return EX_OK;
}

/* The last thing before the filter is made: this may make or format a device. */
static int feature_metadata(const struct options *o, const struct device *d,
			    const char *origin, struct features *f)
{
	struct device meta;
	int r;

	if (!o->metadata)
		return EX_OK;
	r = metadata_prepare(d, origin, o->metadata, &meta);
	if (!r)
		add_feature(f, "metadata",
			    xasprintf("%u:%u", meta.major, meta.minor));
	return r;
}

/* The parameters of a filter's table. To be freed. */
static char *filter_params(unsigned int ma, unsigned int mi,
			   const struct features *f)
{
	return f->n ? xasprintf("%u:%u %u%s", ma, mi, f->n, f->words) :
		      xasprintf("%u:%u", ma, mi);
}

/*------------------------------------------------------------------*/
/* attach */

struct attach {
	const struct device *d;
	char *lower;
	struct dm_tab old;	/* the table that moves down */
	struct dm_tab top;	/* the filter's */
	bool resuming;		/* the lower device was there already */
};

static int attach_check_table(const struct attach *a)
{
	unsigned int i, j;

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
	struct dm_tab live;
	bool done;

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

static int attach_swap(struct attach *a, const struct features *f)
{
	struct dm_dev lower;
	char *params;
	int r = dm_by_name(a->lower, &lower);

	if (r) {
		say("%s: %s is gone: %s", a->d->arg, a->lower, strerror(-r));
		return code_of_errno(r);
	}
	params = filter_params(lower.major, lower.minor, f);
	dm_tab_add(&a->top, 0, dm_tab_len(&a->old), "backup", params);
	free(params);

	r = dm_load(a->d->dm.name, &a->top, a->d->dm.read_only);
	if (!r)
		r = dm_resume(a->d->dm.name);
	if (r)
		say("%s: the filter can't be attached: %s", a->d->arg, dm_why());
	return code_of_errno(r);
}

static int attach_do(struct attach *a, const struct features *f)
{
	struct guard g;
	int r = guard_begin(&g, a->d->dm.name, attach_finish, a);

	if (r)
		return r;
	r = attach_make_lower(a);
	if (!r)
		r = attach_swap(a, f);
	if (r)
		attach_finish(a);
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
	r = feature_words(o, &f);
	if (!r)
		r = device_find_locked(argv[0], &d);
	if (r)
		return r;
	a.d = &d;
	r = attach_check(&a);
	if (!r)
		r = load_module();
	if (r)
		return r;
	a.lower = lower_name(&d);
	r = attach_read(&a);
	if (!r)
		r = feature_metadata(o, &d, metadata_origin(&d), &f);
	if (!r)
		r = attach_do(&a, &f);
	dm_tab_free(&a.old);
	dm_tab_free(&a.top);
	free(a.lower);
	free(f.words);
	return r;
}

/*------------------------------------------------------------------*/
/* detach */

struct detach {
	const struct device *d;
	struct dm_tab live;
	struct dm_tab old;	/* the table that is to be there again */
	unsigned int major;	/* what the filter stands on */
	unsigned int minor;
	struct dm_dev lower;
	struct dm_dev stand_in;	/* of a move that was not finished: move.h */
};

int attach_lower(const struct device *d, struct dm_dev *lower)
{
	unsigned int ma, mi;
	char *expected = lower_name(d);
	struct dm_tab t = { 0 };
	int err = dm_by_name(expected, lower);

	if (!err)
		err = dm_tab_read(d->dm.name, &t);
	if (!err && (!table_devno(&t, &ma, &mi) || ma != lower->major ||
		     mi != lower->minor))
		err = -ENXIO;
	dm_tab_free(&t);
	free(expected);
	return err;
}

/*
 * It stands on something else: was it moved there, by force? Then what is to be
 * there again is that, as long as it is active.
 */
static int detach_moved(struct detach *x, bool force)
{
	char *expected = lower_name(x->d), *params;
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
		say("%s: was moved to %u:%u by force; without the filter nothing keeps what has made it from bringing the old data back",
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
	    !table_devno(&x->live, &x->major, &x->minor)) {
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

static void cancel_job(const struct device *d, const struct job *j)
{
	char *message;

	if (job_is_over(j) || !strcmp(j->state, "aborting"))
		return;
	message = xasprintf("job cancel %s force", j->id);
	dm_message(d->dm.name, message, NULL);
	free(message);
}

/* With --force running jobs are cancelled, else they forbid it. */
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
			say("%s: has a job: %s is %s", d->arg, f.jobs[0].id,
			    f.jobs[0].state);
			hint("wait for it (dmbackup job wait), or give --force to cancel it");
			filter_free(&f);
			return EX_REFUSED;
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
static int check_bitmaps(const struct device *d, bool force)
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
		r = check_bitmaps(&d, o->force);
	if (!r && dm_tab_is(&x.live, "backup"))
		r = end_jobs(&d, o->force);
	if (!r)
		r = detach_do(&x);
	dm_tab_free(&x.live);
	dm_tab_free(&x.old);
	return r;
}

/*------------------------------------------------------------------*/
/* open, close: a filter on top, under a name of its own */

static int open_check_name(const char *name)
{
	if (*name && !strchr(name, '/') && strlen(name) < DM_NAME_SIZE)
		return EX_OK;
	say("open: '%s' is no name for a device: it is to be /dev/mapper/NAME",
	    name);
	return EX_USAGE_;
}

static int open_make(const struct device *d, const char *name, const char *uuid,
		     const struct dm_tab *tab)
{
	int err = dm_make(name, uuid, tab, false, false);

	if (err)
		say("%s: can't be opened as %s: %s", d->arg, name, dm_why());
	return code_of_errno(err);
}

int cmd_open(int argc, char **argv, const struct options *o)
{
	struct features f = { 0 };
	struct dm_tab tab = { 0 };
	char *params, *uuid;
	struct dm_dev dm;
	struct device d;
	int r;

	(void)argc;
	r = open_check_name(argv[1]);
	if (!r)
		r = feature_words(o, &f);
	if (!r)
		r = device_find(argv[0], &d);
	if (!r)
		r = load_module();
	if (r)
		return r;
	if (!dm_by_name(argv[1], &dm)) {
		say("%s: a device of that name is there already", argv[1]);
		return EX_REFUSED;
	}
	uuid = xasprintf("DMBACKUP-%s", argv[1]);
	/* dm would put it beside other dm devices; and no metadata is to be made then. */
	r = device_check_unused(&d);
	if (!r)
		r = feature_metadata(o, &d, uuid, &f);
	if (!r) {
		params = filter_params(d.major, d.minor, &f);
		dm_tab_add(&tab, 0, d.sectors, "backup", params);
		free(params);
		r = open_make(&d, argv[1], uuid, &tab);
	}
	dm_tab_free(&tab);
	free(f.words);
	free(uuid);
	return r;
}

int cmd_close(int argc, char **argv, const struct options *o)
{
	struct device d;
	int r;

	(void)argc;
	r = device_find_filter_locked(argv[0], &d);
	if (r)
		return r;
	if (strncmp(d.dm.uuid, "DMBACKUP-", 9)) {
		say("%s: was not opened but attached", d.arg);
		hint("dmbackup detach %s", d.arg);
		return EX_REFUSED;
	}
	if (d.dm.open_count) {
		say("%s: is in use", d.arg);
		return EX_REFUSED;
	}
	r = view_check_none(&d);
	if (!r)
		r = check_bitmaps(&d, o->force);
	if (!r)
		r = end_jobs(&d, o->force);
	if (r)
		return r;
	r = dm_remove(d.dm.name);
	if (r)
		say("%s: can't be closed: %s", d.arg, dm_why());
	return code_of_errno(r);
}
