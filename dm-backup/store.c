// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is on the metadata device. The contract is in store.h; opening and
 * loading are in load.c.
 */

#include "store.h"
#include "blockio.h"
#include "compat.h"
#include "dest.h"
#include "module.h"
#include "origin.h"
#include "trace.h"
#include "trust.h"

#include <linux/crc32c.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

/* How often the lease is renewed, and how many times until a pass. */
#define BK_STORE_TICK_MS	5000
#define BK_STORE_PASS_TICKS	12

/* When a record is tried again that must not fail (on_metadata_error=hold). */
#define BK_STORE_RETRY_MS	500

static unsigned long bk_store_regions(struct bk_store *store)
{
	return (unsigned long)store->root.hot_blocks * BK_MD_BITS;
}

static unsigned long bk_store_words(struct bk_store *store)
{
	return bk_store_regions(store) / BITS_PER_LONG;
}

/* Words in a block of the hot map, and in a page. */
#define BK_STORE_WORDS	(BK_MD_BITS / BITS_PER_LONG)

static void *bk_store_block(struct bk_store *store, unsigned int i)
{
	return store->buf + i * BK_MD_BLOCK;
}

/*----------------------------------------------------------------*/
/* Lifetime, and what the worker may ask of the filter */

void bk_store_free(struct kref *ref)
{
	struct bk_store *store = container_of(ref, struct bk_store, ref);
	unsigned int i;

	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		bk_bits_put(store->slot[i].bits[0]);
		bk_bits_put(store->slot[i].bits[1]);
		kvfree(store->slot[i].counts);
	}
	kvfree(store->hot);
	kvfree(store->wanted);
	kvfree(store->wanted_blocks);
	kvfree(store->second_hot);
	kvfree(store->disk_hot);
	kvfree(store->cooling);
	kvfree(store->old);
	vfree(store->buf);
	kfree(store->tmp);
	if (store->dest) {
		bk_dest_put(store->dest);
		bk_dest_forget(store->dest);
	}
	cancel_work_sync(&store->notify);	/* nobody queues it any more */
	kvfree(store);
}

static void bk_store_put(struct bk_store *store)
{
	kref_put(&store->ref, bk_store_free);
}

/**
 * bk_store_kick - let the worker look for something to do
 * @store:	the store
 *
 * Context: any but interrupts; does not sleep.
 */
void bk_store_kick(struct bk_store *store)
{
	kref_get(&store->ref);	/* dropped by bk_store_work() */
	if (!queue_work(store->dest->io_wq, &store->work))
		bk_store_put(store);	/* not the last: its caller has one */
}

/* The filter, with a reference, if it is still there. */
static struct bk_origin *bk_store_origin(struct bk_store *store)
{
	struct bk_origin *origin;

	spin_lock(&store->lock);
	origin = store->origin;
	if (origin)
		bk_origin_get(origin);
	spin_unlock(&store->lock);
	return origin;
}

/* Writes that waited for their regions look again. */
static void bk_store_release(struct bk_store *store)
{
	/* Under the lock: its workqueues exist for as long as it is there. */
	spin_lock(&store->lock);
	if (store->origin)
		store->origin->ops->heated(store->origin);
	spin_unlock(&store->lock);
}

/*----------------------------------------------------------------*/
/* Failing */

/*
 * From now on nothing waits for the device, and nothing persistent is trusted.
 * The bitmaps learn of it in the filter's own work item, which may sleep.
 */
static void bk_store_fail(struct bk_store *store)
{
	/* A full barrier: before those who wait look again. */
	if (xchg(&store->failed, true))
		return;
	WRITE_ONCE(store->want_since, 0);
	WRITE_ONCE(store->heat_since, 0);
	bk_store_release(store);
	spin_lock(&store->lock);
	if (store->origin)
		queue_work(store->origin->wait_wq, &store->origin->distrust);
	spin_unlock(&store->lock);
}

static bool bk_store_is_late(unsigned long since)
{
	return since && time_after(jiffies, since +
				   msecs_to_jiffies(BK_STORE_LATE_MS));
}

/**
 * bk_store_late - called while writes wait: has the device had enough time?
 * @origin:	the filter
 * @hurry:	also if on_metadata_error=hold: it is being suspended
 *
 * Context: process; does not sleep.
 */
void bk_store_late(struct bk_origin *origin, bool hurry)
{
	struct bk_store *store = origin->store;

	if (!store || (store->hold && !hurry))
		return;
	if (bk_store_is_late(READ_ONCE(store->want_since)) ||
	    bk_store_is_late(READ_ONCE(store->heat_since)))
		bk_store_fail(store);
}

/* Come again in a while. */
static void bk_store_retry(struct bk_store *store)
{
	spin_lock(&store->lock);
	if (store->origin)
		mod_delayed_work(store->origin->wait_wq, &store->tick,
				 msecs_to_jiffies(BK_STORE_RETRY_MS));
	spin_unlock(&store->lock);
}

/*----------------------------------------------------------------*/
/* Writing */

static int bk_store_io(struct bk_store *store, blk_opf_t flags, u64 block,
		       unsigned int nr)
{
	int r;

	/* Once failed only the mark that says so may follow. */
	if (READ_ONCE(store->failed) && !store->root.broken)
		return -EIO;
	WRITE_ONCE(store->io_since, jiffies | 1);
	r = bk_block_io(store->dest->bdev.bdev, REQ_OP_WRITE | REQ_FUA |
			REQ_SYNC | REQ_META | flags, block * BK_MD_SECTORS,
			store->buf, nr * BK_MD_BLOCK);
	WRITE_ONCE(store->io_since, 0);
	WRITE_ONCE(store->erring, r);
	return r ? -EIO : 0;	/* whatever it was: others mean answers */
}

/*
 * Write @nr blocks of the buffer, made for @first, there, and when that is
 * durable, to @second. @durable, if any, is called between the two.
 */
static int bk_store_write(struct bk_store *store, u64 first, u64 second,
			  unsigned int nr,
			  void (*durable)(struct bk_store *store))
{
	unsigned int i;
	int r;

	r = bk_store_io(store, 0, first, nr);
	if (r)
		return r;
	store->hot_copy = !store->hot_copy;
	if (durable)
		durable(store);
	for (i = 0; i < nr; i++)
		bk_md_move(bk_store_block(store, i), second + i);
	return bk_store_io(store, 0, second, nr);
}

/*
 * The copy that is to be kept until the other one is durable comes second: after
 * a crash they may differ. Then they are the same.
 */
static int bk_store_write_root(struct bk_store *store)
{
	unsigned int first = !store->root_copy;
	int r;

	store->root.seq = ++store->seq;
	bk_md_root_encode(&store->root, first, store->buf);
	r = bk_store_io(store, REQ_PREFLUSH, bk_md_root_block(first),
			BK_MD_ROOT_BLOCKS);
	if (r)
		return r;
	store->root_copy = first;
	bk_md_root_encode(&store->root, !first, store->buf);
	return bk_store_io(store, 0, bk_md_root_block(!first),
			   BK_MD_ROOT_BLOCKS);
}

static int bk_store_write_lease(struct bk_store *store)
{
	unsigned int first = !store->lease_copy;
	int r;

	spin_lock(&store->lock);
	store->lease.witness = store->witness;
	store->lease_due = false;
	spin_unlock(&store->lock);
	store->lease.seq = ++store->seq;
	store->lease.time = ktime_get_real_seconds();
	memcpy(store->lease.session, bk_trust_session, BK_MD_UUID);
	bk_md_lease_encode(&store->root, &store->lease, first, store->buf);
	r = bk_store_write(store, bk_md_lease_block(first),
			   bk_md_lease_block(!first), 1, NULL);
	if (!r)
		store->lease_copy = first;
	return r;
}

