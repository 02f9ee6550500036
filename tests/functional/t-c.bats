#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-C: what is copied is the origin at the cut, whatever is written meanwhile.
load lib

@test "C1 sync=none: what is overwritten is saved, once, and nothing else" {
	filter
	msg backup start j target=$T sync=none auto_dismiss=0
	wait_state j running
	w 0x5e 0 512
	[ "$(job guest_copied j)" = 128 ]
	w 0x5f 32K 4K
	[ "$(job guest_copied j)" = 128 ]
	wait_for 60 cmp -n 65536 /tmp/fill-s $T
	msg job cancel j
	finished j 60 cancelled
	cmp -n 65536 /tmp/fill-s $T
	is 0xff 64K $((SIZE_MB * 1048576 - 65536)) $T
	is 0x5e 0 512 $F
	is 0x5f 32K 4K $F
}

@test "C2 a write across a cluster's border: both clusters are saved whole" {
	filter
	snap ref
	start j speed=1
	wait_for 5 first_chunk_done
	before=$(job guest_copied j)
	w 0x5e $((8388608 + 65536 - 512)) 1K
	[ $(($(job guest_copied j) - before)) = 256 ]
	wait_for 5 drained
	is 0x5e $((8388608 + 65536 - 512)) 1K "$F"
	cmp -n 131072 -i 8388608 "$T" /tmp/snap-ref
	# a second write of the same cluster is not copied for
	w 0x5f $((8388608 + 1024)) 512
	[ $(($(job guest_copied j) - before)) = 256 ]
	go j
	finished j
	same ref "$T"
}
first_chunk_done() { [[ $(job done j) -ge 2048 ]]; }
drained() { [[ $(staged) -le 256 ]]; } # all but the reserve is on the target

@test "C3 overlapping writes" {
	for o in "max_chunk=128" "max_chunk=2048" "max_chunk=32768" "max_workers=1" "max_workers=8"; do
		dd if=/tmp/fill-s of="$S" bs=1M oflag=direct status=none
		snap ref
		filter
		# shellcheck disable=SC2086
		start j speed=1 $o
		w 0xaa $((1048576 + 65536)) 64K
		w 0xbb 1M 1M
		go j
		finished j
		same ref "$T"
		is 0xbb 1M 1M "$F"
		dmsetup remove f
	done
}

@test "C4 C19 random writes of all sizes while a backup runs" {
	filter
	writers
	cut_start j
	finished j 60
	same ref "$T"
	writers_end
	[ "$(status held)" = 0 ]
	cmp "$S" "$F"
}

@test "C4 many jobs, one after the other, while writes go on" {
	filter
	writers --numjobs=2 --offset_increment=8M --size=8M
	for i in 1 2 3; do
		cut_start j max_workers=$i
		finished j 60
		same ref "$T"
		msg job dismiss j
		wait_for 5 no_jobs
	done
	writers_end
}
no_jobs() { [[ -z $(msg job list) ]]; }

# laid_out SIZE...: fio has its files, and so its handlers
laid_out() { [[ $(stat -c %s /mnt/a/w.*.0 2>/dev/null | xargs) == "$*" ]]; }

@test "C5 a file system in use: the frozen cut is clean" {
	mkfs.ext4 -q "$S"
	filter
	mkdir -p /mnt/a /mnt/b
	mount "$F" /mnt/a
	echo before > /mnt/a/marker
	fio --name=w --directory=/mnt/a --rw=randwrite --bs=4k --size=4M --numjobs=2 --fsync=16 \
		--time_based --runtime=600 --output=/tmp/fio.out &
	writers_pid=$!
	wait_for 60 laid_out 4194304 4194304
	wait_for 60 more_writes "$(writes_ended)"
	start j freeze=1
	wait_for 60 started j
	echo after > /mnt/a/marker
	sync /mnt/a/marker
	finished j 60
	writers_end
	# no journal to replay: it was frozen
	e2fsck -fn "$T"
	[[ $(dumpe2fs -h "$T" 2>/dev/null) != *needs_recovery* ]]
	mount -o ro,noload "$T" /mnt/b
	[ "$(cat /mnt/b/marker)" = before ]
	[ "$(cat /mnt/a/marker)" = after ]
	umount /mnt/b
	umount /mnt/a
	e2fsck -fn "$F"
}

