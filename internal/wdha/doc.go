// Package wdha puts auto_failover under a watchdog to the test: three pgpools, three PostgreSQL servers and three agents with agent_fencing
// on simulated hosts that are cut off from each other, frozen and switched off, while clients write through the virtual address, through
// each pgpool from its own host, and directly to each server from the server's own host, as an application does that goes round pgpool.
// What must hold is that there is one writer at a time, always, whichever way a write came.
//
// Each client notes when it sent a write, when it was acknowledged, by which server and on which timeline; judge_test.go reads these notes
// and the rows that are there at the end. It is pure, and tested with doctored notes. Which servers follow whom, and what every pgpool
// shows once all has been mended, bench_test.go looks up.
//
// It holds no code but its tests. "make wdha" runs all of them and writes docs/ha/wdha.md; the judges' own tests run with all others, for
// no lease can be waited for in a few seconds. Hosts and programs are left to site and hosts, how addresses move to wdtest.
package wdha
