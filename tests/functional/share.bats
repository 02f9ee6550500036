#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# One saved copy that serves several points in time of a filter: share=.
load lib

# begin ID TARGET OPTION...: a job that saves what is overwritten, and a view of it; both
# are of now, and what the device holds is kept
begin() {
	local id=$1 target=$2
	shift 2
	msg backup start "$id" target="$target" sync=none auto_dismiss=0 "$@"
	wait_for 60 started "$id"
	snap "$id"
	view "$id"
}
view() { dmsetup create "v$1" --readonly --table "0 $SECTORS backup-view $S $(devno "$F") $1"; }
unview() { dmsetup remove "v$1"; }
# sees ID...: the views show what was kept
sees() {
	local id
	for id in "$@"; do
		dd if="/dev/mapper/v$id" bs=1M iflag=direct status=none | cmp - "/tmp/snap-$id" || return 1
	done
}
# all_saved JOBS: nothing but the reserves of so many jobs is charged to the filter
all_saved() { staged_is $(($1 * 128)); }
shared() { job shared "$1"; }
shared_is() { [[ $(shared "$1") == "$2" ]]; }
# busy DEV: somebody has claimed it
busy() {
	dmsetup create claim --table "0 8 linear $1 0" 2> /dev/null || return 0
	dmsetup remove claim
	return 1
}

@test "what two need is saved once, on the older one's target" {
	dd if=/tmp/fill-t of=/dev/ram2 bs=1M oflag=direct status=none
	filter
	begin i "$T"
	w 0x11 0 64K # the older one's alone
	begin j /dev/ram2 share=i
	[ "$(job share j)" = i ]
	[ "$(job borrowers i)" = 1 ]
	w 0x12 0 64K # the younger one's alone: the older one has saved another
	w 0x13 64K 64K # both
	w 0x14 1M 256K
	w 0x15 1M 256K # again
	wait_for 20 all_saved 2
	[ "$(shared j)" = $((128 + 512)) ]
	[ "$(job guest_copied i)" = $((256 + 512)) ]
	[ "$(job guest_copied j)" = $((256 + 512)) ]
	[ "$(job done j)" = $((256 + 512)) ]
	cmp -n 131072 "$T" /tmp/snap-i
	cmp -n 262144 -i 1048576 "$T" /tmp/snap-i
	is 0x11 0 64K /dev/ram2
	is 0xff 64K 15M /dev/ram2
	sees i j
	# a read over all kinds of places
	dd if=/dev/mapper/vj bs=192K count=1 iflag=direct status=none | cmp -n 196608 - /tmp/snap-j
	same j "$S" && return 1
	cmp "$S" "$F"
}

