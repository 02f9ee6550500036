// SPDX-License-Identifier: GPL-2.0-only
/*
 * Named dirty bitmaps. The contract is in bitmap.h.
 */

#include "bitmap.h"
#include "cfg.h"
#include "module.h"
#include "store.h"

#include <linux/ctype.h>
#include <linux/log2.h>
#include <linux/sched.h>
#include <linux/slab.h>

__printf(4, 5)
static int bk_bitmap_refuse(char *error, size_t size, int err,
			    const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vscnprintf(error, size, fmt, args);
	va_end(args);
	return err;
}

/**
 * bk_bitmap_find - find a bitmap by its name
 * @origin:	the filter; its lock is held
 * @name:	the name
 *
 * Return: the bitmap, or NULL.
 */
struct bk_bitmap *bk_bitmap_find(struct bk_origin *origin, const char *name)
{
	struct bk_bitmap *bitmap;

	lockdep_assert_held(&origin->lock);
	list_for_each_entry(bitmap, &origin->bitmaps, list)
		if (!strcmp(bitmap->name, name))
			return bitmap;
	return NULL;
}

/**
 * bk_bitmap_usable - find a bitmap that is neither busy nor inconsistent
 * @origin:	the filter; its lock is held
 * @name:	the name
 * @err:	set to a negative errno on failure
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Return: the bitmap, or NULL.
 */
struct bk_bitmap *bk_bitmap_usable(struct bk_origin *origin, const char *name,
				   int *err, char *error, size_t size)
{
	struct bk_bitmap *bitmap = bk_bitmap_find(origin, name);

	if (!bitmap) {
		*err = bk_bitmap_refuse(error, size, -ENOENT,
					"there is no bitmap '%.64s'", name);
		return NULL;
	}
	if (bitmap->busy[0]) {
		*err = bk_bitmap_refuse(error, size, -EBUSY,
					"bitmap '%.64s' is in use by job '%.64s'",
					name, bitmap->busy);
		return NULL;
	}
	if (bitmap->why[0]) {
		*err = bk_bitmap_refuse(error, size, -EUCLEAN,
					"bitmap '%.64s' is inconsistent and can only be removed: %.80s",
					name, bitmap->why);
		return NULL;
	}
	if (bk_store_is_stopped(origin, bitmap->slot)) {
		*err = bk_bitmap_refuse(error, size, -EBUSY,
					"bitmap '%.64s' can't be changed while the filter is suspended or read-only",
					name);
		return NULL;
	}
	if (bk_store_is_pending(origin, bitmap->slot)) {
		*err = bk_bitmap_refuse(error, size, -EBUSY,
					"the last change of bitmap '%.64s' is not on the metadata device yet",
					name);
		return NULL;
	}
	return bitmap;
}

/**
 * bk_bitmap_free - free a bitmap that is on no list
 * @bitmap:	the bitmap
 *
 * Context: process, may sleep.
 */
void bk_bitmap_free(struct bk_bitmap *bitmap)
{
	bk_bits_put(bitmap->bits);
	bk_bits_put(bitmap->next);
	kfree(bitmap);
}

/**
 * bk_bitmap_check_name - can a bitmap have this name?
 * @name:	the name
 * @error:	filled with a sentence if not
 * @size:	of @error
 *
 * Return: 0 or -EINVAL.
 */
int bk_bitmap_check_name(const char *name, char *error, size_t size)
{
	size_t i, len = strlen(name);
	bool ok = len && len < BK_BITMAP_NAME_SIZE;

	/* Not what the parser takes out, and not what stands for none. */
	ok = ok && strncmp(name, "token=", 6) && strcmp(name, "-");
	for (i = 0; ok && i < len; i++)
		ok = isascii(name[i]) && (isalnum(name[i]) ||
					  strchr("#+-.:=@_", name[i]));
	if (ok)
		return 0;
	return bk_bitmap_refuse(error, size, -EINVAL,
				"'%.64s' is no name of a bitmap: letters, digits and #+-.:=@_, at most %d",
				name, BK_BITMAP_NAME_SIZE - 1);
}

/**
 * bk_bitmap_create - make a bitmap, on no list
 * @name:	its name, checked
 * @bits:	its bits; takes over the reference
 *
 * Context: process, may sleep. Return: the bitmap, or NULL.
 */
struct bk_bitmap *bk_bitmap_create(const char *name, struct bk_bits *bits)
{
	struct bk_bitmap *bitmap = kzalloc(sizeof(*bitmap), GFP_KERNEL);

	if (!bitmap)
		return NULL;
	INIT_LIST_HEAD(&bitmap->list);
	strscpy(bitmap->name, name, sizeof(bitmap->name));
	bitmap->bits = bits;
	bitmap->hidden = true;
	bitmap->slot = -1;
	return bitmap;
}

