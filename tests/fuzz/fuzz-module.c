// SPDX-License-Identifier: GPL-2.0-only
/*
 * fuzz-module: messages and tables that nobody would send, to the module, on the
 * sanitizer kernel.
 *
 *   fuzz-module [--seed N] [--cases N] [--verbose]
 *
 * Words come from a grammar of what the module knows, with values from the edges
 * of what it takes, and are then damaged. Between them are writes, reads and
 * discards of views, suspends and reloads. What is looked for: reports of KASAN,
 * UBSAN and lockdep, hangs, leaks, a refusal without a sentence, a write that
 * fails. The same seed sends the same words, whatever became of those before;
 * --verbose shows them. Each thousandth case is noted in the kernel's log, to find
 * a report's place.
 *
 * There are two filters, f and g, over /dev/ram0 and /dev/ram4. /dev/ram3 is
 * another origin, /dev/ram1 a destination, /dev/ram2 f's metadata device, /dev/ram5 a
 * fleece device.
 */

#include "../lib/dm.h"

#include <linux/fs.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#define SECTORS		2048
#define WORDS(a)	a, sizeof(a) / sizeof(a[0])
#define SLOW		20		/* s that one request may take */

static uint64_t seed, state;
static unsigned long cases = 100000, nr;
static bool verbose;
static unsigned int failures, taken, pivots;
static char text[16384];
static char device[64];		/* f's path */
static char filters[2][16];	/* MAJ:MIN of f and g */

static uint64_t rnd(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state * 0x2545f4914f6cdd1dull >> 16) % below;
}

static const char *pick(const char *const *words, unsigned int n)
{
	return words[rnd(n)];
}

static void bad(const char *what)
{
	printf("# case %lu: %s: %s\n", nr, what, text);
	fflush(stdout);
	failures++;
}

/*------------------------------------------------------------------*/
/* Words */

static const char *const names[] = {
	"a", "b", "c", "p", "q", "x.y-z_1", "", "-", "9", "a b", "=", "a=b", "p/q",
	"%s%n", "\x01\xff", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
};

static const char *const numbers[] = {
	"0", "1", "7", "8", "9", "64", "100", "128", "129", "256", "1024", "2048",
	"4096", "65536", "131072", "131073", "4194304", "2147483647", "2147483648",
	"4294967295", "4294967296", "9223372036854775807", "9223372036854775808",
	"18446744073709551615", "18446744073709551616", "-1", "+1", "0x10", "010",
	"1k", "", " ", "1.5",
};

static const char *const devices[] = {
	"/dev/ram1", "/dev/ram1", "/dev/ram1", "1:1", "/dev/ram0", "1:0", "/dev/ram3",
	"/dev/mapper/f", "/dev/null", "/dev/none", "1:", ":1", "999:999", "0:0",
	"/", "/dev/ram2", "4095:1048575",
};

static const char *const values[] = {
	"full", "top", "bitmap", "incremental", "none", "on_success", "never",
	"always", "report", "ignore", "enospc", "stop", "break_snapshot",
	"break_guest_write", "on", "off", "unmap", "auto", "copy", "skip", "continue",
	"hold", "witness", "trust", "force",
	"background", "write_blocking",
};

static const char *const options[] = {
	"sync", "bitmap", "bitmap_mode", "allocated", "tag", "cluster", "max_chunk",
	"max_workers", "speed", "detect_zeroes", "on_source_error",
	"on_target_error", "on_cbw_error", "cbw_timeout", "auto_finalize",
	"auto_dismiss", "freeze", "allow_larger", "target", "granularity",
	"share", "copy_mode", "auto_switch", "buf_size", "unmap", "target_is_zero",
	"zero_target", "all_dirty", "disabled", "persistent", "token", "fleece",
	"none_such",
};

static const char *const features[] = {
	"buffer", "cbw_timeout", "discard", "metadata", "on_metadata_error",
	"after_crash", "write_zeroes", "none_such",
};

/*
 * What messages begin with, and which words follow: N a name, D a device, F a
 * filter, # a number, R a range, V a value, O any options, T actions of a
 * transaction and their number. New verbs go here.
 */
