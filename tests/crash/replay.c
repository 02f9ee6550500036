// SPDX-License-Identifier: GPL-2.0-only
/*
 * replay DIR [MARK]: what would be there after a power cut at each mark of three
 * dm-log-writes logs?
 *
 * DIR has origin.log, dest.log and metadata.log, metadata.img (the metadata
 * device as it was before the first entry), and history: what the test did, one
 * line each, "mark" where it marked all three logs. A log has a write when the
 * device was flushed after it, so what is there at a mark is what is durable
 * then, and all else is lost: the worst that a volatile cache may do.
 *
 * At each mark, of the bitmaps that would be loaded:
 *   backup   begun with the dest's first full backup: whatever is clean in it is
 *            the same on origin and dest
 *   track    has all that was written while it recorded since it was made or
 *            cleared
 * With MARK: writes o.img, t.img and m.img as they were then to DIR, and what is
 * dirty in "backup" to stdout.
 *
 * The log's format: Documentation/admin-guide/device-mapper/log-writes.rst of
 * the kernel, and struct log_write_entry in drivers/md/dm-log-writes.c.
 */

#include "../../dm-backup/metadata.h"

#include <endian.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512ULL
#define GRANULE 128ULL			/* sectors, of both bitmaps */
#define MAX_GRANULES (1 << 16)

#define LOG_MAGIC 0x6a736677736872ULL
#define ENTRY_DISCARD (1 << 2)
#define ENTRY_MARK (1 << 3)

struct log_super {
	uint64_t magic, version, nr_entries;
	uint32_t sectorsize;
};

struct log_entry {
	uint64_t sector, nr_sectors, flags, data_len;
};

struct log {
	const char *name;
	unsigned char *map;
	uint64_t size, at, left;
	unsigned char *image;
	uint64_t image_size;
	bool *touched;		/* granules */
};

__attribute__((format(printf, 1, 2), noreturn))
static void die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fprintf(stderr, "replay: ");
	vfprintf(stderr, fmt, args);
	fputc('\n', stderr);
	exit(2);
}

static unsigned char *map_file(const char *dir, const char *name, uint64_t *size)
{
	char path[4096];
	struct stat st;
	void *map;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &st))
		die("%s: can't be read", path);
	*size = st.st_size;
	map = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		die("%s: can't be mapped", path);
	close(fd);
	return map;
}

