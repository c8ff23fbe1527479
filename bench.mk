# The comparison with a direct connection, PgBouncer and Pgpool-II; results go to docs/bench. It says how long it takes.
#   make bench BENCH=quick                             only the rows of the targets
#   make bench BENCHFLAGS="-rows three/ -rounds 5"     see bin/bench -help
#   make bench BENCHFLAGS="-rows pooled/"              transaction mode, beside a PgBouncer that knows prepared statements there
#   make bench BENCHFLAGS="-rows ample/ -virtual"      what following the sessions' state costs
#   make bench BENCHFLAGS="-rows idle/transaction -idle -connects"   10,000 idle clients; connections a second
#   make bench BENCHFLAGS="-rows logins/ -logins -seconds 3 -out docs/bench"   logins by SCRAM a second, and where their cost is; logins.md
#   make bench-profile ROW=logins/scram                perf record of logins
#   make bench-profile ROW=one/select/simple/16        perf record of that row
BENCHFLAGS ?=
ROW ?= one/select/simple/16

.PHONY: bench bench-profile

bench: build
	go build -o bin/bench ./internal/bench
	bin/bench $(if $(filter quick,$(BENCH)),-quick) $(BENCHFLAGS)

bench-profile: build
	go build -o bin/bench ./internal/bench
	bin/bench -profile $(ROW) $(BENCHFLAGS)
