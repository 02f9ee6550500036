// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup mirror: a copy that follows a device in use, and moving the device
 * there (move.c).
 */

#include "dm.h"
#include "dmbackup.h"
#include "follow.h"
#include "job.h"
#include "mirror.h"
#include "move.h"
#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *mirror_words(const struct options *o)
{
	char *words = xstrdup("auto_dismiss=0");
	uint64_t v;
	bool ok;

	/* What goes together is for the kernel to say. */
	ok = add_word(&words, "--sync", "sync", o->sync ? o->sync :
		      o->bitmap ? "bitmap" : "full");
	if (ok && o->bitmap)
		ok = add_word(&words, "--bitmap", "bitmap", o->bitmap) &&
		     add_policy(&words, "--bitmap-mode", "bitmap_mode",
				o->bitmap_mode ? o->bitmap_mode :
				"on-success");
	if (ok && o->bitmap_mode && !o->bitmap) {
		say("--bitmap-mode goes with --bitmap");
		ok = false;
	}
	if (ok && o->speed)
		ok = parse_bytes("--speed", o->speed, &v) &&
		     add_number(&words, "speed", v);
	ok = ok && add_errors(&words, o) &&
	     add_sectors(&words, "--granularity", "granularity",
			 o->granularity) &&
	     add_sectors(&words, "--max-chunk", "max_chunk", o->max_chunk);
	ok = ok && add_policy(&words, "--copy-mode", "copy_mode", o->copy_mode);
	if (ok && o->auto_switch)
		ok = add_number(&words, "auto_switch", 1);
	if (ok && o->target_is_zero)
		ok = add_number(&words, "target_is_zero", 1);
	if (ok && o->zero_target)
		ok = add_number(&words, "zero_target", 1);
	if (ok && o->no_unmap)
		ok = add_number(&words, "unmap", 0);
	if (ok && o->allow_larger)
		ok = add_number(&words, "allow_larger", 1);
	if (ok)
		return words;
	free(words);
	return NULL;
}

/*------------------------------------------------------------------*/

/* Where a mirror copies to. */
static int find_target(const struct device *d, const char *id, char **name,
		       struct device *to)
{
	char *answer = filter_ask(d, "job show %s", id);

	*name = answer ? show_value(answer, "target") : NULL;
	if (!answer)
		return filter_send(d, "show", "job show %s", id);
	free(answer);
	if (*name)
		return device_find(*name, to);
	say("%s: job %s is no mirror", d->arg, id);
	return EX_REFUSED;
}

int cmd_job_complete(int argc, char **argv, const struct options *o)
{
	struct device d, to;
	char *id = NULL, *target = NULL;
	int r = job_find(argc, argv, &d, &id);

	/* It changes the table: nobody else is to, meanwhile. */
	if (!r)
		r = device_find_filter_locked(argv[0], &d);
	if (!r)
		r = find_target(&d, id, &target, &to);
	follow_own();
	if (!r)
		r = move_to(&d, &to, id, id, o->without_lvm, o->progress);
	free(target);
	free(id);
	return r;
}

/*------------------------------------------------------------------*/

int mirror_check_target(const struct device *d, const struct device *to,
			const struct options *o, bool larger)
{
	int r = device_check_apart(to, d);

	if (!r)
		r = device_check_length(to, d, larger);
	return r ? r : device_check_target(to, o->force);
}

/* Ctrl-C ends the waiting only: a copy that was begun is not to be lost by that. */
static int wait_ready(const struct device *d, const char *id, const char *title,
		      bool bar)
{
	bool ready = follow_until(d, id, title, "ready", bar);

	if (!follow_interrupted())
		return ready ? EX_OK : EX_FAILED;
	say("%s: interrupted; job %s goes on", d->arg, id);
	hint("dmbackup job complete moves the device when it is ready; dmbackup job cancel ends it");
	return EX_CANCELLED;
}

static int run(const struct device *d, const struct device *to, const char *id,
	       const char *words, const struct options *o)
{
	char *title = xasprintf("%s -> %s", d->arg, o->to);
	struct follow f = { .d = d, .id = id };
	int r = mirror_check_target(d, to, o, o->allow_larger);

	if (o->wait || o->pivot)
		follow_own();
	if (!r && o->pivot)
		r = move_check(d, to, o->without_lvm);
	if (!r)
		r = filter_send(d, "mirror", "mirror start %s target=%u:%u %s",
				id, to->major, to->minor, words);
	if (!r && (o->wait || o->pivot))
		r = wait_ready(d, id, title, o->progress);
	/* If it failed by now, that is told here. */
	if (!r && !follow_started(&f, 1) && !follow_interrupted()) {
		r = follow_jobs(&f, 1, title, o->progress);
		free(f.last);
	} else if (!r && o->pivot) {
		r = move_to(d, to, id, title, o->without_lvm,
			    o->progress);
	} else if (!r) {
		printf("%s\n", id);
	}
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
	if (o->without_lvm && !o->pivot) {
		say("mirror: --without-lvm goes with --pivot");
		return EX_USAGE_;
	}
	words = mirror_words(o);
	if (!words)
		return EX_USAGE_;
	id = o->id ? xstrdup(o->id) : xasprintf("mirror-%d", getpid());
	r = is_job_id(id) ? EX_OK : EX_USAGE_;
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
