/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: what its files share.
 *
 * Messages go to stderr as "dmbackup: DEVICE: what failed: why", hints on a line
 * of their own. Whatever fails says so itself and returns an exit code.
 */

#ifndef DMBACKUP_H
#define DMBACKUP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#define DMBACKUP_VERSION "0.1"

/* What is there while commands run: locks, and what LVM is to be told. */
#define RUN_DIR "/run/dmbackup"

/* How long a lock is waited for. */
#define LOCK_MS 30000

/* Exit codes, as documented in dmbackup(8). */
enum {
	EX_OK		= 0,
	EX_FAILED	= 1,
	EX_USAGE_	= 2,
	EX_NO		= 3,	/* the answer is no: a full backup is needed */
	EX_NODEV	= 4,	/* no such device or object */
	EX_REFUSED	= 5,	/* busy, or refused */
	EX_MISMATCH	= 6,	/* verification failed */
	EX_CANCELLED	= 7,
};

/* Options that any verb may use; a verb's table says which it takes. */
struct options {
	bool json;
	bool bytes;
	bool noheadings;
	bool force;
	bool progress;
	bool detach;
	bool no_freeze;
	bool allow_larger;
	bool auto_switch;
	bool target_is_zero;
	bool zero_target;
	bool no_unmap;
	bool no_write_zeroes;
	bool wait;
	bool pivot;
	bool without_lvm;
	bool disabled;
	bool all_dirty;
	bool persistent;
	bool create;
	bool sequential;
	bool dry_run;
	bool discards;
	const char *granularity;
	const char *metadata;
	const char *on_metadata_error;
	const char *after_crash;
	const char *for_device;
	const char *format;
	const char *bitmap;
	const char *bitmap_mode;
	const char *sync;
	const char *level;
	const char *incremental;
	const char *to;
	const char *to_vg;
	const char *completion_mode;
	const char *id;
	const char *speed;
	const char *cluster;
	const char *max_chunk;
	const char *max_workers;
	const char *detect_zeroes;
	const char *on_source_error;
	const char *on_target_error;
	const char *on_cbw_error;
	const char *cbw_timeout;
	const char *copy_mode;
	const char *buffer;
	const char *discard;
	const char *size;
	const char *scratch;
	const char *fleece;
	const char *share;
	const char *mount;
	const char *job;
};

struct verb {
	const char *object;	/* or NULL */
	const char *name;
	int min_args;
	int max_args;
	const char *usage;
	const char *takes;	/* names of its options, see main.c */
	const char *help;
	int (*fn)(int argc, char **argv, const struct options *o);
};

/* util.c */
void say_about(const char *place);
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void hint(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *xcalloc(size_t n, size_t size);
void *xreallocarray(void *p, size_t n, size_t size);
void *xaligned_alloc(size_t align, size_t size);
bool parse_bytes(const char *what, const char *text, uint64_t *bytes);
bool parse_seconds(const char *what, const char *text, uint64_t *ms);
char *format_bytes(uint64_t bytes, char *buf, size_t size);
uint64_t now_ms(void);
void fill_descriptors(void);
bool load_module(const char *name, const char *option);
int code_of_errno(int err);

/* verbs */
int cmd_attach(int argc, char **argv, const struct options *o);
int cmd_detach(int argc, char **argv, const struct options *o);
int cmd_resize(int argc, char **argv, const struct options *o);
int cmd_open(int argc, char **argv, const struct options *o);
int cmd_close(int argc, char **argv, const struct options *o);
int cmd_list(int argc, char **argv, const struct options *o);
int cmd_status(int argc, char **argv, const struct options *o);
int cmd_backup(int argc, char **argv, const struct options *o);
int cmd_transaction(int argc, char **argv, const struct options *o);
int cmd_verify(int argc, char **argv, const struct options *o);
int cmd_mirror(int argc, char **argv, const struct options *o);
int cmd_bitmap_add(int argc, char **argv, const struct options *o);
int cmd_bitmap_remove(int argc, char **argv, const struct options *o);
int cmd_bitmap_clear(int argc, char **argv, const struct options *o);
int cmd_bitmap_enable(int argc, char **argv, const struct options *o);
int cmd_bitmap_disable(int argc, char **argv, const struct options *o);
int cmd_bitmap_merge(int argc, char **argv, const struct options *o);
int cmd_bitmap_list(int argc, char **argv, const struct options *o);
int cmd_bitmap_show(int argc, char **argv, const struct options *o);
int cmd_bitmap_dump(int argc, char **argv, const struct options *o);
int cmd_bitmap_load(int argc, char **argv, const struct options *o);
int cmd_metadata_create(int argc, char **argv, const struct options *o);
int cmd_metadata_save(int argc, char **argv, const struct options *o);
int cmd_metadata_check(int argc, char **argv, const struct options *o);
int cmd_metadata_dump(int argc, char **argv, const struct options *o);
int cmd_job_list(int argc, char **argv, const struct options *o);
int cmd_job_show(int argc, char **argv, const struct options *o);
int cmd_job_pause(int argc, char **argv, const struct options *o);
int cmd_job_resume(int argc, char **argv, const struct options *o);
int cmd_job_cancel(int argc, char **argv, const struct options *o);
int cmd_monitor(int argc, char **argv, const struct options *o);
int cmd_job_change(int argc, char **argv, const struct options *o);
int cmd_job_set_speed(int argc, char **argv, const struct options *o);
int cmd_job_complete(int argc, char **argv, const struct options *o);
int cmd_job_finalize(int argc, char **argv, const struct options *o);
int cmd_job_checkpoint(int argc, char **argv, const struct options *o);
int cmd_job_dismiss(int argc, char **argv, const struct options *o);
int cmd_job_wait(int argc, char **argv, const struct options *o);
int cmd_view_create(int argc, char **argv, const struct options *o);
int cmd_view_list(int argc, char **argv, const struct options *o);
int cmd_view_remove(int argc, char **argv, const struct options *o);
int cmd_view_discard(int argc, char **argv, const struct options *o);

#endif