/*
 * Write blocks [@first, @end) of the hot map as @disk_hot has it. @durable is
 * called when the first copies of all of them are.
 */
static int bk_store_write_hot(struct bk_store *store, unsigned int first,
			      unsigned int end,
			      void (*durable)(struct bk_store *store))
{
	const struct bk_md_root *root = &store->root;
	unsigned int i, nr, copy = store->hot_copy;
	int r = 0;

	for (; first < end && !r; first += nr) {
		nr = min_t(unsigned int, end - first, BK_STORE_BUF);
		for (i = first; i < first + nr; i++)
			bk_md_bits_encode(root, BK_MD_HOT,
					  bk_md_hot_block(root, i, copy),
					  ++store->seq, 0, store->disk_hot +
					  (unsigned long)i * BK_STORE_WORDS,
					  BK_STORE_WORDS,
					  bk_store_block(store, i - first));
		/* If only the second ones fail they are first the next time. */
		store->hot_copy = copy;
		r = bk_store_write(store, bk_md_hot_block(root, first, copy),
				   bk_md_hot_block(root, first, !copy), nr,
				   first + nr == end ? durable : NULL);
	}
	return r;
}

/*
 * After a crash the copies of a block of the map may differ. From here on the
 * first one is overwritten first: make the other one good.
 */
static int bk_store_even_out(struct bk_store *store)
{
	const struct bk_md_root *root = &store->root;
	unsigned int i, copy;
	int r = 0;

	for (i = 0; i < root->hot_blocks && !r; i++) {
		copy = !test_bit(i, store->second_hot);
		bk_md_bits_encode(root, BK_MD_HOT,
				  bk_md_hot_block(root, i, copy), ++store->seq,
				  0, store->disk_hot +
				  (unsigned long)i * BK_STORE_WORDS,
				  BK_STORE_WORDS, store->buf);
		r = bk_store_io(store, 0, bk_md_hot_block(root, i, copy), 1);
	}
	return r;
}

/*----------------------------------------------------------------*/
/* Heating */

/**
 * bk_store_want - a write waits for its regions
 * @store:	the store
 * @start:	first sector
 * @end:	end of the range, exclusive
 *
 * Context: process; does not sleep.
 */
void bk_store_want(struct bk_store *store, sector_t start, sector_t end)
{
	unsigned long first = start >> store->shift;
	unsigned long last = (end - 1) >> store->shift;

	for (; first <= last; first++) {
		if (test_bit(first, store->hot))
			continue;
		set_bit(first, store->wanted);
		/* Pairs with test_and_clear_bit() in bk_store_take(). */
		smp_mb__after_atomic();
		set_bit(first / BK_MD_BITS, store->wanted_blocks);
	}
	/* After the bits: the worker takes this before it takes them. */
	smp_mb();
	cmpxchg(&store->want_since, 0, jiffies | 1);
	bk_store_kick(store);
}

/* Take what is wanted in a block of the map; true if it must be written. */
static bool bk_store_take(struct bk_store *store, unsigned int block)
{
	unsigned long i = (unsigned long)block * BK_STORE_WORDS;
	unsigned long end = i + BK_STORE_WORDS;
	bool dirty = false;

	if (!test_and_clear_bit(block, store->wanted_blocks))
		return false;
	for (; i < end; i++) {
		unsigned long w = READ_ONCE(store->wanted[i]);

		if (w)
			w = xchg(&store->wanted[i], 0);
		store->cooling[i] &= ~w;
		dirty |= w & ~store->disk_hot[i];
		store->disk_hot[i] |= w;
	}
	return dirty;
}

/* What is hot on disk, and not being cooled, is hot. */
static void bk_store_grant(struct bk_store *store)
{
	unsigned long i, w;

	for (i = 0; i < bk_store_words(store); i++) {
		w = store->disk_hot[i] & ~store->cooling[i];
		if (w & ~READ_ONCE(store->hot[i]))
			atomic_long_or(w, (atomic_long_t *)&store->hot[i]);
	}
	WRITE_ONCE(store->heat_since, 0);
	smp_mb();	/* before those who wait look again, under held.lock */
	bk_store_release(store);
}

/*
 * Make regions hot that writes wait for: all of them at once, by one write if
 * they are near each other in the map.
 */
static int bk_store_heat(struct bk_store *store)
{
	unsigned int first = -1U, end = 0, i;
	int r = 0;

	if (READ_ONCE(store->failed) || store->read_only ||
	    !READ_ONCE(store->want_since))
		return 0;
	WRITE_ONCE(store->heat_since, xchg(&store->want_since, 0));
	for (i = 0; i < store->root.hot_blocks; i++) {
		if (!bk_store_take(store, i) && !store->retry)
			continue;
		first = min(first, i);
		end = i + 1;
	}
	if (first < end)
		r = bk_store_write_hot(store, first, end, bk_store_grant);
	else
		bk_store_grant(store);
	store->retry = r;
	trace_bk_regions(store->name, true, end ? end - first : 0, r);
	return r;
}

/* Write down that nothing in it is to be trusted, as soon as that works. */
static void bk_store_mark_broken(struct bk_store *store)
{
	if (store->root.broken || store->read_only)
		return;
	store->root.broken = true;
	if (bk_store_write_root(store))
		store->root.broken = false;
}

/* Between two writes: nobody is to wait for more than one of them. */
static int bk_store_serve(struct bk_store *store)
{
	int r = bk_store_heat(store);

	if (!r)
		return 0;
	if (!store->hold || READ_ONCE(store->failed)) {
		/* It answers: let it say so before the writes go. */
		bk_store_mark_broken(store);
		bk_store_fail(store);
		return r;
	}
	/* Writes go on waiting, since when they have. */
	WRITE_ONCE(store->want_since, READ_ONCE(store->heat_since) ?:
				      jiffies | 1);
	bk_store_retry(store);
	return r;
}

/*----------------------------------------------------------------*/
/* Pages */

/* References on what the pages of a slot must cover. */
static void bk_store_get_bits(struct bk_store *store, unsigned int slot,
			      struct bk_bits *bits[2])
{
	unsigned int i;

	spin_lock(&store->lock);
	for (i = 0; i < 2; i++) {
		bits[i] = store->slot[slot].bits[i];
		if (bits[i])
			bk_bits_get(bits[i]);
	}
	spin_unlock(&store->lock);
}

/* The words of a page, and how many bits are set. */
static u32 bk_store_gather(struct bk_store *store, struct bk_bits *bits[2],
			   u32 page, unsigned long *nr)
{
	unsigned long at = (unsigned long)page * BK_STORE_WORDS;
	unsigned long i, words, word;
	u32 count = 0;
	unsigned int b;

	*nr = 0;
	memset(store->tmp, 0, BK_MD_PAYLOAD);
	for (b = 0; b < 2; b++) {
		words = bits[b] ? BITS_TO_LONGS(bits[b]->nr) : 0;
		words = words > at ? min_t(unsigned long, words - at,
					   BK_STORE_WORDS) : 0;
		for (i = 0; i < words; i++) {
			word = READ_ONCE(bits[b]->words[at + i]);
			count += hweight_long(word & ~store->tmp[i]);
			store->tmp[i] |= word;
		}
		*nr = max(*nr, words);
	}
	return count;
}

