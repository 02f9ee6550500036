// SPDX-License-Identifier: GPL-2.0-only
/*
 * io_uring by its system calls. The contract is in uring.h.
 */

#include "uring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct uring {
	int fd;
	struct io_uring_sqe *sqe;	/* the only one */
	unsigned int *sq_tail;
	unsigned int *cq_head, *cq_tail, cq_mask;
	struct io_uring_cqe *cqes;
};

static void *ring_map(int fd, size_t size, off_t what)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_POPULATE, fd, what);

	return p == MAP_FAILED ? NULL : p;
}

struct uring *uring_create(void)
{
	struct uring *ring = calloc(1, sizeof(*ring));
	struct io_uring_params p = { };
	char *sq, *cq;

	if (!ring)
		return NULL;
	ring->fd = syscall(__NR_io_uring_setup, 1, &p);
	if (ring->fd < 0) {
		free(ring);
		return NULL;
	}
	sq = ring_map(ring->fd, p.sq_off.array +
		      p.sq_entries * sizeof(unsigned int), IORING_OFF_SQ_RING);
	cq = ring_map(ring->fd, p.cq_off.cqes +
		      p.cq_entries * sizeof(*ring->cqes), IORING_OFF_CQ_RING);
	ring->sqe = ring_map(ring->fd, sizeof(*ring->sqe), IORING_OFF_SQES);
	if (!sq || !cq || !ring->sqe)
		return NULL;	/* the program ends */
	*(unsigned int *)(sq + p.sq_off.array) = 0;
	ring->sq_tail = (void *)(sq + p.sq_off.tail);
	ring->cq_head = (void *)(cq + p.cq_off.head);
	ring->cq_tail = (void *)(cq + p.cq_off.tail);
	ring->cq_mask = *(unsigned int *)(cq + p.cq_off.ring_mask);
	ring->cqes = (void *)(cq + p.cq_off.cqes);
	return ring;
}

ssize_t uring_write(struct uring *ring, int fd, const void *buf, size_t len,
		    off_t at, int flags)
{
	unsigned int head = *ring->cq_head, send = 1;
	ssize_t r;

	memset(ring->sqe, 0, sizeof(*ring->sqe));
	ring->sqe->opcode = IORING_OP_WRITE;
	ring->sqe->fd = fd;
	ring->sqe->addr = (uintptr_t)buf;
	ring->sqe->len = len;
	ring->sqe->off = at;
	ring->sqe->rw_flags = flags;
	/* The kernel reads the entry after it has seen the tail. */
	__atomic_store_n(ring->sq_tail, *ring->sq_tail + 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) == head) {
		r = syscall(__NR_io_uring_enter, ring->fd, send, 1,
			    IORING_ENTER_GETEVENTS, NULL, 0);
		/* These are about the call, not about the write. */
		if (r < 0 && errno != EINTR && errno != EAGAIN && errno != EBUSY)
			return -errno;
		if (r > 0)
			send = 0;
	}
	r = ring->cqes[head & ring->cq_mask].res;
	/* And puts another one there after it has seen the head. */
	__atomic_store_n(ring->cq_head, head + 1, __ATOMIC_RELEASE);
	return r;
}
