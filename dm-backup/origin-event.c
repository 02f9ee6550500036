// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events of a filter: uevents, and waking who waits for its table. The contract is in
 * origin.h.
 */

#include "origin-int.h"
#include "module.h"

#include <linux/kobject.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

/* The next one, if there is a live instance through which it is told. */
static struct bk_event *bk_origin_next_event(struct bk_origin *origin)
{
	struct bk_event *e;

	lockdep_assert_held(&origin->live_lock);
	if (!origin->live)
		return NULL;
	spin_lock(&origin->event_lock);
	e = list_first_entry_or_null(&origin->events, struct bk_event, list);
	if (e)
		list_del(&e->list);
	spin_unlock(&origin->event_lock);
	return e;
}

static void bk_origin_uevent(struct device *dev, const struct bk_event *e)
{
	char what[64], job[176], seq[40], cause[BK_ERROR_LEN + 40];
	char *envp[5] = { what, job, seq };

	snprintf(what, sizeof(what), "DM_BACKUP_EVENT=%s", e->what);
	snprintf(job, sizeof(job), "DM_BACKUP_JOB=%s", e->job);
	snprintf(seq, sizeof(seq), "DM_BACKUP_SEQ=%u", e->seq);
	snprintf(cause, sizeof(cause), "DM_BACKUP_CAUSE=%s", e->cause);
	if (e->cause[0])
		envp[3] = cause;
	kobject_uevent_env(&dev->kobj, KOBJ_CHANGE, envp);
}

/*
 * Tell dm and udev what changed; false if there is nothing. dm_table_event() needs a
 * table that stays, which live_lock gives; a suspended device would make udev's
 * probing hang, so there events wait for resume.
 *
 * The uevent is sent without live_lock, for which a suspend waits: others hold the
 * mutex of all uevents while they wait for memory, so perhaps for the device that is
 * being suspended. Until this work has ended dtr waits, and with it the device stays.
 */
static bool bk_origin_tell(struct bk_origin *origin)
{
	struct device *dev = NULL;
	struct bk_event *e;

	mutex_lock(&origin->live_lock);
	e = bk_origin_next_event(origin);
	if (e) {
		dm_table_event(origin->live->ti->table);
		dev = get_device(disk_to_dev(dm_disk(origin->md)));
	}
	mutex_unlock(&origin->live_lock);
	if (!e)
		return false;
	bk_origin_uevent(dev, e);
	put_device(dev);
	kfree(e);
	return true;
}

/**
 * bk_origin_event_work - tell what there is to be told
 * @work:	@event_work of struct bk_origin
 */
void bk_origin_event_work(struct work_struct *work)
{
	struct bk_origin *origin = container_of(work, struct bk_origin,
						event_work);
	unsigned int noio = memalloc_noio_save();

	while (bk_origin_tell(origin))
		;
	memalloc_noio_restore(noio);
}

/**
 * bk_origin_event - tell whoever waits that something changed
 * @origin:	the filter
 * @what:	completed, cancelled, error, broken, ready, pending
 * @job:	the job's id, or empty
 * @seq:	NULL, or the job's number of events: becomes one more. Told with the
 *		event, so that who watches sees if one is lost
 * @cause:	why, in words; may be empty
 *
 * Told from a work item, through the live instance; while there is none, when
 * there is one again.
 *
 * Context: process, may sleep; not on the way of a bio.
 */
void bk_origin_event(struct bk_origin *origin, const char *what,
		     const char *job, unsigned int *seq, const char *cause)
{
	struct bk_event *e = kzalloc(sizeof(*e), GFP_NOIO);

	if (!e) {
		spin_lock(&origin->event_lock);
		if (seq)
			WRITE_ONCE(*seq, *seq + 1);
		spin_unlock(&origin->event_lock);
		DMWARN("%s: event %s of job %s is lost: out of memory",
		       origin->name, what, job);
		return;
	}
	strscpy(e->what, what, sizeof(e->what));
	strscpy(e->job, job, sizeof(e->job));
	strscpy(e->cause, cause, sizeof(e->cause));
	spin_lock(&origin->event_lock);
	if (seq)
		WRITE_ONCE(*seq, *seq + 1);
	e->seq = seq ? *seq : 0;
	list_add_tail(&e->list, &origin->events);
	if (!origin->mute)
		queue_work(origin->wait_wq, &origin->event_work);
	spin_unlock(&origin->event_lock);
}

/**
 * bk_origin_refuse - keep the sentence that explains a refusal
 * @origin:	the filter
 * @token:	of the message, or NULL
 * @err:	negative errno that the message fails with
 * @fmt:	the sentence, without the errno
 *
 * Context: process; origin->lock is held. Return: @err.
 */
int bk_origin_refuse(struct bk_origin *origin, const char *token, int err,
		     const char *fmt, ...)
{
	struct bk_error *e;
	va_list args;

	lockdep_assert_held(&origin->lock);
	e = &origin->errors[origin->next_error++ % BK_ERRORS];
	e->err = err;
	strscpy(e->token, token ?: "", sizeof(e->token));
	va_start(args, fmt);
	vscnprintf(e->text, sizeof(e->text), fmt, args);
	va_end(args);
	return err;
}
