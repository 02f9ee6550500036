// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup verify: does a target still hold what was backed up to it?
 *
 * The bitmap that went with the backup has all that was written since its cut.
 * What is clean in it must be the same on both, also while the device is in use:
 * a bit is set before the write goes, so whatever differs because of a write is
 * dirty by the time that it has been read. What is dirty can't be compared.
 */

#include "bitmap.h"
#include "dmbackup.h"
#include "filter.h"
#include "report.h"
#include "table.h"
#include "tag.h"
#include "words.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SECTOR		512
#define CHUNK		2048	/* sectors compared at a time */
#define SHOWN		10	/* differences that are named */
#define MOST		65536	/* that are looked for */

/* Sectors, end exclusive. */
struct run {
	uint64_t start;
	uint64_t end;
};

struct verify {
	const struct device *d, *to;
	int fd[2];
	unsigned char *buf[2];
	unsigned int align;	/* of direct I/O to both, sectors */
	struct bitmap bitmap;
	/* What is dirty in [from, next): one answer of the kernel's. */
	uint64_t from, next;
	struct run *dirty;
	unsigned int nr_dirty;
	/* What differs though it was clean, in order. */
	struct run *differ;
	unsigned int nr_differ;
	uint64_t same;
};

/*------------------------------------------------------------------*/
/* What is dirty */

/* Asks what is dirty from @from on. 0 or an exit code. */
static int dirty_ask(struct verify *v, uint64_t from)
{
	char *answer = filter_ask(v->d, "bitmap ranges %s %llu", v->bitmap.name,
				  (unsigned long long)from), *line, *rest = NULL;
	unsigned long long start, length, next = 0;
	int r;

	if (!answer) {
		r = filter_send(v->d, "verify", "bitmap ranges %s",
				v->bitmap.name);	/* says why */
		return r ? r : EX_FAILED;
	}
	v->nr_dirty = 0;
	v->dirty = xreallocarray(v->dirty, strlen(answer), sizeof(*v->dirty));
	line = strtok_r(answer, "\n", &rest);
	if (line && sscanf(line, "%*u %llu", &next) == 1 && next > from)
		while ((line = strtok_r(NULL, "\n", &rest)) &&
		       sscanf(line, "%llu %llu", &start, &length) == 2)
			v->dirty[v->nr_dirty++] = (struct run){
				start, start + length };
	free(answer);
	if (line || next <= from) {
		say("%s: the answer is not understood", v->d->arg);
		return EX_FAILED;
	}
	v->from = from;
	v->next = next;
	return EX_OK;
}

/*
 * How far is it alike from @pos on, dirty or clean? By the answer at hand if it
 * tells of @pos and need not be @fresh. Returns an exit code.
 */
static int alike(struct verify *v, uint64_t pos, bool fresh, uint64_t *end,
		 bool *dirty)
{
	unsigned int i;
	int r;

	if (fresh || pos < v->from || pos >= v->next) {
		r = dirty_ask(v, pos);
		if (r)
			return r;
	}
	*dirty = false;
	*end = v->next;
	for (i = 0; i < v->nr_dirty && v->dirty[i].end <= pos; i++)
		;
	if (i < v->nr_dirty) {
		*dirty = v->dirty[i].start <= pos;
		*end = *dirty ? v->dirty[i].end : v->dirty[i].start;
	}
	return EX_OK;
}

/*------------------------------------------------------------------*/
/* Comparing */

/* Reads [start, end) of both. 0 or an exit code. */
static int read_both(struct verify *v, uint64_t start, uint64_t end)
{
	const char *names[] = { v->d->arg, v->to->arg };
	size_t want = (end - start) * SECTOR;
	unsigned int i;
	ssize_t n;

	for (i = 0; i < 2; i++) {
		n = pread(v->fd[i], v->buf[i], want, start * SECTOR);
		if (n != (ssize_t)want) {
			say("%s: reading at byte %llu: %s", names[i],
			    (unsigned long long)start * SECTOR,
			    n < 0 ? strerror(errno) : "it ends there");
			return EX_FAILED;
		}
	}
	return EX_OK;
}

static void add_difference(struct verify *v, uint64_t start, uint64_t end)
{
	struct run *last = v->nr_differ ? &v->differ[v->nr_differ - 1] : NULL;

	if (last && last->end == start) {
		last->end = end;
		return;
	}
	v->differ = xreallocarray(v->differ, v->nr_differ + 1,
				  sizeof(*v->differ));
	v->differ[v->nr_differ++] = (struct run){ start, end };
}

