// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup metadata: making, checking and reading metadata devices, without the
 * module. The contract is in metadata.h.
 */

#include "../dm-backup/metadata.h"

#include "bitmap.h"
#include "dmbackup.h"
#include "metadata.h"
#include "metadata-device.h"
#include "metadata-format.h"
#include "metadata-lv.h"
#include "table.h"

#include <ctype.h>
#include <fcntl.h>
#include <linux/bitops.h>
#include <linux/crc32c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Bits of a bitmap: the kernel refuses more. */
#define MAX_BITS	(8ULL << 30)

const char *metadata_origin(const struct device *d)
{
	if (!d->is_dm)
		return "";
	return d->dm.uuid[0] ? d->dm.uuid : d->dm.name;
}

static int check_apart(const struct device *meta, const struct device *d)
{
	if (!device_stands_on(meta, d))
		return EX_OK;
	say("%s: stands on %s: it can't hold what is recorded of it",
	    meta->arg, d->arg);
	return EX_REFUSED;
}

/*------------------------------------------------------------------*/
/* create */

/* May it be formatted? It is open. */
static int create_check(const struct meta *m)
{
	enum holds holds = metadata_look(m);

	if (holds == HOLDS_OURS) {
		say("%s: is a metadata device already", m->d.arg);
		hint("dmbackup metadata check %s tells of which device; give --force to make it anew: its bitmaps are lost",
		     m->d.arg);
		return EX_REFUSED;
	}
	/* A device has been looked at by libblkid. */
	if (holds == HOLDS_OTHER && m->is_file) {
		say("%s: is not empty", m->d.arg);
		hint("give --force to overwrite it");
		return EX_REFUSED;
	}
	return EX_OK;
}

/* Of which length, in sectors, and for which device. */
static int create_plan(const struct meta *m, const struct options *o,
		       uint64_t *len, struct device *of)
{
	uint64_t bytes;
	int r;

	memset(of, 0, sizeof(*of));
	if (o->for_device) {
		r = device_find(o->for_device, of);
		*len = of->sectors;
		return r ? r : check_apart(&m->d, of);
	}
	if (!parse_bytes("--size", o->size, &bytes))
		return EX_USAGE_;
	if (!m->is_file || bytes % 512) {
		say(m->is_file ? "--size: %s is no multiple of 512 bytes" :
		    "--size %s is for a file only; say --for DEVICE", o->size);
		return EX_USAGE_;
	}
	*len = bytes / 512;
	return EX_OK;
}

/* META --for DEVICE, or --size BYTES */
int cmd_metadata_create(int argc, char **argv, const struct options *o)
{
	struct device of;
	struct meta m;
	uint64_t len;
	int r;

	(void)argc;
	if (!o->for_device == !o->size) {
		say("metadata create: give --for DEVICE, or for a file --size");
		return EX_USAGE_;
	}
	r = meta_find(argv[0], &m);
	if (!r)
		r = create_plan(&m, o, &len, &of);
	if (!r && !m.is_file)
		r = device_check_target(&m.d, o->force);
	if (!r)
		r = meta_open_unused(&m, O_RDWR);
	if (!r && !o->force)
		r = create_check(&m);
	if (!r)
		r = metadata_format(&m, len, metadata_origin(&of));
	meta_close(&m);
	return r;
}

/*------------------------------------------------------------------*/
/* Reading all of it */

struct damage {
	u64 block;
	unsigned int copy;
	char what[BK_MD_NAME + 32];
	const char *why;
};

struct content {
	struct meta *m;
	u8 *buf;
	u64 blocks;
	struct bk_md_root copies[2];
	const struct bk_md_root *root;	/* the one that counts */
	bool leased;
	struct bk_md_lease lease;
	unsigned long *hot;
	unsigned long regions;
	struct damage *damage;
	unsigned int nr_damage;
};

static void content_free(struct content *c)
{
	free(c->buf);
	free(c->hot);
	free(c->damage);
	free(c);
}

static void damaged(struct content *c, u64 block, unsigned int copy,
		    const char *what, const char *why)
{
	struct damage *d;

	c->damage = xreallocarray(c->damage, c->nr_damage + 1, sizeof(*d));
	d = &c->damage[c->nr_damage++];
	d->block = block;
	d->copy = copy;
	d->why = why;
	snprintf(d->what, sizeof(d->what), "%s", what);
}

