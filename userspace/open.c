// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup open, close: a filter on top, under a name of its own.
 */

#include "dm.h"
#include "dmbackup.h"
#include "end.h"
#include "filter-features.h"
#include "view.h"

#include <stdlib.h>
#include <string.h>

static int open_check_name(const char *name)
{
	if (*name && !strchr(name, '/') && strlen(name) < DM_NAME_SIZE)
		return EX_OK;
	say("open: '%s' is no name for a device: it is to be /dev/mapper/NAME",
	    name);
	return EX_USAGE_;
}

static int open_make(const struct device *d, const char *name, const char *uuid,
		     const struct dm_tab *tab)
{
	int err = dm_make(name, uuid, tab, false, false);

	if (err)
		say("%s: can't be opened as %s: %s", d->arg, name, dm_why());
	return code_of_errno(err);
}

int cmd_open(int argc, char **argv, const struct options *o)
{
	struct features f = { 0 };
	struct dm_tab tab = { 0 };
	char *params, *uuid;
	struct dm_dev dm;
	struct device d;
	int r;

	(void)argc;
	r = open_check_name(argv[1]);
	if (!r)
		r = features_read(o, &f);
	if (!r)
		r = device_find(argv[0], &d);
	if (!r)
		r = features_load_module();
	if (r)
		return r;
	if (!dm_by_name(argv[1], &dm)) {
		say("%s: a device of that name is there already", argv[1]);
		return EX_REFUSED;
	}
	uuid = xasprintf("DMBACKUP-%s", argv[1]);
	/* dm would put it beside other dm devices; and no metadata is to be made then. */
	r = device_check_unused(&d);
	if (!r)
		r = features_metadata(o, &d, uuid, &f);
	if (!r) {
		params = features_params(d.major, d.minor, &f);
		dm_tab_add(&tab, 0, d.sectors, "backup", params);
		free(params);
		r = open_make(&d, argv[1], uuid, &tab);
	}
	dm_tab_free(&tab);
	free(f.words);
	free(uuid);
	return r;
}

int cmd_close(int argc, char **argv, const struct options *o)
{
	struct device d;
	int r;

	(void)argc;
	r = device_find_filter_locked(argv[0], &d);
	if (r)
		return r;
	if (strncmp(d.dm.uuid, "DMBACKUP-", 9)) {
		say("%s: was not opened but attached", d.arg);
		hint("dmbackup detach %s", d.arg);
		return EX_REFUSED;
	}
	if (d.dm.open_count) {
		say("%s: is in use", d.arg);
		return EX_REFUSED;
	}
	r = view_check_none(&d);
	if (!r)
		r = end_bitmaps(&d, o->force);
	if (!r)
		r = end_jobs(&d, o->force);
	if (r)
		return r;
	r = dm_remove(d.dm.name);
	if (r)
		say("%s: can't be closed: %s", d.arg, dm_why());
	return code_of_errno(r);
}
