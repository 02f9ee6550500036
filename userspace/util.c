// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: messages, memory, sizes.
 */

#include "dmbackup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *about;

/* What say() says from now on is about this place in a file; NULL: about none. */
void say_about(const char *place)
{
	about = place;
}

/* One line on stderr, whatever names there are in it. */
static void print_line(const char *before, const char *fmt, va_list args)
{
	char *text, *p;

	if (vasprintf(&text, fmt, args) < 0)
		text = NULL;
	for (p = text; p && *p; p++)
		if (iscntrl((unsigned char)*p))
			*p = '?';
	fprintf(stderr, "%s%s\n", before, text ? text : fmt);
	free(text);
}

/* An error: "dmbackup: ..." on stderr. */
void say(const char *fmt, ...)
{
	char *before = about ? xasprintf("dmbackup: %s: ", about) : NULL;
	va_list args;

	va_start(args, fmt);
	print_line(before ? before : "dmbackup: ", fmt, args);
	va_end(args);
	free(before);
}

/* What to do about it, on a line of its own. */
void hint(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	print_line("  ", fmt, args);
	va_end(args);
}

static void *check(void *p)
{
	if (!p) {
		say("out of memory");
		exit(EX_FAILED);
	}
	return p;
}

char *xstrdup(const char *s)
{
	return check(strdup(s));
}

void *xcalloc(size_t n, size_t size)
{
	return check(calloc(n, size));
}

void *xreallocarray(void *p, size_t n, size_t size)
{
	return check(reallocarray(p, n, size));
}

/* For I/O around the page cache. @size: a multiple of @align. */
void *xaligned_alloc(size_t align, size_t size)
{
	return check(aligned_alloc(align, size));
}

char *xasprintf(const char *fmt, ...)
{
	va_list args;
	char *s = NULL;

	va_start(args, fmt);
	if (vasprintf(&s, fmt, args) < 0)
		s = NULL;
	va_end(args);
	return check(s);
}

/* A number with an optional suffix of a table; the rest must be empty. */
static bool parse_scaled(const char *text, const char *const *suffixes,
			 const uint64_t *scales, uint64_t *value)
{
	unsigned long long n;
	unsigned int i;
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return false;
	for (i = 0; suffixes[i]; i++)
		if (!strcasecmp(end, suffixes[i]))
			return !__builtin_mul_overflow(n, scales[i], value);
	return false;
}

/*
 * Sizes as util-linux reads them: K, KiB = 1024; KB = 1000; s = sectors.
 * Says what is wrong.
 */
bool parse_bytes(const char *what, const char *text, uint64_t *bytes)
{
	static const char *const suffixes[] = {
		"", "s", "k", "kib", "kb", "m", "mib", "mb", "g", "gib", "gb",
		"t", "tib", "tb", NULL
	};
	static const uint64_t scales[] = {
		1, 512, 1024, 1024, 1000, 1048576, 1048576, 1000000,
		1ull << 30, 1ull << 30, 1000000000, 1ull << 40, 1ull << 40,
		1000000000000ull
	};

	if (parse_scaled(text, suffixes, scales, bytes))
		return true;
	say("%s: '%s' is not a size", what, text);
	return false;
}

/* Seconds, or with a suffix ms, s, m. */
bool parse_seconds(const char *what, const char *text, uint64_t *ms)
{
	static const char *const suffixes[] = { "", "s", "ms", "m", "min", NULL };
	static const uint64_t scales[] = { 1000, 1000, 1, 60000, 60000 };

	if (parse_scaled(text, suffixes, scales, ms))
		return true;
	say("%s: '%s' is not a time", what, text);
	return false;
}

char *format_bytes(uint64_t bytes, char *buf, size_t size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double n = bytes;
	unsigned int u = 0;

	while (n >= 1024 && u < 5) {
		n /= 1024;
		u++;
	}
	snprintf(buf, size, u && n < 100 ? "%.1f %s" : "%.0f %s", n, units[u]);
	return buf;
}

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

/*
 * What is opened first would be taken for standard output or error, if that is closed,
 * and get what is printed: an image, say. Nothing is lost without notice: this can't be
 * written.
 */
void fill_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDONLY);
	} while (fd >= 0 && fd < 2);
	if (fd > 2)
		close(fd);
}

/* @option: one of the module's, or NULL. */
bool load_module(const char *name, const char *option)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		execlp("modprobe", "modprobe", "-q", name, option,
		       (char *)NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

/* The exit code for what the kernel refused with. */
int code_of_errno(int err)
{
	switch (err < 0 ? -err : err) {
	case 0:
		return EX_OK;
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return EX_NODEV;
	case EBUSY:
	case EEXIST:
	case EACCES:
	case EPERM:
	case EROFS:
	case EINVAL:
	case ERANGE:
	case ENOSPC:
	case EOPNOTSUPP:
	case EFBIG:
	case ENOTBLK:
	case EAGAIN:
		return EX_REFUSED;
	case EUCLEAN:		/* a bitmap that is inconsistent */
		return EX_NO;
	case ECANCELED:
		return EX_CANCELLED;
	default:
		return EX_FAILED;
	}
}
