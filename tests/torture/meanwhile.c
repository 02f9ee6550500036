// SPDX-License-Identifier: GPL-2.0-only
/*
 * What else happens meanwhile. The contract is in meanwhile.h.
 */

#include "meanwhile.h"
#include "torture.h"

#include "../lib/dm.h"

#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

/* us between two things, and that a device is suspended or a job paused, at most. */
#define PAUSE_US	40000

enum act { SUSPEND, RELOAD, PAUSE, SPEED, CHANGE, CANCEL, ACTS };

static const char *const act_names[ACTS] = {
	"suspends", "reloads", "pauses", "set_speed", "change", "cancel"
};

static struct {
	const char *filter;
	uint64_t random;
	unsigned int acts;		/* in a round, at most */
	uint64_t sent[ACTS];
	uint64_t taken[ACTS];
} all;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static unsigned int may, done;		/* lock */
static bool on, busy;			/* lock */

static uint64_t rnd(uint64_t below)
{
	return chance(&all.random, below);
}

/* A verb; that it is refused is as good. */
static bool verb(enum act act, const char *text)
{
	bool taken = !dm_message(all.filter, text);

	all.sent[act]++;
	all.taken[act] += taken;
	return taken;
}

/* How a suspend is to be: DM_NOFLUSH_FLAG, DM_SKIP_LOCKFS_FLAG or both. */
static unsigned int suspend_flags(unsigned int what)
{
	unsigned int flags = rnd(2) ? DM_SKIP_LOCKFS_FLAG : 0;

	if (!(what & M_FLUSH) || rnd(2))
		flags |= DM_NOFLUSH_FLAG;
	return flags;
}

static void resume(unsigned int flags)
{
	if (dm_simple(all.filter, DM_DEV_SUSPEND, flags))
		die("%s: resume", all.filter);
}

static unsigned int do_suspend(unsigned int what)
{
	unsigned int flags = suspend_flags(what);

	if (dm_suspend(all.filter, flags))
		die("%s: suspend", all.filter);
	all.sent[SUSPEND]++;
	all.taken[SUSPEND]++;
	usleep(rnd(PAUSE_US));
	resume(0);
	return flags & DM_NOFLUSH_FLAG ? 0 : M_FLUSH;
}

/* The same table again: one resume, which suspends, exchanges it and resumes. */
static unsigned int do_reload(unsigned int what)
{
	unsigned int flags = suspend_flags(what);
	struct dm_target_spec *t;
	uint64_t sectors;
	char type[DM_MAX_TYPE_NAME], params[1024];

	if (dm_simple(all.filter, DM_TABLE_STATUS, DM_STATUS_TABLE_FLAG) ||
	    dm.head.target_count != 1)
		die("%s: table", all.filter);
	t = (void *)(dm.bytes + dm.head.data_start);
	sectors = t->length;
	snprintf(type, sizeof(type), "%s", t->target_type);
	snprintf(params, sizeof(params), "%s", (char *)(t + 1));
	if (dm_load(all.filter, sectors, type, params))
		die("%s: load", all.filter);
	resume(flags);
	all.sent[RELOAD]++;
	all.taken[RELOAD]++;
	return flags & DM_NOFLUSH_FLAG ? 0 : M_FLUSH;
}

static unsigned int do_pause(void)
{
	if (!verb(PAUSE, "job pause torture"))
		return 0;
	usleep(rnd(PAUSE_US));
	/* It may be over by now: then there is nothing to be resumed. */
	dm_message(all.filter, "job resume torture");
	return 0;
}

static unsigned int do_speed(void)
{
	static const unsigned int speeds[] = { 0, 0, 8 << 20, 32 << 20 };
	char text[64];

	snprintf(text, sizeof(text), "job set_speed torture %u",
		 speeds[rnd(4)]);
	verb(SPEED, text);
	return 0;
}

static unsigned int do_change(void)
{
	static const char *const texts[] = {
		"job change torture cbw_timeout=45000",
		"job change torture cbw_timeout=60000",
		"job change torture on_target_error=stop",
		"job change torture on_source_error=report",
		"job change torture copy_mode=write_blocking",
		"job change torture auto_switch=1",
	};

	verb(CHANGE, texts[rnd(sizeof(texts) / sizeof(*texts))]);
	return 0;
}

static unsigned int do_cancel(void)
{
	return verb(CANCEL, rnd(2) ? "job cancel torture" :
				     "job cancel torture force") ? M_CANCEL : 0;
}

static unsigned int act_once(unsigned int what)
{
	unsigned int dice = rnd(100);

	if (dice < 25)
		return do_suspend(what);
	if (dice < 45)
		return do_reload(what);
	if (dice < 65)
		return do_pause();
	if (dice < 80)
		return do_speed();
	if (dice < 95 || !(what & M_CANCEL))
		return do_change();
	return do_cancel();
}

static void *meanwhile_main(void *arg)
{
	unsigned int left = 0, what, did;

	(void)arg;
	pthread_mutex_lock(&lock);
	for (;;) {
		if (!on || !left) {
			busy = false;
			pthread_cond_broadcast(&cond);
			while (!busy)
				pthread_cond_wait(&cond, &lock);
			left = all.acts;
		}
		left--;
		what = may & ~(done & M_CANCEL);
		pthread_mutex_unlock(&lock);
		usleep(rnd(PAUSE_US));
		did = act_once(what);
		pthread_mutex_lock(&lock);
		done |= did;
	}
	return NULL;
}

void meanwhile_create(const char *filter, uint64_t seed, unsigned int acts)
{
	pthread_t thread;

	all.filter = filter;
	all.random = seed ^ 0xd1b54a32d192ed03ull;
	if (!all.random)
		all.random = 1;
	all.acts = acts;
	if (acts && pthread_create(&thread, NULL, meanwhile_main, NULL))
		die("thread");
}

void meanwhile_start(unsigned int what)
{
	pthread_mutex_lock(&lock);
	may = what;
	done = 0;
	on = all.acts;
	busy = on;
	pthread_cond_broadcast(&cond);
	pthread_mutex_unlock(&lock);
}

unsigned int meanwhile_stop(void)
{
	unsigned int did;

	pthread_mutex_lock(&lock);
	on = false;
	while (busy)
		pthread_cond_wait(&cond, &lock);
	did = done;
	pthread_mutex_unlock(&lock);
	return did;
}

void meanwhile_print(void)
{
	unsigned int i;

	if (!all.acts)
		return;
	printf("# meanwhile:");
	for (i = 0; i < ACTS; i++)
		printf(" %llu of %llu %s", (unsigned long long)all.taken[i],
		       (unsigned long long)all.sent[i], act_names[i]);
	printf(" taken\n");
}
