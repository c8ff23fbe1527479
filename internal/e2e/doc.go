// Package e2e tests the daemon as its users meet it: real PostgreSQL servers behind it, psql, pgbench and pgx before it, signals
// and reloads from the side.
//
// It owns those tests and what they share, nothing else. Tests that disturb the servers (paused replay, killed processes) are
// not parallel; all others are, and run when those are over.
package e2e