/**
 * struct bk_store_run - pages that are written
 * @slot:	of which bitmap
 * @half:	where to
 * @set:	what they belong to
 * @bits:	what is in them
 * @all:	all, not only those that have changed
 * @counts:	updated
 */
struct bk_store_run {
	unsigned int slot;
	unsigned int half;
	u64 set;
	struct bk_bits *bits[2];
	bool all;
	u32 *counts;
};

/*
 * Write as many pages as the buffer takes, from @page on, and tell where the
 * next begin. They are neighbours; those that need not be written end a run.
 */
static int bk_store_write_run(struct bk_store *store, struct bk_store_run *run,
			      u32 page, u32 end, u32 *next)
{
	const struct bk_md_entry *e = &store->root.entry[run->slot];
	u32 first = page, count, counts[BK_STORE_BUF];
	unsigned long nr;
	int r = 0;

	for (; page < end && page - first < BK_STORE_BUF; page++) {
		count = bk_store_gather(store, run->bits, page, &nr);
		if (!run->all && count == run->counts[page])
			break;
		counts[page - first] = count;
		bk_md_bits_encode(&store->root, BK_MD_PAGE,
				  bk_md_page_block(e, run->half, page, 0),
				  ++store->seq, run->set, store->tmp, nr,
				  bk_store_block(store, page - first));
	}
	*next = page + (page == first);
	if (page == first)
		return 0;
	r = bk_store_write(store, bk_md_page_block(e, run->half, first, 0),
			   bk_md_page_block(e, run->half, first, 1),
			   page - first, NULL);
	if (!r)
		memcpy(run->counts + first, counts,
		       (page - first) * sizeof(*counts));
	return r;
}

/* Write pages [@page, @end). */
static int bk_store_write_pages(struct bk_store *store,
				struct bk_store_run *run, u32 page, u32 end)
{
	int r = 0;

	while (page < end && !r) {
		r = bk_store_write_run(store, run, page, end, &page);
		if (!r)
			r = bk_store_serve(store);
		cond_resched();
	}
	return r;
}

/* Write pages of a slot that have changed. */
static int bk_store_save(struct bk_store *store, unsigned int slot, u32 page,
			 u32 end)
{
	const struct bk_md_entry *e = &store->root.entry[slot];
	struct bk_store_run run = {
		.slot	= slot,
		.half	= e->half,
		.set	= e->set,
		.counts	= store->slot[slot].counts,
	};
	int r;

	bk_store_get_bits(store, slot, run.bits);
	r = bk_store_write_pages(store, &run, page, min(end, e->pages));
	bk_bits_put(run.bits[0]);
	bk_bits_put(run.bits[1]);
	return r;
}

/*----------------------------------------------------------------*/
/* Cooling */

/* Is any change not on disk yet? Under the lock. */
static bool bk_store_has_pending(struct bk_store *store)
{
	bool pending = false;
	unsigned int i;

	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		pending |= store->slot[i].pending;
	return pending;
}

/* Begin to cool what was hot the last time, too. False: not now. */
static bool bk_store_pass_begin(struct bk_store *store)
{
	struct bk_origin *origin = bk_store_origin(store);
	unsigned long i, any = 0, c;
	bool later;

	spin_lock(&store->lock);
	store->pass_due = false;
	later = bk_store_has_pending(store);
	spin_unlock(&store->lock);
	later |= !origin || READ_ONCE(origin->gate.mode);
	if (origin)
		bk_origin_put(origin);
	if (later)
		return false;
	for (i = 0; i < bk_store_words(store); i++) {
		c = store->disk_hot[i] & store->old[i];
		store->old[i] = store->disk_hot[i] & ~c;
		store->cooling[i] = c;
		any |= c;
		if (c)
			atomic_long_andnot(c, (atomic_long_t *)&store->hot[i]);
	}
	if (!any)
		return true;
	/* Who found one of them hot has set its bits after this. */
	synchronize_rcu();
	store->pass = true;
	store->entry = 0;
	store->page = 0;
	return true;
}

/* Give up a pass: what it was cooling is hot on disk, so it may be hot. */
static void bk_store_pass_abort(struct bk_store *store)
{
	if (!store->pass)
		return;
	store->pass = false;
	memset(store->cooling, 0, bk_store_words(store) * sizeof(long));
	/* Unless some of it is not on disk: then the next record grants it. */
	if (!store->retry)
		bk_store_grant(store);
}

/* Is any region that page @page of slot @slot has bits of being cooled? */
static bool bk_store_page_cools(struct bk_store *store, unsigned int slot,
				u32 page)
{
	unsigned int shift = store->root.entry[slot].shift;
	u64 first = ((u64)page * BK_MD_BITS << shift) >> store->shift;
	u64 last = ((((u64)page + 1) * BK_MD_BITS << shift) - 1) >>
		   store->shift;

	last = min_t(u64, last, bk_store_regions(store) - 1);
	return first <= last &&
	       find_next_bit(store->cooling, last + 1, first) <= last;
}

/* All pages are written: the map can be, without what was cooled. */
static int bk_store_pass_end(struct bk_store *store)
{
	unsigned int first = -1U, end = 0;
	unsigned long i;
	int r = 0;

	store->pass = false;
	for (i = 0; i < bk_store_words(store); i++) {
		if (!store->cooling[i])
			continue;
		store->disk_hot[i] &= ~store->cooling[i];
		store->cooling[i] = 0;
		first = min_t(unsigned int, first, i / BK_STORE_WORDS);
		end = i / BK_STORE_WORDS + 1;
	}
	if (first < end)
		r = bk_store_write_hot(store, first, end, NULL);
	trace_bk_regions(store->name, false, first < end ? end - first : 0, r);
	return r;
}

/* One step of a pass. */
static int bk_store_pass_step(struct bk_store *store)
{
	const struct bk_md_entry *e;
	u32 from, end;

	if (store->entry == BK_MD_MAX_BITMAPS)
		return bk_store_pass_end(store);
	e = &store->root.entry[store->entry];
	if (!e->name[0] || !e->recording || store->page >= e->pages) {
		store->entry++;
		store->page = 0;
		return 0;
	}
	for (from = store->page; from < e->pages; from++)
		if (bk_store_page_cools(store, store->entry, from))
			break;
	for (end = from; end < e->pages && end - from < BK_STORE_BUF; end++)
		if (!bk_store_page_cools(store, store->entry, end))
			break;
	store->page = end;
	return bk_store_save(store, store->entry, from, end);
}

/*----------------------------------------------------------------*/
/* What others ask for */

/* The disk has what memory has. */
static void bk_store_settle(struct bk_store *store, unsigned int slot,
			    struct bk_bits *bits)
{
	struct bk_store_slot *s = &store->slot[slot];
	struct bk_bits *old[2] = { NULL, NULL };

	spin_lock(&store->lock);
	s->pending = false;
	if (bits) {
		memcpy(old, s->bits, sizeof(old));
		bk_bits_get(bits);
		s->bits[0] = bits;
		s->bits[1] = NULL;
	}
	spin_unlock(&store->lock);
	bk_bits_put(old[0]);
	bk_bits_put(old[1]);
}

