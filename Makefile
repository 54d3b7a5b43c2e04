# Everything is run from here, the same on a laptop and in CI (.ci/run).
# The modules are found, not listed: a new line in go.work is enough.

MODULES = $(shell go list -m -f '{{.Dir}}')

GOLANGCI_VERSION := v2.15.0
GOLANGCI := $(CURDIR)/.tools/$(GOLANGCI_VERSION)/golangci-lint

# in-modules runs a command in each module, and stops at the first that fails.
define in-modules
	@set -e; for dir in $(MODULES); do echo "== $${dir#$(CURDIR)/}: $(1)"; (cd "$$dir" && $(1)); done
endef

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# These tests come within a few milliseconds of the timeout and fail on a busy machine.
# `make faults` runs row 30. Run the others by hand.
NEAR_TIMEOUT = ^TestRow30|^TestFarServer$$|^TestBanCostsTheSame|^TestBansOfManyProcesses

# These are in files that the race detector leaves out: nothing runs beside them.
ABOUT_TIME = ^TestRow3[1-4]|^TestBurst|^TestBusyProcess|^TestImpatientCallers|^TestFrozenServer|^TestIdleConnections|^TestQuestionsWhen|^TestSlowServer

.PHONY: test
test: redis cc chromium nginx ## test all modules with the race detector, and then what is about time without it
	CGO_ENABLED=1 go test -race -timeout 20m work
	go test -count=1 -p 1 -timeout 10m -run '$(ABOUT_TIME)' ./core/redisstream ./examples/faults
	go test -count=1 ./examples/internal/documents # go does not see that files outside of the module have changed

.PHONY: test-alone
test-alone: redis chromium nginx ## test each module without the workspace, as its users get it
	$(call in-modules,GOWORK=off go test ./...)

# Where servers differ: the store with its suite, what starts the servers, and programs that use both.
SERVER_TESTS = ./core/redistest ./core/redisstream ./core/storetest/... ./examples/contract ./examples/faults

.PHONY: servers
servers: ## unpack Redis 8.0, Valkey 8.1 and Valkey 9.1 from Debian's packages into .tools/servers
	@.ci/servers.sh

# As with make test, the tests about time run alone.
test-on-server = go test -count=1 -timeout 15m -skip '$(NEAR_TIMEOUT)|$(ABOUT_TIME)' $(SERVER_TESTS) && \
	go test -count=1 -p 1 -timeout 10m -run '$(ABOUT_TIME)' ./core/redisstream ./examples/faults

.PHONY: test-server
test-server: redis ## test with the installed server, or with REDIS_SERVER, what depends on it
	$(test-on-server)

.PHONY: test-servers
test-servers: redis ## test with the installed server and with those of `make servers` (about 30 minutes)
	@set -e; servers=$$(.ci/servers.sh); failed=; for server in "$$REDIS_SERVER" $$servers; do \
		echo "== $${server:-the installed server}"; export REDIS_SERVER="$$server"; \
		{ $(test-on-server); } || failed="$$failed $${server:-the installed server}"; done; \
	test -z "$$failed" || { echo "failed:$$failed" >&2; exit 1; }

.PHONY: bench-servers
bench-servers: redis ## measure the scripts on the servers of test-servers, as a table (about 6 minutes)
	@.ci/bench-servers.sh >core/benchmarks/results/servers.md.new
	@mv core/benchmarks/results/servers.md.new core/benchmarks/results/servers.md && cat core/benchmarks/results/servers.md

# The fuzz targets are found as well; go test runs one at a time.
FUZZTIME ?= 20s

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (20s)
	@set -e; grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z]+' $(MODULES) | sort -u | while IFS=: read -r file target; do \
		dir=$$(dirname "$$file") target=$${target#func }; echo "== $${dir#$(CURDIR)/}: $$target"; \
		(cd "$$dir" && go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -parallel 2 .); done

.PHONY: faults
faults: redis cc ## rerun the table of faults, examples/faults/TABLE.md (about 15 minutes)
	cd examples/faults && FAULTS=full go test -count=1 -timeout 40m

# How long, and a file to append the figures to as JSON.
SOAK ?= 10m
JSON ?=

.PHONY: soak
soak: redis cc ## load on the example servers for SOAK (10m) while Redis suffers faults
	cd examples && CGO_ENABLED=1 go test -race -count 1 -timeout 0 -v ./soak -args -soak $(SOAK) $(if $(JSON),-json $(abspath $(JSON)))

