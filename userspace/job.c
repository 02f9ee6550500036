// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup job: verbs of jobs.
 */

#include "job.h"
#include "dmbackup.h"
#include "report.h"
#include "words.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*------------------------------------------------------------------*/

/* DEVICE [ID]: the id may be left out if there is just one job. To be freed. */
static int find_job(int argc, char **argv, struct device *d, char **id)
{
	struct filter f;
	int r = device_find_filter(argv[0], d);

	if (r)
		return r;
	if (argc > 1 && *argv[1]) {
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
	int r = find_job(argc, argv, &d, &id);

	if (!r && !is_word("job", id))
		r = EX_USAGE_;
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

	if (add_errors(&words, o)) {
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
	r = device_find_filter(argv[0], &d);
	if (!r)
		r = filter_read(&d, &f);
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
	int r = find_job(argc, argv, &d, &id);

	if (!r && !is_word("job", id))
		r = EX_USAGE_;
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

/*------------------------------------------------------------------*/
/* Following a job to its end */

static volatile sig_atomic_t interrupts;

static void on_interrupt(int sig)
{
	(void)sig;
	interrupts++;
}

/*
 * What a job's end means. Prints what there is to say, and lets the kernel
 * forget the job.
 */
static int conclude(const struct device *d, const char *id, const char *answer)
{
	char *outcome = show_value(answer, "outcome");
	char *cause = show_value(answer, "cause");
	int r = EX_FAILED;

	if (outcome && !strcmp(outcome, "completed"))
		r = EX_OK;
	else if (outcome && !strcmp(outcome, "cancelled"))
		r = EX_CANCELLED;
	if (r == EX_CANCELLED)
		say("%s: job %s was cancelled", d->arg, id);
	else if (r)
		say("%s: job %s failed: %s", d->arg, id,
		    cause && *cause ? cause : "for an unknown reason");
	if (r == EX_FAILED && show_number(answer, "errors"))
		hint("first error: %s (direction:sector:errno)",
		     show_value(answer, "first_error"));
	free(outcome);
	free(cause);
	return r;
}

/*
 * The first Ctrl-C cancels the job, further ones by force: without waiting for
 * the destination.
 */
static void heed_interrupts(const struct device *d, const char *id,
			    const char *answer, int *heeded)
{
	bool force;

	if (interrupts == *heeded)
		return;
	*heeded = interrupts;
	/* A paused job is cancelled by force only. */
	force = *heeded > 1 || show_number(answer, "paused");
	progress_clear();
	fprintf(stderr, "dmbackup: cancelling job %s%s\n", id,
		force ? " by force" : " (Ctrl-C again: by force)");
	filter_send(d, "cancel", "job cancel %s%s", id, force ? " force" : "");
}

int job_follow(const struct device *d, const char *id, const char *title,
	       bool own, const struct options *o, char **last)
{
	struct sigaction sa = { .sa_handler = on_interrupt }, old_int, old_term;
	bool bar = o->progress || isatty(2);
	char *answer = NULL, *state = NULL;
	uint64_t began = now_ms();
	int heeded = 0, r;

	sigaction(SIGINT, own ? &sa : NULL, &old_int);
	sigaction(SIGTERM, own ? &sa : NULL, &old_term);
	for (;;) {
		free(answer);
		free(state);
		answer = filter_ask(d, "job show %s", id);
		state = answer ? show_value(answer, "state") : NULL;
		if (!state || !strcmp(state, "concluded"))
			break;
		if (bar)
			progress_show(title, answer, now_ms() - began);
		heed_interrupts(d, id, answer, &heeded);
		usleep(bar ? 200000 : 300000);
	}
	sigaction(SIGINT, &old_int, NULL);
	sigaction(SIGTERM, &old_term, NULL);
	if (bar && state)
		progress_end(title, answer, now_ms() - began);

	if (!state) {
		say("%s: job %s is gone: somebody dismissed it, or removed the filter",
		    d->arg, id);
		r = EX_NODEV;
	} else {
		r = conclude(d, id, answer);
		filter_send(d, "dismiss", "job dismiss %s", id);
	}
	free(state);
	if (last)
		*last = answer;
	else
		free(answer);
	return r;
}

int cmd_job_wait(int argc, char **argv, const struct options *o)
{
	struct device d;
	char *id = NULL;
	int r = find_job(argc, argv, &d, &id);

	if (!r && !is_word("job", id))
		r = EX_USAGE_;
	if (!r)
		r = job_follow(&d, id, id, false, o, NULL);
	free(id);
	return r;
}
