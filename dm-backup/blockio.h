/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading and writing blocks, one request after the other: for metadata, and for
 * looking at an origin. Who calls may wait for as long as the device likes.
 */

#ifndef BK_BLOCKIO_H
#define BK_BLOCKIO_H

#include <linux/blkdev.h>

int bk_block_io(struct block_device *bdev, blk_opf_t opf, sector_t sector,
		void *buf, unsigned int bytes);

#endif
