#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-I, what it means on metadata devices: a bitmap that was merged into another one
# loses nothing on disk before that has it there.
load lib

# f over S with /tmp/m.img, g over /dev/ram2 with /tmp/n.img under /dev/mapper/n, which
# can be made to hang.
G=/dev/mapper/g
two_filters() {
	local i
	for i in m n; do
		rm -f /tmp/$i.img
		truncate -s 4M /tmp/$i.img
		dmbackup metadata create /tmp/$i.img --size "${SIZE_MB}M"
	done
	m=$(losetup -f --show /tmp/m.img)
	n=$(losetup -f --show /tmp/n.img)
	dmsetup create n --table "0 $(quick sectors "$n") linear $n 0"
	slow s "$S" 0 0
	make_filter f /dev/mapper/s metadata "$m"
	up_g
	nf=$(devno "$F") ng=$(devno "$G")
	msg bitmap add x persistent
	w 0x1 1M 64K
	msg bitmap disable x
	on_g msg bitmap add y persistent disabled
}
up_g() { make_filter g /dev/ram2 metadata /dev/mapper/n on_metadata_error hold; }
on_g() { local FILTER=g; "$@"; }
state_of() { local s; s=$(msg transaction show "$1"); s=${s#*state=}; echo "${s%% *}"; }
is_committed() { [[ $(state_of "$1") == committed ]]; }
# on_disk IMAGE NAME: how many granules would be dirty after a power cut
on_disk() {
	local ranges
	cp "/tmp/$1.img" /tmp/cut.img
	ranges=$(dmbackup metadata dump /tmp/cut.img "$2") || return
	awk '{ n += $2 } END { print n / 65536 }' <<< "$ranges"
}

@test "merged, then cleared: the disk hears of that when it has what was merged" {
	two_filters
	[ "$(on_disk m x) $(on_disk n y)" = "1 0" ]
	hang n
	msg transaction token=t 2 "$ng" 4 bitmap merge y "$nf/x" "$nf" 3 bitmap clear x
	[ "$(state_of t)" = committing ]
	sleep 1 # the other metadata device is idle
	[ "$(on_disk m x) $(bitmap busy x)" = "1 transaction" ]
	unhang n
	wait_for 60 is_committed t
	has x 0
	on_g has y 1
	[ "$(on_disk m x) $(on_disk n y)" = "0 1" ]
}

@test "merged, then removed, then exchanged" {
	two_filters
	hang n
	msg transaction token=t 2 "$ng" 4 bitmap merge y "$nf/x" "$nf" 3 bitmap remove x
	sleep 1
	[ "$(on_disk m x)" = 1 ]
	unhang n
	wait_for 60 is_committed t
	fails on_disk m x
	on_g has y 1
	# Each loses what the other one gets.
	msg bitmap add x persistent disabled
	msg bitmap load x 4096+256
	hang n
	msg transaction token=u 6 "$nf" 4 bitmap add swap disabled "$nf" 4 bitmap merge swap x "$nf" 3 bitmap clear x \
		"$nf" 4 bitmap merge x "$ng/y" "$ng" 3 bitmap clear y "$ng" 4 bitmap merge y "$nf/swap"
	sleep 1
	(($(on_disk m x) >= 2))
	unhang n
	wait_for 60 is_committed u
	[ "$(ranges x)" = "2048 128" ]
	[ "$(on_g ranges y)" = "4096 256" ]
	[ "$(on_disk m x) $(on_disk n y)" = "1 2" ]
}

@test "merged, then a job's: it is not given up before it is on disk where it was merged into" {
	two_filters
	hang n
	msg transaction token=t 2 "$ng" 4 bitmap merge y "$nf/x" \
		"$nf" 8 backup start j target="$T" sync=bitmap bitmap=x bitmap_mode=on_success auto_dismiss=0
	wait_for 60 copied
	sleep 1
	[ "$(on_disk m x)" = 1 ]
	unhang n
	finished j
	wait_for 60 is_committed t
	wait_for 60 cleared_on_disk
	on_g has y 1
}
copied() { [[ $(job done j) == 128 ]]; }
cleared_on_disk() { [[ $(on_disk m x) == 0 ]]; }

@test "the metadata device of what was merged into goes: what was cleared keeps its bits" {
	two_filters
	hang n
	msg transaction token=t 2 "$ng" 4 bitmap merge y "$nf/x" "$nf" 3 bitmap clear x
	dmsetup load n --table "0 $(quick sectors "$n") error"
	unhang n
	on_g msg bitmap list
	dmsetup remove g
	wait_for 60 is_committed t
	has x 1
	[ "$(on_disk m x)" = 1 ]
}

@test "a filter goes before all was merged: the bitmap is inconsistent, the other one has its bits" {
	two_filters
	msg bitmap add c
	slow_set s "$S" 0 600000
	w 0x1 8M 4K &
	wait_for 60 in_flight
	msg transaction token=t 2 "$ng" 4 bitmap merge y "$nf/x" "$nf" 3 bitmap clear x
	[ "$(state_of t)" = committing ]
	dmsetup remove g
	slow_set s "$S" 0 0
	wait
	wait_for 60 is_committed t
	has x 1
	up_g
	[ "$(on_g bitmap inconsistent y)" = 1 ]
	on_g bitmap cause y | grep 'before all was merged'
}

# removing: x is merged into y and removed, which does not come to its end
removing() {
	two_filters
	msg bitmap enable x
	hang n
	msg transaction token=t 2 "$ng" 4 bitmap merge y "$nf/x" "$nf" 3 bitmap remove x
	[ "$(state_of t)" = committing ]
}
# after_a_cut LENGTH: f as it would be after a power cut now
after_a_cut() {
	cp /tmp/m.img /tmp/cut.img
	unhang n
	wait_for 60 is_committed t
	dmsetup remove f
	dmsetup remove g
	dmsetup remove s
	wait_for 60 module_idle
	rmmod dm_backup
	insmod "$build/dm_backup.ko"
	slow s "$S" 0 0
	m=$(losetup -f --show /tmp/cut.img)
	dmsetup create f --table "0 $1 backup /dev/mapper/s 4 metadata $m after_crash trust"
}

@test "the device gets another length while a bitmap is being removed: after a crash that is not trusted" {
	removing
	w 0x2 8M 64K
	len=$((SECTORS - 2048))
	dmsetup load f --table "0 $len backup /dev/mapper/s 2 metadata $m"
	dmsetup suspend f
	dmsetup resume f
	[ "$(state_of t)" = committing ]
	after_a_cut $len
	[ "$(bitmap inconsistent x)" = 1 ]
	[[ $(bitmap cause x) == *'being removed when the length'* ]]
}

@test "the device is written below while a bitmap is being removed: that is not trusted either" {
	removing
	dmsetup suspend f
	w 9 9M 4K /dev/mapper/s
	dmsetup resume f
	wait_for 20 distrusted m x
	after_a_cut $SECTORS
	[ "$(bitmap inconsistent x)" = 1 ]
	[[ $(bitmap cause x) == *'while the filter was suspended'* ]]
}
distrusted() { # IMAGE NAME
	cp "/tmp/$1.img" /tmp/look.img
	dmbackup metadata check /tmp/look.img | grep -E "\<$2\>.*suspended"
}

@test "a metadata device that has failed is not waited for: what was cleared keeps its bits" {
	up_g() { make_filter g /dev/ram2 metadata /dev/mapper/n; }
	two_filters
	hang n
	msg transaction token=t 2 "$ng" 4 bitmap merge y "$nf/x" "$nf" 3 bitmap clear x
	wait_for 30 g_has_failed
	wait_for 30 is_free x
	has x 1
	unhang n
	wait_for 60 is_committed t
}
g_has_failed() { fails on_g msg metadata save && [[ $(on_g bitmap inconsistent y) == 1 ]]; }
is_free() { [[ $(bitmap busy "$1") == - ]]; }

@test "a metadata device that has failed is waited for if what was merged into it is to be removed" {
	up_g() { make_filter g /dev/ram2 metadata /dev/mapper/n; }
	removing
	wait_for 30 g_has_failed
	sleep 3
	[ "$(state_of t)" = committing ]
	[ "$(on_disk m x)" -ge 1 ]
	unhang n
	wait_for 60 is_committed t
	# There nothing is believed any more.
	wait_for 30 g_is_told
}
g_is_told() { dmbackup metadata check /tmp/n.img --json 2> /dev/null | grep -q '"state": "broken"'; }
