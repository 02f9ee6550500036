# SPDX-License-Identifier: GPL-2.0-only
# What functional tests share: devices to work on, the filter F over the origin
# S with the destination T, and ways to look at them.
#
#   S  /dev/ram0   T  /dev/ram1   more: /dev/ram2, /dev/ram3   each $SIZE_MB MiB
#   F  /dev/mapper/f
# Each test begins with S and T of known contents and ends with everything
# removed, the module unused, and no splat in the kernel's log.

top=${BATS_TEST_DIRNAME%/*/*}
read -r build < /proc/sys/kernel/osrelease
build=$top/build/$build
PATH=$top/build:$PATH
enable -f "$top/build/quick.so" quick # no process for what is done thousands of times
export LVM_SYSTEM_DIR=/tmp/dmbackup-lvm LVM_SUPPRESS_FD_WARNINGS=1

SIZE_MB=${SIZE_MB:-16}
SECTORS=$((SIZE_MB * 2048))
S=/dev/ram0
T=/dev/ram1
F=/dev/mapper/f

setup_file() {
	modprobe -a dm-mod loop libcrc32c 2>/dev/null || true
	modprobe brd rd_nr=4 rd_size=$((SIZE_MB * 1024)) max_part=4
	[[ -e /sys/module/dm_backup ]] || insmod "$build/dm_backup.ko"
}

teardown_file() {
	rmmod dm_backup
	rmmod brd
	rm -f /tmp/fill-? /tmp/snap-* /tmp/memory-*
}

setup() {
	# bats traces each command, for the line that failed: only the test's own,
	# not the functions here, or tests take twice as long.
	set +T
	declare -ft "$BATS_TEST_NAME"
	quick log clear
	echo "test: $BATS_TEST_NAME" > /dev/kmsg
	prefill
}

teardown() {
	remove_all || return 1
	! splats
}

# --- contents -----------------------------------------------------------------

# S holds what differs everywhere and is nowhere zero; T holds 0xff.
prefill() {
	[[ -e /tmp/fill-s ]] || cp "$top/build/fill-s" "$top/build/fill-t" /tmp
	quick fill "$S" /tmp/fill-s
	quick fill "$T" /tmp/fill-t
}

# w BYTE OFFSET LENGTH [DEV]: write a repeated byte; K and M are understood.
w() {
	local at len
	bytes at "$2" && bytes len "$3"
	quick write "${4:-$F}" "$1" "$at" "$len"
}

# bytes VARIABLE SIZE
bytes() {
	case $2 in
	*K) printf -v "$1" %d $((${2%K} * 1024)) ;;
	*M) printf -v "$1" %d $((${2%M} * 1048576)) ;;
	*) printf -v "$1" %d "$2" ;;
	esac
}

# is BYTE OFFSET LENGTH DEV: does the device hold a repeated byte there?
is() {
	local at len
	bytes at "$2" && bytes len "$3"
	quick holds "$4" "$1" "$at" "$len"
}

# nowait OFFSET: a direct write of 4096 bytes to F with RWF_NOWAIT. 11: it would wait.
nowait() {
	python3 -c '
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_DIRECT)
buf = mmap.mmap(-1, 4096)
buf.write(b"n" * 4096)
try:
    os.pwritev(fd, [buf], int(sys.argv[2]), os.RWF_NOWAIT)
except BlockingIOError:
    sys.exit(11)' "$F" "$1"
}

# snap NAME [DEV]: keep a copy of a device's contents.
snap() { dd if="${2:-$S}" of="/tmp/snap-$1" bs=1M iflag=direct status=none; }
same() { cmp "$2" "/tmp/snap-$1"; }

# --- devices ------------------------------------------------------------------

# filter [FEATURES...]: F over S
filter() { make_filter f "$S" "$@"; }
make_filter() { # NAME DEV [FEATURES...]
	local name=$1 dev=$2
	shift 2
	dmsetup create "$name" --table "0 $(sectors_of "$dev") backup $dev${*:+ $# $*}"
}

sectors_of() { quick sectors "$1"; }
devno() { quick devno "$1"; }
# The real one where quick does not know how, and as a program ("timeout 60 dmsetup").
dmsetup() {
	local rc=0
	quick dmsetup "$@" || rc=$?
	[[ $rc != 3 ]] || { command dmsetup "$@" && rc=0 || rc=$?; }
	return "$rc"
}

# slow NAME DEV READ_MS WRITE_MS: a device with latency; slow_set changes it
slow() {
	dmsetup create "$1" --table "0 $(sectors_of "$2") delay $2 0 $3 $2 0 $4"
}
slow_set() {
	dmsetup load "$1" --table "0 $(sectors_of "$2") delay $2 0 $3 $2 0 $4"
	dmsetup resume "$1"
}

# hang DEVICE: I/O to a dm device waits from now on; unhang ends that
hang() { dmsetup suspend --nolockfs --noflush "$1"; }
unhang() { dmsetup resume "$1"; }

# broken NAME DEV OFFSET LENGTH: a device with a bad area
broken() {
	local at len all
	bytes at "$3" && bytes len "$4"
	at=$((at / 512)) len=$((len / 512)) all=$(sectors_of "$2")
	{
		[[ $at == 0 ]] || echo "0 $at linear $2 0"
		echo "$at $len error"
		[[ $((at + len)) == "$all" ]] || echo "$((at + len)) $((all - at - len)) linear $2 $((at + len))"
	} | dmsetup create "$1"
}

# healed NAME DEV: the same without one
healed() {
	dmsetup load "$1" --table "0 $(sectors_of "$2") linear $2 0"
	dmsetup resume --noflush "$1"
}

# nullb ATTRIBUTE=VALUE...: a null_blk device; its path goes to $nullb
nullb() {
	local dir=/sys/kernel/config/nullb/test a
	modprobe null_blk nr_devices=0
	mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
	mkdir "$dir"
	for a in "$@" power=1; do
		echo "${a#*=}" > "$dir/${a%%=*}" || return 1
	done
	nullb=/dev/nullb$(<"$dir/index")
	[[ -b $nullb ]] || nullb=/dev/test # 6.12 names it after the directory
	wait_for 5 test -b "$nullb"
}

# What a test may have left, whatever it was.
remove_all() {
	local d i devices swaps
	[[ -z ${writers_pid:-} ]] || pkill -9 -x fio
	[[ -z ${keepers_pid:-} ]] || pkill -9 -x keepers
	[[ -z ${timed_pid:-} ]] || kill -9 "$timed_pid"
	while read -r _ d _; do
		[[ $d != /mnt/?* ]] || umount -l "$d"
	done < /proc/mounts
	mapfile -t swaps < /proc/swaps
	[[ ${#swaps[@]} == 1 ]] || swapoff -a
	for ((i = 0; i < 100; i++)); do
		devices=(/sys/block/dm-*)
		[[ -e ${devices[0]} ]] || break
		resume_all "${devices[@]}"
		dmsetup remove_all 2>/dev/null
		[[ $i == 0 ]] || sleep 0.1
	done
	for d in /sys/block/loop*/loop; do
		[[ ! -e $d ]] || losetup -D
	done
	for d in /sys/block/zram*; do
		[[ ! -e $d ]] || { echo 1 > "$d/reset"; echo "${d##*zram}" > /sys/class/zram-control/hot_remove; }
	done
	[[ ! -d /sys/kernel/config/nullb/test ]] || rmdir /sys/kernel/config/nullb/test
	[[ ! -e /sys/module/scsi_debug ]] || rmmod scsi_debug
	wait_for 60 module_idle
}
resume_all() { # /sys/block/DM...
	local d suspended name
	for d in "$@"; do
		read -r suspended < "$d/dm/suspended" && read -r name < "$d/dm/name" || continue
		[[ $suspended == 0 ]] || dmsetup resume "$name"
	done
}
module_idle() {
	local n
	read -r n < /sys/module/dm_backup/refcnt
	[[ $n == 0 ]]
}

