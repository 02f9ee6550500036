/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: reading and writing metadata devices, or files with an image of one.
 *
 * Devices are read and written around the page cache: the kernel's filter does
 * so too, and while it has one open nothing would drop what is cached of it. So
 * offsets, sizes and buffers are to be aligned to 4 KiB.
 */

#ifndef METADATA_DEVICE_H
#define METADATA_DEVICE_H

#include "device.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One that was found; open while @fd is not -1. */
struct meta {
	struct device d;	/* of a file: what its file system is on */
	bool is_file;
	bool busy;		/* somebody else uses it */
	int fd;
};

/* A device, or the path of a file. 0, or an exit code after saying why not. */
int meta_find(const char *arg, struct meta *m);

/* A device that has been found already. */
void meta_init(struct meta *m, const struct device *d);

/*
 * Nobody else has a device open then, nor can. @flags: O_RDONLY or O_RDWR. 0, or
 * an exit code after saying why not.
 */
int meta_open_unused(struct meta *m, int flags);

/* For looking at it, even if it is in use, which is said. The same. */
int meta_open_anyhow(struct meta *m);

/* Also if it is not open. */
void meta_close(struct meta *m);

/* @offset, @size: bytes. False, and zeroes, if not all of it can be read. */
bool meta_read(const struct meta *m, uint64_t offset, void *buf, size_t size);

/* 0, or an exit code after saying why. */
int meta_write(const struct meta *m, uint64_t offset, const void *buf,
	       size_t size);

/* What was written is durable after it. The same. */
int meta_sync(const struct meta *m);

#endif
