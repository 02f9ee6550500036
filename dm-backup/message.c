// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages. The contract is in message.h.
 */

#include "message.h"
#include "backup.h"
#include "bitmap.h"
#include "compat.h"
#include "io.h"
#include "job.h"
#include "module.h"
#include "options.h"
#include "store.h"
#include "txn.h"

#include <linux/ctype.h>
#include <linux/sched/mm.h>

/* Of an answer; dm sends a message again whose answer did not fit. */
#define BK_RANGES_SIZE	12000

/* How long a refused start waits for the job to be gone. */
#define BK_GONE_MS	BK_PREPARE_MS

/**
 * struct bk_msg - a message being handled
 * @origin:	the filter
 * @read_only:	its table is
 * @verb:	which entry of the table it is
 * @token:	it carried, or NULL
 * @argc:	words after the verb
 * @argv:	the same
 * @result:	for the answer
 * @maxlen:	of @result
 * @error:	why it is refused
 */
struct bk_msg {
	struct bk_origin *origin;
	bool read_only;
	const struct bk_verb *verb;
	const char *token;
	unsigned int argc;
	char **argv;
	char *result;
	unsigned int maxlen;
	char error[BK_ERROR_LEN];
};

/**
 * struct bk_verb - an entry of the table
 * @object:	first word
 * @name:	second word, or NULL
 * @min:	fewest words after those
 * @max:	most
 * @usage:	of those words
 * @fn:		does it: 0, 1 (answered) or a negative errno, error filled
 * @job:	for verbs of jobs
 * @bitmap:	for changes of bitmaps
 */
struct bk_verb {
	const char *object;
	const char *name;
	unsigned int min;
	unsigned int max;
	const char *usage;
	int (*fn)(struct bk_msg *m);
	enum bk_job_verb job;
	enum bk_bitmap_verb bitmap;
};

__printf(3, 4)
static int bk_refuse(struct bk_msg *m, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vscnprintf(m->error, sizeof(m->error), fmt, args);
	va_end(args);
	return err;
}

/* It is one line of the kernel's log, whatever the sender's words hold. */
static void bk_make_printable(char *s)
{
	for (; *s; s++)
		if (!isprint(*s))
			*s = '?';
}

/*----------------------------------------------------------------*/
/* backup start */

/*
 * A job's start that fails while somebody waits for the answer is a refusal:
 * the job leaves no trace. Waits for that.
 */
static int bk_start_refused(struct bk_msg *m, struct bk_job *job)
{
	wait_event_killable_timeout(m->origin->jobs_wait,
				    READ_ONCE(job->state) == BK_JOB_NULL,
				    msecs_to_jiffies(BK_GONE_MS));
	return bk_refuse(m, job->err ?: -ECANCELED, "%s", job->cause);
}

static int bk_start_wait(struct bk_msg *m, struct bk_job *job,
			 struct bk_txn *txn)
{
	unsigned long wait = msecs_to_jiffies(BK_PREPARE_MS);
	long left;

	left = wait_for_completion_killable_timeout(&txn->prepared, wait);
	if (left > 0 && txn->err)
		return bk_start_refused(m, job);
	/* It goes on without anybody waiting for its start. */
	if (left <= 0 && !bk_job_unsilence(job))
		return bk_start_refused(m, job);
	return 0;
}

/*
 * Make the job and put it on the list, where other messages find it: it is in
 * its transaction by then.
 */
static struct bk_job *bk_start_job(struct bk_msg *m, struct bk_txn *txn)
{
	struct bk_origin *origin = m->origin;
	const char *id = m->argv[0];
	struct bk_job *job;
	int r;

	r = bk_option_check_id(id, m->error, sizeof(m->error));
	if (r)
		return ERR_PTR(r);
	mutex_lock(&origin->lock);
	if (bk_job_find(origin, id)) {
		bk_refuse(m, 0, "job '%.64s' exists already", id);
		job = ERR_PTR(-EEXIST);
	} else {
		job = bk_backup_create(origin, id, m->argc - 1, m->argv + 1,
				       &txn->freeze, m->error,
				       sizeof(m->error));
	}
	if (!IS_ERR(job)) {
		if (list_empty(&origin->jobs))
			bk_io_forget_longest(origin);
		job->silent = true;
		bk_txn_add(txn, job);
		bk_job_get(job);
		list_add_tail(&job->list, &origin->jobs);
	}
	mutex_unlock(&origin->lock);
	return job;
}

