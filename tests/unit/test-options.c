// SPDX-License-Identifier: GPL-2.0-only
/*
 * Options and ids: a table of words, and random ones against a second reading
 * of the rules.
 *
 * A refusal names the first word that is bad, and neither that word nor any
 * after it is stored. Words before it may have been: the contract leaves that
 * open, and callers throw the structure away.
 */

#include "tap.h"

#include "options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

#define WORDS_MAX	24
#define WORD_MAX	200
#define ERROR_MAX	1024

/* What is filled; guards on both sides of all. */
struct values {
	u64 guard1;
	u64 speed;
	u64 speed_limit;
	u64 any;
	u64 cluster;
	u64 any_power;
	u64 unmap;
	u64 sync;
	const char *target;
	const char *note;
	u64 guard2;
};

enum { SPEED, SPEED_LIMIT, ANY, CLUSTER, ANY_POWER, UNMAP, SYNC, TARGET, NOTE,
       OPTIONS };

/* One a prefix of another, as with the keys "speed" and "speed_limit". */
static const char *const syncs[] = { "full", "fullest", "none", "top", NULL };

#define AT(field)	offsetof(struct values, field)

static const struct bk_option options[OPTIONS] = {
	[SPEED] = { "speed", BK_OPT_NUMBER, AT(speed), .max = 1ULL << 63 },
	[SPEED_LIMIT] = { "speed_limit", BK_OPT_NUMBER, AT(speed_limit),
			  .min = 10, .max = 20 },
	[ANY] = { "any", BK_OPT_NUMBER, AT(any), .max = ~0ULL },
	[CLUSTER] = { "cluster", BK_OPT_POWER2, AT(cluster), .min = 8,
		      .max = 131072 },
	[ANY_POWER] = { "any_power", BK_OPT_POWER2, AT(any_power),
			.max = ~0ULL },
	[UNMAP] = { .name = "unmap", .type = BK_OPT_BOOL, .offset = AT(unmap) },
	[SYNC] = { "sync", BK_OPT_WORD, AT(sync), .words = syncs,
		   .required = true },
	[TARGET] = { "target", BK_OPT_STRING, AT(target), .required = true },
	[NOTE] = { .name = "note", .type = BK_OPT_STRING, .offset = AT(note) },
};

/* No value that a test gives. */
static const struct values before = {
	0x5151515151515151, 0x5252525252525252, 0x5353535353535353,
	0x5454545454545454, 0x5555555555555555, 0x5656565656565656,
	0x5757575757575757, 0x5858585858585858, "old target", "old note",
	0x5959595959595959,
};

static int parse(bool pairs, void *into, unsigned int argc, char **argv,
		 u64 *given, char *error, size_t size)
{
	return (pairs ? bk_options_parse_pairs : bk_options_parse)(options,
			OPTIONS, into, argc, argv, given, error, size);
}

/* Is @word there, and not as a part of a longer name? */
static bool names(const char *text, const char *word)
{
	static const char part[] =
		"abcdefghijklmnopqrstuvwxyz_0123456789";
	size_t len = strlen(word);
	const char *p;

	for (p = text; (p = strstr(p, word)); p++)
		if ((p == text || !strchr(part, p[-1])) &&
		    (!p[len] || !strchr(part, p[len])))
			return true;
	return false;
}

/*----------------------------------------------------------------*/
/* A table */

#define FILLED	"sync=none", "target=/dev/b"

#define TAKEN(...)	{ .words = { __VA_ARGS__ } }
#define REFUSED(result_, key_, value_, ...) \
	{ .words = { __VA_ARGS__ }, .result = result_, .key = key_, \
	  .value = value_ }

