/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of a bio's way share. The contract is in io.h.
 *
 *   io.c        map and end_io
 *   io-again.c  a waiting bio comes in again, in a work item
 *   io-wait.c   where bios wait, and for how long
 *   io-cut.c    discards and zeroes, whose size knows no bound
 *
 * What map() and end_io() do to every write is inline, and here if a bio that comes
 * in again needs it, too.
 */

#ifndef BK_IO_INT_H
#define BK_IO_INT_H

#include "io.h"
#include "cfg.h"
#include "cow.h"
#include "store.h"

static inline struct bio *bk_bio_of(struct bk_bio *pb)
{
	return dm_bio_from_per_bio_data(pb, sizeof(*pb));
}

static inline struct bk_bio *bk_bio_data(struct bio *bio)
{
	return dm_per_bio_data(bio, sizeof(struct bk_bio));
}

/*
 * Send @bio to the origin. What changes data is counted by then: a pivot changes
 * in->dev while nothing is, and opens the gate after that (pivot.c).
 *
 * bio_set_dev(), but for associating the bio with a blkg of its cgroup on the
 * new device: dm_submit_bio_remap(), in which every bio ends that goes on from
 * here, does that again anyway, from the original bio. It is the dearest part
 * of a pass-through map: without it an idle filter costs less than dm-linear.
 */
static __always_inline int bk_bio_redirect(struct bk_instance *in,
					   struct bio *bio)
{
	bio_clear_flag(bio, BIO_REMAPPED);
	bio_clear_flag(bio, BIO_BPS_THROTTLED);
	bio->bi_bdev = READ_ONCE(in->dev)->bdev;
	return DM_MAPIO_REMAPPED;
}

/* Remember what @bio writes. Again when it has been cut. */
static __always_inline void bk_io_note(struct bk_bio *pb, struct bio *bio)
{
	pb->sector = bio->bi_iter.bi_sector;
	pb->sectors = bio_sectors(bio);
}

/* Under RCU or a reference: @bio is counted, and about to be submitted. */
static __always_inline void bk_io_mark(struct bk_cfg *cfg, struct bio *bio)
{
	bk_cfg_mark(cfg, bio->bi_iter.bi_sector, bio_end_sector(bio));
}

/* Under RCU or a reference: must @bio wait for any point in time? */
static __always_inline bool bk_io_is_pending(struct bk_cfg *cfg,
					     struct bio *bio)
{
	sector_t start = bio->bi_iter.bi_sector;
	sector_t end = bio_end_sector(bio);
	unsigned int i;

	for (i = 0; i < cfg->nr_pits; i++)
		if (bk_pit_is_pending(cfg->pits[i], start, end))
			return true;
	return false;
}

/* Under RCU or a reference: must @bio wait for its region to be hot? */
static __always_inline bool bk_io_is_cold(struct bk_origin *origin,
					  struct bk_cfg *cfg, struct bio *bio)
{
	return cfg->persistent &&
	       !bk_store_is_hot(origin->store, bio->bi_iter.bi_sector,
				bio_end_sector(bio));
}

/* io-again.c */

void bk_io_again(struct work_struct *work);

/* io-wait.c */

void bk_held_add(struct bk_origin *origin, struct bk_bio *pb);
void bk_held_del(struct bk_origin *origin, struct bk_bio *pb);
void bk_io_starve(struct bk_origin *origin, struct bio *bio);
bool bk_io_wait_drained(struct bk_bio *pb, struct bio *bio, struct bk_cfg *cfg);
bool bk_io_wait_hot(struct bk_bio *pb, struct bio *bio);
void bk_io_hint(struct bk_origin *origin, struct bio *bio);

/* io-cut.c */

void bk_io_cut_size(struct bk_instance *in, struct bio *bio);
bool bk_io_cut(struct bk_instance *in, struct bk_cfg *cfg, struct bio *bio);
bool bk_io_discard_again(struct bk_bio *pb, struct bio *bio,
			 struct bk_cfg *cfg);

#endif