.PHONY: bench
bench: redis ## measure this and its peers into core/benchmarks/results, 15 minutes (QUICK=1: 2, into results/quick)
	go run ./core/benchmarks -out core/benchmarks/results$(if $(QUICK),/quick -quick)

.PHONY: histories
histories: redis ## 100,000 histories each of leases, slots and calendar periods against models, also by the real scripts (half an hour)
	LEASE_HISTORIES=100000 go test -count 1 -timeout 60m -run Histories -v ./core/internal/lease
	SLOT_HISTORIES=100000 go test -count 1 -timeout 60m -run Histories -v ./core/internal/keeper
	go test -count 1 -timeout 60m -run '^TestConformance$$/^Slots$$/^property$$' -v ./core/internal/memory ./core/redisstream -rapid.nofailfile -rapid.checks=100000
	go test -count 1 -timeout 60m -run '^TestConformance$$/^Periods$$/^Property' -v ./core/internal/memory ./core/redisstream -rapid.nofailfile -rapid.checks=15000 # of each of seven kinds

.PHONY: simulate
simulate: ## simulate the load of 10 to 2,000 processes with leases on Redis: core/benchmarks/leases (ten minutes)
	go run ./core/benchmarks/leases -out core/benchmarks/leases

.PHONY: lint
lint: fmt-check vet lint-words lint-scripts $(GOLANGCI) ## gofmt, go vet, words, scripts and golangci-lint, which the first run builds (minutes)
	$(call in-modules,$(GOLANGCI) run ./...)

.PHONY: lint-words
lint-words: ## fail where a comment or a text has a phrase of .ci/words
	@.ci/lint-words.sh

.PHONY: lint-scripts
lint-scripts: luacheck node ## luacheck for Lua, and the syntax of JavaScript
	@.ci/lint-scripts.sh

GOVULNCHECK_VERSION := v1.9.0

.PHONY: vulncheck
vulncheck: ## look for known weaknesses in what every module calls
	$(call in-modules,go run golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION) ./...)

.PHONY: vet
vet: ## go vet in every module
	$(call in-modules,go vet ./...)

.PHONY: fmt
fmt: ## format all Go files
	@gofmt -w $(MODULES)

.PHONY: fmt-check
fmt-check: ## fail if a Go file is not formatted
	@files=$$(gofmt -l $(MODULES)) && test -z "$$files" || { echo "not formatted, run \`make fmt\`:"; echo "$$files"; exit 1; }

# No go work sync: it would raise the requirements of each module to those of
# its siblings, which its users don't need.
.PHONY: tidy
tidy: ## go mod tidy in every module
	$(call in-modules,go mod tidy)

.PHONY: tidy-check
tidy-check: ## fail if `make tidy` would change anything
	@.ci/tidy-check.sh

.PHONY: api
api: ## list what the modules export in examples/internal/api/api.txt
	@go run ./examples/internal/api >api.new && mv api.new examples/internal/api/api.txt || { rm -f api.new; exit 1; }

.PHONY: api-check
api-check: ## fail if `make api` would change anything
	@go run ./examples/internal/api | diff -u examples/internal/api/api.txt - || { echo "the exported API changed: run \`make api\` and look at the difference" >&2; exit 1; }

.PHONY: release
release: ## commit and tag VERSION of every module, to be pushed by hand (DRY=1: in a clone, .tools/release)
	@DRY='$(DRY)' .ci/release.sh '$(VERSION)'

.PHONY: release-test
release-test: ## use a dry release of HEAD as its users will, from a module proxy (a minute)
	@.ci/release-test.sh

.PHONY: redis
redis: ## install redis-server, which the tests start, unless it is there
	@.ci/need.sh redis

.PHONY: cc
cc: ## install a C compiler, which the race detector needs, unless it is there
	@.ci/need.sh cc

.PHONY: chromium
chromium: ## install Chromium, which the tests of the monitor's page run, unless it is there
	@.ci/need.sh chromium

.PHONY: nginx
nginx: ## install nginx, which tests put before a service, unless it is there
	@.ci/need.sh nginx

.PHONY: luacheck
luacheck: ## install luacheck, unless it is there
	@.ci/need.sh luacheck

.PHONY: node
node: ## install Node.js, unless it is there
	@.ci/need.sh node

$(GOLANGCI):
	GOBIN=$(@D) GOWORK=off go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
