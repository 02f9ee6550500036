// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: places in JSON. The contract is in json-place.h.
 */

#include "json-place.h"

#include <stdbool.h>
#include <string.h>

static const char *skip_blanks(const char *p)
{
	return p + strspn(p, " \t\r\n");
}

/* @p: at the opening quote. */
static const char *skip_string(const char *p)
{
	char quote = *p++;

	while (*p && *p != quote)
		p += p[0] == '\\' && p[1] ? 2 : 1;
	return *p ? p + 1 : p;
}

static const char *skip_value(const char *p)
{
	unsigned int depth = 0;

	if (!strchr("{[\"", *p))
		return p + strcspn(p, ",]} \t\r\n");
	do {
		if (*p == '"') {
			p = skip_string(p);
			continue;
		}
		depth += *p == '{' || *p == '[';
		depth -= *p == '}' || *p == ']';
		p += *p != '\0';
	} while (depth && *p);
	return p;
}

struct member {
	const char *key;
	size_t len;
	const char *value;
};

/* @p: behind the opening brace, or the member before. False: there are no more. */
static bool next_member(const char **p, struct member *m)
{
	const char *q = skip_blanks(*p);

	q = *q == ',' ? skip_blanks(q + 1) : q;
	if (*q != '"' && *q != '\'')
		return false;
	m->key = q + 1;
	q = skip_string(q);
	m->len = *q ? q - m->key - 1 : 0;
	q = skip_blanks(q);
	q = skip_blanks(*q == ':' ? q + 1 : q);
	m->value = q;
	*p = skip_value(q);
	return *q;
}

static const char *inside(const char *p, char bracket)
{
	return *p == bracket ? p + 1 : p + strlen(p);
}

const char *json_begin(const char *text)
{
	return skip_blanks(text);
}

const char *json_member(const char *object, const char *key)
{
	const char *p = inside(object, '{');
	struct member m;

	while (next_member(&p, &m))
		if (m.len == strlen(key) && !memcmp(m.key, key, m.len))
			return m.value;
	return object;
}

const char *json_element(const char *array, unsigned int i)
{
	const char *p = skip_blanks(inside(array, '[')), *end;

	while (*p && *p != ']' && i--) {
		end = skip_blanks(skip_value(p));
		if (*end != ',')
			return array;
		p = skip_blanks(end + 1);
	}
	return *p && *p != ']' ? p : array;
}

/* json-c takes single quotes around keys, and the last of equal keys. */
const char *json_bad_key(const char *object, const char **why)
{
	const char *p = inside(object, '{'), *q;
	struct member m, before;

	while (next_member(&p, &m)) {
		*why = "keys are written in double quotes, without backslashes";
		if (m.key[-1] != '"' || memchr(m.key, '\\', m.len))
			return m.key - 1;
		*why = "is given twice";
		q = inside(object, '{');
		while (next_member(&q, &before) && before.key != m.key)
			if (m.len == before.len &&
			    !memcmp(m.key, before.key, m.len))
				return m.key - 1;
	}
	return NULL;
}

void json_line(const char *text, const char *at, unsigned int *line,
	       unsigned int *column)
{
	*line = *column = 1;
	for (; text < at; text++) {
		if (*text == '\n') {
			++*line;
			*column = 1;
		} else if ((*text & 0xc0) != 0x80) {
			++*column;
		}
	}
}
