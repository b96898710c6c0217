# What one needs to work on Weft. `make help` lists it; only Go is required.

GO        ?= go
JOBS      ?= 2
TESTFLAGS ?=
SEEDS     ?= 50
MUTANTS   ?= all
BENCH     ?= .
MOTO      := moto[server]==5.2.1
LINTER    := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# Tests look for moto through python3, wherever it comes from.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: help build test moto buildah test-race test-seeds test-peers mutants lint bench

help: ## Print this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

build: ## Build the programs into bin/.
	$(GO) build -trimpath -o bin/ ./...

test: moto buildah ## Set up what the tests need and run them all.
	$(GO) vet -tags peers ./...
	@$(MAKE) --no-print-directory test-race test-seeds test-peers

# DynamoDB is tested against moto, an emulator written in Python. Where moto
# is there or can be had, its tests may not be skipped.
moto:
	@python3 -c 'import moto.server' 2>/dev/null || command -v moto_server >/dev/null || { \
		python3 -m venv .venv && .venv/bin/pip install --quiet --retries 1 --timeout 20 '$(MOTO)'; \
	} >.venv.log 2>&1 || { rm -rf .venv; \
		echo "The DynamoDB suite will be skipped: moto is not here and could not be fetched (python3 with venv, and a package index, are needed); .venv.log says why."; }
	@test ! -d .venv || rm -f .venv.log

# The tests of the images build them, without a daemon, as root.
buildah:
	@infra/images/setup.sh

test-race: ## Run all tests under the race detector, the simulation for a few seeds.
	@require="$$WEFT_REQUIRE_CLOUD"; \
	if python3 -c 'import moto.server' 2>/dev/null || command -v moto_server >/dev/null; then require=1; fi; \
	export WEFT_REQUIRE_CLOUD="$$require"; \
	$(GO) test -race -p $(JOBS) -timeout 10m $(TESTFLAGS) $$($(GO) list ./... | grep -v '/loadtest/sim$$') && \
	$(GO) test -race -timeout 10m $(TESTFLAGS) ./loadtest/sim -seeds 3

test-seeds: ## Run the simulation: the mesh in virtual time under faults, and hours without a store, SEEDS=50.
	$(GO) test -timeout 10m $(TESTFLAGS) ./loadtest/sim -run 'Seeds$$|Outage$$' -seeds $(SEEDS)

test-peers: ## Try what `weft bench peers` does on a small size, where npm can fetch it.
	@if npm ping --fetch-retries=0 --fetch-timeout=10000 >/dev/null 2>&1; then \
		$(GO) test -race -tags peers $(TESTFLAGS) ./loadtest/bench -run TestPeers; \
	else echo "The peers' rooms are not tried: they need Node.js, npm and its registry."; fi

mutants: ## Break one rule of the code after the other, and see that the simulation notices: MUTANTS=all.
	$(GO) test -timeout 60m -v ./loadtest/sim -run PlantedViolations -mutants $(MUTANTS)

lint: ## Check format and style, on every platform that is supported.
	@unformatted="$$(gofmt -l control functions infra loadtest simnode 2>/dev/null)"; \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	GOOS=darwin $(GO) build ./...
	@if command -v golangci-lint >/dev/null; then golangci-lint run ./...; else $(GO) run $(LINTER) run ./...; fi

bench: ## Run the benchmarks, BENCH=pattern.
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -p 1 ./...
