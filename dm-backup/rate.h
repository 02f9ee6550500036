/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The speed of a job. Also built in userspace, by tests/unit.
 *
 * What was sent is paid for with time: @paid is the moment until which it is.
 * Whoever would send looks whether that moment has come, sends, and charges. So
 * one request may overshoot, and pays it back by a longer wait. Time that was
 * not used is good for one slice, to make up for timers that come late.
 */

#ifndef BK_RATE_H
#define BK_RATE_H

#include <linux/types.h>

#define BK_RATE_SLICE_NS	100000000ULL

/**
 * struct bk_rate - a speed limit
 * @speed:	bytes per second; 0: none
 * @paid:	the moment until which all is paid for, ns
 */
struct bk_rate {
	u64 speed;
	u64 paid;
};

void bk_rate_set(struct bk_rate *rate, u64 speed, u64 now);
void bk_rate_charge(struct bk_rate *rate, unsigned int bytes, u64 now);
u64 bk_rate_delay(const struct bk_rate *rate, u64 now);

#endif
