// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: a line of a dump. The contract is in range-line.h.
 */

#include "range-line.h"

static size_t skip_blanks(const char *line, size_t len, size_t at)
{
	while (at < len && (line[at] == ' ' || line[at] == '\t'))
		at++;
	return at;
}

/* The end of the digits at @at, or @at if there are none, or too many. */
static size_t digits(const char *line, size_t len, size_t at, uint64_t *n)
{
	size_t from = at;

	for (*n = 0; at < len && line[at] >= '0' && line[at] <= '9'; at++)
		if (__builtin_mul_overflow(*n, 10, n) ||
		    __builtin_add_overflow(*n, (uint64_t)(line[at] - '0'), n))
			return from;
	return at;
}

bool range_of_line(const char *line, size_t len, uint64_t *start,
		   uint64_t *length)
{
	size_t from, at;
	uint64_t end;

	if (len && line[len - 1] == '\n')
		len--;
	from = skip_blanks(line, len, 0);
	at = digits(line, len, from, start);
	if (at == from)
		return false;
	from = skip_blanks(line, len, at);
	if (at == from)
		return false;
	at = digits(line, len, from, length);
	if (at == from || skip_blanks(line, len, at) != len)
		return false;
	return *length && !(*start % 512) && !(*length % 512) &&
	       !__builtin_add_overflow(*start, *length, &end);
}
