// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages. The contract is in message.h.
 */

#include "message-int.h"
#include "bitmap.h"
#include "compat.h"
#include "job.h"
#include "module.h"
#include "options.h"
#include "store.h"
#include "txn.h"

#include <linux/ctype.h>
#include <linux/sched/mm.h>

/* Of an answer; dm sends a message again whose answer did not fit. */
#define BK_RANGES_SIZE	12000

/**
 * bk_refuse - say why a message is refused
 * @m:		the message
 * @err:	negative errno
 * @fmt:	a sentence
 *
 * Return: @err.
 */
int bk_refuse(struct bk_msg *m, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vscnprintf(m->error, sizeof(m->error), fmt, args);
	va_end(args);
	return err;
}

/*----------------------------------------------------------------*/
/* job ... */

static int bk_msg_job_list(struct bk_msg *m)
{
	struct bk_job *job;
	size_t len = 0;

	m->result[0] = '\0';
	mutex_lock(&m->origin->lock);
	list_for_each_entry(job, &m->origin->jobs, list) {
		if (len)
			len += scnprintf(m->result + len, m->maxlen - len,
					 "\n");
		len += bk_job_status(job, m->result + len, m->maxlen - len);
	}
	mutex_unlock(&m->origin->lock);
	return 1;
}

/* The job that a message names; the filter's lock is held. */
static struct bk_job *bk_msg_job(struct bk_msg *m, int *err)
{
	struct bk_job *job = bk_job_find(m->origin, m->argv[0]);

	*err = job ? 0 : bk_refuse(m, -ENOENT, "there is no job '%.64s'",
				   m->argv[0]);
	return job;
}

static int bk_msg_job_show(struct bk_msg *m)
{
	struct bk_job *job;
	int r;

	mutex_lock(&m->origin->lock);
	job = bk_msg_job(m, &r);
	if (job) {
		bk_job_show(job, m->result, m->maxlen);
		r = 1;
	}
	mutex_unlock(&m->origin->lock);
	return r;
}

/* A job that is being dismissed: its step ends it, which takes as good as no time. */
static void bk_msg_wait_gone(struct bk_job *job)
{
	wait_event_timeout(job->origin->jobs_wait,
			   READ_ONCE(job->state) == BK_JOB_NULL,
			   msecs_to_jiffies(BK_GONE_MS));
	bk_job_put(job);
}

/*
 * LVM makes its devices from what it has on disk, which a pivot does not change. So
 * whoever asks for one has to say that he has seen to that, as the utility has.
 */
static bool bk_msg_is_lvm(struct bk_msg *m)
{
	char uuid[DM_UUID_LEN];

	return !dm_copy_name_and_uuid(m->origin->md, NULL, uuid) &&
	       !strncmp(uuid, "LVM-", 4);
}

static int bk_msg_job_verb(struct bk_msg *m)
{
	enum bk_job_verb verb = m->verb->job;
	struct bk_job *job, *gone = NULL;
	bool force = false;
	u64 speed = 0;
	int r;

	if ((verb == BK_VERB_CANCEL || verb == BK_VERB_COMPLETE) &&
	    m->argc == 2) {
		if (strcmp(m->argv[1], "force"))
			return bk_refuse(m, -EINVAL,
					 "'%.32s' is not \"force\"",
					 m->argv[1]);
		force = true;
	}
	if (verb == BK_VERB_COMPLETE && !force && bk_msg_is_lvm(m))
		return bk_refuse(m, -EBUSY,
				 "LVM would bring the old data back: 'dmbackup job complete' tells it, 'force' is for who has done that");
	if (verb == BK_VERB_SET_SPEED &&
	    (!isdigit(m->argv[1][0]) || kstrtou64(m->argv[1], 10, &speed) ||
	     speed > S64_MAX))
		return bk_refuse(m, -EINVAL,
				 "speed: '%.32s' is not a number of bytes per second",
				 m->argv[1]);

	mutex_lock(&m->origin->lock);
	job = bk_msg_job(m, &r);
	if (job)
		r = bk_job_verb(job, verb, force, speed, m->error,
				sizeof(m->error));
	if (job && !r && verb == BK_VERB_DISMISS) {
		bk_job_get(job);
		gone = job;
	}
	mutex_unlock(&m->origin->lock);
	/* Who starts another one of its id next is to find it free. */
	if (gone)
		bk_msg_wait_gone(gone);
	return r;
}

