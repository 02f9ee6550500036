// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lists of pages. The contract is in pages.h.
 */

#include "pages.h"

#include <linux/gfp.h>
#include <linux/sizes.h>

/* Runs of pages make few page vectors, so short bios. */
#define BK_RUN_ORDER	get_order(SZ_64K)
#define BK_RUN_BYTES	(PAGE_SIZE << BK_RUN_ORDER)

/**
 * bk_pages_free - free the pages of a list
 * @pages:	the list; empty afterwards
 */
void bk_pages_free(struct list_head *pages)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		__free_pages(page, compound_order(page));
	}
}

/**
 * bk_pages_alloc - allocate pages
 * @need:	so many bytes: whole pages
 * @to:		they are added to this list; after an error, so are those there
 *		were
 * @gfp:	how
 *
 * Return: 0 or -ENOMEM.
 */
int bk_pages_alloc(size_t need, struct list_head *to, gfp_t gfp)
{
	bool runs = true;

	while (need) {
		struct page *page = NULL;

		if (runs && BK_RUN_ORDER && need >= BK_RUN_BYTES) {
			/* __GFP_COMP, for compound_order() */
			page = alloc_pages(gfp | __GFP_COMP | __GFP_NORETRY |
					   __GFP_NOWARN, BK_RUN_ORDER);
			runs = page;
		}
		if (!page)
			page = alloc_page(gfp);
		if (!page)
			return -ENOMEM;
		list_add_tail(&page->lru, to);
		need -= min(need, bk_page_bytes(page));
	}
	return 0;
}

/**
 * bk_pages_count - how many page vectors does a list need?
 * @pages:	the list
 */
unsigned int bk_pages_count(struct list_head *pages)
{
	struct page *page;
	unsigned int nr = 0;

	list_for_each_entry(page, pages, lru)
		nr++;
	return nr;
}

/**
 * bk_pages_to_vec - describe the pages of a list
 * @pages:	the list; empty afterwards
 * @vec:	with room for all of them
 *
 * Return: how many there are.
 */
unsigned int bk_pages_to_vec(struct list_head *pages, struct bio_vec *vec)
{
	struct page *page, *next;
	unsigned int nr = 0;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		vec[nr].bv_page = page;
		vec[nr].bv_offset = 0;
		vec[nr].bv_len = bk_page_bytes(page);
		nr++;
	}
	return nr;
}

/**
 * bk_vec_free - free the pages that are described
 * @vec:	by what
 * @nr:		number of @vec
 */
void bk_vec_free(struct bio_vec *vec, unsigned int nr)
{
	while (nr--)
		__free_pages(vec[nr].bv_page,
			     compound_order(vec[nr].bv_page));
}
