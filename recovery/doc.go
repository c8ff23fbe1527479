// Package recovery rebuilds a node that is down while the others serve (manual: online recovery). It owns the order of the steps
// (plan.go), carrying them out (run.go), and the connections it needs for that (server.go).
//
// What is copied where is the business of scripts in the data directory of the server the node is built from, which runs them
// through the functions of the extension pgpool_recovery. Attaching the node afterwards is left to failover, keeping clients
// out meanwhile to proxy.
package recovery
