/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints: what a job does, what guests cause.
 */

#undef TRACE_SYSTEM
#define TRACE_SYSTEM dm_backup

#if !defined(BK_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define BK_TRACE_H

#include <linux/tracepoint.h>

#include "compat.h"

TRACE_EVENT(bk_job_state,
	TP_PROTO(const char *filter, const char *job, const char *from,
		 const char *to),
	TP_ARGS(filter, job, from, to),
	TP_STRUCT__entry(
		__string(filter, filter)
		__string(job, job)
		__string(from, from)
		__string(to, to)
	),
	TP_fast_assign(
		bk_assign_str(filter, filter);
		bk_assign_str(job, job);
		bk_assign_str(from, from);
		bk_assign_str(to, to);
	),
	TP_printk("%s job %s: %s -> %s", __get_str(filter), __get_str(job),
		  __get_str(from), __get_str(to))
);

/* What becomes of an action of a transaction. */
TRACE_EVENT(bk_action,
	TP_PROTO(const char *token, const char *filter, unsigned int action,
		 const char *phase),
	TP_ARGS(token, filter, action, phase),
	TP_STRUCT__entry(
		__string(token, token)
		__string(filter, filter)
		__field(unsigned int, action)
		__string(phase, phase)
	),
	TP_fast_assign(
		bk_assign_str(token, token);
		bk_assign_str(filter, filter);
		__entry->action = action;
		bk_assign_str(phase, phase);
	),
	TP_printk("transaction '%s' action %u on %s: %s", __get_str(token),
		  __entry->action, __get_str(filter), __get_str(phase))
);

DECLARE_EVENT_CLASS(bk_clusters,
	TP_PROTO(const char *job, sector_t sector, unsigned int sectors),
	TP_ARGS(job, sector, sectors),
	TP_STRUCT__entry(
		__string(job, job)
		__field(sector_t, sector)
		__field(unsigned int, sectors)
	),
	TP_fast_assign(
		bk_assign_str(job, job);
		__entry->sector = sector;
		__entry->sectors = sectors;
	),
	TP_printk("job %s: %llu + %u", __get_str(job),
		  (unsigned long long)__entry->sector, __entry->sectors)
);

/* A guest's write makes clusters be copied first. */
DEFINE_EVENT(bk_clusters, bk_guest_copy,
	TP_PROTO(const char *job, sector_t sector, unsigned int sectors),
	TP_ARGS(job, sector, sectors)
);

/* Clusters are on the fleece device, and to be moved. */
DEFINE_EVENT(bk_clusters, bk_fleeced,
	TP_PROTO(const char *job, sector_t sector, unsigned int sectors),
	TP_ARGS(job, sector, sectors)
);

/* Clusters are on the destination. */
TRACE_EVENT(bk_copy_done,
	TP_PROTO(const char *job, sector_t sector, unsigned int sectors,
		 bool guest),
	TP_ARGS(job, sector, sectors, guest),
	TP_STRUCT__entry(
		__string(job, job)
		__field(sector_t, sector)
		__field(unsigned int, sectors)
		__field(bool, guest)
	),
	TP_fast_assign(
		bk_assign_str(job, job);
		__entry->sector = sector;
		__entry->sectors = sectors;
		__entry->guest = guest;
	),
	TP_printk("job %s: %llu + %u%s", __get_str(job),
		  (unsigned long long)__entry->sector, __entry->sectors,
		  __entry->guest ? " guest" : "")
);

/* A point in time is given up so that guests go on. */
TRACE_EVENT(bk_break,
	TP_PROTO(const char *job, int err),
	TP_ARGS(job, err),
	TP_STRUCT__entry(
		__string(job, job)
		__field(int, err)
	),
	TP_fast_assign(
		bk_assign_str(job, job);
		__entry->err = err;
	),
	TP_printk("job %s: %d", __get_str(job), __entry->err)
);

/* Regions were made hot, or cold, on the metadata device. */
TRACE_EVENT(bk_regions,
	TP_PROTO(const char *device, bool hot, unsigned int blocks, int err),
	TP_ARGS(device, hot, blocks, err),
	TP_STRUCT__entry(
		__string(device, device)
		__field(bool, hot)
		__field(unsigned int, blocks)
		__field(int, err)
	),
	TP_fast_assign(
		bk_assign_str(device, device);
		__entry->hot = hot;
		__entry->blocks = blocks;
		__entry->err = err;
	),
	TP_printk("%s: %s, %u blocks of the map: %d", __get_str(device),
		  __entry->hot ? "hot" : "cold", __entry->blocks, __entry->err)
);

/* A request to the metadata device has been done. */
TRACE_EVENT(bk_store,
	TP_PROTO(const char *device, unsigned int verb, unsigned int slot,
		 int err),
	TP_ARGS(device, verb, slot, err),
	TP_STRUCT__entry(
		__string(device, device)
		__field(unsigned int, verb)
		__field(unsigned int, slot)
		__field(int, err)
	),
	TP_fast_assign(
		bk_assign_str(device, device);
		__entry->verb = verb;
		__entry->slot = slot;
		__entry->err = err;
	),
	TP_printk("%s: request %u of slot %u: %d", __get_str(device),
		  __entry->verb, __entry->slot, __entry->err)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
