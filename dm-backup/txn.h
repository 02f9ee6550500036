/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Transactions: prepare, cut, and what follows.
 *
 * What it promises
 *   Jobs of a transaction start at one instant or not at all. Everything that
 *   can fail or takes time is done before: the jobs prepare on their own and
 *   report; when all have, file systems are frozen (if asked), the cut is made
 *   and they are thawed, in one work item that no process's death can stop.
 *   A change of a bitmap is a transaction too: a cut in one filter, made by the
 *   message that asks for it.
 *   A participant that was suspended for freezing, shut down or cancelled
 *   meanwhile makes the transaction fail, never hang.
 *
 * Freezing
 *   bdev_freeze() can't be interrupted. Each runs in a work item of its own;
 *   when one is late the transaction fails, and the file system is thawed as
 *   soon as that call returns.
 *
 * Locks
 *   bk_cut_mutex, then gate.cfg_lock of each participant, is held around the
 *   cut; all allocation is done before the first gate closes.
 *   txn->lock is a spinlock, a leaf.
 */

#ifndef BK_TXN_H
#define BK_TXN_H

#include <linux/completion.h>
#include <linux/kref.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>

#include "gate.h"

/* How long a message waits for its jobs to prepare before it lets them be. */
#define BK_PREPARE_MS		2000

/* How long a freeze, and the draining of the cut before, may take. */
#define BK_FREEZE_MS		10000
#define BK_DRAIN_MS		5000

struct bk_bitmap_change;
struct bk_freeze;
struct bk_job;
struct bk_origin;

/**
 * struct bk_txn_part - a filter that takes part
 * @cut:	its part in the cut
 * @origin:	the filter; its jobs hold it
 * @freeze:	its file system, while frozen
 */
struct bk_txn_part {
	struct bk_cut_part cut;
	struct bk_origin *origin;
	struct bk_freeze *freeze;
};

/**
 * struct bk_txn - a transaction
 * @ref:	its creator, its jobs, and itself until it has run
 * @work:	goes on when all jobs have prepared
 * @freeze:	freeze file systems around the cut
 * @prepared:	completed when all jobs have prepared, or one could not
 * @lock:	protects what follows
 * @waiting:	jobs that have not reported
 * @err:	of the first one that could not prepare
 * @queued:	@work was queued
 * @nr_jobs:	number of @jobs
 * @nr_parts:	number of @parts; @work only
 * @jobs:	a reference each, until it has run
 * @parts:	the filters; room for @nr_jobs
 */
struct bk_txn {
	struct kref ref;
	struct work_struct work;
	bool freeze;
	struct completion prepared;
	spinlock_t lock;	/* all that follows */
	unsigned int waiting;
	int err;
	bool queued;
	unsigned int nr_jobs;
	unsigned int nr_parts;
	struct bk_job **jobs;
	struct bk_txn_part *parts;
};

struct bk_txn *bk_txn_create(unsigned int nr_jobs);
void bk_txn_add(struct bk_txn *txn, struct bk_job *job);
void bk_txn_put(struct bk_txn *txn);
void bk_txn_prepared(struct bk_txn *txn, int err);
int bk_txn_change(struct bk_origin *origin, struct bk_bitmap_change *c,
		  char *error, size_t size);

#endif
