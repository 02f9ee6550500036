// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup view create, view remove: a view, with the job and the scratch device
 * that are made for it. Names of both are in view.h.
 */

#include "dm.h"
#include "dmbackup.h"
#include "filter.h"
#include "follow.h"
#include "scratch.h"
#include "view.h"
#include "words.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define MAX_NAME	48

/* How long a job that was cancelled may take to conclude. */
#define END_MS		10000

/* A view on its way. */
struct making {
	const char *name;
	const struct options *o;
	struct device d;		/* the filter */
	unsigned int origin[2];
	char *lv;			/* the volume below it, or NULL */
	char *job;			/* its id */
	char *share;			/* that of another view's, or NULL */
	char kind[SCRATCH_KIND_SIZE];	/* of what was made, or "" */
	bool begun;			/* the job is ours */
	bool made;			/* the device is there */
	char *dir;			/* where to mount it, or NULL */
	bool mounted;
};

/* Was @job started for the view @name, and what was made for it? "": nothing. */
static bool job_is_own(const char *job, const char *name,
		       char kind[SCRATCH_KIND_SIZE])
{
	size_t len;

	kind[0] = '\0';
	if (!strncmp(job, "view-", 5))
		return !strcmp(job + 5, name);
	if (strncmp(job, "view.", 5))
		return false;
	len = strcspn(job + 5, ".");
	if (len >= SCRATCH_KIND_SIZE || job[5 + len] != '.' ||
	    strcmp(job + 5 + len + 1, name))
		return false;
	snprintf(kind, SCRATCH_KIND_SIZE, "%.*s", (int)len, job + 5);
	return true;
}

/*
 * Is it none that a view begins, for all its name? Those copy nothing but for writes,
 * see start_words(). One that has gone is no other.
 */
static bool job_is_other(const struct device *d, const char *job)
{
	char *answer = filter_ask(d, "job show %s", job);
	char *sync = answer ? show_value(answer, "sync") : NULL;
	bool other;

	other = answer && !(sync && (!strcmp(sync, "none") ||
				     (!strcmp(sync, "bitmap") &&
				      show_number(answer, "speed") == 1)));
	free(sync);
	free(answer);
	return other;
}

/*------------------------------------------------------------------*/
/* What it takes to mount what was frozen, or has its journal to replay. */
static const struct {
	const char *type;
	const char *options;
} mounts[] = {
	{ "ext3", "noload" },
	{ "ext4", "noload" },
	{ "xfs", "nouuid,norecovery" },
};

/* Are its blocks larger than those that the file system was made for? */
static void hint_blocks(const struct device *d, const char *name)
{
	struct device v = { 0 };
	unsigned int mine, theirs;

	if (dm_by_name(name, &v.dm))
		return;
	v.major = v.dm.major;
	v.minor = v.dm.minor;
	mine = device_block_size(&v);
	theirs = device_block_size(d);
	if (mine > theirs)
		hint("the view has blocks of %u bytes, as its scratch device, %s of %u: give another one, --scratch DEVICE",
		     mine, d->arg, theirs);
}

/* libblkid looks at no device with a uuid like a view's: @d has the same on it. */
static int view_mount(const struct device *d, const char *name,
		      const char *dir)
{
	char *path = xasprintf("/dev/mapper/%s", name);
	char *type = device_file_system(d);
	const char *options = "";
	unsigned int i;
	int r = EX_OK;

	if (!type) {
		say("%s: no file system is found on it", d->arg);
		r = EX_FAILED;
	} else if (!strcmp(type, "btrfs")) {
		say("%s: a btrfs must not be mounted beside its original", name);
		r = EX_REFUSED;
	}
	for (i = 0; !r && i < sizeof(mounts) / sizeof(*mounts); i++)
		if (!strcmp(type, mounts[i].type))
			options = mounts[i].options;
	if (!r && mount(path, dir, type, MS_RDONLY | MS_NODEV | MS_NOSUID,
			options)) {
		int err = errno;

		say("%s: can't be mounted on %s: %s", name, dir, strerror(err));
		if (err == EINVAL || err == ENOSYS)
			hint_blocks(d, name);
		r = EX_FAILED;
	}
	free(type);
	free(path);
	return r;
}

static int unmount_from(const struct view *v, const struct device *d,
			const char *dir)
{
	int err;

	/* umount2() takes what is on top. */
	if (!device_is_seen_at(d, dir)) {
		say("%s: something else is mounted over it on %s", v->dm.name,
		    dir);
		return EX_REFUSED;
	}
	if (!umount2(dir, UMOUNT_NOFOLLOW))
		return EX_OK;
	err = errno;
	say("%s: can't be unmounted from %s: %s", v->dm.name, dir,
	    strerror(err));
	return err == EBUSY ? EX_REFUSED : EX_FAILED;
}

