#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# dmbackup view, on logical volumes, with udevd as on a real host.
load lib
load volumes

# LVs v/data of 8 MiB, a file system, mounted, with a filter, and v/copy; with a
# thin pool if asked for.
volumes() { # [thin]
	lvm_conf
	mkdir -p /mnt/data /mnt/view
	dd if=/dev/zero of=/dev/ram2 bs=1M count=1 oflag=direct status=none
	vgcreate -qq -s 1M -y v $S $T /dev/ram2
	lvcreate -qq -y -Wn -n data -L 8M v $S
	lvcreate -qq -y -Wn -n copy -L 8M v $T
	[[ -z ${1:-} ]] || lvcreate -qq -y -Zn --type thin-pool -n pool -L 8M --poolmetadatasize 2M v /dev/ram2
	mkfs.ext4 -q -L data /dev/v/data
	mount /dev/v/data /mnt/data
	echo before > /mnt/data/marker
	dmbackup attach v/data
}
teardown() {
	umount /mnt/view /mnt/view2 2> /dev/null || true
	remove_all || return 1
	! splats
}
# A command of LVM's that does what it is told and then sends who called it a signal.
afterwards() { # SIGNAL PROGRAM
	mkdir -p /tmp/bin
	printf '#!/bin/sh\n%s "$@"\nrc=$?\nkill -%s $PPID\nexit $rc\n' "$(type -P "$2")" "$1" > "/tmp/bin/$2"
	chmod +x "/tmp/bin/$2"
}
is_broken() { [[ $(dmbackup view list --noheadings) == "$1"*" broken "* ]]; }
nothing_left() {
	[ -z "$(dmbackup view list --noheadings)" ]
	[ -z "$(dmbackup job list v/data --noheadings)" ]
	[ -z "$(lvs --noheadings -o lv_name v | grep view)" ]
	[ ! -e /sys/block/zram0 ]
}
# Whoever looks a device up by what is on it finds the one that is in use.
origin_is_found() {
	udevadm trigger --settle --subsystem-match=block
	links_lead_to_origin
}
links_lead_to_origin() {
	[ "$(readlink -f /dev/disk/by-label/data)" = "$(readlink -f /dev/v/data)" ]
	[ "$(readlink -f "/dev/disk/by-uuid/$(blkid -s UUID -o value /dev/v/data)")" = "$(readlink -f /dev/v/data)" ]
}

@test "a view of a mounted LV, its scratch a thin volume, mounted" {
	volumes thin
	ln -sfn /mnt/view /tmp/view
	[ "$(dmbackup view create v/data now --mount /tmp/view)" = /dev/mapper/now ]
	echo after > /mnt/data/marker
	sync /mnt/data/marker
	[ "$(cat /mnt/view/marker)" = before ]
	[ "$(lvs --noheadings -o pool_lv v/data-dmbackup-view-now | xargs)" = pool ]
	origin_is_found
	[[ $(dmbackup view list v/data --noheadings) == now*v/data*view.lv.now*live*/mnt/view* ]]
	lvs v 2>&1 | tee /tmp/lvs
	fails grep -i duplicate /tmp/lvs
	tar -C /mnt/view -cf - . | tar -t | grep marker
	says 5 'has the view now' dmbackup detach v/data
	# what covers it is not what goes
	mount -t tmpfs cover /mnt/view
	says 5 'something else is mounted over it' dmbackup view remove now
	umount /mnt/view
	dmbackup view remove now
	nothing_left
	fails mountpoint -q /mnt/view
	dmbackup detach v/data
	[ "$(cat /mnt/data/marker)" = after ]
}

