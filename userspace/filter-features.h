/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dmbackup: what a filter is made with: the module, and the words of its table that
 * options of attach and open ask for.
 */

#ifndef FILTER_FEATURES_H
#define FILTER_FEATURES_H

#include "device.h"

struct options;

/* What a table says of a filter: names and values. @words are to be freed. */
struct features {
	char *words;
	unsigned int n;
};

/* The module, loaded if it is not. 0, or an exit code after saying why. */
int features_load_module(void);

/* What the options ask for; the same. */
int features_read(const struct options *o, struct features *f);

/*
 * The metadata device of a filter over @origin. The last thing before the filter is
 * made: this may make or format a device. The same.
 */
int features_metadata(const struct options *o, const struct device *d,
		      const char *origin, struct features *f);

/* The parameters of a filter's table, over the device @ma:@mi. To be freed. */
char *features_params(unsigned int ma, unsigned int mi,
		      const struct features *f);

#endif
