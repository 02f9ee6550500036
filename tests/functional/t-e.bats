#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-E: what becomes of a bitmap, for each sync, bitmap_mode and outcome. Counts
# are those of QEMU's iotest 257, on a device of 1024 clusters like there.
load lib

K=16384

# put BYTE OFFSET LENGTH: offset and length in quarters of a cluster
put() { w "$1" $(($2 * K / 4)) $(($3 * K / 4)); }
G0() { put 0x49 0 4 && put 0x6c 64 4 && put 0x6f 2048 4 && put 0x76 4092 4; }
G1() { put 0x65 0 4 && put 0x77 62 4 && put 0x72 2050 4 && put 0x69 4088 4; }
G2() { put 0x74 4 4 && put 0x69 58 4 && put 0x6e 2054 4 && put 0x67 4088 8; }
G3() { put 0xaa 4 12 && put 0xbb 54 4 && put 0xcc 2058 4 && put 0xdd 4080 4; }

# job1 is SYNC MODE, in ascending order, cluster by cluster
job1() {
	local more=
	[[ $1 != top ]] || more=allocated=allocated
	msg backup start j target="$T" sync="$1" bitmap=b bitmap_mode="$2" max_workers=1 cluster=32 max_chunk=32 \
		auto_dismiss=0 auto_finalize=0 $more
}

# scenario SYNC MODE OUTCOME COUNT...: before job 1, after it, after G3, after job 2
scenario() {
	local sync=$1 mode=$2 outcome=$3
	shift 3
	dmsetup create o --table "0 $SECTORS linear $S 0"
	make_filter f /dev/mapper/o
	if [[ $sync == top ]]; then
		msg bitmap add allocated granularity=32
	fi
	G0
	dd if="$S" of="$T" bs=1M iflag=direct oflag=direct status=none
	msg bitmap add b granularity=32
	G1
	[[ $sync != top ]] || { has allocated 7 && msg bitmap disable allocated; }
	has b "$1"
	if [[ $outcome == error ]]; then
		{
			echo "0 480 linear $S 0"
			echo "480 32 error"
			echo "512 $((SECTORS - 512)) linear $S 512"
		} | dmsetup load o
		dmsetup resume o
	fi
	job1 "$sync" "$mode"
	case $outcome in
	ok | cancel)
		wait_state j pending
		refused 'in use by job .j' msg bitmap clear b
		[ "$(bitmap dirty b)" = $(($1 * 32)) ]
		G2
		[ "$(bitmap dirty b)" = $(($1 * 32)) ]
		[ "$(bitmap successor b)" = $((7 * 32)) ]
		;;&
	ok) msg job finalize j && finished j ;;
	cancel) msg job cancel j && finished j 30 cancelled ;;
	error)
		finished j 30 error
		[ "$(job first_error j)" = read:480:-5 ]
		healed_origin
		;;
	esac
	[ "$(bitmap busy b)" = - ]
	has b "$2"
	G3
	has b "$3"
	msg backup start j2 target="$T" sync=bitmap bitmap=b bitmap_mode="$mode" cluster=32 auto_dismiss=0
	finished j2
	[ "$(job total j2)" = $(($3 * 32)) ]
	[ "$(job done j2)" = $(($3 * 32)) ]
	has b "$4"
	cmp "$S" "$T"
}
healed_origin() {
	dmsetup load o --table "0 $SECTORS linear $S 0"
	dmsetup resume o
}

@test "E1 bitmap, never, ok" { scenario bitmap never ok 6 10 15 15; }
@test "E2 bitmap, never, cancel" { scenario bitmap never cancel 6 10 15 15; }
@test "E3 bitmap, never, error" { scenario bitmap never error 6 6 14 14; }
@test "E4 bitmap, on_success, ok" { scenario bitmap on_success ok 6 7 12 0; }
@test "E5 bitmap, on_success, cancel" { scenario bitmap on_success cancel 6 10 15 0; }
@test "E6 bitmap, on_success, error" { scenario bitmap on_success error 6 6 14 0; }
@test "E7 bitmap, always, ok" { scenario bitmap always ok 6 7 12 0; }
@test "E8 bitmap, always, cancel" { scenario bitmap always cancel 6 7 12 0; }
@test "E9 bitmap, always, error" { scenario bitmap always error 6 5 13 0; }
@test "E10 full, on_success, ok" { scenario full on_success ok 6 7 12 0; }
@test "E10 full, on_success, cancel" { scenario full on_success cancel 6 10 15 0; }
@test "E10 full, on_success, error" { scenario full on_success error 6 6 14 0; }
@test "E11 full, always, ok" { scenario full always ok 6 7 12 0; }
@test "E11 full, always, cancel" { scenario full always cancel 6 7 12 0; }
@test "E11 full, always, error" { scenario full always error 6 1009 1014 0; }
@test "E12 top, on_success, ok" { scenario top on_success ok 6 7 12 0; }
@test "E12 top, on_success, cancel" { scenario top on_success cancel 6 10 15 0; }
@test "E12 top, on_success, error" { scenario top on_success error 6 6 14 0; }
@test "E12 top, always, ok" { scenario top always ok 6 7 12 0; }
@test "E12 top, always, cancel" { scenario top always cancel 6 7 12 0; }
@test "E12 top, always, error" { scenario top always error 6 6 14 0; }
