// SPDX-License-Identifier: GPL-2.0-only
/*
 * Writing to the metadata device, and what happens when that fails. The contract
 * is in store.h.
 */

#include "store-int.h"
#include "dest.h"
#include "origin.h"
#include "trust.h"

#include <linux/slab.h>
#include <linux/vmalloc.h>

/* When a record is tried again that must not fail (on_metadata_error=hold). */
#define BK_STORE_RETRY_MS	500

/*----------------------------------------------------------------*/
/* Lifetime, and what the worker may ask of the filter */

void bk_store_free(struct kref *ref)
{
	struct bk_store *store = container_of(ref, struct bk_store, ref);
	unsigned int i;

	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		bk_bits_put(store->slot[i].bits[0]);
		bk_bits_put(store->slot[i].bits[1]);
		kvfree(store->slot[i].counts);
	}
	kvfree(store->hot);
	kvfree(store->wanted);
	kvfree(store->wanted_blocks);
	kvfree(store->second_hot);
	kvfree(store->disk_hot);
	kvfree(store->cooling);
	kvfree(store->old);
	vfree(store->buf);
	kfree(store->tmp);
	if (store->dest) {
		bk_dest_put(store->dest);
		bk_dest_forget(store->dest);
	}
	cancel_work_sync(&store->notify);	/* nobody queues it any more */
	kvfree(store);
}

/**
 * bk_store_put - drop a reference
 * @store:	the store
 *
 * Context: process; may sleep if it is the last.
 */
void bk_store_put(struct bk_store *store)
{
	kref_put(&store->ref, bk_store_free);
}

/**
 * bk_store_kick - let the worker look for something to do
 * @store:	the store
 *
 * Context: any but interrupts; does not sleep.
 */
void bk_store_kick(struct bk_store *store)
{
	kref_get(&store->ref);	/* dropped by bk_store_work() */
	if (!queue_work(store->dest->io_wq, &store->work))
		bk_store_put(store);	/* not the last: its caller has one */
}

/**
 * bk_store_origin - the filter, with a reference, if it is still there
 * @store:	the store
 *
 * Return: NULL if it has gone.
 */
struct bk_origin *bk_store_origin(struct bk_store *store)
{
	struct bk_origin *origin;

	spin_lock(&store->lock);
	origin = store->origin;
	if (origin)
		bk_origin_get(origin);
	spin_unlock(&store->lock);
	return origin;
}

/**
 * bk_store_release - writes that waited for their regions look again
 * @store:	the store
 */
void bk_store_release(struct bk_store *store)
{
	/* Under the lock: its workqueues exist for as long as it is there. */
	spin_lock(&store->lock);
	if (store->origin)
		store->origin->ops->heated(store->origin);
	spin_unlock(&store->lock);
}

/*----------------------------------------------------------------*/
/* Failing */

/**
 * bk_store_fail - nothing waits for the device any more, nor trusts it
 * @store:	the store
 *
 * The bitmaps learn of it in the filter's own work item, which may sleep.
 *
 * Context: process; does not sleep.
 */
void bk_store_fail(struct bk_store *store)
{
	/* A full barrier: before those who wait look again. */
	if (xchg(&store->failed, true))
		return;
	WRITE_ONCE(store->want_since, 0);
	WRITE_ONCE(store->heat_since, 0);
	bk_store_release(store);
	spin_lock(&store->lock);
	if (store->origin)
		queue_work(store->origin->wait_wq, &store->origin->distrust);
	spin_unlock(&store->lock);
}

/**
 * bk_store_is_late - has the device had enough time for a record?
 * @since:	jiffies | 1 since when; 0: it has none to write
 */
bool bk_store_is_late(unsigned long since)
{
	return since && time_after(jiffies, since +
				   msecs_to_jiffies(BK_STORE_LATE_MS));
}

/**
 * bk_store_late - called while writes wait: has the device had enough time?
 * @origin:	the filter
 * @hurry:	also if on_metadata_error=hold: it is being suspended
 *
 * Context: process; does not sleep.
 */
void bk_store_late(struct bk_origin *origin, bool hurry)
{
	struct bk_store *store = origin->store;

	if (!store || (store->hold && !hurry))
		return;
	if (bk_store_is_late(READ_ONCE(store->want_since)) ||
	    bk_store_is_late(READ_ONCE(store->heat_since)))
		bk_store_fail(store);
}

