#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-K: mirrors whose writes go both ways, copy_mode=write_blocking.
load lib
load mirrors

# both ID [OPTION...]
both() { mirror "$@" copy_mode=write_blocking; }
# in_step ID: the same, and it stays so whatever is written
in_step() { [[ $(job actively_synced "$1") == 1 ]]; }
# What is left to be copied, which nobody has to tell first.
left_of() { (($(job total "$1") - $(job done "$1") == $2)); }
# went_both ID SECTORS: writes have brought at least that much there
went_both() { (($(job mirrored "$1") >= $2)); }
# A write that waits for the destination ends, or does not, within a while.
write_ends() { # BYTE OFFSET LENGTH
	w "$@" 3>&- &
	w_pid=$!
	wait_for 60 w_ended
	wait $w_pid
}
w_ended() { ! kill -0 $w_pid 2> /dev/null; }

@test "K8 before, while and after it gets ready: nothing is dirty when writers end" {
	filter
	writers
	both m
	wait_state m ready 120
	wait_for 30 went_both m 1000
	wait_for 30 in_step m
	writers_end
	in_step m
	same_as "$S" "$T"
	msg job cancel m
	finished m
	same_as "$S" "$T"
}

@test "K8 what is written is on both, at once" {
	filter
	both m
	wait_state m ready
	in_step m
	done=$(job done m)
	w 0x5e 5M 256K
	w 0x5f 1049088 512 # one sector at 1 MiB + 512
	w 0x00 6M 64K
	w 0x60 $((SIZE_MB - 1))M 1M
	same_as "$S" "$T"
	in_step m
	[[ $(job mirrored m) == $((512 + 1 + 128 + 2048)) ]]
	[[ $(job done m) == "$done" ]]
	# fsync, and FUA, are the origin's
	quick flush "$F"
	msg job cancel m
	finished m
	w 0x61 5M 4K
	is 0x5e 5M 4K "$T"
}

@test "K8 writes that overlap have one order on both" {
	plain_filter
	# dm-crypt sorts what it writes: what is in flight together changes places
	to=$T
	if modprobe dm-crypt 2> /dev/null; then
		dmsetup create c --table "0 $SECTORS crypt aes-xts-plain64 $(printf 'a%.0s' {1..64}) 0 $T 0 1 allow_discards"
		to=/dev/mapper/c
	fi
	to "$to" both m
	wait_state m ready
	# 64 at a time in 256 KiB, of all sizes and alignments
	fio --name=o --filename="$F" --direct=1 --ioengine=libaio --iodepth=16 --numjobs=4 --thread \
		--rw=randwrite --bssplit=512/20:3k/20:4k/20:12k/20:64k/20 --bs_unaligned --blockalign=512 \
		--size=256k --io_size=8M --norandommap --randrepeat=0 --refill_buffers
	same_as "$S" "$to"
	in_step m
	msg job cancel m
	finished m
}

@test "K8 it catches up with writers that a background copy never would" {
	plain_filter
	slow t "$T" 0 20
	to /dev/mapper/t both m buf_size=128 max_chunk=128
	writers
	wait_state m ready 120
	wait_for 30 in_step m
	writers_end
	same_as "$S" "$T"
	msg job cancel m
	finished m
}

@test "K9 switched at run time, not back; told whether it is in step" {
	filter
	mirror m
	wait_state m ready
	w 0x11 3M 64K
	[[ $(job actively_synced m) == 0 ]]
	[[ $(job copy_mode m) == background ]]
	writers
	# with all that can be changed
	msg job change m copy_mode=write_blocking auto_switch=0 cbw_timeout=30000 on_source_error=stop on_target_error=stop
	[[ $(job copy_mode m) == write_blocking ]]
	msg job change m copy_mode=write_blocking
	wait_for 30 in_step m
	refused "can't be changed back to background" msg job change m copy_mode=background
	writers_end
	same_as "$S" "$T"
	to /dev/ram2 refused "another mirror of this filter is write_blocking" both n
	to /dev/ram2 mirror n
	refused "another mirror of this filter is write_blocking" msg job change n copy_mode=write_blocking
	wait_state n ready
	w 0x12 3M 64K
	wait_for 10 same_as "$S" /dev/ram2
	same_as "$S" "$T"
	for i in m n; do
		msg job cancel $i
		finished $i
	done
	refused "is concluded: change is not possible" msg job change m copy_mode=write_blocking
}

@test "K9 auto_switch: when what is left does not get less for ten seconds" {
	plain_filter
	to "$T" mirror m auto_switch=1 speed=1
	# more is written all the time than a byte in a second
	writers
	wait_for 60 switched m
	go m
	wait_state m ready 120
	writers_end
	wait_for 30 same_as "$S" "$T"
	msg job cancel m
	finished m
}
switched() { [[ $(job copy_mode "$1") == write_blocking ]]; }

