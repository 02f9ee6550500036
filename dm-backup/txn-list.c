// SPDX-License-Identifier: GPL-2.0-only
/*
 * Transactions that have a token, by which messages find them. The contract is in
 * txn.h.
 */

#include "txn.h"
#include "module.h"

#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/string.h>
#include <linux/workqueue.h>

/* The oldest first. */
static LIST_HEAD(bk_txns);
static DEFINE_MUTEX(bk_txns_lock);

static bool bk_txn_is_over(struct bk_txn *txn)
{
	enum bk_txn_state state = READ_ONCE(txn->state);

	return state == BK_TXN_COMMITTED || state == BK_TXN_ABORTED;
}

/**
 * bk_txn_register - let a transaction be found by its token
 * @txn:	the transaction
 * @error:	filled with a sentence on failure
 * @size:	of @error
 *
 * One of the same token that is over gives way, and so does the oldest one that is, if
 * there are many.
 *
 * Context: process, may sleep. Return: 0, -EEXIST or -EBUSY.
 */
int bk_txn_register(struct bk_txn *txn, char *error, size_t size)
{
	struct bk_txn *other, *same = NULL, *oldest = NULL;
	unsigned int going = 0, over = 0;
	int err = 0;

	mutex_lock(&bk_txns_lock);
	list_for_each_entry(other, &bk_txns, registry) {
		bool is_over = bk_txn_is_over(other);

		going += !is_over;
		over += is_over;
		if (is_over && !oldest)
			oldest = other;
		if (!strcmp(other->token, txn->token))
			same = other;
	}
	if (same && !bk_txn_is_over(same)) {
		scnprintf(error, size,
			  "transaction: there is a transaction '%s' already",
			  txn->token);
		err = -EEXIST;
	} else if (going >= BK_TXNS_MAX) {
		scnprintf(error, size,
			  "transaction: there are %u that are not over",
			  going);
		err = -EBUSY;
	} else {
		if (!same && over >= BK_TXNS_MAX)
			same = oldest;
		if (same) {
			list_del_init(&same->registry);
			bk_txn_put(same);
		}
		kref_get(&txn->ref);
		list_add_tail(&txn->registry, &bk_txns);
	}
	mutex_unlock(&bk_txns_lock);
	return err;
}

/**
 * bk_txn_find - find a transaction by its token
 * @token:	the token
 *
 * Context: process, may sleep. Return: a reference, or NULL.
 */
struct bk_txn *bk_txn_find(const char *token)
{
	struct bk_txn *txn, *found = NULL;

	mutex_lock(&bk_txns_lock);
	list_for_each_entry(txn, &bk_txns, registry)
		if (!strcmp(txn->token, token))
			found = txn;
	if (found)
		kref_get(&found->ref);
	mutex_unlock(&bk_txns_lock);
	return found;
}

/**
 * bk_txn_exit - the module goes: forget all
 *
 * There is no filter, and so no message, any more.
 */
void bk_txn_exit(void)
{
	struct bk_txn *txn, *next;

	list_for_each_entry(txn, &bk_txns, registry) {
		/* One that is being prepared is not to wait for a word after that. */
		spin_lock(&txn->lock);
		WRITE_ONCE(txn->stop, true);
		spin_unlock(&txn->lock);
		bk_txn_go_on(txn, BK_TXN_ABORTING, -ENODEV,
			     "the module is removed");
	}
	flush_workqueue(bk_wq);
	list_for_each_entry_safe(txn, next, &bk_txns, registry) {
		list_del_init(&txn->registry);
		bk_txn_put(txn);
	}
}
