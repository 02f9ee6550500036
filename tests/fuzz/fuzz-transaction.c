// SPDX-License-Identifier: GPL-2.0-only
/*
 * Damages documents of "dmbackup transaction" and reads them as the utility does.
 * Result: TAP version 13, a line for each way of damaging them.
 *
 *   fuzz-transaction [--seed N] [--cases N] [--case N]
 *
 * --seed:	of all that is random; printed at the start
 * --cases:	how many, all ways together
 * --case:	only this one of each way, as it was printed when it failed
 *
 * Whatever is accepted must be a transaction that can be; whatever is refused is
 * said in one line that begins with a place in the document.
 */

#include "fuzz-run.h"
#include "transaction-json.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))
#define SIZE		8192
#define VALUES		128
#define FAILURES_SHOWN	8

/* '@' stands before each value and is not part of the document. */
static const char *const corpus[] = {
	"@{\"actions\": @[@{\"action\": @\"abort\", \"device\": @\"v/a\"}]}",
	"@{\n  \"completion_mode\": @\"grouped\", \"freeze\": @true,\n"
	"  \"sequential\": @false, \"token\": @\"t-7\",\n"
	"  \"actions\": @[\n"
	"    @{ \"action\": @\"backup\", \"device\": @\"vg/a\", \"target\": @\"vg/b\",\n"
	"      \"id\": @\"x\", \"level\": @\"auto\", \"bitmap\": @\"nightly\",\n"
	"      \"speed\": @\"10M\", \"cluster\": @65536, \"max_chunk\": @\"1M\",\n"
	"      \"max_workers\": @8, \"detect_zeroes\": @\"unmap\",\n"
	"      \"on_source_error\": @\"report\", \"on_target_error\": @\"stop\",\n"
	"      \"on_cbw_error\": @\"break-snapshot\", \"cbw_timeout\": @\"1500ms\",\n"
	"      \"allow_larger\": @true, \"force\": @false },\n"
	"    @{ \"action\": @\"backup\", \"device\": @\"/mnt/\\u00e4 b\",\n"
	"      \"target\": @\"253:7\", \"incremental\": @\"b0\", \"cbw_timeout\": @0 }\n"
	"  ]\n}\n",
	"@{\"actions\":@[@{\"action\":@\"bitmap-add\",\"device\":@\"f\",\"name\":@\"b\","
	"\"granularity\":@\"64K\",\"disabled\":@true,\"all_dirty\":@true,"
	"\"persistent\":@true},@{\"device\":@\"f\",\"name\":@\"b\",\"action\":"
	"@\"bitmap-merge\",\"sources\":@[@\"c\",@\"vg/lv/d\"]},\r\n@{\"action\":"
	"@\"bitmap-clear\",\"device\":@\"f\",\"name\":@\"c\"},@{\"action\":"
	"@\"bitmap-enable\",\"device\":@\"f\",\"name\":@\"c\"},@{\"action\":"
	"@\"bitmap-disable\",\"device\":@\"f\",\"name\":@\"c\"},@{\"action\":"
	"@\"bitmap-remove\",\"device\":@\"f\",\"name\":@\"d\"},@{\"action\":"
	"@\"checkpoint\",\"device\":@\"f\",\"job\":@\"d\"}]}",
	"@{\"actions\":@[@{\"action\":@\"mirror\",\"device\":@\"vg/a\",\"target\":"
	"@\"vg/b\",\"id\":@\"m\",\"sync\":@\"bitmap\",\"bitmap\":@\"b\","
	"\"bitmap_mode\":@\"on-success\",\"copy_mode\":@\"write-blocking\","
	"\"auto_switch\":@true,\"granularity\":@4096,\"max_chunk\":@\"1M\","
	"\"speed\":@\"1M\",\"cbw_timeout\":@\"5s\",\"on_source_error\":"
	"@\"stop\",\"on_target_error\":@\"ignore\",\"allow_larger\":@false,"
	"\"force\":@true}, @{\"action\":@\"mirror\", \"device\":@\"c\","
	"\"target\":@\"d\"}]}",
};

/* What may be in one, written down a second time. */
static const char *const root_keys[] = {
	"actions", "completion_mode", "freeze", "sequential", "token",
};

