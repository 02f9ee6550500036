/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside writes that go both ways: what their files have from each other. The contract,
 * for them and for others, is in mirror-write.h.
 *
 *   mirror-admit.c	which may go, which wait, and for how long
 *   mirror-write.c	the two legs of one that goes
 */

#ifndef BK_MIRROR_WRITE_INT_H
#define BK_MIRROR_WRITE_INT_H

#include "mirror-write.h"

/* mirror-admit.c; lock is held */
void bk_mwrite_take(struct bio_list *bios, struct bio_list *from);
void bk_mwrite_put_back(struct bk_mwrite *op, struct bio_list *again);

/* mirror-write.c; of the first, lock is held */
void bk_mwrite_let_go(struct bk_mwrite *op, struct bio_list *bios);
void bk_mwrite_tell(struct bio_list *bios);

#endif
