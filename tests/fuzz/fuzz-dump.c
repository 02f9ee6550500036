// SPDX-License-Identifier: GPL-2.0-only
/*
 * Damages lines of what "dmbackup bitmap dump" writes and reads them as "bitmap load"
 * does. Result: TAP version 13, a line.
 *
 *   fuzz-dump [--seed N] [--cases N] [--case N]
 *
 * --seed:	of all that is random; printed at the start
 * --cases:	how many
 * --case:	only this one, as it was printed when it failed
 *
 * A line that is as it was written is the range that it was; what is damaged is read as
 * a regular expression and long numbers say, which is a second way to say what is right.
 */

#include "fuzz-run.h"
#include "range-line.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE		256
#define FAILURES_SHOWN	8

static struct fuzz_run run = { .seed = 1, .cases = 1000000, .only = -1 };
static unsigned long long state;
static long case_nr;
static unsigned long accepted, refused, failures;
static regex_t form;

static uint64_t draw(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state * 0x2545f4914f6cdd1dull >> 16) % below;
}

/* Small ones, any, and the largest. */
static uint64_t number(void)
{
	switch (draw(4)) {
	case 0: return draw(100) * 512;
	case 1: return (UINT64_MAX - draw(100000)) & ~511ull;
	default: return (draw(1ull << 48) << draw(17)) & ~511ull;
	}
}

static size_t damage(char *line, size_t len)
{
	static const char bytes[] = "0123456789 \t\n\r-+x.,\0\xff";
	size_t at = draw(len + 1), n;

	switch (draw(5)) {
	case 0:		/* another byte */
		if (at < len)
			line[at] = bytes[draw(sizeof(bytes))];
		return len;
	case 1:		/* less */
		return at;
	case 2:		/* without a part */
		n = draw(len - at + 1);
		memmove(line + at, line + at + n, len - at - n);
		return len - n;
	case 3:		/* a part twice */
		n = draw(len - at + 1);
		if (len + n > SIZE)
			return len;
		memmove(line + at + n, line + at, len - at);
		return len + n;
	default:	/* one byte, many times */
		n = draw(60);
		if (len + n > SIZE)
			return len;
		memmove(line + at + n, line + at, len - at);
		memset(line + at, bytes[draw(sizeof(bytes))], n);
		return len + n;
	}
}

/* A number that may be longer than any type; UINT64_MAX + 1 is all that is more. */
static unsigned __int128 value(const char *text, regmatch_t m)
{
	const unsigned __int128 most = (unsigned __int128)UINT64_MAX + 1;
	unsigned __int128 n = 0;

	for (; m.rm_so < m.rm_eo; m.rm_so++) {
		n = n * 10 + (text[m.rm_so] - '0');
		if (n > most)
			n = most;
	}
	return n;
}

static bool expected(const char *line, size_t len, uint64_t *start, uint64_t *length)
{
	unsigned __int128 from, n;
	char text[SIZE + 1];
	regmatch_t m[3];

	if (memchr(line, 0, len))
		return false;
	memcpy(text, line, len);
	text[len] = '\0';
	if (regexec(&form, text, 3, m, 0))
		return false;
	from = value(text, m[1]);
	n = value(text, m[2]);
	if (!n || from % 512 || n % 512 || from + n > UINT64_MAX)
		return false;
	*start = from;
	*length = n;
	return true;
}

static void failed(const char *what, const char *line, size_t len)
{
	size_t i;

	if (failures++ >= FAILURES_SHOWN)
		return;
	printf("# case %ld: %s:", case_nr, what);
	for (i = 0; i < len; i++)
		printf(" %02x", (unsigned char)line[i]);
	printf("\n");
}

static void run_case(void)
{
	uint64_t start = 0, length = 0, right_start, right_length;
	char line[SIZE], *copy;
	bool right, is;
	size_t len;

	state = (run.seed + case_nr) * 0x9e3779b97f4a7c15ull | 1;
	draw(2);
	right_start = number();
	right_length = number();
	len = snprintf(line, sizeof(line), "%llu %llu\n",
		       (unsigned long long)right_start, (unsigned long long)right_length);
	right = right_length && right_start + right_length >= right_start;
	if (draw(5)) {
		do
			len = damage(line, len);
		while (!draw(3));
		right = expected(line, len, &right_start, &right_length);
	}
	/* Of its own size, so that a look behind its end is noticed. */
	copy = malloc(len ?: 1);
	memcpy(copy, line, len);
	is = range_of_line(copy, len, &start, &length);
	free(copy);
	*(is ? &accepted : &refused) += 1;
	if (is != right)
		failed(is ? "was accepted" : "was refused", line, len);
	else if (is && (start != right_start || length != right_length))
		failed("is another range", line, len);
}

static void died(void)
{
	printf("# case %ld (--case)\n", case_nr);
}

int main(int argc, char **argv)
{
	fuzz_begin(&run, argc, argv, died);
	if (regcomp(&form, "^[ \t]*([0-9]+)[ \t]+([0-9]+)[ \t]*\n?$", REG_EXTENDED))
		return 2;
	printf("TAP version 13\n1..1\n# seed %llu (fuzz-dump --seed)\n", run.seed);
	for (case_nr = 0; case_nr < run.cases; case_nr++)
		if (fuzz_wants(&run, case_nr))
			run_case();
	regfree(&form);
	printf("%sok 1 - %ld lines of dumps, %lu accepted, %lu refused\n",
	       failures ? "not " : "", run.cases, accepted, refused);
	return !!failures;
}
