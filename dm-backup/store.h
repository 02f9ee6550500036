/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Persistent bitmaps: what is on the metadata device, and when.
 *
 * What it promises
 *   What is loaded after a crash has all bits of what was written. After a clean
 *   stop it has just those.
 *   A failing, slow or dead metadata device never fails a write, nor delays it
 *   for more than BK_STORE_LATE_MS (on_metadata_error=continue): from then on no
 *   persistent bitmap can be trusted, which is said, and is written down as soon
 *   as the device takes it.
 *   A bitmap is only offered if nothing can have written to the origin without
 *   the filter. Any doubt makes it inconsistent, with the reason.
 *
 * Hot regions
 *   The device is divided into regions of tens of MiB, one map for the filter. A
 *   region is hot on disk (@disk_hot) if pages of bitmaps may lack bits of it:
 *   who loads them after a crash sets all of it. A region is hot in memory
 *   (@hot) if writes to it may go. A write to another one waits, until a record
 *   that makes it hot is durable; one record serves all that wait.
 *   hot on disk is set before hot in memory, and cleared after it.
 *
 * Cooling, now and then, so that few regions are hot
 *   1. not hot in memory: those that have been hot on disk for a while;
 *   2. synchronize_rcu(): testing hot and marking is one RCU section (io.c), so
 *      who found them hot has set its bits;
 *   3. pages of these regions are written, copies one after the other;
 *   4. the hot map is written without them, and without none that was asked for
 *      since 1: those are hot in memory again at once.
 *   Not begun while the gate drains: a write of the old epoch sets bits that came
 *   with the cut when it ends, whether or not its region is hot. Nor while a
 *   change of a bitmap is not on disk: until then the disk has the old bits, and
 *   new writes set other ones.
 *
 * Changes of bitmaps
 *   The cut is made in memory, then drained, then the disk follows, by one write
 *   of the root. Until then the disk has what was before, or more. No bit is
 *   lost on disk before the origin was flushed after the drain: its own cache
 *   could take back what a backup has read. While a job runs the disk covers
 *   parent and child, so a crash is a reclaim.
 *   A bitmap is pending from the cut until the disk has followed all that it was
 *   asked for since; nobody else may use it before that, so @bits only ever has
 *   to cover one change. What is asked for while the filter is stopped (detach,
 *   and no other table came) waits until it goes live again.
 *
 * Who does it
 *   @work, on the workqueue of the device's struct bk_dest (which may hang and
 *   outlive us, as a destination may): all I/O, one block after the other, so
 *   what is on disk has one writer. Between any two writes it looks for writes
 *   that wait. Others ask (struct bk_store_req) and wait for a bounded time.
 *   When the filter goes while the device hangs, @work finds @origin NULL, and
 *   its last reference frees the store.
 *
 * Trust (bk_store_begin(), when the filter goes live)
 *   After a clean stop: the samples of the origin are the same, and neither the
 *   filter's device nor the origin has counted a write since, or ever. After a
 *   crash: neither has counted a write ever, what the file system notes when it
 *   is mounted is as it was, and nothing in it is much later than the last lease.
 *   Without a file system that does: only if the table says after_crash trust.
 *
 * Locks
 *   lock    spinlock, a leaf but for held.lock: requests, slots, @origin,
 *           @witness. Not taken in interrupts.
 *   hot, wanted: atomic per word. disk_hot, cooling, root and all that follows
 *   in the struct belong to @work, and before bk_store_begin() to who loads.
 */

#ifndef BK_STORE_H
#define BK_STORE_H

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/workqueue.h>

#include "bits.h"
#include "blockio.h"
#include "metadata.h"

/* A record that is later has failed. */
#define BK_STORE_LATE_MS	2000

/* Blocks written at once. */
#define BK_STORE_BUF		64

/* How long a message waits for the disk; a resume, a removal, at most. */
#define BK_STORE_WAIT_MS	4000
#define BK_STORE_MUST_MS	30000

/* All slots. */
#define BK_STORE_ALL		(~0ULL)

struct bk_dest;
struct bk_instance;
struct bk_origin;
struct block_device;

/**
 * struct bk_store_slot - a persistent bitmap, as the disk is to have it
 * @bits:	what pages must cover: the bits, and while a job uses the bitmap or
 *		a change of it is not on disk, the other ones; references; lock
 * @announced:	a change has been made in memory that the disk is to be asked to
 *		follow yet; lock
 * @asked:	changes that it has been asked to follow, and has not; lock
 * @removed:	the change announced is that it goes: its bits lack what has been
 *		written since; lock
 * @taken:	it belongs to a bitmap; origin->lock
 * @counts:	bits set in each page, as it is on disk: bits are only ever added to
 *		a page, so as many are the same. Or BK_STORE_NEWER_0, _1
 */
struct bk_store_slot {
	struct bk_bits *bits[2];
	bool announced;
	bool removed;
	unsigned int asked;
	bool taken;
	u32 *counts;
};

