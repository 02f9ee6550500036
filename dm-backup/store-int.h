/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the store: what its files have from each other. The contract, for them
 * and for others, is in store.h.
 *
 *   store-disk.c	writing two copies; failing			all call it
 *   store-region.c	the hot map; letting writes go
 *   store-page.c	pages of bitmaps				calls region
 *   store-cool.c	passes that make regions cold			page, region
 *   store-change.c	changes of bitmaps, by the root			page, cool
 *   store-req.c	what the worker is asked for
 *   store-work.c	the worker and its timer			calls all above
 *   store-bitmap.c	what bitmaps ask for				req
 *   store-stand.c	what a pivot asks for				req
 *   store.c		begin, end, resize, close, status		req
 *   store-load.c	opening and loading, before there is a worker
 */

#ifndef BK_STORE_INT_H
#define BK_STORE_INT_H

#include <linux/blk_types.h>

#include "store.h"

/* Words in a block of the hot map, and in a page. */
#define BK_STORE_WORDS	(BK_MD_BITS / BITS_PER_LONG)

/*
 * Counts of pages that are to be written in any case, because their copies may
 * differ; and which of the copies is kept until the other one is good.
 */
#define BK_STORE_NEWER_1	((u32)-1)
#define BK_STORE_NEWER_0	((u32)-2)

/* Regions that the hot map has room for. */
static inline unsigned long bk_store_regions(struct bk_store *store)
{
	return (unsigned long)store->root.hot_blocks * BK_MD_BITS;
}

static inline unsigned long bk_store_words(struct bk_store *store)
{
	return bk_store_regions(store) / BITS_PER_LONG;
}

/* Block @i of the worker's buffer. */
static inline void *bk_store_block(struct bk_store *store, unsigned int i)
{
	return store->buf + i * BK_MD_BLOCK;
}

/* store-disk.c */
void bk_store_free(struct kref *ref);
void bk_store_put(struct bk_store *store);
struct bk_origin *bk_store_origin(struct bk_store *store);
void bk_store_release(struct bk_store *store);
void bk_store_fail(struct bk_store *store);
bool bk_store_is_late(unsigned long since);
void bk_store_retry(struct bk_store *store);
int bk_store_write(struct bk_store *store, const u64 where[2], unsigned int nr,
		   unsigned int *newer, blk_opf_t flags,
		   void (*durable)(struct bk_store *store));
int bk_store_write_root(struct bk_store *store);
int bk_store_write_lease(struct bk_store *store);
void bk_store_mark_broken(struct bk_store *store);

/* store-region.c */
int bk_store_even_out(struct bk_store *store);
void bk_store_grant(struct bk_store *store);
int bk_store_serve(struct bk_store *store);
int bk_store_cold(struct bk_store *store);
int bk_store_cool_all(struct bk_store *store);

/* store-page.c */
void bk_store_get_bits(struct bk_store *store, unsigned int slot,
		       struct bk_bits *bits[2]);
int bk_store_save(struct bk_store *store, unsigned int slot, u32 page, u32 end);
int bk_store_write_new(struct bk_store *store, unsigned int slot,
		       struct bk_bits *bits, u32 *counts);
int bk_store_write_other(struct bk_store *store, unsigned int slot,
			 struct bk_bits *bits);
u32 bk_store_crc(struct bk_store *store, unsigned int slot);

/* store-cool.c */
bool bk_store_has_pending(struct bk_store *store);
bool bk_store_pass_begin(struct bk_store *store);
void bk_store_pass_abort(struct bk_store *store);
int bk_store_pass_step(struct bk_store *store);
int bk_store_do_cool(struct bk_store *store);

/* store-change.c */
void bk_store_settle(struct bk_store *store, unsigned int slot,
		     struct bk_bits *bits);
int bk_store_do(struct bk_store *store, struct bk_store_req *req);

/* store-req.c */
bool bk_store_is_usable(struct bk_store *store, char *error, size_t size);
struct bk_store_req *bk_store_req_alloc(enum bk_store_verb verb,
					unsigned int slot);
void bk_store_req_done(struct bk_store *store, struct bk_store_req *req,
		       int err);
void bk_store_ask(struct bk_store *store, struct bk_store_req *req);
int bk_store_await(struct bk_store *store, struct bk_store_req *req,
		   unsigned int ms, bool must);
int bk_store_ask_and_wait(struct bk_store *store, struct bk_store_req *req,
			  unsigned int ms, bool must);
struct bk_store_req *bk_store_next(struct bk_store *store);
void bk_store_put_back(struct bk_store *store, struct bk_store_req *req);
bool bk_store_wants_flush(struct bk_store *store, bool begin);
void bk_store_mark_flushed(struct bk_store *store);

/* store-work.c */
void bk_store_work(struct work_struct *work);
void bk_store_tick(struct work_struct *work);
void bk_store_start(struct bk_origin *origin);

#endif