# What udev knows of it now: it is nobody's to look at, to mount or to make a unit of,
# and found by its own name alone.
is_hidden() { # DEV
	local p want
	p=$'\n'$(udevadm info -q property -n "$1")$'\n'
	echo "$p"
	for want in UDISKS_IGNORE=1 SYSTEMD_READY=0 DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG=1 \
		DM_UDEV_DISABLE_DISK_RULES_FLAG=1 DM_UDEV_DISABLE_OTHER_RULES_FLAG=1; do
		[[ $p == *$'\n'"$want"$'\n'* ]] || { echo "no $want"; return 1; }
	done
	[[ $p != *$'\n'ID_FS_* ]] || return 1
	[ "$(udevadm info -q symlink -n "$1")" = "${1#/dev/}" ]
}
# told DEVNAME: all events of it that others were told, one a line
told() { awk -v RS= -v dev="DEVNAME=$1" '{ gsub("\n", " ") } index($0 " ", dev " ")' /tmp/events; }
monitor_runs() { [[ $(< /tmp/events) == *UDEV* ]]; }
gone_for_others() { [[ $(told "$1") == *ACTION=remove* ]]; }

@test "udev: no link, unit or mount is made of a view, at any moment" {
	local monitor dev
	volumes thin
	: > /tmp/events
	stdbuf -oL udevadm monitor --udev --property > /tmp/events 3>&- &
	monitor=$!
	wait_for 20 monitor_runs
	says 0 '^/dev/mapper/now$' dmbackup view create v/data now # and LVM does not complain of the filter
	dev=$(readlink -f /dev/mapper/now)
	[ "$(e2label $dev)" = data ] # it looks like the device itself
	is_hidden /dev/mapper/now
	origin_is_found
	is_hidden /dev/mapper/now
	udevadm trigger --settle --action=add --name-match=$dev
	is_hidden /dev/mapper/now
	dmsetup suspend now
	dmsetup resume now
	udevadm settle
	is_hidden /dev/mapper/now
	# what udevd does when somebody has had it open for writing
	udevadm trigger --settle --action=change --name-match=$dev
	is_hidden /dev/mapper/now
	origin_is_found
	dmbackup view remove now
	wait_for 20 gone_for_others $dev
	kill $monitor
	told $dev
	[ "$(told $dev | grep -c ACTION=change)" -ge 4 ]
	[ -z "$(told $dev | grep -E 'ACTION=(add|change)' | grep -v UDISKS_IGNORE=1)" ]
	[ -z "$(told $dev | grep -E 'ACTION=(add|change)' | grep -v SYSTEMD_READY=0)" ]
	[ -z "$(told $dev | grep -E '/dev/disk/|ID_FS_')" ]
	nothing_left
}

@test "no pool and no room, or a limit: its scratch is in memory" {
	modprobe zram num_devices=0 || skip "no zram"
	volumes
	dmbackup view create v/data now --size 8M
	dd if="/dev/mapper/now" of=/tmp/snap-before bs=1M iflag=direct status=none
	[[ $(dmbackup view list --noheadings) == *view.zram0.now* ]]
	dd if=/dev/urandom of=/mnt/data/new bs=64k count=30 conv=fsync status=none
	same before /dev/mapper/now
	e2fsck -fn /dev/mapper/now
	origin_is_found
	dmbackup view remove now
	nothing_left
}

@test "a plain volume, if there is room" {
	volumes
	dmbackup view create v/data now
	snap now /dev/mapper/now
	[ "$(lvs --noheadings -o segtype v/data-dmbackup-view-now | xargs)" = linear ]
	# two at a time
	dmbackup view create v/data now2 --size 8M
	snap now2 /dev/mapper/now2
	echo after > /mnt/data/marker
	sync /mnt/data/marker
	same now /dev/mapper/now
	same now2 /dev/mapper/now2
	dmbackup view remove now
	dmbackup view remove now2
	nothing_left
}

