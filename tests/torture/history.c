// SPDX-License-Identifier: GPL-2.0-only
/*
 * The history of a device under torture. The contract is in history.h.
 */

#include "history.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC		0x544f5254u
#define NONE		UINT32_MAX
#define READ_SECTORS	2048u
#define MAX_PAGES	(MAX_SECTORS / UNIT + 1)

/* One write of one thread. */
struct write {
	uint64_t sector;
	uint64_t submitted;
	uint64_t completed;	/* UINT64_MAX while in flight */
	uint32_t nr;
	uint32_t salt;
	uint8_t kind;
};

/* A sector's version: which write, and the version before. */
struct node {
	uint32_t prev;
	uint32_t index;
	uint16_t thread;
};

struct history {
	unsigned int device;
	uint64_t sectors;
	unsigned int threads;
	unsigned int room;		/* writes per thread and round */

	struct write *writes[MAX_THREADS];
	unsigned int count[MAX_THREADS];

	uint32_t *head;			/* per sector: its last version */
	struct stamp *base;		/* per sector: at the round's beginning */
	struct node *nodes;
	_Atomic uint32_t nr_nodes;
	uint32_t max_nodes;
	_Atomic uint8_t *taken;		/* per unit */
	uint64_t total;
};

struct history *history_create(unsigned int device, uint64_t sectors,
			       unsigned int threads, unsigned int writes)
{
	struct history *h = calloc(1, sizeof(*h));
	unsigned int i;

	if (!h)
		return NULL;
	h->device = device;
	h->sectors = sectors;
	h->threads = threads;
	h->room = writes;
	h->max_nodes = threads * writes * 64;
	h->head = malloc(sectors * sizeof(*h->head));
	h->base = calloc(sectors, sizeof(*h->base));
	h->nodes = malloc((size_t)h->max_nodes * sizeof(*h->nodes));
	h->taken = calloc(sectors / UNIT + 1, 1);
	for (i = 0; i < threads; i++)
		h->writes[i] = malloc(writes * sizeof(struct write));
	if (!h->head || !h->base || !h->nodes || !h->taken)
		return NULL;
	return h;
}

/*------------------------------------------------------------------*/
/* What a sector holds */

static uint32_t stamp_check(const struct stamp *s)
{
	uint64_t x = s->seq * 0x9e3779b97f4a7c15ull ^ s->sector << 20 ^
		     (uint64_t)s->salt << 7 ^ s->thread ^
		     (uint64_t)s->device << 40;

	return (uint32_t)(x ^ x >> 32);
}

/*
 * Reads one sector's stamp into @s. All zeroes give a zero stamp. False: it is
 * torn, or holds another sector's data.
 */
static bool sector_stamp(const uint8_t *data, uint64_t sector, struct stamp *s)
{
	unsigned int i;

	memcpy(s, data, sizeof(*s));
	for (i = sizeof(*s); i < SECTOR; i += sizeof(*s))
		if (memcmp(data, data + i, sizeof(*s)))
			return false;
	if (!s->magic) {
		static const struct stamp zero;

		return !memcmp(s, &zero, sizeof(zero));
	}
	return s->magic == MAGIC && s->sector == sector &&
	       s->check == stamp_check(s);
}

static bool stamp_is_zero(const struct stamp *s)
{
	return !s->magic;
}

/* Calls @fn with each sector's stamp; stops when it returns false. */
static bool for_each_sector(int fd, uint64_t sectors,
			    bool (*fn)(void *ctx, uint64_t sector,
				       const struct stamp *s, bool whole),
			    void *ctx)
{
	uint64_t at, i;
	uint8_t *buf;
	bool ok = true;

	if (posix_memalign((void **)&buf, 4096, READ_SECTORS * SECTOR))
		return false;
	for (at = 0; at < sectors && ok; at += READ_SECTORS) {
		uint64_t n = sectors - at < READ_SECTORS ? sectors - at :
							   READ_SECTORS;
		struct stamp s;

		if (pread(fd, buf, n * SECTOR, at * SECTOR) !=
		    (ssize_t)(n * SECTOR)) {
			perror("torture: read");
			ok = false;
		}
		for (i = 0; i < n && ok; i++) {
			bool whole = sector_stamp(buf + i * SECTOR, at + i, &s);

			ok = fn(ctx, at + i, &s, whole);
		}
	}
	free(buf);
	return ok;
}

