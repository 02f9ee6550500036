// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: reading transactions. The contract is in transaction-json.h.
 */

#include "transaction-json.h"
#include "json-place.h"
#include "words.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The document while it is read. */
struct reader {
	const char *file;
	const char *text;
	struct tx_document *doc;
};

/* A value, and what it is called. */
struct value {
	const struct reader *r;
	json_object *o;
	const char *at;
	char path[64];
};

/* "FILE:LINE:COLUMN: PATH". To be freed. */
static char *place_of(const struct value *v)
{
	unsigned int line, column;

	json_line(v->r->text, v->at, &line, &column);
	return xasprintf("%s:%u:%u%s%s", v->r->file, line, column,
			 *v->path ? ": " : "", v->path);
}

static int wrong(const struct value *v, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static int wrong(const struct value *v, const char *fmt, ...)
{
	char *place = place_of(v), *what = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&what, fmt, args) < 0)
		what = NULL;
	va_end(args);
	say("%s: %s", place, what ? what : "is wrong");
	free(what);
	free(place);
	return EX_USAGE_;
}

static struct value member_of(const struct value *v, const char *key)
{
	struct value m = {
		.r = v->r,
		.o = json_object_object_get(v->o, key),
		.at = json_member(v->at, key),
	};

	snprintf(m.path, sizeof(m.path), "%.30s%s%.30s", v->path,
		 *v->path ? "." : "", key);
	return m;
}

static struct value element_of(const struct value *v, unsigned int i)
{
	struct value e = {
		.r = v->r,
		.o = json_object_array_get_idx(v->o, i),
		.at = json_element(v->at, i),
	};

	snprintf(e.path, sizeof(e.path), "%.50s[%u]", v->path, i);
	return e;
}

/*------------------------------------------------------------------*/
/* What there may be */

enum kind {
	NAME,			/* a word of the message */
	DEVICE,			/* what people call one */
	SIZE,			/* bytes */
	SECTORS,		/* bytes, a multiple of 512 */
	COUNT,
	TIME,
	FLAG,
	SOURCES,		/* names of bitmaps */
};

#define OF(verb)	(1u << (verb))
#define OF_ALL		(~OF(TX_ABORT))
#define OF_STARTS	(OF(TX_BACKUP) | OF(TX_MIRROR))
#define OF_BITMAPS	(OF_ALL & ~OF_STARTS & ~OF(TX_CHECKPOINT))

struct key {
	const char *name;
	enum kind kind;
	unsigned int verbs;	/* that take it */
	bool needed;
	size_t offset;		/* in struct tx_action */
};

#define OPTION(field)	offsetof(struct tx_action, options.field)

static const struct key keys[] = {
	{ "device", DEVICE, ~0u, true, offsetof(struct tx_action, device) },
	{ "name", NAME, OF_BITMAPS, true, offsetof(struct tx_action, name) },
	{ "job", NAME, OF(TX_CHECKPOINT), true, offsetof(struct tx_action, name) },
	{ "sources", SOURCES, OF(TX_BITMAP_MERGE), true, 0 },
	{ "granularity", SECTORS, OF(TX_BITMAP_ADD) | OF(TX_MIRROR), false,
	  OPTION(granularity) },
	{ "disabled", FLAG, OF(TX_BITMAP_ADD), false, OPTION(disabled) },
	{ "all_dirty", FLAG, OF(TX_BITMAP_ADD), false, OPTION(all_dirty) },
	{ "persistent", FLAG, OF(TX_BITMAP_ADD), false, OPTION(persistent) },
	{ "target", DEVICE, OF_STARTS, true, OPTION(to) },
	{ "fleece", DEVICE, OF(TX_BACKUP), false, OPTION(fleece) },
	{ "id", NAME, OF_STARTS, false, OPTION(id) },
	{ "level", NAME, OF(TX_BACKUP), false, OPTION(level) },
	{ "bitmap", NAME, OF_STARTS, false, OPTION(bitmap) },
	{ "incremental", NAME, OF(TX_BACKUP), false, OPTION(incremental) },
	{ "speed", SIZE, OF_STARTS, false, OPTION(speed) },
	{ "cluster", SECTORS, OF(TX_BACKUP), false, OPTION(cluster) },
	{ "max_chunk", SECTORS, OF_STARTS, false, OPTION(max_chunk) },
	{ "max_workers", COUNT, OF(TX_BACKUP), false, OPTION(max_workers) },
	{ "detect_zeroes", NAME, OF(TX_BACKUP), false, OPTION(detect_zeroes) },
	{ "on_source_error", NAME, OF_STARTS, false, OPTION(on_source_error) },
	{ "on_target_error", NAME, OF_STARTS, false, OPTION(on_target_error) },
	{ "on_cbw_error", NAME, OF(TX_BACKUP), false, OPTION(on_cbw_error) },
	{ "cbw_timeout", TIME, OF_STARTS, false, OPTION(cbw_timeout) },
	{ "allow_larger", FLAG, OF_STARTS, false, OPTION(allow_larger) },
	{ "force", FLAG, OF_STARTS, false, OPTION(force) },
	{ "sync", NAME, OF(TX_MIRROR), false, OPTION(sync) },
	{ "bitmap_mode", NAME, OF(TX_MIRROR), false, OPTION(bitmap_mode) },
	{ "copy_mode", NAME, OF(TX_MIRROR), false, OPTION(copy_mode) },
	{ "auto_switch", FLAG, OF(TX_MIRROR), false, OPTION(auto_switch) },
	{ }
};

