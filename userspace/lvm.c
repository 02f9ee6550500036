// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: asking LVM. The contract is in lvm.h.
 */

#include "lvm.h"
#include "dmbackup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int lvm_run(char *const argv[], bool (*fn)(char *line, void *ctx), void *ctx)
{
	int fds[2], status;
	char line[4096];
	bool ok = true;
	FILE *f;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC)) {
		say("pipe: %s", strerror(errno));
		return EX_FAILED;
	}
	pid = fork();
	if (!pid) {
		dup2(fds[1], 1);
		/* LVM's tools complain of descriptors they did not open. */
		setenv("LVM_SUPPRESS_FD_WARNINGS", "1", 1);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(fds[1]);
	f = fdopen(fds[0], "r");
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		ok = ok && (!fn || fn(line, ctx));
	}
	if (f)
		fclose(f);
	if (pid > 0 && waitpid(pid, &status, 0) == pid && !status && ok)
		return EX_OK;
	say("%s failed", argv[0]);
	return EX_FAILED;
}

char *lvm_vg(const char *lv)
{
	return xasprintf("%.*s", (int)strcspn(lv, "/"), lv);
}
