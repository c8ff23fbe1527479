// Package pgcluster builds small PostgreSQL clusters from the installed server programs and runs them as children of this
// process: one primary and any number of streaming standbys, or independent servers (raw mode), and in front of them a
// pgpool. It is the harness of the end-to-end tests, and what pgpool_setup and the demo are made of.
//
// It owns the servers' directories, settings, processes and ports, and promises that nothing of them outlives
// [Cluster.Close], nor this process however it ends: a panic, os.Exit and SIGKILL included (see guard.go). Servers refuse to
// run as root; started by root they run as postgres, or as nobody.
//
// A package's tests share one cluster through [Shared], which starts it at the first test that asks.
//
// What is in the files of a pgpool beyond the ports and backends is left to the caller.
package pgcluster
