// SPDX-License-Identifier: GPL-2.0-only
/*
 * A job's speed, in simulated time.
 */

#include "tap.h"

#include "rate.h"

#include <string.h>

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

/* 100 ms, as QEMU's; not rate.h's word for it, which is under test. */
#define SLICE		100000000ULL
#define SECOND		1000000000ULL
#define MIB		(1024 * 1024ULL)
/* No debt is longer, and it was promised that nothing overflows. */
#define LONGEST		(1ULL << 62)

__extension__ typedef __int128 wide;

/**
 * struct sender - somebody who sends at a speed
 * @rate:	the speed
 * @random:	what chance there is
 * @start:	of the simulation, ns
 * @now:	simulated, ns
 * @sent:	bytes
 * @requests:	they were sent in
 * @lowest:	see sender_look()
 */
struct sender {
	struct bk_rate rate;
	struct unit_random random;
	u64 start;
	u64 now;
	wide sent;
	u64 requests;
	wide lowest;
};

static void sender_init(struct sender *s, u64 speed, u64 now, u64 stream)
{
	memset(s, 0, sizeof(*s));
	unit_random_init(&s->random, unit_args.seed, stream);
	s->start = s->now = now;
	bk_rate_set(&s->rate, speed, now);
}

/*
 * Between any two moments at which a request was allowed, no more was sent than
 * is paid for by the time between them and one slice. A charge is rounded down
 * to a nanosecond, so each request may be that much too cheap. Of all earlier
 * moments only the worst need be kept.
 */
static bool sender_look(struct sender *s)
{
	wide speed = s->rate.speed;
	wide ahead = s->sent * SECOND - speed * (s->now - s->start) -
		     speed * s->requests;

	if (!s->requests || ahead < s->lowest)
		s->lowest = ahead;
	return CHECK(ahead - s->lowest <= speed * SLICE,
		     "%llu bytes/s: request %llu is %llu bytes too early",
		     s->rate.speed, s->requests,
		     (u64)((ahead - s->lowest - speed * SLICE) / SECOND));
}

/* Wait until it is allowed, be late by up to @late ns, send. */
static bool sender_send(struct sender *s, unsigned int bytes, u64 late)
{
	u64 delay;

	while ((delay = bk_rate_delay(&s->rate, s->now))) {
		if (delay > 2 && !unit_below(&s->random, 4)) {
			/* Woken early: the rest is still to be waited for. */
			u64 part = unit_below(&s->random, delay);

			s->now += part;
			if (!CHECK(bk_rate_delay(&s->rate, s->now) ==
				   delay - part,
				   "woken %llu ns early: %llu ns left",
				   delay - part,
				   bk_rate_delay(&s->rate, s->now)))
				return false;
			continue;
		}
		s->now += delay;
		if (late)
			s->now += unit_below(&s->random, late);
	}
	if (!sender_look(s))
		return false;
	bk_rate_charge(&s->rate, bytes, s->now);
	s->sent += bytes;
	s->requests++;
	return true;
}

/* Small ones, and now and then one that takes far longer than a slice. */
static unsigned int sender_bytes(struct sender *s, bool large)
{
	u64 most = s->rate.speed / 50 + 16;

	if (large && !unit_below(&s->random, 4))
		most = 4 * MIB;
	if (most > ~0U)
		most = ~0U;
	return 1 + unit_below(&s->random, most);
}

/* Has the clock come so far that it would wrap? No machine runs for so long. */
static bool sender_old(const struct sender *s)
{
	return s->now - s->start > LONGEST / 2;
}

static const u64 speeds[] = {
	1, 7, 512, 1000, 65536, MIB - 1, 50 * MIB, 1000000007, 1ULL << 32,
	1ULL << 40,
};

