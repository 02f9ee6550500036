# SPDX-License-Identifier: GPL-2.0-only
#
#   make                 module for the running kernel (or KVER=...), utility
#   sudo make install    both, and man page, completion, udev rule, systemd unit
#   make demo            a live backup of a mounted LV, in a VM       (4 minutes)
#   make check           the tests, in VMs on kernels 6.1 and 6.12   (20 minutes)
#   make check-wide      crash points, power cuts, the other kernel    (15 minutes)
#   make check-long      millions of reads of views, file systems     (30 minutes)
#   make check-mutants   modules that are broken on purpose: each must be noticed
#   make unit            the parts that are only logic, under sanitizers, without a VM
#   make fuzz            what reads the on-disk format, and documents, with a million bad ones
#   make check-debug     under KASAN, lockdep and kmemleak (user-mode Linux)
#   make check-race      two CPUs under KCSAN and lockdep (builds a kernel, once)
#   make check-rt        the tests on Debian's PREEMPT_RT kernel
#   make soak            everything at once for an hour, or MINUTES=
#   make bench           what it costs, as a table                 (see benchmarks.md)
#   make bench-peers     the same, beside dm-snapshot, dm-thin, dm-era, dm-raid1 and QEMU
#   make lint            checkpatch, sparse, shellcheck
# The targets that run tests install the Debian packages they need.

KVER ?= $(shell uname -r)
KERNELDIR ?= /lib/modules/$(KVER)/build
# Kernels that tests run on.
KERNELS ?= 6.1 6.12

