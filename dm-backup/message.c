// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages. The contract is in message.h.
 */

#include "message.h"
#include "backup.h"
#include "io.h"
#include "job.h"
#include "module.h"
#include "options.h"
#include "txn.h"

#include <linux/ctype.h>
#include <linux/sched/mm.h>

/* How long a refused start waits for the job to be gone. */
#define BK_GONE_MS	BK_PREPARE_MS

/**
 * struct bk_msg - a message being handled
 * @origin:	the filter
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
 */
struct bk_verb {
	const char *object;
	const char *name;
	unsigned int min;
	unsigned int max;
	const char *usage;
	int (*fn)(struct bk_msg *m);
	enum bk_job_verb job;
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

static int bk_msg_job_show(struct bk_msg *m)
{
	struct bk_job *job;
	int r = 1;

	mutex_lock(&m->origin->lock);
	job = bk_job_find(m->origin, m->argv[0]);
	if (job)
		bk_job_show(job, m->result, m->maxlen);
	else
		r = bk_refuse(m, -ENOENT, "there is no job '%.64s'",
			      m->argv[0]);
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
	job = bk_job_find(m->origin, m->argv[0]);
	if (job)
		r = bk_job_verb(job, verb, force, speed, m->error,
				sizeof(m->error));
	else
		r = bk_refuse(m, -ENOENT, "there is no job '%.64s'",
			      m->argv[0]);
	mutex_unlock(&m->origin->lock);
	return r;
}

/*----------------------------------------------------------------*/

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
	  "<id> target=<device> sync=full [<option>=<value>...]",
	  bk_msg_backup_start },
	{ "job", "list", 0, 0, "", bk_msg_job_list },
	{ "job", "show", 1, 1, "<id>", bk_msg_job_show },
	{ "job", "pause", 1, 1, "<id>", bk_msg_job_verb, BK_VERB_PAUSE },
	{ "job", "resume", 1, 1, "<id>", bk_msg_job_verb, BK_VERB_RESUME },
	{ "job", "cancel", 1, 2, "<id> [force]", bk_msg_job_verb,
	  BK_VERB_CANCEL },
	{ "job", "set_speed", 2, 2, "<id> <bytes per second>",
	  bk_msg_job_verb, BK_VERB_SET_SPEED },
	{ "job", "complete", 1, 1, "<id>", bk_msg_job_verb,
	  BK_VERB_COMPLETE },
	{ "job", "finalize", 1, 1, "<id>", bk_msg_job_verb,
	  BK_VERB_FINALIZE },
	{ "job", "dismiss", 1, 1, "<id>", bk_msg_job_verb, BK_VERB_DISMISS },
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
 * @origin:	the filter
 * @argc:	number of words
 * @argv:	the words
 * @result:	for an answer
 * @maxlen:	of @result
 *
 * Context: dm's message hook: process, under SRCU.
 * Return: 0; 1 if there is an answer; a negative errno.
 */
int bk_message(struct bk_origin *origin, unsigned int argc, char **argv,
	       char *result, unsigned int maxlen)
{
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