static const char unreadable[] = "can't be read";
static const char not_good[] = "is damaged";
static const char impossible[] = "has bits behind the end";

static void set_range(unsigned long *words, unsigned long first,
		      unsigned long end)
{
	for (; first < end; first++)
		words[BIT_WORD(first)] |= BIT_MASK(first);
}

static void clear_from(unsigned long *words, unsigned long first,
		       unsigned long end)
{
	unsigned long whole = BITS_TO_LONGS(first);

	if (first % BITS_PER_LONG)
		words[BIT_WORD(first)] &= BIT_MASK(first) - 1;
	memset(words + whole, 0, (BITS_TO_LONGS(end) - whole) * sizeof(long));
}

static unsigned long count_bits(const unsigned long *words, unsigned long nr)
{
	unsigned long i, n = 0;

	for (i = 0; i < BITS_TO_LONGS(nr); i++)
		n += hweight_long(words[i]);
	return n;
}

/* Names and sentences are shown: whoever wrote them. */
static void make_printable(char *text, const char *but_not)
{
	for (; *text; text++)
		if (!isprint((unsigned char)*text) || strchr(but_not, *text))
			*text = '?';
}

static void make_root_printable(struct bk_md_root *root)
{
	unsigned int i;

	make_printable(root->origin, "");
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		make_printable(root->entry[i].name, "\"\\");
		make_printable(root->entry[i].tag, "");
		make_printable(root->entry[i].why, "");
	}
}

static bool read_blocks(const struct content *c, u64 block, unsigned int n,
			u8 *buf)
{
	return meta_read(c->m, block * BK_MD_BLOCK, buf,
			 (size_t)n * BK_MD_BLOCK);
}

static int content_root(struct content *c)
{
	char why[2][128];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		u64 block = bk_md_root_block(i);
		bool ok = read_blocks(c, block, BK_MD_ROOT_BLOCKS, c->buf);
		int err = bk_md_root_decode(&c->copies[i], i, c->buf, why[i],
					    sizeof(why[i]));

		if (!ok)
			snprintf(why[i], sizeof(why[i]), "it %s", unreadable);
		if (err)
			damaged(c, block, i, "root", ok ? not_good : unreadable);
		else if (!c->root || c->copies[i].seq > c->root->seq)
			c->root = &c->copies[i];
	}
	for (i = 0; i < 2; i++)
		make_root_printable(&c->copies[i]);
	if (c->root)
		return EX_OK;
	if (!strcmp(why[0], why[1]))
		say("%s: %s", c->m->d.arg, why[0]);
	else
		say("%s: its root has no good copy: the first: %s; the second: %s",
		    c->m->d.arg, why[0], why[1]);
	return EX_MISMATCH;
}

static void content_lease(struct content *c)
{
	struct bk_md_lease lease;
	unsigned int i;
	u64 block;
	bool ok;

	for (i = 0; i < 2; i++) {
		block = bk_md_lease_block(i);
		ok = read_blocks(c, block, 1, c->buf);
		if (!bk_md_lease_decode(c->root, &lease, i, c->buf)) {
			damaged(c, block, i, "lease", ok ? not_good : unreadable);
		} else if (!c->leased || lease.seq > c->lease.seq) {
			c->lease = lease;
			c->leased = true;
		}
	}
}

/*
 * The bits of the newer good one of a block's two copies are set in @words.
 * False if there is none.
 */
static bool content_bits(struct content *c, enum bk_md_type type,
			 const u64 *where, u64 set, const char *what,
			 unsigned long *words, unsigned long nr)
{
	const u8 *best = NULL;
	u64 seq, best_seq = 0;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		u8 *buf = c->buf + i * BK_MD_BLOCK;
		bool ok = read_blocks(c, where[i], 1, buf);

		if (!bk_md_bits_check(c->root, type, where[i], set, buf, &seq)) {
			damaged(c, where[i], i, what, ok ? not_good : unreadable);
		} else if (!best || seq > best_seq) {
			best = buf;
			best_seq = seq;
		}
	}
	if (!best)
		return false;
	if (!bk_md_bits_or(words, nr, best))
		return true;
	i = best != c->buf;
	damaged(c, where[i], i, what, impossible);
	return false;
}

