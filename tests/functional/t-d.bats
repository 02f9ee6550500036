#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# T-D: dirty bitmaps.
load lib

all() { echo $((SECTORS / 128)); }
incremental() { # ID BITMAP [OPTION...]
	local id=$1 b=$2
	shift 2
	msg backup start "$id" target="${TARGET:-$T}" sync=incremental bitmap="$b" auto_dismiss=0 "$@"
}
# S and T hold the same; what the page cache has of them may be old
equal() {
	blockdev --flushbufs "$S" "$T"
	cmp "$S" "$T"
}
done_with() { msg job dismiss "$1" && wait_for 5 no_jobs; }
no_jobs() { [[ -z $(msg job list) ]]; }

@test "D1 what is written is dirty, and nothing else" {
	filter
	msg bitmap add b
	has b 0
	[ "$(bitmap granularity b)" = 128 ]
	[ "$(bitmap total b)" = "$SECTORS" ]
	[ "$(bitmap recording b)" = 1 ]
	w 1 0 512
	has b 1
	[ "$(ranges b)" = "0 128" ]
	w 1 $((2 * 65536 - 512)) 1024
	has b 3
	[ "$(ranges b)" = "0 384" ]
	w 2 0 64K
	has b 3
	dd if=$F of=/dev/null bs=1M iflag=direct status=none
	sync $F
	has b 3
	w 3 $((SIZE_MB * 1048576 - 512)) 512
	[ "$(ranges b)" = "0 384
$((SECTORS - 128)) 128" ]
	dmsetup status f | grep " 1 b 128 512/$SECTORS recording 0 "
}

@test "A12 D1 granularities from a sector to 2 GiB, and none else" {
	filter
	for g in 0 3 127 8388608 x ''; do
		refused 'granularity: ' msg bitmap add b granularity=$g
	done
	for g in 1 8 2048 65536 4194304; do
		msg bitmap add g$g granularity=$g
		w 1 4096 512
		has g$g 1
	done
	[ "$(ranges g1)" = "8 1" ]
	[ "$(ranges g4194304)" = "0 $SECTORS" ]
	[ "$(bitmap total g4194304)" = 4194304 ]
	msg bitmap add full granularity=65536 all_dirty
	[ "$(ranges full)" = "0 $SECTORS" ]
}

@test "D2 discards and write-zeroes mark, flushes do not, failed writes do" {
	truncate -s 16M /tmp/d2
	loop=$(losetup -f --show /tmp/d2)
	make_filter f "$loop"
	msg bitmap add b
	blkdiscard -o 65536 -l 65536 $F
	[ "$(ranges b)" = "128 128" ]
	blkdiscard -z -o 131072 -l 65536 $F
	[ "$(ranges b)" = "128 256" ]
	sync -f $F; blockdev --flushbufs $F
	[ "$(ranges b)" = "128 256" ]
	dmsetup remove f
	losetup -d "$loop"
	rm /tmp/d2
	broken o $S 1M 64K
	make_filter f /dev/mapper/o
	msg bitmap add b
	fails w 1 1M 4K
	[ "$(ranges b)" = "2048 128" ]
}

@test "D3 enable and disable" {
	filter
	msg bitmap add b disabled
	[ "$(bitmap recording b)" = 0 ]
	w 1 0 64K
	has b 0
	msg bitmap enable b
	msg bitmap enable b
	w 1 64K 64K
	has b 1
	msg bitmap disable b
	msg bitmap disable b
	w 1 1M 64K
	has b 1
	[ "$(ranges b)" = "128 128" ]
}

@test "D4 clear, remove, names" {
	filter
	msg bitmap add b
	msg bitmap add c
	w 1 0 1M
	has b 16
	msg bitmap clear b
	has b 0
	has c 16
	w 1 0 64K
	has b 1
	refused "bitmap 'b' exists already" msg bitmap add b
	msg bitmap remove b
	refused "there is no bitmap 'b'" msg bitmap remove b
	for verb in clear enable disable checksum ranges; do
		refused "there is no bitmap 'b'" msg bitmap $verb b
	done
	refused 'is no name of a bitmap' msg bitmap add 'a/b'
	refused 'is no name of a bitmap' msg bitmap add "$(printf '%128s' | tr ' ' x)"
	long=$(printf '%127s' | tr ' ' x)
	msg bitmap add "$long"
	msg bitmap remove "$long"
	msg bitmap add '#+-.:=@_9'
	w 1 0 512
	has '#+-.:=@_9' 1
	refused 'usage: bitmap add' msg bitmap add
	refused 'unknown option' msg bitmap add d colour=red
	refused 'given twice' msg bitmap add d disabled disabled
	refused 'unknown message' msg bitmap paint d
}

@test "D5 D11 merging, checksums, dump and load" {
	filter
	msg bitmap add a
	w 1 0 192K
	w 1 1M 256K
	has a 7
	msg bitmap disable a
	msg bitmap add b
	w 1 128K 256K
	has b 4
	msg bitmap disable b
	msg bitmap add c disabled
	msg bitmap merge c a b
	# 0..5 and 16..19
	has c 10
	[ "$(ranges c)" = "0 768
2048 512" ]
	refused "there is no bitmap 'nix'" msg bitmap merge nix a
	before=$(msg bitmap checksum c)
	refused "there is no bitmap 'nix'" msg bitmap merge c a nix
	[ "$(msg bitmap checksum c)" = "$before" ]
	msg bitmap merge c c
	[ "$(msg bitmap checksum c)" = "$before" ]
	[ "$(msg bitmap checksum a)" != "$before" ]
	# the same bits, the same sum
	msg bitmap add d disabled
	msg bitmap load d 0+768 2048+512
	[ "$(msg bitmap checksum d)" = "$before" ]
	for bad in 0 +1 1+ 0+0 x+1 "$SECTORS+1" "0+$((SECTORS + 1))" 18446744073709551615+2; do
		refused 'start.*length|behind the end' msg bitmap load d 4096+128 "$bad"
	done
	[ "$(msg bitmap checksum d)" = "$before" ]
	# CRC-32C of the bits as bytes: 0..5 and 16..19 of 256 bits
	python3 - "${before%% *}" <<-'END'
		import sys
		data = bytearray(32)
		for g in [0, 1, 2, 3, 4, 5, 16, 17, 18, 19]:
		    data[g // 8] |= 1 << g % 8
		crc = 0xffffffff
		for b in data:
		    crc ^= b
		    for _ in range(8):
		        crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
		sys.exit("%08x" % (crc ^ 0xffffffff) != sys.argv[1])
	END
	# a busy one is no source
	incremental j a auto_finalize=0
	refused "in use by job 'j'" msg bitmap merge c a
}

@test "D6 merging between granularities and devices" {
	filter
	make_filter g "$T"
	dmsetup create short --table "0 $((SECTORS / 2)) linear /dev/ram2 0"
	make_filter h /dev/mapper/short
	msg bitmap add fine granularity=8
	msg bitmap add coarse granularity=2048
	for f in g h; do FILTER=$f msg bitmap add b granularity=128; done
	w 1 4096 4096
	w 1 2M 4096 /dev/mapper/g
	[ "$(FILTER=g ranges b)" = "4096 128" ]
	g=$(devno /dev/mapper/g) h=$(devno /dev/mapper/h)
	msg bitmap merge fine "$g/b"
	[ "$(ranges fine)" = "8 8
4096 128" ]
	msg bitmap disable coarse
	msg bitmap clear coarse
	msg bitmap merge coarse fine
	[ "$(ranges coarse)" = "0 2048
4096 2048" ]
	refused 'another length' msg bitmap merge fine "$h/b"
	refused 'there is no backup filter 9:99' msg bitmap merge fine 9:99/b
	refused "there is no bitmap 'c'" msg bitmap merge fine "$g/c"
}

@test "D7 D8 chained incrementals" {
	filter
	msg bitmap add b
	msg backup start full target="$T" sync=full bitmap=b bitmap_mode=on_success auto_dismiss=0
	finished full
	equal
	for i in 1 2 3; do
		done_with "${last:-full}"
		w $i $((i * 100000 / 512 * 512)) 200K
		last=inc$i
		incremental $last b
		finished $last
		[ "$(job total $last)" -lt 600 ]
		equal
		has b 0
	done
	done_with inc3
	incremental empty b
	finished empty
	[ "$(job total empty)" = 0 ]
	[ "$(job done empty)" = 0 ]
	equal
}

@test "D9 incrementals under load: nothing is lost" {
	filter
	msg bitmap add b
	writers
	msg backup start j target="$T" sync=full bitmap=b bitmap_mode=on_success auto_dismiss=0
	finished j
	for i in 1 2 3; do
		done_with j
		sleep 0.5
		cut_start_incremental
		finished j 60
		same ref "$T"
	done
	writers_end
	done_with j
	incremental j b
	finished j
	equal
	has b 0
}
cut_start_incremental() {
	dmsetup suspend f
	snap ref
	incremental j b || { dmsetup resume f; return 1; }
	wait_for 60 started j
	dmsetup resume f
}

@test "D10 a job's bitmap is as it was at the cut; new writes go to its successor" {
	filter
	msg bitmap add b
	w 1 0 256K
	snap ref
	dd if="$S" of="$T" bs=1M oflag=direct status=none
	incremental j b speed=1 max_chunk=128
	wait_state j running
	[ "$(bitmap busy b)" = j ]
	w 2 64K 64K
	w 2 1M 64K
	has b 4
	[ "$(bitmap successor b)" = 256 ]
	for verb in remove clear enable disable; do
		refused "bitmap 'b' is in use by job 'j'" msg bitmap $verb b
	done
	refused "in use by job 'j'" msg bitmap merge b b
	refused "in use by job 'j'" msg bitmap load b 0+128
	refused "in use by job 'j'" msg backup start k target=/dev/ram2 sync=bitmap bitmap=b bitmap_mode=never
	[ "$(ranges b)" = "0 512" ]
	# outside the bitmap nothing is copied before a write
	w 3 8M 1M
	[ "$(job guest_copied j)" = 128 ]
	go j
	finished j
	same ref "$T"
	# 64K, 1M, 8M..9M
	has b 18
	done_with j
	incremental k b
	finished k
	equal
}

@test "B9 incrementals with granules of all sizes, beside clusters and the device" {
	filter
	msg backup start full target=$T sync=full auto_dismiss=0
	finished full
	done_with full
	for g in 1 8 64 256 2048 $SECTORS; do
		msg bitmap add b granularity=$g
		w $((g % 255 + 1)) $((102400 + 512)) 4K
		w $((g % 255 + 2)) $((12582912 - 512)) 1K
		incremental j b
		finished j
		done_with j
		equal
		msg bitmap remove b
	done
}

@test "B10 D10 clusters larger than granules: the bitmap is rounded out" {
	filter
	msg bitmap add b granularity=8
	dd if="$S" of="$T" bs=1M oflag=direct status=none
	w 1 100K 4K
	w 1 1028K 4K
	w 2 0 512
	# a write beside a dirty granule, in the same cluster, waits for its copy
	incremental j b cluster=512 speed=1
	# known when the cut has drained
	wait_for 60 total_is 1024
	w 3 1036K 4K
	[ "$(job guest_copied j)" = 512 ]
	go j
	finished j
	is 3 1036K 4K "$S"
	fails is 3 1036K 4K "$T"
	has b 1
	done_with j
	incremental k b
	finished k
	equal
}

total_is() { [[ $(job total j) == "$1" ]]; }

@test "D12 the device grows: what is new is dirty" {
	dmsetup create o --table "0 $((SECTORS / 2 + 64)) linear $S 0"
	dmsetup create t --table "0 $((SECTORS / 2 + 64)) linear $T 0"
	make_filter f /dev/mapper/o
	msg bitmap add b
	msg bitmap add off disabled
	TARGET=/dev/mapper/t start j bitmap=b bitmap_mode=on_success
	finished j
	done_with j
	w 1 64K 4K
	for d in o t; do
		[[ $d == o ]] && x=$S || x=$T
		dmsetup load $d --table "0 $SECTORS linear $x 0"
		dmsetup resume $d
	done
	dmsetup load f --table "0 $SECTORS backup /dev/mapper/o"
	dmsetup resume f
	# the last granule was only half there
	[ "$(ranges b)" = "128 128
$((SECTORS / 2)) $((SECTORS / 2))" ]
	[ "$(ranges off)" = "$((SECTORS / 2)) $((SECTORS / 2))" ]
	w 2 $((SECTORS / 2 * 512 + 1048576)) 64K
	TARGET=/dev/mapper/t incremental j b
	finished j
	equal
	# refused while a job is there
	dmsetup load f --table "0 $((SECTORS / 2)) backup /dev/mapper/o" && false
	done_with j
	w 1 0 4K
	w 1 $((SECTORS * 512 - 4096)) 4K
	has b 2
	dmsetup load f --table "0 $((SECTORS / 2)) backup /dev/mapper/o"
	dmsetup resume f
	[ "$(ranges b)" = "0 128" ]
	[ "$(bitmap total b)" = "$((SECTORS / 2))" ]
}

@test "bitmaps live through a reload, and are not trusted after a foreign table" {
	filter
	msg bitmap add b
	w 1 0 64K
	dmsetup load f --table "0 $SECTORS backup $S 2 buffer 1024"
	dmsetup resume f
	has b 1
	w 1 64K 64K
	has b 2
	# another table of ours waits while a foreign one is live
	dmsetup load f --table "0 $SECTORS backup-pass $S"
	dmsetup resume f
	dmsetup load f --table "0 $SECTORS backup $S"
	dmsetup resume f
	[ -z "$(msg bitmap list)" ]
	# another origin: what it holds is not known
	msg bitmap add b
	dmsetup load f --table "0 $SECTORS backup $T"
	dmsetup resume f
	[ "$(bitmap inconsistent b)" = 1 ]
	[[ $(bitmap cause b) == "the device has another origin now" ]]
	for verb in clear enable disable; do
		refused 'is inconsistent and can only be removed' msg bitmap $verb b
	done
	refused 'is inconsistent' msg backup start j target=/dev/ram2 sync=incremental bitmap=b
	refused 'is inconsistent' msg bitmap merge b b
	msg bitmap remove b
	msg bitmap add b
	has b 0
}

@test "D14 32 bitmaps at once" {
	filter
	for ((i = 0; i < 32; i++)); do msg bitmap add "b$i" granularity=$((1 << i % 13)); done
	[ "$(msg bitmap list | wc -l)" = 32 ]
	fio --name=w --filename=$F --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k --io_size=4M \
		--size=${SIZE_MB}M --randseed=1 --output=/dev/null
	for ((i = 0; i < 13; i++)); do
		[ "$(msg bitmap checksum "b$i")" = "$(msg bitmap checksum "b$((i + 13))")" ]
	done
	# all saw the same writes
	msg bitmap add sum granularity=4096 disabled
	for ((i = 0; i < 13; i++)); do
		msg bitmap clear sum
		msg bitmap merge sum "b$i"
		sum=$(msg bitmap checksum sum)
		[ "${first:=$sum}" = "$sum" ]
	done
	for ((i = 0; i < 32; i++)); do msg bitmap remove "b$i"; done
}

@test "bitmaps change under load" {
	filter
	writers
	msg bitmap add all granularity=8
	for i in 1 2 3 4 5 6; do
		msg bitmap add b$i granularity=8
		msg bitmap disable b$i
		msg bitmap add c granularity=8
		msg bitmap enable b$i
		msg bitmap clear c
		msg bitmap remove c
		sleep 0.1
	done
	writers_end
	# what any of them has, the one that was there all the time has
	before=$(msg bitmap checksum all)
	[ "$(count all)" -gt 0 ]
	for i in 1 2 3 4 5 6; do msg bitmap merge all b$i; done
	[ "$(msg bitmap checksum all)" = "$before" ]
}

@test "A9 the argument matrix: sync, bitmap, bitmap_mode" {
	filter
	msg bitmap add good
	msg bitmap add busy
	msg backup start holder target=/dev/ram2 sync=bitmap bitmap=busy bitmap_mode=never auto_finalize=0
	wait_state holder pending
	n=0
	for sync in full top bitmap incremental none; do
		for bitmap in absent unknown good busy; do
			for mode in absent on_success never always; do
				n=$((n + 1))
				expect $sync $bitmap $mode
				args=(target="$T" sync=$sync)
				[[ $bitmap == absent ]] || args+=(bitmap=$bitmap)
				[[ $mode == absent ]] || args+=(bitmap_mode=$mode)
				if [[ $why == ok ]]; then
					msg backup start j "${args[@]}" speed=1
					msg job cancel j force || true # nothing dirty, nothing to do
					wait_for 60 gone j
					wait_for 60 no_orphans # the target is free
				else
					refused "$why" msg backup start j "${args[@]}"
				fi
			done
		done
	done
	[ $n = 80 ]
	has good 0
	refused "bitmap_mode: '-' is none of" msg backup start j target=$T sync=bitmap bitmap=good bitmap_mode=-
	refused 'allocated goes with sync=top' msg backup start j target=$T sync=full allocated=good
	refused "there is no bitmap 'nix'" msg backup start j target=$T sync=top allocated=nix
}
gone() { ! msg job show "$1" 2> /dev/null; }
# What QEMU makes of a combination; sets why.
expect() { # SYNC BITMAP MODE
	why=ok
	if [[ $2 == absent ]]; then
		case $1 in
		bitmap | incremental) why="sync=$1 needs a bitmap" ;;
		*) [[ $3 == absent ]] || why='bitmap_mode without a bitmap' ;;
		esac
		return
	fi
	case $1:$3 in
	none:*) why='sync=none makes no use of a bitmap' ;;
	full:absent | top:absent | bitmap:absent) why='bitmap_mode must be given' ;;
	full:never | top:never) why="bitmap_mode=never has no effect with sync=$1" ;;
	incremental:never | incremental:always) why='sync=incremental is bitmap_mode=on_success' ;;
	esac
	[[ $why == ok ]] || return 0
	case $2 in
	unknown) why="there is no bitmap 'unknown'" ;;
	busy) why="in use by job 'holder'" ;;
	esac
}