static const struct {
	const char *words[6];
	int result;
	/* to be named */
	const char *key;
	const char *value;
} table[] = {
	TAKEN(FILLED),
	TAKEN(FILLED, "speed=0"),
	TAKEN(FILLED, "speed=9223372036854775808"),
	REFUSED(-ERANGE, "speed", "9223372036854775809",
		FILLED, "speed=9223372036854775809"),
	TAKEN(FILLED, "any=18446744073709551615"),
	TAKEN(FILLED, "any=00000000000000000000000000001"),
	REFUSED(-ERANGE, "any", "18446744073709551616",
		FILLED, "any=18446744073709551616"),
	REFUSED(-ERANGE, "any", "99999999999999999999999",
		FILLED, "any=99999999999999999999999"),
	REFUSED(-EINVAL, "any", "-1", FILLED, "any=-1"),
	REFUSED(-EINVAL, "any", "+1", FILLED, "any=+1"),
	REFUSED(-EINVAL, "any", "1\n", FILLED, "any=1\n"),
	REFUSED(-EINVAL, "any", " 1", FILLED, "any= 1"),
	REFUSED(-EINVAL, "any", "1 ", FILLED, "any=1 "),
	REFUSED(-EINVAL, "any", "0x10", FILLED, "any=0x10"),
	REFUSED(-EINVAL, "any", "1k1", FILLED, "any=1k1"),
	REFUSED(-EINVAL, "any", "1=1", FILLED, "any=1=1"),
	REFUSED(-EINVAL, "any", "\xb2", FILLED, "any=\xb2"),
	REFUSED(-EINVAL, "any", "-99999999999999999999999",
		FILLED, "any=-99999999999999999999999"),
	REFUSED(-EINVAL, "any", NULL, FILLED, "any="),
	REFUSED(-EINVAL, "any", NULL, FILLED, "any"),
	REFUSED(-EINVAL, "any", NULL, FILLED, "any=1", "any=1"),
	TAKEN(FILLED, "speed_limit=10"),
	TAKEN(FILLED, "speed_limit=20"),
	REFUSED(-ERANGE, "speed_limit", "9", FILLED, "speed_limit=9"),
	REFUSED(-ERANGE, "speed_limit", "21", FILLED, "speed_limit=21"),
	TAKEN(FILLED, "speed_limit=15", "speed=21"),
	TAKEN(FILLED, "cluster=8"),
	TAKEN(FILLED, "cluster=131072"),
	REFUSED(-ERANGE, "cluster", "0", FILLED, "cluster=0"),
	REFUSED(-ERANGE, "cluster", "4", FILLED, "cluster=4"),
	REFUSED(-EINVAL, "cluster", "12", FILLED, "cluster=12"),
	REFUSED(-EINVAL, "cluster", "131071", FILLED, "cluster=131071"),
	REFUSED(-ERANGE, "cluster", "262144", FILLED, "cluster=262144"),
	TAKEN(FILLED, "any_power=1"),
	TAKEN(FILLED, "any_power=9223372036854775808"),
	REFUSED(-EINVAL, "any_power", "0", FILLED, "any_power=0"),
	REFUSED(-EINVAL, "any_power", "18446744073709551615",
		FILLED, "any_power=18446744073709551615"),
	TAKEN(FILLED, "unmap=0"),
	TAKEN(FILLED, "unmap=1"),
	REFUSED(-EINVAL, "unmap", "2", FILLED, "unmap=2"),
	REFUSED(-EINVAL, "unmap", "01", FILLED, "unmap=01"),
	REFUSED(-EINVAL, "unmap", "yes", FILLED, "unmap=yes"),
	REFUSED(-EINVAL, "unmap", NULL, FILLED, "unmap"),
	TAKEN("sync=full", "target=b"),
	TAKEN("sync=fullest", "target=b"),
	TAKEN("sync=top", "target=b"),
	REFUSED(-EINVAL, "sync", "ful", "sync=ful", "target=b"),
	REFUSED(-EINVAL, "sync", "fulles", "sync=fulles", "target=b"),
	REFUSED(-EINVAL, "sync", "Full", "sync=Full", "target=b"),
	REFUSED(-EINVAL, "sync", "full ", "sync=full ", "target=b"),
	REFUSED(-EINVAL, "sync", NULL, "sync=", "target=b"),
	REFUSED(-EINVAL, "target", NULL, "sync=full"),
	REFUSED(-EINVAL, "sync", NULL, "target=b"),
	REFUSED(-EINVAL, "sync", NULL, NULL),
	TAKEN(FILLED, "note=="),
	TAKEN(FILLED, "note=a=b=c"),
	TAKEN(FILLED, "note=%s%n"),
	REFUSED(-EINVAL, "note", NULL, FILLED, "note="),
	REFUSED(-EINVAL, "note", "a b", FILLED, "note=a b"),
	REFUSED(-EINVAL, "note", " a", FILLED, "note= a"),
	REFUSED(-EINVAL, "note", "a\tb", FILLED, "note=a\tb"),
	REFUSED(-EINVAL, "note", "a\n", FILLED, "note=a\n"),
	REFUSED(-EINVAL, "target", NULL, FILLED, "target=c"),
	REFUSED(-EINVAL, "spee", NULL, FILLED, "spee=1"),
	REFUSED(-EINVAL, "speed_", NULL, FILLED, "speed_=1"),
	REFUSED(-EINVAL, "Speed", NULL, FILLED, "Speed=1"),
	REFUSED(-EINVAL, " speed", NULL, FILLED, " speed=1"),
	REFUSED(-EINVAL, "speed ", NULL, FILLED, "speed =1"),
	REFUSED(-EINVAL, "bogus", NULL, FILLED, "bogus=1"),
	REFUSED(-EINVAL, "bogus", NULL, FILLED, "bogus"),
	REFUSED(-EINVAL, "bogus", NULL, FILLED, "bogus="),
	REFUSED(-EINVAL, "''", NULL, FILLED, "=1"),
	REFUSED(-EINVAL, "''", NULL, FILLED, "="),
	REFUSED(-EINVAL, "''", NULL, FILLED, ""),
};

