// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a filter does to writes. The contract is in cfg.h.
 */

#include "cfg.h"
#include "mirror-copy.h"

#include <linux/slab.h>

static struct bk_cfg *bk_cfg_current(struct bk_gate *gate)
{
	return rcu_dereference_protected(gate->cfg,
					 lockdep_is_held(&gate->cfg_lock));
}

/**
 * bk_cfg_add_pit - put a point in time in
 * @cfg:	not published yet, with room for it
 * @pit:	the point in time
 */
void bk_cfg_add_pit(struct bk_cfg *cfg, struct bk_pit *pit)
{
	bk_pit_get(pit);
	cfg->pits[cfg->nr_pits++] = pit;
	cfg->active = true;
}

/**
 * bk_cfg_swap_pit - put a point in time in the place of another one
 * @cfg:	not published yet
 * @old:	the one that is in it
 * @next:	the one that is to be
 */
void bk_cfg_swap_pit(struct bk_cfg *cfg, struct bk_pit *old,
		     struct bk_pit *next)
{
	unsigned int i;

	for (i = 0; i < cfg->nr_pits; i++) {
		if (cfg->pits[i] != old)
			continue;
		bk_pit_get(next);
		cfg->pits[i] = next;
		bk_pit_put(old);	/* not the last: its owner has one */
	}
}

/**
 * bk_cfg_add_bits - put bits in
 * @cfg:	not published yet, with room for them
 * @bits:	the bits
 */
void bk_cfg_add_bits(struct bk_cfg *cfg, struct bk_bits *bits)
{
	bk_bits_get(bits);
	cfg->bits[cfg->nr_bits++] = bits;
	cfg->persistent |= bits->persistent;
	cfg->active = true;
}

/**
 * bk_cfg_drop_bits - take bits out
 * @cfg:	not published yet
 * @bits:	the bits; nothing happens if they are not in it
 */
void bk_cfg_drop_bits(struct bk_cfg *cfg, struct bk_bits *bits)
{
	unsigned int i;

	for (i = 0; i < cfg->nr_bits && cfg->bits[i] != bits; i++)
		;
	if (i == cfg->nr_bits)
		return;
	cfg->bits[i] = cfg->bits[--cfg->nr_bits];
	cfg->active = cfg->nr_pits || cfg->nr_bits || cfg->persistent ||
		      cfg->both;
	bk_bits_put(bits);	/* not the last: it is published, or named */
}

/**
 * bk_cfg_add_end - put bits in that are marked when writes have ended
 * @cfg:	not published yet, with room for them
 * @bits:	the bits
 */
void bk_cfg_add_end(struct bk_cfg *cfg, struct bk_bits *bits)
{
	bk_bits_get(bits);
	cfg->ends[cfg->nr_ends++] = bits;
}

/**
 * bk_cfg_add_both - have writes go to a mirror's destination as well
 * @cfg:	not published yet, with the mirror's bits in it, and no other mirror
 * @mc:		the mirror
 */
void bk_cfg_add_both(struct bk_cfg *cfg, struct bk_mcopy *mc)
{
	if (WARN_ON_ONCE(cfg->both))
		return;
	bk_mcopy_get(mc);
	cfg->both = mc;
	cfg->active = true;
}

/**
 * bk_cfg_swap_bits - put bits in the place of others
 * @cfg:	not published yet
 * @old:	the bits that are in it
 * @next:	those that are to be
 */
void bk_cfg_swap_bits(struct bk_cfg *cfg, struct bk_bits *old,
		      struct bk_bits *next)
{
	bk_cfg_drop_bits(cfg, old);
	bk_cfg_add_bits(cfg, next);
}

/* Regions are to be hot from the first persistent bitmap on. */
static void bk_cfg_keep_persistent(struct bk_cfg *next,
				   const struct bk_cfg *cur)
{
	next->persistent |= cur->persistent;
	next->active |= next->persistent;
}

/**
 * bk_cfg_copy - what is published, with room for more
 * @gate:	the gate; its cfg_lock is held
 * @extra_pits:	how many points in time are to be added
 * @extra_bits:	how many bits are to be added, of both kinds
 * @gfp:	how to allocate
 *
 * Context: process, may sleep; memory reclaim must not depend on us.
 * Return: a cfg for a cut, to be given up with bk_cfg_put(); NULL if out of
 * memory.
 */
struct bk_cfg *bk_cfg_copy(struct bk_gate *gate, unsigned int extra_pits,
			   unsigned int extra_bits, gfp_t gfp)
{
	struct bk_cfg *cur = bk_cfg_current(gate);
	struct bk_cfg *next = bk_cfg_alloc(gate, cur->nr_pits + extra_pits,
					   cur->nr_bits + extra_bits,
					   cur->nr_ends + extra_bits, gfp);
	unsigned int i;

	for (i = 0; next && i < cur->nr_pits; i++)
		bk_cfg_add_pit(next, cur->pits[i]);
	for (i = 0; next && i < cur->nr_bits; i++)
		bk_cfg_add_bits(next, cur->bits[i]);
	for (i = 0; next && i < cur->nr_ends; i++)
		bk_cfg_add_end(next, cur->ends[i]);
	if (next && cur->both)
		bk_cfg_add_both(next, cur->both);
	if (next)
		bk_cfg_keep_persistent(next, cur);
	return next;
}

/* What is left without @pit and @end. */
static struct bk_cfg *bk_cfg_without(struct bk_gate *gate, struct bk_pit *pit,
				     struct bk_bits *end)
{
	struct bk_cfg *cur = bk_cfg_current(gate);
	struct bk_cfg *next;
	unsigned int i;

