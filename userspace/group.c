// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: what begins at one instant. The contract is in group.h.
 */

#include "group.h"
#include "filter.h"
#include "fleece.h"
#include "follow.h"
#include "mirror.h"
#include "report.h"
#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_start(const struct action *a)
{
	return a->target;
}

static bool is_backup(const struct action *a)
{
	return is_start(a) && !a->mirror;
}

/*------------------------------------------------------------------*/
/* Finding */

/* What a backup's start says after id and target, but for what is copied. */
static bool option_words(const struct action *a, char **words)
{
	const struct options *o = a->o;
	uint64_t v;
	bool ok = true;

	if (o->speed)
		ok = parse_bytes("--speed", o->speed, &v) &&
		     add_number(words, "speed", v);
	ok = ok && add_errors(words, o) &&
	     add_sectors(words, "--cluster", "cluster", o->cluster) &&
	     add_sectors(words, "--max-chunk", "max_chunk", o->max_chunk) &&
	     add_policy(words, "--max-workers", "max_workers",
			o->max_workers) &&
	     add_policy(words, "--detect-zeroes", "detect_zeroes",
			o->detect_zeroes);
	return ok;
}

/* Those of a start that need no look at any device. */
static int start_words(struct action *a)
{
	int r;

	free(a->words);
	if (a->mirror) {
		a->words = mirror_words(a->o);
		return a->words ? EX_OK : EX_USAGE_;
	}
	a->words = xstrdup("auto_dismiss=0");
	r = plan_of_options(a->o, &a->plan);
	return r || option_words(a, &a->words) ? r : EX_USAGE_;
}

int action_find(struct action *a)
{
	int r = EX_OK;

	say_about(a->place ? a->place->action : NULL);
	if (is_start(a))
		r = start_words(a);
	say_about(a->place ? a->place->device : NULL);
	if (!r)
		r = device_find_filter(a->device, &a->d);
	say_about(NULL);
	return r;
}

/* May the target be written, so far as can be told before it is? */
static int check_target(const struct action *a)
{
	const struct options *o = a->o;
	bool part = plan_is_partial(&a->plan);
	enum likeness like;
	int r;

	r = device_check_apart(&a->to, &a->d);
	if (!r)
		r = device_check_length(&a->to, &a->d,
					a->larger || o->allow_larger);
	if (r)
		return r;
	if (o->force || (!part && !a->plan.automatic))
		return device_check_target(&a->to, o->force);
	if (part && a->plan.doubtful) {
		say("%s: is not known to hold the last backup: %s", a->target,
		    a->plan.lasts ? "the bitmap has noted a number only" :
		    "it has no name that lasts (a uuid, wwid or serial number), and its number may have been another one's");
		hint("give --force if it holds it");
		return EX_REFUSED;
	}
	if (a->d.dm.suspended) {
		say("%s: is suspended: it can't be compared with %s", a->device,
		    a->target);
		return EX_REFUSED;
	}
	like = device_likeness(&a->to, &a->d);
	if (like == LIKE_SAME || (part && like == LIKE_UNKNOWN && a->plan.known))
		return device_check_unused(&a->to);
	if (!part)
		return device_check_target(&a->to, false);
	say("%s: is not known to be a copy of %s: %s", a->target, a->device,
	    like == LIKE_OTHER ? "it has not its file system's UUID" :
	    like == LIKE_TYPE ? "what is found on it is not of the same type" :
	    "the bitmap was not begun by a backup to it");
	hint("give --force if it is one");
	return EX_REFUSED;
}

static bool same_device(const struct device *a, const struct device *b)
{
	return a->major == b->major && a->minor == b->minor;
}

/* A name that no job of that device has which comes before it. */
static char *default_id(const struct group *g, const struct action *a)
{
	const char *kind = a->mirror ? "mirror" : "backup";
	const struct action *b;
	unsigned int n = 1;

	for (b = g->actions; b < a; b++)
		n += is_start(b) && same_device(&b->d, &a->d);
	return n == 1 ? xasprintf("%s-%d", kind, getpid()) :
			xasprintf("%s-%d-%u", kind, getpid(), n);
}

static int find_mirror_target(struct action *a)
{
	char *words;
	int r;

	say_about(a->place ? a->place->target : NULL);
	r = device_find(a->target, &a->to);
	if (!r)
		r = mirror_check_target(&a->d, &a->to, a->o,
					a->larger || a->o->allow_larger);
	say_about(NULL);
	words = xasprintf("mirror start %s target=%u:%u %s", a->id,
			  a->to.major, a->to.minor, a->words);
	free(a->words);
	a->words = words;
	return r;
}

