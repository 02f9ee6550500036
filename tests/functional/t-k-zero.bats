#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-K: what mirrors do about zeroes. The destination is a file, so its blocks can be
# counted.
load lib
load mirrors

BYTES=$((8 << 20)) # of s, the origin, and of the destination

# dest [FULL]: $loop, over a file that is sparse, or holds 0xff
dest() {
	mkdir -p /mnt/d
	mkfs.ext4 -q -O ^has_journal /dev/ram2
	mount /dev/ram2 /mnt/d
	refill "$@"
	loop=$(losetup -f --show /mnt/d/file)
	discarded=$(discards "$loop") # by who had that device before
}
refill() {
	truncate -s 0 /mnt/d/file
	[[ -z ${1:-} ]] || head -c $BYTES /tmp/fill-t > /mnt/d/file
	truncate -s $BYTES /mnt/d/file
	sync -f /mnt/d
}
# How much of the file has blocks, in KiB; a little more than its data may be.
kept() {
	sync -f /mnt/d
	echo $(($(stat -c %b /mnt/d/file) / 2))
}
# source_is OFFSET LENGTH: s, which is zero but there
source_is() {
	dmsetup create s --table "0 $((BYTES / 512)) linear $S 0"
	w 0x00 0 $BYTES "$S"
	w 0x11 "$1" "$2" "$S"
	make_filter f /dev/mapper/s
}
discards() {
	local f
	read -r -a f < "/sys/class/block/${1##*/}/stat"
	echo "${f[11]}"
}
other() { SIZE_MB=$((BYTES >> 20)) memory other "$@"; } # $other: one more, in memory
zeroed() { [[ $(job zeroed "$1") == $((BYTES / 512)) ]]; }
to_loop() { to "$loop" mirror "$@"; }
leave() {
	msg job cancel "$1"
	finished "$1"
	same_as /dev/mapper/s "${2:-$loop}"
	dismiss "$1"
}

@test "K10 zeroes free the destination's space, or keep it with unmap=0; nothing is discarded" {
	dest
	source_is 2M 1M
	for unmap in 1 0; do
		refill full
		to_loop m unmap=$unmap
		wait_state m ready
		w 0x12 3M 64K
		w 0x00 2M 512K
		leave m
		((unmap ? $(kept) <= 1536 : $(kept) >= BYTES / 1024))
	done
	[ "$(discards "$loop")" = "$discarded" ]
}

@test "K10 zeroed first: it costs no speed, and zeroes are not written again" {
	dest
	source_is 2M 64K
	for unmap in 1 0; do
		refill full
		to_loop m zero_target=1 unmap=$unmap speed=1
		wait_for 60 zeroed m
		is 0x00 0 $BYTES "$loop" # the one copy that 1 byte/s allows is of zeroes
		((unmap ? $(kept) <= 64 : $(kept) >= BYTES / 1024))
		go m
		wait_state m ready
		leave m
		((unmap ? $(kept) <= 256 : $(kept) >= BYTES / 1024))
	done
	[ "$(discards "$loop")" = "$discarded" ]
}

@test "K10 zeroed first, with writers all the time, in both modes" {
	dest full
	source_is 2M 64K
	for mode in background write_blocking; do
		SIZE_MB=8 writers
		to_loop m zero_target=1 copy_mode=$mode
		wait_state m ready 120
		writers_end
		wait_for 30 same_as /dev/mapper/s "$loop"
		leave m
		refill full
	done
}

@test "K10 K14 zeroed first, and it hangs: nobody waits; paused, cancelled, removed" {
	dest full
	source_is 2M 64K
	dmsetup create t --table "0 $((BYTES / 512)) linear $loop 0"
	to /dev/mapper/t mirror m zero_target=1 copy_mode=write_blocking cbw_timeout=0 speed=1
	wait_for 60 zeroed m
	msg job cancel m force
	finished m 30 cancelled
	dismiss m

	hang t
	to /dev/mapper/t mirror m zero_target=1 copy_mode=write_blocking cbw_timeout=0
	w 0x21 4M 64K # it is dirty, and zeroes are all that is written there
	msg job pause m
	[[ $(job zeroed m) == 0 && $(state m) == running ]]
	unhang t
	wait_state m paused
	msg job resume m
	wait_state m ready
	leave m /dev/mapper/t

	hang t
	to /dev/mapper/t mirror m zero_target=1
	w 0x22 4M 64K
	msg job cancel m force
	finished m 30 cancelled
	dismiss m
	unhang t
	wait_for 20 no_orphans
	hang t
	to /dev/mapper/t mirror m zero_target=1
	dmsetup remove f
	unhang t
	wait_for 20 no_orphans
}

@test "K10 one that can't write zeroes after all gets them as data" {
	dest full
	source_is 2M 64K
	dmsetup create t --table "0 $((BYTES / 512)) linear $loop 0"
	hang t
	to /dev/mapper/t mirror m zero_target=1
	dmsetup load t --table "0 $((BYTES / 512)) linear $T 0" # of 0xff
	unhang t
	wait_state m ready
	[[ $(job zeroed m) == 0 && $(job errors m) == 0 ]]
	leave m /dev/mapper/t
}

@test "K6 zeroes that fail: the policy decides, and they are tried again" {
	dest
	source_is 2M 64K
	# no room to keep them in
	dd if=/dev/zero of=/mnt/d/filler bs=64K status=none 2> /dev/null || true
	sync -f /mnt/d
	to_loop m zero_target=1 unmap=0
	finished m 60 error
	[[ $(job first_error m) == write:0:-* && $(job done m) == 0 ]]
	dismiss m
	to_loop m zero_target=1 unmap=0 on_target_error=stop
	wait_state m paused
	rm /mnt/d/filler
	sync -f /mnt/d
	msg job resume m
	wait_state m ready
	zeroed m
	leave m
	(($(kept) >= BYTES / 1024))
}

