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

/*
 * @err: its errors are read, too. @in: its standard input, or -1: LVM's programs close
 * all others that they have not opened.
 */
static int run(char *const argv[], bool err, int in,
	       bool (*fn)(char *line, void *ctx), void *ctx)
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
	if (pid < 0)
		say("%s can't be run: %s", argv[0], strerror(errno));
	if (!pid) {
		if (in >= 0)
			dup2(in, 0);
		dup2(fds[1], 1);
		if (err)
			dup2(fds[1], 2);
		/* LVM's tools complain of descriptors they did not open. */
		setenv("LVM_SUPPRESS_FD_WARNINGS", "1", 1);
		execvp(argv[0], argv);
		say("%s can't be run: %s", argv[0], strerror(errno));
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
	return EX_FAILED;
}

/* LVM has said why. What it was about is its last argument, if that is no option's. */
static void failed(char *const argv[])
{
	unsigned int n = 1;

	while (argv[n + 1])
		n++;
	if (!strcmp(argv[n - 1], "-o") || !strcmp(argv[n - 1], "-S"))
		say("%s failed", argv[0]);
	else
		say("%s: %s failed", argv[n], argv[0]);
}

int lvm_run(char *const argv[], bool (*fn)(char *line, void *ctx), void *ctx)
{
	int r = run(argv, false, -1, fn, ctx);

	if (r)
		failed(argv);
	return r;
}

static bool keep_line(char *line, void *ctx)
{
	char **all = ctx;
	char *next = xasprintf("%s%s\n", *all ? *all : "", line);

	free(*all);
	*all = next;
	return true;
}

int lvm_run_held(char *const argv[], int held)
{
	char *all = NULL;
	int r = run(argv, true, held, keep_line, &all);

	if (r) {
		fputs(all ? all : "", stderr);
		failed(argv);
	}
	free(all);
	return r;
}

int lvm_run_quiet(char *const argv[])
{
	return lvm_run_held(argv, -1);
}

char *lvm_vg(const char *lv)
{
	return xasprintf("%.*s", (int)strcspn(lv, "/"), lv);
}

/* lv_name lv_active */
static bool read_state(char *line, void *ctx)
{
	struct lvm_state *state = ctx;
	char name[256], active[32];
	int n = sscanf(line, "%255s %31s", name, active);

	state->there = state->there || n >= 1;
	state->active = state->active || (n == 2 && !strncmp(active, "active", 6));
	return true;
}

int lvm_look(const char *lv, struct lvm_state *state)
{
	char *vg = lvm_vg(lv);
	char *select = xasprintf("lv_name=\"%s\"", lv + strlen(vg) + 1);
	char *argv[] = {
		"lvs", "--noheadings", "-o", "lv_name,lv_active", "-S", select,
		vg, NULL
	};
	int r;

	*state = (struct lvm_state){ 0 };
	r = lvm_run(argv, read_state, state);
	free(select);
	free(vg);
	return r;
}

bool lvm_lacks_vg(const char *vg)
{
	char *select = xasprintf("vg_name=\"%s\"", vg), *found = NULL;
	char *argv[] = {
		"vgs", "--noheadings", "-o", "vg_name", "-S", select, NULL
	};
	bool lacks = !run(argv, false, -1, keep_line, &found) && !found;

	free(found);
	free(select);
	return lacks;
}

int lvm_create(const char *lv, const char *size)
{
	char *vg = lvm_vg(lv);
	char *argv[] = {
		"lvcreate", "-qq", "-y", "-Wy", "-Zy", "-L", (char *)size, "-n",
		(char *)lv + strlen(vg) + 1, vg, NULL
	};
	int r = lvm_run(argv, NULL, NULL);

	free(vg);
	return r;
}

int lvm_activate(const char *lv)
{
	char *argv[] = { "lvchange", "-ay", (char *)lv, NULL };

	return lvm_run(argv, NULL, NULL);
}

int lvm_remove(const char *lv)
{
	char *argv[] = { "lvremove", "-qq", "-y", (char *)lv, NULL };

	return lvm_run(argv, NULL, NULL);
}