/* As the kernel does it: what is behind the last region means nothing. */
static void content_hot(struct content *c)
{
	const struct bk_md_root *root = c->root;
	unsigned int i;

	c->regions = bk_md_units(root->len, root->region_shift);
	c->hot = xcalloc((size_t)root->hot_blocks,
			 BK_MD_BITS / BITS_PER_BYTE);
	for (i = 0; i < root->hot_blocks; i++) {
		const u64 where[2] = {
			bk_md_hot_block(root, i, 0),
			bk_md_hot_block(root, i, 1),
		};
		unsigned long first = (unsigned long)i * BK_MD_BITS;

		if (!content_bits(c, BK_MD_HOT, where, 0, "hot map",
				  c->hot + BIT_WORD(first), BK_MD_BITS))
			set_range(c->hot, first, first + BK_MD_BITS);
	}
	clear_from(c->hot, c->regions, root->hot_blocks * BK_MD_BITS);
}

/* All but the bitmaps. To be freed in any case. */
static int content_read(struct meta *m, struct content **content)
{
	struct content *c = xcalloc(1, sizeof(*c));
	int r;

	*content = c;
	c->m = m;
	c->blocks = m->d.sectors / BK_MD_SECTORS;
	c->buf = xaligned_alloc(BK_MD_BLOCK, BK_MD_ROOT_BLOCKS * BK_MD_BLOCK);
	r = content_root(c);
	if (r)
		return r;
	if (c->blocks < c->root->blocks)
		say("%s: has become shorter: %llu KiB, not %llu KiB", m->d.arg,
		    c->blocks * 4, c->root->blocks * 4);
	content_lease(c);
	content_hot(c);
	return EX_OK;
}

/*------------------------------------------------------------------*/
/* Bitmaps */

/* One of them, as a backup after this would find it. */
struct loaded {
	const struct bk_md_entry *e;
	const char *state;	/* ok, inconsistent, damaged */
	char why[BK_MD_NAME + 64];
	unsigned long *words;
	unsigned long nr;
};

static bool is_usable(const struct loaded *l)
{
	return !strcmp(l->state, "ok");
}

static void set_state(struct loaded *l, const char *state, const char *why)
{
	/* What was found first is the reason. */
	if (!is_usable(l))
		return;
	l->state = state;
	snprintf(l->why, sizeof(l->why), "%s", why);
}

/* As bytes, least significant bit first. */
static u32 crc_of(const struct loaded *l)
{
	unsigned long i, bytes = DIV_ROUND_UP(l->nr, BITS_PER_BYTE);
	u32 crc = ~0U;

	for (i = 0; i < bytes; i++) {
		u8 byte = l->words[i / sizeof(long)] >>
			  (i % sizeof(long) * BITS_PER_BYTE);

		crc = crc32c(crc, &byte, 1);
	}
	return ~crc;
}

/* After a crash all of a region that is hot may have been written. */
static void add_hot(const struct content *c, struct loaded *l)
{
	const struct bk_md_root *root = c->root;
	unsigned long i = 0;
	u64 start, end;

	while ((i = find_next_bit(c->hot, c->regions, i)) < c->regions) {
		start = (u64)i << root->region_shift;
		i = find_next_zero_bit(c->hot, c->regions, i);
		end = (u64)i << root->region_shift;
		if (end > root->len)
			end = root->len;
		set_range(l->words, start >> l->e->shift,
			  bk_md_units(end, l->e->shift));
	}
}

static void load_pages(struct content *c, struct loaded *l)
{
	const struct bk_md_entry *e = l->e;
	char *what = xasprintf("bitmap %s", e->name), *why;
	u64 pages = bk_md_pages(c->root->len, e->shift), i;

	for (i = 0; i < pages; i++) {
		const u64 where[2] = {
			bk_md_page_block(e, e->half, i, 0),
			bk_md_page_block(e, e->half, i, 1),
		};
		unsigned long first = i * BK_MD_BITS, left = l->nr - first;

		if (content_bits(c, BK_MD_PAGE, where, e->set, what,
				 l->words + BIT_WORD(first),
				 left < BK_MD_BITS ? left : BK_MD_BITS))
			continue;
		why = xasprintf("page %llu of it has no good copy", i);
		set_state(l, "damaged", why);
		free(why);
	}
	free(what);
}

static void load(struct content *c, const struct bk_md_entry *e,
		 struct loaded *l)
{
	const struct bk_md_root *root = c->root;
	u64 nr = bk_md_units(root->len, e->shift);

