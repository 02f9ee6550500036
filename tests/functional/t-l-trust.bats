#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-L: which bitmaps are trusted: origins that were written behind the filter's back, or
# only read.
load lib
load files

@test "L8 written below while it was suspended: no bitmap is trusted, and no job goes on" {
	truncate -s ${MB}M /tmp/t.img
	t=$(losetup -f --show /tmp/t.img)
	up
	msg bitmap add b persistent
	msg bitmap add c
	msg mirror start one target="$t" sync=full auto_dismiss=0
	wait_state one ready
	dmsetup suspend f
	dmsetup resume f
	ok b; ok c
	[ "$(state one)" = ready ]
	dmsetup suspend f
	w 9 200M 4K "$o"
	dmsetup resume f
	bad b 'while the filter was suspended'
	bad c 'while the filter was suspended'
	# A pivot would leave out what was written.
	finished one 60 error
	[[ $(job cause one) == *'while the filter was suspended'* ]]
}

@test "L8 written below while it was suspended, before it goes: that is on disk" {
	up
	for i in 1 2 3 4; do msg bitmap add b$i persistent; done
	dmsetup suspend f
	w 9 200M 4K "$o"
	down; up
	bad b1 'after the filter had stopped'
	for i in 1 2 3 4; do
		msg bitmap remove b$i
		msg bitmap add b$i persistent
	done
	# All had been saved already.
	msg detach
	dmsetup suspend f
	w 9 200M 4K "$o"
	keep x
	down
	cp /tmp/m.img /tmp/m-x.img
	# After a boot nobody has counted, and where it was written no sample is taken.
	reboot x
	up
	for i in 1 2 3 4; do bad b$i 'after the filter had stopped'; done
}

@test "L8 written below while it was suspended, then a table that only reads: that is on disk" {
	up
	msg bitmap add b persistent
	msg detach
	dmsetup suspend f
	w 9 200M 4K "$o"
	dmsetup load -r f --table "0 $SECTORS backup $o 4 metadata $m after_crash trust"
	dmsetup resume f
	bad b 'while the filter was suspended'
	down
	keep x
	reboot x
	up
	bad b 'while the filter was suspended'
}

@test "L8 the same, and the metadata device fails for a while: it is written down afterwards" {
	dmsetup create md --table "0 8192 linear $m 0"
	make_filter f "$o" metadata /dev/mapper/md after_crash trust
	msg bitmap add b persistent
	msg detach
	dmsetup suspend f
	w 9 200M 4K "$o"
	dmsetup load md --table "0 8192 error"
	dmsetup resume md
	dmsetup load -r f --table "0 $SECTORS backup $o 4 metadata /dev/mapper/md after_crash trust"
	dmsetup resume f
	[ "$(metadata state)" = failed ]
	dmsetup load md --table "0 8192 linear $m 0"
	dmsetup resume md
	wait_for 30 is_broken
	down
	dmsetup remove md
	keep x
	reboot x
	up
	bad b 'while the filter was suspended'
}

is_broken() { dmbackup metadata check /tmp/m.img --json 2> /dev/null | grep -q '"state": "broken"'; }

@test "L8 written below while a table that only reads was suspended: that is on disk" {
	up
	msg bitmap add b persistent
	msg detach
	dmsetup suspend f
	dmsetup load -r f --table "0 $SECTORS backup $o 4 metadata $m after_crash trust"
	dmsetup resume f
	ok b
	dmsetup suspend f
	w 9 200M 4K "$o"
	down
	keep x
	reboot x
	up
	bad b 'after the filter had stopped'
}

@test "L8 written behind the filter's back: not trusted, and why is told" {
	up
	msg bitmap add b persistent
	w 1 0 4K
	down
	# through the origin, which counts
	quick write "$o" 9 $((200 * 1048576)) 4096
	up
	bad b 'written before the filter'
	msg bitmap remove b
	msg bitmap add b persistent
	down
	# where nobody counted: samples
	no_origin
	poke /tmp/o.img $((65536 + 100)) changed
	origin o
	up
	bad b 'while the filter was not there'
	refused 'inconsistent' msg backup start x target=$T sync=incremental bitmap=b
	refused 'inconsistent' msg bitmap enable b
	down; up
	bad b 'while the filter was not there'
}

