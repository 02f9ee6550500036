#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-A: what a start and a table refuse, in words, changing nothing.
load lib

# Nothing is left of a refused start: no job, no claim, and F passes I/O.
unchanged() {
	[[ -z $(msg job list) ]]
	[[ $(staged) == 0 ]]
	w 0x11 0 4K
	is 0x11 0 4K "$F"
}

@test "A1 source is target, or shares its sectors" {
	filter
	refused 'is the origin|is in use' to "$S" start j
	refused 'is the filter itself|is in use' to "$F" start j
	unchanged
	# that a map over F stands on F only the utility can see
	dmsetup create over --table "0 $SECTORS linear $F 0"
	run dmbackup backup f --to over --force
	[ "$status" -eq 5 ]
	[[ $output == *"stands on f"* ]]
	unchanged
}

@test "A1 target is a partition of the origin" {
	addpart "$S" 1 2048 8192
	[ -e "${S}p1" ]
	filter
	refused 'is the origin|is in use' to "${S}p1" start j
	unchanged
	dmsetup remove f
	delpart "$S" 1
}

@test "A2 a device number that is none" {
	filter
	refused 'target=.*|does not exist' to 0:1048577 start j
	refused 'does not exist' to 4096:0 start j
	refused 'does not exist' to 99999999999:0 start j
	refused 'has blanks' msg backup start j 'target=/dev/a\ b' sync=full
	[ -z "$(msg job list)" ]
}

@test "A2 missing source and missing target are different errors" {
	refused_table 'Origin can.t be opened' "0 $SECTORS backup /dev/nothing"
	refused_table 'Origin is missing' "0 $SECTORS backup"
	filter
	refused 'destination /dev/nothing does not exist' to /dev/nothing start j
	refused 'destination 240:99 does not exist' to 240:99 start j
	refused 'is not a block device' to /etc/passwd start j
	refused 'target is missing' msg backup start j sync=full speed=1
	unchanged
}

@test "A3 target of another size" {
	filter
	for s in $((SECTORS - 1)) $((SECTORS - 2048)); do
		dmsetup create t --table "0 $s linear $T 0"
		refused "destination .* has $s sectors, the origin $SECTORS" to /dev/mapper/t start j
		refused "has $s sectors" to /dev/mapper/t start j allow_larger=1
		dmsetup remove t
	done
	for s in $((SECTORS - 1)) $((SECTORS - 2048)); do
		dmsetup create s --table "0 $s linear /dev/ram2 0"
		make_filter g /dev/mapper/s
		export FILTER=g
		refused "has $SECTORS sectors, the origin $s" start j
		start j allow_larger=1
		finished j
		unset FILTER
		cmp -n $((s * 512)) /dev/mapper/s "$T"
		dmsetup remove g
		dmsetup remove s
	done
	unchanged
}

@test "A4 read-only target is refused, read-only source is not" {
	filter
	blockdev --setro "$T"
	refused 'is read-only' start j
	blockdev --setrw "$T"
	unchanged
	dmsetup remove f
	snap ref
	dmsetup create f --readonly --table "0 $SECTORS backup $S"
	[ "$(status mode)" = ro ]
	start j
	finished j
	same ref "$T"
}

@test "A5 target mounted, held, or another job's" {
	filter
	mkfs.ext4 -q "$T"
	mkdir -p /mnt/a
	mount "$T" /mnt/a
	refused 'is in use' start j
	umount /mnt/a
	dmsetup create t --table "0 $SECTORS linear $T 0"
	refused 'is in use' start j
	dmsetup remove t
	start j speed=1
	refused 'is in use' start k
	msg job cancel j
	finished j 10 cancelled
}

@test "A6 speed" {
	filter
	for v in -1 x 1x '' +1 0x10 9223372036854775808 99999999999999999999; do
		refused 'speed' start j "speed=$v"
	done
	unchanged
	for v in 0 1 2 9223372036854775807; do
		start j speed=$v
		[ "$(job speed j)" = $v ]
		msg job cancel j || true
		wait_state j concluded
		msg job dismiss j
		wait_for 5 no_jobs
	done
	start j
	[ "$(job speed j)" = 0 ]
	finished j
}
no_jobs() { [[ -z $(msg job list) ]]; }

