/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the program build/quick and bash's builtin have in common: runs one command,
 * which is not to exit, leak or leave a file open. Returns its status.
 */
#ifndef QUICK_H
#define QUICK_H

#include <stdbool.h>
#include <stdio.h>

struct dm_ioctl;

int quick(FILE *out, int argc, char **argv);
int quick_dmsetup(int argc, char **argv);

/*
 * Sends what is at @payload to a device, as so many specifications of targets. The
 * answer is *@reply, to be freed. It is asked for again if it did not fit; only
 * what changes nothing answers at length.
 */
int quick_dm(unsigned long cmd, const char *name, unsigned int flags, unsigned int targets,
	     const void *payload, size_t length, struct dm_ioctl **reply);

#endif
