/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of the mirror share.
 *
 *   mirror.c      the driver: options, preparing, following, letting go
 *   mirror-end.c  from ready to a destination that is the origin for good
 *   mirror-bitmap.c  what it begins with, and what becomes of that
 *   mirror-switch.c  whether writes wait for its destination
 *
 * Who may use what: see struct bk_mirror.
 */

#ifndef BK_MIRROR_INT_H
#define BK_MIRROR_INT_H

#include "mirror.h"
#include "dest.h"
#include "mirror-copy.h"

struct bk_bitmap;
struct bk_stage;
struct bk_store_req;

/* How often it looks for what is dirty when nothing was. */
#define BK_MIRROR_IDLE_MS	100

/* How long it waits until it tries again what failed, or took too long. */
#define BK_MIRROR_AGAIN_MS	5000

/* What a job can't, if its destination can't do what the filter can. */
#define BK_MIRROR_LACKS	"can't take the origin's place: its destination %s"

enum bk_mirror_sync {
	BK_MIRROR_FULL,		/* everything */
	BK_MIRROR_NONE,		/* what is written from the start on */
	BK_MIRROR_BITMAP,	/* and what is dirty */
};

/* What becomes of the bitmap. */
enum bk_mirror_bitmap_mode {
	BK_MIRROR_NEVER,	/* it keeps everything */
	BK_MIRROR_ON_SUCCESS,	/* success: it has what was written since the start */
	BK_MIRROR_ALWAYS,	/* else: that, and what was not copied */
	BK_MIRROR_MODE_ABSENT,	/* not given */
};

enum bk_mirror_copy_mode {
	BK_MIRROR_BACKGROUND,	/* after the write has ended */
	BK_MIRROR_WRITE_BLOCKING, /* before it ends */
};

/* What the destination has been asked for last. */
enum bk_mirror_ask {
	BK_MASK_NONE,		/* nothing that has not been answered */
	BK_MASK_READY,		/* a flush, to be ready */
	BK_MASK_END,		/* a flush, to end */
	BK_MASK_KEEP,		/* a flush, for what its bitmap is to lose */
	BK_MASK_SHARE,		/* to open without a claim, too */
};

/* How far a job that is to end has come. */
enum bk_mirror_end {
	BK_MEND_NONE,
	BK_MEND_FROZEN,		/* the destination has what it is to have */
	BK_MEND_FLUSHED,	/* and the origin is durable */
	BK_MEND_PIVOTED,	/* the destination is the origin */
};

/**
 * struct bk_mirror_params - what a mirror is told
 * @job:	what every job is told
 * @target:	MAJ:MIN or path
 * @sync:	enum bk_mirror_sync
 * @bitmap:	NULL, or the name of the bitmap it begins with
 * @bitmap_mode: enum bk_mirror_bitmap_mode
 * @granularity: sectors; 0: the default, or what both devices need
 * @buf_size:	sectors in flight
 * @max_chunk:	sectors of one copy
 * @copy_mode:	enum bk_mirror_copy_mode
 * @auto_switch: change that if copying does not gain on the writers
 * @cbw_timeout: how long a write waits for the destination, ms
 * @unmap:	what is zero may be unmapped
 * @target_is_zero: the destination reads as zeroes
 * @zero_target: it is to be written zeroes first
 * @allow_larger: the destination may be longer than the origin
 */
struct bk_mirror_params {
	struct bk_job_params job;
	const char *target;
	u64 sync;
	const char *bitmap;
	u64 bitmap_mode;
	u64 granularity;
	u64 buf_size;
	u64 max_chunk;
	u64 copy_mode;
	u64 auto_switch;
	u64 cbw_timeout;
	u64 unmap;
	u64 target_is_zero;
	u64 zero_target;
	u64 allow_larger;
};

/**
 * struct bk_mirror - a mirror
 * @job:	the job
 * @params:	as given; target is the mirror's own copy
 * @granularity: in effect, sectors
 * @dest:	where it goes; a user until @released
 * @notify:	kicks the job for the destination, and for the origin's resume
 * @deferred:	waits for the origin's resume
 * @mc:		what copies, until @released; set and cleared under the filter's lock
 * @blocking:	writes wait for its destination; the filter's lock
 * @switch_work: looks whether they are to, while auto_switch is set
 * @least:	the least that was left to copy; switch_work, as...
 * @slices:	...how many slices ago
 * @late:	how often the destination was waited for too long
 * @bitmap:	its bitmap, claimed, until that has been let go of
 * @only:	what that had at the cut, until it is marked; a reference
 * @commit:	what the metadata device is to do about @bitmap, or NULL
 * @uncopied:	what was not copied is in the bitmap's successor
 * @bitmap_settled: it has abdicated, or reclaimed
 * @bitmap_by:	jiffies until which @commit is waited for
 * @asked:	enum bk_mirror_ask; step_work only, as all that follows
 * @errors:	of the job, when it was asked for BK_MASK_READY
 * @unsyncs:	the same
 * @end:	enum bk_mirror_end
 * @nameless:	nothing that lasts tells the destination from other devices
 * @shared:	the destination is open without a claim, too: that may have become the
 *		live table's
 * @end_at:	64-bit jiffies before which the gate is not closed
 * @attempts:	how often it was closed in vain
 * @released:	all is let go of but the closing of @dest
 * @release_by:	jiffies until which that is waited for
 */
struct bk_mirror {
	struct bk_job job;
	struct bk_mirror_params params;
	unsigned int granularity;
	struct bk_dest *dest;
	struct work_struct notify;
	struct bk_deferred deferred;
	struct bk_mcopy *mc;
	bool blocking;
	struct delayed_work switch_work;
	u64 least;
	unsigned int slices;
	atomic_t late;
	struct bk_bitmap *bitmap;
	struct bk_bits *only;
	struct bk_store_req *commit;
	bool uncopied;
	bool bitmap_settled;
	unsigned long bitmap_by;
	enum bk_mirror_ask asked;
	unsigned int errors;
	unsigned int unsyncs;
	enum bk_mirror_end end;
	bool nameless;
	bool shared;
	u64 end_at;
	unsigned int attempts;
	bool released;
	unsigned long release_by;
};

static inline struct bk_mirror *bk_mirror_of(struct bk_job *job)
{
	return container_of(job, struct bk_mirror, job);
}

extern const char *const bk_mirror_copy_mode_names[];

size_t bk_mirror_show(struct bk_job *job, char *buf, size_t size);

int bk_mirror_flush_origin(struct bk_mirror *m);
int bk_mirror_ask(struct bk_mirror *m, enum bk_mirror_ask what);
int bk_mirror_finish(struct bk_job *job, bool pivot);

int bk_mirror_find_bitmap(struct bk_txn_part *part,
			  const struct bk_mirror_params *params,
			  struct bk_stage **stage, char *error, size_t size);
void bk_mirror_take_bitmap(struct bk_mirror *m, struct bk_stage *stage);
void bk_mirror_begin_bitmap(struct bk_mirror *m);
int bk_mirror_end_bitmap(struct bk_mirror *m, bool hurry);

int bk_mirror_may_block(struct bk_origin *origin, struct bk_mirror *m,
			char *error, size_t size);
void bk_mirror_switch_work(struct work_struct *work);
void bk_mirror_watch(struct bk_mirror *m);
int bk_mirror_change(struct bk_job *job, unsigned int argc, char **argv,
		     char *error, size_t size);

#endif
