#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# J7, J8 and what else is particular to fleecing: copies for guests' writes go to a fast
# device first, and are moved to the destination.
load lib

V=/dev/mapper/v
FL=/dev/ram2
T2=/dev/mapper/t # what can be made to hang

# begin OPTION...: j copies one chunk and then as good as nothing
begin() {
	start j fleece="$FL" speed=1 "$@" && wait_for 20 done_is_at_least 128
}
done_is_at_least() { [[ $(job done j) -ge $1 ]]; }
overwritten() { [[ $(job fleeced "$1") -ge $2 ]]; } # JOB SECTORS
# fleeced_is SECTORS: they are there, and nothing else is on its way: memory is what is
# set aside for the job.
fleeced_is() { [[ $(job fleeced j) == "$1" && $(staged) == 128 ]]; }
# What a page holds must differ from the next, or memory is not needed for it.
scattered() { # FIRST_MIB COUNT: overwrites every second cluster of so many MiB
	local i
	for ((i = 0; i < $2 * 8; i++)); do
		w $((0x60 + i % 32)) $(($1 * 1048576 + i * 131072)) 4K || return 1
	done
}
# zram: $zram, a device that takes memory for what is on it only. Where there is none it
# is another one that discards, and how much that takes is not known.
zram() {
	local nr
	if modprobe zram num_devices=0 2> /dev/null; then
		nr=$(</sys/class/zram-control/hot_add) zram=/dev/zram$nr
		echo $((SECTORS * 512)) > "/sys/block/zram$nr/disksize"
	else
		nullb memory_backed=1 size="$SIZE_MB" discard=1 || skip "no zram, no null_blk"
		zram=$nullb
	fi
}
zram_bytes() {
	local f
	read -r -a f < "/sys/block/${zram#/dev/}/mm_stat"
	echo "${f[0]}"
}
zram_is() { [[ ! -e /sys/block/${zram#/dev/}/mm_stat || $(zram_bytes) == "$1" ]]; }
# hanging: T2, over T
hanging() { dmsetup create t --table "0 $SECTORS linear $T 0"; }
view() {
	dmsetup create v --readonly --table "0 $SECTORS backup-view $S $(devno "$F") j"
}
sees() { dd if="$V" bs=1M iflag=direct status=none | cmp - "/tmp/snap-$1"; }
from() {
	local f
	f=" $(dmsetup status v) "
	f=${f#*" $1 "}
	echo "${f%% *}"
}
# Nobody has it open any more.
free_again() { dmsetup create x --table "0 $SECTORS linear $1 0" && dmsetup remove x; }

@test "J7 guests' copies go to the fleece device, and are moved" {
	filter
	snap ref
	begin
	w 0x5e 8M 4K
	w 0x5f $((12582912 + 65536 - 512)) 1K
	wait_for 20 fleeced_is 384
	[ "$(job guest_copied j)" = 384 ]
	[ "$(job done j)" = 2048 ]
	is 0xff 8M 64K "$T"
	cmp -n 65536 -i 8388608 "$FL" /tmp/snap-ref
	cmp -n 131072 -i 12582912 "$FL" /tmp/snap-ref
	[ "$(job fleece j)" = "$FL" ]
	go j
	finished j
	same ref "$T"
	is 0x5e 8M 4K "$F"
	[ "$(job fleeced j)" = 0 ]
	[ "$(job fleece_peak j)" = 384 ]
	wait_for 20 free_again "$FL"
	msg job dismiss j
}

@test "J7 random writes of all sizes: the destination is one instant, and what is on the fleece device goes" {
	zram
	filter
	FL=$zram
	writers
	cut_start j fleece="$zram" cluster=8 max_chunk=64 speed=1
	wait_for 60 overwritten j 8192
	go j
	finished j 120
	same ref "$T"
	[ "$(job fleece_peak j)" -ge 8192 ]
	[ "$(job fleeced j)" = 0 ]
	wait_for 20 zram_is 0
	cut_start k fleece="$zram" detect_zeroes=unmap speed=1
	wait_for 60 overwritten k 8192
	go k
	finished k 120
	same ref "$T"
	wait_for 20 zram_is 0
	writers_end
	cmp "$S" "$F"
}

@test "J7 a destination that does not move: no writer waits, whatever they overwrite" {
	hanging
	filter buffer 4096 cbw_timeout 0
	snap ref
	to "$T2" begin
	hang t
	# Five times the buffer, and nothing of it can be on the destination.
	timeout 120 dd if=/dev/zero of="$F" bs=64K seek=96 count=160 oflag=direct status=none
	wait_for 20 fleeced_is 20480
	[ "$(status held)" = 0 ]
	[ "$(staged)" -le 4096 ]
	# Nor with the background at work.
	msg job set_speed j 0
	timeout 120 dd if=/dev/zero of="$F" bs=64K seek=32 count=64 oflag=direct status=none
	[ "$(status held)" = 0 ]
	unhang t
	finished j
	same ref "$T"
}

@test "J7 on_cbw_error=break_guest_write: the fleece device is waited for, the destination is not" {
	hanging
	slow fl "$FL" 0 0
	filter cbw_timeout 0
	snap ref
	FL=/dev/mapper/fl
	to "$T2" begin on_cbw_error=break_guest_write
	hang t
	timeout 60 dd if=/dev/zero of="$F" bs=64K seek=96 count=16 oflag=direct status=none
	msg job set_speed j 0
	timeout 60 dd if=/dev/zero of="$F" bs=64K seek=32 count=32 oflag=direct status=none
	slow_set fl /dev/ram2 0 60000
	w 0x5e 14M 4K &
	wait_for 20 someone_waits
	quick sleep 200
	someone_waits
	slow_set fl /dev/ram2 0 0
	wait $!
	unhang t
	finished j
	same ref "$T"
}

@test "J7 space is given back as it is moved" {
	local round at i
	zram
	filter
	FL=$zram
	snap ref
	begin max_chunk=128
	for round in 0 1 2 3; do
		at=$((15 - 2 * round))
		scattered $at 1
		wait_for 20 fleeced_is 1024
		wait_for 20 zram_is 524288
		# Each time it is told its speed one copy goes: what is on it comes first.
		for ((i = 1; i <= 8; i++)); do
			msg job set_speed j 1
			wait_for 20 fleeced_is $((1024 - i * 128))
			zram_is $((524288 - i * 65536))
		done
	done
	[ "$(job fleece_peak j)" -le 1280 ]
	go j
	finished j
	same ref "$T"
	wait_for 20 zram_is 0
}

@test "J7 a view reads what is on the fleece device, and what was moved" {
	filter
	snap ref
	begin
	view
	scattered 8 4
	wait_for 20 fleeced_is 4096
	sees ref
	[ "$(from fleece)" -ge 4096 ]
	go j
	sees ref
	wait_state j concluded
	sees ref
	# The view does not keep it.
	wait_for 20 free_again "$FL"
	dmsetup remove v
	finished j
	same ref "$T"
}

@test "J7 who reads a cluster on the fleece device has it until that is read" {
	local reader before
	slow t "$T" 0 0
	zram
	slow fl "$zram" 0 0
	filter
	snap ref
	FL=/dev/mapper/fl
	to "$T2" begin max_chunk=128
	view
	w 0x5e 8M 4K
	wait_for 20 fleeced_is 128
	# It is read, for the destination, which takes its time. Nothing else is copied...
	slow_set t "$T" 0 60000
	before=$(reads_ended "$zram")
	msg job set_speed j 1
	wait_for 20 more_reads "$zram" "$before"
	# ...and by somebody who takes a minute.
	slow_set fl "$zram" 60000 0
	dd if="$V" of=/tmp/cluster bs=64K skip=128 count=1 iflag=direct status=none &
	reader=$!
	wait_for 20 view_is_read
	slow_set t "$T" 0 0
	wait_for 20 done_is_at_least 256
	quick sleep 300
	fleeced_is 128
	zram_is 65536
	slow_set fl "$zram" 0 0
	wait $reader
	cmp -n 65536 -i 0:8388608 /tmp/cluster /tmp/snap-ref
	wait_for 20 fleeced_is 0
	zram_is 0
	sees ref
	go j
	wait_state j concluded
	dmsetup remove v
	finished j
	same ref "$T"
}
view_is_read() { is_read "$V"; }
read_has_begun() { view_is_read || [[ -s /tmp/cluster ]]; }
is_read() { # DEV
	local reads
	read -r reads _ < "/sys/dev/block/$(devno "$1")/inflight"
	((reads > 0))
}
reads_ended() { # DEV
	local reads
	read -r reads _ < "/sys/dev/block/$(devno "$1")/stat"
	echo "$reads"
}
more_reads() { (($(reads_ended "$1") > $2)); }

@test "J7 what is being moved is on the fleece device, not on the origin" {
	local reader
	rm -f /tmp/cluster
	zram
	# what dm-delay keeps does not count as in flight on it, but it does above
	slow s "$zram" 0 0
	dmsetup create fl --table "0 $SECTORS linear /dev/mapper/s 0"
	filter
	snap ref
	FL=/dev/mapper/fl
	begin max_chunk=256
	view
	w 0x5e 8256K 4K
	wait_for 20 fleeced_is 128
	slow_set s "$zram" 60000 0
	msg job set_speed j 1 # one chunk more, and that is the one
	wait_for 20 is_read "$FL"
	# One read of this cluster and the one before, which is on the origin only.
	dd if="$V" of=/tmp/cluster bs=128K skip=64 count=1 iflag=direct status=none &
	reader=$!
	wait_for 20 read_has_begun
	slow_set s "$zram" 0 0
	wait $reader
	cmp -n 131072 -i 0:8388608 /tmp/cluster /tmp/snap-ref
	go j
	wait_state j concluded
	dmsetup remove v
	finished j
	same ref "$T"
}

@test "J5 what a view is done with is not moved, and its space is given back" {
	zram
	filter
	snap ref
	FL=$zram
	begin
	view
	scattered 8 4
	wait_for 20 fleeced_is 4096
	dmsetup message v 0 discard $((8 * 2048))+4096
	[ "$(job fleeced j)" = 2048 ]
	zram_is 1048576
	fails dd if="$V" of=/dev/null bs=64K skip=128 count=1 iflag=direct status=none
	dmsetup message v 0 discard 2048+$((SECTORS - 2048))
	[ "$(job fleeced j)" = 0 ]
	zram_is 0
	finished j
	dmsetup remove v
	cmp -n 1048576 "$T" /tmp/snap-ref
	# Some RAM disks discard.
	is 0xff 8M 4M "$T" || is 0 8M 4M "$T"
}

@test "J8 a fleece device that fails: what it does not take goes to the destination" {
	broken fl "$FL" 8M 4M
	filter
	snap ref
	FL=/dev/mapper/fl
	begin
	scattered 6 4
	wait_for 20 fleeced_is 2048
	wait_for 20 done_is_at_least 4096 # the other half is there already
	[ "$(job errors j)" -gt 0 ]
	[ "$(job io_status j)" = failed ]
	go j
	finished j
	same ref "$T"
}

@test "J8 a fleece device that is full, and a destination that hangs: on_cbw_error decides" {
	hanging
	broken fl "$FL" 8M 4M
	filter buffer 1024
	FL=/dev/mapper/fl
	to "$T2" begin cbw_timeout=500
	hang t
	timeout 120 dd if=/dev/zero of="$F" bs=64K seek=128 count=64 oflag=direct status=none
	wait_for 20 job_is_over
	unhang t
	finished j 60 broken
	wait_for 20 no_orphans
	is 0 8M 4M "$F"
}
# More than the reserve. What is being moved comes first.
something_is_staged() { (($(staged) > 128)); }
job_is_over() { [[ $(state j) =~ ^(aborting|concluded)$ ]]; }

@test "J8 a fleece device that can't be read: on_source_error" {
	dmsetup create fl --table "0 $SECTORS linear $FL 0"
	filter
	snap ref
	FL=/dev/mapper/fl
	begin on_source_error=stop
	scattered 8 2
	wait_for 20 fleeced_is 2048
	dmsetup load fl --table "0 $SECTORS error"
	dmsetup resume --noflush fl
	go j
	wait_state j paused
	[ "$(job fleeced j)" = 2048 ]
	healed fl /dev/ram2
	msg job resume j
	finished j
	same ref "$T"
	msg job dismiss j

	begin on_source_error=report
	w 0x77 8M 4K
	wait_for 20 fleeced_is 128
	dmsetup load fl --table "0 $SECTORS error"
	dmsetup resume --noflush fl
	go j
	finished j 60 error
	[[ $(job cause j) == "reading fleece device sector 16384 failed"* ]]
}

@test "J8 a destination that can't be written: on_target_error" {
	hanging
	filter
	snap ref
	to "$T2" begin on_target_error=stop
	scattered 8 2
	wait_for 20 fleeced_is 2048
	dmsetup load t --table "0 $SECTORS error"
	dmsetup resume --noflush t
	go j
	wait_state j paused
	w 0x12 14M 64K
	healed t "$T"
	msg job resume j
	finished j
	same ref "$T"
}

@test "J8 a fleece device that hangs: bounded, an orphan, and its filter can go" {
	dmsetup create fl --table "0 $SECTORS linear $FL 0"
	filter buffer 1024
	FL=/dev/mapper/fl
	begin cbw_timeout=500
	hang fl
	timeout 120 dd if=/dev/zero of="$F" bs=64K seek=96 count=64 oflag=direct status=none
	held_within 500
	finished j 60 broken
	# The destination, too, as long as there is something that was to go there.
	[[ " $(</sys/module/dm_backup/parameters/orphans) " == *" $(devno "$FL") "* ]]
	is 0 6M 4M "$F"
	# The same with what is being moved.
	unhang fl
	wait_for 20 no_orphans
	msg job dismiss j
	begin
	w 0x66 14M 4K
	wait_for 20 fleeced_is 128
	hang fl
	go j
	wait_for 20 something_is_staged
	dmsetup remove f
	fails no_orphans
	unhang fl
	wait_for 20 no_orphans
}

@test "J8 cancel, suspend, reload and removal with something on the fleece device" {
	filter
	snap ref
	begin
	scattered 8 2
	wait_for 20 fleeced_is 2048
	dmsetup suspend f
	dmsetup resume f
	dmsetup reload f --table "0 $SECTORS backup $S"
	dmsetup resume f
	fleeced_is 2048
	msg job pause j
	wait_state j paused
	w 0x31 14M 4K
	wait_for 20 fleeced_is 2176
	msg job set_speed j 0
	quick sleep 300
	fleeced_is 2176
	msg job cancel j force
	finished j 60 cancelled
	wait_for 20 free_again "$FL"
	wait_for 20 free_again "$T"
	msg job dismiss j
	snap ref
	begin
	w 0x32 13M 4K
	dmsetup remove f
	wait_for 20 free_again "$FL"
	wait_for 20 free_again "$T"
}

@test "E a bitmap: what was not moved is not on the destination" {
	local mode
	filter
	msg bitmap add b granularity=8
	w 0x41 4M 8M
	snap before "$T"
	for mode in always on_success; do
		msg backup start j target="$T" fleece="$FL" sync=bitmap bitmap=b bitmap_mode=$mode auto_dismiss=0 speed=1 max_chunk=128
		wait_for 20 done_is_at_least 128
		scattered 8 1
		wait_for 20 fleeced_is 1024
		msg job cancel j
		finished j 60 cancelled
		msg job dismiss j
		# One cluster was copied. The guest wrote, and made dirty, 4 KiB of each of the others.
		has b 2032
	done
	snap ref
	msg backup start j target="$T" fleece="$FL" sync=incremental bitmap=b auto_dismiss=0 speed=1 max_chunk=128
	wait_for 20 done_is_at_least 128
	w 0x55 11M 4K
	wait_for 20 fleeced_is 128
	go j
	finished j
	has b 1
	cmp -n 7340032 -i $((4194304 + 65536)) "$T" /tmp/snap-ref
}

@test "A what a start with a fleece device refuses, changing nothing" {
	filter
	snap ref
	dmsetup create small --table "0 $((SECTORS / 2)) linear /dev/ram3 0"
	dmsetup create ro --readonly --table "0 $SECTORS linear /dev/ram3 0"
	r() { msg backup start j target="$T" sync=full "$@"; }
	refused "fleece device $T is the destination" r fleece="$T"
	refused "fleece device $S is (in use|the origin)" r fleece="$S"
	refused "fleece device /dev/nothing does not exist" r fleece=/dev/nothing
	refused "fleece device /dev/mapper/small has $((SECTORS / 2)) sectors, the origin $SECTORS" r fleece=/dev/mapper/small
	refused "fleece device /dev/mapper/ro is (read-only|in use)" r fleece=/dev/mapper/ro
	refused "fleece device /dev/null is not a block device" r fleece=/dev/null
	refused "sync=none moves nothing" msg backup start j target="$T" sync=none fleece="$FL"
	[ -z "$(msg job list)" ]
	wait_for 20 free_again "$T"
	wait_for 20 free_again "$FL"
	dmsetup create large --table "0 $SECTORS linear $FL 0
$SECTORS 2048 linear /dev/ram3 0"
	refused "fleece device /dev/mapper/large has $((SECTORS + 2048)) sectors" r fleece=/dev/mapper/large
	r fleece=/dev/mapper/large allow_larger=1 auto_dismiss=0
	finished j
	same ref "$T"
}
