/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading and writing blocks, one request after the other: for metadata, and for
 * looking at an origin. Who calls may wait for as long as the device likes.
 *
 * Nothing is allocated, least of all a bio of the kernel's common set: writes wait
 * for what is read and written here, and those that wait may have all that are in
 * it. So whoever calls has a bio of its own, for one request at a time.
 */

#ifndef BK_BLOCKIO_H
#define BK_BLOCKIO_H

#include <linux/bio.h>
#include <linux/blkdev.h>

/* What one bio takes; more is several, one after the other. */
#define BK_BLOCKIO_PAGES	64

/**
 * struct bk_blockio - what requests are made with
 * @bio:	the request
 * @vec:	its pages
 */
struct bk_blockio {
	struct bio bio;
	struct bio_vec vec[BK_BLOCKIO_PAGES];
};

int bk_block_io(struct bk_blockio *io, struct block_device *bdev, blk_opf_t opf,
		sector_t sector, void *buf, unsigned int bytes);

#endif
