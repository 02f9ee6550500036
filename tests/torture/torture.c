// SPDX-License-Identifier: GPL-2.0-only
/*
 * torture: is what a backup copies one instant of what was written?
 *
 * Threads write, zero and discard all over a filter, each sector of what they
 * write saying who wrote it when and where (writers.h). Meanwhile full backups are
 * made, one after the other; after each, the destination must be one instant of the
 * history (history.h), at a moment when the backup could have made its cut, and
 * the filter must hold what was written last. Or the same is asked of views: see
 * readers.h. The filter may be suspended, reloaded and so on in each round: see
 * meanwhile.h.
 *
 * Prints TAP. The seed decides what is written where and how, and what happens
 * meanwhile; how threads meet is up to the machine.
 */

#include "history.h"
#include "meanwhile.h"
#include "readers.h"
#include "torture.h"
#include "writers.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ORPHANS		"/sys/module/dm_backup/parameters/orphans"

static struct {
	const char *filter;		/* dm name */
	const char *dest;
	unsigned int seconds;
	unsigned int threads;
	struct writers_mix mix;
	unsigned int meanwhile;		/* things that happen in a round, at most */
	uint64_t seed;
	const char *bitmap;		/* NULL: full backups */
	unsigned int readers;		/* of a view, instead of the destination */
	uint64_t reads;			/* sectors, at least */
	const char *spoil;		/* a command: from then on its reads may fail */
	const char *mend;		/* a command: at the end of a round */
	bool naive;			/* copy without a backup: must fail */
	bool mirror;			/* ends a mirror in each round */
	const char *job_options[16];	/* tried in turn */
	unsigned int nr_job_options;
} opt = {
	.seconds = 10,
	.threads = 4,
	.mix = {
		.zeroes = 20,
		.discards = 10,
		.fua = 50,
		.cached = 50,
		.uring = 100,
		.nowait = 100,
		.pace = 200,
	},
};

static struct history *history;
static char device[256];
static unsigned int tests, failures;

