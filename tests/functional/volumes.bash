# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# What tests on logical volumes share.

lvm_conf() {
	mkdir -p "$LVM_SYSTEM_DIR"
	cat > "$LVM_SYSTEM_DIR/lvm.conf" <<-END
		devices { use_devicesfile = 0 scan = [ "/dev" ] types = [ "ramdisk", 16, "zram", 16 ] }
		activation { monitoring = 0 }
		global { thin_check_executable = "" }
		backup { backup_dir = "/tmp/dmbackup-lvm" archive = 0 }
	END
}

# Mounted logical volumes v/a and v/b on $S and /dev/ram2, of 12 MiB, and a volume group
# w for their copies on $T and /dev/ram3.
two_volumes() {
	local d
	lvm_conf
	mkdir -p /mnt/a /mnt/b /mnt/copy
	for d in $S $T /dev/ram2 /dev/ram3; do
		dd if=/dev/zero of=$d bs=1M count=1 oflag=direct status=none
	done
	vgcreate -qq -s 1M -y v $S /dev/ram2
	vgcreate -qq -s 1M -y w $T /dev/ram3
	lvcreate -qq -y -Wy -n a -L 12M v $S
	lvcreate -qq -y -Wy -n b -L 12M v /dev/ram2
	mkfs.ext4 -q -L a /dev/v/a
	mkfs.ext4 -q -L b /dev/v/b
	mount /dev/v/a /mnt/a
	mount /dev/v/b /mnt/b
}

# copies: w/a and w/b, blank
copies() {
	lvcreate -qq -y -Wy -n a -L 12M w $T
	lvcreate -qq -y -Wy -n b -L 12M w /dev/ram3
}

attached() {
	dmbackup attach v/a
	dmbackup attach v/b
}

# says STATUS REGEX COMMAND...: it ends so, and says that
says() {
	local want=$1 why=$2
	shift 2
	run "$@"
	echo "$output"
	[[ $status == $want ]] || { echo "status $status, not $want: $*"; return 1; }
	[[ $output =~ $why ]] || { echo "does not say: $why"; return 1; }
}

# absent COMMAND...: it fails
absent() {
	if "$@" > /dev/null 2>&1; then
		echo "is there: $*"
		return 1
	fi
}

# instead COMMAND: a program of LVM's that is found first by who looks in /tmp/instead
# first; what it does before the real one comes from stdin
instead() {
	rm -rf /tmp/instead
	mkdir -p /tmp/instead
	{ printf '#!/bin/bash\nPATH=%s\n' "$PATH"; cat; printf 'exec %s "$@"\n' "$1"; } > "/tmp/instead/$1"
	chmod +x "/tmp/instead/$1"
}

# catches PID: it does something about Ctrl-C
catches() {
	local signals
	signals=$(sed -n 's/^SigCgt:[[:space:]]*//p' "/proc/$1/status")
	((0x$signals & 2))
}

# jobs_of VOLUME: their ids
jobs_of() { dmbackup job list "$1" --noheadings | awk '{ print $1 }'; }

none_suspended() {
	local dev suspended
	for dev in /sys/block/dm-*/dm; do
		# One that goes meanwhile is not.
		read -r suspended 2> /dev/null < "$dev/suspended" || suspended=0
		[[ $suspended == 0 ]] || return 1
	done
}
# Can a file system be written? A frozen one would wait for ever.
writable() { # DIRECTORY
	timeout 60 dd if=/dev/zero of="$1/alive" bs=4K count=1 conv=fsync status=none
}

# place VOLUME: where its first extent is
place() { lvs --noheadings -o devices "$1" | xargs; }

# writers_in DIRECTORY DEVICE: fio on a file there, verifying what it wrote; the device
# is what is under the file system. What overlaps waits, as in writers
writers_in() {
	local before
	F=$2
	before=$(writes_ended)
	fio --name=w --filename="$1/load" --size=4M --rw=randwrite --bs=4k --direct=1 --ioengine=libaio --iodepth=8 \
		--verify=crc32c --verify_backlog=64 --verify_fatal=1 --serialize_overlap=1 --time_based --runtime=600 --output=/tmp/fio.out &
	writers_pid=$!
	wait_for 30 more_writes "$before"
	sleep 0.2
}
