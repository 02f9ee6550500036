/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A destination: a block device that a job writes to.
 *
 * What it promises
 *   It is open exclusively from bk_dest_open() until the last reference goes, or
 *   bk_dest_unclaim(): then it only is open, for somebody else to claim it. What of
 *   that may take long is done before, by bk_dest_share().
 *   Whatever may take as long as the device likes happens in the module's
 *   workqueue (opening, flushing, closing) or in its own (its writes, whose
 *   submit_bio() sleeps when the device's queue is full), never in the
 *   filter's: a destination that hangs holds up nobody but itself.
 *   A limited number of writes is in flight; urgent ones (guest-triggered) go
 *   before others.
 *   A flush that succeeds says that what was written before is durable. After
 *   bk_dest_probe() it also says that the device answers: one without a cache
 *   is never asked to flush, so a block is read, too.
 *
 * Users and closing
 *   The owner, each point in time on it and each write in flight is a user.
 *   When the last user goes it is closed, in the module's workqueue, and the
 *   owner is told, who keeps the struct itself until bk_dest_forget().
 *
 * Viewers
 *   Views read from it, whether it has an owner or not, and close it when they go.
 *   One that is viewed does not hang: it is no orphan.
 *
 * Orphaning
 *   An owner that does not want to wait for that any longer calls
 *   bk_dest_forget() early. From then on nobody is told of anything, and the
 *   last completion closes the device. A destination holds a reference on the
 *   module, so the module can't go before; its workqueue is flushed when it
 *   goes, so neither can the code of the closing.
 *
 * Locks and contexts
 *   lock      irq-safe spinlock: owner, the slots, the speed. Nothing is taken
 *             inside it. Held while work is queued to the owner's workqueue,
 *             so that after bk_dest_forget() nothing is queued there any more.
 *   Completions of writes call bk_dest_queue() from interrupts.
 */

#ifndef BK_DEST_H
#define BK_DEST_H

#include <linux/kref.h>
#include <linux/list.h>
#include <linux/refcount.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "compat.h"

/* Writes in flight on one destination. */
#define BK_DEST_DEPTH		64

/* Background writes in flight are bounded by this time at measured speed... */
#define BK_DEST_WINDOW_MS	100
/* ...but for this much, without which nothing could be measured. */
#define BK_DEST_WINDOW_MIN	SZ_1M

/**
 * struct bk_slot - a write's place among those in flight
 * @list:	while it waits for one
 * @work:	queued when it got one after waiting
 * @bytes:	size of the write
 * @written:	of that, what was sent as data, and succeeded
 * @urgent:	goes before those that are not
 */
struct bk_slot {
	struct list_head list;
	struct work_struct *work;
	unsigned int bytes;
	unsigned int written;
	bool urgent;
};

/**
 * struct bk_dest - a destination
 * @ref:	the owner's and, while it is not closed, the users'
 * @users:	see above; also while it is being opened or flushed
 * @viewers:	how many of them are views
 * @list:	on the list of all destinations
 * @dev:	device number; until it is open, by a path, under the lock of @list
 * @path:	to look @dev up by when it is opened, or NULL
 * @bdev:	the open device; @bdev.bdev is NULL before and after
 * @claim:	once it is shared, the opening that claims it, until that is let go of
 * @claims:	bk_bdev_claims() while that was the only claim
 * @work:	opens, flushes, shares or closes
 * @busy:	opening, flushing or sharing
 * @closed:	it is not open any more
 * @error:	of the last opening or flushing: 0 or a negative errno
 * @probe:	NULL, or where flushes read a block to: set while not busy
 * @io_wq:	its writes are submitted and end here; from opening to closing
 * @lock:	protects what follows
 * @wq:		the owner's workqueue; NULL: an orphan
 * @notify:	queued there when it has been opened, flushed or closed
 * @depth:	writes in flight
 * @bytes:	of the writes in flight and those waiting for a slot
 * @waiting:	slots to be given: [1] urgent, [0] the others
 * @busy_since:	when @depth became non-zero, ns
 * @busy_ns:	time with writes in flight since the speed was last computed
 * @done_bytes:	written in that time
 * @speed:	bytes per second; 0: not known yet
 */
struct bk_dest {
	struct kref ref;
	refcount_t users;
	atomic_t viewers;
	struct list_head list;
	dev_t dev;
	char *path;
	struct bk_bdev bdev;
	struct bk_bdev claim;
	int claims;
	struct work_struct work;
	bool busy;
	bool closed;
	int error;
	void *probe;
	struct workqueue_struct *io_wq;

	spinlock_t lock;	/* all that follows */
	struct workqueue_struct *wq;
	struct work_struct *notify;
	unsigned int depth;
	u64 bytes;
	struct list_head waiting[2];
	u64 busy_since;
	u64 busy_ns;
	u64 done_bytes;
	u64 speed;
};

struct bk_dest *bk_dest_open(const char *name, struct workqueue_struct *wq,
			     struct work_struct *notify);
int bk_dest_probe(struct bk_dest *dest);
void bk_dest_flush(struct bk_dest *dest);
void bk_dest_share(struct bk_dest *dest);
void bk_dest_unclaim(struct bk_dest *dest);
bool bk_dest_has_one_claim(struct bk_dest *dest);
bool bk_dest_wait(struct bk_dest *dest, unsigned long timeout);
bool bk_dest_busy(struct bk_dest *dest);
bool bk_dest_closed(struct bk_dest *dest);
void bk_dest_forget(struct bk_dest *dest);
void bk_dest_put(struct bk_dest *dest);
bool bk_dest_wait_closed(dev_t dev, unsigned long timeout);

static inline void bk_dest_get(struct bk_dest *dest)
{
	refcount_inc(&dest->users);
}

static inline bool bk_dest_is_viewed(const struct bk_dest *dest)
{
	return atomic_read(&dest->viewers);
}

/**
 * bk_dest_queue - run something in the destination's own workqueue
 * @dest:	the destination, with a user
 * @work:	what to run
 *
 * Context: any, interrupts included.
 */
static inline void bk_dest_queue(struct bk_dest *dest, struct work_struct *work)
{
	queue_work(dest->io_wq, work);
}

bool bk_dest_get_slot(struct bk_dest *dest, struct bk_slot *slot);
bool bk_dest_cancel_slot(struct bk_dest *dest, struct bk_slot *slot);
void bk_dest_put_slot(struct bk_dest *dest, struct bk_slot *slot);
void bk_dest_unlearn(struct bk_dest *dest);
bool bk_dest_has_room(struct bk_dest *dest, u64 coming);

int bk_dest_list_orphans(char *buf, size_t size);

#endif
