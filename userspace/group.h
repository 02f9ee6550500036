/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: what begins at one instant: backups, mirrors, and other actions on
 * filters.
 *
 * Functions return 0 or an exit code after saying why not.
 */

#ifndef GROUP_H
#define GROUP_H

#include "device.h"
#include "dmbackup.h"
#include "plan.h"
#include "scratch.h"
#include "transaction-json.h"

struct action {
	/* Given: */
	const struct tx_place *place;	/* in a file; NULL: of the command line */
	const char *device;		/* a filter */
	const char *target;		/* of a job; NULL: it starts none */
	bool mirror;			/* that is a mirror, else a backup */
	const struct options *o;
	bool larger;			/* the target may be, whatever @o says */

	/* Found: */
	struct device d;
	struct device to;
	struct plan plan;
	char *id;			/* of the job */
	char fleece_kind[SCRATCH_KIND_SIZE];	/* of a fleece device that was made, or "" */
	char *fleece_lv;		/* the volume that it was made for, or NULL */
	char *words;			/* of the message, without the filter */
	bool begun;			/* its bitmap is ready */
};

struct group {
	struct action *actions;
	unsigned int nr;
	bool freeze;
	bool sequential;
	const char *completion_mode;	/* NULL: individual */
	const char *token;		/* NULL: one of our own */
	const char *place;		/* in a file; or NULL */
	bool detach;			/* nobody waits for their end */
	bool alone;			/* one backup, and nothing of a group */
	int late;			/* exit code: it has begun, but not all is well */
};

/* Finds the filter, and says nothing of the target. */
int action_find(struct action *a);

/* The same for a job's target: what is copied to it, and whether it may be. */
int action_find_target(struct group *g, struct action *a);

/* May those that have been found be together? */
int group_check(const struct group *g);

/*
 * Starts them. From here on Ctrl-C is for the backups, see follow.h. If it is
 * refused nothing has changed, but that a bitmap which was of no use may be gone.
 * @started: all have made their cut.
 */
int group_start(struct group *g, bool *started);

/*
 * Follows the backups that were started to their end, and prints what became of
 * them. Mirrors go on: their names are printed. Detached, all names are.
 */
int group_follow(struct group *g, const struct options *o);
void group_print_ids(const struct group *g);

void group_free(struct group *g);

#endif
