/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Jobs of one transaction that look at one another.
 *
 * What it promises
 *   grouped     One that fails or is cancelled takes the others with it: they end
 *               as cancelled. One that is done stays in `waiting' until all are;
 *               then all become pending. They are finalized together, by
 *               themselves if all have auto_finalize, else when one of them is
 *               told to. From that moment none can fail or be cancelled.
 *   sequential  Only one at a time starts background copies: the first, in the
 *               order in which they joined, that has not passed its turn.
 *
 * Locks
 *   group->lock  spinlock. job->lock is taken inside it, and nothing else.
 *
 * References
 *   A job holds its group. The group knows a job until it leaves, which is before
 *   it is null; under the lock it is there.
 */

#ifndef BK_GROUP_H
#define BK_GROUP_H

#include <linux/kref.h>
#include <linux/spinlock.h>

struct bk_job;

/**
 * struct bk_group - jobs of one transaction
 * @ref:	references
 * @grouped:	see above
 * @sequential:	see above
 * @size:	how many jobs there is room for
 * @lock:	protects what follows
 * @nr:		number of jobs that have joined
 * @settled:	of those, how many are done copying, and all of it is durable
 * @failed:	one has failed or was cancelled
 * @finalizing:	all are being finalized
 * @turn:	index of the one that may copy
 * @jobs:	in their order; NULL: has left
 */
struct bk_group {
	struct kref ref;
	bool grouped;
	bool sequential;
	unsigned int size;
	spinlock_t lock;	/* all that follows */
	unsigned int nr;
	unsigned int settled;
	bool failed;
	bool finalizing;
	unsigned int turn;
	struct bk_job *jobs[];
};

struct bk_group *bk_group_create(unsigned int size, bool grouped,
				 bool sequential);
void bk_group_put(struct bk_group *group);
void bk_group_join(struct bk_group *group, struct bk_job *job);
void bk_group_leave(struct bk_job *job);

void bk_group_failed(struct bk_job *job);
bool bk_group_has_settled(struct bk_job *job);
bool bk_group_finalize(struct bk_job *job, bool asked);
bool bk_group_may_copy(struct bk_job *job);
void bk_group_pass(struct bk_job *job);

#endif
