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

#define SUFFIX		"-dmbackup"

/* There is room for so many bitmaps with granules of 64 KiB, and 4 MiB at least. */
#define BITMAPS		8
#define SHIFT		7
#define MIN_SIZE	(4ULL << 20)

static int volume_make(const char *lv, const struct device *d)
{
	char size[32], *vg;
	uint64_t bytes;
	int r = metadata_size(d, BITMAPS, SHIFT, &bytes);

	if (r)
		return r;
	if (bytes < MIN_SIZE)
		bytes = MIN_SIZE;
	snprintf(size, sizeof(size), "%lluk", (unsigned long long)bytes / 1024);
	r = lvm_create(lv, size);
	if (r) {
		vg = lvm_vg(lv);
		hint("if %s has no room, give another device: --metadata DEVICE",
		     vg);
		free(vg);
	}
	return r;
}

int metadata_lv(const struct device *d, char **lv, bool *fresh)
{
	char *of = d->is_dm ? device_lv_name(&d->dm) : NULL, *name;
	struct lvm_state state;
	int r;

	*lv = NULL;
	if (!of) {
		say("%s: is no logical volume: none can be made for its metadata",
		    d->arg);
		hint("give a device: --metadata DEVICE");
		return EX_REFUSED;
	}
	name = xasprintf("%s%s", of, SUFFIX);
	free(of);
	r = lvm_look(name, &state);
	*fresh = !r && !state.there;
	if (*fresh)
		r = volume_make(name, d);
	else if (!r && !state.active)
		r = lvm_activate(name);
	if (r)
		free(name);
	else
		*lv = name;
	return r;
}