@test "C5 without freezing the journal makes it whole" {
	mkfs.ext4 -q "$S"
	filter
	mkdir -p /mnt/a /mnt/b
	mount "$F" /mnt/a
	fio --name=w --directory=/mnt/a --rw=randwrite --bs=4k --size=4M --fsync=4 --time_based \
		--runtime=600 --output=/tmp/fio.out &
	writers_pid=$!
	wait_for 60 laid_out 4194304
	wait_for 60 more_writes "$(writes_ended)"
	start j
	finished j 60
	writers_end
	mount "$T" /mnt/b
	umount /mnt/b
	e2fsck -fn "$T"
	umount /mnt/a
}

@test "C7 the speed changes while writes go on" {
	filter
	WRITERS_BS= writers --rate_iops=100 --bs=4k
	cut_start j speed=1048576
	sleep 1
	go j 4194304
	sleep 0.5
	go j 1
	sleep 0.5
	go j
	finished j 60
	same ref "$T"
	writers_end
}

# brd can't discard; null_blk can
discardable() {
	nullb memory_backed=1 size="$SIZE_MB" discard=1 "$@"
	S=$nullb
	dd if=/tmp/fill-s of="$S" bs=1M oflag=direct status=none
}

@test "C8 discards: the target keeps what was there" {
	discardable
	filter
	snap ref
	start j speed=1
	blkdiscard -o 1M -l 8M "$F"
	is 0 2M 1M "$F"
	blkdiscard -o $((9437184 + 512)) -l $((65536 + 1024)) "$F"
	go j
	finished j
	same ref "$T"
}

@test "C8 a discard of all would take too much: it is skipped, and said so" {
	discardable
	filter buffer 16384 # 8 MiB, so a quarter is 2 MiB
	snap ref
	start j speed=1
	blkdiscard "$F"
	[ "$(status discards_skipped)" -gt 0 ]
	go j
	finished j
	same ref "$T"
	# with nothing left to copy a discard goes down again
	skipped=$(status discards_skipped)
	blkdiscard "$F"
	[ "$(status discards_skipped)" = "$skipped" ]
	is 0 0 1M "$S"
}

@test "C8 discard=copy copies all of it, discard=skip none" {
	discardable
	filter buffer 16384 discard copy
	snap ref
	start j speed=1
	blkdiscard "$F"
	[ "$(status discards_skipped)" = 0 ]
	[ "$(job guest_copied j)" -ge $((SECTORS - 4096)) ]
	is 0 0 1M "$F"
	finished j
	same ref "$T"
	dmsetup remove f
	dd if=/tmp/fill-s of="$S" bs=1M oflag=direct status=none
	filter discard skip
	start j speed=1
	wait_for 5 first_chunk_done
	copied=$(job guest_copied j)
	blkdiscard -o 8M -l 64K "$F"
	[ "$(job guest_copied j)" = "$copied" ]
	[ "$(status discards_skipped)" = 128 ]
	go j
	finished j
	same ref "$T"
}

@test "C9 write zeroes, unaligned, and more of them than the budget" {
	discardable
	filter buffer 16384
	snap ref
	start j speed=1
	blkdiscard -z -o $((1048576 + 512)) -l $((65536 * 3 + 512)) "$F"
	is 0 $((1048576 + 512)) $((65536 * 3 + 512)) "$F"
	blkdiscard -z "$F"
	is 0 0 1M "$F"
	finished j
	same ref "$T"
}

