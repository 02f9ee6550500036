/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The words of a transaction message: options, and actions with their filters.
 * What the words of an action mean is not known here. Only logic, nothing is
 * allocated; also built in userspace, by tests/unit.
 *
 *   [prepare] [completion_mode=individual|grouped] [freeze=0|1] [sequential]
 *   <#actions> {<filter MAJ:MIN> <#words> <word>...}...
 */

#ifndef BK_TXN_WORDS_H
#define BK_TXN_WORDS_H

#include <linux/types.h>

/* More are refused: a mistake in the words is found before it costs memory. */
#define BK_TXN_ACTIONS_MAX	256

enum bk_completion {
	BK_COMPLETION_INDIVIDUAL,	/* each job has its own outcome */
	BK_COMPLETION_GROUPED,		/* all succeed, or none */
};

/**
 * struct bk_txn_options - what is asked of the whole transaction
 * @prepare:	stop before the cut, for "commit" or "abort"
 * @completion:	enum bk_completion
 * @freeze:	freeze file systems around the cut
 * @sequential:	the jobs copy one after the other
 */
struct bk_txn_options {
	u64 prepare;
	u64 completion;
	u64 freeze;
	u64 sequential;
};

/**
 * struct bk_txn_words - a message being read
 * @argc:	words that have not been read
 * @argv:	the same
 * @nr:		number of actions
 * @next:	the action to be read next, from 1
 */
struct bk_txn_words {
	unsigned int argc;
	char **argv;
	unsigned int nr;
	unsigned int next;
};

/**
 * struct bk_txn_action - an action as it stands in the message
 * @nr:		which one, from 1
 * @filter:	MAJ:MIN
 * @argc:	number of words
 * @argv:	the words
 */
struct bk_txn_action {
	unsigned int nr;
	const char *filter;
	unsigned int argc;
	char **argv;
};

extern const char *const bk_completion_names[];

int bk_txn_words_begin(struct bk_txn_words *w, unsigned int argc, char **argv,
		       struct bk_txn_options *options, char *error,
		       size_t size);
int bk_txn_words_next(struct bk_txn_words *w, struct bk_txn_action *a,
		      char *error, size_t size);
bool bk_filter_is_good(const char *name, size_t len);

#endif
