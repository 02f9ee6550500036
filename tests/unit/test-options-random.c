// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random words for options, against a second reading of the rules.
 */

#include "option-set.h"
#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX	24
#define WORD_MAX	200

enum why { GOOD, UNKNOWN, NO_VALUE, TWICE, BAD_VALUE, MISSING, WHYS,
	   PARTLY = WHYS, COUNTS };

static const char *const whys[WHYS] = {
	"accepted", "unknown", "without a value", "given twice", "bad value",
	"missing",
};

/**
 * struct verdict - what is to come out
 * @why:	of the first word that is bad
 * @result:	0, -EINVAL, -ERANGE; 1: either of these two
 * @key:	is to be named
 * @value:	the same, or NULL
 * @given:	options taken before that
 * @v:		with their values
 */
struct verdict {
	enum why why;
	int result;
	char key[WORD_MAX + 1];
	const char *value;
	u64 given;
	struct values v;
};

/* 0, -ERANGE if it is too large, -EINVAL if it is no number, 1 if both. */
static int model_number(const char *s, u64 *v)
{
	__extension__ unsigned __int128 n = 0;
	bool large = false;

	for (; *s >= '0' && *s <= '9'; s++) {
		n = n * 10 + (*s - '0');
		large |= n > ~0ULL;
		/* that is large enough to say so */
		n &= (__extension__ (unsigned __int128)1 << 100) - 1;
	}
	*v = n;
	return large ? (*s ? 1 : -ERANGE) : *s ? -EINVAL : 0;
}

/* May it be stored? Its value in @v, of strings in @verdict. */
static int model_value(unsigned int o, const char *value,
		       struct verdict *verdict, u64 *v)
{
	int r;

	switch (o) {
	case TARGET:
	case NOTE:
		*(o == NOTE ? &verdict->v.note : &verdict->v.target) = value;
		return strcspn(value, " \t\n\v\f\r") == strlen(value) ? 0 : -EINVAL;
	case SYNC:
		for (*v = 0; syncs[*v]; ++*v)
			if (!strcmp(syncs[*v], value))
				return 0;
		return -EINVAL;
	case UNMAP:
		*v = *value == '1';
		return !strcmp(value, "0") || !strcmp(value, "1") ? 0 : -EINVAL;
	}
	r = model_number(value, v);
	if (r)
		return r;
	if ((o == SPEED && *v > 1ULL << 63) ||
	    (o == SPEED_LIMIT && (*v < 10 || *v > 20)) ||
	    (o == CLUSTER && (*v < 8 || *v > 131072)))
		return -ERANGE;
	return (o == CLUSTER || o == ANY_POWER) &&
	       __builtin_popcountll(*v) != 1 ? -EINVAL : 0;
}

static enum why model_option(struct verdict *verdict, const char *value)
{
	unsigned int o;
	u64 v = 0;

	verdict->result = -EINVAL;
	for (o = 0; o < OPTIONS && strcmp(options[o].name, verdict->key); o++)
		;
	if (o == OPTIONS)
		return UNKNOWN;
	if (!value || !*value)
		return NO_VALUE;
	if (verdict->given >> o & 1)
		return TWICE;
	verdict->result = model_value(o, value, verdict, &v);
	if (verdict->result) {
		verdict->value = value;
		return BAD_VALUE;
	}
	verdict->given |= 1ULL << o;
	if (o != TARGET && o != NOTE)
		memcpy((char *)&verdict->v + options[o].offset, &v, sizeof(v));
	return GOOD;
}

static void model(bool pairs, unsigned int argc, char **argv,
		  struct verdict *verdict)
{
	unsigned int i;

	memset(verdict, 0, sizeof(*verdict));
	verdict->v = before;
	for (i = 0; i < argc && verdict->why == GOOD; i++) {
		char *value = NULL;

		strcpy(verdict->key, argv[i]);
		if (pairs) {
			value = i + 1 < argc ? argv[++i] : NULL;
		} else if (strchr(argv[i], '=')) {
			value = strchr(argv[i], '=') + 1;
			verdict->key[value - 1 - argv[i]] = '\0';
		}
		verdict->why = model_option(verdict, value);
	}
	if (verdict->why != GOOD)
		return;
	for (i = 0; i < OPTIONS; i++)
		if (options[i].required && !(verdict->given >> i & 1)) {
			verdict->why = MISSING;
			verdict->result = -EINVAL;
			strcpy(verdict->key, options[i].name);
			return;
		}
	verdict->key[0] = '\0';
}

