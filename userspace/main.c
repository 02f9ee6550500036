// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: live backups of block devices, with the dm_backup kernel module.
 *
 * One table says which verbs there are and which options each takes; usage and
 * checks come from it.
 */

#include "dm.h"
#include "dmbackup.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	O_TO = 256, O_ID, O_SPEED, O_CLUSTER, O_MAX_CHUNK, O_MAX_WORKERS,
	O_DETECT_ZEROES, O_ON_SOURCE_ERROR, O_ON_TARGET_ERROR, O_ON_CBW_ERROR,
	O_CBW_TIMEOUT, O_BUFFER, O_DISCARD, O_SIZE, O_PROGRESS, O_DETACH,
	O_NO_FREEZE, O_ALLOW_LARGER, O_VERSION, O_DISABLED, O_ALL_DIRTY,
	O_GRANULARITY, O_FORMAT, O_BITMAP, O_BITMAP_MODE, O_SYNC, O_LEVEL, O_INCREMENTAL,
	O_PERSISTENT, O_METADATA, O_ON_METADATA_ERROR, O_AFTER_CRASH, O_FOR,
	O_TO_VG, O_CREATE, O_SEQUENTIAL, O_COMPLETION_MODE, O_DRY_RUN,
	O_SCRATCH, O_SHARE, O_MOUNT, O_JOB, O_DISCARDS,
	O_WAIT, O_PIVOT, O_WITHOUT_LVM, O_FLEECE, O_COPY_MODE, O_AUTO_SWITCH,
	O_TARGET_IS_ZERO, O_ZERO_TARGET, O_NO_UNMAP, O_NO_WRITE_ZEROES,
};

