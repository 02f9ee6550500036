#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-K: mirrors.
load lib
load mirrors

@test "K1 a mirror gets ready, follows, and leaves a copy when it is cancelled" {
	filter
	mirror m
	wait_state m ready
	synced m
	same_as "$S" "$T"
	w 0x5e 5M 256K
	w 0x5f 512 512
	wait_for 10 same_as "$S" "$T"
	msg job cancel m
	finished m
	snap ref
	w 0x60 5M 256K
	same ref "$T"
	dismiss m
	mkfs.ext4 -q "$T" # it is free
}

@test "K2 with writers all the time: what is left is what they wrote" {
	filter
	writers
	mirror m
	wait_state m ready 120
	writers_end
	wait_for 30 same_as "$S" "$T"
	msg job cancel m
	finished m
	same_as "$S" "$T"
}

@test "K3 cancelled before it is ready, or by force" {
	filter
	mirror m speed=1
	msg job cancel m
	finished m 30 cancelled
	dismiss m
	mirror m
	wait_state m ready
	msg job cancel m force
	finished m 30 cancelled
}

@test "K4 complete is refused before it is ready" {
	filter
	mirror m speed=1
	refused "job 'm' is running: complete is not possible" msg job complete m
	msg job cancel m force
	finished m 30 cancelled
}

@test "A13 K5 small pieces, large granules, a length that is no multiple of them; pause" {
	local o
	for o in "buf_size=8" "granularity=1 max_chunk=8" "granularity=16" \
		"granularity=131072 max_chunk=64" "granularity=2048 buf_size=64"; do
		dd if=/tmp/fill-t of="$T" bs=1M oflag=direct status=none
		dmsetup create s --table "0 2050 linear $S 0"
		dmsetup create t --table "0 2050 linear $T 0"
		make_filter f /dev/mapper/s
		# shellcheck disable=SC2086
		to /dev/mapper/t mirror m $o
		msg job pause m
		wait_for 60 at_rest m
		w 0x42 $((2050 * 512 - 1024)) 1K
		msg job resume m
		go m
		wait_state m ready
		msg job cancel m
		finished m
		same_as /dev/mapper/s /dev/mapper/t
		dmsetup remove f
		dmsetup remove s
		dmsetup remove t
	done
}

@test "K5 runs are merged: writes of 1 MiB, or of max_chunk" {
	local chunk
	plain_filter
	for chunk in 2048 256; do
		logging l
		to /dev/mapper/l mirror m granularity=8 max_chunk=$chunk
		wait_state m ready
		msg job cancel m
		finished m
		same_as "$S" /dev/mapper/l
		dismiss m
		dmsetup remove l
		[ "$(logged | awk '$2 { print $2 " " $3 }' | sort | uniq -c | xargs)" = "$((SECTORS / chunk)) $chunk 0" ]
		losetup -d "$log"
		w 0x11 2M 64K # not the same each time
	done
	rm /tmp/log
}

@test "K5 in flight: no more than buf_size, in whole copies, and no more than 16 of these" {
	local case i
	plain_filter
	slow t "$T" 0 600000
	for case in "buf_size=512 max_chunk=256:512" "buf_size=640 max_chunk=256:512" "buf_size=64:64" \
		"granularity=8 max_chunk=8:128"; do
		# shellcheck disable=SC2086
		to /dev/mapper/t mirror m ${case%:*}
		wait_for 30 staged_is "${case#*:}"
		for ((i = 0; i < 10; i++)); do
			quick sleep 30
			staged_is "${case#*:}"
		done
		# and all of it is given back
		msg job cancel m force
		slow_set t "$T" 0 0
		finished m 60 cancelled
		wait_for 10 staged_is 0
		dismiss m
		wait_for 20 no_orphans
		slow_set t "$T" 0 600000
	done
	slow_set t "$T" 0 0
	to /dev/mapper/t mirror m buf_size=64
	wait_state m ready
	same_as "$S" "$T"
	staged_is 0
}

@test "K1 ready is said when the destination has been flushed" {
	plain_filter
	cached
	before=$(flushes "$nullb")
	to "$nullb" mirror m speed=1
	[[ $(flushes "$nullb") == "$before" ]]
	go m
	wait_state m ready
	[[ $(flushes "$nullb") -gt $before ]]
}

@test "K6 errors of the destination: report, stop, enospc; it goes on when healed" {
	plain_filter
	broken t "$T" 8M 64K
	TARGET=/dev/mapper/t
	mirror m on_target_error=report
	finished m 60 error
	[[ $(job first_error m) == write:16384:-5 ]]
	dismiss m

	mirror m on_target_error=enospc
	finished m 60 error
	dismiss m

	mirror m on_target_error=stop
	wait_state m paused
	[[ $(job io_status m) == failed ]]
	healed t "$T"
	msg job resume m
	wait_state m ready
	same_as "$S" "$T"
	msg job cancel m
	finished m
}

