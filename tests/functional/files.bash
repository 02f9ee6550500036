# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# What tests of metadata devices share: an origin and a metadata device that are files,
# so that a crash can be had by keeping copies.

# The origin has eight regions of 32 MiB; files, so that a test can keep copies.
MB=256
SECTORS=$((MB * 2048))

prefill() {
	rm -f /tmp/[om]*.img
	truncate -s ${MB}M /tmp/o.img
	truncate -s 4M /tmp/m.img
	dmbackup metadata create /tmp/m.img --size ${MB}M
	attach_files o m
}

# attach_files ORIGIN METADATA: as $o and $m. A loop device goes on counting its
# writes when it gets another file; a new dm device begins at 0, as all do after
# a boot.
attach_files() {
	m=$(losetup -f --show "/tmp/$2.img")
	origin "$1"
}
origin() { # ORIGIN
	loop=$(losetup -f --show "/tmp/$1.img")
	dmsetup create o --table "0 $(quick sectors "$loop") linear $loop 0"
	o=/dev/mapper/o
}
no_origin() {
	dmsetup remove o
	losetup -d "$loop"
}
# After a crash nothing but the test tells of contents without a file system.
up() { make_filter f "$o" metadata "$m" after_crash trust "$@"; }
down() { dmsetup remove f; }
# keep NAME: what would be there after a power cut at this instant
keep() {
	sync /tmp/o.img /tmp/m.img
	cp --sparse=always /tmp/o.img "/tmp/o-$1.img"
	cp --sparse=always /tmp/m.img "/tmp/m-$1.img"
}
# reboot NAME: what was kept, after the power came back
reboot() {
	! dmsetup info f > /dev/null 2>&1 || down
	dmsetup remove o
	losetup -D
	wait_for 5 module_idle
	rmmod dm_backup
	insmod "$build/dm_backup.ko"
	attach_files "o-$1" "m-$1"
}
ok() { [[ $(bitmap inconsistent "$1") == 0 ]] || { bitmap cause "$1"; return 1; }; }
bad() { # NAME REGEX
	local cause
	[[ $(bitmap inconsistent "$1") == 1 ]] || { echo "$1 is trusted"; return 1; }
	cause=$(bitmap cause "$1")
	[[ $cause =~ $2 ]] || { echo "inconsistent for another reason: $cause"; return 1; }
}
region() { echo "$(($1 * 32))M"; }
# metadata WORD: of its group in the status line
metadata() {
	local f
	read -r -a f <<< "$(quick status f)"
	case $1 in
	state) echo "${f[-4]}" ;;
	hot) echo "${f[-3]}" ;;
	esac
}
# all that differs between two files is dirty
covers() { ranges "$1" | quick covered "$2" "$3"; }
# poke FILE OFFSET BYTES(printf)
poke() { printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
