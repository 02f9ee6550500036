// SPDX-License-Identifier: GPL-2.0-only
/*
 * A destination. The contract is in dest.h.
 */

#include "dest.h"
#include "module.h"

#include <linux/kdev_t.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/wait.h>

/* All destinations, for those who want to see the orphans. */
static LIST_HEAD(bk_dests);
static DEFINE_SPINLOCK(bk_dests_lock);

/* Woken when one has been closed, or is not busy any more. */
static DECLARE_WAIT_QUEUE_HEAD(bk_dests_wait);

static int bk_orphans_show(char *buf, const struct kernel_param *kp)
{
	return bk_dest_list_orphans(buf, PAGE_SIZE);
}

static const struct kernel_param_ops bk_orphans_ops = {
	.get = bk_orphans_show,
};
module_param_cb(orphans, &bk_orphans_ops, NULL, 0444);
MODULE_PARM_DESC(orphans, "Destinations that were given up and hang (MAJ:MIN ...)");

/* Does nobody wait for it any more, and nobody view it? */
static bool bk_dest_is_orphan(struct bk_dest *dest)
{
	return !READ_ONCE(dest->wq) && !bk_dest_is_viewed(dest);
}

/**
 * bk_dest_list_orphans - name the destinations that nobody waits for any more
 * @buf:	where to
 * @size:	of @buf
 *
 * Context: process, may sleep. Return: length of the text, one line.
 */
int bk_dest_list_orphans(char *buf, size_t size)
{
	struct bk_dest *dest;
	int len = 0;

	spin_lock(&bk_dests_lock);
	list_for_each_entry(dest, &bk_dests, list)
		if (bk_dest_is_orphan(dest))
			len += scnprintf(buf + len, size - len, "%s%u:%u",
					 len ? " " : "", MAJOR(dest->dev),
					 MINOR(dest->dev));
	spin_unlock(&bk_dests_lock);
	len += scnprintf(buf + len, size - len, "\n");
	return len;
}

/* Tell the owner, if it still wants to know. */
static void bk_dest_notify(struct bk_dest *dest)
{
	unsigned long flags;

	spin_lock_irqsave(&dest->lock, flags);
	if (dest->wq)
		queue_work(dest->wq, dest->notify);
	spin_unlock_irqrestore(&dest->lock, flags);
}

/* Opening or flushing has ended. */
static void bk_dest_done(struct bk_dest *dest, int error)
{
	dest->error = error;
	/* pairs with smp_load_acquire() in bk_dest_busy() */
	smp_store_release(&dest->busy, false);
	wake_up_all(&bk_dests_wait);	/* bk_dest_wait() */
	bk_dest_notify(dest);
	bk_dest_put(dest);
}

/*
 * Is a destination of an earlier job, the same device, about to be closed? One that
 * was given up may be, too: its last write need not hang.
 */
static bool bk_dest_closing(dev_t dev)
{
	struct bk_dest *dest;
	bool closing = false;

	spin_lock(&bk_dests_lock);
	list_for_each_entry(dest, &bk_dests, list)
		closing |= dest->dev == dev && (!refcount_read(&dest->users) ||
						bk_dest_is_orphan(dest));
	spin_unlock(&bk_dests_lock);
	return closing;
}

