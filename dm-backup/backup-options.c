// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the words of a start mean, which of them go together, and making the job. The
 * contract is in backup.h.
 */

#include "backup-int.h"
#include "options.h"
#include "stage.h"
#include "txn.h"

#include <linux/sizes.h>
#include <linux/slab.h>

#define BK_CLUSTER_MIN		(SZ_4K >> SECTOR_SHIFT)
#define BK_CLUSTER_MAX		(SZ_64M >> SECTOR_SHIFT)
#define BK_CHUNK_DEFAULT	(SZ_1M >> SECTOR_SHIFT)
#define BK_WORKERS_DEFAULT	64

const char *const bk_sync_names[] = {
	[BK_SYNC_FULL]		= "full",
	[BK_SYNC_TOP]		= "top",
	[BK_SYNC_BITMAP]	= "bitmap",
	[BK_SYNC_INCREMENTAL]	= "incremental",
	[BK_SYNC_NONE]		= "none",
	NULL
};

const char *const bk_bitmap_mode_names[] = {
	[BK_MODE_ON_SUCCESS]	= "on_success",
	[BK_MODE_NEVER]		= "never",
	[BK_MODE_ALWAYS]	= "always",
	[BK_MODE_ABSENT]	= NULL
};

const char *const bk_zeroes_names[] = {
	[BK_ZEROES_OFF]		= "off",
	[BK_ZEROES_ON]		= "on",
	[BK_ZEROES_UNMAP]	= "unmap",
	NULL
};

const char *const bk_cbw_policy_names[] = {
	[BK_BREAK_SNAPSHOT]	= "break_snapshot",
	[BK_BREAK_GUEST_WRITE]	= "break_guest_write",
	NULL
};

#define BK_FIELD(f)	offsetof(struct bk_backup_params, f)

static const struct bk_option bk_backup_options[] = {
	{ "target", BK_OPT_STRING, BK_FIELD(target), .required = true },
	{ "fleece", BK_OPT_STRING, BK_FIELD(fleece) },
	{ "sync", BK_OPT_WORD, BK_FIELD(sync), .words = bk_sync_names,
	  .required = true },
	{ "bitmap", BK_OPT_STRING, BK_FIELD(bitmap) },
	{ "bitmap_mode", BK_OPT_WORD, BK_FIELD(bitmap_mode),
	  .words = bk_bitmap_mode_names },
	{ "allocated", BK_OPT_STRING, BK_FIELD(allocated) },
	{ "share", BK_OPT_STRING, BK_FIELD(share) },
	{ "tag", BK_OPT_STRING, BK_FIELD(tag) },
	{ "cluster", BK_OPT_POWER2, BK_FIELD(cluster),
	  .min = BK_CLUSTER_MIN, .max = BK_CLUSTER_MAX },
	{ "max_chunk", BK_OPT_NUMBER, BK_FIELD(max_chunk),
	  .min = BK_CLUSTER_MIN, .max = BK_CLUSTER_MAX },
	{ "max_workers", BK_OPT_NUMBER, BK_FIELD(max_workers),
	  .min = 1, .max = INT_MAX },
	{ "speed", BK_OPT_NUMBER, BK_FIELD(job.speed), .max = S64_MAX },
	{ "detect_zeroes", BK_OPT_WORD, BK_FIELD(zeroes),
	  .words = bk_zeroes_names },
	{ "on_source_error", BK_OPT_WORD, BK_FIELD(job.on_error[0]),
	  .words = bk_policy_names },
	{ "on_target_error", BK_OPT_WORD, BK_FIELD(job.on_error[1]),
	  .words = bk_policy_names },
	{ "on_cbw_error", BK_OPT_WORD, BK_FIELD(policy),
	  .words = bk_cbw_policy_names },
	{ "cbw_timeout", BK_OPT_NUMBER, BK_FIELD(cbw_timeout),
	  .max = 1ULL << 31 },
	{ "auto_finalize", BK_OPT_BOOL, BK_FIELD(job.auto_finalize) },
	{ "auto_dismiss", BK_OPT_BOOL, BK_FIELD(job.auto_dismiss) },
	{ "freeze", BK_OPT_BOOL, BK_FIELD(freeze) },
	{ "allow_larger", BK_OPT_BOOL, BK_FIELD(allow_larger) },
};

/**
 * struct bk_backup_change - what can change while a backup runs
 * @on_error:	as in struct bk_job_params
 * @policy:	as in struct bk_backup_params
 * @cbw_timeout: the same
 */
struct bk_backup_change {
	u64 on_error[2];
	u64 policy;
	u64 cbw_timeout;
};

#define BK_CHANGE(f)	offsetof(struct bk_backup_change, f)

