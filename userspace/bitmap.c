// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup bitmap: dirty bitmaps.
 */

#include "bitmap.h"
#include "dm.h"
#include "dmbackup.h"
#include "filter.h"
#include "range-line.h"
#include "report.h"
#include "words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*------------------------------------------------------------------*/
/* Reading */

static void read_text(const char *line, const char *key, char *to, size_t size)
{
	char *v = show_value(line, key);

	snprintf(to, size, "%s", v ? v : "");
	free(v);
}

static void read_bitmap(struct bitmap *b, const char *line)
{
	memset(b, 0, sizeof(*b));
	read_text(line, "name", b->name, sizeof(b->name));
	read_text(line, "busy", b->busy, sizeof(b->busy));
	if (!strcmp(b->busy, "-"))
		b->busy[0] = '\0';
	read_text(line, "cause", b->cause, sizeof(b->cause));
	read_text(line, "tag", b->tag, sizeof(b->tag));
	if (!strcmp(b->tag, "-"))
		b->tag[0] = '\0';
	b->granularity = show_number(line, "granularity");
	b->dirty = show_number(line, "dirty");
	b->total = show_number(line, "total");
	b->successor = show_number(line, "successor");
	b->recording = show_number(line, "recording");
	b->persistent = show_number(line, "persistent");
	b->inconsistent = show_number(line, "inconsistent");
}

int bitmaps_read(const struct device *d, struct bitmap **list, unsigned int *n)
{
	char *answer = filter_ask(d, "bitmap list"), *line, *rest = NULL;
	unsigned int lines = 1;
	char *p;
	int r;

	*n = 0;
	if (!answer) {
		r = filter_send(d, "bitmaps", "bitmap list");	/* says why */
		return r ? r : EX_FAILED;
	}
	for (p = answer; *p; p++)
		lines += *p == '\n';
	*list = xcalloc(lines, sizeof(**list));
	for (line = strtok_r(answer, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest))
		read_bitmap(&(*list)[(*n)++], line);
	free(answer);
	return EX_OK;
}

bool bitmap_find(const struct bitmap *list, unsigned int n, const char *name,
		 struct bitmap *found)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (!strcmp(list[i].name, name)) {
			*found = list[i];
			return true;
		}
	return false;
}

static int find_one(const char *arg, const char *name, struct device *d,
		    struct bitmap *b)
{
	struct bitmap *list = NULL;
	unsigned int n;
	int r = device_find_filter(arg, d);

	if (!r)
		r = bitmaps_read(d, &list, &n);
	if (r)
		return r;
	if (!bitmap_find(list, n, name, b)) {
		say("%s: there is no bitmap '%s'", arg, name);
		r = EX_NODEV;
	}
	free(list);
	return r;
}

/*------------------------------------------------------------------*/
/* Changing */

static int verb(const char *arg, const char *what, const char *name,
		const char *more)
{
	struct device d;
	int r = is_word("bitmap", name) ? device_find_filter(arg, &d) :
					  EX_USAGE_;

	return r ? r : filter_send(&d, what, "bitmap %s %s%s", what, name, more);
}

/* "MAJ:MIN <#words> [<name> <value>]..." */
static bool has_metadata(const struct device *d)
{
	char *word, *rest = NULL;
	unsigned int n = 0;
	struct dm_tab tab;
	bool found = false;

	if (dm_tab_read(d->dm.name, &tab))
		return false;
	word = dm_tab_is(&tab, "backup") ?
	       strtok_r(tab.seg[0].params, " ", &rest) : NULL;
	/* After the origin and the count each second one is a name. */
	for (; word && !found; word = strtok_r(NULL, " ", &rest), n++)
		found = n >= 2 && !(n % 2) && !strcmp(word, "metadata");
	dm_tab_free(&tab);
	return found;
}

int bitmap_add(const struct device *d, const char *name)
{
	return filter_send(d, "bitmap add", "bitmap add %s all_dirty%s", name,
			   has_metadata(d) ? " persistent" : "");
}

int bitmap_remove(const struct device *d, const char *name)
{
	return filter_send(d, "bitmap remove", "bitmap remove %s", name);
}

char *bitmap_add_words(const struct options *o)
{
	char *words = xstrdup(""), *next;

	if (!add_sectors(&words, "--granularity", "granularity",
			 o->granularity)) {
		free(words);
		return NULL;
	}
	next = xasprintf("%s%s%s%s", words,
			 o->persistent ? " persistent" : "",
			 o->disabled ? " disabled" : "",
			 o->all_dirty ? " all_dirty" : "");
	free(words);
	return next;
}

/* DEVICE NAME */
int cmd_bitmap_add(int argc, char **argv, const struct options *o)
{
	char *words = bitmap_add_words(o);
	int r;

	(void)argc;
	if (!words)
		return EX_USAGE_;
	r = verb(argv[0], "add", argv[1], words);
	free(words);
	return r;
}

