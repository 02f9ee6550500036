/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A point in time of an origin, on its way to a destination.
 *
 * What it promises
 *   It is installed by a cut (it is put into the cfg that the cut publishes) and
 *   stays until it is taken out. Stopping it, for whatever reason, neither
 *   sleeps nor allocates, releases whoever waits for it, and is seen by every
 *   path: writers pass, copies under way are dropped when their I/O ends,
 *   nothing more is asked of its owner but to release it.
 *
 *   Another one may take its place, on the same destination, at a cut: until the
 *   last of its own ops has ended, the other's writes are kept back.
 *
 * Its clusters are cow.h's, its fleece device, if it has one, is fleece.h's, the
 * copies under way are op.h's, who reads it is reader.h's.
 *
 * Locks and contexts
 *   bucket->lock  spinlock: every transition of a cluster, with pending tested
 *                 again under it; the bucket's ops and their holders. Process
 *                 context only. pit->lock, pool.lock, dest->lock, io_lock and
 *                 reader_lock are taken inside it.
 *   bucket->reader_lock
 *                 irq-safe spinlock, a leaf: the bucket's readers. One is added
 *                 under bucket->lock as well, so who holds that meets no new one.
 *   pit->lock     spinlock: staged, retry, unread, backoff, careful, behind, what
 *                 is on the fleece device. A leaf; its job's lock is outside of it.
 *
 * References
 *   A pit is held by its owner, by each cfg it is published in, by each op, by
 *   each view, by the one whose place it has taken, and by those that borrow from
 *   it (lend.h).
 *   It is a user of its destination, and of its fleece device until it lets go of
 *   that, and holds its origin's memory and its
 *   owner. The last reference may be dropped anywhere in process context; it is
 *   freed in the module's workqueue.
 */

#ifndef BK_PIT_H
#define BK_PIT_H

#include <linux/mempool.h>

#include "bits.h"
#include "copy.h"
#include "fleece.h"
#include "map.h"
#include "origin.h"

#define BK_BUCKET_BITS		7
#define BK_OPS_RESERVED		4

/* How many, each in the place of the one before, may wait for one to end. */
#define BK_PIT_CHAIN		4

struct bk_pit;

enum bk_action {
	BK_ACTION_REPORT,	/* the job fails */
	BK_ACTION_IGNORE,	/* try again, later and later */
	BK_ACTION_STOP,		/* try again when the job is resumed */
};

/* What has failed. */
enum bk_fault {
	BK_FAULT_READ,		/* reading the origin */
	BK_FAULT_WRITE,		/* writing the destination */
	BK_FAULT_FLEECE_READ,	/* reading the fleece device, for a move */
	BK_FAULT_FLEECE_WRITE,	/* writing it; the destination is next */
};

enum bk_cbw_policy {
	BK_BREAK_SNAPSHOT,
	BK_BREAK_GUEST_WRITE,
};

/**
 * struct bk_pit_ops - what a point in time asks of its owner
 * @narrowed:	only @sectors are to be copied, perhaps none
 * @claimed:	@sectors are being copied because of a guest's write
 * @copied:	@sectors are on the destination; from any work item
 * @dropped:	@sectors are not to be copied any more
 * @diverted:	@sectors that were to be fleeced are written to the destination
 * @error:	copying failed at @sector; returns what to do about a background copy
 * @broken:	it was given up to keep a guest going; no allocation, no sleep
 * @kick:	background copies may go on; no sleep
 * @idle:	no background copy is in flight any more; no sleep
 * @release:	the pit goes away
 */
struct bk_pit_ops {
	void (*narrowed)(struct bk_pit *pit, u64 sectors);
	void (*claimed)(struct bk_pit *pit, unsigned int sectors);
	void (*copied)(struct bk_pit *pit, unsigned int sectors, bool guest);
	void (*dropped)(struct bk_pit *pit, u64 sectors);
	void (*diverted)(struct bk_pit *pit, unsigned int sectors);
	enum bk_action (*error)(struct bk_pit *pit, enum bk_fault fault,
				sector_t sector, blk_status_t status,
				bool guest);
	void (*broken)(struct bk_pit *pit, int err);
	void (*kick)(struct bk_pit *pit);
	void (*idle)(struct bk_pit *pit);
	void (*release)(struct bk_pit *pit);
};

