#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# The utility is killed at random points of what it does: at a system call, before
# it or after it, or a little after it began. Whatever the point: no device stays
# suspended, no file system frozen, and all can be put in order by the commands.
# A seed is printed; with KILL_SEED=N the points are the same again.
load lib
load volumes

setup_file_seed() {
	KILL_SEED=${KILL_SEED:-$((RANDOM * 32768 + RANDOM))}
	echo "# KILL_SEED=$KILL_SEED, ${KILL_POINTS:=100} points" >&3
	RANDOM=$KILL_SEED
}

# points OF: sets $points to that part of all
points() { points=$((KILL_POINTS * $1 / 100)); }

# count COMMAND...: sets $calls
count_calls() { calls=$(kill-at count "$@" 2> /dev/null | tail -n 1) && [[ $calls -gt 0 ]]; }

# kill_somewhere COMMAND...: says where, in $point
kill_somewhere() {
	local when=(before after "$((RANDOM % 1000))" "$((RANDOM * 2))")
	point="$((1 + RANDOM % calls)) ${when[RANDOM % 4]}"
	echo "point: $point: $*"
	# shellcheck disable=SC2086 # words
	kill-at $point "$@" > /dev/null 2>&1 || [[ $? == 3 ]]
}

# Nothing suspended, nobody at work on what was begun, both file systems writable.
all_is_well() {
	local lock
	wait_for 60 none_suspended
	for lock in /run/dmbackup/*.lock; do
		flock -w 60 "$lock" true
	done
	none_suspended
	writable /mnt/a
	writable /mnt/b
}
types() { dmsetup table "$1" | cut -d' ' -f3 | sort -u | xargs; }

# Whatever state v/a is in, it can be got to have a filter, or none.
to_filter() { [[ $(types v-a) == backup ]] || dmbackup attach v/a; }
to_none() {
	[[ $(types v-a) != linear ]] || return 0
	[[ $(types v-a) == backup ]] || dmbackup attach v/a
	dmbackup detach v/a
}

@test "attach is killed at a third of the points" {
	setup_file_seed
	two_volumes
	before=$(dmsetup table v-a)
	count_calls dmbackup attach v/a
	dmbackup detach v/a
	points 33
	for ((i = 0; i < points; i++)); do
		kill_somewhere dmbackup attach v/a
		all_is_well
		to_filter
		to_none
		[ "$(dmsetup table v-a)" = "$before" ]
		absent dmsetup info v-a-bkreal
	done
	umount /mnt/a
	e2fsck -fn /dev/v/a
}

@test "detach is killed at a third of the points" {
	setup_file_seed
	two_volumes
	before=$(dmsetup table v-a)
	dmbackup attach v/a
	count_calls dmbackup detach v/a
	points 33
	for ((i = 0; i < points; i++)); do
		to_filter
		kill_somewhere dmbackup detach v/a
		all_is_well
		to_none
		[ "$(dmsetup table v-a)" = "$before" ]
		absent dmsetup info v-a-bkreal
	done
	umount /mnt/a
	e2fsck -fn /dev/v/a
}

no_jobs() {
	local lv id
	for lv in v/a v/b; do
		for id in $(jobs_of $lv); do
			dmbackup job cancel $lv "$id" --force 2> /dev/null || dmbackup job dismiss $lv "$id" 2> /dev/null || true
		done
		[[ -z $(jobs_of $lv) ]] || return 1
	done
}

@test "a group backup is killed at a third of the points" {
	setup_file_seed
	two_volumes
	copies
	attached
	count_calls dmbackup backup v/a v/b --to-vg w --level full --speed 8M
	points 34
	for ((i = 0; i < points; i++)); do
		kill_somewhere dmbackup backup v/a v/b --to-vg w --force --level auto --speed 8M
		all_is_well
		wait_for 120 no_jobs
	done
	# and then one that is let be
	dmbackup backup v/a v/b --to-vg w --force --level auto
	e2fsck -fn /dev/w/a
	e2fsck -fn /dev/w/b
	dmbackup detach v/a --force
	dmbackup detach v/b --force
	umount /mnt/a /mnt/b
	e2fsck -fn /dev/v/a
	e2fsck -fn /dev/v/b
}