/**
 * bk_store_retry - let the worker come again in a while
 * @store:	the store
 */
void bk_store_retry(struct bk_store *store)
{
	spin_lock(&store->lock);
	if (store->origin)
		mod_delayed_work(store->origin->wait_wq, &store->tick,
				 msecs_to_jiffies(BK_STORE_RETRY_MS));
	spin_unlock(&store->lock);
}

/*----------------------------------------------------------------*/
/* Writing */

static int bk_store_io(struct bk_store *store, blk_opf_t flags, u64 block,
		       unsigned int nr)
{
	int r;

	/* Once failed only the mark that says so may follow. */
	if (READ_ONCE(store->failed) && !store->root.broken)
		return -EIO;
	WRITE_ONCE(store->io_since, jiffies | 1);
	r = bk_block_io(&store->io, store->dest->bdev.bdev, REQ_OP_WRITE |
			REQ_FUA | REQ_SYNC | REQ_META | flags,
			block * BK_MD_SECTORS, store->buf, nr * BK_MD_BLOCK);
	WRITE_ONCE(store->io_since, 0);
	WRITE_ONCE(store->erring, r);
	return r ? -EIO : 0;	/* whatever it was: others mean answers */
}

/**
 * bk_store_write - write two copies, the second one when the first is durable
 * @store:	the store
 * @where:	their first blocks
 * @nr:		blocks of the buffer, made for the copy that is not the newer one
 * @newer:	which copy is; that one is overwritten last, and as soon as the
 *		other one is durable it is the other
 * @flags:	more of the first write
 * @durable:	called then, or NULL
 *
 * After a crash, or an error, the copies may differ. Whoever goes on from there
 * has to know which one is to be kept until the other is good.
 *
 * Context: the worker. Return: 0 or -EIO.
 */
int bk_store_write(struct bk_store *store, const u64 where[2], unsigned int nr,
		   unsigned int *newer, blk_opf_t flags,
		   void (*durable)(struct bk_store *store))
{
	unsigned int first = !*newer, i;
	int r;

	r = bk_store_io(store, flags, where[first], nr);
	if (r)
		return r;
	*newer = first;
	if (durable)
		durable(store);
	for (i = 0; i < nr; i++)
		bk_md_move(bk_store_block(store, i), where[!first] + i);
	return bk_store_io(store, 0, where[!first], nr);
}

/**
 * bk_store_write_root - write the root: changes of bitmaps take effect
 * @store:	the store
 *
 * Context: the worker. Return: 0 or -EIO.
 */
int bk_store_write_root(struct bk_store *store)
{
	const u64 where[2] = { bk_md_root_block(0), bk_md_root_block(1) };

	store->root.seq = ++store->seq;
	bk_md_root_encode(&store->root, !store->root_newer, store->buf);
	return bk_store_write(store, where, BK_MD_ROOT_BLOCKS,
			      &store->root_newer, REQ_PREFLUSH, NULL);
}

/**
 * bk_store_write_lease - write down that the filter is there, and what it saw
 * @store:	the store
 *
 * Context: the worker. Return: 0 or -EIO.
 */
int bk_store_write_lease(struct bk_store *store)
{
	const u64 where[2] = { bk_md_lease_block(0), bk_md_lease_block(1) };

	spin_lock(&store->lock);
	store->lease.witness = store->witness;
	WRITE_ONCE(store->lease_due, false);
	spin_unlock(&store->lock);
	store->lease.seq = ++store->seq;
	store->lease.time = ktime_get_real_seconds();
	memcpy(store->lease.session, bk_trust_session, BK_MD_UUID);
	bk_md_lease_encode(&store->root, &store->lease, !store->lease_newer,
			   store->buf);
	return bk_store_write(store, where, 1, &store->lease_newer, 0, NULL);
}

/**
 * bk_store_mark_broken - write down that nothing there is to be trusted
 * @store:	the store
 *
 * Tried again by whoever calls it again.
 *
 * Context: the worker.
 */
void bk_store_mark_broken(struct bk_store *store)
{
	if (store->root.broken || (store->read_only && !store->begun))
		return;
	store->root.broken = true;
	if (bk_store_write_root(store))
		store->root.broken = false;
}
