// SPDX-License-Identifier: GPL-2.0-only
/*
 * The object of one filter. The contract is in origin.h.
 */

#include "origin-int.h"
#include "module.h"

#include <linux/slab.h>

/* See the order of locks in origin.h. */
DEFINE_MUTEX(bk_cut_mutex);

/* All filters; bk_cut_mutex. */
static LIST_HEAD(bk_origins);

/**
 * bk_origin_disturbed - something was written that the filter has not seen
 * @in:		the instance that is about to go live
 * @cause:	how, in words
 *
 * No job goes on, and no bitmap is trusted.
 *
 * Context: dm's preresume hook: process, under suspend_lock; no bio is in the
 * filter. Sleeps.
 */
void bk_origin_disturbed(struct bk_instance *in, const char *cause)
{
	struct bk_origin *origin = in->origin;

	bk_origin_lock_cut(origin);
	mutex_lock(&origin->lock);
	origin->ops->reset(origin, cause, true);
	mutex_unlock(&origin->lock);
	mutex_unlock(&bk_cut_mutex);
}

/**
 * bk_origin_adopt - an instance is about to go live: is it what jobs are for?
 * @in:		the instance
 *
 * Jobs that began after its table was loaded were made for the table that was
 * live then. If that was another origin, or another length, they end here, and so do
 * bitmaps; not if somebody has said that the other origin is the same.
 *
 * Context: dm's preresume hook: process, under suspend_lock; no bio is in the
 * filter. Sleeps.
 */
void bk_origin_adopt(struct bk_instance *in)
{
	dev_t dev = in->dev->bdev->bd_dev;
	struct bk_origin *origin = in->origin;
	bool same = in->ti->len == origin->len, foreign = in->foreign;
	bool moved = dev != origin->dev;

	in->foreign = false;
	mutex_lock(&origin->lock);
	foreign |= moved && dev != origin->same;
	WRITE_ONCE(origin->same, 0);
	mutex_unlock(&origin->lock);
	same &= !foreign;
	if (same && !moved)
		return;
	/* No cut is to install what was prepared before. */
	bk_origin_lock_cut(origin);
	mutex_lock(&origin->lock);
	if (!same)
		origin->ops->reset(origin, moved ?
				   "the device has another origin now" :
				   foreign ? "the filter's table was replaced" :
				   "the length of the device has changed",
				   foreign);
	if (in->ti->len != origin->len)
		origin->ops->resized(origin, in->ti->len);
	WRITE_ONCE(origin->len, in->ti->len);
	origin->dev = dev;
	mutex_unlock(&origin->lock);
	mutex_unlock(&bk_cut_mutex);
}

/**
 * bk_origin_resume - an instance goes live
 * @in:		the instance
 *
 * Context: dm's resume hook: process, under suspend_lock. May sleep.
 */
void bk_origin_resume(struct bk_instance *in)
{
	struct bk_origin *origin = in->origin;

	WRITE_ONCE(in->resumed, true);
	origin->cbw_timeout = in->cbw_timeout;
	bk_pool_set_limit(&origin->pool, in->budget);

	mutex_lock(&origin->live_lock);
	origin->live = in;
	/* Not later: a pivot exchanges both. */
	bk_origin_io_open(origin, in->dev->bdev);
	mutex_unlock(&origin->live_lock);
	queue_work(origin->wait_wq, &origin->event_work);
}

/**
 * bk_origin_quiesce - the live instance is no longer
 * @in:		the instance
 *
 * Waits for own I/O in flight on the origin; none starts until the next
 * bk_origin_resume(). Its device may be closed after that.
 *
 * Context: dm's postsuspend hook: process, under suspend_lock. Sleeps.
 */
void bk_origin_quiesce(struct bk_instance *in)
{
	struct bk_origin *origin = in->origin;

	mutex_lock(&origin->live_lock);
	if (origin->live == in)
		origin->live = NULL;
	mutex_unlock(&origin->live_lock);

	bk_origin_io_stop(origin);
}

/*----------------------------------------------------------------*/
/* Registry and lifetime */

static void bk_origin_release(struct kref *ref)
{
	struct bk_origin *origin = container_of(ref, struct bk_origin, ref);
	struct bk_event *e, *next;

	list_for_each_entry_safe(e, next, &origin->events, list)
		kfree(e);
	/* What an orphan gave back since bk_pool_exit(). */
	bk_pool_trim(&origin->pool);
	kfree(origin);
}