static int bk_dest_try_open(struct bk_dest *dest)
{
	struct bk_bdev b;
	dev_t dev;
	int r;

	if (dest->path) {
		r = lookup_bdev(dest->path, &dev);
		if (r)
			return r;
		spin_lock(&bk_dests_lock);
		dest->dev = dev;
		spin_unlock(&bk_dests_lock);
	}
	/*
	 * Unbound: a guest's write never waits for this, only its budget. Made
	 * here and not by the owner, whose queue others may need to get on.
	 */
	dest->io_wq = alloc_workqueue("dm_backup_dest/%u:%u",
				      WQ_MEM_RECLAIM | WQ_UNBOUND, 0,
				      MAJOR(dest->dev), MINOR(dest->dev));
	if (!dest->io_wq)
		return -ENOMEM;
	do {
		r = bk_bdev_open(&b, dest->dev, dest);
	} while (r == -EBUSY && bk_dest_closing(dest->dev) &&
		 wait_event_timeout(bk_dests_wait,
				    !bk_dest_closing(dest->dev), HZ));
	if (r)
		return r;
	/* Not every kernel refuses to open a read-only device for writing. */
	if (bdev_read_only(b.bdev)) {
		bk_bdev_close(&b);
		return -EROFS;
	}
	/*
	 * What the page cache holds of it is written now, before we write, and
	 * dropped after, when it is flushed.
	 */
	sync_blockdev(b.bdev);
	dest->bdev = b;
	return 0;
}

static void bk_dest_open_work(struct work_struct *work)
{
	struct bk_dest *dest = container_of(work, struct bk_dest, work);
	unsigned int noio = memalloc_noio_save();
	int r = bk_dest_try_open(dest);

	memalloc_noio_restore(noio);
	bk_dest_done(dest, r);
}

/* Does it answer? Reads its first block; allocates nothing. */
static int bk_dest_read_probe(struct bk_dest *dest)
{
	unsigned int size = bdev_logical_block_size(dest->bdev.bdev);
	struct bio_vec vec;
	struct bio bio;
	int r;

	bio_init(&bio, dest->bdev.bdev, &vec, 1, REQ_OP_READ | REQ_SYNC);
	__bio_add_page(&bio, virt_to_page(dest->probe), size,
		       offset_in_page(dest->probe));
	r = submit_bio_wait(&bio);
	bio_uninit(&bio);
	return r;
}

static void bk_dest_flush_work(struct work_struct *work)
{
	struct bk_dest *dest = container_of(work, struct bk_dest, work);
	unsigned int noio = memalloc_noio_save();
	int r;

	r = blkdev_issue_flush(dest->bdev.bdev);
	if (!r && dest->probe)
		r = bk_dest_read_probe(dest);
	invalidate_bdev(dest->bdev.bdev);
	memalloc_noio_restore(noio);
	bk_dest_done(dest, r);
}

static void bk_dest_share_work(struct work_struct *work)
{
	struct bk_dest *dest = container_of(work, struct bk_dest, work);
	unsigned int noio = memalloc_noio_save();
	struct bk_bdev b;
	int r;

	r = bk_bdev_open(&b, dest->dev, NULL);
	if (!r) {
		dest->claims = bk_bdev_claims(b.bdev);
		/* Writes that are in flight, and views, use bdev: it stays. */
		bk_bdev_swap(&dest->bdev, &b);
		dest->claim = b;
	}
	memalloc_noio_restore(noio);
	bk_dest_done(dest, r);
}

static void bk_dest_free(struct kref *ref)
{
	struct bk_dest *dest = container_of(ref, struct bk_dest, ref);

	kfree(dest->probe);
	kfree(dest->path);
	kfree(dest);
}

/* Not from one of its own work items. */
static void bk_dest_close(struct bk_dest *dest)
{
	/* The last user's item may be about to return. */
	if (dest->io_wq)
		destroy_workqueue(dest->io_wq);
	bk_dest_unclaim(dest);
	if (dest->bdev.bdev) {
		invalidate_bdev(dest->bdev.bdev);
		bk_bdev_close(&dest->bdev);
	}
}

static void bk_dest_close_work(struct work_struct *work)
{
	struct bk_dest *dest = container_of(work, struct bk_dest, work);

	bk_dest_close(dest);
	spin_lock(&bk_dests_lock);
	list_del(&dest->list);
	spin_unlock(&bk_dests_lock);
	wake_up_all(&bk_dests_wait);

	/* pairs with smp_load_acquire() in bk_dest_closed() */
	smp_store_release(&dest->closed, true);
	bk_dest_notify(dest);
	kref_put(&dest->ref, bk_dest_free);
	/* bk_wq is flushed before the module goes: this code outlives this. */
	module_put(THIS_MODULE);
}

