/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: following jobs to their end.
 */

#ifndef FOLLOW_H
#define FOLLOW_H

#include "dmbackup.h"
#include "filter.h"

struct follow {
	const struct device *d;
	const char *id;
	/* Set when it has ended: */
	bool ended;
	uint64_t when;		/* now_ms() */
	char *last;		/* the last "job show", to be freed; NULL: it is gone */
	int code;		/* the exit code for its outcome */
};

/*
 * From here on Ctrl-C, SIGTERM and the end of the terminal do not end this process,
 * which cleans up what it made. While jobs are followed they are for those: the first
 * cancels them, further ones do it by force. To be called before anything is made or
 * started; calling it twice does no harm.
 */
void follow_own(void);

/* Has there been one that nobody has heeded yet? */
bool follow_interrupted(void);

/*
 * Waits until each job has made its cut. False if one ended without it, or if
 * there was a Ctrl-C: then it is time to follow them.
 */
bool follow_started(const struct follow *f, unsigned int n);

/*
 * Follows jobs to their end, with one progress bar if @bar or on a terminal, and
 * dismisses them. Says how they ended, if it is not well. Returns the exit code:
 * one that failed counts more than one that was cancelled.
 */
int follow_jobs(struct follow *f, unsigned int n, const char *title, bool bar);

/*
 * Waits until a job is in a state, or has concluded, or is gone. False: it stands by,
 * which has been said; or follow_interrupted().
 */
bool follow_until(const struct device *d, const char *id, const char *title,
		  const char *wanted, bool bar);

#endif
