#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-K: mirrors whose destination takes the origin's place.
load lib
load mirrors

@test "K1 complete: the destination takes the origin's place, the table says so" {
	filter
	mirror m auto_finalize=0
	refused "is in use|claimed" to "$T" mirror n
	wait_state m ready
	w 0x5d 3M 4K
	msg job complete m
	finished m
	[[ $(job pivoted m) == 1 ]]
	origin_is "$T"
	same_as "$S" "$T"
	snap old
	w 0x61 6M 64K
	is 0x61 6M 64K "$T"
	is 0x61 6M 64K "$F"
	same old "$S"
	# it is claimed all the time, and only the new origin can be loaded
	run mkfs.ext4 -q "$T"
	[ "$status" != 0 ]
	run dmsetup load f --table "0 $SECTORS backup $S"
	[ "$status" != 0 ]
	dmesg | grep "Origin was left by a pivot"
	onto "$T"
	origin_is "$T"
	w 0x62 7M 64K
	is 0x62 7M 64K "$T"
	same old "$S"
	# the old origin is free, and can be pivoted back to
	dismiss m
	mkfs.ext4 -q "$S"
	to "$S" mirror m
	wait_state m ready
	msg job complete m
	finished m
	origin_is "$S"
	same_as "$S" "$T"
}

@test "K2 pivots back and forth under load lose nothing" {
	local d i mode=(background write_blocking)
	filter
	writers --size=8M
	keep 8M
	for ((i = 0; i < ${PIVOTS:-20} / 2; i++)); do
		for d in "$T" "$S"; do
			to "$d" mirror m copy_mode="${mode[i % 2]}"
			wait_state m ready 120
			msg job complete m
			finished m 120
			origin_is "$d"
			onto "$d"
			dismiss m
		done
	done
	keep_end
	writers_end
	w 0x19 1M 4K
	is 0x19 1M 4K "$S"
}

@test "K4 K15 what keeps a mirror from completing" {
	filter
	mirror m
	wait_state m ready
	to /dev/ram2 start j speed=1
	refused "can't take the origin's place while another job reads it" msg job complete m
	msg job cancel j force
	finished j 30 cancelled
	# a table that was loaded before would bring the old origin back
	dmsetup load f --table "0 $SECTORS backup $S"
	msg job complete m
	wait_state m standby
	[[ $(job cause m) == *"while another table is loaded" ]]
	origin_is "$S"
	dmsetup clear f
	# whoever resumes it need not know that it was to complete
	msg job resume m
	wait_state m ready
	w 0x45 3M 64K
	wait_for 10 same_as "$S" "$T"
	origin_is "$S"
	msg job pause m
	wait_state m standby
	refused "is paused: resume it first" msg job complete m
	msg job resume m
	wait_state m ready
	msg job complete m
	finished m
	origin_is "$T"
	refused "complete is not possible" msg job complete m
}

@test "K4 K15 a table of the twin is another table, too, and brings no old data back" {
	filter
	mirror m
	wait_state m ready
	dmsetup load f --table "0 $SECTORS backup-pass $S"
	msg job complete m
	wait_state m standby
	[[ $(job cause m) == *"while another table is loaded" ]]
	origin_is "$S"
	dmsetup clear f
	msg job resume m
	wait_state m ready
	w 0x45 3M 64K
	msg job complete m
	finished m
	origin_is "$T"
	refused_load "it has old data" "0 $SECTORS backup-pass $S"
	dmsetup load f --table "0 $SECTORS backup-pass $T"
	dmsetup resume f
	is 0x45 3M 64K "$F"
	# The filter has gone: nobody knows of that any more.
	dmsetup load f --table "0 $SECTORS backup-pass $S"
}

@test "a mirror whose filter has a smaller buffer now goes on, and completes" {
	filter
	mirror m
	wait_state m ready
	msg job pause m
	wait_state m standby
	dmsetup load f --table "0 $SECTORS backup $S 2 buffer 3000"
	dmsetup resume f
	w 0x22 4M 1M
	msg job resume m
	wait_for 20 same_as "$S" "$T"
	wait_state m ready
	msg job complete m
	finished m
	[[ $(job attempts m) == 0 ]]
}

