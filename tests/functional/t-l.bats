#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-L: bitmaps that survive: clean stops, crashes, bad metadata devices.
load lib
load files

@test "L1 a clean stop: the same bits, and nothing more" {
	up
	msg bitmap add b persistent
	msg bitmap add fine persistent granularity=1
	msg bitmap add coarse persistent granularity=65536
	w 1 0 4K; w 1 100M 4K; w 1 $((MB * 1048576 - 4096)) 4K
	has b 3; has fine 24; has coarse 3
	[ "$(bitmap persistent b)" = 1 ]
	[ "$(metadata hot)" = 3 ]
	sums="$(msg bitmap checksum b) $(msg bitmap checksum fine) $(msg bitmap checksum coarse)"
	down
	dmbackup metadata check /tmp/m.img | grep clean
	up
	ok b; ok fine; ok coarse
	has b 3; has fine 24
	[ "$sums" = "$(msg bitmap checksum b) $(msg bitmap checksum fine) $(msg bitmap checksum coarse)" ]
	[ "$(metadata hot)" = 0 ]
	# and on from there
	w 1 50M 4K
	has b 4
	down; up
	has b 4
	[ "$(dmbackup metadata dump "$m" b 2> /dev/null)" = "$(dmbackup bitmap dump f b)" ]
}

@test "L1 what was changed stays changed: clear, disable, enable, remove, merge, load" {
	up
	for b in a b c d e; do msg bitmap add $b persistent; done
	msg bitmap add all persistent all_dirty
	w 1 10M 64K
	msg bitmap clear a
	msg bitmap disable b
	msg bitmap remove c
	w 1 80M 64K
	msg bitmap merge d all
	msg bitmap load e 0+1 $((SECTORS - 1))+1
	msg bitmap disable d
	keep x
	down; up
	has a 1; has b 1; has d $((SECTORS / 128)); has e 4
	refused 'no bitmap' msg bitmap clear c
	[ "$(bitmap recording b)" = 0 ]
	[ "$(bitmap recording a)" = 1 ]
	w 1 90M 4K
	has b 1
	msg bitmap enable b
	w 1 91M 4K
	has b 2
	# The same, had the power been cut instead; more only of what records.
	reboot x
	up
	for b in a b d e all; do ok $b; done
	has b 1; has d $((SECTORS / 128))
	(($(count a) >= 1 && $(count e) >= 4))
	refused 'no bitmap' msg bitmap clear c
}

@test "L2 a crash: all that was written is dirty" {
	up
	msg bitmap add b persistent
	msg bitmap add fine persistent granularity=8
	cp --sparse=always /tmp/o.img /tmp/old.img
	SIZE_MB=$MB writers
	sleep 3
	kill -STOP "$writers_pid"
	sleep 0.5
	keep x
	kill -CONT "$writers_pid"
	writers_end
	reboot x
	dmbackup metadata check "$m" | grep crashed
	up
	ok b; ok fine
	covers b /tmp/old.img /tmp/o-x.img
	covers fine /tmp/old.img /tmp/o-x.img
	# The next stop is a clean one, and saves just what it knows.
	sum=$(msg bitmap checksum b)
	down; up
	[ "$sum" = "$(msg bitmap checksum b)" ]
	ok b
}

@test "L2 saving makes regions cold: after a crash only what was written is dirty" {
	up
	msg bitmap add b persistent
	for r in 0 2 4; do w 1 "$(region $r)" 4K; done
	[ "$(metadata hot)" = 3 ]
	msg metadata save
	[ "$(metadata hot)" = 0 ]
	w 1 "$(region 6)" 4K
	[ "$(metadata hot)" = 1 ]
	keep x
	w 1 "$(region 2)" 64K
	w 1 "$(region 2)" 128K
	[ "$(metadata hot)" = 2 ]
	keep y
	reboot x
	up
	ok b
	has b $((3 + 512))
	reboot y
	up
	ok b
	has b $((2 + 512 + 512))
}

