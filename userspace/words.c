// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: words of messages. The contract is in words.h.
 */

#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool is_word(const char *what, const char *text)
{
	const char *p;

	for (p = text; *p > ' ' && *p < 0x7f && *p != '\\'; p++)
		;
	if (p > text && !*p)
		return true;
	say("%s: '%s' can't be sent to the kernel: it is empty, or has blanks, backslashes or what is not ASCII",
	    what, text);
	return false;
}

bool is_job_id(const char *id)
{
	if (!is_word("--id", id))
		return false;
	if (strncmp(id, "view-", 5) && strncmp(id, "view.", 5))
		return true;
	say("--id: '%s': jobs of views are called so, and end with their views",
	    id);
	return false;
}

bool add_word(char **words, const char *option, const char *key,
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

bool add_number(char **words, const char *key, uint64_t n)
{
	char value[32];

	snprintf(value, sizeof(value), "%llu", (unsigned long long)n);
	return add_word(words, key, key, value);
}

bool add_sectors(char **words, const char *option, const char *key,
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

bool add_policy(char **words, const char *option, const char *key,
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

bool add_errors(char **words, const struct options *o)
{
	uint64_t v;

	if (o->cbw_timeout &&
	    (!parse_seconds("--cbw-timeout", o->cbw_timeout, &v) ||
	     !add_number(words, "cbw_timeout", v)))
		return false;
	return add_policy(words, "--on-source-error", "on_source_error",
			  o->on_source_error) &&
	       add_policy(words, "--on-target-error", "on_target_error",
			  o->on_target_error) &&
	       add_policy(words, "--on-cbw-error", "on_cbw_error",
			  o->on_cbw_error);
}