static const struct bk_option bk_backup_changes[] = {
	{ "on_source_error", BK_OPT_WORD, BK_CHANGE(on_error[0]),
	  .words = bk_policy_names },
	{ "on_target_error", BK_OPT_WORD, BK_CHANGE(on_error[1]),
	  .words = bk_policy_names },
	{ "on_cbw_error", BK_OPT_WORD, BK_CHANGE(policy),
	  .words = bk_cbw_policy_names },
	{ "cbw_timeout", BK_OPT_NUMBER, BK_CHANGE(cbw_timeout),
	  .max = 1ULL << 31 },
};

/**
 * bk_backup_change - change what can change while a backup runs
 * @job:	the job; the filter's lock is held
 * @argc:	number of words
 * @argv:	"key=value" words
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * A write that waits already is measured by the new values.
 *
 * Context: process. Return: 0 or a negative errno.
 */
int bk_backup_change(struct bk_job *job, unsigned int argc, char **argv,
		     char *error, size_t size)
{
	struct bk_backup *b = bk_backup_of(job);
	struct bk_backup_change to = {
		.policy		= b->cbw.policy,
		.cbw_timeout	= b->cbw.timeout,
	};
	u64 given;
	int r;

	memcpy(to.on_error, job->params.on_error, sizeof(to.on_error));
	r = bk_options_parse(bk_backup_changes, ARRAY_SIZE(bk_backup_changes),
			     &to, argc, argv, &given, error, size);
	if (r)
		return r;
	WRITE_ONCE(b->cbw.policy, to.policy);
	WRITE_ONCE(b->cbw.timeout, to.cbw_timeout);
	spin_lock(&job->lock);
	memcpy(job->params.on_error, to.on_error, sizeof(to.on_error));
	spin_unlock(&job->lock);
	return 0;
}

/*----------------------------------------------------------------*/

static void bk_backup_notify(struct work_struct *work)
{
	bk_job_kick(&container_of(work, struct bk_backup, notify)->job);
}

/*
 * Which combinations of sync and bitmap_mode make sense with a bitmap, and what
 * is said of the others.
 */
static const char *const bk_backup_matrix[5][4] = {
	[BK_SYNC_FULL] = {
		[BK_MODE_ABSENT] = "bitmap_mode must be given with a bitmap",
		[BK_MODE_NEVER] = "bitmap_mode=never has no effect with sync=full",
	},
	[BK_SYNC_TOP] = {
		[BK_MODE_ABSENT] = "bitmap_mode must be given with a bitmap",
		[BK_MODE_NEVER] = "bitmap_mode=never has no effect with sync=top",
	},
	[BK_SYNC_BITMAP] = {
		[BK_MODE_ABSENT] = "bitmap_mode must be given with a bitmap",
	},
	[BK_SYNC_INCREMENTAL] = {
		[BK_MODE_NEVER] = "sync=incremental is bitmap_mode=on_success, and no other",
		[BK_MODE_ALWAYS] = "sync=incremental is bitmap_mode=on_success, and no other",
	},
	[BK_SYNC_NONE] = {
		[BK_MODE_ABSENT] = "sync=none makes no use of a bitmap",
		[BK_MODE_ON_SUCCESS] = "sync=none makes no use of a bitmap",
		[BK_MODE_NEVER] = "sync=none makes no use of a bitmap",
		[BK_MODE_ALWAYS] = "sync=none makes no use of a bitmap",
	},
};

/* It is shown in lines of text, and kept on disk. */
static bool bk_backup_tag_is_good(const char *tag)
{
	const char *p;

	for (p = tag; *p; p++)
		if (*p <= ' ' || *p > '~')
			return false;
	return p - tag < BK_BITMAP_NAME_SIZE;
}

/* Do sync, bitmap and bitmap_mode go together? A sentence if not. */
static const char *bk_backup_objection(const struct bk_backup_params *p)
{
	if (p->allocated && p->sync != BK_SYNC_TOP)
		return "allocated goes with sync=top only";
	if (p->share && p->sync != BK_SYNC_NONE)
		return "share goes with sync=none only";
	if (p->tag && (!p->bitmap || !bk_backup_tag_is_good(p->tag)))
		return "tag goes with a bitmap, and has at most 127 characters, all ASCII";
	if (p->fleece && p->sync == BK_SYNC_NONE)
		return "sync=none moves nothing: a fast device is its target";
	if (p->bitmap)
		return bk_backup_matrix[p->sync][p->bitmap_mode];
	if (p->sync == BK_SYNC_BITMAP)
		return "sync=bitmap needs a bitmap";
	if (p->sync == BK_SYNC_INCREMENTAL)
		return "sync=incremental needs a bitmap";
	if (p->bitmap_mode != BK_MODE_ABSENT)
		return "bitmap_mode without a bitmap";
	return NULL;
}