static void test_average(void)
{
	struct sender s;
	unsigned int i, n;

	for (i = 0; i < COUNT(speeds); i++) {
		sender_init(&s, speeds[i], i * SECOND, i);
		for (n = 0; n < 20000 && !sender_old(&s); n++) {
			/* Now and then it has nothing to send. */
			if (!unit_below(&s.random, 50))
				s.now += unit_below(&s.random, 10 * SECOND);
			if (!sender_send(&s, sender_bytes(&s, true), 20000000))
				break;
		}
		CHECK(n > 4000 && s.now - s.start > 10 * SECOND,
		      "%u requests in %llu ns say little", n, s.now - s.start);
	}
}

/* Timers that come late by less than a slice cost no speed. */
static void test_reached(void)
{
	struct sender s;
	unsigned int i, n;
	wide due;

	for (i = 0; i < COUNT(speeds); i++) {
		sender_init(&s, speeds[i], 5 * SECOND, 100 + i);
		for (n = 0; n < 20000; n++)
			if (!sender_send(&s, sender_bytes(&s, false),
					 SLICE / 2))
				break;
		CHECK(s.now - s.start > 10 * SECOND, "%llu ns say little",
		      s.now - s.start);
		while (bk_rate_delay(&s.rate, s.now))
			s.now += bk_rate_delay(&s.rate, s.now);
		due = (wide)(s.now - s.start) * speeds[i] / SECOND;
		/* The last wait may have been too long; no other. */
		CHECK(s.sent >= due - (wide)speeds[i] * SLICE / 2 / SECOND - 1,
		      "%llu bytes/s: %llu bytes were sent, %llu were due",
		      speeds[i], (u64)s.sent, (u64)due);
	}
}

/* Slower than a slice's worth in one request: one at a time, paid in full. */
static void test_overshoot(void)
{
	struct bk_rate r;
	u64 t = 7 * SECOND;

	bk_rate_set(&r, MIB, t);
	CHECK(bk_rate_delay(&r, t) == 0, "the first has to wait");
	bk_rate_charge(&r, 10 * MIB, t);
	CHECK(bk_rate_delay(&r, t) == 10 * SECOND, "%llu ns for 10 s",
	      bk_rate_delay(&r, t));
	CHECK(bk_rate_delay(&r, t + 4 * SECOND) == 6 * SECOND,
	      "%llu ns for 6 s", bk_rate_delay(&r, t + 4 * SECOND));
	CHECK(bk_rate_delay(&r, t + 10 * SECOND - 1) == 1, "1 ns is forgiven");
	CHECK(bk_rate_delay(&r, t + 10 * SECOND) == 0, "it is paid, but waits");
	/* Debts add up. */
	bk_rate_charge(&r, MIB, t);
	bk_rate_charge(&r, MIB / 2, t + SECOND);
	CHECK(bk_rate_delay(&r, t + SECOND) == 10 * SECOND + SECOND / 2,
	      "%llu ns for 10.5 s", bk_rate_delay(&r, t + SECOND));
}

/* Time that was not used is worth one slice, however long it was. */
static void test_idle(void)
{
	static const u64 idle[] = {
		SLICE, SLICE + 1, SECOND, 3600 * SECOND, 365 * 86400 * SECOND,
	};
	struct bk_rate r;
	unsigned int i;

	for (i = 0; i < COUNT(idle); i++) {
		u64 t = SECOND, n;

		bk_rate_set(&r, 1000, t);
		t += idle[i];
		for (n = 0; n < 1000 && !bk_rate_delay(&r, t); n++)
			bk_rate_charge(&r, 1, t);
		/* 100 bytes are a slice; the last one is on credit */
		CHECK(n == 101, "after %llu ns: %llu bytes at once", idle[i],
		      n);
	}
	/* Less than a slice is worth what it is. */
	bk_rate_set(&r, 1000, SECOND);
	bk_rate_charge(&r, 50, SECOND + SLICE / 2);
	CHECK(bk_rate_delay(&r, SECOND + SLICE / 2) == 0, "50 ms were lost");
	bk_rate_charge(&r, 1, SECOND + SLICE / 2);
	CHECK(bk_rate_delay(&r, SECOND + SLICE / 2) == SECOND / 1000,
	      "%llu ns for 1 ms", bk_rate_delay(&r, SECOND + SLICE / 2));
}

