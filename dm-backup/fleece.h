/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Fleecing: a fast device that a point in time has beside its destination.
 *
 * What it promises
 *   Copies that guests' writes cause are written there. So they hold memory, and the
 *   byte budget, for as long as the fleece device takes, however slow the destination
 *   is. The background moves them on to the destination: they are read from the fleece
 *   device, written, and then their space is given back by a discard, if the device can
 *   do that.
 *   A cluster is on the fleece device until it is on the destination. It is discarded
 *   when those have ended who read it there.
 *   What can't be written to the fleece device, as it is full or fails, goes to the
 *   destination at once, as if there were none: nobody waits longer for that than
 *   without.
 *
 * States of a cluster
 *   A third map, fleeced: it is on the fleece device, and not on the destination. See
 *   cow.h. Moves are ops of the background.
 *
 * The device
 *   Is a bk_dest of the job's. The point in time is a user of it until
 *   bk_fleece_retire(), each op that reads or writes it and each view's read are users
 *   as well: it is closed when the job ends, though a view may keep the point in time.
 *
 * Locks: the map and what it says: bucket->lock; see pit.h.
 */

#ifndef BK_FLEECE_H
#define BK_FLEECE_H

#include <linux/atomic.h>
#include <linux/types.h>

struct bk_bucket;
struct bk_dest;
struct bk_op;
struct bk_pit;

/**
 * struct bk_fleece - a point in time's fleece device
 * @map:	fleeced clusters; NULL: there is no such device
 * @dest:	the device; NULL when it has been let go of
 * @waiting:	fleeced clusters that are not being moved
 * @cursor:	where the next one to be moved is looked for; the copy queue's
 * @can_discard: it gives space back
 * @used:	sectors that are on it, or being written; pit->lock
 * @peak:	the most that this has been; pit->lock
 */
struct bk_fleece {
	unsigned long *map;
	struct bk_dest *dest;
	atomic_long_t waiting;
	unsigned long cursor;
	bool can_discard;
	u64 used;
	u64 peak;
};

int bk_fleece_init(struct bk_pit *pit, struct bk_dest *dest);
void bk_fleece_exit(struct bk_pit *pit);
void bk_fleece_retire(struct bk_pit *pit);
struct bk_dest *bk_fleece_get(struct bk_pit *pit);
void bk_fleece_usage(struct bk_pit *pit, u64 *used, u64 *peak);

unsigned long bk_fleece_next(struct bk_pit *pit, unsigned long *end);
u64 bk_fleece_drop(struct bk_pit *pit, unsigned long first, unsigned long end);
void bk_fleece_charge(struct bk_pit *pit, unsigned int sectors);
void bk_fleece_uncharge(struct bk_pit *pit, u64 sectors);

void bk_fleece_take(struct bk_op *op);
void bk_op_give_back(struct bk_op *op);

#endif
