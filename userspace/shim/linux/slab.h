/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory. */

#ifndef SHIM_LINUX_SLAB_H
#define SHIM_LINUX_SLAB_H

#include <linux/types.h>

#include <stdlib.h>

typedef unsigned int gfp_t;

#define GFP_KERNEL	0u
#define __GFP_NOWARN	0u
#define __GFP_ZERO	1u
#define __GFP_RETRY_MAYFAIL 0u

#define kzalloc(size, gfp)	calloc(1, (size))
#define kfree(p)		free(p)

#endif
