// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: what a filter is made with. The contract is in filter-features.h.
 */

#include "filter-features.h"
#include "dm.h"
#include "dmbackup.h"
#include "metadata.h"
#include "words.h"

#include <stdlib.h>

int features_load_module(void)
{
	if (dm_has_target("backup") || load_module("dm_backup", NULL))
		return EX_OK;
	say("the kernel module dm_backup can't be loaded");
	hint("is it installed for this kernel (sudo make install), and signed if Secure Boot asks for that?");
	return EX_FAILED;
}

static void add_feature(struct features *f, const char *name, char *value)
{
	char *next = xasprintf("%s %s %s", f->words ? f->words : "", name,
			       value);

	free(f->words);
	free(value);
	f->words = next;
	f->n += 2;
}

int features_read(const struct options *o, struct features *f)
{
	uint64_t v;

	if (o->buffer) {
		if (!parse_bytes("--buffer", o->buffer, &v))
			return EX_USAGE_;
		if (v % 512) {
			say("--buffer: %s is no multiple of 512 bytes",
			    o->buffer);
			return EX_USAGE_;
		}
		add_feature(f, "buffer", xasprintf("%llu",
						   (unsigned long long)v / 512));
	}
	if (o->cbw_timeout) {
		if (!parse_seconds("--cbw-timeout", o->cbw_timeout, &v))
			return EX_USAGE_;
		add_feature(f, "cbw_timeout",
			    xasprintf("%llu", (unsigned long long)v));
	}
	if ((o->discard && !is_word("--discard", o->discard)) ||
	    (o->on_metadata_error &&
	     !is_word("--on-metadata-error", o->on_metadata_error)) ||
	    (o->after_crash && !is_word("--after-crash", o->after_crash)))
		return EX_USAGE_;
	if (o->discard)
		add_feature(f, "discard", xstrdup(o->discard));
	if ((o->on_metadata_error || o->after_crash) && !o->metadata) {
		say("--%s goes with --metadata", o->after_crash ?
		    "after-crash" : "on-metadata-error");
		return EX_USAGE_;
	}
	if (o->on_metadata_error)
		add_feature(f, "on_metadata_error",
			    xstrdup(o->on_metadata_error));
	if (o->after_crash)
		add_feature(f, "after_crash", xstrdup(o->after_crash));
	if (o->no_write_zeroes)
		add_feature(f, "write_zeroes", xstrdup("off"));
	return EX_OK;
}

int features_metadata(const struct options *o, const struct device *d,
		      const char *origin, struct features *f)
{
	struct device meta;
	int r;

	if (!o->metadata)
		return EX_OK;
	r = metadata_prepare(d, origin, o->metadata, &meta);
	if (!r)
		add_feature(f, "metadata",
			    xasprintf("%u:%u", meta.major, meta.minor));
	return r;
}

char *features_params(unsigned int ma, unsigned int mi,
		      const struct features *f)
{
	return f->n ? xasprintf("%u:%u %u%s", ma, mi, f->n, f->words) :
		      xasprintf("%u:%u", ma, mi);
}