/*----------------------------------------------------------------*/
/* Queries */

/**
 * bk_bitmap_next - go through the bitmaps that somebody may be told of
 * @origin:	the filter; its lock is held
 * @bitmap:	the one before, or NULL for the first
 *
 * Return: the next one, or NULL.
 */
struct bk_bitmap *bk_bitmap_next(struct bk_origin *origin,
				 struct bk_bitmap *bitmap)
{
	bitmap = bitmap ? list_next_entry(bitmap, list) :
			  list_first_entry(&origin->bitmaps, struct bk_bitmap,
					   list);
	list_for_each_entry_from(bitmap, &origin->bitmaps, list)
		if (!bitmap->hidden)
			return bitmap;
	return NULL;
}

/* Of which bits is told: those that are the user's. */
static const char *bk_bitmap_flags(struct bk_bitmap *bitmap, char *buf,
				   size_t size)
{
	snprintf(buf, size, "%s%s%s%s", bitmap->recording ? ",recording" : "",
		 bitmap->slot >= 0 ? ",persistent" : "", bitmap->busy[0] ? ",busy" : "",
		 bitmap->why[0] ? ",inconsistent" : "");
	return buf[0] ? buf + 1 : "-";
}

/**
 * bk_bitmap_status - the bitmap's group in the status line
 * @bitmap:	the bitmap; the filter's lock is held
 * @buf:	where to
 * @size:	of @buf
 *
 * Return: length.
 */
size_t bk_bitmap_status(struct bk_bitmap *bitmap, char *buf, size_t size)
{
	char flags[64];

	return scnprintf(buf, size, "%s %llu %llu/%llu %s", bitmap->name,
			 1ULL << bitmap->bits->shift,
			 bk_bits_dirty(bitmap->bits),
			 bk_bits_total(bitmap->bits),
			 bk_bitmap_flags(bitmap, flags, sizeof(flags)));
}

/**
 * bk_bitmap_show - all there is to know about a bitmap, as key=value words
 * @bitmap:	the bitmap; the filter's lock is held
 * @buf:	where to
 * @size:	of @buf
 *
 * "cause" is the last one and goes to the end of the line. Return: length.
 */
size_t bk_bitmap_show(struct bk_bitmap *bitmap, char *buf, size_t size)
{
	return scnprintf(buf, size,
			 "name=%s granularity=%llu dirty=%llu total=%llu recording=%d persistent=%d busy=%s successor=%llu tag=%s inconsistent=%d cause=%s",
			 bitmap->name, 1ULL << bitmap->bits->shift,
			 bk_bits_dirty(bitmap->bits),
			 bk_bits_total(bitmap->bits), bitmap->recording,
			 bitmap->slot >= 0, bitmap->busy[0] ? bitmap->busy : "-",
			 bitmap->started && bitmap->next ?
			 bk_bits_dirty(bitmap->next) : 0,
			 bitmap->tag[0] ? bitmap->tag : "-",
			 !!bitmap->why[0], bitmap->why);
}

/*----------------------------------------------------------------*/
/* Use by a job */

/**
 * bk_bitmap_claim - a job is going to use a bitmap
 * @bitmap:	the bitmap, usable; the filter's lock is held
 * @job:	the job's id
 */
void bk_bitmap_claim(struct bk_bitmap *bitmap, const char *job)
{
	strscpy(bitmap->busy, job, sizeof(bitmap->busy));
	bitmap->will_record = bitmap->recording;
}

/**
 * bk_bitmap_prepare - make the successor
 * @bitmap:	the bitmap, claimed
 *
 * Context: process, may sleep; without the filter's lock: it is the job's.
 * Return: 0 or -ENOMEM.
 */
int bk_bitmap_prepare(struct bk_bitmap *bitmap)
{
	int err = 0;

	bitmap->next = bk_bits_alloc(bitmap->bits->len, bitmap->bits->shift,
				     false, &err);
	if (!bitmap->next)
		return -ENOMEM;
	bitmap->next->persistent = bitmap->bits->persistent;
	return 0;
}

/**
 * bk_bitmap_install - what is recorded from the cut on
 * @bitmap:	the bitmap, claimed: its successor, if there is one, takes over
 * @cfg:	what the cut publishes
 */
void bk_bitmap_install(struct bk_bitmap *bitmap, struct bk_cfg *cfg)
{
	struct bk_bits *now = bitmap->recording ? bitmap->bits : NULL;
	struct bk_bits *then = NULL;

	if (bitmap->will_record)
		then = bitmap->next ?: bitmap->bits;
	if (now == then)
		return;
	if (now)
		bk_cfg_drop_bits(cfg, now);
	if (then)
		bk_cfg_add_bits(cfg, then);
}

/**
 * bk_bitmap_promote - the successor is the bitmap now
 * @bitmap:	the bitmap, the cut made; the filter's lock is held
 */