	memset(l, 0, sizeof(*l));
	l->e = e;
	l->state = "ok";
	if (e->why[0])
		set_state(l, "inconsistent", e->why);
	if (root->broken)
		set_state(l, "inconsistent",
			  "the metadata device failed, or the filter's table was replaced without detach");
	/* What else speaks against it only the kernel can see, on the origin. */
	if (!root->clean && !c->leased)
		set_state(l, "inconsistent",
			  "the metadata device's lease is damaged");
	if (c->blocks < root->blocks)
		set_state(l, "damaged", "the metadata device has become shorter");
	if (nr > MAX_BITS || e->first > c->blocks ||
	    bk_md_area_blocks(e->pages) > c->blocks - e->first) {
		set_state(l, "damaged", "it reaches beyond the device");
		return;
	}
	l->words = xcalloc(BITS_TO_LONGS(nr), sizeof(long));
	l->nr = nr;
	load_pages(c, l);
	if (root->clean && crc_of(l) != e->crc)
		set_state(l, "damaged", "its checksum is wrong");
	if (!root->clean && e->recording)
		add_hot(c, l);
}

static u64 dirty_bytes(const struct loaded *l)
{
	return (u64)count_bits(l->words, l->nr) << l->e->shift << 9;
}

static u64 granularity(const struct bk_md_entry *e)
{
	return 512ULL << e->shift;
}

/* All bitmaps there are; to be freed. */
static struct loaded *load_all(struct content *c, unsigned int *n)
{
	struct loaded *all = xcalloc(BK_MD_MAX_BITMAPS, sizeof(*all));
	unsigned int i;

	*n = 0;
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		if (c->root->entry[i].name[0])
			load(c, &c->root->entry[i], &all[(*n)++]);
	return all;
}

static void loaded_free(struct loaded *all, unsigned int n)
{
	while (n--)
		free(all[n].words);
	free(all);
}

/*------------------------------------------------------------------*/
/* Telling of it */

static const char *state_of(const struct content *c)
{
	if (c->root->broken)
		return "broken";
	return c->root->clean ? "clean" : c->m->busy ? "in-use" : "crashed";
}

static char *uuid_text(const u8 *uuid, char *text, size_t size)
{
	size_t n = 0;
	unsigned int i;

	for (i = 0; i < BK_MD_UUID && n < size; i++)
		n += snprintf(text + n, size - n, "%s%02x",
			      i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
			      uuid[i]);
	return text;
}

/* Once it is clean they mean nothing. */
static unsigned long hot_regions(const struct content *c)
{
	return c->root->clean ? 0 : count_bits(c->hot, c->regions);
}

static u64 hot_bytes(const struct content *c)
{
	u64 regions = hot_regions(c), end = c->regions;
	unsigned int shift = c->root->region_shift;
	u64 sectors = regions << shift;

	/* The last one may reach beyond the origin's end. */
	if (regions && c->hot[BIT_WORD(end - 1)] & BIT_MASK(end - 1))
		sectors -= (end << shift) - c->root->len;
	return sectors << 9;
}

static const char *time_text(const struct content *c, char *buf, size_t size)
{
	time_t t = c->lease.time;
	struct tm tm;

	if (!c->leased || !t || !localtime_r(&t, &tm) ||
	    !strftime(buf, size, "%F %T", &tm))
		return "-";
	return buf;
}

static int print_device(const struct content *c, const struct options *o)
{
	static const struct column columns[] = {
		{ "UUID", TEXT }, { "ORIGIN", TEXT }, { "SIZE", SIZE },
		{ "REGION", SIZE }, { "STATE", TEXT }, { "LEASE", TEXT },
		{ "HOT", NUMBER }, { "HOT-SIZE", SIZE },
	};
	const struct bk_md_root *root = c->root;
	char uuid[40], when[32];
	struct table t;

	table_begin(&t, "metadata", columns,
		    sizeof(columns) / sizeof(*columns), o);
	table_row(&t);
	table_text(&t, 0, uuid_text(root->uuid, uuid, sizeof(uuid)));
	table_text(&t, 1, root->origin[0] ? root->origin : "-");
	table_number(&t, 2, root->len << 9);
	table_number(&t, 3, 512ULL << root->region_shift);
	table_text(&t, 4, state_of(c));
	table_text(&t, 5, time_text(c, when, sizeof(when)));
	table_number(&t, 6, hot_regions(c));
	table_number(&t, 7, hot_bytes(c));
	return table_end(&t);
}

