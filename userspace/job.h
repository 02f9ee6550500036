/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: the job that a command line means.
 */

#ifndef JOB_H
#define JOB_H

#include "device.h"

/*
 * DEVICE [ID]: the id may be left out if there is just one job. @id: to be freed.
 * 0, or an exit code after saying why not.
 */
int job_find(int argc, char **argv, struct device *d, char **id);

#endif
