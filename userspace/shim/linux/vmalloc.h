/* SPDX-License-Identifier: GPL-2.0-only */
/* Large memory. */

#ifndef SHIM_LINUX_VMALLOC_H
#define SHIM_LINUX_VMALLOC_H

#include <linux/slab.h>

/* Only ever asked for zeroed memory. */
#define __vmalloc(size, gfp)	calloc(1, (size))
#define vfree(p)		free(p)

#endif
