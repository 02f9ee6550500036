#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-M: what is particular to device mapper.
load lib

no_jobs() { [[ -z $(msg job list) ]]; }
queue_of() { echo "/sys/dev/block/$(devno "$1")/queue"; }

# limits DEV: those that a user of the device sees
limits() {
	local q f
	q=$(queue_of "$1")
	for f in logical_block_size physical_block_size minimum_io_size optimal_io_size discard_granularity \
		discard_max_bytes write_zeroes_max_bytes max_sectors_kb max_hw_sectors_kb max_segments \
		max_segment_size zoned rotational dma_alignment stable_writes dax; do
		[[ ! -e $q/$f ]] || echo "$f $(<"$q/$f")"
	done
}

# A filter shows what dm-linear would show on the same origin.
same_limits() { # ORIGIN
	local len
	len=$(sectors_of "$1")
	dmsetup create l --table "0 $len linear $1 0"
	limits /dev/mapper/l > /tmp/limits-linear
	dmsetup remove l
	make_filter f "$1"
	limits "$F" > /tmp/limits-filter
	dmsetup remove f
	diff /tmp/limits-linear /tmp/limits-filter
}

@test "M1 limits are the origin's" {
	same_limits "$S"
	nullb memory_backed=1 size=$SIZE_MB discard=1 blocksize=4096
	same_limits "$nullb"
	# what lies between: dm-crypt
	if modprobe dm-crypt 2>/dev/null; then
		dmsetup create c --table "0 $SECTORS crypt aes-xts-plain64 $(head -c 64 /dev/zero | tr '\0' a) 0 $S 0"
		same_limits /dev/mapper/c
	fi
	modprobe -a sd_mod 2>/dev/null || return 0
	modprobe scsi_debug dev_size_mb="$SIZE_MB" sector_size=512 physblk_exp=3 lbpu=1 opt_blks=256 delay=0
	wait_for 60 compgen -G '/sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*'
	disk=$(echo /sys/bus/pseudo/drivers/scsi_debug/adapter*/host*/target*/*/block/*)
	same_limits "/dev/${disk##*/}"
}

# writes DEV: how many write requests it has seen
writes() {
	local s
	read -r -a s < "/sys/dev/block/$(devno "$1")/stat"
	echo "${s[4]}"
}
requests() { # DEV: of 8 MiB in 1 MiB writes to it
	local before
	before=$(writes "$nullb")
	dd if=/tmp/fill-t of="$1" bs=1M count=8 oflag=direct conv=notrunc status=none
	echo $(($(writes "$nullb") - before))
}

@test "M2 no write is split, idle or beside a job" {
	nullb memory_backed=1 size=$SIZE_MB
	dmsetup create l --table "0 $SECTORS linear $nullb 0"
	plain=$(requests /dev/mapper/l)
	dmsetup remove l
	make_filter f "$nullb"
	[ "$(requests "$F")" = "$plain" ]
	start j cluster=8 speed=1
	[ "$(requests "$F")" = "$plain" ]	# first touch
	[ "$(requests "$F")" = "$plain" ]	# saved
}

@test "M3 a NOWAIT write that would wait comes back at once, and has started its copy" {
	# on this kernel, does a RAM disk take NOWAIT at all?
	filter
	nowait $((12 << 20)) || skip "the origin takes no NOWAIT"
	snap ref
	start j speed=1
	run nowait $((12 << 20))
	[ "$status" -eq 11 ]
	[ "$(status held)" = 0 ]
	wait_for 60 nowait $((12 << 20))
	[ "$(job guest_copied j)" -ge 128 ]
	go j
	finished j
	same ref "$T"
}

@test "M3 io_uring, polled and not" {
	nullb memory_backed=1 size=$SIZE_MB poll_queues=1 irqmode=2 completion_nsec=20000
	make_filter f "$nullb"
	for o in --hipri=0 --hipri=1; do
		start j speed=4194304
		timeout 200 fio --name=w --filename="$F" --direct=1 --ioengine=io_uring $o --iodepth=16 --rw=randwrite \
			--bs=4k --size="${SIZE_MB}M" --io_size=2M --verify=crc32c --verify_fatal=1 --output=/tmp/fio.out
		grep -q 'err= 0' /tmp/fio.out
		go j
		finished j
		msg job dismiss j
		wait_for 5 no_jobs
	done
}

