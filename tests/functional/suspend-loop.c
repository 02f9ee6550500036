// SPDX-License-Identifier: GPL-2.0-only
/*
 * suspend-loop NAME COUNT: suspends and resumes a dm device COUNT times, every
 * other time with --noflush. As dmsetup does it, but for a process each.
 */

#include <libdevmapper.h>
#include <stdio.h>
#include <stdlib.h>

static int task(int type, const char *name, int noflush)
{
	struct dm_task *dmt = dm_task_create(type);
	int ok = dmt && dm_task_set_name(dmt, name) &&
		 dm_task_skip_lockfs(dmt) &&
		 (!noflush || dm_task_no_flush(dmt)) && dm_task_run(dmt);

	if (dmt)
		dm_task_destroy(dmt);
	return ok;
}

int main(int argc, char **argv)
{
	int i, count = argc == 3 ? atoi(argv[2]) : 0;

	if (count < 1) {
		fprintf(stderr, "suspend-loop NAME COUNT\n");
		return 2;
	}
	for (i = 0; i < count; i++)
		if (!task(DM_DEVICE_SUSPEND, argv[1], i & 1) ||
		    !task(DM_DEVICE_RESUME, argv[1], 0))
			return 1;
	return 0;
}