module_src := $(wildcard dm-backup/*.[ch]) dm-backup/Kbuild
build := build/$(KVER)
module := $(build)/dm_backup.ko

PREFIX ?= /usr/local
# Where rules of packages go, for one: /usr/lib/udev/rules.d
UDEVDIR ?= /etc/udev/rules.d
CFLAGS ?= -O2 -g
warnings := -Wall -Wextra -Wshadow -Wformat=2

.PHONY: all
all: module utility

.PHONY: install install-module install-utility
install: install-module install-utility

install-module: module
	install -D -m 644 $(module) $(DESTDIR)/lib/modules/$(KVER)/updates/dm_backup.ko
	[ -n "$(DESTDIR)" ] || depmod $(KVER)

install-utility: utility
	install -D -m 755 build/dmbackup $(DESTDIR)$(PREFIX)/sbin/dmbackup
	install -D -m 644 Documentation/dmbackup.8 $(DESTDIR)$(PREFIX)/share/man/man8/dmbackup.8
	install -D -m 644 userspace/dmbackup.bash-completion \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/dmbackup
	install -D -m 644 userspace/dmbackup@.service \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/dmbackup@.service
	install -D -m 644 userspace/56-dm-backup.rules $(DESTDIR)$(UDEVDIR)/56-dm-backup.rules

# From all kernels; what dkms has installed is for dkms to remove.
.PHONY: uninstall
uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/dmbackup \
		$(DESTDIR)$(PREFIX)/share/man/man8/dmbackup.8 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/dmbackup \
		$(DESTDIR)$(PREFIX)/lib/systemd/system/dmbackup@.service \
		$(DESTDIR)$(UDEVDIR)/56-dm-backup.rules
	@for m in $(DESTDIR)/lib/modules/*/updates/dm_backup.ko; do \
		[ -e "$$m" ] || continue; \
		echo "rm $$m"; rm "$$m"; \
		k=$${m#$(DESTDIR)/lib/modules/}; \
		[ -n "$(DESTDIR)" ] || depmod "$${k%%/*}"; done

# --- the module ---------------------------------------------------------------
# Built in a directory of links per kernel, so that several can be built.
.PHONY: module
module: $(module)

$(module): $(module_src)
	@test -e $(KERNELDIR)/Makefile || { \
		echo "No headers of kernel $(KVER) in $(KERNELDIR): install them, or give KVER= or KERNELDIR=." >&2; \
		exit 1; }
	@mkdir -p $(build)
	@ln -sf $(abspath $(module_src)) $(build)/
	$(MAKE) -j$$(nproc) -C $(KERNELDIR) M=$(abspath $(build)) $(KBUILD_ARGS) modules
	@touch $@

# A device-mapper target for tests, whose n-th I/O fails.
nth := $(build)/faults/dm-nth.ko
nth_src := tests/faults/dm-nth.c tests/faults/Kbuild
.PHONY: module-nth
module-nth: $(nth)

$(nth): $(nth_src)
	@mkdir -p $(@D)
	@ln -sf $(abspath $(nth_src)) $(@D)/
	$(MAKE) -C $(KERNELDIR) M=$(abspath $(@D)) $(KBUILD_ARGS) modules
	@touch $@

# The module for every kernel that tests run on.
.PHONY: modules
modules: deps
	@for k in $(KERNELS); do \
		$(MAKE) --no-print-directory KVER=$$(tests/vm/kver $$k) module module-nth > build/module-$$k.log 2>&1 || \
			{ cat build/module-$$k.log; exit 1; }; done

# The same for the sanitizer kernel, which is built first if need be.
.PHONY: module-uml
module-uml: deps
	@uml=$$(tests/vm/uml-build) && $(MAKE) --no-print-directory \
		KVER=$$(ls $$uml/modules/lib/modules) KERNELDIR=$$uml/build \
		KBUILD_ARGS=ARCH=um module module-nth > build/module-uml.log 2>&1 || \
			{ cat build/module-uml.log; exit 1; }

# And for the race kernel.
.PHONY: module-race
module-race: deps
	@race=$$(tests/vm/race-build) && $(MAKE) --no-print-directory \
		KVER=$$(ls $$race/modules/lib/modules) KERNELDIR=$$race/build module > build/module-race.log 2>&1 || \
			{ cat build/module-race.log; exit 1; }

# And for Debian's PREEMPT_RT kernel.
.PHONY: module-rt
module-rt: deps
	@tests/deps rt
	@$(MAKE) --no-print-directory KVER=$$(tests/vm/kver 6.1-rt) module > build/module-rt.log 2>&1 || \
		{ cat build/module-rt.log; exit 1; }

# --- the utility --------------------------------------------------------------
.PHONY: utility
utility: build/dmbackup

utility_cc = $(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -I/usr/include/libsmartcols $(CPPFLAGS)
utility_objs := $(patsubst userspace/%.c,build/obj/%.o,$(wildcard userspace/*.c))

# The on-disk form of persistent bitmaps is the module's own source; it and who
# calls it see stand-ins for the kernel's headers, and nobody else does.
codec := codec metadata-format metadata-image metadata-report
$(codec:%=build/obj/%.o): shim := -Iuserspace/shim

build/obj/codec.o: dm-backup/metadata.c
$(utility_objs): build/obj/%.o: userspace/%.c
$(utility_objs) build/obj/codec.o: dm-backup/metadata.h dm-backup/map.h $(wildcard userspace/*.h userspace/shim/*/*.h)
	@mkdir -p build/obj
	$(utility_cc) $(shim) -c -o $@ $(filter %.c,$^)

build/dmbackup: $(utility_objs) build/obj/codec.o
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -ldevmapper -lsmartcols -lblkid -lmount -ludev -ljson-c

# --- tests ----------------------------------------------------------------------
torture_src := $(addprefix tests/torture/,torture.c history.c writers.c uring.c meanwhile.c readers.c)
build/torture: $(torture_src) $(wildcard tests/torture/*.h) tests/lib/dm.h
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -o $@ $(torture_src) -lpthread

build/pairs: tests/torture/pairs.c
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -o $@ $< -lpthread

build/suspend-loop: tests/functional/suspend-loop.c
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -o $@ $< -ldevmapper

build/scribble: tests/functional/scribble.c
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -static -o $@ $< -lpthread

build/keepers: tests/functional/keepers.c
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -static -o $@ $< -lpthread

build/beside: tests/soak/beside.c
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -static -o $@ $<

build/kill-at: tests/functional/kill-at.c
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -static -o $@ $<

# As a program, and as a builtin of bash.
quick_src := $(addprefix tests/functional/quick,.c -dm.c .h)
build/quick: $(quick_src) tests/functional/quick-main.c
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -static -o $@ $(filter %.c,$^)

build/quick.so: $(quick_src) tests/functional/quick-bash.c
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -I/usr/include/bash -I/usr/include/bash/include \
		-fPIC -shared -o $@ $(filter %.c,$^)

build/fuzz-module: tests/fuzz/fuzz-module.c tests/lib/dm.h
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -static -o $@ $<

faults_src := $(addprefix tests/faults/,faults.c lab.c allocations.c workers.c io.c)
build/faults: $(faults_src) tests/faults/lab.h tests/faults/sweeps.h tests/lib/dm.h
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -static -o $@ $(faults_src)

build/replay: tests/crash/replay.c dm-backup/metadata.c dm-backup/metadata.h
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -Iuserspace/shim -o $@ tests/crash/replay.c \
		dm-backup/metadata.c

# What functional tests fill origin and destination with: sectors that are all
# different, and bytes 0xff. 16 MiB each; slow to make in an emulated machine.
build/fill-s:
	@mkdir -p build
	seq -f '1%014.0f' 1048576 > $@

build/fill-t:
	@mkdir -p build
	head -c 16M /dev/zero | tr '\0' '\377' > $@

.PHONY: programs
programs: deps
	@$(MAKE) --no-print-directory utility build/torture build/pairs build/suspend-loop build/scribble build/keepers build/kill-at build/beside build/quick build/quick.so build/replay build/fuzz-module build/faults build/fill-s build/fill-t

.PHONY: mutants
mutants: deps
	@$(MAKE) --no-print-directory KVER=$$(tests/vm/kver $(firstword $(KERNELS))) module-nth > build/module-nth.log 2>&1 || \
		{ cat build/module-nth.log; exit 1; }
	@CHECK="$(CHECK)" tests/mutants/build $$(tests/vm/kver $(firstword $(KERNELS)))

.PHONY: unit
unit: deps
	@$(MAKE) --no-print-directory -C tests/unit O=$(abspath build)/unit run

.PHONY: fuzz
fuzz: deps
	@$(MAKE) --no-print-directory -C tests/fuzz O=$(abspath build)/fuzz run

# What is asked for on the command line only: CHECK='t-a torture' for some suites.
.PHONY: check
check: modules programs
	@KERNELS="$(KERNELS)" tests/check $(CHECK)

.PHONY: check-wide
check-wide: modules programs
	@KERNELS="$(KERNELS)" tests/check --wide $(CHECK)

.PHONY: check-mutants
check-mutants: mutants programs
	@KERNELS="$(firstword $(KERNELS))" tests/check --mutants $(CHECK)

.PHONY: check-long
check-long: modules programs
	@KERNELS="$(KERNELS)" tests/check --long $(CHECK)

MINUTES ?= 60
.PHONY: soak
soak: modules programs
	@KERNELS="$(lastword $(KERNELS))" tests/check --soak $(MINUTES)

.PHONY: check-debug
check-debug: module-uml programs
	@tests/check --debug $(CHECK)

.PHONY: check-race
check-race: module-race programs
	@tests/check --race $(CHECK)

.PHONY: check-rt
check-rt: module-rt programs
	@tests/check --rt $(CHECK)

.PHONY: demo
demo:
	@mkdir -p build
	@tests/deps demo
	@$(MAKE) --no-print-directory KVER=$$(tests/vm/kver $(firstword $(KERNELS))) module utility > build/demo.log 2>&1 || \
		{ cat build/demo.log; exit 1; }
	@tests/demo/run

build/scan: tests/bench/scan.c dm-backup/map.h
	@mkdir -p build
	$(CC) $(CFLAGS) $(warnings) -D_GNU_SOURCE -Iuserspace/shim -o $@ $<

# BENCH=icount: what is counted, on any host; BENCH=smp, scan: what wants an idle one.
.PHONY: bench
bench: modules programs
	@$(MAKE) --no-print-directory build/scan
	@tests/bench/run $(BENCH:%=--only %) $(KERNELS)

.PHONY: bench-peers
bench-peers: modules programs
	@tests/bench/run --peers $(BENCH:%=--only %) $(KERNELS)

.PHONY: lint
lint: deps
	@KERNELS="$(KERNELS)" tests/lint

# --- what tests need ----------------------------------------------------------
.PHONY: deps
deps:
	@mkdir -p build
	@tests/deps

.PHONY: clean
clean:
	rm -rf build