static int print_bitmaps(const struct loaded *all, unsigned int n,
			 const struct options *o)
{
	static const struct column columns[] = {
		{ "NAME", TEXT }, { "GRANULARITY", SIZE }, { "DIRTY", SIZE },
		{ "RECORDING", NUMBER }, { "STATE", TEXT }, { "CAUSE", TEXT },
	};
	struct table t;
	unsigned int i;

	table_begin(&t, "bitmaps", columns,
		    sizeof(columns) / sizeof(*columns), o);
	for (i = 0; i < n; i++) {
		const struct loaded *l = &all[i];

		table_row(&t);
		table_text(&t, 0, l->e->name);
		table_number(&t, 1, granularity(l->e));
		table_number(&t, 2, dirty_bytes(l));
		table_number(&t, 3, l->e->recording);
		table_text(&t, 4, l->state);
		table_text(&t, 5, l->why);
	}
	return table_end(&t);
}

static int print_damage(const struct content *c, const struct options *o)
{
	static const struct column columns[] = {
		{ "BLOCK", NUMBER }, { "COPY", NUMBER }, { "OF", TEXT },
		{ "WHAT", TEXT },
	};
	struct table t;
	unsigned int i;

	table_begin(&t, "damaged", columns,
		    sizeof(columns) / sizeof(*columns), o);
	for (i = 0; i < c->nr_damage; i++) {
		const struct damage *d = &c->damage[i];

		table_row(&t);
		table_number(&t, 0, d->block);
		table_number(&t, 1, d->copy);
		table_text(&t, 2, d->what);
		table_text(&t, 3, d->why);
	}
	return table_end(&t);
}

static int print_check(const struct content *c, const struct loaded *all,
		       unsigned int n, const struct options *o)
{
	int r = print_device(c, o);

	if (!r && n) {
		printf("\n");
		r = print_bitmaps(all, n, o);
	}
	if (!r && c->nr_damage) {
		printf("\n");
		r = print_damage(c, o);
	}
	return r;
}

/*------------------------------------------------------------------*/
/* JSON; all text is printable */

static void json_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		putchar(*text);
	}
	putchar('"');
}

static void json_text(const char *key, const char *text)
{
	printf("\"%s\": ", key);
	json_string(text);
}

static void json_uuid(const char *key, const u8 *uuid)
{
	char text[40];

	json_text(key, uuid_text(uuid, text, sizeof(text)));
}

static const char *truth(bool yes)
{
	return yes ? "true" : "false";
}

static void json_damage(const struct content *c)
{
	unsigned int i;

	printf("  \"damaged\": [");
	for (i = 0; i < c->nr_damage; i++) {
		const struct damage *d = &c->damage[i];

		printf("%s\n    {\"block\": %llu, \"copy\": %u, ",
		       i ? "," : "", d->block, d->copy);
		json_text("of", d->what);
		printf(", ");
		json_text("what", d->why);
		printf("}");
	}
	printf("%s]", c->nr_damage ? "\n  " : "");
}

static void json_check(const struct content *c, const struct loaded *all,
		       unsigned int n)
{
	const struct bk_md_root *root = c->root;
	unsigned int i;

	printf("{\n  ");
	json_uuid("uuid", root->uuid);
	printf(",\n  ");
	json_text("origin", root->origin);
	printf(",\n  \"size\": %llu, \"region\": %llu, \"state\": \"%s\", \"lease\": %llu, \"hot\": %lu, \"hot_size\": %llu,\n",
	       root->len << 9, 512ULL << root->region_shift, state_of(c),
	       (c->leased ? c->lease.time : 0),
	       hot_regions(c), hot_bytes(c));
	printf("  \"bitmaps\": [");
	for (i = 0; i < n; i++) {
		const struct loaded *l = &all[i];

		printf("%s\n    {\"name\": \"%s\", \"granularity\": %llu, \"dirty\": %llu, \"recording\": %s, \"state\": \"%s\", ",
		       i ? "," : "", l->e->name, granularity(l->e),
		       dirty_bytes(l), truth(l->e->recording), l->state);
		json_text("cause", l->why);
		printf("}");
	}
	printf("%s],\n", n ? "\n  " : "");
	json_damage(c);
	printf("\n}\n");
}

