#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-H: the speed limit.
load lib

# Measurements are made with one_in: a job does not make up for time that the machine
# was not run for, and such time comes between a figure and its moment, too.

# ended ID: cancelled, and forgotten
ended() {
	msg job cancel "$1" || true # it may be done
	wait_state "$1" concluded
	msg job dismiss "$1"
	wait_for 5 no_jobs
}
no_jobs() { [[ -z $(msg job list) ]]; }

@test "H1 measured speed is the limit, within a tenth" {
	filter
	for o in "speed=1048576" "speed=2097152 cluster=2048" "speed=2097152 max_chunk=1024"; do
		# shellcheck disable=SC2086
		one_in 5 keeps_speed $o
	done
}
keeps_speed() { # speed=SPEED [OPTION]
	local d1 d2 t1 t2 rate slack speed=${1#speed=} chunk=2048
	[[ ${2:-} != max_chunk=* ]] || chunk=${2#max_chunk=}
	start j "$@"
	sleep 0.6
	d1=$(job done j) t1=$(now_ms)
	sleep 2
	d2=$(job done j) t2=$(now_ms)
	ended j
	rate=$(((d2 - d1) * 512 * 1000 / (t2 - t1)))
	echo "$*: $rate bytes/s"
	# one chunk more or less may have landed in the window
	slack=$((speed / 10 + chunk * 512 * 1000 / (t2 - t1)))
	((rate <= speed + slack && rate >= speed - slack))
}

# Looks four times at a job that began at T1: one cluster at once, then one each second?
# Clears $good if there were fewer, sets $wrong if there were more; $d is the last.
one_each_second_since() { # T1
	local i least most
	for i in 1 2 3 4; do
		sleep 0.7
		least=$((($(now_ms) - $1 - 500) / 1000))
		d=$(($(job done j) / 128))
		most=$((($(now_ms) - $1) / 1000 + 1))
		echo "after $(($(now_ms) - $1)) ms: $d clusters"
		((d >= least)) || good=0
		((d <= most)) || wrong=1
	done
}

@test "H2 less than one cluster a second: one at once, then one each second" {
	filter
	one_in 5 one_each_second
}
one_each_second() {
	local d t1 good=1
	t1=$(now_ms)
	start j speed=65536 max_chunk=128
	wait_for 60 at_least 128
	one_each_second_since $t1
	ended j
	((good && d >= 3))
}

@test "H3 a change wakes the sleeper" {
	filter
	start j speed=1
	wait_for 60 done_is 2048
	sleep 0.3
	msg job set_speed j 0
	finished j # else it would sleep for days
	msg job dismiss j
	wait_for 5 no_jobs
	# and the other way: it takes effect within a chunk per worker
	slow t "$T" 0 300
	to /dev/mapper/t start j speed=1 max_workers=1
	msg job set_speed j 0
	msg job set_speed j 1
	d=$(job done j)
	wait_for 3 stands_still
	# what was on its way, and what a new speed lets go at once
	[ "$(job done j)" -le $((d + 2 * 2048)) ]
}
done_is() { [[ $(job done j) == "$1" ]]; }
stands_still() {
	local d
	d=$(job done j)
	sleep 1
	done_is "$d"
}

@test "H4 writes are not held to the limit, the background pays for their copies" {
	filter
	t1=$(now_ms)
	start j speed=65536 max_chunk=128
	w 0x1 5M 512K
	# held to the limit it would have waited for some eight seconds
	[ "$(status longest)" -lt 5000 ]
	wait_for 60 at_least 1024
	# eight seconds' worth was copied for guests: the background owes that
	for i in 1 2 3 4; do
		sleep 0.5
		own=$(($(job done j) / 128 - 8)) s=$((($(now_ms) - t1) / 1000))
		echo "after $s s: $own clusters by itself"
		[ "$own" -le $((2 + (s > 8 ? s - 8 : 0))) ]
	done
}
at_least() { [[ $(job done j) -ge $1 ]]; }

@test "H4 with a fleece device: what is moved is paid for, once" {
	filter
	one_in 5 moves_one_each_second
}
# Were it charged when it is fleeced, too, nothing would go for eight seconds more; were
# it not charged when it is moved, all would go at once.
moves_one_each_second() {
	local i d own left t1 good=1
	t1=$(now_ms)
	start j speed=65536 max_chunk=128 fleece=/dev/ram2
	w 0x31 8M 512K
	wait_for 60 fleeced_is_at_least 1024
	own=$(($(job done j) / 128))
	one_each_second_since $t1
	left=$(($(job fleeced j) / 128))
	echo "$own before the write, $left not moved"
	# They come first: all since then were moves, but for the one that is being discarded.
	((left <= 8 - (d - own) + 1)) || wrong=1
	ended j
	((good && d >= own + 2))
}
fleeced_is_at_least() { [[ $(job fleeced j) -ge $1 ]]; }

@test "H5 many workers do not overshoot by more than one request" {
	filter
	start j speed=1 max_workers=32
	wait_for 60 at_least 2048
	sleep 1
	[ "$(job done j)" = 2048 ]
}

@test "H6 cancel, pause and removal do not wait for the limiter" {
	filter
	start j speed=1
	wait_for 60 done_is 2048
	# the limiter would let it go on in days
	msg job pause j
	wait_state j paused
	msg job resume j
	msg job cancel j
	finished j 60 cancelled
	msg job dismiss j
	wait_for 5 no_jobs
	start k speed=1
	timeout 60 dmsetup remove f
}
