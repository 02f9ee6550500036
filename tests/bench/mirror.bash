# SPDX-License-Identifier: GPL-2.0-only
# What keeps a second copy in step, beside what else does: for icount and peers. A kind is one of
#   linear      no copy: S behind dm-linear
#   background  our mirror; small: the same, of granules of 4 KiB
#   blocking    the same, copy_mode=write_blocking
#   raid1       dm-raid1: pvmove, lvcreate --type mirror
#   raid        dm-raid with md's raid1: lvcreate --type raid1, lvconvert -m1
# The peers have regions of 2 MiB and raid a device each for its metadata, as LVM
# makes them. md is told not to spare the disks, or it would hardly copy at all beside
# writers.

device() { # KIND
	case $1 in
	linear | raid1 | raid) echo "/dev/mapper/$1" ;;
	*) echo "$F" ;;
	esac
}

raid1_table() { echo "0 $SECTORS mirror core $((1 + $#)) 4096 $* 2 $S 0 $T 0"; }
raid_table() {
	echo "0 $SECTORS raid raid1 $((7 + $#)) 0 region_size 4096 min_recovery_rate 4000000 max_recovery_rate 4000000 $*" \
		"2 /dev/mapper/meta0 $S /dev/mapper/meta1 $T"
}

# before KIND: there, and what is to be in step counts as such; copying has not begun
before() {
	local i
	case $1 in
	raid1) dmsetup create raid1 --table "$(raid1_table nosync)" ;;
	raid)
		for i in 0 1; do
			dmsetup create meta$i --table "0 8192 linear /dev/ram2 $((i * 8192))"
		done
		dd if=/dev/zero of=/dev/ram2 bs=1M count=8 oflag=direct status=none
		dmsetup create raid --table "$(raid_table nosync)"
		;;
	esac
}

# begin KIND: copy all
begin() {
	case $1 in
	background) mirror_start ;;
	small) mirror_start granularity=8 ;;
	blocking) mirror_start copy_mode=write_blocking ;;
	raid1) again raid1 "$(raid1_table)" ;;
	raid) again raid "$(raid_table rebuild 1)" ;;
	esac
}
mirror_start() { msg mirror start m target="$T" sync=full auto_dismiss=0 "$@"; }
again() { dmsetup load "$1" --table "$2" && dmsetup resume "$1"; }

# in_step KIND: is all copied?
in_step() {
	local line f
	case $1 in
	background | small | blocking) state_is m ready ;;
	*)
		quick -v line status "$1"
		read -r -a f <<< "$line"
		case $1 in
		# START LENGTH mirror 2 DEV DEV SYNCED/REGIONS 1 HEALTH ...
		raid1) [[ ${f[6]%/*} == "${f[6]#*/}" ]] ;;
		# START LENGTH raid raid1 2 HEALTH SYNCED/SECTORS ACTION ...
		raid) [[ ${f[5]} == AA && ${f[6]%/*} == "${f[6]#*/}" && ${f[7]} == idle ]] ;;
		esac
		;;
	esac
}

# copy_all KIND: from the beginning until it is in step
copy_all() { begin "$1" && soon in_step "$1"; }

after() { # KIND
	case $1 in
	background | small | blocking)
		# With force nobody waits until the destination is closed.
		msg job cancel m
		wait_state m concluded
		drop m
		;;
	raid1) dmsetup remove --retry raid1 ;;
	raid)
		dmsetup remove --retry raid
		dmsetup remove meta0
		dmsetup remove meta1
		;;
	esac
}

# late_disks COMMAND...: with the origin and the destination on disks that take 2 ms
# for whatever they are sent
late_disks() {
	local i S T
	dmsetup remove f
	dmsetup remove linear
	late_disk origin
	S=$disk
	late_disk target
	T=$disk
	fill "$S"
	fill "$T"
	dmsetup create linear --table "0 $SECTORS linear $S 0"
	filter
	"$@"
	dmsetup remove f
	dmsetup remove linear
	for i in origin target; do rmdir /sys/kernel/config/nullb/$i; done
	S=/dev/ram0
	dmsetup create linear --table "0 $SECTORS linear $S 0"
	filter
}
late_disk() { # NAME: its path goes to $disk
	local dir=/sys/kernel/config/nullb/$1 a
	modprobe null_blk nr_devices=0
	mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config
	mkdir "$dir"
	for a in size=$SIZE_MB memory_backed=1 irqmode=2 completion_nsec=2000000 power=1; do
		echo "${a#*=}" > "$dir/${a%%=*}"
	done
	disk=/dev/nullb$(<"$dir/index")
	[[ -b $disk ]] || disk=/dev/$1 # 6.12 names it after the directory
	wait_for 5 test -b "$disk"
}

# --- writes while all is in step ----------------------------------------------

bench_mirror() {
	local kind
	value mirror.writes "$WRITES"
	steady mirror.warm "$L"
	for kind in linear background small blocking raid1 raid; do
		before $kind
		# Both kinds of raid are in step from the first.
		[[ $kind == raid* ]] || copy_all $kind
		cost "mirror.$kind.total" steady "mirror.$kind" "$(device $kind)"
		after $kind
	done
	late_disks late_writes
}
late_writes() {
	local kind
	for kind in linear background blocking raid1 raid; do
		before $kind
		[[ $kind == raid* ]] || copy_all $kind
		WRITES=1000 steady "mirror.late.$kind" "$(device $kind)"
		after $kind
	done
}

# --- how much it costs until all is in step, and how long that takes --------------

copy_dd() { dd if="$S" of="$T" bs=1M iflag=direct oflag=direct status=none; }

bench_resync() {
	local kind
	value resync.mib "$SIZE_MB"
	copy_dd
	cost resync.dd copy_dd
	for kind in background blocking raid1 raid; do
		before $kind
		LOOK=50 cost "resync.$kind" copy_all $kind
		after $kind
	done
}

bench_converge() {
	all_beside converge.loaded 5000
	# Of as few writes as these are only the median and the greatest are of use.
	LEAST=1 late_disks all_beside converge.late 200
}
all_beside() { # NAME RATE
	local kind
	for kind in background blocking raid1 raid; do
		beside "$1.$kind" $kind "$2"
	done
}

# beside NAME KIND RATE: how long, and what RATE writes a second feel meanwhile, which
# come before all others on their CPU
beside() {
	local from to
	before "$2"
	GUEST=$(device "$2") guest "$3" chrt -f 50
	from=$(now_us)
	copy_all "$2"
	to=$(now_us)
	guest_end
	latencies $((from / 1000)) $((to / 1000)) "$1"
	value "$1.ms" "$(awk -v us=$((to - from)) 'BEGIN { print us / 1000 }')"
	after "$2"
}
