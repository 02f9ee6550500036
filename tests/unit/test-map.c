// SPDX-License-Identifier: GPL-2.0-only
/*
 * Ranges of bits: against arrays of bools, and by two threads at a time.
 */

#include "tap.h"

#include "map.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

/* Three words and a bit of a fourth. */
#define BITS		(3 * BITS_PER_LONG + 5)
#define WORDS(bits)	(((bits) + BITS_PER_LONG - 1) / BITS_PER_LONG)

/* Just as long as need be, so that ASan sees a step beyond. */
static unsigned long *map_new(unsigned int bits, int fill)
{
	size_t size = WORDS(bits) * sizeof(long);
	unsigned long *map = malloc(size);

	if (!map)
		abort();
	memset(map, fill, size);
	return map;
}

static bool map_get(const unsigned long *map, unsigned int bit)
{
	return __atomic_load_n(&map[bit / BITS_PER_LONG], __ATOMIC_RELAXED) >>
	       bit % BITS_PER_LONG & 1;
}

/*----------------------------------------------------------------*/
/* One thread */

/* Also the bits after the last one: they are nobody's, and stay. */
static void test_all_ranges(void)
{
	unsigned int from, end, bit, size = WORDS(BITS) * BITS_PER_LONG;
	unsigned long *zero = map_new(BITS, 0), *one = map_new(BITS, 0xff);

	for (from = 0; from < BITS; from++)
		for (end = from + 1; end <= BITS; end++) {
			bool good = true;

			memset(zero, 0, WORDS(BITS) * sizeof(long));
			memset(one, 0xff, WORDS(BITS) * sizeof(long));
			bk_map_set(zero, from, end);
			if (from % 2)
				bk_map_clear(one, from, end);
			else
				bk_map_clear_release(one, from, end);
			for (bit = 0; bit < size; bit++) {
				bool in = bit >= from && bit < end;

				good &= map_get(zero, bit) == in;
				good &= map_get(one, bit) == !in;
			}
			if (!CHECK(good, "[%u, %u)", from, end))
				goto out;
		}
out:
	free(zero);
	free(one);
}

static void test_any(void)
{
	unsigned int from, end, bit, size = WORDS(BITS) * BITS_PER_LONG;
	unsigned long *map = map_new(BITS, 0);

	/* One bit set, each in turn; then one range clear in a full map. */
	for (bit = 0; bit < size; bit++) {
		memset(map, 0, WORDS(BITS) * sizeof(long));
		map[bit / BITS_PER_LONG] = 1UL << bit % BITS_PER_LONG;
		for (from = 0; from < BITS; from++)
			for (end = from + 1; end <= BITS; end++)
				if (!CHECK(bk_map_any_acquire(map, from, end) ==
					   (bit >= from && bit < end),
					   "bit %u in [%u, %u)", bit, from, end))
					goto out;
	}
	for (from = 0; from < BITS; from++)
		for (end = from + 1; end <= BITS; end++) {
			memset(map, 0xff, WORDS(BITS) * sizeof(long));
			bk_map_clear(map, from, end);
			if (!CHECK(!bk_map_any_acquire(map, from, end),
				   "[%u, %u) was cleared", from, end))
				goto out;
		}
out:
	free(map);
}

/* What bk_map_next_run() is to find, bit by bit. */
static unsigned int model_run(const bool *set, const bool *clear,
			      unsigned int from, unsigned int end,
			      unsigned int *run_end)
{
	while (from < end && !(set[from] && !clear[from]))
		from++;
	*run_end = from;
	while (*run_end < end && set[*run_end] && !clear[*run_end])
		++*run_end;
	return from;
}

/* Runs of the same bit, of about @length: long ones cross words. */
static void random_pattern(struct unit_random *r, unsigned long *map,
			   bool *model, unsigned int bits, unsigned int length)
{
	unsigned int bit;
	bool on = false;

	for (bit = 0; bit < bits; bit++) {
		if (!unit_below(r, length))
			on = !on;
		model[bit] = on;
		if (on)
			map[bit / BITS_PER_LONG] |= 1UL << bit % BITS_PER_LONG;
		else
			map[bit / BITS_PER_LONG] &=
				~(1UL << bit % BITS_PER_LONG);
	}
}