@test "A13 K10 what a start refuses; the utility's words" {
	dest full
	source_is 2M 64K
	refused "with sync=full, and not with target_is_zero" msg mirror start m target="$loop" sync=none zero_target=1
	refused "with sync=full, and not with target_is_zero" to_loop m zero_target=1 target_is_zero=1
	dmsetup create t --table "0 $((BYTES / 512)) linear $T 0"
	refused "destination /dev/mapper/t can't write zeroes" to /dev/mapper/t mirror m zero_target=1
	no_jobs
	id=$(dmbackup mirror f --to "$loop" --zero-target --no-unmap --wait)
	zeroed "$id"
	[[ $(job zero_target "$id") == 1 && $(job unmap "$id") == 0 ]]
	dmbackup job cancel f
	dmbackup job wait f
	same_as /dev/mapper/s "$loop"
	(($(kept) >= BYTES / 1024))
	id=$(dmbackup mirror f --to "$loop" --target-is-zero --wait --force)
	[[ $(job target_is_zero "$id") == 1 && $(job unmap "$id") == 1 ]]
	dmbackup job cancel f
	dmbackup job wait f
}

@test "A13 K a filter that does not say that it can write zeroes moves to what can't" {
	dest full
	make_filter f "$loop"
	modprobe null_blk nr_devices=0
	nullb size=$((BYTES >> 20)) memory_backed=1 blocksize=512 discard=1
	refused "can't write zeroes, the filter can" to "$nullb" mirror m
	dmsetup load f --table "0 $((BYTES / 512)) backup $loop 2 write_zeroes off"
	dmsetup resume f
	[[ $(dmsetup table f) == *" 2 write_zeroes off" ]]
	to "$nullb" mirror m
	wait_state m ready
	blkdiscard -z -o 1048576 -l 65536 "$F"
	wait_for 10 same_as "$loop" "$nullb"
	is 0 1048576 64K "$nullb"
	msg job complete m
	finished m
	blkdiscard -z -o 2097152 -l 65536 "$F"
	is 0 2097152 64K "$nullb"
	[[ $(dmsetup table f) == *"backup $(devno "$nullb") 2 write_zeroes off" ]]
	dmsetup remove f

	dmbackup open "$loop" f --no-write-zeroes
	[[ $(dmsetup table f) == *" 2 write_zeroes off" ]]
	dmbackup close f
	refused_table "write_zeroes" "0 8 backup $loop 2 write_zeroes maybe"
}

@test "A13 K a table that is loaded meanwhile and can do more: the destination stays one" {
	dest full
	make_filter f "$loop" write_zeroes off
	nullb size=$((BYTES >> 20)) memory_backed=1 blocksize=512 discard=1
	to "$nullb" mirror m
	wait_state m ready
	loaded "$loop"
	can_not "can't write zeroes, the filter can"
	w 0x31 3M 64K
	wait_for 10 same_as "$loop" "$nullb"
	loaded "$loop" write_zeroes off
	msg job complete m
	finished m
	[[ $(dmsetup table f) == *"backup $(devno "$nullb") 2 write_zeroes off" ]]
	same_as "$loop" "$nullb"
}

@test "A13 K another origin that has smaller blocks: the destination stays one" {
	dest full
	losetup -d "$loop"
	loop=$(losetup -f --show -b 4096 /mnt/d/file)
	other -b 4096
	make_filter f "$loop"
	to "$other" mirror m
	wait_state m ready
	dd if="$loop" of="$S" bs=1M iflag=direct oflag=direct status=none
	dmsetup create s --table "0 $((BYTES / 512)) linear $S 0"
	msg origin same "$(devno /dev/mapper/s)"
	loaded /dev/mapper/s
	can_not "has larger blocks than the filter"
	w 0x32 3M 512
	leave m "$other"
}

@test "A13 K a destination that is shorter when it is its turn stays one" {
	dmsetup create t --table "0 $SECTORS linear $T 0"
	filter
	to /dev/mapper/t mirror m
	wait_state m ready
	hang t
	msg job complete m
	dmsetup load t --table "0 $((SECTORS - 2048)) linear $T 0"
	unhang t
	wait_state m standby
	[[ $(job cause m) == "can't take the origin's place: its destination is shorter than the filter" ]]
	[[ $(dmsetup table f) == *"backup $(devno "$S")" ]]
}

@test "A13 K a destination that can do less when it is its turn stays one" {
	dest full
	make_filter f "$loop"
	other
	dmsetup create t --table "0 $((BYTES / 512)) linear $other 0"
	to /dev/mapper/t mirror m
	wait_state m ready
	nullb size=$((BYTES >> 20)) memory_backed=1 blocksize=512 discard=1
	dd if="$loop" of="$nullb" bs=1M iflag=direct oflag=direct status=none
	hang t
	msg job complete m
	dmsetup load t --table "0 $((BYTES / 512)) linear $nullb 0"
	unhang t
	wait_state m standby
	[[ $(job cause m) == "can't take the origin's place: its destination can't write zeroes, the filter can" ]]
	[[ $(dmsetup table f) == *"backup $(devno "$loop")" ]]
	msg job resume m
	wait_state m ready
	can_not "can't write zeroes, the filter can"
	w 0x33 3M 64K
	# it is as good a copy as before
	msg job cancel m
	finished m
	same_as "$loop" "$nullb"
}