static int bk_store_do_begin(struct bk_store *store, struct bk_store_req *req)
{
	bool clean = store->root.clean;
	unsigned int i;
	int r = 0;

	for (i = 0; i < BK_MD_MAX_BITMAPS && req->why[0]; i++)
		if (!store->root.entry[i].why[0])
			strscpy(store->root.entry[i].why, req->why, BK_MD_NAME);
	store->root.clean = false;
	store->root.broken = false;
	memcpy(store->root.session, bk_trust_session, BK_MD_UUID);
	if (!clean)
		r = bk_store_even_out(store);
	/*
	 * The lease tells of the origin as it is now: it is not to be there
	 * without the verdict. Else it is first, an unclean root needs one.
	 */
	if (!r && req->why[0])
		r = bk_store_write_root(store);
	if (!r)
		r = bk_store_write_lease(store);
	if (!r && !req->why[0])
		r = bk_store_write_root(store);
	return r;
}

static int bk_store_do_place(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_md_entry *e = &store->root.entry[req->slot];
	struct bk_store_run run = {
		.slot	= req->slot,
		.set	= store->root.next_set,
		.bits	= { req->bits },
		.all	= true,
	};
	u32 pages = bk_md_pages(store->root.len, req->shift);
	u64 first;
	int r;

	r = bk_md_place(&store->root, BK_MD_MAX_BITMAPS, pages, &first);
	if (r)
		return r;
	run.counts = kvcalloc(pages, sizeof(*run.counts), GFP_NOIO);
	if (!run.counts)
		return -ENOMEM;
	memset(e, 0, sizeof(*e));
	strscpy(e->name, req->name, sizeof(e->name));
	e->set = store->root.next_set++;
	e->first = first;
	e->pages = pages;
	e->shift = req->shift;
	e->recording = req->recording;
	e->hidden = true;
	/* Both halves: a page that was never written is damaged. */
	run.half = 1;
	r = bk_store_write_pages(store, &run, 0, pages);
	run.half = 0;
	if (!r)
		r = bk_store_write_pages(store, &run, 0, pages);
	if (r) {
		memset(e, 0, sizeof(*e));
		kvfree(run.counts);
		return r;
	}
	store->slot[req->slot].counts = run.counts;
	bk_store_settle(store, req->slot, req->bits);
	return 0;
}

static int bk_store_do_drop(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_store_slot *s = &store->slot[req->slot];
	struct bk_md_entry *e = &store->root.entry[req->slot];
	bool hidden = e->hidden;
	struct bk_bits *old[2];

	memset(e, 0, sizeof(*e));
	spin_lock(&store->lock);
	s->pending = false;
	memcpy(old, s->bits, sizeof(old));
	memset(s->bits, 0, sizeof(s->bits));
	spin_unlock(&store->lock);
	bk_bits_put(old[0]);
	bk_bits_put(old[1]);
	kvfree(s->counts);
	s->counts = NULL;
	return hidden ? 0 : bk_store_write_root(store);
}

static int bk_store_do_update(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_md_entry *e = &store->root.entry[req->slot];
	bool hidden = e->hidden, recording = e->recording;
	int r = bk_store_save(store, req->slot, 0, e->pages);

	if (!r && (hidden || recording != req->recording)) {
		e->hidden = false;
		e->recording = req->recording;
		r = bk_store_write_root(store);
	}
	if (r) {
		/* It may be done again. */
		e->hidden = hidden;
		e->recording = recording;
	}
	/* Bits that were only added are no change that anything waits for. */
	if (!r && req->drained)
		bk_store_settle(store, req->slot, NULL);
	return r;
}

/* Write all of a slot's pages to its other half, or area. */
static int bk_store_write_other(struct bk_store *store, unsigned int slot,
				struct bk_bits *bits)
{
	struct bk_md_entry *e = &store->root.entry[slot];
	struct bk_store_run run = {
		.slot	= slot,
		.half	= !e->half,
		.set	= store->root.next_set++,
		.bits	= { bits },
		.all	= true,
		.counts	= store->slot[slot].counts,
	};
	int r = bk_store_write_pages(store, &run, 0, e->pages);

	if (r) {
		/* Nothing is known of either half any more: write all of it. */
		memset(run.counts, 0xff, e->pages * sizeof(*run.counts));
		return r;
	}
	e->half = run.half;
	e->set = run.set;
	return 0;
}

/* Are these still what the slot is to have? */
static bool bk_store_is_current(struct bk_store *store,
				struct bk_store_req *req)
{
	struct bk_store_slot *s = &store->slot[req->slot];
	bool current_bits;

	spin_lock(&store->lock);
	current_bits = req->bits == s->bits[0] || req->bits == s->bits[1];
	spin_unlock(&store->lock);
	return current_bits;
}

static int bk_store_do_rewrite(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_md_entry *e = &store->root.entry[req->slot];
	int r = 0;

	if (!bk_store_is_current(store, req))
		return 0;
	/* Done again it must not touch the half that the disk's root is with. */
	if (!req->pages_done)
		r = bk_store_write_other(store, req->slot, req->bits);
	if (r)
		return r;
	req->pages_done = true;
	strscpy(e->tag, req->tag, sizeof(e->tag));
	r = bk_store_write_root(store);
	if (!r)
		bk_store_settle(store, req->slot, req->bits);
	return r;
}

static int bk_store_do_distrust(struct bk_store *store,
				struct bk_store_req *req)
{
	strscpy(store->root.entry[req->slot].why, req->why, BK_MD_NAME);
	return store->read_only ? 0 : bk_store_write_root(store);
}

/* Make all regions cold: all pages are as they should be. */
static int bk_store_cool_all(struct bk_store *store)
{
	size_t size = bk_store_words(store) * sizeof(long);

	if (READ_ONCE(store->failed))
		return -EIO;
	store->pass = false;
	memset(store->disk_hot, 0, size);
	memset(store->cooling, 0, size);
	memset(store->old, 0, size);
	memset(store->hot, 0, size);
	return bk_store_write_hot(store, 0, store->root.hot_blocks, NULL);
}

/* Give a slot's bitmap the room it needs now, and write it there. */
static int bk_store_resize_slot(struct bk_store *store, unsigned int slot)
{
	struct bk_md_entry *e = &store->root.entry[slot];
	u32 pages = bk_md_pages(store->root.len, e->shift);
	struct bk_bits *bits[2];
	unsigned int old;
	u32 *counts;
	u64 first;
	int r = 0;

	if (pages > e->pages) {
		for (old = 0; old < BK_MD_MAX_BITMAPS; old++)
			if (!store->root.entry[old].name[0])
				break;
		if (old == BK_MD_MAX_BITMAPS)
			return -ENOSPC;
		r = bk_md_place(&store->root, BK_MD_MAX_BITMAPS, pages, &first);
		counts = r ? NULL : kvcalloc(pages, sizeof(*counts), GFP_NOIO);
		if (!counts)
			return r ?: -ENOMEM;
		/* Its area now is taken until the root says otherwise. */
		store->root.entry[old] = *e;
		store->root.entry[old].hidden = true;
		__set_bit(old, store->moved);
		kvfree(store->slot[slot].counts);
		store->slot[slot].counts = counts;
		e->first = first;
		e->pages = pages;
	}
	bk_store_get_bits(store, slot, bits);
	if (bits[0])
		r = bk_store_write_other(store, slot, bits[0]);
	bk_bits_put(bits[0]);
	bk_bits_put(bits[1]);
	return r;
}

/*
 * The origin has another length. What can't be kept is dropped from the disk:
 * its owner says so. Nothing is in flight.
 */