	/* Small; a stopped pit that stayed would slow every write for ever. */
	next = bk_cfg_alloc(gate, cur->nr_pits, cur->nr_bits, cur->nr_ends,
			    GFP_NOIO | __GFP_NOFAIL);
	for (i = 0; i < cur->nr_pits; i++)
		if (cur->pits[i] != pit)
			bk_cfg_add_pit(next, cur->pits[i]);
	for (i = 0; i < cur->nr_bits; i++)
		bk_cfg_add_bits(next, cur->bits[i]);
	for (i = 0; i < cur->nr_ends; i++)
		if (cur->ends[i] != end)
			bk_cfg_add_end(next, cur->ends[i]);
	if (cur->both && cur->both->bits != end)
		bk_cfg_add_both(next, cur->both);
	bk_cfg_keep_persistent(next, cur);
	return next;
}

/* Publish @next, which is what was there without some of it. */
static void bk_cfg_reduce(struct bk_origin *origin, struct bk_cfg *next)
{
	bk_gate_replace(&origin->gate, next);
	if (!next->nr_pits && !next->nr_ends)
		bk_pool_trim(&origin->pool);
}

/**
 * bk_cfg_remove_pit - take a point in time out
 * @origin:	the filter
 * @pit:	the point in time; stopped, or with nothing pending
 *
 * Its reference is dropped after a grace period.
 *
 * Context: process, sleeps.
 */
void bk_cfg_remove_pit(struct bk_origin *origin, struct bk_pit *pit)
{
	struct bk_gate *gate = &origin->gate;
	struct bk_cfg *cur;
	unsigned int i;

	mutex_lock(&gate->cfg_lock);
	cur = bk_cfg_current(gate);
	for (i = 0; i < cur->nr_pits && cur->pits[i] != pit; i++)
		;
	if (i == cur->nr_pits)
		goto out;
	bk_cfg_reduce(origin, bk_cfg_without(gate, pit, NULL));
out:
	mutex_unlock(&gate->cfg_lock);
}

/* Are bits marked when writes have ended? */
static bool bk_cfg_has_end(struct bk_cfg *cfg, struct bk_bits *bits)
{
	unsigned int i;

	for (i = 0; i < cfg->nr_ends; i++)
		if (cfg->ends[i] == bits)
			return true;
	return false;
}

/**
 * bk_cfg_publish_both - have writes go to a mirror's destination as well, from now on
 * @origin:	the filter
 * @mc:		the mirror; there is no other one
 *
 * No cut: those that have not met it mark when they end, as they did before.
 *
 * Context: process, may sleep.
 * Return: 0; -ENOMEM; -ENOENT if its bits are not in: it has ended.
 */
int bk_cfg_publish_both(struct bk_origin *origin, struct bk_mcopy *mc)
{
	struct bk_gate *gate = &origin->gate;
	struct bk_cfg *next;
	int r = -ENOENT;

	mutex_lock(&gate->cfg_lock);
	if (!bk_cfg_has_end(bk_cfg_current(gate), mc->bits))
		goto out;
	r = -ENOMEM;
	next = bk_cfg_copy(gate, 0, 0, GFP_NOIO);
	if (!next)
		goto out;
	bk_cfg_add_both(next, mc);
	bk_gate_replace(gate, next);
	r = 0;
out:
	mutex_unlock(&gate->cfg_lock);
	return r;
}

/**
 * bk_cfg_remove_end - take bits out that are marked when writes have ended
 * @origin:	the filter
 * @bits:	the bits, and with them their mirror, if writes go there as well; nothing
 *		happens if they are not in it
 *
 * Context: process, sleeps.
 */
void bk_cfg_remove_end(struct bk_origin *origin, struct bk_bits *bits)
{
	struct bk_gate *gate = &origin->gate;

	mutex_lock(&gate->cfg_lock);
	if (bk_cfg_has_end(bk_cfg_current(gate), bits))
		bk_cfg_reduce(origin, bk_cfg_without(gate, NULL, bits));
	mutex_unlock(&gate->cfg_lock);
}

/**
 * bk_cfg_remove_jobs - take all out that jobs have put in, points in time stopped
 * @origin:	the filter; bk_cut_mutex is held, so that nothing is put in
 *
 * Context: process, sleeps.
 */
void bk_cfg_remove_jobs(struct bk_origin *origin)
{
	struct bk_gate *gate = &origin->gate;
	struct bk_cfg *cur, *next;
	unsigned int i;

	mutex_lock(&gate->cfg_lock);
	cur = bk_cfg_current(gate);
	for (i = 0; i < cur->nr_pits; i++)
		bk_pit_stop(cur->pits[i]);
	if (cur->nr_pits || cur->nr_ends) {
		next = bk_cfg_alloc(gate, 0, cur->nr_bits, 0,
				    GFP_NOIO | __GFP_NOFAIL);
		for (i = 0; i < cur->nr_bits; i++)
			bk_cfg_add_bits(next, cur->bits[i]);
		bk_cfg_keep_persistent(next, cur);
		bk_cfg_reduce(origin, next);
	}
	mutex_unlock(&gate->cfg_lock);
}

/**
 * bk_cfg_release - the gate's callback: nobody reads @cfg any more
 * @cfg:	the cfg
 */
void bk_cfg_release(struct bk_cfg *cfg)
{
	unsigned int i;

	for (i = 0; i < cfg->nr_pits; i++)
		bk_pit_put(cfg->pits[i]);
	for (i = 0; i < cfg->nr_bits; i++)
		bk_bits_put(cfg->bits[i]);
	for (i = 0; i < cfg->nr_ends; i++)
		bk_bits_put(cfg->ends[i]);
	bk_mcopy_put(cfg->both);
	kvfree(cfg);
}
