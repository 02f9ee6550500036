/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A pivot: another device takes the origin's place, under the table that is live.
 *
 * What it promises
 *   The live table owns the new origin as it owned the old one: opened and
 *   claimed in dm's name by dm_get_device(), shown by STATUSTYPE_TABLE and
 *   iterate_devices. So a table over the new origin can be loaded at once, which
 *   is what is expected to follow. Until then the table keeps the old origin open,
 *   as reads may be in flight there, and one over that is refused.
 *   A write is sent to the device that in->dev named while it was counted, so
 *   none goes to the old origin once the gate has been opened again. A read that
 *   is under way may go to either: it began before any write could end on the new.
 *
 * Steps, which are its user's (mirror.c)
 *   1. the device is shared (dest.h), nobody else has claimed it;
 *   2. bk_pivot_claim();
 *   3. under bk_cut_mutex, live_lock and origin->lock: bk_pivot_obstacle(), and the
 *      filter is occupied from here on (origin.h): no table is loaded meanwhile;
 *   4. with the gate closed, and the device the same as the origin, durably:
 *      bk_pivot_record(), so that the metadata device knows of it, durably, too;
 *      bk_pivot_exchange();
 *   or bk_pivot_unclaim(). bk_pivot_prepare() comes before 3, as it allocates;
 *   bk_pivot_finish() ends what that began.
 *   Between 2 and 3 may be any time, if the job is paused or can't be ended: a table
 *   that is loaded meanwhile claims the device as well, bk_pivot_follow().
 *
 * Locks
 *   live_lock: in->next, in->left, and in->dev for who writes it. The live table
 *   neither stops nor goes while it is held. Other filters' tables, which may not
 *   stand on the same device, read next and dev under bk_cut_mutex (order no. 38).
 */

#ifndef BK_PIVOT_H
#define BK_PIVOT_H

#include "job.h"
#include "origin.h"

struct bk_dest;
struct bk_store_req;

/**
 * struct bk_pivot - what the metadata device is told of one
 * @origin:	the filter
 * @there:	that it stands on the new origin, or NULL
 * @back:	that it stands on the old one after all
 * @ready:	all of this is known
 */
struct bk_pivot {
	struct bk_origin *origin;
	struct bk_store_req *there;
	struct bk_store_req *back;
	bool ready;
};

void bk_pivot_prepare(struct bk_pivot *p, struct bk_origin *origin,
		      struct block_device *bdev);
int bk_pivot_record(struct bk_pivot *p, unsigned long end);
void bk_pivot_take_back(struct bk_pivot *p);
void bk_pivot_finish(struct bk_pivot *p);

int bk_pivot_claim(struct bk_job *job, struct bk_dest *dest, const char **why);
int bk_pivot_follow(struct bk_instance *in);
void bk_pivot_unclaim(struct bk_origin *origin);
bool bk_pivot_is_claimed(struct bk_origin *origin, struct bk_dest *dest);
const char *bk_pivot_objection(struct bk_origin *origin, struct bk_job *job);
const char *bk_pivot_obstacle(struct bk_origin *origin, struct bk_job *job);
void bk_pivot_exchange(struct bk_origin *origin);

#endif
