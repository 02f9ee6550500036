// SPDX-License-Identifier: GPL-2.0-only
/*
 * The words of a transaction message. The contract is in txn-words.h.
 */

#include "txn-words.h"
#include "options.h"

#include <linux/ctype.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/string.h>

const char *const bk_completion_names[] = {
	[BK_COMPLETION_INDIVIDUAL]	= "individual",
	[BK_COMPLETION_GROUPED]		= "grouped",
	NULL
};

#define BK_FIELD(f)	offsetof(struct bk_txn_options, f)

static const struct bk_option bk_txn_option_table[] = {
	{ .name = "prepare", .type = BK_OPT_FLAG,
	  .offset = BK_FIELD(prepare) },
	{ .name = "completion_mode", .type = BK_OPT_WORD,
	  .offset = BK_FIELD(completion), .words = bk_completion_names },
	{ .name = "freeze", .type = BK_OPT_BOOL, .offset = BK_FIELD(freeze) },
	{ .name = "sequential", .type = BK_OPT_FLAG,
	  .offset = BK_FIELD(sequential) },
};

/* Digits only, between 1 and @max; 0 if it is not that. */
static unsigned int bk_words_count(const char *word, unsigned int max)
{
	u64 n = 0;

	for (; isdigit(*word) && n <= max; word++)
		n = n * 10 + (*word - '0');
	return !*word && n <= max ? n : 0;
}

/**
 * bk_filter_is_good - is it a filter's number, MAJ:MIN?
 * @name:	what is asked about
 * @len:	characters of it
 */
bool bk_filter_is_good(const char *name, size_t len)
{
	size_t i, colon = 0;

	for (i = 0; i < len; i++) {
		if (name[i] == ':' && i && !colon)
			colon = i;
		else if (!isdigit(name[i]))
			return false;
	}
	/* Two numbers of 32 bits at most. */
	return colon && colon + 1 < len && len <= 15;
}

/**
 * bk_txn_words_begin - read what stands before the actions
 * @w:		set up for bk_txn_words_next()
 * @argc:	number of words
 * @argv:	the words, without the message's own name
 * @options:	filled
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Return: 0, -EINVAL or -ERANGE.
 */
int bk_txn_words_begin(struct bk_txn_words *w, unsigned int argc, char **argv,
		       struct bk_txn_options *options, char *error,
		       size_t size)
{
	unsigned int n = 0;
	u64 given;
	int r;

	/* No option begins with a digit. */
	while (n < argc && !isdigit(argv[n][0]))
		n++;
	memset(options, 0, sizeof(*options));
	r = bk_options_parse(bk_txn_option_table,
			     ARRAY_SIZE(bk_txn_option_table), options, n, argv,
			     &given, error, size);
	if (r)
		return r;
	if (n == argc) {
		snprintf(error, size, "the number of actions is missing");
		return -EINVAL;
	}
	w->nr = bk_words_count(argv[n], BK_TXN_ACTIONS_MAX);
	if (!w->nr) {
		snprintf(error, size,
			 "'%.32s' is not a number of actions between 1 and %d",
			 argv[n], BK_TXN_ACTIONS_MAX);
		return -EINVAL;
	}
	w->next = 1;
	w->argc = argc - n - 1;
	w->argv = argv + n + 1;
	return 0;
}

static int bk_words_action(struct bk_txn_words *w, struct bk_txn_action *a,
			   char *error, size_t size)
{
	a->nr = w->next;
	if (w->argc < 2) {
		snprintf(error, size, "action %u of %u is missing", a->nr,
			 w->nr);
		return -EINVAL;
	}
	a->filter = w->argv[0];
	if (!bk_filter_is_good(a->filter, strlen(a->filter))) {
		snprintf(error, size,
			 "action %u: '%.32s' is not a filter's number, <major>:<minor>",
			 a->nr, a->filter);
		return -EINVAL;
	}
	a->argc = bk_words_count(w->argv[1], 65536);
	if (!a->argc) {
		snprintf(error, size,
			 "action %u: '%.32s' is not a number of words", a->nr,
			 w->argv[1]);
		return -EINVAL;
	}
	a->argv = w->argv + 2;
	if (a->argc > w->argc - 2) {
		snprintf(error, size,
			 "action %u: %u words are announced, %u follow",
			 a->nr, a->argc, w->argc - 2);
		return -EINVAL;
	}
	return 0;
}

/**
 * bk_txn_words_next - read the next action
 * @w:		the message
 * @a:		filled
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * After the last action nothing may follow.
 *
 * Return: 1; 0 if there is none left; -EINVAL.
 */
int bk_txn_words_next(struct bk_txn_words *w, struct bk_txn_action *a,
		      char *error, size_t size)
{
	int r;

	if (w->next > w->nr) {
		if (!w->argc)
			return 0;
		snprintf(error, size, "%u words follow the last action",
			 w->argc);
		return -EINVAL;
	}
	r = bk_words_action(w, a, error, size);
	if (r)
		return r;
	w->next++;
	w->argc -= 2 + a->argc;
	w->argv += 2 + a->argc;
	return 1;
}