static void test_next_run(void)
{
	static const unsigned int lengths[] = { 2, 10, 50, 150 };
	unsigned long *set = map_new(BITS, 0), *clear = map_new(BITS, 0);
	/* The tails beyond the last bit hold whatever would be wrong. */
	bool in_set[WORDS(BITS) * 64], in_clear[WORDS(BITS) * 64];
	unsigned int i, from, end, want, want_end;
	unsigned long got, got_end;
	struct unit_random r;

	unit_random_init(&r, unit_args.seed, 400);
	for (i = 0; i < 100; i++) {
		memset(set, i % 2 ? 0xff : 0, WORDS(BITS) * sizeof(long));
		memset(clear, i % 3 ? 0 : 0xff, WORDS(BITS) * sizeof(long));
		random_pattern(&r, set, in_set, BITS, lengths[i % 4]);
		random_pattern(&r, clear, in_clear, BITS, lengths[i / 4 % 4]);
		if (i % 10 == 9) {
			bk_map_set(set, 0, BITS);
			bk_map_clear(clear, 0, BITS);
			memset(in_set, true, sizeof(in_set));
			memset(in_clear, false, sizeof(in_clear));
		}
		for (from = 0; from <= BITS; from++)
			for (end = 0; end <= BITS; end++) {
				got_end = ~0UL;
				got = bk_map_next_run(set, clear, from, end,
						      &got_end);
				if (from >= end) {
					want = want_end = end;
				} else {
					want = model_run(in_set, in_clear,
							 from, end, &want_end);
				}
				if (!CHECK(got == want, "pattern %u: [%u, %u) from %lu, not %u",
					   i, from, end, got, want) ||
				    !CHECK(want == end || got_end == want_end,
					   "pattern %u: [%u, %u) to %lu, not %u",
					   i, from, end, got_end, want_end))
					goto out;
			}
	}
out:
	free(set);
	free(clear);
}

static void test_random(void)
{
	static const unsigned int sizes[] = {
		1, 2, BITS_PER_LONG - 1, BITS_PER_LONG, BITS_PER_LONG + 1,
		2 * BITS_PER_LONG, 1000,
	};
	bool model[1000 + 64];
	struct unit_random r;
	unsigned int i, op, bit;

	unit_random_init(&r, unit_args.seed, 500);
	for (i = 0; i < COUNT(sizes); i++) {
		unsigned int bits = sizes[i];
		unsigned long *map = map_new(bits, 0xff);

		memset(model, true, sizeof(model));
		for (op = 0; op < 20000; op++) {
			unsigned int from = unit_below(&r, bits);
			unsigned int end = from + 1 +
					   unit_below(&r, bits - from);
			unsigned int kind = unit_below(&r, 4);
			bool any = false, good = true;

			if (kind < 2)
				memset(model + from, kind, end - from);
			if (kind == 0)
				bk_map_clear(map, from, end);
			else if (kind == 1)
				bk_map_set(map, from, end);
			for (bit = from; bit < end; bit++)
				any |= model[bit];
			if (kind >= 2)
				good = bk_map_any_acquire(map, from, end) == any;
			for (bit = 0; bit < WORDS(bits) * BITS_PER_LONG; bit++)
				good &= map_get(map, bit) == model[bit];
			if (!CHECK(good, "%u bits, operation %u: %s [%u, %u)",
				   bits, op, kind == 0 ? "clear" : kind == 1 ?
				   "set" : "any", from, end))
				break;
		}
		free(map);
	}
}

/*
 * x86 orders more than the header asks for, so its own promise is looked at:
 * atomic changes, one per word, a barrier before, an acquire per word.
 */