@test "K15 cancelled or paused while it completes, it stays where it is" {
	dmsetup create t --table "0 $SECTORS linear $T 0"
	filter
	to /dev/mapper/t mirror m
	wait_state m ready
	hang t
	msg job complete m
	[[ $(job completing m) == 1 ]]
	refused "is being completed" msg job complete m
	msg job pause m
	[[ $(job completing m) == 0 ]]
	msg job resume m
	unhang t
	w 0x46 3M 64K
	wait_for 10 same_as "$S" "$T"
	origin_is "$S"
	hang t
	msg job complete m
	msg job cancel m
	unhang t
	finished m
	origin_is "$S"
	[[ $(job pivoted m) == 0 ]]
}

@test "K a job goes on over another origin, if that is said to have the same contents" {
	filter
	cut_start j speed=1
	dd if="$S" of=/dev/ram2 bs=1M iflag=direct oflag=direct status=none
	w 0x47 3M 64K /dev/ram2
	w 0x47 3M 64K
	refused_load "Origin can't change while jobs exist" "0 $SECTORS backup /dev/ram2"
	msg origin same "$(devno /dev/ram2)"
	onto /dev/ram2
	origin_is /dev/ram2
	w 0x48 12M 64K
	is 0x48 12M 64K /dev/ram2
	go j
	finished j 60
	same ref "$T"
	# of one table only
	to "$S" start k speed=1
	dmsetup create x --table "0 $SECTORS linear /dev/ram3 0"
	refused_load "Origin can't change while jobs exist" "0 $SECTORS backup /dev/mapper/x"
	msg job cancel k force
	finished k 30 cancelled
}
@test "K14 completing while the destination hangs: writes go on, then it pivots" {
	dmsetup create t --table "0 $SECTORS linear $T 0"
	filter
	to /dev/mapper/t mirror m
	wait_state m ready
	writers
	hang t
	msg job complete m
	sleep 1
	before=$(writes_ended)
	wait_for 30 more_writes "$before"
	[[ $(dmsetup table f) == "0 $SECTORS backup $(devno "$S")" ]]
	unhang t
	finished m 120
	origin_is /dev/mapper/t
	writers_end
}

@test "K14 a destination that hangs does not take the origin's place, with nothing left to copy" {
	dmsetup create t --table "0 $SECTORS linear $T 0"
	filter
	to /dev/mapper/t mirror m
	wait_state m ready
	hang t # it has no cache: a flush does not get there
	msg job complete m
	sleep 3
	w 0x44 3M 64K
	origin_is "$S"
	unhang t
	finished m 120
	origin_is /dev/mapper/t
	is 0x44 3M 64K "$T"
}

@test "K14 writes are stopped in vain, and go on, until the rest can be copied in time" {
	plain_filter
	slow t "$T" 0 0
	to /dev/mapper/t mirror m
	wait_state m ready
	slow_set t "$T" 0 60000
	writers --size=2M # little enough for the end to be tried
	msg job complete m
	wait_for 60 in_vain m 1
	before=$(writes_ended)
	wait_for 30 more_writes "$before"
	wait_for 60 in_vain m 2
	origin_is /dev/mapper/s
	slow_set t "$T" 0 0
	finished m 120
	origin_is /dev/mapper/t
	writers_end
}
@test "K14 writes are stopped for 2 s at most when the flush that is to end it hangs" {
	nth t "$T"
	plain_filter
	to /dev/mapper/t mirror m
	wait_state m ready
	one_in 3 stopped_for_2s || { FILTER=t msg calm; false; }
	w 0x55 5M 4K # it hangs yet
	[[ $(job pivoted m) == 0 ]]
	origin_is /dev/mapper/s
	FILTER=t msg calm
	finished m 120
	origin_is /dev/mapper/t
	is 0x54 3M 4K "$T"
	is 0x55 5M 4K "$T"
}

