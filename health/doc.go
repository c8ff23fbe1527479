// Package health measures: what each server says of its role, how far standbys are behind, whether servers answer at all. It
// owns the probe (probe.go), the search for the primary and the replication check (srcheck.go; manual: streaming
// replication check), the periodic health check with its retries and statistics (healthcheck.go; manual: health check), and
// the live columns of SHOW pool_nodes (ask.go). It alone publishes cluster.Gauges, through one Board.
//
// It draws no consequences. Roles and findings are reported to functions its caller gives it; what follows is failover's. One
// slow answer or a name that does not resolve is a finding like any other and never condemns a node here.
package health
