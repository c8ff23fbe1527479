package main

import (
	"gopgpool/cluster"
	"gopgpool/replication"
)

// host finds who acts on a node's host.
func (p *parts) host(cluster.Node) (replication.Host, error) { return nil, cluster.ErrNeedsAgent }
