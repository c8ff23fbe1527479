# The watchdog on simulated hosts, as root: real programs, a real virtual address, a real server.
#   make wd                                  every scenario and every fault; writes docs/watchdog/results.md. It takes about fifteen minutes
#   make wd WD=TestFaults                    tests by name
#   make soak SOAK_MINUTES=30 SOAK_FAULTS=200 SOAK_NODES=3 SOAK_SEED=1   random harm; writes docs/watchdog/soak.md
#   make wdha                                three pgpools, servers and agents under partitions, see docs/ha.md; about fifteen minutes
#   make wdha WDHA='TestOneWriter/^synchronous/beside/frozen'   trials by name; only all of them replace docs/ha/wdha.md
#   make wdha WDHA=TestOneWriter/./beside/seed WDHA_SEED=7 WDHA_ROUNDS=20   random harm alone
WD ?= .
WDHA ?= .
WDHA_SEED ?= 1
WDHA_ROUNDS ?= 3
SOAK_MINUTES ?= 30
SOAK_FAULTS ?= 200
SOAK_NODES ?= 3
SOAK_SEED ?= 1

WDENV = GOPGPOOL_REQUIRE_SERVER=1 GOPGPOOL_REQUIRE_HOSTS=1 GOPGPOOL_BIN=$(CURDIR)/bin

.PHONY: wd soak wdha

wd: build need-server
	@mkdir -p docs/watchdog
	$(WDENV) GOPGPOOL_WD=1 GOPGPOOL_WD_RESULTS=$(CURDIR)/docs/watchdog/results.md $(GO) test -count=1 -v -timeout 2h -run '$(WD)' ./internal/wdtest
	$(if $(filter .,$(WD)),$(WDENV) GOPGPOOL_WD=1 $(GO) test -count=1 -v -timeout 10m -run 'ThreePgpools|Leader|Isolated|Outlive|OrdersToStandby|OneVote|WithoutQuorum' ./internal/scenario)

soak: build need-server
	@mkdir -p docs/watchdog
	$(WDENV) SOAK_MINUTES=$(SOAK_MINUTES) SOAK_FAULTS=$(SOAK_FAULTS) SOAK_NODES=$(SOAK_NODES) SOAK_SEED=$(SOAK_SEED) \
		SOAK_REPORT=$(CURDIR)/docs/watchdog/soak.md $(GO) test -count=1 -v -timeout 12h -run TestSoak ./internal/wdtest

wdha: build need-server
	@mkdir -p docs/ha
	$(WDENV) GOPGPOOL_WDHA=1 WDHA_SEED=$(WDHA_SEED) WDHA_ROUNDS=$(WDHA_ROUNDS) \
		GOPGPOOL_WDHA_RESULTS=$(if $(filter .,$(WDHA)),$(CURDIR)/docs/ha/wdha.md) $(GO) test -count=1 -v -timeout 2h -run '$(WDHA)' ./internal/wdha