static const char *const action_keys[] = {
	"action", "device", "name", "job", "sources", "granularity", "disabled",
	"all_dirty", "persistent", "target", "id", "level", "bitmap",
	"incremental", "speed", "cluster", "max_chunk", "max_workers",
	"detect_zeroes", "on_source_error", "on_target_error", "on_cbw_error",
	"cbw_timeout", "allow_larger", "force", "fleece", "sync", "bitmap_mode",
	"copy_mode", "auto_switch",
};

static const char *const pieces[] = {
	"{", "}", "[", "]", ",", ":", "\"", "'", "\\", "\\u0000", "\\ud800",
	"null", "true", "0", "-1", "1e9", "18446744073709551616", "\"\"", "NaN",
	"\"a b\"", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "/*", "//", "\n",
	"\"actions\"", "\"action\"", "\"device\"", "\"target\"", "\"sources\"",
	"\"abort\"", "\"99999999999T\"", "\xff", "\xc3\xa4", "\xf0\x9f\x92\xbe",
};

enum way { BYTES, PIECES, TWICE, UNKNOWN, PLACES, WAYS };

static const struct {
	const char *what;
	unsigned int percent;
} ways[WAYS] = {
	[BYTES]		= { "bytes that are wrong", 40 },
	[PIECES]	= { "pieces that are misplaced", 30 },
	[TWICE]		= { "keys that are there twice are refused", 8 },
	[UNKNOWN]	= { "unknown keys are refused", 7 },
	[PLACES]	= { "what is wrong is said with its place", 15 },
};

struct text {
	char s[SIZE + 1];
	size_t len;
	size_t values[VALUES];	/* where they are */
	unsigned int nr;
};

static struct fuzz_run run = { .seed = 20240229, .cases = 1000000, .only = -1 };
static unsigned long long state;

/* Of the way that is being gone. */
static enum way way;
static long case_nr;
static unsigned long failures, accepted, refused;

static unsigned long long draw(unsigned long long below)
{
	unsigned long long x = state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return (x ^ x >> 31) % below;
}

/*------------------------------------------------------------------*/
/* Making documents */

static void take(struct text *t)
{
	const char *p = corpus[draw(COUNT(corpus))];

	t->len = t->nr = 0;
	for (; *p; p++) {
		if (*p != '@') {
			t->s[t->len++] = *p;
			continue;
		}
		for (int n = draw(4) ? 0 : draw(4); n; n--)
			t->s[t->len++] = " \n\t\r"[draw(4)];
		t->values[t->nr++] = t->len;
	}
	t->s[t->len] = '\0';
}

static void replace(struct text *t, size_t at, size_t len, const char *by,
		    size_t n)
{
	if (t->len - len + n > SIZE)
		return;
	memmove(t->s + at + n, t->s + at + len, t->len - at - len + 1);
	memcpy(t->s + at, by, n);
	t->len += n - len;
}

/* The end of a value. */
static size_t end_of(const struct text *t, size_t at)
{
	unsigned int depth = 0;
	bool quoted = false;

	for (; at < t->len; at++) {
		char c = t->s[at];

		if (quoted && c == '\\') {
			at++;
			continue;
		}
		if (c == '"')
			quoted = !quoted;
		if (quoted)
			continue;
		if (!depth && strchr(",]} \n\r\t", c))
			break;
		depth += c == '{' || c == '[';
		depth -= c == '}' || c == ']';
		if (!depth && strchr("]}\"", c))
			return at + 1;
	}
	return at;
}

static void damage_bytes(struct text *t)
{
	unsigned int n = 1 + draw(4);
	size_t at, len;

	while (n-- && t->len) {
		at = draw(t->len);
		len = 1 + draw(t->len - at < 40 ? t->len - at : 40);
		switch (draw(4)) {
		case 0:
			t->s[at] = draw(256);
			break;
		case 1:
			t->s[at] ^= 1 << draw(8);
			break;
		case 2:
			replace(t, at, len, "", 0);
			break;
		default:
			t->len = draw(8) ? t->len : at;
			t->s[t->len] = '\0';
			break;
		}
	}
}