@test "K11 zeroes smaller than a granule, discards that begin and end anywhere" {
	truncate -s "${SIZE_MB}M" /tmp/k11-s /tmp/k11-t
	local s t
	s=$(losetup -f --show /tmp/k11-s) t=$(losetup -f --show /tmp/k11-t)
	quick fill "$s" /tmp/fill-s
	make_filter f "$s"
	to "$t" both m granularity=2048
	wait_state m ready
	fallocate -z -o 1049088 -l 512 "$F" || blkdiscard -z -o 1049088 -l 512 "$F"
	blkdiscard -z -o 3146240 -l 65536 "$F"
	wait_for 10 in_step m
	same_as "$s" "$t"
	is 0 3146240 64K "$t"
	# The destination is never discarded on: what is left of it is copied.
	blkdiscard -o $((5 * 1048576 + 4096)) -l 12288 "$F"
	blkdiscard -o $((6 * 1048576)) -l 2097152 "$F"
	wait_for 10 same_as "$s" "$t"
	wait_for 10 in_step m
	msg job cancel m
	finished m
	dmsetup remove f
	losetup -d "$s" "$t"
	rm /tmp/k11-?
}

@test "K pages that change while they are written: the same on both" {
	slow s "$S" 0 2 # so both legs are written when the pages have changed
	make_filter f /dev/mapper/s
	slow t "$T" 0 5
	to /dev/mapper/t both m
	wait_state m ready
	scribble "$F" 64
	in_step m
	same_as "$S" "$T"
	msg job cancel m
	finished m
}

@test "K a destination that hangs: writes wait for cbw_timeout once, ready is withdrawn, and regained" {
	dmsetup create t --table "0 $SECTORS linear $T 0"
	filter
	to /dev/mapper/t both m cbw_timeout=1000
	wait_state m ready
	hang t
	before=$(now_ms)
	write_ends 0x41 1M 64K
	(($(now_ms) - before >= 1000))
	withdrawn m
	[[ $(state m) == ready && $(job late m) == 1 && $(job errors m) == 0 ]]
	[[ $(job actively_synced m) == 0 ]]
	is 0x41 1M 64K "$S"
	# it is known to be late: nobody waits for it
	for i in 0x42 0x43 0x44; do
		w $i 1M 4K
		w $i 4M 4K
	done
	[[ $(job late m) == 1 ]]
	unhang t
	wait_for 60 synced m
	wait_for 10 same_as "$S" "$T"
	wait_for 10 in_step m
	before=$(job mirrored m)
	w 0x45 5M 4K
	went_both m $((before + 8))
	same_as "$S" "$T"
	msg job cancel m
	finished m
}

@test "K a write that has waited for others does not make the destination late" {
	local round=0
	dmsetup create t --table "0 $SECTORS linear $T 0"
	dmsetup create u --table "0 $SECTORS linear /dev/ram3 0"
	filter buffer 2048
	to /dev/mapper/t both m cbw_timeout=3000
	wait_state m ready
	one_in 5 waits_elsewhere
	msg job cancel m
	finished m
	same_as "$S" "$T"
}
# A write waits three seconds for a backup's destination, and then finds the mirror's busy.
# It is not late, unless this host is: what it has been given has not been there for long.
waits_elsewhere() {
	local other this late ok=1 k=k$((++round))
	wait_for 60 in_step m
	late=$(job late m)
	msg backup start $k target=/dev/mapper/u sync=none on_cbw_error=break_guest_write cbw_timeout=0 auto_dismiss=0
	wait_for 60 is_started $k
	w 0x42 1M 256K # it is saved
	hang u
	w 0x41 8M 4K 3>&- &
	other=$!
	wait_for 30 someone_waits
	quick sleep 3200
	hang t
	w $((0x50 + round)) 1M 256K 3>&- & # a quarter of the buffer
	this=$!
	wait_for 30 is $((0x50 + round)) 1M 256K "$S"
	unhang u
	wait $other
	kill -0 $this || ok=0
	echo "late: $(job late m), was $late"
	[[ $(job late m) == "$late" ]] || ok=0
	unhang t
	wait $this
	msg job cancel $k force
	wait_state $k concluded
	msg job dismiss $k
	((ok))
}

@test "K a NOWAIT write goes both ways, and is not sent back once it was taken" {
	local before other
	dmsetup create t --table "0 $SECTORS linear $T 0"
	filter
	nowait $((12 << 20)) || skip "the origin takes no NOWAIT"
	to /dev/mapper/t both m cbw_timeout=0
	wait_for 60 in_step m
	before=$(job mirrored m)
	nowait $((4 << 20))
	went_both m $((before + 8))
	in_step m
	same_as "$S" "$T"
	hang t
	w 0x61 1M 64K 3>&- &
	wait_for 30 is 0x61 1M 64K "$S"
	other=$!
	nowait $((1 << 20)) 3>&- & # others are in its way
	wait_for 30 someone_waits
	unhang t
	wait $other
	wait $!
	in_step m
	same_as "$S" "$T"
	msg job cancel m
	finished m
}

