# What can be done with this repository; `make` alone lists it.

GO          ?= go
FUZZTIME    ?= 30s
TESTTIMEOUT ?= 15m
# More arguments for go test, such as TESTFLAGS='-v -run TestName'.
TESTFLAGS   ?=
# Arguments for the benchmark, such as BENCHFLAGS='-db sqlite'; see -help.
BENCHFLAGS  ?=

# Everything but the tests is built without C, as the releases are. The race
# detector of the tests needs it, and with it comes go-sqlite3, which GORM's
# driver names and nobody runs: -O0 spares its minute of compiling.
NOCGO   = CGO_ENABLED=0
TESTCGO = CGO_ENABLED=1 CGO_CFLAGS=-O0

GOFMT   = "$$($(GO) env GOROOT)/bin/gofmt"
GOFILES = find . -name '*.go' ! -path './.git/*' ! -path './web/node_modules/*'

.PHONY: help run build test torture bench bench-agent lint fmt fuzz clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s  %s\n", $$1, $$2 }' Makefile

run: ## Start the backend on port 3003, and on Linux the agent beside it
	GO="$(GO)" scripts/run.sh

build: ## Build ./ospulse-backend and ./ospulse-agent
	$(NOCGO) $(GO) build -trimpath -ldflags "-s -w" -o ospulse-backend main.go
	$(NOCGO) $(GO) build -trimpath -ldflags "-s -w" -o ospulse-agent ./agent

test: ## Run all tests with the race detector, first installing what they need
	scripts/install-deps.sh
	$(TESTCGO) $(GO) run tools/gotest/main.go -race -timeout $(TESTTIMEOUT) $(TESTFLAGS) ./...

torture: ## Run the fault tests with 20 rounds of each fault
	scripts/install-deps.sh
	TORTURE_ROUNDS=20 $(TESTCGO) $(GO) test -race -timeout 30m -count 1 -v -run 'Killed|UnderLoad|Crash|FullDisk|FullSpool|DatabaseIsAway|SlowClients|Delet' .

bench: ## Measure the backend beside this machine's limits
	scripts/install-deps.sh
	$(NOCGO) $(GO) run ./bench $(BENCHFLAGS)

bench-agent: ## Measure the agent of Linux, as root: what it costs, what it loses
	scripts/install-deps.sh
	$(NOCGO) $(GO) run ./agent/bench $(BENCHFLAGS)

lint: ## Check formatting, go vet and the rules in .golangci.yml
	@files=$$($(GOFILES) -exec $(GOFMT) -l {} +) || exit; \
	if [ -n "$$files" ]; then echo "not formatted, run make fmt:"; echo "$$files"; exit 1; fi
	$(NOCGO) $(GO) vet ./...
	$(NOCGO) $(GO) tool -modfile=tools/go.mod golangci-lint run ./...
	$(NOCGO) $(GO) -C tools tool golangci-lint run ./...

fmt: ## Format the Go code
	@$(GOFILES) -exec $(GOFMT) -l -w {} +

fuzz: ## Run every fuzz target for FUZZTIME (30s)
	@targets=$$($(NOCGO) $(GO) test -list '^Fuzz' ./...) || { echo "$$targets"; exit 1; }; \
	echo "$$targets" | awk '/^Fuzz/ { name[n++] = $$1 } /^ok/ { while (n > 0) print $$2, name[--n] }' | \
	while read -r package target; do \
		echo "== $$package $$target"; \
		$(NOCGO) $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null || exit 1; \
	done

clean: ## Remove what was built; recorded data stays
	rm -f ospulse-backend ospulse-backend.exe ospulse-agent coverage.out ./*.test