/* [start, end) differs: what of it is not dirty by now? */
static int judge(struct verify *v, uint64_t start, uint64_t end, bool *fresh)
{
	uint64_t stop;
	bool dirty;
	int r;

	for (; start < end; start = stop) {
		r = alike(v, start, *fresh, &stop, &dirty);
		if (r)
			return r;
		*fresh = false;
		if (stop > end)
			stop = end;
		if (!dirty)
			add_difference(v, start, stop);
	}
	return EX_OK;
}

/* Compares [start, end), which was clean. */
static int compare(struct verify *v, uint64_t start, uint64_t end)
{
	uint64_t from = start / v->align * v->align, s, e;
	uint64_t to = (end + v->align - 1) / v->align * v->align;
	bool fresh = true;	/* what is dirty is to be asked after reading */
	int r;

	if (to > v->d->sectors)
		to = v->d->sectors;
	r = read_both(v, from, to);
	if (r)
		return r;
	for (s = start; s < end && !r; s = e) {
		size_t at = (s - from) * SECTOR;
		bool same = !memcmp(v->buf[0] + at, v->buf[1] + at, SECTOR);

		for (e = s + 1; e < end; e++) {
			at += SECTOR;
			if (same != !memcmp(v->buf[0] + at, v->buf[1] + at,
					    SECTOR))
				break;
		}
		if (same)
			v->same += e - s;
		else
			r = judge(v, s, e, &fresh);
	}
	return r;
}

static int compare_all(struct verify *v, const struct options *o)
{
	bool bar = o->progress || isatty(2), dirty;
	char running[] = "running";
	struct progress p = {
		.title = xasprintf("%s = %s", v->d->arg, v->to->arg),
		.state = running,
		.total = v->d->sectors * SECTOR,
		.began = now_ms(),
	};
	uint64_t pos, end, shown = 0;
	int r = EX_OK;

	for (pos = 0; pos < v->d->sectors && !r; pos = end) {
		r = alike(v, pos, false, &end, &dirty);
		if (r || dirty)
			continue;
		if (end > pos + CHUNK)
			end = pos + CHUNK;
		r = compare(v, pos, end);
		if (v->nr_differ > MOST)
			break;
		p.done = end * SECTOR;
		if (bar && now_ms() - shown >= 200) {
			shown = now_ms();
			progress_show(&p);
		}
	}
	progress_clear();
	free((char *)p.title);
	return r;
}

/*
 * What was found is right only if the bitmap has recorded all the time and lost
 * nothing. What has become dirty meanwhile is taken back.
 */
static int confirm(struct verify *v)
{
	struct run *found = v->differ;
	unsigned int nr = v->nr_differ, i, n;
	struct bitmap *list, b = { 0 };
	bool fresh = true;
	int r;

	if (!nr)
		return EX_OK;
	r = bitmaps_read(v->d, &list, &n);
	if (r)
		return r;
	if (!bitmap_find(list, n, v->bitmap.name, &b) || b.busy[0] ||
	    !b.recording || b.inconsistent || b.dirty < v->bitmap.dirty) {
		say("%s: bitmap '%s' was changed meanwhile: what differs can't be told from what was written",
		    v->d->arg, v->bitmap.name);
		r = EX_REFUSED;
	}
	free(list);
	v->differ = NULL;
	v->nr_differ = 0;
	for (i = 0; i < nr && !r; i++)
		r = judge(v, found[i].start, found[i].end, &fresh);
	free(found);
	return r;
}

/*------------------------------------------------------------------*/
/* The verb */

static const struct column columns[] = {
	{ "DEVICE", TEXT }, { "TO", TEXT }, { "BITMAP", TEXT },
	{ "SAME", SIZE }, { "WRITTEN", SIZE }, { "DIFFERENT", SIZE },
};

