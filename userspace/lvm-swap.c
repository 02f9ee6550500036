// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: two volumes exchange their segments. The contract is in lvm-swap.h.
 */

#include "lvm-swap.h"
#include "dmbackup.h"
#include "follow.h"
#include "lvm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/*------------------------------------------------------------------*/
/* The lock: a file of LVM's, with flock(2), removed by whoever is done with it */

static bool read_dir(char *line, void *ctx)
{
	char dir[256];

	if (sscanf(line, " locking_dir=\"%255[^\"]\"", dir) == 1)
		*(char **)ctx = xstrdup(dir);
	return true;
}

static char *lock_path(const char *vg)
{
	char *argv[] = {
		"lvmconfig", "--type", "full", "global/locking_dir", NULL
	};
	char *dir = NULL, *path = NULL;

	if (!lvm_run(argv, read_dir, &dir) && dir)
		path = xasprintf("%s/V_%s", dir, vg);
	free(dir);
	return path;
}

/* Is it still the file of that name? Whoever had it locked may have removed it. */
static bool is_there(int fd, const char *path)
{
	struct stat a, b;

	return !fstat(fd, &a) && !stat(path, &b) && a.st_ino == b.st_ino &&
	       a.st_dev == b.st_dev;
}

static int lock_group(struct lvm_swap *s)
{
	uint64_t end = now_ms() + LOCK_MS;

	s->path = lock_path(s->vg);
	while (s->path) {
		s->lock = open(s->path, O_CREAT | O_APPEND | O_RDWR | O_CLOEXEC,
			       0777);
		if (s->lock < 0) {
			say("%s: %s", s->path, strerror(errno));
			break;
		}
		if (!flock(s->lock, LOCK_EX | LOCK_NB) &&
		    is_there(s->lock, s->path))
			return EX_OK;
		close(s->lock);
		s->lock = -1;
		if (now_ms() > end || follow_interrupted()) {
			say("volume group %s is locked by an LVM command", s->vg);
			break;
		}
		usleep(20000);
	}
	return EX_REFUSED;
}

/*------------------------------------------------------------------*/
/* LVM's text: one item a line, sections in braces */

struct text {
	char **line;
	size_t n;
};

/* A volume in it: lines. */
struct place {
	size_t name;		/* "name {" */
	size_t id;
	size_t status;
	size_t flags;
	size_t segments;	/* "segment_count = ..." */
	size_t end;		/* its brace */
	uint64_t extents;
};

static void text_free(struct text *t)
{
	while (t->n)
		free(t->line[--t->n]);
	free(t->line);
	t->line = NULL;
}

static int text_read(const char *file, struct text *t)
{
	FILE *f = fopen(file, "re");
	char *line = NULL;
	size_t size = 0;

	if (!f) {
		say("%s: %s", file, strerror(errno));
		return EX_FAILED;
	}
	while (getline(&line, &size, f) > 0) {
		t->line = xreallocarray(t->line, t->n + 1, sizeof(*t->line));
		t->line[t->n++] = xstrdup(line);
	}
	free(line);
	fclose(f);
	return EX_OK;
}

static int text_write(const char *file, const struct text *t)
{
	FILE *f = fopen(file, "we");
	bool ok = f;
	size_t i;

	for (i = 0; ok && i < t->n; i++)
		ok = fputs(t->line[i], f) >= 0;
	if (f)
		ok = !fclose(f) && ok;
	if (ok)
		return EX_OK;
	say("%s: %s", file, strerror(errno));
	return EX_FAILED;
}

/* By how much a line is deeper at its end than at its beginning. */
static int depth_of(const char *p)
{
	bool quoted = false;
	int depth = 0;

	for (; *p && (quoted || *p != '#'); p++) {
		if (quoted && *p == '\\' && p[1])
			p++;
		else if (*p == '"')
			quoted = !quoted;
		else if (!quoted)
			depth += (*p == '{') - (*p == '}');
	}
	return depth;
}

/* Is it "@key @sep..."? Returns what follows, or NULL. */
static const char *after(const char *line, const char *key, char sep)
{
	size_t n = strlen(key);

	line += strspn(line, " \t");
	if (strncmp(line, key, n))
		return NULL;
	line += n;
	line += strspn(line, " \t");
	return *line == sep ? line + 1 : NULL;
}

