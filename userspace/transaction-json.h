/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: the document of "dmbackup transaction".
 *
 * What is here looks at the text only, at no device: all that a document may
 * hold, dmbackup(8) has it. What is refused is said with its place:
 * "FILE:LINE:COLUMN: actions[2].target: what is wrong".
 */

#ifndef TRANSACTION_JSON_H
#define TRANSACTION_JSON_H

#include "dmbackup.h"

#define TX_MAX		(1 << 20)	/* characters */
#define TX_MAX_ACTIONS	256		/* the kernel's limit */
#define TX_MAX_TOKEN	31		/* the same */

enum tx_verb {
	TX_BACKUP,
	TX_MIRROR,
	TX_BITMAP_ADD,
	TX_BITMAP_REMOVE,
	TX_BITMAP_CLEAR,
	TX_BITMAP_ENABLE,
	TX_BITMAP_DISABLE,
	TX_BITMAP_MERGE,
	TX_CHECKPOINT,
	TX_ABORT,
};

/* Where the action, or a value in it, is: begins what is said of it. */
struct tx_place {
	char *action;
	char *device;
	char *target;
	char *fleece;
	char *sources;
};

/* Texts are the document's. Of @options it has those that its verb takes. */
struct tx_action {
	enum tx_verb verb;
	struct tx_place place;
	const char *device;
	const char *name;		/* of a bitmap, or a job that is there */
	const char **sources;
	unsigned int nr_sources;
	struct options options;
};

struct json_object;

struct tx_document {
	struct json_object *root;
	bool freeze;			/* unless told otherwise: if there is a backup, or a checkpoint */
	bool sequential;
	const char *completion_mode;	/* or NULL */
	const char *token;		/* or NULL */
	struct tx_action *actions;
	unsigned int nr;
};

/*
 * @text: @len characters and a zero byte. 0, or an exit code after saying what
 * is wrong. Both want tx_free().
 */
int tx_parse(const char *file, const char *text, size_t len,
	     struct tx_document *doc);
void tx_free(struct tx_document *doc);

#endif
