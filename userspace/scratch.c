// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: where a view keeps what is overwritten. The contract is in scratch.h.
 */

#include "scratch.h"
#include "dmbackup.h"
#include "lvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INFIX		"-dmbackup-view-"
#define ZRAM_CONTROL	"/sys/class/zram-control"

/* How long somebody may look at a device that is to be removed. */
#define BUSY_MS		10000

/*------------------------------------------------------------------*/
/* Logical volumes */

struct group {
	const char *lv;		/* without the group's name */
	char *own_pool;		/* of that */
	char *any_pool;
	uint64_t free;		/* bytes */
};

/*
 * lv_name:segtype:pool_lv:vg_free. Not lv_attr: for that LVM looks at the devices, and
 * complains of each that has a filter.
 */
static bool read_volume(char *line, void *ctx)
{
	struct group *g = ctx;
	char *word[4], *rest = line + strspn(line, " ");
	unsigned int i;

	for (i = 0; i < 4; i++)
		word[i] = rest ? strsep(&rest, ":") : NULL;
	if (!word[3])
		return true;
	g->free = strtoull(word[3], NULL, 10);
	if (!strcmp(word[1], "thin-pool") && !g->any_pool)
		g->any_pool = xstrdup(word[0]);
	if (!strcmp(word[0], g->lv) && *word[2])
		g->own_pool = xstrdup(word[2]);
	return true;
}

static int group_read(const char *vg, struct group *g)
{
	char *vg_arg = xstrdup(vg);
	char *argv[] = {
		"lvs", "--noheadings", "--separator", ":", "--units", "b",
		"--nosuffix", "-o", "lv_name,segtype,pool_lv,vg_free", vg_arg,
		NULL
	};
	int r = lvm_run(argv, read_volume, g);

	free(vg_arg);
	return r;
}

static int thin_make(const char *vg, const char *name, const char *size,
		     const char *pool)
{
	char *in = xasprintf("%s/%s", vg, pool);
	char *argv[] = {
		"lvcreate", "-qq", "-y", "-kn", "-V", (char *)size, "-n",
		(char *)name, "-T", in, NULL
	};
	int r = lvm_run(argv, NULL, NULL);

	free(in);
	return r;
}

/* EX_NO: the group has neither a pool nor room. */
static int lv_make(const struct device *d, const char *lv, const char *name,
		   struct device *s)
{
	char *vg = lvm_vg(lv), *full = xasprintf("%s%s%s", lv, INFIX, name);
	struct group g = { .lv = strchr(lv, '/') + 1 };
	uint64_t bytes = d->sectors * 512;
	char *size = xasprintf("%llub", (unsigned long long)bytes);
	const char *pool;
	int r = group_read(vg, &g);

	pool = g.own_pool ? g.own_pool : g.any_pool;
	if (!r && !pool && g.free < bytes)
		r = EX_NO;
	if (!r && pool)
		r = thin_make(vg, strchr(full, '/') + 1, size, pool);
	else if (!r)
		r = lvm_create(full, size);
	if (!r) {
		r = device_find(full, s);
		if (r)
			lvm_remove(full);
	} else if (r != EX_NO) {
		hint("if it is left of an earlier view: dmbackup view remove %s",
		     name);
	}
	free(g.own_pool);
	free(g.any_pool);
	free(size);
	free(vg);
	/* @s->arg may be looked at for as long as we run. */
	if (r)
		free(full);
	return r;
}

static int lv_remove(const char *lv, const char *name)
{
	char *full = xasprintf("%s%s%s", lv, INFIX, name);
	int r = lvm_remove(full);

	free(full);
	return r;
}

/*------------------------------------------------------------------*/
/* zram */

/* While somebody looks at a zram device it is busy: that is waited for. */
static bool write_text(const char *path, const char *text)
{
	uint64_t by = now_ms() + BUSY_MS;
	ssize_t n = -1;
	int fd;

	do {
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0)
			break;
		n = write(fd, text, strlen(text));
		close(fd);
	} while (n < 0 && errno == EBUSY && now_ms() < by && !usleep(50000));
	if (n < 0)
		say("%s: %s", path, strerror(errno));
	return n >= 0;
}