/* MAJ:MIN if that can be a device number; anything else is a path. */
static int bk_dest_name(struct bk_dest *dest, const char *name)
{
	unsigned int major, minor;
	char dummy;

	if (sscanf(name, "%u:%u%c", &major, &minor, &dummy) == 2) {
		dest->dev = MKDEV(major, minor);
		if (MAJOR(dest->dev) == major && MINOR(dest->dev) == minor)
			return 0;
	}
	dest->path = kstrdup(name, GFP_NOIO);
	return dest->path ? 0 : -ENOMEM;
}

/**
 * bk_dest_open - open a destination, asynchronously
 * @name:	MAJ:MIN, or a path
 * @wq:		the owner's workqueue
 * @notify:	queued there when it is open, or can't be (@error says which)
 *
 * Context: process, may sleep.
 * Return: the destination, busy, with the owner as a user; NULL if out of
 * memory.
 */
struct bk_dest *bk_dest_open(const char *name, struct workqueue_struct *wq,
			     struct work_struct *notify)
{
	struct bk_dest *dest = kzalloc(sizeof(*dest), GFP_NOIO);

	if (!dest)
		return NULL;
	if (bk_dest_name(dest, name)) {
		kfree(dest);
		return NULL;
	}
	__module_get(THIS_MODULE);
	kref_init(&dest->ref);
	kref_get(&dest->ref);	/* the users', dropped when it is closed */
	refcount_set(&dest->users, 2);	/* the owner, and the opening */
	spin_lock_init(&dest->lock);
	INIT_LIST_HEAD(&dest->waiting[0]);
	INIT_LIST_HEAD(&dest->waiting[1]);
	dest->wq = wq;
	dest->notify = notify;
	spin_lock(&bk_dests_lock);
	list_add_tail(&dest->list, &bk_dests);
	spin_unlock(&bk_dests_lock);

	dest->busy = true;
	INIT_WORK(&dest->work, bk_dest_open_work);
	queue_work(bk_wq, &dest->work);
	return dest;
}

/**
 * bk_dest_probe - flushes are to find out whether it answers, from now on
 * @dest:	the destination, open and not busy
 *
 * Context: process, may sleep. Return: 0 or -ENOMEM.
 */
int bk_dest_probe(struct bk_dest *dest)
{
	/* As large, so as aligned, as a block. */
	dest->probe = kmalloc(bdev_logical_block_size(dest->bdev.bdev),
			      GFP_NOIO);
	return dest->probe ? 0 : -ENOMEM;
}

/**
 * bk_dest_flush - make what was written durable, asynchronously
 * @dest:	the destination, open and not busy
 *
 * The owner is told when it is done; @error says how it went.
 */
void bk_dest_flush(struct bk_dest *dest)
{
	WRITE_ONCE(dest->busy, true);
	bk_dest_get(dest);	/* dropped by bk_dest_done() */
	INIT_WORK(&dest->work, bk_dest_flush_work);
	queue_work(bk_wq, &dest->work);
}

/**
 * bk_dest_share - open it without a claim, too, asynchronously
 * @dest:	the destination, open and not busy; once only
 *
 * The owner is told when it is done; @error says how it went.
 */
void bk_dest_share(struct bk_dest *dest)
{
	WRITE_ONCE(dest->busy, true);
	bk_dest_get(dest);	/* dropped by bk_dest_done() */
	INIT_WORK(&dest->work, bk_dest_share_work);
	queue_work(bk_wq, &dest->work);
}

/**
 * bk_dest_unclaim - let go of the claim, now
 * @dest:	the destination; nothing happens if it is not shared, or was unclaimed
 *
 * Context: process. It is open once more, so closing it here takes no time.
 */
