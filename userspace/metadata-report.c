// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: what "metadata check" and "metadata dump" print. The contract is in
 * metadata-report.h.
 */

#include "../dm-backup/metadata.h"

#include "metadata-report.h"
#include "json.h"
#include "table.h"

#include <stdio.h>
#include <time.h>

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

/*------------------------------------------------------------------*/
/* check: tables */

/* When the filter was last alive. */
static const char *time_text(const struct image *image, char *buf, size_t size)
{
	time_t t = image->lease ? image->lease->time : 0;
	struct tm tm;

	if (!t || !localtime_r(&t, &tm) || !strftime(buf, size, "%F %T", &tm))
		return "-";
	return buf;
}

static int print_device(const struct image *image, const struct options *o)
{
	static const struct column columns[] = {
		{ "UUID", TEXT }, { "ORIGIN", TEXT }, { "SIZE", SIZE },
		{ "REGION", SIZE }, { "STATE", TEXT }, { "LEASE", TEXT },
		{ "HOT", NUMBER }, { "HOT-SIZE", SIZE },
	};
	const struct bk_md_root *root = image->root;
	char uuid[40], when[32];
	struct table t;

	table_begin(&t, "metadata", columns,
		    sizeof(columns) / sizeof(*columns), o);
	table_row(&t);
	table_text(&t, 0, uuid_text(root->uuid, uuid, sizeof(uuid)));
	table_text(&t, 1, root->origin[0] ? root->origin : "-");
	table_number(&t, 2, root->len << 9);
	table_number(&t, 3, 512ULL << root->region_shift);
	table_text(&t, 4, image_state(image));
	table_text(&t, 5, time_text(image, when, sizeof(when)));
	table_number(&t, 6, image_hot_regions(image));
	table_number(&t, 7, image_hot_bytes(image));
	return table_end(&t);
}

static int print_bitmaps(const struct image_bitmap *all, unsigned int n,
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
		const struct image_bitmap *b = &all[i];

		table_row(&t);
		table_text(&t, 0, b->name);
		table_number(&t, 1, b->granularity);
		table_number(&t, 2, b->dirty);
		table_number(&t, 3, b->recording);
		table_text(&t, 4, b->state);
		table_text(&t, 5, b->why);
	}
	return table_end(&t);
}

static int print_damage(const struct image *image, const struct options *o)
{
	static const struct column columns[] = {
		{ "BLOCK", NUMBER }, { "COPY", NUMBER }, { "OF", TEXT },
		{ "WHAT", TEXT },
	};
	struct table t;
	unsigned int i;

	table_begin(&t, "damaged", columns,
		    sizeof(columns) / sizeof(*columns), o);
	for (i = 0; i < image->nr_damage; i++) {
		const struct damage *d = &image->damage[i];

		table_row(&t);
		table_number(&t, 0, d->block);
		table_number(&t, 1, d->copy);
		table_text(&t, 2, d->what);
		table_text(&t, 3, d->why);
	}
	return table_end(&t);
}

static int print_check(const struct image *image,
		       const struct image_bitmap *all, unsigned int n,
		       const struct options *o)
{
	int r = print_device(image, o);

	if (!r && n) {
		printf("\n");
		r = print_bitmaps(all, n, o);
	}
	if (!r && image->nr_damage) {
		printf("\n");
		r = print_damage(image, o);
	}
	return r;
}

/*------------------------------------------------------------------*/
/* check: JSON; all text is printable */

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

static void json_damage(const struct image *image)
{
	unsigned int i;

	printf("  \"damaged\": [");
	for (i = 0; i < image->nr_damage; i++) {
		const struct damage *d = &image->damage[i];

		printf("%s\n    {\"block\": %llu, \"copy\": %u, ",
		       i ? "," : "", (unsigned long long)d->block, d->copy);
		json_text("of", d->what);
		printf(", ");
		json_text("what", d->why);
		printf("}");
	}
	printf("%s]", image->nr_damage ? "\n  " : "");
}

