# The commands of this repository. `make` alone lists them.

GO          ?= go
FUZZTIME    ?= 30s
TESTTIMEOUT ?= 45m
# More arguments for go test, such as TESTFLAGS='-v -run TestName'.
TESTFLAGS   ?=
# Arguments for the benchmarks, such as BENCHFLAGS='-db sqlite -run real'. -help lists them,
# and --help those of the dashboard's benchmark.
BENCHFLAGS  ?=

# The dashboard needs Node.js. tools/install-deps.sh installs it in web/.node if the
# machine's version is too old.
export PATH := $(CURDIR)/web/.node/node_modules/.bin:$(PATH)
MODULES = web/node_modules/.package-lock.json

# Everything except the tests is built without cgo, like the releases. The race detector
# needs cgo, which also compiles go-sqlite3, a dependency of GORM's driver that never
# runs: -O0 saves a minute.
NOCGO   = CGO_ENABLED=0
TESTCGO = CGO_ENABLED=1 CGO_CFLAGS=-O0
# The race detector does not instrument SQLite, which is C translated to Go, and its C
# library. Their memory is mapped beside Go's heap, where the detector sees nothing. It
# does not instrument the compression, regular expressions and the validation of schemas
# either, whose calls share no memory. The tests would spend most of their time in these
# packages.
NORACE  = modernc.org/sqlite/lib modernc.org/libc modernc.org/memory github.com/klauspost/compress/... regexp regexp/syntax github.com/santhosh-tekuri/jsonschema/... go.yaml.in/yaml/...
RACE    = -race $(foreach p,$(NORACE),"-gcflags=$(p)=-race=false -d=checkptr=0")
# A program with the detector otherwise waits for a second before it exits, and the tests
# start hundreds.
export GORACE = atexit_sleep_ms=0

# Many tests wait more than they compute, so more of them run at a time than there are
# processors.
ATONCE  = -p 3 -parallel 4
# Tests against the data of others exist only if REFEREE_DIR names its folder.
REFEREE = $(if $(REFEREE_DIR),-tags referee)
# The packages that take longest start first, so that no processor is idle at the end.
LONGEST = ./agent/attacks ./agent ./test/judge

DEADCODE = $(NOCGO) $(GO) tool -modfile=tools/go.mod deadcode
GOFMT   = "$$($(GO) env GOROOT)/bin/gofmt"
GOFILES = find . -name '*.go' ! -path './.git/*' ! -path './web/node_modules/*'

.PHONY: help run build packages test-packages web web-dev web-types test test-go test-e2e test-web test-vm model torture bench bench-agent bench-web screenshots lint fmt fuzz clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s  %s\n", $$1, $$2 }' Makefile

run: ## Start the backend on port 3003, and on Linux the agent beside it
	GO="$(GO)" tools/run.sh

build: ## Build ./ospulse-backend and ./ospulse-agent
	$(NOCGO) $(GO) build -trimpath -ldflags "-s -w" -o ospulse-backend main.go
	$(NOCGO) $(GO) build -trimpath -ldflags "-s -w" -o ospulse-agent ./agent

# VERSION is that of git describe, and TARGETS all systems, unless they are given.
packages: ## Build packages, archives, SBOMs and checksums of a release in dist (VERSION, TARGETS)
	$(GO) -C tools run ./release $(if $(VERSION),-version $(VERSION)) $(if $(TARGETS),-targets $(TARGETS))

test-packages: ## Install, upgrade and remove the packages in a fresh Debian, as root (minutes)
	packaging/test.sh

web: $(MODULES) ## Build the dashboard into web/dist, which is committed
	cd web && npm run build

web-dev: $(MODULES) ## Serve the dashboard as it is edited, for the backend at BACKEND
	cd web && npm run dev

web-types: $(MODULES) ## Generate the dashboard's types from the API's document
	cd web && npm run types

# npm writes this file once it has installed all modules.
$(MODULES): web/package-lock.json
	tools/install-deps.sh
	cd web && npm ci

test: $(MODULES) ## Run all tests, first installing what they need
	tools/install-deps.sh
	@$(MAKE) --no-print-directory --keep-going --jobs=3 test-web test-go test-e2e

# make lint runs go vet. Here it would check all dependencies again, because of the flags.
test-go: ## Run the tests in Go but those of test-e2e, with the race detector
	tools/install-deps.sh
	$(TESTCGO) $(GO) run tools/gotest/main.go -vet=off $(REFEREE) $(RACE) $(ATONCE) -timeout $(TESTTIMEOUT) $(TESTFLAGS) $(LONGEST) $$($(GO) list ./... | grep -v -e '/test/e2e$$' -e '/internal/repository$$')