static const char *const messages[] = {
	"backup start N target=D sync=V O", "backup start N target=D sync=full O",
	"backup start N target=/dev/ram1 allow_larger=1 sync=full speed=# O",
	"backup start N target=/dev/ram1 allow_larger=1 sync=incremental bitmap=N",
	"backup start N target=/dev/ram1 allow_larger=1 fleece=/dev/ram5 sync=full speed=# O",
	"backup start N target=/dev/ram1 allow_larger=1 fleece=D sync=V O",
	"backup start N target=/dev/ram1 allow_larger=1 sync=none O",
	"backup start N target=/dev/ram3 allow_larger=1 sync=none share=N O",
	"mirror start N target=D sync=V O",
	"mirror start N target=/dev/ram1 allow_larger=1 sync=full O",
	"mirror start N target=/dev/ram1 allow_larger=1 sync=none copy_mode=write_blocking O",
	"mirror start N target=/dev/ram1 allow_larger=1 sync=bitmap bitmap=N bitmap_mode=V O",
	"origin same D",
	"bitmap add N O", "bitmap add N granularity=#", "bitmap add N persistent",
	"bitmap remove N", "bitmap clear N", "bitmap enable N", "bitmap disable N",
	"bitmap merge N N", "bitmap merge N N N N", "bitmap merge N D/N",
	"bitmap list", "bitmap ranges N", "bitmap ranges N #", "bitmap checksum N",
	"bitmap load N R", "bitmap load N R R R",
	"job list", "job show N", "job pause N", "job resume N", "job cancel N",
	"job cancel N V", "job set_speed N #", "job change N O", "job complete N",
	"job complete N V",
	"job finalize N", "job dismiss N", "job checkpoint N",
	"metadata save", "detach", "last_error", "last_error token=N",
	"transaction T", "transaction T", "transaction O T", "transaction # T T",
	"transaction token=N T", "transaction token=N prepare T",
	"transaction completion_mode=grouped freeze=1 T",
	"transaction sequential token=N completion_mode=V T",
	"transaction commit N", "transaction abort N", "transaction show N",
	"abort", "N N N", "N",
};

/* What stands in transactions. */
static const char *const actions[] = {
	"backup start N target=/dev/ram1 allow_larger=1 sync=full O",
	"backup start N target=/dev/ram1 allow_larger=1 sync=none",
	"backup start N target=/dev/ram1 allow_larger=1 sync=incremental bitmap=N",
	"backup start N target=/dev/ram3 allow_larger=1 sync=none share=N",
	"mirror start N target=/dev/ram1 allow_larger=1 sync=full O", "job checkpoint N",
	"bitmap add N", "bitmap add N O", "bitmap remove N", "bitmap clear N",
	"bitmap clear N", "bitmap enable N", "bitmap disable N", "bitmap merge N N",
	"bitmap merge N F/N", "abort", "job list", "transaction 1 F 1 abort", "N",
};

static size_t put(size_t n, const char *word)
{
	size_t len = strlen(word);

	if (n + len + 1 < sizeof(text)) {
		memcpy(text + n, word, len + 1);
		n += len;
	}
	return n;
}

static size_t put_value(size_t n)
{
	switch (rnd(4)) {
	case 0: return put(n, pick(WORDS(numbers)));
	case 1: return put(n, pick(WORDS(names)));
	case 2: return put(n, pick(WORDS(values)));
	default: return put(n, rnd(4) ? pick(WORDS(values)) : pick(WORDS(devices)));
	}
}

static size_t put_options(size_t n)
{
	unsigned int i = rnd(8) ? rnd(4) : rnd(80);

	while (i--) {
		n = put(n, " ");
		n = put(n, pick(WORDS(options)));
		if (rnd(8)) {
			n = put(n, "=");
			n = put_value(n);
		}
	}
	return n;
}

static size_t expand(size_t n, const char *t);

/* The number of words is right, if none has a blank in it. */
static size_t put_action(size_t n)
{
	char number[16], action[4096];
	size_t i, words = 1;

	expand(n, pick(WORDS(actions)));
	snprintf(action, sizeof(action), "%s", text + n);
	for (i = 0; action[i]; i++)
		words += action[i] == ' ' && action[i + 1] != ' ';
	text[n] = '\0';
	n = expand(n, " F ");
	snprintf(number, sizeof(number), "%zu ", words + !rnd(50));
	n = put(n, number);
	return put(n, action);
}

