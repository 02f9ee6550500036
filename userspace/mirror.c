// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup mirror: a copy that follows a device in use, and moving the device
 * there.
 *
 * After a pivot the device's data is on the target, but whoever makes the device
 * (LVM, cryptsetup, a script at boot) does not know: it would make it of the old
 * one again, with old data. So only a filter that "dmbackup open" has made moves
 * without --force: whoever opens it says of what.
 */

#include "dm.h"
#include "dmbackup.h"
#include "follow.h"
#include "guard.h"
#include "job.h"
#include "report.h"
#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *start_words(const struct options *o)
{
	char *words = xstrdup("sync=full auto_dismiss=0");
	uint64_t v;
	bool ok = true;

	if (o->speed)
		ok = parse_bytes("--speed", o->speed, &v) &&
		     add_number(&words, "speed", v);
	ok = ok && add_errors(&words, o) &&
	     add_sectors(&words, "--granularity", "granularity",
			 o->granularity) &&
	     add_sectors(&words, "--max-chunk", "max_chunk", o->max_chunk);
	if (ok && o->allow_larger)
		ok = add_number(&words, "allow_larger", 1);
	if (ok)
		return words;
	free(words);
	return NULL;
}

/*------------------------------------------------------------------*/
/* The pivot */

/* Would somebody bring the old data back? */
static int check_move(const struct device *d, bool force)
{
	char *lv = device_lv_name(&d->dm);
	int r = EX_REFUSED;

	if (force || !strncmp(d->dm.uuid, "DMBACKUP-", 9)) {
		r = EX_OK;
	} else if (lv) {
		say("%s: LVM would bring the old data back when it activates %s the next time",
		    d->arg, lv);
		hint("--force moves it all the same: before that, rename the volumes so that the new one has its name");
	} else {
		say("%s: what has made this device would bring the old data back the next time",
		    d->arg);
		hint("--force moves it all the same: see to that yourself, at once");
	}
	free(lv);
	return r;
}

/*
 * Waits until a job is in a state, or has concluded. Ctrl-C ends the waiting and
 * nothing else. False: it stands by, which has been said, or is gone.
 */
static bool wait_state(const struct device *d, const char *id,
		       const char *title, const char *wanted, bool bar)
{
	struct progress p = { .title = title, .began = now_ms() };
	bool found = false, over = false, standby = false;
	char *answer, *cause;

	bar = bar || isatty(2);
	while (!found && !over && !standby) {
		answer = filter_ask(d, "job show %s", id);
		free(p.state);
		p.state = answer ? show_value(answer, "state") : NULL;
		over = !p.state || !strcmp(p.state, "concluded");
		found = p.state && !strcmp(p.state, wanted);
		standby = p.state && !strcmp(p.state, "standby");
		if (bar && !over) {
			p.done = show_number(answer, "done") * 512;
			p.total = show_number(answer, "total") * 512;
			progress_show(&p);
		}
		if (standby) {
			progress_clear();
			cause = show_value(answer, "cause");
			say("%s: job %s is on standby: %s", d->arg, id, cause);
			hint("dmbackup job resume tries again, dmbackup job cancel --force gives up");
			free(cause);
		} else if (!found && !over) {
			usleep(200000);
		}
		free(answer);
	}
	if (bar && !standby)
		progress_clear();
	free(p.state);
	return found || over;
}

/* The table as it is now, with the new origin, once more: then it has no other. */
static int reload(const struct device *d)
{
	struct dm_tab t = { 0 };
	int err = dm_tab_read(d->dm.name, &t);

	if (!err)
		err = dm_load(d->dm.name, &t, d->dm.read_only);
	if (!err)
		err = dm_resume(d->dm.name);
	if (err)
		say("%s: has moved, but its table can't be loaded anew: %s",
		    d->arg, dm_why());
	dm_tab_free(&t);
	return code_of_errno(err);
}

static int complete(const struct device *d, const char *id, const char *title,
		    const struct options *o)
{
	struct follow f = { .d = d, .id = id };
	int r = check_move(d, o->force);

	if (!r)
		r = filter_send(d, "complete", "job complete %s", id);
	if (r)
		return r;
	if (!wait_state(d, id, title, "concluded", o->progress))
		return EX_FAILED;
	r = follow_jobs(&f, 1, title, o->progress);
	free(f.last);
	return r ? r : reload(d);
}

int cmd_job_complete(int argc, char **argv, const struct options *o)
{
	struct device d;
	char *id = NULL;
	int r = job_find(argc, argv, &d, &id);

	/* It changes the table: nobody else is to, meanwhile. */
	if (!r)
		r = device_find_filter_locked(argv[0], &d);
	if (!r)
		r = complete(&d, id, id, o);
	free(id);
	return r;
}

/*------------------------------------------------------------------*/

static int check_target(const struct device *d, const struct device *to,
			const struct options *o)
{
	int r;

	if (device_stands_on(to, d)) {
		say("%s: stands on %s: its writes would come back to the filter",
		    o->to, d->arg);
		return EX_REFUSED;
	}
	r = device_check_target(to, o->force);
	return r || !o->pivot ? r : check_move(d, o->force);
}

static int run(const struct device *d, const struct device *to, const char *id,
	       const char *words, const struct options *o)
{
	char *title = xasprintf("%s -> %s", d->arg, o->to);
	struct follow f = { .d = d, .id = id };
	int r = check_target(d, to, o);

	if (!r)
		r = filter_send(d, "mirror", "mirror start %s target=%u:%u %s",
				id, to->major, to->minor, words);
	if (!r && (o->wait || o->pivot) &&
	    !wait_state(d, id, title, "ready", o->progress))
		r = EX_FAILED;
	/* If it failed by now, that is told here. */
	if (!r && !follow_started(&f, 1)) {
		r = follow_jobs(&f, 1, title, o->progress);
		free(f.last);
	} else if (!r && o->pivot) {
		r = complete(d, id, title, o);
	} else if (!r) {
		printf("%s\n", id);
	}
	if (!r && o->pivot)
		printf("%s is on %s\n", d->arg, o->to);
	free(title);
	return r;
}

int cmd_mirror(int argc, char **argv, const struct options *o)
{
	struct device d, to;
	char *words, *id;
	int r;

	(void)argc;
	if (!o->to) {
		say("mirror: --to is missing");
		return EX_USAGE_;
	}
	words = start_words(o);
	if (!words)
		return EX_USAGE_;
	id = o->id ? xstrdup(o->id) : xasprintf("mirror-%d", getpid());
	r = is_word("--id", id) ? EX_OK : EX_USAGE_;
	if (!r)
		r = o->pivot ? device_find_filter_locked(argv[0], &d) :
			       device_find_filter(argv[0], &d);
	if (!r)
		r = device_find(o->to, &to);
	if (!r)
		r = run(&d, &to, id, words, o);
	free(id);
	free(words);
	return r;
}
