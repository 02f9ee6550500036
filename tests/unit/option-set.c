// SPDX-License-Identifier: GPL-2.0-only
/*
 * The options that tests of options fill, one of each type and more.
 */

#include "option-set.h"

#include <string.h>

/* One a prefix of another, as with the keys "speed" and "speed_limit". */
const char *const syncs[SYNCS + 1] = { "full", "fullest", "none", "top", NULL };

#define AT(field)	offsetof(struct values, field)

const struct bk_option options[OPTIONS] = {
	[SPEED] = { "speed", BK_OPT_NUMBER, AT(speed), .max = 1ULL << 63 },
	[SPEED_LIMIT] = { "speed_limit", BK_OPT_NUMBER, AT(speed_limit),
			  .min = 10, .max = 20 },
	[ANY] = { "any", BK_OPT_NUMBER, AT(any), .max = ~0ULL },
	[CLUSTER] = { "cluster", BK_OPT_POWER2, AT(cluster), .min = 8,
		      .max = 131072 },
	[ANY_POWER] = { "any_power", BK_OPT_POWER2, AT(any_power),
			.max = ~0ULL },
	[UNMAP] = { .name = "unmap", .type = BK_OPT_BOOL, .offset = AT(unmap) },
	[SYNC] = { "sync", BK_OPT_WORD, AT(sync), .words = syncs,
		   .required = true },
	[TARGET] = { "target", BK_OPT_STRING, AT(target), .required = true },
	[NOTE] = { .name = "note", .type = BK_OPT_STRING, .offset = AT(note) },
};

const struct values before = {
	0x5151515151515151, 0x5252525252525252, 0x5353535353535353,
	0x5454545454545454, 0x5555555555555555, 0x5656565656565656,
	0x5757575757575757, 0x5858585858585858, "old target", "old note",
	0x5959595959595959,
};

int parse(bool pairs, void *into, unsigned int argc, char **argv,
		 u64 *given, char *error, size_t size)
{
	return (pairs ? bk_options_parse_pairs : bk_options_parse)(options,
			OPTIONS, into, argc, argv, given, error, size);
}

bool names(const char *text, const char *word)
{
	static const char part[] =
		"abcdefghijklmnopqrstuvwxyz_0123456789";
	size_t len = strlen(word);
	const char *p;

	for (p = text; (p = strstr(p, word)); p++)
		if ((p == text || !strchr(part, p[-1])) &&
		    (!p[len] || !strchr(part, p[len])))
			return true;
	return false;
}