static bool rebase_sector(void *ctx, uint64_t sector, const struct stamp *s,
			  bool whole)
{
	struct history *h = ctx;

	/* What was there before the torture began counts as it is. */
	h->base[sector] = *s;
	(void)whole;
	return true;
}

int history_rebase(struct history *h, int fd)
{
	unsigned int i;

	for (i = 0; i < h->threads; i++) {
		h->total += h->count[i];
		h->count[i] = 0;
	}
	memset(h->head, 0xff, h->sectors * sizeof(*h->head));
	h->nr_nodes = 0;
	return for_each_sector(fd, h->sectors, rebase_sector, h) ? 0 : -1;
}

uint64_t history_writes(struct history *h)
{
	uint64_t n = h->total;
	unsigned int i;

	for (i = 0; i < h->threads; i++)
		n += h->count[i];
	return n;
}

/*------------------------------------------------------------------*/
/* Writing */

bool history_take(struct history *h, uint64_t sector, unsigned int nr)
{
	uint64_t first = sector / UNIT, last = (sector + nr - 1) / UNIT, u;

	for (u = first; u <= last; u++) {
		uint8_t free_ = 0;

		if (!atomic_compare_exchange_strong(&h->taken[u], &free_, 1)) {
			while (u-- > first)
				atomic_store(&h->taken[u], 0);
			return false;
		}
	}
	return true;
}

void history_give(struct history *h, uint64_t sector, unsigned int nr)
{
	uint64_t u, last = (sector + nr - 1) / UNIT;

	for (u = sector / UNIT; u <= last; u++)
		atomic_store(&h->taken[u], 0);
}

bool history_enter(struct history *h, unsigned int thread, enum kind kind,
		   uint64_t sector, unsigned int nr, uint64_t now)
{
	unsigned int index = h->count[thread], i;
	struct write *w = &h->writes[thread][index];
	uint32_t node;

	if (index >= h->room)
		return false;
	node = atomic_fetch_add(&h->nr_nodes, nr);
	if (node + nr > h->max_nodes)
		return false;

	w->sector = sector;
	w->nr = nr;
	w->kind = kind;
	w->salt = now * 2654435761u;
	w->submitted = now;
	w->completed = UINT64_MAX;
	for (i = 0; i < nr; i++, node++) {
		h->nodes[node].prev = h->head[sector + i];
		h->nodes[node].thread = thread;
		h->nodes[node].index = index;
		h->head[sector + i] = node;
	}
	h->count[thread]++;
	return true;
}

void history_finish(struct history *h, unsigned int thread, uint64_t now)
{
	h->writes[thread][h->count[thread] - 1].completed = now;
}

void history_withdraw(struct history *h, unsigned int thread)
{
	struct write *w = &h->writes[thread][--h->count[thread]];
	unsigned int i;

	/* Its sectors are taken: it is the last version of each. */
	for (i = 0; i < w->nr; i++)
		h->head[w->sector + i] = h->nodes[h->head[w->sector + i]].prev;
}

static void write_stamp(struct history *h, unsigned int thread,
			unsigned int index, uint64_t sector, struct stamp *s)
{
	s->magic = MAGIC;
	s->device = h->device;
	s->thread = thread;
	s->seq = index;
	s->sector = sector;
	s->salt = h->writes[thread][index].salt;
	s->check = stamp_check(s);
}

/* The data of the thread's last write. */
void history_fill(struct history *h, unsigned int thread, void *buf)
{
	unsigned int index = h->count[thread] - 1, i, j;
	struct write *w = &h->writes[thread][index];
	struct stamp s, *to = buf;

	for (i = 0; i < w->nr; i++) {
		write_stamp(h, thread, index, w->sector + i, &s);
		for (j = 0; j < SECTOR / sizeof(s); j++)
			*to++ = s;
	}
}