@test "L2 regions become cold by themselves" {
	echo 1 > /sys/module/dm_backup/parameters/save_interval
	up
	msg bitmap add b persistent
	for r in 0 2 4; do w 1 "$(region $r)" 4K; done
	cold() { [[ $(metadata hot) == 0 ]]; }
	wait_for 60 cold
	# One pass more at most: it takes two to make a region cold.
	echo 3600 > /sys/module/dm_backup/parameters/save_interval
	w 1 "$(region 6)" 4K
	keep x
	reboot x
	up
	ok b
	has b $((3 + 512))
}

@test "L2 saving under load loses nothing" {
	up
	msg bitmap add b persistent granularity=8
	cp --sparse=always /tmp/o.img /tmp/old.img
	SIZE_MB=$MB writers
	for i in $(seq 8); do
		msg metadata save
		quick sleep 100
	done
	kill -STOP "$writers_pid"
	sleep 0.5
	keep x
	kill -CONT "$writers_pid"
	writers_end
	sum=$(msg bitmap checksum b)
	down; up
	[ "$sum" = "$(msg bitmap checksum b)" ]
	reboot x
	up
	ok b
	covers b /tmp/old.img /tmp/o-x.img
}

@test "L4 a metadata device that fails: guests go on, and nothing is trusted" {
	healed_or_new() { dmsetup create md --table "0 8192 linear $m 0"; }
	healed_or_new
	make_filter f "$o" metadata /dev/mapper/md
	msg bitmap add b persistent
	msg bitmap add memory
	w 1 0 4K
	dmsetup suspend md
	dmsetup load md --table "0 8192 error"
	dmsetup resume md
	w 1 "$(region 3)" 4K
	is 1 "$(region 3)" 4K "$o"
	wait_for 5 bad b 'metadata device failed'
	[ "$(metadata state)" = failed ]
	ok memory
	has memory 2
	refused 'metadata device' msg bitmap add c persistent
	refused 'inconsistent' msg bitmap clear b
	# It is written down as soon as that works.
	dmsetup suspend md
	dmsetup load md --table "0 8192 linear $m 0"
	dmsetup resume md
	w 1 "$(region 4)" 4K
	down
	dmsetup remove md
	up
	bad b 'failed'
	msg bitmap remove b
	msg bitmap add b persistent
	ok b
}

@test "L4 one that fails when the filter goes live: it does, and nothing is trusted" {
	dmsetup create md --table "0 8192 linear $m 0"
	make_filter f "$o" metadata /dev/mapper/md after_crash trust
	msg bitmap add b persistent
	w 1 0 4K
	down
	becomes() { dmsetup load md --table "0 8192 $*"; dmsetup suspend md; dmsetup resume md; }
	dmsetup create f --notable
	dmsetup load f --table "0 $SECTORS backup $o 2 metadata /dev/mapper/md"
	becomes error
	dmsetup resume f
	bad b 'metadata device failed'
	[ "$(metadata state)" = failed ]
	w 2 64M 4K
	is 2 64M 4K "$o"
	# The device never heard of that, and says that all was well.
	dmsetup remove f
	becomes "linear $m 0"
	dmsetup remove md
	dmbackup metadata check "$m" | grep clean
	up
	bad b 'written before the filter'
}

@test "L4 a metadata device that hangs: a write waits for two seconds, once" {
	dmsetup create md --table "0 8192 linear $m 0"
	make_filter f "$o" metadata /dev/mapper/md
	msg bitmap add b persistent
	hang md
	w 1 0 4K
	# late on a busy machine; but it is not back before "unhang"
	[ "$(status longest)" -ge 1900 ]
	[ "$(status longest)" -lt 10000 ]
	w 1 "$(region 5)" 4K
	[ "$(status held_total)" = 1 ]
	wait_for 5 bad b 'metadata device failed'
	timeout 25 dmsetup remove f # not the 30 s that a device may take that goes on
	unhang md
	wait_for 60 module_idle
	dmsetup remove md
}