/*----------------------------------------------------------------*/
/* Random words */

/**
 * struct fuzz - a random case
 * @random:	from the seed and the case's number
 * @pairs:	words of a table
 * @argc:	how many words
 * @argv:	each in memory of just its size
 * @number:	of the case
 */
struct fuzz {
	struct unit_random random;
	bool pairs;
	unsigned int argc;
	char *argv[WORDS_MAX];
	long number;
};

static const char *const odd_values[] = {
	"", "0", "1", "2", "7", "8", "10", "20", "21", "4096", "131072",
	"262144", "9223372036854775807", "9223372036854775808",
	"9223372036854775809", "18446744073709551615", "18446744073709551616",
	"184467440737095516150", "-1", "+5", "5\n", " 5", "5 ", "0x10", "010",
	"1e3", "full", "fullest", "fulle", "none", "top", "no", "=", "a=b",
	"%s%n", "\xff", "'", "/dev/mapper/vg-lv",
};

static const char *const odd_keys[] = {
	"", "s", "speed_", "speed_limi", "speed_limits", "SPEED", "syn", "note ",
	"any=", "%s", "\xc3\xa9", "target.", "cluster\t",
};

static const char *pick_value(struct fuzz *f, unsigned int o, char *buf)
{
	struct unit_random *r = &f->random;

	if (!unit_below(r, 16))
		return odd_values[unit_below(r, COUNT(odd_values))];
	switch (o) {
	case SYNC:
		return syncs[unit_below(r, SYNCS)];
	case UNMAP:
		return unit_below(r, 2) ? "1" : "0";
	case CLUSTER:
		sprintf(buf, "%llu", 8ULL << unit_below(r, 15));
		return buf;
	case ANY_POWER:
		sprintf(buf, "%llu", 1ULL << unit_below(r, 64));
		return buf;
	case SPEED_LIMIT:
		sprintf(buf, "%llu", 10 + unit_below(r, 11));
		return buf;
	case SPEED:
		sprintf(buf, "%llu", unit_random(r) >> (1 + unit_below(r, 63)));
		return buf;
	case ANY:
		sprintf(buf, "%llu", unit_random(r) >> unit_below(r, 64));
		return buf;
	}
	return odd_values[1 + unit_below(r, COUNT(odd_values) - 1)];
}

static void fuzz_add(struct fuzz *f, const char *word)
{
	if (f->argc == WORDS_MAX)
		return;
	f->argv[f->argc++] = strdup(word);
}

static void fuzz_add_option(struct fuzz *f, unsigned int o)
{
	char number[32], word[2 * WORD_MAX];
	const char *value = pick_value(f, o, number);
	const char *key = options[o].name;

	if (!unit_below(&f->random, 40))
		key = odd_keys[unit_below(&f->random, COUNT(odd_keys))];
	if (f->pairs) {
		fuzz_add(f, key);
		fuzz_add(f, value);
		return;
	}
	snprintf(word, sizeof(word), "%s=%s", key, value);
	fuzz_add(f, word);
}

/* Change a byte or more of one word. */
static void fuzz_word(struct fuzz *f, char **word)
{
	static const char likely[] = "=0123456789 _-+.\nabcz";
	struct unit_random *r = &f->random;
	char buf[2 * WORD_MAX + 1];
	size_t len = strlen(*word), at = unit_below(r, len + 1), n;
	char c = unit_below(r, 2) ? likely[unit_below(r, sizeof(likely) - 1)] :
		 (char)(1 + unit_below(r, 255));

	memcpy(buf, *word, len + 1);
	switch (unit_below(r, 6)) {
	case 0:		/* another byte */
		if (at < len)
			buf[at] = c;
		break;
	case 1:		/* one more */
		memmove(buf + at + 1, buf + at, len + 1 - at);
		buf[at] = c;
		break;
	case 2:		/* one less */
		if (at < len)
			memmove(buf + at, buf + at + 1, len - at);
		break;
	case 3:		/* cut off */
		buf[at] = '\0';
		break;
	case 4:		/* upper and lower case */
		if (at < len)
			buf[at] ^= 0x20;
		if (at < len && !buf[at])
			buf[at] = c;
		break;
	case 5:		/* a tail, perhaps longer than any message */
		n = unit_below(r, WORD_MAX);
		memset(buf + len, c, n);
		buf[len + n] = '\0';
		break;
	}
	buf[WORD_MAX] = '\0';
	free(*word);
	*word = strdup(buf);
}

