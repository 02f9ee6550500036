# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# What tests of mirrors share.

# mirror ID [OPTION...]: of all of F to $TARGET, or T
mirror() {
	local id=$1
	shift
	msg mirror start "$id" target="${TARGET:-$T}" sync=full auto_dismiss=0 "$@" || return
	wait_for 60 is_started "$id"
}
is_started() { ! state_is "$1" created; }
synced() { [[ $(job synced "$1") == 1 ]]; }
withdrawn() { [[ $(job synced "$1") == 0 ]]; }
same_as() { quick same "$1" "$2"; }
no_jobs() { [[ -z $(msg job list) ]]; }
at_rest() { state_is "$1" paused || state_is "$1" standby; }

# A filter that can't do REQ_NOWAIT, as few destinations of dm's can; its origin
# is /dev/mapper/s. flaky NAME [DEV]: a device that is well, until ill NAME [DEV].
plain_filter() {
	slow s "$S" 0 0
	make_filter f /dev/mapper/s
}
flaky() { dmsetup create "$1" --table "0 $SECTORS flakey ${2:-$T} 0 1000 0"; }
ill() {
	dmsetup load "$1" --table "0 $SECTORS flakey ${2:-$T} 0 0 1000 1 error_writes"
	dmsetup resume --noflush "$1"
}
well() {
	dmsetup load "$1" --table "0 $SECTORS flakey ${2:-$T} 0 1000 0"
	dmsetup resume --noflush "$1"
}
dismiss() {
	msg job dismiss "$1"
	wait_for 10 no_jobs
}

# onto DEV: the table over the new origin, as a pivot wants it
onto() {
	dmsetup load f --table "0 $SECTORS backup $1"
	dmsetup resume f
}
# refused_load REGEX TABLE: f does not take it, and this is why
refused_load() {
	run dmsetup load f --table "$2"
	[[ $status != 0 ]] || { echo "was taken: $2"; return 1; }
	quick log | tail -n 5 | grep -E "$1" || { quick log | tail -n 5; return 1; }
}
origin_is() { [[ $(dmsetup table f) == "0 $SECTORS backup $(devno "$1")" ]]; }