static int report(const struct verify *v, const struct options *o)
{
	uint64_t differ = 0;
	struct table t;
	unsigned int i;
	int r;

	for (i = 0; i < v->nr_differ; i++) {
		const struct run *run = &v->differ[i];

		differ += run->end - run->start;
		if (i < SHOWN)
			say("%s: differs from %s at byte %llu, %llu bytes",
			    v->to->arg, v->d->arg,
			    (unsigned long long)run->start * SECTOR,
			    (unsigned long long)(run->end - run->start) * SECTOR);
	}
	if (i > SHOWN)
		hint("and at %u other places%s", i - SHOWN,
		     i > MOST ? ", where it was given up" : "");
	table_begin(&t, "verify", columns,
		    sizeof(columns) / sizeof(*columns), o);
	table_row(&t);
	table_text(&t, 0, v->d->arg);
	table_text(&t, 1, v->to->arg);
	table_text(&t, 2, v->bitmap.name);
	table_number(&t, 3, v->same * SECTOR);
	table_number(&t, 4, i > MOST ? 0 :
		     (v->d->sectors - v->same - differ) * SECTOR);
	table_number(&t, 5, differ * SECTOR);
	r = table_end(&t);
	return r ? r : i ? EX_MISMATCH : EX_OK;
}

/* The bitmap that is named, or that remembers @to as its last target. */
static bool choose(struct verify *v, const struct options *o,
		   const struct bitmap *list, unsigned int n)
{
	char tag[BITMAP_NAME_SIZE];
	unsigned int i;

	if (o->bitmap)
		return bitmap_find(list, n, o->bitmap, &v->bitmap);
	tag_of(v->to, tag, sizeof(tag));
	for (i = 0; i < n && tag_lasts(tag); i++)
		if (!strcmp(list[i].tag, tag)) {
			v->bitmap = list[i];
			return true;
		}
	return false;
}

static int find_bitmap(struct verify *v, const struct options *o)
{
	const struct bitmap *b = &v->bitmap;
	struct bitmap *list;
	unsigned int n;
	bool found;
	int r = bitmaps_read(v->d, &list, &n);

	if (r)
		return r;
	found = choose(v, o, list, n);
	free(list);
	if (!found) {
		if (o->bitmap)
			say("%s: there is no bitmap '%s'", v->d->arg, o->bitmap);
		else
			say("%s: no bitmap knows what was written since a backup to %s",
			    v->d->arg, v->to->arg);
		hint("backup --level full makes one");
		return EX_NODEV;
	}
	if (b->busy[0]) {
		say("%s: bitmap '%s' is in use by job '%s'", v->d->arg, b->name,
		    b->busy);
		return EX_REFUSED;
	}
	if (!b->inconsistent && b->recording)
		return EX_OK;
	say("%s: bitmap '%s' does not know all that was written: it is %s%s",
	    v->d->arg, b->name, b->inconsistent ? "inconsistent: " : "disabled",
	    b->inconsistent ? b->cause : "");
	return EX_NO;
}

static int open_both(struct verify *v)
{
	unsigned int i, size;
	int r = device_check_unused(v->to);

	if (r)
		return r;
	if (v->to->sectors < v->d->sectors) {
		say("%s: is shorter than %s", v->to->arg, v->d->arg);
		return EX_MISMATCH;
	}
	/* Nobody is to write to it meanwhile, no job either. */
	v->fd[0] = device_open(v->d, O_RDONLY | O_DIRECT);
	v->fd[1] = device_open(v->to, O_RDONLY | O_DIRECT | O_EXCL);
	v->align = 4096 / SECTOR;
	for (i = 0; i < 2; i++) {
		if (v->fd[i] < 0 || ioctl(v->fd[i], BLKSSZGET, &size)) {
			r = errno;
			say("%s: %s", i ? v->to->arg : v->d->arg,
			    strerror(r));
			return code_of_errno(r);
		}
		if (size / SECTOR > v->align)
			v->align = size / SECTOR;
		v->buf[i] = xaligned_alloc(v->align * SECTOR,
					   (CHUNK + 2 * v->align) * SECTOR);
	}
	return EX_OK;
}

/* DEVICE --to TARGET */
int cmd_verify(int argc, char **argv, const struct options *o)
{
	struct verify v = { .fd = { -1, -1 } };
	struct device d, to;
	int r;

	(void)argc;
	if (!o->to) {
		say("verify: --to is missing");
		return EX_USAGE_;
	}
	r = o->bitmap && !is_word("--bitmap", o->bitmap) ? EX_USAGE_ : EX_OK;
	if (!r)
		r = device_find_filter(argv[0], &d);
	if (!r)
		r = device_find(o->to, &to);
	v.d = &d;
	v.to = &to;
	if (!r)
		r = find_bitmap(&v, o);
	if (!r)
		r = open_both(&v);
	if (!r)
		r = compare_all(&v, o);
	if (!r)
		r = confirm(&v);
	if (!r)
		r = report(&v, o);
	free(v.buf[0]);
	free(v.buf[1]);
	free(v.dirty);
	free(v.differ);
	return r;
}