@test "L4 on_metadata_error=hold: writes wait until it is back" {
	dmsetup create md --table "0 8192 linear $m 0"
	make_filter f "$o" metadata /dev/mapper/md on_metadata_error hold
	dmsetup table f | grep 'metadata .* on_metadata_error hold'
	msg bitmap add b persistent
	hang md
	w 1 0 4K &
	wait_for 60 someone_waits
	sleep 3
	someone_waits
	[ "$(metadata state)" = ok ]
	unhang md
	wait %1
	ok b
	has b 1
	# Errors, too.
	dmsetup suspend md
	dmsetup load md --table "0 8192 error"
	dmsetup resume md
	w 1 "$(region 3)" 4K &
	wait_for 60 someone_waits
	sleep 3
	someone_waits
	dmsetup suspend md
	dmsetup load md --table "0 8192 linear $m 0"
	dmsetup resume md
	wait %1
	ok b
	has b 2
	# But a flush suspend does not wait for ever.
	hang md
	w 1 "$(region 5)" 4K &
	wait_for 60 someone_waits
	dmsetup suspend f
	dmsetup resume f
	wait %1
	wait_for 5 bad b 'metadata device failed'
	unhang md
	down
	dmsetup remove md
}

@test "L5 a bad metadata device is refused in words, and not written" {
	up
	msg bitmap add b persistent
	w 1 0 4K
	down
	cp /tmp/m.img /tmp/m-good.img
	try() { # REGEX
		losetup -d "$m"
		cp /tmp/m.img /tmp/m-before.img
		m=$(losetup -f --show /tmp/m.img)
		refused_table "$1" "0 $SECTORS backup $o 2 metadata $m"
		losetup -d "$m"
		cmp /tmp/m.img /tmp/m-before.img
		cp /tmp/m-good.img /tmp/m.img
		m=$(losetup -f --show /tmp/m.img)
	}
	second=$((9 * 4096))
	# Neither copy is one of ours.
	poke /tmp/m.img 64 nothing; poke /tmp/m.img $((second + 64)) nothing
	try 'no metadata device'
	# A checksum; one good copy is enough.
	poke /tmp/m.img 200 x
	dmbackup metadata check /tmp/m.img
	poke /tmp/m.img $((second + 200)) x
	try 'checksum'
	poke /tmp/m.img $((4096 + 200)) x; poke /tmp/m.img $((second + 4096 + 200)) x
	try 'checksum of its directory'
	# For another length.
	truncate -s 300M /tmp/o-other.img
	other=$(losetup -f --show /tmp/o-other.img)
	refused_table 'for a device of' "0 $((300 * 2048)) backup $other 2 metadata $m"
	# Shorter than it was.
	losetup -d "$m"
	cp /tmp/m.img /tmp/m-before.img
	truncate -s 1M /tmp/m.img
	m=$(losetup -f --show /tmp/m.img)
	refused_table 'blocks' "0 $SECTORS backup $o 2 metadata $m"
	losetup -d "$m"; cp /tmp/m-good.img /tmp/m.img; m=$(losetup -f --show /tmp/m.img)
	# Others: itself, twice, in use, missing.
	refused_table 'the device itself|in use' "0 $SECTORS backup $o 2 metadata $o"
	refused_table 'opened' "0 $SECTORS backup $o 2 metadata 240:77"
	up
	refused_table 'in use' "0 $((300 * 2048)) backup $other 2 metadata $m"
	ok b
	has b 1
}

@test "L5 it is for the device it was made for" {
	dmsetup create lower --uuid SOMEBODY --table "0 $SECTORS linear $o 0"
	dmbackup metadata create "$m" --for /dev/mapper/lower --force
	dmsetup create f --uuid OTHER --notable
	run dmsetup load f --table "0 $SECTORS backup $o 2 metadata $m"
	[ "$status" != 0 ]
	dmesg | grep 'for another device: SOMEBODY'
	dmsetup remove f
	dmsetup remove lower
	dmsetup create f --uuid SOMEBODY --table "0 $SECTORS backup $o 2 metadata $m"
	msg bitmap add b persistent
}

