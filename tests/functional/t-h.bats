#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-H: the speed limit.
load lib

now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

@test "H1 measured speed is the limit, within a tenth" {
	filter
	for o in "speed=1048576" "speed=4194304 cluster=2048" "speed=4194304"; do
		# shellcheck disable=SC2086
		start j $o
		sleep 0.6
		d1=$(job done j) t1=$(now_ms)
		sleep 2
		d2=$(job done j) t2=$(now_ms)
		rate=$(((d2 - d1) * 512 * 1000 / (t2 - t1)))
		speed=${o#speed=}
		speed=${speed%% *}
		echo "$o: $rate bytes/s"
		# one chunk more or less may have landed in the window
		slack=$((speed / 10 + 1048576 * 1000 / (t2 - t1)))
		[ $rate -le $((speed + slack)) ]
		[ $rate -ge $((speed - slack)) ]
		msg job cancel j || state_is j concluded
		wait_state j concluded
		msg job dismiss j
		wait_for 5 no_jobs
	done
}
no_jobs() { [[ -z $(msg job list) ]]; }

@test "H2 less than one cluster a second: one at once, then one each second" {
	filter
	t1=$(now_ms)
	start j speed=65536 max_chunk=128
	wait_for 5 done_is 128
	for i in 1 2 3 4; do
		sleep 0.7
		least=$((($(now_ms) - t1 - 500) / 1000))
		d=$(($(job done j) / 128))
		most=$((($(now_ms) - t1) / 1000 + 1))
		echo "after $(($(now_ms) - t1)) ms: $d clusters"
		[ "$d" -ge "$least" ]
		[ "$d" -le "$most" ]
	done
	[ "$d" -ge 3 ]
}

@test "H3 a change wakes the sleeper" {
	filter
	start j speed=1
	wait_for 5 done_is 2048
	sleep 0.3
	t1=$(now_ms)
	msg job set_speed j 0
	finished j
	echo "took $(($(now_ms) - t1)) ms"
	[ $(($(now_ms) - t1)) -lt 10000 ] # else it would sleep for days
	msg job dismiss j
	wait_for 5 no_jobs
	# and the other way: it takes effect within a chunk per worker
	slow t "$T" 0 100
	to /dev/mapper/t start j max_workers=1
	msg job set_speed j 1
	sleep 0.5
	d=$(job done j)
	sleep 1
	[ "$(job done j)" = "$d" ]
}
done_is() { [[ $(job done j) == "$1" ]]; }

@test "H4 writes are not held to the limit, the background pays for their copies" {
	filter
	t1=$(now_ms)
	start j speed=65536 max_chunk=128
	for i in $(seq 8); do w 0x1 $((i + 4))M 64K; done
	[ "$(status longest)" -lt 1000 ]
	wait_for 10 at_least 1024
	# eight seconds' worth was copied for guests: the background owes that
	for i in 1 2 3 4; do
		sleep 0.5
		own=$(($(job done j) / 128 - 8)) s=$((($(now_ms) - t1) / 1000))
		echo "after $s s: $own clusters by itself"
		[ "$own" -le $((2 + (s > 8 ? s - 8 : 0))) ]
	done
}
at_least() { [[ $(job done j) -ge $1 ]]; }

@test "H5 many workers do not overshoot by more than one request" {
	filter
	start j speed=1 max_workers=32
	sleep 1
	[ "$(job done j)" = 2048 ]
}

@test "H6 cancel, pause and removal do not wait for the limiter" {
	filter
	start j speed=1
	wait_for 5 done_is 2048
	t1=$(now_ms)
	msg job pause j
	wait_state j paused 2
	msg job resume j
	msg job cancel j
	finished j 2 cancelled
	msg job dismiss j
	wait_for 5 no_jobs
	start k speed=1
	dmsetup remove f
	[ $(($(now_ms) - t1)) -lt 20000 ]
}