static int view_unmount(const struct view *v)
{
	struct device d = { .major = v->dm.major, .minor = v->dm.minor };
	int r = EX_OK;
	char *dir;

	while (!r && (dir = device_mountpoint(&d))) {
		r = unmount_from(v, &d, dir);
		free(dir);
	}
	return r;
}

/*------------------------------------------------------------------*/
/* The job */

/* Ends a view's own job, and waits until its destination is free. An exit code. */
static int job_end(const struct device *d, const char *id)
{
	uint64_t by = now_ms() + END_MS;
	char *answer, *state;
	bool over;

	do {
		answer = filter_ask(d, "job show %s", id);
		state = answer ? show_value(answer, "state") : NULL;
		over = !state || !strcmp(state, "concluded");
		/* It may not be possible just now, or done already. */
		if (!over)
			free(filter_ask(d, "job cancel %s force", id));
		if (state && over)
			free(filter_ask(d, "job dismiss %s", id));
		free(answer);
		free(state);
		if (!over)
			usleep(50000);
	} while (!over && now_ms() < by);
	if (over)
		return EX_OK;
	say("%s: job %s does not end", d->arg, id);
	return EX_REFUSED;
}

/* Which job's copies are to serve this one, too, if any? An exit code. */
static int share_find(struct making *m)
{
	struct view v;

	if (!m->o->share)
		return EX_OK;
	if (!view_read(m->o->share, &v)) {
		say("%s: there is no such view", m->o->share);
		return EX_NODEV;
	}
	if (v.filter[0] != m->d.major || v.filter[1] != m->d.minor) {
		say("%s: is no view of %s", m->o->share, m->d.arg);
		return EX_REFUSED;
	}
	m->share = xstrdup(v.job);
	return EX_OK;
}

/* What the message says after id and target. To be freed; NULL: said why not. */
static char *start_words(const struct making *m)
{
	const struct options *o = m->o;
	char *words = xstrdup("auto_dismiss=0");
	bool ok = add_errors(&words, o) &&
		  (!m->share || add_word(&words, "", "share", m->share)) &&
		  add_sectors(&words, "--cluster", "cluster", o->cluster) &&
		  add_number(&words, "allow_larger", 1) &&
		  (o->no_freeze || add_number(&words, "freeze", 1));

	/* Only what is dirty can be read; nothing is copied but for writes. */
	if (ok && o->bitmap)
		ok = add_word(&words, "--bitmap", "bitmap", o->bitmap) &&
		     add_word(&words, "", "bitmap_mode", "never") &&
		     add_word(&words, "", "sync", "bitmap") &&
		     add_number(&words, "speed", 1);
	else if (ok)
		ok = add_word(&words, "", "sync", "none");
	if (ok)
		return words;
	free(words);
	return NULL;
}

/* May @s be written, so far as can be told before it is? */
static int check_scratch(const struct device *d, const struct device *s,
			 const struct options *o)
{
	int r = device_check_apart(s, d);

	return r ? r : device_check_target(s, o->force);
}

static int job_begin(struct making *m, const struct device *s)
{
	struct follow f = { .d = &m->d, .id = m->job };
	char *words = start_words(m);
	int r = words ? EX_OK : EX_USAGE_;

	if (!r)
		r = filter_send(&m->d, "view", "backup start %s target=%u:%u %s",
				m->job, s->major, s->minor, words);
	free(words);
	m->begun = !r;
	/* Its end is told, if it ends at once. */
	if (!r && !follow_started(&f, 1))
		r = follow_jobs(&f, 1, m->job, false);
	free(f.last);
	if (!r && m->o->bitmap)
		free(filter_ask(&m->d, "job pause %s", m->job));
	return r;
}

/*------------------------------------------------------------------*/
/* create */

static int check_name(const char *name)
{
	const char *p = name;
	struct dm_dev dm;

	while (*p && (isalnum((unsigned char)*p) || strchr("-._", *p)))
		p++;
	if (*p || strlen(name) > MAX_NAME || !name[strspn(name, ".")]) {
		say("'%s' is no name for a view: letters, digits, '-', '.', '_', at most %u",
		    name, MAX_NAME);
		return EX_USAGE_;
	}
	if (!dm_by_name(name, &dm)) {
		say("%s: a device of that name is there already", name);
		return EX_REFUSED;
	}
	return EX_OK;
}

