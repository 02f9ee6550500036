// SPDX-License-Identifier: GPL-2.0-only
/*
 * Opening a metadata device, and loading the bitmaps that are on it. Only reads.
 * The contract is in store.h.
 */

#include "bitmap.h"
#include "cfg.h"
#include "dest.h"
#include "module.h"
#include "store-int.h"

#include <linux/completion.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

/* How long opening may take. */
#define BK_STORE_OPEN_MS	10000

__printf(3, 4)
static int bk_load_refuse(char *error, int err, const char *fmt, ...)
{
	char text[BK_ERROR_LEN];
	va_list args;

	va_start(args, fmt);
	vscnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	scnprintf(error, BK_ERROR_LEN, "Metadata device: %s", text);
	return err;
}

static int bk_load_read(struct bk_store *store, u64 block, unsigned int nr)
{
	return bk_block_io(&store->io, store->dest->bdev.bdev,
			   REQ_OP_READ | REQ_META, block * BK_MD_SECTORS,
			   store->buf, nr * BK_MD_BLOCK);
}

static void bk_load_saw(struct bk_store *store, u64 seq)
{
	store->seq = max(store->seq, seq);
}

/*----------------------------------------------------------------*/
/* Root and lease */

/* The newer one of two copies that are good; a sentence if there is none. */
static int bk_load_root(struct bk_store *store, char *error)
{
	struct bk_md_root *other = kvzalloc(sizeof(*other), GFP_KERNEL);
	char text[2][BK_ERROR_LEN];
	int r[2] = { -ENOMEM, -ENOMEM };
	unsigned int i;

	for (i = 0; i < 2 && other; i++) {
		r[i] = bk_load_read(store, bk_md_root_block(i),
				    BK_MD_ROOT_BLOCKS);
		if (r[i])
			strscpy(text[i], "it can't be read", sizeof(text[i]));
		else
			r[i] = bk_md_root_decode(i ? other : &store->root, i,
						 store->buf, text[i],
						 sizeof(text[i]));
	}
	if (!r[1] && (r[0] || other->seq > store->root.seq)) {
		memcpy(&store->root, other, sizeof(*other));
		store->root_newer = 1;
	}
	kvfree(other);
	if (!r[0] || !r[1]) {
		bk_load_saw(store, store->root.seq);
		return 0;
	}
	if (r[0] == -ENOMEM)
		return bk_load_refuse(error, r[0], "out of memory");
	/* What was torn tells less than what is of another version. */
	i = r[0] == -EBADMSG && r[1] != -EINVAL;
	return bk_load_refuse(error, r[i], "%s", text[i]);
}

/* A copy that can't be read is no good one, here and below. */
static void bk_load_lease(struct bk_store *store)
{
	struct bk_md_lease lease;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		if (bk_load_read(store, bk_md_lease_block(i), 1) ||
		    !bk_md_lease_decode(&store->root, &lease, i, store->buf) ||
		    lease.seq <= store->lease.seq)
			continue;
		store->lease = lease;
		store->lease_newer = i;
	}
	bk_load_saw(store, store->lease.seq);
}

/* Is it for this filter? */
static int bk_load_check(struct bk_store *store, struct bk_instance *in,
			 char *error)
{
	const struct bk_md_root *root = &store->root;
	u64 blocks = bdev_nr_sectors(store->dest->bdev.bdev) / BK_MD_SECTORS;
	char name[DM_NAME_LEN] = "", uuid[DM_UUID_LEN] = "";

	if (root->blocks > blocks)
		return bk_load_refuse(error, -EINVAL,
				      "it has %llu blocks, and had %llu when it was made",
				      blocks, root->blocks);
	if (root->len != in->ti->len)
		return bk_load_refuse(error, -EINVAL,
				      "it is for a device of %llu sectors, not %llu",
				      root->len, (u64)in->ti->len);
	dm_copy_name_and_uuid(in->origin->md, name, uuid);
	if (root->origin[0] && strcmp(root->origin, uuid[0] ? uuid : name))
		return bk_load_refuse(error, -EINVAL,
				      "it is for another device: %.100s",
				      root->origin);
	return 0;
}

/*----------------------------------------------------------------*/
/* The hot map */

static unsigned long *bk_load_map(struct bk_store *store)
{
	return kvcalloc(store->root.hot_blocks, BK_MD_PAYLOAD, GFP_KERNEL);
}

