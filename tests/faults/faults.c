// SPDX-License-Identifier: GPL-2.0-only
/*
 * faults: what happens if this allocation fails? Sweeps over every allocation that
 * each message makes, one failing at a time, on the sanitizer kernel.
 *
 *   faults [--verbose] [--only N]
 *
 * Of each: a guest's write never fails and reads are right; what was asked for is
 * done, or refused with nothing changed; the job that runs meanwhile goes on; all
 * can be removed. Leaks, and use of what was freed, are for kmemleak and KASAN.
 * What workers allocate for the message is not swept.
 *
 * /dev/ram0 is the origin, /dev/ram1 and /dev/ram3 are destinations, /dev/ram2 is
 * the metadata device, formatted. All are filled, so that they do not allocate.
 */

#include "../lib/dm.h"

#include <stdarg.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#define CLUSTER		65536u
#define CLUSTERS	16u
#define BYTES		(CLUSTER * CLUSTERS)
#define SECTORS		(BYTES / 512)
#define METADATA	(4u << 20)
#define LIMIT		2000u		/* of a sweep */

static uint8_t now[BYTES] __attribute__((aligned(4096)));	/* the origin */
static uint8_t buf[BYTES] __attribute__((aligned(4096)));
static uint8_t image[METADATA] __attribute__((aligned(4096)));
static char filter[64];			/* its device */
static int filter_fd = -1;
static unsigned int only, tests, failures;
static bool verbose;
static const char *sweep;		/* which one, at which index */
static unsigned int at;
static unsigned int trouble;
static unsigned int refused;		/* of those that were to be */
static uint8_t generation;

__attribute__((format(printf, 1, 2)))
static void bad(const char *fmt, ...)
{
	va_list args;

	printf("# %s, %u: ", sweep, at);
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
	trouble++;
}

static void begin(const char *name)
{
	sweep = name;
	trouble = 0;
	refused = 0;
}

static void end(unsigned int n)
{
	printf("%s %u - %s: %u points, %u refused\n",
	       trouble || n >= LIMIT ? "not ok" : "ok", ++tests, sweep, n,
	       refused);
	fflush(stdout);
	failures += trouble || n >= LIMIT;
}

static void nap(unsigned int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000l };

	nanosleep(&t, NULL);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/*------------------------------------------------------------------*/
/* Devices */

static void device_io(const char *path, void *data, size_t bytes, bool write)
{
	int fd = open(path, O_RDWR | O_DIRECT);
	ssize_t n = -1;

	if (fd >= 0)
		n = write ? pwrite(fd, data, bytes, 0) : pread(fd, data, bytes, 0);
	if (n != (ssize_t)bytes) {
		printf("Bail out! %s: %s\n", path, strerror(errno));
		exit(2);
	}
	close(fd);
}

/* Sectors that are all different, and nowhere zero. */
static void refill(void)
{
	unsigned int i;

	generation++;
	memset(now, 0x11, sizeof(now));
	for (i = 0; i < SECTORS; i++)
		memcpy(now + i * 512, &(uint32_t){ i << 8 | generation }, 4);
	device_io("/dev/ram0", now, BYTES, true);
	memset(buf, 0xff, BYTES);
	device_io("/dev/ram1", buf, BYTES, true);
}

/* 4 KiB in the middle of a cluster. False: it failed. */
static bool guest_write(unsigned int cluster)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));
	size_t offset = cluster * CLUSTER + 8192;
	uint64_t began = now_ms();

	memset(page, 0x80 | (++generation & 0x7f), sizeof(page));
	if (pwrite(filter_fd, page, sizeof(page), offset) != sizeof(page))
		return false;
	memcpy(now + offset, page, sizeof(page));
	if (now_ms() - began > 30000)
		bad("a guest's write took %u ms",
		    (unsigned int)(now_ms() - began));
	return true;
}

static void guest_writes(unsigned int from)
{
	unsigned int i;

	for (i = from; i < CLUSTERS; i += 4)
		if (!guest_write(i))
			bad("a guest's write failed: %s", strerror(errno));
}

/* Is what the filter holds what was written? */
static void check_origin(void)
{
	if (pread(filter_fd, buf, BYTES, 0) != BYTES)
		bad("reading the filter failed: %s", strerror(errno));
	else if (memcmp(buf, now, BYTES))
		bad("the filter does not hold what was written");
}

static void filter_prepare(const char *words)
{
	char params[256];

	snprintf(params, sizeof(params), "/dev/ram0 %s", words);
	dm_prepare("f");
	dm_target(0, SECTORS, "backup", params);
}

static bool filter_open(const char *words)
{
	int r = dm_create("f", filter, sizeof(filter));

	filter_prepare(words);
	r = r ?: dm_send(DM_TABLE_LOAD);
	r = r ?: dm_resume("f");
	filter_fd = r ? -1 : open(filter, O_RDWR | O_DIRECT);
	if (filter_fd >= 0)
		return true;
	dm_remove("f");
	return false;
}