/* What the worker can be asked for. */
enum bk_store_verb {
	BK_STORE_BEGIN,		/* the filter goes live */
	BK_STORE_PLACE,		/* make room for a bitmap, and write it there */
	BK_STORE_DROP,		/* it is gone, or will not be */
	BK_STORE_UPDATE,	/* bits were added, or it is to record or not */
	BK_STORE_REWRITE,	/* it has other bits */
	BK_STORE_DISTRUST,	/* it is inconsistent */
	BK_STORE_RESIZE,	/* the origin has another length: rewrite all */
	BK_STORE_COOL,		/* save now, so that no region need be hot */
	BK_STORE_STAND,		/* the filter stands on another device */
	BK_STORE_END,		/* the filter stops: everything exactly */
};

/**
 * struct bk_store_req - something the worker is asked for
 * @list:	on store->reqs
 * @ref:	the asker's and the store's
 * @verb:	what
 * @slot:	PLACE to DISTRUST: of which bitmap
 * @bits:	PLACE, REWRITE: its bits, a reference
 * @counts:	PLACE: what becomes the slot's, or NULL
 * @nr_counts:	of @counts
 * @name:	PLACE: its name
 * @tag:	REWRITE: what it remembers, "" for nothing
 * @why:	DISTRUST: why it is inconsistent; END: why all are, or empty
 * @below:	BEGIN, STAND: which device the filter stands on, as in struct bk_md_root
 * @recording:	PLACE, UPDATE: it records
 * @shift:	PLACE: log2 of sectors per granule
 * @len:	RESIZE: sectors
 * @lost:	RESIZE: set to the slots that have no room any more
 * @resized:	RESIZE: slots whose pages are written, only the root is to follow
 * @print:	END: of the origin
 * @written:	END: sectors, as in struct bk_md_root
 * @device:	END: the same
 * @counted:	it is one of its slot's @asked; lock
 * @drained:	it is not done before the last cut has drained
 * @flushed:	REWRITE: the origin has been flushed after that; lock
 * @flushing:	the same is being done; lock
 * @pages_done:	REWRITE: all pages are written, only the root is to follow
 * @err:	how it went, once @done
 * @done:	it has been done
 * @notify:	NULL, or what to queue to the filter's wait_wq then
 */
struct bk_store_req {
	struct list_head list;
	struct kref ref;
	enum bk_store_verb verb;
	unsigned int slot;
	struct bk_bits *bits;
	u32 *counts;
	u32 nr_counts;
	char name[BK_MD_NAME];
	char tag[BK_MD_NAME];
	char why[BK_MD_NAME];
	char below[BK_MD_ORIGIN];
	bool recording;
	u8 shift;
	u64 len;
	u64 lost;
	u64 resized;
	u32 print;
	u64 written[2];
	u64 device[2];
	bool counted;
	bool drained;
	bool flushed;
	bool flushing;
	bool pages_done;
	int err;
	struct completion done;
	struct work_struct *notify;
};

/**
 * struct bk_store - a filter's metadata device
 * @ref:	the filter's, and @work's
 * @dest:	the device
 * @told:	completed when it has been opened, or closed
 * @notify:	completes it
 * @name:	as the table has it
 * @shift:	log2 of sectors per region
 * @hold:	on_metadata_error=hold: late is not failed
 * @read_only:	the table only reads: nothing is written, but that bitmaps can't be
 *		trusted, if @begun
 * @hot:	bits of regions: writes may go
 * @wanted:	and: a write waits
 * @wanted_blocks: bits of blocks of the hot map that have bits in @wanted
 * @want_since:	jiffies | 1 of the first want that was not looked at; 0: none
 * @heat_since:	the same of those that are being written
 * @io_since:	jiffies | 1 since when a write is in flight; 0: none
 * @failed:	nothing persistent can be trusted any more; int, as xchg() of less is
 *		not everywhere
 * @begun:	it has been live: the device may be written to, also if the table that
 *		is there now only reads
 * @live:	between BEGIN and END: there may be writes
 * @lock:	see above
 * @origin:	NULL when the filter has gone
 * @reqs:	in their order
 * @slot:	same index as root.entry
 * @witness:	what the origin said last
 * @lease_due:	renew the lease
 * @pass_due:	cool
 * @work:	does all I/O
 * @tick:	now and then
 * @pass_at:	jiffies when the next pass is due
 * @root:	what is on disk, or is about to be
 * @root_newer:	which copy of it is to be kept until the other one is good
 * @lease_newer: the same of the lease
 * @hot_newer:	the same of all blocks of the hot map, but for those
 * @second_hot:	bits of blocks whose second one it was when it was loaded, or
 *		when writing them failed
 * @disk_hot:	regions that are hot on disk
 * @cooling:	regions that are being cooled
 * @old:	regions that were hot at the last pass
 * @pass:	a pass is under way, and where: entry and page
 * @entry:	of the pass
 * @page:	of the pass
 * @seq:	of the last block written
 * @lease:	the last one
 * @buf:	BK_STORE_BUF blocks
 * @io:		for what is read and written of it
 * @tmp:	words of a page
 * @retry:	the last write of the hot map failed: all of it is to be written
 * @erring:	the last write failed (on_metadata_error=hold)
 * @resize:	NULL, or a RESIZE that was asked for; between bk_store_resize() and
 *		bk_store_resized(), so the filter's suspend_lock is held
 * @moved:	entries that keep areas which a RESIZE leaves
 */