static int bk_store_do_resize(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_store_req drop = { };
	unsigned int i;
	int err = 0, r;

	store->root.len = req->len;
	while (bk_md_pages(req->len, store->root.region_shift) >
	       store->root.hot_blocks)
		store->root.region_shift++;
	store->shift = store->root.region_shift;
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		if (!store->root.entry[i].name[0] || test_bit(i, store->moved))
			continue;
		r = bk_store_resize_slot(store, i);
		if (r == -EIO)
			return r;
		if (!r)
			continue;
		err = err ?: r;
		memset(&store->root.entry[i], 0, sizeof(store->root.entry[i]));
		drop.slot = i;
		store->root.entry[i].hidden = true;	/* the root comes below */
		bk_store_do_drop(store, &drop);
	}
	r = bk_store_write_root(store);
	if (r)
		return r;
	for_each_set_bit(i, store->moved, BK_MD_MAX_BITMAPS)
		memset(&store->root.entry[i], 0, sizeof(store->root.entry[i]));
	bitmap_zero(store->moved, BK_MD_MAX_BITMAPS);
	return bk_store_cool_all(store) ?: err;
}

/* Cool what is hot now, but for what is written meanwhile. */
static int bk_store_do_cool(struct bk_store *store)
{
	int r = 0;

	bk_store_pass_abort(store);
	memcpy(store->old, store->disk_hot,
	       bk_store_words(store) * sizeof(long));
	if (!bk_store_pass_begin(store))
		return -EAGAIN;
	while (store->pass && !r) {
		r = bk_store_pass_step(store);
		if (!r)
			r = bk_store_serve(store);
	}
	return r;
}

/* The checksum of all bits of a slot, which @disk pages have. */
static u32 bk_store_crc(struct bk_store *store, unsigned int slot)
{
	const struct bk_md_entry *e = &store->root.entry[slot];
	struct bk_bits *bits[2];
	unsigned long nr;
	size_t left;
	u32 page, crc = ~0U;

	bk_store_get_bits(store, slot, bits);
	left = bits[0] ? DIV_ROUND_UP(bits[0]->nr, BITS_PER_BYTE) : 0;
	for (page = 0; page < e->pages && left; page++) {
		size_t n = min_t(size_t, left, BK_MD_PAYLOAD);

		bk_store_gather(store, bits, page, &nr);
		bk_md_bits_encode(&store->root, BK_MD_PAGE, 0, 0, 0, store->tmp,
				  nr, store->buf);
		crc = crc32c(crc, store->buf + BK_MD_HEADER, n);
		left -= n;
		cond_resched();
	}
	bk_bits_put(bits[0]);
	bk_bits_put(bits[1]);
	return ~crc;
}

static int bk_store_do_end(struct bk_store *store, struct bk_store_req *req)
{
	struct bk_md_root *root = &store->root;
	unsigned int i;
	int r = 0;

	bk_store_pass_abort(store);
	if (req->why[0]) {
		root->broken = true;
		r = bk_store_write_root(store);
		root->broken = !r;
		return r;
	}
	for (i = 0; i < BK_MD_MAX_BITMAPS && !r; i++) {
		if (!root->entry[i].name[0] || root->entry[i].hidden)
			continue;
		if (store->slot[i].bits[0])
			r = bk_store_save(store, i, 0, root->entry[i].pages);
		root->entry[i].crc = bk_store_crc(store, i);
	}
	if (!r)
		r = bk_store_cool_all(store);
	if (r)
		return r;
	root->print = req->print;
	memcpy(root->written, req->written, sizeof(root->written));
	memcpy(root->device, req->device, sizeof(root->device));
	root->clean = true;
	return bk_store_write_root(store);
}

static int bk_store_do(struct bk_store *store, struct bk_store_req *req)
{
	switch (req->verb) {
	case BK_STORE_BEGIN:
		return bk_store_do_begin(store, req);
	case BK_STORE_PLACE:
		return bk_store_do_place(store, req);
	case BK_STORE_DROP:
		return bk_store_do_drop(store, req);
	case BK_STORE_UPDATE:
		return bk_store_do_update(store, req);
	case BK_STORE_REWRITE:
		return bk_store_do_rewrite(store, req);
	case BK_STORE_DISTRUST:
		return bk_store_do_distrust(store, req);
	case BK_STORE_RESIZE:
		return bk_store_do_resize(store, req);
	case BK_STORE_COOL:
		return bk_store_do_cool(store);
	case BK_STORE_END:
		return bk_store_do_end(store, req);
	}
	return -EINVAL;
}

static void bk_store_req_free(struct kref *ref)
{
	struct bk_store_req *req = container_of(ref, struct bk_store_req, ref);

	bk_bits_put(req->bits);
	kfree(req);
}

/**
 * bk_store_req_put - drop a reference
 * @req:	the request, or NULL
 */
void bk_store_req_put(struct bk_store_req *req)
{
	if (req)
		kref_put(&req->ref, bk_store_req_free);
}

static struct bk_store_req *bk_store_req_alloc(enum bk_store_verb verb,
					       unsigned int slot)
{
	struct bk_store_req *req = kzalloc(sizeof(*req), GFP_NOIO |
					   __GFP_NOFAIL);

	kref_init(&req->ref);
	init_completion(&req->done);
	req->verb = verb;
	req->slot = slot;
	return req;
}

/* It is done; the store's reference goes. */
static void bk_store_req_done(struct bk_store *store, struct bk_store_req *req,
			      int err)
{
	req->err = err;
	complete_all(&req->done);
	spin_lock(&store->lock);
	if (req->notify && store->origin)
		queue_work(store->origin->wait_wq, req->notify);
	spin_unlock(&store->lock);
	bk_store_req_put(req);
}

/* Ask; the store gets a reference of its own. */
static void bk_store_ask(struct bk_store *store, struct bk_store_req *req)
{
	bool gone;

	kref_get(&req->ref);
	spin_lock(&store->lock);
	/* What is not to be trusted is written down at any time. */
	gone = !store->origin ||
	       (!store->live && req->verb != BK_STORE_BEGIN &&
		req->verb != BK_STORE_DISTRUST);
	if (!gone)
		list_add_tail(&req->list, &store->reqs);
	spin_unlock(&store->lock);
	if (gone)
		bk_store_req_done(store, req, -ENODEV);
	else
		bk_store_kick(store);
}

/**
 * bk_store_wait - wait until the disk has it
 * @req:	the request
 * @timeout:	in jiffies
 *
 * Context: process, sleeps. Return: how it went, or -ETIMEDOUT.
 */
int bk_store_wait(struct bk_store_req *req, unsigned long timeout)
{
	if (!wait_for_completion_timeout(&req->done, timeout))
		return -ETIMEDOUT;
	return req->err;
}

/*----------------------------------------------------------------*/
/* The worker */

/* May a request be done now? Under the lock. */
static bool bk_store_is_ready(struct bk_store *store, struct bk_store_req *req)
{
	if (req->drained && READ_ONCE(store->origin->gate.mode))
		return false;
	if (req->verb == BK_STORE_COOL)
		return !bk_store_has_pending(store);
	return req->verb != BK_STORE_REWRITE || req->flushed;
}

/*
 * The next request, off the list; those of one slot in their order. At the end,
 * and when the length changes, all are done: whoever asks for that has drained
 * the gate and flushed the origin.
 */
static struct bk_store_req *bk_store_next(struct bk_store *store)
{
	struct bk_store_req *req, *next = NULL;
	bool all = store->failed;
	u64 skipped = 0;

