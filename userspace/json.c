// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: JSON. The contract is in json.h.
 */

#include "json.h"

#include <stdio.h>

void json_string(const char *text)
{
	const unsigned char *p;

	putchar('"');
	for (p = (const unsigned char *)text; *p; p++) {
		if (*p < ' ') {
			printf("\\u%04x", *p);
			continue;
		}
		if (*p == '"' || *p == '\\')
			putchar('\\');
		putchar(*p);
	}
	putchar('"');
}