static bool write_attribute(unsigned int nr, const char *name, uint64_t value)
{
	char *path = xasprintf("/sys/block/zram%u/%s", nr, name);
	char *text = xasprintf("%llu", (unsigned long long)value);
	bool ok = write_text(path, text);

	free(path);
	free(text);
	return ok;
}

static int zram_remove(unsigned int nr)
{
	char *text = xasprintf("%u", nr);
	bool ok = write_attribute(nr, "reset", 1) &&
		  write_text(ZRAM_CONTROL "/hot_remove", text);

	free(text);
	return ok ? EX_OK : EX_FAILED;
}

static int zram_make(const struct device *d, uint64_t limit, struct device *s,
		     unsigned int *nr)
{
	FILE *f;
	int r, n;

	if (access(ZRAM_CONTROL, F_OK))
		load_module("zram", "num_devices=0");
	f = fopen(ZRAM_CONTROL "/hot_add", "re");
	n = f ? fscanf(f, "%u", nr) : 0;
	if (f)
		fclose(f);
	if (n != 1) {
		say("no zram device can be made: is the kernel's module there?");
		return EX_FAILED;
	}
	r = write_attribute(*nr, "disksize", d->sectors * 512) &&
	    write_attribute(*nr, "mem_limit", limit) ? EX_OK : EX_FAILED;
	if (!r)
		r = device_find(xasprintf("/dev/zram%u", *nr), s);
	if (r)
		zram_remove(*nr);
	return r;
}

/*------------------------------------------------------------------*/

int scratch_make(const struct device *d, const char *lv, const char *name,
		 const char *limit, struct device *s,
		 char kind[SCRATCH_KIND_SIZE])
{
	uint64_t bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) *
			 sysconf(_SC_PAGESIZE) / 4;
	unsigned int nr;
	int r = EX_NO;

	if (limit && !parse_bytes("--size", limit, &bytes))
		return EX_USAGE_;
	if (!bytes) {		/* to zram: no limit */
		say("--size: '%s' is no size", limit);
		return EX_USAGE_;
	}
	/* Who gives a limit wants memory. */
	if (lv && !limit)
		r = lv_make(d, lv, name, s);
	if (!r)
		snprintf(kind, SCRATCH_KIND_SIZE, "lv");
	if (r != EX_NO)
		return r;
	r = zram_make(d, bytes, s, &nr);
	if (!r)
		snprintf(kind, SCRATCH_KIND_SIZE, "zram%u", nr);
	return r;
}

int scratch_remove(const char *lv, const char *name, const char *kind)
{
	unsigned int nr;

	if (sscanf(kind, "zram%u", &nr) == 1)
		return zram_remove(nr);
	if (lv)
		return lv_remove(lv, name);
	say("%s: its scratch volume is not found", name);
	return EX_FAILED;
}

struct left {
	const char *name;	/* the view's */
	char **volumes;
	unsigned int n;
};

/* vg_name/lv_name */
static bool read_left(char *line, void *ctx)
{
	struct left *left = ctx;
	char *volume = line + strspn(line, " ");
	char *end = xasprintf("%s%s", INFIX, left->name);
	size_t len = strlen(volume);

	if (len > strlen(end) && !strcmp(volume + len - strlen(end), end)) {
		left->volumes = xreallocarray(left->volumes, left->n + 1,
					      sizeof(*left->volumes));
		left->volumes[left->n++] = xstrdup(volume);
	}
	free(end);
	return true;
}

int scratch_remove_left(const char *name, bool *found)
{
	char *argv[] = {
		"lvs", "--noheadings", "--separator", "/", "-o",
		"vg_name,lv_name", NULL
	};
	struct left left = { .name = name };
	unsigned int i;
	int r = EX_OK, err;

	lvm_run(argv, read_left, &left);
	*found = left.n;
	for (i = 0; i < left.n; i++) {
		err = lvm_remove(left.volumes[i]);
		r = r ? r : err;
		free(left.volumes[i]);
	}
	free(left.volumes);
	return r;
}
