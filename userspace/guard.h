/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: the guard, a child that finishes what a killed parent began.
 *
 * Swapping a table is one ioctl, which the kernel finishes or undoes. Between
 * two of them a device must not stay as it is: so before the first, a child is
 * forked into its own session, locked in memory, with all it needs. If the
 * parent dies before guard_end(), it resumes the device if it is suspended, and
 * calls @finish, which must leave things as they were or as they were to be.
 */

#ifndef GUARD_H
#define GUARD_H

#include <stdbool.h>

struct guard {
	int fd;
	int pid;
};

/*
 * Signals wait until guard_end(). Was there one that asks to end, Ctrl-C for one?
 * Then it has been heeded.
 */
bool guard_interrupted(void);

int guard_begin(struct guard *g, const char *name,
		void (*finish)(void *ctx), void *ctx);
void guard_end(struct guard *g);

#endif