static void test_table(void)
{
	unsigned int i, argc;

	for (i = 0; i < COUNT(table); i++) {
		char error[ERROR_MAX] = "";
		struct values v = before;
		char *argv[6];
		u64 given;
		int r;

		for (argc = 0; argc < 6 && table[i].words[argc]; argc++)
			argv[argc] = (char *)table[i].words[argc];
		r = parse(false, &v, argc, argv, &given, error, sizeof(error));
		CHECK(r == table[i].result, "'%s': %d, not %d",
		      argc ? argv[argc - 1] : "", r, table[i].result);
		if (table[i].key)
			CHECK(names(error, table[i].key),
			      "'%s' is not named: %s", table[i].key, error);
		if (table[i].value)
			CHECK(names(error, table[i].value),
			      "'%s' is not named: %s", table[i].value, error);
	}
}

/* Words of tables: a key's value is the next word, whatever it looks like. */
static void test_pairs(void)
{
	char *good[] = { "sync", "none", "target", "speed", "note", "a=b",
			 "speed", "7" };
	char *odd[] = { "sync", "none", "target", "b", "speed" };
	char *equals[] = { "sync=none", "target=b" };
	char *empty[] = { "sync", "none", "target", "" };
	char error[ERROR_MAX];
	struct values v = before;
	u64 given;

	CHECK(!parse(true, &v, 8, good, &given, error, sizeof(error)),
	      "refused: %s", error);
	CHECK(v.sync == 2 && v.target == good[3] && v.note == good[5] &&
	      v.speed == 7, "sync %llu, speed %llu", v.sync, v.speed);
	CHECK(given == (1 << SYNC | 1 << TARGET | 1 << NOTE | 1 << SPEED),
	      "given: %#llx", given);
	CHECK(parse(true, &v, 5, odd, &given, error, sizeof(error)) ==
	      -EINVAL && names(error, "speed"), "a key alone: %s", error);
	CHECK(parse(true, &v, 2, equals, &given, error, sizeof(error)) ==
	      -EINVAL && names(error, "sync=none"), "key=value: %s", error);
	CHECK(parse(true, &v, 4, empty, &given, error, sizeof(error)) ==
	      -EINVAL && names(error, "target"), "empty: %s", error);
}

/* As many options as a mask has bits. */
static void test_many(void)
{
	struct bk_option many[64] = { };
	char names_[64][8], words[64][16], error[ERROR_MAX];
	char *argv[65];
	u64 v[64] = { 0 };
	u64 given;
	unsigned int i;

	for (i = 0; i < 64; i++) {
		snprintf(names_[i], sizeof(names_[i]), "o%u", i);
		snprintf(words[i], sizeof(words[i]), "o%u=%u", i, i + 100);
		many[i] = (struct bk_option){
			.name = names_[i], .type = BK_OPT_NUMBER,
			.offset = i * sizeof(u64), .max = 1000,
			.required = true,
		};
		argv[i] = words[i];
	}
	CHECK(!bk_options_parse(many, 64, v, 64, argv, &given, error,
				sizeof(error)), "refused: %s", error);
	CHECK(given == ~0ULL, "given: %#llx", given);
	for (i = 0; i < 64; i++)
		CHECK(v[i] == i + 100, "o%u is %llu", i, v[i]);
	for (i = 0; i < 64; i++) {
		argv[64] = words[i];
		CHECK(bk_options_parse(many, 64, v, 65, argv, &given, error,
				       sizeof(error)) == -EINVAL &&
		      names(error, names_[i]), "o%u twice: %s", i, error);
		/* without it */
		argv[i] = words[63];
		CHECK(bk_options_parse(many, 64, v, 63, argv, &given, error,
				       sizeof(error)) == -EINVAL &&
		      names(error, names_[i]), "without o%u: %s", i, error);
		argv[i] = words[i];
	}
}

/*----------------------------------------------------------------*/
/* The rules, read a second time */

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
		return syncs[unit_below(r, COUNT(syncs) - 1)];
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

/*----------------------------------------------------------------*/
/* Ids of jobs */

static bool model_id(const char *id)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	size_t len = strlen(id), first = strspn(id, letters);

	return first && len < 128 &&
	       first + strspn(id + first,
			      "abcdefghijklmnopqrstuvwxyz0123456789-._"
			      "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == len;
}