static int bk_msg_job_change(struct bk_msg *m)
{
	struct bk_job *job;
	int r;

	mutex_lock(&m->origin->lock);
	job = bk_msg_job(m, &r);
	if (job)
		r = bk_job_change(job, m->argc - 1, m->argv + 1, m->error,
				  sizeof(m->error));
	mutex_unlock(&m->origin->lock);
	return r;
}

/*----------------------------------------------------------------*/
/* bitmap ... */

static int bk_msg_bitmap_list(struct bk_msg *m)
{
	struct bk_bitmap *bitmap;
	size_t len = 0;

	m->result[0] = '\0';
	mutex_lock(&m->origin->lock);
	for (bitmap = bk_bitmap_next(m->origin, NULL); bitmap;
	     bitmap = bk_bitmap_next(m->origin, bitmap)) {
		if (len)
			len += scnprintf(m->result + len, m->maxlen - len, "\n");
		len += bk_bitmap_show(bitmap, m->result + len, m->maxlen - len);
	}
	mutex_unlock(&m->origin->lock);
	return 1;
}

/* What is set in one that is in use or inconsistent may be looked at, too. */
static struct bk_bits *bk_msg_any_bits(struct bk_msg *m, const char *name)
{
	struct bk_bitmap *bitmap;
	struct bk_bits *bits = NULL;

	mutex_lock(&m->origin->lock);
	bitmap = bk_bitmap_find(m->origin, name);
	if (bitmap && !bitmap->hidden) {
		bits = bitmap->bits;
		bk_bits_get(bits);
	}
	mutex_unlock(&m->origin->lock);
	if (!bits)
		bk_refuse(m, -ENOENT, "there is no bitmap '%.64s'", name);
	return bits;
}

/* What was added is in memory: it may or may not be there after a crash. */
static void bk_msg_not_saved(struct bk_msg *m, const char *name, int err)
{
	bk_refuse(m, err, "bitmap '%.64s': the metadata device %s", name,
		  err == -ETIMEDOUT ? "is slow" : "has failed");
}

/* "<from> <next>", then "<start> <length>" a line; next == the end: all told. */
static int bk_msg_bitmap_ranges(struct bk_msg *m)
{
	unsigned int size = BK_RANGES_SIZE;
	sector_t start, end;
	struct bk_bits *bits;
	u64 from = 0;
	char *list;
	size_t len = 0;

	if (m->argc == 2 && (!isdigit(m->argv[1][0]) ||
			     kstrtou64(m->argv[1], 10, &from)))
		return bk_refuse(m, -EINVAL, "'%.32s' is not a sector",
				 m->argv[1]);
	bits = bk_msg_any_bits(m, m->argv[0]);
	if (!bits)
		return -ENOENT;
	if (m->maxlen < BK_RANGES_SIZE) {
		/* To dm a full buffer is one that is too small: it is sent again. */
		memset(m->result, ' ', m->maxlen - 1);
		m->result[m->maxlen - 1] = '\0';
		bk_bits_put(bits);
		return 1;
	}
	list = kmalloc(size, GFP_NOIO);
	if (!list) {
		bk_bits_put(bits);
		return bk_refuse(m, -ENOMEM, "out of memory");
	}
	list[0] = '\0';
	end = from;
	/* Room for the first line, and for one more. */
	while (len + 128 < size && bk_bits_next(bits, end, &start, &end))
		len += scnprintf(list + len, size - len, "\n%llu %llu",
				 (u64)start, (u64)(end - start));
	if (len + 128 < size)
		end = bits->len;
	scnprintf(m->result, m->maxlen, "%llu %llu%s", from, (u64)end, list);
	kfree(list);
	bk_bits_put(bits);
	return 1;
}

