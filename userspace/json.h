/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: JSON that is no table; those are libsmartcols' work.
 */

#ifndef JSON_H
#define JSON_H

/* Prints @text as a string, with quotes. */
void json_string(const char *text);

#endif
