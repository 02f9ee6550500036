#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Moving a volume in use to another place: what LVM makes of it afterwards. With udevd.
load lib
load volumes

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
}

place() { lvs --noheadings -o devices "$1" | xargs; }
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

# shellcheck disable=SC2034 # of lib.bash
# fio on a file of v/a, verifying what it wrote
fio_on_a() {
	local before
	F=/dev/mapper/v-a
	before=$(writes_ended)
	fio --name=w --filename=/mnt/a/load --size=4M --rw=randwrite --bs=4k --direct=1 --ioengine=libaio --iodepth=8 \
		--verify=crc32c --verify_backlog=64 --verify_fatal=1 --time_based --runtime=600 --output=/tmp/fio.out &
	writers_pid=$!
	wait_for 30 more_writes "$before"
	sleep 0.2
}

@test "there and back again, under load, twice" {
	for i in 1 2; do
		fio_on_a
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

@test "where LVM can't be told it is refused, and by force it is said what then" {
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
	says 0 'is on w/a' dmbackup mirror v/a --to w/a --pivot --force
	[ "$(dmsetup table v-a | cut -d' ' -f3-4)" = "backup $(devno /dev/w/a)" ]
	# LVM does not bring the old data back as long as the filter is there
	run lvchange --refresh v/a
	[ "$(dmsetup table v-a | cut -d' ' -f3-4)" = "backup $(devno /dev/w/a)" ]
	echo after > /mnt/a/file
	sync
	says 5 'was moved to .* by force' dmbackup detach v/a
	dmbackup detach v/a --force
	[ "$(dmsetup table v-a | cut -d' ' -f3-4)" = "linear $(devno /dev/w/a)" ]
	absent dmsetup info v-a-bkreal
	[ "$(cat /mnt/a/file)" = after ]
	# LVM brings it back after a reboot: that is what --force was for
	umount /mnt/a
	lvchange -qq -an v/a
	lvchange -qq -ay v/a
	holds before
	mount -o ro,noload /dev/w/a /mnt/b
	[ "$(cat /mnt/b/file)" = after ]
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
