// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fleecing. The contract is in fleece.h.
 */

#include "fleece.h"
#include "op.h"
#include "reader.h"

#include <linux/vmalloc.h>

/**
 * bk_fleece_init - give a new point in time a fleece device
 * @pit:	the point in time
 * @dest:	the device, open
 *
 * Context: process, may sleep. Return: 0 or -ENOMEM.
 */
int bk_fleece_init(struct bk_pit *pit, struct bk_dest *dest)
{
	struct bk_fleece *fleece = &pit->fleece;

	fleece->map = bk_map_alloc(pit->clusters, false);
	if (!fleece->map)
		return -ENOMEM;
	fleece->can_discard = bdev_max_discard_sectors(dest->bdev.bdev);
	fleece->dest = dest;
	bk_dest_get(dest);
	return 0;
}

/**
 * bk_fleece_exit - the point in time goes
 * @pit:	the point in time; nobody else has it any more
 */
void bk_fleece_exit(struct bk_pit *pit)
{
	if (pit->fleece.dest)
		bk_dest_put(pit->fleece.dest);
	vfree(pit->fleece.map);
}

/**
 * bk_fleece_retire - let go of the fleece device
 * @pit:	the point in time, stopped
 *
 * Whoever uses the device has become a user of it under a bucket's lock, having
 * found the point in time not stopped: bk_pit_stop() has been through all of
 * them since. So nobody finds it here any more.
 */
void bk_fleece_retire(struct bk_pit *pit)
{
	struct bk_dest *dest = pit->fleece.dest;

	pit->fleece.dest = NULL;
	if (dest)
		bk_dest_put(dest);
}

/**
 * bk_fleece_get - become a user of the fleece device
 * @pit:	the point in time
 *
 * Context: process; does not sleep. Return: the device, or NULL if there is none, or
 * none any more.
 */
struct bk_dest *bk_fleece_get(struct bk_pit *pit)
{
	struct bk_bucket *bucket = &pit->buckets[0];	/* any */
	struct bk_dest *dest = NULL;

	spin_lock(&bucket->lock);
	if (pit->fleece.map && !bk_pit_is_stopped(pit))
		dest = pit->fleece.dest;
	if (dest)
		bk_dest_get(dest);
	spin_unlock(&bucket->lock);
	return dest;
}

/*----------------------------------------------------------------*/
/* How much is on it */

/**
 * bk_fleece_charge - something is about to be written to the fleece device
 * @pit:	the point in time
 * @sectors:	how much
 */
void bk_fleece_charge(struct bk_pit *pit, unsigned int sectors)
{
	struct bk_fleece *fleece = &pit->fleece;

	spin_lock(&pit->lock);
	fleece->used += sectors;
	fleece->peak = max(fleece->peak, fleece->used);
	spin_unlock(&pit->lock);
}

/**
 * bk_fleece_uncharge - it is not there any more, or was not written
 * @pit:	the point in time
 * @sectors:	how much
 */
void bk_fleece_uncharge(struct bk_pit *pit, u64 sectors)
{
	spin_lock(&pit->lock);
	pit->fleece.used -= sectors;
	spin_unlock(&pit->lock);
}

/**
 * bk_fleece_usage - how much is on it?
 * @pit:	the point in time
 * @used:	set to sectors
 * @peak:	the most that this has been
 */
void bk_fleece_usage(struct bk_pit *pit, u64 *used, u64 *peak)
{
	spin_lock(&pit->lock);
	*used = pit->fleece.used;
	*peak = pit->fleece.peak;
	spin_unlock(&pit->lock);
}

/*----------------------------------------------------------------*/
/* Clusters */

/**
 * bk_fleece_next - what is to be moved next?
 * @pit:	the point in time
 * @end:	set to the end of the run, exclusive
 *
 * Context: the copy queue. Return: its first cluster; if there is none, the number
 * of clusters.
 */
unsigned long bk_fleece_next(struct bk_pit *pit, unsigned long *end)
{
	struct bk_fleece *fleece = &pit->fleece;
	unsigned long first;

	/* The map may be long, and there is nothing on it most of the time. */
	if (!fleece->map || !atomic_long_read(&fleece->waiting))
		return pit->clusters;
	first = bk_map_next_run(fleece->map, pit->claimed, fleece->cursor,
				pit->clusters, end);
	if (first >= pit->clusters && fleece->cursor)
		first = bk_map_next_run(fleece->map, pit->claimed, 0,
					pit->clusters, end);
	return first;
}

/**
 * bk_fleece_drop - a view is done with clusters: they need not be moved
 * @pit:	the point in time; the lock of the bucket of all of them is held
 * @first:	first cluster
 * @end:	end, exclusive
 *
 * What is being moved stays.
 *
 * Return: how many sectors were dropped.
 */
u64 bk_fleece_drop(struct bk_pit *pit, unsigned long first, unsigned long end)
{
	struct bk_fleece *fleece = &pit->fleece;
	unsigned long run_end;
	u64 sectors = 0;

	if (!fleece->map)
		return 0;
	for (;; first = run_end) {
		first = bk_map_next_run(fleece->map, pit->claimed, first, end,
					&run_end);
		if (first >= end)
			break;
		bk_map_clear(fleece->map, first, run_end);
		atomic_long_sub(run_end - first, &fleece->waiting);
		atomic_long_sub(run_end - first, &pit->todo);
		sectors += bk_pit_sectors(pit, first, run_end);
	}
	if (sectors)
		bk_fleece_uncharge(pit, sectors);
	return sectors;
}

/*----------------------------------------------------------------*/
/* Moves */

/**
 * bk_fleece_take - what is on the fleece device is about to be moved
 * @op:		the move; its clusters are set, and their bucket's lock is held
 */
void bk_fleece_take(struct bk_op *op)
{
	struct bk_fleece *fleece = &op->pit->fleece;

	atomic_long_sub(op->nr, &fleece->waiting);
	op->fleece = fleece->dest;
	bk_dest_get(op->fleece);	/* until bk_op_finish() */
	bk_read_from(&op->read, op->fleece);
}

static void bk_op_gave_back(struct bk_write *write)
{
	struct bk_op *op = container_of(write, struct bk_op, write);

	bk_fleece_uncharge(op->pit, bk_op_sectors(op));
	bk_op_finish(op);
}

/**
 * bk_op_give_back - give the space of what was moved back
 * @op:		a move that has ended; it is in no bucket, and its clusters are saved
 *
 * Who still reads them from the fleece device is waited for. If the point in time is
 * given up there is no need any more.
 *
 * Context: process; does not sleep. @op may have ended when this returns.
 */
void bk_op_give_back(struct bk_op *op)
{
	struct bk_write *write = &op->write;
	struct bk_pit *pit = op->pit;

	bk_read_drop(&op->read);	/* nobody else uses a move's buffer */
	if (bk_op_wait_moved(op))
		return;			/* bk_pit_unread() comes back */
	if (!pit->fleece.can_discard || !bk_pit_is_readable(pit)) {
		bk_op_gave_back(write);
		return;
	}
	bk_write_init(write, op->fleece, false, bk_op_gave_back);
	write->discard = true;
	write->sector = bk_op_sector(op);
	write->sectors = bk_op_sectors(op);
	write->pos = 0;
	bk_write_start(write);
}
