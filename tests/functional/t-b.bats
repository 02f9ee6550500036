#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-B: geometry, and that everything is copied.
load lib

# The pattern set of QEMU's iotest 055, as far as the device goes.
p55() {
	dd if=/dev/zero of="$S" bs=1M count="$SIZE_MB" oflag=direct status=none
	w 0x11 0 64K "$S"
	w 0x22 162K 32K "$S"
	w 0xd5 1M 32K "$S"
	w 0xdc 8M 124K "$S"
	w 0x33 $((SIZE_MB * 1048576 - 65536)) 64K "$S"
}

@test "B1 B2 all is copied, zeroes too, whatever the target held" {
	p55
	snap ref
	filter
	start j
	finished j
	same ref "$T"
	[ "$(job done j)" = "$SECTORS" ]
	[ "$(job total j)" = "$SECTORS" ]
}

@test "B3 zeroes are unmapped where the target can" {
	p55
	w 0x5a $((15 * 1048576 + 65024)) 512 "$S"	# begins with zeroes, and has data
	snap ref
	# a sparse file behind a loop device, prefilled
	cp /tmp/fill-t /tmp/sparse
	loop=$(losetup -f --show --direct-io=off /tmp/sparse)
	filter
	to "$loop" start j detect_zeroes=unmap
	finished j
	same ref "$loop"
	[ "$(job detect_zeroes j)" = unmap ]
	sync
	[ "$(du -k /tmp/sparse | cut -f1)" -lt 1024 ]
	losetup -d "$loop"
	rm /tmp/sparse
}

@test "B4 a target that can't write zeroes gets them as data, for good" {
	p55
	snap ref
	filter
	# brd has no write zeroes
	for z in unmap on; do
		dd if=/tmp/fill-t of="$T" bs=1M oflag=direct status=none
		start j detect_zeroes=$z
		finished j
		same ref "$T"
		[ "$(job detect_zeroes j)" = off ]
		msg job dismiss j
		wait_for 5 no_jobs
	done
}
no_jobs() { [[ -z $(msg job list) ]]; }

# A filter over the first $1 sectors of S, to a target of that length with a
# canary behind it.
geometry() {
	local n=$1
	shift
	dd if=/tmp/fill-t of="$T" bs=1M oflag=direct status=none
	dmsetup create s --table "0 $n linear $S 0"
	dmsetup create t --table "0 $n linear $T 0"
	make_filter f /dev/mapper/s
	to /dev/mapper/t start j "$@"
	finished j
	cmp -n $((n * 512)) "$S" "$T"
	[[ $(cmp -n 65536 -i $((n * 512)):0 "$T" /tmp/fill-t 2>&1) == "" ]]
	[ "$(job done j)" = "$n" ]
	dmsetup remove f
	dmsetup remove s
	dmsetup remove t
}

@test "B5 B6 lengths that no cluster divides, and nothing behind the end" {
	for n in 9 129 2050 16385; do
		for c in 128 2048; do
			geometry $n cluster=$c
		done
	done
	geometry 2049 cluster=8
}

@test "B5 a write to the last, partial cluster is preceded by its copy" {
	dmsetup create s --table "0 2049 linear $S 0"
	dmsetup create t --table "0 2049 linear $T 0"
	make_filter f /dev/mapper/s
	snap ref /dev/mapper/s
	to /dev/mapper/t start j speed=1 max_chunk=128
	w 0x55 $((2048 * 512)) 512
	go j
	finished j
	same ref /dev/mapper/t
	is 0x55 $((2048 * 512)) 512 "$F"
}

@test "B7 an origin smaller than a cluster" {
	geometry 1
	geometry 8
	geometry 8 cluster=2048
}

# 4Kn: a device with 4096-byte logical blocks, over null_blk
@test "B8 origin of 512, target of 4096 byte blocks" {
	nullb memory_backed=1 size="$SIZE_MB" blocksize=4096
	filter
	to "$nullb" start j
	finished j
	cmp "$S" "$nullb"
	dmsetup remove f
	dmsetup create s --table "0 2049 linear $S 0"
	make_filter f /dev/mapper/s
	refused "no multiple of destination .* block of 4096" to "$nullb" start j allow_larger=1
}

@test "B8 origin of 4096, target of 512 byte blocks" {
	nullb memory_backed=1 size="$SIZE_MB" blocksize=4096
	dd if=/tmp/fill-s of="$nullb" bs=1M oflag=direct status=none
	make_filter f "$nullb"
	[ "$(blockdev --getss "$F")" = 4096 ]
	snap ref "$nullb"
	start j speed=1
	w 0x77 8K 4K
	w 0x78 1M 128K
	go j
	finished j
	same ref "$T"
}

@test "B11 sync=top: what a bitmap says is there is copied, and nothing else; without one, all" {
	filter
	msg bitmap add there
	w 0x21 4M 1M
	msg backup start j target=$T sync=top allocated=there auto_dismiss=0
	finished j
	is 0x21 4M 1M $T
	is 0xff 0 4M $T
	is 0xff 5M 11M $T
	[ "$(job done j)" = 2048 ]
	msg backup start k target=/dev/ram2 sync=top auto_dismiss=0
	finished k
	cmp $S /dev/ram2
}

@test "B12 the page cache shows what is on the target" {
	filter
	cat "$T" > /dev/null # into the page cache
	start j
	finished j
	cmp "$T" "$S"
	[ "$(sha256sum < "$T")" = "$(dd if="$T" bs=1M iflag=direct status=none | sha256sum)" ]
}

@test "B13 a device of 1 TiB starts in a moment, at a bit per cluster and map" {
	modprobe dm-zero 2>/dev/null || true
	dmsetup create z --table "0 2147483648 zero"
	dmsetup create t --table "0 2147483648 zero"
	make_filter f /dev/mapper/z
	before=$(awk '/VmallocUsed/ { print $2 }' /proc/meminfo)
	began=$EPOCHREALTIME
	to /dev/mapper/t start j speed=1
	wait_state j running
	took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { print int((b - a) * 1000) }')
	after=$(awk '/VmallocUsed/ { print $2 }' /proc/meminfo)
	echo "took $took ms, $((after - before)) KiB"
	# a busy machine takes seconds; whoever looked at what is there would take hours
	[ "$took" -lt 20000 ]
	# two maps of 2 MiB, and what else was vmalloc'ed meanwhile
	[ $((after - before)) -lt 6144 ]
	w 0x11 1000000M 4K
	[ "$(job guest_copied j)" -ge 128 ]
}

@test "B14 two backups to one target, one after the other" {
	filter
	start j
	finished j
	w 0x99 3M 1M
	snap ref
	refused 'exists already' start j
	msg job dismiss j
	wait_for 5 no_jobs
	start j
	finished j
	same ref "$T"
}

@test "max_workers, max_chunk and cluster in any mix" {
	for o in "max_workers=1" "max_workers=1 max_chunk=8 cluster=8" "max_workers=64 max_chunk=128" \
		"max_chunk=32768 cluster=8" "cluster=32768 max_workers=2" "max_chunk=131072"; do
		dmsetup create f --table "0 $SECTORS backup $S"
		dd if=/tmp/fill-t of="$T" bs=1M oflag=direct status=none
		# shellcheck disable=SC2086
		start j $o
		finished j
		cmp "$S" "$T"
		dmsetup remove f
	done
}

@test "the smallest budget does" {
	filter buffer 256
	snap ref
	start j cluster=128 speed=1
	for i in $(seq 1 20); do
		w 0x42 $((i * 500000 / 512 * 512)) 12K
	done
	go j
	finished j
	same ref "$T"
}