@test "C10 one write over many clusters" {
	filter
	snap ref
	start j speed=1 cluster=8
	dd if=/tmp/fill-t of="$F" bs=8M count=1 seek=1 oflag=direct conv=notrunc status=none
	[ "$(status held)" = 0 ]
	go j
	finished j
	same ref "$T"
	cmp -n 8388608 -i 8388608:0 "$F" /tmp/fill-t
}

@test "C11 many writers in one cluster: it is copied once" {
	filter
	snap ref
	start j speed=1
	wait_for 5 first_chunk_done
	before=$(job guest_copied j)
	fio --name=w --filename="$F" --direct=1 --ioengine=libaio --iodepth=64 --rw=randwrite --bs=512 \
		--offset=8M --size=64K --io_size=64K --output=/tmp/fio.out
	[ $(($(job guest_copied j) - before)) = 128 ]
	go j
	finished j
	same ref "$T"
}

@test "C12 a write into what the background copies, one worker, slow target" {
	slow t "$T" 0 30
	filter
	WRITERS_BS= writers --bs=4k
	cut_start_to /dev/mapper/t j max_workers=1
	finished j 60
	writers_end
	same ref "$T"
}
cut_start_to() {
	local TARGET=$1
	shift
	cut_start "$@"
}

@test "C13 a background copy fails while writes wait: they copy on their own" {
	# the origin fails for a moment; the guest's own writes would too, so the
	# error is in reads only
	dmsetup create s --table "0 $SECTORS flakey $S 0 0 1 1 error_reads" 2>/dev/null ||
		skip "no flakey error_reads"
	dmsetup load s --table "0 $SECTORS linear $S 0"
	dmsetup resume s
	make_filter f /dev/mapper/s
	snap ref
	start j on_source_error=ignore speed=1
	dmsetup load s --table "0 $SECTORS flakey $S 0 0 1 1 error_reads"
	dmsetup resume s
	go j 4194304
	wait_for 60 has_errors
	dmsetup load s --table "0 $SECTORS linear $S 0"
	dmsetup resume s
	w 0x31 8M 64K
	go j
	finished j
	same ref "$T"
}
has_errors() { [[ $(job errors j) -gt 0 ]]; }

@test "C14 flushes pass while copies are stuck, and keep their order" {
	modprobe dm-log-writes 2>/dev/null || true
	dmsetup create s --table "0 $SECTORS log-writes $S /dev/ram2" || skip "no log-writes"
	slow t "$T" 0 0
	make_filter f /dev/mapper/s buffer 256
	to /dev/mapper/t start j speed=1
	hang t
	# the budget is two clusters: these wait
	for i in 1 2 3 4; do
		w 0x61 $((i * 2))M 4K &
	done
	wait_for 20 someone_waits
	timeout 30 quick flush "$F" # the writes wait for 45 s
	unhang t
	wait
	[ "$(status held)" = 0 ]
	go j
	finished j
}

@test "C15 while paused, writes are still preceded by copies and do not block" {
	filter
	snap ref
	start j
	msg job pause j || true
	before=$(status guest_copied)
	# those that blocked would do so for 45 s, and break the job
	timeout 200 fio --name=w --filename="$F" --direct=1 --rw=randwrite --bs=4k --size="${SIZE_MB}M" \
		--io_size=4M --output=/tmp/fio.out
	msg job resume j || true
	finished j
	same ref "$T"
}

@test "C16 C17 memory is short, and swap is on the filter" {
	filter
	mkswap "$F" > /dev/null
	swapon "$F"
	snap ref
	start j speed=1
	# more than there is, in a cgroup, so that it is swapped out to F
	mkdir -p /sys/fs/cgroup 2>/dev/null || skip "no control groups"
	mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
	echo +memory > /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || skip "no memory cgroup"
	mkdir -p /sys/fs/cgroup/tight
	echo 8M > /sys/fs/cgroup/tight/memory.max
	timeout 200 bash -c 'echo $$ > /sys/fs/cgroup/tight/cgroup.procs; exec python3 -c "
b = bytearray(16 << 20)
for i in range(0, len(b), 4096): b[i] = i >> 12 & 255
assert all(b[i] == i >> 12 & 255 for i in range(0, len(b), 4096))"'
	[ "$(job guest_copied j)" -gt 0 ]
	swapoff "$F"
	rmdir /sys/fs/cgroup/tight
	go j
	finished j
	same ref "$T"
}

