// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers for old data, and the byte budget they come out of. The contract is
 * in buffer.h.
 */

#include "buffer.h"
#include "pages.h"

#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#define BK_GFP_NOWAIT	(GFP_NOWAIT | __GFP_NOWARN | __GFP_NORETRY)

static unsigned long bk_orphan_limit = SZ_256M;
module_param_named(orphan_limit, bk_orphan_limit, ulong, 0644);
MODULE_PARM_DESC(orphan_limit,
		 "Bytes that destinations which hang may keep beyond the filters' budgets");

static atomic_long_t bk_orphaned;

/*----------------------------------------------------------------*/
/* The cache: pages that nobody uses now; pool->lock is held. */

static struct list_head *bk_page_list(struct bk_pool *pool, struct page *page)
{
	return &pool->pages[compound_order(page) != 0];
}

/* Put @pages into the cache. */
static void bk_cache_add(struct bk_pool *pool, struct list_head *pages)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_move(&page->lru, bk_page_list(pool, page));
		pool->cached += bk_page_bytes(page);
	}
}

/*
 * Take pages for @need bytes from the cache, as far as it has them beyond @keep
 * bytes.
 */
static size_t bk_cache_take(struct bk_pool *pool, size_t need, size_t keep,
			    struct list_head *to)
{
	size_t got = 0;
	int run;

	need = pool->cached > keep ? min(need, pool->cached - keep) : 0;
	for (run = 1; run >= 0; run--) {
		struct list_head *from = &pool->pages[run];

		while (!list_empty(from)) {
			struct page *page = list_first_entry(from, struct page,
							     lru);

			if (bk_page_bytes(page) > need - got)
				break;
			list_move_tail(&page->lru, to);
			got += bk_page_bytes(page);
		}
	}
	pool->cached -= got;
	return got;
}

/* Take all out of the cache. */
static void bk_cache_empty(struct bk_pool *pool, struct list_head *to)
{
	list_splice_init(&pool->pages[0], to);
	list_splice_init(&pool->pages[1], to);
	pool->cached = 0;
}

/* Take out of the cache what the budget has no room for. */
static void bk_cache_shed(struct bk_pool *pool, struct list_head *to)
{
	int run = 0;

	while (pool->used + pool->cached > pool->limit && pool->cached) {
		struct page *page;

		if (list_empty(&pool->pages[run])) {
			run++;
			continue;
		}
		page = list_first_entry(&pool->pages[run], struct page, lru);
		list_move_tail(&page->lru, to);
		pool->cached -= bk_page_bytes(page);
	}
}

/*----------------------------------------------------------------*/
/* The budget; pool->lock is held. */

static bool bk_pool_room(struct bk_pool *pool, size_t bytes, bool background)
{
	/* One at a time gets what it needs even if the budget has shrunk. */
	if (pool->used == pool->reserved)
		return true;
	if (pool->used + bytes > pool->limit)
		return false;
	return !background || pool->background + bytes <= pool->limit / 2;
}

static void bk_pool_charge(struct bk_pool *pool, struct bk_buf *buf)
{
	pool->used += buf->bytes;
	if (buf->background)
		pool->background += buf->bytes;
	buf->state = BK_BUF_GRANTED;
}

/* bk_buf_get() may look meanwhile, as a read has several parts: @state at once. */
static void bk_pool_uncharge(struct bk_pool *pool, struct bk_buf *buf,
			     enum bk_buf_state state)
{
	pool->used -= buf->bytes;
	if (buf->background)
		pool->background -= buf->bytes;
	WRITE_ONCE(buf->state, state);
}

static bool bk_reserve_take(struct bk_pool *pool, struct bk_buf *buf)
{
	struct bk_reserve *res = buf->reserve;

	if (!res || res->taken || res->bytes < buf->bytes)
		return false;
	res->taken = true;
	pool->free_reserves--;
	buf->vec = res->vec;
	buf->nr = res->nr;
	buf->state = BK_BUF_RESERVE;
	return true;
}

static bool bk_reserve_is_small(struct bk_buf *buf)
{
	return buf->reserve && buf->reserve->bytes &&
	       buf->reserve->bytes < buf->bytes;
}

/* Would the reserve do for a part of it, and is this one to be told so? */
static bool bk_reserve_tell(struct bk_buf *buf)
{
	struct bk_reserve *res = buf->reserve;
	unsigned long now = jiffies;

	if (!bk_reserve_is_small(buf) || res->taken || now == res->told_at)
		return false;
	res->told_at = now;
	return true;
}

/*
 * Grant waiters what there is now, and tell them: under the lock, so that who
 * takes it finds them either waiting or queued. Returns whether one is, or may be,
 * left that its reserve is too small for.
 */
