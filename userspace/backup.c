// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup backup: a full copy of one instant of a device in use.
 */

#include "dm.h"
#include "dmbackup.h"
#include "filter.h"
#include "job.h"
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* " key=value" words, growing. */
static bool add_word(char **words, const char *option, const char *key,
		     const char *value)
{
	char *next;

	if (!is_word(option, value))
		return false;
	next = xasprintf("%s %s=%s", *words, key, value);
	free(*words);
	*words = next;
	return true;
}

static bool add_number(char **words, const char *key, uint64_t n)
{
	char value[32];

	snprintf(value, sizeof(value), "%llu", (unsigned long long)n);
	return add_word(words, key, key, value);
}

/* Sizes of the command line are bytes, the kernel's are sectors. */
static bool add_sectors(char **words, const char *option, const char *key,
			const char *text)
{
	uint64_t bytes;

	if (!text)
		return true;
	if (!parse_bytes(option, text, &bytes))
		return false;
	if (bytes % 512) {
		say("%s: %s is no multiple of 512 bytes", option, text);
		return false;
	}
	return add_number(words, key, bytes / 512);
}

/* "break-snapshot" on the command line is "break_snapshot" in the kernel. */
static bool add_policy(char **words, const char *option, const char *key,
		       const char *text)
{
	char *value, *p;
	bool ok;

	if (!text)
		return true;
	value = xstrdup(text);
	for (p = value; *p; p++)
		if (*p == '-')
			*p = '_';
	ok = add_word(words, option, key, value);
	free(value);
	return ok;
}

/* What the message says after id and target. To be freed; NULL: said why not. */
static char *start_words(const struct options *o)
{
	char *words = xstrdup("sync=full auto_dismiss=0");
	uint64_t v;
	bool ok = true;

	if (o->speed)
		ok = parse_bytes("--speed", o->speed, &v) &&
		     add_number(&words, "speed", v);
	if (ok && o->cbw_timeout)
		ok = parse_seconds("--cbw-timeout", o->cbw_timeout, &v) &&
		     add_number(&words, "cbw_timeout", v);
	ok = ok &&
	     add_sectors(&words, "--cluster", "cluster", o->cluster) &&
	     add_sectors(&words, "--max-chunk", "max_chunk", o->max_chunk) &&
	     add_policy(&words, "--max-workers", "max_workers",
			o->max_workers) &&
	     add_policy(&words, "--detect-zeroes", "detect_zeroes",
			o->detect_zeroes) &&
	     add_policy(&words, "--on-source-error", "on_source_error",
			o->on_source_error) &&
	     add_policy(&words, "--on-target-error", "on_target_error",
			o->on_target_error) &&
	     add_policy(&words, "--on-cbw-error", "on_cbw_error",
			o->on_cbw_error);
	if (ok && o->allow_larger)
		ok = add_number(&words, "allow_larger", 1);
	if (ok && !o->no_freeze)
		ok = add_number(&words, "freeze", 1);
	if (ok)
		return words;
	free(words);
	return NULL;
}

static int check_target(const struct device *d, struct device *to,
			const struct options *o)
{
	int r = device_find(o->to, to);

	if (r)
		return r;
	if (device_stands_on(to, d)) {
		say("%s: stands on %s: its writes would come back to the filter",
		    o->to, d->arg);
		return EX_REFUSED;
	}
	return device_check_target(to, o->force);
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
	char *words, *id;
	int r;

	(void)argc;
	if (!o->to) {
		say("backup: --to is missing");
		return EX_USAGE_;
	}
	words = start_words(o);
	if (!words)
		return EX_USAGE_;
	id = o->id ? xstrdup(o->id) : xasprintf("backup-%d", getpid());
	r = is_word("--id", id) ? device_find_filter(argv[0], &d) : EX_USAGE_;
	if (!r)
		r = check_target(&d, &to, o);
	if (!r)
		r = filter_send(&d, "backup", "backup start %s target=%u:%u %s",
				id, to.major, to.minor, words);
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
