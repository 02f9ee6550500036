// SPDX-License-Identifier: GPL-2.0-only
/*
 * The speed of a job. The contract is in rate.h.
 */

#include "rate.h"

#include <linux/bits.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/time64.h>

/* No debt is longer than this, some 140 years: nothing overflows. */
#define BK_RATE_LONGEST_NS	BIT_ULL(62)

/**
 * bk_rate_set - change the speed; what is owed is forgiven
 * @rate:	the limit
 * @speed:	bytes per second; 0: none
 * @now:	ns
 */
void bk_rate_set(struct bk_rate *rate, u64 speed, u64 now)
{
	WRITE_ONCE(rate->speed, speed);
	rate->paid = now;
}

/**
 * bk_rate_charge - account for what was sent
 * @rate:	the limit
 * @bytes:	how much
 * @now:	ns
 */
void bk_rate_charge(struct bk_rate *rate, unsigned int bytes, u64 now)
{
	u64 earliest = now > BK_RATE_SLICE_NS ? now - BK_RATE_SLICE_NS : 0;
	u64 cost;

	if (!rate->speed)
		return;
	cost = div64_u64(bytes * (u64)NSEC_PER_SEC, rate->speed);
	rate->paid = max(rate->paid, earliest) +
		     min(cost, BK_RATE_LONGEST_NS);
	rate->paid = min(rate->paid, now + BK_RATE_LONGEST_NS);
}

/**
 * bk_rate_delay - how long is there to wait before more may be sent?
 * @rate:	the limit
 * @now:	ns
 *
 * Return: ns; 0 if it may be sent now. Whoever wakes asks again.
 */
u64 bk_rate_delay(const struct bk_rate *rate, u64 now)
{
	if (!rate->speed || rate->paid <= now)
		return 0;
	return rate->paid - now;
}