static bool bk_pool_serve(struct bk_pool *pool)
{
	struct bk_buf *buf, *next;
	bool blocked = false;	/* an older one waits for the pool */
	bool small = false;

	list_for_each_entry_safe(buf, next, &pool->waiters, list) {
		/* There may be very many of them: what they are is not looked at. */
		if (blocked && !pool->free_reserves) {
			small = true;
			break;
		}
		if (!blocked && bk_pool_room(pool, buf->bytes, false))
			bk_pool_charge(pool, buf);
		else if (bk_reserve_take(pool, buf))
			;
		else if (bk_reserve_tell(buf))
			buf->state = BK_BUF_TOO_LARGE;
		else
			blocked = true;
		if (buf->state != BK_BUF_WAITING) {
			list_del_init(&buf->list);
			buf->ready(buf);
		} else {
			small |= bk_reserve_is_small(buf);
		}
	}
	return small;
}

/* Kick background copies, if they were refused and may go on. No lock held. */
static void bk_pool_tell(struct bk_pool *pool)
{
	void (*kick)(struct bk_pool *pool) = NULL;

	/* bk_pool_exit() waits for who has seen kick. */
	rcu_read_lock();
	spin_lock(&pool->lock);
	if (pool->refused && list_empty(&pool->waiters)) {
		WRITE_ONCE(pool->refused, false);
		kick = pool->kick;
	}
	spin_unlock(&pool->lock);
	if (kick)
		kick(pool);
	rcu_read_unlock();
}

static void bk_pool_retry_later(struct bk_pool *pool)
{
	queue_delayed_work(pool->wq, &pool->retry_work,
			   msecs_to_jiffies(BK_POOL_RETRY_MS));
}

static void bk_pool_retry(struct work_struct *work)
{
	struct bk_pool *pool = container_of(to_delayed_work(work),
					    struct bk_pool, retry_work);

	bool small;

	spin_lock(&pool->lock);
	small = bk_pool_serve(pool);
	spin_unlock(&pool->lock);
	/* Nothing need come back for a reserve to be free. */
	if (small)
		bk_pool_retry_later(pool);
	bk_pool_tell(pool);
}

/**
 * bk_pool_init - make an empty pool
 * @pool:	the pool
 * @wq:		where waiters are served again; its items never wait
 * @kick:	called, as bk_pool says, when a background copy that was refused
 *		should try again
 *
 * It has no budget until bk_pool_set_limit().
 */
void bk_pool_init(struct bk_pool *pool, struct workqueue_struct *wq,
		  void (*kick)(struct bk_pool *pool))
{
	spin_lock_init(&pool->lock);
	INIT_LIST_HEAD(&pool->pages[0]);
	INIT_LIST_HEAD(&pool->pages[1]);
	INIT_LIST_HEAD(&pool->waiters);
	INIT_DELAYED_WORK(&pool->retry_work, bk_pool_retry);
	pool->wq = wq;
	pool->kick = kick;
}

/**
 * bk_pool_turn_out - who waits looks again, and finds that it need not wait
 * @pool:	the pool
 *
 * Context: process; does not sleep.
 */
void bk_pool_turn_out(struct bk_pool *pool)
{
	struct bk_buf *buf, *next;

	spin_lock(&pool->lock);
	list_for_each_entry_safe(buf, next, &pool->waiters, list) {
		list_del_init(&buf->list);
		buf->state = BK_BUF_NONE;
		buf->ready(buf);
	}
	spin_unlock(&pool->lock);
}

/**
 * bk_pool_exit - free the cached pages; @kick is not called any more
 * @pool:	the pool; nobody waits for it
 *
 * Context: process, sleeps. Buffers charged to it may still be given back.
 */
void bk_pool_exit(struct bk_pool *pool)
{
	cancel_delayed_work_sync(&pool->retry_work);
	spin_lock(&pool->lock);
	WARN_ON_ONCE(!list_empty(&pool->waiters));
	pool->kick = NULL;
	spin_unlock(&pool->lock);
	synchronize_rcu();	/* bk_pool_tell() may be about to call it */
	bk_pool_trim(pool);
}

/**
 * bk_pool_set_limit - change the budget
 * @pool:	the pool
 * @limit:	bytes; if less than is in use, nothing is granted until enough
 *		came back
 */
void bk_pool_set_limit(struct bk_pool *pool, size_t limit)
{
	LIST_HEAD(shed);

	spin_lock(&pool->lock);
	WRITE_ONCE(pool->limit, limit);
	pool->spare = min(pool->spare, limit / BK_POOL_SPARE);
	bk_cache_shed(pool, &shed);
	bk_pool_serve(pool);
	spin_unlock(&pool->lock);
	bk_pages_free(&shed);
	bk_pool_tell(pool);
}