static void filter_close(void)
{
	int i, r = -1;

	if (filter_fd >= 0)
		close(filter_fd);
	filter_fd = -1;
	for (i = 0; i < 1000 && (r = dm_remove("f")) == -EBUSY; i++)
		nap(10);
	if (r && r != -ENXIO)
		bad("the filter can't be removed: %s", strerror(-r));
}

static bool module_is_idle(void)
{
	char text[16] = "";
	int fd = open("/sys/module/dm_backup/refcnt", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '0';
	close(fd);
	return !atoi(text);
}

/* Nobody holds the module or a device any more. */
static void check_gone(void)
{
	static const char *const devices[] = { "/dev/ram0", "/dev/ram1", "/dev/ram2" };
	unsigned int i;
	int fd;

	for (i = 0; i < 3000 && !module_is_idle(); i++)
		nap(10);
	if (!module_is_idle())
		bad("the module is in use after all was removed");
	for (i = 0; i < 3; i++) {
		fd = open(devices[i], O_RDWR | O_EXCL);
		if (fd < 0)
			bad("%s is still claimed", devices[i]);
		else
			close(fd);
	}
}

/*------------------------------------------------------------------*/
/* Messages */

static int message(const char *text)
{
	int r = dm_message("f", text);

	if (verbose)
		printf("# %llu ms: %s: %d\n", (unsigned long long)now_ms(), text,
		       r);
	return r;
}

/* What there is: jobs and bitmaps, without what changes by itself. */
static void snapshot(char *text, size_t size)
{
	size_t n = 0;

	n += snprintf(text, size, "jobs:");
	message("job list");
	n += snprintf(text + n, size - n, "%s\nbitmaps:", dm_answer());
	message("bitmap list");
	snprintf(text + n, size - n, "%s", dm_answer());
}

/* A word of the last answer. */
static const char *word(const char *key)
{
	static char value[64];
	const char *p = dm_answer();
	size_t n = strlen(key);

	for (; p; p = strchr(p, ' '))
		if (p += *p == ' ', !strncmp(p, key, n) && p[n] == '=')
			break;
	snprintf(value, sizeof(value), "%.*s",
		 p ? (int)strcspn(p + n + 1, " \n") : 0, p ? p + n + 1 : "");
	return value;
}

static bool job_is(const char *state)
{
	return !message("job show j") && !strcmp(word("state"), state);
}

static bool wait_job(const char *state)
{
	unsigned int i;

	for (i = 0; i < 6000; i++) {
		if (job_is(state))
			return true;
		nap(5);
	}
	bad("the job does not become %s: %s", state, dm_answer());
	return false;
}

/*------------------------------------------------------------------*/
/* Failing: the kernel counts for each process what may fail */

static int fail_nth = -1;

/* The n-th allocation from now on fails. */
static void inject(unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	if (pwrite(fail_nth, text, len, 0) != len)
		exit(2);
}

/* None fails any more. Has one? */
static bool inject_end(void)
{
	char text[16] = "";

	if (pread(fail_nth, text, sizeof(text) - 1, 0) < 0)
		exit(2);
	inject(0);
	return !atoi(text);
}

/* Those that may wait, and single pages, are to fail as well; in silence. */
static bool inject_init(void)
{
	static const char *const files[] = {
		"/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem",
		"/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait",
		"/sys/kernel/debug/fail_page_alloc/min-order",
		"/sys/kernel/debug/fail_page_alloc/verbose",
		"/sys/kernel/debug/failslab/ignore-gfp-wait",
		"/sys/kernel/debug/failslab/verbose",
	};
	unsigned int i;

	fail_nth = open("/proc/self/fail-nth", O_RDWR);
	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		int fd = open(files[i], O_WRONLY);
		bool ok = fd >= 0 && write(fd, "0", 1) == 1;

		if (fd >= 0)
			close(fd);
		if (!ok)
			return false;
	}
	return fail_nth >= 0;
}

/*------------------------------------------------------------------*/
/* The sweep */

/*
 * Sent one after the other to a filter with a metadata device, a bitmap "b", a
 * persistent one "p", and a job "j" that is paused: "before" to prepare, then the
 * one that is to fail, then "after" to undo. A job type or verb that is new is a
 * line here.
 */
