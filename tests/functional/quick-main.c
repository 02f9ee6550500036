// SPDX-License-Identifier: GPL-2.0-only
#include "quick.h"

int main(int argc, char **argv)
{
	return quick(stdout, argc - 1, argv + 1);
}