# --- jobs ---------------------------------------------------------------------

msg() { quick message "${FILTER:-f}" "$@"; }
# start ID [OPTION...]: a full backup of F to $TARGET, or T. The message returns
# before the cut is made; this does not, unless that takes very long.
start() {
	local id=$1 i
	shift
	msg backup start "$id" target="${TARGET:-$T}" sync=full auto_dismiss=0 "$@" || return
	for ((i = 0; i < 500; i++)); do
		state_is "$id" created || break
		quick sleep 20
	done
}
# to TARGET COMMAND...
to() {
	local TARGET=$1
	shift
	"$@"
}
# look VARIABLE KEY ID: a value of "job show"; job KEY ID prints it
look() {
	local text
	quick -v text message "${FILTER:-f}" job show "$3" || return
	[[ " $text" == *" $2="* ]] || return 1
	text=" $text"
	text=${text#*" $2="}
	[[ $2 == cause ]] || text=${text%% *}
	printf -v "$1" %s "$text"
}
job() {
	local value
	look value "$@" && echo "$value"
}
state() { job state "$1"; }
last_error() { msg last_error; }

# bitmap KEY NAME: a value of "bitmap list"; count NAME: dirty granules
bitmap() {
	local line list
	quick -v list message "${FILTER:-f}" bitmap list || return 1
	while read -r line; do
		[[ " $line " == *" name=$2 "* ]] || continue
		line=${line#*"$1="}
		[[ $1 == cause ]] || line=${line%% *}
		echo "$line"
		return
	done <<< "$list"
	return 1
}
count() {
	local dirty granularity
	dirty=$(bitmap dirty "$1") granularity=$(bitmap granularity "$1") || return 1
	echo $((dirty / granularity))
}
# has NAME COUNT
has() {
	local n
	n=$(count "$1")
	[[ $n == "$2" ]] || { echo "bitmap $1 has $n dirty granules, not $2"; return 1; }
}
# ranges NAME: "start length" lines, all of them
ranges() {
	local from=0 reply next
	while ((from < SECTORS)); do
		quick -v reply message "${FILTER:-f}" bitmap ranges "$1" "$from" || return 1
		read -r _ next <<< "$reply"
		[[ $reply != *$'\n'* ]] || echo "${reply#*$'\n'}"
		((next > from)) || return 1
		from=$next
	done
}

# What is to fail. A mere "!" fails no test, unless it is the last command of it.
fails() { ! "$@"; }

# A refused command: fails, and says something that matches.
refused() { # REGEX COMMAND...
	local why=$1
	shift
	run "$@"
	[[ $status != 0 ]] || { echo "was taken: $*"; return 1; }
	quick -v output message "${FILTER:-f}" last_error
	[[ $output =~ $why ]] || { echo "refused for another reason: $output"; return 1; }
}

# The same for a table: the reason is in the kernel's log.
refused_table() { # REGEX TABLE
	run dmsetup create x --table "$2"
	[[ $status != 0 ]] || { echo "was taken: $2"; return 1; }
	! quick status x 2> /dev/null || { echo "left a device"; return 1; }
	quick log | tail -n 5 | grep -E "$1" || { quick log | tail -n 5; return 1; }
}

# wait_for SECONDS COMMAND...: until it succeeds. The clock alone does not end that:
# it jumps when the machine was not run for a while. Ten looks make a second.
wait_for() {
	local end=$((SECONDS + $1)) t=$1 looks=0
	shift
	until "$@"; do
		if ((++looks >= 10 * t && SECONDS >= end)); then
			echo "not within ${t}s: $*"
			return 1
		fi
		quick sleep 50
	done
}
# one_in TIMES COMMAND...: a measurement that is good once in so many times: a busy
# host may not run the machine for a while. What must never be goes to $wrong.
one_in() {
	local n=$1
	shift
	wrong=
	until "$@"; do
		[[ -z $wrong ]] && ((--n)) || return 1
	done
	[[ -z $wrong ]]
}
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }
state_is() {
	local now
	look now state "$1" 2> /dev/null && [[ $now == "$2" ]]
}
wait_state() { wait_for "${3:-60}" state_is "$1" "$2"; }
# finished ID: concluded, and how
finished() {
	wait_state "$1" concluded "${2:-60}" || return 1
	local outcome
	look outcome outcome "$1"
	[[ $outcome == "${3:-completed}" ]] || { msg job show "$1"; return 1; }
}

# status WORD: mode, staged, budget, held, longest (ms), or a counter's name
status() {
	local f line
	quick -v line status "${FILTER:-f}"
	read -r -a f <<< "$line"
	case $1 in
	mode) echo "${f[4]}" ;;
	staged) echo "${f[5]%/*}" ;;
	budget) echo "${f[5]#*/}" ;;
	held) echo "${f[6]}" ;;
	longest) echo "${f[7]}" ;;
	*)
		f=" ${f[*]} "
		f=${f#*" $1 "}
		echo "${f%% *}"
		;;
	esac
}
staged() { status staged; }
staged_is() { [[ $(staged) == "$1" ]]; }
someone_waits() { [[ $(status held) -gt 0 ]]; }
nobody_waits() { ! someone_waits; }
# held_within MS: no write was held longer than cbw_timeout=MS and what it may take to
# notice, 100 ms and two ticks.
held_within() {
	local longest
	longest=$(status longest)
	echo "longest $longest"
	((longest <= $1 + 108))
}
# in_flight: has F sent writes on that have not come back?
in_flight() {
	local writes
	read -r _ writes < "/sys/dev/block/$(devno "$F")/inflight"
	((writes > 0))
}
# No destination that was given up is open any more.
no_orphans() { [[ -z $(</sys/module/dm_backup/parameters/orphans) ]]; }

