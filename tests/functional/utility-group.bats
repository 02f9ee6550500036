#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Groups of logical volumes and transactions by the utility, with udevd.
load lib
load volumes

# of a table as JSON: value KEY NR
value() { python3 -c 'import json, sys; print(list(json.load(open("/tmp/report")).values())[0][int(sys.argv[2])][sys.argv[1]])' "$1" "$2"; }

# look VOLUME: mounts a copy, read-only
look() {
	e2fsck -fn "/dev/$1"
	mount -o ro,noload "/dev/$1" /mnt/copy
}

# Writes N to a, then N to b, again and again, each durable before the next.
count_up() {
	local n
	for ((n = 10000; ; n++)); do
		for d in a b; do
			printf %05d $n | dd of=/mnt/$d/n bs=512 conv=notrunc,fsync status=none
		done
	done
}
# sets $fio and $counting
load_both() {
	printf 09999 > /mnt/a/n
	printf 09999 > /mnt/b/n
	sync
	for d in a b; do
		fio --name=$d --directory=/mnt/$d --size=4M --rw=randwrite --bsrange=4k-32k --ioengine=psync --fsync=16 \
			--rate_iops=40 --verify=crc32c --time_based --runtime=900 --output=/tmp/fio-$d.out &
		fio+=($!)
	done
	count_up &
	counting=$!
	wait_for 60 test -s /mnt/a/a.0.0
	wait_for 60 test -s /mnt/b/b.0.0
}
load_end() {
	kill $counting
	kill -INT "${fio[@]}" || true
	wait "${fio[@]}" $counting || true
	fio=()
	grep -q 'err= 0' /tmp/fio-a.out
	grep -q 'err= 0' /tmp/fio-b.out
}

# The copies are one instant of both: b has what a has, or what a had before.
one_instant() {
	local n=()
	for d in a b; do
		look w/$d
		n+=("$(cat /mnt/copy/n)")
		umount /mnt/copy
	done
	echo "a has ${n[0]}, b has ${n[1]}"
	((n[0] == n[1] || n[0] == n[1] + 1))
}

@test "a group of two mounted volumes under load: the copies are one instant of both" {
	two_volumes
	copies
	attached
	load_both
	for ((i = 0; i < 3; i++)); do
		dmbackup backup v/a v/b --to-vg w --force --json > /tmp/report
		[ "$(value outcome 0) $(value outcome 1)" = 'completed completed' ]
		[ "$(value device 1) $(value target 1)" = 'v/b w/b' ]
		one_instant
	done
	load_end
	[ -z "$(jobs_of v/a)$(jobs_of v/b)" ]
}

@test "a group, incrementally, and one copy after the other" {
	two_volumes
	attached
	says 3 'a full backup is needed: there is no w/a' dmbackup backup v/a v/b --to-vg w --create --level incremental
	absent lvs w/a
	says 0 'a full backup is made' dmbackup backup v/a v/b --to-vg w --create --level auto
	for nr in 1 2; do
		echo $nr > /mnt/a/n
		echo $nr > /mnt/b/n
		dmbackup backup v/a v/b --to-vg w --level incremental --sequential --json > /tmp/report
		for i in 0 1; do
			copied=$(value copied $i)
			((copied > 0 && copied < 4194304))
		done
		one_instant
	done
}

