// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup transaction: what a document says, on many devices, at one instant.
 */

#include "bitmap.h"
#include "dmbackup.h"
#include "filter.h"
#include "group.h"
#include "transaction-json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* All of it, and a zero byte. To be freed; NULL after saying why not. */
static char *read_file(const char *name, size_t *len)
{
	FILE *f = strcmp(name, "-") ? fopen(name, "re") : stdin;
	char *text;
	bool bad;

	if (!f) {
		say("%s: %s", name, strerror(errno));
		return NULL;
	}
	text = xcalloc(1, TX_MAX + 2);
	*len = fread(text, 1, TX_MAX + 1, f);
	bad = ferror(f);
	if (bad)
		say("%s: can't be read: %s", name, strerror(errno));
	if (f != stdin)
		fclose(f);
	if (!bad)
		return text;
	free(text);
	return NULL;
}

/* " SOURCE..." To be freed; NULL after saying why not. */
static char *source_words(const struct tx_action *t)
{
	char *words = xstrdup(""), *word = NULL, *next;
	unsigned int i;

	for (i = 0; i < t->nr_sources; i++) {
		next = bitmap_source_word(t->sources[i], &word) ? NULL :
		       xasprintf("%s %s", words, word);
		free(word);
		word = NULL;
		free(words);
		words = next;
		if (!words)
			break;
	}
	return words;
}

/* Of what starts no job. */
static int action_words(const struct tx_action *t, struct action *a)
{
	static const char *const names[] = {
		[TX_BITMAP_ADD]		= "add",
		[TX_BITMAP_REMOVE]	= "remove",
		[TX_BITMAP_CLEAR]	= "clear",
		[TX_BITMAP_ENABLE]	= "enable",
		[TX_BITMAP_DISABLE]	= "disable",
		[TX_BITMAP_MERGE]	= "merge",
	};
	char *more = NULL;

	switch (t->verb) {
	case TX_BACKUP:
	case TX_MIRROR:
		return EX_OK;
	case TX_ABORT:
		a->words = xstrdup("abort");
		return EX_OK;
	case TX_CHECKPOINT:
		a->words = xasprintf("job checkpoint %s", t->name);
		return EX_OK;
	case TX_BITMAP_ADD:
		say_about(t->place.action);
		more = bitmap_add_words(&t->options);
		break;
	case TX_BITMAP_MERGE:
		say_about(t->place.sources);
		more = source_words(t);
		break;
	default:
		more = xstrdup("");
		break;
	}
	say_about(NULL);
	if (!more)
		return EX_USAGE_;
	a->words = xasprintf("bitmap %s %s%s", names[t->verb], t->name, more);
	free(more);
	return EX_OK;
}

static int find_all(const struct tx_document *doc, struct group *g)
{
	const struct tx_action *t;
	struct action *a;
	unsigned int i;
	int r = EX_OK;

	for (i = 0; i < doc->nr && !r; i++) {
		t = &doc->actions[i];
		a = &g->actions[i];
		a->place = &t->place;
		a->device = t->device;
		a->target = t->options.to;
		a->mirror = t->verb == TX_MIRROR;
		a->o = &t->options;
		r = action_find(a);
		if (!r)
			r = action_words(t, a);
		if (!r)
			r = action_find_target(g, a);
	}
	return r ? r : group_check(g);
}

static int run(const struct tx_document *doc, const char *file,
	       const struct options *o)
{
	struct group g = {
		.actions = xcalloc(doc->nr, sizeof(*g.actions)),
		.nr = doc->nr,
		.freeze = doc->freeze,
		.sequential = doc->sequential,
		.completion_mode = doc->completion_mode,
		.token = doc->token,
		.place = file,
		.detach = o->detach,
	};
	bool started = false;
	int r = find_all(doc, &g);

	if (!r && o->dry_run)
		filter_dry_run();
	if (!r)
		r = group_start(&g, &started);
	if (!r && o->detach && started)
		group_print_ids(&g);
	else if (!r && !o->dry_run)
		r = group_follow(&g, o);
	group_free(&g);
	return r;
}

/* FILE */
int cmd_transaction(int argc, char **argv, const struct options *o)
{
	const char *file = strcmp(argv[0], "-") ? argv[0] : "stdin";
	struct tx_document doc;
	size_t len;
	char *text = read_file(argv[0], &len);
	int r;

	(void)argc;
	if (!text)
		return EX_FAILED;
	r = tx_parse(file, text, len, &doc);
	if (!r)
		r = run(&doc, file, o);
	tx_free(&doc);
	free(text);
	return r;
}
