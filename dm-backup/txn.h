/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transactions: actions of several filters that take effect at one instant, or
 * not at all. A start of a job, or a change of a bitmap, by itself is one of one
 * action.
 *
 * What it promises
 *   Actions are prepared one after the other, in their order; each sees what the
 *   ones before it will have done. All that can fail or takes time is done here.
 *   When one fails those that were prepared are aborted, the last one first, and
 *   nothing has changed anywhere. Else file systems are frozen (if asked), one
 *   cut is made in all filters, and they are thawed. Whatever happens all are
 *   cleaned up at last, the first one first.
 *   All of this is done by work items that no process's death can stop, and each
 *   wait in it is bounded, but for writes that are in flight at the cut: then the
 *   change stands, and what is to be done after they have ended is done then.
 *   A participant that is shut down, loses its length or its origin, has a job
 *   cancelled or, for freezing, is suspended meanwhile makes the transaction
 *   fail, never hang.
 *   One that was told to stop after its preparation holds no lock, and is aborted
 *   after BK_HOLD_MS.
 *
 * Files
 *   txn-words.c   the words of the message
 *   txn.c         its life: phases, waiting for it
 *   txn-list.c    the ones that have a token
 *   txn-action.c  what is done to prepare each kind of action
 *   checkpoint.c  the same for moving a job's point in time
 *   txn-cut.c     the cut
 *   txn-freeze.c  file systems
 *   stage.c       bitmaps
 *
 * Freezing
 *   bdev_freeze() can't be interrupted. Each runs in a work item of its own;
 *   when one is late the transaction fails, and the file system is thawed as
 *   soon as that call returns.
 *
 * Locks
 *   bk_cut_mutex, then gate.cfg_lock of each participant, is held around the
 *   cut; all allocation is done before the first gate closes.
 *   bk_txns_lock  mutex: those that have a token. Nothing is taken inside it but
 *                 txn->lock.
 *   txn->lock     spinlock, a leaf but for workqueues: state, outcome, requests.
 *   Actions, parts, stages and steps belong to @work while it runs, from the cut
 *   on to @finish (with bk_cut_mutex taken once in between), and are not changed
 *   between the end of the preparation and @finish, so the gates' callbacks read
 *   them.
 */

#ifndef BK_TXN_H
#define BK_TXN_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "gate.h"
#include "origin.h"
#include "txn-words.h"

/* How long the message of a start waits for its job to prepare. */
#define BK_PREPARE_MS		2000

/* How long any other message waits for its transaction: more than for a drain. */
#define BK_TXN_WAIT_MS		6000

/* How long preparing may take, and one that is prepared waits for a word. */
#define BK_TXN_PREPARE_MS	30000
#define BK_HOLD_MS		30000

/* How long one that fails waits for its jobs to be gone. */
#define BK_GONE_MS		2000

/* How long a freeze, and the draining of the cut before, may take. */
#define BK_FREEZE_MS		10000
#define BK_DRAIN_MS		5000

/* With a token: how many that are not over, and how many that are. */
#define BK_TXNS_MAX		32

struct bk_act;
struct bk_bitmap;
struct bk_cfg;
struct bk_freeze;
struct bk_group;
struct bk_job;

/**
 * struct bk_action_type - a kind of action
 * @prepare:	do all that can fail; @error is filled with a sentence if it does
 * @bitmap:	it changes a bitmap: the filter must not be read-only
 * @endless:	of a start: the job goes on until it is told to end, and then can't be
 *		taken back: no other job is to wait for it
 * @create:	of a start: make the job; the filter's lock is held. What it names
 *		of bitmaps it finds with bk_stage_for_job()
 * @begin:	under bk_cut_mutex: if it can still be done, nothing that happens
 *		before @end changes that; else @error is filled with a sentence
 * @install:	put what the cut is to publish into @cfg; under its cfg_lock
 * @end:	the cut has been made, or has been given up
 * @undo:	it was prepared, perhaps in part, and is not done after all
 *
 * Those of bitmaps have none of the last four: stage.h.
 */
