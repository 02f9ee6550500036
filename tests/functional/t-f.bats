#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-F: what fails, is late, or goes away.
load lib

no_jobs() { [[ -z $(msg job list) ]]; }

# A disk whose sectors 8192 to 8199 can't be read while it is bad: $disk
scsi_disk() {
	modprobe -a sd_mod 2>/dev/null || skip "no SCSI"
	modprobe scsi_debug dev_size_mb="$SIZE_MB" opt_blks=128 delay=0 \
		medium_error_start=8192 medium_error_count=8
	wait_for 60 scsi_is_there
	disk=$(echo /sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*)
	disk=/dev/${disk##*/}
	wait_for 5 test -b "$disk"
}
scsi_is_there() { compgen -G '/sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*' > /dev/null; }
bad() { echo 2 > /sys/bus/pseudo/drivers/scsi_debug/opts; }
good() { echo 0 > /sys/bus/pseudo/drivers/scsi_debug/opts; }

# F over such a disk, whose contents are kept as "ref"
scsi_origin() {
	scsi_disk
	dd if=/tmp/fill-s of="$disk" bs=1M oflag=direct status=none
	make_filter f "$disk"
	snap ref "$disk"
}

# A thin target over a pool with so much space: /dev/mapper/thin; pool_size changes that
thin_target() { # MB [FEATURE]
	modprobe dm-thin-pool 2>/dev/null || true
	[[ $(dmsetup targets) == *thin-pool* ]] || skip "no thin pools"
	dd if=/dev/zero of=/dev/ram3 bs=64K count=1 oflag=direct status=none
	pool_features="skip_block_zeroing${2:+ $2}"
	pool_table "$1" | dmsetup create pool
	FILTER=pool msg create_thin 0
	dmsetup create thin --table "0 $SECTORS thin /dev/mapper/pool 0"
	TARGET=/dev/mapper/thin
}
pool_table() { # MB
	echo "0 $(($1 * 2048)) thin-pool /dev/ram3 /dev/ram2 128 0 $(wc -w <<< "$pool_features") $pool_features"
}
pool_size() { # MB
	pool_table "$1" | dmsetup load pool
	dmsetup resume --noflush pool
}

# A target with a bad area at 4 MiB: /dev/mapper/t
bad_target() {
	broken t "$T" 4M 64K
	TARGET=/dev/mapper/t
}

@test "F1 the origin can't be read: report" {
	scsi_origin
	bad
	start j on_source_error=report
	finished j 30 error
	[ "$(job first_error j)" = read:8192:-61 ]
	[[ $(job cause j) == *read* ]]
	# users of F see what they would see without it, and no more
	w 0x1 5M 4K
	w 0x2 4M 4K
	good
	msg job dismiss j
	wait_for 5 no_jobs
	start j
	finished j
	cmp "$disk" "$T"
}

@test "F2 ignore: tried again, now and then, until it can be read" {
	scsi_origin
	bad
	start j on_source_error=ignore
	wait_for 60 has_errors
	# all else is copied meanwhile
	wait_for 60 done_is $((SECTORS - 128))
	sleep 2
	[ "$(job errors j)" -lt 100 ]
	[ "$(job done j)" = $((SECTORS - 128)) ]
	[ "$(job io_status j)" = failed ]
	# and it can be cancelled
	msg job cancel j
	finished j 60 cancelled
	msg job dismiss j
	wait_for 5 no_jobs
	start j on_source_error=ignore
	wait_for 60 has_errors
	good
	finished j
	same ref "$T"
}
has_errors() { [[ $(job errors j) -gt ${1:-0} ]]; }
done_is() { [[ $(job done j) == "$1" ]]; }

@test "F3 stop: paused until resumed" {
	scsi_origin
	bad
	start j on_source_error=stop
	wait_state j paused
	[ "$(job io_status j)" = failed ]
	refused 'is paused: dismiss is not possible' msg job dismiss j
	refused 'is paused: finalize is not possible' msg job finalize j
	w 0x7 8M 64K
	errors=$(job errors j)
	msg job resume j
	wait_for 60 has_errors "$errors" # it is not paused still, but again
	wait_state j paused
	good
	msg job resume j
	finished j
	[ "$(job io_status j)" = ok ]
	same ref "$T"
}

# A buffer so small that most of the device is neither copied nor in memory.
@test "F4 no space left on the destination: paused until there is" {
	thin_target 8 error_if_no_space
	filter buffer 4096
	snap ref
	start j on_target_error=enospc cbw_timeout=600000
	wait_state j paused
	[ "$(job io_status j)" = nospace ]
	[[ $(job first_error j) == write:*:-28 ]]
	# writes go, and what they overwrite is kept meanwhile
	w 0x7 15M 64K
	[ "$(job guest_copied j)" = 128 ]
	held_within 5000
	msg job resume j
	wait_state j paused # again: there still is none
	pool_size 16
	msg job resume j
	finished j
	[ "$(job io_status j)" = ok ]
	same ref /dev/mapper/thin
}

@test "F4 a pool that queues writes for a while, and fails them then" {
	thin_target 8
	echo 3 > /sys/module/dm_thin_pool/parameters/no_space_timeout
	filter buffer 4096
	snap ref
	start j on_target_error=enospc cbw_timeout=600000
	wait_for 60 pool_is_full
	w 0x7 15M 64K # while it queues
	wait_state j paused
	held_within 5000
	[ "$(job io_status j)" = nospace ]
	pool_size 16
	msg job resume j
	finished j
	same ref /dev/mapper/thin
	echo 60 > /sys/module/dm_thin_pool/parameters/no_space_timeout
}
pool_is_full() { [[ $(dmsetup status pool) == *out_of_data_space* ]]; }

@test "F4 enospc: all other errors are reported" {
	filter
	bad_target
	start j on_target_error=enospc
	finished j 60 error
	[ "$(job io_status j)" = failed ]
}

@test "F5 the destination can't be written: report, ignore, stop" {
	filter
	snap ref
	bad_target
	start j on_target_error=report
	finished j 30 error
	[[ $(job first_error j) == write:*:-5 ]]
	msg job dismiss j
	wait_for 5 no_jobs

	start j on_target_error=ignore
	wait_for 60 has_errors
	sleep 1
	[ "$(job errors j)" -lt 60 ]
	healed t "$T"
	finished j
	same ref "$T"
	msg job dismiss j
	wait_for 5 no_jobs

	dmsetup remove t
	bad_target
	start j on_target_error=stop
	wait_state j paused
	# a guest does not notice
	w 0x7 8M 64K
	w 0x7 4M 64K
	held_within 5000
	healed t "$T"
	msg job resume j
	finished j
	same ref "$T"
}

@test "F5 break_guest_write: the write fails and is not done; it may be tried again" {
	filter
	snap ref
	bad_target
	start j speed=1 on_cbw_error=break_guest_write
	run w 0x5 4M 4K
	[ "$status" -ne 0 ]
	[[ $output == *"Input/output error"* ]]
	same ref "$S"
	# elsewhere it works
	w 0x6 8M 4K
	is 0x6 8M 4K "$S"
	state_is j running
	healed t "$T"
	w 0x5 4M 4K
	is 0x5 4M 4K "$S"
	go j
	finished j
	same ref "$T"
}

@test "F6 break_snapshot: the write goes at once, the job fails with the first error" {
	filter
	bad_target
	start j speed=1 cbw_timeout=4000
	t1=$(now_ms)
	w 0x5 4M 4K
	# it did not wait for the end of the job
	[ "$(status longest)" -lt 3900 ]
	# its data is kept, and writing it is tried, until the time is over
	finished j 60 broken
	[ $(($(now_ms) - t1)) -ge 3900 ]
	[ "$(job errors j)" -gt 1 ]
	[ "$(job first_error j)" = write:8192:-5 ]
	n=$(status guest_copied)
	w 0x6 8M 4K
	[ "$(status guest_copied)" = "$n" ]
	[ "$(staged)" = 0 ]
	is 0x5 4M 4K "$S"
}

@test "F6 a destination that heals in time loses nothing" {
	filter
	snap ref
	bad_target
	start j speed=1 cbw_timeout=60000
	w 0x5 4M 4K
	wait_for 60 has_errors
	healed t "$T"
	go j
	finished j
	same ref "$T"
}

# fill the budget of a filter made with "buffer 512" and a hanging target
spend() {
	local i
	for i in 1 2 3 4 5 6; do
		w 0x31 $((i + 1))M 4K &
	done
}

# took MS FILE...: one write at least took cbw_timeout=MS by its sender's own clock, and none
# a lot more. How exactly it is kept the module's clock tells (held_within): between the
# two a busy machine may do other things for a second.
took() {
	local ms=$1 t longest=0
	shift
	while read -r t; do
		((t <= longest)) || longest=$t
	done < <(cat "$@")
	echo "$(cat "$@" | wc -l) writes took up to $longest ms"
	((longest >= ms - 10 && longest < ms + 20000)) || wrong=1
}

@test "F7 cbw_timeout with the budget spent: the writes go in time, the job breaks" {
	slow t "$T" 0 0
	one_in 5 breaks_in_time
}
breaks_in_time() {
	local i good=1
	filter buffer 512
	to /dev/mapper/t start j speed=1 cbw_timeout=1500
	hang t
	for i in 1 2 3 4 5 6; do
		quick timed "$F" 0x31 $(((i + 1) << 20)) 4096 > /tmp/took-$i || echo failed > /tmp/took-$i &
	done
	finished j 60 broken || wrong=1
	[[ $(job cause j) == *"waited too long"* ]] || wrong=1
	wait_for 60 nobody_waits || wrong=1
	w 0x32 9M 64K || wrong=1
	unhang t
	wait
	! grep failed /tmp/took-? || wrong=1
	took 1500 /tmp/took-?
	held_within 1500 || good=0
	dmsetup remove f
	wait_for 60 module_idle || wrong=1
	((good))
}

@test "F7 cbw_timeout, break_guest_write: the write fails in time, the job goes on" {
	slow t "$T" 0 0
	snap ref
	one_in 5 fails_in_time
}
fails_in_time() {
	local good=1
	filter
	to /dev/mapper/t start j speed=1 cbw_timeout=1000 on_cbw_error=break_guest_write
	hang t
	! quick timed "$F" 0x5 $((4 << 20)) 4096 > /tmp/took-1 2> /tmp/why || wrong=1
	grep -q 'timed out' /tmp/why || wrong=1
	took 1000 /tmp/took-1
	held_within 1000 || good=0
	same ref "$S" || wrong=1
	unhang t
	w 0x5 4M 4K || wrong=1
	go j
	finished j || wrong=1
	same ref "$T" || wrong=1
	dmsetup remove f
	wait_for 60 module_idle || wrong=1
	quick fill "$S" /tmp/fill-s
	((good))
}

@test "F8 timeouts: none, the longest, and 4295 ms are what they say" {
	slow t "$T" 0 0
	TARGET=/dev/mapper/t
	for ms in 1 4294 4295 45000 2147483648; do
		filter
		start j speed=1 cbw_timeout=$ms
		[ "$(job cbw_timeout j)" = $ms ]
		dmsetup remove f
		wait_for 5 module_idle
	done
	filter buffer 512
	to /dev/mapper/t start j speed=1 cbw_timeout=4295
	hang t
	spend
	wait
	[ "$(status longest)" -ge 4200 ]
	[ "$(status longest)" -lt 8500 ]
	finished j 60 broken
	unhang t
	dmsetup remove f
	wait_for 5 module_idle
	for ms in 0 2147483648; do
		filter buffer 512
		to /dev/mapper/t start j speed=1 cbw_timeout=$ms
		hang t
		spend
		wait_for 60 someone_waits
		sleep 2
		someone_waits
		unhang t
		wait
		state_is j running
		dmsetup remove f
		wait_for 5 module_idle
	done
}

@test "F8 change: a write that waits already is measured by the new values" {
	slow t "$T" 0 0
	filter
	snap ref
	to /dev/mapper/t start j speed=1 cbw_timeout=0 on_cbw_error=break_guest_write
	refused "unknown option" msg job change j speed=1
	refused "cbw_timeout" msg job change j cbw_timeout=2147483649
	refused "on_cbw_error" msg job change j on_cbw_error=never cbw_timeout=7
	refused "no job" msg job change k cbw_timeout=7
	[ "$(job cbw_timeout j)" = 0 ]
	hang t
	w 0x5 4M 4K &
	wait_for 60 someone_waits
	msg job change j cbw_timeout=500
	wait_for 60 nobody_waits
	if wait $!; then false; fi # it fails now, and is not done
	same ref "$S"
	msg job change j cbw_timeout=0
	w 0x5 4M 4K &
	wait_for 60 someone_waits
	msg job change j on_cbw_error=break_snapshot cbw_timeout=500 on_source_error=stop on_target_error=ignore
	[ "$(job on_cbw_error j)" = break_snapshot ]
	[ "$(job on_source_error j)" = stop ]
	[ "$(job on_target_error j)" = ignore ]
	wait_for 60 nobody_waits
	wait $! # it goes
	is 0x5 4M 4K "$S"
	finished j 60 broken
	unhang t
}

@test "F8 change: what to do about errors" {
	scsi_origin
	bad
	start j on_source_error=stop
	wait_state j paused
	msg job change j on_source_error=ignore
	msg job resume j
	wait_for 60 more_errors 1
	state_is j running
	msg job change j on_source_error=report
	finished j 60 error
	good
}
more_errors() { [[ $(job errors j) -gt $1 ]]; }

@test "F9 a write that ends long after its job" {
	slow t "$T" 0 3000
	filter
	to /dev/mapper/t start j
	w 0x5 15M 4K
	msg job cancel j force
	finished j 60 cancelled
	dmsetup remove f
	# the origin is free though the writes are not back
	dmsetup create x --table "0 $SECTORS linear $S 0"
	dmsetup remove x
	wait_for 60 module_idle
}

@test "F10 the destination is unplugged while writes go on" {
	scsi_disk
	filter
	# so few that they do not copy all of it before
	WRITERS_IOPS=50 writers --output-format=normal,json
	to "$disk" start j cbw_timeout=10000 speed=1048576
	wait_for 60 copies_for_guests
	echo 1 > "/sys/block/${disk##*/}/device/delete"
	wait_state j concluded
	[[ $(job first_error j) == write:* ]]
	sleep 0.5
	echo "longest $(status longest)"
	[ "$(status longest)" -lt 5000 ] # nobody has waited for the time to be over
	writers_end
	slowest=$(slowest_write)
	echo "slowest $slowest"
	[ "$slowest" -gt 0 ]
	[ "$slowest" -le 10100 ]
}
copies_for_guests() { [[ $(job guest_copied j) -gt 0 ]]; }
# What the slowest of the writers' writes took, in ms, as fio tells.
slowest_write() {
	awk '/"lat_ns"/ { in_it = 1 }
		in_it && /"max"/ { gsub(/[^0-9]/, ""); if ($0 > max) max = $0 + 0; in_it = 0 }
		END { printf "%d\n", max / 1e6 + 0.999 }' /tmp/fio.out
}

@test "F10 unplugged, break_guest_write: writes that need it fail at once, others go" {
	scsi_disk
	filter
	snap ref
	to "$disk" start j speed=1 on_cbw_error=break_guest_write
	wait_for 60 chunk_done j
	echo 1 > "/sys/block/${disk##*/}/device/delete"
	run w 0x5 8M 4K
	[ "$status" -ne 0 ]
	[[ $output == *"Input/output error"* ]]
	held_within 5000
	same ref "$S"
	w 0x5 0 4K # that was copied before
	state_is j running
	msg job cancel j
	finished j 60 cancelled
}

@test "F11 a destination that is away for a while: nobody notices" {
	slow t "$T" 0 0
	filter
	WRITERS_IOPS=300 WRITERS_BS='' writers --bs=4k --size=8M
	TARGET=/dev/mapper/t cut_start j speed=4194304
	hang t
	sleep 2
	unhang t
	go j
	finished j
	writers_end
	[ "$(job errors j)" = 0 ]
	same ref "$T"
}

@test "F11 cancel by force while the destination hangs: who waits goes, at once" {
	slow t "$T" 0 0
	TARGET=/dev/mapper/t
	one_in 3 let_go buffer 512
	one_in 3 let_go cbw_timeout 0
}
let_go() { # FEATURE VALUE
	local ms policy=break_snapshot
	[[ $1 == buffer ]] || policy=break_guest_write
	filter "$@"
	start j speed=1 cbw_timeout=0 on_cbw_error=$policy
	hang t
	spend
	wait_for 60 someone_waits || wrong=1
	ms=$(now_ms)
	msg job cancel j force
	wait_state j concluded && wait_for 60 nobody_waits || wrong=1
	ms=$(($(now_ms) - ms))
	echo "$policy: $ms ms"
	wait
	is 0x31 7M 4K "$S" || wrong=1
	[[ $(job outcome j) == cancelled ]] || wrong=1
	unhang t
	wait_for 60 no_orphans || wrong=1
	dmsetup remove f
	((ms < 5000))
}

@test "F12 on_cbw_error is switched while the job runs, both ways" {
	filter
	snap ref
	bad_target
	start j speed=1 cbw_timeout=600000
	w 0x5 4M 4K # goes; its old data is kept
	msg job change j on_cbw_error=break_guest_write
	[ "$(job on_cbw_error j)" = break_guest_write ]
	w 0x6 4M 4K # needs nothing any more
	also_bad 8M
	run w 0x7 8M 4K
	[ "$status" -ne 0 ]
	fails is 0x7 8M 4K "$S"
	msg job change j on_cbw_error=break_snapshot
	w 0x7 8M 4K
	is 0x7 8M 4K "$S"
	held_within 60000
	state_is j running
	healed t "$T"
	go j
	finished j
	same ref "$T"
}
# The bad area is elsewhere, too.
also_bad() {
	local at
	bytes at "$1"
	at=$((at / 512))
	dmsetup load t <<< "0 8192 linear $T 0
8192 128 error
8320 $((at - 8320)) linear $T 8320
$at 128 error
$((at + 128)) $((SECTORS - at - 128)) linear $T $((at + 128))"
	dmsetup resume --noflush t
}

@test "F13 what a write would overwrite can't be read" {
	scsi_origin
	start j speed=1
	bad
	w 0x5 4M 4K
	good
	is 0x5 4M 4K "$disk"
	finished j 10 broken
	[ "$(job first_error j)" = read:8192:-61 ]
	msg job dismiss j
	wait_for 5 no_jobs

	snap ref "$disk"
	start k speed=1 on_cbw_error=break_guest_write
	bad
	run w 0x6 4M 4K
	[ "$status" -ne 0 ]
	good
	same ref "$disk"
	w 0x6 4M 4K
	go k
	finished k
	same ref "$T"
}

@test "F14 the first error stays, whatever comes after it" {
	filter
	bad_target
	start j on_target_error=stop
	wait_state j paused
	e=$(job first_error j)
	[[ $e == write:*:-5 ]]
	msg job cancel j force
	finished j 10 cancelled
	[ "$(job first_error j)" = "$e" ]
}

@test "F15 success is said when it would survive a power cut, pending too" {
	modprobe dm-log-writes 2>/dev/null || true
	[[ $(dmsetup targets) == *log-writes* ]] || skip "no dm-log-writes"
	truncate -s 64M /tmp/log
	log=$(losetup -f --show /tmp/log)
	dmsetup create t --table "0 $SECTORS log-writes $T $log"
	filter
	snap ref
	to /dev/mapper/t start j auto_finalize=0
	wait_state j pending
	FILTER=t msg mark pending
	msg job finalize j
	finished j
	FILTER=t msg mark completed
	dmsetup remove t
	for mark in pending completed; do
		cp /tmp/fill-t /tmp/durable
		quick durable "$log" $mark /tmp/durable
		cmp /tmp/durable /tmp/snap-ref
	done
	rm /tmp/durable /tmp/log
}

@test "F16 a target that does not hold what was backed up is found" {
	verify() { dmbackup verify f --to /dev/mapper/c "$@"; }
	finds() { # OFFSET LENGTH
		run verify
		echo "$output"
		[[ $status == 6 && $output == *"differs from f at byte $1, $2 bytes"* ]]
	}
	filter
	# what a bitmap remembers of it is to be a name, not a number
	dmsetup create c --uuid copy-c --table "0 $SECTORS linear $T 0"
	run verify
	[ "$status" = 4 ]
	# damaged on its way: byte 99 of each write
	modprobe dm-flakey 2>/dev/null || true
	[[ $(dmsetup targets) == *flakey* ]] || skip "no dm-flakey"
	dmsetup create t --table "0 $SECTORS flakey $T 0 0 60 5 corrupt_bio_byte 99 w 1 0"
	msg bitmap add b all_dirty
	to /dev/mapper/t start j bitmap=b bitmap_mode=on_success tag=copy-c
	finished j
	msg job dismiss j
	dmsetup remove t
	finds 0 512
	# what is clean is the same, and nothing else is looked at
	cp_over() { dd if="$S" of="$T" bs=1M oflag=direct conv=notrunc status=none "$@"; }
	cp_over
	verify
	w 0x5 3M 64K
	w 0x5 $((16777216 - 512)) 512
	verify --json | grep -E '"written": *131072,? *$|"written": *131072,'
	w 0x6 3M 512 "$T"
	verify
	# damaged later, in one sector
	w 0x6 $((8388608 + 512)) 512 "$T"
	finds $((8388608 + 512)) 512
	# what others write meanwhile is not taken for damage
	WRITERS_IOPS=300 writers --size=4M
	finds $((8388608 + 512)) 512
	cp_over count=1 skip=8 seek=8
	verify
	verify
	writers_end
	# not while it can't be known
	to /dev/mapper/c start j speed=1 bitmap=b bitmap_mode=always
	run verify
	[ "$status" = 5 ]
	msg job cancel j
	wait_state j concluded
	run verify # it ended without taking the target for its own
	[ "$status" = 4 ]
	msg bitmap disable b
	run verify --bitmap b
	[ "$status" = 3 ]
}

@test "what a write has waited for before a point in time was made costs neither that nor the write" {
	slow t "$T" 0 0
	filter buffer 1024
	msg backup start dead target=/dev/mapper/t sync=none cbw_timeout=0
	wait_for 60 started dead
	hang t
	local i writes=()
	for i in 0 1 2 3 4 5 6 7 8 9; do
		w 0x31 $((i + 2))M 4K &
		writes+=($!)
	done
	wait_for 60 someone_waits
	sleep 2
	msg backup start young target=/dev/ram2 sync=none cbw_timeout=1500
	msg backup start strict target=/dev/ram3 sync=none cbw_timeout=1500 on_cbw_error=break_guest_write
	wait_for 60 started young
	wait_for 60 started strict
	# Longer than they have to copy what those waiting are about to overwrite.
	sleep 4
	someone_waits
	[ "$(state young) $(state strict)" = "running running" ]
	unhang t
	for i in "${writes[@]}"; do wait "$i"; done
	[ "$(state young) $(state strict)" = "running running" ]
}

@test "the budget is spent: who kept it breaks, not who asks" {
	slow t "$T" 0 0
	filter buffer 1024
	snap ref
	to /dev/mapper/t start dead speed=1 cbw_timeout=4000
	to /dev/ram2 start alive speed=1 cbw_timeout=4000
	hang t
	for i in 1 2 3 4 5 6 7 8 9; do
		w 0x31 $((i + 2))M 4K &
	done
	finished dead 60 broken
	wait
	state_is alive running
	[ "$(status held)" = 0 ]
	go alive
	finished alive
	same ref /dev/ram2
	unhang t
}

@test "what several jobs read at once fails only those whose own part is bad" {
	scsi_origin
	start small speed=1
	to /dev/ram2 start big speed=1 cluster=2048
	go_past_first_chunk
	bad
	# sectors 8192 to 8199 can't be read: in big's cluster, not in small's
	w 0x5 $((4096 + 512))K 4K
	good
	finished big 10 broken
	state_is small running
	go small
	finished small
	same ref "$T"
}
go_past_first_chunk() { wait_for 60 chunk_done small && wait_for 60 chunk_done big; }
chunk_done() { [[ $(job done "$1") -ge 2048 ]]; }

@test "a broken job stays what it is when its destination comes back" {
	slow t "$T" 0 0
	filter buffer 512
	to /dev/mapper/t start j speed=1 cbw_timeout=4000
	hang t
	spend
	finished j 60 broken
	wait
	unhang t
	wait_for 60 no_orphans
	[ "$(job outcome j)" = broken ]
	refused 'is concluded' msg job resume j
	[ "$(staged)" = 0 ]
}