static const struct verb verbs[] = {
	{ NULL, "attach", 1, 1, "DEVICE",
	  "metadata on-metadata-error after-crash buffer cbw-timeout discard no-write-zeroes",
	  "put a filter into a device, which may be mounted", cmd_attach },
	{ NULL, "detach", 1, 1, "DEVICE", "force",
	  "take it out again", cmd_detach },
	{ NULL, "resize", 1, 1, "DEVICE", "size",
	  "let a filter follow its origin's growth", cmd_resize },
	{ NULL, "open", 2, 2, "DEVICE NAME",
	  "metadata on-metadata-error after-crash buffer cbw-timeout discard no-write-zeroes",
	  "put a filter on top of a device that is not in use", cmd_open },
	{ NULL, "close", 1, 1, "NAME", "force", "remove it", cmd_close },
	{ NULL, "list", 0, 0, "", "json bytes noheadings",
	  "list all filters", cmd_list },
	{ NULL, "status", 1, 1, "DEVICE", "json bytes noheadings",
	  "a filter's counters and jobs", cmd_status },
	{ NULL, "backup", 1, 256, "DEVICE[=TARGET]... [--to TARGET]",
	  "to to-vg create fleece size completion-mode sequential incremental level bitmap id speed cluster max-chunk max-workers detect-zeroes on-source-error on-target-error on-cbw-error cbw-timeout allow-larger no-freeze force detach progress json bytes noheadings",
	  "copy devices as they are at this instant", cmd_backup },
	{ NULL, "transaction", 1, 1, "FILE",
	  "dry-run detach progress json bytes noheadings",
	  "do what a document says at one instant", cmd_transaction },
	{ NULL, "verify", 1, 1, "DEVICE --to TARGET",
	  "to bitmap progress json bytes noheadings",
	  "compare a backup with the device, which may be in use", cmd_verify },
	{ NULL, "mirror", 1, 1, "DEVICE --to TARGET",
	  "to sync bitmap bitmap-mode wait pivot without-lvm id speed granularity max-chunk copy-mode auto-switch cbw-timeout target-is-zero zero-target no-unmap on-source-error on-target-error allow-larger force progress",
	  "keep a copy the same as a device, or move the device there",
	  cmd_mirror },
	{ NULL, "monitor", 0, 64, "[DEVICE...]", "json",
	  "print what happens to jobs, as it does", cmd_monitor },
	{ "view", "create", 2, 2, "DEVICE NAME",
	  "scratch size share bitmap job mount discards cluster on-cbw-error cbw-timeout no-freeze force",
	  "show a device as it is at this instant, under a name", cmd_view_create },
	{ "view", "list", 0, 1, "[DEVICE]", "json bytes noheadings",
	  "list views", cmd_view_list },
	{ "view", "remove", 1, 1, "NAME", "",
	  "remove it, and what was made for it", cmd_view_remove },
	{ "view", "discard", 3, 3, "NAME START LENGTH", "",
	  "be done with a part of it", cmd_view_discard },
	{ "bitmap", "add", 2, 2, "DEVICE NAME",
	  "persistent granularity disabled all-dirty",
	  "record what is written from now on", cmd_bitmap_add },
	{ "bitmap", "remove", 2, 2, "DEVICE NAME", "", "remove it",
	  cmd_bitmap_remove },
	{ "bitmap", "clear", 2, 2, "DEVICE NAME", "",
	  "forget what was recorded", cmd_bitmap_clear },
	{ "bitmap", "enable", 2, 2, "DEVICE NAME", "", "record again",
	  cmd_bitmap_enable },
	{ "bitmap", "disable", 2, 2, "DEVICE NAME", "", "do not record",
	  cmd_bitmap_disable },
	{ "bitmap", "merge", 3, 64, "DEVICE NAME [DEVICE/]SOURCE...", "",
	  "add what others have recorded", cmd_bitmap_merge },
	{ "bitmap", "list", 1, 1, "DEVICE", "json bytes noheadings",
	  "list a filter's bitmaps", cmd_bitmap_list },
	{ "bitmap", "show", 2, 2, "DEVICE NAME", "json bytes",
	  "all there is to know about a bitmap", cmd_bitmap_show },
	{ "bitmap", "dump", 2, 2, "DEVICE NAME", "format",
	  "print what is dirty", cmd_bitmap_dump },
	{ "bitmap", "load", 2, 3, "DEVICE NAME [FILE]", "",
	  "make dirty what a dump says", cmd_bitmap_load },
	{ "metadata", "create", 1, 1, "META --for DEVICE", "for size force",
	  "make a device for persistent bitmaps", cmd_metadata_create },
	{ "metadata", "save", 1, 1, "DEVICE", "",
	  "save a filter's bitmaps now", cmd_metadata_save },
	{ "metadata", "check", 1, 1, "META", "json bytes noheadings",
	  "look whether it is good", cmd_metadata_check },
	{ "metadata", "dump", 1, 2, "META [NAME]", "format",
	  "print what is on it, or what is dirty in a bitmap",
	  cmd_metadata_dump },
	{ "job", "list", 1, 1, "DEVICE", "json bytes noheadings",
	  "list a filter's jobs", cmd_job_list },
	{ "job", "show", 1, 2, "DEVICE [ID]", "json",
	  "all there is to know about a job", cmd_job_show },
	{ "job", "pause", 1, 2, "DEVICE [ID]", "", "pause it", cmd_job_pause },
	{ "job", "resume", 1, 2, "DEVICE [ID]", "", "resume it",
	  cmd_job_resume },
	{ "job", "cancel", 1, 2, "DEVICE [ID]", "force", "cancel it",
	  cmd_job_cancel },
	{ "job", "set-speed", 1, 2, "DEVICE [ID] --speed RATE", "speed",
	  "limit its speed, in bytes per second; 0: no limit",
	  cmd_job_set_speed },
	{ "job", "change", 1, 2, "DEVICE [ID]",
	  "on-source-error on-target-error on-cbw-error cbw-timeout copy-mode",
	  "change what it does about errors, or how it copies", cmd_job_change },
	{ "job", "wait", 1, 2, "DEVICE [ID]", "progress",
	  "wait for its end, and dismiss it", cmd_job_wait },
	{ "job", "checkpoint", 1, 2, "DEVICE [ID]", "no-freeze",
	  "move its point in time to now", cmd_job_checkpoint },
	{ "job", "complete", 1, 2, "DEVICE [ID]", "without-lvm progress",
	  "move a device to where a mirror that is ready has copied it",
	  cmd_job_complete },
	{ "job", "finalize", 1, 2, "DEVICE [ID]", "",
	  "finish a job that is pending", cmd_job_finalize },
	{ "job", "dismiss", 1, 2, "DEVICE [ID]", "",
	  "forget a job that has concluded", cmd_job_dismiss },
	{ }
};

