// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup metadata: making, checking and reading metadata devices, without the
 * module; saving to one, which is the module's. The contract is in metadata.h.
 */

#include "metadata.h"
#include "bitmap.h"
#include "dmbackup.h"
#include "filter.h"
#include "metadata-format.h"
#include "metadata-image.h"
#include "metadata-lv.h"
#include "metadata-report.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

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
/* save */

/* DEVICE: a filter, and not a metadata device */
int cmd_metadata_save(int argc, char **argv, const struct options *o)
{
	struct device d;
	int r = device_find_filter(argv[0], &d);

	(void)argc;
	(void)o;
	return r ? r : filter_send(&d, "metadata save", "metadata save");
}

/*------------------------------------------------------------------*/
/* check, dump */

/* Finds, opens and reads it. To be closed by close_image() in any case. */
static int open_image(const char *arg, struct meta *m, struct image *image)
{
	int r = meta_find(arg, m);

	memset(image, 0, sizeof(*image));
	if (!r)
		r = meta_open_anyhow(m);
	return r ? r : image_read(image, m);
}

static void close_image(struct meta *m, struct image *image)
{
	image_free(image);
	meta_close(m);
}

/* Can incremental backups go on with all bitmaps? */
static int verdict(const char *arg, const struct image_bitmap *all,
		   unsigned int n)
{
	unsigned int i;
	int r = EX_OK;

	for (i = 0; i < n; i++)
		if (!image_bitmap_is_ok(&all[i])) {
			say("%s: a full backup is needed: bitmap '%s' is %s: %s",
			    arg, all[i].name, all[i].state, all[i].why);
			r = EX_NO;
		}
	return r;
}

/* META */
int cmd_metadata_check(int argc, char **argv, const struct options *o)
{
	struct image_bitmap *all;
	struct image image;
	unsigned int n;
	struct meta m;
	int r = open_image(argv[0], &m, &image);

	(void)argc;
	if (!r) {
		all = image_bitmaps_read(&image, &n);
		r = metadata_report_check(&image, all, n, o);
		if (!r)
			r = verdict(argv[0], all, n);
		image_bitmaps_free(all, n);
	}
	close_image(&m, &image);
	return r;
}

static int dump_bitmap(const char *arg, struct image *image, const char *name,
		       const struct dump_format *f)
{
	struct image_bitmap b;
	int r = EX_OK;

	if (!image_bitmap_read(image, name, &b)) {
		say("%s: there is no bitmap '%s'", arg, name);
		return EX_NODEV;
	}
	if (image_bitmap_is_ok(&b)) {
		metadata_report_dirty(image, &b, f);
	} else {
		say("%s: bitmap '%s' is %s: %s", arg, b.name, b.state, b.why);
		r = EX_NO;
	}
	image_bitmap_free(&b);
	return r;
}

/* META [NAME] */
int cmd_metadata_dump(int argc, char **argv, const struct options *o)
{
	const struct dump_format *f = dump_format(o->format);
	struct image image;
	struct meta m;
	int r;

	if (!f)
		return EX_USAGE_;
	if (argc < 2 && o->format && strcmp(o->format, "json")) {
		say("--format: %s is for a bitmap: name one", o->format);
		return EX_USAGE_;
	}
	r = open_image(argv[0], &m, &image);
	if (!r && argc > 1)
		r = dump_bitmap(argv[0], &image, argv[1], f);
	else if (!r)
		metadata_report_dump(&image);
	close_image(&m, &image);
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
