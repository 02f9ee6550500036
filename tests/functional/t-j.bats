#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-J: views of a point in time, and what T-C says of reading through one.
load lib

V=/dev/mapper/v

# begin ID OPTION...: like start, of any kind; cut_begin: like cut_start
begin() {
	local id=$1
	shift
	msg backup start "$id" target="${TARGET:-$T}" auto_dismiss=0 "$@" && wait_for 60 started "$id"
}
cut_begin() {
	dmsetup suspend f
	snap ref
	msg backup start "$1" target="${TARGET:-$T}" auto_dismiss=0 "${@:2}" || { dmsetup resume f; return 1; }
	wait_for 60 started "$1"
	dmsetup resume f
}

# view NAME [JOB] [OPTION...]: NAME shows job j's, or JOB's, point in time
view() {
	local name=$1 job=${2:-j}
	shift $(($# < 2 ? $# : 2))
	dmsetup create "$name" "${@---readonly}" \
		--table "0 $(sectors_of "${ORIGIN:-$S}") backup-view ${ORIGIN:-$S} $(devno "${FILTERDEV:-$F}") $job"
}
# sees NAME [DEV]: all of the view, read at once, is what "snap NAME" kept
sees() { dd if="${2:-$V}" bs=1M iflag=direct status=none | cmp - "/tmp/snap-$1"; }
# cannot_read OFFSET LENGTH [DEV]
cannot_read() {
	local at len
	bytes at "$1" && bytes len "$2"
	! dd if="${3:-$V}" of=/dev/null bs=512 skip=$((at / 512)) count=$((len / 512)) iflag=direct status=none 2> /dev/null
}
# from SOURCE: sectors that the view has read from there
from() {
	local f
	f=" $(dmsetup status v) "
	f=${f#*" $1 "}
	echo "${f%% *}"
}
view_is() { [[ $(dmsetup status "${2:-v}") == *" $1 "* ]]; }

@test "C1 C2 C6 sync=none: the view is the origin at the start, the destination has what was overwritten" {
	filter
	snap ref
	begin j sync=none
	view v
	sees ref
	[ "$(from dest)" = 0 ]
	w 0x5e 0 512
	is 0x5e 0 512 "$F"
	[ "$(job guest_copied j)" = 128 ]
	w 0x5f 512 512
	[ "$(job guest_copied j)" = 128 ]
	# across a border, and misaligned
	w 0x60 $((8388608 + 65536 - 512)) 1K
	[ "$(job guest_copied j)" = 384 ]
	sees ref
	[ "$(from dest)" -gt 0 ]
	is 0xff 64K 1M "$T" # nothing else was copied
	cmp -n 65536 "$T" /tmp/snap-ref
	cmp "$S" "$F"
	dmsetup remove v
	msg job cancel j
	finished j 60 cancelled
}

@test "C6 random writes of all sizes: the view stays as it was" {
	filter
	writers
	cut_begin j sync=none
	view v
	for _ in 1 2 3 4; do
		sees ref
	done
	fio --name=r --filename="$V" --readonly --direct=1 --ioengine=libaio --iodepth=16 --rw=randread \
		--bssplit=512/20:3k/10:64k/50:256k/20 --size="${SIZE_MB}M" --io_size=32M --output=/tmp/fio-r.out
	sees ref
	writers_end
	sees ref
	cmp "$S" "$F"
}

@test "C18 checkpoints while everything is written: the next view is of then" {
	filter
	writers
	begin j sync=none
	view v
	refused 'is viewed: its point in time' msg job checkpoint j
	dmsetup remove v
	for round in 1 2 3 4 5 6; do
		dmsetup suspend f
		snap ref
		msg job checkpoint j
		dmsetup resume f
		view v
		sees ref
		sees ref
		dmsetup remove v
	done
	[ "$(job checkpoints j)" = 6 ]
	writers_end
	cmp "$S" "$F"
}

@test "J1 scattered writes: old data, old zeroes" {
	dd if=/dev/zero of="$S" bs=1M count=$SIZE_MB oflag=direct status=none
	w 0x5d 0 64K "$S"
	w 0xd5 1M 64K "$S"
	w 0xdc 8M 64K "$S"
	w 0xcd $((16777216 - 65536)) 64K "$S"
	filter
	begin j sync=none
	view v
	w 0xab 0 64K
	w 0xad $((1048576 - 32768)) 64K
	w 0x1d $((8388608 + 32768)) 64K
	w 0xea $((16777216 - 131072 + 32768)) 64K
	is 0x5d 0 64K "$V"
	is 0 $((1048576 - 32768)) 32K "$V"
	is 0xd5 1M 64K "$V"
	is 0xdc 8M 64K "$V"
	is 0 $((8388608 + 65536)) 32K "$V"
	is 0 $((16777216 - 131072)) 64K "$V"
	is 0xcd $((16777216 - 65536)) 64K "$V"
	is 0xab 0 64K "$F"
	is 0xad $((1048576 - 32768)) 64K "$F"
	is 0x1d $((8388608 + 32768)) 64K "$F"
	is 0xea $((16777216 - 131072 + 32768)) 64K "$F"
}

@test "J2 a view can't be written, whatever its table" {
	filter
	snap ref
	begin j sync=none
	view v
	[ "$(blockdev --getro "$V")" = 1 ]
	fails w 0x11 0 4K "$V"
	dmsetup remove v
	dmsetup create v --table "0 $SECTORS backup-view $S $(devno "$F") j"
	fails w 0x11 0 4K "$V"
	fails blkdiscard -z -o 0 -l 64K "$V"
	sees ref
	same ref "$S"
}

@test "J2 what is refused" {
	filter
	id=$(devno "$F")
	refused_table "no such job" "0 $SECTORS backup-view $S $id j"
	refused_table "no such backup filter" "0 $SECTORS backup-view $S 1:99 j"
	begin j sync=none
	refused_table "Three arguments" "0 $SECTORS backup-view $S $id"
	refused_table "not the filter's origin" "0 $SECTORS backup-view /dev/ram2 $id j"
	refused_table "Length is not" "0 $((SECTORS - 8)) backup-view $S $id j"
	[ "$(job views j)" = 0 ]
	view v
	[ "$(job views j)" = 1 ]
	[ "$(dmsetup table v)" = "0 $SECTORS backup-view $(devno "$S") $id j" ]
	for m in "" "nonsense" "discard" "discard 1" "discard 0+0" "discard $SECTORS+1" "discard 0+$((SECTORS + 1))"; do
		# shellcheck disable=SC2086
		fails dmsetup message v 0 $m
	done
	msg job cancel j
	finished j 60 cancelled
	refused_table "not any more" "0 $SECTORS backup-view $S $id j"
}

@test "J3 limited to a bitmap: the rest can't be read, and is not copied for" {
	filter
	msg bitmap add b
	w 0x21 1M 64K
	w 0x22 4M 128K
	begin j sync=bitmap bitmap=b bitmap_mode=never speed=1
	msg job pause j
	before=$(job guest_copied j)
	view v
	is 0x21 1M 64K "$V"
	is 0x22 4M 128K "$V"
	cannot_read 0 64K
	cannot_read $((1048576 + 65536)) 512
	cannot_read $((4194304 - 512)) 1K # partly is not at all
	w 0x33 0 256K
	[ "$(job guest_copied j)" = "$before" ]
	w 0x34 $((4194304 + 4096)) 4K
	is 0x22 4M 128K "$V"
	is 0x34 $((4194304 + 4096)) 4K "$F"
	# it ends like any other, and reads on
	msg job resume j
	go j
	finished j
	is 0x22 4M 128K "$V"
	cannot_read 0 64K
}

@test "J3 limited to what is allocated: what is written later was not" {
	filter
	msg bitmap add a
	w 0x21 1M 8M
	begin j sync=top allocated=a speed=1
	w 0x22 12M 64K
	view v
	is 0x21 1M 8M "$V"
	cannot_read 12M 4K
}

# A whole bucket of readers that begin before, and one copy that is quick.
@test "J4 a write waits for who reads what it overwrites, and for nobody else" {
	# the second half of a read of two clusters takes as long as we like
	slow s2 "$S" 0 0
	half=$((SECTORS / 2 + 128)) # in the middle of what is read
	dmsetup create s --table "0 $half linear $S 0
$half $((SECTORS - half)) linear /dev/mapper/s2 $half"
	make_filter f /dev/mapper/s
	ORIGIN=/dev/mapper/s
	begin j sync=none
	snap ref
	view v
	w 0x71 1M 4K # saved: nobody waits here any more
	slow_set s2 "$S" 60000 0
	at=$((half * 512 - 65536))
	for i in {1..16}; do
		dd if="$V" of=/tmp/snap-r$i bs=128K iflag=direct,skip_bytes skip=$at count=1 status=none &
	done
	wait_for 60 reads 16
	w 0x72 $at 4K &
	wait_for 20 someone_waits
	# its own copy has been made by now, or will be in no time; it waits for the readers
	timeout 30 quick write "$F" 0x73 1048576 4096
	[ "$(status held)" = 1 ]
	cmp -n 65536 -i "$at" "$S" /tmp/snap-ref
	# who comes now reads the buffer, and does not wait
	timeout 30 dd if="$V" of=/tmp/snap-r17 bs=64K iflag=direct,skip_bytes skip=$at count=1 status=none
	cmp -n 65536 -i "0:$at" /tmp/snap-r17 /tmp/snap-ref
	[ "$(from memory)" = 128 ]
	slow_set s2 "$S" 0 0
	wait
	[ "$(status held)" = 0 ]
	for i in {1..16}; do
		cmp -n 131072 -i "0:$at" /tmp/snap-r$i /tmp/snap-ref
	done
	is 0x72 $at 4K "$F"
	sees ref
}
reads() {
	local n
	read -r n _ < "/sys/dev/block/$(devno "$V")/inflight"
	[[ $n == "$1" ]]
}

@test "J4 a reader that takes too long costs the point in time, not the write" {
	slow s2 "$S" 0 0
	half=$((SECTORS / 2 + 128)) # in the middle of what is read
	dmsetup create s --table "0 $half linear $S 0
$half $((SECTORS - half)) linear /dev/mapper/s2 $half"
	make_filter f /dev/mapper/s
	ORIGIN=/dev/mapper/s
	begin j sync=none cbw_timeout=1000
	view v
	slow_set s2 "$S" 60000 0
	at=$((half * 512 - 65536))
	dd if="$V" of=/tmp/snap-r1 bs=128K iflag=direct,skip_bytes skip=$at count=1 status=none 2> /tmp/snap-err &
	reader=$!
	wait_for 60 reads 1
	timeout 60 quick write "$F" 0x72 $at 4096
	finished j 60 broken
	view_is broken
	cannot_read 0 512
	slow_set s2 "$S" 0 0
	fails wait $reader
	is 0x72 $at 4K "$F"
}

@test "J5 a discard on the view: done with this" {
	nullb memory_backed=1 size="$SIZE_MB" discard=1
	dd if=/tmp/fill-t of="$nullb" bs=1M oflag=direct status=none
	filter
	snap ref
	to "$nullb" begin j sync=none
	dmsetup create v --table "0 $SECTORS backup-view $S $(devno "$F") j"
	w 0x41 0 128K
	wait_for 20 staged_is 128
	cmp -n 131072 "$nullb" /tmp/snap-ref
	blkdiscard -o 0 -l 8M "$V"
	cannot_read 0 512
	cannot_read $((8388608 - 512)) 512
	# space that it took is given back, and nothing more is taken
	is 0 0 128K "$nullb"
	copied=$(job guest_copied j)
	w 0x42 0 1M
	[ "$(job guest_copied j)" = "$copied" ]
	# the rest is as it was, and unaligned ends stay
	dmsetup message v 0 discard $((16384 + 1))+$((128 + 128 + 126))
	cannot_read $((8388608 + 65536)) 512
	cannot_read $((8388608 + 131072 - 512)) 512
	cmp -n 65536 -i 8388608 "$V" /tmp/snap-ref
	cmp -n 65536 -i $((8388608 + 131072)) "$V" /tmp/snap-ref
	w 0x43 9M 64K
	cmp -n 65536 -i 9437184 "$V" /tmp/snap-ref
	# another view of the same sees the same
	view v2
	cannot_read 0 512 /dev/mapper/v2
	cmp -n 65536 -i 9437184 /dev/mapper/v2 /tmp/snap-ref
}

@test "J5 a discard on the view of a job with a bitmap leaves the earlier backup on the target" {
	nullb memory_backed=1 size="$SIZE_MB" discard=1
	filter
	msg bitmap add b
	to "$nullb" start full bitmap=b bitmap_mode=on_success
	finished full
	msg job dismiss full
	wait_for 5 no_jobs
	snap ref
	w 0x61 1M 64K
	w 0x62 4M 4K
	to "$nullb" begin j sync=bitmap bitmap=b bitmap_mode=never speed=1
	msg job pause j
	view v
	msg job resume j
	go j
	finished j
	is 0x61 1M 64K "$V"
	dmsetup message v 0 discard "0+$SECTORS"
	is 0 1M 64K "$nullb"
	is 0 4M 64K "$nullb"
	cmp -n 1048576 "$nullb" /tmp/snap-ref
	cmp -i $((1048576 + 65536)) -n 65536 "$nullb" /tmp/snap-ref
	cmp -i $((4194304 + 65536)) "$nullb" /tmp/snap-ref
}

@test "J5 a discard does not wait for ever for a copy that waits for its job" {
	broken t "$T" 1M 1M
	filter
	to /dev/mapper/t start j on_target_error=stop
	wait_for 60 stopped j
	dmsetup create v --table "0 $SECTORS backup-view $S $(devno "$F") j"
	timeout 60 blkdiscard -o 0 -l 4M "$V"
	cannot_read 3M 4K
	timeout 60 dmsetup remove v
}
stopped() { [[ $(state "$1") == paused ]]; }

@test "J5 what is discarded needs no copy: a full backup has less to do" {
	filter
	snap ref
	start j speed=1
	msg job pause j
	view v
	done=$(job done j)
	dmsetup message v 0 discard 0+$((SECTORS / 2))
	[ "$(job total j)" -lt "$SECTORS" ]
	msg job resume j
	go j
	finished j
	[ "$(job done j)" = "$(job total j)" ]
	cmp -n 8388608 -i 8388608 "$T" /tmp/snap-ref
	cmp -n 8388608 -i 8388608 "$V" /tmp/snap-ref
	cannot_read 4M 4K
	dmsetup remove v
	# a bitmap that is to lose its bits does not go with that
	msg job dismiss j
	wait_for 5 no_jobs
	msg bitmap add b
	w 0x11 0 8M
	begin j sync=bitmap bitmap=b bitmap_mode=on_success speed=1
	view v
	fails dmsetup message v 0 discard 2048+128
	go j
	finished j
}
no_jobs() { [[ -z $(msg job list) ]]; }

@test "J6 a full pull through the view while the backup itself runs" {
	filter
	writers
	cut_start j speed=4194304
	view v
	sees ref
	go j
	sees ref
	finished j
	same ref "$T"
	sees ref
	writers_end
}

@test "J6 after success the view reads on, without job and without filter" {
	filter
	snap ref
	start j speed=1
	view v
	go j
	finished j
	view_is complete
	w 0x77 0 8M
	sees ref
	# the target is the view's, and no orphan
	no_orphans
	fails dmsetup create x --table "0 2048 linear $T 0"
	refused "in use" msg backup start k target="$T" sync=full
	msg job dismiss j
	wait_for 5 no_jobs
	sees ref
	dmsetup remove f
	sees ref
	dmsetup remove v
	dmsetup create x --table "0 2048 linear $T 0" # it is closed
	dmsetup remove x
	filter
	start j
	finished j
}

# used_of ZRAM: how much it holds, bytes
used_of() { awk '{ print $1 }' "/sys/block/${1##*/}/mm_stat"; }

@test "J7 pushed through a view to a target that hangs: writes go on, what was moved is given back" {
	modprobe zram num_devices=0 || skip "no zram"
	local nr at zram
	nr=$(</sys/class/zram-control/hot_add) zram=/dev/zram$nr
	echo $((SECTORS * 512)) > "/sys/block/zram$nr/disksize"
	slow t "$T" 0 0
	filter
	writers
	to "$zram" cut_begin j sync=none
	dmsetup create v --table "0 $SECTORS backup-view $S $(devno "$F") j"
	for ((at = 0; at < SIZE_MB; at++)); do
		if ((at == SIZE_MB / 2)); then
			hang t
			dd if="$V" of=/dev/mapper/t bs=1M skip=$at seek=$at count=1 iflag=direct oflag=direct status=none &
			before=$(writes_ended)
			wait_for 60 more_writes $((before + 100))
			unhang t
			wait $!
		else
			dd if="$V" of=/dev/mapper/t bs=1M skip=$at seek=$at count=1 iflag=direct oflag=direct status=none
		fi
		dmsetup message v 0 discard $((at * 2048))+2048
		# at most what is not moved yet is on the fleece
		(($(used_of "$zram") <= (SIZE_MB - at - 1) * 1048576)) || { used_of "$zram"; return 1; }
	done
	same ref "$T"
	writers_end
	state_is j running
	cmp "$S" "$F"
	[ "$(used_of "$zram")" = 0 ]
	dmsetup remove v
	msg job cancel j
	finished j 60 cancelled
}

# thin_fleece MIB: /dev/mapper/fleece, a thin device whose pool has so much; grown MIB
thin_fleece() {
	dd if=/dev/zero of=/dev/ram3 bs=1M count=1 oflag=direct status=none
	dmsetup create pool --table "0 $(($1 * 2048)) thin-pool /dev/ram3 /dev/ram2 128 0 1 error_if_no_space"
	dmsetup message pool 0 "create_thin 0"
	dmsetup create fleece --table "0 $SECTORS thin /dev/mapper/pool 0"
}
grown() {
	dmsetup load pool --table "0 $(($1 * 2048)) thin-pool /dev/ram3 /dev/ram2 128 0 1 error_if_no_space"
	dmsetup resume pool
}
has_failed() { [[ $(job first_error "$1") == write:*:-28 ]]; }

@test "J8 a fleece that is full costs the point in time, not the writes" {
	thin_fleece 2
	filter
	snap ref
	to /dev/mapper/fleece begin j sync=none cbw_timeout=2000
	view v
	w 0x31 0 1M
	sees ref
	w 0x32 4M 4M
	is 0x32 4M 4M "$F"
	finished j 60 broken
	[[ $(job first_error j) == write:*:-28 ]]
	cannot_read 0 4K
	cannot_read 12M 4K
	is 0x31 0 1M "$F"
	is 0x32 4M 4M "$F"
	cmp "$S" "$F"
	dmsetup remove v
}

@test "J8 a fleece that is full and is extended in time: nothing is lost" {
	thin_fleece 2
	filter
	snap ref
	to /dev/mapper/fleece begin j sync=none cbw_timeout=300000
	view v
	w 0x32 4M 4M
	wait_for 60 has_failed j
	is 0x32 4M 4M "$F"
	sees ref
	grown 16
	wait_for 60 staged_is 128 # what the job has in reserve
	state_is j running
	sees ref
	w 0x33 10M 2M
	sees ref
	dmsetup remove v
	msg job cancel j
	finished j 60 cancelled
}

@test "J9 a job that ends takes its views along" {
	filter
	begin j sync=none
	view v
	view v2
	sees_it=$(dd if=$V bs=4k count=1 iflag=direct status=none | md5sum)
	msg job cancel j
	finished j 60 cancelled
	view_is ended
	cannot_read 0 4K
	msg job dismiss j
	wait_for 5 no_jobs
	dmsetup remove f
	cannot_read 1M 64K /dev/mapper/v2
	dmsetup remove v
	dmsetup remove v2
	no_orphans
	[ -n "$sees_it" ]
}

@test "J9 removal of the filter, and of the view, under readers" {
	for _ in 1 2 3; do
		filter
		begin j sync=none
		view v
		for _ in 1 2 3 4; do
			fio --name=r --filename="$V" --readonly --direct=1 --ioengine=libaio --iodepth=8 --rw=randread \
				--bs=64k --size="${SIZE_MB}M" --time_based --runtime=60 --output=/dev/null 2> /dev/null &
		done
		wait_for 30 origin_was_read
		w 0x55 2M 1M
		dmsetup remove f
		wait
		dmsetup remove v
		dd if=/tmp/fill-s of="$S" bs=1M oflag=direct status=none
	done
}
origin_was_read() { [[ $(from origin) -gt 1000 ]]; }

@test "J9 a target that fails: never newer data" {
	broken t "$T" 1M 1M
	filter
	snap ref
	to /dev/mapper/t begin j sync=none cbw_timeout=1000
	view v
	w 0x51 0 64K
	sees ref
	w 0x52 1M 64K # staged, and can't be written
	cmp -n 65536 -i 1048576 "$V" /tmp/snap-ref
	finished j 60 broken
	cannot_read 1M 4K
	cannot_read 8M 4K
	is 0x52 1M 64K "$F"
}

@test "J9 a target that hangs: what is staged is read from memory" {
	slow t "$T" 0 0
	filter
	snap ref
	to /dev/mapper/t begin j sync=none
	view v
	hang t
	w 0x51 0 64K
	w 0x52 4M 4K
	timeout 60 dd if="$V" of=/tmp/snap-all bs=1M iflag=direct status=none
	cmp /tmp/snap-all /tmp/snap-ref
	[ "$(from memory)" -ge 256 ]
	unhang t
	wait_for 20 staged_is 128
	sees ref
}

@test "J9 suspend, resume and reload of filter and view" {
	filter
	writers
	cut_begin j sync=none
	view v
	for _ in 1 2 3; do
		dmsetup suspend f
		sees ref &
		dmsetup resume f
		wait $!
		dmsetup suspend v
		dmsetup resume v
		dmsetup load v --readonly --table "$(dmsetup table v)"
		dmsetup resume v
		dmsetup load f --table "$(dmsetup table f)"
		dmsetup suspend --noflush f
		dmsetup resume f
		sees ref
	done
	[ "$(job views j)" = 1 ]
	writers_end
	sees ref
}

# read_behind OFFSET: a read of 64K of the view that does not end yet: its process is $reader
read_behind() {
	local at
	bytes at "$1"
	dd if=$V of=/tmp/snap-behind bs=64K skip=$((at / 65536)) count=1 iflag=direct status=none 3>&- &
	reader=$!
	wait_for 20 is_read $V
}
is_read() { # DEV
	local reads
	read -r reads _ < "/sys/dev/block/$(devno "$1")/inflight"
	((reads > 0))
}
# got OFFSET: that read has ended, with what was there at the start
got() {
	local at
	bytes at "$1"
	wait $reader
	cmp -n 65536 -i "$at:0" /tmp/snap-ref /tmp/snap-behind
}

@test "J9 a suspended filter: the origin is read when it goes on, what is saved at once" {
	filter
	snap ref
	begin j sync=none
	view v
	w 0x61 4M 64K
	dmsetup suspend f
	read_behind 8M
	timeout 60 dd if=$V of=/tmp/snap-saved bs=64K skip=64 count=1 iflag=direct status=none
	cmp -n 65536 -i 4194304:0 /tmp/snap-ref /tmp/snap-saved
	is_read $V
	dmsetup resume f
	got 8M
	# through a reload, and what is written then
	dmsetup suspend --noflush f
	read_behind 9M
	dmsetup load f --table "$(dmsetup table f)"
	dmsetup resume f
	w 0x62 8M 2M
	got 9M
	sees ref
}

@test "J9 a suspend of the filter waits for the view's reads of the origin" {
	slow o "$S" 0 0
	make_filter f /dev/mapper/o
	snap ref
	begin j sync=none
	ORIGIN=/dev/mapper/o view v
	slow_set o "$S" 8000 0
	read_behind 8M
	dmsetup suspend f
	wait_for 2 fails is_read $V # it has been told, or is about to be
	got 8M
	slow_set o "$S" 0 0
	dmsetup resume f
}

@test "J9 written below a suspended filter: no view shows it" {
	slow o "$S" 0 0 # it counts what is written
	make_filter f /dev/mapper/o
	begin j sync=none
	ORIGIN=/dev/mapper/o view v
	dmsetup suspend f
	w 0x63 8M 64K /dev/mapper/o
	read_behind 8M
	dmsetup resume f
	fails wait $reader
	finished j 60 error
	view_is broken || view_is ended
}

@test "J9 another table in a suspended filter's place, or none: who waits gets an error" {
	filter
	begin j sync=none
	view v
	dmsetup suspend f
	read_behind 8M
	dmsetup load f --table "0 $SECTORS backup-pass $S"
	dmsetup resume f
	w 0x64 8M 64K
	fails wait $reader
	cannot_read 8M 64K
	dmsetup remove v
	dmsetup remove f
	# the device goes
	filter
	begin j sync=none
	view v
	dmsetup suspend f
	read_behind 8M
	timeout 60 dmsetup remove f
	fails wait $reader
	dmsetup remove v
}

@test "J9 a job that ends while its filter is suspended: who waits gets an error, at once" {
	filter
	begin j sync=none
	to /dev/ram2 begin k sync=none
	view v
	dmsetup suspend f
	read_behind 8M
	msg job cancel j
	fails wait $reader
	dmsetup remove v
	finished j 60 cancelled
	# the other one has not
	view v k
	read_behind 8M
	dmsetup resume f
	wait $reader
}

@test "J6 eight points in time, each with its view, on one filter" {
	dmsetup create s --table "0 4096 linear $S 0"
	make_filter f /dev/mapper/s
	ORIGIN=/dev/mapper/s
	for i in 0 1 2 3 4 5 6 7; do
		dmsetup create "t$i" --table "0 4096 linear $T $((i * 4096))"
		to "/dev/mapper/t$i" begin "j$i" sync=none
		view "v$i" "j$i"
		snap "v$i" /dev/mapper/s
		w "0x1$i" $((i * 65536)) 128K
		w "0x2$i" 1M 4K
	done
	for i in 0 1 2 3 4 5 6 7; do
		sees "v$i" "/dev/mapper/v$i"
	done
	w 0x33 0 2M
	for i in 7 6 5 4 3 2 1 0; do
		sees "v$i" "/dev/mapper/v$i"
	done
}

@test "J10 what can be read is what the bitmap says, cluster by cluster" {
	local c all=$((SECTORS / 128)) start length
	w 0x77 0 "${SIZE_MB}M" "$S"
	filter
	msg bitmap add b granularity=128
	RANDOM=10
	for ((c = 0; c < 40; c++)); do
		w 0x77 $((RANDOM % all * 65536 + RANDOM % 128 * 512)) 512
	done
	w 0x77 $((SECTORS * 512 - 512)) 512
	local -a dirty=()
	while read -r start length; do
		for ((c = start / 128; c < (start + length) / 128; c++)); do
			dirty[c]=1
		done
	done <<< "$(ranges b)"
	echo "${#dirty[@]} of $all clusters"
	((${#dirty[@]} > 20))
	begin j sync=bitmap bitmap=b bitmap_mode=never speed=1
	msg job pause j
	w 0x78 0 "${SIZE_MB}M"
	view v
	for ((c = 0; c < all; c++)); do
		if [[ -n ${dirty[c]:-} ]]; then
			is 0x77 $((c * 65536)) 64K "$V"
		else
			fails is 0x77 $((c * 65536)) 64K "$V" 2> /dev/null
			fails is 0x78 $((c * 65536)) 64K "$V" 2> /dev/null
		fi
	done
}

@test "C5 a mounted file system is read through a view" {
	mkfs.ext4 -q "$S"
	filter
	mkdir -p /mnt/a /mnt/b
	mount "$F" /mnt/a
	echo before > /mnt/a/marker
	begin j sync=none freeze=1
	view v
	echo after > /mnt/a/marker
	dd if=/dev/urandom of=/mnt/a/file bs=64k count=40 conv=fsync status=none
	mount -o ro,noload "$V" /mnt/b
	[ "$(cat /mnt/b/marker)" = before ]
	[ ! -e /mnt/b/file ]
	umount /mnt/b
	e2fsck -fn "$V"
	umount /mnt/a
}