@test "a read-only filter takes no bitmaps" {
	dmsetup create f --readonly --table "0 $SECTORS backup $S"
	refused 'the filter is read-only' msg bitmap add b
}

@test "16 TiB: an incremental of what little was written takes seconds, and 2 MiB a TiB" {
	local d loops=() size=$((16 << 40))
	SECTORS=$((size / 512))
	for d in s t; do
		truncate -s 16T /dev/shm/big-$d
		loops+=("$(losetup -f --show /dev/shm/big-$d)")
	done
	make_filter f "${loops[0]}"
	began=$SECONDS
	msg bitmap add b
	[ "$(vmalloced bk_bits_alloc)" -le $((33 * 1048576)) ] # 32 MiB, and the kernel's list of its pages
	for d in 0 65536 $((10 << 30)) $((size / 2)) $((size / 2 + 1048576)) $((size - 131072)) $((size - 512)); do
		w 0x5a $d 512
	done
	has b 7
	msg backup start j target="${loops[1]}" sync=incremental bitmap=b auto_dismiss=0
	finished j 120
	[ "$(job total j)" = $((7 * 128)) ]
	has b 0
	echo "# 16 TiB: $((SECONDS - began)) s" >&3
	((SECONDS - began < 120)) # hours, if all were copied
	for d in 0 65536 $((10 << 30)) $((size / 2)) $((size / 2 + 1048576)) $((size - 131072)) $((size - 512)); do
		is 0x5a $d 512 "${loops[1]}"
	done
	fio --name=w --filename=$F --direct=1 --ioengine=libaio --iodepth=8 --rw=randwrite --bs=4k --io_size=4M --size=1T --output=/dev/null
	[ "$(count b)" -gt 900 ]
	[ "$(vmalloced bk_bits_alloc)" -le $((33 * 1048576)) ] # 32 MiB, and the kernel's list of its pages
	dmsetup remove f
	losetup -d "${loops[@]}"
	rm /dev/shm/big-?
}
# vmalloced FUNCTION: bytes that the module has from it
vmalloced() { awk -v fn="$1" '$0 ~ fn && /dm_backup/ { n += $2 } END { print n + 0 }' /proc/vmallocinfo; }