@test "L8 after a crash: written before the filter was there, or mounted" {
	modprobe ext4 2> /dev/null || skip "no ext4"
	up
	mkfs.ext4 -q -F "$F"
	mount "$F" /mnt
	msg bitmap add b persistent
	echo one > /mnt/one
	sync -f /mnt
	wait_for 60 leased $((EPOCHSECONDS + 1))
	keep x
	keep y
	keep z
	umount /mnt
	reboot x
	make_filter f "$o" metadata "$m"
	ok b
	# Mounted in between, by another boot: it counted writes that nobody knows of.
	reboot y
	mount "$o" /mnt
	umount /mnt
	no_origin
	origin o-y
	up
	bad b 'mounted without the filter'
	reboot z
	quick write "$o" 9 $((200 * 1048576)) 4096
	up
	bad b 'written before the filter'
}

# leased TIME: the metadata device has a lease that is later
leased() {
	local lease
	lease=$(dmbackup metadata check /tmp/m.img --json | grep -o '"lease": *[0-9]*')
	((${lease##* } > $1))
}

@test "L8 after a crash, without a file system to ask: only who says so is believed" {
	up
	dmsetup table f | grep ' 4 metadata .* after_crash trust$'
	msg bitmap add b persistent
	w 1 0 4K
	keep x
	keep y
	reboot x
	make_filter f "$o" metadata "$m"
	bad b 'nothing tells'
	# It stays so.
	down; up
	bad b 'nothing tells'
	reboot y
	up
	ok b
	has b 512
	# A clean stop needs nobody's word.
	down
	make_filter f "$o" metadata "$m"
	ok b
}

@test "L8 a table that was replaced without detach; with it" {
	up
	msg bitmap add b persistent
	w 1 0 4K
	dmsetup load f --table "0 $SECTORS backup-pass $o"
	dmsetup resume f
	dmsetup load f --table "0 $SECTORS backup $o 2 metadata $m"
	dmsetup resume f
	bad b 'without detach'
	msg bitmap remove b
	msg bitmap add b persistent
	w 1 0 4K
	msg detach
	dmsetup load f --table "0 $SECTORS backup-pass $o"
	dmsetup resume f
	dmsetup load f --table "0 $SECTORS backup $o 2 metadata $m"
	dmsetup resume f
	ok b
	has b 1
	# but not if it was written meanwhile
	msg detach
	dmsetup load f --table "0 $SECTORS backup-pass $o"
	dmsetup resume f
	w 1 100M 4K
	dmsetup load f --table "0 $SECTORS backup $o 2 metadata $m"
	dmsetup resume f
	bad b 'written before the filter'
}

@test "L8 a detach that was not made changes nothing; reloads and suspends neither" {
	up
	msg bitmap add b persistent
	msg detach
	dmsetup suspend f
	dmsetup resume f
	ok b
	w 1 0 4K
	has b 1
	[ "$(metadata hot)" = 1 ]
	dmsetup load f --table "0 $SECTORS backup $o 4 metadata $m buffer 4096"
	dmsetup suspend f
	dmsetup resume f
	ok b
	w 1 "$(region 2)" 4K
	has b 2
	keep x
	reboot x
	up
	ok b
	has b 1024
	refused_table "can't change" "0 $SECTORS backup $o" || true
	run dmsetup load f --table "0 $SECTORS backup $o"
	[ "$status" != 0 ]
}

@test "L9 reading only: the metadata device is not written" {
	up
	msg bitmap add b persistent
	w 1 0 4K
	keep x
	down
	sum=$(sha256sum < /tmp/m.img)
	dmsetup create -r f --table "0 $SECTORS backup $o 2 metadata $m"
	ok b
	has b 1
	[ "$(metadata state)" = read_only ]
	dd if=$F of=/dev/null bs=1M count=8 status=none
	down
	[ "$sum" = "$(sha256sum < /tmp/m.img)" ]
	reboot x
	sum=$(sha256sum < /tmp/m-x.img)
	dmsetup create -r f --table "0 $SECTORS backup $o 4 metadata $m after_crash trust"
	ok b
	has b 512
	down
	[ "$sum" = "$(sha256sum < /tmp/m-x.img)" ]
}