static void json_root(const struct bk_md_root *root)
{
	printf("  \"root\": {\n    ");
	json_uuid("uuid", root->uuid);
	printf(", ");
	json_text("origin", root->origin);
	printf(",\n    \"seq\": %llu, \"blocks\": %llu, \"size\": %llu, \"region\": %llu, \"hot_blocks\": %u, \"next_set\": %llu,\n",
	       root->seq, root->blocks, root->len << 9,
	       512ULL << root->region_shift, root->hot_blocks,
	       root->next_set);
	printf("    \"clean\": %s, \"broken\": %s, \"print\": %u, ",
	       truth(root->clean), truth(root->broken), root->print);
	json_uuid("session", root->session);
	printf(",\n    \"written_sectors\": [%llu, %llu], \"device\": [%llu, %llu]\n  },\n",
	       root->written[0], root->written[1],
	       root->device[0], root->device[1]);
}

static void json_directory(const struct bk_md_root *root)
{
	unsigned int i, n = 0;

	printf("  \"directory\": [");
	for (i = 0; i < BK_MD_MAX_BITMAPS; i++) {
		const struct bk_md_entry *e = &root->entry[i];

		if (!e->name[0])
			continue;
		printf("%s\n    {\"index\": %u, \"name\": \"%s\", ",
		       n++ ? "," : "", i, e->name);
		json_text("tag", e->tag);
		printf(", ");
		json_text("why", e->why);
		printf(",\n     \"granularity\": %llu, \"recording\": %s, \"set\": %llu, \"first\": %llu, \"pages\": %u, \"half\": %u, \"crc\": %u}",
		       granularity(e), truth(e->recording), e->set,
		       e->first, e->pages, e->half, e->crc);
	}
	printf("%s],\n", n ? "\n  " : "");
}

static void json_lease(const struct content *c)
{
	const struct bk_md_lease *l = &c->lease;

	printf("  \"lease\": ");
	if (!c->leased) {
		printf("null,\n");
		return;
	}
	printf("{\n    \"seq\": %llu, \"time\": %llu, ", l->seq,
	       l->time);
	json_uuid("session", l->session);
	printf(",\n    \"witness\": {\"kind\": %u, \"mark\": %u, \"time\": %llu}\n  },\n",
	       l->witness.kind, l->witness.mark, l->witness.time);
}

/* Calls @fn for each run of bits, in bytes. */
static void for_each_run(const unsigned long *words, unsigned long nr,
			 unsigned int shift, u64 len,
			 void (*fn)(u64 start, u64 length, void *ctx), void *ctx)
{
	unsigned long i = 0;
	u64 start, end;

	while ((i = find_next_bit(words, nr, i)) < nr) {
		start = (u64)i << shift;
		i = find_next_zero_bit(words, nr, i);
		end = (u64)i << shift;
		if (end > len)
			end = len;
		fn(start << 9, (end - start) << 9, ctx);
	}
}

static void json_run(u64 start, u64 length, void *ctx)
{
	unsigned int *n = ctx;

	printf("%s\n    {\"start\": %llu, \"length\": %llu}", (*n)++ ? "," : "",
	       start, length);
}

static void json_dump(const struct content *c)
{
	unsigned int n = 0;

	printf("{\n");
	json_root(c->root);
	json_directory(c->root);
	json_lease(c);
	printf("  \"hot\": [");
	for_each_run(c->hot, c->regions, c->root->region_shift, c->root->len,
		     json_run, &n);
	printf("%s],\n", n ? "\n  " : "");
	json_damage(c);
	printf("\n}\n");
}

/*------------------------------------------------------------------*/
/* check, dump */

static int verdict(const struct content *c, const struct loaded *all,
		   unsigned int n)
{
	unsigned int i;
	int r = EX_OK;

	for (i = 0; i < n; i++)
		if (!is_usable(&all[i])) {
			say("%s: a full backup is needed: bitmap '%s' is %s: %s",
			    c->m->d.arg, all[i].e->name, all[i].state,
			    all[i].why);
			r = EX_NO;
		}
	return r;
}

