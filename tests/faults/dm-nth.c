// SPDX-License-Identifier: GPL-2.0-only
/*
 * nth: for tests, a device whose n-th read, write or flush fails, or waits.
 *
 *   <start> <len> nth <device>
 *
 * Messages, each of which ends what the one before it asked for, and begins to
 * count:
 *
 *   fail <kind> <n>	The n-th of that kind fails (EIO).
 *   time_out <kind> <n>	The same, but with ETIMEDOUT.
 *   lose <kind> <n>	It fails, and so do all that follow it.
 *   stall <kind> <n>	It waits.
 *   calm		All is well; what waits goes on.
 *
 * A kind is read, write (all that changes data) or flush (without data: dm sends
 * those of others apart). Status: how many came of the kind; 1 if the n-th was one
 * of them; how many wait. A suspend lets go what waits.
 */

#include <linux/bio.h>
#include <linux/device-mapper.h>
#include <linux/module.h>

enum nth_fault {
	NTH_CALM,
	NTH_FAIL,
	NTH_TIME_OUT,
	NTH_LOSE,
	NTH_STALL,
};

enum nth_kind {
	NTH_READ,
	NTH_WRITE,
	NTH_FLUSH,
};

static const char *const nth_faults[] = {
	"calm", "fail", "time_out", "lose", "stall"
};

static const char *const nth_kinds[] = { "read", "write", "flush" };

struct nth {
	struct dm_dev *dev;
	spinlock_t lock;	/* all below; taken in map and in messages */
	enum nth_fault fault;
	enum nth_kind kind;
	unsigned int at;
	unsigned int seen;
	unsigned int nr_waiting;
	struct bio_list waiting;
};

/* Begin anew, with another fault. What waits goes on. */
static void nth_set(struct nth *n, enum nth_fault fault, enum nth_kind kind,
		    unsigned int at)
{
	struct bio_list bios;
	struct bio *bio;

	spin_lock_irq(&n->lock);
	n->fault = fault;
	n->kind = kind;
	n->at = at;
	n->seen = 0;
	n->nr_waiting = 0;
	bios = n->waiting;
	bio_list_init(&n->waiting);
	spin_unlock_irq(&n->lock);

	while ((bio = bio_list_pop(&bios)))
		dm_submit_bio_remap(bio, NULL);
}

static int nth_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	struct nth *n;
	int r;

	if (argc != 1) {
		ti->error = "One argument is required: device";
		return -EINVAL;
	}
	n = kzalloc(sizeof(*n), GFP_KERNEL);
	if (!n) {
		ti->error = "Out of memory";
		return -ENOMEM;
	}
	spin_lock_init(&n->lock);
	bio_list_init(&n->waiting);
	r = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table), &n->dev);
	if (r) {
		ti->error = "Device can't be opened";
		kfree(n);
		return r;
	}
	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	ti->num_write_zeroes_bios = 1;
	ti->flush_supported = true;
	ti->accounts_remapped_io = true;
	ti->private = n;
	return 0;
}

static void nth_dtr(struct dm_target *ti)
{
	struct nth *n = ti->private;

	dm_put_device(ti, n->dev);
	kfree(n);
}

static enum nth_kind nth_kind(struct bio *bio)
{
	if (!op_is_write(bio_op(bio)))
		return NTH_READ;
	return bio_sectors(bio) ? NTH_WRITE : NTH_FLUSH;
}

static int nth_map(struct dm_target *ti, struct bio *bio)
{
	enum nth_fault fault = NTH_CALM;
	struct nth *n = ti->private;
	unsigned long flags;

	bio_set_dev(bio, n->dev->bdev);
	bio->bi_iter.bi_sector = dm_target_offset(ti, bio->bi_iter.bi_sector);

	spin_lock_irqsave(&n->lock, flags);
	if (nth_kind(bio) == n->kind) {
		n->seen++;
		if (n->seen == n->at || (n->seen > n->at && n->fault == NTH_LOSE))
			fault = n->fault;
		if (fault == NTH_STALL) {
			bio_list_add(&n->waiting, bio);
			n->nr_waiting++;
		}
	}
	spin_unlock_irqrestore(&n->lock, flags);

	switch (fault) {
	case NTH_FAIL:
	case NTH_LOSE:
		return DM_MAPIO_KILL;
	case NTH_TIME_OUT:
		bio->bi_status = BLK_STS_TIMEOUT;
		bio_endio(bio);
		return DM_MAPIO_SUBMITTED;
	case NTH_STALL:
		return DM_MAPIO_SUBMITTED;
	default:
		dm_submit_bio_remap(bio, NULL);
		return DM_MAPIO_SUBMITTED;
	}
}

static void nth_presuspend(struct dm_target *ti)
{
	nth_set(ti->private, NTH_CALM, NTH_READ, 0);
}

static int nth_message(struct dm_target *ti, unsigned int argc, char **argv,
		       char *result, unsigned int maxlen)
{
	int fault, kind = NTH_READ;
	unsigned int at = 0;

	fault = match_string(nth_faults, ARRAY_SIZE(nth_faults), argv[0]);
	if (fault < 0 || argc != (fault == NTH_CALM ? 1 : 3))
		return -EINVAL;
	if (fault != NTH_CALM) {
		kind = match_string(nth_kinds, ARRAY_SIZE(nth_kinds), argv[1]);
		if (kind < 0 || kstrtouint(argv[2], 10, &at) || !at)
			return -EINVAL;
	}
	nth_set(ti->private, fault, kind, at);
	return 0;
}

static void nth_status(struct dm_target *ti, status_type_t type,
		       unsigned int status_flags, char *result,
		       unsigned int maxlen)
{
	struct nth *n = ti->private;
	unsigned int sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		spin_lock_irq(&n->lock);
		DMEMIT("%u %u %u", n->seen, n->at && n->seen >= n->at,
		       n->nr_waiting);
		spin_unlock_irq(&n->lock);
		break;
	case STATUSTYPE_TABLE:
		DMEMIT("%s", n->dev->name);
		break;
	case STATUSTYPE_IMA:
		*result = '\0';
		break;
	}
}

static int nth_iterate_devices(struct dm_target *ti,
			       iterate_devices_callout_fn fn, void *data)
{
	struct nth *n = ti->private;

	return fn(ti, n->dev, 0, ti->len, data);
}

static struct target_type nth_target = {
	.name = "nth",
	.version = { 1, 0, 0 },
	.module = THIS_MODULE,
	.ctr = nth_ctr,
	.dtr = nth_dtr,
	.map = nth_map,
	.presuspend = nth_presuspend,
	.message = nth_message,
	.status = nth_status,
	.iterate_devices = nth_iterate_devices,
};

static int __init nth_init(void)
{
	return dm_register_target(&nth_target);
}

static void __exit nth_exit(void)
{
	dm_unregister_target(&nth_target);
}

module_init(nth_init);
module_exit(nth_exit);

MODULE_DESCRIPTION("A device whose n-th I/O fails or waits, for tests");
MODULE_LICENSE("GPL");