static void log_open(struct log *l, const char *dir, const char *name,
		     uint64_t image_size)
{
	const struct log_super *s;
	char file[64];

	snprintf(file, sizeof(file), "%s.log", name);
	l->name = name;
	l->map = map_file(dir, file, &l->size);
	s = (void *)l->map;
	if (le64toh(s->magic) != LOG_MAGIC || le32toh(s->sectorsize) != SECTOR)
		die("%s is no log of dm-log-writes", file);
	l->left = le64toh(s->nr_entries);
	l->at = SECTOR;
	l->image_size = image_size;
	l->image = mmap(NULL, image_size, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	l->touched = calloc(MAX_GRANULES, sizeof(bool));
	if (l->image == MAP_FAILED || !l->touched)
		die("out of memory");
}

static void apply(struct log *l, const struct log_entry *e)
{
	uint64_t at = le64toh(e->sector) * SECTOR;
	uint64_t len = le64toh(e->nr_sectors) * SECTOR, i;

	if (!len)
		return;
	if (at + len > l->image_size)
		die("%s: an entry is behind the end of the device", l->name);
	if (le64toh(e->flags) & ENTRY_DISCARD)
		memset(l->image + at, 0, len);
	else
		memcpy(l->image + at, (unsigned char *)e + SECTOR, len);
	for (i = at / SECTOR / GRANULE; i <= (at + len - 1) / SECTOR / GRANULE; i++)
		if (i < MAX_GRANULES)
			l->touched[i] = true;
}

/* Apply entries up to the next mark of the test's. False: there is none. */
static bool log_next(struct log *l)
{
	while (l->left && l->at + SECTOR <= l->size) {
		const struct log_entry *e = (void *)(l->map + l->at);
		uint64_t flags = le64toh(e->flags);

		l->left--;
		l->at += SECTOR;
		if (!(flags & ENTRY_DISCARD))
			l->at += le64toh(e->nr_sectors) * SECTOR;
		if (flags & ENTRY_MARK) {
			if (!strncmp((const char *)(e + 1), "mark", 4))
				return true;
			continue;
		}
		apply(l, e);
	}
	return false;
}

/*------------------------------------------------------------------*/
/* What would be loaded */

static struct bk_md_root root;

static const void *block(const struct log *m, uint64_t n)
{
	if ((n + 1) * BK_MD_BLOCK > m->image_size)
		die("block %llu is behind the end of the metadata device",
		    (unsigned long long)n);
	return m->image + n * BK_MD_BLOCK;
}

static void load_root(const struct log *m, int mark)
{
	static struct bk_md_root copy[2];
	char why[2][160];
	bool good[2];
	int i;

	for (i = 0; i < 2; i++)
		good[i] = !bk_md_root_decode(&copy[i], i,
					     block(m, bk_md_root_block(i)),
					     why[i], sizeof(why[i]));
	if (!good[0] && !good[1])
		die("mark %d: no copy of the root is good: %s; %s", mark, why[0],
		    why[1]);
	root = copy[good[1] && (!good[0] || copy[1].seq > copy[0].seq)];
}

/* The first block of the hot map: the test's device has no more regions. */
static void load_hot(const struct log *m, unsigned long *words)
{
	unsigned int c;
	u64 seq, best = 0;

	memset(words, 0xff, BK_MD_PAYLOAD);
	for (c = 0; c < 2; c++) {
		u64 where = bk_md_hot_block(&root, 0, c);

		if (!bk_md_bits_check(&root, BK_MD_HOT, where, 0,
				      block(m, where), &seq) || seq <= best)
			continue;
		best = seq;
		memset(words, 0, BK_MD_PAYLOAD);
		bk_md_bits_or(words, BK_MD_BITS, block(m, where));
	}
}

static bool bit(const unsigned long *words, unsigned long i)
{
	return words[i / (8 * sizeof(long))] >> (i % (8 * sizeof(long))) & 1;
}

/* The bits of a bitmap, a byte each; NULL if it is not there. */
static bool *load(const struct log *m, const char *name, int mark)
{
	unsigned long words[BK_MD_PAYLOAD / sizeof(long)] = { 0 };
	unsigned long hot[BK_MD_PAYLOAD / sizeof(long)];
	static bool bits[MAX_GRANULES];
	const struct bk_md_entry *e = NULL;
	unsigned long nr, i, good = 0;
	unsigned int c;
	u64 seq;

	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		if (!strcmp(root.entry[i].name, name))
			e = &root.entry[i];
	if (!e)
		return NULL;
	nr = bk_md_units(root.len, e->shift);
	if (1ULL << e->shift != GRANULE || nr > BK_MD_BITS)
		die("bitmap %s has another geometry than the test's", name);
	if (e->why[0] || root.broken)
		die("mark %d: bitmap %s is inconsistent: %s", mark, name, e->why);
	for (c = 0; c < 2; c++) {
		u64 where = bk_md_page_block(e, e->half, 0, c);

		if (!bk_md_bits_check(&root, BK_MD_PAGE, where, e->set,
				      block(m, where), &seq))
			continue;
		good++;
		bk_md_bits_or(words, nr, block(m, where));
	}
	if (!good)
		die("mark %d: bitmap %s has no good page", mark, name);
	load_hot(m, hot);
	for (i = 0; i < nr; i++)
		bits[i] = bit(words, i) ||
			  (!root.clean && e->recording &&
			   bit(hot, i * GRANULE >> root.region_shift));
	return bits;
}

/*------------------------------------------------------------------*/
/* What the test did */

static bool tracked[MAX_GRANULES], tracks, exists;

/* Up to the next mark. False: no more. */
static bool history_next(FILE *f)
{
	unsigned long long start, len, i;
	char line[256];

	while (fgets(line, sizeof(line), f)) {
		if (!strcmp(line, "mark\n"))
			return true;
		if (sscanf(line, "write %llu %llu", &start, &len) == 2) {
			for (i = start / GRANULE; i <= (start + len - 1) / GRANULE; i++)
				tracked[i] |= tracks && exists;
		} else if (!strcmp(line, "clear\n")) {
			memset(tracked, 0, sizeof(tracked));
		} else if (!strcmp(line, "add\n")) {
			memset(tracked, 0, sizeof(tracked));
			exists = tracks = true;
		} else if (!strcmp(line, "remove\n")) {
			exists = false;
		} else if (!strcmp(line, "disable\n") || !strcmp(line, "enable\n")) {
			tracks = line[0] == 'e';
		} else if (line[0] != '#') {
			die("history: %s", line);
		}
	}
	return false;
}

static unsigned long dirty_seen, clean_seen, failures;

static void check(const struct log *o, const struct log *t, const struct log *m,
		  int mark)
{
	bool *bits = load(m, "backup", mark);
	unsigned long i;

	for (i = 0; bits && i < MAX_GRANULES; i++) {
		if (!o->touched[i] && !t->touched[i])
			continue;
		dirty_seen += bits[i];
		clean_seen += !bits[i];
		if (bits[i] || !memcmp(o->image + i * GRANULE * SECTOR,
				       t->image + i * GRANULE * SECTOR,
				       GRANULE * SECTOR))
			continue;
		failures++;
		printf("# mark %d: granule %lu is clean, and differs on the dest\n",
		       mark, i);
	}
	bits = load(m, "track", mark);
	if (exists && !bits) {
		failures++;
		printf("# mark %d: bitmap track is lost\n", mark);
	}
	for (i = 0; exists && bits && i < MAX_GRANULES; i++) {
		if (!tracked[i] || bits[i])
			continue;
		failures++;
		printf("# mark %d: granule %lu was written, and is clean\n",
		       mark, i);
	}
}

static void save(const char *dir, const char *name, const struct log *l)
{
	char path[4096];
	uint64_t at;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || ftruncate(fd, l->image_size))
		die("%s: can't be written", path);
	for (at = 0; at < l->image_size; at += GRANULE * SECTOR) {
		uint64_t n = l->image_size - at;

		if (n > GRANULE * SECTOR)
			n = GRANULE * SECTOR;
		if (l->touched[at / GRANULE / SECTOR] &&
		    pwrite(fd, l->image + at, n, at) != (ssize_t)n)
			die("%s: can't be written", path);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	int mark = 0, want = argc == 3 ? atoi(argv[2]) : -1;
	struct log o, t, m;
	uint64_t size, i;
	unsigned char *base;
	bool *bits;
	char path[4096];
	FILE *history;

	if (argc < 2 || argc > 3)
		die("replay DIR [MARK]");
	base = map_file(argv[1], "metadata.img", &size);
	log_open(&m, argv[1], "metadata", size);
	memcpy(m.image, base, size);
	memset(m.touched, 1, MAX_GRANULES);
	load_root(&m, 0);
	log_open(&o, argv[1], "origin", root.len * SECTOR);
	log_open(&t, argv[1], "dest", root.len * SECTOR);
	snprintf(path, sizeof(path), "%s/history", argv[1]);
	history = fopen(path, "r");
	if (!history)
		die("%s: can't be read", path);

	while (history_next(history)) {
		mark++;
		if (!log_next(&o) || !log_next(&t) || !log_next(&m))
			die("mark %d is missing in a log", mark);
		load_root(&m, mark);
		if (mark != want) {
			if (want < 0)
				check(&o, &t, &m, mark);
			continue;
		}
		save(argv[1], "o.img", &o);
		save(argv[1], "t.img", &t);
		save(argv[1], "m.img", &m);
		bits = load(&m, "backup", mark);
		for (i = 0; i < bk_md_units(root.len, 7); i++)
			if (bits[i])
				printf("%llu\n", (unsigned long long)i);
		return 0;
	}
	printf("# %d crash points; of granules that were ever written %lu were dirty, %lu clean and the same on the dest; %lu failures\n",
	       mark, dirty_seen, clean_seen, failures);
	return failures || !mark || !dirty_seen || !clean_seen;
}