/**
 * bk_pool_trim - free the cached pages
 * @pool:	the pool
 */
void bk_pool_trim(struct bk_pool *pool)
{
	LIST_HEAD(pages);

	spin_lock(&pool->lock);
	bk_cache_empty(pool, &pages);
	spin_unlock(&pool->lock);
	bk_pages_free(&pages);
}

/**
 * bk_pool_has_waiters - does a guest-triggered copy wait for the budget?
 * @pool:	the pool
 */
bool bk_pool_has_waiters(struct bk_pool *pool)
{
	return !list_empty_careful(&pool->waiters);
}

/**
 * bk_pool_defer_background - is a background copy to wait for guests' ones?
 * @pool:	the pool
 *
 * Return: if true, @kick will be called when it is no longer so.
 */
bool bk_pool_defer_background(struct bk_pool *pool)
{
	bool defer;

	spin_lock(&pool->lock);
	defer = !list_empty(&pool->waiters);
	if (defer)
		WRITE_ONCE(pool->refused, true);
	spin_unlock(&pool->lock);
	return defer;
}

/*----------------------------------------------------------------*/

/*
 * Get pages for buffers of @bytes ready, so that guests need not wait for that
 * while a destination has all there were. They are charged meanwhile, so nobody
 * else gets their place in the budget. No harm if there are none to be had.
 */
static void bk_pool_warm(struct bk_pool *pool, size_t bytes)
{
	size_t got = 0, want = 0;
	LIST_HEAD(pages);

	spin_lock(&pool->lock);
	pool->spare = max(pool->spare,
			  rounddown(pool->limit / BK_POOL_SPARE, bytes));
	if (pool->spare > pool->cached)
		want = rounddown(pool->spare - pool->cached, bytes);
	if (pool->used + pool->cached + want > pool->limit)
		want = 0;
	pool->used += want;
	spin_unlock(&pool->lock);
	if (!want)
		return;

	while (got < want && !bk_pages_alloc(bytes, &pages, BK_GFP_NOWAIT)) {
		got += bytes;
		cond_resched();	/* writers are not to feel it */
	}

	spin_lock(&pool->lock);
	pool->used -= want;
	bk_cache_add(pool, &pages);
	/* The limit may be another one by now. */
	bk_cache_shed(pool, &pages);
	bk_pool_serve(pool);
	spin_unlock(&pool->lock);
	bk_pages_free(&pages);
	bk_pool_tell(pool);
}

/**
 * bk_reserve_init - set a buffer aside for one point in time
 * @pool:	the pool it is charged to
 * @res:	the reserve
 * @bytes:	its size: a cluster, in whole pages
 *
 * Context: process, may sleep.
 * Return: 0; -ENOSPC if the budget has no room for two such buffers for each
 * point in time; -ENOMEM.
 */
int bk_reserve_init(struct bk_pool *pool, struct bk_reserve *res, size_t bytes)
{
	LIST_HEAD(pages);
	unsigned int nr;

	spin_lock(&pool->lock);
	/* One for the reserve, and one for a copy that goes without it. */
	if (2 * (pool->reserved + bytes) > pool->limit) {
		spin_unlock(&pool->lock);
		return -ENOSPC;
	}
	pool->used += bytes;
	pool->reserved += bytes;
	bk_cache_shed(pool, &pages);
	spin_unlock(&pool->lock);
	bk_pages_free(&pages);

	if (bk_pages_alloc(bytes, &pages, GFP_NOIO | __GFP_RETRY_MAYFAIL))
		goto nomem;
	nr = bk_pages_count(&pages);
	res->vec = kvmalloc_array(nr, sizeof(*res->vec), GFP_NOIO);
	if (!res->vec)
		goto nomem;
	res->nr = bk_pages_to_vec(&pages, res->vec);
	res->bytes = bytes;
	res->taken = false;
	res->told_at = jiffies;
	spin_lock(&pool->lock);
	pool->free_reserves++;
	spin_unlock(&pool->lock);
	bk_pool_warm(pool, bytes);
	return 0;

nomem:
	bk_pages_free(&pages);
	spin_lock(&pool->lock);
	pool->used -= bytes;
	pool->reserved -= bytes;
	spin_unlock(&pool->lock);
	return -ENOMEM;
}

/**
 * bk_reserve_exit - give a reserve up
 * @pool:	the pool
 * @res:	the reserve; if it is taken, or was given up before, nothing happens
 *
 * Context: process, may sleep.
 */