	spin_lock(&store->lock);
	list_for_each_entry(req, &store->reqs, list)
		all |= req->verb == BK_STORE_END ||
		       req->verb == BK_STORE_RESIZE;
	if (store->origin)
		list_for_each_entry(req, &store->reqs, list) {
			if (all || req->verb == BK_STORE_DISTRUST ||
			    (!(skipped & BIT_ULL(req->slot)) &&
			     bk_store_is_ready(store, req))) {
				next = req;
				break;
			}
			if (req->verb != BK_STORE_COOL)
				skipped |= BIT_ULL(req->slot);
		}
	if (next)
		list_del(&next->list);
	spin_unlock(&store->lock);
	return next;
}

/* Not now; it stays the first. */
static void bk_store_put_back(struct bk_store *store, struct bk_store_req *req)
{
	bool gone;

	spin_lock(&store->lock);
	gone = !store->origin;
	if (!gone)
		list_add(&req->list, &store->reqs);
	spin_unlock(&store->lock);
	if (gone)
		bk_store_req_done(store, req, -ENODEV);
}

/* One thing to do; false if there is none. */
static bool bk_store_step(struct bk_store *store)
{
	struct bk_store_req *req;
	int r = 0;

	req = bk_store_next(store);
	if (req) {
		r = READ_ONCE(store->failed) ? -EIO : bk_store_do(store, req);
		if (r == -EIO && store->hold && !READ_ONCE(store->failed)) {
			bk_store_pass_abort(store);
			bk_store_put_back(store, req);
			bk_store_retry(store);
			return false;
		}
		trace_bk_store(store->name, req->verb, req->slot, r);
		bk_store_req_done(store, req, r);
		if (r != -EIO)
			r = 0;	/* an answer, not the device's */
	} else if (READ_ONCE(store->failed)) {
		bk_store_mark_broken(store);
		return false;
	} else if (READ_ONCE(store->lease_due)) {
		r = bk_store_write_lease(store);
	} else if (store->pass) {
		r = bk_store_pass_step(store);
	} else if (READ_ONCE(store->pass_due)) {
		bk_store_pass_begin(store);
	} else {
		return false;
	}
	if (!r)
		return true;
	if (!store->hold) {
		bk_store_fail(store);
		return true;	/* to write that down */
	}
	bk_store_pass_abort(store);
	bk_store_retry(store);
	return false;
}

void bk_store_work(struct work_struct *work)
{
	struct bk_store *store = container_of(work, struct bk_store, work);
	unsigned int noio = memalloc_noio_save();

	do {
		if (bk_store_serve(store) && !READ_ONCE(store->failed))
			break;
		cond_resched();
	} while (bk_store_step(store) || (READ_ONCE(store->want_since) &&
					  !READ_ONCE(store->failed)));
	memalloc_noio_restore(noio);
	bk_store_put(store);
}

/*
 * Does any request wait for a flush of the origin, its cut having drained? With
 * @begin the flush is about to be made: it is for those that do, and for none
 * that comes later.
 */
static bool bk_store_wants_flush(struct bk_store *store, bool begin)
{
	struct bk_store_req *req;
	bool any = false, wants;

	spin_lock(&store->lock);
	list_for_each_entry(req, &store->reqs, list) {
		wants = req->verb == BK_STORE_REWRITE && !req->flushed &&
			store->origin && !READ_ONCE(store->origin->gate.mode);
		any |= wants;
		if (begin)
			req->flushing = wants;
	}
	spin_unlock(&store->lock);
	return any;
}

static void bk_store_mark_flushed(struct bk_store *store)
{
	struct bk_store_req *req;

	spin_lock(&store->lock);
	list_for_each_entry(req, &store->reqs, list)
		req->flushed |= req->flushing;
	spin_unlock(&store->lock);
}

/* What has to do with the origin, for which this may wait. */
static void bk_store_ask_origin(struct bk_store *store,
				struct bk_origin *origin)
{
	struct block_device *bdev = bk_origin_io_begin(origin, NULL);
	struct bk_md_witness witness;

	if (IS_ERR_OR_NULL(bdev))
		return;
	if (bk_store_wants_flush(store, true) && !blkdev_issue_flush(bdev))
		bk_store_mark_flushed(store);
	if (!bk_trust_witness(bdev, READ_ONCE(origin->len), &witness)) {
		spin_lock(&store->lock);
		store->witness = witness;
		spin_unlock(&store->lock);
	}
	bk_origin_io_end(origin);
}

/* Now and then: how the origin's file system is, the lease, a pass. */
void bk_store_tick(struct work_struct *work)
{
	struct bk_store *store = container_of(to_delayed_work(work),
					      struct bk_store, tick);
	struct bk_origin *origin = bk_store_origin(store);
	unsigned int noio = memalloc_noio_save();

	if (!origin)
		goto out;
	bk_store_ask_origin(store, origin);
	bk_origin_put(origin);
	spin_lock(&store->lock);
	store->lease_due = true;
	store->pass_due |= !(++store->ticks % BK_STORE_PASS_TICKS);
	if (store->origin && (store->live || store->failed))
		queue_delayed_work(store->origin->wait_wq, &store->tick,
				   msecs_to_jiffies(BK_STORE_TICK_MS));
	spin_unlock(&store->lock);
	bk_store_kick(store);
out:
	memalloc_noio_restore(noio);
}

/**
 * bk_store_idle - what waited for a cut's drain, or a resume, may be done
 * @origin:	the filter
 *
 * Context: process; does not sleep.
 */
void bk_store_idle(struct bk_origin *origin)
{
	struct bk_store *store = origin->store;

	if (!store || !READ_ONCE(store->live))
		return;
	if (bk_store_wants_flush(store, false))
		mod_delayed_work(origin->wait_wq, &store->tick, 0);
	bk_store_kick(store);
}

/*----------------------------------------------------------------*/
/* Beginning and ending */

/*
 * Ask, and wait for as long as the device goes on, but no longer than @ms. If
 * @must, one that has not done it by then has failed.
 */
static int bk_store_ask_and_wait(struct bk_store *store,
				 struct bk_store_req *req, unsigned int ms,
				 bool must)
{
	unsigned long end = jiffies + msecs_to_jiffies(ms);
	unsigned long soon = jiffies + msecs_to_jiffies(BK_STORE_WAIT_MS);
	bool stuck = false;
	int r;

	bk_store_ask(store, req);
	do {
		r = bk_store_wait(req, HZ / 4);
		stuck = bk_store_is_late(READ_ONCE(store->io_since)) ||
			(READ_ONCE(store->erring) && time_after(jiffies, soon));
	} while (r == -ETIMEDOUT && !stuck && time_before(jiffies, end));
	if (r == -ETIMEDOUT && (must || (stuck && !store->hold)))
		bk_store_fail(store);
	bk_store_req_put(req);
	return r;
}

static void bk_store_give_up(struct bk_origin *origin, const char *why)
{
	mutex_lock(&origin->lock);
	origin->ops->distrust(origin, why);
	mutex_unlock(&origin->lock);
}

/**
 * bk_store_begin - a filter goes live: may its bitmaps be believed?
 * @in:		its instance; nothing is written through it yet
 *
 * From here on the disk says that the filter is in use. If it can't be made to
 * say so the bitmaps are inconsistent; the filter goes live in any case.
 *
 * Context: dm's preresume: process, sleeps for a bounded time.
 */
