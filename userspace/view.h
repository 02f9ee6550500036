/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: views. What a view belongs to is in its table, which the kernel has:
 * "<origin> <filter> <job id>". A job that was started for a view NAME is called
 *   view-NAME		the user gave the scratch device
 *   view.KIND.NAME	we made it (scratch.h), and remove it with the view
 * So nothing has to be remembered, and what a command left that was killed, or
 * a reboot, is found again by the view's name.
 */

#ifndef VIEW_H
#define VIEW_H

#include "device.h"

#include <stdbool.h>

struct view {
	struct dm_dev dm;
	unsigned int origin[2];	/* major, minor */
	unsigned int filter[2];
	char job[DM_NAME_SIZE];
};

/* Reads the view that a dm device is. False: it is none. */
bool view_read(const char *name, struct view *v);

/* Its filter, if there is still one there; @d->arg is in @d then. */
bool view_filter(const struct view *v, struct device *d);

/* What a filter's table has as its origin. 0, or an exit code after saying why not. */
int filter_origin(const struct device *d, unsigned int origin[2]);

/* "vg/lv" of the volume that an origin is, or is hidden below. To be freed. */
char *view_origin_lv(const unsigned int origin[2]);

/* Has the filter no views? An exit code after saying which it has. */
int view_check_none(const struct device *d);

#endif
