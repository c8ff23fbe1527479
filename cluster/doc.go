// Package cluster is the vocabulary every other package speaks: nodes, roles, positions in the WAL, and the
// two snapshots of the cluster. [View] holds what has been decided (who is primary, who is up), [Gauges] what has
// been measured (lag, probes). [Store] publishes both; it has one writer each, and readers take a snapshot once per
// decision and pass it down.
//
// It takes no decision and does no I/O. Deciding is left to failover (View) and health (Gauges).
package cluster
