// SPDX-License-Identifier: GPL-2.0-only
/*
 * The copy engine. The contract is in copy.h.
 */

#include "copy.h"
#include "module.h"

#include <linux/mm.h>
#include <linux/string.h>

/*----------------------------------------------------------------*/
/* One bio at a time */

/* Submit. True if it ended meanwhile: the caller goes on. */
static bool bk_io_submit(struct bk_io *io)
{
	bk_phase_begin(&io->phase);
	submit_bio(&io->bio);
	return bk_phase_submitted(&io->phase);
}

/* In bi_end_io. True if the submitter has gone: the caller queues work. */
static bool bk_io_ended(struct bk_io *io)
{
	return bk_phase_ended(&io->phase);
}

/* The status of a bio that has ended, and the end of the bio. */
static blk_status_t bk_io_reap(struct bk_io *io)
{
	blk_status_t status = io->bio.bi_status;

	bio_uninit(&io->bio);
	return status;
}

/*
 * Point @bio at @sectors of @buf from sector @from on, or at as much of that
 * as one bio takes. Returns how much.
 */
static unsigned int bk_io_prepare(struct bk_io *io, struct block_device *bdev,
				  blk_opf_t opf, struct bk_buf *buf,
				  unsigned int from, unsigned int sectors)
{
	size_t skip = (size_t)from << SECTOR_SHIFT;
	size_t want = (size_t)sectors << SECTOR_SHIFT;
	struct bio_vec *vec = buf->vec;
	unsigned int nr, max;
	size_t have = 0;

	while (skip >= vec->bv_len)
		skip -= vec++->bv_len;
	max = min_t(size_t, buf->nr - (vec - buf->vec), BIO_MAX_VECS);
	for (nr = 0; nr < max && have < want + skip; nr++)
		have += vec[nr].bv_len;
	want = min(want, have - skip);

	bio_init(&io->bio, bdev, vec, nr, opf);
	io->bio.bi_vcnt = nr;
	io->bio.bi_iter.bi_bvec_done = skip;
	io->bio.bi_iter.bi_size = want;
	return want >> SECTOR_SHIFT;
}

/*----------------------------------------------------------------*/
/* Read */

static void bk_read_endio(struct bio *bio)
{
	struct bk_read *read = bio->bi_private;

	if (bk_io_ended(&read->io))
		queue_work(read->wq, &read->work);
}

/* Submit the next part. True if it has been read already. */
static bool bk_read_part(struct bk_read *read)
{
	read->part = bk_io_prepare(&read->io, read->bdev, REQ_OP_READ,
				   &read->buf, read->pos,
				   read->sectors - read->pos);
	read->io.bio.bi_iter.bi_sector = read->sector + read->pos;
	read->io.bio.bi_end_io = bk_read_endio;
	read->io.bio.bi_private = read;
	return bk_io_submit(&read->io);
}

/*
 * Is there a buffer, and may the origin be read? 0: yes. -EAGAIN: @work will be
 * queued when that changes, perhaps has been: @read is not ours to look at.
 * -ENODEV: never again. -ENOBUFS: it is to be read in smaller parts.
 */
static int bk_read_ready(struct bk_read *read)
{
	struct block_device *bdev;
	int r;

	if (unlikely(READ_ONCE(read->origin->io_closed)))
		return -ENODEV;
	r = bk_buf_get(&read->origin->pool, &read->buf);
	if (unlikely(r))
		return r;
	if (read->bdev)
		return 0;
	if (read->from) {
		read->bdev = read->from->bdev.bdev;
		return 0;
	}
	bdev = bk_origin_io_begin(read->origin, &read->deferred);
	if (IS_ERR_OR_NULL(bdev))
		return bdev ? PTR_ERR(bdev) : -EAGAIN;
	read->bdev = bdev;
	return 0;
}

static void bk_read_go(struct bk_read *read)
{
	int r;

	for (;;) {
		if (read->part) {
			read->status = bk_io_reap(&read->io);
			if (!read->status)
				read->pos += read->part;
			read->part = 0;
		}
		if (read->status || read->pos == read->sectors)
			break;
		r = bk_read_ready(read);
		if (unlikely(r == -ENODEV || r == -ENOBUFS)) {
			read->status = r == -ENOBUFS ? BLK_STS_RESOURCE :
				       BLK_STS_IOERR;
			break;
		}
		if (r || !bk_read_part(read))
			return;		/* bk_read_work() goes on */
	}
	if (likely(read->bdev && !read->from))
		bk_origin_io_end(read->origin);
	read->bdev = NULL;
	read->done(read);
}

static void bk_read_work(struct work_struct *work)
{
	bk_read_go(container_of(work, struct bk_read, work));
}

/* The budget has a buffer for a read that waited. */
static void bk_read_buf_ready(struct bk_buf *buf)
{
	bk_read_queue(container_of(buf, struct bk_read, buf));
}

