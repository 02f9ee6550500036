/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The only place that knows kernel differences.
 *
 * The module is written against the newest interface; what an older kernel
 * lacks is made up for here, under the newest names. BK_HAVE_* come from
 * Kbuild, which looks for the name in the kernel's public headers.
 */

#ifndef BK_COMPAT_H
#define BK_COMPAT_H

#include <linux/blkdev.h>
#include <linux/device-mapper.h>
#include <linux/file.h>
#include <linux/fs.h>

#ifndef BK_HAVE_BDEV_FREEZE
static inline int bdev_freeze(struct block_device *bdev)
{
	return freeze_bdev(bdev);
}

static inline int bdev_thaw(struct block_device *bdev)
{
	return thaw_bdev(bdev);
}
#endif

/* An opening of a block device for reading and writing. */
struct bk_bdev {
	struct block_device *bdev;
#ifdef BK_HAVE_BDEV_FILE
	struct file *file;
#else
	fmode_t mode;
#endif
};

/*
 * Open @dev, exclusively in the name of @holder, or NULL: not so. Sleeps,
 * possibly for as long as the device's driver likes. 0 or a negative errno.
 */
static inline int bk_bdev_open(struct bk_bdev *b, dev_t dev, void *holder)
{
#ifdef BK_HAVE_BDEV_FILE
	b->file = bdev_file_open_by_dev(dev, BLK_OPEN_READ | BLK_OPEN_WRITE,
					holder, NULL);
	if (IS_ERR(b->file))
		return PTR_ERR(b->file);
	b->bdev = file_bdev(b->file);
#else
	b->mode = FMODE_READ | FMODE_WRITE | (holder ? FMODE_EXCL : 0);
	b->bdev = blkdev_get_by_dev(dev, b->mode, holder);
	if (IS_ERR(b->bdev))
		return PTR_ERR(b->bdev);
#endif
	return 0;
}

/* Close what bk_bdev_open() opened. Sleeps. */
static inline void bk_bdev_close(struct bk_bdev *b)
{
#ifdef BK_HAVE_BDEV_FILE
	/*
	 * A kernel thread's last fput() is put off, to a thread that all files
	 * of the system share: close it here, and now.
	 */
	get_file(b->file);
	bdev_fput(b->file);
	__fput_sync(b->file);
#else
	blkdev_put(b->bdev, b->mode);
#endif
	b->bdev = NULL;
}

/*
 * Two openings of one device change places, but for @bdev, which is the same and may
 * be in use.
 */
static inline void bk_bdev_swap(struct bk_bdev *a, struct bk_bdev *b)
{
#ifdef BK_HAVE_BDEV_FILE
	swap(a->file, b->file);
#else
	swap(a->mode, b->mode);
#endif
}

/*
 * A count of a device's claims, for comparing: one may count more than once. It is
 * changed under a lock of the block layer's: who has a claim sees all that were
 * there before, and may miss one that comes.
 */
static inline int bk_bdev_claims(struct block_device *bdev)
{
	return READ_ONCE(bdev->bd_holders);
}

/* Bits of dm_table_get_mode(), and of what a device is opened for. */
#ifdef BLK_OPEN_WRITE
#define BK_MODE_WRITE	BLK_OPEN_WRITE
#define BK_MODE_READ	BLK_OPEN_READ
#else
#define BK_MODE_WRITE	FMODE_WRITE
#define BK_MODE_READ	FMODE_READ
#endif

/* __assign_str() once wanted the source a second time. */
#ifdef BK_HAVE_ASSIGN_STR_1
#define bk_assign_str(dst, ...)	__assign_str(dst)
#else
#define bk_assign_str(dst, ...)	__assign_str(dst, __VA_ARGS__)
#endif

/*
 * Does a device count what is written to it? Once only the block layer's own
 * queues could be told not to (queue/iostats), and others had the flag not set.
 */
static inline bool bk_bdev_counts(struct block_device *bdev)
{
	struct request_queue *q = bdev_get_queue(bdev);

#ifndef BK_HAVE_FEAT_IO_STAT
	if (!queue_is_mq(q))
		return true;
#endif
	return blk_queue_io_stat(q);
}

/* Target feature bits that older kernels don't know cost nothing there. */
#ifndef DM_TARGET_ATOMIC_WRITES
#define DM_TARGET_ATOMIC_WRITES 0
#endif

/* A write that is not to be torn. */
#ifdef REQ_ATOMIC
#define BK_REQ_ATOMIC	REQ_ATOMIC
#else
#define BK_REQ_ATOMIC	0
#endif

/* Is there such a write that one device takes, @f, and another one, @d, does not? */
static inline bool bk_bdev_lacks_atomic(struct block_device *f,
					struct block_device *d)
{
#ifdef REQ_ATOMIC
	const struct queue_limits *fl = &bdev_get_queue(f)->limits;
	const struct queue_limits *dl = &bdev_get_queue(d)->limits;

	return fl->atomic_write_unit_max &&
	       (dl->atomic_write_unit_max < fl->atomic_write_unit_max ||
		dl->atomic_write_unit_min > fl->atomic_write_unit_min ||
		dl->atomic_write_max_sectors < fl->atomic_write_max_sectors ||
		(dl->atomic_write_boundary_sectors &&
		 dl->atomic_write_boundary_sectors !=
		 fl->atomic_write_boundary_sectors));
#else
	return false;
#endif
}

#endif
