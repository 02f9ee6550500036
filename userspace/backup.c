// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup backup: copies of one instant of devices in use, all of them or what
 * has changed.
 *
 * Targets are given by --to, if there is one device, as DEVICE=TARGET, or by
 * --to-vg: volumes of the same names in another volume group.
 */

#include "dmbackup.h"
#include "follow.h"
#include "group.h"
#include "lvm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A device of the command line, and where it goes. */
struct pair {
	char *device;
	char *target;
	bool missing;		/* the target is to be made */
	bool made;
};

/*------------------------------------------------------------------*/
/* Targets that are made */

/* "VG/lv" for "vg/lv", and whether it is there. */
static int target_in_vg(const struct action *a, struct pair *p,
			const struct options *o)
{
	char *lv = a->d.is_dm ? device_lv_name(&a->d.dm) : NULL;
	struct lvm_state state;
	int r;

	if (!lv) {
		say("%s: is no logical volume: --to-vg can't name its target",
		    a->device);
		hint("give it: %s=TARGET", a->device);
		return EX_REFUSED;
	}
	p->target = xasprintf("%s/%s", o->to_vg, strchr(lv, '/') + 1);
	free(lv);
	r = lvm_look(p->target, &state);
	if (r)
		return lvm_lacks_vg(o->to_vg) ? EX_NODEV : r;
	p->missing = !state.there;
	if (p->missing && !o->create) {
		say("%s: there is no such volume to copy %s to", p->target,
		    a->device);
		hint("--create makes it");
		return EX_NODEV;
	}
	if (p->missing && plan_is_partial(&a->plan)) {
		say("%s: a full backup is needed: there is no %s", a->device,
		    p->target);
		return EX_NO;
	}
	if (state.there && !state.active) {
		say("%s: is not active", p->target);
		hint("lvchange -ay %s", p->target);
		return EX_REFUSED;
	}
	return EX_OK;
}

/* Its length is rounded up to extents of its volume group. */
static int make_target(struct action *a, struct pair *p)
{
	char size[32];
	int r;

	snprintf(size, sizeof(size), "%llus", (unsigned long long)a->d.sectors);
	r = lvm_create(p->target, size);
	p->made = !r;
	a->larger = true;
	return r;
}

/*------------------------------------------------------------------*/
/* The command line */

static int pair_of_arg(const char *arg, bool several, struct pair *p,
		       const struct options *o)
{
	const char *eq = o->to ? NULL : strchr(arg, '=');

	p->device = xasprintf("%.*s", (int)(eq ? (size_t)(eq - arg) :
					    strlen(arg)), arg);
	if (eq)
		p->target = xstrdup(eq + 1);
	else if (o->to)
		p->target = xstrdup(o->to);
	if (p->target || o->to_vg)
		return EX_OK;
	if (several)
		say("backup: where %s goes is missing: %s=TARGET, or --to-vg",
		    arg, arg);
	else
		say("backup: --to is missing");
	return EX_USAGE_;
}

static int check_options(int argc, const struct options *o)
{
	if (o->to && argc > 1) {
		say("backup: --to is for one device: give DEVICE=TARGET for each, or --to-vg");
		return EX_USAGE_;
	}
	if (o->to && o->to_vg) {
		say("backup: --to and --to-vg: give one of the two");
		return EX_USAGE_;
	}
	if (o->to_vg && (!*o->to_vg || strchr(o->to_vg, '/'))) {
		say("--to-vg: '%s' is no volume group", o->to_vg);
		return EX_USAGE_;
	}
	if (o->fleece && argc > 1 && strcmp(o->fleece, "auto")) {
		say("backup: --fleece DEVICE is for one device; for several: --fleece auto");
		return EX_USAGE_;
	}
	if (o->create && !o->to_vg) {
		say("--create goes with --to-vg");
		return EX_USAGE_;
	}
	if (argc == 1 && (o->sequential || o->completion_mode)) {
		say("--%s is for several devices", o->sequential ? "sequential" :
		    "completion-mode");
		return EX_USAGE_;
	}
	if (o->completion_mode && strcmp(o->completion_mode, "individual") &&
	    strcmp(o->completion_mode, "grouped")) {
		say("--completion-mode: '%s' is neither individual nor grouped",
		    o->completion_mode);
		return EX_USAGE_;
	}
	return EX_OK;
}

/* Volumes of the same name in two groups have one target, see group_check(). */
static int check_missing(const struct pair *pairs, unsigned int i)
{
	unsigned int j;

	for (j = 0; j < i; j++)
		if (pairs[j].missing && !strcmp(pairs[j].target, pairs[i].target)) {
			say("%s: is the target of %s, too", pairs[i].target,
			    pairs[j].device);
			return EX_REFUSED;
		}
	return EX_OK;
}

static int find_all(struct group *g, struct pair *pairs,
		    const struct options *o)
{
	unsigned int i;
	int r = EX_OK;

	for (i = 0; i < g->nr && !r; i++) {
		struct action *a = &g->actions[i];
		struct pair *p = &pairs[i];

		a->device = p->device;
		a->o = o;
		a->target = p->target ? p->target : "";
		r = action_find(a);
		if (!r && !p->target)
			r = target_in_vg(a, p, o);
		a->target = p->target;
		if (!r)
			r = p->missing ? check_missing(pairs, i) :
					 action_find_target(g, a);
	}
	return r;
}

/* When all others are known to be good. */
static int make_all(struct group *g, struct pair *pairs)
{
	unsigned int i;
	int r = EX_OK;

	for (i = 0; i < g->nr && !r; i++) {
		if (!pairs[i].missing)
			continue;
		r = make_target(&g->actions[i], &pairs[i]);
		if (!r)
			r = action_find_target(g, &g->actions[i]);
	}
	return r;
}

static int start(struct group *g, struct pair *pairs, bool *started)
{
	int r = group_check(g);
	unsigned int i;

	/* What is made is removed again, whatever comes. */
	follow_own();
	if (!r)
		r = make_all(g, pairs);
	if (!r)
		r = group_check(g);
	if (!r && follow_interrupted()) {
		say("backup: interrupted; nothing was started");
		r = EX_CANCELLED;
	}
	if (!r)
		r = group_start(g, started);
	for (i = 0; r && i < g->nr; i++)
		if (pairs[i].made)
			lvm_remove(pairs[i].target);
	return r;
}

/* DEVICE[=TARGET]... */
int cmd_backup(int argc, char **argv, const struct options *o)
{
	struct pair *pairs = xcalloc(argc, sizeof(*pairs));
	struct group g = {
		.actions = xcalloc(argc, sizeof(*g.actions)),
		.nr = argc,
		.freeze = !o->no_freeze,
		.sequential = o->sequential,
		.completion_mode = o->completion_mode ? o->completion_mode :
				   "grouped",
		.detach = o->detach,
		.alone = argc == 1,
	};
	bool started = false;
	int i, r = check_options(argc, o);

	for (i = 0; i < argc && !r; i++)
		r = pair_of_arg(argv[i], argc > 1, &pairs[i], o);
	if (!r)
		r = find_all(&g, pairs, o);
	if (!r)
		r = start(&g, pairs, &started);
	if (!r && o->detach && started)
		group_print_ids(&g);
	else if (!r)
		r = group_follow(&g, o);
	group_free(&g);
	for (i = 0; i < argc; i++) {
		free(pairs[i].device);
		free(pairs[i].target);
	}
	free(pairs);
	return r;
}
