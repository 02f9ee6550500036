// SPDX-License-Identifier: GPL-2.0-only
/*
 * Has anybody written to an origin while its filter was not there? The contract
 * is in trust.h.
 */

#include "trust.h"
#include "blockio.h"
#include "compat.h"

#include <linux/crc32c.h>
#include <linux/part_stat.h>
#include <linux/random.h>
#include <linux/vmalloc.h>

/* A file system's last change may be that much later than the last lease, s. */
#define BK_TRUST_SLACK		60

/* Where what is looked at goes; first, so that it is aligned for any device. */
struct bk_trust_buf {
	u8 data[BK_MD_SAMPLE_BYTES];
	struct bk_blockio io;
};

/* Another one after each loading of the module, so after each boot. */
u8 bk_trust_session[BK_MD_UUID];

/**
 * bk_trust_init - the module is being loaded
 */
void bk_trust_init(void)
{
	get_random_bytes(bk_trust_session, sizeof(bk_trust_session));
}

/**
 * bk_trust_name - what is a device called, now and after the next boot?
 * @bdev:	the device
 * @name:	filled in, BK_MD_ORIGIN; empty if it has no such name
 *
 * Of a dm device the uuid, of a partition that of its table. Others have numbers
 * and names that may be another device's the next time.
 *
 * Context: process, sleeps; waits for no I/O. Return: does it have one?
 */
bool bk_trust_name(struct block_device *bdev, char *name)
{
	struct mapped_device *md;

	memset(name, 0, BK_MD_ORIGIN);
	if (bdev->bd_meta_info && bdev->bd_meta_info->uuid[0]) {
		snprintf(name, BK_MD_ORIGIN, "PARTUUID-%s",
			 bdev->bd_meta_info->uuid);
		return true;
	}
	md = dm_get_md(bdev->bd_dev);
	if (!md)
		return false;
	if (dm_copy_name_and_uuid(md, NULL, name))
		name[0] = '\0';
	dm_put(md);
	return name[0];
}

static u64 bk_trust_written(struct block_device *bdev)
{
	return part_stat_read(bdev, sectors[STAT_WRITE]) +
	       part_stat_read(bdev, sectors[STAT_DISCARD]);
}

/* The filter may be suspended: nobody is waited for whose bios wait for it. */
static struct bk_trust_buf *bk_trust_alloc(void)
{
	return __vmalloc(sizeof(struct bk_trust_buf), GFP_NOIO | __GFP_NOWARN);
}

static int bk_trust_read_print(struct block_device *bdev, u64 len,
			       struct bk_trust_buf *buf, u32 *print)
{
	unsigned int i;
	u32 crc = ~0U;
	u64 sector;
	u32 bytes;
	int r;

	for (i = 0; i < BK_MD_SAMPLES; i++) {
		if (!bk_md_sample(len, i, &sector, &bytes))
			continue;
		r = bk_block_io(&buf->io, bdev, REQ_OP_READ, sector, buf->data,
				bytes);
		if (r)
			return r;
		crc = crc32c(crc, buf->data, bytes);
	}
	*print = ~crc;
	return 0;
}

static int bk_trust_read_witness(struct block_device *bdev, u64 len,
				 struct bk_trust_buf *buf,
				 struct bk_md_witness *witness)
{
	int r;

	memset(witness, 0, sizeof(*witness));
	if (len < BK_MD_WITNESS_BYTES >> SECTOR_SHIFT)
		return 0;
	r = bk_block_io(&buf->io, bdev, REQ_OP_READ, 0, buf->data,
			BK_MD_WITNESS_BYTES);
	if (!r)
		bk_md_witness_read(buf->data, witness);
	return r;
}

/**
 * bk_trust_witness - what does the origin's file system tell?
 * @bdev:	the origin
 * @len:	its length, sectors
 * @witness:	filled in
 *
 * Context: process, sleeps for as long as the origin takes.
 * Return: 0 or a negative errno.
 */
int bk_trust_witness(struct block_device *bdev, u64 len,
		     struct bk_md_witness *witness)
{
	struct bk_trust_buf *buf = bk_trust_alloc();
	int r = -ENOMEM;

	if (buf)
		r = bk_trust_read_witness(bdev, len, buf, witness);
	vfree(buf);
	return r;
}

/**
 * bk_trust_look - look at a filter's devices
 * @in:		its instance, through which nothing is being written
 * @print:	take samples, too
 * @e:		filled in
 *
 * Context: process, sleeps for as long as the origin takes.
 */
