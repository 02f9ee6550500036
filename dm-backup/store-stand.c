// SPDX-License-Identifier: GPL-2.0-only
/*
 * A pivot of a filter with a metadata device: which device it stands on. The
 * contract is in store.h.
 */

#include "store-int.h"
#include "origin.h"
#include "trust.h"

/**
 * bk_store_stand_prepare - something to ask for later
 * @origin:	the filter
 *
 * Context: process, sleeps. Return: a request; NULL if there is nothing to be told.
 */
struct bk_store_req *bk_store_stand_prepare(struct bk_origin *origin)
{
	return origin->store ? bk_store_req_alloc(BK_STORE_STAND, 0) : NULL;
}

/**
 * bk_store_stand_on - and which device that will be about
 * @req:	what was prepared, or NULL
 * @bdev:	the device
 *
 * Context: process, sleeps; allocates nothing.
 */
void bk_store_stand_on(struct bk_store_req *req, struct block_device *bdev)
{
	if (req)
		bk_trust_name(bdev, req->below);
}

/**
 * bk_store_stand_back - it stays where it is, after all
 * @origin:	the filter
 * @back:	prepared for that, or NULL
 *
 * Nothing waits for it: until the disk has it the bitmaps are not believed after a
 * crash.
 *
 * Context: process; does not sleep.
 */
void bk_store_stand_back(struct bk_origin *origin, struct bk_store_req *back)
{
	if (back)
		bk_store_ask(origin->store, back);
}

/* Does it answer? If not, nobody waits for that with the gate closed. */
static bool bk_store_answers(struct bk_store *store)
{
	return !READ_ONCE(store->erring) &&
	       !bk_store_is_late(READ_ONCE(store->io_since));
}

/**
 * bk_store_stand - the filter is about to stand on another device
 * @origin:	the filter, live; its gate is closed
 * @there:	prepared for that device, or NULL
 * @back:	and for the one that it stands on; asked for if this fails
 * @end:	jiffies by which it has to be done
 *
 * Whichever is on disk, the other device can't be taken for it. What has failed is
 * not to be believed in any case, and not written to. One that has not answered for
 * BK_STORE_LATE_MS, though no write may have waited for it, has failed, or is
 * not asked (on_metadata_error=hold): else each try would hold up writes.
 *
 * Context: process, sleeps; allocates nothing.
 * Return: 0 when the disk has it; -ETIMEDOUT.
 */
int bk_store_stand(struct bk_origin *origin, struct bk_store_req *there,
		   struct bk_store_req *back, unsigned long end)
{
	struct bk_store *store = origin->store;

	if (!there || !READ_ONCE(store->live))
		return 0;
	if (!bk_store_answers(store)) {
		if (store->hold)
			return -ETIMEDOUT;
		bk_store_fail(store);
	}
	if (READ_ONCE(store->failed))
		return 0;
	bk_store_ask(store, there);
	if (!bk_store_wait(there, max_t(long, end - jiffies, 1)))
		return 0;
	/* It may be done yet: after it, this is. */
	bk_store_stand_back(origin, back);
	return -ETIMEDOUT;
}