static void damage_pieces(struct text *t)
{
	unsigned int n = 1 + draw(4);
	const char *p;
	char copy[200];
	size_t at, from, len;

	while (n-- && t->len) {
		at = draw(2) ? draw(t->len) : t->values[draw(t->nr)];
		at = at < t->len ? at : 0;
		p = pieces[draw(COUNT(pieces))];
		switch (draw(3)) {
		case 0:
			replace(t, at, 0, p, strlen(p));
			break;
		case 1:
			replace(t, at, end_of(t, at) - at, p, strlen(p));
			break;
		default:
			from = draw(t->len);
			len = draw(sizeof(copy));
			len = len < t->len - from ? len : t->len - from;
			memcpy(copy, t->s + from, len);
			replace(t, at, 0, copy, len);
			break;
		}
	}
}

/* An object's first brace: that of the document, or of an action. */
static size_t an_object(const struct text *t)
{
	size_t at;

	do {
		at = t->values[draw(t->nr)];
	} while (t->s[at] != '{');
	return at + 1;
}

static void add_again(struct text *t)
{
	size_t at, from, colon, end, len;
	char copy[SIZE];

	do { /* the value of a member */
		from = t->values[1 + draw(t->nr - 1)];
		end = end_of(t, from);
		colon = from;
		while (strchr(" \n\r\t", t->s[colon - 1]))
			colon--;
	} while (t->s[colon - 1] != ':');
	at = colon - 2;
	while (t->s[at - 1] != '"')
		at--;
	len = end - (at - 1);
	memcpy(copy, t->s + at - 1, len);
	copy[len++] = ',';
	replace(t, at - 1, 0, copy, len);
}

static void add_unknown(struct text *t)
{
	static const char *const names[] = {
		"\"\": 1,", "\"Action\": \"abort\",", "\"devices\": [],",
		"\"comment\": null,", "\"comments\": [],",
	};
	const char *name = names[draw(COUNT(names))];

	replace(t, an_object(t), 0, name, strlen(name));
}

/*------------------------------------------------------------------*/
/* Judging */

static void failed(const struct text *t, const char *said, const char *what)
{
	if (failures++ >= FAILURES_SHOWN)
		return;
	printf("# case %ld: %s\n# said: %s", case_nr, what,
	       *said ? said : "nothing\n");
	printf("# document, %zu bytes:\n", t->len);
	fwrite(t->s, 1, t->len, stdout);
	printf("\n");
}

static bool is_one_of(const char *key, const char *const *list, size_t n)
{
	while (n--)
		if (!strcmp(key, list[n]))
			return true;
	return false;
}

static bool keys_known(const struct tx_document *doc)
{
	json_object *actions = json_object_object_get(doc->root, "actions");
	size_t i;

	json_object_object_foreach(doc->root, key, value) {
		(void)value;
		if (!is_one_of(key, root_keys, COUNT(root_keys)))
			return false;
	}
	for (i = 0; i < json_object_array_length(actions); i++) {
		json_object *action = json_object_array_get_idx(actions, i);

		json_object_object_foreach(action, name, v) {
			(void)v;
			if (!is_one_of(name, action_keys, COUNT(action_keys)))
				return false;
		}
	}
	return true;
}

static bool can_be_sent(const char *word)
{
	return word && *word && !word[strcspn(word, " \t\n\v\f\r\\")];
}

static const char *wrong_with(const struct tx_document *doc)
{
	const struct tx_action *a;
	unsigned int n;

	if (!doc->nr || doc->nr > TX_MAX_ACTIONS)
		return "number of actions";
	for (a = doc->actions; a < doc->actions + doc->nr; a++) {
		if (!a->device || !*a->device)
			return "no device";
		if (!a->place.action || !a->place.device)
			return "no place";
		if ((a->verb == TX_BACKUP || a->verb == TX_MIRROR) !=
		    !!a->options.to)
			return "a target";
		if (a->options.to && (a->name || !a->place.target))
			return "a start";
		if (a->verb != TX_MIRROR && a->options.sync)
			return "what is copied";
		if (a->verb >= TX_BITMAP_ADD && a->verb <= TX_BITMAP_MERGE &&
		    !can_be_sent(a->name))
			return "a bitmap's name";
		if ((a->verb == TX_BITMAP_MERGE) != !!a->nr_sources)
			return "sources";
		for (n = 0; n < a->nr_sources; n++)
			if (!a->sources[n] || !*a->sources[n])
				return "a source";
		if (a->options.id && !can_be_sent(a->options.id))
			return "an id";
	}
	return keys_known(doc) ? NULL : "an unknown key";
}

