# One word each; HACKING.md says what they do and when to run them.
# `make report` and `make test` are all a user needs: both make their own virtual environment.

SHELL   := /bin/bash
PYTHON  ?= python3
VENV    ?= .venv
BUILD   ?= build
OUT     ?= report

CC      ?= gcc
CFLAGS_COMMON := -std=gnu11 -D_GNU_SOURCE -Icsrc -Icsrc/include -fPIC -fvisibility=hidden \
	-ftls-model=initial-exec -pthread -g \
	-Wall -Wextra -Wconversion -Wno-sign-conversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
LDLIBS  := -pthread -lm -ldl

# The core without Python: csrc/py is the only folder that includes Python.h.
CORE_C  := $(sort $(filter-out csrc/py/%,$(wildcard csrc/*/*.c)))
CORE_S  := $(sort $(wildcard csrc/*/*.S))
HEADERS := $(sort $(wildcard csrc/*/*.h))
TESTS_C := $(sort $(wildcard tests/c/test_*.c))
INTERLEAVE_C := $(sort $(wildcard tests/c/interleave_*.c))
STRESS_C := $(sort $(wildcard tests/c/stress_*.c))

# A variant is a folder of objects and flags.
FLAGS_plain := -O2 -DFILAR_DEBUG
FLAGS_asan  := -O1 -DFILAR_DEBUG -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS_tsan  := -O1 -DFILAR_DEBUG -fsanitize=thread -fno-omit-frame-pointer
FLAGS_hard  := -O2 -DFILAR_DEBUG -DFILAR_HARD=1
FLAGS_fail  := -O1 -DFILAR_DEBUG -DFILAR_FAIL=1 -fsanitize=address,undefined -fno-sanitize-recover=all
FLAGS_interleave := -O1 -DFILAR_DEBUG -DFILAR_INTERLEAVE=1 -Wno-unused-value

REPORT  ?= report/report.json

.PHONY: help readme report test check asan tsan hard fail interleave check-interleave million hunt aarch64 stress tidy format labels package pythons dev notebooks course docs lab bench bench-green bench-green-python bench-pool bench-server peers peers-page debug-pythons clean core claims mix
.DEFAULT_GOAL := help

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

# ---- users ------------------------------------------------------------------------------------

## make report     install into .venv and measure this machine (quick mode); prints the page's path
report: $(VENV)/installed
	$(VENV)/bin/filar report --quick --out $(OUT)

## make test       everything the tests need, then all of them
test: $(VENV)/dev
	$(MAKE) check VENV=$(VENV)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

SOURCES := $(wildcard csrc/*/*) $(wildcard python/filar/*.py) $(wildcard python/filar/*/*.py) setup.py pyproject.toml

$(VENV)/installed: $(VENV)/bin/python $(SOURCES)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check .
	touch $@

$(VENV)/dev: $(VENV)/bin/python $(wildcard csrc/*/*) setup.py pyproject.toml
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/installed

## make dev        the same environment, to work in (.venv, editable)
dev: $(VENV)/dev

# ---- checks -----------------------------------------------------------------------------------

## make check      C tests, Python tests, layers, headers, labels, exports, lint
check: check-c check-interleave check-layers check-headers labels check-lint check-py notebooks

check-interleave: $(INTERLEAVE_C:tests/c/%.c=$(BUILD)/interleave/%)
	bash tools/run_c_tests.sh $^

## make interleave    the protocols in every interleaving, INTERLEAVE_SECONDS (20) for each scenario
INTERLEAVE_SECONDS ?= 20
interleave:
	FILAR_INTERLEAVE_SECONDS=$(INTERLEAVE_SECONDS) $(MAKE) check-interleave

## make million    a million parked green threads, every guard touched (7 GB of memory)
million: $(BUILD)/plain/million
	$<

## make hunt       every protocol's stress tests for ten minutes each, under TSan and hard
hunt:
	$(PYTHON) tools/hunt.py $(HUNT)

check-layers:
	$(PYTHON) tools/check_layers.py

check-headers:
	CC="$(CC)" bash tools/check_headers.sh

## make labels     every labelled edge has its partner, every README section that is cited exists
labels:
	$(PYTHON) tools/check_labels.py

check-lint: $(VENV)/dev
	$(VENV)/bin/ruff check python tests tools bench setup.py
	$(VENV)/bin/mypy

check-py: $(VENV)/dev
	bash tools/executor_suite.sh $(VENV)/bin/python
	$(VENV)/bin/python -m pytest

## make asan tsan hard fail    the C tests under each
check-c: c-plain
asan: c-asan
tsan: c-tsan
hard: c-hard
fail: c-fail

define VARIANT
$(BUILD)/$(1)/%.o: %.c $(HEADERS)
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS_COMMON) $$(FLAGS_$(1)) -DFILAR_BUILD_FLAGS='"$$(FLAGS_$(1))"' -c $$< -o $$@
$(BUILD)/$(1)/%.o: %.S $(HEADERS)
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS_COMMON) $$(FLAGS_$(1)) -c $$< -o $$@
$(BUILD)/$(1)/libfilar.a: $(CORE_C:%.c=$(BUILD)/$(1)/%.o) $(CORE_S:%.S=$(BUILD)/$(1)/%.o)
	rm -f $$@
	ar rcs $$@ $$^
$(BUILD)/$(1)/%: tests/c/%.c $(BUILD)/$(1)/libfilar.a $(wildcard tests/c/*.h)
	$$(CC) $$(CFLAGS_COMMON) -Wno-missing-prototypes $$(FLAGS_$(1)) -Itests/c $$< -o $$@ $(BUILD)/$(1)/libfilar.a $$(LDLIBS)
.PRECIOUS: $(BUILD)/$(1)/%.o $(BUILD)/$(1)/libfilar.a $(BUILD)/$(1)/%
c-$(1): $(TESTS_C:tests/c/%.c=$(BUILD)/$(1)/%) $(STRESS_C:tests/c/%.c=$(BUILD)/$(1)/%)
	bash tools/run_c_tests.sh $$^
.PHONY: c-$(1)
endef
$(foreach variant,plain asan tsan hard fail interleave,$(eval $(call VARIANT,$(variant))))

# The second CPU: cross-compiled, run under qemu's user mode.  Sanitizers and qemu do not mix.
CROSS   := aarch64-linux-gnu-gcc
TESTS_AARCH64 := test_context test_runq test_sched test_green test_blocking test_idle_source test_preempt stress_runq stress_park stress_blocking
$(BUILD)/aarch64/%: tests/c/%.c $(CORE_C) $(CORE_S) $(HEADERS) $(wildcard tests/c/*.h)
	@mkdir -p $(@D)
	$(CROSS) $(CFLAGS_COMMON) -Wno-missing-prototypes -O2 -DFILAR_DEBUG -DFILAR_QEMU -static -Itests/c $< \
		$(CORE_C) $(CORE_S) -o $@ $(LDLIBS)

## make aarch64    the tests of arch and green threads on aarch64, under qemu-user
aarch64:
	@if ! command -v $(CROSS) >/dev/null || ! command -v qemu-aarch64 >/dev/null; then \
		echo "aarch64: no cross compiler or no qemu-aarch64 here: left out"; else \
		$(MAKE) $(TESTS_AARCH64:%=$(BUILD)/aarch64/%) && \
		for test in $(TESTS_AARCH64); do FILAR_UNDER_QEMU=1 qemu-aarch64 $(BUILD)/aarch64/$$test || exit 1; done; fi

## make core       libfilar.a without Python
core: $(BUILD)/plain/libfilar.a

## make format     clang-format and ruff format
format:
	clang-format -i $(CORE_C) $(wildcard csrc/py/*.c) $(HEADERS) $(wildcard tests/c/*.c) $(wildcard tests/c/*.h) \
		$(wildcard bench/c/*.c bench/peers/*.c bench/peers/*.h bench/peers/*.cpp)
	$(VENV)/bin/ruff check --fix --quiet python tests tools bench setup.py
	$(VENV)/bin/ruff format python tests tools bench setup.py

## make tidy       clang-tidy, cppcheck and clang's warnings on the core
tidy:
	bash tools/tidy.sh

## make pythons    the border and the lab on every other Python that is here
pythons:
	bash tools/other_pythons.sh

## make package    sdist, wheel from the sdist, exports, a fresh environment
package: $(VENV)/dev
	bash tools/check_package.sh $(abspath $(VENV))/bin/python

## make notebooks  run every notebook in short mode
notebooks: $(VENV)/dev
	FILAR_LAB_QUICK=1 $(VENV)/bin/python -m pytest --nbmake notebooks -o addopts= -o timeout=1200

## make course     run them and keep their outputs, as the site shows them
course: $(VENV)/dev
	$(VENV)/bin/python tools/course.py

## make docs       the site, into build/site; warnings are errors
docs: $(VENV)/dev
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet
	@echo "$(CURDIR)/$(BUILD)/site/index.html"

## make lab        JupyterLab with the notebooks; its options: LAB="--no-browser --port 8890"
lab: $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(if $(wildcard $(VENV)/dev),-e) '.[lab]'
	$(VENV)/bin/jupyter lab notebooks $(LAB)

## make bench      pytest-benchmark files
bench: $(VENV)/dev
	$(VENV)/bin/python -m pytest bench/py --benchmark-only -o addopts=

# The library as users get it: without assertions.
FLAGS_release := -O2
$(eval $(call VARIANT,release))
$(BUILD)/release/green_bench: bench/c/green_bench.c $(BUILD)/release/libfilar.a
	$(CC) $(CFLAGS_COMMON) $(FLAGS_release) $< -o $@ $(BUILD)/release/libfilar.a $(LDLIBS)

## make bench-green   green threads beside Go, Boost and their floors; writes bench/results
bench-green: $(BUILD)/release/libfilar.a $(BUILD)/release/green_bench $(VENV)/dev
	CC="$(CC)" bash bench/peers/build.sh $(BUILD)/peers $<
	$(VENV)/bin/python bench/peers/run.py --build $(BUILD) $(BENCH_ARGS)
	$(VENV)/bin/python tools/peer_figures.py

PYTHON_PEERS := filar floor greenlet gevent asyncio threads
$(BUILD)/python-peers/%: bench/peers/python.py
	@mkdir -p $(@D)
	printf '#!/bin/sh\nexec %s %s %s "$$@"\n' $(abspath $(VENV))/bin/python $(abspath $<) $* > $@
	chmod +x $@

## make bench-green-python   Python on green threads beside greenlet, gevent, asyncio, threads; writes bench/results
bench-green-python: $(VENV)/dev $(PYTHON_PEERS:%=$(BUILD)/python-peers/%)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[peers]'
	$(VENV)/bin/python bench/peers/run.py --suite green-python --build $(BUILD) $(BENCH_ARGS)
	$(VENV)/bin/python tools/peer_figures.py

SERVER_PEERS := server-filar server-events server-pool server-threads server-go server-gonet \
	server-python server-gevent server-asyncio server-uvloop server-pythreads

## make bench-server   web servers on green threads beside Go, gevent, uvloop, threads; 10,000 clients for 60 s
bench-server: $(VENV)/dev
	PYTHON=$(abspath $(VENV))/bin/python bash bench/peers/build_servers.sh $(BUILD)/peers $(SERVER_PEERS)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[peers]'
	$(VENV)/bin/python bench/peers/run.py --suite server --build $(BUILD) $(BENCH_ARGS)
	$(VENV)/bin/python bench/peers/run.py --suite server-python --build $(BUILD) $(BENCH_ARGS)
	$(VENV)/bin/python tools/peer_figures.py

## make peers      every suite of bench/peers that is not up to date (most of an hour), then make peers-page
peers: $(BUILD)/release/libfilar.a $(VENV)/dev $(PYTHON_PEERS:%=$(BUILD)/python-peers/%)
	CC="$(CC)" PYTHON=$(abspath $(VENV))/bin/python bash bench/peers/build.sh $(BUILD)/peers $<
	PYTHON=$(abspath $(VENV))/bin/python bash bench/peers/build_servers.sh $(BUILD)/peers $(SERVER_PEERS)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[peers]'
	$(VENV)/bin/python bench/peers/run.py --all --build $(BUILD) $(BENCH_ARGS)
	$(VENV)/bin/python tools/peer_figures.py

## make peers-page   the page and JSON of this host, README's table and docs/comparison.md, from what was measured
peers-page: $(VENV)/dev
	$(VENV)/bin/python bench/peers/run.py --page
	$(VENV)/bin/python tools/peer_figures.py

## make debug-pythons   Python on green threads under Debian's 3.14 and 3.15 with assertions (needs apt and a network)
debug-pythons: $(VENV)/dev
	VENV=$(VENV) bash tools/debug_pythons.sh

## make bench-pool    pools beside oneTBB, OpenMP, pthreadpool, Go; executors in Python; writes bench/results
bench-pool: $(BUILD)/release/libfilar.a $(VENV)/dev
	CC="$(CC)" PYTHON=$(abspath $(VENV))/bin/python bash bench/peers/build.sh $(BUILD)/peers $<
	$(VENV)/bin/python bench/peers/run.py --suite pool --build $(BUILD) $(BENCH_ARGS)
	$(VENV)/bin/python bench/peers/run.py --suite executor --build $(BUILD) $(BENCH_ARGS)
	$(VENV)/bin/python tools/peer_figures.py

## make readme     the figures of README.md, docs/watching.md and docs/predicting.md from REPORT=file.json
readme: $(VENV)/dev
	$(VENV)/bin/python tools/readme_figures.py $(REPORT)

## make claims     docs/claims.md with the verdicts of REPORT=file.json
claims: $(VENV)/dev
	$(VENV)/bin/python tools/claims.py $(REPORT)

## make clean      remove what was built (not .venv)
clean:
	rm -rf $(BUILD) dist *.egg-info python/*.egg-info python/filar/_filar.c python/filar/*.so

## make mix        a random mix on every Python that is set up: ten minutes (MIX_SECONDS, MIX_SEED)
mix: $(VENV)/dev
	VENV=$(VENV) bash tools/random_mix.sh
