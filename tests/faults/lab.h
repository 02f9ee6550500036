/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What all sweeps use: the devices, a filter and its guest, messages and jobs, and
 * what must hold whatever failed. What does not is told by bad(), with the sweep
 * and the point it is at; a sweep is a line of TAP.
 *
 * /dev/ram0 is the origin, /dev/ram1 and /dev/ram3 are destinations, /dev/ram4 is a
 * fleece device, /dev/ram2 the metadata device, formatted. All are filled, so that they
 * do not allocate.
 */
#ifndef TESTS_LAB_H
#define TESTS_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLUSTER		65536u
#define CLUSTERS	16u
#define BYTES		(CLUSTER * CLUSTERS)
#define SECTORS		(BYTES / 512)
#define METADATA	(4u << 20)
#define LIMIT		2000u		/* points of a sweep */

/* What the origin holds; what it held at the last start. */
extern uint8_t now[BYTES], ref[BYTES];
/* An empty metadata device. */
extern uint8_t image[METADATA];
extern const char *origin;		/* the path of a filter's */
extern char filter[64];			/* the filter's */
extern bool verbose;
extern unsigned int only;		/* the one point to look at, or 0 */
extern unsigned int at;			/* the point */
extern unsigned int refused;		/* points of this sweep that refused */

void begin(const char *name);
void end(unsigned int points);
/* The plan, and the status to exit with. */
int finish(void);
__attribute__((format(printf, 1, 2))) void bad(const char *fmt, ...);

void nap(unsigned int ms);
uint64_t now_ms(void);

/* Reads or writes all of it, from its beginning. */
void device_io(const char *path, void *data, size_t bytes, bool write);
void devices_init(void);
/* Other sectors on the origin, all different, nowhere zero; 0xff on /dev/ram1. */
void refill(void);

/* "feature words" as in a table. */
void filter_prepare(const char *words);
bool filter_open(const char *words);
void filter_close(void);
/* MAJ:MIN */
const char *filter_number(void);
/* What holds the module now is to stay. */
void module_kept(void);
/* Nobody else holds the module, or one of these devices and nothing else (NULL ends). */
void check_gone(const char *const devices[]);

/* 4 KiB in the middle of each fourth cluster, from that one on. None may fail, or
 * take longer than any bound that is promised.
 */
void guest_writes(unsigned int from);
/* The one cluster. False: it failed. */
bool guest_write(unsigned int cluster);
/* Does the filter hold what was written? */
void check_origin(void);
void check_dest(const char *path, const void *want, const char *what);

/* To the filter, or any device: 0 or a negative errno. '@' is the filter's number. */
int message(const char *text);
int message_to(const char *name, const char *text);
/* Made ready, so that nothing is left to do but to send it. */
void message_prepare(const char *text);
int message_send(void);
const char *answer(void);
/* A word of the last answer. */
const char *word(const char *key);
/* Jobs and bitmaps, without what changes by itself. */
void snapshot(char *text, size_t size);

/* "job show" of the job "j", or another one. */
bool job_is(const char *state);
bool wait_job(const char *id, const char *state);
/* Start "j" on the filter with a destination; ref is what it holds now. */
int start(const char *dest, const char *words);
/* A job that nothing is in the way of: it completes, and all is on /dev/ram1. */
void backup_well(const char *dest, const char *words, const char *what);
/* Forget jobs that have ended, or end them. */
void job_gone(const char *id);

#endif