@test "a scratch device that is given, a bitmap, discards" {
	volumes
	says 0 '' dmbackup bitmap add v/data b
	echo more > /mnt/data/more
	sync /mnt/data/more
	dmbackup view create v/data part --scratch v/copy --bitmap b
	fails dd if=/dev/mapper/part of=/dev/null bs=1M iflag=direct status=none
	start=$(dmbackup bitmap dump v/data b --format ranges | awk '/^[0-9]/ { print $1; exit }')
	dd if=/dev/mapper/part of=/dev/null bs=4k skip=$((start / 4096)) count=1 iflag=direct status=none
	says 5 'is in use' dmbackup view create v/data other --scratch v/copy
	dmbackup view remove part
	dmbackup view create v/data all --scratch v/copy --discards
	dd if=/dev/mapper/all of=/dev/null bs=4k skip=1024 count=1 iflag=direct status=none
	blkdiscard -o 4M -l 1M /dev/mapper/all
	fails dd if=/dev/mapper/all of=/dev/null bs=4k skip=1024 count=1 iflag=direct status=none
	dmbackup view discard all 6M 64K
	fails dd if=/dev/mapper/all of=/dev/null bs=4k skip=1536 count=1 iflag=direct status=none
	dmbackup view remove all
	nothing_left
}

label_on() { [ "$(blkid -p -o value -s LABEL "$1")" = data ]; }
# udev looks at it, after all others have been looked at
look_again() { udevadm trigger --settle --action=change --name-match="$(readlink -f "$1")"; }

@test "devices that are given have a superblock like the origin's: links lead to the origin" {
	local d
	volumes
	dmbackup view create v/data now --scratch v/copy
	umount /mnt/data # writes the superblock, as freezing it may have before
	label_on /dev/v/copy
	look_again /dev/v/copy
	links_lead_to_origin
	dmbackup view remove now
	# nobody is to find it at the next boot
	[ -z "$(blkid -p /dev/v/copy)" ]
	udevadm settle
	[[ $(udevadm info -q symlink -n /dev/v/copy) != *by-label* ]]
	links_lead_to_origin
	nothing_left
	# A copy is left as it is. There is a filter: it comes first.
	dmbackup backup v/data --to v/copy
	label_on /dev/v/copy
	look_again /dev/v/copy
	links_lead_to_origin
	dmbackup detach v/data
	# A volume with such a name has no links, filter or not.
	lvcreate -qq -y -Wy -n my-dmbackup-scratch -L 4M v $S
	d=/dev/v/my-dmbackup-scratch
	mkfs.ext4 -q -L mine $d
	look_again $d
	[ "$(blkid -p -o value -s LABEL $d)" = mine ]
	[ ! -e /dev/disk/by-label/mine ]
	udevadm info -q property -n $d | grep -x UDISKS_IGNORE=1
}

@test "two views that share what is saved" {
	volumes thin
	mkdir -p /mnt/view2
	dmbackup view create v/data now --mount /mnt/view
	says 4 'there is no such view' dmbackup view create v/data later --share then
	dmbackup view create v/data later --share now --mount /mnt/view2
	rm /mnt/data/marker
	head -c 1M /dev/zero | tr '\0' x > /mnt/data/other
	sync -f /mnt/data
	[ "$(cat /mnt/view/marker)" = before ]
	[ "$(cat /mnt/view2/marker)" = before ]
	[ ! -e /mnt/view2/other ]
	[ "$(FILTER=v-data job shared view.lv.later)" -gt 0 ]
	says 5 'shared by other views' dmbackup view remove now
	dmbackup view remove later
	dmbackup view remove now
	nothing_left
}

