#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# A destination on the network: the kernel's NBD client, and Debian's nbd-server. What
# dm-backup.rst says under "Over a network", and the commands of README.md.
load lib
load mirrors
load volumes

NBD=/dev/nbd0
CONF=/tmp/nbd.conf
EXPORT=/tmp/nbd-export
ORIGIN=/tmp/nbd-origin

setup() {
	set +T
	declare -ft "$BATS_TEST_NAME"
	quick log clear
	echo "test: $BATS_TEST_NAME" > /dev/kmsg
	prefill
	mkdir -p /mnt/a
	modprobe nbd nbds_max=1
	rm -f $EXPORT $ORIGIN
	truncate -s "${SIZE_MB}M" $EXPORT $ORIGIN
	# as disks do, it can discard and write zeroes
	o=$(losetup -f --show $ORIGIN)
	exports true
	server_up
}

teardown() {
	server_up
	# what the server has never answered would not end
	nbd-client -d $NBD > /dev/null 2>&1 || true
	remove_all || return 1
	disconnect
	server_down
	! splats
}

exports() { # TRIM
	cat > $CONF <<-END
		[generic]
			listenaddr = 127.0.0.1
		[volume]
			exportname = $EXPORT
			flush = true
			fua = true
			trim = $1
	END
}
listening() { (: < /dev/tcp/127.0.0.1/10809) 2> /dev/null; }
server_up() {
	pkill -CONT -x nbd-server || true
	listening || nbd-server -C $CONF > /tmp/nbd-server.out 2>&1 3>&-
	wait_for 30 listening
}
# Its process dies: the connection ends.
server_down() {
	pkill -9 -x nbd-server || true
	wait_for 30 absent pgrep -x nbd-server
}
# As when the network is cut: nothing comes back, and nothing ends.
server_silent() { pkill -STOP -x nbd-server; }

connected() { [[ $(quick sectors $NBD) == $((SIZE_MB * 2048)) ]]; }
connect() {
	nbd-client -N volume 127.0.0.1 $NBD 3>&-
	wait_for 30 connected
}
# The same, by a client that connects again when it has to
connect_for_good() {
	qemu-nbd --fork --connect=$NBD --discard=unmap --image-opts \
		driver=nbd,server.type=inet,server.host=127.0.0.1,server.port=10809,export=volume,reconnect-delay=3600 3>&-
	wait_for 30 connected
}
disconnect() {
	nbd-client -d $NBD > /dev/null 2>&1 || true
	wait_for 30 absent pgrep -x qemu-nbd
	wait_for 30 disconnected
}
disconnected() { [[ ! -e /sys/block/nbd0/pid && $(quick sectors $NBD) == 0 ]]; }

go_on() {
	local before
	before=$(writes_ended)
	wait_for 60 more_writes "$before"
}
is_late() { (($(job late "$1") > 0)); }
failing() { (($(job errors "$1") > 0)); }

# onto DEV: as mirrors.bash has it. The client of older kernels can't write zeroes.
onto() {
	dmsetup load f --table "0 $SECTORS backup $1 2 write_zeroes off"
	dmsetup resume f
}
is_origin() { [[ $(dmsetup table f) == "0 $SECTORS backup $(devno "$1") "* ]]; }
# F, with a mounted file system that is written to all the time
mounted_filter() {
	make_filter f "$o" write_zeroes off
	mkfs.ext4 -q $F
	mount $F /mnt/a
	writers_in /mnt/a $F
}
complete_to() { # DEV
	msg job complete m
	finished m 120
	is_origin "$1"
	onto "$1"
	dismiss m
	go_on
}
whole() {
	writers_end
	umount /mnt/a
	e2fsck -fn $F
}

