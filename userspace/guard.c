// SPDX-License-Identifier: GPL-2.0-only
/*
 * dmbackup: the guard. The contract is in guard.h.
 */

#include "guard.h"
#include "dm.h"
#include "dmbackup.h"

#include <errno.h>
#include <libdevmapper.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The child: waits for a word from its parent, or for its death. */
static void watch(int fd, const char *name, void (*finish)(void *ctx),
		  void *ctx)
{
	struct dm_dev d;
	char word;
	ssize_t n;

	setsid();
	do {
		n = read(fd, &word, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(0);
	if (!dm_by_name(name, &d) && d.suspended)
		dm_resume(name);
	finish(ctx);
	_exit(0);
}

/* Signals wait until guard_end(): the parent is not to stop half-way. */
int guard_begin(struct guard *g, const char *name,
		void (*finish)(void *ctx), void *ctx)
{
	sigset_t all;
	int fds[2];

	/* Nothing may have to be paged in from a device that is suspended. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE)) {
		say("memory can't be locked: %s", strerror(errno));
		return EX_FAILED;
	}
	dm_hold_control_dev(1);
	if (pipe2(fds, 0)) {
		say("pipe: %s", strerror(errno));
		return EX_FAILED;
	}
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, NULL);
	g->pid = fork();
	if (g->pid < 0) {
		say("fork: %s", strerror(errno));
		return EX_FAILED;
	}
	if (!g->pid) {
		close(fds[1]);
		mlockall(MCL_CURRENT | MCL_FUTURE);	/* not inherited */
		watch(fds[0], name, finish, ctx);
	}
	close(fds[0]);
	g->fd = fds[1];
	return EX_OK;
}

bool guard_interrupted(void)
{
	static const struct timespec now;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	return sigtimedwait(&set, NULL, &now) > 0;
}

void guard_end(struct guard *g)
{
	sigset_t all;

	if (write(g->fd, "k", 1) != 1)
		say("the guard has gone");
	close(g->fd);
	waitpid(g->pid, NULL, 0);
	dm_hold_control_dev(0);
	munlockall();
	sigfillset(&all);
	sigprocmask(SIG_UNBLOCK, &all, NULL);
}