@test "targets of a group" {
	two_volumes
	attached
	says 4 'w/a: there is no such volume to copy v/a to.*--create makes it' dmbackup backup v/a v/b --to-vg w
	says 4 'nix: lvs failed' dmbackup backup v/a v/b --to-vg nix
	copies
	says 2 'where v/b goes is missing: v/b=TARGET' dmbackup backup v/a=w/a v/b
	says 2 'is for one device' dmbackup backup v/a v/b --to w/a
	says 2 'one of the two' dmbackup backup v/a --to w/a --to-vg w
	says 2 'goes with --to-vg' dmbackup backup v/a=w/a --create
	says 2 'is for several devices' dmbackup backup v/a=w/a --sequential
	says 2 'neither individual nor grouped' dmbackup backup v/a=w/a v/b=w/b --completion-mode both
	says 5 'w/a: is the target of v/a, too' dmbackup backup v/a=w/a v/b=w/a
	says 5 'w/a: is the target of v/a, too' dmbackup backup v/a=w/a v/a=/dev/w/a
	says 4 'no such device' dmbackup backup v/a=w/a v/b=w/nix
	mkfs.ext4 -q /dev/w/b
	says 5 'w/b: holds ext4 data' dmbackup backup v/a v/b --to-vg w
	lvchange -an w/b
	says 5 'w/b: is not active' dmbackup backup v/a v/b --to-vg w --force
	lvchange -ay w/b
	# on the other one
	umount /mnt/b
	dmsetup create on --table "0 $(blockdev --getsz /dev/v/b) linear /dev/v/b 0"
	says 5 'on: stands on v/b, which is copied at the same time' dmbackup backup v/a=on v/b=w/b --force
	dmsetup remove on
	dmbackup detach v/b
	says 4 'v/b: has no backup filter' dmbackup backup v/a v/b --to-vg w --force
	# what was refused has left nothing
	[ -z "$(jobs_of v/a)" ]
	[ -z "$(dmbackup bitmap list v/a -n)" ]
	# a device twice, to two targets
	says 0 '' dmbackup backup v/a=w/a v/a=w/b --force
	cmp /dev/w/a /dev/w/b
	look w/a
	umount /mnt/copy
}

@test "what the kernel refuses leaves no volume, no bitmap and no job" {
	two_volumes
	attached
	dmbackup bitmap add v/b kept
	dmsetup suspend --nolockfs v-b
	says 5 'v/b: is suspended' dmbackup backup v/a v/b --to-vg w --create --level auto
	says 5 'v/b: backup: .*suspended' dmbackup backup v/a v/b --to-vg w --create --level full
	dmsetup resume v-b
	absent lvs w/a
	absent lvs w/b
	[ -z "$(jobs_of v/a)$(jobs_of v/b)" ]
	[ -z "$(dmbackup bitmap list v/a -n)" ]
	[ "$(dmbackup bitmap list v/b -n | awk '{ print $1 }')" = kept ]
	writable /mnt/a
	writable /mnt/b
	says 5 'v/a: backup: max_chunk: 6 is not between' dmbackup backup v/a v/b --to-vg w --create --max-chunk 3K
	absent lvs w/a
}

@test "Ctrl-C cancels all of a group" {
	two_volumes
	copies
	attached
	for mode in grouped individual; do
		dmbackup backup v/a v/b --to-vg w --force --speed 64K --id slow --completion-mode $mode 2> /tmp/err > /tmp/out &
		pid=$!
		wait_for 60 running v/a
		wait_for 60 running v/b
		wait_for 60 catches $pid
		kill -INT $pid
		rc=0
		wait $pid || rc=$?
		cat /tmp/err /tmp/out
		[ "$rc" = 7 ]
		grep 'cancelling all 2 jobs' /tmp/err
		[ "$(grep -c 'job slow was cancelled' /tmp/err)" = 2 ]
		[ "$(grep -c ' cancelled ' /tmp/out)" = 2 ]
		absent grep "not possible" /tmp/err
		[ -z "$(jobs_of v/a)$(jobs_of v/b)" ]
	done
}
running() { dmbackup job show "$1" 2> /dev/null | grep -q running; }

@test "one of a group fails: grouped, the other is cancelled; individual, it is not" {
	two_volumes
	copies
	attached
	dmsetup create bad <<-END
		0 16384 linear /dev/w/b 0
		16384 8 error
		16392 8184 linear /dev/w/b 16392
	END
	says 1 'v/b: job .* failed' dmbackup backup v/a=w/a v/b=bad --speed 2M
	[[ $output == *'v/a: job '*' was cancelled'* ]]
	[[ $output =~ v/a\ *w/a\ *cancelled ]]
	[[ $output =~ v/b\ *bad\ *error ]]
	says 1 'v/b: job .* failed' dmbackup backup v/a=w/a v/b=bad --completion-mode individual --force
	[[ $output =~ v/a\ *w/a\ *completed ]]
	look w/a
	umount /mnt/copy
	# both bitmaps have kept what they had: all
	says 1 '' dmbackup backup v/a=w/a v/b=bad --level full --bitmap n --force
	for lv in v/a v/b; do
		[ "$(dmbackup bitmap list $lv -n --bytes | awk '{ print $3 }')" = 12582912 ]
	done
}

