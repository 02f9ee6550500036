/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: a line of what "bitmap dump" writes, as "bitmap load" reads it.
 */

#ifndef RANGE_LINE_H
#define RANGE_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Is it "START LENGTH", bytes in multiples of 512, and not empty? There may be more
 * blanks, and the line's end. @line has @len bytes, whatever they are. Fills in
 * @start and @length if so; their sum is no more than 64 bits have.
 */
bool range_of_line(const char *line, size_t len, uint64_t *start,
		   uint64_t *length);

#endif
