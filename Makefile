# The two commands of a fresh machine are `make demo` and `make test`. What is missing (a C compiler, a PostgreSQL server) is
# installed through apt for root; for others the exact command is printed, see scripts/need.
#
#   make build     every program of cmd/ into bin/, with the names of pcp and pg_enc; PAM=no leaves PAM out, as does want of its header
#   make install   the programs, sample scripts and units into PREFIX=/usr/local, below DESTDIR
#   make demo      one primary, two standbys and pgpool until Ctrl-C; PORT=9999 NODES=3 PGPORT=0, CHECK=1 runs a check instead
#   make test      all tests with the race detector; TESTFLAGS='-run Name -v', PKGS=./proxy/...
#   make scenario  the example of three servers, step by step: recovery, failover, cut networks
#   make check     format, vet, staticcheck and the short list of .golangci.yml; ranks, package comments, generated files
#   make fmt       formats the sources
#   make fuzz      every fuzz target for FUZZTIME=30s; FUZZ=Name chooses
#   make bench     the comparison with other poolers, logins included, see bench.mk
#   make ha        kills servers under load and switches over, with scripts and without, and judges what clients felt, see ha.mk
#   make leak      sessions that leave state behind and vanish, see leak.mk
#   make regress   PostgreSQL's own suites, directly and through pgpool, compared; REGRESSFLAGS='-configs session', see docs/regress.md
#   make drivers   the checklist of every database driver, directly and through pgpool; docs/drivers.md, DRIVERSFLAGS='-drivers pgx -v'
#   make authmatrix   logins in every combination of rules, passwords and TLS, see auth.mk
#   make sim       clusters of watchdogs in virtual time with faults from seeds, see sim.mk
#   make wd        harms a watchdog on simulated hosts in every way, see wd.mk; make soak does so at random
#   make wdha      the same with servers and agents, no scripts: one writer at a time under partitions, see wd.mk
#   make install-extension   the extension pgpool_recovery into PG_CONFIG's PostgreSQL, see extension/Makefile
#   make clean     removes bin/

GO ?= go
PKGS ?= ./...
TESTFLAGS ?=
FUZZTIME ?= 30s
FUZZ ?= .
PORT ?= 9999
NODES ?= 3
PREFIX ?= /usr/local
DESTDIR ?=
PGPORT ?= 0
CHECK ?=
PAM ?=
DRIVERSFLAGS ?=
REGRESSFLAGS ?=
REGRESS_SOURCES ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/gopgpool/regress

# No version stamp: git refuses to tell it when the checkout belongs to somebody else.
export GOFLAGS := -buildvcs=false $(GOFLAGS)

# Half of what the tests of a package take is waiting for clocks and servers, so three of them run at once on two processors.
# Without GORACE each of the seventy programs of tests would wait for a second at its end.
TESTJOBS = $(if $(filter 1 2,$(shell getconf _NPROCESSORS_ONLN)),-parallel 3)

# Asked anew by each recipe: need-compiler may just have installed the header.
TAGS = $(shell PAM='$(PAM)' scripts/need pam-tag)

LINT = $(GO) tool -modfile=tools/go.mod golangci-lint

# The names by which pcp is called.
PCP_NAMES = $(addprefix pcp_,attach_node detach_node health_check_stats invalidate_query_cache log_rotate node_count node_info \
	pool_status proc_count proc_info promote_node recovery_node reload_config stop_pgpool watchdog_info)

.DEFAULT_GOAL := build
.PHONY: build install demo test scenario check lint fmt generated fuzz regress clean need-compiler need-server need-ldap

build: need-compiler
	@mkdir -p bin
	$(GO) build $(TAGS) -o bin/ ./cmd/...
	@for name in $(PCP_NAMES); do ln -sf pcp bin/$$name; done
	@ln -sf pg_enc bin/pg_md5

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/etc
	install bin/pgpool bin/pgpool_setup bin/watchdog_setup bin/wd_cli bin/pcp bin/pg_enc $(DESTDIR)$(PREFIX)/bin
	for name in $(PCP_NAMES); do ln -sf pcp $(DESTDIR)$(PREFIX)/bin/$$name; done
	ln -sf pg_enc $(DESTDIR)$(PREFIX)/bin/pg_md5
	install -m 644 pgpool.conf.sample $(DESTDIR)$(PREFIX)/etc
	install -d $(DESTDIR)$(PREFIX)/share/pgpool/scripts
	install samples/scripts/* $(DESTDIR)$(PREFIX)/share/pgpool/scripts
	install -d $(DESTDIR)$(PREFIX)/share/pgpool/systemd
	install -m 644 samples/systemd/* $(DESTDIR)$(PREFIX)/share/pgpool/systemd
	install -d $(DESTDIR)$(PREFIX)/share/pgpool/watchdog
	install -m 644 samples/watchdog/* $(DESTDIR)$(PREFIX)/share/pgpool/watchdog

demo: build need-server
	bin/pgpool_demo -port $(PORT) -nodes $(NODES) -pgport $(PGPORT) $(if $(filter-out 0,$(CHECK)),-check)

test: need-compiler need-server need-ldap
	GORACE='$(or $(GORACE),atexit_sleep_ms=50)' GOPGPOOL_REQUIRE_SERVER=1 $(GO) test $(TAGS) -race -timeout 9m $(TESTJOBS) $(TESTFLAGS) $(PKGS)

scenario: need-compiler need-server
	GOPGPOOL_REQUIRE_SERVER=1 GOPGPOOL_REQUIRE_HOSTS=1 GOPGPOOL_WD=1 $(GO) test -race -count=1 -v $(TESTFLAGS) ./internal/scenario

check: need-compiler lint generated
	$(GO) test ./internal/ranks

lint: need-compiler
	$(LINT) run $(patsubst -tags=%,--build-tags=%,$(TAGS)) ./...

fmt:
	$(LINT) fmt ./...

# Fails if a generated file is not what its source makes of it.
generated: need-compiler
	scripts/generated

fuzz: need-compiler
	FUZZTIME=$(FUZZTIME) FUZZ='$(FUZZ)' scripts/fuzz

regress: build need-server
	internal/regress/sources '$(REGRESS_SOURCES)'
	$(GO) build -o bin/regress ./internal/regress
	bin/regress -sources '$(REGRESS_SOURCES)' $(REGRESSFLAGS)

clean:
	rm -rf bin

# The drivers come from apt and npm, see internal/drivers/prepare.
drivers: build need-server
	internal/drivers/prepare bin/drivers.d
	$(GO) build -o bin/drivers ./internal/drivers
	bin/drivers $(DRIVERSFLAGS)

need-compiler:
	@scripts/need compiler

need-server:
	@scripts/need server

need-ldap:
	@scripts/need ldap || echo "going on without it: tests that ask an LDAP server are skipped"

bench bench-profile ha: need-server
include bench.mk
include leak.mk
include ha.mk
include wd.mk
include sim.mk
include auth.mk
include extension/Makefile