/*------------------------------------------------------------------*/
/* Checking */

struct cut {
	struct history *h;
	struct stamp *found;		/* per sector */
	unsigned int k[MAX_THREADS];	/* writes of each thread in the set */
	bool page[MAX_THREADS][MAX_PAGES];	/* and pages of the next one */
	bool any_page[MAX_THREADS];
	bool changed;
	uint64_t torn;
	const char *what;
};

/* Does @found match the sector's version @node (NONE: as the round began)? */
static bool version_matches(struct history *h, uint64_t sector, uint32_t node,
			    const struct stamp *found)
{
	while (node != NONE) {
		struct node *n = &h->nodes[node];
		struct write *w = &h->writes[n->thread][n->index];
		struct stamp s;

		switch (w->kind) {
		case K_ZERO:
			return stamp_is_zero(found);
		case K_WRITE:
		case K_PAGES:
			write_stamp(h, n->thread, n->index, sector, &s);
			return !memcmp(&s, found, sizeof(s));
		case K_DISCARD:
			if (stamp_is_zero(found))
				return true;
			node = n->prev;
			break;
		}
	}
	return !memcmp(&h->base[sector], found, sizeof(*found));
}

/* Where the set has it that a page of a write is in it, if it is not as a whole. */
static bool *page_of(struct cut *c, const struct node *n, uint64_t sector)
{
	struct write *w = &c->h->writes[n->thread][n->index];

	return &c->page[n->thread][sector / UNIT - w->sector / UNIT];
}

static bool in_set(struct cut *c, const struct node *n, uint64_t sector)
{
	if (n->index != c->k[n->thread])
		return n->index < c->k[n->thread];
	return c->any_page[n->thread] && *page_of(c, n, sector);
}

/*
 * The set has to hold the first @nr writes of @thread, and what had completed
 * before the last of them was submitted.
 */
static void add_writes(struct cut *c, unsigned int thread, unsigned int nr);

/* What had completed before write @index of @thread was submitted. */
static void add_earlier(struct cut *c, unsigned int thread, unsigned int index)
{
	uint64_t submitted = c->h->writes[thread][index].submitted;
	unsigned int t;

	for (t = 0; t < c->h->threads; t++) {
		struct write *w = c->h->writes[t];
		unsigned int n = c->k[t];

		while (n < c->h->count[t] && w[n].completed < submitted)
			n++;
		add_writes(c, t, n);
	}
}

static void add_writes(struct cut *c, unsigned int thread, unsigned int nr)
{
	if (nr <= c->k[thread])
		return;
	c->k[thread] = nr;
	c->any_page[thread] = false;
	memset(c->page[thread], 0, sizeof(c->page[thread]));
	c->changed = true;
	add_earlier(c, thread, nr - 1);
}

/* The set has to hold what @n left on @sector. */
static void add_version(struct cut *c, const struct node *n, uint64_t sector)
{
	if (c->h->writes[n->thread][n->index].kind != K_PAGES) {
		add_writes(c, n->thread, n->index + 1);
		return;
	}
	add_writes(c, n->thread, n->index);
	c->any_page[n->thread] = true;
	*page_of(c, n, sector) = true;
	c->changed = true;
	add_earlier(c, n->thread, n->index);
}

/*
 * If the sector's last version in the set is not what was found, the next one
 * that matches has to be in the set. False: there is none.
 */
static bool explain_sector(struct cut *c, uint64_t sector)
{
	struct history *h = c->h;
	uint32_t node, last = NONE, next = NONE;

	/* Versions that are not in the set come before the first that is. */
	for (node = h->head[sector]; node != NONE; node = h->nodes[node].prev) {
		if (in_set(c, &h->nodes[node], sector)) {
			last = node;
			break;
		}
		if (version_matches(h, sector, node, &c->found[sector]))
			next = node;
	}
	if (version_matches(h, sector, last, &c->found[sector]))
		return true;
	if (next == NONE)
		return false;
	add_version(c, &h->nodes[next], sector);
	return true;
}

