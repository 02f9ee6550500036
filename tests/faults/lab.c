// SPDX-License-Identifier: GPL-2.0-only
/* What all sweeps use. The contract is in lab.h. */

#include "../lib/dm.h"
#include "lab.h"

#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#define ALIGNED __attribute__((aligned(4096)))

/* No bound that is promised here is near that, and a fault lasts longer. */
#define HELD_MS	20000

uint8_t now[BYTES] ALIGNED, ref[BYTES] ALIGNED, image[METADATA] ALIGNED;
const char *origin = "/dev/ram0";
char filter[64];
bool verbose;
unsigned int only, at, refused;

static uint8_t buf[BYTES] ALIGNED;
static int filter_fd = -1;
static char number[32];			/* the filter's */
static unsigned int tests, failures, trouble;
static const char *sweep;
static uint64_t sweep_began;
static uint8_t generation;
static int kept_refs;

void bad(const char *fmt, ...)
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

void begin(const char *name)
{
	sweep = name;
	sweep_began = now_ms();
	trouble = 0;
	refused = 0;
}

void end(unsigned int points)
{
	bool failed = trouble || points >= LIMIT;

	printf("%s %u - %s: %u points", failed ? "not ok" : "ok", ++tests, sweep,
	       points);
	if (refused)
		printf(", %u refused", refused);
	printf("\n# after %.1f s\n", (now_ms() - sweep_began) / 1000.0);
	fflush(stdout);
	failures += failed;
}

int finish(void)
{
	printf("1..%u\n", tests);
	return failures ? 1 : 0;
}

void nap(unsigned int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000l };

	nanosleep(&t, NULL);
}

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

/*------------------------------------------------------------------*/
/* Devices */

void device_io(const char *path, void *data, size_t bytes, bool write)
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

void devices_init(void)
{
	device_io("/dev/ram2", image, METADATA, false);
	device_io("/dev/ram3", image, METADATA, true);
	device_io("/dev/ram4", image, METADATA, true);
	device_io("/dev/ram1", image, METADATA, true);
	device_io("/dev/ram0", image, METADATA, true);
}

void refill(void)
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

/*------------------------------------------------------------------*/
/* The filter and its guest */

void filter_prepare(const char *words)
{
	char params[256];

	snprintf(params, sizeof(params), "%s %s", origin, words);
	dm_prepare("f");
	dm_target(0, SECTORS, "backup", params);
}

bool filter_open(const char *words)
{
	int r = dm_create("f", filter, sizeof(filter));

	snprintf(number, sizeof(number), "%u:%u", major(dm.head.dev),
		 minor(dm.head.dev));
	filter_prepare(words);
	r = r ?: dm_send(DM_TABLE_LOAD);
	r = r ?: dm_resume("f");
	filter_fd = r ? -1 : open(filter, O_RDWR | O_DIRECT);
	if (filter_fd >= 0)
		return true;
	dm_remove("f");
	return false;
}

void filter_close(void)
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

const char *filter_number(void)
{
	return number;
}

static int module_refs(void)
{
	char text[16] = "";
	int fd = open("/sys/module/dm_backup/refcnt", O_RDONLY);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		text[0] = '0';
	close(fd);
	return atoi(text);
}

void module_kept(void)
{
	kept_refs = module_refs();
}

static bool module_is_idle(void)
{
	return module_refs() <= kept_refs;
}

void check_gone(const char *const devices[])
{
	unsigned int i;
	int fd;

	for (i = 0; i < 3000 && !module_is_idle(); i++)
		nap(10);
	if (!module_is_idle())
		bad("the module is in use after all was removed");
	for (i = 0; devices[i]; i++) {
		fd = open(devices[i], O_RDWR | O_EXCL);
		if (fd < 0)
			bad("%s is still claimed", devices[i]);
		else
			close(fd);
	}
}

bool guest_write(unsigned int cluster)
{
	static uint8_t page[4096] ALIGNED;
	size_t offset = cluster * CLUSTER + 8192;
	uint64_t began = now_ms();

	memset(page, 0x80 | (++generation & 0x7f), sizeof(page));
	if (pwrite(filter_fd, page, sizeof(page), offset) != sizeof(page))
		return false;
	memcpy(now + offset, page, sizeof(page));
	if (now_ms() - began > HELD_MS)
		bad("a guest's write took %u ms",
		    (unsigned int)(now_ms() - began));
	return true;
}

