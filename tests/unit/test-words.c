// SPDX-License-Identifier: GPL-2.0-only
/*
 * The words of a transaction: a table of messages, then random ones that must be
 * read as they were made, then damaged ones, of which nothing is read that is not
 * there.
 */

#include "tap.h"

#include "txn-words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))
#define WORDS_MAX	512
#define ACTIONS		16
#define CASES		20000

/* A message as words, each in memory of its own: what is beyond is found out. */
struct message {
	unsigned int argc;
	char *argv[WORDS_MAX];
};

static void add(struct message *m, const char *word)
{
	m->argv[m->argc++] = strdup(word);
}

static void add_number(struct message *m, unsigned int n)
{
	char word[16];

	snprintf(word, sizeof(word), "%u", n);
	add(m, word);
}

static void drop(struct message *m)
{
	while (m->argc)
		free(m->argv[--m->argc]);
}

/* Reads all of it: the number of actions, or an errno. */
static int read_all(struct message *m, struct bk_txn_options *options,
		    struct bk_txn_action *actions, char *error, size_t size)
{
	struct bk_txn_words w;
	struct bk_txn_action a;
	int r, n = 0;

	r = bk_txn_words_begin(&w, m->argc, m->argv, options, error, size);
	if (r)
		return r;
	while ((r = bk_txn_words_next(&w, &a, error, size)) > 0) {
		CHECK(a.nr == (unsigned int)n + 1, "action %u is the %dth", a.nr,
		      n + 1);
		CHECK(a.argv >= m->argv + 2 &&
		      a.argv + a.argc <= m->argv + m->argc,
		      "action %u has words that are not there", a.nr);
		if (n < ACTIONS)
			actions[n] = a;
		n++;
	}
	return r ?: n;
}

static const struct {
	const char *words;
	int result;		/* actions, or errno */
	const char *says;
} table[] = {
	{ "1 253:3 1 abort", 1, "" },
	{ "prepare freeze=1 sequential completion_mode=grouped 1 1:2 1 x", 1, "" },
	{ "2 253:3 2 bitmap list 253:4 3 a b c", 2, "" },
	{ "001 253:3 01 abort", 1, "" },
	{ "1 253:3 2 12 13:4", 1, "" },	/* what an action's words are is its own */
	{ "1 4294967295:4294 1 x", 1, "" },
	{ "", -EINVAL, "the number of actions is missing" },
	{ "prepare", -EINVAL, "the number of actions is missing" },
	{ "abort 1 253:3 1 abort", -EINVAL, "unknown option 'abort'" },
	{ "prepare prepare 1 253:3 1 abort", -EINVAL, "prepare is given twice" },
	{ "completion_mode 1 1:1 1 x", -EINVAL, "the value is missing" },
	{ "freeze=2 1 1:1 1 x", -EINVAL, "'2' is none of 0 1" },
	{ "0 253:3 1 abort", -EINVAL, "'0' is not a number of actions" },
	{ "257 253:3 1 abort", -EINVAL, "'257' is not a number of actions" },
	{ "99999999999999999999 253:3 1 a", -EINVAL, "is not a number of actions" },
	{ "1- 253:3 1 abort", -EINVAL, "'1-' is not a number of actions" },
	{ "1", -EINVAL, "action 1 of 1 is missing" },
	{ "1 253:3", -EINVAL, "action 1 of 1 is missing" },
	{ "2 253:3 1 abort", -EINVAL, "action 2 of 2 is missing" },
	{ "1 253 1 abort", -EINVAL, "'253' is not a filter's number" },
	{ "1 253: 1 abort", -EINVAL, "'253:' is not a filter's number" },
	{ "1 :3 1 abort", -EINVAL, "':3' is not a filter's number" },
	{ "1 2:5:3 1 abort", -EINVAL, "'2:5:3' is not a filter's number" },
	{ "1 253:-3 1 abort", -EINVAL, "is not a filter's number" },
	{ "1 4294967295:42949 1 x", -EINVAL, "is not a filter's number" },
	{ "1 253:3 0 abort", -EINVAL, "'0' is not a number of words" },
	{ "1 253:3 -1 abort", -EINVAL, "'-1' is not a number of words" },
	{ "1 253:3 4294967297 abort", -EINVAL, "is not a number of words" },
	{ "1 253:3 2 abort", -EINVAL, "2 words are announced, 1 follow" },
	{ "1 253:3 1 abort more", -EINVAL, "1 words follow the last action" },
};

