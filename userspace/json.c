// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: JSON. The contract is in json.h.
 */

#include "json.h"
#include "dmbackup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* U+FFFD, for a byte that is not text: names of devices may have any. */
#define UNKNOWN "\xef\xbf\xbd"

/* How long the UTF-8 sequence at @p is; 0: it is none. */
static unsigned int sequence(const unsigned char *p)
{
	unsigned int i, n = *p < 0x80 ? 1 : *p < 0xc2 ? 0 : *p < 0xe0 ? 2 :
			    *p < 0xf0 ? 3 : *p < 0xf5 ? 4 : 0;

	for (i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* Too long for what it says, a surrogate, or beyond the last. */
	if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
	    (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

char *json_clean(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	char *clean = xcalloc(strlen(text) + 1, strlen(UNKNOWN)), *to = clean;
	unsigned int n;

	while (*p) {
		n = sequence(p);
		to = mempcpy(to, n ? (const char *)p : UNKNOWN,
			     n ? n : strlen(UNKNOWN));
		p += n ? n : 1;
	}
	return clean;
}

void json_string(const char *text)
{
	char *clean = json_clean(text);
	const unsigned char *p;

	putchar('"');
	for (p = (const unsigned char *)clean; *p; p++) {
		if (*p < ' ') {
			printf("\\u%04x", *p);
			continue;
		}
		if (*p == '"' || *p == '\\')
			putchar('\\');
		putchar(*p);
	}
	putchar('"');
	free(clean);
}
