/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Messages: one table of verbs, what they take and who does them.
 *
 * A verb changes something and answers nothing, or asks something and changes
 * nothing: libdevmapper sends a message again when its answer did not fit. A
 * refused message changes nothing; "last_error" has the sentence, found by the
 * token= the message carried if it carried one.
 *
 * Context: inside dm's SRCU section, under memalloc_noio. What starts jobs or
 * changes bitmaps is a transaction (txn.h), for which a handler waits: for
 * BK_PREPARE_MS if it starts a job, else for BK_TXN_WAIT_MS, and for BK_GONE_MS
 * more if it is late; that holds up suspend and removal. Dismissing a job waits
 * for its step, for BK_GONE_MS at most.
 */

#ifndef BK_MESSAGE_H
#define BK_MESSAGE_H

#include "origin.h"

int bk_message(struct bk_instance *in, unsigned int argc, char **argv,
	       char *result, unsigned int maxlen);

#endif
