# SPDX-License-Identifier: GPL-2.0-or-later
#
# The one front door. `make help` lists what it opens.

TOP    := $(abspath $(dir $(lastword $(MAKEFILE_LIST))))
BUILD  ?= $(TOP)/build
GIGALOCK_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gigalock
# Parts are made from within their folders, so a relative path would be another.
override BUILD := $(abspath $(BUILD))
override GIGALOCK_CACHE := $(abspath $(GIGALOCK_CACHE))
PYTHON ?= /usr/bin/python3
STARTED := $(shell date +%s)
# "Clean" is a machine whose cache never held what we build.
CLEAN  := $(if $(wildcard $(GIGALOCK_CACHE)/*),,--clean)

# Tests that need no guest, then tests that boot them; both by pytest. KERNEL_TESTS
# are those that say something about a kernel: they run in guests of each.
KERNEL_TESTS ?= $(patsubst $(TOP)/%,%,$(wildcard $(TOP)/harness/tests/test_boot.py \
	$(TOP)/harness/tests/test_driver*.py $(TOP)/harness/tests/test_lock*.py \
	$(TOP)/harness/tests/test_reasons.py \
	$(TOP)/userlib/tests/test_*in_guest.py $(TOP)/userlib/tests/test_32_bits.py))
# What runs on the debug kernel: whatever drives the driver. Not what measures, counts bytes
# that are free, or locks one page at several places; docs/kernels.md says why.
DEBUG_TESTS ?= $(patsubst %,harness/tests/test_%.py,debug_kernel driver driver_xfer driver_queue \
	driver_recovery driver_dmabuf driver_hugetlb driver_no_memory driver_races lock_ends reasons)
TESTS  ?= qemu-dev/tests guest-image/tests userlib/tests harness/tests
JOBS   ?= 2

# Kernels to build for: the stock one, always, and KERNEL=. One that is in the
# build folder but not in the list, somebody built by hand; a path is taken as it is.
LISTED := $(shell awk '/^[^\#]/ { print $$1 }' $(TOP)/guest-image/kernels.list)
COMMA := ,
KERNEL_ASKED := $(if $(filter command line,$(origin KERNEL)),$(KERNEL))
WANTED := stock $(filter-out stock,$(filter $(LISTED),$(subst $(COMMA), ,$(KERNEL_ASKED))))
ifneq ($(filter matrix bench,$(MAKECMDGOALS)),)
# A list there, judged by the harness; all causes together need both of these.
WANTED := $(WANTED) $(if $(KERNEL_ASKED),,lab)
else ifneq ($(KERNEL_ASKED),)
ifeq ($(filter $(LISTED),$(KERNEL_ASKED))$(findstring /,$(KERNEL_ASKED))$(wildcard $(BUILD)/guest-image/kernels/$(KERNEL_ASKED)),)
$(error no kernel '$(KERNEL_ASKED)'; in guest-image/kernels.list are: $(LISTED))
endif
export GIGALOCK_KERNEL := $(KERNEL_ASKED)
endif
# The trial draws of both as well, and of 6.12 where somebody built it.
ifneq ($(filter doctor-trial,$(MAKECMDGOALS)),)
WANTED := $(WANTED) $(filter-out $(WANTED),lab $(notdir $(wildcard $(BUILD)/guest-image/kernels/6.12)))
endif

# What is said on the command line reaches the parts by the environment, as a
# default. These are for this file alone; a part that has a variable of the same
# name means something else by it.
MAKEOVERRIDES :=
unexport RAM KERNEL SCENARIOS SEED MATRIX_ARGS DRIVER DEVICE_OPTS DEMO_ARGS BENCH_ARGS TESTS KDIR OUT
export BUILD GIGALOCK_CACHE
export GIGALOCK_BUILD := $(BUILD)
export PYTHONPATH := $(TOP)/harness
export PYTHONDONTWRITEBYTECODE := 1

# Compilers, mktemp, Python and pytest all ask TMPDIR: nothing is written outside
# build/ and the cache.
export TMPDIR := $(BUILD)/tmp
ifneq ($(filter-out help deps clean distclean,$(or $(MAKECMDGOALS),help)),)
$(shell mkdir -p $(TMPDIR))
endif

.DEFAULT_GOAL := help
.PHONY: help deps all kernel device driver userlib programs image kernels demo matrix doctor-trial test test-kernels test-full \
	shell bench qemu-intree qtest coverage compile-check docs lint clean distclean

help:		## this list
	@echo "gigalock: lock large DMA buffers, see why it fails, without hardware"
	@echo
	@sed -n 's/^\([a-z][a-z-]*\):.*## */\1	/p' $(TOP)/Makefile | expand -t 15
	@echo
	@echo "Variables: RAM=2G, DRIVER=other.ko, KERNEL=stock, DEVICE_OPTS=... for shell;"
	@echo "TESTS='harness/tests/test_x.py' for test; BUILD=, GIGALOCK_CACHE= for where things go."

deps:		## install what is missing (or print the command that would)
	@$(TOP)/scripts/deps

all: device userlib image	## build everything

kernel: deps	## bring the guests' kernel and its headers into the cache (KERNEL=lab: another one)
	@$(MAKE) --no-print-directory -s -C $(TOP)/guest-image kernel KERNELS="$(WANTED)"

device: deps	## build the device for the QEMU that is installed
	@$(MAKE) --no-print-directory -s -C $(TOP)/qemu-dev all

driver: kernel	## build gigalock.ko for the guest's kernel
	@for k in $(WANTED); do $(MAKE) --no-print-directory -s -C $(TOP)/driver all tests KERNEL=$$k || exit; done

userlib: deps	## build the library, the tool and the examples
	@$(MAKE) --no-print-directory -s -C $(TOP)/userlib all

programs: userlib	## build what scenarios run in their guests
	@$(MAKE) --no-print-directory -s -C $(TOP)/harness/guest

image: driver userlib programs	## build the initramfs that guests boot
	@$(MAKE) --no-print-directory -s -C $(TOP)/guest-image initramfs KERNELS="$(WANTED)"

demo: all	## lock 1 GiB in guests of 5 sizes by 3 strategies; report in build/demo
	@$(PYTHON) -m gigalock_harness demo --out $(BUILD)/demo --started $(STARTED) $(CLEAN) $(DEMO_ARGS)

matrix: all	## reproduce and cure every cause; SCENARIOS=12- RAM=1G,2G KERNEL=lab for a part
	@$(PYTHON) -m gigalock_harness matrix --out $(BUILD)/matrix $(if $(SCENARIOS),--scenarios '$(SCENARIOS)') \
		$(if $(RAM),--ram $(RAM)) $(if $(KERNEL),--kernel $(KERNEL)) $(if $(SEED),--seed $(SEED)) $(MATRIX_ARGS)

test: all	## run every test: units, device, library, guests (15 minutes at most)
	@$(TOP)/scripts/run-tests $(TESTS)

test-full: test	## make test, then what it leaves out: the device in QEMU, Debian 12 and 13, matrix, test-kernels, also KERNEL=debug
	@$(MAKE) --no-print-directory qtest
	@$(MAKE) --no-print-directory coverage
	@$(MAKE) --no-print-directory compile-check
	@$(PYTHON) -m pytest -p no:cacheprovider -m full -o timeout=14400 $(TOP)/harness/tests
	@$(MAKE) --no-print-directory matrix
	@$(MAKE) --no-print-directory test-kernels
	@$(MAKE) --no-print-directory test-kernels KERNEL=debug

doctor-trial: all	## machines from a SEED=, DRAWS= of them: what the doctor says, then what happens
	@$(PYTHON) -m gigalock_harness.trial --out $(BUILD)/trial --seed $(or $(SEED),1) \
		--draws $(or $(DRAWS),200) $(if $(LEAST),--least $(LEAST))

kernels: deps	## build for every kernel of guest-image/kernels.list but those to be asked for by name
	@$(PYTHON) $(TOP)/scripts/test-kernels $(addprefix --kernel ,$(KERNEL_ASKED)) --build-only

test-kernels: all	## run the guest tests on every kernel: a table (KERNEL=lab: on that one; KERNEL=debug: what suits it)
	@$(PYTHON) $(TOP)/scripts/test-kernels --jobs $(JOBS) $(addprefix --kernel ,$(KERNEL_ASKED)) \
		$(if $(filter command line,$(origin TESTS)),$(TESTS),$(if $(filter debug,$(KERNEL_ASKED)),$(DEBUG_TESTS),$(KERNEL_TESTS)))

shell: all	## a prompt in a guest: RAM=2G, DRIVER=path/to/other.ko, DEVICE_OPTS=...
	@$(PYTHON) -m gigalock_harness shell $(if $(RAM),--ram $(RAM)) $(if $(DRIVER),--driver $(abspath $(DRIVER))) \
		$(if $(KERNEL),--kernel $(KERNEL)) $(if $(DEVICE_OPTS),--device-opts $(DEVICE_OPTS))

bench: all	## what is fast, beside what: build/bench/bench.json and a page (BENCH_ARGS="--only nvme")
	@$(MAKE) --no-print-directory -s -C $(TOP)/harness/bench
	@$(PYTHON) -m gigalock_harness bench $(BENCH_ARGS)

qemu-intree: deps	## build QEMU with the device in it, with sanitizers (minutes, once)
	@$(MAKE) --no-print-directory -C $(TOP)/qemu-dev intree

qtest: deps	## the device's tests in C, in that QEMU
	@$(MAKE) --no-print-directory -C $(TOP)/qemu-dev qtest

coverage: deps	## how much of the device those tests reach
	@$(MAKE) --no-print-directory -C $(TOP)/qemu-dev coverage

compile-check: deps	## no warning of the device against QEMU 7.2 and 10.0 (QEMU_SRC=folder: that one, too)
	@$(MAKE) --no-print-directory -C $(TOP)/qemu-dev compile-check

docs:		## write docs/failures.md from the causes and their scenarios
	@$(PYTHON) -m gigalock_harness docs

lint: kernel	## every style and static check; clean, always
	@$(TOP)/scripts/lint

clean:		## remove build/
	rm -rf $(BUILD)

distclean: clean	## remove the cache too
	rm -rf $(GIGALOCK_CACHE)
