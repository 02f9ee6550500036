// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: following jobs. The contract is in follow.h.
 */

#include "follow.h"
#include "report.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*------------------------------------------------------------------*/
/* Ctrl-C */

static volatile sig_atomic_t interrupts;
static int heeded;

/* The end of a terminal is told twice, by the kernel and by the shell. */
static void on_interrupt(int sig)
{
	if (sig != SIGHUP || !interrupts)
		interrupts++;
}

void follow_own(void)
{
	/* What is being sent is sent to its end. */
	struct sigaction sa = {
		.sa_handler = on_interrupt, .sa_flags = SA_RESTART
	};
	struct sigaction old;

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	/* Not under nohup. */
	if (!sigaction(SIGHUP, NULL, &old) && old.sa_handler != SIG_IGN)
		sigaction(SIGHUP, &sa, NULL);
}

bool follow_interrupted(void)
{
	return interrupts != heeded;
}

static bool is_state(const char *answer, const char *state)
{
	char *s = show_value(answer, "state");
	bool is = s && !strcmp(s, state);

	free(s);
	return is;
}

/*
 * In a group the first one that is cancelled takes the others along, so a
 * refusal may only mean that this one ends already.
 */
static void cancel(const struct follow *f, const char *answer, bool force)
{
	char *why, *now;

	/* A paused job is cancelled by force only. */
	force |= show_number(answer, "paused");
	if (!filter_try(f->d, filter_token(), &why, "job cancel %s%s", f->id,
			force ? " force" : ""))
		return;
	now = filter_ask(f->d, "job show %s", f->id);
	if (now && !is_state(now, "aborting") && !is_state(now, "concluded"))
		say("%s: cancel: %s", f->d->arg, why);
	free(now);
	free(why);
}

static void heed_interrupts(const struct follow *f, unsigned int n,
			    char *const *answers)
{
	bool force = interrupts > 1;
	unsigned int i;

	if (!follow_interrupted())
		return;
	heeded = interrupts;
	if (n == 1 && answers[0] && show_number(answers[0], "paused"))
		force = true;
	progress_clear();
	if (n == 1)
		fprintf(stderr, "dmbackup: cancelling job %s", f->id);
	else
		fprintf(stderr, "dmbackup: cancelling all %u jobs", n);
	fprintf(stderr, "%s\n", force ? " by force" :
		" (Ctrl-C again: by force)");
	for (i = 0; i < n; i++)
		if (answers[i] && !f[i].ended)
			cancel(&f[i], answers[i], force);
}

/*------------------------------------------------------------------*/

bool follow_started(const struct follow *f, unsigned int n)
{
	char *answer, *outcome;
	unsigned int i = 0;
	bool ok = true;

	while (i < n && ok && !follow_interrupted()) {
		answer = filter_ask(f[i].d, "job show %s", f[i].id);
		if (answer && is_state(answer, "created")) {
			usleep(20000);
		} else {
			outcome = answer ? show_value(answer, "outcome") : NULL;
			ok = outcome && (!strcmp(outcome, "-") ||
					 !strcmp(outcome, "completed"));
			free(outcome);
			i++;
		}
		free(answer);
	}
	return i == n && ok;
}

/*
 * What a job's end means. Prints what there is to say, and lets the kernel
 * forget the job.
 */
static void conclude(struct follow *f, char *answer)
{
	char *outcome = answer ? show_value(answer, "outcome") : NULL;
	char *cause = answer ? show_value(answer, "cause") : NULL;
	char *first;

	f->ended = true;
	f->when = now_ms();
	f->last = answer;
	f->code = EX_FAILED;
	if (!answer)
		f->code = EX_NODEV;
	else if (outcome && !strcmp(outcome, "completed"))
		f->code = EX_OK;
	else if (outcome && !strcmp(outcome, "cancelled"))
		f->code = EX_CANCELLED;

	if (f->code)
		progress_clear();
	if (f->code == EX_NODEV)
		say("%s: job %s is gone: somebody dismissed it, or removed the filter",
		    f->d->arg, f->id);
	else if (f->code == EX_CANCELLED)
		say("%s: job %s was cancelled", f->d->arg, f->id);
	else if (f->code)
		say("%s: job %s failed: %s", f->d->arg, f->id,
		    cause && *cause ? cause : "for an unknown reason");
	if (f->code == EX_FAILED && show_number(answer, "errors")) {
		first = show_value(answer, "first_error");
		hint("first error: %s (direction:sector:errno)", first);
		free(first);
	}
	if (answer)
		filter_send(f->d, "dismiss", "job dismiss %s", f->id);
	free(outcome);
	free(cause);
}

/* All jobs as one. */
static void sum(struct progress *p, const struct follow *f, unsigned int n,
		char *const *answers)
{
	unsigned int i, ended = 0, paused = 0;
	const char *a;

	p->done = p->total = 0;
	for (i = 0; i < n; i++) {
		a = f[i].ended ? f[i].last : answers[i];
		if (a) {
			p->done += show_number(a, "done") * 512;
			p->total += show_number(a, "total") * 512;
		}
		ended += f[i].ended;
		paused += !f[i].ended && a && is_state(a, "paused");
	}
	free(p->state);
	p->state = NULL;
	if (n == 1 && f->ended)
		p->state = xstrdup("concluded");
	else if (n == 1)
		p->state = show_value(answers[0], "state");
	else if (paused)
		p->state = xasprintf("%u of %u paused", paused, n);
	else
		p->state = ended ? xasprintf("%u of %u ended", ended, n) :
				   xstrdup("running");
}

int follow_jobs(struct follow *f, unsigned int n, const char *title, bool bar)
{
	struct progress p = { .title = title, .began = now_ms() };
	char **answers = xcalloc(n, sizeof(*answers)), *now;
	unsigned int i, left = n;
	int r = EX_OK;
	bool gone;

	bar = bar || isatty(2);
	while (left) {
		for (i = 0; i < n; i++) {
			if (f[i].ended)
				continue;
			now = filter_show(f[i].d, f[i].id, &gone);
			if (!now && !gone)
				continue;
			free(answers[i]);
			answers[i] = now;
			if (now && !is_state(now, "concluded"))
				continue;
			conclude(&f[i], answers[i]);
			answers[i] = NULL;
			left--;
		}
		if (left) {
			sum(&p, f, n, answers);
			if (bar)
				progress_show(&p);
			heed_interrupts(f, n, answers);
			usleep(bar ? 200000 : 300000);
		}
	}
	for (i = 0; i < n; i++)
		if (f[i].code && (!r || r == EX_CANCELLED))
			r = f[i].code;
	sum(&p, f, n, answers);
	if (bar && !r)
		progress_end(&p);
	free(answers);
	free(p.state);
	return r;
}

bool follow_until(const struct device *d, const char *id, const char *title,
		  const char *wanted, bool bar)
{
	struct progress p = { .title = title, .began = now_ms() };
	bool found = false, over = false, standby = false;
	char *answer, *cause;

	bar = bar || isatty(2);
	while (!found && !over && !standby && !follow_interrupted()) {
		answer = filter_show(d, id, &over);
		found = answer && is_state(answer, wanted);
		standby = answer && is_state(answer, "standby");
		over |= answer && is_state(answer, "concluded");
		if (bar && answer && !over)
			progress_job(&p, answer);
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
	return found || over;
}