static void json_bitmaps(const struct image_bitmap *all, unsigned int n)
{
	unsigned int i;

	printf("  \"bitmaps\": [");
	for (i = 0; i < n; i++) {
		const struct image_bitmap *b = &all[i];

		printf("%s\n    {\"name\": \"%s\", \"granularity\": %llu, \"dirty\": %llu, \"recording\": %s, \"state\": \"%s\", ",
		       i ? "," : "", b->name,
		       (unsigned long long)b->granularity,
		       (unsigned long long)b->dirty, truth(b->recording),
		       b->state);
		json_text("cause", b->why);
		printf("}");
	}
	printf("%s],\n", n ? "\n  " : "");
}

static void json_check(const struct image *image,
		       const struct image_bitmap *all, unsigned int n)
{
	const struct bk_md_root *root = image->root;

	printf("{\n  ");
	json_uuid("uuid", root->uuid);
	printf(",\n  ");
	json_text("origin", root->origin);
	printf(",\n  \"size\": %llu, \"region\": %llu, \"state\": \"%s\", \"lease\": %llu, \"hot\": %lu, \"hot_size\": %llu,\n",
	       root->len << 9, 512ULL << root->region_shift,
	       image_state(image), image->lease ? image->lease->time : 0,
	       image_hot_regions(image),
	       (unsigned long long)image_hot_bytes(image));
	json_bitmaps(all, n);
	json_damage(image);
	printf("\n}\n");
}

int metadata_report_check(const struct image *image,
			  const struct image_bitmap *all, unsigned int n,
			  const struct options *o)
{
	const struct bk_md_lease *lease = image->lease;

	if (n && !image->root->clean && lease &&
	    lease->witness.kind == BK_MD_WITNESS_NONE)
		hint("after a crash nothing tells if the device was written without the filter: bitmaps are believed with --after-crash trust only");
	if (!o->json)
		return print_check(image, all, n, o);
	json_check(image, all, n);
	return EX_OK;
}

/*------------------------------------------------------------------*/
/* dump */

static void json_root(const struct bk_md_root *root)
{
	printf("  \"root\": {\n    ");
	json_uuid("uuid", root->uuid);
	printf(", ");
	json_text("origin", root->origin);
	printf(", ");
	json_text("below", root->below);
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
		       512ULL << e->shift, truth(e->recording), e->set,
		       e->first, e->pages, e->half, e->crc);
	}
	printf("%s],\n", n ? "\n  " : "");
}

static void json_lease(const struct bk_md_lease *l)
{
	printf("  \"lease\": ");
	if (!l) {
		printf("null,\n");
		return;
	}
	printf("{\n    \"seq\": %llu, \"time\": %llu, ", l->seq, l->time);
	json_uuid("session", l->session);
	printf(",\n    \"witness\": {\"kind\": %u, \"mark\": %u, \"time\": %llu}\n  },\n",
	       l->witness.kind, l->witness.mark, l->witness.time);
}

static void json_hot(const struct image *image)
{
	uint64_t start, length;
	unsigned int n = 0;
	unsigned long at = 0;

	printf("  \"hot\": [");
	while (image_next_hot(image, &at, &start, &length))
		printf("%s\n    {\"start\": %llu, \"length\": %llu}",
		       n++ ? "," : "", (unsigned long long)start,
		       (unsigned long long)length);
	printf("%s],\n", n ? "\n  " : "");
}

void metadata_report_dump(const struct image *image)
{
	printf("{\n");
	json_root(image->root);
	json_directory(image->root);
	json_lease(image->lease);
	json_hot(image);
	json_damage(image);
	printf("\n}\n");
}

void metadata_report_dirty(const struct image *image,
			   const struct image_bitmap *b,
			   const struct dump_format *f)
{
	uint64_t size = image->root->len << 9, start, length;
	unsigned long at = 0;

	dump_begin(f, b->name, b->granularity, size);
	while (image_bitmap_next(image, b, &at, &start, &length))
		dump_range(f, start, length);
	dump_end(f, size);
}