static int bk_msg_bitmap_checksum(struct bk_msg *m)
{
	struct bk_bits *bits = bk_msg_any_bits(m, m->argv[0]);

	if (!bits)
		return -ENOENT;
	scnprintf(m->result, m->maxlen, "%08x %llu %llu", bk_bits_crc(bits),
		  1ULL << bits->shift, (u64)bits->len);
	bk_bits_put(bits);
	return 1;
}

/* "<start>+<length>", sectors. */
static int bk_msg_range(struct bk_msg *m, const char *word, u64 len, u64 *start,
			u64 *end)
{
	int r = bk_option_range(word, len, start, end);

	if (r == -EINVAL)
		bk_refuse(m, r, "'%.40s' is not <start>+<length>", word);
	else if (r)
		bk_refuse(m, r, "%.40s is behind the end of the device", word);
	return r;
}

/* The bitmap of a load, claimed, if all of its ranges are good. */
static struct bk_bitmap *bk_msg_take_loaded(struct bk_msg *m, int *err)
{
	struct bk_bitmap *bitmap;
	unsigned int i;
	u64 start, end;

	*err = 0;
	mutex_lock(&m->origin->lock);
	bitmap = bk_bitmap_usable(m->origin, m->argv[0], err, m->error,
				  sizeof(m->error));
	for (i = 1; i < m->argc && !*err; i++)
		*err = bk_msg_range(m, m->argv[i], bitmap->bits->len, &start,
				    &end);
	if (!*err) {
		bk_bitmap_claim(bitmap, "load");
		bk_bits_get(bitmap->bits);
	}
	mutex_unlock(&m->origin->lock);
	return *err ? NULL : bitmap;
}

/*
 * The lock is not held while bits are set: there may be thousands of ranges of any
 * size, and cuts wait for it.
 */
static int bk_msg_bitmap_load(struct bk_msg *m)
{
	struct bk_bitmap *bitmap;
	struct bk_bits *bits;
	unsigned int i;
	u64 start, end;
	int err;

	bitmap = bk_msg_take_loaded(m, &err);
	if (!bitmap)
		return err;
	/* If a resize takes them away meanwhile the bitmap becomes inconsistent. */
	bits = READ_ONCE(bitmap->bits);
	for (i = 1; i < m->argc; i++) {
		bk_msg_range(m, m->argv[i], bits->len, &start, &end);
		bk_bits_set_many(bits, start >> bits->shift,
				 ((end - 1) >> bits->shift) + 1);
	}
	bk_bits_put(bits);
	err = bk_bitmap_added(m->origin, bitmap);
	if (err)
		bk_msg_not_saved(m, bitmap->name, err);
	mutex_lock(&m->origin->lock);
	bk_bitmap_release(m->origin, bitmap);
	mutex_unlock(&m->origin->lock);
	return err;
}

/*----------------------------------------------------------------*/

/* The next table may be another than ours: it is asked for, not behind our back. */
static int bk_msg_detach(struct bk_msg *m)
{
	struct bk_origin *origin = m->origin;
	bool live;

	mutex_lock(&origin->live_lock);
	live = origin->live;
	mutex_unlock(&origin->live_lock);
	if (!live)
		return bk_refuse(m, -EBUSY, "the filter is suspended");
	mutex_lock(&origin->lock);
	origin->leaving = true;
	mutex_unlock(&origin->lock);
	return 0;
}

/*
 * The next table may stand on another device, with the same contents: whoever puts
 * it there has to know that.
 */
static int bk_msg_origin_same(struct bk_msg *m)
{
	struct bk_origin *origin = m->origin;
	unsigned int major = 0, minor = 0;
	int n;
	char rest;
	dev_t dev;

	n = sscanf(m->argv[0], "%u:%u%c", &major, &minor, &rest);
	dev = MKDEV(major, minor);
	if (n != 2 || MAJOR(dev) != major || MINOR(dev) != minor)
		return bk_refuse(m, -EINVAL, "'%.32s' is not a device's MAJ:MIN",
				 m->argv[0]);
	mutex_lock(&origin->lock);
	WRITE_ONCE(origin->same, dev);	/* bk_origin_mismatch() */
	mutex_unlock(&origin->lock);
	return 0;
}

