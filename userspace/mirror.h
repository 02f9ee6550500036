/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: starts of mirrors, by themselves or with others.
 */

#ifndef MIRROR_H
#define MIRROR_H

#include "device.h"
#include "dmbackup.h"

/* What a start says after id and target. To be freed; NULL after saying why not. */
char *mirror_words(const struct options *o);

/*
 * 0, or an exit code after saying why @to can't be written; it may be @larger or
 * must have the same length.
 */
int mirror_check_target(const struct device *d, const struct device *to,
			const struct options *o, bool larger);

#endif