static size_t put_actions(size_t n)
{
	unsigned int i = rnd(8) ? 1 + rnd(3) : rnd(60);
	char number[16];

	snprintf(number, sizeof(number), "%u", i + !rnd(50));
	n = put(n, number);
	while (i--)
		n = put_action(n);
	return n;
}

/* Words of a template, with its capital letters filled in, behind @n bytes of text. */
static size_t expand(size_t n, const char *t)
{
	char c[2] = "";

	text[n] = '\0';
	for (; *t; t++) {
		bool alone = (t[1] == ' ' || !t[1] || t[1] == '/');

		switch (alone ? *t : 0) {
		case 'N': n = put(n, rnd(3) ? names[rnd(6)] : pick(WORDS(names))); break;
		case 'D': n = put(n, pick(WORDS(devices))); break;
		case 'F': n = put(n, rnd(9) ? filters[rnd(2)] : pick(WORDS(devices))); break;
		case '#': n = put(n, pick(WORDS(numbers))); break;
		case 'V': n = put(n, pick(WORDS(values))); break;
		case 'O': n = put_options(n); break;
		case 'T': n = put_actions(n); break;
		case 'R':
			n = put(n, pick(WORDS(numbers)));
			n = put(n, rnd(8) ? "+" : "-");
			n = put(n, pick(WORDS(numbers)));
			break;
		default:
			c[0] = *t;
			n = put(n, c);
		}
	}
	return n;
}

static void damage(void)
{
	size_t len = strlen(text), at, n;

	if (!len)
		return;
	at = rnd(len);
	switch (rnd(7)) {
	case 0:		/* another byte */
		text[at] = 1 + rnd(255);
		break;
	case 1:		/* less */
		text[at] = '\0';
		break;
	case 2:		/* without a part */
		n = 1 + rnd(len - at);
		memmove(text + at, text + at + n, len - at - n + 1);
		break;
	case 3:		/* a part twice */
		n = rnd(len - at) + 1;
		if (len + n < sizeof(text)) {
			memmove(text + at + n, text + at, len - at + 1);
		}
		break;
	case 4:		/* much of it */
		n = rnd(4000);
		if (len + n < sizeof(text)) {
			memmove(text + at + n, text + at, len - at + 1);
			memset(text + at, "aA0 =/+:\\"[rnd(9)], n);
		}
		break;
	case 5:		/* blanks */
		text[at] = ' ';
		break;
	default:	/* a word more */
		n = put(len, " ");
		put_value(n);
	}
}

/*------------------------------------------------------------------*/
/* Cases */

static int message(const char *name, const char *words)
{
	time_t began = time(NULL);
	int r;

	if (verbose) {
		printf("# %lu: %s: %s\n", nr, name, words);
		fflush(stdout);
	}
	r = dm_message(name, words);
	if (time(NULL) - began > SLOW)
		bad("took too long");
	taken += !r;
	return r;
}

static void case_message(void)
{
	const char *name = rnd(4) ? "f" : "g";
	int r;

	expand(0, pick(WORDS(messages)));
	while (!rnd(3))
		damage();
	/* dm itself refuses what has no words, and messages with an '@'. */
	r = message(name, text);
	if (r && text[0] && text[0] != '@' && text[0] != ' ' &&
	    text[0] != '\t' && text[0] != '\n') {
		if (message(name, "last_error"))
			bad("last_error is refused");
		else if (!strncmp(dm_answer(), "0 -", 3) && r != -EINVAL)
			bad("refused without a sentence");
		for (const char *c = dm_answer(); *c; c++)
			if (*c < ' ' || *c > '~') {
				bad("a refusal is not one line of text");
				break;
			}
	}
}

static void table_words(void)
{
	unsigned int i, n = rnd(5);
	size_t at = put(0, rnd(4) ? "/dev/ram3" : pick(WORDS(devices)));
	char number[16];

	if (n || rnd(2)) {
		snprintf(number, sizeof(number), " %u", n * 2);
		at = put(at, rnd(8) ? number : pick(WORDS(numbers)));
	}
	for (i = 0; i < n; i++) {
		at = put(at, " ");
		at = put(at, pick(WORDS(features)));
		at = put(at, " ");
		at = put_value(at);
	}
	while (!rnd(3))
		damage();
}

