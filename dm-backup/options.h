/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Options: "key=value" words of messages, "key value" words of tables. All values are checked
 * in one place, against a table; unknown, double, missing and impossible ones
 * are refused in words. Also built in userspace, by tests/unit.
 */

#ifndef BK_OPTIONS_H
#define BK_OPTIONS_H

#include <linux/types.h>

enum bk_option_type {
	BK_OPT_NUMBER,		/* u64 between min and max */
	BK_OPT_POWER2,		/* the same, a power of two */
	BK_OPT_BOOL,		/* u64: 0 or 1 */
	BK_OPT_FLAG,		/* the same, or the bare word for 1 */
	BK_OPT_WORD,		/* u64: index into words */
	BK_OPT_STRING,		/* const char *, as given: no blanks, no longer than a path */
};

/**
 * struct bk_option - one option
 * @name:	the key
 * @type:	of its value
 * @offset:	of where it goes in the structure that is filled
 * @min:	BK_OPT_NUMBER, BK_OPT_POWER2: smallest
 * @max:	the same: largest
 * @words:	BK_OPT_WORD: NULL ends it
 * @required:	it must be given
 */
struct bk_option {
	const char *name;
	enum bk_option_type type;
	size_t offset;
	u64 min;
	u64 max;
	const char *const *words;
	bool required;
};

int bk_options_parse(const struct bk_option *opts, unsigned int nr_opts,
		     void *into, unsigned int argc, char **argv,
		     u64 *given, char *error, size_t error_size);
int bk_options_parse_pairs(const struct bk_option *opts, unsigned int nr_opts,
			   void *into, unsigned int argc, char **argv,
			   u64 *given, char *error, size_t error_size);
int bk_option_range(const char *word, u64 len, u64 *start, u64 *end);
int bk_option_check_id(const char *id, char *error, size_t error_size);
void bk_make_printable(char *text);

#endif