static int bk_load_alloc(struct bk_store *store, char *error)
{
	store->shift = store->root.region_shift;
	store->hot = bk_load_map(store);
	store->wanted = bk_load_map(store);
	store->disk_hot = bk_load_map(store);
	store->cooling = bk_load_map(store);
	store->old = bk_load_map(store);
	store->wanted_blocks = kvcalloc(BITS_TO_LONGS(store->root.hot_blocks),
					sizeof(long), GFP_KERNEL);
	store->second_hot = kvcalloc(BITS_TO_LONGS(store->root.hot_blocks),
				     sizeof(long), GFP_KERNEL);
	if (store->hot && store->wanted && store->disk_hot && store->cooling &&
	    store->old && store->wanted_blocks && store->second_hot)
		return 0;
	return bk_load_refuse(error, -ENOMEM, "out of memory");
}

/* A block of the map: its newer good copy; all of it is hot if there is none. */
static void bk_load_hot_block(struct bk_store *store, unsigned int i)
{
	unsigned long *words = store->disk_hot +
			       (unsigned long)i * BK_STORE_WORDS;
	u64 seq, best = 0;
	unsigned int copy;

	for (copy = 0; copy < 2; copy++) {
		u64 where = bk_md_hot_block(&store->root, i, copy);

		if (bk_load_read(store, where, 1) ||
		    !bk_md_bits_check(&store->root, BK_MD_HOT, where, 0,
				      store->buf, &seq) || seq <= best)
			continue;
		best = seq;
		if (copy)
			__set_bit(i, store->second_hot);
		memset(words, 0, BK_MD_PAYLOAD);
		bk_md_bits_or(words, BK_MD_BITS, store->buf);
	}
	if (!best)
		memset(words, 0xff, BK_MD_PAYLOAD);
	bk_load_saw(store, best);
}

/* After a clean stop nothing is hot, whatever the blocks say. */
static void bk_load_hot(struct bk_store *store)
{
	size_t size = (size_t)store->root.hot_blocks * BK_MD_PAYLOAD;
	unsigned int i;

	for (i = 0; i < store->root.hot_blocks; i++)
		bk_load_hot_block(store, i);
	if (store->root.clean)
		memset(store->disk_hot, 0, size);
	memcpy(store->hot, store->disk_hot, size);
}

/*----------------------------------------------------------------*/
/* Bitmaps */

/*
 * Set what the pages [@page, @page + @nr) say in a copy; tell in @good which of
 * them are good ones, and in @seqs their sequence numbers. Within a half bits are
 * only ever added, so of two good copies that differ the newer one has all that
 * the older one has.
 */
static int bk_load_run(struct bk_store *store, const struct bk_md_entry *e,
		       u32 page, unsigned int nr, unsigned int copy,
		       struct bk_bits *bits, u64 *good, u64 *seqs)
{
	u64 where = bk_md_page_block(e, e->half, page, copy);
	unsigned int i;
	int r = 0;

	*good = 0;
	if (bk_load_read(store, where, nr))
		return 0;
	for (i = 0; i < nr && !r; i++) {
		unsigned long at = (unsigned long)(page + i) * BK_MD_BITS;
		void *buf = store->buf + i * BK_MD_BLOCK;

		if (!bk_md_bits_check(&store->root, BK_MD_PAGE, where + i,
				      e->set, buf, &seqs[i]))
			continue;
		bk_load_saw(store, seqs[i]);
		*good |= BIT_ULL(i);
		r = bk_md_bits_or(bits->words + at / BITS_PER_LONG,
				  min_t(unsigned long, bits->nr - at,
					BK_MD_BITS), buf);
	}
	return r;
}

/* How many bits a page has on disk, in both of its copies. */
static u32 bk_load_count(struct bk_bits *bits, u32 page)
{
	unsigned long at = (unsigned long)page * BK_MD_BITS;

	return bitmap_weight(bits->words + at / BITS_PER_LONG,
			     min_t(unsigned long, bits->nr - at, BK_MD_BITS));
}

/* Which copy of a page is to be kept until the other one is good? */
static u32 bk_load_newer(const u64 good[2], u64 (*seqs)[BK_STORE_BUF],
			 unsigned int i)
{
	bool second = good[1] & BIT_ULL(i) &&
		      (!(good[0] & BIT_ULL(i)) || seqs[1][i] > seqs[0][i]);

	return second ? BK_STORE_NEWER_1 : BK_STORE_NEWER_0;
}

/* -EBADMSG: a page has no good copy. */
static int bk_load_pages(struct bk_store *store, unsigned int slot,
			 struct bk_bits *bits)
{
	const struct bk_md_entry *e = &store->root.entry[slot];
	u32 pages = DIV_ROUND_UP(bits->nr, BK_MD_BITS), page, i;
	u64 (*seqs)[BK_STORE_BUF] = kcalloc(2, sizeof(*seqs), GFP_KERNEL);
	unsigned int nr;
	u64 good[2];
	int r = seqs ? 0 : -ENOMEM;

