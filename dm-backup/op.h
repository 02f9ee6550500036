/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An op: a run of claimed clusters of one point in time on its way from the
 * origin to the destination; or with fleecing, to the fleece device, and from
 * there to the destination (a move).
 *
 * What it promises
 *   Its clusters are claimed from bk_op_claim() until they are saved or it ends, and
 *   found by bk_op_find() in between. The buffer is the only copy of what writers may
 *   have overwritten since it was staged: it is kept and written again until it
 *   is on the destination or the point in time is stopped.
 *
 * Its life
 *   alloc, claim   its clusters are `reading'; then its read is started, or it
 *                  shares that of another op that covers its range (base): one
 *                  read of the origin serves several points in time that need
 *                  the same range at the same moment
 *   valid          the read is done, but a view reads the same of the origin: the
 *                  op waits on pit->unread, and its holders with it
 *   staged         the read is done: holders go, the write starts. A multiple
 *                  of clusters that can't be read is given back, to be copied
 *                  one by one
 *   saved          the write is done; or that of another point in time's op, which
 *                  saves the same (lend.h)
 *   moved          of a move: it has no clusters any more, and gives their space on
 *                  the fleece device back once nobody reads them there
 *   finish         it is in no bucket any more
 *   A bucket holds the ops of some lanes. Runs do not cross the borders of
 *   lanes (aligned groups of clusters), so one bucket's lock covers a run.
 *
 * References
 *   One for itself until it finishes, one for each op whose base it is, one for
 *   each that may borrow from it. An op holds its pit.
 *
 * Context: process; nothing here sleeps. Locks: see pit.h. op-int.h says which file is
 * about what.
 */

#ifndef BK_OP_H
#define BK_OP_H

#include <linux/hash.h>

#include "pit.h"

enum bk_op_state {
	BK_OP_READING,		/* its clusters are `reading' */
	BK_OP_VALID,		/* the same, but its buffer is valid */
	BK_OP_STAGED,		/* its buffer is valid; write under way or due */
	BK_OP_MOVED,		/* its clusters are `saved', and not its own any more */
};

/* From where to where. */
enum bk_op_kind {
	BK_OP_COPY,		/* from the origin to the destination */
	BK_OP_FLEECE,		/* from the origin to the fleece device */
	BK_OP_MOVE,		/* from the fleece device to the destination */
};

/**
 * struct bk_op - a run of clusters of one point in time, being copied
 * @ref:	itself while under way, and ops that use its read
 * @bucket:	in the bucket's ops while its clusters are claimed
 * @batch:	while being put together, then on @base's sharers
 * @pit:	the point in time, a reference
 * @base:	the op whose read fills the buffer, a reference if another one
 * @sharers:	ops that use this one's read, itself included
 * @first:	first cluster
 * @nr:		number of clusters
 * @state:	bucket->lock
 * @kind:	known once it is claimed; bucket->lock
 * @fleece:	the fleece device, if it may use that: it is its user until it finishes
 * @guest:	started because of a guest's write
 * @hold:	writes wait until the destination has it (break_guest_write)
 * @saved:	the destination has it
 * @retried:	its read was tried again
 * @given_up:	stopped while its I/O was in flight; bucket->lock
 * @counted:	in pit->background
 * @coming:	in pit->coming
 * @lends:	others may borrow from it; set before its read is started
 * @over:	none any more; pit->lock
 * @lasting:	it has ended, and what it was to save is saved; pit->lock
 * @lent:	saved by @lender
 * @lender:	the op of another point in time that may save it, a reference; lend.h
 * @borrowers:	ops that wait for it to be saved; pit->lock
 * @borrow:	on @lender's borrowers; its pit->lock
 * @staged:	on pit->staged from the end of the read to that of the write
 * @retry:	on pit->retry, or on pit->unread
 * @staged_at:	jiffies
 * @holders:	bios that wait for it; bucket->lock
 * @read:	of the origin, if it is its own base; of the fleece device
 * @write:	to the destination, or the fleece device; at last, a move's discard there
 */
struct bk_op {
	struct kref ref;
	struct list_head bucket;
	struct list_head batch;
	struct bk_pit *pit;
	struct bk_op *base;
	struct list_head sharers;
	unsigned long first;
	unsigned int nr;
	enum bk_op_state state;
	enum bk_op_kind kind;
	struct bk_dest *fleece;
	bool guest;
	bool hold;
	bool saved;
	bool retried;
	bool given_up;
	bool counted;
	bool coming;
	bool lends;
	bool over;
	bool lasting;
	bool lent;
	struct bk_op *lender;
	struct list_head borrowers;
	struct list_head borrow;
	struct list_head staged;
	struct list_head retry;
	unsigned long staged_at;
	struct bio_list holders;
	struct bk_read read;
	struct bk_write write;
};

int bk_op_init(void);
void bk_op_exit(void);
int bk_op_pool_init(mempool_t *pool);

struct bk_op *bk_op_alloc(struct bk_pit *pit, bool guest);
void bk_op_put(struct bk_op *op);
void bk_op_size_read(struct bk_op *op);
unsigned long bk_pit_run_limit(struct bk_pit *pit, unsigned long cluster,
			       unsigned int max_sectors);
bool bk_op_claim(struct bk_op *op, unsigned long from, unsigned long end,
		 unsigned int max_sectors);
void bk_op_share(struct bk_op *op, struct bk_op *base);
struct bk_op *bk_op_find(struct bk_bucket *bucket, unsigned long cluster);
void bk_op_count(struct bk_op *op, bool in_flight);
void bk_op_finish(struct bk_op *op);
void bk_op_drop(struct bk_op *op);
bool bk_op_give_up(struct bk_op *op, struct list_head *borrowers);

void bk_holders_take(struct bk_op *op, struct bio_list *holders);
void bk_holders_kick(struct bk_origin *origin, struct bio_list *holders);

bool bk_op_wait_moved(struct bk_op *op);
void bk_pit_unread(struct bk_pit *pit);

void bk_op_unstage(struct bk_op *op);
void bk_op_restage(struct bk_op *op);
void bk_op_saved(struct bk_op *op);
void bk_op_write_later(struct bk_op *op);
void bk_pit_retry(struct bk_pit *pit);
void bk_pit_retry_work(struct work_struct *work);
void bk_pit_go_ahead(struct bk_pit *pit);

static inline sector_t bk_op_sector(const struct bk_op *op)
{
	return (sector_t)op->first << op->pit->shift;
}

static inline unsigned int bk_op_sectors(const struct bk_op *op)
{
	sector_t end = (sector_t)(op->first + op->nr) << op->pit->shift;

	return min(op->pit->len, end) - bk_op_sector(op);
}

/* The last cluster of the lane that holds @cluster, or of the device, plus one. */
static inline unsigned long bk_pit_lane_end(const struct bk_pit *pit,
					    unsigned long cluster)
{
	unsigned long end = ((cluster >> pit->lane_shift) + 1)
			    << pit->lane_shift;

	return min(end, pit->clusters);
}

static inline struct bk_bucket *bk_pit_bucket(struct bk_pit *pit,
					      unsigned long cluster)
{
	return &pit->buckets[hash_long(cluster >> pit->lane_shift,
				       BK_BUCKET_BITS)];
}

#endif
