// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which way writes go that a mirror follows: copy_mode, and changing it.
 *
 * From background to write_blocking only, as in QEMU: a mirror that has begun to
 * hold writes for its destination gives that up by ending. One mirror of a filter may
 * do so. mc->blocking is stored under the filter's lock, which thus decides between
 * two that want to; the cfg that has it is published under the same lock.
 *
 * auto_switch: each BK_MIRROR_SLICE the mirror looks at what is left to be copied.
 * If that has not become less than ever before for BK_MIRROR_SLICES of them in a
 * row, writers are at least as fast as it, or as it may be, and it switches. What is
 * left while it keeps up, up to BK_MIRROR_KEEPS_UP, is not compared, nor is anything
 * while it is paused, or writes zeroes first: then it begins anew.
 */

#include "mirror-int.h"
#include "cfg.h"
#include "options.h"

#include <linux/sched/mm.h>

#define BK_MIRROR_SLICE		HZ
#define BK_MIRROR_SLICES	10
#define BK_MIRROR_KEEPS_UP	(SZ_4M >> SECTOR_SHIFT)

/* The filter's lock is held. */
static bool bk_mirror_others_block(struct bk_origin *origin,
				   struct bk_mirror *m)
{
	struct bk_job *job;

	list_for_each_entry(job, &origin->jobs, list)
		if (job->type->show == bk_mirror_show &&
		    (!m || job != &m->job) &&
		    READ_ONCE(job->state) < BK_JOB_CONCLUDED &&
		    bk_mirror_of(job)->blocking)
			return true;
	return false;
}

/**
 * bk_mirror_may_block - may a mirror's writers wait for its destination?
 * @origin:	the filter; its lock is held
 * @m:		the mirror, or NULL if there is none yet
 * @error:	filled with a sentence if not
 * @size:	of @error
 *
 * Return: 0 or -EBUSY.
 */
int bk_mirror_may_block(struct bk_origin *origin, struct bk_mirror *m,
			char *error, size_t size)
{
	lockdep_assert_held(&origin->lock);
	if (!bk_mirror_others_block(origin, m))
		return 0;
	strscpy(error, "another mirror of this filter is write_blocking", size);
	return -EBUSY;
}

/* The filter's lock is held. */
static int bk_mirror_block(struct bk_mirror *m, char *error, size_t size)
{
	struct bk_origin *origin = m->job.origin;
	int r;

	if (m->blocking)
		return 0;
	r = bk_mirror_may_block(origin, m, error, size);
	if (r)
		return r;
	r = m->mc ? bk_cfg_publish_both(origin, m->mc) : -ENOENT;
	if (r == -ENOENT)
		scnprintf(error, size,
			  "job '%.64s' has not begun to follow its origin, or is about to end",
			  m->job.id);
	else if (r)
		strscpy(error, "out of memory", size);
	if (r)
		return r == -ENOENT ? -EBUSY : r;
	m->blocking = true;
	WRITE_ONCE(m->params.copy_mode, BK_MIRROR_WRITE_BLOCKING);
	WRITE_ONCE(m->mc->blocking, true);
	return 0;
}

/* Have writers been as fast for long enough? The filter's lock is held. */
static bool bk_mirror_gains_nothing(struct bk_mirror *m)
{
	u64 left = bk_mcopy_left(m->mc);

	if (READ_ONCE(m->job.user_paused) || left <= BK_MIRROR_KEEPS_UP ||
	    READ_ONCE(m->mc->first.wanted)) {
		m->least = U64_MAX;
		m->slices = 0;
	} else if (left < m->least) {
		m->least = left;
		m->slices = 0;
	} else {
		m->slices++;
	}
	return m->slices >= BK_MIRROR_SLICES;
}

/**
 * bk_mirror_watch - look whether copying gains on the writers, if it is to
 * @m:		the mirror; the filter's lock is held, or its cut is being made
 */
void bk_mirror_watch(struct bk_mirror *m)
{
	if (m->params.auto_switch && !m->blocking)
		queue_delayed_work(m->job.origin->wait_wq, &m->switch_work,
				   BK_MIRROR_SLICE);
}

/**
 * bk_mirror_switch_work - a slice has passed
 * @work:	@switch_work of struct bk_mirror
 */
void bk_mirror_switch_work(struct work_struct *work)
{
	struct bk_mirror *m = container_of(to_delayed_work(work),
					   struct bk_mirror, switch_work);
	struct bk_origin *origin = m->job.origin;
	unsigned int noio = memalloc_noio_save();
	char error[BK_ERROR_LEN];

	mutex_lock(&origin->lock);
	if (m->mc) {	/* else it has ended */
		/* If it can't be now it is tried again. */
		if (bk_mirror_gains_nothing(m))
			bk_mirror_block(m, error, sizeof(error));
		bk_mirror_watch(m);
	}
	mutex_unlock(&origin->lock);
	memalloc_noio_restore(noio);
}

/*----------------------------------------------------------------*/

struct bk_mirror_change {
	u64 on_error[2];
	u64 copy_mode;
	u64 auto_switch;
	u64 cbw_timeout;
};

#define BK_FIELD(f)	offsetof(struct bk_mirror_change, f)

static const struct bk_option bk_mirror_changes[] = {
	{ "on_source_error", BK_OPT_WORD, BK_FIELD(on_error[0]),
	  .words = bk_policy_names },
	{ "on_target_error", BK_OPT_WORD, BK_FIELD(on_error[1]),
	  .words = bk_policy_names },
	{ "copy_mode", BK_OPT_WORD, BK_FIELD(copy_mode),
	  .words = bk_mirror_copy_mode_names },
	{ "auto_switch", BK_OPT_BOOL, BK_FIELD(auto_switch) },
	{ "cbw_timeout", BK_OPT_NUMBER, BK_FIELD(cbw_timeout),
	  .max = 1ULL << 31 },
};

/**
 * bk_mirror_change - the driver's change
 * @job:	the job; the filter's lock is held
 * @argc:	number of words
 * @argv:	key=value
 * @error:	filled with a sentence if refused
 * @size:	of @error
 *
 * Return: 0 or a negative errno: nothing is changed then.
 */
int bk_mirror_change(struct bk_job *job, unsigned int argc, char **argv,
		     char *error, size_t size)
{
	struct bk_mirror *m = bk_mirror_of(job);
	struct bk_mirror_change c = {
		.copy_mode	= m->params.copy_mode,
		.auto_switch	= m->params.auto_switch,
		.cbw_timeout	= m->params.cbw_timeout,
	};
	u64 given;
	int r;

	memcpy(c.on_error, job->params.on_error, sizeof(c.on_error));
	r = bk_options_parse(bk_mirror_changes, ARRAY_SIZE(bk_mirror_changes),
			     &c, argc, argv, &given, error, size);
	if (r)
		return r;
	if (c.copy_mode == BK_MIRROR_WRITE_BLOCKING) {
		r = bk_mirror_block(m, error, size);
	} else if (m->blocking) {
		strscpy(error, "copy_mode can't be changed back to background",
			size);
		r = -EINVAL;
	}
	if (r)
		return r;
	m->params.auto_switch = c.auto_switch;
	if (m->mc)
		bk_mirror_watch(m);
	m->params.cbw_timeout = c.cbw_timeout;
	if (m->mc)
		WRITE_ONCE(m->mc->timeout, c.cbw_timeout);
	spin_lock(&job->lock);
	memcpy(job->params.on_error, c.on_error, sizeof(c.on_error));
	spin_unlock(&job->lock);
	return 0;
}
