SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

LISTEN ?= 127.0.0.1:8080
DATA ?= data
CONFIG ?= server/sample/belay.toml

# nextest where it is installed; cargo's own runner does as well.
RUNNER := $(if $(shell command -v cargo-nextest),nextest run,test)
LOGS := target/test-logs
GOOGLE_GENAI := 3.4.0

# It would replace the flags of .cargo/config.toml, which browser and server must agree on.
unexport RUSTFLAGS

.PHONY: help build bundle wasm-target run test lint programs google-genai unit browser bench fmt

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: bundle ## build target/release/belay, the console inside
	cargo build --release -p belay-server

bundle: wasm-target
	cargo run --release -p belay-frontend --bin bundle

wasm-target:
	@if command -v rustup >/dev/null && ! rustup target list --installed | grep -qx wasm32-unknown-unknown; then \
		rustup target add wasm32-unknown-unknown; \
	fi

run: build ## build, then start on http://127.0.0.1:8080 with a sample job (LISTEN=, DATA=, CONFIG=)
	target/release/belay serve --listen $(LISTEN) --data-dir $(DATA) --config $(CONFIG) --sample

test: lint build ## everything: format, lints, unit, integration and browser tests
	@mkdir -p $(LOGS); rm -f $(LOGS)/*; failed=0; \
	for part in unit browser; do \
		$(MAKE) --no-print-directory $$part 2>&1 | tee $(LOGS)/$$part.log || failed=1; \
	done; \
	.ci/summary $(LOGS)/*.log || failed=1; \
	exit $$failed

# The release profiles, so that the macros compiled here serve the builds below as well.
lint: wasm-target
	@if command -v rustup >/dev/null; then rustup component add rustfmt clippy >/dev/null 2>&1 || true; fi
	cargo fmt --check
	cargo clippy --release -p belay-vision --all-targets -- -D warnings
	cargo clippy --release -p belay-batches --all-targets -- -D warnings
	cargo clippy --release -p belay-server --all-targets -- -D warnings
	cargo clippy --release -p belay-app --features ssr --all-targets -- -D warnings
	cargo clippy --release -p belay-frontend --bin bundle -- -D warnings
	cargo clippy --profile wasm-release -p belay-frontend --lib --target wasm32-unknown-unknown -- -D warnings

# ffmpeg reads videos; the tests of kind `hosts` start OpenSSH servers, and try the shells that hosts have; those of batches
# a provider from npm.
programs:
	@missing=; command -v ffmpeg >/dev/null || missing=ffmpeg; \
	command -v /usr/sbin/sshd >/dev/null || missing="$$missing openssh-server openssh-client"; \
	command -v busybox >/dev/null || missing="$$missing busybox"; \
	[ -z "$$missing" ] || .ci/apt-install $$missing
	@server/tests/aimock/setup

# Google's own client checks the double of Gemini. Debian has the module venv without what fills a new environment.
google-genai: target/google-genai/.$(GOOGLE_GENAI)

target/google-genai/.$(GOOGLE_GENAI):
	@rm -rf target/google-genai
	@python3 -c 'import ensurepip' 2>/dev/null || .ci/apt-install python3-venv
	@python3 -m venv target/google-genai && target/google-genai/bin/pip install -q google-genai==$(GOOGLE_GENAI)
	@touch $@

unit: programs
	@failed=0; \
	$(MAKE) --no-print-directory google-genai || failed=1; \
	cargo $(RUNNER) --release --no-fail-fast -p belay-vision || failed=1; \
	cargo $(RUNNER) --release --no-fail-fast -p belay-batches || failed=1; \
	cargo $(RUNNER) --release --no-fail-fast -p belay-server || failed=1; \
	cargo $(RUNNER) --release --no-fail-fast -p belay-app --features ssr || failed=1; \
	exit $$failed

browser: programs
	chromium=$$(end2end/setup) && cd end2end && CHROMIUM_PATH=$$chromium npx --no-install playwright test

bench: build programs ## measure speed, size and accuracy, print the tables
	@if [ ! -x target/opencv/bin/python ]; then \
		(python3 -m venv target/opencv && target/opencv/bin/pip install -q opencv-python-headless) \
		|| { rm -rf target/opencv; echo 'no OpenCV to compare with (needs python3-venv)'; }; \
	fi
	cargo run --release -p belay-vision --example accuracy -- target/accuracy \
		$$([ -x target/opencv/bin/python ] && echo --python target/opencv/bin/python)
	cargo bench -p belay-batches --bench files
	BELAY_BENCH_SET=$(CURDIR)/target/accuracy cargo bench -p belay-server

fmt: ## format the Rust sources
	cargo fmt