/**
 * bk_origin_put - drop a reference
 * @origin:	the filter
 *
 * Context: any that may free memory. The last one only frees memory.
 */
void bk_origin_put(struct bk_origin *origin)
{
	kref_put(&origin->ref, bk_origin_release);
}

static void bk_origin_destroy_wqs(struct bk_origin *origin)
{
	if (origin->wait_wq)
		destroy_workqueue(origin->wait_wq);
	if (origin->copy_wq)
		destroy_workqueue(origin->copy_wq);
	if (origin->cow_wq)
		destroy_workqueue(origin->cow_wq);
}

/*
 * Each filter has workqueues, so rescuers, of its own: filters may be stacked,
 * and one that waits for a lower one must not keep that from its rescuer.
 */
static int bk_origin_make_wqs(struct bk_origin *origin)
{
	/* Bound: a held bio is mostly released on the CPU that sent it. */
	origin->cow_wq = alloc_workqueue("dm_backup_cow/%s",
					 WQ_MEM_RECLAIM | WQ_HIGHPRI, 0,
					 origin->name);
	origin->copy_wq = alloc_workqueue("dm_backup_copy/%s",
					  WQ_MEM_RECLAIM | WQ_UNBOUND, 0,
					  origin->name);
	origin->wait_wq = alloc_workqueue("dm_backup_wait/%s",
					  WQ_MEM_RECLAIM | WQ_UNBOUND, 0,
					  origin->name);
	if (origin->cow_wq && origin->copy_wq && origin->wait_wq)
		return 0;
	bk_origin_destroy_wqs(origin);
	return -ENOMEM;
}

static struct bk_origin *bk_origin_create(struct bk_instance *in,
					  const struct bk_origin_ops *ops)
{
	struct mapped_device *md = dm_table_get_md(in->ti->table);
	struct bk_origin *origin = kzalloc(sizeof(*origin), GFP_KERNEL);

	if (!origin)
		return NULL;
	kref_init(&origin->ref);
	origin->md = md;
	strscpy(origin->name, dm_table_device_name(in->ti->table),
		sizeof(origin->name));
	origin->len = in->ti->len;
	origin->dev = in->dev->bdev->bd_dev;
	origin->ops = ops;
	origin->loading = true;
	INIT_LIST_HEAD(&origin->instances);
	INIT_LIST_HEAD(&origin->jobs);
	INIT_LIST_HEAD(&origin->bitmaps);
	init_waitqueue_head(&origin->jobs_wait);
	INIT_LIST_HEAD(&origin->io_deferred);
	INIT_LIST_HEAD(&origin->events);
	INIT_WORK(&origin->event_work, bk_origin_event_work);
	mutex_init(&origin->lock);
	mutex_init(&origin->live_lock);
	spin_lock_init(&origin->io_lock);
	spin_lock_init(&origin->event_lock);
	init_waitqueue_head(&origin->io_wait);
	if (bk_origin_make_wqs(origin))
		goto out_free;
	if (bk_gate_init(&origin->gate, &ops->gate, origin->cow_wq,
			 origin->wait_wq))
		goto out_wqs;
	bk_pool_init(&origin->pool, origin->cow_wq, ops->kick);
	ops->init(origin);
	return origin;

out_wqs:
	bk_origin_destroy_wqs(origin);
out_free:
	kfree(origin);
	return NULL;
}

/* Undo bk_origin_create(): nothing goes on in it, and nobody finds it. */
static void bk_origin_discard(struct bk_origin *origin)
{
	/* Their items queue each other's, and events: in this order. */
	flush_workqueue(origin->cow_wq);
	flush_workqueue(origin->copy_wq);
	spin_lock(&origin->event_lock);
	origin->mute = true;
	spin_unlock(&origin->event_lock);
	cancel_work_sync(&origin->event_work);
	bk_pool_exit(&origin->pool);
	bk_gate_exit(&origin->gate);
	bk_origin_destroy_wqs(origin);
	bk_origin_put(origin);
}

/* Does @in stand on @bdev, or will it once a mirror has ended? Under bk_cut_mutex. */
static bool bk_instance_has(struct bk_instance *in, struct block_device *bdev)
{
	/*
	 * Its filter may be occupied by a pivot. Pairs with the release in
	 * bk_pivot_exchange(): who finds no next one any more finds it in dev.
	 */
	struct dm_dev *next = smp_load_acquire(&in->next);

	return READ_ONCE(in->dev)->bdev == bdev || (next && next->bdev == bdev);
}

