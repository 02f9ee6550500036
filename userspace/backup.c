// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup backup: a copy of one instant of a device in use, all of it or what
 * has changed.
 */

#include "bitmap.h"
#include "dm.h"
#include "dmbackup.h"
#include "filter.h"
#include "job.h"
#include "report.h"
#include "words.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * What the message says after id and target, but for what is copied. To be
 * freed; NULL: said why not.
 */
static char *start_words(const struct options *o)
{
	char *words = xstrdup("auto_dismiss=0");
	uint64_t v;
	bool ok = true;

	if (o->speed)
		ok = parse_bytes("--speed", o->speed, &v) &&
		     add_number(&words, "speed", v);
	ok = ok && add_errors(&words, o) &&
	     add_sectors(&words, "--cluster", "cluster", o->cluster) &&
	     add_sectors(&words, "--max-chunk", "max_chunk", o->max_chunk) &&
	     add_policy(&words, "--max-workers", "max_workers",
			o->max_workers) &&
	     add_policy(&words, "--detect-zeroes", "detect_zeroes",
			o->detect_zeroes);
	if (ok && o->allow_larger)
		ok = add_number(&words, "allow_larger", 1);
	if (ok && !o->no_freeze)
		ok = add_number(&words, "freeze", 1);
	if (ok)
		return words;
	free(words);
	return NULL;
}

/*------------------------------------------------------------------*/
/* What is copied */

enum level {
	LEVEL_PLAIN,		/* all, without a bitmap */
	LEVEL_FULL,		/* all, and a bitmap begins */
	LEVEL_INCREMENTAL,	/* what has changed since the last one */
	LEVEL_DIFFERENTIAL,	/* what has changed since the last full one */
	LEVEL_AUTO,		/* incremental, or full if that can't be */
};

struct plan {
	enum level level;
	bool automatic;		/* by --level auto */
	char bitmap[BITMAP_NAME_SIZE];
	char tag[BITMAP_NAME_SIZE];	/* of the target */
	bool known;		/* the bitmap goes with the target */
	bool remove;		/* first: it is of no use */
	bool add;		/* a new one */
};

static int plan_of_options(const struct options *o, struct plan *p)
{
	static const char *const names[] = {
		[LEVEL_FULL]		= "full",
		[LEVEL_INCREMENTAL]	= "incremental",
		[LEVEL_DIFFERENTIAL]	= "differential",
		[LEVEL_AUTO]		= "auto",
	};

	memset(p, 0, sizeof(*p));
	p->level = o->bitmap ? LEVEL_FULL : LEVEL_PLAIN;
	if (o->incremental) {
		if (o->level || o->bitmap) {
			say("--incremental NAME is --level incremental --bitmap NAME: give one of the two");
			return EX_USAGE_;
		}
		p->level = LEVEL_INCREMENTAL;
	}
	if (o->level) {
		for (p->level = LEVEL_FULL; p->level <= LEVEL_AUTO; p->level++)
			if (!strcmp(o->level, names[p->level]))
				break;
		if (p->level > LEVEL_AUTO) {
			say("--level: '%s' is none of full, incremental, differential, auto",
			    o->level);
			return EX_USAGE_;
		}
	}
	p->automatic = p->level == LEVEL_AUTO;
	return EX_OK;
}

/*
 * The target's tag, by which a bitmap remembers where its last backup went, and
 * the bitmap: one for each target, if none is named.
 */
static int plan_target(const struct options *o, const struct device *to,
		       struct plan *p)
{
	const char *name = o->incremental ? o->incremental : o->bitmap;
	char number[32], *c;

	snprintf(number, sizeof(number), "%u:%u", to->major, to->minor);
	snprintf(p->tag, sizeof(p->tag), "%.127s",
		 to->is_dm && to->dm.uuid[0] ? to->dm.uuid : number);
	if (name && strlen(name) < sizeof(p->bitmap))
		snprintf(p->bitmap, sizeof(p->bitmap), "%s", name);
	else if (!name)
		snprintf(p->bitmap, sizeof(p->bitmap), "to-%.100s",
			 to->is_dm ? to->dm.name : number);
	for (c = p->bitmap; !name && *c; c++)
		if (!strchr("#+-.:=@_", *c) && !isalnum((unsigned char)*c))
			*c = '_';
	return is_word("--bitmap", p->bitmap) && is_word("target", p->tag) ?
	       EX_OK : EX_USAGE_;
}

/* Why an incremental backup can't be made; NULL if it can. */
static const char *unusable(const struct bitmap *b, bool found,
			    const struct plan *p)
{
	static char why[256];

	if (!found)
		return "there is no such bitmap";
	if (b->inconsistent) {
		snprintf(why, sizeof(why), "it is inconsistent: %s", b->cause);
		return why;
	}
	if (!b->recording)
		return "it is disabled: writes were not recorded";
	if (b->tag[0] && strcmp(b->tag, p->tag))
		return "its last backup went to another target";
	return NULL;
}

