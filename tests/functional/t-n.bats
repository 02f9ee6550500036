#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-N: pivots of a filter with a metadata device: whenever the power fails, its
# bitmaps are believed with the device that has the data, and with no other.
load lib

MB=64
SECTORS=$((MB * 2048))

# Files, so that a test can keep copies: the old origin o, the new one n, m. Dm devices
# on them, which have a name for good, and which count their writes from 0 after a
# "reboot".
prefill() {
	rm -f /tmp/[onm]*.img
	truncate -s ${MB}M /tmp/o.img /tmp/n.img
	truncate -s 4M /tmp/m.img
	dmbackup metadata create /tmp/m.img --size ${MB}M
	devices
}
devices() { # [SUFFIX]
	local d
	for d in o n m; do
		loop=$(losetup -f --show "/tmp/$d${1:-}.img")
		dmsetup create $d -u "TEST-$d" --table "0 $(quick sectors "$loop") linear $loop 0"
	done
	o=/dev/mapper/o n=/dev/mapper/n m=/dev/mapper/m
}
on() { make_filter f "$1" metadata "$m" after_crash trust "${@:2}"; } # DEV [FEATURES...]
# keep NAME: what would be there after a power cut at this instant
keep() {
	local d
	sync /tmp/o.img /tmp/n.img /tmp/m.img
	for d in o n m; do cp --sparse=always /tmp/$d.img "/tmp/$d-$1.img"; done
}
# cut NAME DEV: the power was cut when that was kept; now it is back, with DEV
cut() {
	local d
	dmsetup remove_all
	losetup -D
	wait_for 5 module_idle
	rmmod dm_backup
	insmod "$build/dm_backup.ko"
	# what was kept is kept
	for d in o n m; do cp --sparse=always "/tmp/$d-$1.img" /tmp/$d.now.img; done
	devices .now
	on "$2"
}
good() { [[ $(bitmap inconsistent "$1") == 0 ]] || { bitmap cause "$1"; return 1; }; }
other() { [[ $(bitmap cause "$1") == "the filter stood on another device" ]] || { bitmap cause "$1"; return 1; }; }
covers() { ranges "$1" | quick covered "$2" "$3"; }
mirror() { # DEV
	msg mirror start j target="$1" sync=full auto_dismiss=0 && wait_state j ready 120
}
pivoted() {
	msg job complete j
	finished j 120
	[[ $(job pivoted j) == 1 ]]
	msg job dismiss j
}
again() { # the table once more, so that the old origin is let go of
	dmsetup load f --table "$(dmsetup table f)"
	dmsetup resume f
}
in_vain() { (($(job attempts j) >= $1)); }

@test "N1 a pivot under load: bitmaps go on, with the new origin and no other" {
	on $o
	w 1 1M 64K
	cp --sparse=always /tmp/o.img /tmp/ref.img
	msg bitmap add b persistent
	writers
	mirror $n
	keep before
	pivoted
	again
	writers_end
	w 2 40M 64K
	keep after
	covers b /tmp/ref.img $n
	sum=$(msg bitmap checksum b)
	dmsetup remove f
	keep clean
	on $n
	good b
	[ "$(msg bitmap checksum b)" = "$sum" ]

	cut clean $n
	good b
	[ "$(msg bitmap checksum b)" = "$sum" ]
	cut clean $o
	other b
	cut after $n
	good b
	covers b /tmp/ref.img $n
	cut after $o
	other b
	cut before $o
	good b
	covers b /tmp/ref.img $o
	cut before $n
	other b
}