struct bk_action_type {
	int (*prepare)(struct bk_act *a, char *error, size_t size);
	bool bitmap;
	bool endless;
	struct bk_job *(*create)(struct bk_txn_part *part, const char *id,
				 unsigned int argc, char **argv, bool *freeze,
				 char *error, size_t size);
	int (*begin)(struct bk_act *a, char *error, size_t size);
	void (*install)(struct bk_act *a, struct bk_cfg *cfg);
	void (*end)(struct bk_act *a, bool made);
	void (*undo)(struct bk_act *a);
};

/**
 * struct bk_act - an action of a transaction
 * @type:	its kind
 * @txn:	the transaction
 * @part:	the filter; set when it is being prepared
 * @nr:		which one, from 1
 * @filter:	MAJ:MIN
 * @argc:	number of words
 * @argv:	the words, behind what says the kind; its own copy
 * @job:	that is started, or moved: a reference; @work changes it under the lock
 */
struct bk_act {
	const struct bk_action_type *type;
	struct bk_txn *txn;
	struct bk_txn_part *part;
	unsigned int nr;
	char filter[16];
	unsigned int argc;
	char **argv;
	struct bk_job *job;
};

/**
 * struct bk_txn_part - a filter that takes part
 * @list:	on the transaction's parts
 * @txn:	the transaction
 * @origin:	the filter; a reference on its memory
 * @action:	the first one that it has to do with
 * @len:	of the filter, when it came in; sectors
 * @nr_jobs:	that start on it
 * @stages:	of struct bk_stage
 * @nr_stages:	number of those
 * @remote:	something is merged from another filter, or into one
 * @stepped:	what is merged has been; the filter's lock
 * @gone:	the filter has, before its bitmaps had what was merged
 * @cut:	its part in the cut
 * @freeze:	its file system, while frozen
 */
struct bk_txn_part {
	struct list_head list;
	struct bk_txn *txn;
	struct bk_origin *origin;
	unsigned int action;
	sector_t len;
	unsigned int nr_jobs;
	struct list_head stages;
	unsigned int nr_stages;
	bool remote;
	bool stepped;
	bool gone;
	struct bk_cut_part cut;
	struct bk_freeze *freeze;
};

enum bk_txn_state {
	BK_TXN_PREPARING,
	BK_TXN_PREPARED,	/* and waits for a word */
	BK_TXN_COMMITTING,	/* can't be aborted by a message any more */
	BK_TXN_COMMITTED,
	BK_TXN_ABORTING,
	BK_TXN_ABORTED,
};

/**
 * struct bk_txn - a transaction
 * @ref:	its message, its jobs, its works while queued, the list of tokens
 * @registry:	on that list; bk_txns_lock
 * @token:	by which it is asked for, or empty
 * @plain:	a start by itself: its message waits for less, and then it is its
 *		job that is asked for
 * @single:	a message of one action: sentences say nothing of actions
 * @options:	as given
 * @prepare_by:	jiffies until which
 * @made:	the cut has been made; written under bk_cut_mutex
 * @must_save:	and a bitmap is to be on disk before it is safe; the same
 * @cedes:	one loses what others have been merged from; the same
 * @work:	prepares, commits or aborts, by @state
 * @finish:	does what comes after the drain
 * @expire:	aborts it
 * @undrained:	parts that have not drained after the cut; one more is @work's
 * @group:	of its jobs, or NULL
 * @nr_actions:	number of actions
 * @actions:	the actions
 * @current_action: the one that is being prepared, from 1
 * @prepared:	how many have been, the one that failed included
 * @parts:	of struct bk_txn_part
 * @nr_parts:	number of those
 * @steps:	of struct bk_step
 * @wait:	woken when what follows changes
 * @lock:	protects what follows
 * @state:	its state
 * @stop:	abort it: it is not worth waiting for
 * @accepted:	of @plain: nobody waits for it any more
 * @reported:	the job that is being prepared has reported...
 * @report:	...this
 * @result:	0, or negative errno: why it is aborted, or what is amiss
 * @failed:	number of the action that failed, or 0
 * @error:	in words
 */
