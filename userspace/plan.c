// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: what a backup copies. The contract is in plan.h.
 */

#include "plan.h"
#include "tag.h"
#include "words.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int plan_of_options(const struct options *o, struct plan *p)
{
	static const char *const names[] = {
		[LEVEL_FULL]		= "full",
		[LEVEL_INCREMENTAL]	= "incremental",
		[LEVEL_DIFFERENTIAL]	= "differential",
		[LEVEL_AUTO]		= "auto",
	};

	memset(p, 0, sizeof(*p));
	p->level = o->bitmap ? LEVEL_FULL : LEVEL_PLAIN;
	if (o->incremental) {
		if (o->level || o->bitmap) {
			say("--incremental NAME is --level incremental --bitmap NAME: give one of the two");
			return EX_USAGE_;
		}
		p->level = LEVEL_INCREMENTAL;
	}
	if (o->level) {
		for (p->level = LEVEL_FULL; p->level <= LEVEL_AUTO; p->level++)
			if (!strcmp(o->level, names[p->level]))
				break;
		if (p->level > LEVEL_AUTO) {
			say("--level: '%s' is none of full, incremental, differential, auto",
			    o->level);
			return EX_USAGE_;
		}
	}
	p->automatic = p->level == LEVEL_AUTO;
	return EX_OK;
}

int plan_target(const struct options *o, const struct device *to,
		struct plan *p)
{
	const char *name = o->incremental ? o->incremental : o->bitmap;
	char *c, *label;

	tag_of(to, p->tag, sizeof(p->tag));
	p->lasts = tag_lasts(p->tag);
	p->named = name;
	label = tag_label(to, p->tag);
	if (name && strlen(name) < sizeof(p->bitmap))
		snprintf(p->bitmap, sizeof(p->bitmap), "%s", name);
	else if (!name)
		snprintf(p->bitmap, sizeof(p->bitmap), "to-%.100s", label);
	free(label);
	for (c = p->bitmap; !name && *c; c++)
		if (!strchr("#+-.:=@_", *c) && !isalnum((unsigned char)*c))
			*c = '_';
	return is_word("--bitmap", p->bitmap) && is_word("target", p->tag) ?
	       EX_OK : EX_USAGE_;
}

/* Why an incremental backup can't be made; NULL if it can. */
static const char *unusable(const struct bitmap *b, bool found,
			    const struct plan *p)
{
	static char why[256];

	if (!found)
		return "there is no such bitmap";
	if (b->inconsistent) {
		snprintf(why, sizeof(why), "it is inconsistent: %s", b->cause);
		return why;
	}
	if (!b->recording)
		return "it is disabled: writes were not recorded";
	if (p->doubtful && p->automatic)
		return p->lasts ?
		       "which target its last backup went to is not known: a number was noted" :
		       "the target has no name that lasts: no uuid, wwid or serial number";
	if (b->tag[0] && strcmp(b->tag, p->tag) && tag_lasts(b->tag))
		return "its last backup went to another target";
	return NULL;
}

/* The bitmap of the target, whatever that was called when it was made. */
static bool find_bitmap(const struct bitmap *list, unsigned int n,
			struct plan *p, struct bitmap *found)
{
	bool there = bitmap_find(list, n, p->bitmap, found);
	unsigned int i;

	if (p->named || !p->lasts || (there && !strcmp(found->tag, p->tag)))
		return there;
	for (i = 0; i < n; i++)
		if (!strcmp(list[i].tag, p->tag) &&
		    !strncmp(list[i].name, "to-", 3)) {
			*found = list[i];
			snprintf(p->bitmap, sizeof(p->bitmap), "%s", found->name);
			return true;
		}
	return there;
}

int plan_settle(const struct device *d, struct plan *p)
{
	struct bitmap *list = NULL, b = { 0 };
	const char *why;
	unsigned int n;
	bool found;
	int r;

	if (p->level == LEVEL_PLAIN)
		return EX_OK;
	r = bitmaps_read(d, &list, &n);
	if (r)
		return r;
	found = find_bitmap(list, n, p, &b);
	p->known = found && p->lasts && !strcmp(b.tag, p->tag);
	p->doubtful = !p->lasts || (b.tag[0] && !tag_lasts(b.tag));
	why = unusable(&b, found, p);
	if (p->level == LEVEL_AUTO) {
		p->level = why ? LEVEL_FULL : LEVEL_INCREMENTAL;
		if (why)
			p->full = xasprintf("bitmap '%s': %s", p->bitmap, why);
	}
	if (p->level == LEVEL_FULL && found && !b.inconsistent && !b.recording) {
		say("%s: bitmap '%s' is disabled: a full backup would begin it anew, and what it has would be lost",
		    d->arg, p->bitmap);
		hint("dmbackup bitmap remove, if it is not needed; or another name for --bitmap");
		r = EX_REFUSED;
	} else if (p->level == LEVEL_FULL) {
		p->remove = found && b.inconsistent;
		p->add = !found || p->remove;
	} else if (why) {
		say("%s: a full backup is needed: bitmap '%s': %s", d->arg,
		    p->bitmap, why);
		hint("--level full makes one, --level auto does when there is need");
		r = EX_NO;
	}
	free(list);
	return r;
}

int plan_begin(const struct device *d, const struct plan *p)
{
	int r = p->remove ? bitmap_remove(d, p->bitmap) : EX_OK;

	return r || !p->add ? r : bitmap_add(d, p->bitmap);
}

bool plan_is_partial(const struct plan *p)
{
	return p->level == LEVEL_INCREMENTAL || p->level == LEVEL_DIFFERENTIAL;
}

void plan_undo(const struct device *d, const struct plan *p)
{
	if (p->add)
		bitmap_remove(d, p->bitmap);
}

char *plan_words(const struct plan *p)
{
	switch (p->level) {
	case LEVEL_FULL:
		return xasprintf("sync=full bitmap=%s bitmap_mode=on_success tag=%s",
				 p->bitmap, p->tag);
	case LEVEL_INCREMENTAL:
		return xasprintf("sync=incremental bitmap=%s tag=%s", p->bitmap,
				 p->tag);
	case LEVEL_DIFFERENTIAL:
		return xasprintf("sync=bitmap bitmap=%s bitmap_mode=never",
				 p->bitmap);
	default:
		return xstrdup("sync=full");
	}
}