static void line_of(const struct text *t, size_t at, unsigned int *line,
		    unsigned int *column)
{
	*line = *column = 1;
	for (size_t i = 0; i < at; i++) {
		*column += ((unsigned char)t->s[i] & 0xc0) != 0x80;
		if (t->s[i] == '\n') {
			++*line;
			*column = 1;
		}
	}
}

/* One line, with a place that is in the document. @at: which, or -1. */
static const char *wrong_with_said(const struct text *t, const char *said,
				   long at)
{
	unsigned int line, column, last, end;
	int n = 0;

	if (sscanf(said, "dmbackup: f.json:%u:%u: %n", &line, &column, &n) != 2 ||
	    !n || !said[n] || said[n] == '\n')
		return "no place, or nothing said";
	if (strchr(said, '\n') != said + strlen(said) - 1)
		return "more than a line";
	line_of(t, t->len, &last, &end);
	if (!line || !column || line > last || column > t->len + 1)
		return "a place outside of the document";
	if (at < 0)
		return NULL;
	line_of(t, at, &last, &end);
	return line == last && column == end ? NULL : "another place";
}

static void judge(const struct text *t, bool must_fail, long at)
{
	/* Of its own size, so that a look behind its end is noticed. */
	char *copy = malloc(t->len + 1), *said = NULL;
	const char *wrong;
	struct tx_document doc;
	size_t size;
	FILE *err = stderr;
	int r;

	memcpy(copy, t->s, t->len);
	copy[t->len] = '\0';
	stderr = open_memstream(&said, &size);
	r = tx_parse("f.json", copy, t->len, &doc);
	fclose(stderr);
	stderr = err;
	if (r)
		wrong = r == EX_USAGE_ ? wrong_with_said(t, said, at) :
					 "the exit code";
	else
		wrong = must_fail ? "was accepted" : *said ? "has said something" :
			wrong_with(&doc);
	*(r ? &refused : &accepted) += 1;
	if (wrong)
		failed(t, said, wrong);
	tx_free(&doc);
	free(said);
	free(copy);
}

static void run_case(void)
{
	static struct text t;
	unsigned int i;
	size_t at;

	state = run.seed + way * 0x100000000ull + case_nr;
	take(&t);
	switch (way) {
	case BYTES:
		damage_bytes(&t);
		judge(&t, false, -1);
		return;
	case PIECES:
		damage_pieces(&t);
		judge(&t, false, -1);
		return;
	case TWICE:
		add_again(&t);
		judge(&t, true, -1);
		return;
	case UNKNOWN:
		add_unknown(&t);
		judge(&t, true, -1);
		return;
	default:
		/* All of it is right; nothing may be an empty object. */
		judge(&t, false, -1);
		i = draw(t.nr);
		at = t.values[i];
		replace(&t, at, end_of(&t, at) - at, "{}", 2);
		judge(&t, true, at);
		return;
	}
}

static bool run_way(void)
{
	long n = run.cases * ways[way].percent / 100;

	failures = accepted = refused = 0;
	for (case_nr = 0; case_nr < n; case_nr++)
		if (fuzz_wants(&run, case_nr))
			run_case();
	if (way == PLACES && run.only < 0 && accepted != (unsigned long)n) {
		printf("# %lu of %ld sound documents were accepted\n", accepted, n);
		failures++;
	}
	printf("%sok %d - %s: %ld documents, %lu accepted, %lu refused\n",
	       failures ? "not " : "", way + 1, ways[way].what, n, accepted,
	       refused);
	return !failures;
}

static void died(void)
{
	if (way < WAYS)
		printf("# case %ld of \"%s\" (--case)\n", case_nr,
		       ways[way].what);
}

int main(int argc, char **argv)
{
	bool good = true;

	fuzz_begin(&run, argc, argv, died);
	printf("TAP version 13\n1..%d\n", WAYS);
	printf("# seed %llu (fuzz-transaction --seed)\n", run.seed);
	for (way = 0; way < WAYS; way++)
		good &= run_way();
	return !good;
}
