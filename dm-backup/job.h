/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A job: its states, verbs, speed, error policy, progress and events. What it
 * does is its driver's (struct bk_job_type); this room knows no driver by
 * name.
 *
 * What it promises
 *   A job is in exactly one state; only transitions of jobstate.h happen.
 *   A verb is taken or refused by the state, and the refusal names job, state
 *   and verb. The first error is kept. A job that has concluded keeps its id,
 *   outcome and first error until it is dismissed, and has let go of its
 *   destination (unless that hangs: then it is an orphan).
 *   No step waits for a destination: it comes back when something changed.
 *
 * How it runs
 *   step_work (the filter's wait_wq) moves the job from state to state; it
 *   looks at everything each time, so whoever changes something just calls
 *   bk_job_kick(). copy_work (the copy queue) starts background copies while
 *   the state allows, the speed limit has been paid for and the driver finds
 *   something to do; it is kicked when a copy ends and it was `hungry'.
 *
 * Locks and contexts
 *   origin->lock  mutex: the list of jobs.
 *   job->lock     spinlock: state, requests, outcome, errors, the rate. Inside it
 *                 its pit's lock, and those of workqueues. Process context only.
 *   step and the driver's prepare, settle, abort, release run in step_work,
 *   never two at a time; they may wait for the origin, not for a destination.
 *
 * References
 *   The filter's list holds the job until it is null; so do its transaction
 *   and its point in time. The job holds the filter's memory.
 */

#ifndef BK_JOB_H
#define BK_JOB_H

#include <linux/blk_types.h>
#include <linux/kref.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "jobstate.h"
#include "origin.h"
#include "pit.h"
#include "rate.h"

#define BK_ID_SIZE	128

/* How long a job that ends waits for its destination before it is an orphan. */
#define BK_RELEASE_MS	2000

/* How often a job that ends looks whether something has been done. */
#define BK_RELEASE_TICK_MS	100

struct bk_cfg;
struct bk_group;
struct bk_job;
struct bk_txn;

enum bk_policy {
	BK_POLICY_REPORT,
	BK_POLICY_IGNORE,
	BK_POLICY_ENOSPC,
	BK_POLICY_STOP,
};

enum bk_io_status {
	BK_IO_OK,
	BK_IO_FAILED,
	BK_IO_NOSPACE,
};

/**
 * struct bk_job_type - what a job does
 * @name:	the word for it
 * @prepare:	do all that can fail or takes time, before the cut. -EINPROGRESS:
 *		call again after a kick. Other errors: bk_job_say() has said why
 * @install:	put what the cut is to publish into @cfg; can't fail
 * @started:	the cut has been made; under bk_cut_mutex
 * @copy:	start one background copy: sectors, or 0 or less if there is
 *		nothing to start until a kick
 * @is_idle:	no background copy is in flight
 * @is_complete: nothing is left to copy
 * @is_ready:	of one that follows the origin until it is told to end, else NULL:
 *		has it caught up, durably? Asked while @synced is not set
 * @finish:	of the same: leave a consistent copy, or if @pivot, take the
 *		origin's place; as @settle, but if it fails the job is on standby
 *		(bk_job_stand_by() has been called) and goes on when resumed
 * @objection:	of the same: why it can't take the origin's place, perhaps in @buf,
 *		or NULL; the filter's lock is held, and job->lock: it does not sleep
 * @resumed:	whatever failed may be tried again
 * @settle:	after the last copy: make all of it durable; as @prepare
 * @abort:	stop, now; nobody waits for the job any more
 * @release:	let go of everything; -EINPROGRESS: call again after a kick, or
 *		in a while; @hurry: do not wait for the destination any more
 * @view:	its point in time, or NULL; *@may_discard: parts of it can leave the
 *		job. Under job->lock; the job is started
 * @move_prepare: make a point in time that can take the place of its own. NULL,
 *		with the two below: it has none that could move
 * @move_install: put that into @cfg, in the place of its own; can't fail
 * @move_end:	the cut has been made, under bk_cut_mutex; or it won't be. May
 *		come after the job's end
 * @show:	append key=value words
 * @change:	take "key=value" words; the filter's lock is held
 * @free:	free the job's memory
 */
struct bk_job_type {
	const char *name;
	int (*prepare)(struct bk_job *job);
	void (*install)(struct bk_job *job, struct bk_cfg *cfg);
	void (*started)(struct bk_job *job);
	int (*copy)(struct bk_job *job);
	bool (*is_idle)(struct bk_job *job);
	bool (*is_complete)(struct bk_job *job);
	bool (*is_ready)(struct bk_job *job);
	int (*finish)(struct bk_job *job, bool pivot);
	const char *(*objection)(struct bk_job *job, char *buf, size_t size);
	void (*resumed)(struct bk_job *job);
	int (*settle)(struct bk_job *job);
	void (*abort)(struct bk_job *job);
	int (*release)(struct bk_job *job, bool hurry);
	struct bk_pit *(*view)(struct bk_job *job, bool *may_discard);
	int (*move_prepare)(struct bk_job *job, char *error, size_t size);
	void (*move_install)(struct bk_job *job, struct bk_cfg *cfg);
	void (*move_end)(struct bk_job *job, bool made);
	size_t (*show)(struct bk_job *job, char *buf, size_t size);
	int (*change)(struct bk_job *job, unsigned int argc, char **argv,
		      char *error, size_t size);
	void (*free)(struct bk_job *job);
};

/**
 * struct bk_job_params - what every job can be told at its start
 * @speed:	bytes per second; 0: no limit
 * @on_error:	policy for errors of the origin [0] and of the destination [1]
 * @auto_finalize: go from pending to concluded without being asked
 * @auto_dismiss: go when concluded
 */
struct bk_job_params {
	u64 speed;
	u64 on_error[2];
	u64 auto_finalize;
	u64 auto_dismiss;
};

/**
 * struct bk_job - a job
 * @ref:	references
 * @list:	on origin->jobs
 * @origin:	the filter; a reference on its memory
 * @type:	what it does
 * @id:		its name
 * @params:	as given; on_error may change
 * @txn:	what starts it
 * @group:	NULL, or the jobs that started with it and that it looks at; with
 *		what follows: group.h
 * @member:	which one of those it is
 * @settled:	the group knows that it is done; group->lock
 * @passed:	it needs no turn any more; group->lock
 * @step_work:	moves it from state to state
 * @wake_work:	kicks it after a while
 * @copy_work:	starts background copies
 * @total:	sectors that it is to copy; lock
 * @done:	sectors that it has copied
 * @hungry:	copy_work found nothing to start: to be kicked when that changes
 * @prepared:	the driver's prepare has ended; step_work only
 * @told:	its end has been told; step_work only
 * @events:	number of events; origin->event_lock
 * @lock:	protects what follows
 * @state:	its state
 * @committing:	a transaction makes a cut for it: it can't be aborted now
 * @user_paused: pause is requested
 * @stopped_by:	an error policy has paused it: why, until that has been told
 * @resumed:	the driver is to be told of a resume
 * @synced:	it has caught up, and there was no error since
 * @complete:	it is to take the origin's place
 * @soft:	it is to end, leaving a consistent copy
 * @cancel:	cancel is requested
 * @finalize:	the same
 * @dismiss:	the same
 * @hurry:	do not wait for the destination
 * @silent:	its start is refused by its message: no event, no trace
 * @broken:	its point in time was given up
 * @err:	0, or why it fails: negative errno
 * @cause:	the same in words
 * @unsyncs:	how often it was said that it has not caught up any more
 * @errors:	number of I/O errors
 * @first_write: the first one was a write
 * @first_sector: where the first one was
 * @first_errno: the first one, negative; 0: there was none
 * @io_status:	since the last resume
 * @rate:	its speed
 * @not_before:	ns; ignored errors: when to copy again
 * @backoff_ms:	grows with each ignored error until the job is resumed
 */
struct bk_job {
	struct kref ref;
	struct list_head list;
	struct bk_origin *origin;
	const struct bk_job_type *type;
	char id[BK_ID_SIZE];
	struct bk_job_params params;
	struct bk_txn *txn;
	struct bk_group *group;
	unsigned int member;
	bool settled;
	bool passed;

	struct work_struct step_work;
	struct delayed_work wake_work;
	struct delayed_work copy_work;
	sector_t total;
	atomic64_t done;
	bool hungry;
	bool prepared;
	bool told;
	unsigned int events;

	spinlock_t lock;	/* all that follows */
	enum bk_job_state state;
	bool committing;
	bool user_paused;
	char stopped_by[72];
	bool resumed;
	bool synced;
	bool complete;
	bool soft;
	bool cancel;
	bool finalize;
	bool dismiss;
	bool hurry;
	bool silent;
	bool broken;
	int err;
	char cause[BK_ERROR_LEN];
	unsigned int unsyncs;
	unsigned int errors;
	bool first_write;
	sector_t first_sector;
	int first_errno;
	enum bk_io_status io_status;
	struct bk_rate rate;
	u64 not_before;
	unsigned int backoff_ms;
};

extern const char *const bk_policy_names[];
extern const struct bk_job_params bk_job_defaults;

void bk_job_init(struct bk_job *job, struct bk_origin *origin,
		 const struct bk_job_type *type, const char *id,
		 const struct bk_job_params *params);
void bk_job_put(struct bk_job *job);

static inline void bk_job_get(struct bk_job *job)
{
	kref_get(&job->ref);
}

struct bk_job *bk_job_find(struct bk_origin *origin, const char *id);
void bk_job_kick(struct bk_job *job);
void bk_job_kick_copy(struct bk_job *job);
void bk_job_start_copy(struct bk_job *job);
void bk_job_wake_in(struct bk_job *job, unsigned int ms);
void bk_job_copy_in(struct bk_job *job, unsigned int ms);

__printf(3, 4)
int bk_job_say(struct bk_job *job, int err, const char *fmt, ...);
enum bk_action bk_job_error(struct bk_job *job, bool write, sector_t sector,
			    blk_status_t status, bool guest);
enum bk_action bk_job_error_in(struct bk_job *job, const char *what, bool write,
			       sector_t sector, blk_status_t status,
			       bool guest);
void bk_job_broken(struct bk_job *job, int err);
__printf(3, 4)
int bk_job_stand_by(struct bk_job *job, int err, const char *fmt, ...);
void bk_job_unsync(struct bk_job *job);
void bk_job_set_total(struct bk_job *job, u64 sectors);
void bk_job_drop(struct bk_job *job, u64 sectors);
void bk_job_charge(struct bk_job *job, unsigned int sectors);
struct bk_pit *bk_job_view(struct bk_job *job, bool *may_discard);

bool bk_job_commit_begin(struct bk_job *job);
void bk_job_commit_end(struct bk_job *job, bool started);
bool bk_job_unsilence(struct bk_job *job);
void bk_job_abandon(struct bk_job *job, int err, const char *cause);

int bk_job_check(struct bk_job *job, enum bk_job_verb verb, char *error,
		 size_t size);
int bk_job_check_move(struct bk_job *job, char *error, size_t size);
int bk_job_move_begin(struct bk_job *job, char *error, size_t size);
void bk_job_move_end(struct bk_job *job);
int bk_job_verb(struct bk_job *job, enum bk_job_verb verb, bool force,
		u64 speed, char *error, size_t size);
int bk_job_change(struct bk_job *job, unsigned int argc, char **argv,
		  char *error, size_t size);
size_t bk_job_status(struct bk_job *job, char *buf, size_t size);
size_t bk_job_show(struct bk_job *job, char *buf, size_t size);

bool bk_jobs_exist(struct bk_origin *origin);
bool bk_jobs_are_completing(struct bk_origin *origin);
void bk_jobs_shutdown(struct bk_origin *origin);
void bk_jobs_break(struct bk_origin *origin, int err, const char *cause);

#endif
