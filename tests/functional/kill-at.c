// SPDX-License-Identifier: GPL-2.0-only
/*
 * kill-at count COMMAND...             runs it; prints how many calls it made
 * kill-at N before|after COMMAND...    kills it at its Nth call
 * kill-at N US COMMAND...              kills it US microseconds after that began
 *
 * Calls are those system calls that do something to devices or other processes:
 * ioctl, clone, fork, write and the like. Its children are let be. The status is 0
 * if it was killed, 3 if it ended before.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSCALL_STOP (SIGTRAP | 0x80)

static bool is_counted(unsigned long nr)
{
	switch (nr) {
	case SYS_ioctl:
	case SYS_clone:
	case SYS_clone3:
	case SYS_vfork:
	case SYS_wait4:
	case SYS_write:
	case SYS_flock:
	case SYS_mlockall:
	case SYS_munlockall:
		return true;
	default:
		return false;
	}
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static pid_t start(char **argv)
{
	pid_t pid = fork();
	int status;

	if (pid < 0)
		die("fork");
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execvp(argv[0], argv);
		die(argv[0]);
	}
	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status) ||
	    ptrace(PTRACE_SETOPTIONS, pid, 0,
		   PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL))
		die("ptrace");
	return pid;
}

static int end(pid_t pid)
{
	int status;

	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) == pid && !WIFSIGNALED(status) &&
	       !WIFEXITED(status))
		;
	return 0;
}

/* To the next stop. False: it has ended. */
static bool go_on(pid_t pid, int sig, int *stop)
{
	int status;

	if (ptrace(PTRACE_SYSCALL, pid, 0, sig) && errno != ESRCH)
		die("PTRACE_SYSCALL");
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	*stop = WIFSTOPPED(status) ? WSTOPSIG(status) : 0;
	return WIFSTOPPED(status);
}

int main(int argc, char **argv)
{
	bool counting = argc > 2 && !strcmp(argv[1], "count");
	unsigned long n = 0, at = argc > 3 && !counting ? strtoul(argv[1], 0, 10) : 0;
	const char *when = counting ? "" : argc > 3 ? argv[2] : "";
	struct __ptrace_syscall_info info;
	bool reached = false;
	int stop, sig = 0;
	pid_t pid;

	if (!counting && !at) {
		fprintf(stderr, "usage: kill-at count|N [before|after|US] COMMAND...\n");
		return 2;
	}
	pid = start(argv + (counting ? 2 : 3));
	while (go_on(pid, sig, &stop)) {
		sig = stop == SYSCALL_STOP || stop == SIGTRAP ? 0 : stop;
		if (stop != SYSCALL_STOP ||
		    ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) <= 0)
			continue;
		if (reached)
			return end(pid);
		if (info.op != PTRACE_SYSCALL_INFO_ENTRY ||
		    !is_counted(info.entry.nr) || ++n != at)
			continue;
		if (!strcmp(when, "before"))
			return end(pid);
		reached = true;
		if (strcmp(when, "after")) {
			ptrace(PTRACE_CONT, pid, 0, 0);
			usleep(atoi(when));
			return end(pid);
		}
	}
	if (counting)
		printf("%lu\n", n);
	return counting ? 0 : 3;
}
