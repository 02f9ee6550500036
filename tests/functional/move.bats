#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Moving a volume in use to another place: what LVM makes of it afterwards. With udevd.
load lib
load volumes
load mirrors

# v/a is mounted and attached; v/new, as large, on /dev/ram2 (b is not there).
setup() {
	set +T
	declare -ft "$BATS_TEST_NAME"
	quick log clear
	echo "test: $BATS_TEST_NAME" > /dev/kmsg
	two_volumes
	umount /mnt/b
	lvremove -qq -y v/b
	lvcreate -qq -y -Wy -n new -L 12M v /dev/ram2
	dmbackup attach v/a
	# what was kept by tests where LVM could not be told, or the guard was killed, too
	rm -f /run/dmbackup/*.vg
}

table_of() { dmsetup table "$1" | cut -d' ' -f3,4; }
reboot_lvm() {
	umount /mnt/a
	vgchange -qq -an v
	[ -z "$(dmsetup ls | grep -v 'No devices')" ]
	vgchange -qq -ay v
}
# What is on v/a is what was written last, by a file system that is whole.
holds() { # WHAT
	mount /dev/v/a /mnt/a
	[ "$(cat /mnt/a/file)" = "$1" ]
	umount /mnt/a
	e2fsck -fn /dev/v/a
}

@test "a mounted volume moves to another disk, and LVM knows" {
	local number uuid
	number=$(stat -Lc %t:%T /dev/v/a) uuid=$(dmsetup info -c --noheadings -o uuid v-a)
	echo before > /mnt/a/file
	says 0 'v/a has moved to the place of v/new' dmbackup mirror v/a --to v/new --pivot
	[ "$(place v/a)" = "/dev/ram2(0)" ]
	[ "$(place v/new)" = "$S(0)" ]
	# as if it had been attached there
	[ "$(dmsetup table v-a | cut -d' ' -f3-4)" = "backup $(devno /dev/mapper/v-a-bkreal)" ]
	[ "$(table_of v-a-bkreal)" = "linear $(devno /dev/ram2)" ]
	[ "$(stat -Lc %t:%T /dev/v/a)" = "$number" ]
	[ "$(dmsetup info -c --noheadings -o uuid v-a)" = "$uuid" ]
	# the old data is out of the way
	absent dmsetup info v-new
	udevadm settle
	[ "$(readlink -f /dev/disk/by-label/a)" = "$(readlink -f /dev/v/a)" ]
	[ -z "$(dmbackup job list v/a --noheadings)" ]
	none_suspended
	vgck v
	echo after > /mnt/a/file
	sync
	dmbackup detach v/a
	[ "$(table_of v-a)" = "linear $(devno /dev/ram2)" ]
	absent dmsetup info v-a-bkreal
	reboot_lvm
	absent dmsetup info v-new
	holds after
	# and the old disk can be taken out
	lvremove -qq -y v/new
	vgreduce -qq v "$S"
	holds after
}

@test "deactivated without a detach it is the new data, too" {
	echo before > /mnt/a/file
	sync
	id=$(dmbackup mirror v/a --to v/new --wait)
	# not behind LVM's back
	FILTER=v-a refused "LVM would bring the old data back" msg job complete "$id"
	FILTER=v-a refused "'by' is not \"force\"" msg job complete "$id" by
	says 0 'v/a has moved' dmbackup job complete v/a "$id"
	echo after > /mnt/a/file
	reboot_lvm
	holds after
	# what was there is there, for who asks for it
	lvchange -qq -ay -K v/new
	mount /dev/v/new /mnt/b
	[ "$(cat /mnt/b/file)" = before ]
	umount /mnt/b
}

@test "there and back again, under load, twice" {
	for i in 1 2; do
		writers_in /mnt/a /dev/mapper/v-a
		says 0 'v/a has moved' dmbackup mirror v/a --to v/new --pivot --force
		[ "$(place v/a)" = "/dev/ram2(0)" ]
		lvchange -qq -ay -K v/new
		says 0 'v/a has moved' dmbackup mirror v/a --to v/new --pivot --force
		[ "$(place v/a)" = "$S(0)" ]
		lvchange -qq -ay -K v/new
		writers_end
	done
	echo end > /mnt/a/file
	dmbackup detach v/a
	reboot_lvm
	holds end
}

@test "where LVM can't be told it is refused, or it is said what then" {
	echo before > /mnt/a/file
	copies # w/a
	says 5 'LVM would bring the old data back' dmbackup mirror v/a --to w/a --pivot
	lvcreate -qq -y -Wy -n larger -L 13M v /dev/ram2 || lvextend -qq -L 13M v/new
	says 5 'LVM would bring the old data back' dmbackup mirror v/a --to v/new --pivot --allow-larger
	lvreduce -qq -f -L 12M v/new
	[ -z "$(dmbackup job list v/a --noheadings)" ]
	dmbackup backup v/a --to w/b --detach --id slow --speed 64K
	says 5 'has another job: slow' dmbackup mirror v/a --to v/new --pivot
	dmbackup job cancel v/a slow --force
	says 7 '' dmbackup job wait v/a slow
	says 2 'goes with --pivot' dmbackup mirror v/a --to w/a --without-lvm
	says 5 'LVM would bring the old data back' dmbackup mirror v/a --to w/a --pivot --force
	says 0 'is on w/a.*LVM would bring the old data back' dmbackup mirror v/a --to w/a --pivot --without-lvm
	[ "$(dmsetup table v-a | cut -d' ' -f3-4)" = "backup $(devno /dev/w/a)" ]
	# LVM does not bring the old data back as long as the filter is there
	run lvchange --refresh v/a
	[ "$(dmsetup table v-a | cut -d' ' -f3-4)" = "backup $(devno /dev/w/a)" ]
	echo after > /mnt/a/file
	sync
	says 5 'was moved to .* without LVM' dmbackup detach v/a
	dmbackup detach v/a --force
	[ "$(dmsetup table v-a | cut -d' ' -f3-4)" = "linear $(devno /dev/w/a)" ]
	absent dmsetup info v-a-bkreal
	[ "$(cat /mnt/a/file)" = after ]
	# LVM brings it back after a reboot: that is what --without-lvm was for
	umount /mnt/a
	lvchange -qq -an v/a
	lvchange -qq -ay v/a
	holds before
	mount -o ro,noload /dev/w/a /mnt/b
	[ "$(cat /mnt/b/file)" = after ]
}

@test "where LVM could be told, nothing moves without it" {
	raw
	echo before > /mnt/a/file
	dmbackup mirror v/a --to v/new --wait --id m
	exec 8> /run/lock/lvm/V_v
	flock 8
	says 5 'v is locked by an LVM command.*job m follows on' dmbackup job complete v/a m --without-lvm
	exec 8>&-
	[ "$(state m)" = ready ]
	untouched
	dmbackup job cancel v/a m
	says 0 '' dmbackup job wait v/a m
	# to overwrite is no reason for it either
	instead vgcfgrestore <<-'END'
		exit 5
	END
	says 1 'vgcfgrestore failed' env PATH="/tmp/instead:$PATH" dmbackup mirror v/a --to v/new --pivot --force --without-lvm
	untouched
	[ -z "$(dmbackup job list v/a --noheadings)" ]
	says 0 'v/a has moved to the place of v/new' dmbackup mirror v/a --to v/new --pivot --force --without-lvm
	[ "$(place v/a)" = "/dev/ram2(0)" ]
}

@test "a thin pool in the group goes on, unchanged" {
	modprobe dm-thin-pool
	lvcreate -qq -y -Zn --poolmetadataspare n --type thin-pool -n pool -l 2 --poolmetadatasize 2M v /dev/ram2 "$S"
	lvcreate -qq -y -kn -V 1M -n thin -T v/pool
	dd if=/dev/urandom of=/dev/v/thin bs=64K count=8 oflag=direct status=none
	cp /dev/v/thin /tmp/thin
	before=$(dmsetup table v-pool-tpool; dmsetup table v-pool_tdata; dmsetup table v-pool_tmeta)
	echo before > /mnt/a/file
	says 0 'v/a has moved to the place of v/new' dmbackup mirror v/a --to v/new --pivot
	[ "$(place v/a)" = "/dev/ram2(0)" ]
	[ "$(dmsetup table v-pool-tpool; dmsetup table v-pool_tdata; dmsetup table v-pool_tmeta)" = "$before" ]
	# LVM and the pool agree on what there is
	lvcreate -qq -y -kn -V 1M -n thin2 -T v/pool
	lvremove -qq -y v/thin2
	dmbackup detach v/a
	reboot_lvm
	cmp /dev/v/thin /tmp/thin
	holds before
}

@test "another LVM command waits while it moves, and loses nothing" {
	echo before > /mnt/a/file
	id=$(dmbackup mirror v/a --to v/new --wait)
	for i in 1 2 3; do lvcreate -qq -y -Wn -Zn -n "x$i" -l 1 v /dev/ram2; done > /tmp/lvm.out 2>&1 &
	pid=$!
	says 0 'v/a has moved' dmbackup job complete v/a "$id"
	wait $pid || { cat /tmp/lvm.out; false; }
	for i in 1 2 3; do lvs "v/x$i"; done
	[ "$(place v/a)" = "/dev/ram2(0)" ]
	dmbackup detach v/a
	reboot_lvm
	holds before
}

@test "killed at any moment, it has moved, or it has not" {
	local i pid at
	for i in 1 2 3 4 5 6 7 8; do
		echo "$i" > /mnt/a/file
		sync -f /mnt/a
		at=$(place v/a)
		dmbackup mirror v/a --to v/new --wait --id m --force
		dmbackup job complete v/a m > /dev/null 2>&1 &
		pid=$!
		sleep "0.$((i * 17 % 100))"
		kill -9 $pid 2> /dev/null || true
		wait $pid 2> /dev/null || true
		# the guard has the device's lock until it is done
		dmbackup job wait v/a m 2> /dev/null &
		flock "/run/dmbackup/$(devno /dev/v/a).lock" true
		kill $! 2> /dev/null || true
		wait $! || true
		dmbackup job cancel v/a m --force 2> /dev/null || true
		dmbackup job wait v/a m 2> /dev/null || true
		none_suspended
		[ "$(table_of v-a-bkreal | cut -d' ' -f2)" = "$(devno "$(place v/a | cut -d'(' -f1)")" ]
		[ "$(dmsetup table v-a | cut -d' ' -f3-4)" = "backup $(devno /dev/mapper/v-a-bkreal)" ]
		echo "$at -> $(place v/a)"
		[ "$(cat /mnt/a/file)" = "$i" ]
		lvchange -qq -an v/new
		lvchange -qq -ay -K v/new
	done
	dmbackup detach v/a
	reboot_lvm
	holds 8
}

@test "with persistent bitmaps: they go on, also after a reboot" {
	dmbackup detach v/a
	umount /mnt/a
	lvchange -qq -an v/a
	lvchange -qq -ay v/a
	dmbackup attach v/a --metadata auto
	mount /dev/v/a /mnt/a
	copies
	says 0 'a full backup is made' dmbackup backup v/a --to w/a --level auto
	echo before > /mnt/a/file
	sync
	says 0 'v/a has moved' dmbackup mirror v/a --to v/new --pivot
	echo after > /mnt/a/file2
	sync
	says 0 '' dmbackup backup v/a --to w/a --level incremental
	e2fsck -fn /dev/w/a
	echo later > /mnt/a/file
	umount /mnt/a
	lvchange -qq -an v/a
	wait_for 10 module_idle # it has let go of the metadata
	vgchange -qq -an v
	vgchange -qq -ay v
	dmbackup attach v/a --metadata auto
	mount /dev/v/a /mnt/a
	says 0 '' dmbackup backup v/a --to w/a --level incremental
	mount -o ro,noload /dev/w/a /mnt/copy
	[ "$(cat /mnt/copy/file /mnt/copy/file2)" = "later
after" ]
	umount /mnt/copy
	umount /mnt/a
}

# shellcheck disable=SC2034 # of lib.bash
raw() { FILTER=v-a; }
# ends STATUS PID
ends() {
	local status=0
	wait "$2" || status=$?
	[[ $status == "$1" ]] || { echo "status $status, not $1"; cat /tmp/out; return 1; }
}
completing() { [[ $(job completing m) == 1 ]]; }
untouched() { # v/a is where it was, and nothing is left of the attempt
	[ "$(place v/a)" = "$S(0)" ]
	[ "$(table_of v-a-bkreal)" = "linear $(devno "$S")" ]
	[ "$(dmsetup table v-a | cut -d' ' -f3-4)" = "backup $(devno /dev/mapper/v-a-bkreal)" ]
	wait_for 60 nothing_left # the guard goes last
}
nothing_left() { [ -z "$(ls /run/dmbackup/*.vg 2> /dev/null)" ] && flock -n /run/lock/lvm/V_v true; }

@test "somebody else dismisses the job: LVM is told all the same" {
	raw
	echo before > /mnt/a/file
	msg mirror start m target=/dev/v/new sync=full # it dismisses itself
	wait_state m ready
	says 0 'v/a has moved to the place of v/new' dmbackup job complete v/a m
	[ "$(place v/a)" = "/dev/ram2(0)" ]
	lvchange -qq -ay -K v/new
	dmbackup mirror v/a --to v/new --wait --id m --force
	for i in 1 2 3; do dmbackup job wait v/a m > /dev/null 2>&1 & done
	says 0 'v/a has moved to the place of v/new' dmbackup job complete v/a m
	wait
	untouched
	absent dmsetup info v-new
	dmbackup detach v/a
	reboot_lvm
	holds before
}

# The target stops answering, and the mirror is told to complete: $! is who told it.
complete_hung() {
	hang v-new
	dmbackup job complete v/a m > /tmp/out 2>&1 &
	wait_for 60 completing
}

@test "paused, cancelled or interrupted while it completes: nothing has moved, nor does it later" {
	raw
	dmbackup mirror v/a --to v/new --wait --id m
	complete_hung
	kill -INT $!
	ends 7 $!
	grep 'was not moved: interrupted; job m follows on' /tmp/out
	[ "$(state m) $(job completing m)" = "ready 0" ]
	wait_for 60 nothing_left

	dmbackup job complete v/a m > /tmp/out 2>&1 &
	wait_for 60 completing
	dmbackup job pause v/a m
	ends 1 $!
	cat /tmp/out
	grep 'is on standby: it was paused' /tmp/out
	unhang v-new
	says 5 'is paused: resume it first' dmbackup job complete v/a m
	dmbackup job resume v/a m
	wait_state m ready
	echo new > /mnt/a/file
	sync
	wait_for 30 same_as /dev/mapper/v-a-bkreal /dev/mapper/v-new
	untouched

	complete_hung
	dmbackup job cancel v/a m
	unhang v-new
	ends 7 $!
	grep 'was not moved: somebody has cancelled job m' /tmp/out
	untouched
	dmbackup detach v/a
	reboot_lvm
	holds new
}

@test "a target that does not answer: LVM's group is not kept locked, and the guard does not keep it either" {
	raw
	dmbackup mirror v/a --to v/new --wait --id m
	complete_hung
	kill -9 $!
	wait $! || true
	absent flock -n /run/lock/lvm/V_v true
	wait_for 180 nothing_left
	[ "$(state m) $(job completing m)" = "ready 0" ]
	unhang v-new
	untouched
	lvcreate -qq -y -Wn -Zn -n x -l 1 v /dev/ram2
	lvremove -qq -y v/x
	says 0 'v/a has moved' dmbackup job complete v/a m
}

@test "a backup that starts when it has moved goes on" {
	copies
	echo before > /mnt/a/file
	instead vgcfgrestore <<-'END'
		[[ $* == *--test* ]] || dmbackup backup v/a --to w/a --detach --id j --speed 64K > /tmp/j 2>&1
	END
	says 0 'v/a has moved' env PATH="/tmp/instead:$PATH" dmbackup mirror v/a --to v/new --pivot
	[ "$(table_of v-a-bkreal)" = "linear $(devno /dev/ram2)" ]
	[ "$(dmsetup table v-a | cut -d' ' -f3-4)" = "backup $(devno /dev/mapper/v-a-bkreal)" ]
	absent dmsetup info v-new
	echo after > /mnt/a/file
	dmbackup job set-speed v/a j --speed 0
	says 0 '' dmbackup job wait v/a j
	mount -o ro,noload /dev/w/a /mnt/copy
	[ "$(cat /mnt/copy/file)" = before ]
	umount /mnt/copy
}

@test "renamed, and moved by pvmove, while it is copied: it is where it is then" {
	modprobe dm-mirror
	vgreduce -qq w /dev/ram3
	vgextend -qq v /dev/ram3
	echo before > /mnt/a/file
	dmbackup mirror v/a --to v/new --wait --id m
	lvrename -qq v new other
	# between the first look and the lock
	instead lvmconfig <<-'END'
		pvmove -qq -i 1 -n other /dev/ram2 /dev/ram3 > /tmp/pvmove 2>&1
	END
	says 0 'v/a has moved to the place of v/other' env PATH="/tmp/instead:$PATH" dmbackup job complete v/a m
	[ "$(place v/a)" = "/dev/ram3(0)" ]
	[ "$(table_of v-a-bkreal)" = "linear $(devno /dev/ram3)" ]
	absent dmsetup info v-other
	dmbackup detach v/a
	reboot_lvm
	holds before
}

@test "interrupted when it has moved: that is said, and nothing is left" {
	echo before > /mnt/a/file
	instead vgcfgrestore <<-'END'
		[[ $* == *--test* ]] || kill -INT $PPID
	END
	says 0 'v/a has moved to the place of v/new' env PATH="/tmp/instead:$PATH" dmbackup mirror v/a --to v/new --pivot
	nothing_left
	[ "$(place v/a)" = "/dev/ram2(0)" ]
}

@test "killed while LVM is told: the guard waits for that, and tells it again" {
	echo before > /mnt/a/file
	rm -f /tmp/order
	instead vgcfgrestore <<-'END'
		[[ $* == *--test* ]] || {
			echo begin >> /tmp/order
			[[ $(wc -l < /tmp/order) != 1 ]] || { kill -9 $PPID; sleep 2; }
			vgcfgrestore "$@"
			rc=$?
			echo end >> /tmp/order
			exit $rc
		}
	END
	run env PATH="/tmp/instead:$PATH" dmbackup mirror v/a --to v/new --pivot
	[ "$status" = 137 ]
	wait_for 60 nothing_left
	cat /tmp/order
	[ "$(xargs < /tmp/order)" = "begin end begin end" ]
	flock "/run/dmbackup/$(devno /dev/v/a).lock" true
	[ "$(place v/a)" = "/dev/ram2(0)" ]
	[ "$(table_of v-a-bkreal)" = "linear $(devno /dev/ram2)" ]
	dmbackup detach v/a
	reboot_lvm
	holds before
}

@test "killed with its guard when LVM has been told: detach finishes it" {
	instead vgcfgrestore <<-'END'
		[[ $* == *--test* ]] || { vgcfgrestore "$@"; pkill -9 -x dmbackup; }
	END
	dmbackup mirror v/a --to v/new --wait --id m
	run env PATH="/tmp/instead:$PATH" dmbackup job complete v/a m
	[ "$status" = 137 ]
	[ "$(dmsetup table v-a | cut -d' ' -f3-4)" = "backup $(devno /dev/mapper/v-new)" ]
	[ "$(place v/a)" = "/dev/ram2(0)" ]
	echo after > /mnt/a/file
	# as far as the guard would have come
	dmsetup load v-a-bkreal --table "$(dmsetup table v-new)"
	dmsetup resume v-a-bkreal
	wait_for 30 job_is_over
	dmbackup detach v/a
	[ "$(table_of v-a)" = "linear $(devno /dev/ram2)" ]
	absent dmsetup info v-new
	absent dmsetup info v-a-bkreal
	reboot_lvm
	holds after
}
job_is_over() { [[ $(FILTER=v-a state m) == concluded ]]; }
