# Build, run and test subduct from a bare clone. `make` alone lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

# The interpreter that .venv is made from; override with PYTHON=/path/to/python.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$name"; break; }; done)
ARGS ?=
SOAK_SECONDS ?= 600
TORTURE_SECONDS ?= 300
SEEDS ?= 20
EXAMPLES ?= 200
SEQUENCES ?= 2000
FUZZ_SECONDS ?= 600
# Processes that the Python tests are shared out to. Each may take 4 GiB of memory, though not both at once.
JOBS ?= 2
# Not empty: `make peers` installs Go for the comparison.
PEERS_GO ?=

VENV := .venv
BIN := $(VENV)/bin
# Every build of crates/python links against the same interpreter, so that cargo and maturin share their work.
export PYO3_PYTHON := $(CURDIR)/$(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# A sanitizer is a flag of the nightly compiler that the stable one has too, with the runtime; it needs the target named.
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
# The fuzzer learns from counters on every edge of the code under test. AddressSanitizer would cost it half its speed:
# `make asan` does the kept inputs, too.
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
FUZZ = target/fuzz/$(HOST)/release/containers
CORPUS := fuzz/corpus/containers
FUZZ_OPTIONS := -max_len=400 -len_control=0 -timeout=300 -report_slow_units=60 -artifact_prefix=fuzz/artifacts/ \
	-print_final_stats=1
ASAN = ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 RUSTC_BOOTSTRAP=1 RUSTFLAGS=-Zsanitizer=address \
	CARGO_TARGET_DIR=target/asan cargo test --locked --target $(HOST)

TOOLS := $(VENV)/.tools
# The plots' tools live apart from those that build and test.
BENCH := target/bench
PACKAGE := $(VENV)/.package
# Folders are in the list so that a removed file is noticed too.
SOURCES := pyproject.toml README.md Cargo.toml Cargo.lock .cargo/config.toml man/subduct.1 man/mremap_dontunmap.7 \
	$(shell find crates src -name __pycache__ -prune -o \( -type d -o -name '*.rs' -o -name '*.toml' -o -name '*.py' -o -name '*.pyi' -o -name py.typed \) -print)
STAGE := .ci/stage

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: setup
setup: $(PACKAGE) ## Make .venv with the pinned tools and the release-built package

.PHONY: run
run: setup ## Load the standard library, churn it while it compacts, report (ARGS="--seconds 10 DATA")
	@$(BIN)/subduct run $(ARGS)

# What incremental builds keep for the next one nearly doubles the work of the first; who changes and tests again runs `make
# rust-test`, which has them.
.PHONY: test
test: export CARGO_INCREMENTAL := 0
test: setup ## Everything: lint, Rust tests, the simulator, loom models, Python tests, the userfaultfd check
	@.ci/together lint-rust lint-python
	@$(STAGE) rust-tests $(MAKE) --no-print-directory rust-test
	@$(STAGE) simulator $(MAKE) --no-print-directory simulate
	@$(STAGE) loom $(MAKE) --no-print-directory loom
	@rm -f .test-evidence.json
	@$(STAGE) python-tests $(MAKE) --no-print-directory python-test
	@$(STAGE) userfaultfd $(BIN)/python tests/check_userfaultfd.py .test-evidence.json

.PHONY: lint
lint: lint-rust lint-python ## Formatters, linters, links in the docs, strict types, stubs against the built module

.PHONY: lint-rust
lint-rust: setup
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy -p subduct-heap --all-targets --features simulate --locked -- -D warnings
	cargo clippy -p subduct-heap --all-targets --features sanitize --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace --locked --document-private-items

.PHONY: lint-python
lint-python: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/stubtest subduct._native

.PHONY: format
format: setup ## Format Rust and Python in place
	cargo fmt --all
	cargo fmt --manifest-path fuzz/Cargo.toml
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

.PHONY: rust-test
rust-test: ## Tests of crates/kernel, crates/heap, crates/measure and crates/bench (ARGS="compact::")
	cargo test --locked -p subduct-kernel -p subduct-heap -p subduct-measure -p subduct-bench $(ARGS)

.PHONY: simulate
simulate: ## Whole heaps on a simulated scheduler and kernel, by seeds (SEEDS=1000, SUBDUCT_SIM_SEED=7)
	SUBDUCT_SIM_SEEDS=$(SEEDS) cargo test --locked -p subduct-heap --features simulate --test simulator -- --nocapture

.PHONY: differential
differential: setup ## SEQUENCES (2000) random sequences of calls on the running kernel and on the model (ARGS="--seed 7")
	$(BIN)/python -B -m subduct.model.differential --sequences $(SEQUENCES) $(ARGS)

.PHONY: loom
loom: ## Model-check the protocols with loom: pages, moves, safepoint, log, handles, pool
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom cargo test --locked --profile loom -p subduct-heap --lib loom $(ARGS)

.PHONY: asan
asan: ## Tests of crates/kernel and crates/heap under AddressSanitizer, and that it is on (ARGS="compact::")
	$(ASAN) -p subduct-heap --features subduct-heap/sanitize --test asan
	$(ASAN) -p subduct-kernel -p subduct-heap --features subduct-heap/sanitize --lib --tests $(ARGS)
	SUBDUCT_SIM_SEEDS=$(SEEDS) $(ASAN) -p subduct-heap --features sanitize,simulate --test simulator

.PHONY: fuzz
fuzz: fuzz-build ## Look for FUZZ_SECONDS (600) for a program on which the containers and std's disagree
	@mkdir -p target/fuzz/corpus fuzz/artifacts $(CORPUS)
	$(FUZZ) -max_total_time=$(FUZZ_SECONDS) $(FUZZ_OPTIONS) target/fuzz/corpus $(CORPUS)

.PHONY: fuzz-keep
fuzz-keep: fuzz-build ## Keep what the fuzzer found: as few small inputs as cover as much, in fuzz/corpus
	@rm -rf target/fuzz/kept
	@mkdir -p target/fuzz/corpus target/fuzz/kept fuzz/artifacts $(CORPUS)
	$(FUZZ) -set_cover_merge=1 $(FUZZ_OPTIONS) target/fuzz/kept $(CORPUS) target/fuzz/corpus
	@rm -rf $(CORPUS) && mv target/fuzz/kept $(CORPUS)

.PHONY: mutants
mutants: $(TOOLS) ## Seed defects into a copy of the collector, one at a time: each must be caught (ARGS="--only forwarding")
	@PYTHONPATH=tools $(BIN)/python -B -m mutants $(ARGS)

.PHONY: python-test
python-test: setup ## Tests of the installed package, in JOBS (2) processes (ARGS="-k fork")
	@cargo build --quiet --release --locked -p subduct-bench
	$(BIN)/python -m pytest --numprocesses $(JOBS) $(ARGS)

.PHONY: soak
soak: setup ## Churn for SOAK_SECONDS (600) and fail if memory, mappings or handles grow
	$(BIN)/subduct soak --seconds $(SOAK_SECONDS) $(ARGS)

.PHONY: torture
torture: setup ## Refusals of every kind, and heaps under threads, forks, signals, exec, memory limits, ends of all kinds, for TORTURE_SECONDS (300)
	@$(if $(ARGS),,SUBDUCT_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest --quiet --numprocesses $(JOBS) tests/test_machine.py)
	$(if $(ARGS),,SUBDUCT_SWEEP=long cargo test --locked -p subduct-heap --test refused_calls --test memory_refused)
	@PYTHONPATH=tests $(BIN)/python -B -m torture --seconds $(TORTURE_SECONDS) $(ARGS)

.PHONY: kernels
kernels: setup ## Boot Debian's kernels, 5.10 to 7.3, under emulation, try each, write docs/kernels.md (ARGS="--only 5.10")
	@PYTHONPATH=tools $(BIN)/python -B -m kernels $(ARGS)

.PHONY: bench
bench: setup ## Measure everything beside the bare kernel, write docs/performance.md and docs/pause.svg (ARGS="pause move" for some)
	$(BIN)/python -B tools/benchmarks.py $(ARGS)

.PHONY: peers
peers: setup $(BENCH)/.tools ## The same churn on subduct, Java, Go and CPython; table and plot (ARGS="--records 100000 --runs 1")
	@bench/peers/install.sh $(if $(PEERS_GO),go)
	cargo build --release --locked -p subduct-bench
	$(BIN)/python -B bench/peers/run.py $(ARGS)

.PHONY: lock
lock: ## Pin requirements/*.in again, at today's versions
	$(PYTHON) -m venv target/lock
	target/lock/bin/pip install --quiet uv
	for name in dev kernels bench; do env -u PIP_FIND_LINKS target/lock/bin/uv pip compile --quiet --upgrade --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--output-file requirements/$$name.txt requirements/$$name.in; done

.PHONY: clean
clean: ## Remove everything that was built
	rm -rf $(VENV) target dist .hypothesis .mypy_cache .pytest_cache .ruff_cache .test-evidence.json

$(TOOLS): requirements/dev.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer found; name one with PYTHON=..." >&2; exit 1; }
	@command -v cargo > /dev/null || { echo "make: cargo not found; install a Rust toolchain (1.90 or newer)" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/dev.txt
	@touch $@

$(BENCH)/.tools: requirements/bench.txt | $(TOOLS)
	$(PYTHON) -m venv --clear $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --require-hashes --requirement requirements/bench.txt
	@touch $@

.PHONY: fuzz-build
fuzz-build:
	RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --release --locked --manifest-path fuzz/Cargo.toml \
		--target $(HOST) --target-dir target/fuzz

$(PACKAGE): $(TOOLS) $(SOURCES)
	rm -rf target/wheels
	$(BIN)/maturin build --release --locked --compatibility linux --interpreter $(BIN)/python --out target/wheels
	$(BIN)/python -m pip install --quiet --no-index --no-deps --force-reinstall target/wheels/subduct-*.whl
	@touch $@
