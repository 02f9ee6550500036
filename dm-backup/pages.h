/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Lists of pages: single ones, and runs of 64 KiB, linked through page->lru.
 *
 * Each is of a list, or described by a page vector, and belongs to whom that does. A
 * run is a compound page, so each knows how long it is.
 *
 * Locks and contexts
 *   None. Nothing sleeps but bk_pages_alloc(), if its flags say that it may.
 */

#ifndef BK_PAGES_H
#define BK_PAGES_H

#include <linux/bvec.h>
#include <linux/list.h>
#include <linux/mm.h>

/* How much is a page, or a run? */
static inline size_t bk_page_bytes(struct page *page)
{
	return PAGE_SIZE << compound_order(page);
}

int bk_pages_alloc(size_t need, struct list_head *to, gfp_t gfp);
void bk_pages_free(struct list_head *pages);
unsigned int bk_pages_count(struct list_head *pages);
unsigned int bk_pages_to_vec(struct list_head *pages, struct bio_vec *vec);
void bk_vec_free(struct bio_vec *vec, unsigned int nr);

#endif
