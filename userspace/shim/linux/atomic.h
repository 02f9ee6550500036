/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Atomic operations and barriers, with the compiler's builtins.
 *
 * They count themselves in shim_trace, one per thread: a test can see that a
 * change was atomic, and that a barrier came before it. A machine that orders
 * more than the code asks for would hide both.
 */

#ifndef SHIM_LINUX_ATOMIC_H
#define SHIM_LINUX_ATOMIC_H

/**
 * struct shim_trace - what one thread did; a test sets it to zero
 * @barriers:		smp_mb__before_atomic()
 * @ors:		atomic_long_or()
 * @andnots:		atomic_long_andnot()
 * @early:		changes with no barrier before them
 * @acquires:		smp_load_acquire()
 */
struct shim_trace {
	unsigned int barriers;
	unsigned int ors;
	unsigned int andnots;
	unsigned int early;
	unsigned int acquires;
};

extern _Thread_local struct shim_trace shim_trace;

typedef struct {
	long counter;
} atomic_long_t;

static inline void atomic_long_or(long bits, atomic_long_t *v)
{
	shim_trace.ors++;
	shim_trace.early += !shim_trace.barriers;
	__atomic_fetch_or(&v->counter, bits, __ATOMIC_RELAXED);
}

static inline void atomic_long_andnot(long bits, atomic_long_t *v)
{
	shim_trace.andnots++;
	shim_trace.early += !shim_trace.barriers;
	__atomic_fetch_and(&v->counter, ~bits, __ATOMIC_RELAXED);
}

static inline long atomic_long_fetch_or(long bits, atomic_long_t *v)
{
	return __atomic_fetch_or(&v->counter, bits, __ATOMIC_SEQ_CST);
}

static inline long atomic_long_fetch_andnot(long bits, atomic_long_t *v)
{
	return __atomic_fetch_and(&v->counter, ~bits, __ATOMIC_SEQ_CST);
}

static inline void atomic_long_sub(long n, atomic_long_t *v)
{
	__atomic_fetch_sub(&v->counter, n, __ATOMIC_RELAXED);
}

static inline void atomic_long_add(long n, atomic_long_t *v)
{
	__atomic_fetch_add(&v->counter, n, __ATOMIC_RELAXED);
}

static inline long atomic_long_read(const atomic_long_t *v)
{
	return __atomic_load_n(&v->counter, __ATOMIC_RELAXED);
}

static inline void smp_mb__before_atomic(void)
{
	shim_trace.barriers++;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static inline void smp_mb__after_atomic(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

#define smp_load_acquire(p) \
	(shim_trace.acquires++, __atomic_load_n((p), __ATOMIC_ACQUIRE))

#endif