@test "C16 no memory but the reserve: a write of many clusters goes on" {
	local fail=/sys/kernel/debug/fail_page_alloc
	[[ -d $fail ]] || skip "no fault injection in this kernel"
	filter
	snap ref
	start j speed=1 cluster=8 cbw_timeout=0
	wait_for 60 started j
	# all that does not wait for memory gets none
	echo 1 > $fail/ignore-gfp-wait
	echo 0 > $fail/min-order
	echo 0 > $fail/verbose
	echo -1 > $fail/times
	echo 100 > $fail/probability
	w 0x21 5M 256K 3>&- &
	writer=$!
	wait_for 30 w_ended
	echo 0 > $fail/probability
	wait $writer
	[[ $(job guest_copied j) -ge 512 ]]
	go j
	finished j
	same ref "$T"
}
w_ended() { ! kill -0 $writer 2> /dev/null; }

@test "C17 a file system in a file on a file system on the filter" {
	mkfs.ext4 -q "$S"
	filter
	mkdir -p /mnt/a /mnt/b
	mount "$F" /mnt/a
	truncate -s 8M /mnt/a/image
	mkfs.ext4 -q /mnt/a/image
	mount -o loop /mnt/a/image /mnt/b
	start j freeze=1
	wait_for 60 started j
	dd if=/dev/urandom of=/mnt/b/file bs=64k count=40 conv=fsync status=none
	finished j
	e2fsck -fn "$T"
	umount /mnt/b
	umount /mnt/a
}

begin_none() { # ID [OPTION...]
	local id=$1
	shift
	msg backup start "$id" target="${TARGET:-$T}" sync=none auto_dismiss=0 "$@" && wait_state "$id" running
}
# saved OFFSET LENGTH: T has that of snap ref
saved() {
	local at len
	bytes at "$1" && bytes len "$2"
	dd if="${TARGET:-$T}" bs=4K skip=$((at / 4096)) count=$((len / 4096)) iflag=direct status=none |
		cmp -s -i "0:$at" -n "$len" - /tmp/snap-ref
}

@test "C18 checkpoint: the point in time moves to now" {
	filter
	snap ref
	begin_none j
	w 0xa1 0 64K
	w 0xa2 2M 4K
	wait_for 60 saved 0 64K
	wait_for 60 saved 2M 64K
	[ "$(job done j)" = 256 ]
	snap ref
	msg job checkpoint j
	[ "$(job checkpoints j)" = 1 ]
	[ "$(job done j)" = 0 ]
	state_is j running
	w 0xb1 32K 4K
	w 0xb2 1M 512
	wait_for 60 saved 0 64K
	wait_for 60 saved 1M 64K
	is 0xa1 0 64K "$T"
	[ "$(job done j)" = 256 ]
	# what was overwritten before only is as it was saved before
	cmp -i 2097152 -n 65536 "$T" /tmp/fill-s
	# paused, nothing else changes
	msg job pause j
	wait_state j paused
	snap ref
	msg job checkpoint j
	state_is j paused
	w 0xc1 32K 4K
	wait_for 60 saved 0 64K
	msg job resume j
	msg job cancel j
	finished j 60 cancelled
	cmp "$S" "$F"
}

