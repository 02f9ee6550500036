/* SPDX-License-Identifier: GPL-2.0-only */
/* Reference counts. */

#ifndef SHIM_LINUX_KREF_H
#define SHIM_LINUX_KREF_H

#include <linux/types.h>

struct kref {
	int n;
};

static inline void kref_init(struct kref *ref)
{
	ref->n = 1;
}

static inline void kref_get(struct kref *ref)
{
	ref->n++;
}

static inline int kref_put(struct kref *ref, void (*release)(struct kref *ref))
{
	if (--ref->n)
		return 0;
	release(ref);
	return 1;
}

#define container_of(ptr, type, member) \
	((type *)((char *)(ptr) - offsetof(type, member)))

#endif