void die(const char *fmt, ...)
{
	va_list args;

	printf("Bail out! ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf(": %s\n", strerror(errno));
	exit(2);
}

static bool report(bool ok, const char *fmt, ...)
{
	va_list args;

	printf("%s %u - ", ok ? "ok" : "not ok", ++tests);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	failures += !ok;
	return ok;
}

/*------------------------------------------------------------------*/
/* Backups */

/* Runs a command; its first line goes to @line. */
static int run(char *line, size_t size, const char *fmt, ...)
{
	char cmd[1024];
	va_list args;
	FILE *f;

	va_start(args, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, args);
	va_end(args);
	line[0] = '\0';
	f = popen(cmd, "r");
	if (!f)
		die("%s", cmd);
	if (fgets(line, size, f))
		line[strcspn(line, "\n")] = '\0';
	while (fgetc(f) != EOF)
		;
	return pclose(f);
}

/* The job's state, as "job show" says it. */
static void job_state(char *state, size_t size, char *line, size_t line_size)
{
	const char *p;

	run(line, line_size, "dmsetup message %s 0 job show torture 2>&1",
	    opt.filter);
	p = strstr(line, "state=");
	snprintf(state, size, "%.*s", p ? (int)strcspn(p + 6, " ") : 0,
		 p ? p + 6 : "");
}

/* What is copied: all, or with a bitmap what has changed since the last round. */
static const char *sync_words(unsigned int round)
{
	static char words[128];

	if (!opt.bitmap)
		return "sync=full";
	snprintf(words, sizeof(words), round ?
		 "sync=incremental bitmap=%s" :
		 "sync=full bitmap=%s bitmap_mode=on_success", opt.bitmap);
	return words;
}

/*
 * A job that is cancelled half-way, and leaves the destination as it may: what it
 * did not copy, and what is written meanwhile, the next one has to.
 */
static void backup_cancelled(unsigned int round)
{
	static const char *const modes[] = { "on_success", "always", "never" };
	bool force = round % 5 == 4;
	char line[2048], state[32];

	if (run(line, sizeof(line),
		"dmsetup message %s 0 backup start torture target=%s sync=bitmap bitmap=%s bitmap_mode=%s auto_dismiss=0 auto_finalize=0 max_chunk=128 speed=4194304 2>&1",
		opt.filter, opt.dest, opt.bitmap, modes[round % 3]))
		die("%s", line);
	usleep(20000 * (round % 8));
	/* It may be paused just now, and then can't be cancelled gently. */
	do {
		run(line, sizeof(line),
		    "dmsetup message %s 0 job cancel torture%s 2>&1",
		    opt.filter, force ? " force" : "");
		job_state(state, sizeof(state), line, sizeof(line));
		usleep(10000);
	} while (strcmp(state, "concluded"));
	/* Then it does not wait until the destination is free. */
	while (force && !run(line, sizeof(line), "cat %s", ORPHANS) && line[0])
		usleep(10000);
	run(line, sizeof(line), "dmsetup message %s 0 job dismiss torture 2>&1",
	    opt.filter);
}

/* Returns its outcome, with @line what "job show" says, or NULL: it did not start. */
static const char *backup_once(unsigned int round, const char *options,
			       uint64_t *after, uint64_t *before, char *line,
			       size_t size)
{
	const char *outcome;
	char state[32];

	*after = now_ns();
	if (run(line, size,
		"dmsetup message %s 0 backup start torture target=%s %s auto_dismiss=0 %s 2>&1",
		opt.filter, opt.dest, sync_words(round), options))
		return NULL;
	do {
		job_state(state, sizeof(state), line, size);
		*before = now_ns();
	} while (!strcmp(state, "created"));
	while (strcmp(state, "concluded")) {
		usleep(20000);
		job_state(state, sizeof(state), line, size);
	}
	outcome = strstr(line, "outcome=");
	return outcome ? outcome + strlen("outcome=") : NULL;
}

/* Has it ended, or not begun, by what @did happen meanwhile? */
static bool backup_was_ended(const char *outcome, unsigned int did)
{
	if (!outcome)
		return did & M_CANCEL;
	return (did & M_CANCEL && !strncmp(outcome, "cancelled ", 10)) ||
	       (did & M_FLUSH && !strncmp(outcome, "broken ", 7));
}

/*
 * A job that was cancelled meanwhile, or kept a suspend waiting so long that it broke,
 * is of no use: then another one is made, and this time neither happens.
 */
static bool backup(unsigned int round, const char *options, uint64_t *after,
		   uint64_t *before)
{
	const char *outcome;
	char line[2048];

	if (opt.bitmap && round) {
		meanwhile_start(M_ANY | M_FLUSH);
		backup_cancelled(round);
		meanwhile_stop();
	}
	meanwhile_start(M_ANY | M_FLUSH | M_CANCEL);
	outcome = backup_once(round, options, after, before, line, sizeof(line));
	if (backup_was_ended(outcome, meanwhile_stop())) {
		printf("# again: %s\n", outcome ?: line);
		run(line, sizeof(line),
		    "dmsetup message %s 0 job dismiss torture 2>&1",
		    opt.filter);
		meanwhile_start(M_ANY);
		outcome = backup_once(round, options, after, before, line,
				      sizeof(line));
		meanwhile_stop();
	}
	writers_stop();
	if (!outcome)
		return report(false, "start: %s", line);
	if (strncmp(outcome, "completed ", 10))
		return report(false, "backup completes: %s", line);
	printf("# %s\n", strstr(line, "guest_copied"));
	return true;
}

/* A mirror, which is the device as of the moment at which it was told to end. */
static bool mirror(const char *options, uint64_t *after, uint64_t *before)
{
	char line[2048], state[32];
	bool told;

	meanwhile_start(M_ANY | M_FLUSH);
	if (run(line, sizeof(line),
		"dmsetup message %s 0 mirror start torture target=%s sync=full auto_dismiss=0 %s 2>&1",
		opt.filter, opt.dest, options)) {
		meanwhile_stop();
		writers_stop();
		return report(false, "start: %s", line);
	}
	do {
		usleep(20000);
		job_state(state, sizeof(state), line, sizeof(line));
	} while (!strcmp(state, "created") || !strcmp(state, "running") ||
		 !strcmp(state, "paused"));
	/* Once, as twice would be the end of it; refused while it is paused. */
	for (told = false; strcmp(state, "concluded");) {
		if (!told) {
			*after = now_ns();
			told = !run(line, sizeof(line),
				    "dmsetup message %s 0 job cancel torture 2>&1",
				    opt.filter);
		}
		usleep(20000);
		job_state(state, sizeof(state), line, sizeof(line));
	}
	*before = now_ns();
	meanwhile_stop();
	writers_stop();
	if (!strstr(line, "outcome=completed"))
		return report(false, "mirror completes: %s", line);
	return true;
}

/* What people did before: copy the device while it is written. */
static bool copy_naively(uint64_t sectors, uint64_t *after, uint64_t *before)
{
	int from = open(device, O_RDONLY | O_DIRECT);
	int to = open(opt.dest, O_WRONLY | O_DIRECT);
	uint64_t at;
	void *buf;

	if (from < 0 || to < 0 || posix_memalign(&buf, 4096, 1 << 20))
		die("naive copy");
	*after = now_ns();
	for (at = 0; at < sectors * SECTOR; at += 1 << 20)
		if (pread(from, buf, 1 << 20, at) != 1 << 20 ||
		    pwrite(to, buf, 1 << 20, at) != 1 << 20)
			die("naive copy");
	*before = now_ns();
	writers_stop();
	free(buf);
	close(from);
	close(to);
	return true;
}

/* How long a view is read after all of it has been. */
#define VIEW_US		300000

/*
 * Starts a job and makes a view of it. False if the job has ended before that: of
 * a full backup the writers soon have had all copied.
 */
static bool view_create(const char *options, uint64_t *after, uint64_t *before)
{
	char line[2048], state[32];

	*after = now_ns();
	if (run(line, sizeof(line),
		"dmsetup message %s 0 backup start torture target=%s auto_dismiss=0 %s 2>&1",
		opt.filter, opt.dest, *options ? options : "sync=none"))
		die("%s", line);
	do {
		job_state(state, sizeof(state), line, sizeof(line));
		*before = now_ns();
	} while (!strcmp(state, "created"));
	if (!run(line, sizeof(line),
		 "dmsetup create torture-view --readonly --table \"$(dmsetup table %s | sed \"s/ backup \\([^ ]*\\).*/ backup-view \\1 $(dmsetup info -c --noheadings -o major,minor %s) torture/\")\" 2>&1",
		 opt.filter, opt.filter))
		return true;
	do {
		job_state(state, sizeof(state), line, sizeof(line));
		if (!strcmp(state, "running"))
			die("view: %s", line);
		usleep(10000);
	} while (strcmp(state, "concluded"));
	run(line, sizeof(line), "dmsetup message %s 0 job dismiss torture 2>&1",
	    opt.filter);
	return false;
}

/*
 * A view of a job, with readers on it, while the writers go on. Returns what it
 * showed, or -1.
 */
static int view(unsigned int round, const char *options, uint64_t sectors,
		uint64_t *after, uint64_t *before)
{
	char line[2048], state[32];
	bool spoil = opt.spoil;
	uint64_t waited = 0;
	int kept;

	/* What breaks the job would break the view. */
	meanwhile_start(M_ANY);
	if (!view_create(options, after, before) &&
	    !view_create("sync=none", after, before))
		die("view: the job has ended");
	if (readers_start("/dev/mapper/torture-view", sectors, opt.readers,
			  opt.seed + round))
		die("readers");
	while (!readers_saw_all())
		usleep(10000);
	if (spoil) {
		readers_allow_errors();
		run(line, sizeof(line), "%s", opt.spoil);
		/* Until it is noticed: on an idle device that may take a while. */
		for (; !readers_errors() && waited < 20; waited++)
			usleep(50000);
	}
	usleep(VIEW_US);
	meanwhile_stop();
	writers_stop();
	usleep(VIEW_US / 10);
	kept = readers_stop();
	run(line, sizeof(line),
	    "dmsetup remove torture-view 2>&1; dmsetup message %s 0 job cancel torture force 2>&1",
	    opt.filter);
	if (spoil && opt.mend)
		run(line, sizeof(line), "%s", opt.mend);
	do {
		job_state(state, sizeof(state), line, sizeof(line));
		usleep(10000);
	} while (strcmp(state, "concluded"));
	while (!run(line, sizeof(line), "cat %s", ORPHANS) && line[0])
		usleep(10000);
	if (kept < 0)
		report(false, "round %u (%s): each sector of the view stays as it is",
		       round, options);
	return kept;
}

static bool round_once(unsigned int round, uint64_t sectors)
{
	const char *options = opt.nr_job_options ?
			      opt.job_options[round % opt.nr_job_options] : "";
	uint64_t after = 0, before = 0;
	const char *what = opt.readers ? "view" : "destination";
	char line[256];
	int fd, dest = -1;
	bool ok;

	fd = open(device, O_RDONLY | O_DIRECT);
	if (fd < 0 || history_rebase(history, fd))
		die("%s", device);
	writers_start();
	usleep(50000 + (opt.seed + round * 7919) % 100000);
	if (opt.readers) {
		dest = view(round, options, sectors, &after, &before);
		ok = dest >= 0;
	} else if (opt.naive) {
		ok = copy_naively(sectors, &after, &before);
	} else if (opt.mirror) {
		ok = mirror(options, &after, &before);
	} else {
		ok = backup(round, options, &after, &before);
	}
	if (ok) {
		if (dest < 0)
			dest = open(opt.dest, O_RDONLY | O_DIRECT);
		if (dest < 0)
			die("%s", opt.dest);
		ok = report(history_find_cut(history, dest, after, before,
					     what),
			    "round %u (%s): the %s is one instant", round,
			    options, what);
		close(dest);
		ok &= report(history_is_latest(history, fd, device),
			     "round %u: the filter holds what was written last",
			     round);
	}
	if (!opt.naive)
		run(line, sizeof(line),
		    "dmsetup message %s 0 job dismiss torture 2>&1",
		    opt.filter);
	close(fd);
	return ok;
}

/*------------------------------------------------------------------*/

static void usage(void)
{
	fprintf(stderr,
		"torture --filter NAME --dest DEVICE [--seconds N] [--threads N] [--seed N]\n"
		"        [--zeroes N] [--discards N] [--fua N] [--cached N] [--uring N] [--nowait N]\n"
		"        (of 1000) [--pace US] [--naive] [--mirror]\n"
		"        [--meanwhile N] (suspends, reloads, verbs in each round)\n"
		"        [--bitmap NAME] (incremental backups by it)\n"
		"        [--readers N] (of a view, instead of the destination)\n"
		"        [--reads N] (sectors, in all rounds, however long that takes)\n"
		"        [--spoil COMMAND --mend COMMAND] (then reads may fail)\n"
		"        [--job OPTIONS]... (tried in turn)\n");
	exit(2);
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "filter", required_argument, NULL, 'f' },
		{ "dest", required_argument, NULL, 'd' },
		{ "seconds", required_argument, NULL, 's' },
		{ "threads", required_argument, NULL, 't' },
		{ "seed", required_argument, NULL, 'r' },
		{ "zeroes", required_argument, NULL, 'z' },
		{ "discards", required_argument, NULL, 'D' },
		{ "fua", required_argument, NULL, 'F' },
		{ "cached", required_argument, NULL, 'C' },
		{ "uring", required_argument, NULL, 'U' },
		{ "nowait", required_argument, NULL, 'W' },
		{ "meanwhile", required_argument, NULL, 'w' },
		{ "pace", required_argument, NULL, 'p' },
		{ "job", required_argument, NULL, 'j' },
		{ "bitmap", required_argument, NULL, 'b' },
		{ "readers", required_argument, NULL, 'R' },
		{ "reads", required_argument, NULL, 'N' },
		{ "spoil", required_argument, NULL, 'x' },
		{ "mend", required_argument, NULL, 'm' },
		{ "naive", no_argument, NULL, 'n' },
		{ "mirror", no_argument, NULL, 'M' },
		{ }
	};
	int c;

	opt.seed = now_ns() ^ getpid();
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'f': opt.filter = optarg; break;
		case 'd': opt.dest = optarg; break;
		case 's': opt.seconds = atoi(optarg); break;
		case 't': opt.threads = atoi(optarg); break;
		case 'r': opt.seed = strtoull(optarg, NULL, 0); break;
		case 'z': opt.mix.zeroes = atoi(optarg); break;
		case 'D': opt.mix.discards = atoi(optarg); break;
		case 'F': opt.mix.fua = atoi(optarg); break;
		case 'C': opt.mix.cached = atoi(optarg); break;
		case 'U': opt.mix.uring = atoi(optarg); break;
		case 'W': opt.mix.nowait = atoi(optarg); break;
		case 'p': opt.mix.pace = atoi(optarg); break;
		case 'w': opt.meanwhile = atoi(optarg); break;
		case 'b': opt.bitmap = optarg; break;
		case 'R': opt.readers = atoi(optarg); break;
		case 'N': opt.reads = strtoull(optarg, NULL, 0); break;
		case 'x': opt.spoil = optarg; break;
		case 'm': opt.mend = optarg; break;
		case 'n': opt.naive = true; break;
		case 'M': opt.mirror = true; break;
		case 'j':
			if (opt.nr_job_options < 16)
				opt.job_options[opt.nr_job_options++] = optarg;
			break;
		default: usage();
		}
	}
	if (!opt.filter || !opt.dest || opt.threads < 1 ||
	    opt.threads > MAX_THREADS)
		usage();
}