void bk_reserve_exit(struct bk_pool *pool, struct bk_reserve *res)
{
	struct bio_vec *vec = NULL;
	unsigned int nr = 0;
	LIST_HEAD(pages);

	spin_lock(&pool->lock);
	if (!res->taken && res->bytes) {
		pool->free_reserves--;
		swap(vec, res->vec);
		nr = res->nr;
		pool->used -= res->bytes;
		pool->reserved -= res->bytes;
		res->bytes = 0;
		/* A start that failed leaves nothing either. */
		if (!pool->reserved) {
			bk_cache_empty(pool, &pages);
			pool->spare = 0;
		}
		bk_pool_serve(pool);
	}
	spin_unlock(&pool->lock);
	bk_pool_tell(pool);
	bk_pages_free(&pages);
	bk_vec_free(vec, nr);
	kvfree(vec);
}

/*----------------------------------------------------------------*/

/*
 * It gets nothing of the pool now: use the reserve, or ask for less, or wait as
 * the first or last one, or give up. Under the lock. Once that is unlocked, a
 * waiting buffer is not ours to look at.
 */
static int bk_buf_do_without(struct bk_pool *pool, struct bk_buf *buf,
			     bool first)
{
	if (buf->background) {
		WRITE_ONCE(pool->refused, true);
		return -EAGAIN;
	}
	if (bk_reserve_take(pool, buf))
		return 0;
	if (bk_reserve_tell(buf))
		return -ENOBUFS;
	buf->state = BK_BUF_WAITING;
	if (first)
		list_add(&buf->list, &pool->waiters);
	else
		list_add_tail(&buf->list, &pool->waiters);
	return -EAGAIN;
}

/* No pages to be had. */
static int bk_buf_nopages(struct bk_pool *pool, struct bk_buf *buf,
			  struct list_head *pages)
{
	int r;

	bk_pages_free(pages);
	spin_lock(&pool->lock);
	bk_pool_uncharge(pool, buf, BK_BUF_NONE);
	r = bk_buf_do_without(pool, buf, true);
	spin_unlock(&pool->lock);
	if (r == -EAGAIN)
		bk_pool_retry_later(pool);
	return r;
}

/* Give a granted buffer its pages. */
static int bk_buf_fill(struct bk_pool *pool, struct bk_buf *buf)
{
	LIST_HEAD(pages);
	LIST_HEAD(shed);
	unsigned int nr;
	size_t got;

	spin_lock(&pool->lock);
	got = bk_cache_take(pool, buf->bytes,
			    buf->background ? pool->spare : 0, &pages);
	if (unlikely(pool->used + pool->cached > pool->limit))
		bk_cache_shed(pool, &shed);
	spin_unlock(&pool->lock);
	if (unlikely(!list_empty(&shed)))
		bk_pages_free(&shed);

	if (got < buf->bytes &&
	    bk_pages_alloc(buf->bytes - got, &pages, BK_GFP_NOWAIT))
		return bk_buf_nopages(pool, buf, &pages);

	nr = bk_pages_count(&pages);
	buf->vec = buf->fixed;
	if (unlikely(nr > BK_BUF_VECS)) {
		buf->vec = kmalloc_array(nr, sizeof(*buf->vec), BK_GFP_NOWAIT);
		if (!buf->vec)
			return bk_buf_nopages(pool, buf, &pages);
	}
	buf->nr = bk_pages_to_vec(&pages, buf->vec);
	WRITE_ONCE(buf->state, BK_BUF_POOL);
	return 0;
}

/**
 * bk_buf_get - get a buffer's pages
 * @pool:	the pool
 * @buf:	not WAITING; bytes (whole pages), background, reserve and ready
 *		are set
 *
 * Context: process; does not sleep.
 * Return: 0 if @buf has its pages. -EAGAIN: a background buffer is as it was; any
 * other waits, and @buf->ready will be called when this function should be called
 * again. -ENOBUFS: it is as it was, and there is something for what asks for no
 * more than its reserve.
 */
int bk_buf_get(struct bk_pool *pool, struct bk_buf *buf)
{
	bool small;
	int r;

	switch (READ_ONCE(buf->state)) {
	case BK_BUF_POOL:
	case BK_BUF_RESERVE:
	case BK_BUF_ORPHAN:	/* it may be made one while it is in use */
		return 0;
	case BK_BUF_TOO_LARGE:
		buf->state = BK_BUF_NONE;
		return -ENOBUFS;
	case BK_BUF_NONE:
		spin_lock(&pool->lock);
		if (likely(list_empty(&pool->waiters) &&
			   bk_pool_room(pool, buf->bytes, buf->background))) {
			bk_pool_charge(pool, buf);
			spin_unlock(&pool->lock);
			break;
		}
		r = bk_buf_do_without(pool, buf, false);
		small = r == -EAGAIN && bk_reserve_is_small(buf);
		spin_unlock(&pool->lock);
		if (small)
			bk_pool_retry_later(pool);
		return r;
	default:
		break;
	}
	return bk_buf_fill(pool, buf);
}

