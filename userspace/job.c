// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup job: verbs of jobs.
 */

#include "dmbackup.h"
#include "follow.h"
#include "job.h"
#include "report.h"
#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*------------------------------------------------------------------*/

int job_find(int argc, char **argv, struct device *d, char **id)
{
	struct filter f;
	int r = device_find_filter(argv[0], d);

	if (r)
		return r;
	if (argc > 1 && *argv[1]) {
		if (!is_word("job", argv[1]))
			return EX_USAGE_;
		*id = xstrdup(argv[1]);
		return EX_OK;
	}
	r = filter_read(d, &f);
	if (r)
		return r;
	if (f.nr_jobs == 1) {
		*id = xstrdup(f.jobs[0].id);
	} else {
		say(f.nr_jobs ? "%s: has several jobs; name one" :
		    "%s: has no job", d->arg);
		r = f.nr_jobs ? EX_USAGE_ : EX_NODEV;
	}
	filter_free(&f);
	return r;
}

static int verb(int argc, char **argv, const char *name, const char *more)
{
	struct device d;
	char *id = NULL;
	int r = job_find(argc, argv, &d, &id);

	if (!r)
		r = filter_send(&d, name, "job %s %s%s", name, id, more);
	free(id);
	return r;
}

int cmd_job_pause(int argc, char **argv, const struct options *o)
{
	(void)o;
	return verb(argc, argv, "pause", "");
}

int cmd_job_resume(int argc, char **argv, const struct options *o)
{
	(void)o;
	return verb(argc, argv, "resume", "");
}

int cmd_job_cancel(int argc, char **argv, const struct options *o)
{
	return verb(argc, argv, "cancel", o->force ? " force" : "");
}

int cmd_job_checkpoint(int argc, char **argv, const struct options *o)
{
	return verb(argc, argv, "checkpoint",
		    o->no_freeze ? "" : " freeze=1");
}

int cmd_job_finalize(int argc, char **argv, const struct options *o)
{
	(void)o;
	return verb(argc, argv, "finalize", "");
}

int cmd_job_dismiss(int argc, char **argv, const struct options *o)
{
	(void)o;
	return verb(argc, argv, "dismiss", "");
}

/* DEVICE [ID] --speed RATE */
int cmd_job_set_speed(int argc, char **argv, const struct options *o)
{
	uint64_t speed;
	char more[32];

	if (!o->speed) {
		say("job set-speed: --speed is missing");
		return EX_USAGE_;
	}
	if (!parse_bytes("--speed", o->speed, &speed))
		return EX_USAGE_;
	snprintf(more, sizeof(more), " %llu", (unsigned long long)speed);
	return verb(argc, argv, "set_speed", more);
}

/* DEVICE [ID] and at least one of the options */
int cmd_job_change(int argc, char **argv, const struct options *o)
{
	char *words = xstrdup("");
	int r = EX_USAGE_;

	if (add_errors(&words, o) &&
	    add_policy(&words, "--copy-mode", "copy_mode", o->copy_mode)) {
		if (*words)
			r = verb(argc, argv, "change", words);
		else
			say("job change: nothing is to change");
	}
	free(words);
	return r;
}

int cmd_job_list(int argc, char **argv, const struct options *o)
{
	struct filter f;
	struct device d;
	int r;

	(void)argc;
	r = filter_find(argv[0], &d, &f);
	if (r)
		return r;
	r = report_jobs(&d, &f, o);
	filter_free(&f);
	return r;
}

int cmd_job_show(int argc, char **argv, const struct options *o)
{
	struct device d;
	char *id = NULL, *answer;
	int r = job_find(argc, argv, &d, &id);

	if (!r) {
		answer = filter_ask(&d, "job show %s", id);
		if (answer)
			r = report_job(answer, o);
		else
			r = filter_send(&d, "show", "job show %s", id);
		free(answer);
	}
	free(id);
	return r;
}

int cmd_job_wait(int argc, char **argv, const struct options *o)
{
	struct device d;
	struct follow f = { .d = &d };
	char *id = NULL;
	int r = job_find(argc, argv, &d, &id);

	if (!r)
		r = filter_send(&d, "wait", "job show %s", id);	/* is it there? */
	if (!r) {
		f.id = id;
		r = follow_jobs(&f, 1, id, o->progress);
		free(f.last);
	}
	free(id);
	return r;
}
