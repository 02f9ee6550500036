// SPDX-License-Identifier: GPL-2.0-only
/*
 * Zeroes on all of a mirror's destination, before anything is copied. The contract
 * is in mirror-copy.h.
 *
 * One piece after the other, so one write is all it needs. Everything is dirty
 * meanwhile, so no write goes to the destination as well (bk_mwrite_leg()), and none
 * has to wait: nothing but zeroes is written to it.
 */

#include "mirror-copy.h"

/* Of one piece: large, as the device is to do it at once. */
#define BK_MZERO_PIECE	(SZ_64M >> SECTOR_SHIFT)

/* The piece has ended, and @wanted says whether there is anything left to do. */
static void bk_mzero_end(struct bk_mcopy *mc, bool wanted)
{
	bool stopped;

	spin_lock(&mc->lock);
	WRITE_ONCE(mc->first.wanted, wanted);
	mc->first.busy = false;
	WRITE_ONCE(mc->nr_busy, mc->nr_busy - 1);
	stopped = mc->stopped;
	spin_unlock(&mc->lock);
	if (!stopped)
		mc->ops->ended(mc);
	wake_up_all(&mc->wait);
	bk_mcopy_put(mc);
}

/* If it has failed it is tried again, as far as the job goes on. */
static void bk_mzero_done(struct bk_write *write)
{
	struct bk_mcopy *mc = container_of(write, struct bk_mcopy, first.write);
	struct bk_mzero *first = &mc->first;
	blk_status_t status = write->status;
	bool wanted = true;

	if (!status) {
		WRITE_ONCE(first->done, first->done + write->sectors);
		wanted = first->done < mc->bits->len;
	} else if (status == BLK_STS_NOTSUPP || status == BLK_STS_TARGET) {
		/* It can't, whatever it says: all is copied, zeroes too. */
		bk_bits_clear_many(mc->zero, 0, mc->zero->nr);
		wanted = false;
	} else if (!READ_ONCE(mc->stopped)) {
		mc->ops->error(mc, true, write->sector + write->pos, status);
	}
	/* What that was like says nothing of how fast data is written. */
	if (!wanted)
		bk_dest_unlearn(mc->dest);
	bk_mzero_end(mc, wanted);
}

static void bk_mzero_start(struct bk_mcopy *mc)
{
	struct bk_mzero *first = &mc->first;
	struct bk_write *write = &first->write;

	memset(write, 0, sizeof(*write));
	bk_write_init(write, mc->dest, false, bk_mzero_done);
	write->sector = first->done;
	write->sectors = min_t(sector_t, mc->bits->len - first->done,
			       BK_MZERO_PIECE);
	write->unit = write->sectors;
	first->zeroes = mc->params.zeroes;
	write->zeroes = &first->zeroes;
	bk_write_start(write);
}

/**
 * bk_mzero_next - write the next zeroes, if all of the destination is to have them
 * @mc:		what copies
 *
 * Context: process; does not sleep.
 * Return: true while there are any to be written: nothing is to be copied yet.
 */
bool bk_mzero_next(struct bk_mcopy *mc)
{
	bool wanted, start;

	spin_lock(&mc->lock);
	wanted = mc->first.wanted;
	start = wanted && !mc->first.busy && !mc->stopped && !mc->held;
	if (start) {
		mc->first.busy = true;
		WRITE_ONCE(mc->nr_busy, mc->nr_busy + 1);
		kref_get(&mc->ref);
	}
	spin_unlock(&mc->lock);
	if (start)
		bk_mzero_start(mc);
	return wanted;
}
