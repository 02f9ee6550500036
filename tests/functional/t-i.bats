#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-I: transactions over several filters. I1 is in tests/torture/pairs.c.
load lib

# Two filters: f over S, g over /dev/ram2. T is for f, /dev/ram3 for g.
G=/dev/mapper/g
two_filters() {
	filter
	dd if=/tmp/fill-s of=/dev/ram2 bs=1M oflag=direct status=none
	dd if=/tmp/fill-t of=/dev/ram3 bs=1M oflag=direct status=none
	make_filter g "${1:-/dev/ram2}"
	nf=$(devno "$F") ng=$(devno "$G")
}
# act FILTER WORD...: an action, as a message has it
act() {
	local filter
	filter=$(devno "/dev/mapper/$1")
	shift
	echo "$filter $# $*"
}
# backups [OPTION...]: the starts of a on f and of b on g
backups() {
	act f backup start a target="$T" sync=full auto_dismiss=0 "$@"
	act g backup start b target=/dev/ram3 sync=full auto_dismiss=0 "$@"
}
on_g() { local FILTER=g; "$@"; }
# txn WORD...
txn() { msg transaction "$@"; }
# show KEY TOKEN
show() {
	local answer
	answer=" $(msg transaction show "$2")" || return 1
	answer=${answer#*" $1="}
	[[ $1 == cause ]] || answer=${answer%% *}
	echo "$answer"
}
no_jobs() { [[ -z $(msg job list; msg job list "$1") ]]; }
none_left() { [[ -z $(msg job list; on_g msg job list) ]]; }
dismiss_both() {
	msg job dismiss a
	on_g msg job dismiss b
	wait_for 60 none_left
}
# All that can be asked about the bitmaps of both.
all_bitmaps() {
	local FILTER name _
	for FILTER in f g; do
		msg bitmap list
		while read -r name _; do
			[[ -z $name ]] || msg bitmap checksum "${name#name=}"
		done <<< "$(msg bitmap list)"
	done
}
all_active() { ! dmsetup info -c --noheadings -o suspended f g | grep -v Active; }

@test "I2 an action fails: no job, no event, no change, whatever came before" {
	two_filters
	msg bitmap add fb
	on_g msg bitmap add gb
	w 0x1 1M 64K
	before=$(all_bitmaps)
	events=$(dmsetup info -c --noheadings -o events f g)
	refused "-2 action 4 on $ng: destination /dev/nothing does not exist" txn token=t 4 \
		$(act f bitmap add new) $(act f bitmap clear fb) \
		$(act f backup start a target="$T" sync=full) $(act g backup start b target=/dev/nothing sync=full)
	none_left
	[ "$(all_bitmaps)" = "$before" ]
	[ "$(dmsetup info -c --noheadings -o events f g)" = "$events" ]
	all_active
	[ "$(show state t)" = aborted ]
	[ "$(show failed_action t) $(show failed_filter t) $(show result t)" = "4 $ng -2" ]
	# the first one's destination is free
	mkfs.ext4 -q "$T"
	# two want the same destination: the later one is refused
	refused "-16 action 2 on $ng: destination $T is in use" txn token=t 2 \
		$(act f backup start a target="$T" sync=full) $(act g backup start b target="$T" sync=full)
	none_left
}

@test "I3 abort restores every bit; without it all of that happens, at once" {
	two_filters
	for b in b1 b2 b3 b4; do msg bitmap add $b; w 0x1 ${b#b}M 64K; done
	msg bitmap disable b4
	on_g msg bitmap add g1
	w 0x2 5M 128K "$G"
	before=$(all_bitmaps)
	actions=(
		$(act f bitmap add b5 granularity=8)
		$(act f bitmap clear b1)
		$(act f bitmap merge b1 b3)
		$(act f bitmap merge b2 "$ng/g1" b4)
		$(act f bitmap enable b4)
		$(act f bitmap disable b2)
		$(act f bitmap remove b3)
		$(act g bitmap clear g1)
		$(act g bitmap add g2 all_dirty)
	)
	refused "-125 action 10 on $ng: 'abort' always fails" txn 10 "${actions[@]}" $(act g abort)
	[ "$(all_bitmaps)" = "$before" ]
	refused "-125 action 1 on $nf" txn 10 $(act f abort) "${actions[@]}"
	[ "$(all_bitmaps)" = "$before" ]
	txn 9 "${actions[@]}"
	[ "$(ranges b1)" = "$(echo 6144 128; echo 8192 128)" ] # what b3 had
	[ "$(count b2)" = 5 ]	# its own three, and two of g1
	[ "$(bitmap recording b2) $(bitmap recording b4) $(bitmap busy b2)" = "0 1 -" ]
	fails bitmap name b3
	has b5 0
	on_g has g1 0
	on_g has g2 256
	w 0x3 9M 4K
	[ "$(count b1) $(count b2) $(count b4) $(count b5)" = "3 5 2 1" ]
	fails msg abort
}

@test "actions see what earlier ones will have done" {
	two_filters
	msg bitmap add b
	w 0x1 1M 64K
	before=$(all_bitmaps)
	refused "action 2 on $nf: bitmap 'n' exists already" txn 2 $(act f bitmap add n) $(act f bitmap add n)
	refused "action 2 on $nf: bitmap 'b' is removed by this transaction" txn 2 $(act f bitmap remove b) $(act f bitmap clear b)
	refused "action 2 on $nf: bitmap 'b' exists already" txn 2 $(act f bitmap remove b) $(act f bitmap add b)
	refused "action 2 on $nf: bitmap 'b' is in use by job 'a'" txn 2 \
		$(act f backup start a target="$T" sync=incremental bitmap=b) $(act f bitmap clear b)
	refused "action 2 on $nf: job 'a' exists already" txn 2 \
		$(act f backup start a target="$T" sync=none) $(act f backup start a target=/dev/ram3 sync=none)
	refused "action 1 on $nf: there is no bitmap 'n'" txn 2 $(act f bitmap clear n) $(act f bitmap add n)
	refused "'abort' always fails" txn 3 $(act f bitmap add n) $(act f bitmap merge n b) $(act f abort)
	[ "$(all_bitmaps)" = "$before" ]
	none_left
	# one that is added can be cleared, merged into, read, and removed
	txn 6 $(act f bitmap add n) $(act f bitmap merge n b) $(act f bitmap add m) $(act f bitmap merge m n) \
		$(act f bitmap clear n) $(act f bitmap remove b)
	has n 0
	has m 1
	txn 2 $(act f bitmap add x) $(act f bitmap remove x)
	fails bitmap name x
	[ "$(wc -l <<< "$(msg bitmap list)")" = 2 ]
}

@test "a checkpoint: merge what records into a new bitmap, and back up by it, in one" {
	two_filters
	dd if=$S of=$T bs=1M iflag=direct oflag=direct status=none
	msg bitmap add old
	w 0x1 1M 64K
	w 0x2 3M 64K
	dmsetup suspend f
	snap ref
	txn 5 $(act f bitmap add tmp disabled) $(act f bitmap merge tmp old) \
		$(act f backup start a target="$T" sync=bitmap bitmap=tmp bitmap_mode=never auto_dismiss=0) \
		$(act f bitmap disable old) $(act f bitmap add new)
	dmsetup resume f
	w 0x3 5M 64K
	finished a
	same ref "$T"
	[ "$(job total a)" = 256 ]
	has old 2
	has new 1
	has tmp 2
	[ "$(bitmap busy tmp)" = - ]
	# one that goes on recording is merged from as it is at the cut
	w 0x4 7M 64K
	txn 2 $(act f bitmap add sum granularity=8 disabled) $(act f bitmap merge sum new)
	w 0x5 9M 64K
	[ "$(count sum)" = 32 ]
	has new 3
	[ "$(bitmap recording new)" = 1 ]
}

# The point in time of job a, of f, is /tmp/snap-a; that of b, of g, is /tmp/snap-b.
both_as_of() {
	local ok
	dmsetup create va --readonly --table "0 $SECTORS backup-view $S $nf a"
	dmsetup create vb --readonly --table "0 $SECTORS backup-view /dev/ram2 $ng b"
	cmp /dev/mapper/va /tmp/snap-a && cmp /dev/mapper/vb /tmp/snap-b && ok=1
	dmsetup remove va
	dmsetup remove vb
	[[ ${ok:-} ]]
}
both_now() {
	snap a "$S"
	snap b /dev/ram2
}
checkpoints() { act f job checkpoint a; act g job checkpoint b; }

@test "checkpoints of two filters: both or none, at one instant" {
	two_filters
	both_now
	txn 2 $(act f backup start a target="$T" sync=none auto_dismiss=0) \
		$(act g backup start b target=/dev/ram3 sync=none auto_dismiss=0)
	w 0xa1 0 1M
	w 0xb1 0 1M "$G"
	both_as_of
	# one that fails leaves all as it was
	refused "action 3 on $ng: 'abort' always fails" txn 3 $(checkpoints) $(act g abort)
	refused "action 2 on $nf: job 'a' ends, or is being moved" txn 2 $(act f job checkpoint a) $(act f job checkpoint a)
	refused 'freeze is an option of the whole' txn 2 $(act f job checkpoint a freeze=0) $(act g job checkpoint b)
	dmsetup create z --table "0 $SECTORS zero"
	refused "job 'c' is created: checkpoint is not possible" \
		txn 2 $(act f backup start c target=/dev/mapper/z sync=none) $(act f job checkpoint c)
	txn token=t prepare 2 $(checkpoints)
	refused "job 'a' ends, or is being moved" msg job checkpoint a
	txn abort t
	both_as_of
	both_now
	txn 2 $(checkpoints)
	w 0xa2 512K 1M
	w 0xb2 512K 1M "$G"
	both_as_of
	# a view that comes between
	txn token=u prepare 2 $(checkpoints)
	dmsetup create v --readonly --table "0 $SECTORS backup-view /dev/ram2 $ng b"
	refused "action 2 on $ng: job 'b' is viewed" txn commit u
	dmsetup remove v
	both_as_of
	# a job that ends between
	txn token=x prepare 2 $(checkpoints)
	on_g msg job cancel b
	FILTER=g finished b 60 cancelled
	refused "action 2 on $ng: job 'b' is" txn commit x
	[ "$(job checkpoints a)" = 1 ]
	# a filter that goes between
	txn token=y prepare 1 $(act f job checkpoint a)
	dmsetup remove f
	dmsetup remove g
}

@test "what is merged between filters is merged in the order of the actions" {
	two_filters
	on_g msg bitmap add z
	w 0x1 1M 64K "$G"
	on_g msg bitmap add w
	w 0x1 2M 64K "$G"
	on_g msg bitmap clear z
	w 0x1 3M 64K "$G"
	on_g msg bitmap disable w # has 2M and 3M
	on_g msg bitmap disable z # has 3M
	# f comes first, and gets what g is merged into before it
	txn 4 $(act f bitmap add t disabled) $(act g bitmap add y disabled) $(act g bitmap merge y z) \
		$(act f bitmap merge t "$ng/y")
	[ "$(ranges t)" = "6144 128" ]
	# g comes first, and f does not get what g is merged into after it
	txn 5 $(act g bitmap add v disabled) $(act f bitmap add u disabled) $(act g bitmap merge v z) \
		$(act f bitmap merge u "$ng/v") $(act g bitmap merge v w)
	[ "$(ranges u)" = "6144 128" ]
	[ "$(on_g count v)" = 2 ]
}

@test "a bitmap that was merged into belongs to a job that is cancelled: nothing is lost" {
	two_filters
	msg bitmap add b
	msg bitmap add other
	w 0x1 1M 64K
	msg bitmap clear b
	txn 2 $(act f bitmap merge b other) \
		$(act f backup start a target="$T" sync=bitmap bitmap=b bitmap_mode=on_success auto_dismiss=0 auto_finalize=0)
	wait_state a pending
	w 0x2 3M 64K
	msg job cancel a
	finished a 60 cancelled
	has b 2
	msg job dismiss a
	wait_for 60 none_left
	on_g msg bitmap add gb
	refused "action 2 on $nf: bitmap 'b': a job can't use it in the transaction that merges it" txn 2 \
		$(act f bitmap merge b "$ng/gb") $(act f backup start a target="$T" sync=bitmap bitmap=b bitmap_mode=never)
	has b 2
	none_left
}

# Job b of g is paused by an error; a of f has nothing to copy.
one_will_fail() { # MODE
	broken o /dev/ram2 8M 64K
	two_filters /dev/mapper/o
	msg bitmap add fb
	on_g msg bitmap add gb
	w 0x1 7M 64K "$G"
	on_g msg bitmap load gb 16384+128
	txn completion_mode=$1 2 \
		$(act f backup start a target="$T" sync=incremental bitmap=fb auto_dismiss=0) \
		$(act g backup start b target=/dev/ram3 sync=incremental bitmap=gb auto_dismiss=0 on_source_error=stop)
	FILTER=g wait_state b paused
	w 0x2 11M 64K "$G"
}
report_it() {
	on_g msg job change b on_source_error=report
	on_g msg job resume b
	FILTER=g finished b 60 error
}

@test "I4 grouped: one fails, the other, which was done, ends as cancelled; then both succeed" {
	one_will_fail grouped
	wait_state a waiting
	w 0x2 9M 64K
	[ "$(state a)" = waiting ]
	report_it
	finished a 60 cancelled
	[ "$(job cause a)" = "job 'b' of its group failed" ]
	has fb 1
	on_g has gb 3
	dismiss_both
	healed o /dev/ram2
	txn completion_mode=grouped 2 \
		$(act f backup start a target="$T" sync=incremental bitmap=fb auto_dismiss=0) \
		$(act g backup start b target=/dev/ram3 sync=incremental bitmap=gb auto_dismiss=0)
	finished a
	FILTER=g finished b
	has fb 0
	on_g has gb 0
}

@test "I5 individual: the other one's success is kept" {
	one_will_fail individual
	finished a
	report_it
	[ "$(job outcome a)" = completed ]
	on_g has gb 3
}

@test "I6 grouped takes starts only" {
	two_filters
	for a in "bitmap add b" "bitmap clear b" "bitmap remove b" "bitmap merge b c" abort; do
		refused "-22 action 2 on $nf: completion_mode=grouped is for starts of jobs only" txn completion_mode=grouped 2 \
			$(act f backup start a target="$T" sync=full) $(act f $a)
	done
	none_left
}

@test "I7 finalize of one finalizes all, cancel of one cancels all" {
	two_filters
	both_pending() { state_is a pending && FILTER=g state_is b pending; }
	txn completion_mode=grouped 2 $(backups auto_finalize=0)
	wait_for 60 both_pending
	on_g msg job finalize b
	finished a
	FILTER=g finished b
	cmp "$S" "$T"
	dismiss_both
	txn completion_mode=grouped 2 $(backups auto_finalize=0)
	wait_for 60 both_pending
	msg job cancel a
	finished a 60 cancelled
	FILTER=g finished b 60 cancelled
	[ "$(on_g job cause b)" = "job 'a' of its group was cancelled" ]
	dismiss_both
	# one wants to be told, so all wait
	txn completion_mode=grouped 2 $(act f backup start a target="$T" sync=full auto_dismiss=0) \
		$(act g backup start b target=/dev/ram3 sync=full auto_dismiss=0 auto_finalize=0)
	wait_for 60 both_pending
	sleep 0.3
	both_pending
	msg job finalize a
	finished a
	FILTER=g finished b
	dismiss_both
	# a job that is running, or paused, goes with the one that is cancelled
	txn completion_mode=grouped 2 $(backups speed=1)
	on_g msg job pause b
	msg job cancel a
	finished a 60 cancelled
	FILTER=g finished b 60 cancelled
}

@test "I8 prepare and clean in order, abort in reverse" {
	two_filters
	events=/sys/kernel/tracing/events/dm_backup
	[ -d $events ] || skip "no tracing"
	echo > /sys/kernel/tracing/trace
	echo 1 > $events/bk_action/enable
	fails txn token=t 3 $(act f bitmap add x) $(act g bitmap add y) $(act g abort)
	txn 2 $(act f bitmap add x) $(act g bitmap add y)
	echo 0 > $events/bk_action/enable
	phases=$(sed -n 's/.*action \([0-9]\) on [0-9:]*: \(.*\)/\2\1/p' /sys/kernel/tracing/trace | tr '\n' ' ')
	[ "$phases" = "prepare1 prepare2 prepare3 abort3 abort2 abort1 clean1 clean2 clean3 prepare1 prepare2 commit1 commit2 clean1 clean2 " ] || { echo "$phases"; false; }
}

@test "I9 the sender is killed at any moment: nothing stays frozen, nothing half done" {
	# Its flush_tlb_mm() can't take the memory of a fork() that a signal ends.
	[[ $(uname -r) != *-uml ]] || skip "user-mode Linux panics when a fork is killed"
	two_filters
	mkfs.ext4 -q "$F"
	mkfs.ext4 -q "$G"
	mkdir -p /mnt/f /mnt/g
	mount "$F" /mnt/f
	mount "$G" /mnt/g
	thawed() { timeout 60 touch /mnt/f/x /mnt/g/x && timeout 60 sync -f /mnt/f/x && timeout 60 sync -f /mnt/g/x; }
	for i in $(seq 0 25 300); do
		quick message f transaction freeze=1 2 $(backups) 2> /dev/null &
		pid=$!
		quick sleep "$i"
		kill -9 $pid 2> /dev/null || true
		wait $pid || true
		thawed
		all_active
		both_or_none() { [[ -z $(msg job list) && -z $(on_g msg job list) ]] || [[ $(state a 2>/dev/null) == concluded && $(on_g job state b 2>/dev/null) == concluded ]]; }
		wait_for 60 both_or_none
		[[ -z $(msg job list) ]] || dismiss_both
	done
	umount /mnt/f /mnt/g
}

@test "one cut of mounted file systems: freeze=1" {
	two_filters
	mkfs.ext4 -q "$F"
	mkdir -p /mnt/f
	mount "$F" /mnt/f
	echo hello > /mnt/f/file
	txn freeze=1 2 $(backups)
	finished a
	FILTER=g finished b
	umount /mnt/f
	fsck.ext4 -fn "$T"
	mount -o ro "$T" /mnt/f
	[ "$(cat /mnt/f/file)" = hello ]
	umount /mnt/f
	dismiss_both
	refused "action 1 on $nf: freeze is an option of the whole transaction" txn 1 \
		$(act f backup start a target="$T" sync=full freeze=1)
	dmsetup suspend g
	refused "-16 action 2 on $ng: the filter is suspended" txn freeze=1 2 $(backups)
	none_left
	dmsetup resume g
}

@test "I10 sequential: one instant, one job at a time" {
	two_filters
	dmsetup suspend f
	dmsetup suspend g
	snap ref
	snap gref /dev/ram2
	txn sequential 2 $(backups speed=1)
	dmsetup resume f
	dmsetup resume g
	first_runs() { (($(job done a) > 0)); }
	wait_for 60 first_runs
	# guests' writes are copied for both
	w 0x1 8M 64K "$G"
	w 0x1 8M 64K
	on_g msg job set_speed b 0
	sleep 0.5
	[ "$(on_g job done b) $(on_g job state b)" = "128 running" ]
	msg job set_speed a 0
	finished a
	FILTER=g finished b
	same ref "$T"
	same gref /dev/ram3
	dismiss_both
	# the turn passes also when the first one fails; sync=none takes none
	dmsetup create z --table "0 $SECTORS zero"
	txn sequential 3 $(act f backup start n target=/dev/mapper/z sync=none auto_dismiss=0) \
		$(act f backup start a target="$T" sync=full speed=1 auto_dismiss=0) \
		$(act g backup start b target=/dev/ram3 sync=full auto_dismiss=0)
	wait_for 60 first_runs
	[ "$(on_g job done b)" = 0 ]
	msg job cancel a
	FILTER=g finished b
	[ "$(state n)" = running ]
}

@test "messages that are wrong are refused, each with its sentence" {
	two_filters
	while IFS='|' read -r why words; do
		# shellcheck disable=SC2086 # words
		refused "$why" txn $words
	done <<-END
		the number of actions is missing|prepare token=x
		'0' is not a number of actions between 1 and 256|0
		'257' is not a number of actions|257 $nf 1 abort
		'1x' is not a number of actions|1x $nf 1 abort
		unknown option 'quick'|quick 1 $nf 1 abort
		completion_mode: 'all' is none of individual grouped|completion_mode=all 1 $nf 1 abort
		completion_mode is given twice|completion_mode=grouped completion_mode=grouped 1 $nf 1 abort
		freeze: 'yes' is none of 0 1|freeze=yes 1 $nf 1 abort
		freeze: the value is missing|freeze 1 $nf 1 abort
		transaction: prepare needs a token|prepare 1 $nf 1 abort
		action 2 of 2 is missing|2 $nf 1 abort
		action 1: 'f' is not a filter's number|1 f 1 abort
		action 1: '1:' is not a filter's number|1 1: 1 abort
		action 1: ':1' is not a filter's number|1 :1 1 abort
		action 1: 'none' is not a number of words|1 $nf none abort
		action 1: '0' is not a number of words|1 $nf 0 abort
		action 1: 3 words are announced, 2 follow|1 $nf 3 bitmap clear
		1 words follow the last action|1 $nf 1 abort more
		-19 action 1 on 9:9: there is no backup filter 9:9|1 9:9 1 abort
		action 1 on $nf: unknown message 'nothing'|1 $nf 1 nothing
		action 1 on $nf: usage: bitmap clear <name>|1 $nf 2 bitmap clear
		action 1 on $nf: 'job list' is no action of a transaction|1 $nf 2 job list
		action 1 on $nf: 'transaction show' is no action|1 $nf 3 transaction show x
		action 1 on $nf: '-' is no name of a bitmap|1 $nf 3 bitmap add -
		action 2 on $nf: there is no backup filter 9:9|2 $nf 3 bitmap add b $nf 4 bitmap merge b 9:9/x
		there is no transaction 'no'|show no
		there is no transaction 'no'|commit no
		there is no transaction 'no'|abort no
		usage: transaction show <token>|show
	END
	[ -z "$(all_bitmaps)" ]
	none_left
	# as many as there may be
	words=()
	for i in $(seq 256); do words+=("$nf" 3 bitmap add b$i); done
	txn 256 "${words[@]}"
	[ "$(msg bitmap list | wc -l)" = 256 ]
}

@test "prepare, show, commit, abort" {
	two_filters
	msg bitmap add b
	w 0x1 1M 64K
	txn token=t1 prepare 3 $(act f bitmap clear b) $(act g bitmap add n) $(act f backup start a target="$T" sync=full auto_dismiss=0)
	[ "$(show state t1)" = prepared ]
	[ "$(state a)" = created ]
	has b 1
	[ "$(bitmap busy b)" = transaction ]
	[ -z "$(on_g msg bitmap list)" ]
	refused "there is a transaction 't1' already" txn token=t1 1 $(act f abort)
	refused "in use by job 'transaction'" msg bitmap clear b
	on_g refused "bitmap 'n' exists already" msg bitmap add n
	w 0x2 2M 64K
	on_g msg transaction commit t1	# any filter will do
	[ "$(show state t1) $(show result t1) $(show cause t1)" = "committed 0 " ]
	has b 0
	[ "$(on_g bitmap busy n)" = - ]
	finished a
	is 0x2 2M 64K "$T"		# the cut was at the commit
	refused "'t1' is committed: commit is not possible" msg transaction commit t1
	refused "'t1' is committed: abort is not possible" msg transaction abort t1
	msg job dismiss a
	wait_for 60 none_left
	w 0x1 1M 64K
	txn token=t2 prepare 2 $(act f bitmap clear b) $(act f backup start a target="$T" sync=full)
	msg transaction abort t2
	[ "$(show state t2) $(show result t2) $(show cause t2)" = "aborted -125 transaction: aborted" ]
	has b 1
	none_left
	mkfs.ext4 -q "$T"
	# a job that is cancelled meanwhile
	txn token=t2 prepare 1 $(act f backup start a target="$T" sync=full)
	msg job cancel a
	wait_for 60 none_left
	refused "-125 action 1 on $nf: cancelled" msg transaction commit t2
	[ "$(show state t2)" = aborted ]
}

@test "one that is prepared and forgotten is aborted after 30 s; 32 outcomes are kept" {
	two_filters
	msg bitmap add b
	w 0x1 1M 64K
	txn token=t prepare 2 $(act f bitmap clear b) $(act g backup start b target=/dev/ram3 sync=full)
	for i in $(seq 40); do txn token=t$i 1 $(act f bitmap add x$i) && msg bitmap remove x$i; done
	refused 'there is no transaction' msg transaction show t8
	[ "$(show state t9)" = committed ]
	expired() { [[ $(show state t) == aborted ]]; }
	wait_for 120 expired
	[ "$(show result t) $(show cause t)" = "-62 transaction: not committed in time" ]
	has b 1
	[ "$(bitmap busy b)" = - ]
	none_left
}

@test "participants that are suspended, reloaded, removed or cut short between prepare and commit" {
	two_filters
	msg bitmap add b
	on_g msg bitmap add b
	w 0x1 1M 64K "$G"
	prepared() { txn token=t prepare 3 $(act g bitmap clear b) $(act f bitmap add n) $(act f backup start a target="$T" sync=full auto_dismiss=0); }
	# suspended, and reloaded with the same: no reason to fail
	prepared
	dmsetup suspend g
	dmsetup reload f --table "0 $SECTORS backup $S"
	dmsetup resume f
	msg transaction commit t
	dmsetup resume g
	finished a
	on_g has b 0
	msg job dismiss a
	wait_for 60 none_left
	msg bitmap remove n
	# shorter
	w 0x1 1M 64K "$G"
	prepared
	dmsetup reload g --table "0 $((SECTORS / 2)) backup /dev/ram2"
	dmsetup resume g
	refused "action 1 on $ng: the length of the device has changed" msg transaction commit t
	none_left
	fails bitmap name n
	# gone
	on_g msg bitmap remove b
	on_g msg bitmap add b
	prepared
	timeout 60 dmsetup remove g
	refused "action 1 on $ng: the filter is going away" msg transaction commit t
	[[ -z $(msg job list) ]]
	fails bitmap name n
	# all gone, and the module too
	txn token=t prepare 2 $(act f bitmap add n) $(act f backup start a target="$T" sync=full)
	timeout 60 dmsetup remove f
	wait_for 60 module_idle
	rmmod dm_backup
	insmod "$build/dm_backup.ko"
}

@test "writes from before the last cut do not end: the next is refused, and changes nothing" {
	slow s /dev/ram2 0 600000
	two_filters /dev/mapper/s
	on_g msg bitmap add b
	w 0x1 8M 4K "$G" &
	on_g wait_for 60 in_flight_g
	msg bitmap add f1
	txn token=t 2 $(act f bitmap add f2) $(act g bitmap clear b) # is made, and does not drain
	[ "$(show state t)" = committing ]
	[ "$(on_g bitmap dirty b)" = 0 ]
	refused "-110 action 2 on $ng: writes from before the last start are still in flight" txn 2 \
		$(act f bitmap clear f1) $(act g bitmap clear b)
	bitmap name f2
	slow_set s /dev/ram2 0 0
	wait
	committed() { [[ $(show state t) == committed ]]; }
	wait_for 60 committed
	on_g has b 1	# it ended after the cut
}
in_flight_g() { local F=$G; in_flight; }

@test "two transactions at once come one after the other" {
	two_filters
	msg bitmap add b
	on_g msg bitmap add b
	worker() { # NR
		local i
		for i in 1 2 3 4 5 6 7 8; do
			txn token=w$1 4 $(act f bitmap add n$1) $(act g bitmap clear b) $(act f bitmap clear b) $(act f bitmap merge n$1 b) || return 1
			txn token=w$1 2 $(act f bitmap disable n$1) $(act f bitmap remove n$1) || return 1
		done
	}
	WRITERS_IOPS=200 writers
	pids=()
	for n in 1 2 3; do worker $n & pids+=($!); done
	for p in "${pids[@]}"; do wait "$p"; done
	writers_end
	[ "$(msg bitmap list | wc -l)" = 1 ]
	[ "$(bitmap busy b)" = - ]
}

@test "cuts while other participants are suspended, reloaded and removed, under load" {
	two_filters
	make_filter h /dev/ram3
	nh=$(devno /dev/mapper/h)
	dmsetup remove h # its number is free again
	WRITERS_IOPS=300 writers
	touch /tmp/go
	suspends() { while [[ -e /tmp/go ]]; do suspend-loop g 10; done; }
	reloads() { while [[ -e /tmp/go ]] && quick sleep 20; do dmsetup reload g --table "0 $SECTORS backup /dev/ram2" && dmsetup resume g; done; }
	comes_and_goes() { while [[ -e /tmp/go ]]; do make_filter h /dev/ram3; quick sleep 30; dmsetup remove h; done; }
	pids=()
	for loop in suspends reloads comes_and_goes; do
		$loop > /dev/null 2>&1 3>&- &
		pids+=($!)
	done
	good=0
	msg bitmap add b
	for i in $(seq 40); do
		txn token=t 4 $(act f bitmap clear b) $(act g bitmap add x$i) "$nh" 3 bitmap add x \
			$(act f backup start j target="$T" sync=full speed=1) 2> /dev/null && good=$((good + 1)) || true
		txn token=u completion_mode=grouped 2 $(act f backup start k target="$T" sync=none) \
			"$nh" 5 backup start k target=/dev/ram1 sync=none 2> /dev/null || true
		txn 2 $(act f bitmap clear b) $(act g bitmap add y$i)
		msg job cancel j force 2> /dev/null || true
		wait_for 60 msg_has_none
	done
	rm /tmp/go
	wait "${pids[@]}" || true
	echo "# $good of 40 with the filter that comes and goes" >&3
	dmsetup resume g
	writers_end
	[ "$(bitmap busy b)" = - ]
	[ "$(on_g msg bitmap list | grep -c name=y)" = 40 ]
}
msg_has_none() { [[ -z $(msg job list) ]]; }