spend() {
	local i
	for i in 1 2 3 4 5 6; do
		w 0x31 $((i + 1))M 4K &
	done
	wait_for 60 someone_waits
}

@test "M5 noflush suspend: waiting writes are pushed back, nothing is lost" {
	slow t "$T" 0 0
	filter buffer 512
	snap ref
	to /dev/mapper/t start j speed=1 cbw_timeout=0
	hang t
	spend
	timeout 60 dmsetup suspend --nolockfs --noflush f
	[ "$(status held)" = 0 ]
	dmsetup reload f --table "0 $SECTORS backup $S 2 buffer 512"
	dmsetup resume f
	wait_for 60 someone_waits
	unhang t
	wait
	for i in 1 2 3 4 5 6; do is 0x31 $((i + 1))M 4K "$S"; done
	go j
	finished j
	same ref "$T"
}

@test "M5 flush suspend: waiting writes wait 3 s more, then the job breaks" {
	slow t "$T" 0 0
	filter buffer 512
	to /dev/mapper/t start j speed=1 cbw_timeout=0
	hang t
	spend
	began=$SECONDS
	timeout 60 dmsetup suspend --nolockfs f
	# late on a busy machine; but nothing else would have ended it
	[ $((SECONDS - began)) -ge 2 ]
	[ $((SECONDS - began)) -le 20 ]
	dmsetup resume f
	wait
	finished j 60 broken
	unhang t
}

@test "M6 CPUs go and come while writes do" {
	[ -e /sys/devices/system/cpu/cpu1/online ] || skip "one CPU"
	filter
	WRITERS_IOPS=500 writers
	cut_start j speed=4194304
	for i in 1 2 3; do
		echo 0 > /sys/devices/system/cpu/cpu1/online
		sleep 0.5
		echo 1 > /sys/devices/system/cpu/cpu1/online
		sleep 0.3
	done
	go j
	finished j 60
	same ref "$T"
	# the counts add up over CPUs that went: a cut still drains
	msg job dismiss j
	wait_for 5 no_jobs
	start k
	finished k
	writers_end
}