@test "L5 damaged pages and maps: found, and told" {
	up
	msg bitmap add b persistent
	msg bitmap add c persistent granularity=1
	w 1 0 4K
	down
	cp /tmp/m.img /tmp/m-good.img
	page=$(dmbackup metadata dump /tmp/m.img | grep -m1 -o '"first": *[0-9]*' | grep -o '[0-9]*')
	half=$(dmbackup metadata dump /tmp/m.img | grep -m1 -o '"half": *[0-9]*' | grep -o '[0-9]*')
	pages=1
	one=$(((page + 2 * half * pages) * 4096)) two=$(((page + (2 * half + 1) * pages) * 4096))
	reload() { losetup -d "$m"; m=$(losetup -f --show /tmp/m.img); up; }
	# One copy is enough.
	poke /tmp/m.img $((one + 1000)) x
	reload
	ok b; has b 1
	down
	cp /tmp/m-good.img /tmp/m.img
	poke /tmp/m.img $((one + 1000)) x; poke /tmp/m.img $((two + 1000)) x
	run dmbackup metadata check /tmp/m.img
	[ "$status" = 3 ]
	reload
	bad b 'damaged'
	ok c; has c 8
}

@test "L5 copies that can't be read: one is enough" {
	up
	msg bitmap add b persistent
	w 1 0 4K
	down
	field() { dmbackup metadata dump /tmp/m.img | grep -m1 -o "\"$1\": *[0-9]*" | grep -o '[0-9]*$'; }
	first=$(($(field first) + 2 * $(field half)))
	# unreadable BLOCK COUNT: of the metadata device
	unreadable() {
		local at=$(($1 * 8)) n=$(($2 * 8))
		dmsetup create md <<- END
			0 $at linear $m 0
			$at $n error
			$((at + n)) $((8192 - at - n)) linear $m $((at + n))
		END
	}
	unreadable "$first" 1
	make_filter f "$o" metadata /dev/mapper/md
	ok b
	has b 1
	dmsetup remove f
	dmsetup remove md
	unreadable "$first" 2
	make_filter f "$o" metadata /dev/mapper/md
	bad b 'damaged'
	dmsetup remove f
	dmsetup remove md
}