	/* The device may have been longer: what is behind its end is not read. */
	for (page = 0; page < pages && !r; page += nr) {
		nr = min_t(u32, pages - page, BK_STORE_BUF);
		r = bk_load_run(store, e, page, nr, 0, bits, &good[0], seqs[0]);
		if (!r)
			r = bk_load_run(store, e, page, nr, 1, bits, &good[1],
					seqs[1]);
		if (!r && (good[0] | good[1]) != GENMASK_ULL(nr - 1, 0))
			r = -EBADMSG;
		/* One whose copies differ is written before it counts as saved. */
		for (i = 0; i < nr && !r; i++)
			store->slot[slot].counts[page + i] =
				good[0] & good[1] & BIT_ULL(i) &&
				seqs[0][i] == seqs[1][i] ?
				bk_load_count(bits, page + i) :
				bk_load_newer(good, seqs, i);
		cond_resched();
	}
	kfree(seqs);
	bk_bits_recount(bits);
	return r;
}

/* What may have been written since the pages were. */
static void bk_load_or_hot(struct bk_store *store, struct bk_bits *bits)
{
	unsigned long nr = bk_md_units(store->root.len, store->shift), i = 0;

	for (;;) {
		i = find_next_bit(store->disk_hot, nr, i);
		if (i >= nr)
			return;
		bk_bits_mark(bits, (sector_t)i << store->shift,
			     min_t(sector_t, bits->len,
				   (sector_t)(i + 1) << store->shift));
		i++;
		cond_resched();
	}
}

/* Why can a bitmap not be used? NULL: it can. */
static const char *bk_load_bits(struct bk_store *store, unsigned int slot,
				struct bk_bits *bits)
{
	const struct bk_md_entry *e = &store->root.entry[slot];
	int r = bk_load_pages(store, slot, bits);

	if (e->why[0])
		return e->why;
	if (r)
		return r == -EBADMSG || r == -EUCLEAN ?
		       "its pages on the metadata device are damaged" :
		       "the metadata device can't be read";
	if (store->root.clean && bk_bits_crc(bits) != e->crc)
		return "its checksum on the metadata device is wrong";
	if (!store->root.clean && e->recording)
		bk_load_or_hot(store, bits);
	return NULL;
}

static int bk_load_bitmap(struct bk_store *store, struct bk_origin *origin,
			  unsigned int slot, char *error)
{
	const struct bk_md_entry *e = &store->root.entry[slot];
	struct bk_bitmap *bitmap;
	struct bk_bits *bits;
	const char *why;
	int r;

	store->slot[slot].counts = kvcalloc(e->pages, sizeof(u32), GFP_KERNEL);
	bits = bk_bits_alloc(store->root.len, e->shift, false, &r);
	bitmap = kzalloc(sizeof(*bitmap), GFP_KERNEL);
	if (!bitmap || !bits || !store->slot[slot].counts) {
		kfree(bitmap);
		bk_bits_put(bits);
		return bk_load_refuse(error, -ENOMEM, "out of memory");
	}
	why = bk_load_bits(store, slot, bits);
	/* From now on it misses what is written: that is to be known the next time. */
	if (why && !e->why[0])
		strscpy(store->root.entry[slot].why, why, BK_MD_NAME);
	bits->persistent = true;
	strscpy(bitmap->name, e->name, sizeof(bitmap->name));
	strscpy(bitmap->tag, e->tag, sizeof(bitmap->tag));
	strscpy(bitmap->why, why ?: "", sizeof(bitmap->why));
	bitmap->recording = e->recording;
	bitmap->bits = bits;
	bitmap->slot = slot;
	store->slot[slot].taken = true;
	store->slot[slot].bits[0] = bits;
	bk_bits_get(bits);
	mutex_lock(&origin->lock);
	list_add_tail(&bitmap->list, &origin->bitmaps);
	mutex_unlock(&origin->lock);
	return 0;
}

/* The filter marks them from its first write on. Nobody has put in any yet. */
static int bk_load_publish(struct bk_origin *origin, char *error)
{
	struct bk_gate *gate = &origin->gate;
	struct bk_bitmap *bitmap;
	unsigned int nr = 0;
	struct bk_cfg *cfg;

	mutex_lock(&origin->lock);
	list_for_each_entry(bitmap, &origin->bitmaps, list)
		nr++;
	mutex_lock(&gate->cfg_lock);
	cfg = bk_cfg_copy(gate, 0, nr, GFP_KERNEL);
	if (cfg) {
		list_for_each_entry(bitmap, &origin->bitmaps, list)
			if (bitmap->recording && !bitmap->why[0])
				bk_cfg_add_bits(cfg, bitmap->bits);
		/* No cut: nothing has been written yet. */
		bk_gate_replace(gate, cfg);
	}
	mutex_unlock(&gate->cfg_lock);
	mutex_unlock(&origin->lock);
	return cfg ? 0 : bk_load_refuse(error, -ENOMEM, "out of memory");
}

