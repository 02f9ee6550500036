// SPDX-License-Identifier: GPL-2.0-only
/*
 * Making the n-th allocation of each of the kernel's workers fail, which is where
 * jobs run: once in each worker that gets that far. The contract is in sweeps.h.
 */

#include "sweeps.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Those that were told: a worker that is made meanwhile is not. */
static int armed[256];
static unsigned int nr_armed;

static int worker_file(const char *pid, const char *name, int flags)
{
	char path[300];

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
	return open(path, flags);
}

static bool is_worker(const char *pid)
{
	char comm[32] = "";
	int fd = worker_file(pid, "comm", O_RDONLY);
	bool is;

	is = fd >= 0 && read(fd, comm, sizeof(comm) - 1) > 0 &&
	     !strncmp(comm, "kworker/", 8);
	if (fd >= 0)
		close(fd);
	return is;
}

void workers_arm(unsigned int n)
{
	struct dirent *e;
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);
	DIR *dir = opendir("/proc");

	while (dir && nr_armed < 256 && (e = readdir(dir))) {
		int fd;

		if (e->d_name[0] < '1' || e->d_name[0] > '9' ||
		    !is_worker(e->d_name))
			continue;
		fd = worker_file(e->d_name, "fail-nth", O_RDWR);
		if (fd < 0)
			continue;
		if (pwrite(fd, text, len, 0) == len)
			armed[nr_armed++] = fd;
		else
			close(fd);
	}
	if (dir)
		closedir(dir);
}

bool workers_fired(void)
{
	char text[16] = "";
	unsigned int i;

	for (i = 0; i < nr_armed; i++)
		if (pread(armed[i], text, sizeof(text) - 1, 0) > 0 && !atoi(text))
			return true;
	return false;
}

void workers_end(void)
{
	while (nr_armed) {
		int fd = armed[--nr_armed];
		bool there = pwrite(fd, "0", 1, 0) == 1;

		/* One that has ended has nothing to take back. */
		(void)there;
		close(fd);
	}
}
