/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Buffers for old data, and the byte budget they come out of.
 *
 * What it promises
 *   A filter never holds more memory for data than its budget, cached pages
 *   included. Background copies get at most half of it and never wait for it.
 *   A guest-triggered copy that finds it spent waits its turn (first come,
 *   first served); it is served from its point in time's own reserve, one
 *   cluster, whenever that is free, and is told to come again for one cluster
 *   if it has asked for more. So each point in time makes progress as long as
 *   its destination does. If nothing but reserves is in use one copy gets its
 *   buffer in any case, however small the budget has become.
 *   Pages are kept for the next copy (getting and clearing 64 KiB of them
 *   costs as much as copying 64 KiB) until the last point in time has gone. A
 *   part of the budget is got ready when a point in time is made, and left to
 *   guest-triggered copies: a guest need not wait for pages while a slow
 *   destination has all others.
 *
 * Orphans
 *   A buffer that a destination never gives back (it hangs, and its job is
 *   broken or cancelled) moves from the filter's budget to one account for the
 *   whole module, with a limit of its own: the filter can start anew. Beyond
 *   the limit it stays charged to the filter.
 *
 * Locks and contexts
 *   pool->lock  spinlock: everything in struct bk_pool and what buffers hold
 *               of it. Process context only. Taken inside a bucket's lock;
 *               nothing is taken inside it.
 *   Nothing here sleeps but where it says so. Pages are asked for without
 *   waiting; a guest-triggered copy that gets none uses the reserve or waits,
 *   and is tried again when a buffer comes back, at the latest after
 *   BK_POOL_RETRY_MS.
 */

#ifndef BK_BUFFER_H
#define BK_BUFFER_H

#include <linux/bvec.h>
#include <linux/list.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#define BK_POOL_RETRY_MS	10

/* The part of the budget that is got ready for guest-triggered copies. */
#define BK_POOL_SPARE		16

/* Page vectors in a buffer itself; longer ones are allocated. */
#define BK_BUF_VECS		16

/**
 * struct bk_pool - a filter's byte budget
 * @lock:	protects all
 * @limit:	the budget in bytes
 * @used:	charged: reserves, and buffers that are not from a reserve
 * @reserved:	part of @used that are reserves
 * @free_reserves: reserves that are not taken
 * @background:	part of @used that background copies hold
 * @cached:	bytes in @pages
 * @spare:	of these, what background copies leave
 * @pages:	free pages: single ones, and runs
 * @waiters:	guest-triggered buffers that wait, oldest first
 * @retry_work:	serves @waiters again after a failed allocation
 * @wq:		where @retry_work runs
 * @refused:	a background copy was refused since the last @kick
 * @kick:	called when there may be room for background copies again, under
 *		rcu_read_lock() and none of the pool's locks; NULL: nobody cares
 */
struct bk_pool {
	spinlock_t lock;	/* all of this */
	size_t limit;
	size_t used;
	size_t reserved;
	unsigned int free_reserves;
	size_t background;
	size_t cached;
	size_t spare;
	struct list_head pages[2];
	struct list_head waiters;
	struct delayed_work retry_work;
	struct workqueue_struct *wq;
	bool refused;
	void (*kick)(struct bk_pool *pool);
};

/**
 * struct bk_reserve - one point in time's own buffer
 * @bytes:	its size; 0 if there is none
 * @taken:	in use
 * @told_at:	when somebody was told to ask for no more than this, jiffies: one
 *		at a time, the others are better off with all they want
 * @vec:	its pages
 * @nr:		number of @vec
 */
struct bk_reserve {
	size_t bytes;
	bool taken;
	unsigned long told_at;
	struct bio_vec *vec;
	unsigned int nr;
};

enum bk_buf_state {
	BK_BUF_NONE,		/* holds nothing */
	BK_BUF_WAITING,		/* on pool->waiters */
	BK_BUF_TOO_LARGE,	/* not any more: it is to ask for less */
	BK_BUF_GRANTED,		/* charged to the pool, has no pages yet */
	BK_BUF_POOL,		/* holds pages, charged to the pool */
	BK_BUF_RESERVE,		/* holds its reserve's pages */
	BK_BUF_ORPHAN,		/* holds pages, charged to the module */
};

/**
 * struct bk_buf - a buffer, or the wish for one
 * @list:	on pool->waiters
 * @state:	what it holds
 * @background:	for a background copy
 * @bytes:	its size
 * @reserve:	whose reserve it may use, or NULL
 * @ready:	called when a waiting buffer should be asked for again; in
 *		process context, under the pool's lock: it may queue work
 * @vec:	its pages
 * @nr:		number of @vec
 * @fixed:	@vec if that is enough
 */
struct bk_buf {
	struct list_head list;
	enum bk_buf_state state;
	bool background;
	size_t bytes;
	struct bk_reserve *reserve;
	void (*ready)(struct bk_buf *buf);
	struct bio_vec *vec;
	unsigned int nr;
	struct bio_vec fixed[BK_BUF_VECS];
};

void bk_pool_init(struct bk_pool *pool, struct workqueue_struct *wq,
		  void (*kick)(struct bk_pool *pool));
void bk_pool_turn_out(struct bk_pool *pool);
void bk_pool_exit(struct bk_pool *pool);
void bk_pool_set_limit(struct bk_pool *pool, size_t limit);
void bk_pool_trim(struct bk_pool *pool);
bool bk_pool_has_waiters(struct bk_pool *pool);
bool bk_pool_defer_background(struct bk_pool *pool);

int bk_reserve_init(struct bk_pool *pool, struct bk_reserve *res, size_t bytes);
void bk_reserve_exit(struct bk_pool *pool, struct bk_reserve *res);

int bk_buf_get(struct bk_pool *pool, struct bk_buf *buf);
bool bk_buf_cancel(struct bk_pool *pool, struct bk_buf *buf);
void bk_buf_put(struct bk_pool *pool, struct bk_buf *buf);
void bk_buf_orphan(struct bk_pool *pool, struct bk_buf *buf);

#endif