/* At once, whatever was owed; and from there on it is the speed. */
static void test_change(void)
{
	struct sender s;
	unsigned int n;

	sender_init(&s, 1, 3 * SECOND, 200);
	for (n = 0; n < 300; n++) {
		u64 speed = 1 + (unit_random(&s.random) >>
				 unit_below(&s.random, 64)) % (1ULL << 40);
		unsigned int k;

		bk_rate_charge(&s.rate, unit_random(&s.random), s.now);
		bk_rate_set(&s.rate, speed, s.now);
		if (!CHECK(!bk_rate_delay(&s.rate, s.now),
			   "a change to %llu bytes/s waits for %llu ns", speed,
			   bk_rate_delay(&s.rate, s.now)))
			return;
		CHECK(s.rate.speed == speed, "the speed is %llu",
		      s.rate.speed);
		/* The old speed's moments say nothing about the new one. */
		s.start = s.now;
		s.sent = 0;
		s.requests = 0;
		for (k = 0; k < 100; k++)
			if (!sender_send(&s, unit_below(&s.random, MIB) + 1,
					 SLICE / 4))
				return;
	}
	/* And to none. */
	bk_rate_charge(&s.rate, 1U << 31, s.now);
	bk_rate_set(&s.rate, 0, s.now);
	CHECK(!bk_rate_delay(&s.rate, s.now), "no limit, and it waits");
}

static void test_none(void)
{
	struct bk_rate r;
	unsigned int i;

	bk_rate_set(&r, 0, SECOND);
	for (i = 0; i < 100000; i++) {
		bk_rate_charge(&r, ~0U, SECOND);
		if (!CHECK(!bk_rate_delay(&r, SECOND), "request %u waits", i))
			return;
	}
	CHECK(!bk_rate_delay(&r, 0), "the clock went back, and it waits");
	/* What was sent without a limit is not charged to one. */
	bk_rate_set(&r, 1, 2 * SECOND);
	CHECK(!bk_rate_delay(&r, 2 * SECOND), "it was charged");
}

static void test_one_byte(void)
{
	struct bk_rate r;
	u64 t = 0, n;

	bk_rate_set(&r, 1, 0);
	for (n = 0; n < 1000; n++) {
		if (!CHECK(bk_rate_delay(&r, t) == (n ? SECOND : 0),
			   "byte %llu waits for %llu ns", n,
			   bk_rate_delay(&r, t)))
			return;
		t += bk_rate_delay(&r, t);
		bk_rate_charge(&r, 1, t);
	}
	CHECK(t == 999 * SECOND, "1000 bytes took %llu ns", t);

	bk_rate_set(&r, 1, t);
	bk_rate_charge(&r, ~0U, t);
	CHECK(bk_rate_delay(&r, t) == 4294967295ULL * SECOND,
	      "4 GiB less one byte: %llu ns", bk_rate_delay(&r, t));
	/* More than a u64 of nanoseconds holds: as long as it can be. */
	for (n = 0; n < 1000; n++) {
		bk_rate_charge(&r, ~0U, t);
		if (!CHECK(bk_rate_delay(&r, t) == LONGEST,
			   "charge %llu: %llu ns", n, bk_rate_delay(&r, t)))
			return;
	}
	/* Paid back like any other debt, and the clock's end is far. */
	CHECK(bk_rate_delay(&r, t + SECOND) == LONGEST - SECOND, "no end");
	CHECK(bk_rate_delay(&r, t + LONGEST) == 0, "not even then");
	bk_rate_set(&r, 1, t);
	CHECK(bk_rate_delay(&r, t) == 0, "a new speed does not forgive it");
}