static void place_line(struct place *p, const struct text *t, size_t i)
{
	const char *value;

	if (!p->id && after(t->line[i], "id", '='))
		p->id = i;
	else if (!p->status && after(t->line[i], "status", '='))
		p->status = i;
	else if (!p->flags && after(t->line[i], "flags", '='))
		p->flags = i;
	else if (!p->segments && after(t->line[i], "segment_count", '='))
		p->segments = i;
	value = after(t->line[i], "extent_count", '=');
	if (value)
		p->extents += strtoull(value, NULL, 10);
}

/* Volumes are at depth 2: in the group, in its "logical_volumes". */
static bool place_find(const struct text *t, const char *lv, struct place *p)
{
	bool volumes = false;
	int depth = 0;
	size_t i;

	memset(p, 0, sizeof(*p));
	for (i = 0; i < t->n; i++) {
		if (depth == 1)
			volumes = after(t->line[i], "logical_volumes", '{');
		else if (depth == 2 && volumes && after(t->line[i], lv, '{'))
			p->name = i;
		else if (depth > 2 && p->name)
			place_line(p, t, i);
		depth += depth_of(t->line[i]);
		if (p->name && i > p->name && depth == 2) {
			p->end = i;
			break;
		}
	}
	return p->end && p->id && p->segments && p->status && p->flags &&
	       p->extents;
}

/* The group's own line of its id. */
static const char *group_id(const struct text *t)
{
	int depth = 0;
	size_t i;

	for (i = 0; i < t->n; i++) {
		if (depth == 1 && after(t->line[i], "id", '='))
			return t->line[i];
		depth += depth_of(t->line[i]);
	}
	return "";
}

/* What a line says in quotes, without hyphens, to the end of a uuid. */
static void add_id(char *uuid, size_t size, const char *line)
{
	const char *p = strchr(line, '"');
	size_t n = strlen(uuid);

	while (p && *++p && *p != '"' && n + 1 < size)
		if (*p != '-')
			uuid[n++] = *p;
	uuid[n] = '\0';
}

/* Is it the one that dm has? */
static bool is_volume(const struct text *t, const struct place *p,
		      const char *uuid)
{
	char found[128] = "LVM-";

	add_id(found, sizeof(found), group_id(t));
	add_id(found, sizeof(found), t->line[p->id]);
	return !strcmp(found, uuid);
}

/* Nothing but places on disks, and nobody else has to do with it. */
static bool is_plain(const struct text *t, const struct place *p)
{
	const char *value = after(t->line[p->status], "status", '=');
	size_t i;

	if (strncmp(value, " [\"READ\", \"WRITE\", \"VISIBLE\"]", 29))
		return false;
	for (i = p->segments; i < p->end; i++) {
		value = after(t->line[i], "type", '=');
		if (value && strncmp(value, " \"striped\"", 10))
			return false;
	}
	return true;
}

static bool is_shared(const struct text *t)
{
	const char *value;
	size_t i;

	for (i = 0; i < t->n; i++) {
		value = after(t->line[i], "lock_type", '=');
		if (value && strncmp(value, " \"none\"", 7))
			return true;
	}
	return false;
}

/*
 * LVM wants to be forced then: a text of another time may not be what a pool's own
 * metadata says. This one is of now, and of pools nothing changes in it.
 */
static bool has_thin(const struct text *t)
{
	const char *value;
	size_t i;

	for (i = 0; i < t->n; i++) {
		value = after(t->line[i], "type", '=');
		if (value && !strncmp(value, " \"thin", 6))
			return true;
	}
	return false;
}

static void mark_skipped(char **line)
{
	const char *open = strchr(*line, '['), *close = strchr(*line, ']');
	char *next;

	if (!open || !close || strstr(*line, "\"ACTIVATION_SKIP\""))
		return;
	next = xasprintf("%.*s%s\"ACTIVATION_SKIP\"%s", (int)(close - *line),
			 *line, close > open + 1 ? ", " : "", close);
	free(*line);
	*line = next;
}

/* The lines [@a, @b) and [@c, @d), which come later, change places. */
static void exchange(struct text *t, size_t a, size_t b, size_t c, size_t d)
{
	char **to = xcalloc(t->n, sizeof(*to)), **p = to;

	memcpy(p, t->line, a * sizeof(*p));
	p += a;
	memcpy(p, t->line + c, (d - c) * sizeof(*p));
	p += d - c;
	memcpy(p, t->line + b, (c - b) * sizeof(*p));
	p += c - b;
	memcpy(p, t->line + a, (b - a) * sizeof(*p));
	p += b - a;
	memcpy(p, t->line + d, (t->n - d) * sizeof(*p));
	free(t->line);
	t->line = to;
}