void guest_writes(unsigned int from)
{
	unsigned int i;

	for (i = from; i < CLUSTERS; i += 4)
		if (!guest_write(i))
			bad("a guest's write failed: %s", strerror(errno));
}

void check_origin(void)
{
	if (pread(filter_fd, buf, BYTES, 0) != BYTES)
		bad("reading the filter failed: %s", strerror(errno));
	else if (memcmp(buf, now, BYTES))
		bad("the filter does not hold what was written");
}

void check_dest(const char *path, const void *want, const char *what)
{
	unsigned int i;

	device_io(path, buf, BYTES, false);
	for (i = 0; i < SECTORS; i++)
		if (memcmp(buf + i * 512, (const uint8_t *)want + i * 512, 512)) {
			bad("%s, and sector %u is not what it should be", what, i);
			return;
		}
}

/*------------------------------------------------------------------*/
/* Messages */

/* '@' becomes the filter's number. */
static void expand(char *to, size_t size, const char *text)
{
	size_t n = 0;

	for (; *text && n + sizeof(number) < size; text++)
		if (*text == '@')
			n += snprintf(to + n, size - n, "%s", number);
		else
			to[n++] = *text;
	to[n] = '\0';
}

int message_to(const char *name, const char *text)
{
	char expanded[1024];
	int r;

	expand(expanded, sizeof(expanded), text);
	r = dm_message(name, expanded);
	if (verbose)
		printf("# %llu ms: %s: %s: %d\n", (unsigned long long)now_ms(),
		       name, text, r);
	return r;
}

int message(const char *text)
{
	return message_to("f", text);
}

void message_prepare(const char *text)
{
	char expanded[1024];

	expand(expanded, sizeof(expanded), text);
	dm_prepare_message("f", expanded);
}

int message_send(void)
{
	return dm_send(DM_TARGET_MSG);
}

const char *answer(void)
{
	return dm_answer();
}

void snapshot(char *text, size_t size)
{
	size_t n = 0;

	n += snprintf(text, size, "jobs:");
	message("job list");
	n += snprintf(text + n, size - n, "%s\nbitmaps:", dm_answer());
	message("bitmap list");
	snprintf(text + n, size - n, "%s", dm_answer());
}

const char *word(const char *key)
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

/*------------------------------------------------------------------*/
/* Jobs */

bool job_is(const char *state)
{
	return !message("job show j") && !strcmp(word("state"), state);
}

bool wait_job(const char *id, const char *state)
{
	char text[64];
	unsigned int i;

	snprintf(text, sizeof(text), "job show %s", id);
	for (i = 0; i < 6000; i++) {
		if (!message(text) && !strcmp(word("state"), state))
			return true;
		nap(5);
	}
	bad("the job does not become %s: %s", state, dm_answer());
	return false;
}

int start(const char *dest, const char *words)
{
	char text[512];

	memcpy(ref, now, BYTES);
	snprintf(text, sizeof(text),
		 "backup start j target=%s allow_larger=1 auto_dismiss=0 max_chunk=128 %s",
		 dest, words);
	return message(text);
}

void backup_well(const char *dest, const char *words, const char *what)
{
	int r = start(dest, words);

	if (r) {
		message("last_error");
		bad("%s: refused: %s", what, answer());
		return;
	}
	if (!wait_job("j", "concluded"))
		return;
	if (strcmp(word("outcome"), "completed"))
		bad("%s: %s", what, dm_answer());
	else
		check_dest("/dev/ram1", ref, what);
	job_gone("j");
}

void job_gone(const char *id)
{
	char show[64], cancel[64], dismiss[64];
	unsigned int i;

	snprintf(show, sizeof(show), "job show %s", id);
	snprintf(cancel, sizeof(cancel), "job cancel %s force", id);
	snprintf(dismiss, sizeof(dismiss), "job dismiss %s", id);
	for (i = 0; i < 6000; i++) {
		if (message(show))
			return;
		if (strcmp(word("state"), "concluded"))
			message(cancel);
		else
			message(dismiss);
		nap(5);
	}
	bad("job %s does not go: %s", id, dm_answer());
}