# What README.md says, program by program, as far as they are installed.
@test "tar, borg, restic and qemu-img read a view while its device is written" {
	volumes thin
	mkdir -p /tmp/out
	head -c 2M /dev/urandom > /mnt/data/old
	dmbackup view create v/data now --mount /mnt/view
	sum=$(sha256sum < /mnt/view/old)
	dd if=/dev/urandom of=/mnt/data/old bs=64K count=32 conv=notrunc,fsync status=none
	echo after > /mnt/data/marker
	tar -C /mnt/view -cf /tmp/out/tar .
	[ "$(tar -xOf /tmp/out/tar ./old | sha256sum)" = "$sum" ]
	[ "$(tar -xOf /tmp/out/tar ./marker)" = before ]
	if type -P borg; then
		export BORG_BASE_DIR=/tmp/out BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes
		borg init -e none /tmp/out/borg
		borg create "/tmp/out/borg::lv-{now}" /mnt/view
		[ "$(borg extract --stdout "/tmp/out/borg::$(borg list --last 1 --short /tmp/out/borg)" mnt/view/old | sha256sum)" = "$sum" ]
	fi
	if type -P restic; then
		export RESTIC_PASSWORD=x XDG_CACHE_HOME=/tmp/out
		restic -q -r /tmp/out/restic init
		restic -q -r /tmp/out/restic backup /mnt/view
		[ "$(restic -q -r /tmp/out/restic dump latest /mnt/view/old | sha256sum)" = "$sum" ]
	fi
	if type -P qemu-img; then
		qemu-img convert -f raw -O qcow2 /dev/mapper/now /tmp/out/lv.qcow2
		qemu-img convert -f qcow2 -O raw /tmp/out/lv.qcow2 /tmp/out/raw
		cmp /tmp/out/raw /dev/mapper/now
		debugfs -R 'cat /marker' /tmp/out/raw | grep before
	fi
	dmbackup view remove now
	rm -r /tmp/out
	nothing_left
}

@test "of a backup that runs" {
	volumes
	[ "$(dmbackup backup v/data --to v/copy --detach --id b --speed 64K)" = b ]
	dmbackup view create v/data its --job b --mount /mnt/view
	echo after > /mnt/data/marker
	sync /mnt/data/marker
	[ "$(cat /mnt/view/marker)" = before ]
	dmbackup job set-speed v/data b --speed 0
	dmbackup job wait v/data b
	[ "$(cat /mnt/view/marker)" = before ]
	[[ $(dmbackup view list --noheadings) == *complete* ]]
	says 5 'is in use' dmbackup backup v/data --to v/copy --force
	dmbackup view remove its
	nothing_left
	dmbackup backup v/data --to v/copy --force
}

@test "what is refused leaves nothing" {
	volumes
	says 2 'is no name' dmbackup view create v/data 'a b'
	says 5 'is there already' dmbackup view create v/data v-copy
	says 4 'no such device' dmbackup view create v/none now
	says 5 'is v/data itself' dmbackup view create v/data now --scratch v/data
	says 2 'has all of that' dmbackup view create v/data now --job x --size 1M
	says 4 'there is no job x' dmbackup view create v/data now --job x
	says 4 'No such file' dmbackup view create v/data now --size 8M --mount /nowhere
	# its blocks are of 1 KiB, zram's of 4
	says 1 'blocks of 4096 bytes' dmbackup view create v/data now --size 8M --mount /mnt/view
	says 4 'no bitmap' dmbackup view create v/data now --size 8M --bitmap none
	says 2 'for one that begins' dmbackup view create v/data now --job x --no-freeze
	says 2 'jobs of views are called so' dmbackup backup v/data --to v/copy --id view-now
	says 2 'jobs of views are called so' dmbackup mirror v/data --to v/copy --id view.lv.now
	says 4 'no such view' dmbackup view remove now
	# a job that is none of a view's, whatever it is called
	dmsetup message v-data 0 backup start view-now target="$(devno /dev/v/copy)" sync=full speed=1
	says 4 'no such view' dmbackup view remove now
	says 0 'view-now' dmbackup job list v/data
	dmbackup job cancel v/data view-now --force
	says 4 'no such view' dmbackup view discard v-data 0 1M
	says 4 'is no view' dmbackup view remove v-data
	says 2 '--size is for' dmbackup view create v/data now --scratch v/copy --size 1M
	says 2 'is no name' dmbackup view create v/data ..
	says 2 'is no size' dmbackup view create v/data now --size 0
	nothing_left
}

