// SPDX-License-Identifier: GPL-2.0-only
/*
 * What if this I/O fails, or does not come back? Lives of a backup, a mirror, a
 * view and a metadata device, over devices whose n-th read, write or flush fails,
 * fails as all after it do, or waits (dm-nth.c), for each n.
 *
 * A point is right if
 *   - no guest's write failed, or was held past any bound that is promised;
 *   - the job ended, as one of the ends that the user's guide has;
 *   - if that was success the destination is what it should be;
 *   - after that a backup completes, by the same bitmap, and is right;
 *   - all can be removed.
 * The guest does not use the device while its own I/O would fail: what is counted is
 * the module's own.
 */

#include "../lib/dm.h"
#include "lab.h"
#include "sweeps.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Something waits that long that ought not to wait: it is let go, and was wrong. */
#define STUCK_MS	60000
/* How often a job is looked at while a fault lasts. */
#define PATIENCE	20

enum device { ORIGIN, DEST, META, DEVICES, WORKERS };
enum mode { FAIL, LOSE, STALL, MODES };

static const char *const modes[MODES] = { "fail", "lose", "stall" };
static const char *const names[DEVICES] = { "o", "d", "m" };
static const char *const below[DEVICES] = { "/dev/ram0", "/dev/ram1", "/dev/ram2" };
static char paths[DEVICES][64];
static const char *const claimed[] = { paths[ORIGIN], paths[DEST], paths[META], NULL };

/* Where faults come, and how. */
static enum device device;
static const char *kind;
static enum mode mode;
static bool came;			/* it was met */
static bool waits;			/* somebody waits there */
static bool cancelled;			/* the job was, by us */

static struct {
	uint64_t since;			/* a point has begun, or 0 */
	bool stuck;
	uint8_t seen[BYTES];		/* by a reader */
	bool read[CLUSTERS];		/* which of it is there */
} *shared;

static pid_t watchdog;

/*------------------------------------------------------------------*/
/* Faults */

static void calm_all(void)
{
	unsigned int i;

	for (i = 0; i < DEVICES; i++)
		dm_message(names[i], "calm");
}

static void look(void)
{
	unsigned int seen, hit, nr_waiting;

	if (device == WORKERS) {
		came |= workers_fired();
		return;
	}
	if (sscanf(dm_status(names[device]), "%u %u %u", &seen, &hit,
		   &nr_waiting) != 3)
		bad("no status of %s", names[device]);
	came |= hit;
	waits = nr_waiting;
}

static void arm(void)
{
	char text[64];

	came = waits = cancelled = false;
	if (device == WORKERS) {
		workers_arm(at);
		return;
	}
	snprintf(text, sizeof(text), "%s %s %u", modes[mode], kind, at);
	if (dm_message(names[device], text))
		bad("\"%s\" is refused", text);
}

static void calm(void)
{
	look();
	waits = false;
	workers_end();
	calm_all();
}

/* A process of its own: this one may be what is stuck. */
static void watch(void)
{
	for (;;) {
		uint64_t since = __atomic_load_n(&shared->since, __ATOMIC_SEQ_CST);

		if (since && now_ms() - since > STUCK_MS) {
			shared->stuck = true;
			calm_all();
		}
		nap(500);
		if (getppid() == 1)
			exit(0);
	}
}

static void watch_point(bool begins)
{
	if (!begins && shared->stuck)
		bad("something was stuck until the fault was ended");
	shared->stuck = false;
	__atomic_store_n(&shared->since, begins ? now_ms() : 0, __ATOMIC_SEQ_CST);
}

/*------------------------------------------------------------------*/
/* Ends */