int action_find_target(struct group *g, struct action *a)
{
	char *what, *words;
	int r;

	if (!is_start(a))
		return EX_OK;
	a->id = a->o->id ? xstrdup(a->o->id) : default_id(g, a);
	if (!is_job_id(a->id))
		return EX_USAGE_;
	if (a->mirror)
		return find_mirror_target(a);
	say_about(a->place ? a->place->target : NULL);
	r = device_find(a->target, &a->to);
	if (!r)
		r = plan_target(a->o, &a->to, &a->plan);
	say_about(a->place ? a->place->action : NULL);
	if (!r)
		r = plan_settle(&a->d, &a->plan);
	say_about(a->place ? a->place->target : NULL);
	if (!r)
		r = check_target(a);
	say_about(NULL);
	if (r)
		return r;
	if (a->plan.full)
		say("%s: a full backup is made: %s", a->device, a->plan.full);
	what = plan_words(&a->plan);
	words = xasprintf("backup start %s target=%u:%u %s %s%s", a->id,
			  a->to.major, a->to.minor, what, a->words,
			  a->larger || a->o->allow_larger ?
			  " allow_larger=1" : "");
	free(what);
	free(a->words);
	a->words = words;
	say_about(a->place ? a->place->fleece : NULL);
	r = fleece_find(a, g->detach);
	say_about(NULL);
	return r;
}

/*------------------------------------------------------------------*/
/* Together */

/* One that has been found: not if it is still to be made. */
static bool has_target(const struct action *a)
{
	return is_start(a) && a->id;
}

static int check_pair(const struct action *a, const struct action *b)
{
	if (b < a && same_device(&a->to, &b->to)) {
		say("%s: is the target of %s, too", a->target, b->device);
		return EX_REFUSED;
	}
	if (device_stands_on(&a->to, &b->d)) {
		say("%s: stands on %s, which is copied at the same time",
		    a->target, b->device);
		return EX_REFUSED;
	}
	return EX_OK;
}

int group_check(const struct group *g)
{
	const struct action *a, *b, *end = g->actions + g->nr;
	int r = EX_OK;

	for (a = g->actions; a < end && !r; a++) {
		if (!has_target(a))
			continue;
		say_about(a->place ? a->place->target : NULL);
		for (b = g->actions; b < end && !r; b++)
			if (has_target(b))
				r = check_pair(a, b);
	}
	say_about(NULL);
	return r;
}

static unsigned int count_words(const char *words)
{
	unsigned int n = 1;

	for (; *words; words++)
		n += *words == ' ';
	return n;
}

/* To be freed. */
static char *message_of(const struct group *g)
{
	char *message = NULL;
	size_t size;
	FILE *f = open_memstream(&message, &size);
	unsigned int i;

	fprintf(f, "transaction completion_mode=%s freeze=%d%s %u",
		g->completion_mode ? g->completion_mode : "individual",
		g->freeze, g->sequential ? " sequential" : "", g->nr);
	for (i = 0; i < g->nr; i++) {
		const struct action *a = &g->actions[i];

		fprintf(f, " %u:%u %u %s", a->d.major, a->d.minor,
			count_words(a->words), a->words);
	}
	fclose(f);
	return message;
}

/* The jobs: all that are started, or those that come to an end. To be freed. */
static struct follow *follows_of(const struct group *g, bool all,
				 unsigned int *n)
{
	struct follow *f = xcalloc(g->nr, sizeof(*f));
	unsigned int i;

	*n = 0;
	for (i = 0; i < g->nr; i++) {
		if (!(all ? is_start : is_backup)(&g->actions[i]))
			continue;
		f[*n].d = &g->actions[i].d;
		f[(*n)++].id = g->actions[i].id;
	}
	return f;
}

static int begin_plans(struct group *g)
{
	struct action *a, *end = g->actions + g->nr;
	int r = EX_OK;

	for (a = g->actions; a < end && !r; a++) {
		if (!is_backup(a))
			continue;
		if (!filter_is_dry_run())
			r = fleece_make(a);
		if (!r)
			r = plan_begin(&a->d, &a->plan);
		a->begun = !r;
	}
	return r;
}

static void undo_plans(struct group *g)
{
	struct action *a, *end = g->actions + g->nr;

	for (a = g->actions; a < end; a++)
		if (a->begun)
			plan_undo(&a->d, &a->plan);
}

static int send_alone(const struct group *g)
{
	const struct action *a = g->actions;

	return filter_send(&a->d, "backup", "%s%s", a->words,
			   g->freeze ? " freeze=1" : "");
}

/*
 * Why it was refused: "action <n> on <filter>: ..." is about one of them,
 * "transaction: ..." about all.
 */
static void refused(const struct group *g, const char *why)
{
	const struct action *a;
	unsigned int n = 0;
	int at = 0;

	if (sscanf(why, "action %u on %*u:%*u: %n", &n, &at) == 1 && at &&
	    n >= 1 && n <= g->nr) {
		a = &g->actions[n - 1];
		if (a->place)
			say("%s: %s", a->place->action, why + at);
		else
			say("%s: backup: %s", a->device, why + at);
	} else if (g->place) {
		say("%s: %s", g->place, why);
	} else {
		say("backup: %s", why);
	}
}

