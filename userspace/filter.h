/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: what the kernel says of a filter and its jobs.
 *
 * The status line is positional and only ever grows at its end (see
 * Documentation/dm-backup.rst); "job show" answers in key=value words.
 */

#ifndef FILTER_H
#define FILTER_H

#include "device.h"

#include <stdbool.h>
#include <stdint.h>

struct job {
	char id[DM_NAME_SIZE];
	char type[32];
	char state[32];
	uint64_t done;		/* sectors */
	uint64_t total;
	uint64_t speed;		/* bytes per second */
	char io_status[16];
	char error[64];		/* direction:sector:errno of the first, or - */
};

struct filter {
	char mode[8];
	uint64_t staged;	/* sectors */
	uint64_t budget;
	unsigned int held;
	unsigned int longest_ms;
	unsigned int nr_jobs;
	struct job *jobs;
	uint64_t guest_copied;	/* sectors */
	uint64_t held_total;
	uint64_t discards_skipped;
};

/* 0, or an exit code after saying why not. */
int filter_read(const struct device *d, struct filter *f);
void filter_free(struct filter *f);
bool job_is_over(const struct job *j);
bool filter_is_busy(const struct filter *f);

/* A refusal's sentence is asked for by a token of the message's. */
int filter_send(const struct device *d, const char *what,
		const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* A word that no other message of ours carries; until the next one is made. */
const char *filter_token(void);

/*
 * The same with a token, says nothing, and returns a negative errno: @why then
 * gets the sentence, to be freed.
 */
int filter_try(const struct device *d, const char *token, char **why,
	       const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/*
 * From now on what would be sent is printed, as commands, and taken for done.
 * What only asks is sent all the same.
 */
void filter_dry_run(void);
bool filter_is_dry_run(void);

char *filter_ask(const struct device *d, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Finds a device that has a filter, and what is said of that. The same. */
int filter_find(const char *arg, struct device *d, struct filter *f);

/*
 * "job show", to be freed, or NULL. *@gone: there is no such job, or filter, any more;
 * else it is worth asking again.
 */
char *filter_show(const struct device *d, const char *id, bool *gone);

/* The value of a key in "job show"'s answer: to be freed; NULL if missing. */
char *show_value(const char *answer, const char *key);
uint64_t show_number(const char *answer, const char *key);

#endif