static int bk_msg_metadata_save(struct bk_msg *m)
{
	return bk_store_save_now(m->origin, m->error, sizeof(m->error));
}

static int bk_msg_last_error(struct bk_msg *m)
{
	struct bk_origin *origin = m->origin;
	unsigned int i;

	strscpy(m->result, "0 -", m->maxlen);
	mutex_lock(&origin->lock);
	for (i = 1; i <= BK_ERRORS && i <= origin->next_error; i++) {
		struct bk_error *e =
			&origin->errors[(origin->next_error - i) % BK_ERRORS];

		if (m->token && strcmp(m->token, e->token))
			continue;
		scnprintf(m->result, m->maxlen, "%d %s", e->err, e->text);
		break;
	}
	mutex_unlock(&origin->lock);
	return 1;
}

static const struct bk_verb bk_verbs[] = {
	{ "backup", "start", 3, 64,
	  "<id> target=<device> sync=<mode> [<option>=<value>...]",
	  bk_msg_action, .action = &bk_action_backup_start },
	{ "mirror", "start", 3, 64,
	  "<id> target=<device> sync=<mode> [<option>=<value>...]",
	  bk_msg_action, .action = &bk_action_mirror_start },
	{ "bitmap", "add", 1, 5,
	  "<name> [granularity=<sectors>] [disabled] [all_dirty] [persistent]",
	  bk_msg_action, .action = &bk_action_bitmap_add },
	{ "bitmap", "remove", 1, 1, "<name>", bk_msg_action,
	  .action = &bk_action_bitmap_remove },
	{ "bitmap", "clear", 1, 1, "<name>", bk_msg_action,
	  .action = &bk_action_bitmap_clear },
	{ "bitmap", "enable", 1, 1, "<name>", bk_msg_action,
	  .action = &bk_action_bitmap_enable },
	{ "bitmap", "disable", 1, 1, "<name>", bk_msg_action,
	  .action = &bk_action_bitmap_disable },
	{ "bitmap", "merge", 2, 64, "<name> [<filter>/]<source>...",
	  bk_msg_action, .action = &bk_action_bitmap_merge },
	{ "bitmap", "list", 0, 0, "", bk_msg_bitmap_list },
	{ "bitmap", "ranges", 1, 2, "<name> [<from>]", bk_msg_bitmap_ranges },
	{ "bitmap", "checksum", 1, 1, "<name>", bk_msg_bitmap_checksum },
	{ "bitmap", "load", 2, 4096, "<name> <start>+<length>...",
	  bk_msg_bitmap_load },
	{ "job", "list", 0, 0, "", bk_msg_job_list },
	{ "job", "show", 1, 1, "<id>", bk_msg_job_show },
	{ "job", "pause", 1, 1, "<id>", bk_msg_job_verb, BK_VERB_PAUSE },
	{ "job", "resume", 1, 1, "<id>", bk_msg_job_verb, BK_VERB_RESUME },
	{ "job", "cancel", 1, 2, "<id> [force]", bk_msg_job_verb,
	  BK_VERB_CANCEL },
	{ "job", "set_speed", 2, 2, "<id> <bytes per second>",
	  bk_msg_job_verb, BK_VERB_SET_SPEED },
	{ "job", "change", 2, 64, "<id> <option>=<value>...",
	  bk_msg_job_change },
	{ "job", "complete", 1, 2, "<id> [force]", bk_msg_job_verb,
	  BK_VERB_COMPLETE },
	{ "job", "checkpoint", 1, 2, "<id> [freeze=0|1]", bk_msg_action,
	  .action = &bk_action_checkpoint },
	{ "job", "finalize", 1, 1, "<id>", bk_msg_job_verb,
	  BK_VERB_FINALIZE },
	{ "job", "dismiss", 1, 1, "<id>", bk_msg_job_verb, BK_VERB_DISMISS },
	{ "transaction", "commit", 1, 1, "<token>",
	  bk_msg_transaction_commit },
	{ "transaction", "abort", 1, 1, "<token>", bk_msg_transaction_abort },
	{ "transaction", "show", 1, 1, "<token>", bk_msg_transaction_show },
	{ "transaction", NULL, 1, 65536,
	  "[prepare] [completion_mode=<mode>] [freeze=0|1] [sequential] <#actions> {<filter> <#words> <word>...}...",
	  bk_msg_transaction },
	{ "abort", NULL, 0, 0, "", bk_msg_action,
	  .action = &bk_action_abort },
	{ "detach", NULL, 0, 0, "", bk_msg_detach },
	{ "origin", "same", 1, 1, "<device>", bk_msg_origin_same },
	{ "metadata", "save", 0, 0, "", bk_msg_metadata_save },
	{ "last_error", NULL, 0, 0, "[token=<word>]", bk_msg_last_error },
};