void bk_store_begin(struct bk_instance *in)
{
	struct bk_origin *origin = in->origin;
	struct bk_store *store = origin->store;
	struct bk_store_req *req;
	struct bk_evidence e;
	const char *why;
	int r;

	if (!store)
		return;
	store->hold = in->hold;
	if (READ_ONCE(store->failed))	/* to write that down */
		queue_delayed_work(origin->wait_wq, &store->tick, 0);
	if (store->live || READ_ONCE(store->failed))
		return;
	bk_trust_look(in, store->root.clean, &e);
	why = bk_trust_judge(&store->root, &store->lease, store->lease.seq, &e);
	if (why)
		bk_store_give_up(origin, why);
	store->read_only = !(dm_table_get_mode(in->ti->table) & BK_MODE_WRITE);
	if (store->read_only)
		return;
	store->witness = e.witness;
	req = bk_store_req_alloc(BK_STORE_BEGIN, 0);
	strscpy(req->why, why ?: "", sizeof(req->why));
	r = bk_store_ask_and_wait(store, req, BK_STORE_MUST_MS, true);
	if (r) {
		bk_store_fail(store);
		bk_store_give_up(origin, "the metadata device failed");
	}
	spin_lock(&store->lock);
	store->live = !r;
	spin_unlock(&store->lock);
	/* If it has failed, to write that down. */
	queue_delayed_work(origin->wait_wq, &store->tick,
			   msecs_to_jiffies(BK_STORE_TICK_MS));
}

/**
 * bk_store_end - a filter stops: save everything exactly
 * @in:		its last instance; nothing is in flight in it
 * @why:	NULL, or why its bitmaps can't be trusted any more
 *
 * Context: dm's postsuspend or dtr: process, sleeps for a bounded time, but for
 * the origin's.
 */
void bk_store_end(struct bk_instance *in, const char *why)
{
	struct bk_store *store = in->origin->store;
	struct bk_store_req *req;
	struct bk_evidence e = { };

	if (!store || !store->live)
		return;
	cancel_delayed_work_sync(&store->tick);
	req = bk_store_req_alloc(BK_STORE_END, 0);
	if (!why && !bk_gate_wait_drained(&in->origin->gate, HZ))
		why = "writes were still in flight at the end";
	if (!why && blkdev_issue_flush(in->dev->bdev))
		why = "the origin could not be flushed at the end";
	if (!why) {
		bk_trust_look(in, true, &e);
		if (e.err)
			why = "the origin could not be read at the end";
	}
	strscpy(req->why, why ?: "", sizeof(req->why));
	req->print = e.print;
	memcpy(req->written, e.written, sizeof(req->written));
	memcpy(req->device, e.device, sizeof(req->device));
	bk_store_ask_and_wait(store, req, BK_STORE_MUST_MS, true);
	spin_lock(&store->lock);
	store->live = false;
	spin_unlock(&store->lock);
}

/**
 * bk_store_resize - the device has another length, and its bitmaps have followed
 * @origin:	the filter; its lock is held, no bio is in it
 * @len:	the new length, sectors
 *
 * Context: process, sleeps for a bounded time.
 */
void bk_store_resize(struct bk_origin *origin, sector_t len)
{
	struct bk_store *store = origin->store;
	struct bk_store_req *req;
	int r;

	if (!store)
		return;
	/* The map in memory is looked at in any case. */
	while (bk_md_units(len, store->shift) > bk_store_regions(store))
		store->shift++;
	if (!store->live || READ_ONCE(store->failed))
		return;
	req = bk_store_req_alloc(BK_STORE_RESIZE, 0);
	req->len = len;
	r = bk_store_ask_and_wait(store, req, BK_STORE_MUST_MS, true);
	if (r)
		origin->ops->distrust(origin, r == -ENOSPC ?
				      "the metadata device has no room for the new length" :
				      "the metadata device failed when the length changed");
}

/**
 * bk_store_save_now - save everything, so that after a crash no more is dirty
 * @origin:	the filter
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, sleeps for a bounded time. Return: 0 or a negative errno.
 */
int bk_store_save_now(struct bk_origin *origin, char *error, size_t size)
{
	struct bk_store *store = origin->store;
	struct bk_store_req *req;
	int r = -ENODEV;

	if (store && store->live) {
		req = bk_store_req_alloc(BK_STORE_COOL, 0);
		req->drained = true;
		r = bk_store_ask_and_wait(store, req, BK_STORE_WAIT_MS, false);
	}
	if (r)
		scnprintf(error, size, "the metadata device %s", r == -ENODEV ?
			  "is missing" : r == -ETIMEDOUT ? "is slow" :
			  r == -EAGAIN ? "has a change to write: try again" :
			  "has failed");
	return r;
}

/**
 * bk_store_close - the filter goes away
 * @origin:	the filter; nobody writes to it, and its bitmaps are gone
 *
 * Context: process, sleeps for a bounded time.
 */
void bk_store_close(struct bk_origin *origin)
{
	struct bk_store *store = origin->store;
	struct bk_store_req *req, *next;
	LIST_HEAD(reqs);
	dev_t dev;

	if (!store)
		return;
	spin_lock(&store->lock);
	store->origin = NULL;
	list_splice_init(&store->reqs, &reqs);
	spin_unlock(&store->lock);
	cancel_delayed_work_sync(&store->tick);	/* nobody queues it any more */
	list_for_each_entry_safe(req, next, &reqs, list)
		bk_store_req_done(store, req, -ENODEV);
	cancel_work_sync(&origin->distrust);
	origin->store = NULL;
	dev = store->dest ? store->dest->dev : 0;
	bk_store_put(store);
	/* Whoever removes the filter may want to remove the device next. */
	if (dev)
		bk_dest_wait_closed(dev, msecs_to_jiffies(BK_STORE_WAIT_MS));
}

/**
 * bk_store_status - the store's group in the status line
 * @origin:	the filter
 * @buf:	where to
 * @size:	of @buf
 *
 * "0", or the number of words, which may become more: device, state, hot
 * regions, all regions, sectors of a region. Return: length.
 */
size_t bk_store_status(struct bk_origin *origin, char *buf, size_t size)
{
	struct bk_store *store = origin->store;
	unsigned long regions;

	if (!store)
		return scnprintf(buf, size, "0");
	regions = bk_md_units(READ_ONCE(origin->len), store->shift);
	return scnprintf(buf, size, "5 %s %s %u %lu %llu", store->name,
			 READ_ONCE(store->failed) ? "failed" :
			 store->read_only ? "read_only" :
			 store->live ? "ok" : "stopped",
			 READ_ONCE(store->failed) ? 0 :
			 bitmap_weight(store->hot, regions), regions,
			 1ULL << store->shift);
}

/*----------------------------------------------------------------*/
/* What bitmaps ask for */

/**
 * bk_store_reserve - make room for a bitmap, and write it there
 * @origin:	the filter
 * @name:	its name
 * @bits:	its bits; nobody else knows of them
 * @recording:	it is to record
 * @slot:	set to its slot
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, sleeps for a bounded time. Return: 0 or a negative errno.
 */