/* Hidden: it holds the same as the device that is in use. */
static int device_make(const struct making *m)
{
	struct dm_tab tab = { 0 };
	char *params, *uuid;
	int r;

	params = xasprintf("%u:%u %u:%u %s", m->origin[0], m->origin[1],
			   m->d.major, m->d.minor, m->job);
	dm_tab_add(&tab, 0, m->d.sectors, "backup-view", params);
	uuid = !strncmp(m->d.dm.uuid, "LVM-", 4) ?
	       xasprintf("%s%s%s", m->d.dm.uuid, VIEW_UUID_INFIX, m->name) :
	       xasprintf("%s%s", VIEW_UUID, m->name);
	r = dm_make(m->name, uuid, &tab, !m->o->discards, true);
	if (r)
		say("%s: no view can be made: %s", m->d.arg, dm_why());
	dm_tab_free(&tab);
	free(params);
	free(uuid);
	return code_of_errno(r);
}

/* A device for what is overwritten: the user's, or one that is made. */
static int scratch_get(struct making *m, struct device *s)
{
	int r;

	if (!m->o->scratch || !strcmp(m->o->scratch, "auto"))
		return scratch_make(&m->d, m->lv, m->name, m->o->size, s,
				    m->kind);
	r = device_find(m->o->scratch, s);
	return r ? r : check_scratch(&m->d, s, m->o);
}

/* A job of its own, and where that keeps what is overwritten. */
static int own_job(struct making *m)
{
	struct device s;
	int r = share_find(m);

	if (!r)
		r = scratch_get(m, &s);
	if (r)
		return r;
	m->job = m->kind[0] ? xasprintf("view.%s.%s", m->kind, m->name) :
			      xasprintf("view-%s", m->name);
	if (follow_interrupted())
		return EX_CANCELLED;
	return job_begin(m, &s);
}

/* Somebody else's. */
static int other_job(struct making *m)
{
	char *answer;

	if (!is_word("--job", m->o->job))
		return EX_USAGE_;
	answer = filter_ask(&m->d, "job show %s", m->o->job);
	if (!answer) {
		say("%s: there is no job %s", m->d.arg, m->o->job);
		return EX_NODEV;
	}
	free(answer);
	m->job = xstrdup(m->o->job);
	return EX_OK;
}

static int view_make(struct making *m)
{
	int r = m->o->job ? other_job(m) : own_job(m);

	if (r)
		return r;
	r = device_make(m);
	m->made = !r;
	if (!r && m->dir)
		r = view_mount(&m->d, m->name, m->dir);
	if (!r && follow_interrupted()) {
		m->mounted = m->dir;
		r = EX_CANCELLED;
	}
	return r;
}

/* Takes back what there is of it. */
static void unmake(const struct making *m)
{
	if (m->mounted)
		umount2(m->dir, UMOUNT_NOFOLLOW);
	if (m->made && dm_remove(m->name)) {
		say("%s: can't be removed: %s", m->name, dm_why());
		return;
	}
	if (m->begun && job_end(&m->d, m->job))
		return;
	if (m->kind[0])
		scratch_remove(m->lv, m->name, m->kind);
}

/* As the kernel names it: links are followed once. */
static int find_dir(struct making *m)
{
	if (!m->o->mount)
		return EX_OK;
	m->dir = realpath(m->o->mount, NULL);
	if (m->dir)
		return EX_OK;
	say("--mount: %s: %s", m->o->mount, strerror(errno));
	return EX_NODEV;
}

static int check_options(const struct options *o)
{
	if (o->share && o->bitmap) {
		say("view create: with --bitmap nothing can be shared");
		return EX_USAGE_;
	}
	if (o->job && (o->scratch || o->bitmap || o->size || o->share)) {
		say("view create: --job is a job that has all of that already");
		return EX_USAGE_;
	}
	if (o->job && (o->cluster || o->cbw_timeout || o->on_cbw_error ||
		       o->no_freeze || o->force)) {
		say("view create: --job runs already: --cluster, --cbw-timeout, --on-cbw-error, --no-freeze and --force are for one that begins");
		return EX_USAGE_;
	}
	if (o->size && o->scratch && strcmp(o->scratch, "auto")) {
		say("view create: --size is for a scratch device that is made");
		return EX_USAGE_;
	}
	return EX_OK;
}

int cmd_view_create(int argc, char **argv, const struct options *o)
{
	struct making m = { .name = argv[1], .o = o };
	int r = check_options(o);

	(void)argc;
	if (!r)
		r = check_name(m.name);
	if (!r)
		r = find_dir(&m);
	/* No filter is taken out meanwhile. */
	if (!r)
		r = device_find_filter_locked(argv[0], &m.d);
	if (!r)
		r = filter_origin(&m.d, m.origin);
	if (r)
		return r;
	m.lv = view_origin_lv(m.origin);
	follow_own();
	r = view_make(&m);
	if (r)
		unmake(&m);
	else
		printf("/dev/mapper/%s\n", m.name);
	if (r == EX_CANCELLED)
		say("%s: no view was made", m.d.arg);
	free(m.job);
	free(m.share);
	free(m.dir);
	free(m.lv);
	return r;
}

