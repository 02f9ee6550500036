/* SPDX-License-Identifier: GPL-2.0-only */
/* There is no other task to let run. */

#ifndef SHIM_LINUX_SCHED_H
#define SHIM_LINUX_SCHED_H

#define cond_resched()	((void)0)

#endif