struct bk_txn {
	struct kref ref;
	struct list_head registry;
	char token[BK_TOKEN_LEN];
	bool plain;
	bool single;
	struct bk_txn_options options;
	unsigned long prepare_by;
	bool made;
	bool must_save;
	bool cedes;
	struct work_struct work;
	struct work_struct finish;
	struct delayed_work expire;
	atomic_t undrained;
	struct bk_group *group;
	unsigned int nr_actions;
	struct bk_act *actions;
	unsigned int current_action;
	unsigned int prepared;
	struct list_head parts;
	unsigned int nr_parts;
	struct list_head steps;

	wait_queue_head_t wait;
	spinlock_t lock;	/* all that follows */
	enum bk_txn_state state;
	bool stop;
	bool accepted;
	bool reported;
	int report;
	int result;
	unsigned int failed;
	char error[BK_ERROR_LEN];
};

/* txn-list.c: those with a token */
int bk_txn_register(struct bk_txn *txn, char *error, size_t size);
struct bk_txn *bk_txn_find(const char *token);
void bk_txn_exit(void);

/* txn.c: its life */
struct bk_txn *bk_txn_create(unsigned int nr_actions,
			     const struct bk_txn_options *options,
			     const char *token);
int bk_txn_set_action(struct bk_txn *txn, unsigned int nr,
		      const struct bk_action_type *type, const char *filter,
		      unsigned int argc, char **argv);
int bk_txn_start(struct bk_txn *txn, char *error, size_t size);
void bk_txn_put(struct bk_txn *txn);

__printf(4, 5)
int bk_txn_fail(struct bk_txn *txn, unsigned int action, int err,
		const char *fmt, ...);
void bk_txn_become(struct bk_txn *txn, enum bk_txn_state state);
bool bk_txn_accept(struct bk_txn *txn);
bool bk_txn_go_on(struct bk_txn *txn, enum bk_txn_state state, int err,
		  const char *text);
void bk_txn_prepared(struct bk_txn *txn, int err);
int bk_txn_wait_job(struct bk_txn *txn, struct bk_job *job, char *error,
		    size_t size);
bool bk_txn_is_stopped(struct bk_txn *txn);
void bk_txn_drained(struct bk_txn *txn);

/* txn-message.c: what messages ask */
int bk_txn_wait(struct bk_txn *txn, char *error, size_t size);
int bk_txn_commit(const char *token, char *error, size_t size);
int bk_txn_abort(const char *token, char *error, size_t size);
int bk_txn_show(const char *token, char *buf, size_t len, char *error,
		size_t size);

/* txn-action.c */
extern const struct bk_action_type bk_action_backup_start;
extern const struct bk_action_type bk_action_mirror_start;
extern const struct bk_action_type bk_action_bitmap_add;
extern const struct bk_action_type bk_action_bitmap_remove;
extern const struct bk_action_type bk_action_bitmap_clear;
extern const struct bk_action_type bk_action_bitmap_enable;
extern const struct bk_action_type bk_action_bitmap_disable;
extern const struct bk_action_type bk_action_bitmap_merge;
extern const struct bk_action_type bk_action_abort;
int bk_action_check_freeze(struct bk_act *a, char *error, size_t size);
void bk_action_set_job(struct bk_act *a, struct bk_job *job);
int bk_action_prepare(struct bk_act *a, char *error, size_t size);

/* checkpoint.c */
extern const struct bk_action_type bk_action_checkpoint;

/* txn-cut.c */
int bk_txn_cut(struct bk_txn *txn);
int bk_txn_wait_drained(struct bk_txn *txn, unsigned long end);
void bk_txn_origin_drained(struct bk_origin *origin);

/* txn-freeze.c */
int bk_txn_freeze(struct bk_txn *txn);
void bk_txn_thaw(struct bk_txn *txn);

#endif