@test "a mounted volume moves to a disk over NBD and back, with writers all the time" {
	mkdir -p $LVM_SYSTEM_DIR
	cat > $LVM_SYSTEM_DIR/lvm.conf <<-END
		devices { use_devicesfile = 0 scan = [ "/dev" ] }
		activation { monitoring = 0 }
		backup { backup_dir = "/tmp/dmbackup-lvm" archive = 0 }
	END
	vgcreate -qq -s 1M -y v "$o"
	lvcreate -qq -y -Wy -n a -L 12M v
	mkfs.ext4 -q /dev/v/a
	mount /dev/v/a /mnt/a
	connect_for_good # as README.md does
	vgextend -qq -y v $NBD
	lvcreate -qq -y -Wy -n new -L 12M v $NBD
	dmbackup attach v/a --no-write-zeroes
	writers_in /mnt/a /dev/mapper/v-a
	says 0 'v/a has moved to the place of v/new' dmbackup mirror v/a --to v/new --pivot
	[ "$(place v/a)" = "$NBD(0)" ]
	go_on
	# it waits for the server now, and loses nothing
	server_down
	sleep 1
	server_up
	go_on
	lvchange -qq -ay -K v/new
	says 0 'v/a has moved to the place of v/new' dmbackup mirror v/a --to v/new --pivot --force
	[ "$(place v/a)" = "$o(0)" ]
	go_on
	writers_end
	dmbackup detach v/a
	lvremove -qq -y v/new
	vgreduce -qq v $NBD
	umount /mnt/a
	e2fsck -fn /dev/v/a
}

@test "the server dies and comes back, in each mode and policy: writers go on, and it is mirrored anew" {
	local mode policy
	mounted_filter
	for mode in background write_blocking; do
		for policy in report stop ignore; do
			connect
			to $NBD mirror m copy_mode=$mode on_target_error=$policy cbw_timeout=1000
			wait_state m ready 120
			server_down
			go_on
			# what it had not answered waits for this
			nbd-client -d $NBD
			go_on
			case $policy in
			report) finished m 60 error ;;
			stop) wait_state m standby ;;
			ignore) wait_for 60 failing m && withdrawn m ;;
			esac
			[[ $policy == report ]] || {
				msg job cancel m force
				finished m 60 cancelled
			}
			dismiss m
			go_on
			server_up
			disconnect
		done
	done
	connect
	to $NBD mirror m
	wait_state m ready 120
	complete_to $NBD
	to "$o" mirror m
	wait_state m ready 120
	complete_to "$o"
	whole
}

@test "the network is cut and comes back, in each mode: no error, and it goes on; then it is the origin's" {
	local mode
	mounted_filter
	for mode in background write_blocking; do
		connect
		to $NBD mirror m copy_mode=$mode cbw_timeout=1000
		wait_state m ready 120
		server_silent
		go_on
		[[ $mode == background ]] || wait_for 60 is_late m
		go_on
		[[ $(state m) == ready && $(job errors m) == 0 ]]
		server_up
		wait_for 120 synced m
		complete_to $NBD
		server_silent
		sleep 1
		server_up
		go_on
		to "$o" mirror m
		wait_state m ready 120
		complete_to "$o"
		disconnect
	done
	whole
}

@test "a client that connects again: the server is stopped and restarted, before and after the pivot" {
	local mode
	mounted_filter
	for mode in background write_blocking; do
		connect_for_good
		to $NBD mirror m copy_mode=$mode cbw_timeout=1000
		wait_state m ready 120
		server_down
		go_on
		[[ $mode == background ]] || wait_for 60 is_late m
		go_on
		server_up
		wait_for 120 synced m
		[[ $(job errors m) == 0 ]]
		complete_to $NBD
		server_down
		sleep 1
		server_up
		go_on
		to "$o" mirror m
		wait_state m ready 120
		complete_to "$o"
		disconnect
	done
	whole
}

@test "what an export must be able to do" {
	make_filter f "$o"
	server_down
	exports false
	server_up
	connect
	refused "can't discard, the filter can" to $NBD mirror m
	disconnect
	server_down
	exports true
	server_up
	connect
	dmsetup load f --table "0 $SECTORS backup $o 2 write_zeroes off"
	dmsetup resume f
	to $NBD mirror m
	wait_state m ready 120
	msg job complete m
	finished m 120
	w 0x5a 3M 64K
	is 0x5a 3M 64K $NBD
	blkdiscard -o 4194304 -l 65536 $F
}
