/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: tables, and the same as JSON.
 *
 * Both are libsmartcols'. Keys of JSON are the columns in lower case; numbers are
 * numbers, sizes bytes. A row's columns that are not set are empty.
 */

#ifndef TABLE_H
#define TABLE_H

#include "dmbackup.h"

#include <stdbool.h>
#include <stdint.h>

struct libscols_line;
struct libscols_table;

enum how {
	TEXT,
	NUMBER,
	SIZE,		/* bytes, or for people */
};

struct column {
	const char *name;
	enum how how;
};

struct table {
	struct libscols_table *table;
	struct libscols_line *line;
	const struct column *columns;
	bool bytes;
	bool json;
};

/* @name: of the JSON's array. @columns: @n of them, used until table_end(). */
void table_begin(struct table *t, const char *name,
		 const struct column *columns, unsigned int n,
		 const struct options *o);

/* A new row, which is the one that is filled in from now on. */
void table_row(struct table *t);

/* @text is copied. */
void table_text(struct table *t, unsigned int column, const char *text);

/* A number, or a size in bytes, as the column is. */
void table_number(struct table *t, unsigned int column, uint64_t n);

/* Prints and frees it. 0, or an exit code. */
int table_end(struct table *t);

#endif