void bk_bitmap_promote(struct bk_bitmap *bitmap)
{
	bk_bits_put(bitmap->bits);
	bitmap->bits = bitmap->next;
	bitmap->next = NULL;
	bitmap->started = false;
}

/**
 * bk_bitmap_is_unsettled - is it too early for a job to say what becomes of it?
 * @origin:	the filter
 * @bitmap:	the bitmap, the job's
 *
 * What it had is to be known first: that waits for the origin. And it is to be on
 * disk wherever it has been merged into: for that, a filter that goes does not wait,
 * and the bitmap keeps what it had. Until then the transaction looks at it.
 */
bool bk_bitmap_is_unsettled(struct bk_origin *origin, struct bk_bitmap *bitmap)
{
	return READ_ONCE(bitmap->deriving) ||
	       (READ_ONCE(bitmap->ceding) && !READ_ONCE(origin->dead));
}

/**
 * bk_bitmap_abdicate - what the bitmap had is taken care of
 * @origin:	the filter
 * @bitmap:	the bitmap, in use, its job's cut made and drained; the filter's
 *		lock is held
 * @tag:	where it is taken care of: NULL, or what the job was told
 * @notify:	queued to the filter's wait_wq when the disk has followed
 *
 * Return: NULL, or a request to wait for and to put: until then the bitmap is to
 * stay claimed.
 */
struct bk_store_req *bk_bitmap_abdicate(struct bk_origin *origin,
					struct bk_bitmap *bitmap,
					const char *tag,
					struct work_struct *notify)
{
	if (!bitmap->started)
		return NULL;
	strscpy(bitmap->tag, tag ?: "", sizeof(bitmap->tag));
	bk_bitmap_promote(bitmap);
	if (bitmap->why[0]) {
		/* It may be removed, then. */
		bk_store_uncover(origin, bitmap->slot, bitmap->bits);
		return NULL;
	}
	/* Its job has flushed the origin after the drain. */
	return bk_store_rewrite(origin, bitmap->slot, bitmap->bits, bitmap->tag,
				true, notify);
}

/**
 * bk_bitmap_reclaim - the bitmap is to be as if there had been no job
 * @origin:	the filter
 * @bitmap:	the bitmap, in use; the filter's lock is held
 *
 * Context: process; takes as long as there is to look through.
 */
void bk_bitmap_reclaim(struct bk_origin *origin, struct bk_bitmap *bitmap)
{
	if (!bitmap->started)
		return;
	bk_bits_or(bitmap->next, bitmap->bits);
	bk_bitmap_promote(bitmap);
	bk_store_uncover(origin, bitmap->slot, bitmap->bits);
}

/**
 * bk_bitmap_release - the job does not use the bitmap any more
 * @origin:	the filter
 * @bitmap:	the bitmap, claimed; the filter's lock is held
 */
void bk_bitmap_release(struct bk_origin *origin, struct bk_bitmap *bitmap)
{
	/* A job that was never started; what is being written stays covered. */
	if (bitmap->next && !bk_store_is_pending(origin, bitmap->slot))
		bk_store_uncover(origin, bitmap->slot, bitmap->bits);
	bk_bits_put(bitmap->next);
	bitmap->next = NULL;
	bitmap->started = false;
	WRITE_ONCE(bitmap->deriving, false);
	WRITE_ONCE(bitmap->ceding, false);
	WRITE_ONCE(bitmap->busy[0], '\0');
	WRITE_ONCE(origin->bitmaps_freed, origin->bitmaps_freed + 1);
	wake_up_all(&origin->jobs_wait);
}

/**
 * bk_bitmap_added - bits were set by other than writes: make that durable
 * @origin:	the filter
 * @bitmap:	the bitmap, which can't go away
 *
 * Context: process, sleeps for a bounded time. Return: 0 or a negative errno.
 */
int bk_bitmap_added(struct bk_origin *origin, struct bk_bitmap *bitmap)
{
	struct bk_store_req *req;
	int err;

	req = bk_store_update(origin, bitmap->slot, bitmap->recording, false);
	if (!req)
		return 0;
	err = bk_store_wait(req, msecs_to_jiffies(BK_STORE_WAIT_MS));
	bk_store_req_put(req);
	return err;
}

/*----------------------------------------------------------------*/
/* What happens to the filter */

/**
 * bk_bitmaps_distrust - something was written that no bitmap can know of
 * @origin:	the filter; its lock is held
 * @why:	what, in words
 * @slots:	only those in these slots of the metadata device; 0: all, also
 *		those that are only in memory
 */
