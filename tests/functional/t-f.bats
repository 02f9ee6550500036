#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-F: what fails, is late, or goes away.
load lib

no_jobs() { [[ -z $(msg job list) ]]; }
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

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
	w 0x7 8M 64K
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

@test "F7 cbw_timeout with the budget spent: the writes go, the job breaks" {
	slow t "$T" 0 0
	filter buffer 512
	to /dev/mapper/t start j speed=1 cbw_timeout=4000
	hang t
	spend
	wait
	echo "longest $(status longest)"
	[ "$(status longest)" -ge 3900 ]
	[ "$(status longest)" -lt 8000 ] # late on a busy machine, but not twice that time
	finished j 60 broken
	[[ $(job cause j) == *"waited too long"* ]]
	w 0x32 9M 64K
	[ "$(status held)" = 0 ]
	unhang t
}

@test "F7 cbw_timeout, break_guest_write: the write fails, the job goes on" {
	slow t "$T" 0 0
	filter
	snap ref
	to /dev/mapper/t start j speed=1 cbw_timeout=1000 on_cbw_error=break_guest_write
	hang t
	t1=$(now_ms)
	run w 0x5 4M 4K
	ms=$(($(now_ms) - t1))
	[ "$status" -ne 0 ]
	[ $ms -ge 1000 ]
	[ $ms -lt 20000 ] # not the filter's 45 s, nor until the target is back
	same ref "$S"
	unhang t
	w 0x5 4M 4K
	go j
	finished j
	same ref "$T"
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
nobody_waits() { ! someone_waits; }
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
	WRITERS_IOPS=50 writers
	to "$disk" start j cbw_timeout=10000 speed=1048576
	wait_for 60 copies_for_guests
	echo 1 > "/sys/block/${disk##*/}/device/delete"
	wait_state j concluded
	[[ $(job first_error j) == write:* ]]
	sleep 0.5
	echo "longest $(status longest)"
	[ "$(status longest)" -lt 5000 ] # nobody has waited for the time to be over
	writers_end
}
copies_for_guests() { [[ $(job guest_copied j) -gt 0 ]]; }

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