/* Take "token=..." out of the words, wherever it stands. */
static int bk_msg_take_token(struct bk_msg *m)
{
	unsigned int i, to = 0;

	for (i = 0; i < m->argc; i++) {
		if (strncmp(m->argv[i], "token=", 6)) {
			m->argv[to++] = m->argv[i];
			continue;
		}
		if (m->token)
			return bk_refuse(m, -EINVAL, "token is given twice");
		m->token = m->argv[i] + 6;
		if (!*m->token || strlen(m->token) >= BK_TOKEN_LEN)
			return bk_refuse(m, -EINVAL,
					 "token: 1 to %d characters",
					 BK_TOKEN_LEN - 1);
	}
	m->argc = to;
	return 0;
}

static const struct bk_verb *bk_verb_find(unsigned int argc, char **argv)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bk_verbs); i++) {
		const struct bk_verb *v = &bk_verbs[i];

		if (strcmp(v->object, argv[0]))
			continue;
		if (!v->name || (argc > 1 && !strcmp(v->name, argv[1])))
			return v;
	}
	return NULL;
}

/**
 * bk_verb_take - which verb is it, and are there as many words as it takes?
 * @argc:	number of words; becomes that of those behind the verb
 * @argv:	the words; the same
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * Return: the verb, or NULL.
 */
const struct bk_verb *bk_verb_take(unsigned int *argc, char ***argv,
				   char *error, size_t size)
{
	const struct bk_verb *v = *argc ? bk_verb_find(*argc, *argv) : NULL;
	unsigned int words;

	if (!v) {
		scnprintf(error, size, "unknown message '%.32s%s%.32s'",
			  *argc ? (*argv)[0] : "", *argc > 1 ? " " : "",
			  *argc > 1 ? (*argv)[1] : "");
		return NULL;
	}
	words = v->name ? 2 : 1;
	*argc -= words;
	*argv += words;
	if (*argc >= v->min && *argc <= v->max)
		return v;
	scnprintf(error, size, "usage: %s%s%s %s", v->object,
		  v->name ? " " : "", v->name ?: "", v->usage);
	return NULL;
}

static int bk_msg_dispatch(struct bk_msg *m)
{
	int r;

	r = bk_msg_take_token(m);
	if (r)
		return r;
	m->verb = bk_verb_take(&m->argc, &m->argv, m->error, sizeof(m->error));
	return m->verb ? m->verb->fn(m) : -EINVAL;
}

/**
 * bk_message - handle a message
 * @in:		the filter's instance
 * @argc:	number of words
 * @argv:	the words
 * @result:	for an answer
 * @maxlen:	of @result
 *
 * Context: dm's message hook: process, under SRCU.
 * Return: 0; 1 if there is an answer; a negative errno.
 */
int bk_message(struct bk_instance *in, unsigned int argc, char **argv,
	       char *result, unsigned int maxlen)
{
	struct bk_origin *origin = in->origin;
	struct bk_msg m = {
		.origin	= origin,
		.argc	= argc,
		.argv	= argv,
		.result	= result,
		.maxlen	= maxlen,
	};
	unsigned int noio = memalloc_noio_save();
	int r;

	r = bk_msg_dispatch(&m);
	if (r < 0) {
		bk_make_printable(m.error);
		mutex_lock(&origin->lock);
		bk_origin_refuse(origin, m.token, r, "%s", m.error);
		mutex_unlock(&origin->lock);
		DMWARN_LIMIT("%s: %s", origin->name, m.error);
	}
	memalloc_noio_restore(noio);
	return r;
}