int cmd_bitmap_remove(int argc, char **argv, const struct options *o)
{
	(void)argc;
	(void)o;
	return verb(argv[0], "remove", argv[1], "");
}

int cmd_bitmap_clear(int argc, char **argv, const struct options *o)
{
	(void)argc;
	(void)o;
	return verb(argv[0], "clear", argv[1], "");
}

int cmd_bitmap_enable(int argc, char **argv, const struct options *o)
{
	(void)argc;
	(void)o;
	return verb(argv[0], "enable", argv[1], "");
}

int cmd_bitmap_disable(int argc, char **argv, const struct options *o)
{
	(void)argc;
	(void)o;
	return verb(argv[0], "disable", argv[1], "");
}

int bitmap_source_word(const char *arg, char **word)
{
	const char *slash = strrchr(arg, '/');
	struct device d;
	char *device;
	int r;

	if (!is_word("bitmap", slash ? slash + 1 : arg))
		return EX_USAGE_;
	if (!slash) {
		*word = xstrdup(arg);
		return EX_OK;
	}
	device = xasprintf("%.*s", (int)(slash - arg), arg);
	r = device_find_filter(device, &d);
	if (!r)
		*word = xasprintf("%u:%u%s", d.major, d.minor, slash);
	free(device);
	return r;
}

/* DEVICE NAME SOURCE... */
int cmd_bitmap_merge(int argc, char **argv, const struct options *o)
{
	char *words = xstrdup(""), *source, *next;
	int i, r;

	(void)o;
	for (i = 2; i < argc; i++) {
		r = bitmap_source_word(argv[i], &source);
		if (r) {
			free(words);
			return r;
		}
		next = xasprintf("%s %s", words, source);
		free(source);
		free(words);
		words = next;
	}
	r = verb(argv[0], "merge", argv[1], words);
	free(words);
	return r;
}

/*------------------------------------------------------------------*/
/* Looking */

int cmd_bitmap_list(int argc, char **argv, const struct options *o)
{
	struct bitmap *list = NULL;
	struct device d;
	unsigned int n;
	int r;

	(void)argc;
	r = device_find_filter(argv[0], &d);
	if (!r)
		r = bitmaps_read(&d, &list, &n);
	if (!r)
		r = report_bitmaps(list, n, o);
	free(list);
	return r;
}

int cmd_bitmap_show(int argc, char **argv, const struct options *o)
{
	struct device d;
	struct bitmap b;
	int r = find_one(argv[0], argv[1], &d, &b);

	(void)argc;
	return r ? r : report_bitmap(&b, o);
}

/*------------------------------------------------------------------*/
/* Dump */

/* Told of each dirty range in turn, in bytes, and at last of the end: length 0. */
typedef void (*dump_fn)(uint64_t start, uint64_t length);

static uint64_t dump_pos;	/* end of the last range */
static unsigned int dump_count;

static void dump_plain(uint64_t start, uint64_t length)
{
	if (length)
		printf("%llu %llu\n", (unsigned long long)start,
		       (unsigned long long)length);
}

static void dump_json(uint64_t start, uint64_t length)
{
	if (length)
		printf("%s\n    {\"start\": %llu, \"length\": %llu}",
		       dump_count++ ? "," : "", (unsigned long long)start,
		       (unsigned long long)length);
}

/* borg create --map: all of the device, in order. */
static void dump_borg(uint64_t start, uint64_t length)
{
	if (start > dump_pos)
		printf("%llu %llu same\n", (unsigned long long)dump_pos,
		       (unsigned long long)(start - dump_pos));
	if (length)
		printf("%llu %llu data\n", (unsigned long long)start,
		       (unsigned long long)length);
	dump_pos = start + length;
}

/* ddrescue's mapfile: what is dirty is not tried, the rest is finished. */
static void dump_ddrescue(uint64_t start, uint64_t length)
{
	if (start > dump_pos)
		printf("0x%08llX  0x%08llX  +\n", (unsigned long long)dump_pos,
		       (unsigned long long)(start - dump_pos));
	if (length)
		printf("0x%08llX  0x%08llX  ?\n", (unsigned long long)start,
		       (unsigned long long)length);
	dump_pos = start + length;
}

struct dump_format {
	const char *name;
	dump_fn fn;
};

static const struct dump_format dump_formats[] = {
	{ "ranges", dump_plain },
	{ "json", dump_json },
	{ "borg-map", dump_borg },
	{ "ddrescue", dump_ddrescue },
	{ }
};

const struct dump_format *dump_format(const char *name)
{
	const struct dump_format *f;

	for (f = dump_formats; f->name; f++)
		if (!name || !strcmp(f->name, name))
			return f;
	say("--format: '%s' is none of ranges, json, borg-map, ddrescue", name);
	return NULL;
}