/* Change the list of words, or one of them. */
static void fuzz_mutate(struct fuzz *f)
{
	struct unit_random *r = &f->random;
	unsigned int a, b;
	char *word;

	if (!f->argc)
		return;
	a = unit_below(r, f->argc);
	b = unit_below(r, f->argc);
	switch (unit_below(r, 10)) {
	case 0:		/* one less */
		free(f->argv[a]);
		memmove(f->argv + a, f->argv + a + 1,
			(--f->argc - a) * sizeof(*f->argv));
		break;
	case 1:		/* one twice */
		fuzz_add(f, f->argv[a]);
		break;
	case 2:		/* another order */
		word = f->argv[a];
		f->argv[a] = f->argv[b];
		f->argv[b] = word;
		break;
	default:
		fuzz_word(f, &f->argv[a]);
	}
}

static void fuzz_make(struct fuzz *f, long number)
{
	unsigned int order[OPTIONS], i, n;

	memset(f, 0, sizeof(*f));
	f->number = number;
	unit_random_init(&f->random, unit_args.seed, 1000000 + number);
	f->pairs = unit_below(&f->random, 3) == 0;
	for (i = 0; i < OPTIONS; i++)
		order[i] = i;
	for (i = OPTIONS - 1; i; i--) {
		unsigned int with = unit_below(&f->random, i + 1), o = order[i];

		order[i] = order[with];
		order[with] = o;
	}
	for (i = 0; i < OPTIONS; i++)
		if (unit_below(&f->random, 20) &&
		    (options[order[i]].required || unit_below(&f->random, 2)))
			fuzz_add_option(f, order[i]);
	for (n = unit_below(&f->random, 1 + unit_below(&f->random, 4)); n; n--)
		fuzz_mutate(f);
}

static void fuzz_free(struct fuzz *f)
{
	while (f->argc)
		free(f->argv[--f->argc]);
}

/* So that it can be read and typed again. */
static void fuzz_say(const struct fuzz *f)
{
	char text[4 * WORD_MAX + 1];
	unsigned int i;

	unit_say("case %ld, words of a %s (unit --seed %llu --case %ld options):",
		 f->number, f->pairs ? "table" : "message", unit_args.seed,
		 f->number);
	for (i = 0; i < f->argc; i++) {
		const char *p;
		char *to = text;

		for (p = f->argv[i]; *p; p++)
			to += sprintf(to, *p > ' ' && *p < 0x7f && *p != '\\' ?
				      "%c" : "\\x%02x", (unsigned char)*p);
		*to = '\0';
		unit_say("    \"%s\"", text);
	}
}

/*
 * A refusal: errno, named, and nothing stored of the bad word and what is after
 * it. Returns whether it is all right.
 */
static bool fuzz_refused(const struct verdict *want, int r, const char *error,
			 const struct values *v)
{
	char shown[WORD_MAX + 1];
	unsigned int i;
	bool ok = true;

	ok &= CHECK(r == want->result ||
		    (want->result == 1 && (r == -EINVAL || r == -ERANGE)),
		    "%d, not %d: %s", r, want->result, error);
	strcpy(shown, want->key);
	/* At least so much of a word that nobody knows. */
	if (want->why == UNKNOWN)
		shown[64] = '\0';
	ok &= CHECK(want->why == UNKNOWN ? !!strstr(error, shown) :
		    names(error, shown), "'%s' (%s) is not named: %s", shown,
		    whys[want->why], error);
	if (want->value)
		ok &= CHECK(!!strstr(error, want->value),
			    "'%s' is not named: %s", want->value, error);
	for (i = 0; i < OPTIONS; i++) {
		const char *now = (const char *)v + options[i].offset;
		const char *old = (const char *)&before + options[i].offset;
		const char *new = (const char *)&want->v + options[i].offset;

		ok &= CHECK(!memcmp(now, old, sizeof(u64)) ||
			    (want->given >> i & 1 &&
			     !memcmp(now, new, sizeof(u64))),
			    "'%s' is %s, but %s was changed", want->key,
			    whys[want->why], options[i].name);
	}
	return ok;
}

