/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a filter does to writes: making the next struct bk_cfg from the
 * published one.
 *
 * A cfg holds a reference on each point in time in it. Putting one in is a
 * cut, taking one out is not (gate.h). All of this is done under
 * gate->cfg_lock.
 */

#ifndef BK_CFG_H
#define BK_CFG_H

#include "pit.h"

struct bk_cfg *bk_cfg_copy(struct bk_gate *gate, unsigned int extra_pits);
void bk_cfg_add_pit(struct bk_cfg *cfg, struct bk_pit *pit);
void bk_cfg_remove_pit(struct bk_origin *origin, struct bk_pit *pit);
void bk_cfg_remove_all(struct bk_origin *origin);
void bk_cfg_release(struct bk_cfg *cfg);

#endif
