# SPDX-License-Identifier: GPL-2.0-only
# What the guest scripts of the benchmarks share. Devices, the filter F over S
# (/dev/ram0) and jobs on it are those of the functional tests' library.
#
# A script leaves figures in $VM_JOB/values, one "NAME VALUE" a line. What was
# measured more than once is there more than once. tests/bench/evaluate makes
# the table of them.

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # read by the library
BATS_TEST_DIRNAME=${bench%/*}/functional
# shellcheck source-path=SCRIPTDIR source=../functional/lib.bash
. "$bench/../functional/lib.bash"

# shellcheck disable=SC2034 # read by the scripts
L=/dev/mapper/linear # S behind dm-linear: what all is compared with

die() { echo "bench: $*" >&2; exit 1; }
most=$((SIZE_MB - 16))M # of S: the rest keeps a job from ending
value() { echo "$1 $2" >> "$VM_JOB/values"; }
now_us() { echo "${EPOCHREALTIME/./}"; }
now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

# devices NR: ram disks of $SIZE_MB, all pages there, none of them zero
devices() {
	local i
	# While the guest waits for its host, icount's time leaps.
	echo 0 > /proc/sys/kernel/hung_task_timeout_secs
	modprobe -a dm-mod dm-snapshot dm-delay libcrc32c
	modprobe brd rd_nr="$1" rd_size=$((SIZE_MB * 1024)) max_part=1
	insmod "$build/dm_backup.ko"
	near fio dd sleep awk sort tee grep rm chrt dmsetup
	cp /usr/bin/fio /dev/shm/
	for ((i = 0; i < $1; i++)); do
		fill /dev/ram$i
	done
	dmsetup create linear --table "0 $SECTORS linear $S 0"
	make_filter f "$S"
}
# near PROGRAM...: they, what they load and the jobs' files are read of memory from now
# on, not of the host: while the guest waits for that its clock leaps from tick to tick,
# and all that ticks do would be counted. A new owner has the overlay copy a file.
near() {
	local p
	{
		printf '%s\n' /bin /sbin /lib /lib64 /etc/ld.so.cache /etc/alternatives/awk "$bench"/*.fio
		for p; do
			p=$(type -P "$p") # dmsetup is a function, too
			echo "$p"
			ldd "$p" | grep -o '/[^ ]*'
		done
	} | sort -u > /dev/shm/near
	xargs realpath < /dev/shm/near >> /dev/shm/near.real
	sort -u /dev/shm/near /dev/shm/near.real | xargs chown -h 0:0
}
fill() { DEV=$1 /dev/shm/fio "$bench/fill.fio" --eta=never --output=/dev/null; }
fill_most() { DEV=$1 /dev/shm/fio "$bench/fill.fio" --size="$most" --eta=never --output=/dev/null; }

# measure JOBFILE [FIO OPTION...], then figures NAME: NAME.mean, .p50, .p99, .max:
# completion latency in ns; NAME.loop: the whole of fio's loop, ns per write
measure() {
	local file=$1
	shift
	/dev/shm/fio "$bench/$file" --eta=never --output-format=json --output=/dev/shm/report "$@"
}
figures() {
	python3 - "$1" >> "$VM_JOB/values" <<-'END'
		import json, sys
		name = sys.argv[1]
		w = json.load(open("/dev/shm/report"))["jobs"][0]["write"]
		lat = w["clat_ns"]
		print(name + ".mean", lat["mean"])
		print(name + ".max", lat["max"])
		for p in "50", "99":
		    print(name + ".p" + p, lat["percentile"][p + ".000000"])
		print(name + ".loop", w["runtime"] * 1e6 / w["total_ios"])
	END
}

# steady NAME DEVICE [SIZE]: random writes to its first $most, or SIZE
steady() {
	DEV=$2 SIZE=${3:-$most} measure steady.fio
	figures "$1"
}
export WRITES=28000 # so many

# Instructions executed, those of the idle loop excepted, on one CPU with icount:
# the time, less the time that the CPU was idle, both as the kernel's timers have them.
busy() {
	awk '$1 == "now" { n = $3 } $1 ~ /^\.(idle|iowait)_sleeptime$/ { n -= $3 } END { printf "%.0f\n", n }' /proc/timer_list
}

# cost NAME COMMAND...: what a command, and what it leaves to be done, takes
cost() {
	local name=$1 before
	shift
	sleep 0.2
	before=$(busy)
	"$@"
	sleep 1
	value "$name" $(($(busy) - before))
}

# By the clock. dd_timed NAME: S to T with dd, by its own account
dd_timed() {
	dd if="$S" of="$T" bs=1M iflag=direct oflag=direct count="$SIZE_MB" 2>&1 |
		awk -v name="$1" '/copied/ { for (i = 1; i < NF; i++) if ($(i + 1) == "s,") print name, $i }' >> "$VM_JOB/values"
}
# iops NAME JOBFILE [FIO OPTION...]: writes a second, of all jobs together
iops() {
	measure "$2" --group_reporting "${@:3}"
	value "$1" "$(awk '$1 == "\"write\"" { w = 1 } w && $1 == "\"iops\"" { print $3 + 0; exit }' /dev/shm/report)"
}
# scaled NAME DEVICE: by one and by two jobs, to NAME.1 and NAME.2
scaled() {
	local n
	for n in 1 2; do
		DEV=$2 SIZE=$most iops "$1.$n" scaled.fio --numjobs=$n
	done
}
# trace_jobs, then start_traced COMMAND..., which starts a job; job_took STATE: seconds
# from its cut until it was in that state, as the module's tracepoint has it: starting
# and looking are no part of it.
tracing=/sys/kernel/tracing
trace_jobs() { echo 1 > $tracing/events/dm_backup/bk_job_state/enable; }
start_traced() {
	echo > $tracing/trace
	"$@"
}
job_took() {
	awk -v to="-> $1" '
		function time(i) { for (i = 1; $i !~ /^[0-9]+\.[0-9]+:$/; i++); return $i + 0 }
		/created -> running/ { from = time() }
		index($0, to) { print time() - from; exit }' $tracing/trace
}

# touch_logs [MIB]: what fio is to replay to write once to each cluster of 64 KiB of
# 128 MiB, or so many, in one random order, but for the first MiB, which a job copies
# when it starts, and the last, without which the job can't end. $touches is how many.
touch_logs() {
	local dev
	touches=$((${1:-128} * 16 - 32))
	for dev in linear f snap-origin; do
		seq 16 $((touches + 15)) | awk -v dev=/dev/mapper/$dev '
			BEGIN { srand(1); print "fio version 2 iolog"; print dev, "add"; print dev, "open" }
			{ n[NR] = $1 }
			END {
				for (i = NR; i; i--) {
					j = 1 + int(rand() * i)
					print dev, "write", n[j] * 65536, 4096
					n[j] = n[i]
				}
				print dev, "close"
			}' > /dev/shm/touch-$dev
	done
}

# soon COMMAND...: until it succeeds; looks every 2 ms, or $LOOK, where looking would
# be counted
soon() {
	local i
	for ((i = 0; i < 60000; i++)); do
		! "$@" || return 0
		quick sleep "${LOOK:-2}"
	done
	die "not after $i looks: $*"
}

# throttled ID [TARGET]: a job that runs, and has copied the first MiB; by
# itself it copies no more
throttled() {
	to "${2:-$T}" start "$1" speed=1
	wait_for 20 has_done "$1" 2048
}
has_done() { [[ $(job "done" "$1") -ge $2 ]]; }

# ended ID: wait until a job is concluded. Looking again and again would be felt.
ended() {
	local n
	while n=$(dmsetup info -c --noheadings -o events f) && ! state_is "$1" concluded; do
		timeout 5 dmsetup wait f "$n" || true
	done
}

# Nothing is only in memory. What is left in use is one cluster per job.
settled() { wait_for 60 nothing_staged; }
nothing_staged() { [[ $(staged) -le $((128 * $(msg job list | grep -c .))) ]]; }

# all_first ID...: each write has opened a cluster
all_first() {
	local j
	for j in "$@"; do
		[[ $(job guest_copied "$j") == $((touches * 128)) ]] || die "not each write was a first one"
	done
}

# drop ID...: end jobs and forget them
drop() {
	local j
	for j in "$@"; do
		# It may just have ended by itself.
		state_is "$j" concluded || msg job cancel "$j" force 2> /dev/null || true
		wait_state "$j" concluded
		msg job dismiss "$j"
	done
	wait_for 5 no_jobs
}
no_jobs() { [[ -z $(msg job list) ]]; }

# snapshot N|P: S behind dm-snapshot's origin target, with chunks of 64 KiB
snapshot() {
	dd if=/dev/zero of=/dev/ram2 bs=64K count=1 oflag=direct status=none
	dmsetup create snap-origin --table "0 $SECTORS snapshot-origin $S"
	dmsetup suspend snap-origin
	dmsetup create snap --table "0 $SECTORS snapshot $S /dev/ram2 $1 128"
	dmsetup resume snap-origin
}
snapshot_end() { dmsetup remove snap-origin && dmsetup remove snap; }

# guest RATE [COMMAND...]: random writes at F, or $GUEST, $guest_pid, for latencies()
guest() {
	local rate=$1
	shift
	rm -f /dev/shm/guest*
	DEV=${GUEST:-$F} RATE=$rate "$@" /dev/shm/fio "$bench/guest.fio" --eta=never --output=/dev/null &
	guest_pid=$!
	wait_for 60 f_has_written "$(f_writes)"
	sleep 0.5
}
f_writes() { awk '{ print $5 }' "/sys/dev/block/$(devno "${GUEST:-$F}")/stat"; }
f_has_written() { [[ $(f_writes) -ge $(($1 + 10)) ]]; }
guest_end() {
	kill -INT "$guest_pid"
	wait "$guest_pid" || true
}

# latencies FROM TO NAME: of the writes that ended between, ms since the epoch.
# Only after guest_end.
latencies() {
	awk -F, -v from="$1" -v to="$2" '$1 > from && $1 < to { print $2 + 0 }' /dev/shm/guest_clat.1.log |
		tee -a "/dev/shm/all.$3" | percentiles "$3"
}
# percentiles NAME < latencies, and of all rounds together
percentiles() {
	sort -n | awk -v name="$1" -v least="${LEAST:-100}" '
		function at(p) { return n[int((NR - 1) * p) + 1] }
		{ n[NR] = $1 }
		END {
			if (NR < least) exit 1
			print name ".p50", at(.5); print name ".p99", at(.99)
			print name ".max", at(1); print name ".writes", NR
		}' >> "$VM_JOB/values" || die "$1: the guest has hardly written"
}
percentiles_all() {
	local name
	for name; do
		percentiles "$name.all" < "/dev/shm/all.$name"
	done
}