@test "a group in the background; monitor tells of both" {
	two_volumes
	copies
	attached
	dmbackup monitor v/a v/b > /tmp/events 2> /tmp/err &
	monitor=$!
	wait_for 60 has_socket $monitor
	says 0 '' dmbackup backup v/a v/b --to-vg w --detach --id bg
	[ "$output" = "v/a bg
v/b bg" ]
	says 0 '' dmbackup job wait v/a bg
	says 0 '' dmbackup job wait v/b bg
	wait_for 60 told_of_both
	kill $monitor
	wait $monitor || true
	cat /tmp/events /tmp/err
}
has_socket() { [[ $(readlink "/proc/$1/fd/"*) == *socket:* ]]; }
told_of_both() { grep -q ' v/a bg completed' /tmp/events && grep -q ' v/b bg completed' /tmp/events; }

# tx STATUS REGEX [OPTION...] < DOCUMENT
tx() {
	local want=$1 why=$2
	shift 2
	cat > /tmp/tx.json
	says "$want" "$why" dmbackup transaction /tmp/tx.json "$@"
}
bad() { # PLACE REGEX DOCUMENT
	printf %b "$3" > /tmp/tx.json
	says 2 "dmbackup: /tmp/tx.json:$1: .*($2)" dmbackup transaction /tmp/tx.json
	[ "${#lines[@]}" = 1 ]
}

@test "documents that are wrong, each with its place" {
	a='"action": "abort", "device": "v/a"'
	bad 1:1 'ends too early' ''
	bad 2:9 'ends too early' '{"actions":\n    [{"a'
	bad 1:12 "':' expected" '{"actions" []}'
	bad 2:3 'unexpected' "{\"actions\": [{$a}] }\n  x"
	bad 1:23 'string' '{"actions": [{"action\\x": 1}]}'
	bad 1:14 'null expected' '{"actions": nothing}'
	bad '1:[0-9]+' 'unexpected' "{\"actions\": [{$a},]}"
	bad '1:[0-9]+' 'utf-8' '{"actions": "\xff"}'
	bad '1:[0-9]+' 'nesting' "{\"actions\": $(printf '[%.0s' {1..40})"
	bad 1:3 'zero byte' '  \0'
	bad 1:1 'is not an object' '[]'
	bad 1:1 'actions is missing' '{}'
	bad '1:13: actions' 'is not an array' '{"actions": {}}'
	bad '1:13: actions' 'is empty' '{"actions": []}'
	bad '3:1: actions\[1\]' 'is not an object' "{\"actions\": [{$a},\n\n7]}"
	bad '1:14: actions\[0\]' 'action is missing' '{"actions": [{}]}'
	bad '1:24: actions\[0\].action' "there is no action 'frob'" '{"actions":[{"action": "frob"}]}'
	bad '1:13: actions\[0\]' 'device is missing' '{"actions":[{"action": "abort"}]}'
	bad '1:24: actions\[0\].action' 'is not a string' '{"actions":[{"action": 1}]}'
	bad '1:6' "'x' is no key of a transaction" '{"x":1}'
	bad '1:55: actions\[0\]' "'x' is no key of an action" "{\"actions\":[{$a, \"x\": 1}]}"
	bad '1:[0-9]+: actions\[0\]' "'name' is not for abort" "{\"actions\":[{$a, \"name\": 1}]}"
	bad '1:[0-9]+: actions\[0\]' '"device": is given twice' "{\"actions\":[{$a, \"device\": \"x\"}]}"
	bad '1:2' "double quotes" "{'actions':[{$a}]}"
	bad '1:13: freeze' 'neither true nor false' '{"freeze":  "yes"}'
	bad '1:15: sequential' 'neither true nor false' '{"sequential":1}'
	bad '1:21: completion_mode' 'neither individual nor grouped' '{"completion_mode": "both"}'
	bad '1:11: token' 'longer than 31' '{"token": "12345678901234567890123456789012"}'
	bad '1:11: token' 'blanks' '{"token": "a b"}'
	b='"action": "backup", "device": "v/a", "target": "w/a"'
	bad '1:13: actions\[0\]' 'target is missing' '{"actions":[{"action":"backup", "device": "v/a"}]}'
	bad '1:[0-9]+: actions\[0\].speed' "'fast' is not a size" "{\"actions\":[{$b, \"speed\": \"fast\"}]}"
	bad '1:[0-9]+: actions\[0\].speed' "'-1' is not a size" "{\"actions\":[{$b, \"speed\": -1}]}"
	bad '1:[0-9]+: actions\[0\].speed' 'neither a whole number' "{\"actions\":[{$b, \"speed\": 1.5}]}"
	bad '1:[0-9]+: actions\[0\].speed' 'too large' "{\"actions\":[{$b, \"speed\": 99999999999999999999}]}"
	bad '1:[0-9]+: actions\[0\].cluster' 'no multiple of 512' "{\"actions\":[{$b, \"cluster\": 1000}]}"
	bad '1:[0-9]+: actions\[0\].cbw_timeout' 'is not a time' "{\"actions\":[{$b, \"cbw_timeout\": \"soon\"}]}"
	bad '1:[0-9]+: actions\[0\].id' 'is empty' "{\"actions\":[{$b, \"id\": \"\"}]}"
	bad '1:[0-9]+: actions\[0\].id' 'zero byte' "{\"actions\":[{$b, \"id\": \"a\\\\u0000\"}]}"
	bad '1:13: actions\[0\]' 'job is missing' '{"actions":[{"action":"checkpoint", "device": "v/a"}]}'
	bad '1:[0-9]+: actions\[0\]' 'is not for' '{"actions":[{"action":"checkpoint", "device": "v/a", "job": "x", "target": "w/a"}]}'
	m='"action": "bitmap-merge", "device": "v/a", "name": "x"'
	bad '1:13: actions\[0\]' 'sources is missing' "{\"actions\":[{$m}]}"
	bad '1:[0-9]+: actions\[0\].sources' 'is empty' "{\"actions\":[{$m, \"sources\": []}]}"
	bad '1:[0-9]+: actions\[0\].sources\[1\]' 'is not a string' "{\"actions\":[{$m, \"sources\": [\"a\", 1]}]}"
	m='"action": "mirror", "device": "v/a", "target": "w/a"'
	bad '1:13: actions\[0\]' 'target is missing' '{"actions":[{"action":"mirror", "device": "v/a"}]}'
	bad '1:[0-9]+: actions\[0\]' "'level' is not for mirror" "{\"actions\":[{$m, \"level\": \"full\"}]}"
	bad '1:[0-9]+: actions\[0\]' "'copy_mode' is not for backup" "{\"actions\":[{$b, \"copy_mode\": \"background\"}]}"
	bad '1:[0-9]+: actions\[0\].granularity' 'no multiple of 512' "{\"actions\":[{$m, \"granularity\": 1000}]}"
	bad '1:[0-9]+: actions\[0\].auto_switch' 'neither true nor false' "{\"actions\":[{$m, \"auto_switch\": 1}]}"
	says 1 'No such file' dmbackup transaction /tmp/nix.json
	says 1 'directory' dmbackup transaction /tmp
	says 2 'longer than 1048576' dmbackup transaction <(head -c 2M /dev/zero | tr '\0' ' ')
	says 2 'stdin:1:1' dmbackup transaction - < /dev/null
}

@test "documents that are refused when devices are looked at, each with its place" {
	two_volumes
	copies
	attached
	tx 4 'tx.json:1:[0-9]+: actions\[0\].device: v/nix: no such device' <<< '{"actions": [{"action": "abort", "device": "v/nix"}]}'
	tx 4 'tx.json:1:[0-9]+: actions\[0\].device: w/a: has no backup filter' <<< '{"actions": [{"action": "abort", "device": "w/a"}]}'
	tx 4 'tx.json:2:[0-9]+: actions\[1\].target: w/nix: no such device' <<-END
		{"actions": [{"action": "backup", "device": "v/a", "target": "w/a"},
		             {"action": "backup", "device": "v/b", "target": "w/nix"}]}
	END
	tx 5 'tx.json:2:[0-9]+: actions\[1\].target: w/a: is the target of v/a, too' <<-END
		{"actions": [{"action": "backup", "device": "v/a", "target": "w/a"},
		             {"action": "backup", "device": "v/b", "target": "w/a"}]}
	END
	tx 3 'tx.json:1:14: actions\[0\]: v/a: a full backup is needed' <<< \
		'{"actions": [{"action": "backup", "device": "v/a", "target": "w/a", "level": "incremental"}]}'
	tx 2 'tx.json:1:14: actions\[0\]: --level: .huge. is none of' <<< \
		'{"actions": [{"action": "backup", "device": "v/a", "target": "w/a", "level": "huge"}]}'
	tx 2 'tx.json:1:[0-9]+: actions\[0\].sources: v/nix: no such device' <<< \
		'{"actions": [{"action": "bitmap-merge", "device": "v/a", "name": "x", "sources": ["v/nix/b"]}]}'
	# the kernel's own
	tx 4 "tx.json:2:1: actions\[1\]: there is no bitmap 'nix'" <<-END
		{"actions": [{"action": "bitmap-add", "device": "v/a", "name": "x"},
		{"action": "bitmap-clear", "device": "v/b", "name": "nix"}]}
	END
	tx 5 'tx.json:1:14: actions\[0\]: .*detect_zeroes' <<< \
		'{"actions": [{"action": "backup", "device": "v/a", "target": "w/a", "detect_zeroes": "maybe"}]}'
	tx 5 'tx.json:1:[0-9]+: actions\[0\]: .*grouped|bitmap add' <<< \
		'{"completion_mode": "grouped", "actions": [{"action": "bitmap-add", "device": "v/a", "name": "x"}]}'
	[ -z "$(dmbackup bitmap list v/a -n)$(dmbackup bitmap list v/b -n)" ]
	[ -z "$(jobs_of v/a)$(jobs_of v/b)" ]
}

@test "a transaction of bitmaps and backups; abort undoes all of it; a dry run does nothing" {
	two_volumes
	copies
	attached
	dmbackup bitmap add v/a old
	dmbackup bitmap add v/b old
	for d in a b; do
		dd if=/dev/urandom of=/mnt/$d/file bs=1M count=1 conv=fsync status=none
		# from here on nothing is written, by the file system itself neither
		mount -o remount,ro /mnt/$d
		dmbackup bitmap dump v/$d old > /tmp/dump-$d
	done
	cat > /tmp/tx.json <<-END
		{ "token": "night", "actions": [
		    { "action": "bitmap-add", "device": "/mnt/a", "name": "new", "granularity": "4K" },
		    { "action": "bitmap-merge", "device": "v/a", "name": "new", "sources": [ "old", "v/b/old" ] },
		    { "action": "bitmap-clear", "device": "v/a", "name": "old" },
		    { "action": "bitmap-disable", "device": "v/b", "name": "old" },
		    { "action": "backup", "device": "v/a", "target": "w/a", "id": "x" },
		    { "action": "backup", "device": "v/b", "target": "w/b", "id": "x", "speed": "4M" } ] }
	END
	says 0 "dmsetup message v-a 0 'transaction completion_mode=individual freeze=1 6 " dmbackup transaction --dry-run /tmp/tx.json
	dry=$output
	same_as_before
	# the same, and then something that fails
	python3 - <<-END
		import json
		d = json.load(open('/tmp/tx.json'))
		d['actions'].append({'action': 'abort', 'device': 'v/b'})
		json.dump(d, open('/tmp/tx2.json', 'w'))
	END
	says '[1-7]' 'tx2.json:1:[0-9]+: actions\[6\]' dmbackup transaction /tmp/tx2.json
	same_as_before
	says 0 'v/a +w/a +completed' dmbackup transaction /tmp/tx.json
	[[ $output =~ v/b\ +w/b\ +completed ]]
	dmsetup message v-a 0 transaction show night | grep state=committed
	dmbackup bitmap list v/a -n | grep 'new.*recording'
	dmbackup bitmap list v/b -n | grep 'old.*disabled'
	[ "$(dmbackup bitmap list v/a -n --bytes | awk '$1 == "old" { print $3 }')" -lt 1048576 ]
	look w/a
	umount /mnt/copy
	look w/b
	umount /mnt/copy
	# what the dry run printed is what was done
	dmbackup bitmap remove v/a new
	dmbackup bitmap enable v/b old
	bash -c "$dry"
	wait_for 60 concluded v/a
	wait_for 60 concluded v/b
	dmbackup job dismiss v/a x
	dmbackup job dismiss v/b x
	dmbackup bitmap list v/a -n | grep 'new.*recording'
}

@test "a mirror, a backup and a bitmap begin together; the mirror goes on" {
	two_volumes
	copies
	attached
	cat > /tmp/tx.json <<-END
		{ "actions": [
		    { "action": "mirror", "device": "v/a", "target": "w/a", "id": "m", "copy_mode": "write-blocking",
		      "granularity": "4K", "cbw_timeout": "7s", "speed": "100M", "force": true },
		    { "action": "bitmap-add", "device": "v/a", "name": "since" },
		    { "action": "backup", "device": "v/b", "target": "w/b" } ] }
	END
	says 0 ' mirror start m target=.* sync=full .*copy_mode=write_blocking' dmbackup transaction --dry-run /tmp/tx.json
	says 0 'v/b +w/b +completed' dmbackup transaction /tmp/tx.json
	[[ $output =~ v/a\ m ]]
	wait_for 120 mirror_is_ready
	says 0 'granularity +8' dmbackup job show v/a m
	[[ $output =~ cbw_timeout\ +7000 && $output =~ speed\ +104857600 ]]
	look w/b
	umount /mnt/copy
	echo one > /mnt/a/one
	fsfreeze -f /mnt/a # so that its journal is empty
	dmbackup job cancel v/a m
	dmbackup job wait v/a m
	fsfreeze -u /mnt/a
	look w/a
	grep one /mnt/copy/one
	umount /mnt/copy

	tx 2 'tx.json:1:14: actions\[0\]: --bitmap-mode goes with' <<< \
		'{"actions": [{"action": "mirror", "device": "v/a", "target": "w/a", "bitmap_mode": "never"}]}'
	tx 4 'tx.json:1:[0-9]+: actions\[0\].target: w/nix: no such device' <<< \
		'{"actions": [{"action": "mirror", "device": "v/a", "target": "w/nix"}]}'
	tx 5 'tx.json:2:[0-9]+: actions\[1\].target: w/a: is the target of v/a, too' <<-END
		{"actions": [{"action": "mirror", "device": "v/a", "target": "w/a", "force": true},
		             {"action": "backup", "device": "v/b", "target": "w/a", "force": true}]}
	END
	for how in '"completion_mode": "grouped"' '"sequential": true'; do
		tx 5 'tx.json:1:[0-9]+: actions\[0\]: a mirror ends when it is told to' <<< \
			"{$how, \"actions\": [{\"action\": \"mirror\", \"device\": \"v/a\", \"target\": \"w/a\", \"force\": true}]}"
	done
	[ -z "$(jobs_of v/a)$(jobs_of v/b)" ]
}
mirror_is_ready() { dmbackup job show v/a m | grep -q 'state *ready'; }

@test "checkpoints by hand, and in a document" {
	two_volumes
	copies
	attached
	dmsetup message v-a 0 backup start n target=/dev/w/a sync=none auto_dismiss=0
	wait_for 60 is_running
	echo one > /mnt/a/one
	dmbackup job checkpoint v/a
	dmbackup job checkpoint v/a n --no-freeze
	dmbackup transaction - <<< '{"actions": [{"action": "checkpoint", "device": "/mnt/a", "job": "n"}]}'
	says 0 'checkpoints +3' dmbackup job show v/a n
	tx 4 "tx.json:1:14: actions\[0\]: there is no job 'm'" <<< \
		'{"actions": [{"action": "checkpoint", "device": "v/a", "job": "m"}]}'
	echo two > /mnt/a/two
	sync
	grep one /mnt/a/one
	dmbackup job cancel v/a n
	wait_for 60 concluded v/a n
	says 5 'is concluded: checkpoint is not possible' dmbackup job checkpoint v/a n
}
is_running() { dmbackup job show v/a n | grep -q running; }
concluded() { dmbackup job show "$1" "${2:-x}" | grep -q concluded; }
same_as_before() {
	[ -z "$(jobs_of v/a)$(jobs_of v/b)" ]
	[ "$(dmbackup bitmap list v/a -n | awk '{ print $1 }')" = old ]
	dmbackup bitmap dump v/a old | cmp - /tmp/dump-a
	dmbackup bitmap dump v/b old | cmp - /tmp/dump-b
	dmbackup bitmap list v/b -n | grep 'old.*recording'
}