# charged DEV: bytes that the cgroup "w" has written to it
charged() {
	local dev rest
	while read -r dev rest; do
		[[ $dev == "$(devno "$1")" ]] || continue
		rest=${rest#*wbytes=}
		echo "${rest%% *}"
		return
	done < "$cg/w/io.stat"
	echo 0
}

@test "M6 a write is its writer's, also when it waited; what is copied for it is nobody's" {
	cg=/tmp/cgroup
	mkdir -p "$cg"
	mountpoint -q "$cg" || mount -t cgroup2 none "$cg" || skip "no cgroup2"
	grep -qw io "$cg/cgroup.controllers" || skip "no io controller"
	echo +io > "$cg/cgroup.subtree_control"
	mkdir -p "$cg/w"
	slow t "$T" 0 20
	filter
	msg backup start j target=/dev/mapper/t sync=none
	wait_state j running
	bash -c 'echo $$ > '"$cg"'/w/cgroup.procs; exec dd if=/dev/zero of='"$F"' bs=64K count=16 oflag=direct status=none'
	[ "$(job guest_copied j)" = 2048 ]
	[ "$(charged "$S")" = 1048576 ]
	[ "$(charged /dev/mapper/t)" = 0 ]
	[ "$(charged "$T")" = 0 ]
	rmdir "$cg/w"
	umount "$cg"
}

# The last thing before a machine sleeps: tasks are frozen, and thawed again. It
# fails if a task waits for I/O that does not end meanwhile.
@test "M7 tasks are frozen for a moment while a job runs and writes wait" {
	[[ -w /sys/power/pm_test ]] || skip "no pm_test"
	slow t "$T" 0 20
	filter
	writers
	TARGET=/dev/mapper/t cut_start j speed=4194304 on_cbw_error=break_guest_write
	echo 1 > /sys/module/suspend/parameters/pm_test_delay
	for i in 1 2 3; do
		echo freezer > /sys/power/pm_test
		echo freeze > /sys/power/state
		echo none > /sys/power/pm_test
	done
	go j
	finished j
	writers_end
	same ref $T
}

# one_fails NAME [EACH]: one in a hundred of what a fault injector knows fails from now on: by chance, or each EACHth
one_fails() {
	local dir=/sys/kernel/debug/$1
	[[ -d $dir ]] || return 1
	echo 0 > "$dir/verbose"
	echo -1 > "$dir/times"
	echo "${2:-1}" > "$dir/interval"
	echo $((${2:+99} + 1)) > "$dir/probability"
}
none_fails() {
	local dir
	for dir in /sys/kernel/debug/fail*/probability; do
		[[ ! -e $dir ]] || echo 0 > "$dir"
	done
	echo 0 > /sys/block/ram1/make-it-fail
}

@test "M8 one in a hundred writes to the target fails, and of allocations that can't wait" {
	mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug || true
	[[ -d /sys/kernel/debug/fail_make_request ]] || skip "no fault injection"
	filter
	writers
	for round in 1 2 3 4; do
		cut_start j speed=65536 max_chunk=128 on_target_error=ignore
		# of 256 writes, of which a few have gone, so that two fail whatever the speed of the machine
		one_fails fail_make_request 100
		one_fails failslab
		echo 1 > /sys/block/ram1/make-it-fail
		msg job set_speed j 16777216
		sleep 1
		go j
		wait_state j concluded
		none_fails
		finished j
		[ "$(job errors j)" -gt 0 ]
		same ref "$T"
		msg job dismiss j
		wait_for 20 no_jobs
	done
	writers_end
	cmp "$S" "$F"
}

@test "the table can't be replaced but by the twin" {
	filter
	run dmsetup load f --table "0 $SECTORS linear $S 0"
	[ "$status" -ne 0 ]
	run dmsetup load f --table "0 $SECTORS zero"
	[ "$status" -ne 0 ]
	dmsetup load f --table "0 $SECTORS backup-pass $S"
	dmsetup resume f
	[[ $(dmsetup table f) == "0 $SECTORS backup-pass "* ]]
	w 0x5 1M 64K
	is 0x5 1M 64K "$S"
	dmsetup load f --table "0 $SECTORS linear $S 0"
	dmsetup resume f
	w 0x6 1M 64K
	is 0x6 1M 64K "$S"
}

@test "the twin refuses what it can't be" {
	refused_table 'One argument is required' "0 $SECTORS backup-pass"
	refused_table 'One argument is required' "0 $SECTORS backup-pass $S 1"
	refused_table 'sector 0' "0 8 zero
8 $SECTORS backup-pass $S" || true
	refused_table "can't be opened" "0 $SECTORS backup-pass /dev/nothing"
}

@test "tables are shown as they were given" {
	for t in "" " 2 buffer 65536" " 4 cbw_timeout 1000 discard skip" " 6 buffer 512 cbw_timeout 0 discard copy"; do
		dmsetup create f --table "0 $SECTORS backup $S$t"
		[ "$(dmsetup table f)" = "0 $SECTORS backup $(devno "$S")$t" ]
		dmsetup remove f
	done
}

@test "tracepoints tell a job's story" {
	events=/sys/kernel/tracing/events/dm_backup
	[ -d $events ] || skip "no tracing"
	echo > /sys/kernel/tracing/trace
	echo 1 > $events/enable
	slow t "$T" 0 0
	filter
	to /dev/mapper/t start j speed=1
	w 0x5 8M 4K
	wait_for 5 more_saved
	hang t
	w 0x5 9M 4K
	echo 0 > /sys/kernel/tracing/tracing_on
	grep 'bk_job_state.*created.*running' /sys/kernel/tracing/trace
	grep 'bk_guest_copy.*16384' /sys/kernel/tracing/trace
	grep 'bk_copy_done.*16384' /sys/kernel/tracing/trace
	echo 1 > /sys/kernel/tracing/tracing_on
	msg job cancel j force
	finished j 10 cancelled
	unhang t
	msg job dismiss j
	wait_for 5 no_jobs
	wait_for 60 no_orphans
	dmsetup remove t
	broken t "$T" 4M 64K
	to /dev/mapper/t start j speed=1 cbw_timeout=500
	w 0x5 4M 4K
	finished j 60 broken
	grep bk_break /sys/kernel/tracing/trace
	echo 0 > $events/enable
}
more_saved() { [[ $(job done j) -ge 2176 ]]; }

@test "a read-only filter: reads, backups, no writes" {
	dmsetup create f --readonly --table "0 $SECTORS backup $S"
	[ "$(status mode)" = ro ]
	run w 0x5 0 4K
	[ "$status" -ne 0 ]
	start j
	finished j
	cmp "$S" "$T"
}
