/* SPDX-License-Identifier: GPL-2.0-only */
/* The sweeps of faults.c, each of which is some lines of TAP. */
#ifndef TESTS_SWEEPS_H
#define TESTS_SWEEPS_H

#include <stdbool.h>

/* allocations.c; false: this kernel injects no faults. */
bool allocations_init(void);
void sweep_tables(bool thorough);
void sweep_messages(void);
void sweep_transactions(void);

/* workers.c: the n-th allocation of each worker from now on fails. */
void workers_arm(unsigned int n);
/* Has one? */
bool workers_fired(void);
void workers_end(void);

/* io.c; false: there is no target "nth". */
bool io_init(void);
void io_exit(void);
/* By a life's name, or NULL: all. thorough: each index in each way. */
bool sweep_io(const char *life, bool thorough);
/* The same lives, while workers' allocations fail. */
void sweep_workers(bool thorough);

#endif
