/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Kinds of characters. The kernel's letters are those of Latin-1, so code that
 * wants ASCII must say so; the C library's would hide it if it did not.
 */

#ifndef SHIM_LINUX_CTYPE_H
#define SHIM_LINUX_CTYPE_H

#include <linux/types.h>

static inline bool shim_isdigit(int c)
{
	return c >= '0' && c <= '9';
}

static inline bool shim_isalpha(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= 0xc0 && c != 0xd7 && c != 0xf7);
}

#define isascii(c)	((unsigned char)(c) < 0x80)
#define isdigit(c)	shim_isdigit(c)
#define isalpha(c)	shim_isalpha(c)
#define isalnum(c)	(shim_isalpha(c) || shim_isdigit((unsigned char)(c)))

#endif