static const struct option options[] = {
	{ "json", no_argument, NULL, 'J' },
	{ "bytes", no_argument, NULL, 'b' },
	{ "noheadings", no_argument, NULL, 'n' },
	{ "force", no_argument, NULL, 'f' },
	{ "progress", no_argument, NULL, O_PROGRESS },
	{ "detach", no_argument, NULL, O_DETACH },
	{ "wait", no_argument, NULL, O_WAIT },
	{ "pivot", no_argument, NULL, O_PIVOT },
	{ "without-lvm", no_argument, NULL, O_WITHOUT_LVM },
	{ "no-freeze", no_argument, NULL, O_NO_FREEZE },
	{ "allow-larger", no_argument, NULL, O_ALLOW_LARGER },
	{ "disabled", no_argument, NULL, O_DISABLED },
	{ "all-dirty", no_argument, NULL, O_ALL_DIRTY },
	{ "persistent", no_argument, NULL, O_PERSISTENT },
	{ "discards", no_argument, NULL, O_DISCARDS },
	{ "scratch", required_argument, NULL, O_SCRATCH },
	{ "fleece", required_argument, NULL, O_FLEECE },
	{ "share", required_argument, NULL, O_SHARE },
	{ "mount", required_argument, NULL, O_MOUNT },
	{ "job", required_argument, NULL, O_JOB },
	{ "metadata", required_argument, NULL, O_METADATA },
	{ "on-metadata-error", required_argument, NULL, O_ON_METADATA_ERROR },
	{ "after-crash", required_argument, NULL, O_AFTER_CRASH },
	{ "for", required_argument, NULL, O_FOR },
	{ "granularity", required_argument, NULL, O_GRANULARITY },
	{ "format", required_argument, NULL, O_FORMAT },
	{ "bitmap", required_argument, NULL, O_BITMAP },
	{ "bitmap-mode", required_argument, NULL, O_BITMAP_MODE },
	{ "sync", required_argument, NULL, O_SYNC },
	{ "level", required_argument, NULL, O_LEVEL },
	{ "incremental", required_argument, NULL, O_INCREMENTAL },
	{ "to", required_argument, NULL, O_TO },
	{ "to-vg", required_argument, NULL, O_TO_VG },
	{ "create", no_argument, NULL, O_CREATE },
	{ "sequential", no_argument, NULL, O_SEQUENTIAL },
	{ "completion-mode", required_argument, NULL, O_COMPLETION_MODE },
	{ "dry-run", no_argument, NULL, O_DRY_RUN },
	{ "id", required_argument, NULL, O_ID },
	{ "speed", required_argument, NULL, O_SPEED },
	{ "cluster", required_argument, NULL, O_CLUSTER },
	{ "max-chunk", required_argument, NULL, O_MAX_CHUNK },
	{ "max-workers", required_argument, NULL, O_MAX_WORKERS },
	{ "detect-zeroes", required_argument, NULL, O_DETECT_ZEROES },
	{ "on-source-error", required_argument, NULL, O_ON_SOURCE_ERROR },
	{ "on-target-error", required_argument, NULL, O_ON_TARGET_ERROR },
	{ "on-cbw-error", required_argument, NULL, O_ON_CBW_ERROR },
	{ "copy-mode", required_argument, NULL, O_COPY_MODE },
	{ "auto-switch", no_argument, NULL, O_AUTO_SWITCH },
	{ "target-is-zero", no_argument, NULL, O_TARGET_IS_ZERO },
	{ "zero-target", no_argument, NULL, O_ZERO_TARGET },
	{ "no-unmap", no_argument, NULL, O_NO_UNMAP },
	{ "cbw-timeout", required_argument, NULL, O_CBW_TIMEOUT },
	{ "buffer", required_argument, NULL, O_BUFFER },
	{ "discard", required_argument, NULL, O_DISCARD },
	{ "no-write-zeroes", no_argument, NULL, O_NO_WRITE_ZEROES },
	{ "size", required_argument, NULL, O_SIZE },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, O_VERSION },
	{ }
};