# These tests move much data, measure memory, and run the program as it is released. The
# race detector would take several times as long. test/judge runs whole backends with it, and
# make torture these tests.
test-e2e: ## Run the tests of the whole backend and of its data, without the race detector
	tools/install-deps.sh
	$(NOCGO) $(GO) run tools/gotest/main.go -vet=off -p 2 -parallel 4 -timeout $(TESTTIMEOUT) $(TESTFLAGS) ./test/e2e ./internal/repository

test-web: $(MODULES) ## Check the dashboard, run its tests, and it in a browser
	tools/install-deps.sh
	cd web && status=0; for kind in check test e2e; do npm run $$kind || status=1; done; exit $$status

test-vm: ## Build the image of the agent's virtual machine and run samples in it, as root (minutes)
	tools/install-deps.sh vm
	$(NOCGO) $(GO) test -tags vm -count 1 -timeout $(TESTTIMEOUT) -run VirtualMachine ./agent

model: ## Check the model of the delivery in every order of its steps (docs/model)
	docs/model/check.sh

torture: ## Inject 1,000 faults while clients check every promise (TORTURE_FAULTS, TORTURE_SEED)
	tools/install-deps.sh
	TORTURE_FAULTS=$${TORTURE_FAULTS:-1000} $(NOCGO) $(GO) test -timeout 4h -count 1 -v -run TestTorture ./test/judge
	TORTURE_ROUNDS=20 $(TESTCGO) $(GO) test $(RACE) -timeout 2h -count 1 -v -run 'Killed|UnderLoad|Crash|CutStream|FullDisk|FullSpool|DatabaseIsAway|SlowClients|Delet|PowerLoss|FailedSync' ./test/e2e
	$(TESTCGO) $(GO) test $(RACE) -timeout 1h -count 1 ./internal/repository
	[ $$(id -u) != 0 ] || TORTURE_ROUNDS=20 $(TESTCGO) $(GO) test $(RACE) -parallel 4 -timeout 1h -count 1 -v -run FailedSync ./agent

bench: ## Measure the backend beside this machine's limits
	tools/install-deps.sh
	$(NOCGO) $(GO) run ./test/bench $(BENCHFLAGS)

bench-agent: ## Measure the agent of Linux, as root: what it costs, what it loses
	tools/install-deps.sh
	$(NOCGO) $(GO) run ./agent/bench $(BENCHFLAGS)

bench-web: $(MODULES) ## Measure the dashboard in a browser, beside its goals
	tools/install-deps.sh
	cd web && npm run --silent bench -- $(BENCHFLAGS)

screenshots: $(MODULES) ## Picture every view of the dashboard, into docs/screenshots
	tools/install-deps.sh
	cd web && npm run --silent screenshots

# Only tests call the test packages (folders named test or *test), except for test/bench,
# which is a program, and test/testbed, which the benchmarks share.
lint: $(MODULES) ## Check formatting, types, go vet, dead code and the rules in .golangci.yml and web/biome.json
	@files=$$($(GOFILES) -exec $(GOFMT) -l {} +) || exit; \
	if [ -n "$$files" ]; then echo "not formatted, run make fmt:"; echo "$$files"; exit 1; fi
	$(NOCGO) $(GO) vet ./...
	$(NOCGO) $(GO) tool -modfile=tools/go.mod golangci-lint run ./...
	$(NOCGO) $(GO) -C tools tool golangci-lint run ./...
	@dead=$$($(DEADCODE) ./...) && untested=$$($(DEADCODE) -test ./...) || exit; \
	dead=$$(echo "$$dead" | grep -Pv '^(?!test/(bench|testbed)/)([^:]*/)?[a-z]*test/'; echo "$$untested"); \
	if [ -n "$$dead" ]; then echo "no program calls these:"; echo "$$dead"; exit 1; fi
	cd web && npm run check

fmt: $(MODULES) ## Format the code
	@$(GOFILES) -exec $(GOFMT) -l -w {} +
	cd web && npm run fix

fuzz: ## Run every fuzz target for FUZZTIME (30s)
	@targets=$$($(NOCGO) $(GO) test -list '^Fuzz' ./...) || { echo "$$targets"; exit 1; }; \
	echo "$$targets" | awk '/^Fuzz/ { name[n++] = $$1 } /^ok/ { while (n > 0) print $$2, name[--n] }' | \
	while read -r package target; do \
		echo "== $$package $$target"; \
		$(NOCGO) $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null || exit 1; \
	done

clean: ## Remove what was built; recorded data stays
	rm -f ospulse-backend ospulse-backend.exe ospulse-agent coverage.out ./*.test
	rm -rf dist