static int bk_load(struct bk_store *store, struct bk_instance *in, char *error)
{
	struct bk_origin *origin = in->origin;
	unsigned int i;
	int r;

	r = bk_load_root(store, error);
	if (!r)
		r = bk_load_check(store, in, error);
	if (!r)
		r = bk_load_alloc(store, error);
	if (!r) {
		bk_load_lease(store);
		bk_load_hot(store);
	}
	for (i = 0; i < BK_MD_MAX_BITMAPS && !r; i++)
		if (store->root.entry[i].name[0])
			r = bk_load_bitmap(store, origin, i, error);
	return r ?: bk_load_publish(origin, error);
}

/*----------------------------------------------------------------*/
/* Opening */

static void bk_store_notify(struct work_struct *work)
{
	complete_all(&container_of(work, struct bk_store, notify)->told);
}

static struct bk_store *bk_store_alloc(void)
{
	struct bk_store *store = kvzalloc(sizeof(*store), GFP_KERNEL);

	if (!store)
		return NULL;
	kref_init(&store->ref);
	spin_lock_init(&store->lock);
	init_completion(&store->told);
	INIT_LIST_HEAD(&store->reqs);
	INIT_WORK(&store->notify, bk_store_notify);
	INIT_WORK(&store->work, bk_store_work);
	INIT_DELAYED_WORK(&store->tick, bk_store_tick);
	store->buf = __vmalloc(BK_STORE_BUF * BK_MD_BLOCK,
			       GFP_KERNEL | __GFP_NOWARN);
	store->tmp = kmalloc(BK_MD_PAYLOAD, GFP_KERNEL);
	if (store->buf && store->tmp)
		return store;
	kref_put(&store->ref, bk_store_free);
	return NULL;
}

static int bk_store_open_device(struct bk_store *store, struct bk_instance *in,
				const char *name, char *error)
{
	struct block_device *bdev;
	int err;

	store->dest = bk_dest_open(name, bk_wq, &store->notify);
	if (!store->dest)
		return bk_load_refuse(error, -ENOMEM, "out of memory");
	if (!wait_for_completion_timeout(&store->told,
					 msecs_to_jiffies(BK_STORE_OPEN_MS)))
		return bk_load_refuse(error, -ETIMEDOUT, "it can't be opened");
	err = store->dest->error;
	if (err)
		return bk_load_refuse(error, err, "it %s", err == -EBUSY ?
				      "is in use" : err == -EROFS ||
				      err == -EACCES ? "is read-only" :
				      "can't be opened");
	bdev = store->dest->bdev.bdev;
	snprintf(store->name, sizeof(store->name), "%u:%u",
		 MAJOR(bdev->bd_dev), MINOR(bdev->bd_dev));
	if (bdev->bd_disk == dm_disk(in->origin->md) ||
	    bdev == in->dev->bdev)
		return bk_load_refuse(error, -EINVAL, "it is the device itself");
	if (bdev_logical_block_size(bdev) > BK_MD_BLOCK)
		return bk_load_refuse(error, -EINVAL,
				      "its blocks are larger than 4 KiB");
	return 0;
}

/* An instance beside others: its table must say the same. */
static int bk_store_same(struct bk_origin *origin, const char *name,
			 char *error)
{
	struct bk_store *store = origin->store;
	dev_t dev;

	if (!name && !store)
		return 0;
	if (name && store && (!strcmp(name, store->name) ||
			      (!lookup_bdev(name, &dev) &&
			       dev == store->dest->dev)))
		return 0;
	return bk_load_refuse(error, -EBUSY,
			      "it can't change while the filter is there");
}

/**
 * bk_store_open - open and load the metadata device of a table
 * @in:		the instance that the table makes
 * @name:	MAJ:MIN or a path; NULL if it has none
 * @error:	filled with a sentence on failure, BK_ERROR_LEN
 *
 * Nothing is written.
 *
 * Context: dm's ctr: process, sleeps for as long as the device takes to read.
 * Return: 0 or a negative errno.
 */
int bk_store_open(struct bk_instance *in, const char *name, char *error)
{
	struct bk_origin *origin = in->origin;
	struct bk_store *store;
	int r;

	if (!bk_origin_is_new(in))
		return bk_store_same(origin, name, error);
	if (!name)
		return 0;
	store = bk_store_alloc();
	if (!store)
		return bk_load_refuse(error, -ENOMEM, "out of memory");
	r = bk_store_open_device(store, in, name, error);
	/* On failure, too: closing the filter closes it. */
	store->origin = origin;
	origin->store = store;
	return r ?: bk_load(store, in, error);
}