struct bk_bucket {
	spinlock_t lock;	/* ops, and transitions of their lanes' clusters */
	struct list_head ops;
	spinlock_t reader_lock;	/* readers */
	struct list_head readers;
};

/**
 * struct bk_cbw - how much a guest's write is asked to bear
 * @policy:	when copying for it fails
 * @timeout:	ms that it may wait; 0: for ever
 *
 * Read without a lock, each once for each decision.
 */
struct bk_cbw {
	enum bk_cbw_policy policy;
	unsigned int timeout;
};

/**
 * struct bk_pit_params - how to make a point in time
 * @cluster:	sectors, a power of two
 * @max_chunk:	sectors that one background copy may take
 * @zeroes:	what to do with zeroes; the owner's, set to OFF when the
 *		destination can't do it
 * @cbw:	the owner's; may change at any time
 * @only:	NULL, or what is to be copied, rounded out to clusters: as it is
 *		when the cut's old epoch has drained
 * @only_grows:	writes set more bits in it after that
 * @fleece:	NULL, or its fleece device, open
 * @lender:	NULL, or an older one whose destination may serve both; the same
 *		filter's, with clusters of the same size
 */
struct bk_pit_params {
	unsigned int cluster;
	unsigned int max_chunk;
	enum bk_zeroes *zeroes;
	const struct bk_cbw *cbw;
	struct bk_bits *only;
	bool only_grows;
	struct bk_dest *fleece;
	struct bk_pit *lender;
};

/**
 * struct bk_pit - a point in time of the origin, on its way to a destination
 * @ref:	see above
 * @origin:	the filter
 * @dest:	where it goes
 * @ops:	the owner's
 * @owner:	the owner
 * @name:	the owner's name, for traces
 * @flags:	BK_PIT_*
 * @len:	sectors
 * @shift:	log2 of sectors per cluster
 * @lane_shift:	log2 of clusters per lane
 * @clusters:	number of clusters
 * @pending:	map, see above
 * @claimed:	map, see above
 * @covered:	map of what can be read; NULL: everything. Made when a view needs
 *		it, or when params.only won't tell any more; then there for good.
 *		Bits are cleared under the bucket's lock
 * @fleece:	its fleece device, and what is there
 * @lent:	map of what is saved on the lender's destination, if there is one
 * @lender:	a reference, or NULL; with what follows: lend.h
 * @lent_sectors: saved there
 * @borrowers:	how many borrow from this one
 * @depth:	how many lenders there are, one behind the other
 * @views:	how many views there are
 * @todo:	clusters that are not saved
 * @params:	as given; a reference on only, none on fleece
 * @reserve:	one cluster's buffer
 * @op_pool:	of struct bk_op
 * @background:	background ops in flight
 * @coming:	bytes of those that are being read
 * @cursor:	where the next background copy is looked for
 * @careful:	[first, end) of clusters to copy one by one after a read error
 * @lean_until:	copy one by one until then, jiffies: there is no memory for more
 * @cut_at:	when it was installed, 64-bit jiffies
 * @successor:	what has taken its place, a reference; set before it is stopped
 * @chain:	how many it may have to wait for
 * @writers:	its ops, one until it is replaced, and one while it is behind
 * @lock:	protects what follows
 * @behind:	it has taken the place of one that has not ended: no write yet
 * @staged:	ops with data only in memory, oldest first
 * @retry:	ops whose write is to be tried again, or to be started later
 * @unread:	ops that wait for readers of the origin, or of the fleece device
 * @retry_work:	tries them
 * @backoff:	ms until it does
 * @free_work:	frees it when the last reference has gone
 * @buckets:	ops by lane
 */
struct bk_pit {
	struct kref ref;
	struct bk_origin *origin;
	struct bk_dest *dest;
	const struct bk_pit_ops *ops;
	void *owner;
	const char *name;
	unsigned long flags;