static bool collect_sector(void *ctx, uint64_t sector, const struct stamp *s,
			   bool whole)
{
	struct cut *c = ctx;

	c->found[sector] = *s;
	if (!whole && memcmp(s, &c->h->base[sector], sizeof(*s))) {
		if (!c->torn++)
			printf("# %s: sector %llu is torn or another's\n",
			       c->what, (unsigned long long)sector);
	}
	return true;
}

static void describe(struct cut *c, uint64_t sector)
{
	const struct stamp *s = &c->found[sector];
	static const char *const letter[] = {
		[K_WRITE] = "", [K_PAGES] = "p", [K_ZERO] = "z",
		[K_DISCARD] = "d"
	};
	struct history *h = c->h;
	uint32_t node;

	printf("# %s: sector %llu holds ", c->what,
	       (unsigned long long)sector);
	if (stamp_is_zero(s))
		printf("zeroes");
	else
		printf("thread %u write %llu", s->thread,
		       (unsigned long long)s->seq);
	printf("; its versions, newest first:");
	for (node = h->head[sector]; node != NONE; node = h->nodes[node].prev) {
		const struct node *n = &h->nodes[node];

		printf(" %u.%u%s%s", n->thread, n->index,
		       letter[h->writes[n->thread][n->index].kind],
		       in_set(c, n, sector) ? "*" : "");
	}
	printf(" base %s%u.%llu\n",
	       h->base[sector].magic == MAGIC ? "" : "?",
	       h->base[sector].thread,
	       (unsigned long long)h->base[sector].seq);
}

static bool find_set(struct cut *c)
{
	uint64_t s, bad = 0;

	do {
		c->changed = false;
		for (s = 0; s < c->h->sectors; s++)
			if (!explain_sector(c, s) && ++bad <= 3)
				describe(c, s);
	} while (c->changed && !bad);
	if (bad)
		printf("# %s: %llu sectors are of no instant\n", c->what,
		       (unsigned long long)bad);
	return !bad;
}

bool history_find_cut(struct history *h, int fd, uint64_t after,
		      uint64_t before, const char *what)
{
	struct cut c = { .h = h, .what = what };
	unsigned int t, all = 0, in = 0;
	bool ok;

	c.found = malloc(h->sectors * sizeof(*c.found));
	if (!c.found || !for_each_sector(fd, h->sectors, collect_sector, &c))
		return false;
	for (t = 0; t < h->threads; t++)
		while (c.k[t] < h->count[t] &&
		       h->writes[t][c.k[t]].completed < after)
			c.k[t]++;
	ok = !c.torn && find_set(&c);
	for (t = 0; ok && t < h->threads; t++) {
		unsigned int n = c.k[t] + c.any_page[t];

		if (n && h->writes[t][n - 1].submitted > before) {
			printf("# %s: holds write %u of thread %u, which was submitted after the cut\n",
			       what, n - 1, t);
			ok = false;
		}
		all += h->count[t];
		in += c.k[t];
	}
	if (ok)
		printf("# %s: one instant, after %u of %u writes\n", what, in,
		       all);
	free(c.found);
	return ok;
}

bool history_is_latest(struct history *h, int fd, const char *what)
{
	struct cut c = { .h = h, .what = what };
	uint64_t s, bad = 0;
	unsigned int t;

	c.found = malloc(h->sectors * sizeof(*c.found));
	if (!c.found || !for_each_sector(fd, h->sectors, collect_sector, &c))
		return false;
	for (t = 0; t < h->threads; t++)
		c.k[t] = h->count[t];
	for (s = 0; s < h->sectors; s++)
		if (!version_matches(h, s, h->head[s], &c.found[s]) &&
		    ++bad <= 3)
			describe(&c, s);
	free(c.found);
	if (bad)
		printf("# %s: %llu sectors do not hold what was written last\n",
		       what, (unsigned long long)bad);
	return !bad && !c.torn;
}
