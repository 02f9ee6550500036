/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The object of one filter. It outlives table reloads.
 *
 * What it promises
 *   There is one struct bk_origin for each mapped device that has a table with
 *   a backup target, live or not, found by the mapped device's pointer (a key
 *   only: no reference on it is held, dm's removal waits for those). Its
 *   instances are the dm_targets made for that device: one, or two while a
 *   table is being replaced. What must survive a reload hangs here: the gate,
 *   the budget, the jobs, the bitmaps.
 *   The last instance's destructor takes it out of the registry and shuts it
 *   down, whatever else still holds a reference. After that none of its
 *   workqueues exists, so nothing that may still hold a reference (an op with
 *   a write in flight on an orphaned destination) queues work there.
 *   Two filters never share an origin device.
 *
 * Own I/O to the origin
 *   Reads for copies, and the flush at a job's end, go to the device of the
 *   live instance. They may start between resume and postsuspend; others wait
 *   on io_deferred. postsuspend waits for those in flight, which the origin
 *   bounds. A view's reads of the origin are among them: writes may pass by the
 *   filter from the moment another table goes live, which is before the dtr of
 *   ours, so none is in flight then, and none starts. What waits of a view ends
 *   with the point in time, too.
 *
 * Locks, in the order they are taken
 *   bk_cut_mutex   mutex; one cut at a time; also held when an origin
 *                  is made or taken out of the registry, so that a cut's
 *                  participants stay. It is every filter's: no I/O is waited for
 *                  under it, see below.
 *   live_lock      mutex: live, and its device. Taken by resume and postsuspend
 *                  (under dm's suspend_lock) and by the destructor; by events,
 *                  messages and cuts that freeze, to find the live table; by
 *                  pivots, which have it for longest, see below.
 *   lock           mutex: jobs and bitmaps. Allocating
 *                  under it is fine, waiting for I/O is not. Never taken by map
 *                  or end_io, nor between the closing and the opening of gates.
 *   gate.cfg_lock  see gate.h.
 *   held.lock, io_lock (irq-safe), pool.lock, gate.lock: spinlocks, leaves.
 *
 * Occupied filters
 *   The end of a mirror has a filter's locks (live_lock, lock, gate.cfg_lock) while
 *   it waits for the destination, for up to 2 s. Who wanted one of them inside
 *   bk_cut_mutex would pass that wait on to all filters. So that end takes them
 *   under the mutex, marks the filter as occupied, and lets go of the mutex before it
 *   waits. Who wants the mutex to take any of these locks inside it calls
 *   bk_origin_lock_cut() or bk_origin_await(), which wait for the mark to go with
 *   the mutex free, and finds it gone for as long as the mutex is held. So while a
 *   filter is occupied no instance of it comes or goes. A cut is made only when the
 *   gate has drained, which it has not before that end has given the locks back.
 *   Claiming a device for a pivot has live_lock while it opens the device, and does
 *   the same; no cut takes that lock.
 *   The mark is set under bk_cut_mutex, and taken away when the locks have been
 *   given back.
 */

#ifndef BK_ORIGIN_H
#define BK_ORIGIN_H

#include <linux/device-mapper.h>
#include <linux/jiffies.h>
#include <linux/kref.h>
#include <linux/mutex.h>

#include "buffer.h"
#include "gate.h"

/* Sentences kept for last_error. */
#define BK_ERRORS		8
#define BK_ERROR_LEN		192
#define BK_TOKEN_LEN		32

/* Hints of REQ_NOWAIT writes that were sent back. */
#define BK_HINTS		16

struct bk_job;
struct bk_origin;
struct bk_pit;
struct bk_store;
struct bk_txn_part;

/**
 * struct bk_instance - one dm_target of type backup
 * @list:	on @origin's instances
 * @origin:	a reference; set from ctr to dtr
 * @ti:		the target
 * @dev:	the origin device, as opened by this table. Another one after a
 *		pivot: written with the gate closed, under live_lock; the filter is
 *		occupied
 * @next:	NULL, or what a pivot is to put there, once it is live if it is not;
 *		live_lock, or in dtr
 * @left:	NULL, or what it has put away: reads may be in flight there; the same
 * @budget:	feature "buffer": bytes
 * @cbw_timeout: feature "cbw_timeout": default for jobs, ms; 0 is none
 * @discard:	feature "discard", enum bk_discard
 * @hold:	feature "on_metadata_error": hold
 * @trust_crash: feature "after_crash": trust
 * @zeroes_as_data: feature "write_zeroes": off
 * @resumed:	it has been live
 * @foreign:	when it was made, a table that is not ours was live in the place of
 *		one of ours
 * @suspending:	flush suspend under way: @suspend_by counts
 * @suspend_by:	jiffies by which no bio waits any more...
 * @suspend_ms:	...that has waited for so long
 */
struct bk_instance {
	struct list_head list;
	struct bk_origin *origin;
	struct dm_target *ti;
	struct dm_dev *dev;
	struct dm_dev *next;
	struct dm_dev *left;
	size_t budget;
	unsigned int cbw_timeout;
	unsigned int discard;
	bool hold;
	bool trust_crash;
	bool zeroes_as_data;
	bool resumed;
	bool foreign;
	bool suspending;
	unsigned long suspend_by;
	unsigned int suspend_ms;
};

enum bk_discard {
	BK_DISCARD_AUTO,	/* copy if that is little, else skip */
	BK_DISCARD_COPY,
	BK_DISCARD_SKIP,
};

/**
 * struct bk_held - bios that wait for copy-before-write (io-wait.c)
 * @lock:	protects the list and the figures
 * @list:	of struct bk_bio, longest waiting first
 * @count:	how many
 * @longest_ms:	the longest that one has waited since there are jobs
 * @total:	how many ever waited
 * @spare_until: jiffies before which nothing (more) is broken
 * @work:	looks for expired deadlines, while anything waits
 */
struct bk_held {
	spinlock_t lock;	/* all that follows, and lists of waiting bios */
	struct list_head list;
	unsigned int count;
	unsigned int longest_ms;
	u64 total;
	unsigned long spare_until;
	struct delayed_work work;
};

/**
 * struct bk_hints - ranges whose copies REQ_NOWAIT writes asked for (io-wait.c)
 */
struct bk_hints {
	spinlock_t lock;	/* nr, range */
	unsigned int nr;
	struct {
		sector_t start;
		sector_t end;
	} range[BK_HINTS];
	struct work_struct work;
};

/**
 * struct bk_error - why a message was refused
 */
struct bk_error {
	char token[BK_TOKEN_LEN];
	int err;
	char text[BK_ERROR_LEN];
};

/**
 * struct bk_origin - a filter
 * @ref:	instances, jobs, points in time
 * @registry:	on the list of all; bk_cut_mutex
 * @md:		the mapped device, a key
 * @name:	of the mapped device, MAJ:MIN, for what is printed
 * @len:	what jobs and points in time are made for: sectors of the device...
 * @dev:	...and of which origin. Written under lock, and bk_cut_mutex or while
 *		@occupied, by who has put an end to all jobs
 * @instances:	of struct bk_instance; bk_cut_mutex
 * @ops:	what the rooms above do for it
 * @dead:	out of the registry; bk_cut_mutex. Without it: only a hint
 * @occupied:	its locks are held for longer than a moment, see above
 * @loading:	its first instance's ctr has not ended: what is on the metadata
 *		device may be missing, so no transaction takes part; bk_cut_mutex
 * @passes:	tables of its twin that are loaded in its device; bk_cut_mutex
 * @users:	transactions that look at its bitmaps; it is not shut down meanwhile
 * @cut:	the part in the transaction whose cut is being drained; set under
 *		bk_cut_mutex, taken when it has drained
 * @leaving:	the next table may be another than ours ("detach"); lock
 * @same:	the next table may stand on this device, which has the same contents
 *		("origin same"), or 0; lock
 * @rest_dev:	the device at the last postsuspend, or 0: not suspended since the
 *		last resume; dm's suspend_lock
 * @rest_written: sectors that had been written to it; the same
 * @store:	the metadata device, or NULL; set by the first instance's ctr
 * @distrust:	the metadata device has failed: tells the bitmaps
 * @gate:	every write passes it
 * @pool:	buffers
 * @cbw_timeout: default for jobs, of the last live instance, ms
 * @cow_wq:	releases bios and copies for them; its items wait for nothing
 *		but a place in the origin's queue
 * @copy_wq:	background copies: claims, and reads of the origin
 * @wait_wq:	may wait for the origin: the steps of jobs, the drain, events
 * @live_lock:	protects @live
 * @live:	the instance between resume and postsuspend, else NULL
 * @event_work:	tells dm and udev
 * @event_lock:	protects what follows
 * @events:	of struct bk_event, not told yet
 * @mute:	nobody is told any more
 * @lock:	protects what follows
 * @jobs:	of struct bk_job
 * @bitmaps:	of struct bk_bitmap
 * @bitmaps_freed: how many times one became free to be used
 * @jobs_wait:	woken when a job has gone, a bitmap is free, @users is zero, or it is
 *		not @occupied any more
 * @errors:	ring of refusals
 * @next_error:	next slot of it
 * @io_lock:	protects what follows; irq-safe
 * @io_bdev:	where own I/O goes; NULL while it may not start
 * @io_closed:	it never will again
 * @io_count:	own I/O in flight
 * @io_wait:	woken when @io_count falls to zero
 * @io_deferred: struct bk_deferred that wait for @io_bdev
 * @held:	waiting bios
 * @undrained:	bios that wait for the gate's old epoch; held.lock
 * @cold:	bios that wait for their region to be hot; held.lock
 * @starved:	bios for which no op could be allocated; held.lock
 * @starved_work: sends those in again
 * @hints:	of REQ_NOWAIT writes
 * @discard_wait: bytes that held discards wait for
 * @guest_bytes: copied because of a guest's write, ever
 * @discards_skipped: bytes of discards completed without being sent
 */
struct bk_origin {
	struct kref ref;
	struct list_head registry;
	struct mapped_device *md;
	char name[16];
	sector_t len;
	dev_t dev;
	struct list_head instances;
	bool dead;
	bool occupied;
	bool loading;
	unsigned int passes;
	atomic_t users;
	struct bk_txn_part *cut;
	const struct bk_origin_ops *ops;
	bool leaving;
	dev_t same;
	dev_t rest_dev;
	u64 rest_written;

	struct bk_store *store;
	struct work_struct distrust;
	struct bk_gate gate;
	struct bk_pool pool;
	unsigned int cbw_timeout;
	struct workqueue_struct *cow_wq;
	struct workqueue_struct *copy_wq;
	struct workqueue_struct *wait_wq;

	struct mutex live_lock;	/* live */
	struct bk_instance *live;
	struct work_struct event_work;
	spinlock_t event_lock;	/* events, mute */
	struct list_head events;
	bool mute;

	struct mutex lock;	/* jobs, bitmaps, errors, next_error */
	struct list_head jobs;
	struct list_head bitmaps;
	unsigned int bitmaps_freed;
	wait_queue_head_t jobs_wait;
	struct bk_error errors[BK_ERRORS];
	unsigned int next_error;

	spinlock_t io_lock;	/* io_* that follow */
	struct block_device *io_bdev;
	bool io_closed;
	unsigned int io_count;
	wait_queue_head_t io_wait;
	struct list_head io_deferred;

	struct bk_held held;
	struct bio_list undrained;
	struct bio_list cold;
	struct bio_list starved;
	struct delayed_work starved_work;
	struct bk_hints hints;
	atomic64_t discard_wait;
	atomic64_t guest_bytes;
	atomic64_t discards_skipped;
};

/**
 * struct bk_deferred - something that wants to do I/O to the origin
 * @list:	on io_deferred, or empty
 * @work:	what is queued...
 * @wq:		...where
 * @pit:	NULL, or with which point in time it waits no more
 */
struct bk_deferred {
	struct list_head list;
	struct work_struct *work;
	struct workqueue_struct *wq;
	const struct bk_pit *pit;
};

/**
 * struct bk_origin_ops - what the rooms above do for a filter
 * @gate:	the gate's callbacks
 * @init:	set up what the rooms of a bio's way keep here
 * @kick:	background copies may find room in the budget again
 * @stopped:	a point in time has been stopped; does not sleep
 * @heated:	regions are hot, or nobody cares any more: bios that wait for that
 *		look again; does not sleep
 * @distrust:	bitmaps in @slots can't be trusted, for @why; under lock
 * @reset:	end all jobs, for @cause, and take their points in time out,
 *		before it returns; if @foreign, something may have been written
 *		that did not pass the filter; under bk_cut_mutex and lock
 * @resized:	the device has another length now; after @reset
 * @shutdown:	end all jobs and wait for that, but for no destination, and let
 *		go of the metadata device; @in is the last instance, the origin
 *		out of the registry and no bio in flight
 * @has_jobs:	is there any job, concluded ones included?
 * @completing:	is any of them to take the origin's place, now?
 */
struct bk_origin_ops {
	struct bk_gate_ops gate;
	void (*init)(struct bk_origin *origin);
	void (*kick)(struct bk_pool *pool);
	void (*stopped)(struct bk_origin *origin);
	void (*heated)(struct bk_origin *origin);
	void (*distrust)(struct bk_origin *origin, const char *why, u64 slots);
	void (*reset)(struct bk_origin *origin, const char *cause,
		      bool foreign);
	void (*resized)(struct bk_origin *origin, sector_t len);
	void (*shutdown)(struct bk_instance *in);
	bool (*has_jobs)(struct bk_origin *origin);
	bool (*completing)(struct bk_origin *origin);
};

/* A change that dm and udev are told of. */
struct bk_event {
	struct list_head list;
	char what[32];
	char job[160];
	unsigned int seq;
	char cause[BK_ERROR_LEN + 16];
};

extern struct mutex bk_cut_mutex;

int bk_origin_attach(struct bk_instance *in, const struct bk_origin_ops *ops);
void bk_origin_detach(struct bk_instance *in);
void bk_origin_put(struct bk_origin *origin);
struct bk_origin *bk_origin_pass(struct mapped_device *md,
				 struct block_device *bdev, const char **error);
void bk_origin_unpass(struct bk_origin *origin);
bool bk_origin_is_new(struct bk_instance *in);
void bk_origin_loaded(struct bk_origin *origin);
bool bk_origin_is_removed(struct bk_origin *origin);
struct bk_origin *bk_origin_find(const char *name, size_t len);
bool bk_origin_await(struct bk_origin *origin);
void bk_origin_lock_cut(struct bk_origin *origin);
void bk_origin_occupy(struct bk_origin *origin);
void bk_origin_vacate(struct bk_origin *origin);
bool bk_origin_use(struct bk_origin *origin);
void bk_origin_unuse(struct bk_origin *origin);

static inline void bk_origin_get(struct bk_origin *origin)
{
	kref_get(&origin->ref);
}

/**
 * bk_instance_is_overdue - has the time passed that a suspend gives?
 * @in:		the instance; held.lock is held
 * @since:	jiffies from which on something waits: each has that long, also if
 *		syncing the file system took longer
 */
static inline bool bk_instance_is_overdue(struct bk_instance *in,
					  unsigned long since)
{
	return READ_ONCE(in->suspending) &&
	       time_after_eq(jiffies, in->suspend_by) &&
	       time_after_eq(jiffies, since + msecs_to_jiffies(in->suspend_ms));
}

void bk_origin_disturbed(struct bk_instance *in, const char *cause);
void bk_origin_adopt(struct bk_instance *in);
void bk_origin_resume(struct bk_instance *in);
void bk_origin_quiesce(struct bk_instance *in);
struct block_device *bk_origin_io_begin(struct bk_origin *origin,
					struct bk_deferred *d);
void bk_origin_io_end(struct bk_origin *origin);
bool bk_origin_io_cancel(struct bk_origin *origin, struct bk_deferred *d);
void bk_origin_io_give_up(struct bk_origin *origin, const struct bk_pit *pit);

void bk_origin_event(struct bk_origin *origin, const char *what,
		     const char *job, unsigned int *seq, const char *cause);

__printf(4, 5)
int bk_origin_refuse(struct bk_origin *origin, const char *token, int err,
		     const char *fmt, ...);

#endif