# A flush comes before writes are stopped, the next one while they are. What stalls is the
# one before when it is tried again.
stopped_for_2s() {
	local n stalled=
	n=$(job attempts m)
	FILTER=t msg stall flush $((n ? 1 : 2))
	time_writes 3M
	{ [[ $(job completing m) == 1 ]] || msg job complete m; } &&
		wait_for 30 in_vain m $((n + 1)) && someone_stalls t && stalled=1
	time_writes_end
	echo "longest: $longest ms"
	[[ -n $stalled ]] && ((longest >= 1000 && longest <= 3500))
}

@test "K14 while a mirror ends in vain others are cut, and no table comes in" {
	plain_filter
	slow t "$T" 0 0
	dmsetup create g --table "0 $SECTORS backup /dev/ram2"
	FILTER=g msg bitmap add b
	to /dev/mapper/t mirror m
	wait_state m ready
	slow_set t "$T" 0 600000
	w 0x41 1M 64K # takes longer than writes may be stopped for
	msg job complete m
	wait_for 60 in_vain m 1
	refused_load "about to take the origin's place" "0 $SECTORS backup /dev/mapper/s"
	one_in 3 cuts_beside
	slow_set t "$T" 0 0
	finished m 120
	origin_is /dev/mapper/t
	same_as "$S" "$T"
}
# For as long as an end takes to be tried again: none of g's cuts waits for its two seconds
cuts_beside() {
	local n from at longest=0
	n=$(job attempts m) from=$(now_ms)
	until ((at > from + 10000)); do
		at=$(now_ms)
		FILTER=g msg bitmap clear b || return 1
		(($(now_ms) - at <= longest)) || longest=$(($(now_ms) - at))
	done
	echo "longest: $longest ms"
	in_vain m $((n + 1)) && ((longest < 1500))
}

@test "K13 a destination that another device has claimed meanwhile does not take the origin's place" {
	plain_filter
	cached
	flaky t "$nullb"
	to /dev/mapper/t mirror m
	wait_state m ready
	ill t "$nullb"
	msg job complete m
	wait_state m standby # by now the filter's table has claimed it
	dmsetup create x --table "0 8 linear /dev/mapper/t 0"
	well t "$nullb"
	msg job resume m
	wait_state m ready
	msg job complete m
	finished m 30 error
	[[ $(job cause m) == "destination /dev/mapper/t was claimed by others" ]]
	origin_is /dev/mapper/s
	w 0x33 2M 4K
	is 0x33 2M 4K "$S"
	dismiss m
	dmsetup remove x

	# nor is it called a copy
	to /dev/mapper/t mirror m
	wait_state m ready
	ill t "$nullb"
	msg job complete m
	wait_state m standby
	dmsetup create x --table "0 8 linear /dev/mapper/t 0"
	well t "$nullb"
	msg job resume m
	wait_state m ready
	msg job cancel m
	finished m 30 error
	[[ $(job cause m) == "destination /dev/mapper/t was claimed by others" ]]
	dmsetup remove x
}

@test "K13 on standby it refuses no table: the claim follows, and there it completes" {
	plain_filter
	cached
	flaky t "$nullb"
	to /dev/mapper/t mirror m
	wait_state m ready
	ill t "$nullb"
	msg job complete m
	wait_state m standby
	table="0 $SECTORS backup /dev/mapper/s"
	# not with a claim of its own, nor over the destination itself
	run command dmsetup load f --readonly --table "$table"
	[ "$status" != 0 ]
	quick log | tail -n 5 | grep "can't be claimed, too: cancel it by force"
	msg origin same "$(devno /dev/mapper/t)"
	refused_load "Origin is a mirror's destination" "0 $SECTORS backup /dev/mapper/t"
	for i in 1 2; do
		dmsetup load f --table "$table 2 buffer 6553$i"
		dmsetup clear f
		dmsetup load f --table "$table 2 buffer 6553$i"
		dmsetup resume f
		run quick exclusive /dev/mapper/t
		[ "$status" != 0 ]
	done
	w 0x35 3M 4K
	well t "$nullb"
	msg job resume m
	wait_state m ready
	msg job complete m
	finished m
	[[ $(dmsetup table f) == "0 $SECTORS backup $(devno /dev/mapper/t) 2 buffer 65532" ]]
	is 0x35 3M 4K "$nullb"
	dmsetup remove f

	make_filter f /dev/mapper/s
	to /dev/mapper/t mirror m
	wait_state m ready
	ill t "$nullb"
	msg job complete m
	wait_state m standby
	dmsetup load f --table "$table"
	msg job cancel m force
	finished m 30 cancelled
	quick exclusive /dev/mapper/t
	dmsetup resume f
	w 0x36 3M 4K
	is 0x36 3M 4K "$S"
}

