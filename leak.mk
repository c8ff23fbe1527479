# Sessions that leave state behind and vanish, in session mode and in transaction mode; see internal/leak.
#   make leak LEAK_SESSIONS=10000 LEAK_SEED=7          about two minutes for each mode
#   make leak LEAK_SEED=7 LEAK_ONLY=123                one session of that seed, several times
LEAK_SESSIONS ?= 10000
LEAK_SEED ?= 1
LEAK_ONLY ?=

.PHONY: leak

leak: need-compiler need-server
	GOPGPOOL_REQUIRE_SERVER=1 LEAK_SESSIONS=$(LEAK_SESSIONS) LEAK_SEED=$(LEAK_SEED) LEAK_ONLY=$(LEAK_ONLY) \
		$(GO) test -count=1 -v -timeout 1h $(TESTFLAGS) ./internal/leak