@test "A7 cluster" {
	filter
	for v in 0 3 4 7 9 3000 262144 1099511627776; do
		refused 'cluster: .* is not' start j cluster=$v
	done
	unchanged
	for v in 8 64 128 2048; do
		start j cluster=$v
		[ "$(job cluster j)" = $v ]
		finished j
		cmp "$S" "$T"
		msg job dismiss j
		wait_for 5 no_jobs
	done
	start j
	[ "$(job cluster j)" = 128 ]
	finished j
}

@test "A8 cluster follows what the target prefers" {
	modprobe -a sd_mod && modprobe scsi_debug dev_size_mb=$SIZE_MB opt_blks=512 || skip "no scsi_debug"
	wait_for 60 scsi_disk
	filter
	to "$(scsi_disk)" start j
	[ "$(job cluster j)" = 512 ]
	finished j
	cmp "$S" "$(scsi_disk)"
}
scsi_disk() {
	local d
	for d in /sys/block/sd*; do
		[[ -b /dev/${d##*/} ]] && echo "/dev/${d##*/}" && return
	done
	return 1
}

@test "A8 cluster follows a thin pool's chunk" {
	dmsetup create meta --table "0 8192 linear /dev/ram2 0"
	dmsetup create data --table "0 $((SECTORS - 8192)) linear /dev/ram3 0"
	dd if=/dev/zero of=/dev/mapper/meta bs=4k count=1 oflag=direct status=none
	dmsetup create pool --table "0 $((SECTORS - 8192)) thin-pool /dev/mapper/meta /dev/mapper/data 1024 0 1 skip_block_zeroing"
	dmsetup message pool 0 "create_thin 0"
	dmsetup create thin --table "0 $SECTORS thin /dev/mapper/pool 0"
	filter
	to /dev/mapper/thin start j speed=1
	[ "$(job cluster j)" = 1024 ]
	msg job cancel j
	finished j 10 cancelled
}

@test "A9 sync: only what there is" {
	filter
	for s in nonsense fu fulls ''; do
		refused "sync: ('$s' is none of full|the value is missing)" msg backup start j target="$T" sync=$s
	done
	for s in bitmap incremental; do
		refused "sync=$s needs a bitmap" msg backup start j target="$T" sync=$s
	done
	refused 'sync is missing' msg backup start j target="$T" speed=1
	unchanged
}

@test "A10 unknown, double, missing and too many options" {
	filter
	refused "unknown option 'colour'" start j colour=red
	refused "unknown option 'speedy'" start j speedy=1
	refused 'speed is given twice' start j speed=1 speed=2
	refused 'speed: the value is missing' start j speed
	refused 'speed: the value is missing' start j speed=
	refused 'target is given twice' start j target=1:1
	refused "max_workers: 0 is not between" start j max_workers=0
	refused "is none of" start j on_source_error=maybe
	refused "is none of 0 1" start j auto_finalize=2
	refused 'usage: backup start' msg backup start
	refused 'usage: backup start' msg backup start j
	refused 'usage: job pause' msg job pause
	refused 'usage: job pause' msg job pause a b
	refused 'usage: job cancel' msg job cancel a force now
	refused "is not .force." msg job cancel a now
	refused "unknown message" msg hello
	refused "unknown message" msg backup stop
	refused "token is given twice" msg job list token=a token=b
	refused "token" msg job list token=
	refused "usage: job list" msg job list $(seq 100)
	unchanged
}

@test "A10 tables with wrong features" {
	refused_table 'Number of feature words is wrong' "0 $SECTORS backup $S 2 buffer"
	refused_table 'Number of feature words is wrong' "0 $SECTORS backup $S x"
	refused_table 'Number of feature words is wrong' "0 $SECTORS backup $S 0 buffer 1024"
	refused_table "unknown option 'colour'" "0 $SECTORS backup $S 2 colour red"
	refused_table 'buffer: the value is missing' "0 $SECTORS backup $S 1 buffer"
	refused_table 'buffer: 1 is not between' "0 $SECTORS backup $S 2 buffer 1"
	refused_table 'buffer is given twice' "0 $SECTORS backup $S 4 buffer 1024 buffer 1024"
	refused_table "discard: 'maybe' is none of" "0 $SECTORS backup $S 2 discard maybe"
	refused_table 'Origin is shorter' "0 $((SECTORS + 8)) backup $S"
	refused_table 'begin at sector 0|must appear alone|Gap in table' "8 $((SECTORS - 8)) backup $S"
	refused_table 'One argument' "0 $SECTORS backup-pass"
	refused_table 'One argument' "0 $SECTORS backup-pass $S $S"
}

@test "A10 two filters never share an origin" {
	filter
	refused_table 'Origin is under another backup filter' "0 $SECTORS backup $S"
	dmsetup remove f
	make_filter f /dev/ram0
}

@test "A10 zoned origins are refused" {
	nullb zoned=1 memory_backed=1 size=64 zone_size=4 || skip "no zoned null_blk"
	refused_table 'Zoned origins' "0 $(blockdev --getsz "$nullb") backup $nullb"
}

@test "A11 compress is not known" {
	filter
	refused "unknown option 'compress'" start j compress=1
	unchanged
}

@test "A14 job ids" {
	filter
	for id in 1abc .a -a _a 'a/b' 'a:b' "$(printf 'a%.0s' $(seq 128))"; do
		refused 'is no job id' start "$id"
	done
	unchanged
	start a-b.c_d speed=1
	refused "job 'a-b.c_d' exists already" to /dev/ram2 start a-b.c_d
	msg job cancel a-b.c_d
	finished a-b.c_d 10 cancelled
	refused "exists already" to /dev/ram2 start a-b.c_d
	msg job dismiss a-b.c_d
	wait_for 5 no_jobs
	start "$(printf 'a%.0s' $(seq 127))"
}

@test "A15 a start that fails at its last step leaves nothing" {
	# the reserve is the last thing a start needs
	filter buffer 256
	refused 'no room for two clusters of 1024 sectors' start j cluster=1024
	unchanged
	start j
	finished j
	cmp "$T" "$S"
}

@test "A15 a start that fails after its message has returned says so" {
	# its cut waits for the one before to drain, and that for the origin
	slow s "$S" 0 60000
	make_filter f /dev/mapper/s
	w 0x1 8M 4K &
	wait_for 60 in_flight
	start j speed=1
	to /dev/ram2 start k
	wait_state k concluded
	[ "$(job outcome k)" = error ]
	msg job show k | grep 'cause=writes from before the last start are still in flight'
	msg job cancel j
	finished j 10 cancelled
	slow_set s "$S" 0 0 # what was delayed goes at once
	wait
	msg job dismiss j
	msg job dismiss k
	wait_for 5 no_jobs
	start k
	finished k
	cmp "$T" "$S"
}

@test "last_error keeps sentences apart by token" {
	filter
	run msg job pause nobody token=one
	run msg hello token=two
	[[ $(msg last_error token=one) == *"no job 'nobody'"* ]]
	[[ $(msg last_error token=two) == *"unknown message"* ]]
	[[ $(msg last_error token=three) == "0 -" ]]
	[[ $(msg last_error) == *"unknown message"* ]]
}

@test "a refusal is one line of ASCII, whatever words it quotes" {
	filter
	refused "^-22 unknown message 'a\?\?\?z b\?'$" msg $'a\x01\xc3\xa4z' $'b\xff'
	refused "there is no bitmap '\?\?'$" msg bitmap clear $'\xc3\xa4'
}

@test "device names with odd characters" {
	name='odd:name+with@chars=1'
	dmsetup create "$name" --table "0 $SECTORS backup $S"
	dmbackup status "$name"
	dmbackup list | grep -F "$name"
	dmbackup backup "$name" --to "$T" --force
	cmp "$S" "$T"
	run dmbackup status 'no such; name'
	[ "$status" -eq 4 ]
	run dmbackup backup "$name" --to "$T" --id 'a b'
	[ "$status" -eq 2 ]
	[[ $output == *"can't be sent to the kernel"* ]]
}
