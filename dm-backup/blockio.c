// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading and writing blocks. The contract is in blockio.h.
 */

#include "blockio.h"

#include <linux/highmem.h>
#include <linux/vmalloc.h>

/* As much of it as one bio takes. */
static int bk_block_io_once(struct bk_blockio *io, struct block_device *bdev,
			    blk_opf_t opf, sector_t sector, void *buf,
			    unsigned int bytes, unsigned int *done)
{
	struct bio *bio = &io->bio;
	int r;

	*done = 0;
	bio_init(bio, bdev, io->vec, ARRAY_SIZE(io->vec), opf);
	bio->bi_iter.bi_sector = sector;
	while (*done < bytes) {
		void *p = buf + *done;
		unsigned int n = min_t(unsigned int, bytes - *done,
				       PAGE_SIZE - offset_in_page(p));

		if (bio_add_page(bio, vmalloc_to_page(p), n,
				 offset_in_page(p)) != n)
			break;
		*done += n;
	}
	r = submit_bio_wait(bio);
	bio_uninit(bio);
	return r;
}

/**
 * bk_block_io - read or write
 * @io:		the caller's, for this request
 * @bdev:	the device
 * @opf:	REQ_OP_READ or REQ_OP_WRITE, and flags
 * @sector:	first one
 * @buf:	from vmalloc(), a whole number of sectors into it
 * @bytes:	how many, a multiple of the device's block
 *
 * Context: process, sleeps until the device has done it; allocates nothing.
 * Return: 0 or a negative errno.
 */
int bk_block_io(struct bk_blockio *io, struct block_device *bdev, blk_opf_t opf,
		sector_t sector, void *buf, unsigned int bytes)
{
	unsigned int done;
	int r = 0;

	if (op_is_write(opf & REQ_OP_MASK))
		flush_kernel_vmap_range(buf, bytes);
	while (bytes && !r) {
		r = bk_block_io_once(io, bdev, opf, sector, buf, bytes, &done);
		if (!op_is_write(opf & REQ_OP_MASK))
			invalidate_kernel_vmap_range(buf, done);
		sector += done >> SECTOR_SHIFT;
		buf += done;
		bytes -= done;
	}
	return r;
}
