// SPDX-License-Identifier: GPL-2.0-only
/*
 * Checking a job's destination. The contract is in job-dest.h.
 */

#include "job-dest.h"
#include "compat.h"

#include <linux/blk-crypto-profile.h>
#include <linux/blk-integrity.h>

/**
 * bk_job_dest_failed - it could not be opened
 * @job:	the job
 * @what:	"destination", or what it is
 * @name:	the destination, as it was given
 * @err:	negative errno
 *
 * Return: @err; bk_job_say() has said why.
 */
int bk_job_dest_failed(struct bk_job *job, const char *what, const char *name,
		       int err)
{
	const char *why = "can't be opened";

	switch (err) {
	case -EBUSY:
		why = "is in use";
		break;
	case -EACCES:
	case -EROFS:
	case -EPERM:
		why = "is read-only";
		break;
	case -ENXIO:
	case -ENODEV:
	case -ENOENT:
		why = "does not exist";
		break;
	case -ENOTBLK:
		why = "is not a block device";
		break;
	}
	return bk_job_say(job, err, "%s %.64s %s", what, name, why);
}

/* Do two block devices share sectors of one disk? */
static bool bk_bdevs_overlap(struct block_device *x, struct block_device *y)
{
	sector_t xs = get_start_sect(x), ys = get_start_sect(y);

	return x->bd_disk == y->bd_disk && xs < ys + bdev_nr_sectors(y) &&
	       ys < xs + bdev_nr_sectors(x);
}

/**
 * bk_job_dest_check - can it take what is on the origin?
 * @job:	the job
 * @what:	"destination", or what it is
 * @name:	the destination, as it was given
 * @o:		the origin; bk_cut_mutex is held, which keeps it open
 * @d:		the destination, open
 * @allow_larger: it may be longer
 *
 * Return: 0, or a negative errno; bk_job_say() has said why.
 */
int bk_job_dest_check(struct bk_job *job, const char *what, const char *name,
		      struct block_device *o, struct block_device *d,
		      bool allow_larger)
{
	struct bk_origin *origin = job->origin;
	unsigned int block = bdev_logical_block_size(d);
	sector_t have = bdev_nr_sectors(d);

	if (d->bd_disk == dm_disk(origin->md))
		return bk_job_say(job, -EINVAL,
				  "%s %.64s is the filter itself", what, name);
	if (bk_bdevs_overlap(o, d))
		return bk_job_say(job, -EINVAL,
				  "%s %.64s is the origin, or a part of it",
				  what, name);
	if (bdev_is_zoned(d))
		return bk_job_say(job, -EINVAL, "%s %.64s is zoned", what, name);
	if (have < origin->len || (have > origin->len && !allow_larger))
		return bk_job_say(job, -ENOSPC,
				  "%s %.64s has %llu sectors, the origin %llu",
				  what, name, (unsigned long long)have,
				  (unsigned long long)origin->len);
	if (origin->len & ((block >> SECTOR_SHIFT) - 1))
		return bk_job_say(job, -EINVAL,
				  "the origin's length is no multiple of %s %.64s's block of %u bytes",
				  what, name, block);
	return 0;
}

/* Does @d lack encryption that @f can do? */
static bool bk_bdev_lacks_crypto(struct block_device *f, struct block_device *d)
{
#ifdef CONFIG_BLK_INLINE_ENCRYPTION
	struct blk_crypto_profile *fp = bdev_get_queue(f)->crypto_profile;
	struct blk_crypto_profile *dp = bdev_get_queue(d)->crypto_profile;

	return fp && (!dp || !blk_crypto_has_capabilities(dp, fp));
#else
	return false;
#endif
}

/* What of the things that @f can do can't @d? NULL: nothing. */
static const char *bk_bdev_lacks(struct block_device *f, struct block_device *d)
{
	if (bdev_logical_block_size(d) > bdev_logical_block_size(f))
		return "has larger blocks than the filter";
	if (bdev_dma_alignment(d) > bdev_dma_alignment(f))
		return "wants memory aligned better than the filter does";
	if (bdev_max_discard_sectors(f) && !bdev_max_discard_sectors(d))
		return "can't discard, the filter can";
	if (bdev_max_secure_erase_sectors(f) &&
	    !bdev_max_secure_erase_sectors(d))
		return "can't erase securely, the filter can";
	if (bdev_write_zeroes_sectors(f) && !bdev_write_zeroes_sectors(d))
		return "can't write zeroes, the filter can";
	/* Those of dm devices are 0 until dm passes such writes: after 6.12. */
	if (bk_bdev_lacks_atomic(f, d))
		return "can't write untorn what the filter can";
	if (bdev_nowait(f) && !bdev_nowait(d))
		return "has no REQ_NOWAIT, the filter has";
	if (bdev_stable_writes(d) && !bdev_stable_writes(f))
		return "needs stable pages, which the filter does not promise";
	if (bdev_get_integrity(f) || bdev_get_integrity(d))
		return "or the filter has integrity metadata, which is not moved";
	if (bk_bdev_lacks_crypto(f, d))
		return "lacks inline encryption that the filter has";
	return NULL;
}

/**
 * bk_job_dest_lacks - what of the things that the filter says it can do can't it?
 * @job:	the job
 * @d:		the destination, open
 *
 * Whoever uses the filter goes by what it could do when its table was loaded:
 * what takes the origin's place has to be able to do that. It says something else
 * when another table goes live, not while live_lock keeps one live.
 *
 * Context: any; the filter in the registry, under bk_cut_mutex, or kept by its live
 * table. Return: the end of a sentence about the destination, or NULL.
 */
const char *bk_job_dest_lacks(struct bk_job *job, struct block_device *d)
{
	/* A dm device may have become so. */
	if (bdev_nr_sectors(d) < READ_ONCE(job->origin->len))
		return "is shorter than the filter";
	return bk_bdev_lacks(dm_disk(job->origin->md)->part0, d);
}

/**
 * bk_job_dest_contains - can it do all that the filter says it can?
 * @job:	the job
 * @name:	the destination, as it was given
 * @d:		the destination, open
 *
 * Context: as for bk_job_dest_lacks().
 * Return: 0, or -EINVAL; bk_job_say() has said why.
 */
int bk_job_dest_contains(struct bk_job *job, const char *name,
			 struct block_device *d)
{
	const char *why = bk_job_dest_lacks(job, d);

	if (!why)
		return 0;
	return bk_job_say(job, -EINVAL, "destination %.64s %s", name, why);
}
