// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages that go through a transaction: starts of jobs, changes of bitmaps, and
 * those of many actions. The contract is in message.h.
 */

#include "message-int.h"
#include "txn.h"

/**
 * bk_msg_action - one action by itself
 * @m:		the message
 */
int bk_msg_action(struct bk_msg *m)
{
	static const struct bk_txn_options options;
	struct bk_txn *txn;
	int err;

	txn = bk_txn_create(1, &options, NULL);
	if (!txn)
		return bk_refuse(m, -ENOMEM, "out of memory");
	txn->single = true;
	txn->plain = m->verb->action->create;
	err = bk_txn_set_action(txn, 1, m->verb->action, m->origin->name,
				m->argc, m->argv);
	if (err)
		bk_refuse(m, err, "out of memory");
	else
		err = bk_txn_start(txn, m->error, sizeof(m->error));
	if (!err)
		err = bk_txn_wait(txn, m->error, sizeof(m->error));
	bk_txn_put(txn);
	return err;
}

/* An action as it stands in the message becomes one of the transaction. */
static int bk_msg_take_action(struct bk_msg *m, struct bk_txn *txn,
			      struct bk_txn_action *a)
{
	const struct bk_verb *v;
	char why[BK_ERROR_LEN];
	char **argv = a->argv;

	v = bk_verb_take(&a->argc, &argv, why, sizeof(why));
	if (!v)
		return bk_refuse(m, -EINVAL, "action %u on %s: %s", a->nr,
				 a->filter, why);
	if (!v->action)
		return bk_refuse(m, -EINVAL,
				 "action %u on %s: '%s%s%s' is no action of a transaction",
				 a->nr, a->filter, v->object,
				 v->name ? " " : "", v->name ?: "");
	if (txn->options.completion == BK_COMPLETION_GROUPED &&
	    !v->action->create)
		return bk_refuse(m, -EINVAL,
				 "action %u on %s: completion_mode=grouped is for starts of jobs only",
				 a->nr, a->filter);
	if (v->action->endless && (txn->options.completion ||
				   txn->options.sequential))
		return bk_refuse(m, -EINVAL,
				 "action %u on %s: a mirror ends when it is told to: it can't be grouped or take turns",
				 a->nr, a->filter);
	if (bk_txn_set_action(txn, a->nr, v->action, a->filter, a->argc, argv))
		return bk_refuse(m, -ENOMEM, "out of memory");
	return 0;
}

/* All that can be said against the words is said before anything is done. */
static int bk_msg_take_actions(struct bk_msg *m, struct bk_txn *txn,
			       struct bk_txn_words *w)
{
	struct bk_txn_action a;
	char why[BK_ERROR_LEN];
	int r;

	while ((r = bk_txn_words_next(w, &a, why, sizeof(why))) > 0) {
		r = bk_msg_take_action(m, txn, &a);
		if (r)
			return r;
	}
	return r ? bk_refuse(m, r, "transaction: %s", why) : 0;
}

/**
 * bk_msg_transaction - many actions, all or none
 * @m:		the message
 */
int bk_msg_transaction(struct bk_msg *m)
{
	struct bk_txn_options options;
	struct bk_txn_words w;
	char why[BK_ERROR_LEN];
	struct bk_txn *txn;
	int err;

	err = bk_txn_words_begin(&w, m->argc, m->argv, &options, why,
				 sizeof(why));
	if (err)
		return bk_refuse(m, err, "transaction: %s", why);
	if (options.prepare && !m->token)
		return bk_refuse(m, -EINVAL,
				 "transaction: prepare needs a token");
	txn = bk_txn_create(w.nr, &options, m->token);
	if (!txn)
		return bk_refuse(m, -ENOMEM, "transaction: out of memory");
	err = bk_msg_take_actions(m, txn, &w);
	if (!err)
		err = bk_txn_start(txn, m->error, sizeof(m->error));
	if (!err)
		err = bk_txn_wait(txn, m->error, sizeof(m->error));
	bk_txn_put(txn);
	return err;
}

/**
 * bk_msg_transaction_commit - make the cut of one that is prepared
 * @m:		the message
 */
int bk_msg_transaction_commit(struct bk_msg *m)
{
	return bk_txn_commit(m->argv[0], m->error, sizeof(m->error));
}

/**
 * bk_msg_transaction_abort - undo one that is prepared, or being prepared
 * @m:		the message
 */
int bk_msg_transaction_abort(struct bk_msg *m)
{
	return bk_txn_abort(m->argv[0], m->error, sizeof(m->error));
}

/**
 * bk_msg_transaction_show - how is it?
 * @m:		the message
 */
int bk_msg_transaction_show(struct bk_msg *m)
{
	return bk_txn_show(m->argv[0], m->result, m->maxlen, m->error,
			   sizeof(m->error)) ?: 1;
}
