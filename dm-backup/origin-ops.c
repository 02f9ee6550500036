// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the filter object asks of the rooms above it: struct bk_origin_ops.
 */

#include "bitmap.h"
#include "cfg.h"
#include "io.h"
#include "job.h"
#include "module.h"
#include "origin.h"
#include "pit.h"
#include "store.h"
#include "trust.h"
#include "txn.h"

#include <linux/device-mapper.h>

static void bk_origin_drained(struct bk_gate *gate)
{
	/* First what points in time may be narrowed to. */
	bk_txn_origin_drained(container_of(gate, struct bk_origin, gate));
	bk_io_drained(gate);
}

/* What waited for the drain may be written. */
static void bk_origin_idle(struct bk_gate *gate)
{
	struct bk_origin *origin = container_of(gate, struct bk_origin, gate);

	bk_store_idle(origin);
}

/* The budget may have room for background copies again. Under rcu_read_lock(). */
static void bk_origin_kick(struct bk_pool *pool)
{
	struct bk_origin *origin = container_of(pool, struct bk_origin, pool);
	struct bk_cfg *cfg;
	unsigned int i;

	cfg = rcu_dereference(origin->gate.cfg);
	for (i = 0; i < cfg->nr_pits; i++)
		if (!bk_pit_is_stopped(cfg->pits[i]))
			cfg->pits[i]->ops->kick(cfg->pits[i]);
}

/* Nothing of the jobs that there are is to touch a bio any more. */
static void bk_origin_reset(struct bk_origin *origin, const char *cause,
			    bool foreign)
{
	bk_jobs_break(origin, -EINVAL, cause);
	bk_cfg_remove_jobs(origin);
	if (foreign)
		bk_bitmaps_distrust(origin, cause, 0);
}

/* The metadata device has failed. */
static void bk_origin_distrust_work(struct work_struct *work)
{
	struct bk_origin *origin = container_of(work, struct bk_origin,
						distrust);

	mutex_lock(&origin->lock);
	bk_bitmaps_distrust(origin, "the metadata device failed",
			    BK_STORE_ALL);
	mutex_unlock(&origin->lock);
	bk_origin_event(origin, "metadata_failed", "", NULL,
			"the metadata device failed");
	DMERR("%s: the metadata device failed: persistent bitmaps are inconsistent",
	      origin->name);
}

static void bk_origin_setup(struct bk_origin *origin)
{
	INIT_WORK(&origin->distrust, bk_origin_distrust_work);
	bk_io_init(origin);
}

static void bk_origin_end(struct bk_instance *in)
{
	struct bk_origin *origin = in->origin;
	const char *why = bk_trust_wake(in) ?
		"the device was written after the filter had stopped" : NULL;

	/* Another table may be writing already: no view is to show that. */
	bk_cfg_remove_jobs(origin);
	/* Nothing, if postsuspend has done it. */
	bk_bitmaps_distrust_unmerged(origin);
	if (why)
		bk_store_give_up(origin, why);
	bk_store_end(in, why ?: bk_origin_is_removed(origin) ? NULL :
		     "the filter's table was replaced without detach");
	if (why)
		bk_store_break(origin, why);
	bk_jobs_shutdown(origin);
	bk_bitmaps_free(origin);
	/* These may call the store. */
	flush_work(&origin->gate.drain_work);
	bk_io_exit(origin);
	flush_workqueue(origin->cow_wq);
	bk_store_close(origin);
}

const struct bk_origin_ops bk_origin_callbacks = {
	.gate = {
		.drained	= bk_origin_drained,
		.idle		= bk_origin_idle,
		.release	= bk_cfg_release,
	},
	.init		= bk_origin_setup,
	.kick		= bk_origin_kick,
	.stopped	= bk_io_stopped,
	.heated		= bk_io_heated,
	.distrust	= bk_bitmaps_distrust,
	.reset		= bk_origin_reset,
	.resized	= bk_bitmaps_resize,
	.shutdown	= bk_origin_end,
	.has_jobs	= bk_jobs_exist,
	.completing	= bk_jobs_are_completing,
};
