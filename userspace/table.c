// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: tables. The contract is in table.h.
 */

#include "table.h"
#include "json.h"

#include <libsmartcols.h>
#include <stdio.h>
#include <stdlib.h>

/* JSON's keys are lower case. */
static char *column_name(const char *name, bool json)
{
	char *s = xstrdup(name), *p;

	for (p = s; json && *p; p++)
		*p = *p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' :
		     *p == '-' ? '_' : *p;
	return s;
}

void table_begin(struct table *t, const char *name,
		 const struct column *columns, unsigned int n,
		 const struct options *o)
{
	unsigned int i;

	t->table = scols_new_table();
	t->columns = columns;
	t->bytes = o->bytes || o->json;
	t->json = o->json;
	t->line = NULL;
	scols_table_enable_json(t->table, o->json);
	scols_table_enable_noheadings(t->table, o->noheadings);
	scols_table_set_name(t->table, name);
	for (i = 0; i < n; i++) {
		char *key = column_name(columns[i].name, o->json);
		struct libscols_column *c =
			scols_table_new_column(t->table, key, 0,
					       columns[i].how == TEXT ? 0 :
					       SCOLS_FL_RIGHT);

		if (columns[i].how != TEXT && o->json)
			scols_column_set_json_type(c, SCOLS_JSON_NUMBER);
		free(key);
	}
}

void table_row(struct table *t)
{
	t->line = scols_table_new_line(t->table, NULL);
}

void table_text(struct table *t, unsigned int column, const char *text)
{
	char *clean = t->json && text ? json_clean(text) : NULL;

	scols_line_set_data(t->line, column, clean ? clean : text);
	free(clean);
}

void table_number(struct table *t, unsigned int column, uint64_t n)
{
	char buf[32];

	if (t->columns[column].how == SIZE && !t->bytes)
		format_bytes(n, buf, sizeof(buf));
	else
		snprintf(buf, sizeof(buf), "%llu", (unsigned long long)n);
	scols_line_set_data(t->line, column, buf);
}

int table_end(struct table *t)
{
	int r = scols_print_table(t->table);

	scols_unref_table(t->table);
	return r ? EX_FAILED : EX_OK;
}
