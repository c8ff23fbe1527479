// Package replication acts on the database servers for auto_failover: it asks them what a successor is chosen by, promotes, and keeps
// the others streaming from the primary in force (repointing, rewinding, rebuilding). Choosing a primary is left to failover, acting on a
// server's host to agent.
package replication
