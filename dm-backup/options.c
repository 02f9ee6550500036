// SPDX-License-Identifier: GPL-2.0-only
/*
 * Options of messages and tables. The contract is in options.h.
 */

#include "options.h"

#include <linux/ctype.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/limits.h>
#include <linux/log2.h>
#include <linux/string.h>

#define BK_ID_MAX	127

static int bk_option_number(const struct bk_option *o, const char *value,
			    void *to, char *error, size_t size)
{
	u64 v;
	int r;

	/* kstrtoull() takes a plus sign and a newline: be strict. */
	r = isdigit(value[0]) && isdigit(value[strlen(value) - 1]) ?
	    kstrtoull(value, 10, &v) : -EINVAL;
	if (r && r != -ERANGE) {
		snprintf(error, size, "%s: '%s' is not a number", o->name,
			 value);
		return -EINVAL;
	}
	if (r || v < o->min || v > o->max) {
		snprintf(error, size, "%s: %s is not between %llu and %llu",
			 o->name, value, (unsigned long long)o->min,
			 (unsigned long long)o->max);
		return -ERANGE;
	}
	if (o->type == BK_OPT_POWER2 && !is_power_of_2(v)) {
		snprintf(error, size, "%s: %s is not a power of two", o->name,
			 value);
		return -EINVAL;
	}
	*(u64 *)to = v;
	return 0;
}

static int bk_option_word(const struct bk_option *o, const char *value,
			  void *to, char *error, size_t size)
{
	int i, len;

	for (i = 0; o->words[i]; i++)
		if (!strcmp(o->words[i], value)) {
			*(u64 *)to = i;
			return 0;
		}
	len = snprintf(error, size, "%s: '%s' is none of", o->name, value);
	for (i = 0; o->words[i] && len < (int)size; i++)
		len += snprintf(error + len, size - len, " %s", o->words[i]);
	return -EINVAL;
}

static int bk_option_value(const struct bk_option *o, const char *value,
			   void *to, char *error, size_t size)
{
	static const char *const bools[] = { "0", "1", NULL };
	struct bk_option b = *o;

	if (!*value) {
		snprintf(error, size, "%s: the value is missing", o->name);
		return -EINVAL;
	}
	switch (o->type) {
	case BK_OPT_NUMBER:
	case BK_OPT_POWER2:
		return bk_option_number(o, value, to, error, size);
	case BK_OPT_BOOL:
	case BK_OPT_FLAG:
		b.words = bools;
		return bk_option_word(&b, value, to, error, size);
	case BK_OPT_WORD:
		return bk_option_word(o, value, to, error, size);
	case BK_OPT_STRING:
		/* Answers are words. */
		if (value[strcspn(value, " \t\n\v\f\r")]) {
			snprintf(error, size, "%s: '%s' has blanks in it",
				 o->name, value);
			return -EINVAL;
		}
		if (strlen(value) >= PATH_MAX) {
			snprintf(error, size, "%s: longer than %d characters",
				 o->name, PATH_MAX - 1);
			return -EINVAL;
		}
		*(const char **)to = value;
		return 0;
	}
	return -EINVAL;
}

static int bk_option_find(const struct bk_option *opts, unsigned int nr,
			  const char *key, size_t len)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		if (strlen(opts[i].name) == len &&
		    !strncmp(opts[i].name, key, len))
			return i;
	return -1;
}

/* One option: @len characters of @key, and its value, or NULL. */
static int bk_option_take(const struct bk_option *opts, unsigned int nr_opts,
			  void *into, const char *key, size_t len,
			  const char *value, u64 *given, char *error,
			  size_t size)
{
	int o = bk_option_find(opts, nr_opts, key, len);

	if (o < 0) {
		snprintf(error, size, "unknown option '%.*s'",
			 (int)min_t(size_t, len, 64), key);
		return -EINVAL;
	}
	if (!value && opts[o].type == BK_OPT_FLAG)
		value = "1";
	if (!value) {
		snprintf(error, size, "%s: the value is missing",
			 opts[o].name);
		return -EINVAL;
	}
	if (*given & (1ULL << o)) {
		snprintf(error, size, "%s is given twice", opts[o].name);
		return -EINVAL;
	}
	*given |= 1ULL << o;
	return bk_option_value(&opts[o], value,
			       (char *)into + opts[o].offset, error, size);
}

static int bk_options_missing(const struct bk_option *opts,
			      unsigned int nr_opts, u64 given, char *error,
			      size_t size)
{
	unsigned int i;

	for (i = 0; i < nr_opts; i++)
		if (opts[i].required && !(given & (1ULL << i))) {
			snprintf(error, size, "%s is missing", opts[i].name);
			return -EINVAL;
		}
	return 0;
}