static int text_find(const struct text *t, const struct lvm_volume *lv,
		     struct place *p)
{
	if (!place_find(t, strchr(lv->name, '/') + 1, p) || !is_plain(t, p)) {
		say("%s is no plain volume, of which LVM's metadata could be changed",
		    lv->name);
		return EX_REFUSED;
	}
	if (is_volume(t, p, lv->uuid))
		return EX_OK;
	say("%s: LVM has another volume of that name than the one that is active",
	    lv->name);
	return EX_REFUSED;
}

static int text_swap(struct text *t, const struct lvm_volume *lv,
		     const struct lvm_volume *other)
{
	struct place p[2];
	int i, r;

	r = text_find(t, lv, &p[0]);
	if (!r)
		r = text_find(t, other, &p[1]);
	if (r)
		return r;
	if (is_shared(t)) {
		say("%s: its group is shared by several hosts", lv->name);
		return EX_REFUSED;
	}
	if (p[0].extents != p[1].extents) {
		say("%s has %llu extents, %s has %llu", lv->name,
		    (unsigned long long)p[0].extents, other->name,
		    (unsigned long long)p[1].extents);
		return EX_REFUSED;
	}
	mark_skipped(&t->line[p[1].flags]);
	i = p[0].name > p[1].name;
	exchange(t, p[i].segments, p[i].end, p[!i].segments, p[!i].end);
	return EX_OK;
}

/*------------------------------------------------------------------*/

static int take(struct lvm_swap *s, const struct lvm_volume *lv,
		const struct lvm_volume *other)
{
	char *argv[] = {
		"vgcfgbackup", "-qq", "--nolocking", "-f", s->file, s->vg, NULL
	};
	struct text t = { 0 };
	int r = lvm_run_quiet(argv);

	if (!r)
		r = text_read(s->file, &t);
	s->thin = has_thin(&t);
	if (!r)
		r = text_swap(&t, lv, other);
	if (!r)
		r = text_write(s->file, &t);
	text_free(&t);
	return r;
}

/* "-y": with active volumes it asks. */
static int give(struct lvm_swap *s, bool test)
{
	char *argv[9] = { "vgcfgrestore", "-y", "--nolocking", "-f", s->file };
	unsigned int n = 5;

	if (test)
		argv[n++] = "--test";
	if (s->thin)
		argv[n++] = "--force";
	argv[n] = s->vg;
	return lvm_run_held(argv, s->at_work[1]);
}

int lvm_swap_lock(struct lvm_swap *s, const char *lv)
{
	*s = LVM_SWAP_NONE;
	s->vg = lvm_vg(lv);
	if (pipe2(s->at_work, O_CLOEXEC)) {
		say("pipe: %s", strerror(errno));
		return EX_FAILED;
	}
	return lock_group(s);
}

int lvm_swap_begin(struct lvm_swap *s, const struct lvm_volume *lv,
		   const struct lvm_volume *other)
{
	int r;

	mkdir(RUN_DIR, 0700);
	s->file = xasprintf(RUN_DIR "/%s.%d.vg", s->vg, getpid());
	r = take(s, lv, other);
	return r ? r : give(s, true);
}

/* Two at a time, neither of which locks, would write at the same places. */
void lvm_swap_take_over(struct lvm_swap *s)
{
	struct pollfd p = { .fd = s->at_work[0] };

	if (s->at_work[0] < 0)
		return;
	close(s->at_work[1]);
	s->at_work[1] = -1;
	poll(&p, 1, LOCK_MS);
}

int lvm_swap_commit(struct lvm_swap *s)
{
	return give(s, false);
}

void lvm_swap_end(struct lvm_swap *s, bool keep)
{
	int i;

	/* While it is locked, as LVM does: who waits for it looks for a new one. */
	if (s->lock >= 0) {
		unlink(s->path);
		close(s->lock);
	}
	if (s->file && !keep)
		unlink(s->file);
	for (i = 0; i < 2; i++)
		if (s->at_work[i] >= 0)
			close(s->at_work[i]);
	free(s->path);
	free(s->file);
	free(s->vg);
	*s = LVM_SWAP_NONE;
}