static const char *const verbs[] = {
	[TX_BACKUP]		= "backup",
	[TX_MIRROR]		= "mirror",
	[TX_BITMAP_ADD]		= "bitmap-add",
	[TX_BITMAP_REMOVE]	= "bitmap-remove",
	[TX_BITMAP_CLEAR]	= "bitmap-clear",
	[TX_BITMAP_ENABLE]	= "bitmap-enable",
	[TX_BITMAP_DISABLE]	= "bitmap-disable",
	[TX_BITMAP_MERGE]	= "bitmap-merge",
	[TX_CHECKPOINT]		= "checkpoint",
	[TX_ABORT]		= "abort",
};

/*------------------------------------------------------------------*/
/* Values */

static int read_flag(const struct value *v, bool *flag)
{
	if (!json_object_is_type(v->o, json_type_boolean))
		return wrong(v, "is neither true nor false");
	*flag = json_object_get_boolean(v->o);
	return EX_OK;
}

/* A string, not empty, without zero bytes. */
static int read_string(const struct value *v, const char **text)
{
	if (!json_object_is_type(v->o, json_type_string))
		return wrong(v, "is not a string");
	*text = json_object_get_string(v->o);
	if (!**text)
		return wrong(v, "is empty");
	if (strlen(*text) != (size_t)json_object_get_string_len(v->o))
		return wrong(v, "holds a zero byte");
	return EX_OK;
}

static int check_word(const struct value *v, const char *text)
{
	char *place = place_of(v);
	bool ok = is_word(place, text);

	free(place);
	return ok ? EX_OK : EX_USAGE_;
}

/* A number, or a string as on the command line. The text of either. */
static int read_number(const struct value *v, const char **text)
{
	if (!json_object_is_type(v->o, json_type_int))
		return json_object_is_type(v->o, json_type_string) ?
		       read_string(v, text) :
		       wrong(v, "is neither a whole number nor a string");
	*text = json_object_to_json_string_ext(v->o, JSON_C_TO_STRING_PLAIN);
	/* json-c makes the largest one of what is larger. */
	if (json_object_get_uint64(v->o) == UINT64_MAX)
		return wrong(v, "is too large");
	return EX_OK;
}

/* One that the kernel is to judge. */
static int read_word(const struct value *v, enum kind kind, const char **text)
{
	int r = kind == COUNT ? read_number(v, text) : read_string(v, text);

	return r ? r : check_word(v, *text);
}

/* In bytes or seconds. */
static int read_amount(const struct value *v, enum kind kind, const char **text)
{
	int r = read_number(v, text);
	uint64_t n = 0;
	char *place;
	bool ok;

	if (r)
		return r;
	place = place_of(v);
	ok = kind == TIME ? parse_seconds(place, *text, &n) :
			    parse_bytes(place, *text, &n);
	free(place);
	if (!ok)
		return EX_USAGE_;
	if (kind == SECTORS && (!n || n % 512))
		return wrong(v, "%s is no multiple of 512 bytes", *text);
	return EX_OK;
}

static int read_sources(const struct value *v, struct tx_action *a)
{
	struct value e;
	unsigned int i;
	int r = EX_OK;

	if (!json_object_is_type(v->o, json_type_array))
		return wrong(v, "is not an array");
	a->nr_sources = json_object_array_length(v->o);
	if (!a->nr_sources)
		return wrong(v, "is empty");
	a->sources = xcalloc(a->nr_sources, sizeof(*a->sources));
	for (i = 0; i < a->nr_sources && !r; i++) {
		e = element_of(v, i);
		r = read_string(&e, &a->sources[i]);
	}
	return r;
}

