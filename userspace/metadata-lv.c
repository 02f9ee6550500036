// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: the volume that "--metadata auto" stands for. The contract is in
 * metadata-lv.h.
 */

#include "metadata-lv.h"
#include "dmbackup.h"
#include "lvm.h"
#include "metadata-format.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SUFFIX		"-dmbackup"

/* There is room for so many bitmaps with granules of 64 KiB, and 4 MiB at least. */
#define BITMAPS		8
#define SHIFT		7
#define MIN_SIZE	(4ULL << 20)

struct volume {
	char *path;		/* "vg/lv-dmbackup" */
	char *vg;
	char *name;		/* in @path */
	bool there;
	bool active;
};

/* lv_name lv_active */
static bool read_volume(char *line, void *ctx)
{
	char name[256], state[32];
	struct volume *v = ctx;
	int n;

	n = sscanf(line, "%255s %31s", name, state);
	if (n >= 1)
		v->there = true;
	if (n == 2 && !strncmp(state, "active", 6))
		v->active = true;
	return true;
}

static int volume_look(struct volume *v)
{
	char *select = xasprintf("lv_name=\"%s\"", v->name);
	char *argv[] = {
		"lvs", "--noheadings", "-o", "lv_name,lv_active", "-S", select,
		v->vg, NULL
	};
	int r = lvm_run(argv, read_volume, v);

	free(select);
	return r;
}

static int volume_activate(const struct volume *v)
{
	char *argv[] = { "lvchange", "-ay", v->path, NULL };

	return lvm_run(argv, NULL, NULL);
}

static int volume_make(const struct volume *v, const struct device *d)
{
	char size[32];
	char *argv[] = {
		"lvcreate", "-qq", "-y", "-Wy", "-Zy", "-L", size, "-n",
		v->name, v->vg, NULL
	};
	uint64_t bytes;
	int r = metadata_size(d, BITMAPS, SHIFT, &bytes);

	if (r)
		return r;
	if (bytes < MIN_SIZE)
		bytes = MIN_SIZE;
	snprintf(size, sizeof(size), "%lluk", (unsigned long long)bytes / 1024);
	r = lvm_run(argv, NULL, NULL);
	if (r)
		hint("if %s has no room, give another device: --metadata DEVICE",
		     v->vg);
	return r;
}

int metadata_lv(const struct device *d, char **lv, bool *fresh)
{
	char *of = d->is_dm ? device_lv_name(&d->dm) : NULL;
	struct volume v = { 0 };
	int r;

	*lv = NULL;
	if (!of) {
		say("%s: is no logical volume: none can be made for its metadata",
		    d->arg);
		hint("give a device: --metadata DEVICE");
		return EX_REFUSED;
	}
	v.path = xasprintf("%s%s", of, SUFFIX);
	v.vg = lvm_vg(of);
	v.name = strchr(v.path, '/') + 1;
	free(of);
	r = volume_look(&v);
	*fresh = !r && !v.there;
	if (*fresh)
		r = volume_make(&v, d);
	else if (!r && !v.active)
		r = volume_activate(&v);
	free(v.vg);
	if (r)
		free(v.path);
	else
		*lv = v.path;
	return r;
}
