// SPDX-License-Identifier: GPL-2.0-only
/*
 * quick [-v VARIABLE] COMMAND...: as a builtin of bash (enable -f quick.so quick).
 * With -v the answer goes to a variable, without the newline at its end, and not
 * even a process is made to catch it.
 */
#include "quick.h"
#include <stdlib.h>
#include <string.h>
#include <bash/config.h>
#include <bash/builtins.h>
#include <bash/shell.h>
#include <bash/builtins/common.h>

static int to_variable(const char *name, int argc, char **argv)
{
	char *answer = NULL;
	size_t size, n;
	FILE *out = open_memstream(&answer, &size);
	int ret;

	if (!out)
		return 2;
	ret = quick(out, argc, argv);
	fclose(out);
	for (n = size; n && answer[n - 1] == '\n'; n--)
		answer[n - 1] = '\0';
	bind_variable(name, answer, 0);
	free(answer);
	return ret;
}

static int quick_builtin(WORD_LIST *list)
{
	int argc, ret;
	char **argv = make_builtin_argv(list, &argc);

	if (argc > 2 && !strcmp(argv[1], "-v"))
		ret = to_variable(argv[2], argc - 3, argv + 3);
	else
		ret = quick(stdout, argc - 1, argv + 1);
	fflush(stdout);
	free(argv);
	return ret;
}

static char *quick_doc[] = { "See tests/functional/quick.c.", NULL };

struct builtin quick_struct = {
	"quick", quick_builtin, BUILTIN_ENABLED, quick_doc,
	"quick [-v VARIABLE] COMMAND...", NULL
};