/* Is @in's device under another filter, or is it that filter itself? */
static bool bk_origin_is_taken(struct bk_instance *in, const char **error)
{
	struct mapped_device *md = dm_table_get_md(in->ti->table);
	struct bk_instance *other;
	struct bk_origin *origin;

	if (in->dev->bdev->bd_dev == disk_devt(dm_disk(md))) {
		*error = "Origin is the filter itself";
		return true;
	}
	list_for_each_entry(origin, &bk_origins, registry) {
		if (origin->md == md)
			continue;
		list_for_each_entry(other, &origin->instances, list)
			if (bk_instance_has(other, in->dev->bdev)) {
				*error = "Origin is under another backup filter";
				return true;
			}
	}
	return false;
}

static struct bk_origin *bk_origin_of(struct mapped_device *md)
{
	struct bk_origin *origin;

	list_for_each_entry(origin, &bk_origins, registry)
		if (origin->md == md)
			return origin;
	return NULL;
}

/**
 * bk_origin_find - find a filter by its device number
 * @name:	MAJ:MIN
 * @len:	characters of it
 *
 * Context: process; bk_cut_mutex is held, and keeps it in the registry.
 * Return: the filter, or NULL.
 */
struct bk_origin *bk_origin_find(const char *name, size_t len)
{
	struct bk_origin *origin;

	lockdep_assert_held(&bk_cut_mutex);
	list_for_each_entry(origin, &bk_origins, registry)
		if (strlen(origin->name) == len &&
		    !strncmp(origin->name, name, len))
			return origin;
	return NULL;
}

/**
 * bk_origin_await - wait until a filter is not occupied
 * @origin:	the filter; bk_cut_mutex is held, and let go of while it waits
 *
 * Context: process, sleeps for a bounded time.
 * Return: true if it has waited: what was found under the mutex may be different by
 * now, and the filter may have gone. Else its locks are free, or soon will be, while
 * the mutex is held.
 */
bool bk_origin_await(struct bk_origin *origin)
{
	lockdep_assert_held(&bk_cut_mutex);
	if (!READ_ONCE(origin->occupied))
		return false;
	bk_origin_get(origin);
	mutex_unlock(&bk_cut_mutex);
	wait_event(origin->jobs_wait, !READ_ONCE(origin->occupied));
	bk_origin_put(origin);
	mutex_lock(&bk_cut_mutex);
	return true;
}

/**
 * bk_origin_lock_cut - take bk_cut_mutex, to take locks of a filter inside it
 * @origin:	the filter; the caller has a reference on its memory
 *
 * Context: process, sleeps for a bounded time.
 */
void bk_origin_lock_cut(struct bk_origin *origin)
{
	mutex_lock(&bk_cut_mutex);
	while (bk_origin_await(origin))
		;
}

/**
 * bk_origin_occupy - the filter's locks will be held for longer than a moment
 * @origin:	the filter, not occupied; bk_cut_mutex is held, and those locks are or
 *		will be taken before it is let go of
 */
void bk_origin_occupy(struct bk_origin *origin)
{
	lockdep_assert_held(&bk_cut_mutex);
	WRITE_ONCE(origin->occupied, true);
}

/**
 * bk_origin_vacate - and have been given back
 * @origin:	the filter
 *
 * Context: process; does not sleep. The caller has a reference on its memory.
 */
void bk_origin_vacate(struct bk_origin *origin)
{
	/* What was done under the locks comes with them. */
	WRITE_ONCE(origin->occupied, false);
	wake_up_all(&origin->jobs_wait);
}

/**
 * bk_origin_use - keep a filter from being shut down for a moment
 * @origin:	the filter
 *
 * For who looks at its bitmaps, or waits for its metadata device, and is not a
 * message to it. Its removal waits for that.
 *
 * Context: process, sleeps. Return: false if it is going away already.
 */
bool bk_origin_use(struct bk_origin *origin)
{
	bool there;

	mutex_lock(&bk_cut_mutex);
	there = !origin->dead;
	if (there)
		atomic_inc(&origin->users);
	mutex_unlock(&bk_cut_mutex);
	return there;
}

/**
 * bk_origin_unuse - end that
 * @origin:	the filter; the caller has a reference on its memory
 */
void bk_origin_unuse(struct bk_origin *origin)
{
	if (atomic_dec_and_test(&origin->users))
		wake_up_all(&origin->jobs_wait);
}

/*
 * Is another table than ours live in the device? The device is not suspended, ours
 * was live once, and is not now: it is about to be destroyed.
 */