@test "K cancelled, removed, suspended while writes wait for a destination that hangs" {
	dmsetup create t --table "0 $SECTORS linear $T 0"
	filter
	to /dev/mapper/t both m cbw_timeout=0
	wait_state m ready
	hang t
	w 0x51 1M 64K 3>&- &
	wait_for 30 in_flight
	dmsetup suspend --noflush f
	wait $!
	dmsetup resume f
	is 0x51 1M 64K "$S"
	unhang t
	wait_for 60 in_step m

	hang t
	w 0x52 1M 64K 3>&- &
	wait_for 30 in_flight
	dmsetup suspend --nolockfs f
	wait $!
	dmsetup resume f
	unhang t
	wait_for 60 in_step m

	hang t
	w 0x53 1M 64K 3>&- &
	wait_for 30 in_flight
	msg job cancel m force
	wait $!
	finished m 10 cancelled
	dismiss m
	unhang t
	wait_for 20 no_orphans

	to /dev/mapper/t both m cbw_timeout=1000
	wait_state m ready
	hang t
	w 0x54 1M 64K
	dmsetup remove f
	unhang t
	wait_for 20 no_orphans
}

@test "K6 a destination that fails: writes don't, ready is withdrawn, and regained" {
	plain_filter
	flaky t
	to /dev/mapper/t both m on_target_error=ignore
	wait_state m ready
	ill t
	w 0x77 3M 64K
	is 0x77 3M 64K "$S"
	withdrawn m
	[[ $(state m) == ready ]]
	refused "not in sync" msg job complete m
	well t
	wait_for 60 synced m
	wait_for 10 in_step m
	same_as "$S" "$T"
	msg job cancel m
	finished m
	dismiss m

	to /dev/mapper/t both m on_target_error=stop
	wait_state m ready
	ill t
	w 0x78 3M 64K
	wait_state m standby
	w 0x79 4M 64K # it is paused: to the origin only
	well t
	msg job resume m
	wait_for 60 in_step m
	same_as "$S" "$T"
	msg job cancel m
	finished m
}

@test "K6 an origin that fails: the write does, the destination is made the same again" {
	flaky s "$S"
	make_filter f /dev/mapper/s
	to "$T" both m on_source_error=ignore
	wait_state m ready
	ill s "$S"
	run w 0x77 3M 64K
	[ "$status" != 0 ]
	well s "$S"
	wait_for 60 in_step m
	same_as "$S" "$T"
	msg job cancel m
	finished m
}

@test "K6 legs that fail while writes are stopped for the pivot: it waits, and has them" {
	local i n=0 p=()
	slow s "$S" 0 0
	dmsetup create e --table "0 $SECTORS linear $T 0"
	slow t /dev/mapper/e 0 0
	make_filter f /dev/mapper/s
	to /dev/mapper/t both m on_target_error=ignore cbw_timeout=0
	wait_state m ready
	wait_for 30 in_step m
	slow_set t /dev/mapper/e 0 600000 # legs are on their way
	a_leg
	msg job complete m
	wait_for 60 in_vain m 1
	# and again: the first write that does not get to the origin is stopped
	while goes_on $n; do
		sleep 0.5
		a_leg
	done
	dmsetup load e --table "0 $SECTORS error"
	dmsetup resume e
	slow_set t /dev/mapper/e 0 0
	dmsetup load e --table "0 $SECTORS linear $T 0"
	wait "${p[@]}"
	dmsetup resume e
	finished m 120
	origin_is /dev/mapper/t
	for ((i = 1; i <= n; i++)); do
		is $i ${i}M 4K "$T"
	done
	# what was written before it is the same, too
	same_as "$S" "$T"
}
# A write of another place each time, which the origin has at once, and does not end
a_leg() {
	n=$((n + 1))
	w $n ${n}M 4K 3>&- &
	p+=($!)
	wait_for 60 inflight_is $n
}
inflight_is() {
	local writes
	read -r _ writes < "/sys/dev/block/$(devno "$F")/inflight"
	((writes == $1))
}
# Does the last one get to the origin? There are few, so that they have a place each.
goes_on() {
	local i
	(($1 < SIZE_MB - 2)) || return 1
	for ((i = 0; i < 30; i++)); do
		! is "$1" "$1M" 4K "$S" > /dev/null || return 0
		quick sleep 20
	done
	return 1
}

