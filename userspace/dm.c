// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: devices, tables, messages. The contract is in dm.h.
 */

#include "dm.h"
#include "dmbackup.h"

#include <errno.h>
#include <fcntl.h>
#include <libdevmapper.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

/* Nobody but us looks at a hidden device: it is the origin of a visible one. */
#define HIDDEN_FLAGS	(DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG | \
			 DM_UDEV_DISABLE_DISK_RULES_FLAG | \
			 DM_UDEV_DISABLE_OTHER_RULES_FLAG | \
			 DM_UDEV_LOW_PRIORITY_FLAG)

static char why[512];

static void log_fn(int level, const char *file, int line, int dm_errno,
		   const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* libdevmapper's errors are kept, its chatter is not. */
static void log_fn(int level, const char *file, int line, int dm_errno,
		   const char *fmt, ...)
{
	va_list args;

	(void)file;
	(void)line;
	(void)dm_errno;
	if ((level & LOG_PRIMASK) > LOG_ERR)
		return;
	va_start(args, fmt);
	vsnprintf(why, sizeof(why), fmt, args);
	va_end(args);
}

void dm_setup(void)
{
	dm_log_with_errno_init(log_fn);
	/* Without udevd nobody would answer a cookie, or make nodes. */
	if (access("/run/udev/control", F_OK)) {
		dm_udev_set_sync_support(0);
		dm_udev_set_checking(0);
	}
}

const char *dm_why(void)
{
	return why;
}

/*------------------------------------------------------------------*/
/* The kernel gives an errno; its reason is in the log. */

static int kmsg_open(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

/* The last line of device-mapper's since kmsg_open(), into why. */
static void kmsg_reason(int fd)
{
	char rec[2048], *text, *p;
	ssize_t n;

	if (fd < 0)
		return;
	while ((n = read(fd, rec, sizeof(rec) - 1)) > 0 ||
	       (n < 0 && errno == EPIPE)) {
		if (n < 0)
			continue;
		rec[n] = '\0';
		text = strchr(rec, ';');
		if (!text)
			continue;
		text[1 + strcspn(text + 1, "\n")] = '\0';
		p = strstr(text, "device-mapper: ");
		/* "device-mapper: table: 253:0: backup: Origin ..." */
		if (p && strstr(p, ": table: "))
			p = strstr(p, ": table: ") + 9;
		else if (p)
			p += strlen("device-mapper: ");
		if (p && !strstr(p, "error adding target to table"))
			snprintf(why, sizeof(why), "%s", p);
	}
}

/*------------------------------------------------------------------*/

static struct dm_task *task(int type, const char *name)
{
	struct dm_task *t;

	why[0] = '\0';
	t = dm_task_create(type);
	if (!t || (name && !dm_task_set_name(t, name))) {
		if (t)
			dm_task_destroy(t);
		return NULL;
	}
	return t;
}

/* Runs and keeps the errno. */
static int run(struct dm_task *t)
{
	int err;

	if (dm_task_run(t))
		return 0;
	err = dm_task_get_errno(t);
	if (!why[0])
		snprintf(why, sizeof(why), "%s", strerror(err ? err : EIO));
	return err ? -err : -EIO;
}

static int info(struct dm_task *t, struct dm_dev *d)
{
	struct dm_info i;
	int r = t ? run(t) : -ENOMEM;

	if (!r && !dm_task_get_info(t, &i))
		r = -EIO;
	if (!r && !i.exists)
		r = -ENXIO;
	if (!r) {
		snprintf(d->name, sizeof(d->name), "%s", dm_task_get_name(t));
		snprintf(d->uuid, sizeof(d->uuid), "%s",
			 dm_task_get_uuid(t) ? dm_task_get_uuid(t) : "");
		d->major = i.major;
		d->minor = i.minor;
		d->open_count = i.open_count;
		d->suspended = i.suspended;
		d->live = i.live_table;
		d->inactive = i.inactive_table;
		d->read_only = i.read_only;
	}
	if (t)
		dm_task_destroy(t);
	return r;
}

int dm_by_name(const char *name, struct dm_dev *d)
{
	return info(task(DM_DEVICE_INFO, name), d);
}

int dm_by_devno(unsigned int major, unsigned int minor, struct dm_dev *d)
{
	struct dm_task *t;

	if (!dm_is_dm_major(major))
		return -ENODEV;
	t = task(DM_DEVICE_INFO, NULL);
	if (t && (!dm_task_set_major(t, major) || !dm_task_set_minor(t, minor))) {
		dm_task_destroy(t);
		t = NULL;
	}
	return info(t, d);
}

int dm_for_each(int (*fn)(const char *name, void *ctx), void *ctx)
{
	struct dm_task *t = task(DM_DEVICE_LIST, NULL);
	struct dm_names *names;
	unsigned int next = 0;
	int r = t ? run(t) : -ENOMEM;

	if (!r) {
		names = dm_task_get_names(t);
		while (names && names->dev && !r) {
			names = (void *)((char *)names + next);
			r = fn(names->name, ctx);
			next = names->next;
			if (!next)
				break;
		}
	}
	if (t)
		dm_task_destroy(t);
	return r;
}

bool dm_has_target(const char *type)
{
	struct dm_task *t = task(DM_DEVICE_LIST_VERSIONS, NULL);
	struct dm_versions *v, *last = NULL;
	bool found = false;

	if (t && !run(t)) {
		v = dm_task_get_versions(t);
		for (; v && v != last && !found;
		     v = (void *)((char *)v + v->next)) {
			last = v->next ? NULL : v;
			found = !strcmp(v->name, type);
			if (!v->next)
				break;
		}
	}
	if (t)
		dm_task_destroy(t);
	return found;
}

/*------------------------------------------------------------------*/
/* Tables */

void dm_tab_add(struct dm_tab *t, uint64_t start, uint64_t len,
		const char *type, const char *params)
{
	struct dm_segment *seg = xcalloc(t->n + 1, sizeof(*seg));

	if (t->n)
		memcpy(seg, t->seg, t->n * sizeof(*seg));
	free(t->seg);
	t->seg = seg;
	seg += t->n++;
	seg->start = start;
	seg->len = len;
	seg->type = xstrdup(type);
	seg->params = xstrdup(params);
}

void dm_tab_free(struct dm_tab *t)
{
	unsigned int i;

	for (i = 0; i < t->n; i++) {
		explicit_bzero(t->seg[i].params, strlen(t->seg[i].params));
		free(t->seg[i].params);
		free(t->seg[i].type);
	}
	free(t->seg);
	t->seg = NULL;
	t->n = 0;
}

uint64_t dm_tab_len(const struct dm_tab *t)
{
	return t->n ? t->seg[t->n - 1].start + t->seg[t->n - 1].len : 0;
}

bool dm_tab_same(const struct dm_tab *a, const struct dm_tab *b)
{
	unsigned int i;

	for (i = 0; i < a->n && i < b->n; i++)
		if (a->seg[i].start != b->seg[i].start ||
		    a->seg[i].len != b->seg[i].len ||
		    strcmp(a->seg[i].type, b->seg[i].type) ||
		    strcmp(a->seg[i].params, b->seg[i].params))
			break;
	return a->n == b->n && i == a->n;
}

/* Is it one segment of that type? */
bool dm_tab_is(const struct dm_tab *t, const char *type)
{
	return t->n == 1 && !strcmp(t->seg[0].type, type);
}

/* The live table, keys included: buffers are wiped on the way. */
int dm_tab_read(const char *name, struct dm_tab *tab)
{
	struct dm_task *t = task(DM_DEVICE_TABLE, name);
	char *type, *params;
	uint64_t start, len;
	void *next = NULL;
	int r;

	memset(tab, 0, sizeof(*tab));
	if (!t)
		return -ENOMEM;
	dm_task_secure_data(t);
	r = run(t);
	while (!r) {
		next = dm_get_next_target(t, next, &start, &len, &type, &params);
		if (type)
			dm_tab_add(tab, start, len, type, params ? params : "");
		if (!next)
			break;
	}
	dm_task_destroy(t);
	return r;
}

static bool add_targets(struct dm_task *t, const struct dm_tab *tab)
{
	unsigned int i;

	dm_task_secure_data(t);
	for (i = 0; i < tab->n; i++)
		if (!dm_task_add_target(t, tab->seg[i].start, tab->seg[i].len,
					tab->seg[i].type, tab->seg[i].params))
			return false;
	return true;
}

/* Runs a task that brings a table; the kernel's reason goes to why. */
static int run_table(struct dm_task *t)
{
	int fd = kmsg_open();
	int r = run(t);

	if (r)
		kmsg_reason(fd);
	if (fd >= 0)
		close(fd);
	return r;
}

/*------------------------------------------------------------------*/
/* Changes */

/*
 * Make a device. A hidden one is nobody's business but ours: udev makes its
 * node, and no links to what it holds; LVM passes over its uuid.
 */
int dm_make(const char *name, const char *uuid, const struct dm_tab *tab,
	    bool read_only, bool hidden)
{
	struct dm_task *t = task(DM_DEVICE_CREATE, name);
	uint16_t flags = hidden ? HIDDEN_FLAGS : 0;
	uint32_t cookie = 0;
	int r = -ENOMEM;

	if (!t)
		return r;
	if (add_targets(t, tab) && (!uuid || dm_task_set_uuid(t, uuid)) &&
	    (!read_only || dm_task_set_ro(t)) &&
	    dm_task_set_add_node(t, DM_ADD_NODE_ON_CREATE) &&
	    dm_task_set_cookie(t, &cookie, flags)) {
		r = run_table(t);
		dm_udev_wait(cookie);
	}
	dm_task_destroy(t);
	dm_task_update_nodes();
	return r;
}

int dm_load(const char *name, const struct dm_tab *tab, bool read_only)
{
	struct dm_task *t = task(DM_DEVICE_RELOAD, name);
	int r = -ENOMEM;

	if (!t)
		return r;
	if (add_targets(t, tab) && (!read_only || dm_task_set_ro(t)))
		r = run_table(t);
	dm_task_destroy(t);
	return r;
}

/*
 * One resume ioctl: the kernel suspends, swaps in the loaded table and resumes,
 * or undoes that. The file system is not frozen for it; its I/O just waits.
 */
static int resume(const char *name, uint16_t udev_flags)
{
	struct dm_task *t = task(DM_DEVICE_RESUME, name);
	uint32_t cookie = 0;
	int r = -ENOMEM;

	if (!t)
		return r;
	if (dm_task_skip_lockfs(t) && dm_task_set_cookie(t, &cookie, udev_flags)) {
		r = run_table(t);
		dm_udev_wait(cookie);
	}
	dm_task_destroy(t);
	return r;
}

int dm_resume(const char *name)
{
	return resume(name, 0);
}

int dm_resume_hidden(const char *name)
{
	return resume(name, HIDDEN_FLAGS);
}

int dm_clear(const char *name)
{
	struct dm_task *t = task(DM_DEVICE_CLEAR, name);
	int r = t ? run(t) : -ENOMEM;

	if (t)
		dm_task_destroy(t);
	return r;
}

int dm_remove(const char *name)
{
	struct dm_task *t = task(DM_DEVICE_REMOVE, name);
	uint32_t cookie = 0;
	int r = -ENOMEM;

	if (!t)
		return r;
	if (dm_task_retry_remove(t) && dm_task_set_cookie(t, &cookie, 0)) {
		r = run(t);
		dm_udev_wait(cookie);
	}
	dm_task_destroy(t);
	dm_task_update_nodes();
	return r;
}

/* @reply: NULL, or set to the answer, to be freed ("" if there is none). */
int dm_message(const char *name, const char *message, char **reply)
{
	struct dm_task *t = task(DM_DEVICE_TARGET_MSG, name);
	const char *answer;
	int r = -ENOMEM;

	if (!t)
		return r;
	if (dm_task_set_sector(t, 0) && dm_task_set_message(t, message))
		r = run(t);
	if (!r && reply) {
		answer = dm_task_get_message_response(t);
		*reply = xstrdup(answer ? answer : "");
	}
	dm_task_destroy(t);
	return r;
}

/* The first target's type and status, both to be freed, and the length. */
int dm_status(const char *name, char **type, char **params, uint64_t *len)
{
	struct dm_task *t = task(DM_DEVICE_STATUS, name);
	char *ty = NULL, *pa = NULL;
	uint64_t start;
	int r = -ENOMEM;

	if (!t)
		return r;
	if (dm_task_no_flush(t))
		r = run(t);
	if (!r) {
		dm_get_next_target(t, NULL, &start, len, &ty, &pa);
		if (ty) {
			*type = xstrdup(ty);
			*params = xstrdup(pa ? pa : "");
		} else {
			r = -ENXIO;
			snprintf(why, sizeof(why), "it has no table");
		}
	}
	dm_task_destroy(t);
	return r;
}