static const struct message {
	const char *before;
	const char *text;
	const char *after;
	bool durable;		/* refused, it may have been done in memory */
} messages[] = {
	{ .text = "bitmap add n", .after = "bitmap remove n" },
	{ .text = "bitmap add n all_dirty disabled granularity=8", .after = "bitmap remove n" },
	{ .text = "bitmap add n persistent", .after = "bitmap remove n", .durable = true },
	{ .before = "bitmap add n", .text = "bitmap remove n", .after = "bitmap remove n" },
	{ .before = "bitmap add n persistent", .text = "bitmap remove n",
	  .after = "bitmap remove n",
	  .durable = true },
	{ .text = "bitmap clear b" },
	{ .text = "bitmap clear p", .durable = true },
	{ .text = "bitmap disable b", .after = "bitmap enable b" },
	{ .before = "bitmap disable b", .text = "bitmap enable b" },
	{ .text = "bitmap disable p", .after = "bitmap enable p", .durable = true },
	{ .before = "bitmap disable p", .text = "bitmap enable p", .durable = true },
	{ .before = "bitmap add n", .text = "bitmap merge n b p", .after = "bitmap remove n" },
	{ .text = "bitmap merge p b", .durable = true },
	{ .text = "bitmap load b 0+100 512+1" },
	{ .text = "bitmap load p 0+100 512+1", .durable = true },
	{ .text = "bitmap list" },
	{ .text = "bitmap ranges b" },
	{ .text = "bitmap ranges p 256" },
	{ .text = "bitmap checksum b" },
	{ .text = "backup start n target=/dev/ram3 allow_larger=1 sync=full auto_dismiss=0 speed=1",
	  .after = "job cancel n" },
	{ .text = "backup start n target=/dev/ram3 allow_larger=1 sync=incremental bitmap=p auto_dismiss=0 speed=1",
	  .after = "job cancel n" },
	{ .text = "backup start n target=/dev/ram3 allow_larger=1 sync=none auto_dismiss=0",
	  .after = "job cancel n" },
	{ .text = "job list" },
	{ .text = "job show j" },
	{ .before = "job resume j", .text = "job pause j", .after = "job pause j" },
	{ .text = "job resume j", .after = "job pause j" },
	{ .text = "job set_speed j 1" },
	{ .text = "job change j on_cbw_error=break_guest_write cbw_timeout=1",
	  .after = "job change j on_cbw_error=break_snapshot cbw_timeout=45000" },
	{ .text = "job complete j" },
	{ .text = "job finalize j" },
	{ .text = "job dismiss j" },
	{ .text = "metadata save", .durable = true },
	{ .text = "last_error token=x" },
	{ .text = "no such message" },
};

static bool message_setup(void)
{
	refill();
	device_io("/dev/ram2", image, METADATA, true);
	if (!filter_open("4 metadata /dev/ram2 after_crash trust") ||
	    message("bitmap add b") || message("bitmap add p persistent")) {
		bad("no filter to begin with");
		return false;
	}
	guest_writes(2);
	if (message("backup start j target=/dev/ram1 allow_larger=1 sync=full auto_dismiss=0 max_chunk=128 speed=1") ||
	    !wait_job("running") || message("job pause j") || !wait_job("paused"))
		bad("no job to begin with");
	return true;
}

/* The job "n", if there is one, goes. */
static void message_undo(const char *after)
{
	unsigned int i;

	if (after)
		message(after);
	for (i = 0; i < 2000 && !message("job show n"); i++) {
		message("job dismiss n");
		nap(5);
	}
	if (!job_is("paused") && !job_is("running"))
		bad("the job is not what it was: %s", dm_answer());
	else if (strcmp(word("paused"), "1"))
		message("job pause j");
	if (!wait_job("paused"))
		return;
	message("bitmap list");
	if (strstr(dm_answer(), "inconsistent=1")) {
		bad("a bitmap is inconsistent now: %s", dm_answer());
		message("bitmap remove p");
		message("bitmap add p persistent");
	}
}

/* Returns true if there is one more allocation to fail. */
static bool message_once(const struct message *m)
{
	static char before[8192], after[8192];
	bool fired;
	int r;

	if (m->before && message(m->before))
		bad("\"%s\" is refused: %s", m->before, strerror(errno));
	snapshot(before, sizeof(before));
	dm_prepare_message("f", m->text);
	inject(at);
	r = dm_send(DM_TARGET_MSG);
	fired = inject_end();
	refused += fired && r;
	if (fired && r && !m->durable) {
		snapshot(after, sizeof(after));
		if (strcmp(before, after))
			bad("\"%s\" was refused (%s), and changed\n%s\nto\n%s",
			    m->text, strerror(-r), before, after);
	}
	guest_writes(3);
	check_origin();
	message_undo(m->after);
	return fired;
}

static void sweep_messages(void)
{
	static char name[256];
	unsigned int i;

	for (i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		const struct message *m = &messages[i];

		snprintf(name, sizeof(name), "allocations: %s%s%s",
			 m->before ?: "", m->before ? "; " : "", m->text);
		begin(name);
		at = 0;
		if (message_setup())
			for (at = only ?: 1; at < LIMIT; at++)
				if (!message_once(m) || only)
					break;
		message("job cancel j force");
		filter_close();
		check_gone();
		end(at);
	}
}

/*------------------------------------------------------------------*/

int main(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--verbose")) {
			verbose = true;
		} else if (i + 1 < argc && !strcmp(argv[i], "--only")) {
			only = atoi(argv[++i]);
		} else {
			fprintf(stderr, "faults [--verbose] [--only N]\n");
			return 2;
		}
	}
	if (!inject_init()) {
		printf("1..0 # SKIP this kernel injects no faults\n");
		return 0;
	}
	device_io("/dev/ram2", image, METADATA, false);
	device_io("/dev/ram3", image, METADATA, true);
	device_io("/dev/ram1", image, METADATA, true);
	device_io("/dev/ram0", image, METADATA, true);
	sweep_messages();
	printf("1..%u\n", tests);
	return failures ? 1 : 0;
}
