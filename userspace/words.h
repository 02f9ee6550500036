/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: options of the command line as " key=value" words of a message.
 *
 * Each function adds to *@words, which is replaced and to be freed, or says why
 * it can't and returns false. @text is what was given with @option, NULL if
 * nothing was: then nothing is added.
 */

#ifndef WORDS_H
#define WORDS_H

#include "dmbackup.h"

/* Can @text be one word of a message? Says why not; @what is what it is. */
bool is_word(const char *what, const char *text);

/* The same, of the id of a job of the user's: "view-" and "view." begin a view's. */
bool is_job_id(const char *id);

/* @value is there; it must be one word. */
bool add_word(char **words, const char *option, const char *key,
	      const char *value);

bool add_number(char **words, const char *key, uint64_t n);

/* A size: bytes on the command line, sectors in the kernel. */
bool add_sectors(char **words, const char *option, const char *key,
		 const char *text);

/* A word: "break-snapshot" on the command line is "break_snapshot" there. */
bool add_policy(char **words, const char *option, const char *key,
		const char *text);

/* What a job does about errors: all options for that. */
bool add_errors(char **words, const struct options *o);

#endif