/**
 * bk_buf_cancel - stop waiting
 * @pool:	the pool
 * @buf:	a buffer that may be waiting
 *
 * Return: true if it was waiting: it holds nothing, and @buf->ready will not
 * be called.
 */
bool bk_buf_cancel(struct bk_pool *pool, struct bk_buf *buf)
{
	bool waiting;

	spin_lock(&pool->lock);
	waiting = buf->state == BK_BUF_WAITING;
	if (waiting) {
		list_del_init(&buf->list);
		buf->state = BK_BUF_NONE;
	}
	spin_unlock(&pool->lock);
	return waiting;
}

/* The vectors of a buffer that owned them. */
static void bk_buf_forget(struct bk_buf *buf)
{
	if (buf->vec != buf->fixed)
		kvfree(buf->vec);
	buf->vec = NULL;
	buf->nr = 0;
	buf->state = BK_BUF_NONE;
}

/**
 * bk_buf_put - give a buffer back
 * @pool:	the pool; not looked at for an orphan, it may be gone
 * @buf:	the buffer, in any state but WAITING
 *
 * Context: process; does not sleep.
 */
void bk_buf_put(struct bk_pool *pool, struct bk_buf *buf)
{
	unsigned int i;

	switch (buf->state) {
	case BK_BUF_NONE:
	case BK_BUF_WAITING:
	case BK_BUF_TOO_LARGE:
		return;
	case BK_BUF_ORPHAN:
		bk_vec_free(buf->vec, buf->nr);
		atomic_long_sub(buf->bytes, &bk_orphaned);
		bk_buf_forget(buf);
		return;
	case BK_BUF_GRANTED:
	case BK_BUF_POOL:
	case BK_BUF_RESERVE:
		break;
	}

	spin_lock(&pool->lock);
	if (buf->state == BK_BUF_RESERVE) {
		buf->reserve->taken = false;
		pool->free_reserves++;
		buf->vec = NULL;
		buf->state = BK_BUF_NONE;
	} else {
		for (i = 0; i < buf->nr; i++)
			list_add(&buf->vec[i].bv_page->lru,
				 bk_page_list(pool, buf->vec[i].bv_page));
		if (buf->nr)
			pool->cached += buf->bytes;
		bk_pool_uncharge(pool, buf, BK_BUF_NONE);
	}
	if (unlikely(!list_empty(&pool->waiters)))
		bk_pool_serve(pool);
	spin_unlock(&pool->lock);

	if (buf->vec)
		bk_buf_forget(buf);
	if (unlikely(READ_ONCE(pool->refused)))
		bk_pool_tell(pool);
}

/**
 * bk_buf_orphan - take a buffer that may never come back out of the budget
 * @pool:	the pool
 * @buf:	a buffer that holds pages
 *
 * Beyond the module's limit nothing happens: it stays charged to @pool.
 *
 * Context: process; does not sleep.
 */
void bk_buf_orphan(struct bk_pool *pool, struct bk_buf *buf)
{
	enum bk_buf_state state = READ_ONCE(buf->state);

	/* One that is about to get its pages stays charged. */
	if (state != BK_BUF_POOL && state != BK_BUF_RESERVE)
		return;
	if (atomic_long_add_return(buf->bytes, &bk_orphaned) >
	    READ_ONCE(bk_orphan_limit)) {
		atomic_long_sub(buf->bytes, &bk_orphaned);
		return;
	}

	spin_lock(&pool->lock);
	if (buf->state == BK_BUF_RESERVE) {
		struct bk_reserve *res = buf->reserve;

		/* The pages are the buffer's now, in whole. */
		atomic_long_add(res->bytes - buf->bytes, &bk_orphaned);
		buf->bytes = res->bytes;
		pool->used -= res->bytes;
		pool->reserved -= res->bytes;
		res->bytes = 0;
		res->vec = NULL;
		WRITE_ONCE(buf->state, BK_BUF_ORPHAN);
	} else {
		bk_pool_uncharge(pool, buf, BK_BUF_ORPHAN);
	}
	bk_pool_serve(pool);
	spin_unlock(&pool->lock);
	bk_pool_tell(pool);
}