static bool bk_origin_is_bypassed(struct bk_origin *origin,
				  struct bk_instance *in)
{
	struct bk_instance *other;
	bool resumed = false, live;

	list_for_each_entry(other, &origin->instances, list)
		resumed |= READ_ONCE(other->resumed);
	mutex_lock(&origin->live_lock);
	live = origin->live;
	mutex_unlock(&origin->live_lock);
	return resumed && !live && !dm_suspended(in->ti);
}

/* May a table over @bdev be loaded, as far as pivots are concerned? */
static const char *bk_origin_pivots(struct bk_origin *origin,
				    struct block_device *bdev)
{
	struct dm_dev *claimed = NULL;
	struct bk_instance *other;

	list_for_each_entry(other, &origin->instances, list) {
		if (other->left && other->left->bdev == bdev)
			return "Origin was left by a pivot: it has old data";
		claimed = other->next ?: claimed;
	}
	if (claimed && claimed->bdev == bdev)
		return "Origin is a mirror's destination";
	if (claimed && origin->ops->completing(origin))
		return "A mirror is about to take the origin's place: wait for that, or pause it";
	return NULL;
}

/* May @in take its place beside the instances that are there? */
static const char *bk_origin_mismatch(struct bk_origin *origin,
				      struct bk_instance *in)
{
	const char *error = bk_origin_pivots(origin, in->dev->bdev);
	dev_t dev = in->dev->bdev->bd_dev;

	if (error)
		return error;
	if (!origin->ops->has_jobs(origin))
		return NULL;
	if (in->ti->len != origin->len)
		return "Length can't change while jobs exist";
	/* If the same is not said any more when it goes live they end there. */
	if (dev != origin->dev && dev != READ_ONCE(origin->same))
		return "Origin can't change while jobs exist";
	return NULL;
}

/*
 * Put @in into its filter, under bk_cut_mutex. @spare: what to be if there is
 * none, or NULL to find that out. -ENOENT: there is none.
 */
static int bk_origin_enter(struct bk_instance *in, struct bk_origin *spare,
			   const char **error)
{
	struct bk_origin *origin;

	/* One that is occupied may have another origin afterwards. */
	do {
		origin = bk_origin_of(dm_table_get_md(in->ti->table));
	} while (origin && bk_origin_await(origin));
	if (bk_origin_is_taken(in, error))
		return -EBUSY;
	if (origin) {
		*error = bk_origin_mismatch(origin, in);
		if (*error)
			return -EBUSY;
		in->foreign = bk_origin_is_bypassed(origin, in);
		bk_origin_get(origin);
	} else if (spare) {
		origin = spare;
		list_add_tail(&origin->registry, &bk_origins);
	} else {
		return -ENOENT;
	}
	in->origin = origin;
	list_add_tail(&in->list, &origin->instances);
	return 0;
}

static int bk_origin_try_enter(struct bk_instance *in, struct bk_origin *spare,
			       const char **error)
{
	int r;

	mutex_lock(&bk_cut_mutex);
	r = bk_origin_enter(in, spare, error);
	mutex_unlock(&bk_cut_mutex);
	return r;
}

/**
 * bk_origin_attach - find or make the filter object of a new instance
 * @in:		the instance; ti and dev are set
 * @ops:	for a new filter
 *
 * Context: dm's ctr: process, under type_lock, which keeps others from making
 * one for the same device. Sleeps.
 * Return: 0 and in->origin set; else a negative errno and ti->error set.
 */
int bk_origin_attach(struct bk_instance *in, const struct bk_origin_ops *ops)
{
	const char *error = "Out of memory";
	struct bk_origin *spare;
	int r;

	r = bk_origin_try_enter(in, NULL, &error);
	if (r == -ENOENT) {
		/*
		 * Made with no lock held: a transaction may want the mutex
		 * with file systems frozen, for which allocating may wait.
		 */
		spare = bk_origin_create(in, ops);
		r = spare ? bk_origin_try_enter(in, spare, &error) : -ENOMEM;
		if (spare && r)
			bk_origin_discard(spare);
	}
	if (r)
		in->ti->error = (char *)error;
	return r;
}

/**
 * bk_origin_pass - a table of the filter's twin is loaded in the filter's device
 * @md:		the device; maybe it has no filter
 * @bdev:	what the table is over
 * @error:	set to a sentence if that must not be
 *
 * While it is there no pivot is made: it would bring the old origin back.
 *
 * Context: dm's ctr: process, under type_lock. Sleeps for a bounded time.
 * Return: NULL: there is no filter; the filter, until bk_origin_unpass(); or
 * ERR_PTR(-EBUSY).
 */
