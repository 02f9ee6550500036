// SPDX-License-Identifier: GPL-2.0-only
/*
 * Discards, write zeroes, secure erases: their size knows no bound. The contract is
 * in io.h.
 */

#include "io-int.h"

/* What copying for @bio would take, over all points in time, up to @most. */
static u64 bk_io_wanted(struct bk_cfg *cfg, struct bio *bio, u64 most)
{
	u64 bytes = 0;
	unsigned int i;

	for (i = 0; i < cfg->nr_pits && bytes <= most; i++)
		bytes += bk_cow_wanted(cfg->pits[i], bio->bi_iter.bi_sector,
				       bio_end_sector(bio), most - bytes);
	return bytes;
}

/* Is a discard to be completed without being sent, as far as it would wait? */
static bool bk_io_skips(struct bk_instance *in, struct bk_cfg *cfg,
			struct bio *bio, u64 *wanted)
{
	u64 most = READ_ONCE(in->origin->pool.limit) / 4;

	*wanted = bk_io_wanted(cfg, bio, most);
	if (!*wanted || in->discard == BK_DISCARD_COPY)
		return false;
	return in->discard == BK_DISCARD_SKIP ||
	       *wanted + atomic64_read(&in->origin->discard_wait) > most;
}

/*
 * Cut a discard that is to be skipped to its first part that is alike: all
 * waiting for a copy (true), or all free to go (false).
 */
static bool bk_io_cut_discard(struct bk_cfg *cfg, struct bio *bio)
{
	sector_t start = bio->bi_iter.bi_sector;
	sector_t end = bio_end_sector(bio);
	sector_t stop = end;
	bool waits = false;
	unsigned int i;

	for (i = 0; i < cfg->nr_pits && !waits; i++) {
		struct bk_pit *pit = cfg->pits[i];
		unsigned long first = bk_pit_cluster(pit, start);
		unsigned long last = bk_pit_cluster(pit, end - 1);
		unsigned long next;

		if (bk_pit_is_stopped(pit))
			continue;
		next = find_next_bit(pit->pending, last + 1, first);
		if (next > last)
			continue;
		waits = next == first;
		if (waits) {
			next = find_next_zero_bit(pit->pending, last + 1, first);
			stop = end;
		}
		stop = min(stop, (sector_t)next << pit->shift);
	}
	if (stop < end)
		dm_accept_partial_bio(bio, stop - start);
	return waits;
}

/**
 * bk_io_cut_size - cut a bio whose size knows no bound to what may wait for copies
 * @in:		the instance
 * @bio:	the bio
 *
 * Pieces end at a multiple of their size: at a cluster's border.
 *
 * Context: map only.
 */
void bk_io_cut_size(struct bk_instance *in, struct bio *bio)
{
	unsigned int most = READ_ONCE(in->origin->pool.limit) / 4 >>
			    SECTOR_SHIFT;

	switch (bio_op(bio)) {
	case REQ_OP_DISCARD:
		if (in->discard != BK_DISCARD_COPY)
			return;		/* else it is skipped */
		break;
	case REQ_OP_SECURE_ERASE:
	case REQ_OP_WRITE_ZEROES:
		break;
	default:
		return;
	}
	if (bio_sectors(bio) > most) {
		most = rounddown_pow_of_two(most);
		dm_accept_partial_bio(bio, most - (bio->bi_iter.bi_sector &
						   (most - 1)));
	}
}

/**
 * bk_io_cut - cut a bio so that what it waits for is bounded
 * @in:		the instance
 * @cfg:	what it meets, under RCU
 * @bio:	the bio
 *
 * Context: map only. Return: true if it is to be completed without being sent.
 */
bool bk_io_cut(struct bk_instance *in, struct bk_cfg *cfg, struct bio *bio)
{
	u64 wanted;

	if (bio_op(bio) == REQ_OP_DISCARD && bk_io_skips(in, cfg, bio, &wanted))
		return bk_io_cut_discard(cfg, bio);
	bk_io_cut_size(in, bio);
	return false;
}

/**
 * bk_io_discard_again - is a discard to be skipped that has waited?
 * @pb:		the bio's data
 * @bio:	the discard
 * @cfg:	what it meets, with a reference
 *
 * It can't be cut any more: if it would take too much, for a point in time that
 * came meanwhile, it is completed as a whole.
 *
 * Context: process; does not sleep.
 */
bool bk_io_discard_again(struct bk_bio *pb, struct bio *bio,
			 struct bk_cfg *cfg)
{
	struct bk_origin *origin = pb->in->origin;
	u64 wanted;

	atomic64_sub(pb->discard_bytes, &origin->discard_wait);
	pb->discard_bytes = 0;
	if (bk_io_skips(pb->in, cfg, bio, &wanted)) {
		atomic64_add(bio->bi_iter.bi_size, &origin->discards_skipped);
		return true;
	}
	pb->discard_bytes = wanted;
	atomic64_add(wanted, &origin->discard_wait);
	return false;
}
