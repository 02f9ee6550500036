/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: JSON that is no table; those are libsmartcols' work.
 */

#ifndef JSON_H
#define JSON_H

/* @text as UTF-8, whatever it is. To be freed. */
char *json_clean(const char *text);

/* Prints @text as a string, with quotes. */
void json_string(const char *text);

#endif