@test "N2 the power fails while the metadata device is told" {
	local at
	# hold: however long it hangs, it has not failed
	on $o on_metadata_error hold
	cp --sparse=always /tmp/o.img /tmp/ref.img
	msg bitmap add b persistent
	w 3 2M 64K
	mirror $n
	# it can't be told: nothing moves, and writes go on
	hang m
	msg job complete j
	wait_for 60 in_vain 1
	w 4 2M 64K
	[[ $(dmsetup table f) == *" backup $(devno $o) "* ]]
	keep hung
	unhang m
	finished j 120
	[[ $(job pivoted j) == 1 ]]
	keep told
	for at in hung:o told:n; do
		cut ${at%:*} /dev/mapper/${at#*:}
		good b
		covers b /tmp/ref.img /dev/mapper/${at#*:}
	done
	for at in hung:n told:o; do
		cut ${at%:*} /dev/mapper/${at#*:}
		other b
	done
	# between the two copies of the root: whichever is written first
	for at in 0 9; do
		for d in o n m; do cp --sparse=always /tmp/$d-hung.img /tmp/$d-half.img; done
		dd if=/tmp/m-told.img of=/tmp/m-half.img bs=4K count=9 skip=$at seek=$at conv=notrunc status=none
		cmp /tmp/o-half.img /tmp/n-half.img
		cut half $n
		good b
		covers b /tmp/ref.img $n
		cut half $o
		other b
	done
}

@test "N2 told, and then it did not come to it: it stays where it was" {
	on $o on_metadata_error hold
	msg bitmap add b persistent
	mirror $n
	hang m
	msg job complete j
	wait_for 60 in_vain 1
	msg job cancel j force
	unhang m
	finished j 60 cancelled
	w 5 3M 64K
	msg metadata save
	keep x
	cut x $o
	good b
	has b 1
	cut x $n
	other b
}

@test "N2 it hangs: writes are held up once, then it has failed, or is not asked" {
	on $o
	msg bitmap add b persistent
	mirror $n
	hang m
	msg job complete j
	# nothing is written that would wait for it; it goes on all the same
	finished j 120
	[[ $(job pivoted j) == 1 ]]
	wait_for 10 lost b
	unhang m
	w 6 3M 64K
	is 6 3M 64K $n
	dmsetup remove f
	wait_for 5 module_idle

	rm -f /tmp/m.img
	dmsetup remove m
	truncate -s 4M /tmp/m.img
	dmbackup metadata create /tmp/m.img --size ${MB}M
	dmsetup create m -u TEST-m --table "0 8192 linear $(losetup -f --show /tmp/m.img) 0"
	on $o on_metadata_error hold
	msg bitmap add b persistent
	mirror $n
	hang m
	msg job complete j
	wait_for 60 in_vain 3
	unhang m
	finished j 120
	[[ $(job pivoted j) == 1 ]]
	good b
}
lost() { [[ $(bitmap inconsistent "$1") == 1 ]]; }

@test "N3 back by a persistent bitmap that was begun before the pivot: only what was written is copied" {
	on $o
	w 1 1M 1M
	mirror $n
	msg bitmap add b persistent
	pivoted
	again
	w 2 3M 64K
	# a clean stop, and a crash: then a bit more is dirty
	dmsetup remove f
	on $n
	has b 1
	w 3 40M 64K
	has b 2
	keep x
	cut x $n
	good b
	msg mirror start j target=$o sync=bitmap bitmap=b bitmap_mode=on_success auto_dismiss=0
	wait_state j ready 120
	(($(job done j) >= 128 && $(job done j) < SECTORS))
	pivoted
	again
	same_as $o $n
	has b 0
	w 4 5M 64K
	is 4 5M 64K $o
	has b 1
	dmsetup remove f
	on $o
	good b
	has b 1
}
same_as() { cmp "$1" "$2"; }

@test "N4 another table over another device: not without a word" {
	on $o
	msg bitmap add b persistent
	w 1 1M 64K
	# the same place by another name
	dmsetup create p -u TEST-p --table "$(dmsetup table o)"
	refused "is not a device's MAJ:MIN" msg origin same here
	msg origin same "$(devno /dev/mapper/p)"
	dmsetup load f --table "0 $SECTORS backup /dev/mapper/p 4 metadata $m after_crash trust"
	dmsetup resume f
	good b
	has b 1
	w 1 2M 64K
	keep x
	dmsetup load f --table "0 $SECTORS backup $o 4 metadata $m after_crash trust"
	dmsetup resume f
	[[ $(bitmap inconsistent b) == 1 && $(bitmap cause b) == "the device has another origin now" ]]
	dmsetup remove f
	cut x $o
	other b
}

@test "N5 a device without a name for good does not take the origin's place" {
	local loop
	on $o
	truncate -s ${MB}M /tmp/nameless.img
	loop=$(losetup -f --show /tmp/nameless.img)
	mirror "$loop"
	refused "it has neither a dm uuid nor a partition's" msg job complete j
	msg job cancel j
	finished j
	cmp $o "$loop"
}
