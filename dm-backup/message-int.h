/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of messages share: message.c has the table, message-txn.c what
 * goes through a transaction. The contract is in message.h.
 */

#ifndef BK_MESSAGE_INT_H
#define BK_MESSAGE_INT_H

#include "jobstate.h"
#include "message.h"

struct bk_action_type;

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
 * @action:	what it is in a transaction, or NULL
 */
struct bk_verb {
	const char *object;
	const char *name;
	unsigned int min;
	unsigned int max;
	const char *usage;
	int (*fn)(struct bk_msg *m);
	enum bk_job_verb job;
	const struct bk_action_type *action;
};

__printf(3, 4)
int bk_refuse(struct bk_msg *m, int err, const char *fmt, ...);
const struct bk_verb *bk_verb_take(unsigned int *argc, char ***argv,
				   char *error, size_t size);

int bk_msg_action(struct bk_msg *m);
int bk_msg_transaction(struct bk_msg *m);
int bk_msg_transaction_commit(struct bk_msg *m);
int bk_msg_transaction_abort(struct bk_msg *m);
int bk_msg_transaction_show(struct bk_msg *m);

#endif
