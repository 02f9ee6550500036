// SPDX-License-Identifier: GPL-2.0-only
/*
 * What if this allocation fails? Sweeps over every allocation that is made for each
 * table and each message, one failing at a time. What workers allocate for it is
 * not counted here: see workers.c.
 */

#include "../lib/dm.h"
#include "lab.h"
#include "sweeps.h"

#include <unistd.h>

static const char *const devices[] = { "/dev/ram0", "/dev/ram1", "/dev/ram2", NULL };

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
bool allocations_init(void)
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
/* Tables: loading one, making it live, removing the device */

static const struct table {
	const char *type;
	const char *params;	/* '@' is the filter's number */
	bool over;		/* there is a filter, with a job */
} tables[] = {
	{ .type = "backup", .params = "/dev/ram0" },
	{ .type = "backup",
	  .params = "/dev/ram0 6 buffer 1024 cbw_timeout 1000 discard copy" },
	{ .type = "backup", .params = "/dev/ram0 4 metadata /dev/ram2 after_crash trust" },
	{ .type = "backup-pass", .params = "/dev/ram0" },
	{ .type = "backup-view", .params = "/dev/ram0 @ j", .over = true },
};

static const struct {
	const char *name;
	unsigned long command;
} steps[] = {
	{ "loading", DM_TABLE_LOAD },
	{ "making live", DM_DEV_SUSPEND },
	{ "removing", DM_DEV_REMOVE },
};

/* Send what is prepared; its allocation number "at" fails, if it is the one. */
static int send_failing(unsigned long command, unsigned long failing, bool *fired)
{
	int r;

	if (command != failing)
		return dm_send(command);
	inject(at);
	r = dm_send(command);
	*fired = inject_end();
	return r;
}

/* Is what it reads as what was there? */
static void table_read(const char *path, const void *want)
{
	static uint8_t data[BYTES] __attribute__((aligned(4096)));
	int fd = open(path, O_RDONLY | O_DIRECT);

	if (fd < 0 || pread(fd, data, BYTES, 0) != BYTES)
		bad("reading failed: %s", strerror(errno));
	else if (memcmp(data, want, BYTES))
		bad("it does not read as it should");
	close(fd);
}

/* Returns true if there is one more allocation to fail. */
static bool table_once(const struct table *t, unsigned long failing)
{
	bool fired = false;
	char path[64], params[128];
	const char *p;
	int i, r;

	if (t->over)
		guest_writes(1);
	else
		device_io("/dev/ram2", image, METADATA, true);
	p = strchr(t->params, '@');
	snprintf(params, sizeof(params), "%.*s%s%s",
		 p ? (int)(p - t->params) : (int)strlen(t->params), t->params,
		 p ? filter_number() : "", p ? p + 1 : "");
	if (dm_create("t", path, sizeof(path)))
		bad("no device");
	dm_prepare("t");
	dm.head.flags = DM_READONLY_FLAG;
	if (!t->over)
		dm.head.flags = 0;
	dm_target(0, SECTORS, t->type, params);
	r = send_failing(DM_TABLE_LOAD, failing, &fired);
	if (!r) {
		dm_prepare("t");
		r = send_failing(DM_DEV_SUSPEND, failing, &fired);
	}
	refused += !!r;
	if (r && !fired)
		bad("refused, and nothing failed: %s", strerror(-r));
	if (!r)
		table_read(path, t->over ? ref : now);
	dm_prepare("t");
	r = send_failing(DM_DEV_REMOVE, failing, &fired);
	for (i = 0; i < 1000 && r == -EBUSY; i++) {
		nap(10);
		r = dm_remove("t");
	}
	if (r && !(failing == DM_DEV_REMOVE && !dm_remove("t")))
		bad("it can't be removed: %s", strerror(-r));
	if (!t->over)
		check_gone(devices);
	return fired;
}

static bool table_keep(const char *name, const char *type, const char *params,
		       char *path, size_t size)
{
	bool ok;

	dm_create(name, path, size);
	dm_prepare(name);
	dm.head.flags = strcmp(type, "backup-view") ? 0 : DM_READONLY_FLAG;
	dm_target(0, SECTORS, type, params);
	ok = !dm_send(DM_TABLE_LOAD) && !dm_resume(name);
	if (!ok)
		bad("no %s to keep", type);
	return ok;
}

/*
 * The kernel says loudly that it can't make a slab. One that is there for another
 * device of the type is not made.
 */
static void tables_keep(bool keep)
{
	char path[64], params[80];

	if (keep) {
		table_keep("k", "backup", "/dev/ram3", path, sizeof(path));
		snprintf(params, sizeof(params), "%s", path);
		table_keep("l", "backup-pass", params, path, sizeof(path));
	} else if (dm_remove("l") || dm_remove("k")) {
		bad("what was kept can't be removed");
	}
	module_kept();
}

static void table_begin(const struct table *t)
{
	char path[64], params[80];

	refill();
	if (!t->over)
		return;
	if (!filter_open("") || start("/dev/ram1", "sync=none") ||
	    !wait_job("j", "running"))
		bad("no job to begin with");
	snprintf(params, sizeof(params), "/dev/ram0 %s j", filter_number());
	table_keep("v", "backup-view", params, path, sizeof(path));
}