/* "job show". To be freed. */
static char *verb_name(const struct verb *v)
{
	return xasprintf("%s%s%s", v->object ? v->object : "",
			 v->object ? " " : "", v->name);
}

/* Of all verbs, or of one @object's. */
static void usage(FILE *to, const char *object)
{
	const struct verb *v;
	char *name;
	int n;

	fprintf(to, "Usage:\n");
	for (v = verbs; v->name; v++) {
		if (object && (!v->object || strcmp(v->object, object)))
			continue;
		name = verb_name(v);
		n = fprintf(to, "  dmbackup %s %s", name, v->usage);
		fprintf(to, "%*s %s\n", n < 48 ? 48 - n : 0, "", v->help);
		free(name);
	}
	if (!object)
		fprintf(to, "DEVICE is vg/lv, a path, a device-mapper name, MAJ:MIN or a mount point.\n"
			    "Tables: -J, --json; -b, --bytes; -n, --noheadings. -f, --force.\n");
	fprintf(to, "Options of a verb: dmbackup VERB --help. All of it, and exit codes: dmbackup(8).\n");
}

static bool takes_value(const char *name, size_t len)
{
	const struct option *p;

	for (p = options; p->name; p++)
		if (strlen(p->name) == len && !strncmp(p->name, name, len))
			return p->has_arg == required_argument;
	return false;
}

/* Of one verb, with its options. */
static void usage_of(FILE *to, const struct verb *v)
{
	char *name = verb_name(v), *option;
	int at = fprintf(to, "Usage: dmbackup %s %s", name, v->usage);
	const char *p = v->takes;
	size_t len;

	for (; *p; p += len, p += *p == ' ') {
		len = strcspn(p, " ");
		option = xasprintf("--%.*s", (int)len, p);
		if (!strstr(v->usage, option)) {
			if (at + len + 10 > 80)
				at = fprintf(to, "\n       ") - 1;
			at += fprintf(to, " [%s%s]", option,
				      takes_value(p, len) ? "=..." : "");
		}
		free(option);
	}
	fputc('\n', to);
	free(name);
}

/* Is @name one of the words of @takes? */
static bool takes(const char *list, const char *name)
{
	size_t len = strlen(name);
	const char *p = list;

	while (*p) {
		size_t n = strcspn(p, " ");

		if (n == len && !strncmp(p, name, n))
			return true;
		p += n;
		p += *p == ' ';
	}
	return false;
}