/* Settles the level. */
static int plan_settle(const struct device *d, struct plan *p)
{
	struct bitmap *list = NULL, b = { 0 };
	const char *why;
	unsigned int n;
	bool found;
	int r;

	if (p->level == LEVEL_PLAIN)
		return EX_OK;
	r = bitmaps_read(d, &list, &n);
	if (r)
		return r;
	found = bitmap_find(list, n, p->bitmap, &b);
	why = unusable(&b, found, p);
	p->known = found && !strcmp(b.tag, p->tag);
	if (p->level == LEVEL_AUTO) {
		p->level = why ? LEVEL_FULL : LEVEL_INCREMENTAL;
		if (why)
			say("%s: a full backup is made: bitmap '%s': %s",
			    d->arg, p->bitmap, why);
	}
	if (p->level == LEVEL_FULL) {
		p->remove = found && (b.inconsistent || !b.recording);
		p->add = !found || p->remove;
	} else if (why) {
		say("%s: a full backup is needed: bitmap '%s': %s", d->arg,
		    p->bitmap, why);
		hint("--level full makes one, --level auto does when there is need");
		r = EX_NO;
	}
	free(list);
	return r;
}

/*
 * The bitmap to begin with. All of it is dirty until the backup has succeeded:
 * if it doesn't, an incremental one after it copies everything.
 */
static int plan_begin(const struct device *d, const struct plan *p)
{
	int r = p->remove ? bitmap_remove(d, p->bitmap) : EX_OK;

	return r || !p->add ? r : bitmap_add(d, p->bitmap);
}

static char *plan_words(const struct plan *p)
{
	switch (p->level) {
	case LEVEL_FULL:
		return xasprintf("sync=full bitmap=%s bitmap_mode=on_success tag=%s",
				 p->bitmap, p->tag);
	case LEVEL_INCREMENTAL:
		return xasprintf("sync=incremental bitmap=%s tag=%s", p->bitmap,
				 p->tag);
	case LEVEL_DIFFERENTIAL:
		return xasprintf("sync=bitmap bitmap=%s bitmap_mode=never",
				 p->bitmap);
	default:
		return xstrdup("sync=full");
	}
}

/*------------------------------------------------------------------*/

/* May the target be written, so far as can be told before it is? */
static int check_target(const struct device *d, const struct device *to,
			const struct plan *p, const struct options *o)
{
	bool part = p->level == LEVEL_INCREMENTAL ||
		    p->level == LEVEL_DIFFERENTIAL;
	enum likeness like;

	if (device_stands_on(to, d)) {
		say("%s: stands on %s: its writes would come back to the filter",
		    o->to, d->arg);
		return EX_REFUSED;
	}
	if (o->force || (!part && !p->automatic))
		return device_check_target(to, o->force);
	like = device_likeness(to, d);
	if (like == LIKE_SAME || (part && like == LIKE_UNKNOWN && p->known))
		return device_check_unused(to);
	if (!part)
		return device_check_target(to, false);
	say("%s: is not known to be a copy of %s: %s", o->to, d->arg,
	    like == LIKE_OTHER ? "it has not its file system's UUID" :
	    "the bitmap was not begun by a backup to it");
	hint("give --force if it is one");
	return EX_REFUSED;
}

/*
 * Waits until the job has made its cut. If it ends without one, its end is told
 * here.
 */
static int wait_started(const struct device *d, const char *id,
			const struct options *o)
{
	char *answer, *state, *outcome;
	bool created, failed;

	do {
		answer = filter_ask(d, "job show %s", id);
		state = answer ? show_value(answer, "state") : NULL;
		outcome = answer ? show_value(answer, "outcome") : NULL;
		created = state && !strcmp(state, "created");
		failed = !state || !strcmp(state, "aborting") ||
			 (!strcmp(state, "concluded") &&
			  strcmp(outcome ? outcome : "", "completed"));
		free(answer);
		free(state);
		free(outcome);
		if (created)
			usleep(20000);
	} while (created);
	return failed ? job_follow(d, id, id, true, o, NULL) : EX_OK;
}

static int follow(const struct device *d, const char *id,
		  const struct options *o)
{
	char *title = xasprintf("%s -> %s", d->arg, o->to), *last = NULL;
	uint64_t began = now_ms();
	struct filter f = { 0 };
	int r = job_follow(d, id, title, true, o, &last);

	if (!r && last) {
		if (!filter_read(d, &f))
			filter_free(&f);
		r = report_backup(d, last, now_ms() - began, f.longest_ms, o);
	}
	free(last);
	free(title);
	return r;
}

int cmd_backup(int argc, char **argv, const struct options *o)
{
	struct device d, to;
	char *words, *what, *id;
	struct plan p;
	int r;

	(void)argc;
	if (!o->to) {
		say("backup: --to is missing");
		return EX_USAGE_;
	}
	r = plan_of_options(o, &p);
	if (r)
		return r;
	words = start_words(o);
	if (!words)
		return EX_USAGE_;
	id = o->id ? xstrdup(o->id) : xasprintf("backup-%d", getpid());
	r = is_word("--id", id) ? device_find_filter(argv[0], &d) : EX_USAGE_;
	if (!r)
		r = device_find(o->to, &to);
	if (!r)
		r = plan_target(o, &to, &p);
	if (!r)
		r = plan_settle(&d, &p);
	if (!r)
		r = check_target(&d, &to, &p, o);
	if (!r)
		r = plan_begin(&d, &p);
	what = plan_words(&p);
	if (!r)
		r = filter_send(&d, "backup",
				"backup start %s target=%u:%u %s %s", id,
				to.major, to.minor, what, words);
	free(what);
	free(words);
	if (!r)
		r = wait_started(&d, id, o);
	if (!r && o->detach)
		printf("%s\n", id);
	else if (!r)
		r = follow(&d, id, o);
	free(id);
	return r;
}