@test "eight in a chain, under writers" {
	dmsetup create small --table "0 4096 linear $S 0"
	make_filter f /dev/mapper/small
	before=-
	for i in 0 1 2 3 4 5 6 7; do
		dmsetup create "t$i" --table "0 4096 linear $T $((i * 4096))"
		msg backup start "j$i" target="/dev/mapper/t$i" sync=none ${before#-}
		wait_for 60 started "j$i"
		before="-share=j$i"
		snap "j$i" /dev/mapper/small
		dmsetup create "vj$i" --readonly --table "0 4096 backup-view /dev/mapper/small $(devno "$F") j$i"
		w "0x1$i" $((i * 65536)) 128K
		w "0x2$i" 1M 4K
	done
	refused 'serves 8 jobs already' \
		msg backup start k target=/dev/ram2 sync=none share=j7 allow_larger=1
	SIZE_MB=2 writers
	for _ in 1 2 3; do
		sees j0 j1 j2 j3 j4 j5 j6 j7
	done
	writers_end
	w 0x33 0 2M
	sees j7 j6 j5 j4 j3 j2 j1 j0
	[ "$(shared j7)" -gt 1024 ]
}

@test "writers of all sizes, and views that come and go" {
	filter
	writers
	dmsetup suspend f
	begin i "$T"
	dmsetup resume f
	for _ in 1 2 3 4; do
		dmsetup suspend f
		begin j /dev/ram2 share=i
		dmsetup resume f
		sees i j
		dmsetup suspend f
		begin k /dev/ram3 share=j
		dmsetup resume f
		sees k j i
		unview j
		unview k
		msg job cancel j
		finished j 60 cancelled
		msg job dismiss j
		msg job cancel k
		finished k 60 cancelled
		msg job dismiss k
	done
	writers_end
	sees i
	cmp "$S" "$F"
}

@test "the older job ends: what it has lent is there, and its target is not free" {
	filter
	begin i "$T"
	begin j /dev/ram2 share=i
	w 0x21 0 1M
	wait_for 20 all_saved 2
	[ "$(shared j)" = 2048 ]
	unview i
	msg job cancel i
	finished i 60 cancelled
	msg job dismiss i
	sees j
	busy "$T"
	no_orphans
	w 0x22 1M 1M # now it is on its own
	wait_for 20 all_saved 1
	[ "$(shared j)" = 2048 ]
	cmp -n 1048576 -i 1048576 /dev/ram2 /tmp/snap-j
	sees j
	# nobody borrows from it any more, and the younger one may lend
	refused "no job 'i'" msg backup start k target=/dev/ram3 sync=none share=i
	begin k /dev/ram3 share=j
	w 0x23 4M 64K
	sees j k
	unview j
	unview k
	msg job cancel j
	finished j 60 cancelled
	busy "$T"
	msg job cancel k
	finished k 60 cancelled
	wait_for 20 fails busy "$T"
	fails busy /dev/ram2
}

@test "the older one's target hangs: the younger one saves for itself" {
	slow t "$T" 0 0
	filter
	begin i /dev/mapper/t
	begin j /dev/ram2 share=i
	w 0x31 8M 64K
	wait_for 20 shared_is j 128
	hang t
	w 0x32 0 256K # staged: nobody waits
	w 0x33 2M 4K
	nobody_waits
	[ "$(shared j)" = 128 ]
	unview i
	timeout 60 dd if=/dev/mapper/vj bs=1M count=4 iflag=direct status=none | cmp -n 4194304 - /tmp/snap-j
	msg job cancel i force
	finished i 60 cancelled
	wait_for 20 cmp -n 262144 /dev/ram2 /tmp/snap-j
	wait_for 20 cmp -n 65536 -i 2097152 /dev/ram2 /tmp/snap-j
	[ "$(shared j)" = 128 ]
	w 0x34 4M 64K
	unhang t
	sees j
	wait_for 20 all_saved 1
	sees j
}

@test "the older one's target fails: it breaks, the younger one does not" {
	broken t "$T" 1M 1M
	filter
	begin i /dev/mapper/t cbw_timeout=1000
	begin j /dev/ram2 share=i
	w 0x41 0 64K
	wait_for 20 shared_is j 128
	w 0x42 1M 64K
	finished i 60 broken
	wait_for 20 cmp -n 65536 -i 1048576 /dev/ram2 /tmp/snap-j
	[ "$(state j)" = running ]
	[ "$(job errors j)" = 0 ]
	sees j
}

@test "the budget is spent by the older one's target: the younger one does not wait for that" {
	slow t "$T" 0 0
	filter buffer 1024
	begin i /dev/mapper/t cbw_timeout=120000
	begin j /dev/ram2 share=i cbw_timeout=120000
	hang t
	dd if=/dev/zero of="$F" bs=1M count=4 oflag=direct status=none &
	# what it can do, it does before anybody is given up
	wait_for 60 cmp -n 65536 /dev/ram2 /tmp/snap-j
	[ "$(state i)" = running ]
	[ "$(shared j)" = 0 ]
	msg job change i cbw_timeout=1000
	finished i 60 broken
	wait
	[ "$(state j)" = running ]
	unhang t
	sees j
}

@test "the younger one ends while it waits for the older one's target" {
	slow t "$T" 0 0
	filter
	begin i /dev/mapper/t
	begin j /dev/ram2 share=i
	hang t
	w 0x51 0 256K
	unview j
	msg job cancel j
	finished j 20 cancelled
	fails busy /dev/ram2
	unhang t
	wait_for 20 all_saved 1
	sees i
	# and the filter goes while both wait
	msg job dismiss j
	begin j /dev/ram2 share=i
	hang t
	w 0x52 1M 256K
	unview i
	unview j
	timeout 20 dmsetup remove f
	unhang t
}

@test "one in the middle of a chain ends while it waits: who waits for it saves for itself" {
	slow t "$T" 0 0
	filter
	begin i /dev/mapper/t
	begin j /dev/ram2 share=i
	begin k /dev/ram3 share=j
	w 0x51 8M 64K
	wait_for 20 shared_is k 128
	hang t
	w 0x52 0 256K # staged: j's waits for i's, k's for j's
	unview j
	msg job cancel j
	finished j 20 cancelled
	wait_for 20 cmp -n 262144 /dev/ram3 /tmp/snap-k
	[ "$(shared k)" = 128 ]
	[ "$(state i)" = running ]
	unhang t
	wait_for 20 all_saved 2
	# what came by way of j is there yet, what comes now is saved twice
	w 0x53 1M 64K
	wait_for 20 cmp -n 65536 -i 1048576 /dev/ram3 /tmp/snap-k
	wait_for 20 cmp -n 65536 -i 1048576 "$T" /tmp/snap-i
	[ "$(shared k)" = 128 ]
	sees i k
	# the first one ends, too, and then the last one
	unview i
	msg job cancel i
	finished i 20 cancelled
	sees k
	unview k
	msg job cancel k
	finished k 20 cancelled
	wait_for 20 fails busy /dev/ram2
}

@test "suspend, resume and reload meanwhile" {
	filter
	begin i "$T"
	begin j /dev/ram2 share=i
	writers
	for _ in 1 2 3 4 5; do
		dmsetup suspend f
		dmsetup resume f
		dmsetup load f --table "0 $SECTORS backup $S"
		dmsetup resume f
	done
	writers_end
	sees i j
	[ "$(shared j)" -gt 0 ]
}

@test "a discard on the older one's view does not take what was lent; checkpoints are refused" {
	nullb memory_backed=1 size="$SIZE_MB" discard=1
	filter
	msg backup start i target="$nullb" sync=none auto_dismiss=0
	wait_for 60 started i
	dmsetup create vi --table "0 $SECTORS backup-view $S $(devno "$F") i"
	begin j /dev/ram2 share=i
	w 0x61 0 256K
	wait_for 20 shared_is j 512
	blkdiscard -o 0 -l 1M /dev/mapper/vi
	w 0x62 512K 64K # not the older one's any more
	wait_for 20 all_saved 2
	[ "$(shared j)" = 512 ]
	sees j
	dmsetup remove vi
	refused 'has saved for others, too' msg job checkpoint i
	# the younger one's may move: what it had borrowed is forgotten
	unview j
	msg job checkpoint j
	snap j
	view j
	[ "$(shared j)" = 0 ]
	w 0x63 0 256K
	w 0x64 4M 64K
	wait_for 20 shared_is j 128
	sees j
	# and when nobody borrows any more, the older one's may
	unview j
	msg job cancel j
	finished j 60 cancelled
	wait_for 20 msg job checkpoint i
}

@test "what is refused" {
	filter
	refused "no job 'i'" msg backup start j target="$T" sync=none share=i
	msg backup start i target="$T" sync=full speed=1
	wait_for 60 started i
	refused "'i' is not one with sync=none" msg backup start j target=/dev/ram2 sync=none share=i
	msg job cancel i
	wait_for 20 no_jobs
	begin i "$T" cluster=256
	refused 'goes with sync=none only' msg backup start j target=/dev/ram2 sync=full share=i
	refused 'has clusters of 256 sectors, not of 128' \
		msg backup start j target=/dev/ram2 sync=none share=i cluster=128
	begin j /dev/ram2 share=i # as large as the other's, if nothing is said
	[ "$(job cluster j)" = 256 ]
}
no_jobs() { [[ -z $(msg job list) ]]; }