struct bk_store {
	struct kref ref;
	struct bk_dest *dest;
	struct completion told;
	struct work_struct notify;
	char name[16];
	unsigned int shift;
	bool hold;
	bool read_only;

	unsigned long *hot;
	unsigned long *wanted;
	unsigned long *wanted_blocks;
	unsigned long want_since;
	unsigned long heat_since;
	unsigned long io_since;
	int failed;
	bool begun;
	bool live;

	spinlock_t lock;	/* what follows, and slots */
	struct bk_origin *origin;
	struct list_head reqs;
	struct bk_store_slot slot[BK_MD_MAX_BITMAPS];
	struct bk_md_witness witness;
	bool lease_due;
	bool pass_due;

	struct work_struct work;
	struct delayed_work tick;
	unsigned long pass_at;

	struct bk_md_root root;
	unsigned int root_newer;
	unsigned int lease_newer;
	unsigned int hot_newer;
	unsigned long *second_hot;
	unsigned long *disk_hot;
	unsigned long *cooling;
	unsigned long *old;
	bool pass;
	unsigned int entry;
	u32 page;
	u64 seq;
	struct bk_md_lease lease;
	void *buf;
	struct bk_blockio io;
	unsigned long *tmp;
	bool retry;
	bool erring;
	struct bk_store_req *resize;
	DECLARE_BITMAP(moved, BK_MD_MAX_BITMAPS);
};

/* store-load.c */
int bk_store_open(struct bk_instance *in, const char *name, char *error);

/* store.c: the filter's part */
void bk_store_close(struct bk_origin *origin);
void bk_store_begin(struct bk_instance *in);
void bk_store_follow(struct bk_instance *in);
void bk_store_end(struct bk_instance *in, const char *why);
void bk_store_break(struct bk_origin *origin, const char *why);
void bk_store_give_up(struct bk_origin *origin, const char *why);
void bk_store_resize(struct bk_origin *origin, sector_t len);
void bk_store_resized(struct bk_instance *in);
int bk_store_save_now(struct bk_origin *origin, char *error, size_t size);
size_t bk_store_status(struct bk_origin *origin, char *buf, size_t size);

/* store-stand.c: a pivot's */
struct bk_store_req *bk_store_stand_prepare(struct bk_origin *origin);
void bk_store_stand_on(struct bk_store_req *req, struct block_device *bdev);
int bk_store_stand(struct bk_origin *origin, struct bk_store_req *there,
		   struct bk_store_req *back, unsigned long end);
void bk_store_stand_back(struct bk_origin *origin, struct bk_store_req *back);

/* store-region.c, store-disk.c, store-work.c: the write path's */
void bk_store_want(struct bk_store *store, sector_t start, sector_t end);
void bk_store_late(struct bk_origin *origin, bool hurry);
void bk_store_kick(struct bk_store *store);
void bk_store_idle(struct bk_origin *origin);

/* store-bitmap.c, store-req.c: the bitmaps' */
int bk_store_reserve(struct bk_origin *origin, const char *name,
		     struct bk_bits *bits, bool recording, int *slot,
		     char *error, size_t size);
void bk_store_drop(struct bk_origin *origin, int slot);
void bk_store_cover(struct bk_origin *origin, int slot, struct bk_bits *bits);
void bk_store_announce(struct bk_origin *origin, int slot, bool removed);
void bk_store_uncover(struct bk_origin *origin, int slot, struct bk_bits *bits);
struct bk_store_req *bk_store_rewrite(struct bk_origin *origin, int slot,
				      struct bk_bits *bits, const char *tag,
				      bool flushed, struct work_struct *notify);
void bk_store_forget(struct bk_origin *origin, struct bk_store_req *req);
struct bk_store_req *bk_store_update(struct bk_origin *origin, int slot,
				     bool recording, bool drained);
void bk_store_distrust(struct bk_origin *origin, int slot, const char *why);
void bk_store_distrust_removed(struct bk_origin *origin, const char *why);
bool bk_store_is_stopped(struct bk_origin *origin, int slot);
bool bk_store_is_following(struct bk_origin *origin, bool patient);
bool bk_store_is_pending(struct bk_origin *origin, int slot);
int bk_store_wait(struct bk_store_req *req, unsigned long timeout);
void bk_store_req_put(struct bk_store_req *req);

/**
 * bk_store_is_hot - may a write to a range go?
 * @store:	the store
 * @start:	first sector
 * @end:	end of the range, exclusive
 *
 * Context: any, under rcu_read_lock() until the range has been marked.
 */
static inline bool bk_store_is_hot(struct bk_store *store, sector_t start,
				   sector_t end)
{
	unsigned long first = start >> store->shift;
	unsigned long last = (end - 1) >> store->shift;

	for (; first <= last; first++)
		if (!test_bit(first, store->hot))
			return READ_ONCE(store->failed);	/* then nobody waits */
	return true;
}

#endif
