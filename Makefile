# SPDX-License-Identifier: MIT
# The two commands for users are `make test` and `make bench`; `make help` tells the others.
# PYTHON=... chooses the interpreter; each version has a virtual environment of its own.

ifndef PYTHON
PYTHON := $(shell .ci/find-python)
endif
PRINT_TAG := import sys, sysconfig; print("%d.%d%s" % (*sys.version_info[:2], "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""))
TAG := $(if $(PYTHON),$(shell "$(PYTHON)" -c '$(PRINT_TAG)'))
VENV := .venv-$(TAG)
SANITIZED := .venv-$(TAG)-asan
BIN := $(VENV)/bin
# scikit-build-core calls the cmake, and cython-lint the pycodestyle, that it finds on PATH.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

SOURCES := $(shell find csrc src CMakeLists.txt pyproject.toml -type f -not -name '*.pyc' 2>/dev/null)
C_FILES := $(shell find csrc src tests bench examples -name '*.[ch]' 2>/dev/null)
# As a user's pyright finds it: the import hook of the editable build is not seen without running it.
PYRIGHT := PYTHONPATH=src $(BIN)/basedpyright --pythonpath $(BIN)/python
PYTEST := $(BIN)/python -m pytest -q
# A run of the C tests by their own build; set SANITIZE=ON for the instrumented one.
C_TESTS = cmake -S csrc -B $(1) -G Ninja -DFASTSOCK_TESTS=ON -DFASTSOCK_WERROR=$(if $(CI),ON,OFF) $(2) >$(1).log && \
	cmake --build $(1) >>$(1).log || { cat $(1).log; exit 1; }; \
	ctest --test-dir $(1) --output-on-failure

.PHONY: help build test test-c test-long bench lint format sanitize fuzz parity wheel packaging cross clean

help:
	@echo 'make test       every test, in an environment of its own (PYTHON=... chooses the Python)'
	@echo 'make bench      the benchmark against pure socket and the C floor'
	@echo 'make lint       ruff, cython-lint, clang-format, mypy, stubtest and pyright'
	@echo 'make format     put the formatters'"'"' changes into the files'
	@echo 'make sanitize   the C and Python tests under ASan and UBSan, threads under TSan'
	@echo 'make fuzz       look for inputs that break a parser, FUZZ_SECONDS each (needs clang)'
	@echo 'make parity     the parity tests on the other CPythons of this machine'
	@echo 'make test-long  every test with its full number of repeats, on every CPython and engine'
	@echo 'make wheel      the sdist, and a wheel for this Python and system, in dist/'
	@echo 'make packaging  the tests of these, and of what others build on them'
	@echo 'make cross      the C library, its tests and wheels for other systems, by ziglang (TARGETS=...)'
	@echo 'make clean      remove what these commands made'

# The editable build compiles again at import when a source has changed; the stamp is for the rest.
build: $(VENV)/built

$(VENV)/tools: pyproject.toml .ci/environment
	@test -n "$(PYTHON)"
	@.ci/environment "$(PYTHON)" $(VENV) test
	@touch $@

# Apart, as the linters are to be had for fewer Pythons.
$(VENV)/linters: $(VENV)/tools
	@.ci/environment "$(PYTHON)" $(VENV) test,lint,bench
	@touch $@

$(VENV)/benchmark: $(VENV)/tools
	@.ci/environment "$(PYTHON)" $(VENV) test,bench
	@touch $@

# aioquic is built for the stable ABI, which free-threaded Pythons do not have.
$(VENV)/interop: $(VENV)/tools
	@.ci/environment "$(PYTHON)" $(VENV) $(if $(findstring t,$(TAG)),test,test,interop)
	@touch $@

$(VENV)/packaging: $(VENV)/tools
	@.ci/environment "$(PYTHON)" $(VENV) test,packaging
	@touch $@

$(VENV)/built: $(VENV)/tools CMakeLists.txt csrc/CMakeLists.txt src/fastsock/native/CMakeLists.txt
	@mkdir -p build
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps -e . \
		$(if $(CI),-C cmake.define.FASTSOCK_WERROR=ON)
	@touch $@

# Two runs at once, as they mostly wait; what the second says is shown when it has ended. Started by
# make and not by a shell's &, which would have it and its children ignore Ctrl+C.
test: build $(VENV)/benchmark $(VENV)/interop test-c
	@$(MAKE) --no-print-directory -j2 PYTHON="$(PYTHON)" test-default-engine test-parity-and-portable

.PHONY: test-default-engine test-parity-and-portable
test-default-engine:
	$(PYTEST) tests --ignore=tests/parity --ignore=tests/packaging

test-parity-and-portable:
	@mkdir -p build
	@{ $(PYTEST) tests/parity && FASTSOCK_ENGINE=portable $(PYTEST) -m 'not long and not one_engine' \
		tests/unit tests/property tests/stress; } >build/second-run.log 2>&1; \
	status=$$?; echo; echo 'parity; portable engine:'; cat build/second-run.log; exit $$status

test-c: $(VENV)/tools
	@mkdir -p build
	$(call C_TESTS,build/c,)

test-long: build test-c
	@for python in $$(.ci/find-python --all); do \
		for engine in linux portable; do \
			echo "== $$python, engine $$engine"; \
			$(MAKE) --no-print-directory build PYTHON="$$python" && \
			$(MAKE) --no-print-directory test-long-one PYTHON="$$python" FASTSOCK_ENGINE=$$engine || exit 1; \
		done; \
	done
	$(MAKE) --no-print-directory fuzz

.PHONY: test-long-one
test-long-one: $(VENV)/interop
	FASTSOCK_ENGINE=$(FASTSOCK_ENGINE) $(PYTEST) -m 'long or not long' tests --ignore=tests/packaging

bench: build $(VENV)/benchmark
	$(BIN)/python bench/run.py

# Rebuilt when anything that the sdist holds is newer.
wheel: dist/.built-$(TAG)

dist/.built-$(TAG): $(VENV)/packaging $(SOURCES) $(shell git ls-files 2>/dev/null)
	.ci/wheel $(BIN)/python
	@touch $@

packaging: build wheel
	$(PYTEST) tests/packaging --ignore=tests/packaging/test_cross.py

# Only from the running Python's headers; TARGETS are the names that .ci/cross tells.
cross: $(VENV)/cross
	.ci/cross $(BIN)/python $(TARGETS)

$(VENV)/cross: $(VENV)/tools
	@.ci/environment "$(PYTHON)" $(VENV) test,packaging,cross
	@touch $@

lint: build $(VENV)/linters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint src/fastsock/native
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	$(BIN)/mypy
	$(PYRIGHT) --pythonversion 3.11
	$(PYRIGHT) --pythonversion 3.14
	@$(PYRIGHT) --verifytypes fastsock --ignoreexternal >build/types.log || { cat build/types.log; exit 1; }
	$(BIN)/python -m mypy.stubtest fastsock --allowlist tests/parity/stubtest-allowlist.txt

format: $(VENV)/linters
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(C_FILES)

# An installed copy, as the instrumented modules need the runtime preloaded and must not be rebuilt at
# import. Leaks are looked for too: an extension's are found at exit. The bench's tests run nothing of
# ours that the others don't, and matplotlib leaks. ThreadSanitizer looks at what has threads.
# pytest would swallow the reports, so they go to files.
REPORTS = log_path=$(CURDIR)/build/sanitizer.log
sanitize: $(VENV)/tools $(SANITIZED)/built
	@mkdir -p build
	$(call C_TESTS,build/c-asan,-DFASTSOCK_SANITIZE=ON)
	$(call C_TESTS,build/c-tsan,-DFASTSOCK_THREAD_SANITIZE=ON) -R '^(ring|bell|receiver|server)'
	@rm -f build/sanitizer.log.*
	LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
	PYTHONMALLOC=malloc ASAN_OPTIONS=$(REPORTS):detect_leaks=1 \
	UBSAN_OPTIONS=$(REPORTS):print_stacktrace=1 \
	$(SANITIZED)/bin/python -m pytest -q --repeats=2 tests/unit tests/property tests/stress tests/interop \
		--ignore=tests/unit/test_bench.py --ignore=tests/unit/test_packet.py || \
		{ cat build/sanitizer.log.* >&2; exit 1; }

$(SANITIZED)/built: $(SOURCES) .ci/environment
	@.ci/environment "$(PYTHON)" $(SANITIZED) test
	PATH="$(CURDIR)/$(SANITIZED)/bin:$$PATH" $(SANITIZED)/bin/python -m pip install --quiet --no-build-isolation \
		--no-deps --force-reinstall . -C build-dir=build/asan-$(TAG) -C cmake.define.FASTSOCK_SANITIZE=ON \
		-C cmake.build-type=RelWithDebInfo -C install.strip=false
	@touch $@

# What is found new stays in build/; a few that add coverage are kept in tests/fuzz/corpus.
FUZZ_SECONDS ?= 600
fuzz: $(VENV)/tools
	cmake -S csrc -B build/fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DFASTSOCK_TESTS=ON -DFASTSOCK_FUZZ=ON
	cmake --build build/fuzz --target fuzz_framing
	@mkdir -p build/fuzz/corpus/framing
	build/fuzz/fuzz/fuzz_framing -max_total_time=$(FUZZ_SECONDS) -max_len=4096 -artifact_prefix=build/fuzz/ \
		build/fuzz/corpus/framing tests/fuzz/corpus/framing

parity:
	@for python in $$(.ci/find-python --all); do \
		[ "$$("$$python" -c '$(PRINT_TAG)')" != "$(TAG)" ] || continue; \
		echo "== $$python"; \
		$(MAKE) --no-print-directory parity-one PYTHON="$$python" || exit 1; \
	done

.PHONY: parity-one
parity-one: build
	$(PYTEST) tests/parity tests/property

clean:
	rm -rf build dist .venv-* .hypothesis .pytest_cache .mypy_cache .ruff_cache
