// SPDX-License-Identifier: GPL-2.0-only
/*
 * A filter's own I/O to its origin: when it may start. The contract is in origin.h.
 */

#include "origin-int.h"

/**
 * bk_origin_io_begin - may I/O to the origin start?
 * @origin:	the filter
 * @d:		what to queue when it may, if it may not now; work and wq are
 *		set; NULL: nothing
 *
 * Context: process; does not sleep.
 * Return: the device, until bk_origin_io_end(); NULL if @d waits, which it may
 * do already; ERR_PTR(-ENODEV) if it would wait for ever.
 */
struct block_device *bk_origin_io_begin(struct bk_origin *origin,
					struct bk_deferred *d)
{
	struct block_device *bdev;

	spin_lock_irq(&origin->io_lock);
	bdev = origin->io_bdev;
	if (likely(bdev))
		origin->io_count++;
	else if (origin->io_closed)
		bdev = ERR_PTR(-ENODEV);
	else if (d && list_empty(&d->list))
		list_add_tail(&d->list, &origin->io_deferred);
	spin_unlock_irq(&origin->io_lock);
	return bdev;
}

/**
 * bk_origin_io_end - I/O to the origin has ended
 * @origin:	the filter
 *
 * Context: any, interrupts included.
 */
void bk_origin_io_end(struct bk_origin *origin)
{
	unsigned long flags;

	spin_lock_irqsave(&origin->io_lock, flags);
	if (!--origin->io_count && unlikely(!origin->io_bdev))
		wake_up(&origin->io_wait);
	spin_unlock_irqrestore(&origin->io_lock, flags);
}

/**
 * bk_origin_io_cancel - stop waiting for the origin
 * @origin:	the filter
 * @d:		what may be waiting; its list head is initialised
 *
 * Return: true if it was waiting: its work will not be queued.
 */
bool bk_origin_io_cancel(struct bk_origin *origin, struct bk_deferred *d)
{
	bool waiting;

	spin_lock_irq(&origin->io_lock);
	waiting = !list_empty(&d->list);
	if (waiting)
		list_del_init(&d->list);
	spin_unlock_irq(&origin->io_lock);
	return waiting;
}

/* Queue all that waits for I/O; io_lock is held. */
static void bk_origin_io_requeue(struct bk_origin *origin)
{
	struct bk_deferred *d, *next;

	list_for_each_entry_safe(d, next, &origin->io_deferred, list) {
		list_del_init(&d->list);
		queue_work(d->wq, d->work);
	}
}

/**
 * bk_origin_io_give_up - what waits for a point in time's sake looks again
 * @origin:	the filter
 * @pit:	the point in time
 *
 * Context: process; does not sleep.
 */
void bk_origin_io_give_up(struct bk_origin *origin, const struct bk_pit *pit)
{
	struct bk_deferred *d, *next;

	spin_lock_irq(&origin->io_lock);
	list_for_each_entry_safe(d, next, &origin->io_deferred, list) {
		if (d->pit != pit)
			continue;
		list_del_init(&d->list);
		queue_work(d->wq, d->work);
	}
	spin_unlock_irq(&origin->io_lock);
}

/**
 * bk_origin_io_open - I/O to the origin may start
 * @origin:	the filter
 * @bdev:	its device, until bk_origin_io_stop()
 */
void bk_origin_io_open(struct bk_origin *origin, struct block_device *bdev)
{
	spin_lock_irq(&origin->io_lock);
	origin->io_bdev = bdev;
	bk_origin_io_requeue(origin);
	spin_unlock_irq(&origin->io_lock);
}

/**
 * bk_origin_io_stop - no I/O to the origin starts any more; wait for what is in flight
 * @origin:	the filter
 *
 * Context: process. Sleeps.
 */
void bk_origin_io_stop(struct bk_origin *origin)
{
	spin_lock_irq(&origin->io_lock);
	origin->io_bdev = NULL;
	wait_event_lock_irq(origin->io_wait, !origin->io_count,
			    origin->io_lock);
	spin_unlock_irq(&origin->io_lock);
}

/**
 * bk_origin_io_close - there will be no more I/O: what waits for it ends
 * @origin:	the filter, whose last table is gone
 */
void bk_origin_io_close(struct bk_origin *origin)
{
	spin_lock_irq(&origin->io_lock);
	WRITE_ONCE(origin->io_closed, true);
	bk_origin_io_requeue(origin);
	spin_unlock_irq(&origin->io_lock);
}
