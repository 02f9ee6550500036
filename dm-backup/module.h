/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the whole module shares.
 */

#ifndef BK_MODULE_H
#define BK_MODULE_H

#define DM_MSG_PREFIX "backup"

struct bk_origin_ops;
struct workqueue_struct;

/*
 * For what may outlive a filter: opening, flushing and closing destinations,
 * completions of an orphaned one's writes, transactions, freeing after a grace
 * period. Items may wait for a destination or for a freeze, so nothing that a
 * guest's write waits for runs here. Flushed before the module goes.
 */
extern struct workqueue_struct *bk_wq;

/* What filters ask of the rooms above: origin-ops.c. */
extern const struct bk_origin_ops bk_origin_callbacks;

#endif