void bk_trust_look(struct bk_instance *in, bool print, struct bk_evidence *e)
{
	struct block_device *bdev[2] = {
		dm_disk(in->origin->md)->part0,
		in->dev->bdev,
	};
	struct bk_trust_buf *buf = bk_trust_alloc();
	unsigned int i;

	memset(e, 0, sizeof(*e));
	for (i = 0; i < 2; i++) {
		e->written[i] = bk_trust_written(bdev[i]);
		e->device[i] = bdev[i]->bd_dev;
		e->uncounted |= !bk_bdev_counts(bdev[i]);
	}
	bk_trust_name(bdev[1], e->below);
	e->err = buf ? 0 : -ENOMEM;
	if (!e->err)
		e->err = bk_trust_read_witness(bdev[1], in->ti->len, buf,
					       &e->witness);
	if (!e->err && print)
		e->err = bk_trust_read_print(bdev[1], in->ti->len, buf,
					     &e->print);
	vfree(buf);
}

/**
 * bk_trust_rest - nothing is written to the origin from here on
 * @in:		its instance, through which nothing is being written
 *
 * Context: dm's postsuspend: process, under suspend_lock.
 */
void bk_trust_rest(struct bk_instance *in)
{
	in->origin->rest_dev = in->dev->bdev->bd_dev;
	in->origin->rest_written = bk_trust_written(in->dev->bdev);
}

/**
 * bk_trust_wake - has anybody written to the origin since bk_trust_rest()?
 * @in:		the instance that goes on, or that goes; nothing has been written
 *		through any
 *
 * That is only known of the same device, and if the kernel counts its writes.
 *
 * Context: dm's preresume or dtr.
 */
bool bk_trust_wake(struct bk_instance *in)
{
	struct bk_origin *origin = in->origin;
	bool written = origin->rest_dev == in->dev->bdev->bd_dev &&
		       origin->rest_written != bk_trust_written(in->dev->bdev);

	origin->rest_dev = 0;
	return written;
}

/* Has either device counted a write since the filter stopped, or at all? */
static bool bk_trust_was_written(const struct bk_md_root *root,
				 const struct bk_evidence *e)
{
	bool same = root->clean && !memcmp(root->session, bk_trust_session,
					   BK_MD_UUID);
	unsigned int i;

	for (i = 0; i < 2; i++)
		if (e->written[i] &&
		    !(same && e->device[i] == root->device[i] &&
		      e->written[i] == root->written[i]))
			return true;
	return false;
}

static const char *bk_trust_judge_crash(const struct bk_md_root *root,
					const struct bk_md_lease *lease,
					bool leased,
					const struct bk_evidence *e,
					bool trusting)
{
	if (!memcmp(root->session, bk_trust_session, BK_MD_UUID))
		return "the filter's table was replaced without detach, or its end was not saved";
	if (!leased)
		return "the metadata device's lease is damaged";
	if (lease->witness.kind == BK_MD_WITNESS_NONE && !trusting)
		return "after a crash nothing tells if it was written without the filter";
	if (lease->witness.kind != BK_MD_WITNESS_NONE &&
	    (lease->witness.kind != e->witness.kind ||
	     lease->witness.mark != e->witness.mark))
		return "the file system was mounted without the filter after a crash";
	if (e->witness.time > lease->time + BK_TRUST_SLACK)
		return "the file system is newer than the metadata device";
	return NULL;
}

/**
 * bk_trust_judge - can what is on the metadata device be believed?
 * @root:	of the metadata device
 * @lease:	of the same
 * @leased:	there is one
 * @e:		what the filter's devices tell now
 * @trusting:	after a crash: even if nothing tells of boots in between
 *
 * Return: NULL, or why not.
 */
const char *bk_trust_judge(const struct bk_md_root *root,
			   const struct bk_md_lease *lease, bool leased,
			   const struct bk_evidence *e, bool trusting)
{
	if (root->broken)
		return "the metadata device failed, or a table was replaced without detach";
	if (root->below[0] && strcmp(root->below, e->below))
		return "the filter stood on another device";
	if (e->err)
		return "the origin could not be read";
	if (e->uncounted)
		return "the kernel does not count the device's writes (queue/iostats is 0)";
	if (bk_trust_was_written(root, e))
		return "the device was written before the filter was there";
	if (!root->clean)
		return bk_trust_judge_crash(root, lease, leased, e, trusting);
	if (e->print != root->print)
		return "the device was written while the filter was not there";
	return NULL;
}
