// SPDX-License-Identifier: GPL-2.0-only
/*
 * The target "backup-pass". The contract is in pass.h.
 */

#include "pass.h"
#include "compat.h"
#include "module.h"
#include "origin.h"

#include <linux/device-mapper.h>
#include <linux/module.h>
#include <linux/slab.h>

/**
 * bk_ask_all_bios - ask dm for all bios, once, with the limits of the device below
 * @ti:		a target that is being made
 */
void bk_ask_all_bios(struct dm_target *ti)
{
	ti->num_flush_bios = 1;
	ti->num_discard_bios = 1;
	ti->num_secure_erase_bios = 1;
	ti->num_write_zeroes_bios = 1;
}

/**
 * struct bk_pass - a table
 * @dev:	what it is over
 * @origin:	the filter that was in the device when it was loaded, or NULL
 */
struct bk_pass {
	struct dm_dev *dev;
	struct bk_origin *origin;
};

static int bk_pass_ctr(struct dm_target *ti, unsigned int argc, char **argv)
{
	const char *error = NULL;
	struct bk_pass *pass;
	int r;

	if (argc != 1) {
		ti->error = "One argument is required: the device";
		return -EINVAL;
	}
	if (ti->begin) {
		ti->error = "Target must begin at sector 0";
		return -EINVAL;
	}
	pass = kzalloc(sizeof(*pass), GFP_KERNEL);
	if (!pass) {
		ti->error = "Out of memory";
		return -ENOMEM;
	}
	r = dm_get_device(ti, argv[0], dm_table_get_mode(ti->table),
			  &pass->dev);
	if (r) {
		ti->error = "Device can't be opened";
		goto out_free;
	}
	pass->origin = bk_origin_pass(dm_table_get_md(ti->table),
				      pass->dev->bdev, &error);
	if (IS_ERR(pass->origin)) {
		r = PTR_ERR(pass->origin);
		ti->error = (char *)error;
		goto out_put;
	}
	bk_ask_all_bios(ti);
	ti->private = pass;
	return 0;

out_put:
	dm_put_device(ti, pass->dev);
out_free:
	kfree(pass);
	return r;
}

static void bk_pass_dtr(struct dm_target *ti)
{
	struct bk_pass *pass = ti->private;

	bk_origin_unpass(pass->origin);
	dm_put_device(ti, pass->dev);
	kfree(pass);
}

static int bk_pass_map(struct dm_target *ti, struct bio *bio)
{
	struct bk_pass *pass = ti->private;

	bio_set_dev(bio, pass->dev->bdev);
	return DM_MAPIO_REMAPPED;
}

static void bk_pass_status(struct dm_target *ti, status_type_t type,
			   unsigned int status_flags, char *result,
			   unsigned int maxlen)
{
	struct bk_pass *pass = ti->private;
	size_t sz = 0;

	switch (type) {
	case STATUSTYPE_INFO:
		result[0] = '\0';
		break;
	case STATUSTYPE_TABLE:
		DMEMIT("%s", pass->dev->name);
		break;
	case STATUSTYPE_IMA:
		DMEMIT_TARGET_NAME_VERSION(ti->type);
		DMEMIT(",device=%s;", pass->dev->name);
		break;
	}
}

static int bk_pass_iterate(struct dm_target *ti, iterate_devices_callout_fn fn,
			   void *data)
{
	struct bk_pass *pass = ti->private;

	return fn(ti, pass->dev, 0, ti->len, data);
}

static struct target_type bk_pass_target = {
	.name		= "backup-pass",
	.version	= { 1, 0, 0 },
	.features	= DM_TARGET_SINGLETON | DM_TARGET_WILDCARD |
			  DM_TARGET_NOWAIT | DM_TARGET_PASSES_CRYPTO |
			  DM_TARGET_PASSES_INTEGRITY | DM_TARGET_ATOMIC_WRITES,
	.module		= THIS_MODULE,
	.ctr		= bk_pass_ctr,
	.dtr		= bk_pass_dtr,
	.map		= bk_pass_map,
	.status		= bk_pass_status,
	.iterate_devices = bk_pass_iterate,
};

/**
 * bk_pass_init - register the target
 *
 * Return: 0 or a negative errno.
 */
int __init bk_pass_init(void)
{
	return dm_register_target(&bk_pass_target);
}

/**
 * bk_pass_exit - undo bk_pass_init()
 */
void bk_pass_exit(void)
{
	dm_unregister_target(&bk_pass_target);
}
