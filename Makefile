# `make run` and `make test` are the two commands; each installs what it needs first. `make` alone lists the rest.
.DEFAULT_GOAL := help
.PHONY: help run test install bench fuzz web contracts docs fmt clean

export PATH := $(HOME)/.cargo/bin:$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/millrace/node/bin:$(PATH)

# What `make run` streams: the demo picture; a file in a loop (SOURCE=file.mp4); or nothing, waiting for an encoder (DEMO=none).
DEMO ?= demo
SOURCE ?= $(DEMO)
# More flags for `millrace up`, e.g. ARGS="--transcoders 3".
ARGS ?=
# Where `make install` puts the program: PREFIX/bin. Debian has this one in a user's PATH from the next login on.
PREFIX ?= $(HOME)/.local

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

run: web ## the whole network on this machine, and the console (first time: 6 min to install and build); SOURCE=file.mp4, DEMO=none
	cargo build --release --locked --bin millrace
	@exec cargo run --quiet --release --locked --bin millrace -- up --source '$(SOURCE)' $(ARGS)

test: ## every check and test there is (first time: 75 min; then 50 min)
	@scripts/bootstrap test
	@scripts/test $(ONLY)

install: web ## the program alone, for a node of one role, in ~/.local/bin (first time: 6 min); PREFIX=/usr/local for everybody
	cargo build --release --locked --bin millrace
	@install -D target/release/millrace '$(PREFIX)/bin/millrace'
	@echo "$(PREFIX)/bin/millrace is there:" && '$(PREFIX)/bin/millrace' --version

bench: web ## the figures of docs/bench.md, measured (about 20 min); ARGS=--ingest: only ingest, with more and more publishers (15 min)
	cargo build --release --locked --bin millrace
	@exec cargo run --quiet --release --locked --bin millrace -- bench $(ARGS)

fuzz: ## what strangers send, fuzzed, SECONDS=60 for each target (first time: 10 min to build); stops at the first finding
	@fuzz/run $(or $(SECONDS),60)

web: installed web/dist/index.html ## the console, built into web/dist (20 s)

.PHONY: installed
installed:
	@scripts/bootstrap run

# Where nothing of it has changed, neither it nor the program that it is built into is built again.
CONSOLE := $(shell find web contracts/artifacts \( -name node_modules -o -path web/dist -o -path web/src/abi \) -prune -o -type f -print)
web/dist/index.html: $(CONSOLE) | installed
	@cd web && npm run --silent build

contracts: ## compile the contracts and write contracts/artifacts anew (30 s)
	@scripts/bootstrap test
	@cd contracts && npm run --silent build

docs: ## write docs/reference anew from the code (1 min)
	@scripts/docs

fmt: ## format the Rust and the contracts (2 s)
	@cargo fmt --all
	@cd contracts && npx --no-install forge fmt

clean: ## remove everything that was built, and the data of `make run`
	rm -rf target data web/dist web/node_modules contracts/node_modules contracts/out contracts/cache tests/browser/node_modules