/**
 * bk_read_init - set a read up
 * @read:	the read, zeroed; the caller sets sector, sectors, and of buf
 *		bytes, background and reserve
 * @origin:	the filter
 * @wq:		where it goes on when it has to wait
 * @done:	called when it is done
 */
void bk_read_init(struct bk_read *read, struct bk_origin *origin,
		  struct workqueue_struct *wq,
		  void (*done)(struct bk_read *read))
{
	read->origin = origin;
	read->wq = wq;
	read->done = done;
	INIT_WORK(&read->work, bk_read_work);
	INIT_LIST_HEAD(&read->deferred.list);
	read->deferred.work = &read->work;
	read->deferred.wq = wq;
	read->deferred.pit = NULL;	/* bk_read_cancel() */
	INIT_LIST_HEAD(&read->buf.list);
	read->buf.ready = bk_read_buf_ready;
	atomic_set(&read->live, 1);
}

/**
 * bk_read_from - another device than the origin is to be read
 * @read:	set up, not started
 * @from:	the device
 *
 * It is not started but by bk_read_queue().
 */
void bk_read_from(struct bk_read *read, struct bk_dest *from)
{
	read->from = from;
	read->wq = from->io_wq;
}

/**
 * bk_read_start - read, or read again after an error
 * @read:	set up
 *
 * Context: process; sleeps only in the origin's submit_bio(). done() may be
 * called from here.
 */
void bk_read_start(struct bk_read *read)
{
	read->status = BLK_STS_OK;
	bk_read_go(read);
}

/**
 * bk_read_queue - as bk_read_start(), from the read's workqueue
 * @read:	set up
 *
 * Context: any process context.
 */
void bk_read_queue(struct bk_read *read)
{
	queue_work(read->wq, &read->work);
}

/**
 * bk_read_cancel - stop waiting for a buffer, or for the origin to be resumed
 * @read:	a read that was started
 *
 * Return: true if it was waiting: done() will not be called.
 */
bool bk_read_cancel(struct bk_read *read)
{
	return bk_buf_cancel(&read->origin->pool, &read->buf) ||
	       bk_origin_io_cancel(read->origin, &read->deferred);
}

/**
 * bk_read_leave - one user of the buffer has done with it
 * @read:	the read, the caller's reference on it held
 *
 * If all who are left have been given up, the buffer is no longer the budget's to
 * miss. If nobody was, it is about to be dropped.
 */
void bk_read_leave(struct bk_read *read)
{
	/* A full barrier: of who came before, if it was given up, that is seen. */
	if (atomic_dec_and_test(&read->live) && READ_ONCE(read->given_up))
		bk_buf_orphan(&read->origin->pool, &read->buf);
}

/**
 * bk_read_give_up - one user of the buffer is not waited for any more
 * @read:	the read; the same
 */
void bk_read_give_up(struct bk_read *read)
{
	WRITE_ONCE(read->given_up, true);
	bk_read_leave(read);
}

/**
 * bk_read_drop - the last user of the buffer has gone
 * @read:	the read
 */
void bk_read_drop(struct bk_read *read)
{
	bk_buf_put(&read->origin->pool, &read->buf);
}

/*----------------------------------------------------------------*/
/* Write */

static void bk_write_endio(struct bio *bio)
{
	struct bk_write *write = bio->bi_private;

	if (bk_io_ended(&write->io))
		bk_dest_queue(write->dest, &write->work);
}

static bool bk_buf_is_zero(struct bk_buf *buf, unsigned int from,
			   unsigned int sectors)
{
	size_t skip = (size_t)from << SECTOR_SHIFT;
	size_t left = (size_t)sectors << SECTOR_SHIFT;
	struct bio_vec *vec = buf->vec;

	while (skip >= vec->bv_len)
		skip -= vec++->bv_len;
	for (; left; vec++, skip = 0) {
		size_t n = min(left, vec->bv_len - skip);

		/* lowmem: buffers are not allocated with __GFP_HIGHMEM */
		if (memchr_inv(page_address(vec->bv_page) + skip, 0, n))
			return false;
		left -= n;
	}
	return true;
}

/* How many sectors from @pos on are alike, all zero units or all others? */
static unsigned int bk_write_extent(struct bk_write *write,
				    enum bk_zeroes zeroes, bool *zero)
{
	unsigned int from, n, pos = write->pos;

	*zero = !write->src && !write->discard;
	if (*zero || write->discard ||
	    (zeroes == BK_ZEROES_OFF && !write->skip_zeroes))
		return write->sectors - pos;

	from = write->sector - write->src->sector;
	while (pos < write->sectors) {
		bool z;

		n = min(write->unit, write->sectors - pos);
		z = bk_buf_is_zero(&write->src->buf, from + pos, n);
		if (pos == write->pos)
			*zero = z;
		else if (z != *zero)
			break;
		pos += n;
	}
	return pos - write->pos;
}

