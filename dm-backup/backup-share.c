// SPDX-License-Identifier: GPL-2.0-only
/*
 * A backup that need not save what another one of the filter saves, with sync=none.
 * The contract is in backup.h; how that works is lend.h's.
 */

#include "backup-int.h"
#include "lend.h"

/**
 * bk_backup_find_lender - the job that a start names
 * @origin:	the filter; its lock is held
 * @id:		the job's, or NULL
 * @lender:	set to the job, a reference, or NULL
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Return: 0 or a negative errno.
 */
int bk_backup_find_lender(struct bk_origin *origin, const char *id,
			  struct bk_backup **lender, char *error, size_t size)
{
	struct bk_job *job;

	*lender = NULL;
	if (!id)
		return 0;
	job = bk_job_find(origin, id);
	if (!job) {
		scnprintf(error, size, "share: there is no job '%.64s'", id);
		return -ENOENT;
	}
	if (job->type != &bk_backup_type ||
	    bk_backup_of(job)->params.sync != BK_SYNC_NONE) {
		scnprintf(error, size,
			  "share: job '%.64s' is not one with sync=none", id);
		return -EINVAL;
	}
	bk_job_get(job);
	*lender = bk_backup_of(job);
	return 0;
}

/* Its point in time, a reference, if a cut has been made for it and it is alive. */
static struct bk_pit *bk_backup_get_started(struct bk_backup *b)
{
	struct bk_pit *pit = NULL;

	spin_lock(&b->job.lock);
	if (b->pit && b->job.state > BK_JOB_CREATED &&
	    !bk_pit_is_stopped(b->pit)) {
		pit = b->pit;
		bk_pit_get(pit);
	}
	spin_unlock(&b->job.lock);
	return pit;
}

/**
 * bk_backup_lender_pit - from which point in time it is to borrow
 * @b:		the backup, being prepared; its cluster is known
 * @pit:	set to that, a reference, or to NULL
 *
 * Context: process. Return: 0, or a negative errno, and why has been said.
 */
int bk_backup_lender_pit(struct bk_backup *b, struct bk_pit **pit)
{
	const char *id = b->params.share;
	struct bk_pit *lender;
	int r;

	*pit = NULL;
	if (!b->lender)
		return 0;
	lender = bk_backup_get_started(b->lender);
	if (!lender)
		return bk_job_say(&b->job, -ENOENT,
				  "share: job '%.64s' has no point in time, or not any more",
				  id);
	if (lender->shift != ilog2(b->cluster)) {
		r = bk_job_say(&b->job, -EINVAL,
			       "share: job '%.64s' has clusters of %u sectors, not of %u",
			       id, 1u << lender->shift, b->cluster);
	} else if (lender->depth + 2 > BK_LEND_DEPTH) {
		r = bk_job_say(&b->job, -EMLINK,
			       "share: what job '%.64s' saves serves %d jobs already",
			       id, BK_LEND_DEPTH);
	} else {
		*pit = lender;
		return 0;
	}
	bk_pit_put(lender);
	return r;
}

/**
 * bk_backup_forget_lender - it is known from which point in time, or there is none
 * @b:		the backup
 */
void bk_backup_forget_lender(struct bk_backup *b)
{
	struct bk_backup *lender = b->lender;

	b->lender = NULL;
	if (lender)
		bk_job_put(&lender->job);
}

/**
 * bk_backup_show_share - what is shared, for people to look at
 * @b:		the backup
 * @buf:	filled with words
 * @size:	of @buf
 *
 * Return: the length.
 */
size_t bk_backup_show_share(struct bk_backup *b, char *buf, size_t size)
{
	struct bk_pit *pit = bk_backup_get_pit(b);
	size_t len;

	len = scnprintf(buf, size, " share=%s shared=%llu borrowers=%u",
			b->params.share ?: "-",
			pit ? (u64)atomic64_read(&pit->lent_sectors) : 0ULL,
			pit ? atomic_read(&pit->borrowers) : 0);
	if (pit)
		bk_pit_put(pit);
	return len;
}