static int read_value(const struct value *v, const struct key *k,
		      struct tx_action *a)
{
	void *field = (char *)a + k->offset;

	switch (k->kind) {
	case FLAG:
		return read_flag(v, field);
	case DEVICE:
		return read_string(v, field);
	case SOURCES:
		return read_sources(v, a);
	case SIZE:
	case SECTORS:
	case TIME:
		return read_amount(v, k->kind, field);
	default:
		return read_word(v, k->kind, field);
	}
}

/*------------------------------------------------------------------*/
/* Objects */

static int check_object(const struct value *v)
{
	return json_object_is_type(v->o, json_type_object) ? EX_OK :
	       wrong(v, "is not an object");
}

/* Keys mean one thing each. To be called when all are known ones. */
static int check_twice(const struct value *v)
{
	struct value bad = *v;
	const char *why;

	bad.at = json_bad_key(v->at, &why);
	if (!bad.at)
		return EX_OK;
	return wrong(&bad, "%.*s: %s", 1 + (int)strcspn(bad.at + 1, "\"'\n") + 1,
		     bad.at, why);
}

/* About a key of the object @v, at its value. */
static int wrong_key(const struct value *v, const char *name, const char *why,
		     const char *what)
{
	struct value m = member_of(v, name);

	snprintf(m.path, sizeof(m.path), "%s", v->path);
	return wrong(&m, "'%.40s' %s %s", name, why, what);
}

static const struct key *find_key(const char *name)
{
	const struct key *k;

	for (k = keys; k->name && strcmp(k->name, name); k++)
		;
	return k->name ? k : NULL;
}

static int read_verb(const struct value *v, enum tx_verb *verb)
{
	const unsigned int n = sizeof(verbs) / sizeof(*verbs);
	struct value m = member_of(v, "action");
	const char *text = NULL;
	unsigned int i;
	int r;

	if (!m.o)
		return wrong(v, "action is missing");
	r = read_string(&m, &text);
	if (r)
		return r;
	for (i = 0; i < n && strcmp(text, verbs[i]); i++)
		;
	*verb = i;
	return i < n ? EX_OK : wrong(&m, "there is no action '%.40s'", text);
}

static int check_keys(const struct value *v, const struct tx_action *a)
{
	const struct key *k;

	json_object_object_foreach(v->o, name, o) {
		(void)o;
		if (!strcmp(name, "action"))
			continue;
		k = find_key(name);
		if (!k)
			return wrong_key(v, name, "is no key of", "an action");
		if (!(k->verbs & OF(a->verb)))
			return wrong_key(v, name, "is not for", verbs[a->verb]);
	}
	return EX_OK;
}

static char *place_of_member(const struct value *v, const char *key)
{
	struct value m = member_of(v, key);

	return place_of(&m);
}

static int read_action(const struct value *v, struct tx_action *a)
{
	const struct key *k;
	struct value m;
	int r = check_object(v);

	if (!r)
		r = read_verb(v, &a->verb);
	if (!r)
		r = check_keys(v, a);
	if (!r)
		r = check_twice(v);
	for (k = keys; k->name && !r; k++) {
		if (!(k->verbs & OF(a->verb)))
			continue;
		m = member_of(v, k->name);
		if (json_object_object_get_ex(v->o, k->name, NULL))
			r = read_value(&m, k, a);
		else if (k->needed)
			r = wrong(v, "%s is missing", k->name);
	}
	if (r)
		return r;
	a->place.action = place_of(v);
	a->place.device = place_of_member(v, "device");
	if (OF_STARTS & OF(a->verb))
		a->place.target = place_of_member(v, "target");
	if (a->verb == TX_BACKUP)
		a->place.fleece = place_of_member(v, "fleece");
	if (a->verb == TX_BITMAP_MERGE)
		a->place.sources = place_of_member(v, "sources");
	return EX_OK;
}

static int read_actions(const struct value *v, struct tx_document *doc)
{
	struct value e;
	size_t n;
	int r = EX_OK;

	if (!json_object_is_type(v->o, json_type_array))
		return wrong(v, "is not an array");
	n = json_object_array_length(v->o);
	if (!n)
		return wrong(v, "is empty: there is nothing to do");
	if (n > TX_MAX_ACTIONS)
		return wrong(v, "there are more than %u", TX_MAX_ACTIONS);
	doc->actions = xcalloc(n, sizeof(*doc->actions));
	while (doc->nr < n && !r) {
		e = element_of(v, doc->nr);
		r = read_action(&e, &doc->actions[doc->nr++]);
	}
	return r;
}