void bk_dest_unclaim(struct bk_dest *dest)
{
	if (dest->claim.bdev)
		bk_bdev_close(&dest->claim);
}

/**
 * bk_dest_has_one_claim - has just one claimed it?
 * @dest:	the destination, unclaimed; whose claim it is the caller knows
 */
bool bk_dest_has_one_claim(struct bk_dest *dest)
{
	return bk_bdev_claims(dest->bdev.bdev) == dest->claims;
}

/**
 * bk_dest_wait - wait while it is busy
 * @dest:	the destination
 * @timeout:	in jiffies
 *
 * Context: process, sleeps. Return: false if it is busy still.
 */
bool bk_dest_wait(struct bk_dest *dest, unsigned long timeout)
{
	return wait_event_timeout(bk_dests_wait, !bk_dest_busy(dest), timeout);
}

/**
 * bk_dest_busy - is it still being opened, flushed or shared?
 * @dest:	the destination
 *
 * If not, its bdev and error may be read.
 */
bool bk_dest_busy(struct bk_dest *dest)
{
	/* pairs with smp_store_release() in bk_dest_done() */
	return smp_load_acquire(&dest->busy);
}

/**
 * bk_dest_closed - has the last user gone and the device been closed?
 * @dest:	the destination
 */
bool bk_dest_closed(struct bk_dest *dest)
{
	/* pairs with smp_store_release() in bk_dest_close_work() */
	return smp_load_acquire(&dest->closed);
}

/**
 * bk_dest_put - a user goes; the last one makes it be closed, asynchronously
 * @dest:	the destination
 *
 * Context: any.
 */
void bk_dest_put(struct bk_dest *dest)
{
	if (!refcount_dec_and_test(&dest->users))
		return;
	INIT_WORK(&dest->work, bk_dest_close_work);
	queue_work(bk_wq, &dest->work);
}

/**
 * bk_dest_forget - the owner lets go of the struct
 * @dest:	the destination; the owner is no user any more
 *
 * Unless it is closed, it is an orphan now: nothing is queued to the owner's
 * workqueue by it any more.
 *
 * Context: process.
 */
void bk_dest_forget(struct bk_dest *dest)
{
	spin_lock_irq(&dest->lock);
	dest->wq = NULL;
	spin_unlock_irq(&dest->lock);
	kref_put(&dest->ref, bk_dest_free);
}

/* Is any destination this device? */
static bool bk_dest_is_there(dev_t dev)
{
	struct bk_dest *dest;
	bool there = false;

	spin_lock(&bk_dests_lock);
	list_for_each_entry(dest, &bk_dests, list)
		there |= dest->dev == dev;
	spin_unlock(&bk_dests_lock);
	return there;
}

/**
 * bk_dest_wait_closed - wait until a device is closed
 * @dev:	the device, which nobody opens any more
 * @timeout:	in jiffies
 *
 * Context: process, sleeps. Return: whether it is.
 */
bool bk_dest_wait_closed(dev_t dev, unsigned long timeout)
{
	return wait_event_timeout(bk_dests_wait, !bk_dest_is_there(dev),
				  timeout);
}

/*----------------------------------------------------------------*/
/* Writes in flight. */

/* A write comes into flight; lock held. */
static void bk_dest_begin(struct bk_dest *dest)
{
	if (!dest->depth++)
		dest->busy_since = ktime_get_ns();
}

/*
 * A write has left; lock held. Speed counts only time with writes in flight. Zeroes
 * that were not sent say nothing of it, so time in which nothing else went doesn't
 * either: what comes next is not to find a window as wide as memory is fast.
 */
