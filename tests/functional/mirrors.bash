# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# What tests of mirrors share.

# mirror ID [OPTION...]: of all of F to $TARGET, or T
mirror() {
	local id=$1
	shift
	msg mirror start "$id" target="${TARGET:-$T}" sync=full auto_dismiss=0 "$@" || return
	wait_for 60 is_started "$id"
}
is_started() { ! state_is "$1" created; }
# keep OFFSET: from there on F is written to, and read, by who knows what it should hold
keep() {
	local at
	bytes at "$1"
	keepers "$F" "$at" > /tmp/keepers.out 2>&1 3>&- &
	keepers_pid=$!
	wait_for 30 grep -q begins /tmp/keepers.out
}
keep_end() {
	kill -INT "$keepers_pid"
	wait "$keepers_pid" || { cat /tmp/keepers.out; return 1; }
	keepers_pid=
}
synced() { [[ $(job synced "$1") == 1 ]]; }
withdrawn() { [[ $(job synced "$1") == 0 ]]; }
same_as() { quick same "$1" "$2"; }
no_jobs() { [[ -z $(msg job list) ]]; }
at_rest() { state_is "$1" paused || state_is "$1" standby; }

# A filter that can't do REQ_NOWAIT, as few destinations of dm's can; its origin
# is /dev/mapper/s. flaky NAME [DEV]: a device that is well, until ill NAME [DEV].
plain_filter() {
	slow s "$S" 0 0
	make_filter f /dev/mapper/s
}
flaky() { dmsetup create "$1" --table "0 $SECTORS flakey ${2:-$T} 0 1000 0"; }
ill() {
	dmsetup load "$1" --table "0 $SECTORS flakey ${2:-$T} 0 0 1000 1 error_writes"
	dmsetup resume --noflush "$1"
}
well() {
	dmsetup load "$1" --table "0 $SECTORS flakey ${2:-$T} 0 1000 0"
	dmsetup resume --noflush "$1"
}
# cached: $nullb is one that flushes reach; flushes DEV: how many have
cached() {
	modprobe null_blk nr_devices=0
	nullb size="$SIZE_MB" memory_backed=1 cache_size=4 blocksize=512 discard=1
}
flushes() {
	local f
	read -r -a f < "/sys/class/block/${1##*/}/stat"
	echo "${f[15]}"
}
# logging NAME: a device over T; $log has what is written to it. When it has gone,
# logged [MARK]: "sector sectors flags" a line, since the mark. Flags: 1 a flush, 2 FUA,
# 4 a discard
logging() {
	modprobe dm-log-writes 2> /dev/null || true
	[[ $(dmsetup targets) == *log-writes* ]] || skip "no dm-log-writes"
	truncate -s 128M /tmp/log
	log=$(losetup -f --show /tmp/log)
	dmsetup create "$1" --table "0 $SECTORS log-writes $T $log"
}
logged() {
	python3 -c '
import struct, sys
log, mark = open(sys.argv[1], "rb"), sys.argv[2].encode()
entries = struct.unpack("<3Q", log.read(512)[:24])[2]
tell = not mark
for i in range(entries):
    entry = log.read(512)
    sector, sectors, flags, length = struct.unpack("<4Q", entry[:32])
    if flags & 8:
        tell |= entry[32:32 + length] == mark
        continue
    if tell:
        print(sector, sectors, flags)
    if not flags & 4:
        log.seek(sectors * 512, 1)' "$log" "${1:-}"
}
# nth NAME DEV: a device whose n-th I/O is what FILTER=NAME msg says (tests/faults/dm-nth.c);
# someone_stalls NAME: does it wait?
nth() {
	[[ -e $build/faults/dm-nth.ko ]] || skip "no dm-nth"
	[[ -e /sys/module/dm_nth ]] || insmod "$build/faults/dm-nth.ko"
	dmsetup create "$1" --table "0 $(sectors_of "$2") nth $2"
}
someone_stalls() {
	local line
	quick -v line status "$1"
	[[ $line == *" 1" ]]
}
# memory VARIABLE [LOSETUP OPTION...]: a loop device over a file in memory; its path goes there
memory() {
	rm -f "/tmp/memory-$1"
	truncate -s "${SIZE_MB}M" "/tmp/memory-$1"
	printf -v "$1" %s "$(losetup -f --show "${@:2}" "/tmp/memory-$1")"
}
# time_writes OFFSET: one goes there after the other, until time_writes_end: $longest is how
# many ms the longest has taken then
time_writes() {
	local at
	bytes at "$1"
	: > /tmp/took
	while quick timed "$F" 0x54 "$at" 4096; do :; done > /tmp/took 3>&- &
	timed_pid=$!
	wait_for 30 test -s /tmp/took
}
time_writes_end() {
	kill "$timed_pid"
	wait "$timed_pid" || true
	timed_pid=
	longest=$(sort -n /tmp/took | tail -n 1)
}
# durably BYTE OFFSET: 4 KiB, with FUA
durably() {
	local at
	bytes at "$2"
	python3 -c '
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
buf = mmap.mmap(-1, 4096)
buf.write(bytes([int(sys.argv[2], 0)]) * 4096)
os.pwritev(fd, [buf], int(sys.argv[3]))' "$F" "$1" "$at"
}
# by_bitmap ID MODE: of what is dirty in b, to $TARGET
by_bitmap() {
	msg mirror start "$1" target="${TARGET:-$T}" sync=bitmap bitmap=b bitmap_mode="$2" auto_dismiss=0 "${@:3}"
}
# can_not SENTENCE: m is not completed, as its destination is one that ...; it follows on
can_not() {
	refused "can't take the origin's place: its destination $1" msg job complete m
	[[ $(job completing m) == 0 ]] && state_is m ready
}
in_vain() { (($(job attempts "$1") >= $2)); }
dismiss() {
	msg job dismiss "$1"
	wait_for 10 no_jobs
}

# onto DEV: the table over the new origin, as a pivot wants it
onto() {
	dmsetup load f --table "0 $SECTORS backup $1"
	dmsetup resume f
}
# refused_load REGEX TABLE: f does not take it, and this is why
refused_load() {
	run dmsetup load f --table "$2"
	[[ $status != 0 ]] || { echo "was taken: $2"; return 1; }
	quick log | tail -n 5 | grep -E "$1" || { quick log | tail -n 5; return 1; }
}
# loaded DEV [FEATURE...]: f has a table over it, of its own length
loaded() {
	local dev=$1
	shift
	dmsetup load f --table "0 $(sectors_of "$F") backup $dev${*:+ $# $*}"
	dmsetup resume f
}
origin_is() { [[ $(dmsetup table f) == "0 $SECTORS backup $(devno "$1")" ]]; }
