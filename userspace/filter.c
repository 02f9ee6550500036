// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: what the kernel says of a filter. The contract is in filter.h.
 */

#include "filter.h"
#include "dm.h"
#include "dmbackup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The next word of a line that strtok_r() takes apart, or "". */
static const char *word(char **rest)
{
	char *w = strtok_r(NULL, " ", rest);

	return w ? w : "";
}

static void pair(const char *text, uint64_t *a, uint64_t *b)
{
	char *slash;

	*a = strtoull(text, &slash, 10);
	*b = *slash == '/' ? strtoull(slash + 1, NULL, 10) : 0;
}

static void copy(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from);
}

static void parse_job(struct job *j, char **rest)
{
	copy(j->id, sizeof(j->id), word(rest));
	copy(j->type, sizeof(j->type), word(rest));
	copy(j->state, sizeof(j->state), word(rest));
	pair(word(rest), &j->done, &j->total);
	j->speed = strtoull(word(rest), NULL, 10);
	copy(j->io_status, sizeof(j->io_status), word(rest));
	copy(j->error, sizeof(j->error), word(rest));
}

static void parse_counters(struct filter *f, char **rest)
{
	unsigned int n = strtoul(word(rest), NULL, 10);

	while (n--) {
		const char *name = word(rest);
		uint64_t value = strtoull(word(rest), NULL, 10);

		if (!strcmp(name, "guest_copied"))
			f->guest_copied = value;
		else if (!strcmp(name, "held_total"))
			f->held_total = value;
		else if (!strcmp(name, "discards_skipped"))
			f->discards_skipped = value;
	}
}

static bool parse(struct filter *f, char *line)
{
	char *rest = NULL;
	unsigned int i, bitmaps;
	char *format = strtok_r(line, " ", &rest);

	memset(f, 0, sizeof(*f));
	if (!format || strcmp(format, "1"))
		return false;
	copy(f->mode, sizeof(f->mode), word(&rest));
	pair(word(&rest), &f->staged, &f->budget);
	f->held = strtoul(word(&rest), NULL, 10);
	f->longest_ms = strtoul(word(&rest), NULL, 10);
	bitmaps = strtoul(word(&rest), NULL, 10);
	for (i = 0; i < bitmaps * 4; i++)
		word(&rest);
	f->nr_jobs = strtoul(word(&rest), NULL, 10);
	if (f->nr_jobs > 65536)
		return false;
	f->jobs = xcalloc(f->nr_jobs + 1, sizeof(*f->jobs));
	for (i = 0; i < f->nr_jobs; i++)
		parse_job(&f->jobs[i], &rest);
	parse_counters(f, &rest);
	return true;
}

int filter_read(const struct device *d, struct filter *f)
{
	char *type, *params;
	uint64_t len;
	int r = dm_status(d->dm.name, &type, &params, &len);
	bool ok;

	if (r) {
		say("%s: no status: %s", d->arg, dm_why());
		return code_of_errno(r);
	}
	ok = !strcmp(type, "backup") && parse(f, params);
	free(type);
	free(params);
	if (ok)
		return EX_OK;
	say("%s: its status is not understood", d->arg);
	hint("dmbackup and the dm_backup module are of different versions");
	return EX_FAILED;
}

int filter_find(const char *arg, struct device *d, struct filter *f)
{
	int r = device_find_filter(arg, d);

	return r ? r : filter_read(d, f);
}

void filter_free(struct filter *f)
{
	free(f->jobs);
	f->jobs = NULL;
}

bool job_is_over(const struct job *j)
{
	return !strcmp(j->state, "concluded");
}

bool filter_is_busy(const struct filter *f)
{
	unsigned int i;

	for (i = 0; i < f->nr_jobs; i++)
		if (!job_is_over(&f->jobs[i]))
			return true;
	return false;
}

/*------------------------------------------------------------------*/

