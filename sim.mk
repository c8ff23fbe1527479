# The watchdogs of whole clusters in virtual time, with faults drawn from seeds; then machines broken on purpose, which must be caught.
# It takes some minutes.
#   make sim SEEDS=1000                      fewer seeds
#   make sim SIMFLAGS='-first 20001'         other seeds; see bin/sim -help
#   make sim SIMFLAGS='-seed 17 -v'          one seed with all that happens; -shrink instead of -v: with as few faults as possible
SEEDS ?= 10000
SIMFLAGS ?=

.PHONY: sim

sim: need-compiler
	@mkdir -p bin
	$(GO) build -o bin/sim ./internal/sim/simulate
	bin/sim -seeds $(SEEDS) $(SIMFLAGS)
