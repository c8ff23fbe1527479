package main

import (
	"errors"
	"net"
	"os"

	"gopgpool/cluster"
	"gopgpool/failover"
	"gopgpool/pool"
)

// nodeLost turns a session's trouble with a server into a request to failover.
func (p *parts) nodeLost(id cluster.NodeID, seen *cluster.View, err error) {
	p.coord.Report(failover.Detach{
		Nodes: []cluster.NodeID{id}, Origin: failover.ByBackendError, Seen: seen, Evidence: evidenceOf(err), Err: err,
	})
}

// nodeShutdown is a server that says it shuts down, and accepts nobody any more.
func (p *parts) nodeShutdown(id cluster.NodeID, seen *cluster.View) {
	p.coord.Report(failover.Detach{
		Nodes: []cluster.NodeID{id}, Origin: failover.ByBackendShutdown, Seen: seen, Evidence: failover.Judged,
		Err: errShutdown,
	})
}

var errShutdown = errors.New("the server shuts down")

// evidenceOf says what an error met at a server is worth.
func evidenceOf(err error) failover.Evidence {
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &dns):
		return failover.Unresolved
	case pool.Refused(err):
		return failover.Refused
	case pool.Unreachable(err):
		return failover.Unreachable
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return failover.TimedOut
	}
	return failover.Broken
}