static void test_promises(void)
{
	unsigned long *map = map_new(BITS, 0xff);
	unsigned int from, end, words;

	for (from = 0; from < BITS; from += 7)
		for (end = from + 1; end <= BITS; end++) {
			words = (end - 1) / BITS_PER_LONG -
				from / BITS_PER_LONG + 1;
			memset(&shim_trace, 0, sizeof(shim_trace));
			bk_map_set(map, from, end);
			CHECK(shim_trace.ors == words,
			      "set [%u, %u): %u atomic changes of %u", from,
			      end, shim_trace.ors, words);

			memset(&shim_trace, 0, sizeof(shim_trace));
			bk_map_clear(map, from, end);
			CHECK(shim_trace.andnots == words,
			      "clear [%u, %u): %u atomic changes of %u", from,
			      end, shim_trace.andnots, words);

			bk_map_set(map, from, end);
			memset(&shim_trace, 0, sizeof(shim_trace));
			bk_map_clear_release(map, from, end);
			CHECK(shim_trace.andnots == words && !shim_trace.early,
			      "clear_release [%u, %u): %u changes before a barrier",
			      from, end, shim_trace.early);

			memset(&shim_trace, 0, sizeof(shim_trace));
			bk_map_any_acquire(map, from, end);
			CHECK(shim_trace.acquires == words,
			      "any [%u, %u): %u acquires of %u", from, end,
			      shim_trace.acquires, words);
			bk_map_set(map, from, end);
		}
	free(map);
}

/*----------------------------------------------------------------*/
/* Two threads */

/* Few words, so that they meet often. */
#define MIXED_WORDS	3
#define MIXED_BITS	(MIXED_WORDS * BITS_PER_LONG - 11)
#define MIXED_RANGES	512
#define MIXED_OPS	3000000
/* Many, as each bit is changed but once. */
#define UNION_BITS	(2000 * BITS_PER_LONG - 11)
#define UNION_ROUNDS	40

/* Whose a bit is. */
enum owner { FIRST, SECOND, BOTH, NOBODY };

/* 11 bits of the first, 13 of both, 7 of the second, 3 of nobody; and again. */
static enum owner overlapping(unsigned int bit)
{
	unsigned int at = bit % (11 + 13 + 7 + 3);

	return at < 11 ? FIRST : at < 11 + 13 ? BOTH :
	       at < 11 + 13 + 7 ? SECOND : NOBODY;
}

/* 5 of the first, 8 of the second; and again. */
static enum owner disjoint(unsigned int bit)
{
	return bit % (5 + 8) < 5 ? FIRST : SECOND;
}

/**
 * struct worker - one of the two
 * @map:	both use it
 * @gate:	both wait there before they start
 * @random:	its own
 * @self:	FIRST or SECOND
 * @owner:	of a bit
 * @own:	mixed: mask of the bits that are only its
 * @model:	mixed: what it last made the bits it may use
 * @wrong:	mixed: how often its own bits were not that
 * @set:	union: set, or clear
 * @hit:	union: the bits that it changed
 */
struct worker {
	unsigned long *map;
	pthread_barrier_t *gate;
	struct unit_random random;
	enum owner self;
	enum owner (*owner)(unsigned int bit);
	unsigned long own[MIXED_WORDS];
	unsigned long model[MIXED_WORDS];
	unsigned int wrong;
	bool set;
	bool hit[UNION_BITS];
};

/**
 * struct range - bits that a worker may use
 * @from:	first
 * @end:	exclusive
 * @mask:	the same
 */
struct range {
	unsigned int from;
	unsigned int end;
	unsigned long mask[MIXED_WORDS];
};

/*
 * Each on a processor of its own, if there are two: else the scheduler may well
 * let them run one after the other.
 */
