// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: making metadata devices. The contract is in metadata-format.h.
 */

#include "../dm-backup/metadata.h"

#include "dmbackup.h"
#include "metadata-format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define ROOT_SIZE	(BK_MD_ROOT_BLOCKS * BK_MD_BLOCK)

static int write_block(const struct meta *m, u64 block, const void *buf)
{
	return meta_write(m, block * BK_MD_BLOCK, buf, BK_MD_BLOCK);
}

static int write_root(const struct meta *m, unsigned int copy, const void *buf)
{
	return meta_write(m, bk_md_root_block(copy) * BK_MD_BLOCK, buf,
			  ROOT_SIZE);
}

/* No root: an old one must not come back if what follows is interrupted. */
static int format_wipe(const struct meta *m, void *buf)
{
	int r;

	memset(buf, 0, ROOT_SIZE);
	r = write_root(m, 0, buf);
	if (!r)
		r = write_root(m, 1, buf);
	return r ? r : meta_sync(m);
}

/* Nothing is hot, the filter was never alive. */
static int format_rest(const struct meta *m, const struct bk_md_root *root,
		       void *buf)
{
	struct bk_md_lease lease = { .seq = root->seq };
	unsigned int copy, i;
	int r = EX_OK;

	for (copy = 0; copy < 2; copy++) {
		bk_md_lease_encode(root, &lease, copy, buf);
		r = write_block(m, bk_md_lease_block(copy), buf);
		for (i = 0; !r && i < root->hot_blocks; i++) {
			u64 where = bk_md_hot_block(root, i, copy);

			bk_md_bits_encode(root, BK_MD_HOT, where, root->seq, 0,
					  NULL, 0, buf);
			r = write_block(m, where, buf);
		}
		if (r)
			return r;
	}
	return meta_sync(m);
}

static int format_root(const struct meta *m, const struct bk_md_root *root,
		       void *buf)
{
	unsigned int copy;
	int r = EX_OK;

	for (copy = 0; !r && copy < 2; copy++) {
		bk_md_root_encode(root, copy, buf);
		r = write_root(m, copy, buf);
		if (!r)
			r = meta_sync(m);
	}
	return r;
}

/* What a new one is to say. */
static int format_plan(const struct meta *m, u64 len, const char *origin,
		       struct bk_md_root *root)
{
	u8 uuid[BK_MD_UUID];
	char why[128];
	int r;

	if (getrandom(uuid, sizeof(uuid), 0) != sizeof(uuid)) {
		say("%s: there are no random numbers: %s", m->d.arg,
		    strerror(errno));
		return EX_FAILED;
	}
	uuid[6] = (uuid[6] & 0x0f) | 0x40;	/* that it is random */
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
	r = bk_md_init(root, uuid, m->d.sectors / BK_MD_SECTORS, len, origin,
		       why, sizeof(why));
	if (r)
		say("%s: can't be formatted: %s", m->d.arg, why);
	root->seq = 1;
	return code_of_errno(r);
}

/* The root is written last: until it is there, there is nothing. */
int metadata_format(const struct meta *m, uint64_t len, const char *origin)
{
	struct bk_md_root *root = xcalloc(1, sizeof(*root));
	void *buf = xaligned_alloc(BK_MD_BLOCK, ROOT_SIZE);
	int r = format_plan(m, len, origin, root);

	if (!r)
		r = format_wipe(m, buf);
	if (!r)
		r = format_rest(m, root, buf);
	if (!r)
		r = format_root(m, root, buf);
	free(root);
	free(buf);
	return r;
}

static bool is_zero(const u8 *buf, size_t size)
{
	return !buf[0] && !memcmp(buf, buf + 1, size - 1);
}

enum holds metadata_look(const struct meta *m)
{
	u8 *buf = xaligned_alloc(BK_MD_BLOCK, ROOT_SIZE);
	bool ours = false, zero = true;
	unsigned int copy;

	for (copy = 0; !ours && copy < 2; copy++) {
		meta_read(m, bk_md_root_block(copy) * BK_MD_BLOCK, buf,
			  ROOT_SIZE);
		ours = bk_md_is_ours(buf);
		if (m->is_file)
			zero = zero && is_zero(buf, ROOT_SIZE);
		else if (!copy)
			zero = is_zero(buf, BK_MD_BLOCK);
	}
	free(buf);
	return ours ? HOLDS_OURS : zero ? HOLDS_NOTHING : HOLDS_OTHER;
}

int metadata_size(const struct device *d, unsigned int bitmaps,
		  unsigned int shift, uint64_t *bytes)
{
	struct bk_md_root *root = xcalloc(1, sizeof(*root));
	static const u8 uuid[BK_MD_UUID];
	char why[128];
	int r = bk_md_init(root, uuid, 1ULL << 50, d->sectors, "", why,
			   sizeof(why));

	if (r)
		say("%s: can't have a metadata device: %s", d->arg, why);
	else
		*bytes = (bk_md_area_start(root) + bitmaps *
			  bk_md_area_blocks(bk_md_pages(d->sectors, shift))) *
			 BK_MD_BLOCK;
	free(root);
	return code_of_errno(r);
}