/* Find the bitmaps that @params name. 0 or a negative errno, @error filled. */
static int bk_backup_find_bitmaps(struct bk_txn_part *part,
				  const struct bk_backup_params *params,
				  struct bk_stage **bitmap,
				  struct bk_stage **allocated, char *error,
				  size_t size)
{
	const char *objection = bk_backup_objection(params);
	int err = 0;

	*bitmap = NULL;
	*allocated = NULL;
	if (objection) {
		strscpy(error, objection, size);
		return -EINVAL;
	}
	if (params->bitmap)
		*bitmap = bk_stage_for_job(part, params->bitmap, &err, error,
					   size);
	if (err || !params->allocated)
		return err;
	*allocated = bk_stage_for_job(part, params->allocated, &err, error,
				      size);
	/* It has no successor that it could be kept apart by. */
	if (!err && (*allocated)->content != (*allocated)->bitmap->bits) {
		scnprintf(error, size,
			  "bitmap '%.64s': what it holds can't change in the same transaction",
			  params->allocated);
		err = -EINVAL;
	}
	return err;
}

/* Its bitmaps are its own from here on. The filter's lock is held. */
static void bk_backup_take_bitmaps(struct bk_backup *b, struct bk_stage *bitmap,
				   struct bk_stage *allocated)
{
	struct bk_stage *only = NULL;

	if (allocated) {
		bk_stage_give(allocated, b->job.id);
		b->allocated = allocated->bitmap;
		only = allocated;
	}
	if (bitmap) {
		bk_stage_give(bitmap, b->job.id);
		b->bitmap = bitmap->bitmap;
	}
	if (b->params.sync == BK_SYNC_BITMAP ||
	    b->params.sync == BK_SYNC_INCREMENTAL)
		only = bitmap;
	if (only) {
		b->only = only->content;
		bk_bits_get(b->only);
	}
}

static bool bk_backup_copy_word(const char **word)
{
	if (!*word)
		return true;
	*word = kstrdup(*word, GFP_NOIO);
	return *word;
}

/* All of them, also if one fails: then they can be freed, too. */
static bool bk_backup_copy_words(struct bk_backup_params *p)
{
	bool ok = bk_backup_copy_word(&p->target);

	p->allocated = NULL;	/* has been looked up */
	ok &= bk_backup_copy_word(&p->fleece);
	ok &= bk_backup_copy_word(&p->bitmap);
	ok &= bk_backup_copy_word(&p->share);
	ok &= bk_backup_copy_word(&p->tag);
	return ok;
}

/**
 * bk_backup_free_words - free a backup's copies of what it was told
 * @p:		they
 */
void bk_backup_free_words(struct bk_backup_params *p)
{
	kfree(p->target);
	kfree(p->fleece);
	kfree(p->bitmap);
	kfree(p->share);
	kfree(p->tag);
}

/**
 * bk_backup_create - make a backup job from a message's options
 * @part:	the filter; its lock is held
 * @id:		the job's id, checked
 * @argc:	number of options
 * @argv:	key=value
 * @freeze:	set to whether the file system is to be frozen for the cut
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Context: process, may sleep, not for I/O.
 * Return: the job, with a reference, or an error pointer.
 */
struct bk_job *bk_backup_create(struct bk_txn_part *part, const char *id,
				unsigned int argc, char **argv, bool *freeze,
				char *error, size_t size)
{
	struct bk_backup_params params = {
		.job		= bk_job_defaults,
		.bitmap_mode	= BK_MODE_ABSENT,
		.max_chunk	= BK_CHUNK_DEFAULT,
		.max_workers	= BK_WORKERS_DEFAULT,
		.cbw_timeout	= part->origin->cbw_timeout,
	};
	struct bk_origin *origin = part->origin;
	struct bk_stage *bitmap, *allocated;
	struct bk_backup *b, *lender;
	u64 given;
	int r;

	r = bk_options_parse(bk_backup_options, ARRAY_SIZE(bk_backup_options),
			     &params, argc, argv, &given, error, size);
	if (!r)
		r = bk_backup_find_bitmaps(part, &params, &bitmap, &allocated,
					   error, size);
	if (!r)
		r = bk_backup_find_lender(origin, params.share, &lender, error,
					  size);
	if (r)
		return ERR_PTR(r);
	if (params.sync == BK_SYNC_INCREMENTAL)
		params.bitmap_mode = BK_MODE_ON_SUCCESS;

	b = kzalloc(sizeof(*b), GFP_NOIO);
	/* Copied in any case: they are freed. */
	if (!bk_backup_copy_words(&params) || !b) {
		bk_backup_free_words(&params);
		kfree(b);
		if (lender)
			bk_job_put(&lender->job);
		strscpy(error, "out of memory", size);
		return ERR_PTR(-ENOMEM);
	}
	bk_job_init(&b->job, origin, &bk_backup_type, id, &params.job);
	b->params = params;
	b->lender = lender;
	b->zeroes = params.zeroes;
	b->cbw.policy = params.policy;
	b->cbw.timeout = params.cbw_timeout;
	bk_backup_take_bitmaps(b, bitmap, allocated);
	INIT_WORK(&b->notify, bk_backup_notify);
	INIT_LIST_HEAD(&b->deferred.list);
	b->deferred.work = &b->notify;
	b->deferred.wq = origin->wait_wq;
	*freeze = params.freeze;
	return &b->job;
}