static int read_completion(const struct value *v, const char **mode)
{
	int r = read_string(v, mode);

	if (!r && strcmp(*mode, "individual") && strcmp(*mode, "grouped"))
		return wrong(v, "'%.40s' is neither individual nor grouped",
			     *mode);
	return r;
}

static int read_token(const struct value *v, const char **token)
{
	int r = read_word(v, NAME, token);

	if (!r && strlen(*token) > TX_MAX_TOKEN)
		return wrong(v, "is longer than %u characters", TX_MAX_TOKEN);
	return r;
}

static int check_root_keys(const struct value *v)
{
	static const char *const names[] = {
		"actions", "completion_mode", "freeze", "sequential", "token",
	};
	const unsigned int n = sizeof(names) / sizeof(*names);
	unsigned int i;

	json_object_object_foreach(v->o, name, o) {
		(void)o;
		for (i = 0; i < n && strcmp(name, names[i]); i++)
			;
		if (i == n)
			return wrong_key(v, name, "is no key of",
					 "a transaction");
	}
	return EX_OK;
}

static int read_root(const struct value *v, struct tx_document *doc)
{
	struct value m;
	int r = check_object(v);

	if (!r)
		r = check_root_keys(v);
	if (!r)
		r = check_twice(v);
	if (r)
		return r;
	json_object_object_foreach(v->o, name, o) {
		(void)o;
		m = member_of(v, name);
		if (!strcmp(name, "actions"))
			r = read_actions(&m, doc);
		else if (!strcmp(name, "freeze"))
			r = read_flag(&m, &doc->freeze);
		else if (!strcmp(name, "sequential"))
			r = read_flag(&m, &doc->sequential);
		else if (!strcmp(name, "completion_mode"))
			r = read_completion(&m, &doc->completion_mode);
		else
			r = read_token(&m, &doc->token);
		if (r)
			return r;
	}
	return doc->actions ? EX_OK : wrong(v, "actions is missing");
}

/* If nothing was said of it. */
static bool freeze_by_default(const struct tx_document *doc)
{
	unsigned int i;

	for (i = 0; i < doc->nr; i++)
		if (doc->actions[i].verb == TX_BACKUP ||
		    doc->actions[i].verb == TX_CHECKPOINT)
			return true;
	return false;
}

/*------------------------------------------------------------------*/

/* json-c's verdict, at the place where it stopped. */
static int read_text(const struct reader *r, size_t len, json_object **root)
{
	json_tokener *tok = json_tokener_new();
	struct value v = { .r = r };
	enum json_tokener_error err;
	int code = EX_OK;

	if (!tok) {
		say("out of memory");
		return EX_FAILED;
	}
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT |
			       JSON_TOKENER_VALIDATE_UTF8);
	*root = json_tokener_parse_ex(tok, r->text, len);
	err = json_tokener_get_error(tok);
	v.at = r->text + json_tokener_get_parse_end(tok);
	if (err == json_tokener_continue)
		code = wrong(&v, "the document ends too early");
	else if (err != json_tokener_success)
		code = wrong(&v, "%s", json_tokener_error_desc(err));
	json_tokener_free(tok);
	return code;
}

int tx_parse(const char *file, const char *text, size_t len,
	     struct tx_document *doc)
{
	struct reader reader = { .file = file, .text = text, .doc = doc };
	struct value root = { .r = &reader, .at = text };
	int r;

	memset(doc, 0, sizeof(*doc));
	if (len > TX_MAX) {
		say("%s: is longer than %u bytes", file, TX_MAX);
		return EX_USAGE_;
	}
	root.at = text + strlen(text);
	if (root.at != text + len)
		return wrong(&root, "a zero byte");
	r = read_text(&reader, len, &doc->root);
	if (r)
		return r;
	root.o = doc->root;
	root.at = json_begin(text);
	r = read_root(&root, doc);
	if (!r && !json_object_object_get_ex(doc->root, "freeze", NULL))
		doc->freeze = freeze_by_default(doc);
	return r;
}

void tx_free(struct tx_document *doc)
{
	struct tx_action *a;

	for (a = doc->actions; a && a < doc->actions + doc->nr; a++) {
		free(a->place.action);
		free(a->place.device);
		free(a->place.target);
		free(a->place.fleece);
		free(a->place.sources);
		free(a->sources);
	}
	free(doc->actions);
	json_object_put(doc->root);
	memset(doc, 0, sizeof(*doc));
}
