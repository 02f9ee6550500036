/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * io_uring, one write at a time, by its system calls: it is the only way to
 * direct writes of a block device that the kernel first tries without waiting
 * (and, unless RWF_NOWAIT is given, then makes in a thread that may wait).
 *
 * A ring is one thread's.
 */

#ifndef URING_H
#define URING_H

#include <stddef.h>
#include <sys/types.h>

struct uring;

/* NULL and errno: the kernel has none. */
struct uring *uring_create(void);

/* Writes and waits for the end. @flags are RWF_*. How much, or -errno. */
ssize_t uring_write(struct uring *ring, int fd, const void *buf, size_t len,
		    off_t at, int flags);

#endif
