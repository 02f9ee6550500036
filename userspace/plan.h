/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: what a backup copies, all or what has changed, and the bitmap that
 * goes with its target.
 *
 * Functions return 0 or an exit code after saying why not.
 */

#ifndef PLAN_H
#define PLAN_H

#include "bitmap.h"
#include "dmbackup.h"

enum level {
	LEVEL_PLAIN,		/* all, without a bitmap */
	LEVEL_FULL,		/* all, and a bitmap begins */
	LEVEL_INCREMENTAL,	/* what has changed since the last one */
	LEVEL_DIFFERENTIAL,	/* what has changed since the last full one */
	LEVEL_AUTO,		/* incremental, or full if that can't be */
};

struct plan {
	enum level level;
	bool automatic;		/* by --level auto */
	char bitmap[BITMAP_NAME_SIZE];
	char tag[BITMAP_NAME_SIZE];	/* of the target */
	bool named;		/* the bitmap is, by the user */
	bool lasts;		/* the tag is a name that lasts */
	bool known;		/* the bitmap goes with the target */
	bool doubtful;		/* whether it does can't be told */
	bool remove;		/* first: it is of no use */
	bool add;		/* a new one */
	char *full;		/* why it can't be less than all, or NULL */
};

/* --level, --incremental, --bitmap */
int plan_of_options(const struct options *o, struct plan *p);

/* Does it copy only a part, to what holds the rest already? */
bool plan_is_partial(const struct plan *p);

/*
 * The target's tag, by which a bitmap remembers where its last backup went (tag.h),
 * and the bitmap: one for each target, if none is named. plan_settle() then takes
 * another one if that has the tag: a target that was renamed keeps its own.
 */
int plan_target(const struct options *o, const struct device *to,
		struct plan *p);

/* Settles the level, by what bitmaps @d has. */
int plan_settle(const struct device *d, struct plan *p);

/*
 * What is to be done to the bitmap before the start. All of it is dirty until the
 * backup has succeeded: if it doesn't, an incremental one after it copies
 * everything. Undone: there is nothing of what was added.
 */
int plan_begin(const struct device *d, const struct plan *p);
void plan_undo(const struct device *d, const struct plan *p);

/* Words of the start. To be freed. */
char *plan_words(const struct plan *p);

#endif
