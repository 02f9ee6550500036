/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside the backup: what its files have from each other. The contract, for them
 * and for others, is in backup.h.
 *
 *   backup.c		the driver: preparing, copying, what is shown and changed
 *   backup-options.c	what a start's words mean; making the job
 *   backup-move.c	checkpoints
 *   backup-share.c	what another one saves for it
 *   backup-end.c	flushing, what becomes of the bitmap, letting go
 */

#ifndef BK_BACKUP_INT_H
#define BK_BACKUP_INT_H

#include "backup.h"
#include "bitmap.h"

#include <linux/sizes.h>

#define BK_CLUSTER_DEFAULT	(SZ_64K >> SECTOR_SHIFT)

enum bk_sync {
	BK_SYNC_FULL,		/* everything */
	BK_SYNC_TOP,		/* what is allocated, as far as that is known */
	BK_SYNC_BITMAP,		/* what is dirty */
	BK_SYNC_INCREMENTAL,	/* the same, and on success it is clean */
	BK_SYNC_NONE,		/* only what is overwritten */
};

/* What becomes of the bitmap. */
enum bk_bitmap_mode {
	BK_MODE_ON_SUCCESS,	/* success: what was copied is clean */
	BK_MODE_NEVER,		/* it keeps everything */
	BK_MODE_ALWAYS,		/* what was copied is clean, also on failure */
	BK_MODE_ABSENT,		/* not given */
};

/* How far it is with making what was copied durable. */
enum bk_flush {
	BK_FLUSH_NONE,
	BK_FLUSH_DEST,		/* the origin has been flushed, the dest is being */
	BK_FLUSH_DONE,
	BK_FLUSH_FAILED,
};

/**
 * struct bk_backup_params - what a backup is told
 * @job:	what every job is told
 * @target:	MAJ:MIN or path
 * @fleece:	NULL, or the same of a fleece device
 * @sync:	enum bk_sync
 * @bitmap:	NULL, or the name of the bitmap it works with
 * @bitmap_mode: enum bk_bitmap_mode
 * @allocated:	NULL, or the name of the bitmap that sync=top goes by
 * @share:	NULL, or the job that may save for this one, too
 * @tag:	NULL, or what the bitmap is to remember on success
 * @cluster:	sectors; 0: the default, or what the destination prefers
 * @max_chunk:	sectors of one background copy
 * @max_workers: background copies at a time
 * @zeroes:	enum bk_zeroes
 * @policy:	enum bk_cbw_policy
 * @cbw_timeout: ms
 * @freeze:	freeze the file system around the cut
 * @allow_larger: the destination may be longer than the origin
 */
struct bk_backup_params {
	struct bk_job_params job;
	const char *target;
	const char *fleece;
	u64 sync;
	const char *bitmap;
	u64 bitmap_mode;
	const char *allocated;
	const char *share;
	const char *tag;
	u64 cluster;
	u64 max_chunk;
	u64 max_workers;
	u64 zeroes;
	u64 policy;
	u64 cbw_timeout;
	u64 freeze;
	u64 allow_larger;
};

/**
 * struct bk_backup - a backup
 * @job:	the job
 * @params:	as given; words are the backup's own copies
 * @cluster:	in effect, sectors
 * @zeroes:	in effect
 * @cbw:	in effect
 * @dest:	where it goes; a user until @released
 * @fleece:	its fleece device, or NULL; the same
 * @notify:	kicks the job for the destination, and for the origin's resume
 * @deferred:	waits for the origin's resume
 * @pit:	its point in time, until @released; job->lock, but for who keeps the
 *		job from moving on: sync is not none, or the job ends
 * @next:	a transaction is about to put it in the place of @pit; job->lock
 * @bitmap:	its bitmap, claimed, until that has been let go of
 * @allocated:	what sync=top is limited to, or NULL; claimed, so that its bits
 *		are those that are published
 * @only:	the bits that it is limited to, or NULL; a reference, until there is
 *		a point in time
 * @lender:	what @params.share names, a reference, until there is a point in time
 * @commit:	what the metadata device is to do about @bitmap, or NULL
 * @uncopied:	@bitmap's successor has been told what was not copied
 * @settled:	@bitmap has abdicated, or reclaimed
 * @flush:	enum bk_flush
 * @bitmap_by:	jiffies until which a failed job waits for its flush, and any job
 *		for @commit
 * @released:	all is let go of but the closing of @dest and @fleece
 * @release_by:	jiffies until which that is waited for
 * @guest_sectors: copied because of guests' writes
 * @fleece_peak: the most that was on @fleece, sectors; when there is no @pit any more
 * @checkpoints: how often its point in time has moved; job->lock
 */
struct bk_backup {
	struct bk_job job;
	struct bk_backup_params params;
	unsigned int cluster;
	enum bk_zeroes zeroes;
	struct bk_cbw cbw;
	struct bk_dest *dest;
	struct bk_dest *fleece;
	struct work_struct notify;
	struct bk_deferred deferred;
	struct bk_pit *pit;
	struct bk_pit *next;
	struct bk_bitmap *bitmap;
	struct bk_bitmap *allocated;
	struct bk_bits *only;
	struct bk_backup *lender;
	struct bk_store_req *commit;
	bool uncopied;
	bool settled;
	enum bk_flush flush;
	unsigned long bitmap_by;
	bool released;
	unsigned long release_by;
	atomic64_t guest_sectors;
	u64 fleece_peak;
	unsigned int checkpoints;
};

static inline struct bk_backup *bk_backup_of(struct bk_job *job)
{
	return container_of(job, struct bk_backup, job);
}

/* backup.c */
extern const struct bk_job_type bk_backup_type;
void bk_backup_say_pit(struct bk_backup *b, int err, char *text, size_t size);
struct bk_pit *bk_backup_get_pit(struct bk_backup *b);

/* backup-options.c */
extern const char *const bk_sync_names[];
extern const char *const bk_bitmap_mode_names[];
extern const char *const bk_zeroes_names[];
extern const char *const bk_cbw_policy_names[];
void bk_backup_free_words(struct bk_backup_params *p);
int bk_backup_change(struct bk_job *job, unsigned int argc, char **argv,
		     char *error, size_t size);

/* backup-move.c */
void bk_backup_drop_pit(struct bk_pit *pit);
int bk_backup_move_prepare(struct bk_job *job, char *error, size_t size);
void bk_backup_move_install(struct bk_job *job, struct bk_cfg *cfg);
void bk_backup_move_end(struct bk_job *job, bool made);

/* backup-share.c */
int bk_backup_find_lender(struct bk_origin *origin, const char *id,
			  struct bk_backup **lender, char *error, size_t size);
int bk_backup_lender_pit(struct bk_backup *b, struct bk_pit **pit);
void bk_backup_forget_lender(struct bk_backup *b);
size_t bk_backup_show_share(struct bk_backup *b, char *buf, size_t size);

/* backup-end.c */
int bk_backup_settle(struct bk_job *job);
void bk_backup_abort(struct bk_job *job);
int bk_backup_release(struct bk_job *job, bool hurry);

#endif