static void bk_dest_end(struct bk_dest *dest, unsigned int bytes)
{
	u64 now = ktime_get_ns();
	u64 speed;

	dest->busy_ns += now - dest->busy_since;
	dest->busy_since = now;
	dest->done_bytes += bytes;
	dest->depth--;

	/* The first figure is wanted soon, the others are to be steady. */
	if (dest->busy_ns < (dest->speed ? 100 : 10) * NSEC_PER_MSEC)
		return;
	speed = div64_u64(dest->done_bytes * (NSEC_PER_SEC / 1024),
			  dest->busy_ns) * 1024;
	if (dest->done_bytes)
		dest->speed = dest->speed ? (dest->speed + speed) / 2 : speed;
	dest->busy_ns = 0;
	dest->done_bytes = 0;
}

/**
 * bk_dest_get_slot - ask for a place among the writes in flight
 * @dest:	the destination
 * @slot:	bytes, urgent and work are set
 *
 * Context: process; does not sleep.
 * Return: true if the write may be submitted; false if @slot waits and its
 * work will be queued.
 */
bool bk_dest_get_slot(struct bk_dest *dest, struct bk_slot *slot)
{
	bool got;

	spin_lock_irq(&dest->lock);
	got = dest->depth < BK_DEST_DEPTH;
	dest->bytes += slot->bytes;
	if (got)
		bk_dest_begin(dest);
	else
		list_add_tail(&slot->list, &dest->waiting[slot->urgent]);
	spin_unlock_irq(&dest->lock);
	return got;
}

/**
 * bk_dest_cancel_slot - stop waiting for a place
 * @dest:	the destination
 * @slot:	a slot that may be waiting
 *
 * Return: true if it was: its work will not be queued.
 */
bool bk_dest_cancel_slot(struct bk_dest *dest, struct bk_slot *slot)
{
	bool waiting;

	spin_lock_irq(&dest->lock);
	waiting = !list_empty(&slot->list);
	if (waiting) {
		list_del_init(&slot->list);
		dest->bytes -= slot->bytes;
	}
	spin_unlock_irq(&dest->lock);
	return waiting;
}

/**
 * bk_dest_put_slot - give a place back, to the next who waits
 * @dest:	the destination
 * @slot:	the slot
 *
 * Context: process; does not sleep.
 */
void bk_dest_put_slot(struct bk_dest *dest, struct bk_slot *slot)
{
	struct bk_slot *next = NULL;
	int urgent;

	spin_lock_irq(&dest->lock);
	dest->bytes -= slot->bytes;
	bk_dest_end(dest, slot->written);
	for (urgent = 1; urgent >= 0 && !next; urgent--)
		next = list_first_entry_or_null(&dest->waiting[urgent],
						struct bk_slot, list);
	if (next) {
		list_del_init(&next->list);
		bk_dest_begin(dest);
		bk_dest_queue(dest, next->work);
	}
	spin_unlock_irq(&dest->lock);
}

/**
 * bk_dest_unlearn - what was written so far is not to tell how fast it is
 * @dest:	the destination
 */
void bk_dest_unlearn(struct bk_dest *dest)
{
	spin_lock_irq(&dest->lock);
	dest->speed = 0;
	dest->busy_ns = 0;
	dest->done_bytes = 0;
	spin_unlock_irq(&dest->lock);
}

/**
 * bk_dest_has_room - may background copies be started towards it?
 * @dest:	the destination
 * @coming:	bytes that are on their way but have no slot yet
 *
 * What is in flight, from whomever, is bounded by the time the device needs
 * for it: a guest-triggered write never finds a long queue before it.
 */
bool bk_dest_has_room(struct bk_dest *dest, u64 coming)
{
	bool room;
	u64 window;

	spin_lock_irq(&dest->lock);
	window = max_t(u64, div_u64(dest->speed * BK_DEST_WINDOW_MS,
				    MSEC_PER_SEC),
		       BK_DEST_WINDOW_MIN);
	room = list_empty(&dest->waiting[1]) && dest->bytes + coming < window;
	spin_unlock_irq(&dest->lock);
	return room;
}