/* The causes that the user's guide has for a job that failed by I/O. */
static bool is_documented(const char *outcome, const char *cause)
{
	static const struct {
		const char *outcome;
		const char *cause;	/* begins with it */
	} ends[] = {
		{ "error", "reading origin sector " },
		{ "error", "writing destination sector " },
		{ "error", "flushing the origin failed" },
		{ "error", "flushing destination " },
		{ "error", "out of memory" },
		{ "error", "claiming destination " },
		{ "error", "bitmap 'p' has become inconsistent: " },
		{ "broken", "broken: a guest's write would have waited too long" },
		{ "broken", "broken: copying for a guest's write failed" },
		{ "cancelled", "cancelled" },
	};
	unsigned int i;

	if (!strcmp(outcome, "completed"))
		return true;
	for (i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
		if (!strcmp(outcome, ends[i].outcome) &&
		    !strncmp(cause, ends[i].cause, strlen(ends[i].cause)))
			return !strcmp(outcome, "cancelled") ? cancelled : came;
	return false;
}

/* The job has concluded: did it complete? heals: it had to, or could not know. */
static bool outcome(bool heals)
{
	const char *cause;
	char how[64];

	if (!job_is("concluded"))
		return false;
	look();
	snprintf(how, sizeof(how), "%s", word("outcome"));
	cause = strstr(answer(), "cause=");
	cause = cause ? cause + 6 : "";
	if (!is_documented(how, cause))
		bad("an end that is none%s: %s", came ? "" : ", as nothing failed",
		    answer());
	if (heals && !cancelled && !strcmp(how, "error") &&
	    strncmp(cause, "flushing", 8) && strcmp(cause, "out of memory"))
		bad("it was to go on: %s", answer());
	return !strcmp(how, "completed");
}

/* While a job is waited for: what lasts is ended, in one of two ways. */
static void go_on(unsigned int *patience, bool heals)
{
	look();
	if (mode == STALL ? !waits : !(heals && came))
		return;
	if (++*patience == PATIENCE && mode == STALL && at % 2) {
		cancelled = !message("job cancel j force");
		/* Who reads the origin waits for it. */
		if (device == DEST)
			return;
	}
	if (*patience == PATIENCE || *patience == PATIENCE * 400)
		calm();
}

static void wait_end(bool heals)
{
	unsigned int i, patience = 0;

	for (i = 0; i < 12000 && !job_is("concluded"); i++) {
		bool paused = !strcmp(word("state"), "paused") ||
			      !strcmp(word("state"), "standby");

		go_on(&patience, heals);
		if (paused)
			message("job resume j");
		nap(5);
	}
	if (i == 12000)
		bad("the job does not end: %s", answer());
}

/*------------------------------------------------------------------*/
/* Lives. Each is told by its words, and leaves nothing. */

struct life {
	const char *name;
	void (*live)(const struct life *life);
	const char *words;	/* of the job under fire */
	bool heals;		/* what fails is tried again, and is mended some time */
	bool pivots;
	bool slow;		/* only for those who are thorough */
	unsigned int sparse;	/* stalls last long: that many fewer are enough */
	struct {
		enum device device;
		const char *kind;
		unsigned int step;	/* there are many: that many fewer are enough */
	} places[6];
};

static bool begin_life(const char *features)
{
	refill();
	if (filter_open(features))
		return true;
	bad("no filter to begin with");
	return false;
}

static void end_life(void)
{
	job_gone("j");
	filter_close();
	check_gone(claimed);
}

/* What was asked for was refused: is that an answer to what failed? */
static void refusal(int r)
{
	look();
	if (!came)
		bad("refused, and nothing failed: %s", strerror(-r));
	refused++;
}

static void live_backup(const struct life *life)
{
	bool bitmap = strstr(life->words, "bitmap=b");
	char words[256];
	int r;

	if (!begin_life(""))
		return;
	if (bitmap) {
		message("bitmap add b");
		backup_well(paths[DEST], "sync=full bitmap=b bitmap_mode=on_success",
			    "base");
		guest_writes(1);
		guest_writes(2);
	}
	snprintf(words, sizeof(words), "%s speed=1 cbw_timeout=300", life->words);
	arm();
	r = start(paths[DEST], words);
	guest_writes(0);
	guest_writes(1);
	if (r) {
		refusal(r);
	} else {
		message("job set_speed j 0");
		wait_end(life->heals);
		if (outcome(life->heals))
			check_dest("/dev/ram1", ref, "completed");
		job_gone("j");
	}
	calm();
	check_origin();
	backup_well(paths[DEST], bitmap ? "sync=incremental bitmap=b" : "sync=full",
		    "the next one");
	end_life();
}

/* Ready, written to, ready again, and then told to end. */
static void mirror_end(const struct life *life)
{
	unsigned int i, patience = 0, times = 0;

	for (i = 0; i < 12000 && !job_is("concluded"); i++) {
		char state[64];
		bool synced;

		snprintf(state, sizeof(state), "%s", word("state"));
		synced = !strcmp(word("synced"), "1");
		go_on(&patience, life->heals);
		if (!strcmp(state, "ready") && synced && !times++) {
			guest_writes(1);
		} else if (!strcmp(state, "ready") && synced) {
			message(life->pivots ? "job complete j" : "job cancel j");
			/* What it writes after a pivot is its own to lose. */
			if (life->pivots && device == ORIGIN)
				guest_writes(3);
		} else if (!strcmp(state, "standby") || !strcmp(state, "paused")) {
			if (mode == LOSE)
				calm();
			message("job resume j");
		}
		nap(5);
	}
	if (i == 12000)
		bad("the mirror does not end: %d, %s", message("job show j"),
		    answer());
}

static void live_mirror(const struct life *life)
{
	bool completed = false;
	char text[256];
	int r;

	if (!begin_life(""))
		return;
	snprintf(text, sizeof(text),
		 "mirror start j target=%s auto_dismiss=0 max_chunk=128 speed=1 %s",
		 paths[DEST], life->words);
	arm();
	r = message(text);
	guest_writes(0);
	if (r) {
		refusal(r);
	} else {
		message("job set_speed j 0");
		mirror_end(life);
		completed = outcome(life->heals);
		if (completed)
			check_dest("/dev/ram1", now, "completed");
		job_gone("j");
	}
	calm();
	check_origin();
	if (life->pivots && completed) {
		guest_writes(2);
		check_dest("/dev/ram1", now, "after the pivot");
	} else {
		backup_well(paths[DEST], "sync=full", "the next one");
	}
	end_life();
}

/* Reads it all, in a process of its own, as long as it takes. */
static pid_t view_read(const char *path)
{
	static uint8_t data[CLUSTER] __attribute__((aligned(4096)));
	unsigned int i;
	pid_t pid;
	int fd;

	memset(shared->read, 0, sizeof(shared->read));
	fflush(stdout);
	pid = fork();
	if (pid)
		return pid;
	fd = open(path, O_RDONLY | O_DIRECT);
	for (i = 0; i < CLUSTERS; i++)
		if (pread(fd, data, CLUSTER, (off_t)i * CLUSTER) == CLUSTER) {
			memcpy(shared->seen + i * CLUSTER, data, CLUSTER);
			shared->read[i] = true;
		} else if (errno != EIO) {
			_exit(errno);
		}
	_exit(0);
}

/* Whatever was read is of the point in time. How much was? */
static unsigned int view_check(pid_t reader)
{
	unsigned int i, n = 0;
	int status = 0;

	for (i = 0; i < 12000 && !waitpid(reader, &status, WNOHANG); i++) {
		look();
		if (i > PATIENCE && waits)
			calm();
		nap(5);
	}
	if (i == 12000) {
		bad("a view's read does not end");
		kill(reader, SIGKILL);
	} else if (status) {
		bad("a view's read fails: %s", strerror(WEXITSTATUS(status)));
	}
	look();
	for (i = 0; i < CLUSTERS; i++) {
		n += shared->read[i];
		if (shared->read[i] &&
		    memcmp(shared->seen + i * CLUSTER, ref + i * CLUSTER, CLUSTER))
			bad("the view shows something else in cluster %u", i);
	}
	return n;
}

static void live_view(const struct life *life)
{
	char path[64], params[128];
	unsigned int n;
	int i, r;

	if (!begin_life(""))
		return;
	if (start(paths[DEST], life->words) || !wait_job("j", "running"))
		bad("no job to begin with");
	snprintf(params, sizeof(params), "%s %s j", origin, filter_number());
	dm_create("v", path, sizeof(path));
	dm_prepare("v");
	dm.head.flags = DM_READONLY_FLAG;
	dm_target(0, SECTORS, "backup-view", params);
	r = dm_send(DM_TABLE_LOAD);
	if (r || dm_resume("v"))
		bad("no view: %s", strerror(-r));
	guest_writes(2);
	arm();
	r = view_read(path);
	guest_writes(1);
	guest_writes(2);
	guest_writes(3);
	n = view_check(r);
	if (!came && n != CLUSTERS)
		bad("%u clusters can't be read, and nothing failed", CLUSTERS - n);
	/* One that is to end by our word only: else a fault has ended it. */
	if (job_is("running"))
		cancelled = !message("job cancel j");
	wait_end(false);
	outcome(false);
	calm();
	for (i = 0; i < 1000 && dm_remove("v") == -EBUSY; i++)
		nap(10);
	job_gone("j");
	check_origin();
	backup_well(paths[DEST], "sync=full", "the next one");
	end_life();
}

static void store_features(char *features, size_t size)
{
	snprintf(features, size, "4 metadata %s after_crash trust", paths[META]);
}

/* What is believed afterwards is true. */
static void store_after(void)
{
	char features[128];

	store_features(features, sizeof(features));
	if (!filter_open(features)) {
		bad("the metadata device is refused when all is well again");
		return;
	}
	message("bitmap list");
	if (strstr(answer(), "name=p ") && !strstr(answer(), "inconsistent=1"))
		backup_well(paths[DEST], "sync=incremental bitmap=p", "after it");
	else
		backup_well(paths[DEST], "sync=full", "after it");
	end_life();
}

static void live_store(const struct life *life)
{
	char features[128];
	bool made;

	(void)life;
	store_features(features, sizeof(features));
	refill();
	/* The bitmap begins clean, so is what it stands for. */
	device_io(below[DEST], now, BYTES, true);
	device_io(below[META], image, METADATA, true);
	arm();
	made = filter_open(features);
	if (made) {
		message("bitmap add p persistent");
		guest_writes(0);
		message("metadata save");
		guest_writes(1);
		if (!start(paths[DEST], "sync=full bitmap=p bitmap_mode=on_success")) {
			guest_writes(2);
			wait_end(false);
			outcome(false);
			job_gone("j");
		}
		guest_writes(3);
		look();
		if (device == ORIGIN || (waits && at % 2))
			calm();
		check_origin();
		job_gone("j");
		filter_close();
	} else {
		refusal(-EIO);
	}
	calm();
	check_gone(claimed);
	store_after();
}

static const struct life lives[] = {
	{ "full", live_backup, "sync=full", .places = {
		{ ORIGIN, "read" }, { ORIGIN, "flush" }, { DEST, "write" },
		{ DEST, "flush" }, } },
	{ "full, ignore", live_backup,
	  "sync=full on_source_error=ignore on_target_error=ignore", .heals = true,
	  .places = { { ORIGIN, "read" }, { DEST, "write" }, } },
	{ "full, stop", live_backup,
	  "sync=full on_source_error=stop on_target_error=stop", .heals = true, .slow = true,
	  .places = { { ORIGIN, "read" }, { DEST, "write" }, } },
	{ "incremental", live_backup, "sync=incremental bitmap=b", .places = {
		{ ORIGIN, "read" }, { ORIGIN, "flush" }, { DEST, "write" },
		{ DEST, "flush" }, } },
	{ "bitmap, always", live_backup, "sync=bitmap bitmap=b bitmap_mode=always",
	  .places = { { ORIGIN, "read" }, { ORIGIN, "flush" }, { DEST, "write" },
		{ DEST, "flush" }, } },
	{ "mirror", live_mirror, "sync=full", .places = {
		{ ORIGIN, "read" }, { ORIGIN, "flush" }, { DEST, "write" },
		{ DEST, "flush" }, { DEST, "read" }, } },
	{ "mirror, ignore", live_mirror,
	  "sync=full on_source_error=ignore on_target_error=ignore", .heals = true,
	  .places = { { ORIGIN, "read" }, { DEST, "write" }, } },
	{ "pivot", live_mirror, "sync=full", .pivots = true, .sparse = 5, .places = {
		{ ORIGIN, "read" }, { DEST, "write" }, { DEST, "flush" },
		{ DEST, "read" }, } },
	{ "view", live_view, "sync=none cbw_timeout=300", .places = {
		{ ORIGIN, "read" }, { DEST, "write" }, { DEST, "read" }, } },
	{ "store", live_store, "", .sparse = 13, .places = {
		{ META, "read" }, { META, "write" }, { META, "flush" },
		{ ORIGIN, "read", 29 }, { ORIGIN, "flush" }, } },
};

/*------------------------------------------------------------------*/

/* Of a loss or a stall some points are enough, for those in a hurry. */
static unsigned int step(const struct life *life, unsigned int many, bool thorough)
{
	if (thorough)
		return 1;
	if (device == WORKERS)
		return 1 + at / 8;
	if (many)
		return many;
	if (mode == FAIL)
		return 1;
	return mode == STALL && life->sparse ? life->sparse : 3;
}

static void sweep_place(const struct life *life, unsigned int many, bool thorough)
{
	static char name[128];

	snprintf(name, sizeof(name), "%s: %s %s %s", life->name, modes[mode],
		 device == WORKERS ? "workers'" : names[device], kind);
	begin(name);
	for (at = only ?: 1; at < LIMIT; at += step(life, many, thorough)) {
		watch_point(true);
		life->live(life);
		watch_point(false);
		if (!came || only)
			break;
	}
	end(at);
}

bool sweep_io(const char *which, bool thorough)
{
	bool found = false;
	unsigned int i, j;

	origin = paths[ORIGIN];
	for (i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
		const struct life *life = &lives[i];

		if (which ? strcmp(which, life->name) : life->slow && !thorough)
			continue;
		found = true;
		for (j = 0; j < 6 && life->places[j].kind; j++)
			for (mode = FAIL; mode < MODES; mode++) {
				device = life->places[j].device;
				kind = life->places[j].kind;
				/* A table that becomes live waits for what it reads. */
				if (mode == STALL && *kind == 'r' &&
				    life->live == live_store)
					continue;
				sweep_place(life, life->places[j].step, thorough);
			}
	}
	origin = below[ORIGIN];
	return found;
}

void sweep_workers(bool thorough)
{
	unsigned int i;

	origin = paths[ORIGIN];
	device = WORKERS;
	kind = "allocation";
	mode = FAIL;
	for (i = 0; i < sizeof(lives) / sizeof(lives[0]); i++)
		if (thorough || !lives[i].slow)
			sweep_place(&lives[i], 0, thorough);
	origin = below[ORIGIN];
}

bool io_init(void)
{
	unsigned int i;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return false;
	for (i = 0; i < DEVICES; i++)
		if (dm_create(names[i], paths[i], sizeof(paths[i])) ||
		    dm_load(names[i], i == META ? METADATA / 512 : SECTORS, "nth",
			    below[i]) ||
		    dm_resume(names[i]))
			return false;
	fflush(stdout);
	watchdog = fork();
	if (!watchdog)
		watch();
	return watchdog > 0;
}

void io_exit(void)
{
	unsigned int i;

	if (watchdog > 0)
		kill(watchdog, SIGKILL);
	for (i = 0; i < DEVICES; i++)
		dm_remove(names[i]);
}
