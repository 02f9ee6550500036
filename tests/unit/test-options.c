// SPDX-License-Identifier: GPL-2.0-only
/*
 * Options and ids: a table of words; ranges, and sentences.
 */

#include "option-set.h"
#include "tap.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* A string is no longer than a path. */
static void test_long(void)
{
	static const char key[] = "target=";
	char word[sizeof(key) + PATH_MAX], error[ERROR_MAX];
	char *argv[] = { "sync=none", word };
	struct values v = before;
	size_t n = strlen(key);
	u64 given;

	memcpy(word, key, n);
	memset(word + n, 'x', PATH_MAX);
	word[n + PATH_MAX - 1] = '\0';
	CHECK(!parse(false, &v, 2, argv, &given, error, sizeof(error)) &&
	      v.target == word + n, "refused: %s", error);
	word[n + PATH_MAX - 1] = 'x';
	word[n + PATH_MAX] = '\0';
	CHECK(parse(false, &v, 2, argv, &given, error, sizeof(error)) ==
	      -EINVAL && names(error, "target"), "too long: %s", error);
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
					    "z.", "loads" };
	static const char *const bad[] = { "", "1abc", "a b", "-a", ".", "_",
					   "a/b", "a\n", "\xe9", "a\xe9", "@",
					   "[", "`", "{", "a=b", "a:",
					   "transaction", "load" };
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
	{ "a long string", test_long },
	{ "64 options", test_many },
	{ "ids of jobs", test_ids },
	{ "ranges of sectors", test_ranges },
	{ "sentences are one line of ASCII", test_printable },
	{ NULL, NULL }
};
