# The only entry point: every command that people and CI need. Type `make` for the list.

# What `make services` starts, and where; see `target/debug/services --help`.
DIR ?= .services
ONLY ?=
# What `make chaos` runs; `target/debug/chaos --list` names them.
ROWS ?=
# For the programs that `make bench-…` start.
FLAGS ?=

# rustup puts cargo here; a shell opened before its installation does not know.
export PATH := $(PATH):$(HOME)/.cargo/bin

SERVICES = target/debug/services

.DEFAULT_GOAL := help
.PHONY: help deps lean-deps build services services-stop services-status demo chaos bench-programs bench-edge bench-fleet \
	bench-model bench-detection BENCHMARKS.md test lint clean

help: ## list the targets
	@sed -n 's/^\([A-Za-z.-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 24

deps: ## install what building and testing need (system packages as root; the rest into .deps)
	@tests/services/install.sh

# Without what only tests need.
lean-deps:
	@tests/services/install.sh --lean

build: lean-deps ## compile everything
	cargo build --workspace --bins

services: lean-deps ## start mosquitto, Kafka and mongod; print the variables to export
	@cargo build -q --workspace --bin services
	@$(SERVICES) up --dir $(DIR) $(if $(ONLY),--only $(ONLY))

services-stop: ## stop them; their data stays in .services
	@if [ -x $(SERVICES) ]; then $(SERVICES) down --dir $(DIR); fi

services-status: ## say which of them run
	@if [ -x $(SERVICES) ]; then $(SERVICES) status --dir $(DIR); else echo "not built yet: make services"; fi

demo: build ## the whole system at work, from simulated vehicles to alerts (KEEP=1 leaves it running)
	@$(if $(KEEP),KEEP=$(KEEP)) target/debug/demo

chaos: build ## one fault after the other under load, judged by the ledger (ROWS="a b" runs only these)
	@target/debug/chaos $(ROWS)

# What is measured is built as it is shipped; what measures needs no speed of its own.
bench-programs: lean-deps
	cargo build --release -p motorcade-edge -p motorcade-simulator
	cargo build -p tests --bin bench

bench-edge: bench-programs ## the edge beside other bridges (FLAGS="--peer NAME=COMMAND"; FLAGS=--help tells all)
	@target/debug/bench edge $(FLAGS)

bench-fleet: bench-programs ## 100,000 vehicles, 10,000 readings/s for ten minutes, every one looked for (FLAGS=--help)
	@target/debug/bench fleet $(FLAGS)

bench-model: lean-deps ## what scoring costs, beside other scorers (FLAGS="--peer NAME=COMMAND"; FLAGS=--help tells all)
	cargo build --release -p motorcade
	cargo build -p tests --bin bench --bin control
	@target/debug/bench model $(FLAGS)

# libtorch is told of the processor before it loads, and each worker computes on one thread.
bench-detection: lean-deps ## every kind of detector on a simulated fleet, beside simpler ones (FLAGS=--help)
	cargo build --release -p detection
	@ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1 target/release/detection $(FLAGS)

BENCHMARKS.md: ## write the page out of the last reports
	@cargo build -q -p tests --bin bench
	@target/debug/bench write $(FLAGS)

lint: ## formatting and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

test: deps ## every check that CI runs
	@$(MAKE) --no-print-directory lint
	cargo build --workspace --bins
	cargo test --workspace

clean: services-stop ## remove what was built and what services stored; .deps stays
	cargo clean
	rm -rf .services