@test "a scratch device that is full costs the view, not the device" {
	modprobe zram num_devices=0 || skip "no zram"
	volumes
	# what no compression makes smaller, so that it does not fit
	dd if=/dev/urandom of=/mnt/data/old bs=64k count=60 conv=fsync status=none
	dmbackup view create v/data now --size 1M --cbw-timeout 2
	[[ $(dmbackup view list --noheadings) == *" live "* ]]
	dd if=/dev/urandom of=/mnt/data/old bs=64k count=60 conv=notrunc,fsync status=none
	wait_for 120 is_broken now
	fails dd if=/dev/mapper/now of=/dev/null bs=64k count=1 iflag=direct status=none
	dd if=/mnt/data/old of=/dev/null bs=64k count=60 iflag=direct status=none
	dmbackup view remove now
	nothing_left
}

@test "an XFS, beside its original" {
	truncate -s 64M /tmp/xfs /tmp/xfs-scratch
	losetup /dev/loop0 /tmp/xfs
	losetup /dev/loop1 /tmp/xfs-scratch
	mkdir -p /mnt/data /mnt/view
	dmbackup open /dev/loop0 x
	mkfs.xfs -q --unsupported -L data /dev/mapper/x
	mount /dev/mapper/x /mnt/data
	echo before > /mnt/data/marker
	dmbackup view create x now --scratch /dev/loop1 --mount /mnt/view
	echo after > /mnt/data/marker
	sync /mnt/data/marker
	[ "$(cat /mnt/view/marker)" = before ]
	udevadm trigger --settle --subsystem-match=block
	[ "$(readlink -f /dev/disk/by-label/data)" = "$(readlink -f /dev/mapper/x)" ]
	[[ $(dmbackup view list x --noheadings) == now*x*view-now*live*/mnt/view* ]]
	umount /mnt/data
	says 5 'has the view now' dmbackup close x
	dmbackup view remove now
	dmbackup close x
	losetup -D
	rm /tmp/xfs /tmp/xfs-scratch
}

@test "LVM passes over views of its disks" {
	mkdir -p $LVM_SYSTEM_DIR
	cat > $LVM_SYSTEM_DIR/lvm.conf <<-END
		devices { use_devicesfile = 0 scan = [ "/dev" ] types = [ "ramdisk", 16 ] filter = [ "r|/dev/ram|" ] }
		activation { monitoring = 0 }
		backup { backup_dir = "/tmp/dmbackup-lvm" archive = 0 }
	END
	dmbackup open $S disk
	vgcreate -qq -s 1M -y v /dev/mapper/disk
	dmbackup view create disk now --scratch $T
	dd if=/dev/mapper/now bs=4k count=1 iflag=direct status=none | grep -q LVM2
	[ "$(pvs --noheadings -o pv_name 2> /tmp/err | xargs)" = /dev/mapper/disk ]
	[ ! -s /tmp/err ]
	lvcreate -qq -y -Wn -n lv -L 4M v
	[ "$(dmbackup view list disk --noheadings | awk '{ print $2 }')" = disk ]
	dmbackup view remove now
	lvremove -qq -y v/lv
	vgchange -qq -an v
	dmbackup close disk
}

@test "what is interrupted leaves nothing" {
	volumes thin
	afterwards INT lvcreate
	says 7 'no view was made' env PATH="/tmp/bin:$PATH" dmbackup view create v/data now --mount /mnt/view
	rm /tmp/bin/lvcreate
	nothing_left
}

@test "what a command that was killed left, or a reboot, is removed by the view's name" {
	volumes thin
	afterwards KILL lvcreate
	says 137 '' env PATH="/tmp/bin:$PATH" dmbackup view create v/data now
	rm /tmp/bin/lvcreate
	lvs v/data-dmbackup-view-now
	says 1 'left of an earlier view' dmbackup view create v/data now
	dmbackup view remove now
	nothing_left
	# with its job
	dmbackup view create v/data now
	dmsetup remove now
	[[ $(dmbackup job list v/data --noheadings) == view.lv.now* ]]
	dmbackup view remove now
	nothing_left
	says 4 'no such view' dmbackup view remove now
}