static void table_end(const struct table *t)
{
	if (!t->over)
		return;
	check_origin();
	if (dm_remove("v"))
		bad("a view can't be removed");
	job_gone("j");
	filter_close();
	check_gone(devices);
}

void sweep_tables(bool thorough)
{
	static char name[160];
	unsigned int i, j;

	begin("");
	tables_keep(true);
	for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		for (j = 0; j < sizeof(steps) / sizeof(steps[0]); j++) {
			const struct table *t = &tables[i];

			snprintf(name, sizeof(name), "allocations: %s %s %s",
				 steps[j].name, t->type, t->params);
			begin(name);
			at = 0;
			table_begin(t);
			/* There are up to a thousand; most are much like others. */
			for (at = only ?: 1; at < LIMIT; at += thorough ? 1 : 1 + at / 12)
				if (!table_once(t, steps[j].command) || only)
					break;
			table_end(t);
			end(at);
		}
	tables_keep(false);
}

/*------------------------------------------------------------------*/
/* Messages */

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
	bool late;		/* refused, it may yet be done: it goes on by itself */
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
	{ .text = "backup start n target=/dev/ram3 allow_larger=1 fleece=/dev/ram4 sync=full auto_dismiss=0 speed=1",
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

/* The same, of what came later: mirrors, checkpoints and transactions. */
static const struct message transactions[] = {
	{ .text = "mirror start n target=/dev/ram3 allow_larger=1 sync=full auto_dismiss=0 speed=1",
	  .after = "job cancel n" },
	{ .text = "mirror start n target=/dev/ram3 allow_larger=1 sync=bitmap bitmap=b bitmap_mode=on_success auto_dismiss=0 speed=1",
	  .after = "job cancel n" },
	{ .before = "backup start n target=/dev/ram3 allow_larger=1 sync=none auto_dismiss=0",
	  .text = "job checkpoint n", .after = "job cancel n" },
	{ .text = "transaction 2 @ 3 bitmap add n @ 3 bitmap clear b", .after = "bitmap remove n" },
	{ .text = "transaction 3 @ 4 bitmap add n persistent @ 3 bitmap disable p @ 3 bitmap enable p",
	  .after = "bitmap remove n", .durable = true },
	{ .text = "transaction 2 @ 3 bitmap add m @ 8 backup start n target=/dev/ram3 allow_larger=1 sync=full auto_dismiss=0 speed=1",
	  .after = "bitmap remove m" },
	{ .text = "transaction completion_mode=grouped 1 @ 9 backup start n target=/dev/ram3 allow_larger=1 sync=incremental bitmap=p auto_dismiss=0 speed=1",
	  .after = "job cancel n" },
	{ .before = "backup start n target=/dev/ram3 allow_larger=1 sync=none auto_dismiss=0",
	  .text = "transaction 2 @ 3 bitmap clear b @ 3 job checkpoint n", .after = "job cancel n" },
	{ .text = "transaction 2 @ 3 bitmap add n @ 1 abort" },
	{ .text = "transaction token=t prepare 1 @ 3 bitmap add n", .after = "transaction abort t" },
	{ .before = "transaction token=t prepare 1 @ 3 bitmap add n", .text = "transaction commit t",
	  .after = "bitmap remove n", .late = true },
	{ .before = "transaction token=t prepare 1 @ 3 bitmap add n", .text = "transaction abort t",
	  .late = true },
	{ .before = "transaction token=t prepare 1 @ 3 bitmap add n", .text = "transaction show t",
	  .after = "transaction abort t" },
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
	    !wait_job("j", "running") || message("job pause j") ||
	    !wait_job("j", "paused"))
		bad("no job to begin with");
	return true;
}

/* The job "n", if there is one, goes; so does what is prepared. */
static void message_undo(const char *after)
{
	unsigned int i;

	message("transaction abort t");
	if (after)
		message(after);
	job_gone("n");
	if (!job_is("paused") && !job_is("running"))
		bad("the job is not what it was: %s", answer());
	else if (strcmp(word("paused"), "1"))
		message("job pause j");
	if (!wait_job("j", "paused"))
		return;
	/* One that goes on by itself ends some time. */
	for (i = 0; i < 1000 && !message("bitmap list") &&
	     (strstr(answer(), "name=n ") || strstr(answer(), "name=m ")); i++) {
		message("bitmap remove n");
		message("bitmap remove m");
		nap(5);
	}
	message("bitmap list");
	if (strstr(answer(), "inconsistent=1")) {
		bad("a bitmap is inconsistent now: %s", answer());
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

	if (m->before && message(m->before)) {
		message("last_error");
		bad("\"%s\" is refused: %s", m->before, answer());
	}
	if (m->before && strstr(m->before, "start n"))
		wait_job("n", "running");
	snapshot(before, sizeof(before));
	message_prepare(m->text);
	inject(at);
	r = message_send();
	fired = inject_end();
	refused += fired && r;
	if (fired && r && !m->durable && !m->late) {
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

static void sweep_all(const struct message *all, unsigned int nr)
{
	static char name[512];
	unsigned int i;

	for (i = 0; i < nr; i++) {
		const struct message *m = &all[i];

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
		check_gone(devices);
		end(at);
	}
}

void sweep_messages(void)
{
	sweep_all(messages, sizeof(messages) / sizeof(messages[0]));
}

void sweep_transactions(void)
{
	sweep_all(transactions, sizeof(transactions) / sizeof(transactions[0]));
}