static void test_fastest(void)
{
	static const u64 fast[] = {
		(1ULL << 63) - 1, 1ULL << 63, (1ULL << 63) + 1, ~0ULL,
	};
	struct bk_rate r;
	unsigned int i, n;

	for (i = 0; i < COUNT(fast); i++) {
		bk_rate_set(&r, fast[i], 0);
		for (n = 0; n < 100000; n++) {
			/* less than 1 ns a request */
			bk_rate_charge(&r, ~0U, n);
			if (!CHECK(!bk_rate_delay(&r, n),
				   "%llu bytes/s: request %u waits for %llu ns",
				   fast[i], n, bk_rate_delay(&r, n)))
				break;
		}
	}
	/* One that does take some. */
	bk_rate_set(&r, 1ULL << 32, 0);
	bk_rate_charge(&r, 1U << 31, 0);
	CHECK(bk_rate_delay(&r, 0) == SECOND / 2, "%llu ns for 0.5 s",
	      bk_rate_delay(&r, 0));
}

static void test_jumps(void)
{
	struct unit_random random;
	struct bk_rate r;
	unsigned int i;
	u64 n;

	unit_random_init(&random, unit_args.seed, 300);
	for (i = 0; i < 100000; i++) {
		u64 t = unit_random(&random) >> (2 + unit_below(&random, 60));
		u64 back = unit_below(&random, t + 1);
		u64 debt;

		bk_rate_set(&r, 1000, t);
		bk_rate_charge(&r, unit_below(&random, 100000), t);
		debt = bk_rate_delay(&r, t);
		/* Back: the debt and the way back, no more. */
		if (!CHECK(bk_rate_delay(&r, t - back) <= debt + back,
			   "back by %llu from %llu: %llu", back, t,
			   bk_rate_delay(&r, t - back)))
			return;
		bk_rate_charge(&r, 1000, t - back);
		if (!CHECK(bk_rate_delay(&r, t - back) <=
			   debt + back + SECOND,
			   "charged after going back by %llu from %llu: %llu",
			   back, t, bk_rate_delay(&r, t - back)))
			return;
		bk_rate_set(&r, 1000, t - back);
		if (!CHECK(!bk_rate_delay(&r, t - back), "set: still waits"))
			return;
		/* Forward: a slice's worth, no more. */
		bk_rate_charge(&r, 1 + unit_below(&random, 100000), t - back);
		t += LONGEST / 2;
		for (n = 0; n < 1000 && !bk_rate_delay(&r, t); n++)
			bk_rate_charge(&r, 1, t);
		if (!CHECK(n == 101, "forward to %llu: %llu bytes", t, n))
			return;
	}
}

/* There is no slice before the start of time. */
static void test_early(void)
{
	struct bk_rate r;
	u64 t;

	for (t = 0; t <= 2 * SLICE; t += SLICE / 20) {
		bk_rate_set(&r, 1000, t);
		bk_rate_charge(&r, 1000, t);
		CHECK(bk_rate_delay(&r, t) == SECOND, "at %llu: %llu ns", t,
		      bk_rate_delay(&r, t));
	}
	/* Time since the start is credit, and there is no more than that. */
	bk_rate_set(&r, 1000, 0);
	bk_rate_charge(&r, 100, SLICE / 2);
	CHECK(bk_rate_delay(&r, SLICE / 2) == SLICE / 2, "%llu ns",
	      bk_rate_delay(&r, SLICE / 2));
}

const struct unit_test unit_rate[] = {
	{ "never above the speed, in any window", test_average },
	{ "the speed is reached although timers are late", test_reached },
	{ "overshoot is paid back to the nanosecond", test_overshoot },
	{ "time not used is worth one slice", test_idle },
	{ "a change takes effect at once, and holds", test_change },
	{ "zero is no limit", test_none },
	{ "1 byte/s, and the longest debt", test_one_byte },
	{ "speeds from 2^63 on", test_fastest },
	{ "the clock jumps back and forth", test_jumps },
	{ "in the first slice of time", test_early },
	{ NULL, NULL }
};
