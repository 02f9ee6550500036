/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: places in a text that json-c has found to be JSON.
 *
 * json-c's objects don't know where they came from. All pointers are into the
 * text, which ends with a zero byte; whatever it holds nothing behind that is
 * looked at.
 */

#ifndef JSON_PLACE_H
#define JSON_PLACE_H

#include <stddef.h>

/* The first thing that is no blank. */
const char *json_begin(const char *text);

/* The value of a member of the object at @object; @object if it has none. */
const char *json_member(const char *object, const char *key);

/* The element @i of the array at @array; @array if it has none. */
const char *json_element(const char *array, unsigned int i);

/*
 * The first key of the object at @object that could be taken for another one:
 * its place, and @why, or NULL.
 */
const char *json_bad_key(const char *object, const char **why);

/* Counted from 1; a column is a character of UTF-8. */
void json_line(const char *text, const char *at, unsigned int *line,
	       unsigned int *column);

#endif