@test "L6 L7 a crash while a job runs: what was dirty, and what was written since" {
	truncate -s ${MB}M /tmp/t.img
	t=$(losetup -f --show /tmp/t.img)
	up
	msg bitmap add b persistent
	w 1 0 64K; w 1 64M 64K
	msg backup start one target="$t" sync=incremental bitmap=b speed=1 auto_dismiss=0
	wait_for 5 started one
	w 2 128M 64K
	[ "$(bitmap busy b)" = one ]
	msg metadata save
	keep x
	go one
	finished one
	has b 1
	keep y
	reboot x
	up
	ok b
	[ "$(bitmap busy b)" = - ]
	has b 3
	[ "$(ranges b)" = "0 128
131072 128
262144 128" ]
	# After its end the disk has only what was written since, and what is hot.
	reboot y
	up
	ok b
	(($(count b) >= 1 && $(count b) <= 512))
	[ -z "$(ranges b | grep '^0 ')" ]
}

@test "L7 the bitmap's loss is on disk when success is said" {
	truncate -s ${MB}M /tmp/t.img
	t=$(losetup -f --show /tmp/t.img)
	up
	msg bitmap add b persistent
	w 1 0 64K; w 1 64M 64K
	msg metadata save
	msg backup start one target="$t" sync=incremental bitmap=b auto_dismiss=0 tag=there
	finished one
	keep x
	reboot x
	up
	ok b
	has b 0
	[ "$(bitmap tag b)" = there ]
}

@test "L7 a job ends while the filter is stopped, which then goes on: the disk follows" {
	truncate -s ${MB}M /tmp/t.img
	t=$(losetup -f --show /tmp/t.img)
	up
	msg bitmap add b persistent
	w 1 0 64K
	msg backup start one target="$t" sync=incremental bitmap=b auto_dismiss=0 auto_finalize=0
	wait_state one pending
	w 2 128M 16M
	msg detach
	dmsetup suspend f
	msg job finalize one
	finished one
	msg job dismiss one
	dmsetup resume f
	ok b
	# In use again, and what is saved now is what this one was begun with.
	wait_for 20 msg backup start two target="$t" sync=incremental bitmap=b speed=1 auto_dismiss=0
	wait_for 5 started two
	[ "$(bitmap busy b)" = two ]
	msg metadata save
	keep x
	reboot x
	up
	ok b
	[ "$(ranges b)" = "262144 32768" ]
}

@test "L7 the same, if it only reads for a while in between" {
	truncate -s ${MB}M /tmp/t.img
	t=$(losetup -f --show /tmp/t.img)
	up
	msg bitmap add b persistent
	w 1 0 64K
	msg backup start one target="$t" sync=incremental bitmap=b auto_dismiss=0 auto_finalize=0
	wait_state one pending
	w 2 128M 16M
	msg detach
	dmsetup suspend f
	dmsetup load -r f --table "0 $SECTORS backup $o 4 metadata $m after_crash trust"
	dmsetup resume f
	[ "$(metadata state)" = read_only ]
	msg job finalize one
	finished one
	msg job dismiss one
	dmsetup load f --table "0 $SECTORS backup $o 4 metadata $m after_crash trust"
	dmsetup suspend f
	dmsetup resume f
	[ "$(metadata state)" = ok ]
	ok b
	wait_for 20 msg backup start two target="$t" sync=incremental bitmap=b speed=1 auto_dismiss=0
	wait_for 5 started two
	msg metadata save
	keep x
	reboot x
	up
	ok b
	[ "$(ranges b)" = "262144 32768" ]
}

@test "L7 a job is cancelled before the disk knows of its transaction: nobody else has the bitmap yet" {
	truncate -s ${MB}M /tmp/t.img
	t=$(losetup -f --show /tmp/t.img)
	slow s "$o" 0 600000
	make_filter f /dev/mapper/s metadata "$m" after_crash trust
	msg bitmap add b persistent disabled
	w 1 0 4K &
	wait_for 60 in_flight
	nf=$(devno "$F")
	msg transaction token=t 2 "$nf" 3 bitmap enable b \
		"$nf" 7 backup start one target="$t" sync=incremental bitmap=b auto_dismiss=0
	msg job cancel one force
	finished one 60 cancelled
	msg job dismiss one
	refused 'not on the metadata device yet' msg bitmap clear b
	slow_set s "$o" 0 0
	wait
	wait_for 20 msg bitmap clear b
	[ "$(bitmap recording b)" = 1 ]
}

@test "L10 of two bitmaps the persistent one survives; 64 of them, and no more" {
	up
	msg bitmap add one persistent
	msg bitmap add two
	w 1 0 4K
	down; up
	has one 1
	[ "$(msg bitmap list | wc -l)" = 1 ]
	for i in $(seq 63); do msg bitmap add b$i persistent granularity=65536; done
	refused '64 persistent bitmaps already' msg bitmap add more persistent
	w 1 64M 4K
	down; up
	[ "$(msg bitmap list | wc -l)" = 64 ]
	has b63 1
	for i in $(seq 63); do msg bitmap remove b$i; done
	# Room: a bitmap with granules of a sector takes what a hundred others do.
	msg bitmap add fine persistent granularity=1
	msg bitmap add fine2 persistent granularity=1
	while msg bitmap add "x$((n++))" persistent granularity=1; do ((n < 64)); done
	[[ $(last_error) =~ "no room" ]]
	msg bitmap remove fine
	msg bitmap add again persistent granularity=1
}

@test "L11 the device grows and shrinks: the new area is dirty, and that survives" {
	up
	msg bitmap add b persistent
	w 1 0 4K
	truncate -s $((MB * 2))M /tmp/o.img
	losetup -c "$loop"
	dmsetup load o --table "0 $((MB * 2 * 2048)) linear $loop 0"
	dmsetup resume o
	resize() {
		dmsetup load f --table "0 $1 backup $o 2 metadata $m"
		dmsetup suspend f
		dmsetup resume f
		SECTORS=$1
	}
	resize $((MB * 2 * 2048))
	ok b
	has b $((1 + MB * 16))
	w 1 300M 4K
	keep x
	down; up
	ok b
	has b $((1 + MB * 16))
	resize $((MB * 2048))
	ok b
	has b 1
	down
	make_filter_of() { dmsetup create f --table "0 $1 backup $o 2 metadata $m"; }
	refused_table 'for a device of' "0 $((MB * 2 * 2048)) backup $o 2 metadata $m"
	make_filter_of $((MB * 2048))
	ok b
	has b 1
	reboot x
	SECTORS=$((MB * 2 * 2048))
	up
	ok b
	(($(count b) >= 1 + MB * 16))
	covers b <(head -c ${MB}M /dev/zero) <(head -c ${MB}M /tmp/o-x.img)
}

@test "L11 the device grows while its metadata device is slow: other filters do not wait" {
	local b
	slow md "$m" 0 0
	make_filter f "$o" metadata /dev/mapper/md after_crash trust
	for b in a b c d e f g h; do msg bitmap add $b persistent; done
	make_filter g "$S"
	# grow: does a message to another filter end before F's resume does?
	grow() {
		local rc=0
		SECTORS=$((SECTORS + 64 * 2048)) grown=$((grown + 1))
		truncate -s $((SECTORS * 512)) /tmp/o.img
		losetup -c "$loop"
		dmsetup load o --table "0 $SECTORS linear $loop 0"
		dmsetup resume o
		dmsetup load f --table "0 $SECTORS backup $o 4 metadata /dev/mapper/md after_crash trust"
		# Two copies of eight bitmaps, one after the other, take seconds; each of
		# them far less than what counts as late.
		slow_set md "$m" 0 300
		dmsetup suspend f
		dmsetup resume f &
		quick sleep 300
		FILTER=g msg bitmap add x$grown
		kill -0 $! 2> /dev/null || rc=$?
		wait $!
		slow_set md "$m" 0 0
		return $rc
	}
	grown=0
	# A machine that is not run for a while may find all of it done.
	one_in 3 grow
}

@test "L11 who has no room on the metadata device for the new length is lost, no other" {
	up
	msg bitmap add coarse persistent granularity=65536
	msg bitmap add fine persistent granularity=1
	msg bitmap add memory granularity=1
	w 1 0 4K
	big=$((32 * 1024 * 2048))
	truncate -s 32G /tmp/o.img
	losetup -c "$loop"
	dmsetup load o --table "0 $big linear $loop 0"
	dmsetup resume o
	dmsetup load f --table "0 $big backup $o 4 metadata $m after_crash trust"
	dmsetup suspend f
	dmsetup resume f
	bad fine 'no room for the new length'
	ok coarse
	ok memory
	has coarse $((1 + (32 * 1024 - MB) / 32))
	w 1 16384M 4K
	down
	SECTORS=$big
	up
	ok coarse
	has coarse $((1 + (32 * 1024 - MB) / 32))
	refused 'no bitmap' msg bitmap clear fine
}

@test "L12 while a metadata device is being loaded no transaction takes part" {
	up
	msg bitmap add b persistent
	w 1 10M 4K
	down
	dmsetup create md --table "0 8192 linear $m 0"
	hang md
	filter
	dmsetup create x --notable
	x=$(devno /dev/mapper/x)
	# Reading it takes long. Meanwhile the filter is known by its number.
	dmsetup load x --table "0 $SECTORS backup $o 4 metadata /dev/mapper/md after_crash trust" &
	for ((i = 0; i < 1000; i++)); do
		run msg transaction 1 "$x" 3 bitmap add b
		[[ $status != 0 ]] && [[ $(last_error) == *'there is no'* ]] || break
		quick sleep 50
	done
	[ "$status" != 0 ]
	[[ $(last_error) == *'still being loaded'* ]]
	unhang md
	wait $!
	# Loaded, though not live.
	refused 'exists' msg transaction 1 "$x" 3 bitmap add b
	dmsetup resume x
	dmsetup remove f
	FILTER=x
	has b 1
	[ "$(msg bitmap list | grep -c name=)" = 1 ]
}

@test "L12 a write to a cold region is recorded once, for all that wait" {
	up
	msg bitmap add b persistent
	down
	dmsetup create md --table "0 8192 linear $m 0"
	make_filter f "$o" metadata /dev/mapper/md on_metadata_error hold
	hang md
	for r in 0 1 2 3 4 5 6 7; do
		for i in 0 1 2; do w 1 $((r * 32 + i))M 4K & done
	done
	wait_for 60 all_wait
	before=$(writes_ended /dev/mapper/md)
	unhang md
	wait
	# 24 writes, eight regions: two records of two writes each, not eight; and a lease.
	(($(writes_ended /dev/mapper/md) - before <= 8))
	[ "$(metadata hot)" = 8 ]
	has b 24
	down
	dmsetup remove md
}
all_wait() { [[ $(status held) == 24 ]]; }