struct bk_origin *bk_origin_pass(struct mapped_device *md,
				 struct block_device *bdev, const char **error)
{
	struct bk_origin *origin;

	mutex_lock(&bk_cut_mutex);
	do {
		origin = bk_origin_of(md);
	} while (origin && bk_origin_await(origin));
	*error = origin ? bk_origin_pivots(origin, bdev) : NULL;
	if (*error) {
		origin = ERR_PTR(-EBUSY);
	} else if (origin) {
		bk_origin_get(origin);
		origin->passes++;
	}
	mutex_unlock(&bk_cut_mutex);
	return origin;
}

/**
 * bk_origin_unpass - that table goes
 * @origin:	what bk_origin_pass() has returned, or NULL; it may be gone but for its
 *		memory
 *
 * Context: dm's dtr.
 */
void bk_origin_unpass(struct bk_origin *origin)
{
	if (!origin)
		return;
	mutex_lock(&bk_cut_mutex);
	origin->passes--;
	mutex_unlock(&bk_cut_mutex);
	bk_origin_put(origin);
}

/**
 * bk_origin_is_new - has a filter one instance only?
 * @in:		the instance
 *
 * Context: dm's ctr.
 */
bool bk_origin_is_new(struct bk_instance *in)
{
	bool is_new;

	mutex_lock(&bk_cut_mutex);
	is_new = list_is_singular(&in->origin->instances);
	mutex_unlock(&bk_cut_mutex);
	return is_new;
}

/**
 * bk_origin_loaded - all is there that was kept: who finds the filter may use it
 * @origin:	the filter
 *
 * Context: dm's ctr.
 */
void bk_origin_loaded(struct bk_origin *origin)
{
	mutex_lock(&bk_cut_mutex);
	origin->loading = false;
	mutex_unlock(&bk_cut_mutex);
}

/**
 * bk_origin_is_removed - is it the whole device that goes, not only its table?
 * @origin:	the filter
 *
 * Context: dm's postsuspend and dtr.
 */
bool bk_origin_is_removed(struct bk_origin *origin)
{
	struct mapped_device *md = dm_get_md(disk_devt(dm_disk(origin->md)));

	if (md)
		dm_put(md);
	return !md;
}

/* Nobody finds it any more and no bio is in flight: end what goes on in it. */
static void bk_origin_shutdown(struct bk_instance *in)
{
	struct bk_origin *origin = in->origin;

	/* Who waits for something of a transaction looks whether we are dead. */
	wake_up_all(&origin->jobs_wait);
	wait_event_idle(origin->jobs_wait, !atomic_read(&origin->users));
	origin->ops->shutdown(in);

	/*
	 * Ops that were stopped may have a read yet that waits for the origin
	 * or for memory. Those that have not looked find it closed; once they
	 * have all run, the others wait where they can be found.
	 */
	bk_origin_io_close(origin);
	flush_workqueue(origin->cow_wq);
	flush_workqueue(origin->copy_wq);
	bk_pool_turn_out(&origin->pool);
	bk_origin_discard(origin);
}

/*
 * A table of ours has gone that was live. If none of those that stay has been
 * live, another than ours may be in its place.
 */
static void bk_origin_left(struct bk_origin *origin)
{
	struct bk_instance *in;

	list_for_each_entry(in, &origin->instances, list)
		if (READ_ONCE(in->resumed))
			return;
	mutex_lock(&origin->lock);
	origin->ops->reset(origin, "the filter's table was replaced", true);
	mutex_unlock(&origin->lock);
}

/**
 * bk_origin_detach - an instance goes away, and the filter with the last one
 * @in:		the instance; quiesced if it ever was live
 *
 * Context: dm's dtr: process. Sleeps, but waits for no destination.
 */
void bk_origin_detach(struct bk_instance *in)
{
	struct bk_origin *origin = in->origin;
	bool last;

	bk_origin_lock_cut(origin);
	list_del(&in->list);
	last = list_empty(&origin->instances);
	if (last) {
		list_del(&origin->registry);
		origin->dead = true;
	} else if (in->resumed) {
		bk_origin_left(origin);
	}
	mutex_unlock(&bk_cut_mutex);

	if (last)
		bk_origin_shutdown(in);
	else
		bk_origin_put(origin);
}