/* The sentence for a message that carried @token. To be freed. */
static char *last_error(const struct device *d, const char *token)
{
	char *ask = xasprintf("last_error token=%s", token);
	char *answer = NULL, *text;

	if (dm_message(d->dm.name, ask, &answer))
		answer = NULL;
	free(ask);
	/* "<errno> <sentence>" */
	text = answer ? strchr(answer, ' ') : NULL;
	text = text && strcmp(text, " -") ? xstrdup(text + 1) : NULL;
	free(answer);
	return text;
}

static bool dry_run;

void filter_dry_run(void)
{
	dry_run = true;
}

bool filter_is_dry_run(void)
{
	return dry_run;
}

const char *filter_token(void)
{
	static char token[32];
	static unsigned int count;

	snprintf(token, sizeof(token), "%d.%u", getpid(), ++count);
	return token;
}

/* As a shell wants it: dmsetup takes a message as one argument, too. */
static void print_command(const struct device *d, const char *message)
{
	printf("dmsetup message %s 0 '", d->dm.name);
	for (; *message; message++)
		if (*message == '\'')
			printf("'\\''");
		else
			putchar(*message);
	printf("'\n");
}

/* A negative errno; then @why has the sentence, to be freed. */
static int send_words(const struct device *d, const char *token, char **why,
		      const char *fmt, va_list args)
{
	char *message, *full;
	int r;

	*why = NULL;
	if (vasprintf(&message, fmt, args) < 0)
		message = xstrdup("");
	if (dry_run) {
		print_command(d, message);
		free(message);
		return 0;
	}
	full = xasprintf("%s token=%s", message, token);
	r = dm_message(d->dm.name, full, NULL);
	if (r)
		*why = last_error(d, token);
	if (r && !*why)
		*why = xstrdup(strerror(-r));
	free(message);
	free(full);
	return r;
}

int filter_try(const struct device *d, const char *token, char **why,
	       const char *fmt, ...)
{
	va_list args;
	int r;

	va_start(args, fmt);
	r = send_words(d, token, why, fmt, args);
	va_end(args);
	return r;
}

int filter_send(const struct device *d, const char *what, const char *fmt, ...)
{
	va_list args;
	char *why;
	int r;

	va_start(args, fmt);
	r = send_words(d, filter_token(), &why, fmt, args);
	va_end(args);
	if (r)
		say("%s: %s: %s", d->arg, what, why);
	free(why);
	return code_of_errno(r);
}

char *filter_ask(const struct device *d, const char *fmt, ...)
{
	char *message, *answer = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&message, fmt, args) < 0)
		message = NULL;
	va_end(args);
	if (message && dm_message(d->dm.name, message, &answer))
		answer = NULL;
	free(message);
	return answer;
}

/* A table without messages refuses them all with EINVAL; so may a filter. */
static bool has_no_filter(const struct device *d)
{
	struct dm_tab t = { 0 };
	bool other = !dm_tab_read(d->dm.name, &t) && !dm_tab_is(&t, "backup");

	dm_tab_free(&t);
	return other;
}

char *filter_show(const struct device *d, const char *id, bool *gone)
{
	char *message = xasprintf("job show %s", id), *answer = NULL;
	int err = dm_message(d->dm.name, message, &answer);

	free(message);
	*gone = err && (code_of_errno(err) == EX_NODEV || has_no_filter(d));
	return err ? NULL : answer;
}

/* "cause" is the last key, and goes to the end of the line. */
char *show_value(const char *answer, const char *key)
{
	size_t len = strlen(key);
	const char *p = answer;

	while (p && *p) {
		if (!strncmp(p, key, len) && p[len] == '=') {
			p += len + 1;
			if (!strcmp(key, "cause"))
				return xstrdup(p);
			return xasprintf("%.*s", (int)strcspn(p, " "), p);
		}
		p = strchr(p, ' ');
		p = p ? p + 1 : NULL;
	}
	return NULL;
}

uint64_t show_number(const char *answer, const char *key)
{
	char *v = show_value(answer, key);
	uint64_t n = v ? strtoull(v, NULL, 10) : 0;

	free(v);
	return n;
}