int bk_store_reserve(struct bk_origin *origin, const char *name,
		     struct bk_bits *bits, bool recording, int *slot,
		     char *error, size_t size)
{
	struct bk_store *store = origin->store;
	struct bk_store_req *req;
	unsigned int i;
	int r;

	if (!store || !store->live) {
		strscpy(error, "the filter has no metadata device", size);
		return -ENODEV;
	}
	mutex_lock(&origin->lock);
	for (i = 0; i < BK_MD_MAX_BITMAPS && store->slot[i].taken; i++)
		;
	if (i < BK_MD_MAX_BITMAPS)
		store->slot[i].taken = true;
	mutex_unlock(&origin->lock);
	if (i == BK_MD_MAX_BITMAPS) {
		scnprintf(error, size, "there are %u persistent bitmaps already",
			  i);
		return -ENOSPC;
	}
	req = bk_store_req_alloc(BK_STORE_PLACE, i);
	strscpy(req->name, name, sizeof(req->name));
	req->recording = recording;
	req->shift = bits->shift;
	req->bits = bits;
	bk_bits_get(bits);
	/* It may be large. */
	r = bk_store_ask_and_wait(store, req, BK_STORE_MUST_MS, false);
	if (!r) {
		*slot = i;
		return 0;
	}
	scnprintf(error, size, "bitmap '%.64s': the metadata device %s", name,
		  r == -ENOSPC ? "has no room for it" :
		  r == -ETIMEDOUT ? "is slow" : "has failed");
	/* What is being written yet is dropped when it is; the slot stays taken. */
	if (r == -ETIMEDOUT) {
		req = bk_store_req_alloc(BK_STORE_DROP, i);
		bk_store_ask(store, req);
		bk_store_req_put(req);
		return r;
	}
	mutex_lock(&origin->lock);
	store->slot[i].taken = false;
	mutex_unlock(&origin->lock);
	return r;
}

/**
 * bk_store_drop - a bitmap is gone, or will not be
 * @origin:	the filter
 * @slot:	the bitmap's; -1: it has none
 *
 * Context: process, sleeps for a bounded time.
 */
void bk_store_drop(struct bk_origin *origin, int slot)
{
	struct bk_store *store = origin->store;
	int r;

	if (slot < 0)
		return;
	r = bk_store_ask_and_wait(store,
				  bk_store_req_alloc(BK_STORE_DROP, slot),
				  BK_STORE_WAIT_MS, false);
	mutex_lock(&origin->lock);
	store->slot[slot].taken = r;
	mutex_unlock(&origin->lock);
}

/**
 * bk_store_cover - from now on the disk is to have other bits, too
 * @origin:	the filter
 * @slot:	the bitmap's; -1: it has none
 * @bits:	bits that are about to be published in the place of the bitmap's;
 *		or NULL if it keeps those
 * @pending:	nothing is to be cooled until the disk has the change
 *
 * Context: process; does not sleep, but for freeing memory.
 */
void bk_store_cover(struct bk_origin *origin, int slot, struct bk_bits *bits,
		    bool pending)
{
	struct bk_bits *old = NULL;
	struct bk_store_slot *s;

	if (slot < 0)
		return;
	s = &origin->store->slot[slot];
	spin_lock(&origin->store->lock);
	s->pending |= pending && origin->store->live;
	if (bits) {
		old = s->bits[1];
		bk_bits_get(bits);
		s->bits[1] = bits;
	}
	spin_unlock(&origin->store->lock);
	bk_bits_put(old);
}

/**
 * bk_store_uncover - the disk is to have a bitmap's bits, and no others
 * @origin:	the filter
 * @slot:	the bitmap's; -1: it has none
 * @bits:	its bits; they have all that the disk has
 *
 * Context: process, may sleep.
 */
void bk_store_uncover(struct bk_origin *origin, int slot, struct bk_bits *bits)
{
	if (slot >= 0)
		bk_store_settle(origin->store, slot, bits);
}

/**
 * bk_store_rewrite - a bitmap has lost bits: let the disk follow
 * @origin:	the filter; its lock is held
 * @slot:	the bitmap's; -1: it has none
 * @bits:	its bits now
 * @tag:	what it remembers
 * @flushed:	the origin has been flushed since the bits were dropped from
 *		memory and the cut that did it had drained; else it will be
 * @notify:	queued to the filter's wait_wq when that is so, or NULL
 *
 * Done once the last cut has drained and the origin has been flushed after that.
 *
 * Return: a request to wait for, and to put; NULL if there is nothing to do.
 */
struct bk_store_req *bk_store_rewrite(struct bk_origin *origin, int slot,
				      struct bk_bits *bits, const char *tag,
				      bool flushed, struct work_struct *notify)
{
	struct bk_store_req *req;

	if (slot < 0)
		return NULL;
	bk_store_cover(origin, slot, bits, true);
	req = bk_store_req_alloc(BK_STORE_REWRITE, slot);
	req->bits = bits;
	bk_bits_get(bits);
	strscpy(req->tag, tag, sizeof(req->tag));
	req->drained = true;
	req->flushed = flushed;
	req->notify = notify;
	bk_store_ask(origin->store, req);
	if (!flushed)
		bk_store_idle(origin);
	return req;
}

/**
 * bk_store_forget - the asker does not wait any more
 * @origin:	the filter
 * @req:	the request; its notify is not queued any more after this
 */
void bk_store_forget(struct bk_origin *origin, struct bk_store_req *req)
{
	spin_lock(&origin->store->lock);
	req->notify = NULL;
	spin_unlock(&origin->store->lock);
	bk_store_req_put(req);
}

/**
 * bk_store_update - bits were added, or it records or not: let the disk follow
 * @origin:	the filter; its lock is held
 * @slot:	the bitmap's; -1: it has none
 * @recording:	it records
 * @drained:	a cut has done this: not before that has drained
 *
 * Return: a request to wait for, and to put; NULL if there is nothing to do.
 */
struct bk_store_req *bk_store_update(struct bk_origin *origin, int slot,
				     bool recording, bool drained)
{
	struct bk_store_req *req;

	if (slot < 0)
		return NULL;
	req = bk_store_req_alloc(BK_STORE_UPDATE, slot);
	req->recording = recording;
	req->drained = drained;
	bk_store_ask(origin->store, req);
	return req;
}

/**
 * bk_store_distrust - a bitmap has become inconsistent: let the disk follow
 * @origin:	the filter; its lock is held
 * @slot:	the bitmap's; -1: it has none
 * @why:	why
 *
 * Context: process; waits for nothing.
 */
void bk_store_distrust(struct bk_origin *origin, int slot, const char *why)
{
	struct bk_store_req *req;

	if (slot < 0)
		return;
	req = bk_store_req_alloc(BK_STORE_DISTRUST, slot);
	strscpy(req->why, why, sizeof(req->why));
	bk_store_ask(origin->store, req);
	bk_store_req_put(req);
}

/**
 * bk_store_is_stopped - can no change of a bitmap be written?
 * @origin:	the filter
 * @slot:	the bitmap's; -1: it has none
 */
bool bk_store_is_stopped(struct bk_origin *origin, int slot)
{
	struct bk_store *store = origin->store;

	return slot >= 0 && !READ_ONCE(store->live) &&
	       !READ_ONCE(store->failed);
}

/**
 * bk_store_is_pending - is a bitmap's last change not on disk yet?
 * @origin:	the filter
 * @slot:	the bitmap's; -1: it has none
 */
bool bk_store_is_pending(struct bk_origin *origin, int slot)
{
	struct bk_store *store = origin->store;
	bool pending;

	if (slot < 0)
		return false;
	spin_lock(&store->lock);
	pending = store->slot[slot].pending && !store->failed;
	spin_unlock(&store->lock);
	return pending;
}
