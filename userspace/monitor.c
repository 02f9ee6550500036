// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup monitor: events of filters, one line each, as they come.
 *
 * They are read from the kernel, not from udevd, which need not run.
 */

#include "device.h"
#include "dmbackup.h"
#include "json.h"

#include <errno.h>
#include <libudev.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>

/* Many jobs may end at the same time. */
#define BUFFER		(4 << 20)

struct watch {
	unsigned int nr;	/* 0: all filters */
	dev_t *devs;
	bool json;
};

struct event {
	char time[40];
	char *device;		/* vg/lv, or the dm name */
	const char *job;
	const char *what;
	const char *seq;
	const char *cause;
};

static const char *property(struct udev_device *d, const char *key)
{
	const char *value = udev_device_get_property_value(d, key);

	return value ? value : "";
}

static bool is_watched(const struct watch *w, dev_t dev)
{
	unsigned int i;

	for (i = 0; i < w->nr; i++)
		if (w->devs[i] == dev)
			return true;
	return !w->nr;
}

/* What people call it: it may be gone by now. To be freed. */
static char *device_name(struct udev_device *d)
{
	const char *name = udev_device_get_sysattr_value(d, "dm/name");
	const char *uuid = udev_device_get_sysattr_value(d, "dm/uuid");
	struct dm_dev dm = { 0 };
	char *lv;

	if (!name)
		return xstrdup(udev_device_get_sysname(d));
	snprintf(dm.name, sizeof(dm.name), "%s", name);
	snprintf(dm.uuid, sizeof(dm.uuid), "%s", uuid ? uuid : "");
	lv = device_lv_name(&dm);
	return lv ? lv : xstrdup(name);
}

static void print_text(const struct event *e)
{
	printf("%s %s %s %s", e->time, e->device, *e->job ? e->job : "-",
	       e->what);
	if (*e->cause)
		printf(" (%s)", e->cause);
	printf("\n");
}

static void print_json(const struct event *e)
{
	printf("{\"time\": ");
	json_string(e->time);
	printf(", \"device\": ");
	json_string(e->device);
	printf(", \"job\": ");
	json_string(e->job);
	printf(", \"event\": ");
	json_string(e->what);
	printf(", \"seq\": %lu, \"cause\": ", strtoul(e->seq, NULL, 10));
	json_string(e->cause);
	printf("}\n");
}

static void print_event(struct udev_device *d, const struct watch *w)
{
	time_t now = time(NULL);
	struct event e = {
		.job	= property(d, "DM_BACKUP_JOB"),
		.what	= property(d, "DM_BACKUP_EVENT"),
		.seq	= property(d, "DM_BACKUP_SEQ"),
		.cause	= property(d, "DM_BACKUP_CAUSE"),
	};

	if (!*e.what || !is_watched(w, udev_device_get_devnum(d)))
		return;
	strftime(e.time, sizeof(e.time), "%FT%T%z", localtime(&now));
	e.device = device_name(d);
	if (w->json)
		print_json(&e);
	else
		print_text(&e);
	fflush(stdout);
	free(e.device);
}

/* Does not return but for an error. */
static int watch_events(struct udev_monitor *m, const struct watch *w)
{
	struct pollfd fd = { .fd = udev_monitor_get_fd(m), .events = POLLIN };
	struct udev_device *d;

	while (!ferror(stdout)) {
		if (poll(&fd, 1, -1) < 0 && errno != EINTR) {
			say("events can't be waited for: %s", strerror(errno));
			return EX_FAILED;
		}
		errno = 0;
		d = udev_monitor_receive_device(m);
		if (d)
			print_event(d, w);
		else if (errno == ENOBUFS)
			say("events were lost: they came faster than they could be printed");
		udev_device_unref(d);
	}
	say("what happened can't be written");
	return EX_FAILED;
}

static int find_devices(int argc, char **argv, struct watch *w)
{
	struct device d;
	int r = EX_OK, i;

	w->devs = xcalloc(argc + 1, sizeof(*w->devs));
	for (i = 0; i < argc && !r; i++) {
		r = device_find_filter(argv[i], &d);
		if (!r)
			w->devs[w->nr++] = makedev(d.major, d.minor);
	}
	return r;
}

int cmd_monitor(int argc, char **argv, const struct options *o)
{
	struct watch w = { .json = o->json };
	struct udev *udev = udev_new();
	struct udev_monitor *m;
	int r;

	m = udev ? udev_monitor_new_from_netlink(udev, "kernel") : NULL;
	/* First, so that nothing is missed while the devices are looked for. */
	if (!m ||
	    udev_monitor_filter_add_match_subsystem_devtype(m, "block", NULL) < 0 ||
	    udev_monitor_enable_receiving(m) < 0) {
		say("the kernel's events can't be received");
		r = EX_FAILED;
	} else {
		udev_monitor_set_receive_buffer_size(m, BUFFER);
		r = find_devices(argc, argv, &w);
	}
	if (!r)
		r = watch_events(m, &w);
	free(w.devs);
	udev_monitor_unref(m);
	udev_unref(udev);
	return r;
}