int main(int argc, char **argv)
{
	unsigned int round = 0;
	uint64_t bytes, end;
	int fd;

	parse(argc, argv);
	setvbuf(stdout, NULL, _IOLBF, 0);
	snprintf(device, sizeof(device), "/dev/mapper/%s", opt.filter);
	fd = open(device, O_RDONLY);
	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes))
		die("%s", device);
	close(fd);
	printf("# seed %llu\n", (unsigned long long)opt.seed);

	history = history_create(1, bytes / SECTOR, opt.threads, 20000);
	if (!history)
		die("memory");
	writers_create(history, device, bytes / SECTOR, opt.threads, opt.seed,
		       &opt.mix);
	meanwhile_create(opt.filter, opt.seed, opt.meanwhile);
	end = now_ns() + opt.seconds * 1000000000ull;
	do {
		if (!round_once(round++, bytes / SECTOR))
			break;
	} while (now_ns() < end ||
		 (opt.readers && readers_sectors() < opt.reads));

	writers_end();
	meanwhile_print();
	printf("# %llu writes in %u rounds\n",
	       (unsigned long long)history_writes(history), round);
	if (opt.readers)
		printf("# %llu sectors of views were read\n",
		       (unsigned long long)readers_sectors());
	printf("1..%u\n", tests);
	return failures ? 1 : 0;
}