# fleeced_by ID: a backup with that id has something on its fleece device
fleeced_by() {
	local show
	show=$(dmbackup job show v/data "$1") && [[ $show =~ fleeced\ +([0-9]+) && ${BASH_REMATCH[1]} != 0 ]]
}
running() { [[ $(dmbackup job list v/data --noheadings) == "$1"*" running "* ]]; }
# What the file system's user sees of the copy at its instant.
copied_before() {
	mount -o ro,noload /dev/v/copy /mnt/view
	[ "$(cat /mnt/view/marker)" = before ]
	umount /mnt/view
}

@test "a backup with a fleece device that is made, and removed at its end" {
	local backup how
	volumes thin
	for how in "" "--size 8M"; do
		[[ -z $how ]] || modprobe zram num_devices=0 || continue
		echo before > /mnt/data/marker
		sync /mnt/data/marker
		# shellcheck disable=SC2086 # words
		dmbackup backup v/data --to v/copy --force --id b --speed 64K --max-chunk 64K --fleece auto $how &
		backup=$!
		wait_for 60 running b
		if [[ -z $how ]]; then
			[ "$(lvs --noheadings -o pool_lv v/data-dmbackup-view-b | xargs)" = pool ]
		else
			[ -e /sys/block/zram0 ]
		fi
		echo after > /mnt/data/marker
		dd if=/dev/urandom of=/mnt/data/new bs=64k count=8 conv=fsync status=none
		wait_for 60 fleeced_by b
		dmbackup job set-speed v/data b --speed 0
		wait $backup
		nothing_left
		copied_before
		rm /mnt/data/new
	done
	# Also if it is interrupted, or its terminal goes.
	for signal in INT HUP; do
		dmbackup backup v/data --to v/copy --force --id b --speed 64K --max-chunk 64K --fleece auto &
		backup=$!
		wait_for 60 running b
		kill -$signal $backup
		fails wait $backup
		nothing_left
	done
}

@test "a fleece device that is given, and what is refused about one" {
	volumes
	lvcreate -qq -y -Wy -n fast -L 8M v /dev/ram2
	dmbackup backup v/data --to v/copy --fleece v/fast --id b --speed 64K --max-chunk 64K --detach
	echo after > /mnt/data/marker
	sync /mnt/data/marker
	wait_for 60 fleeced_by b
	dmbackup job set-speed v/data b --speed 0
	dmbackup job wait v/data b
	copied_before
	says 5 'is the target' dmbackup backup v/data --to v/copy --force --fleece v/copy
	says 5 'stands on' dmbackup backup v/data --to v/copy --force --fleece v/data
	says 4 'no such device' dmbackup backup v/data --to v/copy --force --fleece v/none
	says 2 'with --detach' dmbackup backup v/data --to v/copy --force --fleece auto --detach
	says 2 '--size is for' dmbackup backup v/data --to v/copy --force --fleece v/fast --size 1M
	says 2 '--size is for' dmbackup backup v/data --to v/copy --force --size 1M
	says 2 'is for one device' dmbackup backup v/data=v/copy v/fast=v/copy --fleece v/fast
	mkfs.ext4 -q -F -L other /dev/v/fast
	says 5 'other|ext4' dmbackup backup v/data --to /dev/ram3 --allow-larger --fleece v/fast
	wipefs -qa /dev/v/fast
	cat > /tmp/tx.json <<-END
		{ "actions": [ { "action": "backup", "device": "v/data", "target": "v/copy", "fleece": "v/fast", "force": true } ] }
	END
	dmbackup transaction /tmp/tx.json
	sed 's/v.fast/auto/' /tmp/tx.json > /tmp/tx2.json
	dmbackup transaction /tmp/tx2.json
	nothing_left
}
