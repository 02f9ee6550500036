/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The target "backup-view": a device that shows the point in time of a job.
 *
 *   <start=0> <len> backup-view <origin> <filter MAJ:MIN> <job id>
 *
 * What it promises
 *   Its reads return what the origin held at the job's cut, or fail: what that
 *   takes is reader.h's. It opens the origin, never the filter, which a mounted
 *   file system or LVM may have claimed. It can't be written. If its table is not
 *   read-only it takes discards ("done with this"); the message "discard" works
 *   with any table.
 *
 *   It holds the point in time and, with that, the destination, not the job and
 *   not the filter: those may end, be dismissed or removed before or after it.
 *   If the job has completed it reads on, from the destination alone, which stays
 *   open until it goes. Otherwise its reads fail from the job's end on.
 *
 *   Its reads of the origin are the filter's own I/O (origin.h): a suspend of the
 *   filter waits for them, and while it lasts new ones wait, as whoever uses the
 *   filter does. Nothing tells when another table goes live in the place of the
 *   filter's, or what is written below meanwhile, before the next hook of the
 *   filter's: its resume, or its dtr. Those end the job if need be, and the reads
 *   that wait fail. They fail, too, when the job ends first. What has been saved
 *   is read all the time. The filter waits for no read that waits for it.
 *
 * Locks and contexts
 *   ctr finds job and point in time under bk_cut_mutex and origin->lock, and waits
 *   for the drain of the job's cut under neither. map and end_io take the bucket's
 *   locks (pit.h). What reads from a buffer, and what goes on when a read of the
 *   origin has ended, runs in the view's own workqueue, where nothing waits
 *   but for a place in the origin's queue: a guest's write may wait for it. Discards
 *   run in the module's.
 */

#ifndef BK_VIEW_H
#define BK_VIEW_H

int bk_view_init(void);
void bk_view_exit(void);

#endif
