#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# The utility, on logical volumes, with udevd as on a real host.
load lib
load volumes

# LVs v/data and v/copy of 12 MiB on $S and $T; a file system on data, mounted.
volumes() {
	lvm_conf
	mkdir -p /mnt/data
	# S and T have been filled anew
	dd if=/dev/zero of=/dev/ram2 bs=1M count=1 oflag=direct status=none
	vgcreate -qq -s 1M -y v $S $T /dev/ram2
	lvcreate -qq -y -Wn -n data -L 12M v $S
	lvcreate -qq -y -Wn -n copy -L 12M v $T
}
mounted() {
	volumes
	mkfs.ext4 -q -L data /dev/v/data
	mount /dev/v/data /mnt/data
}

types() { dmsetup table "$1" | cut -d' ' -f3 | sort -u | xargs; }
state_of() { dmsetup info -c --noheadings -o suspended,tables_loaded "$1"; }

@test "attach and detach a mounted LV: same device, same table afterwards" {
	mounted
	before=$(dmsetup table v-data) number=$(stat -Lc %t:%T /dev/v/data) uuid=$(dmsetup info -c --noheadings -o uuid v-data)
	echo one > /mnt/data/one
	dmbackup attach v/data
	[ "$(types v-data)" = backup ]
	[ "$(dmsetup table v-data-bkreal)" = "$before" ]
	[ "$(stat -Lc %t:%T /dev/v/data)" = "$number" ]
	[ "$(dmsetup info -c --noheadings -o uuid v-data)" = "$uuid" ]
	[ "$(dmsetup info -c --noheadings -o uuid v-data-bkreal)" = "$uuid-bkreal" ]
	echo two > /mnt/data/two
	sync
	# udev knows the visible one by its label, and not the hidden one
	udevadm settle
	[ "$(readlink -f /dev/disk/by-label/data)" = "$(readlink -f /dev/v/data)" ]
	lvs v/data
	says 5 'has a backup filter already' dmbackup attach v/data
	dmbackup detach v/data
	[ "$(dmsetup table v-data)" = "$before" ]
	fails dmsetup info v-data-bkreal
	[ "$(cat /mnt/data/one /mnt/data/two)" = "one
two" ]
	umount /mnt/data
	e2fsck -fn /dev/v/data
	says 4 'has no backup filter' dmbackup detach v/data
}

@test "every way to name a device" {
	mounted
	ln -sfn /mnt/data /tmp/data
	cd /mnt
	for name in v/data /dev/v/data /dev/mapper/v-data v-data /mnt/data /mnt/data/ /tmp/data ./data "$(devno /dev/v/data)"; do
		dmbackup attach "$name"
		dmbackup status "$name" > /dev/null
		dmbackup detach "$name"
	done
	cd /
	says 4 'no such device.*not active: lvchange' dmbackup status v/nothing
	says 4 'No such file' dmbackup status /dev/v/nothing
	says 4 'neither a block device' dmbackup status /etc/passwd
	says 4 'neither a block device' dmbackup status /mnt
}

@test "a backup of a mounted LV is a clean file system; Ctrl-C cancels" {
	mounted
	dmbackup attach v/data
	seq 100000 > /mnt/data/numbers
	says 0 '' dmbackup backup v/data --to v/copy
	[[ $output == *completed* ]]
	e2fsck -fn /dev/v/copy
	mkdir -p /mnt/copy
	mount -o ro /dev/v/copy /mnt/copy
	seq 100000 | cmp - /mnt/copy/numbers
	umount /mnt/copy
	# a signature: refused unless forced
	says 5 'holds ext4 data' dmbackup backup v/data --to v/copy
	[ -z "$(dmbackup job list v/data --noheadings)" ]
	dmbackup backup v/data --to v/copy --force --speed 64K --id slow 2> /tmp/err &
	pid=$!
	wait_for 60 job_is running slow
	wait_for 60 catches $pid
	kill -INT $pid
	wait $pid || rc=$?
	cat /tmp/err
	[ "$rc" -eq 7 ]
	grep 'cancelling job slow' /tmp/err
	grep 'was cancelled' /tmp/err
	[ -z "$(dmbackup job list v/data --noheadings)" ]
}

@test "jobs by hand" {
	mounted
	dmbackup attach v/data
	[ "$(dmbackup backup v/data --to v/copy --detach --id b --speed 64K)" = b ]
	dmbackup job list v/data | grep running
	dmbackup job pause v/data b
	says 5 'is paused already' dmbackup job pause v/data b
	wait_for 5 job_is paused
	says 5 'use force' dmbackup job cancel v/data b
	dmbackup job resume v/data
	says 2 'nothing is to change' dmbackup job change v/data
	says 5 'on_cbw_error' dmbackup job change v/data b --on-cbw-error never
	dmbackup job change v/data b --on-cbw-error break-guest-write --cbw-timeout 7s
	dmbackup job show v/data | grep -w break_guest_write
	says 5 'only with sync=none' dmbackup job checkpoint v/data b
	dmbackup job set-speed v/data b --speed 0
	dmbackup job wait v/data b
	says 4 "there is no job 'b'" dmbackup job show v/data b
	says 4 "there is no job 'b'" dmbackup job wait v/data b
	says 4 'has no job' dmbackup job show v/data
	[ "$(dmbackup backup v/data --to v/copy --force --detach --id c --speed 64K)" = c ]
	says 5 "job 'c' exists already" dmbackup backup v/data --to /dev/ram3 --allow-larger --id c
	# Ctrl-C while waiting for somebody's job leaves the job alone
	timeout -s INT 1 dmbackup job wait v/data c || true
	job_is running c
	# a job keeps its filter: detaching is refused unless forced
	says 5 'has a job: c is running' dmbackup detach v/data
	dmbackup detach v/data --force
	[ "$(types v-data)" = linear ]
}
job_is() { dmbackup job show v/data "${2:-b}" | grep -q "$1"; }

@test "who follows a job ends with the filter, whatever took it away" {
	mounted
	dmbackup attach v/data
	follow
	dmbackup detach v/data --force
	wait $pid || rc=$?
	[[ $rc == [47] ]] || { echo "status $rc"; cat /tmp/out; false; }
	umount /mnt/data
	dmbackup attach v/data
	follow
	dmsetup wipe_table v-data
	wait $pid || rc=$?
	[[ $rc == 4 ]] || { echo "status $rc"; cat /tmp/out; false; }
	grep 'job b is gone' /tmp/out
}
follow() {
	rc=0
	timeout -s KILL 300 dmbackup backup v/data --to v/copy --force --id b --speed 64K > /tmp/out 2>&1 &
	pid=$!
	wait_for 60 job_is running
}

@test "Ctrl-C while a mirror is waited for ends the waiting, and that is said" {
	mounted
	dmbackup attach v/data
	dmbackup mirror v/data --to v/copy --pivot --id m --speed 64K > /tmp/out 2>&1 &
	pid=$!
	wait_for 60 job_is running m
	wait_for 60 catches $pid
	kill -INT $pid
	rc=0
	wait $pid || rc=$?
	cat /tmp/out
	[ "$rc" = 7 ]
	grep 'job m goes on' /tmp/out
	job_is running m
	dmbackup detach v/data --force
}

@test "attach does not undo what LVM does meanwhile" {
	mounted
	instead lvcreate <<-'END'
		lvextend -qq -L 13M v/data
	END
	says 5 'somebody else is changing it' env PATH="/tmp/instead:$PATH" dmbackup attach v/data --metadata auto
	[ "$(types v-data)" = linear ]
	[ "$(blockdev --getsize64 /dev/v/data)" = $((13 << 20)) ]
	absent dmsetup info v-data-bkreal
	dmbackup attach v/data
	dmbackup detach v/data
	umount /mnt/data
}

@test "a start that fails at its cut is not announced as one that runs" {
	mounted
	dmbackup attach v/data
	dmsetup suspend --nolockfs v-data
	says 5 'suspended' dmbackup backup v/data --to v/copy --detach --id x
	dmsetup resume v-data
	[ -z "$(dmbackup job list v/data --noheadings)" ]
}

@test "output for programs" {
	mounted
	dmbackup attach v/data
	dmbackup list --json | python3 -c 'import json, sys; d = json.load(sys.stdin); assert len(list(d.values())[0]) == 1'
	dmbackup status v/data --json | python3 -c 'import json, sys; json.load(sys.stdin)'
	dmbackup backup v/data --to v/copy --detach --id b --speed 64K > /dev/null
	dmbackup job list v/data --json | python3 -c '
import json, sys
(jobs,) = json.load(sys.stdin).values()
assert jobs[0]["id"] == "b", jobs'
	dmbackup job show v/data b --json | python3 -c 'import json, sys; json.load(sys.stdin)'
	dmbackup job list v/data --noheadings --bytes | grep -w 65536
	dmbackup job cancel v/data b
	says 7 'was cancelled' dmbackup job wait v/data b
	dmbackup backup v/data --to v/copy --force --json | python3 -c 'import json, sys; json.load(sys.stdin)'
}

@test "bad command lines" {
	volumes
	dmbackup attach v/data
	says 2 'Usage' dmbackup
	says 2 "there is no 'frobnicate'" dmbackup frobnicate
	[[ $output != *attach* ]]
	says 2 "there is no 'job frobnicate'.*job dismiss" dmbackup job frobnicate
	[[ $output != *attach* ]]
	says 0 'level=.*--detach\]' dmbackup backup v/data --help
	says 2 'unrecognized option' dmbackup list --frobnicate
	says 2 'is not for this' dmbackup list --to x
	says 2 'is given twice' dmbackup list --json --json
	says 2 'an argument is missing.*Usage' dmbackup attach
	says 2 "'b' is one argument too many.*Usage" dmbackup attach a b
	says 2 '--to is missing' dmbackup backup v/data
	for bad in -1 1.5x 99999999999T '' 1e3; do
		says 2 '--speed' dmbackup backup v/data --to v/copy --speed "$bad"
	done
	says 2 'no multiple of 512' dmbackup backup v/data --to v/copy --cluster 1000
	says 2 '--cbw-timeout' dmbackup backup v/data --to v/copy --cbw-timeout soon
	says 5 'cluster' dmbackup backup v/data --to v/copy --cluster 3M
	says 5 'detect_zeroes' dmbackup backup v/data --to v/copy --detect-zeroes maybe
	says 2 "can't be sent" dmbackup backup v/data --to v/copy --id 'a b'
	says 2 "can't be sent" dmbackup job show v/data 'a\b'
	says 2 'is missing' dmbackup job set-speed v/data
	dmsetup create plain --table "0 8192 linear /dev/ram3 0"
	says 5 'buffer' dmbackup attach plain --buffer 1K
	says 2 "can't be sent" dmbackup attach plain --discard 'auto metadata'
	[ "$(types plain)" = linear ]
	[ -z "$(dmbackup job list v/data --noheadings)" ]
}

@test "destinations that can't be" {
	mounted
	dmbackup attach v/data
	says 5 'is v/data itself' dmbackup backup v/data --to v/data
	# on the filter through a loop device, and through another dm device
	truncate -s 8M /mnt/data/image
	loop=$(losetup -f --show /mnt/data/image)
	says 5 'stands on' dmbackup backup v/data --to "$loop" --force --allow-larger
	losetup -d "$loop"
	umount /mnt/data
	dmsetup create on --table "0 $(blockdev --getsz /dev/v/data) linear /dev/v/data 0"
	says 5 'stands on' dmbackup backup v/data --to on --force
	dmsetup remove on
	mount /dev/v/data /mnt/data
	says 5 'is in use' dmbackup backup v/data --to v-data-bkreal --force
	says 4 'no such device' dmbackup backup v/data --to v/nothing
	mkfs.ext4 -q /dev/v/copy
	mkdir -p /mnt/copy
	mount /dev/v/copy /mnt/copy
	says 5 'is mounted on /mnt/copy' dmbackup backup v/data --to v/copy
	says 5 'is mounted on /mnt/copy' dmbackup backup v/data --to v/copy --force
	umount /mnt/copy
	swapoff -a
	mkswap /dev/v/copy > /dev/null
	says 5 'holds swap data' dmbackup backup v/data --to v/copy
	says 5 'holds swap data' dmbackup backup v/data --to v/copy --level auto
	[[ $output != *'is made'* ]]
	lvcreate -qq -y -Wn -n small -L 4M v /dev/ram2
	for what in backup mirror; do
		says 5 'shorter than v/data: it has 4194304 bytes' dmbackup $what v/data --to v/small --force --allow-larger
		says 5 'longer than v/data.*--allow-larger' dmbackup $what v/data --to /dev/ram3 --force
	done
	[ -z "$(dmbackup job list v/data --noheadings)" ]
}

@test "tables that can't be moved, devices that are busy" {
	volumes
	dmsetup create snap-origin --table "0 8192 snapshot-origin /dev/ram3"
	says 5 'snapshot-origin .*open' dmbackup attach snap-origin
	dmsetup remove snap-origin
	# as LVM has it while it moves extents
	dmsetup create v-pvmove0 --uuid LVM-moves --table "0 8192 linear /dev/ram3 0"
	dmsetup create moved --table "0 8192 linear /dev/mapper/v-pvmove0 0"
	says 5 'is being moved by pvmove' dmbackup attach moved
	dmsetup remove moved
	dmsetup remove v-pvmove0
	says 5 'is not a device-mapper device' dmbackup attach /dev/ram3
	# dm would put a filter beside the volumes that are on it
	says 5 'is in use' dmbackup open $S x
	says 2 'is no name' dmbackup open /dev/ram3 a/b
	[ ! -e /dev/mapper/x ]
	dmsetup load v-data --table "0 8192 zero"
	says 5 'waits for a resume' dmbackup attach v/data
	dmsetup clear v-data
	dmsetup suspend v-data
	says 5 'is suspended' dmbackup attach v/data
	dmsetup resume v-data
	dmbackup attach v/data
	says 5 'hidden device' dmbackup attach v-data-bkreal
}

@test "LVM and an attached LV: nothing is replaced behind its back" {
	mounted
	dmbackup attach v/data
	# growing by LVM alone would replace the filter's table
	run lvextend -y -L +1M v/data
	echo "$output"
	[ "$(types v-data)" = backup ]
	[[ $(state_of v-data) == Active:* ]]
	echo still > /mnt/data/alive
	sync
	dmbackup resize v/data
	dmbackup detach v/data
	[ "$(types v-data)" = linear ]
	umount /mnt/data
	e2fsck -fn /dev/v/data
	# deactivation takes the hidden device with it
	dmbackup attach v/data
	lvchange -an v/data
	fails dmsetup info v-data
	fails dmsetup info v-data-bkreal
}

@test "resize: the LV grows, the filter follows" {
	mounted
	dmbackup attach v/data
	dmbackup resize v/data --size +2M
	[ "$(blockdev --getsize64 /dev/v/data)" = $((14 << 20)) ]
	resize2fs -f /dev/v/data > /dev/null
	dd if=/dev/urandom of=/mnt/data/big bs=1M count=10 status=none conv=fsync
	lvextend -qq -y -L 14M v/copy $T
	dmbackup backup v/data --to v/copy
	e2fsck -fn /dev/v/copy
	dmbackup backup v/data --to v/copy --force --detach --id b --speed 64K
	says 5 'has a job: b is running' dmbackup resize v/data --size +1M
	dmbackup job cancel v/data b
	wait_for 5 job_is concluded
	says 5 'dismiss it' dmbackup resize v/data --size +1M
	[ "$(blockdev --getsize64 /dev/v/data)" = $((14 << 20)) ]
	dmbackup job dismiss v/data b
	dmbackup detach v/data
	[ "$(blockdev --getsize64 /dev/v/data)" = $((14 << 20)) ]
	umount /mnt/data
	e2fsck -fn /dev/v/data
}

@test "resize: refused before LVM grows the volume, not after" {
	volumes
	dmbackup attach v/data
	dmsetup suspend --nolockfs v-data
	says 5 'v/data: is suspended' dmbackup resize v/data --size +1M
	dmsetup resume v-data
	dmsetup suspend v-data-bkreal
	says 5 'v-data-bkreal is suspended' dmbackup resize v/data --size +1M
	dmsetup resume v-data-bkreal
	dmsetup load v-data --table "$(dmsetup table v-data)"
	says 5 'v/data: .*waits for a resume' dmbackup resize v/data --size +1M
	dmsetup clear v-data
	# LVM has it elsewhere: its table can't be replaced, whatever its size
	lvrename -qq --driverloaded n v/data v/was
	lvcreate -qq -y -Wn -Zn --driverloaded n -n data -L 12M v /dev/ram2
	says 5 'LVM has moved data of it' dmbackup resize v/data --size +1M
	[ "$(lvs --noheadings --units b --nosuffix -o lv_size v/data | xargs)" = $((12 << 20)) ]
	lvremove -qq -y --driverloaded n v/data
	lvrename -qq --driverloaded n v/was v/data
	[ "$(lvs --noheadings --units b --nosuffix -o lv_size v/data | xargs)" = $((12 << 20)) ]
	dmbackup resize v/data --size +1M
	[ "$(blockdev --getsize64 /dev/v/data)" = $((13 << 20)) ]
	dmbackup detach v/data
}

@test "LVM that can't be run, or fails: that is said" {
	mounted
	dmbackup attach v/data
	says 1 'v: lvs failed' with_lvs 'exit 5' backup v/data --to-vg v
	lvm=$(readlink -f "$(type -P lvm)")
	mount --bind /dev/null "$lvm"
	run dmbackup resize v/data --size +1M
	umount "$lvm"
	echo "$output"
	[ "$status" = 1 ]
	[[ $output =~ "pvs can't be run: Permission denied" ]]
	says 4 'nix: lvs failed' dmbackup backup v/data --to-vg nix
	umount /mnt/data
	dmbackup detach v/data
}
with_lvs() { # COMMAND ARGUMENT...: with an lvs that does that first
	instead lvs <<< "$1"
	env PATH="/tmp/instead:$PATH" dmbackup "${@:2}"
}

@test "a group that is renamed, with a volume that is attached: the name follows after detach" {
	mounted
	dmbackup attach v/data
	echo before > /mnt/data/file
	says '*' 'Failed to suspend renamed/data' vgrename v renamed
	# LVM's metadata has the new name; the device the old one, and the filter (and it exits with 0)
	[ "$(types v-data)" = backup ]
	none_suspended
	echo after > /mnt/data/file
	sync
	dmbackup detach v/data
	[ "$(types v-data)" = linear ]
	lvchange -qq --refresh renamed/data
	absent dmsetup info v-data
	[ "$(types renamed-data)" = linear ]
	[ "$(cat /mnt/data/file)" = after ]
	dmbackup attach renamed/data
	dmbackup detach renamed/data
	umount /mnt/data
	e2fsck -fn /dev/renamed/data
}

@test "open and close" {
	mkfs.ext4 -q -L opened $S
	dmbackup open $S web
	mkdir -p /mnt/data
	mount /dev/mapper/web /mnt/data
	echo hello > /mnt/data/file
	dmbackup backup /mnt/data --to $T --no-freeze
	says 5 'is in use' dmbackup close web
	umount /mnt/data
	says 5 'was not attached but opened' dmbackup detach web
	dmbackup close web
	fails dmsetup info web
}

@test "kill -9 at any moment leaves nothing suspended" {
	mounted
	before=$(dmsetup table v-data)
	for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
		dmbackup attach v/data 2>/dev/null &
		pid=$!
		sleep "0.0$((i * 7 % 100))"
		kill -9 $pid 2>/dev/null || true
		wait $pid 2>/dev/null || true
		wait_for 10 active
		# whatever state it is in, it can be attached and detached
		[[ $(types v-data) == backup ]] || dmbackup attach v/data
		dmbackup detach v/data &
		pid=$!
		sleep "0.0$((i * 13 % 100))"
		kill -9 $pid 2>/dev/null || true
		wait $pid 2>/dev/null || true
		wait_for 10 active
		[[ $(types v-data) == linear ]] || finish_detach
		[ "$(dmsetup table v-data)" = "$before" ]
		echo "$i" > /mnt/data/alive
		sync -f /mnt/data
	done
	umount /mnt/data
	e2fsck -fn /dev/v/data
}

@test "a command waits for what another one, or its guard, still does to the device" {
	mounted
	lock=/run/dmbackup/$(dmsetup info -c --noheadings --separator : -o major,minor v-data).lock
	mkdir -p /run/dmbackup
	exec 9> "$lock"
	flock 9
	dmbackup attach v/data 9>&- &
	wait_for 60 has_open $! "$lock"
	sleep 1
	[ "$(types v-data)" = linear ]
	exec 9>&-
	wait $!
	[ "$(types v-data)" = backup ]
	umount /mnt/data
	dmbackup detach v/data
}
has_open() { [[ " $(readlink "/proc/$1/fd/"* | xargs) " == *" $2 "* ]]; } # PID FILE
active() { [[ $(state_of v-data) == Active:Live ]]; }
finish_detach() { dmbackup detach v/data || { dmbackup attach v/data && dmbackup detach v/data; }; }

@test "cron's PATH, and output that can't be written" {
	mounted
	here=(env -i PATH=/usr/bin:/bin "LVM_SYSTEM_DIR=$LVM_SYSTEM_DIR" "$top/build/dmbackup")
	"${here[@]}" attach v/data --metadata auto
	lvs v/data-dmbackup
	says 1 "list: the output can't be written" bash -c 'dmbackup list > /dev/full'
	# it has been made, and the result can be told from one that failed
	says 1 "backup: the output can't be written" bash -c 'dmbackup backup v/data --to v/copy --json > /dev/full'
	e2fsck -fn /dev/v/copy
	says 1 "can't be written" bash -c 'dmbackup --version > /dev/full'
	says 1 "can't be written" bash -c 'dmbackup backup --help > /dev/full'
	# what is opened is not taken for what is closed
	lock=/run/dmbackup/$(devno /dev/v/data).lock
	says 5 '' bash -c 'dmbackup attach v/data >&- 2>&-'
	[ -f "$lock" ]
	[ ! -s "$lock" ]
	"${here[@]}" detach v/data
	umount /mnt/data
}

# Options of a usage, of the completion; both sorted.
usage_options() { grep -o -- '--[a-z-]*' | grep -vx -e --help | sort -u | xargs; }
@test "the completion and the manual know the options of each verb" {
	local verb line options n=0 cur=--
	source "$top/userspace/dmbackup.bash-completion"
	while read -r _ line; do
		verb=$(grep -o '^[a-z -]*[a-z]' <<< "$line")
		# what follows is in capitals, or two blanks away
		verb=${verb%%  *}
		[[ $verb ]] || continue
		options=$(dmbackup $verb --help | usage_options)
		COMPREPLY=()
		_dmbackup_options $verb
		echo "$verb: $options"
		[ "$(printf '%s\n' "${COMPREPLY[@]}" | usage_options)" = "$options" ]
		for option in $options; do
			grep -Eq "Fl (. , )?-${option#--}\>" "$top/Documentation/dmbackup.8"
		done
		n=$((n + 1))
	done < <(dmbackup --help | grep '^  dmbackup')
	((n > 40))
}

@test "the version is the same everywhere; the unit is one" {
	says 0 '' dmbackup --version
	grep -x "PACKAGE_VERSION=\"${output#dmbackup }\"" "$top/dm-backup/dkms.conf"
	type -P systemd-analyze || skip 'there is no systemd-analyze'
	mkdir -p /usr/local/sbin /etc/systemd/system
	cp "$top/build/dmbackup" /usr/local/sbin/
	cp "$top/userspace/dmbackup@.service" /etc/systemd/system/
	says 0 '' systemd-analyze verify --man=no dmbackup@dev-v-data.service
	[ -z "$output" ]
}

@test "restored: copied back, and by exchanging names" {
	mounted
	echo good > /mnt/data/file
	dmbackup attach v/data
	dmbackup backup v/data --to v/copy --level auto
	echo bad > /mnt/data/file
	sync
	dmbackup attach v/copy
	says 5 'is mounted on /mnt/data' dmbackup backup v/copy --to v/data --force
	umount /mnt/data
	dmbackup backup v/copy --to v/data --force
	dmbackup detach v/copy
	e2fsck -fn /dev/v/data
	mount /dev/v/data /mnt/data
	[ "$(cat /mnt/data/file)" = good ]
	# the copy of another night was rounded up
	lvextend -qq -L 13M v/copy
	dmbackup attach v/copy
	says 5 'is shorter than v/copy.*--allow-larger: dmbackup resize --size 13631488b v/data' dmbackup backup v/copy --to v/data --force
	dmbackup detach v/copy
	lvreduce -qq -f -L 12M v/copy
	# what was copied back counts as written: the next backup is a copy again
	echo better > /mnt/data/file
	dmbackup backup v/data --to v/copy --level incremental
	echo bad > /mnt/data/file
	umount /mnt/data
	dmbackup detach v/data --force
	lvrename -qq v/data v/bad
	lvrename -qq v/copy v/data
	mount /dev/v/data /mnt/data
	[ "$(cat /mnt/data/file)" = better ]
	umount /mnt/data
	e2fsck -fn /dev/v/data
}

@test "root is needed" {
	volumes
	says 1 'needs root' setpriv --reuid=65534 --clear-groups dmbackup list
}

@test "bitmaps and incremental backups" {
	mounted
	dmbackup attach v/data
	says 3 "full backup is needed: bitmap 'to-v-copy': there is no such bitmap" dmbackup backup v/data --to v/copy --level incremental
	says 0 'a full backup is made' dmbackup backup v/data --to v/copy --level auto
	[ "$(dmbackup bitmap list v/data -n --json | grep -c '"state": *"recording"')" = 1 ]
	for nr in 1 2 3; do
		echo "$nr" > /mnt/data/number
		sync
		says 0 '' dmbackup backup v/data --to v/copy --level auto --json
		[[ $output != *'a full backup'* ]]
		copied=$(grep -o '"copied": *[0-9]*' <<< "$output" | grep -o '[0-9]*$')
		((copied > 0 && copied < 4194304))
		e2fsck -fn /dev/v/copy
		mkdir -p /mnt/copy
		mount -o ro,noload /dev/v/copy /mnt/copy
		[ "$(cat /mnt/copy/number)" = "$nr" ]
		umount /mnt/copy
	done
	# what is no copy of it is not taken for one
	mkfs.ext4 -q -F /dev/v/copy
	says 5 "is not known to be a copy of v/data: it has not its file system's UUID" dmbackup backup v/data --to v/copy --level auto
	dmbackup backup v/data --to v/copy --force --level full
	dmbackup backup v/data --to v/copy --level differential
	# two targets in turn, each with its own bitmap; none is taken for the other
	lvcreate -qq -y -Wn -n other -L 12M v /dev/ram2
	dd if=/dev/zero of=/dev/v/other bs=1M count=1 oflag=direct status=none
	says 3 'its last backup went to another target' dmbackup backup v/data --to v/other --incremental to-v-copy
	says 0 'a full backup is made' dmbackup backup v/data --to v/other --level auto
	for nr in 1 2 3; do
		for to in copy other; do
			echo "$nr$to" > /mnt/data/number
			sync
			says 0 '' dmbackup backup v/data --to v/$to --level auto
			[[ $output != *'a full backup'* ]]
			e2fsck -fn /dev/v/$to
			mount -o ro,noload /dev/v/$to /mnt/copy
			[ "$(cat /mnt/copy/number)" = "$nr$to" ]
			umount /mnt/copy
		done
	done
	dmbackup bitmap add v/data second --granularity 4K --disabled
	dmbackup bitmap dump v/data to-v-copy > /tmp/dump
	dmbackup bitmap load v/data second /tmp/dump
	says 0 '' dmbackup bitmap dump v/data second
	[ "$output" = "$(cat /tmp/dump)" ]
	dmbackup bitmap merge v/data second to-v-copy
	dmbackup bitmap merge v/data second v/data/to-v-copy
	says 4 'v/copy: has no backup filter' dmbackup bitmap merge v/data second v/copy/to-v-copy
	for f in json borg-map ddrescue; do dmbackup bitmap dump v/data second --format $f > /tmp/dump.$f; done
	python3 -m json.tool /tmp/dump.json > /dev/null
	# a map of all of it, in order
	awk 'BEGIN { at = 0 } $1 != at { exit 1 } { at += $2 } END { exit at != 12582912 }' /tmp/dump.borg-map
	says 2 'is none of' dmbackup bitmap dump v/data second --format xml
	says 2 'START LENGTH' dmbackup bitmap load v/data second /etc/passwd
	says 4 "there is no bitmap 'nix'" dmbackup bitmap show v/data nix
	says 2 'blanks' dmbackup bitmap add v/data 'a b'
	says 2 'granularity' dmbackup bitmap add v/data x --granularity 100
	# what it has is not lost by a backup that could begin it anew
	before=$(dmbackup bitmap dump v/data second)
	says 5 "'second' is disabled" dmbackup backup v/data --to v/copy --force --level full --bitmap second
	says 5 "'second' is disabled" dmbackup backup v/data --to v/copy --force --level auto --bitmap second
	[ "$(dmbackup bitmap dump v/data second)" = "$before" ]
	dmbackup bitmap enable v/data second
	dmbackup bitmap disable v/data second
	dmbackup bitmap clear v/data second
	dmbackup bitmap remove v/data second
	says 5 'has bitmaps' dmbackup detach v/data
	dmbackup detach v/data --force
	umount /mnt/data
}

@test "a number is not taken for a name: targets that take turns" {
	mounted
	dmbackup attach v/data
	# a ram disk has no uuid, wwid or serial number
	says 0 'a full backup is made' dmbackup backup v/data --to /dev/ram3 --level auto --allow-larger
	says 0 'a full backup is made.*no name that lasts' dmbackup backup v/data --to /dev/ram3 --level auto --allow-larger
	says 5 'no name that lasts' dmbackup backup v/data --to /dev/ram3 --level incremental --allow-larger
	says 0 '' dmbackup backup v/data --to /dev/ram3 --level incremental --allow-larger --force
	# copies in files of the same name, behind the same loop device, on disks that take turns
	mkdir -p /mnt/disk
	lvcreate -qq -y -Wn -n disk -L 14M v /dev/ram2
	for disk in /dev/v/disk /dev/ram3; do
		mkfs.ext4 -q -F -O ^has_journal -m 0 $disk
		mount $disk /mnt/disk
		truncate -s 12M /mnt/disk/copy
		loop=$(losetup -f --show /mnt/disk/copy)
		says 0 "a full backup is made: bitmap 'to-copy-[0-9a-f]{8}'" dmbackup backup v/data --to "$loop" --level auto
		says 0 '' dmbackup backup v/data --to "$loop" --level auto
		[[ $output != *'a full backup'* ]]
		losetup -d "$loop"
		umount /mnt/disk
	done
	echo late > /mnt/data/number
	mount /dev/v/disk /mnt/disk
	loop=$(losetup -f --show /mnt/disk/copy)
	says 0 '' dmbackup backup v/data --to "$loop" --level auto
	[[ $output != *'a full backup'* ]]
	e2fsck -fn "$loop"
	mkdir -p /mnt/copy
	mount -o ro,noload "$loop" /mnt/copy
	[ "$(cat /mnt/copy/number)" = late ]
	umount /mnt/copy
	losetup -d "$loop"
	umount /mnt/disk
	# a target that was renamed keeps its bitmap
	says 0 'a full backup is made' dmbackup backup v/data --to v/copy --level auto
	lvrename -qq v/copy v/moved
	says 0 '' dmbackup backup v/data --to v/moved --level auto
	[[ $output != *'a full backup'* ]]
	dmbackup detach v/data --force
}

@test "persistent bitmaps: incrementals go on after a stop, and not after foreign writes" {
	mounted
	umount /mnt/data
	says 4 '' dmbackup attach v/data --metadata v/nix
	dmbackup attach v/data --metadata auto
	[ "$(lvs --noheadings -o lv_name v/data-dmbackup | xargs)" = data-dmbackup ]
	dmsetup table v-data | grep ' metadata '
	mount /dev/v/data /mnt/data
	says 0 'a full backup is made' dmbackup backup v/data --to v/copy --level auto
	says 0 '' dmbackup bitmap show v/data to-v-copy --json
	[[ $output =~ '"persistent": '(true|1|\"1\") ]]
	echo one > /mnt/data/number
	sync
	# a shutdown
	umount /mnt/data
	lvchange -an v/data
	wait_for 10 module_idle
	says 0 clean dmbackup metadata check v/data-dmbackup
	says 0 '"granularity"' dmbackup metadata dump v/data-dmbackup
	says 0 '' dmbackup metadata dump v/data-dmbackup to-v-copy
	lvchange -ay v/data
	dmbackup attach v/data --metadata auto
	mount /dev/v/data /mnt/data
	echo two > /mnt/data/number
	sync
	says 0 '' dmbackup backup v/data --to v/copy --level incremental
	mkdir -p /mnt/copy
	mount -o ro,noload /dev/v/copy /mnt/copy
	[ "$(cat /mnt/copy/number)" = two ]
	umount /mnt/copy
	# detach keeps them; a write after it is noticed
	dmbackup bitmap add v/data lost
	says 5 'has bitmaps that would be lost: lost' dmbackup detach v/data
	dmbackup bitmap remove v/data lost
	dmbackup detach v/data
	umount /mnt/data
	dmbackup attach v/data --metadata auto
	says 3 'full backup is needed.*written before the filter' dmbackup backup v/data --to v/copy --level incremental
	says 0 'a full backup is made' dmbackup backup v/data --to v/copy --level auto
	says 0 '' dmbackup backup v/data --to v/copy --level incremental
	# it is for this volume only, and what is not one of ours is not overwritten
	says 5 '' dmbackup attach v/copy --metadata v/data-dmbackup
	lvcreate -qq -y -Wn -n ext -L 4M v /dev/ram2
	mkfs.ext4 -q -F /dev/v/ext
	says 5 'neither a metadata device nor empty' dmbackup attach v/copy --metadata v/ext
	says 5 'ext4' dmbackup metadata create v/ext --for v/copy
	dmbackup metadata create v/ext --for v/copy --force
	says 0 clean dmbackup metadata check v/ext
	dmbackup attach v/copy --metadata v/ext
	dmbackup bitmap add v/copy b --persistent
	dmbackup detach v/copy
	dmbackup detach v/data
	lvremove -qq -y v/data-dmbackup
}