/* A table for a device of its own. */
static void case_table(void)
{
	static const uint64_t lengths[] = { 1, 8, 2048, 2047, 8192, 8193, 1ull << 40 };

	const char *type = rnd(8) ? "backup" : "backup-pass";
	uint64_t length = lengths[rnd(7)];
	bool resume = rnd(2);

	table_words();
	if (verbose)
		printf("# %lu: table %s\n", nr, text);
	if (dm_create("t", NULL, 0))
		return;
	dm_prepare("t");
	dm_target(0, length, type, text);
	if (!dm_send(DM_TABLE_LOAD) && resume)
		dm_resume("t");
	if (dm_remove("t") && dm_remove("t"))
		bad("a device can't be removed after this table");
}

/* A view, which is read, and discarded on: whatever comes, but no hang. */
static void case_view(void)
{
	static uint8_t buf[65536] __attribute__((aligned(4096)));
	uint64_t range[2] = { 512 * rnd(SECTORS), 512 * (1 + rnd(SECTORS)) };
	uint64_t length = rnd(4) ? SECTORS : 1 + rnd(2 * SECTORS);
	size_t len = 512 * (1 + rnd(128)), at = 512 * rnd(SECTORS);
	char path[64];
	int fd;

	if (rnd(4)) {	/* nearly always there is such a job then */
		message("f", "backup start a target=/dev/ram1 allow_larger=1 sync=none");
		snprintf(text, sizeof(text), "/dev/ram0 %s a", filters[0]);
	} else {
		expand(0, rnd(3) ? "/dev/ram0 F N" : "D D N");
	}
	while (!rnd(4))
		damage();
	if (verbose)
		printf("# %lu: view %s\n", nr, text);
	if (dm_create("v", path, sizeof(path)))
		return;
	dm_prepare("v");
	dm_target(0, length, "backup-view", text);
	if (!dm_send(DM_TABLE_LOAD) && !dm_resume("v")) {
		fd = open(path, O_RDWR | O_DIRECT);
		if (fd < 0)
			fd = open(path, O_RDONLY | O_DIRECT);
		if (fd >= 0) {
			if (pread(fd, buf, len, at) < 0 && errno == EINVAL)
				bad("a read of a view is refused");
			ioctl(fd, BLKDISCARD, range);
			if (pread(fd, buf, len, at) < 0 && errno == EINVAL)
				bad("a read of a view is refused");
			close(fd);
		}
		message("v", text);
	}
	if (dm_remove("v") && dm_remove("v"))
		bad("a view can't be removed");
}

/* Is the origin still the one it was made over? It is not if a mirror took its place. */
static bool at_home(const char *name, const char *origin)
{
	char path[32] = "";
	size_t n = strlen(origin);

	if (dm_simple(name, DM_TABLE_STATUS, DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG) ||
	    !dm.head.target_count)
		return true;
	snprintf(path, sizeof(path), "%.31s",
		 dm.bytes + dm.head.data_start + sizeof(struct dm_target_spec));
	return !strncmp(path, origin, n) && (path[n] == ' ' || !path[n]);
}

static void reload(void)
{
	static const char *const tables[] = {
		"/dev/ram0 2 metadata /dev/ram2",
		"/dev/ram0 4 metadata /dev/ram2 buffer 256",
		"/dev/ram0 6 metadata /dev/ram2 discard copy cbw_timeout 100",
	};

	expand(0, pick(WORDS(tables)));
	if (!at_home("f", "1:0"))
		return;
	if (dm_load("f", SECTORS, "backup", text))
		bad("a good table is refused");
	dm_resume("f");
}

static void guest(void)
{
	static uint8_t buf[65536] __attribute__((aligned(4096)));
	size_t len = 512 * (1 + rnd(128)), at = 512 * rnd(SECTORS - 128);
	int fd = open(device, O_RDWR | O_DIRECT);

	snprintf(text, sizeof(text), "write %zu at %zu", len, at);
	memset(buf, rnd(256), len);
	if (fd < 0 || pwrite(fd, buf, len, at) != (ssize_t)len)
		bad(strerror(errno));
	close(fd);
}