void dump_begin(const struct dump_format *f, const char *name,
		uint64_t granularity, uint64_t size)
{
	if (f->fn == dump_json)
		printf("{\n  \"name\": \"%s\", \"granularity\": %llu, \"size\": %llu,\n  \"ranges\": [",
		       name, (unsigned long long)granularity,
		       (unsigned long long)size);
	else if (f->fn == dump_ddrescue)
		printf("# Mapfile. Created by dmbackup\n0x00000000     ?               1\n");
}

void dump_range(const struct dump_format *f, uint64_t start, uint64_t length)
{
	f->fn(start, length);
}

void dump_end(const struct dump_format *f, uint64_t size)
{
	f->fn(size, 0);
	if (f->fn == dump_json)
		printf("\n  ]\n}\n");
}

/* One answer's lines. Returns the sector to go on from; 0 if it makes no sense. */
static uint64_t dump_answer(char *answer, const struct dump_format *f)
{
	unsigned long long from, next, start, length;
	char *line, *rest = NULL;

	line = strtok_r(answer, "\n", &rest);
	if (!line || sscanf(line, "%llu %llu", &from, &next) != 2 ||
	    next <= from)
		return 0;
	while ((line = strtok_r(NULL, "\n", &rest))) {
		if (sscanf(line, "%llu %llu", &start, &length) != 2)
			return 0;
		dump_range(f, start * 512, length * 512);
	}
	return next;
}

static int dump_ranges(const struct device *d, const char *name,
		       const struct dump_format *f)
{
	uint64_t from = 0, end = d->sectors;
	char *answer;
	int r;

	while (from < end) {
		answer = filter_ask(d, "bitmap ranges %s %llu", name,
				    (unsigned long long)from);
		if (!answer) {
			r = filter_send(d, "bitmap dump", "bitmap ranges %s",
					name);
			return r ? r : EX_FAILED;
		}
		from = dump_answer(answer, f);
		free(answer);
		if (!from) {
			say("%s: the answer is not understood", d->arg);
			return EX_FAILED;
		}
	}
	return EX_OK;
}

/* DEVICE NAME */
int cmd_bitmap_dump(int argc, char **argv, const struct options *o)
{
	const struct dump_format *f = dump_format(o->format);
	struct device d;
	struct bitmap b;
	int r;

	(void)argc;
	if (!f)
		return EX_USAGE_;
	r = find_one(argv[0], argv[1], &d, &b);
	if (r)
		return r;
	if (b.inconsistent) {
		say("%s: bitmap '%s' is inconsistent: %s", d.arg, b.name,
		    b.cause);
		return EX_NO;
	}
	dump_begin(f, b.name, b.granularity * 512, d.sectors * 512);
	r = dump_ranges(&d, argv[1], f);
	if (!r)
		dump_end(f, d.sectors * 512);
	return r;
}

/*------------------------------------------------------------------*/
/* Load */

/* Words of one message; the kernel takes more. */
#define LOAD_AT_ONCE 256

static int load_send(const struct device *d, const char *name, char **words,
		     unsigned int *n)
{
	int r = EX_OK;

	if (*n)
		r = filter_send(d, "bitmap load", "bitmap load %s%s", name,
				*words);
	free(*words);
	*words = xstrdup("");
	*n = 0;
	return r;
}

static int load_file(const struct device *d, const char *name, FILE *in,
		     const char *file)
{
	char *line = NULL, *words = xstrdup(""), *next;
	unsigned int n = 0, number = 0;
	uint64_t start, length;
	int r = EX_OK;
	size_t room = 0;
	ssize_t len;

	while (!r && (len = getline(&line, &room, in)) >= 0) {
		number++;
		if (!range_of_line(line, len, &start, &length)) {
			say("%s:%u: is not \"START LENGTH\", bytes, in multiples of 512",
			    file, number);
			r = EX_USAGE_;
			break;
		}
		next = xasprintf("%s %llu+%llu", words,
				 (unsigned long long)start / 512,
				 (unsigned long long)length / 512);
		free(words);
		words = next;
		if (++n == LOAD_AT_ONCE)
			r = load_send(d, name, &words, &n);
	}
	if (!r)
		r = load_send(d, name, &words, &n);
	free(words);
	free(line);
	return r;
}

/* DEVICE NAME [FILE] */
int cmd_bitmap_load(int argc, char **argv, const struct options *o)
{
	const char *file = argc > 2 ? argv[2] : "-";
	FILE *in = stdin;
	struct device d;
	struct bitmap b;
	int r = find_one(argv[0], argv[1], &d, &b);

	(void)o;
	if (r)
		return r;
	if (strcmp(file, "-"))
		in = fopen(file, "re");
	if (!in) {
		say("%s: %s", file, strerror(errno));
		return EX_FAILED;
	}
	r = load_file(&d, argv[1], in, file);
	if (in != stdin)
		fclose(in);
	return r;
}