static void take_processor(enum owner self)
{
	cpu_set_t all, one;
	int cpu, nth = self;

	if (sched_getaffinity(0, sizeof(all), &all) || CPU_COUNT(&all) < 2)
		return;
	for (cpu = 0; !CPU_ISSET(cpu, &all) || nth--; cpu++)
		;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static bool may_use(const struct worker *w, unsigned int bit)
{
	enum owner o = w->owner(bit);

	return o == w->self || o == BOTH;
}

static void random_range(struct worker *w, struct range *r)
{
	unsigned int bit;

	do
		r->from = unit_below(&w->random, MIXED_BITS);
	while (!may_use(w, r->from));
	for (r->end = r->from + 1; r->end < MIXED_BITS &&
	     may_use(w, r->end) && unit_below(&w->random, 20); r->end++)
		;
	memset(r->mask, 0, sizeof(r->mask));
	for (bit = r->from; bit < r->end; bit++)
		r->mask[bit / BITS_PER_LONG] |= 1UL << bit % BITS_PER_LONG;
}

/* Sets and clears what it may, and each time looks whether its own stays. */
static void *mixed_worker(void *data)
{
	struct range ranges[MIXED_RANGES], *r;
	struct worker *w = data;
	unsigned int op, i;

	take_processor(w->self);
	for (i = 0; i < MIXED_RANGES; i++)
		random_range(w, &ranges[i]);
	pthread_barrier_wait(w->gate);
	for (op = 0; op < MIXED_OPS; op++) {
		u64 random = unit_random(&w->random);

		r = &ranges[random % MIXED_RANGES];
		if (random >> 63) {
			bk_map_set(w->map, r->from, r->end);
			for (i = 0; i < MIXED_WORDS; i++)
				w->model[i] |= r->mask[i];
		} else {
			bk_map_clear(w->map, r->from, r->end);
			for (i = 0; i < MIXED_WORDS; i++)
				w->model[i] &= ~r->mask[i];
		}
		for (i = 0; i < MIXED_WORDS; i++)
			w->wrong += !!((READ_ONCE(w->map[i]) ^ w->model[i]) &
				       w->own[i]);
	}
	return NULL;
}

/* Sets, or clears, some of what it may, each bit but once. */
static void *union_worker(void *data)
{
	struct worker *w = data;
	unsigned int from, end;

	take_processor(w->self);
	pthread_barrier_wait(w->gate);
	for (from = 0; from < UNION_BITS; from = end) {
		end = from + 1;
		if (!may_use(w, from) || !unit_below(&w->random, 4))
			continue;
		while (end < UNION_BITS && may_use(w, end) &&
		       unit_below(&w->random, 10))
			end++;
		if (w->set)
			bk_map_set(w->map, from, end);
		else
			bk_map_clear_release(w->map, from, end);
		memset(w->hit + from, true, end - from);
	}
	return NULL;
}

static void workers_init(struct worker *w, unsigned long *map,
			 enum owner (*owner)(unsigned int bit), u64 stream)
{
	unsigned int i, bit;

	memset(w, 0, 2 * sizeof(*w));
	for (i = 0; i < 2; i++) {
		w[i].map = map;
		w[i].self = i ? SECOND : FIRST;
		w[i].owner = owner;
		for (bit = 0; bit < MIXED_BITS; bit++)
			if (owner(bit) == w[i].self)
				w[i].own[bit / BITS_PER_LONG] |=
					1UL << bit % BITS_PER_LONG;
		unit_random_init(&w[i].random, unit_args.seed, stream + i);
	}
}

static void workers_run(struct worker *w, void *(*fn)(void *))
{
	pthread_barrier_t gate;
	pthread_t threads[2];
	unsigned int i;

	pthread_barrier_init(&gate, NULL, 2);
	for (i = 0; i < 2; i++) {
		w[i].gate = &gate;
		if (pthread_create(&threads[i], NULL, fn, &w[i]))
			abort();
	}
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&gate);
}

/* Neither bits of nobody nor any beyond the end changed, nor is one lost. */
static void mixed_check(struct worker *w)
{
	unsigned int bit, i, count = 0, least = 0, most = 0;

	for (i = 0; i < 2; i++)
		CHECK(!w[i].wrong, "thread %u: its bits were changed %u times",
		      i, w[i].wrong);
	for (bit = 0; bit < MIXED_WORDS * BITS_PER_LONG; bit++) {
		enum owner o = bit < MIXED_BITS ? w->owner(bit) : NOBODY;
		bool a = map_get(w[0].model, bit), b = map_get(w[1].model, bit);
		bool on = map_get(w->map, bit);

		/* Of both: whoever was last; if they agree it is that. */
		if (o == FIRST)
			b = a;
		if (o == SECOND)
			a = b;
		count += on;
		least += a && b;
		most += a || b;
		CHECK(on == a || on == b, "bit %u is %d, which nobody made it",
		      bit, on);
	}
	CHECK(count >= least && count <= most, "%u bits are set, not %u to %u",
	      count, least, most);
}

