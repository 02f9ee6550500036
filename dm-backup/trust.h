/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Has anybody written to an origin while its filter was not there?
 *
 * What is looked at, and what each can and cannot see, is told to users in
 * Documentation/dm-backup.rst, "Trust".
 */

#ifndef BK_TRUST_H
#define BK_TRUST_H

#include "metadata.h"
#include "origin.h"

/**
 * struct bk_evidence - what a stopped or not yet live filter's devices tell
 * @print:	of samples of the origin
 * @written:	sectors written to the filter's device, and to the origin
 * @device:	their numbers
 * @uncounted:	one of them does not count
 * @witness:	of the origin's file system
 * @below:	bk_trust_name() of the origin
 * @err:	the origin could not be read
 */
struct bk_evidence {
	u32 print;
	u64 written[2];
	u64 device[2];
	bool uncounted;
	struct bk_md_witness witness;
	char below[BK_MD_ORIGIN];
	int err;
};

/* What bk_trust_wake() finds, in words. */
#define BK_WHY_WRITTEN	"the device was written while the filter was suspended"

extern u8 bk_trust_session[BK_MD_UUID];

void bk_trust_init(void);
bool bk_trust_name(struct block_device *bdev, char *name);
int bk_trust_witness(struct block_device *bdev, u64 len,
		     struct bk_md_witness *witness);
void bk_trust_look(struct bk_instance *in, bool print, struct bk_evidence *e);
void bk_trust_rest(struct bk_instance *in);
bool bk_trust_wake(struct bk_instance *in);
const char *bk_trust_judge(const struct bk_md_root *root,
			   const struct bk_md_lease *lease, bool leased,
			   const struct bk_evidence *e, bool trusting);

#endif