@test "K6 ready is withdrawn after an error, and regained" {
	plain_filter
	flaky t
	to /dev/mapper/t mirror m on_target_error=ignore
	wait_state m ready
	ill t
	w 0x77 3M 64K
	wait_for 30 withdrawn m
	[[ $(state m) == ready ]]
	refused "not in sync" msg job complete m
	well t
	wait_for 60 synced m
	wait_for 10 same_as "$S" "$T"
	[[ $(job events m) == 2 ]]
	msg job cancel m
	finished m
}

@test "K6 errors of the origin: one bad granule costs that granule" {
	broken s "$S" 1M 4K
	make_filter f /dev/mapper/s
	mirror m on_source_error=ignore
	wait_for 60 all_but_one m
	[[ $(job first_error m) == read:2048:-5 ]]
	healed s "$S"
	wait_state m ready
	same_as "$S" "$T"
	msg job cancel m
	finished m
}
all_but_one() { (($(job total "$1") - $(job done "$1") == 128 && $(job errors "$1") > 0)); }

@test "K10 a destination that is known to be zero is not written zeroes" {
	dd if=/dev/zero of="$S" bs=1M count="$SIZE_MB" oflag=direct status=none
	w 0x11 1M 64K "$S"
	truncate -s "${SIZE_MB}M" /tmp/sparse
	loop=$(losetup -f --show /tmp/sparse)
	filter
	# brd can't write zeroes, nor discard: nor can the filter
	to "$loop" mirror m target_is_zero=1 unmap=0
	wait_state m ready
	w 0x12 4M 64K
	w 0x00 4M 64K
	wait_for 10 same_as "$S" "$loop"
	msg job cancel m
	finished m
	same_as "$S" "$loop"
	sync
	[ "$(du -k /tmp/sparse | cut -f1)" -lt 512 ]
	losetup -d "$loop"
	rm /tmp/sparse
}

@test "K12 a start while others write loses nothing of that, 200 times" {
	local i
	dmsetup create s --table "0 2048 linear $S 0"
	dmsetup create t --table "0 2048 linear $T 0"
	make_filter f /dev/mapper/s
	for ((i = 0; i < 200; i++)); do
		burst $i 3>&- &
		to /dev/mapper/t mirror m
		wait $!
		wait_state m ready
		msg job cancel m
		finished m
		same_as /dev/mapper/s /dev/mapper/t || { echo "in round $i"; return 1; }
		dismiss m
	done
}
burst() {
	local n
	for ((n = 0; n < 16; n++)); do
		w $(($1 + n)) $(((n * 7 + $1) % 16 * 64))K 4K
	done
}

@test "K13 the flush at the end fails: standby, then resumed, or ended by force" {
	plain_filter
	cached
	flaky t "$nullb"
	to /dev/mapper/t mirror m
	wait_state m ready
	ill t "$nullb"
	msg job cancel m
	wait_state m standby
	[[ $(job cause m) == "flushing destination /dev/mapper/t failed" ]]
	[[ $(job io_status m) == failed ]]
	# A flush that failed may have been told once only, and what was written is lost.
	dd if=/tmp/fill-t of="$nullb" bs=1M count=$SIZE_MB conv=notrunc oflag=direct status=none
	well t "$nullb"
	w 0x31 2M 4K
	msg job resume m
	finished m
	same_as "$S" "$nullb"
	dismiss m

	to /dev/mapper/t mirror m
	wait_state m ready
	ill t "$nullb"
	msg job complete m
	wait_state m standby
	# the filter's table has claimed it by now
	refused_table 'under another backup filter' "0 $SECTORS backup /dev/mapper/t"
	# it has forgotten that it was to complete: who resumes it need not know
	refused "is paused: resume it first" msg job complete m
	[[ $(job completing m) == 0 ]]
	msg job cancel m force
	finished m 30 cancelled
	[[ $(dmsetup table f) == "0 $SECTORS backup $(devno /dev/mapper/s)" ]]
	w 0x32 2M 4K
	is 0x32 2M 4K "$S"
}

@test "K14 a destination that hangs holds up neither the cancelling nor the removal" {
	dmsetup create t --table "0 $SECTORS linear $T 0"
	filter
	to /dev/mapper/t mirror m speed=1048576
	hang t
	sleep 0.3
	msg job cancel m force
	finished m 10 cancelled
	dismiss m
	unhang t
	wait_for 20 no_orphans

	to /dev/mapper/t mirror m
	wait_state m ready
	hang t
	w 0x41 1M 64K # nobody waits for it
	dmsetup remove f
	unhang t
	wait_for 20 no_orphans
}