static void test_table(void)
{
	struct bk_txn_action actions[ACTIONS];
	struct bk_txn_options options;
	struct message m = { 0 };
	unsigned int i;

	for (i = 0; i < COUNT(table); i++) {
		char error[192] = "", *text = strdup(table[i].words), *word;
		char *save = NULL;
		int r;

		for (word = strtok_r(text, " ", &save); word;
		     word = strtok_r(NULL, " ", &save))
			add(&m, word);
		r = read_all(&m, &options, actions, error, sizeof(error));
		CHECK(r == table[i].result, "'%s': %d, not %d", table[i].words,
		      r, table[i].result);
		CHECK(strstr(error, table[i].says), "'%s': says '%s'",
		      table[i].words, error);
		drop(&m);
		free(text);
	}
}

static void test_options(void)
{
	struct bk_txn_action actions[ACTIONS];
	struct bk_txn_options o;
	struct message m = { 0 };
	char error[192];

	add(&m, "sequential");
	add(&m, "completion_mode=grouped");
	add(&m, "freeze=1");
	add(&m, "1");
	add(&m, "1:1");
	add(&m, "1");
	add(&m, "x");
	CHECK(read_all(&m, &o, actions, error, sizeof(error)) == 1, "%s", error);
	CHECK(!o.prepare && o.sequential == 1 && o.freeze == 1 &&
	      o.completion == BK_COMPLETION_GROUPED, "options are others");
	drop(&m);
}

/* Actions of random lengths, with words that look like what stands elsewhere. */
static unsigned int make(struct unit_random *r, struct message *m,
			 unsigned int *lengths)
{
	static const char *const words[] = {
		"1", "253:3", "backup", "start", "target=253:4", "256", "abort",
	};
	unsigned int i, j, nr = 1 + unit_below(r, ACTIONS);

	if (unit_below(r, 2))
		add(m, "prepare");
	add_number(m, nr);
	for (i = 0; i < nr; i++) {
		lengths[i] = 1 + unit_below(r, 20);
		add(m, "253:7");
		add_number(m, lengths[i]);
		for (j = 0; j < lengths[i]; j++)
			add(m, words[unit_below(r, COUNT(words))]);
	}
	return nr;
}

static void test_random(void)
{
	struct bk_txn_action actions[ACTIONS];
	struct bk_txn_options options;
	struct message m = { 0 };
	struct unit_random r;
	unsigned int lengths[ACTIONS], nr, i, n;
	char error[192];
	int got;

	unit_random_init(&r, unit_args.seed, 77);
	for (n = 0; n < CASES; n++) {
		nr = make(&r, &m, lengths);
		got = read_all(&m, &options, actions, error, sizeof(error));
		CHECK(got == (int)nr, "case %u: %d actions of %u: %s", n, got,
		      nr, error);
		for (i = 0; got == (int)nr && i < nr; i++)
			CHECK(actions[i].argc == lengths[i] &&
			      !strcmp(actions[i].filter, "253:7"),
			      "case %u: action %u has %u words, not %u", n,
			      i + 1, actions[i].argc, lengths[i]);
		drop(&m);
	}
}

/* A word is gone, is there twice, or is another one. */
static void test_damaged(void)
{
	static const char *const words[] = {
		"", "0", "1", "2", "17", "65536", "65537", "4294967296",
		"18446744073709551617", ":", "1:", "prepare", "=", "-1",
	};
	struct bk_txn_action actions[ACTIONS];
	struct bk_txn_options options;
	struct message m = { 0 };
	struct unit_random r;
	unsigned int lengths[ACTIONS], n, at, refused = 0;
	char error[192];
	int got;

	unit_random_init(&r, unit_args.seed, 78);
	for (n = 0; n < CASES; n++) {
		make(&r, &m, lengths);
		at = unit_below(&r, m.argc);
		free(m.argv[at]);
		m.argv[at] = strdup(words[unit_below(&r, COUNT(words))]);
		if (unit_below(&r, 2))
			free(m.argv[--m.argc]);
		error[0] = '\0';
		got = read_all(&m, &options, actions, error, sizeof(error));
		CHECK(got > 0 || got == -EINVAL || got == -ERANGE,
		      "case %u: %d", n, got);
		CHECK(got > 0 || error[0], "case %u: refused without a word", n);
		refused += got < 0;
		drop(&m);
	}
	CHECK(refused > CASES / 4, "%u of %u refused", refused, CASES);
}

const struct unit_test unit_words[] = {
	{ "messages, right and wrong", test_table },
	{ "options of a transaction", test_options },
	{ "random messages are read as they were made", test_random },
	{ "of damaged ones nothing is read that is not there", test_damaged },
	{ NULL, NULL }
};