static void mixed(enum owner (*owner)(unsigned int bit), u64 stream)
{
	static struct worker w[2];
	unsigned long *map = map_new(MIXED_BITS, 0);

	workers_init(w, map, owner, stream);
	workers_run(w, mixed_worker);
	mixed_check(w);
	free(map);
}

/* What one does must not show in the other's bits, though words are shared. */
static void test_disjoint(void)
{
	mixed(disjoint, 600);
}

static void test_overlapping(void)
{
	mixed(overlapping, 602);
}

/* Both set, or both clear, overlapping ranges: exactly the union changes. */
static void test_union(void)
{
	static struct worker w[2];
	unsigned long *map = map_new(UNION_BITS, 0);
	unsigned int round, bit, count, want, both = 0;

	for (round = 0; round < UNION_ROUNDS; round++) {
		bool set = round % 2, good = true;

		workers_init(w, map, overlapping, 700 + 2 * round);
		w[0].set = w[1].set = set;
		memset(map, set ? 0 : 0xff, WORDS(UNION_BITS) * sizeof(long));
		workers_run(w, union_worker);
		for (bit = count = want = 0; bit < UNION_BITS; bit++) {
			bool hit = w[0].hit[bit] || w[1].hit[bit];

			both += w[0].hit[bit] && w[1].hit[bit];
			want += hit == set;
			count += map_get(map, bit);
			good &= map_get(map, bit) == (hit == set);
		}
		if (!CHECK(good && count == want, "round %u: %u bits, not %u",
			   round, count, want))
			break;
	}
	CHECK(both, "the ranges never overlapped");
	free(map);
}

/**
 * struct handover - old data is in memory, the write may go
 * @map:	one cluster's bit
 * @data:	filled before the bit is cleared; no atomics, as the buffer is none
 * @gate:	at the start of each round
 */
struct handover {
	unsigned long map[1];
	unsigned long data[64];
	pthread_barrier_t gate;
	unsigned int bad;
};

#define HANDOVERS	2000

static void *handover_reader(void *p)
{
	struct handover *h = p;
	unsigned int round, i, tries;

	for (round = 1; round <= HANDOVERS; round++) {
		pthread_barrier_wait(&h->gate);
		for (tries = 0; bk_map_any_acquire(h->map, 3, 5); tries++)
			if (tries > 100)
				sched_yield();
		for (i = 0; i < COUNT(h->data); i++)
			h->bad += h->data[i] != round;
		pthread_barrier_wait(&h->gate);
	}
	return NULL;
}

/* Who finds the bit clear finds the buffer filled. */
static void test_handover(void)
{
	static struct handover h;
	unsigned int round, i;
	pthread_t reader;

	memset(&h, 0, sizeof(h));
	pthread_barrier_init(&h.gate, NULL, 2);
	if (pthread_create(&reader, NULL, handover_reader, &h))
		abort();
	for (round = 1; round <= HANDOVERS; round++) {
		bk_map_set(h.map, 3, 5);
		pthread_barrier_wait(&h.gate);
		for (i = 0; i < COUNT(h.data); i++)
			h.data[i] = round;
		bk_map_clear_release(h.map, 3, 5);
		pthread_barrier_wait(&h.gate);
	}
	pthread_join(reader, NULL);
	pthread_barrier_destroy(&h.gate);
	CHECK(!h.bad, "%u words were read before they were written", h.bad);
}

const struct unit_test unit_map[] = {
	{ "set and clear, every range of four words", test_all_ranges },
	{ "any, every bit in every range", test_any },
	{ "next run, every range of random patterns", test_next_run },
	{ "random operations on maps of seven sizes", test_random },
	{ "changes are atomic, barriers are there", test_promises },
	{ "two threads with bits of their own in every word", test_disjoint },
	{ "two threads with bits in common, too", test_overlapping },
	{ "two threads change the union of their ranges", test_union },
	{ "who sees a bit clear sees what was stored before", test_handover },
	{ NULL, NULL }
};