/*------------------------------------------------------------------*/
/* remove */

/* Does what was saved for the view @name serve others, too? An exit code. */
static int check_lender(const struct device *d, const struct view *v,
			const char *name)
{
	char kind[SCRATCH_KIND_SIZE], *answer, *borrowers;
	int r = EX_OK;

	if (!job_is_own(v->job, name, kind))
		return EX_OK;
	answer = filter_ask(d, "job show %s", v->job);
	borrowers = answer ? show_value(answer, "borrowers") : NULL;
	if (borrowers && strcmp(borrowers, "0")) {
		say("%s: what was saved for it is shared by other views: remove those first",
		    name);
		r = EX_REFUSED;
	}
	free(borrowers);
	free(answer);
	return r;
}

/*
 * A view's own job ends, whose scratch device was given. Pieces of what was overwritten
 * are left there, at their places: a superblock would be taken for that of the device,
 * at the next boot at the latest.
 */
static int job_end_given(const struct device *d, const char *job)
{
	char *answer = filter_ask(d, "job show %s", job);
	char *target = answer ? show_value(answer, "target") : NULL;
	struct device s;
	int fd = -1, r;

	/* As long as it is open its number is no other device's. */
	if (target && !device_find(target, &s))
		fd = device_open(&s, O_RDONLY);
	if (fd >= 0 && s.is_dm)
		s.arg = s.dm.name;
	r = job_end(d, job);
	if (!r && fd >= 0)
		r = device_wipe_signatures(&s);
	if (fd >= 0)
		close(fd);
	free(target);
	free(answer);
	return r;
}

/* What was made for the view @name, which has gone. */
static int remove_made(const struct device *d, const char *lv,
		       const char *name, const char *job)
{
	char kind[SCRATCH_KIND_SIZE];
	int r = EX_OK;

	if (!job_is_own(job, name, kind) || (d && job_is_other(d, job)))
		return EX_OK;
	if (d && kind[0])
		r = job_end(d, job);
	else if (d)
		r = job_end_given(d, job);
	if (!r && kind[0])
		r = scratch_remove(lv, name, kind);
	return r;
}

/* What was left by a command that was killed, or by a reboot. */
struct left {
	const char *name;
	bool found;
	int r;
};

static int left_of_filter(const char *dm_name, void *ctx)
{
	char kind[SCRATCH_KIND_SIZE], *lv;
	struct left *left = ctx;
	unsigned int i, origin[2];
	struct filter f;
	struct device d;
	struct dm_tab t;
	bool filter;

	if (dm_tab_read(dm_name, &t))
		return 0;
	filter = dm_tab_is(&t, "backup");
	dm_tab_free(&t);
	if (!filter || device_find(dm_name, &d) || filter_read(&d, &f))
		return 0;
	for (i = 0; i < f.nr_jobs; i++) {
		if (!job_is_own(f.jobs[i].id, left->name, kind) ||
		    job_is_other(&d, f.jobs[i].id) ||
		    filter_origin(&d, origin))
			continue;
		left->found = true;
		lv = view_origin_lv(origin);
		left->r = remove_made(&d, lv, left->name, f.jobs[i].id);
		free(lv);
	}
	filter_free(&f);
	return 0;
}

static int remove_left(const char *name)
{
	struct left left = { .name = name };

	dm_for_each(left_of_filter, &left);
	if (!left.found)
		left.r = scratch_remove_left(name, &left.found);
	if (left.found)
		return left.r;
	say("%s: there is no such view", name);
	return EX_NODEV;
}

int cmd_view_remove(int argc, char **argv, const struct options *o)
{
	const char *name = argv[0];
	struct device d;
	struct dm_dev dm;
	struct view v;
	bool filter;
	char *lv;
	int r;

	(void)argc;
	(void)o;
	if (!view_read(name, &v)) {
		if (dm_by_name(name, &dm))
			return remove_left(name);
		say("%s: is no view", name);
		return EX_NODEV;
	}
	filter = view_filter(&v, &d);
	r = filter ? check_lender(&d, &v, name) : EX_OK;
	if (!r)
		r = view_unmount(&v);
	if (r)
		return r;
	r = dm_remove(name);
	if (r) {
		say("%s: can't be removed: %s", name, dm_why());
		return code_of_errno(r);
	}
	lv = view_origin_lv(v.origin);
	r = remove_made(filter ? &d : NULL, lv, name, v.job);
	free(lv);
	return r;
}