static void each(const char *name, const char *list, const char *key,
		 const char *verb, const char *more)
{
	static char copy[DM_BUFFER];
	char words[512], *line, *save = NULL;
	size_t n = strlen(key);

	if (message(name, list))
		return;
	snprintf(copy, sizeof(copy), "%s", dm_answer());
	for (line = strtok_r(copy, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, key, n))
			continue;
		snprintf(words, sizeof(words), "%s %.*s%s", verb,
			 (int)strcspn(line + n, " "), line + n, more);
		message(name, words);
	}
}

static bool start(const char *name, char *path, char *number, const char *words)
{
	if (dm_create(name, path, sizeof(device)))
		return false;
	snprintf(number, sizeof(filters[0]), "%u:%u", major(dm.head.dev),
		 minor(dm.head.dev));
	return !dm_load(name, SECTORS, "backup", words) && !dm_resume(name);
}

/* What holds it for a moment may be a job's end. */
static void end(const char *name)
{
	int i, r = 0;

	for (i = 0; i < 1000 && (r = dm_remove(name)) == -EBUSY; i++)
		usleep(10000);
	if (r)
		bad("a filter can't be removed");
}

/* A filter over whatever took its origin's place goes, and there is a new one. */
static void go_home(void)
{
	char path[64];

	if (at_home("g", "1:4"))
		return;
	pivots++;
	end("g");
	if (!start("g", path, filters[1], "/dev/ram4"))
		bad("no filter after a pivot");
	message("g", "bitmap add a");
}

/* So that starts are not refused for what is left of others. */
static void clean(void)
{
	static const char *const filter[] = { "f", "g" };
	unsigned int i;
	char words[64];

	for (i = 0; i < 6; i++) {
		snprintf(words, sizeof(words), "transaction abort %s", names[i]);
		message("f", words);
	}
	for (i = 0; i < 2; i++) {
		each(filter[i], "job list", "", "job cancel", " force");
		usleep(20000);
		each(filter[i], "job list", "", "job dismiss", "");
		each(filter[i], "bitmap list", "name=", "bitmap remove", "");
		message(filter[i], "bitmap add a");
	}
	message("f", "bitmap add p persistent");
	go_home();
}

static void note(void)
{
	int fd = open("/dev/kmsg", O_WRONLY);
	char line[64];
	int n = snprintf(line, sizeof(line), "fuzz-module: case %lu\n", nr);

	if (fd < 0 || write(fd, line, n) != n)
		bad("the kernel's log can't be written");
	close(fd);
}

static void one_case(void)
{
	unsigned int dice;

	state = (seed + nr) * 0x9e3779b97f4a7c15ull | 1;
	rnd(2);
	dice = rnd(1000);
	if (!(nr % 1000))
		note();
	if (dice < 900)
		case_message();
	else if (dice < 940)
		case_table();
	else if (dice < 960)
		case_view();
	else if (dice < 985)
		guest();
	else if (dice < 990)
		reload();
	else if (dice < 994)
		dm_suspend("f", rnd(2) ? DM_NOFLUSH_FLAG : 0), dm_resume("f");
	else
		clean();
}

int main(int argc, char **argv)
{
	char path[64];
	int i;

	seed = time(NULL) * 1000003ull + getpid();
	for (i = 1; i < argc; i++) {
		if (i + 1 < argc && !strcmp(argv[i], "--seed"))
			seed = strtoull(argv[++i], NULL, 0);
		else if (i + 1 < argc && !strcmp(argv[i], "--cases"))
			cases = strtoul(argv[++i], NULL, 0);
		else if (!strcmp(argv[i], "--verbose"))
			verbose = true;
		else
			return 2;
	}
	printf("# seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	if (!start("f", device, filters[0], "/dev/ram0 2 metadata /dev/ram2") ||
	    !start("g", path, filters[1], "/dev/ram4")) {
		printf("Bail out! no filter: %s\n", strerror(errno));
		return 2;
	}
	for (nr = 0; nr < cases; nr++)
		one_case();
	clean();
	end("f");
	end("g");
	printf("# %u messages were taken, %u pivots made\n", taken, pivots);
	printf("%s 1 - %lu messages and tables\n1..1\n", failures ? "not ok" : "ok",
	       cases);
	return failures ? 1 : 0;
}
