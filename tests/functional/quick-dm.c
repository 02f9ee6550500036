// SPDX-License-Identifier: GPL-2.0-only
/*
 * quick dmsetup VERB...: what dmsetup does without udev, of what tests use most. It
 * returns NOT_KNOWN, and has done nothing, where the real one is to be called.
 */
#include "quick.h"
#include <ctype.h>
#include <linux/dm-ioctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { NOT_KNOWN = 3 };

struct call {
	const char *verb, *name, *table;
	bool notable;
	unsigned int flags;
};

static bool parse(struct call *c, int argc, char **argv)
{
	static const struct { const char *word; unsigned int flag; } flags[] = {
		{ "--readonly", DM_READONLY_FLAG }, { "-r", DM_READONLY_FLAG },
		{ "--nolockfs", DM_SKIP_LOCKFS_FLAG }, { "--noflush", DM_NOFLUSH_FLAG },
	};
	size_t f;
	int i;

	for (i = 0; i < argc; i++) {
		for (f = 0; f < sizeof(flags) / sizeof(*flags); f++)
			if (!strcmp(argv[i], flags[f].word))
				break;
		if (f < sizeof(flags) / sizeof(*flags))
			c->flags |= flags[f].flag;
		else if (!strcmp(argv[i], "--table") && i + 1 < argc)
			c->table = argv[++i];
		else if (!strcmp(argv[i], "--notable"))
			c->notable = true;
		else if (*argv[i] == '-')
			return false;
		else if (!c->verb)
			c->verb = argv[i];
		else if (!c->name)
			c->name = argv[i];
		else
			return false;
	}
	/* Others are mangled, or are paths or numbers of devices. */
	for (i = 0; c->name && c->name[i]; i++)
		if (!isalnum((unsigned char)c->name[i]) && !strchr("#+-.:=@_", c->name[i]))
			return false;
	return c->verb && c->name;
}

/* The table as the kernel wants it: *@targets specifications at *@data, or NULL. */
static char *packed(const char *table, size_t *length, unsigned int *targets)
{
	char *data = NULL, *line, *rest, *text = strdup(table), *next = text;
	size_t used = 0;

	*targets = 0;
	while (text && (line = strtok_r(next, "\n", &rest))) {
		unsigned long long start, len;
		struct dm_target_spec t = { 0 };
		int at = 0;
		size_t size;

		next = NULL;
		line += strspn(line, " \t");
		if (!*line)
			continue;
		if (sscanf(line, "%llu %llu %15s %n", &start, &len, t.target_type, &at) < 3) {
			free(data);
			free(text);
			return NULL;
		}
		if (!at)
			at = strlen(line);
		t.sector_start = start;
		t.length = len;
		size = (sizeof(t) + strlen(line + at) + 1 + 7) & ~7ul;
		t.next = size;
		data = realloc(data, used + size);
		if (!data)
			abort();
		memset(data + used, 0, size);
		memcpy(data + used, &t, sizeof(t));
		strcpy(data + used + sizeof(t), line + at);
		used += size;
		++*targets;
	}
	free(text);
	*length = used;
	return data;
}

static int simple(unsigned long cmd, const char *name, unsigned int flags)
{
	struct dm_ioctl *d;
	int err = quick_dm(cmd, name, flags, 0, "", 0, &d);

	free(d);
	return err;
}

static int load(const struct call *c)
{
	struct dm_ioctl *d = NULL;
	unsigned int targets;
	size_t length;
	char *data = packed(c->table, &length, &targets);
	int err;

	if (!data) {
		fprintf(stderr, "quick: '%s' is no table\n", c->table);
		return 1;
	}
	err = quick_dm(DM_TABLE_LOAD, c->name, c->flags, targets, data, length, &d);
	free(d);
	free(data);
	return err;
}

static void path(char *buf, size_t size, const char *name)
{
	snprintf(buf, size, "/dev/mapper/%s", name);
}

static int take_away(const char *name)
{
	char node[160];
	int err = simple(DM_DEV_REMOVE, name, 0);

	path(node, sizeof(node), name);
	if (!err)
		unlink(node);
	return err;
}

static int create(const struct call *c)
{
	struct dm_ioctl *d;
	char node[160];
	dev_t dev;

	if (quick_dm(DM_DEV_CREATE, c->name, c->flags, 0, "", 0, &d)) {
		free(d);
		return 1;
	}
	dev = makedev((d->dev >> 8) & 0xfff, (d->dev & 0xff) | ((d->dev >> 12) & 0xfff00));
	free(d);
	path(node, sizeof(node), c->name);
	unlink(node);
	if (mknod(node, S_IFBLK | 0600, dev))
		perror(node);
	if (c->notable)
		return 0;
	if (load(c) || simple(DM_DEV_SUSPEND, c->name, c->flags)) {
		take_away(c->name);
		return 1;
	}
	return 0;
}

int quick_dmsetup(int argc, char **argv)
{
	struct call c = { 0 };

	if (!getenv("DM_DISABLE_UDEV") || !parse(&c, argc, argv))
		return NOT_KNOWN;
	if (!strcmp(c.verb, "create") && !c.table == c.notable)
		return create(&c);
	if (!strcmp(c.verb, "load") && c.table && !c.notable)
		return load(&c);
	if (c.table || c.notable)
		return NOT_KNOWN;
	if (!strcmp(c.verb, "suspend"))
		return simple(DM_DEV_SUSPEND, c.name, c.flags | DM_SUSPEND_FLAG);
	if (!strcmp(c.verb, "resume"))
		return simple(DM_DEV_SUSPEND, c.name, c.flags);
	if (!strcmp(c.verb, "remove") && !c.flags)
		return take_away(c.name);
	return NOT_KNOWN;
}
