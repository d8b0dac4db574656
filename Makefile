# Everything here is `cargo xtask`; this file only gives it the names that people type.

.DEFAULT_GOAL := help
.PHONY: help run test torture fuzz conformance bench replay sim build tools

help: ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: ## Build the server and start it on 127.0.0.1:4566, with its data in ./lamp-data
	cargo build --release --package lamp
	target=$$(cargo metadata --format-version 1 --no-deps | sed -E 's/.*"target_directory":"([^"]*)".*/\1/') && \
	exec "$$target/release/lamp" start --data-dir $${LAMP_DATA_DIR:-lamp-data}

build: ## Build the release binary
	cargo build --release --package lamp

tools: ## Install the clients that the end-to-end tests drive
	cargo xtask tools

test: ## Every check: format, lint, unit, property, kill and end-to-end tests
	cargo xtask test

torture: ## The same tests at full length; most of an hour
	cargo xtask torture

fuzz: ## A minute of fuzzing for each parser of outside bytes (needs nightly and cargo-fuzz)
	cargo xtask fuzz

conformance: ## LocalStack's test-suite as the judge: LOCALSTACK=checkout [SERVICES=..] [SECTION=..] [MATCH=..] [ALL=1]
	cargo xtask conformance $(if $(LOCALSTACK),"$(LOCALSTACK)") $(if $(SERVICES),--services "$(SERVICES)") \
	    $(if $(SECTION),--section "$(SECTION)") $(if $(MATCH),--match "$(MATCH)") $(if $(ALL),--all)

bench: ## Speed, as ratios to peers and to the machine's limit in the same run [ONLY="invoke_warm cold_start"]
	cargo xtask bench $(ONLY)

replay: ## An hour of a public trace against the server, 20 times as fast: TRACE=folder [OPTIONS="--functions 300"]
	cargo xtask replay "$(TRACE)" $(OPTIONS)

sim: ## Keep-alive policies on a public trace, in virtual time: TRACE=folder [OPTIONS="--memory 16"]
	cargo xtask sim "$(TRACE)" $(OPTIONS)