@test "K15 while it completes a table is refused, until it is paused" {
	dmsetup create t --table "0 $SECTORS linear $T 0"
	filter
	to /dev/mapper/t mirror m
	wait_state m ready
	hang t
	msg job complete m
	wait_for 30 has_claimed f
	refused_load "wait for that, or pause it" "0 $SECTORS backup $S"
	msg job pause m
	dmsetup load f --table "0 $SECTORS backup $S"
	dmsetup resume f
	unhang t
	wait_state m standby
	msg job resume m
	wait_state m ready
	msg job complete m
	finished m
	origin_is /dev/mapper/t
}
# Is there another device in its table than the origin?
has_claimed() { [[ $(command dmsetup deps "$1") == 2* ]]; }

@test "K13 a destination that answers that it timed out has failed, and was not too slow" {
	nth t "$T"
	plain_filter
	to /dev/mapper/t mirror m
	wait_state m ready
	# the one before writes are stopped, and the one after that
	FILTER=t msg time_out flush 2
	msg job complete m
	wait_state m standby
	[[ $(job cause m) == "flushing destination /dev/mapper/t failed" && $(job attempts m) == 0 ]]
	origin_is /dev/mapper/s
	# what it has lost is not known
	dd if=/tmp/fill-t of="$T" bs=1M conv=notrunc oflag=direct status=none
	w 0x37 3M 4K
	msg job resume m
	wait_for 60 synced m
	wait_for 10 same_as "$S" "$T"
	msg job complete m
	finished m
	origin_is /dev/mapper/t
	same_as "$S" "$T"
}

@test "K16 back to where it came from: only what was written since is copied" {
	filter
	mirror m
	wait_state m ready
	msg bitmap add b
	msg job complete m
	finished m
	onto "$T"
	dismiss m
	w 0x71 3M 64K
	w 0x72 9M 64K
	to "$S" by_bitmap m on_success
	wait_state m ready
	[[ $(job done m) == 256 ]]
	w 0x73 12M 64K
	msg job complete m
	finished m
	origin_is "$S"
	same_as "$S" "$T"
	[ "$(ranges b)" = "24576 128" ] # since the start
}

@test "K a suspend, and a reload, while a mirror completes" {
	dmsetup create t --table "0 $SECTORS linear $T 0"
	filter
	to /dev/mapper/t mirror m
	wait_state m ready
	dmsetup suspend f
	msg job complete m
	sleep 0.3
	dmsetup resume f
	finished m
	origin_is /dev/mapper/t
	w 0x19 1M 4K
	is 0x19 1M 4K "$T"
}

@test "K flushes and FUA reach the new origin, also when the old one has no cache" {
	cached
	filter
	grep -q "write through" "/sys/dev/block/$(devno "$S")/queue/write_cache"
	to "$nullb" mirror m
	wait_state m ready
	msg job complete m
	finished m
	before=$(flushes "$nullb")
	quick flush "$F"
	[[ $(flushes "$nullb") -gt $before ]]
	dmsetup remove f

	plain_filter
	grep -q "write through" "/sys/dev/block/$(devno /dev/mapper/s)/queue/write_cache"
	logging l
	to /dev/mapper/l mirror m
	wait_state m ready
	msg job complete m
	finished m
	FILTER=l msg mark pivoted
	durably 0x74 3M
	FILTER=l msg mark written
	quick flush "$F"
	is 0x74 3M 4K "$T"
	dmsetup remove f
	dmsetup remove l
	logged pivoted | grep -x "6144 8 2"
	logged written | grep -x "0 0 1"
}