@test "K14 the end gives up while the destination hangs, and lets writes go" {
	dmsetup create t --table "0 $SECTORS linear $T 0"
	filter
	to /dev/mapper/t mirror m
	wait_state m ready
	writers
	hang t
	msg job cancel m
	sleep 1
	before=$(writes_ended)
	wait_for 30 more_writes "$before"
	unhang t
	writers_end
	finished m 120
}

@test "K a mirror outlives reloads and suspends, and ends with another length" {
	filter
	mirror m speed=4194304
	dmsetup suspend f
	dmsetup load f --table "0 $SECTORS backup $S 2 buffer 65536"
	dmsetup resume f
	w 0x22 7M 64K
	go m
	wait_state m ready
	dmsetup suspend --noflush f
	dmsetup resume f
	w 0x23 7M 4K
	wait_for 10 same_as "$S" "$T"
	[[ $(status budget) == 65536 ]]
	msg job cancel m
	finished m
}

@test "A13 K what a start refuses" {
	filter
	for g in 0 3 24 262144 -1 512B; do
		refused "granularity" mirror m granularity=$g
	done
	for b in 0 -1 x; do
		refused "buf_size" mirror m buf_size=$b
	done
	refused "sync" msg mirror start m target="$T" sync=incremental
	refused "is in use" to "$S" mirror m
	refused "is the filter itself" to "$F" mirror m
	# NOWAIT is what dm-delay does not have
	slow x /dev/ram2 0 0
	refused "has no REQ_NOWAIT, the filter has" to /dev/mapper/x mirror m
	dmsetup create t --table "0 $((SECTORS - 8)) linear $T 0"
	refused "has $((SECTORS - 8)) sectors, the origin $SECTORS" to /dev/mapper/t mirror m
	modprobe null_blk nr_devices=0
	nullb size="$SIZE_MB" memory_backed=1 blocksize=4096
	refused "has larger blocks than the filter" to "$nullb" mirror m
	no_jobs
}

@test "A13 K granules are no smaller than a block of either device" {
	memory o -b 4096
	memory d -b 4096
	memory e
	make_filter f "$o"
	for d in "$d" "$e"; do
		refused "granularity 4 is less than a block of 8 sectors" to "$d" mirror m granularity=4
		no_jobs
		to "$d" mirror m granularity=8
		wait_state m ready
		w 0x41 1M 4K
		w 0x42 3M 12K
		wait_for 10 same_as "$o" "$d"
		msg job cancel m
		finished m
		dismiss m
	done
}

@test "A13 K a destination that needs stable pages: the filter has to promise them" {
	nullb size=$((2 * SIZE_MB)) memory_backed=1 blocksize=512 discard=1
	echo 1 > "/sys/block/${nullb##*/}/queue/stable_writes"
	dmsetup create a --table "0 $SECTORS linear $nullb 0"
	dmsetup create b --table "0 $SECTORS linear $nullb $SECTORS"
	filter
	refused "destination .* needs stable pages, which the filter does not promise" to /dev/mapper/b mirror m
	no_jobs
	dmsetup remove f
	make_filter f /dev/mapper/a
	[[ $(< "/sys/dev/block/$(devno "$F")/queue/stable_writes") == 1 ]]
	for d in b a; do
		to "/dev/mapper/$d" mirror m
		wait_state m ready
		w 0x43 3M 64K
		msg job complete m
		finished m
		same_as /dev/mapper/a /dev/mapper/b
		onto "/dev/mapper/$d"
		dismiss m
	done
}

@test "A13 K a destination that wants memory aligned better than the filter does" {
	modprobe dm-crypt 2> /dev/null || true
	[[ $(command dmsetup targets) == *crypt* ]] || skip "no dm-crypt"
	memory o -b 4096
	memory d -b 4096
	crypt="0 $SECTORS crypt aes-xts-plain64 $(printf 'a%.0s' {1..64}) 0"
	dmsetup create c --table "$crypt $d 0 2 allow_discards sector_size:4096"
	make_filter f "$o"
	refused "destination .* wants memory aligned better than the filter does" to /dev/mapper/c mirror m
	no_jobs
	dmsetup remove f
	# what is aligned as well goes there
	dmsetup create s --table "$crypt $o 0 2 allow_discards sector_size:4096"
	make_filter f /dev/mapper/s
	to /dev/mapper/c mirror m
	wait_state m ready
	w 0x44 3M 64K
	msg job complete m
	finished m
	origin_is /dev/mapper/c
	same_as /dev/mapper/s /dev/mapper/c
}