static void check_id(const char *id)
{
	int want = model_id(id) ? 0 : -EINVAL;
	char error[ERROR_MAX] = "", small[20];
	char *exact = strdup(id);
	int r = bk_option_check_id(exact, error, sizeof(error));

	CHECK(r == want, "'%s': %d", id, r);
	if (want) {
		char shown[65];

		snprintf(shown, sizeof(shown), "%s", id);
		CHECK(strstr(error, shown), "'%s' is not named: %s", id,
		      error);
	}
	bk_option_check_id(exact, small, sizeof(small));
	free(exact);
}

static void test_ids(void)
{
	static const char *const good[] = { "a", "Z", "a-b.c_d", "job0", "a--",
					    "z." };
	static const char *const bad[] = { "", "1abc", "a b", "-a", ".", "_",
					   "a/b", "a\n", "\xe9", "a\xe9", "@",
					   "[", "`", "{", "a=b", "a:" };
	char id[200] = "a";
	unsigned int i;
	char error[ERROR_MAX];

	for (i = 0; i < COUNT(good); i++)
		CHECK(!bk_option_check_id(good[i], error, sizeof(error)),
		      "'%s' is refused", good[i]);
	for (i = 0; i < COUNT(bad); i++)
		CHECK(bk_option_check_id(bad[i], error, sizeof(error)) ==
		      -EINVAL, "'%s' is taken", bad[i]);
	/* Every byte in the first, a middle and the last place. */
	for (i = 1; i < 256; i++) {
		strcpy(id, "abc");
		id[0] = i;
		check_id(id);
		id[0] = 'a';
		id[1] = i;
		check_id(id);
		id[1] = 'b';
		id[2] = i;
		check_id(id);
	}
	for (i = 1; i < sizeof(id); i++) {
		memset(id, 'x', i);
		id[i] = '\0';
		check_id(id);
		CHECK(!bk_option_check_id(id, error, sizeof(error)) ==
		      (i <= 127), "%u characters", i);
	}
}

static void test_ranges(void)
{
	static const struct {
		const char *word;
		int want;
		u64 start, end;
	} cases[] = {
		{ "0+1", 0, 0, 1 },
		{ "0+1000", 0, 0, 1000 },
		{ "999+1", 0, 999, 1000 },
		{ "7+8", 0, 7, 15 },
		{ .word = "1000+1", .want = -ERANGE },
		{ .word = "0+1001", .want = -ERANGE },
		{ .word = "999+18446744073709551615", .want = -ERANGE },
		{ .word = "18446744073709551615+1", .want = -ERANGE },
		{ .word = "", .want = -EINVAL },
		{ .word = "+", .want = -EINVAL },
		{ .word = "1", .want = -EINVAL },
		{ .word = "1+", .want = -EINVAL },
		{ .word = "+1", .want = -EINVAL },
		{ .word = "0+0", .want = -EINVAL },
		{ .word = "1+1+1", .want = -EINVAL },
		{ .word = "1 +1", .want = -EINVAL },
		{ .word = "1+ 1", .want = -EINVAL },
		{ .word = "1+1\n", .want = -EINVAL },
		{ .word = "-1+1", .want = -EINVAL },
		{ .word = "1+-1", .want = -EINVAL },
		{ .word = "0x1+1", .want = -EINVAL },
		{ .word = "1++1", .want = -EINVAL },
		{ .word = "18446744073709551616+1", .want = -EINVAL },
		{ .word = "0000000000000000000000000001+1", .want = -EINVAL },
	};
	unsigned int i;

	for (i = 0; i < COUNT(cases); i++) {
		char *exact = strdup(cases[i].word);
		u64 start = 0, end = 0;
		int r = bk_option_range(exact, 1000, &start, &end);

		CHECK(r == cases[i].want, "'%s': %d", cases[i].word, r);
		CHECK(r || (start == cases[i].start && end == cases[i].end),
		      "'%s': %llu to %llu", cases[i].word,
		      (unsigned long long)start, (unsigned long long)end);
		free(exact);
	}
}

static void test_printable(void)
{
	char text[256];
	int i;

	for (i = 1; i < 256; i++)
		text[i - 1] = i;
	text[255] = '\0';
	bk_make_printable(text);
	for (i = 1; i < 256; i++)
		CHECK(text[i - 1] == (i >= 32 && i < 127 ? i : '?'),
		      "byte %d becomes %d", i, text[i - 1]);
	CHECK(!text[255], "the end has moved");
}

const struct unit_test unit_options[] = {
	{ "a table of words, good and bad", test_table },
	{ "words of tables", test_pairs },
	{ "64 options", test_many },
	{ "random words: refused by name, or stored exactly", test_random },
	{ "ids of jobs", test_ids },
	{ "ranges of sectors", test_ranges },
	{ "sentences are one line of ASCII", test_printable },
	{ NULL, NULL }
};