	sector_t len;
	unsigned int shift;
	unsigned int lane_shift;
	unsigned long clusters;
	unsigned long *pending;
	unsigned long *claimed;
	unsigned long *covered;
	struct bk_fleece fleece;
	unsigned long *lent;
	struct bk_pit *lender;
	atomic64_t lent_sectors;
	atomic_t borrowers;
	unsigned int depth;
	atomic_t views;
	atomic_long_t todo;
	struct bk_pit_params params;
	struct bk_reserve reserve;
	mempool_t op_pool;

	atomic_t background;
	atomic64_t coming;
	unsigned long cursor;
	unsigned long careful[2];
	unsigned long lean_until;
	u64 cut_at;
	struct bk_pit *successor;
	unsigned int chain;
	atomic_t writers;

	spinlock_t lock;	/* all that follows but buckets */
	bool behind;
	struct list_head staged;
	struct list_head retry;
	struct list_head unread;
	struct delayed_work retry_work;
	unsigned int backoff;
	struct work_struct free_work;

	struct bk_bucket buckets[1 << BK_BUCKET_BITS];
};

#define BK_PIT_DRAINED	0	/* may copy */
#define BK_PIT_STOPPED	1	/* nobody waits for it any more */
#define BK_PIT_BROKEN	2	/* stopped to keep a guest going */
#define BK_PIT_COMPLETE	3	/* stopped as all of it is on the destination */

unsigned long *bk_map_alloc(unsigned long bits, bool set);

struct bk_pit *bk_pit_create(struct bk_origin *origin, struct bk_dest *dest,
			     const struct bk_pit_params *params,
			     const struct bk_pit_ops *ops, void *owner,
			     const char *name, int *error);
struct bk_pit *bk_pit_create_next(struct bk_pit *pit, int *error);
void bk_pit_replace(struct bk_pit *pit, struct bk_pit *next);
void bk_pit_writer_gone(struct bk_pit *pit);
void bk_pit_put(struct bk_pit *pit);
void bk_pit_stop(struct bk_pit *pit);
void bk_pit_complete(struct bk_pit *pit);
void bk_pit_quit(struct bk_pit *pit);
void bk_pit_break(struct bk_pit *pit, int err);
bool bk_pit_drained(struct bk_pit *pit);
void bk_pit_uncopied(struct bk_pit *pit, struct bk_bits *bits);
void bk_pit_kick_holders(struct bk_pit *pit);
bool bk_pit_oldest(struct bk_pit *pit, unsigned long *since);
u64 bk_pit_sectors(struct bk_pit *pit, unsigned long first, unsigned long end);

static inline void bk_pit_get(struct bk_pit *pit)
{
	kref_get(&pit->ref);
}

/* Bytes on their way to the destination that it does not know of yet. */
static inline u64 bk_pit_coming(struct bk_pit *pit)
{
	return atomic64_read(&pit->coming);
}

static inline bool bk_pit_is_stopped(const struct bk_pit *pit)
{
	return test_bit(BK_PIT_STOPPED, &pit->flags);
}

/*
 * Is what it refers to still to be had, from the origin or the destination? If it
 * is complete, the flag that says so was set first: pairs with the full barrier in
 * bk_pit_stop().
 */
static inline bool bk_pit_is_readable(const struct bk_pit *pit)
{
	return !test_bit_acquire(BK_PIT_STOPPED, &pit->flags) ||
	       test_bit(BK_PIT_COMPLETE, &pit->flags);
}

/* How long no runs are copied when there was no memory for one, jiffies. */
#define BK_LEAN			(HZ / 10)

/* In a range: jiffies may have wrapped since. */
static inline bool bk_pit_is_lean(const struct bk_pit *pit)
{
	unsigned long until = READ_ONCE(pit->lean_until);

	return time_in_range_open(jiffies, until - BK_LEAN, until);
}

/* May it copy? Pairs with the barrier in bk_pit_drained(). */
static inline bool bk_pit_is_drained(const struct bk_pit *pit)
{
	return test_bit_acquire(BK_PIT_DRAINED, &pit->flags);
}

static inline unsigned long bk_pit_cluster(const struct bk_pit *pit,
					   sector_t sector)
{
	return sector >> pit->shift;
}

#endif