static const char **text_option(struct options *o, int c)
{
	switch (c) {
	case O_METADATA: return &o->metadata;
	case O_ON_METADATA_ERROR: return &o->on_metadata_error;
	case O_AFTER_CRASH: return &o->after_crash;
	case O_FOR: return &o->for_device;
	case O_GRANULARITY: return &o->granularity;
	case O_FORMAT: return &o->format;
	case O_BITMAP: return &o->bitmap;
	case O_BITMAP_MODE: return &o->bitmap_mode;
	case O_SYNC: return &o->sync;
	case O_LEVEL: return &o->level;
	case O_INCREMENTAL: return &o->incremental;
	case O_TO: return &o->to;
	case O_TO_VG: return &o->to_vg;
	case O_COMPLETION_MODE: return &o->completion_mode;
	case O_ID: return &o->id;
	case O_SPEED: return &o->speed;
	case O_CLUSTER: return &o->cluster;
	case O_MAX_CHUNK: return &o->max_chunk;
	case O_MAX_WORKERS: return &o->max_workers;
	case O_DETECT_ZEROES: return &o->detect_zeroes;
	case O_ON_SOURCE_ERROR: return &o->on_source_error;
	case O_ON_TARGET_ERROR: return &o->on_target_error;
	case O_ON_CBW_ERROR: return &o->on_cbw_error;
	case O_CBW_TIMEOUT: return &o->cbw_timeout;
	case O_COPY_MODE: return &o->copy_mode;
	case O_BUFFER: return &o->buffer;
	case O_DISCARD: return &o->discard;
	case O_SIZE: return &o->size;
	case O_SCRATCH: return &o->scratch;
	case O_FLEECE: return &o->fleece;
	case O_SHARE: return &o->share;
	case O_MOUNT: return &o->mount;
	case O_JOB: return &o->job;
	default: return NULL;
	}
}

static bool *flag_option(struct options *o, int c)
{
	switch (c) {
	case 'J': return &o->json;
	case 'b': return &o->bytes;
	case 'n': return &o->noheadings;
	case 'f': return &o->force;
	case O_PROGRESS: return &o->progress;
	case O_DETACH: return &o->detach;
	case O_WAIT: return &o->wait;
	case O_PIVOT: return &o->pivot;
	case O_WITHOUT_LVM: return &o->without_lvm;
	case O_NO_FREEZE: return &o->no_freeze;
	case O_ALLOW_LARGER: return &o->allow_larger;
	case O_AUTO_SWITCH: return &o->auto_switch;
	case O_TARGET_IS_ZERO: return &o->target_is_zero;
	case O_ZERO_TARGET: return &o->zero_target;
	case O_NO_UNMAP: return &o->no_unmap;
	case O_NO_WRITE_ZEROES: return &o->no_write_zeroes;
	case O_DISABLED: return &o->disabled;
	case O_ALL_DIRTY: return &o->all_dirty;
	case O_PERSISTENT: return &o->persistent;
	case O_CREATE: return &o->create;
	case O_SEQUENTIAL: return &o->sequential;
	case O_DRY_RUN: return &o->dry_run;
	case O_DISCARDS: return &o->discards;
	default: return NULL;
	}
}

static const char *option_name(int c)
{
	const struct option *p;

	for (p = options; p->name; p++)
		if (p->val == c)
			return p->name;
	return "";
}

static volatile sig_atomic_t nobody_reads;

static void on_pipe(int sig)
{
	(void)sig;
	nobody_reads = 1;
}

/*
 * What was asked for is not there if it could not be written. If that is as nobody
 * reads it any more, this ends as it would have at once, but now all is in order.
 */
static int written(const char *what, int r)
{
	if (!fflush(stdout) && !ferror(stdout))
		return r;
	if (nobody_reads) {
		signal(SIGPIPE, SIG_DFL);
		raise(SIGPIPE);
	}
	say("%s: the output can't be written", what);
	return r ? r : EX_FAILED;
}

/* Options anywhere on the line; which were given is kept for the verb's check. */
static int parse_options(int argc, char **argv, struct options *o,
			 int *given, int *nr_given, bool *help)
{
	const char **text;
	bool *flag;
	int c, i;

	while ((c = getopt_long(argc, argv, "Jbnfh", options, NULL)) != -1) {
		if (c == '?')
			return EX_USAGE_;
		if (c == O_VERSION) {
			printf("dmbackup %s\n", DMBACKUP_VERSION);
			exit(written("--version", EX_OK));
		}
		if (c == 'h') {
			*help = true;
			continue;
		}
		for (i = 0; i < *nr_given; i++)
			if (given[i] == c) {
				say("--%s is given twice", option_name(c));
				return EX_USAGE_;
			}
		given[(*nr_given)++] = c;
		text = text_option(o, c);
		flag = flag_option(o, c);
		if (text)
			*text = optarg;
		else if (flag)
			*flag = true;
	}
	return EX_OK;
}

