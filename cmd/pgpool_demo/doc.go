// Command pgpool_demo runs a pgpool in front of one PostgreSQL primary and some streaming standbys until Ctrl-C, in a temporary
// directory that goes with it. With -check it runs a few statements through that pgpool instead of waiting, and tells by its exit
// status whether they did what they should.
//
// It owns the tour and its checks; servers and processes are internal/pgcluster's.
package main