/* Is the next part zeroes that need not be written? Then it is done. */
static bool bk_write_skip(struct bk_write *write)
{
	unsigned int n;
	bool zero;

	if (likely(!write->skip_zeroes))
		return false;
	n = bk_write_extent(write, BK_ZEROES_ON, &zero);
	if (zero)
		write->pos += n;
	return zero;
}

/* Submit the next part. True if it has been written already. */
static bool bk_write_part(struct bk_write *write)
{
	struct block_device *bdev = write->dest->bdev.bdev;
	/* Once: another write may find that the device can't, and turn it off. */
	enum bk_zeroes zeroes = READ_ONCE(*write->zeroes);
	struct bio *bio = &write->io.bio;
	bool zero;
	unsigned int n = bk_write_extent(write, zeroes, &zero);

	if (unlikely(write->discard)) {
		bio_init(bio, bdev, NULL, 0, REQ_OP_DISCARD);
		bio->bi_iter.bi_size = n << SECTOR_SHIFT;
	} else if (zero) {
		bio_init(bio, bdev, NULL, 0, REQ_OP_WRITE_ZEROES |
			 (zeroes == BK_ZEROES_ON ? REQ_NOUNMAP : 0));
		bio->bi_iter.bi_size = n << SECTOR_SHIFT;
	} else {
		n = bk_io_prepare(&write->io, bdev, REQ_OP_WRITE,
				  &write->src->buf,
				  write->sector - write->src->sector +
				  write->pos, n);
	}
	/* Not to be throttled as writeback is: a guest's budget hangs on it. */
	if (write->slot.urgent)
		bio->bi_opf |= REQ_SYNC | REQ_IDLE;
	write->part = n;
	bio->bi_iter.bi_sector = write->sector + write->pos;
	bio->bi_end_io = bk_write_endio;
	bio->bi_private = write;
	return bk_io_submit(&write->io);
}

/* A part has ended. */
static void bk_write_reap(struct bk_write *write)
{
	enum req_op op = bio_op(&write->io.bio);
	bool zero = op == REQ_OP_WRITE_ZEROES;
	blk_status_t status = bk_io_reap(&write->io);

	if (!status) {
		write->pos += write->part;
		if (op == REQ_OP_WRITE)
			write->slot.written += write->part << SECTOR_SHIFT;
	} else if (zero && write->src &&
		 (status == BLK_STS_NOTSUPP || status == BLK_STS_TARGET)) {
		/* The buffer holds the zeroes: write them, for good. */
		WRITE_ONCE(*write->zeroes, BK_ZEROES_OFF);
	} else {
		write->status = status;
	}
	write->part = 0;
}

static void bk_write_go(struct bk_write *write)
{
	struct bk_dest *dest = write->dest;

	for (;;) {
		if (write->part)
			bk_write_reap(write);
		if (write->status || write->pos == write->sectors)
			break;
		if (bk_write_skip(write))
			continue;
		if (!bk_write_part(write))
			return;		/* bk_write_work() goes on */
	}
	bk_dest_put_slot(dest, &write->slot);
	write->done(write);
	bk_dest_put(dest);
}

static void bk_write_work(struct work_struct *work)
{
	bk_write_go(container_of(work, struct bk_write, work));
}

/**
 * bk_write_init - set a write up
 * @write:	the write, zeroed; the caller sets src, sector, sectors, unit,
 *		zeroes
 * @dest:	the destination
 * @urgent:	guest-triggered
 * @done:	called when it is done
 */
void bk_write_init(struct bk_write *write, struct bk_dest *dest, bool urgent,
		   void (*done)(struct bk_write *write))
{
	write->dest = dest;
	write->done = done;
	write->slot.urgent = urgent;
	write->slot.work = &write->work;
	INIT_LIST_HEAD(&write->slot.list);
	INIT_WORK(&write->work, bk_write_work);
}

/* Ask for a place in flight. The reference is dropped by bk_write_go(). */
static bool bk_write_begin(struct bk_write *write)
{
	bk_dest_get(write->dest);
	write->status = BLK_STS_OK;
	write->slot.written = 0;
	write->slot.bytes = (write->sectors - write->pos) << SECTOR_SHIFT;
	return bk_dest_get_slot(write->dest, &write->slot);
}

/**
 * bk_write_start - write, or go on at @pos after an error
 * @write:	set up
 *
 * From the destination's own workqueue: submit_bio() may sleep for as long as
 * the device likes.
 *
 * Context: process; does not sleep.
 */
void bk_write_start(struct bk_write *write)
{
	if (bk_write_begin(write))
		bk_dest_queue(write->dest, &write->work);
}

/**
 * bk_write_cancel - stop waiting for a place in flight
 * @write:	a write that was started
 *
 * Return: true if it was waiting: done() will not be called.
 */
bool bk_write_cancel(struct bk_write *write)
{
	if (!bk_dest_cancel_slot(write->dest, &write->slot))
		return false;
	bk_dest_put(write->dest);
	return true;
}