# writers [FIO OPTION...]: fio on F in the background, verifying what it wrote. When it
# begins anew it reads what it has overwritten: not while that is in flight, as what is
# read then may be half of each. It tells a torn sector, or one of elsewhere, but not an
# old one: see keep in mirrors.bash
writers() {
	local before
	before=$(writes_ended)
	fio --name=w --filename="$F" --direct=1 --ioengine=libaio --iodepth=16 --rw=randwrite \
		${WRITERS_BS---bssplit=512/20:3k/10:4k/40:12k/10:64k/15:256k/5} --size="${SIZE_MB}M" --verify=crc32c --verify_backlog=64 \
		--verify_fatal=1 --serialize_overlap=1 --time_based --runtime="${RUNTIME:-600}" ${WRITERS_IOPS:+--rate_iops=$WRITERS_IOPS} \
		--output=/tmp/fio.out "$@" &
	writers_pid=$!
	# Until it has its handler, fio is deaf to the signal that is to end it.
	wait_for 30 more_writes "$before"
	sleep 0.2
}
writes_ended() { # [DEV]
	local f
	read -r -a f < "/sys/dev/block/$(devno "${1:-$F}")/stat"
	echo "${f[4]}"
}
more_writes() { (($(writes_ended) > $1)); }
# fio ends with an error when it is interrupted; what matters is its report.
writers_end() {
	kill -INT "$writers_pid"
	wait "$writers_pid" || true
	writers_pid=
	if [[ $(grep -c 'err= 0' /tmp/fio.out) == 0 ]] || grep -E '^verify|err=[1-9]|err= *[1-9]' /tmp/fio.out; then
		head -n 20 /tmp/fio.out
		return 1
	fi
}

# go ID [SPEED]: as fast as it can, or that fast, unless it is done already
go() { msg job set_speed "$1" "${2:-0}" 2>/dev/null || wait_state "$1" concluded; }

# cut_start ID [OPTION...]: start with F suspended, with a copy of S as of then
cut_start() {
	dmsetup suspend f
	snap ref
	start "$@" || { dmsetup resume f; return 1; }
	wait_for 60 started "$1"
	dmsetup resume f
}
started() { [[ $(state "$1") != created ]]; }

# --- the kernel's log -----------------------------------------------------------

splats() {
	local log
	quick -v log log
	[[ $log =~ (WARNING:|BUG:|Oops|Call\ Trace|KASAN|blocked\ for\ more|possible\ circular|possible\ recursive|suspicious\ RCU|sleeping\ function) ]] &&
		echo "kernel log: ${BASH_REMATCH[1]}"
}