static int result_of(const char *answer)
{
	char *v = show_value(answer, "result");
	int r = v ? atoi(v) : 0;

	free(v);
	return r;
}

/*
 * Until it is over: the last answer, to be freed; NULL if it is not known any
 * more. A Ctrl-C undoes it, as long as that is possible.
 */
static char *wait_over(const struct device *d, const char *token)
{
	char *answer, *state, *why;
	bool over = false;

	for (;;) {
		answer = filter_ask(d, "transaction show %s", token);
		state = answer ? show_value(answer, "state") : NULL;
		over = !state || !strcmp(state, "committed") ||
		       !strcmp(state, "aborted");
		free(state);
		if (over)
			return answer;
		free(answer);
		if (follow_interrupted()) {
			filter_try(d, filter_token(), &why,
				   "transaction abort %s", token);
			free(why);
		}
		usleep(50000);
	}
}

/* What became of a transaction that was taken. */
static int settle(struct group *g, const char *token)
{
	const struct device *d = &g->actions[0].d;
	char *answer = wait_over(d, token), *state, *cause;
	int r = EX_FAILED;

	if (!answer) {
		say("%s: nothing is known of the transaction any more", d->arg);
		return EX_FAILED;
	}
	state = show_value(answer, "state");
	cause = show_value(answer, "cause");
	r = code_of_errno(result_of(answer));
	if (r)
		refused(g, cause && *cause ? cause : "it failed");
	if (!strcmp(state, "committed")) {
		g->late = r;
		r = EX_OK;
	}
	free(answer);
	free(state);
	free(cause);
	return r;
}

static int send_together(struct group *g)
{
	const struct device *d = &g->actions[0].d;
	char *token = xstrdup(g->token ? g->token : filter_token());
	char *message = message_of(g), *why;
	int r = code_of_errno(filter_try(d, token, &why, "%s", message));

	if (r)
		refused(g, why);
	else if (!filter_is_dry_run())
		r = settle(g, token);
	free(token);
	free(message);
	free(why);
	return r;
}

int group_start(struct group *g, bool *started)
{
	struct follow *f;
	unsigned int n;
	int r;

	*started = false;
	follow_own();
	r = begin_plans(g);
	if (!r)
		r = g->alone ? send_alone(g) : send_together(g);
	if (r) {
		undo_plans(g);
		return r;
	}
	f = follows_of(g, true, &n);
	*started = filter_is_dry_run() || follow_started(f, n);
	free(f);
	return EX_OK;
}

/*------------------------------------------------------------------*/
/* To the end */

static void print_id(const struct group *g, const struct action *a)
{
	if (g->alone)
		printf("%s\n", a->id);
	else
		printf("%s %s\n", a->device, a->id);
}

void group_print_ids(const struct group *g)
{
	const struct action *a, *end = g->actions + g->nr;

	for (a = g->actions; a < end; a++)
		if (is_start(a))
			print_id(g, a);
}

/* Nobody follows mirrors: they end when they are told to. */
static void print_mirrors(const struct group *g)
{
	const struct action *a, *end = g->actions + g->nr;

	for (a = g->actions; a < end; a++)
		if (a->mirror)
			print_id(g, a);
}

static int report(const struct group *g, const struct follow *f,
		  unsigned int n, uint64_t began, const struct options *o)
{
	struct result *list = xcalloc(n, sizeof(*list)), *to = list;
	const struct action *a, *end = g->actions + g->nr;
	struct filter filter;
	int r;

	for (a = g->actions; a < end; a++) {
		if (!is_backup(a))
			continue;
		to->device = a->device;
		to->target = a->target;
		to->answer = f->last;
		to->ms = f->when - began;
		if (f->last && !filter_read(&a->d, &filter)) {
			to->longest_ms = filter.longest_ms;
			filter_free(&filter);
		}
		to++;
		f++;
	}
	r = report_backups(list, n, o);
	free(list);
	return r;
}

int group_follow(struct group *g, const struct options *o)
{
	uint64_t began = now_ms();
	unsigned int n, i;
	struct follow *f = follows_of(g, false, &n);
	char *title = g->alone ?
		      xasprintf("%s -> %s", g->actions->device,
				g->actions->target) :
		      xasprintf("%u backup%s", n, n == 1 ? "" : "s");
	int r = EX_OK, err = EX_OK;

	if (!o->json)
		print_mirrors(g);
	fflush(stdout);
	if (n)
		r = follow_jobs(f, n, title, o->progress);
	if (n && (!r || !g->alone))
		err = report(g, f, n, began, o);
	for (i = 0; i < n; i++)
		free(f[i].last);
	free(title);
	free(f);
	return r ? r : err ? err : g->late;
}

void group_free(struct group *g)
{
	unsigned int i;

	for (i = 0; i < g->nr; i++) {
		fleece_remove(&g->actions[i]);
		free(g->actions[i].plan.full);
		free(g->actions[i].words);
		free(g->actions[i].id);
	}
	free(g->actions);
}