/* META */
int cmd_metadata_check(int argc, char **argv, const struct options *o)
{
	struct content *c = NULL;
	struct loaded *all;
	unsigned int n;
	struct meta m;
	int r = meta_find(argv[0], &m);

	(void)argc;
	if (!r)
		r = meta_open_anyhow(&m);
	if (!r)
		r = content_read(&m, &c);
	if (!r) {
		all = load_all(c, &n);
		if (o->json)
			json_check(c, all, n);
		else
			r = print_check(c, all, n, o);
		if (!r)
			r = verdict(c, all, n);
		loaded_free(all, n);
	}
	if (c)
		content_free(c);
	meta_close(&m);
	return r;
}

static void dump_run(u64 start, u64 length, void *ctx)
{
	dump_range(ctx, start, length);
}

static int dump_bitmap(struct content *c, const char *name,
		       const struct dump_format *f)
{
	const struct bk_md_root *root = c->root;
	struct loaded l;
	unsigned int i;

	for (i = 0; i < BK_MD_MAX_BITMAPS; i++)
		if (root->entry[i].name[0] &&
		    !strcmp(root->entry[i].name, name))
			break;
	if (i == BK_MD_MAX_BITMAPS) {
		say("%s: there is no bitmap '%s'", c->m->d.arg, name);
		return EX_NODEV;
	}
	load(c, &root->entry[i], &l);
	if (is_usable(&l)) {
		dump_begin(f, l.e->name, granularity(l.e), root->len << 9);
		for_each_run(l.words, l.nr, l.e->shift, root->len, dump_run,
			     (void *)f);
		dump_end(f, root->len << 9);
	} else {
		say("%s: bitmap '%s' is %s: %s", c->m->d.arg, name, l.state,
		    l.why);
	}
	free(l.words);
	return is_usable(&l) ? EX_OK : EX_NO;
}

/* META [NAME] */
int cmd_metadata_dump(int argc, char **argv, const struct options *o)
{
	const struct dump_format *f = dump_format(o->format);
	struct content *c = NULL;
	struct meta m;
	int r;

	if (!f)
		return EX_USAGE_;
	if (argc < 2 && o->format && strcmp(o->format, "json")) {
		say("--format: %s is for a bitmap: name one", o->format);
		return EX_USAGE_;
	}
	r = meta_find(argv[0], &m);
	if (!r)
		r = meta_open_anyhow(&m);
	if (!r)
		r = content_read(&m, &c);
	if (!r && argc > 1)
		r = dump_bitmap(c, argv[1], f);
	else if (!r)
		json_dump(c);
	if (c)
		content_free(c);
	meta_close(&m);
	return r;
}

/*------------------------------------------------------------------*/
/* For a filter that is to have one */

/* What is on it? @m is not open then. */
static int prepare_look(struct meta *m, enum holds *holds)
{
	int r = meta_open_unused(m, O_RDONLY);

	if (!r)
		*holds = metadata_look(m);
	meta_close(m);
	return r;
}

/* Makes of a blank device what it is to be; leaves alone what is one. */
static int prepare_device(struct meta *m, bool fresh, uint64_t len,
			  const char *origin)
{
	enum holds holds = HOLDS_NOTHING;
	int r = fresh ? EX_OK : prepare_look(m, &holds);

	if (r || holds == HOLDS_OURS)
		return r;
	if (holds == HOLDS_OTHER) {
		say("%s: is neither a metadata device nor empty", m->d.arg);
		r = EX_REFUSED;
	} else if (!fresh) {
		r = device_check_target(&m->d, false);	/* by libblkid */
	}
	if (r) {
		hint("dmbackup metadata create %s --for DEVICE --force makes one of it, whatever it holds",
		     m->d.arg);
		return r;
	}
	r = meta_open_unused(m, O_RDWR);
	if (!r)
		r = metadata_format(m, len, origin);
	meta_close(m);
	return r;
}

int metadata_prepare(const struct device *d, const char *origin,
		     const char *arg, struct device *meta)
{
	bool fresh = false;
	char *lv = NULL;
	struct meta m;
	int r = EX_OK;

	if (!strcmp(arg, "auto"))
		r = metadata_lv(d, &lv, &fresh);
	if (!r)
		r = device_find(lv ? lv : arg, meta);
	if (!r)
		r = check_apart(meta, d);
	if (!r)
		r = device_check_unused(meta);
	if (!r) {
		meta_init(&m, meta);
		r = prepare_device(&m, fresh, d->sectors, origin);
	}
	meta->arg = arg;
	free(lv);
	return r;
}
