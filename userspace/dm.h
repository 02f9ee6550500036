/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: the only file that talks to libdevmapper.
 *
 * Functions return 0 or a negative errno; dm_why() then has the sentence, from
 * libdevmapper or, for a table, from the kernel's log.
 */

#ifndef DM_H
#define DM_H

#include <stdbool.h>
#include <stdint.h>

#define DM_NAME_SIZE 128
#define DM_UUID_SIZE 129

/* A table: text of the kernel's, wiped when freed as it may hold keys. */
struct dm_segment {
	uint64_t start;
	uint64_t len;
	char *type;
	char *params;
};

struct dm_tab {
	struct dm_segment *seg;
	unsigned int n;
};

struct dm_dev {
	char name[DM_NAME_SIZE];
	char uuid[DM_UUID_SIZE];
	unsigned int major;
	unsigned int minor;
	unsigned int open_count;
	bool suspended;
	bool live;		/* has a table */
	bool inactive;		/* has a table waiting to be resumed */
	bool read_only;
};

void dm_setup(void);
const char *dm_why(void);

int dm_by_name(const char *name, struct dm_dev *d);
int dm_by_devno(unsigned int major, unsigned int minor, struct dm_dev *d);
int dm_for_each(int (*fn)(const char *name, void *ctx), void *ctx);
bool dm_has_target(const char *type);

int dm_tab_read(const char *name, struct dm_tab *t);
void dm_tab_add(struct dm_tab *t, uint64_t start, uint64_t len,
		const char *type, const char *params);
void dm_tab_free(struct dm_tab *t);
uint64_t dm_tab_len(const struct dm_tab *t);
bool dm_tab_same(const struct dm_tab *a, const struct dm_tab *b);
bool dm_tab_is(const struct dm_tab *t, const char *type);

int dm_make(const char *name, const char *uuid, const struct dm_tab *t,
	    bool read_only, bool hidden);
int dm_load(const char *name, const struct dm_tab *t, bool read_only);
int dm_resume(const char *name);
/* The same for a device that nothing is to look at: udev makes no links. */
int dm_resume_hidden(const char *name);
int dm_clear(const char *name);
int dm_remove(const char *name);
int dm_message(const char *name, const char *message, char **reply);
int dm_status(const char *name, char **type, char **params, uint64_t *len);

#endif