static const struct verb *find_verb(int *argc, char ***argv)
{
	const struct verb *v;

	for (v = verbs; v->name && *argc; v++) {
		int words = v->object ? 2 : 1;

		if (v->object && strcmp(v->object, (*argv)[0]))
			continue;
		if (*argc < words || strcmp(v->name, (*argv)[words - 1]))
			continue;
		*argc -= words;
		*argv += words;
		return v;
	}
	return NULL;
}

static bool is_object(const char *word)
{
	const struct verb *v;

	for (v = verbs; v->name; v++)
		if (v->object && !strcmp(v->object, word))
			return true;
	return false;
}

/* What was asked for is none of the verbs. */
static int no_verb(int argc, char **argv)
{
	if (!argc) {
		usage(stderr, NULL);
	} else if (!is_object(argv[0])) {
		say("there is no '%s'", argv[0]);
		hint("dmbackup --help lists what there is");
	} else {
		if (argc > 1)
			say("there is no '%s %s'", argv[0], argv[1]);
		else
			say("%s: what is to be done is missing", argv[0]);
		usage(stderr, argv[0]);
	}
	return EX_USAGE_;
}

static int check_line(const struct verb *v, int argc, char **argv,
		      const int *given, int nr_given)
{
	char *name = verb_name(v);
	int i, r = EX_OK;

	for (i = 0; i < nr_given && !r; i++)
		if (!takes(v->takes, option_name(given[i]))) {
			say("%s: --%s is not for this", name,
			    option_name(given[i]));
			r = EX_USAGE_;
		}
	if (!r && argc > v->max_args) {
		say("%s: '%s' is one argument too many", name,
		    argv[v->max_args]);
		r = EX_USAGE_;
	} else if (!r && argc < v->min_args) {
		say("%s: an argument is missing", name);
		r = EX_USAGE_;
	}
	if (r)
		usage_of(stderr, v);
	free(name);
	return r;
}

/* cron's PATH has no sbin, where LVM's commands are, and modprobe. */
static void find_commands(void)
{
	const char *path = getenv("PATH");
	char *more = xasprintf("%s:/usr/local/sbin:/usr/sbin:/sbin",
			       path && *path ? path : "/usr/bin:/bin");

	setenv("PATH", more, 1);
	free(more);
}

static int run(const struct verb *v, int argc, char **argv,
	       const struct options *o)
{
	if (geteuid()) {
		say("%s: this needs root", v->name);
		return EX_FAILED;
	}
	find_commands();
	dm_setup();
	return written(v->name, v->fn(argc, argv, o));
}

int main(int argc, char **argv)
{
	int given[sizeof(options) / sizeof(*options)], nr_given = 0, r;
	struct options o = { 0 };
	const struct verb *v;
	bool help = false;

	fill_descriptors();
	/* Not ignored: LVM's commands would inherit that. */
	signal(SIGPIPE, on_pipe);
	r = parse_options(argc, argv, &o, given, &nr_given, &help);
	if (r)
		return r;
	argc -= optind;
	argv += optind;
	v = find_verb(&argc, &argv);
	if (help) {
		if (v)
			usage_of(stdout, v);
		else
			usage(stdout, argc && is_object(argv[0]) ? argv[0] :
								   NULL);
		return written("--help", EX_OK);
	}
	if (!v)
		return no_verb(argc, argv);
	r = check_line(v, argc, argv, given, nr_given);
	return r ? r : run(v, argc, argv, &o);
}
