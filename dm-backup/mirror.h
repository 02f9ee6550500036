/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The job that keeps a destination the same as the origin, until it is told to
 * end. Policy only: copying is mirror-copy.c's, states are job.c's.
 *
 * Its life
 *   prepare   open the destination, check it, set up what copies
 *   install   its bits go into the cfg that the cut publishes: from then on every
 *             write marks them when it has ended, those that were in flight at
 *             the cut, too. Nothing is looked at before
 *   copy      while anything is dirty; when nothing is it looks again in a while
 *   is_ready  nothing was dirty for a moment, and the destination was flushed
 *             after that
 *   finish    when what is dirty is little: flush the destination, so that the
 *             next flush finds little to do. Close the gate, wait for writes in
 *             flight, copy the rest: the destination is the origin as of now.
 *             If that takes more than BK_MIRROR_CLOSED_MS the gate is opened and
 *             it is tried again later. A soft cancel then starts no more copies,
 *             opens the gate, flushes origin and destination
 *   release   take the bits out and close the destination
 */

#ifndef BK_MIRROR_H
#define BK_MIRROR_H

#include "job.h"

/* Writes wait at most that long for a mirror's end. */
#define BK_MIRROR_CLOSED_MS	2000

struct bk_txn_part;

struct bk_job *bk_mirror_create(struct bk_txn_part *part, const char *id,
				unsigned int argc, char **argv, bool *freeze,
				char *error, size_t size);

#endif