@test "K a mirror and a backup at once" {
	filter
	writers
	mirror m
	msg bitmap add b
	to /dev/ram2 cut_start j speed=8388608
	go j
	finished j 120
	same ref /dev/ram2
	wait_state m ready 120
	writers_end
	wait_for 30 same_as "$S" "$T"
	msg job cancel m
	finished m
}

@test "K17 a mirror by a bitmap, and what becomes of that, for each mode and end" {
	local mode how left
	filter
	for how in soft force error; do
		for mode in never on_success always; do
			dd if="$S" of="$T" bs=1M iflag=direct oflag=direct status=none
			msg bitmap add b
			w 0x1 1M 64K
			dmsetup create t --table "0 $SECTORS linear $T 0"
			to /dev/mapper/t by_bitmap m $mode
			wait_state m ready
			[[ $(job done m) == 128 && $(bitmap busy b) == m ]]
			refused "in use by job 'm'" msg bitmap clear b
			w 0x2 2M 64K
			wait_for 10 same_as "$S" "$T"
			case $how in
			soft)
				msg job cancel m
				finished m
				;;
			force)
				msg job cancel m force
				finished m 30 cancelled
				;;
			error)
				dmsetup load t --table "0 $SECTORS error"
				dmsetup resume t
				w 0x3 2M 64K
				finished m 30 error
				;;
			esac
			left=$'2048 128\n4096 128'
			[[ $how != soft || $mode == never ]] || left="4096 128"
			[ "$(ranges b)" = "$left" ]
			[[ $(bitmap busy b) == - ]]
			# it says what the destination lacks, in any case
			dmsetup load t --table "0 $SECTORS linear $T 0"
			dmsetup resume t
			dismiss m
			w 0x4 3M 64K
			to /dev/mapper/t by_bitmap m on_success
			wait_state m ready
			msg job cancel m
			finished m
			same_as "$S" "$T"
			dismiss m
			[ "$(count b)" = 0 ]
			msg bitmap remove b
			dmsetup remove t
		done
	done
	# what was not copied stays dirty, and nothing else
	msg bitmap add b
	w 0x5 1M 64K
	w 0x6 5M 64K
	by_bitmap m always buf_size=128 max_chunk=128 speed=1
	wait_for 60 has_done m 128
	msg job cancel m
	finished m 30 cancelled
	[ "$(ranges b)" = "10240 128" ]
	dismiss m
	by_bitmap m always
	wait_state m ready
	msg job cancel m
	finished m
	same_as "$S" "$T"
	[ "$(count b)" = 0 ]
	dismiss m
	msg bitmap remove b

	msg bitmap add b
	refused "needs a bitmap" msg mirror start m target="$T" sync=bitmap
	refused "bitmap_mode must be given" msg mirror start m target="$T" sync=bitmap bitmap=b
	refused "without a bitmap" msg mirror start m target="$T" sync=full bitmap_mode=never
	refused "sync=bitmap only" msg mirror start m target="$T" sync=full bitmap=b bitmap_mode=never
	refused "no bitmap 'c'" msg mirror start m target="$T" sync=bitmap bitmap=c bitmap_mode=never
	msg bitmap add c
	n=$(devno "$F")
	refused "what it holds can't change" msg transaction 2 "$n" 4 bitmap merge b c \
		"$n" 7 mirror start m target="$T" sync=bitmap bitmap=b bitmap_mode=never
	[[ $(bitmap busy b) == - && $(bitmap busy c) == - ]]
}

has_done() { [[ $(job done "$1") == "$2" ]]; }

@test "K a mirror starts with other actions, or not at all" {
	filter
	n=$(devno "$F")
	msg bitmap add b
	start="$n 5 mirror start m target=$T sync=full"
	refused "action 2 on $n: 'abort' always fails" msg transaction 2 $start "$n" 1 abort
	no_jobs
	for how in completion_mode=grouped sequential; do
		refused "action 1 on $n: a mirror ends when it is told to" msg transaction $how 1 $start
	done
	w 0x1 1M 64K
	# what is written from the mirror's start on is in the bitmap
	msg transaction 2 $start "$n" 3 bitmap clear b
	w 0x2 2M 64K
	[ "$(ranges b)" = "4096 128" ]
	wait_state m ready
	msg job complete m
	wait_for 60 no_jobs
	origin_is "$T"
	is 0x2 2M 64K "$T"
	[ "$(ranges b)" = "4096 128" ]
}

