/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files origin*.c share. The contract is in origin.h. */

#ifndef BK_ORIGIN_INT_H
#define BK_ORIGIN_INT_H

#include "origin.h"

/* origin-event.c */
void bk_origin_event_work(struct work_struct *work);

/* origin-io.c */
void bk_origin_io_open(struct bk_origin *origin, struct block_device *bdev);
void bk_origin_io_stop(struct bk_origin *origin);
void bk_origin_io_close(struct bk_origin *origin);

#endif