@test "K paused, nothing is written to it" {
	filter
	both m
	wait_state m ready
	msg job pause m
	wait_state m standby
	before=$(job mirrored m)
	w 0x21 2M 64K
	[[ $(job mirrored m) == "$before" ]]
	[[ $(job actively_synced m) == 0 ]]
	msg job resume m
	wait_for 10 in_step m
	same_as "$S" "$T"
	msg job cancel m
	finished m
}

@test "K completed, reloaded, suspended with writers all the time" {
	filter
	writers --size=8M
	keep 8M
	both m
	wait_state m ready 120
	for i in 1 2 3; do
		dmsetup suspend f
		dmsetup load f --table "0 $SECTORS backup $S 2 buffer 65536"
		dmsetup resume f
		dmsetup suspend --noflush f
		dmsetup resume f
	done
	wait_for 60 in_step m
	msg job complete m
	finished m 120
	origin_is "$T" || [[ $(dmsetup table f) == *"backup $(devno "$T") 2 buffer 65536" ]]
	keep_end
	writers_end
	w 0x19 1M 4K
	is 0x19 1M 4K "$T"
	fails is 0x19 1M 4K "$S"
}

@test "K with a backup, a bitmap and a checkpoint at once" {
	filter
	writers
	both m
	msg bitmap add b
	to /dev/ram2 cut_start j speed=8388608
	go j
	finished j 120
	same ref /dev/ram2
	wait_state m ready 120
	wait_for 60 in_step m
	writers_end
	same_as "$S" "$T"
	w 0x33 2M 64K
	[[ $(ranges b) == *[0-9]* ]]
	msg job cancel m
	finished m
}

@test "K18 back to a point in time: what was written since is undone, also in two goes" {
	filter
	msg bitmap add b
	start j
	finished j
	msg job dismiss j
	snap ref
	writers --size=8M
	writers_end
	w 0x18 9M 64K
	# The copy is made the origin of another filter: what it lacks is what S is to lose.
	make_filter g "$T"
	FILTER=g msg bitmap add b
	FILTER=g msg bitmap merge b "$(devno "$F")/b"
	msg bitmap remove b
	dmsetup remove f
	FILTER=g
	msg mirror start m target="$S" sync=bitmap bitmap=b bitmap_mode=on_success speed=1 auto_dismiss=0
	wait_for 60 is_started m
	msg job cancel m force
	finished m 30 cancelled
	dismiss m
	msg mirror start m target="$S" sync=bitmap bitmap=b bitmap_mode=on_success auto_dismiss=0
	wait_state m ready
	msg job cancel m
	finished m
	same ref "$S"
}

@test "K the utility starts one, and switches one" {
	dmbackup open "$S" f
	id=$(dmbackup mirror f --to "$T" --copy-mode write-blocking --cbw-timeout 3 --wait)
	[[ $(job copy_mode "$id") == write_blocking && $(job cbw_timeout "$id") == 3000 ]]
	in_step "$id"
	dmbackup job cancel f
	dmbackup job wait f
	id=$(dmbackup mirror f --to "$T" --auto-switch --wait)
	[[ $(job copy_mode "$id") == background && $(job auto_switch "$id") == 1 ]]
	dmbackup job change f --copy-mode write-blocking
	wait_for 10 in_step "$id"
	run dmbackup job change f --copy-mode background
	[ "$status" = 5 ]
	dmbackup job cancel f
	dmbackup job wait f
	same_as "$S" "$T"
	dmbackup close f
}

# $CUT seconds, as a network may be away
@test "K a destination that is cut off for a while, in each mode and policy: writers go on" {
	local mode policy before
	plain_filter
	flaky t
	writers --size=8M
	keep 8M
	for mode in background write_blocking; do
		for policy in report enospc ignore stop; do
			to /dev/mapper/t mirror m copy_mode=$mode on_target_error=$policy
			wait_state m ready 120
			ill t
			sleep "${CUT:-1}"
			before=$(writes_ended)
			wait_for 30 more_writes "$before"
			case $policy in
			report | enospc) finished m 60 error ;;
			stop) wait_state m standby ;;
			ignore) wait_for 60 withdrawn m ;;
			esac
			well t
			case $policy in
			stop) msg job resume m ;&
			ignore)
				wait_for 120 synced m
				msg job cancel m
				finished m 120
				;;
			esac
			dismiss m
		done
		# not with errors, but by not answering
		to /dev/mapper/t mirror m copy_mode=$mode cbw_timeout=500
		wait_state m ready 120
		hang t
		sleep "${CUT:-1}"
		before=$(writes_ended)
		wait_for 30 more_writes "$before"
		unhang t
		wait_for 120 synced m
		[[ $(job errors m) == 0 ]]
		msg job cancel m
		finished m 120
		dismiss m
	done
	keep_end
	writers_end
}
