# Kills servers under load and judges what clients felt; results go to docs/ha. It takes about twenty minutes.
#   make ha HA=quick                                   2 kills in each run, every fault once
#   make ha HAFLAGS="-runs primary -rounds 5"          see bin/ha -help
#   make ha HAFLAGS="-peer -runs primary -rounds 3"    Debian's Pgpool-II for comparison
#   make chaos CHAOS_ROUNDS=50 CHAOS_SEED=7            rounds of random faults and orders at once, judged by the clients' ledger; see internal/chaos
HAFLAGS ?=
CHAOS_ROUNDS ?= 20
CHAOS_SEED ?= 1

.PHONY: ha chaos

ha: build
	go build -o bin/ha ./internal/ha
	bin/ha $(if $(filter quick,$(HA)),-quick) $(HAFLAGS)

chaos: need-compiler need-server
	GOPGPOOL_REQUIRE_SERVER=1 CHAOS_ROUNDS=$(CHAOS_ROUNDS) CHAOS_SEED=$(CHAOS_SEED) $(GO) test -race -count=1 -v -timeout 12h ./internal/chaos