@test "K what has taken the origin's place would survive a power cut" {
	logging logged
	# what is written during the flush before writes are stopped is for the one after
	dmsetup create d --table "0 $SECTORS delay /dev/mapper/logged 0 0"
	dmsetup create t --table "0 $SECTORS linear /dev/mapper/d 0"
	plain_filter
	to /dev/mapper/t mirror m
	wait_state m ready
	w 0x71 1M 256K
	wait_for 20 same_as "$F" /dev/mapper/t
	dmsetup load d --table "0 $SECTORS delay /dev/mapper/logged 0 0 /dev/mapper/logged 0 0 /dev/mapper/logged 0 60000"
	dmsetup resume d
	msg job complete m
	wait_for 60 t_is_written
	w 0x72 5M 4K
	quick flush "$F"
	dmsetup load d --table "0 $SECTORS delay /dev/mapper/logged 0 0"
	dmsetup resume d
	finished m
	[ "$(job pivoted m)" = 1 ]
	FILTER=logged msg mark pivoted
	origin_is /dev/mapper/t
	snap ref "$F"
	w 0x73 9M 64K # this may be lost
	is 0x71 1M 256K "$F"
	is 0x72 5M 4K "$F"
	dmsetup remove f
	dmsetup remove t
	dmsetup remove d
	dmsetup remove logged
	cp /tmp/fill-t /tmp/durable
	quick durable "$log" pivoted /tmp/durable
	cmp /tmp/durable /tmp/snap-ref
	rm /tmp/durable /tmp/log
}
t_is_written() { local F=/dev/mapper/t; in_flight; }

@test "K the utility moves what it has opened; what others have made, only if told to" {
	dmbackup open "$S" f
	writers
	dmbackup mirror f --to "$T" --pivot
	origin_is "$T"
	writers_end
	w 0x33 2M 4K
	is 0x33 2M 4K "$T"
	no_jobs
	dmbackup close f

	make_filter f "$T"
	run dmbackup mirror f --to "$S" --pivot --allow-larger
	[ "$status" = 5 ]
	[[ $output == *"would bring the old data back"* ]]
	no_jobs
	id=$(dmbackup mirror f --to "$S" --wait)
	[[ $(state "$id") == ready ]]
	run dmbackup job complete f
	[ "$status" = 5 ]
	dmbackup job cancel f
	dmbackup job wait f
	same_as "$S" "$T"
	dmbackup mirror f --to "$S" --wait
	run dmbackup job complete f --without-lvm
	[ "$status" = 0 ]
	[[ $output == *"would bring the old data back"* ]]
	origin_is "$S"
	no_jobs
}

@test "K16 K17 the utility: there and back by a bitmap; only what comes now; what does not go together" {
	dmbackup open "$S" f
	id=$(dmbackup mirror f --to "$T" --wait)
	dmbackup bitmap add f b
	dmbackup job complete f "$id"
	origin_is "$T"
	w 0x71 3M 64K
	id=$(dmbackup mirror f --to "$S" --bitmap b --wait --force)
	[[ $(job sync "$id") == bitmap && $(job bitmap_mode "$id") == on_success && $(job done "$id") == 128 ]]
	dmbackup job complete f "$id"
	origin_is "$S"
	same_as "$S" "$T"
	[ "$(count b)" = 0 ]
	# the same already
	id=$(dmbackup mirror f --to "$T" --sync none --wait --force)
	[[ $(job done "$id") == 0 ]]
	w 0x72 5M 64K
	dmbackup job cancel f "$id"
	dmbackup job wait f "$id"
	same_as "$S" "$T"
	id=$(dmbackup mirror f --to "$T" --bitmap b --bitmap-mode never --wait --force)
	dmbackup job cancel f "$id"
	dmbackup job wait f "$id"
	[ "$(count b)" = 1 ]
	run dmbackup mirror f --to "$T" --bitmap-mode never --force
	[[ $status == 2 && $output == *"--bitmap-mode goes with --bitmap"* ]]
	run dmbackup mirror f --to "$T" --sync full --bitmap b --force
	[[ $status == 5 && $output == *"with sync=bitmap only"* ]]
	run dmbackup mirror f --to "$T" --sync bitmap --force
	[[ $status == 5 && $output == *"needs a bitmap"* ]]
	no_jobs
	dmbackup close f --force
}
