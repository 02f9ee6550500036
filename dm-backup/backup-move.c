// SPDX-License-Identifier: GPL-2.0-only
/*
 * Moving a backup's point in time to now, with sync=none. The contract is in backup.h.
 */

#include "backup-int.h"
#include "cfg.h"

/**
 * bk_backup_drop_pit - drop the job's reference on a point in time
 * @pit:	published no more, or it never was
 *
 * Its destination may keep it for long, but not its part of the budget.
 *
 * Context: process, may sleep.
 */
void bk_backup_drop_pit(struct bk_pit *pit)
{
	bk_reserve_exit(&pit->origin->pool, &pit->reserve);
	bk_pit_put(pit);
}

/* It is to take the place of @pit, if that is still the job's. */
static bool bk_backup_set_next(struct bk_backup *b, struct bk_pit *pit,
			       struct bk_pit *next)
{
	bool ok;

	spin_lock(&b->job.lock);
	ok = b->pit == pit && !b->next;
	if (ok)
		b->next = next;
	spin_unlock(&b->job.lock);
	return ok;
}

static int bk_backup_say_chain(struct bk_job *job, char *error, size_t size)
{
	scnprintf(error, size,
		  "job '%.64s': its destination has not ended what it was writing %d checkpoints ago",
		  job->id, BK_PIT_CHAIN);
	return -EBUSY;
}

/**
 * bk_backup_move_prepare - make the point in time that is to take the place
 * @job:	the job
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, may sleep. Return: 0 or a negative errno.
 */
int bk_backup_move_prepare(struct bk_job *job, char *error, size_t size)
{
	struct bk_backup *b = bk_backup_of(job);
	struct bk_pit *pit, *next = NULL;
	int err = -EBUSY;

	if (b->params.sync != BK_SYNC_NONE) {
		scnprintf(error, size,
			  "job '%.64s' copies: only with sync=none can the point in time move",
			  job->id);
		return -EINVAL;
	}
	pit = bk_backup_get_pit(b);
	if (pit)
		next = bk_pit_create_next(pit, &err);
	if (next) {
		bk_job_get(job);	/* dropped by bk_backup_pit_release() */
		err = 0;
		if (!bk_backup_set_next(b, pit, next)) {
			bk_backup_drop_pit(next);
			err = -EBUSY;
		}
	}
	if (err == -EBUSY)
		scnprintf(error, size,
			  "job '%.64s' ends, or is being moved already",
			  job->id);
	else if (err == -EAGAIN)
		err = bk_backup_say_chain(job, error, size);
	else if (err)
		bk_backup_say_pit(b, err, error, size);
	if (pit)
		bk_pit_put(pit);
	return err;
}

/**
 * bk_backup_move_install - put it there
 * @job:	the job, which does not end now: both are there
 * @cfg:	what the cut is to publish
 */
void bk_backup_move_install(struct bk_job *job, struct bk_cfg *cfg)
{
	struct bk_backup *b = bk_backup_of(job);

	b->next->cut_at = get_jiffies_64();
	bk_cfg_swap_pit(cfg, b->pit, b->next);
}

/**
 * bk_backup_move_end - the cut has been made, or it won't be
 * @job:	the job; in the second case it may have ended
 * @made:	which of the two
 *
 * Context: process, sleeps.
 */
void bk_backup_move_end(struct bk_job *job, bool made)
{
	struct bk_backup *b = bk_backup_of(job);
	struct bk_pit *next, *pit = NULL;

	spin_lock(&job->lock);
	next = b->next;
	b->next = NULL;
	if (made) {
		pit = b->pit;
		b->pit = next;
		WRITE_ONCE(b->checkpoints, b->checkpoints + 1);
	}
	spin_unlock(&job->lock);
	if (made) {
		bk_pit_replace(pit, next);
		/* for people to look at: a copy or two may be counted wrong */
		atomic64_set(&job->done, 0);
		bk_job_set_total(job, next->len);
		bk_backup_drop_pit(pit);
	} else if (next) {
		bk_backup_drop_pit(next);
	}
}
