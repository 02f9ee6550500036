/* SPDX-License-Identifier: GPL-2.0-only */
/* What must hold when it is compiled. */

#ifndef SHIM_LINUX_BUILD_BUG_H
#define SHIM_LINUX_BUILD_BUG_H

#define BUILD_BUG_ON(x)	_Static_assert(!(x), #x)

#endif
