// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: a backup's fleece device. The contract is in fleece.h.
 */

#include "fleece.h"
#include "view.h"

#include <stdlib.h>
#include <string.h>

static bool is_auto(const struct action *a)
{
	return !strcmp(a->o->fleece, "auto");
}

static void add_device(struct action *a, const struct device *f)
{
	char *words = xasprintf("%s fleece=%u:%u", a->words, f->major,
				f->minor);

	free(a->words);
	a->words = words;
}

/* What an earlier backup of the same device left there may be overwritten. */
static int check_device(const struct action *a, const struct device *f)
{
	const struct options *o = a->o;

	if (device_stands_on(f, &a->d)) {
		say("%s: stands on %s: its writes would come back to the filter",
		    f->arg, a->device);
		return EX_REFUSED;
	}
	if (f->major == a->to.major && f->minor == a->to.minor) {
		say("%s: is the target", f->arg);
		return EX_REFUSED;
	}
	if (!o->force && !a->d.dm.suspended &&
	    device_likeness(f, &a->d) == LIKE_SAME)
		return device_check_unused(f);
	return device_check_target(f, o->force);
}

int fleece_find(struct action *a, bool detach)
{
	struct device f;
	int r;

	if (!a->o->fleece) {
		if (!a->o->size)
			return EX_OK;
		say("backup: --size is for a fleece device that is made: --fleece auto");
		return EX_USAGE_;
	}
	if (is_auto(a)) {
		if (!detach)
			return EX_OK;
		say("backup: --fleece auto: with --detach nobody would remove what is made");
		return EX_USAGE_;
	}
	if (a->o->size) {
		say("backup: --size is for a fleece device that is made: --fleece auto");
		return EX_USAGE_;
	}
	r = device_find(a->o->fleece, &f);
	if (!r)
		r = check_device(a, &f);
	if (!r)
		add_device(a, &f);
	return r;
}

int fleece_make(struct action *a)
{
	unsigned int origin[2];
	struct device f;
	char *words;
	int r;

	if (!a->o->fleece || !is_auto(a))
		return EX_OK;
	r = filter_origin(&a->d, origin);
	if (r)
		return r;
	a->fleece_lv = view_origin_lv(origin);
	r = scratch_make(&a->d, a->fleece_lv, a->id, a->o->size, &f,
			 a->fleece_kind);
	if (r)
		return r;
	add_device(a, &f);
	/* Its length is rounded up, to pages or extents. */
	if (f.sectors > a->d.sectors && a->to.sectors == a->d.sectors &&
	    !strstr(a->words, " allow_larger=1")) {
		words = xasprintf("%s allow_larger=1", a->words);
		free(a->words);
		a->words = words;
	}
	return EX_OK;
}

void fleece_remove(struct action *a)
{
	if (a->fleece_kind[0])
		scratch_remove(a->fleece_lv, a->id, a->fleece_kind);
	a->fleece_kind[0] = '\0';
	free(a->fleece_lv);
	a->fleece_lv = NULL;
}