static int bk_msg_backup_start(struct bk_msg *m)
{
	struct bk_txn *txn;
	struct bk_job *job;
	int r;

	txn = bk_txn_create(1);
	if (!txn)
		return bk_refuse(m, -ENOMEM, "out of memory");
	job = bk_start_job(m, txn);
	if (IS_ERR(job)) {
		bk_txn_put(txn);
		return PTR_ERR(job);
	}
	bk_job_kick(job);
	r = bk_start_wait(m, job, txn);
	bk_txn_put(txn);
	bk_job_put(job);
	return r;
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

static int bk_msg_job_verb(struct bk_msg *m)
{
	enum bk_job_verb verb = m->verb->job;
	struct bk_job *job;
	bool force = false;
	u64 speed = 0;
	int r;

	if (verb == BK_VERB_CANCEL && m->argc == 2) {
		if (strcmp(m->argv[1], "force"))
			return bk_refuse(m, -EINVAL,
					 "'%.32s' is not \"force\"",
					 m->argv[1]);
		force = true;
	}
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
	mutex_unlock(&m->origin->lock);
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

struct bk_bitmap_params {
	u64 granularity;
	u64 disabled;
	u64 all_dirty;
	u64 persistent;
};

static const struct bk_option bk_bitmap_options[] = {
	{ "granularity", BK_OPT_POWER2,
	  offsetof(struct bk_bitmap_params, granularity),
	  .min = BK_GRANULARITY_MIN, .max = BK_GRANULARITY_MAX },
	{ "disabled", BK_OPT_FLAG, offsetof(struct bk_bitmap_params, disabled) },
	{ "all_dirty", BK_OPT_FLAG,
	  offsetof(struct bk_bitmap_params, all_dirty) },
	{ "persistent", BK_OPT_FLAG,
	  offsetof(struct bk_bitmap_params, persistent) },
};

static int bk_msg_bitmap_change(struct bk_msg *m)
{
	struct bk_bitmap_params p = { .granularity = BK_GRANULARITY_DEFAULT };
	struct bk_bitmap_change c = {
		.verb	= m->verb->bitmap,
		.name	= m->argv[0],
	};
	u64 given;
	int r;

	if (m->read_only)
		return bk_refuse(m, -EROFS, "the filter is read-only");
	r = bk_options_parse(bk_bitmap_options, ARRAY_SIZE(bk_bitmap_options),
			     &p, m->argc - 1, m->argv + 1, &given, m->error,
			     sizeof(m->error));
	if (r)
		return r;
	c.granularity = p.granularity;
	c.disabled = p.disabled;
	c.all_dirty = p.all_dirty;
	c.persistent = p.persistent;
	return bk_txn_change(m->origin, &c, m->error, sizeof(m->error));
}

static int bk_msg_bitmap_list(struct bk_msg *m)
{
	struct bk_bitmap *bitmap;
	size_t len = 0;

	m->result[0] = '\0';
	mutex_lock(&m->origin->lock);
	list_for_each_entry(bitmap, &m->origin->bitmaps, list) {
		if (len)
			len += scnprintf(m->result + len, m->maxlen - len, "\n");
		len += bk_bitmap_show(bitmap, m->result + len, m->maxlen - len);
	}
	mutex_unlock(&m->origin->lock);
	return 1;
}

/*
 * The bits of a bitmap, with a reference: looking through them takes a while.
 * "MAJ:MIN/NAME" is one of another filter.
 */
static struct bk_bits *bk_msg_bits(struct bk_msg *m, const char *name, int *err)
{
	const char *slash = strchr(name, '/');
	struct bk_origin *origin = m->origin;
	struct bk_bitmap *bitmap = NULL;
	struct bk_bits *bits = NULL;

	*err = 0;
	mutex_lock(&bk_cut_mutex);	/* it stays in the registry */
	if (slash)
		origin = bk_origin_find(name, slash - name);
	if (origin) {
		mutex_lock(&origin->lock);
		bitmap = bk_bitmap_usable(origin, slash ? slash + 1 : name, err,
					  m->error, sizeof(m->error));
		if (bitmap) {
			bits = bitmap->bits;
			bk_bits_get(bits);
		}
		mutex_unlock(&origin->lock);
	} else {
		*err = bk_refuse(m, -ENODEV, "there is no backup filter %.*s",
				 (int)min_t(size_t, slash - name, 32), name);
	}
	mutex_unlock(&bk_cut_mutex);
	return bits;
}

/* What is set in one that is in use or inconsistent may be looked at, too. */
static struct bk_bits *bk_msg_any_bits(struct bk_msg *m, const char *name)
{
	struct bk_bitmap *bitmap;
	struct bk_bits *bits = NULL;

	mutex_lock(&m->origin->lock);
	bitmap = bk_bitmap_find(m->origin, name);
	if (bitmap) {
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

/* Sources first: what can be refused is refused before anything changes. */
static int bk_msg_bitmap_merge(struct bk_msg *m)
{
	unsigned int i, n = 0, nr = m->argc - 1;
	struct bk_bitmap *dst;
	struct bk_bits **src;
	int err = 0;

	src = kcalloc(nr, sizeof(*src), GFP_NOIO);
	if (!src)
		return bk_refuse(m, -ENOMEM, "out of memory");
	for (n = 0; n < nr && !err; n++)
		src[n] = bk_msg_bits(m, m->argv[n + 1], &err);

	mutex_lock(&m->origin->lock);
	dst = err ? NULL : bk_bitmap_usable(m->origin, m->argv[0], &err,
					    m->error, sizeof(m->error));
	for (i = 0; i < nr && dst && !err; i++)
		if (src[i]->len != dst->bits->len)
			err = bk_refuse(m, -EINVAL,
					"bitmap '%.64s' is of a device of another length",
					m->argv[i + 1]);
	if (!err)
		bk_bitmap_claim(dst, "merge");
	mutex_unlock(&m->origin->lock);

	/* This may take a while, and others want the lock. */
	for (i = 0; i < nr && !err; i++)
		bk_bits_or(dst->bits, src[i]);
	if (!err) {
		err = bk_bitmap_added(m->origin, dst);
		if (err)
			bk_msg_not_saved(m, dst->name, err);
		mutex_lock(&m->origin->lock);
		bk_bitmap_release(m->origin, dst);
		mutex_unlock(&m->origin->lock);
	}
	for (i = 0; i < n; i++)
		bk_bits_put(src[i]);
	kfree(src);
	return err;
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
	char copy[48], *plus;

	plus = strscpy(copy, word, sizeof(copy)) < 0 ? NULL : strchr(copy, '+');
	if (plus)
		*plus++ = '\0';
	if (!plus || !isdigit(copy[0]) || !isdigit(plus[0]) ||
	    kstrtou64(copy, 10, start) || kstrtou64(plus, 10, end) || !*end)
		return bk_refuse(m, -EINVAL, "'%.40s' is not <start>+<length>",
				 word);
	if (*start >= len || *end > len - *start)
		return bk_refuse(m, -ERANGE,
				 "%.40s is behind the end of the device", word);
	*end += *start;
	return 0;
}

static int bk_msg_bitmap_load(struct bk_msg *m)
{
	struct bk_bitmap *bitmap;
	unsigned int i;
	u64 start, end;
	int err = 0;

	mutex_lock(&m->origin->lock);
	bitmap = bk_bitmap_usable(m->origin, m->argv[0], &err, m->error,
				  sizeof(m->error));
	for (i = 1; i < m->argc && !err; i++)
		err = bk_msg_range(m, m->argv[i], bitmap->bits->len, &start,
				   &end);
	for (i = 1; i < m->argc && !err; i++) {
		bk_msg_range(m, m->argv[i], bitmap->bits->len, &start, &end);
		bk_bits_mark(bitmap->bits, start, end);
	}
	if (!err)
		bk_bitmap_claim(bitmap, "load");
	mutex_unlock(&m->origin->lock);
	if (err)
		return err;
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
	  bk_msg_backup_start },
	{ "bitmap", "add", 1, 5,
	  "<name> [granularity=<sectors>] [disabled] [all_dirty] [persistent]",
	  bk_msg_bitmap_change, .bitmap = BK_BITMAP_ADD },
	{ "bitmap", "remove", 1, 1, "<name>", bk_msg_bitmap_change,
	  .bitmap = BK_BITMAP_REMOVE },
	{ "bitmap", "clear", 1, 1, "<name>", bk_msg_bitmap_change,
	  .bitmap = BK_BITMAP_CLEAR },
	{ "bitmap", "enable", 1, 1, "<name>", bk_msg_bitmap_change,
	  .bitmap = BK_BITMAP_ENABLE },
	{ "bitmap", "disable", 1, 1, "<name>", bk_msg_bitmap_change,
	  .bitmap = BK_BITMAP_DISABLE },
	{ "bitmap", "merge", 2, 64, "<name> [<filter>/]<source>...",
	  bk_msg_bitmap_merge },
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
	{ "job", "change", 2, 5, "<id> <option>=<value>...",
	  bk_msg_job_change },
	{ "job", "complete", 1, 1, "<id>", bk_msg_job_verb,
	  BK_VERB_COMPLETE },
	{ "job", "finalize", 1, 1, "<id>", bk_msg_job_verb,
	  BK_VERB_FINALIZE },
	{ "job", "dismiss", 1, 1, "<id>", bk_msg_job_verb, BK_VERB_DISMISS },
	{ "detach", NULL, 0, 0, "", bk_msg_detach },
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

static int bk_msg_dispatch(struct bk_msg *m)
{
	const struct bk_verb *v;
	unsigned int words;
	int r;

	r = bk_msg_take_token(m);
	if (r)
		return r;
	v = m->argc ? bk_verb_find(m->argc, m->argv) : NULL;
	if (!v)
		return bk_refuse(m, -EINVAL, "unknown message '%.32s%s%.32s'",
				 m->argc ? m->argv[0] : "",
				 m->argc > 1 ? " " : "",
				 m->argc > 1 ? m->argv[1] : "");
	words = v->name ? 2 : 1;
	m->verb = v;
	m->argc -= words;
	m->argv += words;
	if (m->argc < v->min || m->argc > v->max)
		return bk_refuse(m, -EINVAL, "usage: %s%s%s %s", v->object,
				 v->name ? " " : "", v->name ?: "", v->usage);
	return v->fn(m);
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
		.read_only = !(dm_table_get_mode(in->ti->table) & BK_MODE_WRITE),
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