/* The same into a small buffer: the same sentence, cut off. */
static bool fuzz_small(struct fuzz *f, int want, const char *sentence)
{
	size_t size = unit_below(&f->random, 160);
	char *error = malloc(size ?: 1);
	struct values v = before;
	bool ok = true;
	u64 given;
	int r;

	if (!error)
		abort();
	memset(error, 'x', size ?: 1);
	r = parse(f->pairs, &v, f->argc, f->argv, &given, error, size);
	ok &= CHECK(r == want, "%d, but %d with %zu bytes for the error", want,
		    r, size);
	if (want && size)
		ok &= CHECK(memchr(error, '\0', size) &&
			    !strncmp(error, sentence, size - 1) &&
			    strlen(error) == (strlen(sentence) < size ?
					      strlen(sentence) : size - 1),
			    "%zu bytes of '%s': '%.*s'", size, sentence,
			    (int)size, error);
	if (!size)
		ok &= CHECK(*error == 'x', "no room, but written to");
	free(error);
	return ok;
}

static bool fuzz_run(struct fuzz *f, unsigned long *seen)
{
	char error[ERROR_MAX] = "", *words[WORDS_MAX];
	struct verdict want;
	struct values v = before;
	u64 given = 0;
	unsigned int i;
	bool ok = true;
	int r;

	for (i = 0; i < f->argc; i++)
		words[i] = strdup(f->argv[i]);
	model(f->pairs, f->argc, f->argv, &want);
	seen[want.why]++;
	r = parse(f->pairs, &v, f->argc, f->argv, &given, error,
		  sizeof(error));
	if (want.why != GOOD) {
		ok &= CHECK(r, "accepted, though '%s' is %s", want.key,
			    whys[want.why]);
		ok &= fuzz_refused(&want, r, error, &v);
		seen[PARTLY] += !!memcmp(&v, &before, sizeof(v));
	} else {
		ok &= CHECK(!r, "refused: %s", error);
		ok &= CHECK(given == want.given, "given %#llx, not %#llx",
			    given, want.given);
		ok &= CHECK(!memcmp(&v, &want.v, sizeof(v)),
			    "other values than those that were given");
	}
	ok &= CHECK(v.guard1 == before.guard1 && v.guard2 == before.guard2,
		    "written beside the options");
	ok &= fuzz_small(f, r, error);
	for (i = 0; i < f->argc; i++) {
		ok &= CHECK(!strcmp(words[i], f->argv[i]), "word %u changed", i);
		free(words[i]);
	}
	return ok;
}

static void test_random(void)
{
	unsigned long seen[COUNTS] = { 0 };
	long number = unit_args.one_case < 0 ? 0 : unit_args.one_case;
	long end = unit_args.one_case < 0 ? unit_args.cases : number + 1;
	unsigned int bad = 0, i;
	struct fuzz f;

	for (; number < end && bad < 3; number++) {
		fuzz_make(&f, number);
		if (unit_args.one_case >= 0)
			fuzz_say(&f);
		if (!fuzz_run(&f, seen)) {
			bad++;
			fuzz_say(&f);
		}
		fuzz_free(&f);
	}
	for (i = 0; i < WHYS; i++) {
		unit_say("%8lu cases: %s", seen[i], whys[i]);
		/* Else it would have shown nothing about them. */
		if (unit_args.one_case < 0 && unit_args.cases >= 100000 && !bad)
			CHECK(seen[i] > 1000, "too few cases: %s", whys[i]);
	}
	unit_say("%8lu cases: refused, with words before the bad one stored",
		 seen[PARTLY]);
}

const struct unit_test unit_options_random[] = {
	{ "random words: refused by name, or stored exactly", test_random },
	{ NULL, NULL }
};