void bk_bitmaps_distrust(struct bk_origin *origin, const char *why, u64 slots)
{
	struct bk_bitmap *bitmap;

	lockdep_assert_held(&origin->lock);
	list_for_each_entry(bitmap, &origin->bitmaps, list) {
		if (bitmap->why[0] ||
		    (slots && (bitmap->slot < 0 ||
			       !(slots & BIT_ULL(bitmap->slot)))))
			continue;
		strscpy(bitmap->why, why, sizeof(bitmap->why));
		bk_store_distrust(origin, bitmap->slot, why);
	}
	if (!slots || slots == BK_STORE_ALL)
		bk_store_distrust_removed(origin, why);
}

/**
 * bk_bitmaps_distrust_unmerged - the filter is about to go
 * @origin:	the filter; its lock is not held
 *
 * What a transaction was to merge into a bitmap will not be there.
 *
 * Context: process, sleeps for a bounded time; no bio is in the filter.
 */
void bk_bitmaps_distrust_unmerged(struct bk_origin *origin)
{
	struct bk_bitmap *bitmap;
	u64 slots = 0;

	/* What is merged inside the filter has been, then. */
	bk_gate_wait_drained(&origin->gate, HZ);
	mutex_lock(&origin->lock);
	list_for_each_entry(bitmap, &origin->bitmaps, list)
		if (bitmap->deriving && bitmap->slot >= 0)
			slots |= BIT_ULL(bitmap->slot);
	if (slots)
		bk_bitmaps_distrust(origin,
				    "the filter went before all was merged that was to be",
				    slots);
	mutex_unlock(&origin->lock);
}

/* The bits of a device that has another length now; what is new is set. */
static struct bk_bits *bk_bits_resized(const struct bk_bits *bits, sector_t len)
{
	struct bk_bits *next;
	sector_t start, end = 0;
	int err;

	next = bk_bits_alloc(len, bits->shift, false, &err);
	if (!next)
		return NULL;
	next->persistent = bits->persistent;
	while (bk_bits_next(bits, end, &start, &end) && start < len) {
		bk_bits_set_many(next, start >> next->shift,
				 min_t(unsigned long, next->nr,
				       ((end - 1) >> next->shift) + 1));
	}
	if (len > bits->len)
		bk_bits_set_many(next, bits->len >> next->shift, next->nr);
	return next;
}

static void bk_bitmap_resize(struct bk_origin *origin,
			     struct bk_bitmap *bitmap, sector_t len,
			     struct bk_cfg *cfg)
{
	struct bk_bits *next = NULL;

	if (!bitmap->busy[0] && !bitmap->why[0])
		next = bk_bits_resized(bitmap->bits, len);
	if (next && bitmap->recording)
		bk_cfg_swap_bits(cfg, bitmap->bits, next);
	if (next) {
		bk_bits_put(bitmap->bits);
		bitmap->bits = next;
		bk_store_uncover(origin, bitmap->slot, next);
		return;
	}
	bk_cfg_drop_bits(cfg, bitmap->bits);
	if (bitmap->next)
		bk_cfg_drop_bits(cfg, bitmap->next);
	bitmap->recording = false;
	if (!bitmap->why[0])
		strscpy(bitmap->why, bitmap->busy[0] ?
			"the length of the device changed while it was in use" :
			"the length of the device changed, and memory was short",
			sizeof(bitmap->why));
	bk_store_distrust(origin, bitmap->slot, bitmap->why);
}

/**
 * bk_bitmaps_resize - the device has another length now
 * @origin:	the filter; its lock is held, no bio is in it
 * @len:	the new length, sectors
 *
 * What is new is dirty, what is gone is forgotten.
 *
 * Context: process, sleeps.
 */
void bk_bitmaps_resize(struct bk_origin *origin, sector_t len)
{
	struct bk_gate *gate = &origin->gate;
	struct bk_bitmap *bitmap;
	struct bk_cfg *cfg;

	mutex_lock(&gate->cfg_lock);
	cfg = bk_cfg_copy(gate, 0, 0, GFP_NOIO | __GFP_NOFAIL);
	list_for_each_entry(bitmap, &origin->bitmaps, list)
		bk_bitmap_resize(origin, bitmap, len, cfg);
	/* No cut: there is no write that could tell the one from the other. */
	bk_gate_replace(gate, cfg);
	mutex_unlock(&gate->cfg_lock);
	bk_store_resize(origin, len);
}

/**
 * bk_bitmaps_free - the filter goes away
 * @origin:	the filter; nobody can reach it any more
 */
void bk_bitmaps_free(struct bk_origin *origin)
{
	struct bk_bitmap *bitmap, *next;
	LIST_HEAD(list);

	/* The metadata device's failing may look through them yet. */
	mutex_lock(&origin->lock);
	list_splice_init(&origin->bitmaps, &list);
	mutex_unlock(&origin->lock);
	list_for_each_entry_safe(bitmap, next, &list, list)
		bk_bitmap_free(bitmap);
}