@test "C18 what has no point in time to move is refused" {
	filter
	refused "there is no job 'j'" msg job checkpoint j
	start j speed=1
	refused "job 'j' copies: only with sync=none" msg job checkpoint j
	refused "unknown option 'now'" msg job checkpoint j now=1
	msg job cancel j
	finished j 60 cancelled
	refused "job 'j' is concluded: checkpoint is not possible" msg job checkpoint j
	# a second one of clusters this large does not fit beside the first
	dmsetup remove f
	filter buffer 8192
	begin_none k cluster=4096
	refused 'no room for two clusters of 4096 sectors' msg job checkpoint k
	state_is k running
	w 0xa1 0 4K
	snap ref
	dd if=/tmp/fill-s of=/tmp/snap-ref bs=4K count=1 conv=notrunc status=none
	wait_for 60 saved 0 64K
}

@test "C18 what is still being written for the point in time before comes first" {
	slow t "$T" 0 0
	TARGET=/dev/mapper/t
	filter
	begin_none j
	hang t
	w 0xa1 0 64K
	w 0xa2 1M 64K
	# both are on their way, and go on when the target does
	wait_for 60 staged_is 384
	for round in 1 2; do
		snap ref
		msg job checkpoint j
		w 0xb$round 0 64K
		w 0xc$round 1M 64K
	done
	[ "$(status held)" = 0 ]
	unhang t
	wait_for 60 saved 0 64K
	wait_for 60 saved 1M 64K
	sleep 0.5
	saved 0 64K
	saved 1M 64K
	is 0xb1 0 64K "$T"
	is 0xc1 1M 64K "$T"
	# one at a time: nothing is sent while the one before is on its way
	slow_set t "$T" 0 1500
	w 0xd1 3M 64K
	wait_for 60 on_its_way 1
	snap ref
	msg job checkpoint j
	w 0xd2 3M 64K
	on_its_way 1
	wait_for 60 saved 3M 64K
	is 0xd1 3M 64K "$T"
}
on_its_way() { # WRITES that dm-delay keeps
	local n
	read -r _ _ _ _ n _ <<< "$(dmsetup status t)"
	((n == $1))
}

@test "C18 the target of another job that hangs is nobody else's business" {
	slow t /dev/ram2 0 0
	filter
	begin_none j
	TARGET=/dev/mapper/t begin_none k
	hang t
	# one read of the origin serves both
	w 0xa1 0 64K
	snap ref
	msg job checkpoint j
	w 0xa2 0 64K
	wait_for 20 saved 0 64K
	is 0xa1 0 64K "$T"
	unhang t
	cmp -n 65536 /dev/mapper/t /tmp/fill-s
	msg job cancel j
	msg job cancel k
	finished j 60 cancelled
	finished k 60 cancelled
}

@test "C18 a target that hangs across a checkpoint: no write waits, and the job ends" {
	slow t "$T" 0 0
	TARGET=/dev/mapper/t
	filter buffer 4096 cbw_timeout 1000
	begin_none j
	hang t
	w 0xa1 0 64K
	msg job checkpoint j
	w 0xa2 0 64K
	msg job checkpoint j
	msg job checkpoint j
	msg job checkpoint j
	refused "job 'j': its destination has not ended what it was writing 4 checkpoints ago" msg job checkpoint j
	w 0xa3 0 64K
	# the budget is spent: now, and not before, a write waits, and breaks it
	dd if=/dev/zero of="$F" bs=64K count=100 seek=1 oflag=direct status=none
	finished j 60 broken
	held_within 1000
	unhang t
	wait_for 60 no_orphans
}

@test "C20 secure erase is offered as the origin offers it" {
	filter
	queue=/sys/dev/block/$(devno "$F")/queue
	[ "$(<"$queue/discard_max_bytes")" = "$(</sys/block/ram0/queue/discard_max_bytes)" ]
	[ "$(<"$queue/write_zeroes_max_bytes")" = "$(</sys/block/ram0/queue/write_zeroes_max_bytes)" ]
	[ "$(<"$queue/zoned")" = none ]
}
