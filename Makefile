# The two commands of a fresh machine are `make demo` and `make test`. What is missing (a C compiler, a PostgreSQL server) is
# installed through apt for root; for others the exact command is printed, see scripts/need.
#
#   make build     every program of cmd/ into bin/
#   make demo      one primary, two standbys and pgpool until Ctrl-C; PORT=9999 NODES=3 PGPORT=0, CHECK=1 runs a check instead
#   make test      all tests with the race detector; TESTFLAGS='-run Name -v', PKGS=./proxy/...
#   make check     format, vet, staticcheck and the short list of .golangci.yml; ranks, package comments, generated files
#   make fmt       formats the sources
#   make fuzz      every fuzz target for FUZZTIME=30s; FUZZ=Name chooses
#   make bench     the comparison with other poolers, see bench.mk
#   make ha        kills servers under load and judges what clients felt, see ha.mk
#   make clean     removes bin/

GO ?= go
PKGS ?= ./...
TESTFLAGS ?=
FUZZTIME ?= 30s
FUZZ ?= .
PORT ?= 9999
NODES ?= 3
PGPORT ?= 0
CHECK ?=

# No version stamp: git refuses to tell it when the checkout belongs to somebody else.
export GOFLAGS := -buildvcs=false $(GOFLAGS)

LINT = $(GO) tool -modfile=tools/go.mod golangci-lint

.DEFAULT_GOAL := build
.PHONY: build demo test check lint fmt generated fuzz clean need-compiler need-server

build: need-compiler
	@mkdir -p bin
	$(GO) build -o bin/ ./cmd/...

demo: build need-server
	bin/pgpool_demo -port $(PORT) -nodes $(NODES) -pgport $(PGPORT) $(if $(filter-out 0,$(CHECK)),-check)

test: need-compiler need-server
	GOPGPOOL_REQUIRE_SERVER=1 $(GO) test -race -timeout 9m $(TESTFLAGS) $(PKGS)

check: need-compiler lint generated
	$(GO) test ./internal/ranks

lint: need-compiler
	$(LINT) run ./...

fmt:
	$(LINT) fmt ./...

# Fails if a generated file is not what its source makes of it.
generated: need-compiler
	scripts/generated

fuzz: need-compiler
	FUZZTIME=$(FUZZTIME) FUZZ='$(FUZZ)' scripts/fuzz

clean:
	rm -rf bin

need-compiler:
	@scripts/need compiler

need-server:
	@scripts/need server

bench bench-profile ha: need-server
include bench.mk
include ha.mk
include extension/Makefile
