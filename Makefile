# make demo shows the main job, make test proves it; make help lists the rest.
# Go, make and bash are all that demo, run and test need. Tools for lint and proto are installed into .tools/.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

BUF_VERSION                := v1.75.0
PROTOC_GEN_GO_VERSION      := v1.36.12
PROTOC_GEN_GO_GRPC_VERSION := v1.6.2
PROTOC_GEN_VTPROTO_VERSION := v0.6.1-0.20240319094008-0393e58bdf10
GOLANGCI_LINT_VERSION      := v2.15.0

# Binaries carry their version and nothing of the machine that built them.
GO_BUILD  := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'
EXE       := $(shell go env GOEXE)
SHA256SUM := $(if $(shell command -v sha256sum),sha256sum,shasum -a 256)
PLUGINS   := failover cachesync
EXAMPLE   := $(shell find bootstrap/example -type f)

# The folder of a tool has its version in its name, so a new version is installed and an old one not used.
TOOLS              := $(CURDIR)/.tools
BUF                := $(TOOLS)/buf-$(BUF_VERSION)/buf
PROTOC_GEN_GO      := $(TOOLS)/protoc-gen-go-$(PROTOC_GEN_GO_VERSION)/protoc-gen-go
PROTOC_GEN_GO_GRPC := $(TOOLS)/protoc-gen-go-grpc-$(PROTOC_GEN_GO_GRPC_VERSION)/protoc-gen-go-grpc
PROTOC_GEN_VTPROTO := $(TOOLS)/protoc-gen-go-vtproto-$(PROTOC_GEN_VTPROTO_VERSION)/protoc-gen-go-vtproto
GOLANGCI_LINT      := $(TOOLS)/golangci-lint-$(GOLANGCI_LINT_VERSION)/golangci-lint

# Packages with whole-system tests; they want the machine for themselves and come after the others.
UNIT := $$(go list ./... | grep -v /bootstrap/e2e)

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 8

.PHONY: dist
dist: $(EXAMPLE:bootstrap/example/%=dist/config/%) ## build bin, lib with its checksums, and an example config into dist/
	@mkdir -p dist/bin dist/lib
	$(GO_BUILD) -o dist/bin/bootstrap$(EXE) ./bootstrap
	for plugin in $(PLUGINS); do $(GO_BUILD) -o dist/lib/$$plugin$(EXE) ./plugins/$$plugin; done
# In one step, because nodes that run may start a plugin anew at any time.
	@cd dist/lib && sums=$$(mktemp .sums-XXXXXX) && $(SHA256SUM) $(PLUGINS:%=%$(EXE)) > $$sums \
		&& chmod 644 $$sums && mv $$sums SHA256SUMS

# What has been changed in dist/config since stays as it is.
dist/config/%: bootstrap/example/%
	@mkdir -p $(@D)
	@cp $< $@

.PHONY: demo
demo: dist ## three nodes, one killed and one stopped while 2000 files flow; KEEP=1 keeps the folder
	@go build -buildvcs=false -o dist/e2e/demo$(EXE) ./bootstrap/e2e/demo
	@dist/e2e/demo$(EXE) -dist dist -dir dist/demo $(if $(KEEP),-keep)

NODE ?= 1
.PHONY: run
run: dist ## one node to play with: drop a file into dist/in, see dist/out; make run NODE=2 elsewhere joins
	@echo "node-$(NODE): dist/in -> dist/out, ends with Ctrl-C"
	@cd dist && exec bin/bootstrap$(EXE) -Dnode.id=node-$(NODE) -Ddata.dir=data/node-$(NODE) bootstrap.properties

.PHONY: test
test: ## unit and scenario tests, then real nodes on loopback
	go test -shuffle=on $(UNIT)
	go test -count=1 -timeout=20m ./bootstrap/e2e/...

.PHONY: race
race: ## unit tests, and the story with real nodes, under the race detector
	CGO_ENABLED=1 go test -race -shuffle=on $(UNIT)
	CGO_ENABLED=1 UNDERSTUDY_E2E_RACE=1 go test -count=1 -timeout=20m -run 'TestStory$$|TestCleanStop|TestPluginKilled|TestStrangers' ./bootstrap/e2e

.PHONY: e2e
e2e: ## whole-system tests alone; as root with iproute2 also in network namespaces
	UNDERSTUDY_NETNS=1 go test -count=1 -timeout=30m -v ./bootstrap/e2e/...

.PHONY: bench
bench: ## benchmarks, in the format that benchstat reads
	go test -run='^$$' -bench=. -benchmem ./...

N ?= 1000000
SEED ?= 0
.PHONY: sim
sim: ## the simulation of the election: N=1000000 schedules, or one with its trace: SEED=7
	go test -count=1 -timeout=0 -run='TestSimulation$$' -v ./failover/election -sim.schedules=$(N) -sim.seed=$(SEED) | grep -v '^===' 

FUZZTIME ?= 10s
.PHONY: fuzz
fuzz: ## every fuzz target, FUZZTIME=10s each
	.ci/fuzz $(FUZZTIME)

.PHONY: lint
lint: $(GOLANGCI_LINT) $(BUF) ## go vet, golangci-lint, buf lint
	go vet ./...
	$(GOLANGCI_LINT) run ./...
	$(BUF) lint

.PHONY: proto
proto: $(BUF) $(PROTOC_GEN_GO) $(PROTOC_GEN_GO_GRPC) $(PROTOC_GEN_VTPROTO) ## generate proto/gen anew
	cd proto && PATH="$(dir $(PROTOC_GEN_GO)):$(dir $(PROTOC_GEN_GO_GRPC)):$$PATH" $(BUF) generate --template buf.gen.yaml ..
	cd proto && PATH="$(dir $(PROTOC_GEN_VTPROTO)):$$PATH" $(BUF) generate --template buf.gen.datagram.yaml \
	  --path understudy/failover/v1/datagram.proto --path understudy/failover/v1/liveness.proto --path understudy/cluster/v1 ..

.PHONY: check
check: ## everything that CI runs
	.ci/run

.PHONY: clean
clean: ## remove dist/ and .tools/
	rm -rf dist .tools

$(BUF):
	GOBIN=$(@D) go install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
$(PROTOC_GEN_GO):
	GOBIN=$(@D) go install google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO_VERSION)
$(PROTOC_GEN_VTPROTO):
	GOBIN=$(@D) go install github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto@$(PROTOC_GEN_VTPROTO_VERSION)
$(PROTOC_GEN_GO_GRPC):
	GOBIN=$(@D) go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@$(PROTOC_GEN_GO_GRPC_VERSION)
$(GOLANGCI_LINT):
	GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
