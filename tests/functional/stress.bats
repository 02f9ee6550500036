#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# M10: what file systems do, all of it, while one backup follows another.
SIZE_MB=320
load lib

# Each on its own, for a few seconds, by two processes: what is hard on a file system.
STRESSORS=(access aiol chmod chown copy-file dentry dir dirdeep dirmany dup fallocate fiemap file-ioctl
	filename flock fpunch fsize fstat getdent hdd inode-flags iomix link locka mknod
	open readahead rename revio seek sendfile symlink sync-file touch utime verity xattr)

# Backups, one after the other, until /tmp/go is gone. What the last one made is on T.
backups() {
	n=0
	while [[ -e /tmp/go ]]; do
		msg backup start j target="$T" sync=full freeze=1 auto_dismiss=0 || return 1
		finished j 300 || return 1
		"$@" || return 1
		msg job dismiss j
		wait_for 60 no_jobs
		n=$((n + 1))
	done
	echo "# $n backups" >&3
	((n > 2))
}
no_jobs() { [[ -z $(msg job list) ]]; }

# stressed CHECK...: all stressors on /mnt/m; each backup passes CHECK
stressed() {
	touch /tmp/go
	backups "$@" > /tmp/backups.out 2>&1 &
	local pid=$! s
	for s in "${STRESSORS[@]}"; do
		stress-ng --temp-path /mnt/m --"$s" 2 --timeout 4s --verify --oomable > /tmp/stress.out 2>&1 ||
			[[ $? == 3 || $? == 4 ]] || { echo "$s:"; cat /tmp/stress.out; return 1; } # 3, 4: not to be had here
		[[ -e /tmp/go ]] || return 1
	done
	rm /tmp/go
	wait "$pid" || { cat /tmp/backups.out; return 1; }
	umount /mnt/m
}

# What was open and had no name at the cut goes, as at any mount; then nothing is wrong.
ext4_is_whole() {
	local rc=0
	e2fsck -p "$T" || rc=$?
	((rc < 4)) && e2fsck -fn "$T"
}
xfs_is_whole() {
	mkdir -p /mnt/t
	mount -o nouuid "$T" /mnt/t && umount /mnt/t && xfs_repair -n "$T"
}

@test "M10 ext4" {
	filter
	mkfs.ext4 -q "$F"
	mkdir -p /mnt/m
	mount "$F" /mnt/m
	stressed ext4_is_whole
	e2fsck -fn "$F"
	cmp "$S" "$F"
}

@test "M10 xfs" {
	filter
	mkfs.xfs -q -f "$F"
	mkdir -p /mnt/m
	mount "$F" /mnt/m
	stressed xfs_is_whole
	xfs_repair -n "$F"
	cmp "$S" "$F"
}