/**
 * bk_options_parse - read "key=value" words into a structure
 * @opts:	the options there are, at most 64
 * @nr_opts:	how many
 * @into:	the structure; what is not given stays as it is
 * @argc:	number of words
 * @argv:	the words
 * @given:	set to a mask of the options that were given
 * @error:	filled with a sentence on failure
 * @error_size:	of @error
 *
 * Return: 0, -EINVAL or -ERANGE.
 */
int bk_options_parse(const struct bk_option *opts, unsigned int nr_opts,
		     void *into, unsigned int argc, char **argv,
		     u64 *given, char *error, size_t error_size)
{
	unsigned int i;
	int r;

	*given = 0;
	for (i = 0; i < argc; i++) {
		const char *eq = strchr(argv[i], '=');
		size_t len = eq ? (size_t)(eq - argv[i]) : strlen(argv[i]);

		r = bk_option_take(opts, nr_opts, into, argv[i], len,
				   eq ? eq + 1 : NULL, given, error,
				   error_size);
		if (r)
			return r;
	}
	return bk_options_missing(opts, nr_opts, *given, error, error_size);
}

/**
 * bk_options_parse_pairs - read "key value" words into a structure
 * @opts:	the options there are, at most 64
 * @nr_opts:	how many
 * @into:	the structure; what is not given stays as it is
 * @argc:	number of words
 * @argv:	the words
 * @given:	set to a mask of the options that were given
 * @error:	filled with a sentence on failure
 * @error_size:	of @error
 *
 * Return: 0, -EINVAL or -ERANGE.
 */
int bk_options_parse_pairs(const struct bk_option *opts, unsigned int nr_opts,
			   void *into, unsigned int argc, char **argv,
			   u64 *given, char *error, size_t error_size)
{
	unsigned int i;
	int r;

	*given = 0;
	for (i = 0; i < argc; i += 2) {
		r = bk_option_take(opts, nr_opts, into, argv[i],
				   strlen(argv[i]),
				   i + 1 < argc ? argv[i + 1] : NULL, given,
				   error, error_size);
		if (r)
			return r;
	}
	return bk_options_missing(opts, nr_opts, *given, error, error_size);
}

/* Digits that are a number, up to @stop. */
static bool bk_option_digits(const char *from, const char *stop, u64 *value)
{
	char copy[24];
	size_t n = stop - from;

	if (!n || n >= sizeof(copy) || !isdigit(*from) || !isdigit(stop[-1]))
		return false;
	memcpy(copy, from, n);
	copy[n] = '\0';
	return !kstrtoull(copy, 10, value);
}

/**
 * bk_option_range - read "<start>+<length>", in sectors
 * @word:	the word
 * @len:	of the device
 * @start:	set to the first sector
 * @end:	set to the end, exclusive
 *
 * Return: 0; -EINVAL: it is no such word; -ERANGE: it is behind the device's end.
 */
int bk_option_range(const char *word, u64 len, u64 *start, u64 *end)
{
	const char *plus = strchr(word, '+');

	if (!plus || !bk_option_digits(word, plus, start) ||
	    !bk_option_digits(plus + 1, word + strlen(word), end) || !*end)
		return -EINVAL;
	if (*start >= len || *end > len - *start)
		return -ERANGE;
	*end += *start;
	return 0;
}

/**
 * bk_option_check_id - is it the id of a job?
 * @id:		a letter, then letters, digits, '-', '.', '_'; at most 127; not
 *		what bitmaps call their users that are no jobs
 * @error:	filled with a sentence if not
 * @error_size:	of @error
 *
 * Return: 0 or -EINVAL.
 */
int bk_option_check_id(const char *id, char *error, size_t error_size)
{
	size_t i, len = strlen(id);
	bool ok = len && len <= BK_ID_MAX && isascii(id[0]) && isalpha(id[0]);

	for (i = 1; ok && i < len; i++)
		ok = isascii(id[i]) && (isalnum(id[i]) ||
					strchr("-._", id[i]));
	if (ok && (!strcmp(id, "transaction") || !strcmp(id, "load"))) {
		snprintf(error, error_size,
			 "'%s' is no job id: a bitmap says that when it has no job",
			 id);
		return -EINVAL;
	}
	if (ok)
		return 0;
	snprintf(error, error_size,
		 "'%.64s' is no job id: a letter, then letters, digits, '-', '.', '_', at most %d",
		 id, BK_ID_MAX);
	return -EINVAL;
}

/**
 * bk_make_printable - make a sentence one line of ASCII, whatever words it quotes
 * @text:	the sentence
 *
 * Not by isprint(): half of what is not ASCII is printable to that.
 */
void bk_make_printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}
