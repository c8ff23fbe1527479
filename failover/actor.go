package failover

import (
	"context"

	"gopgpool/cluster"
)

// Actor does on the servers what auto_failover decides. Its methods may take as long as ctx lets them, are called from goroutines of the
// coordinator, and act on nobody but the named node. term is refused by servers' agents once they have obeyed a higher one.
type Actor interface {
	// Survey asks nodes for what a successor is chosen by, all at once. The states come in the order of nodes; one that does not answer
	// in time has Err set.
	Survey(ctx context.Context, v *cluster.View, nodes []cluster.NodeID) []cluster.ServerState
	// Stop has a server stopped (fast: it sends its standbys what they lack; now: whatever state it is in) and returns when none of its
	// processes is at work any more. end is the end of its WAL where it was shut down cleanly, else 0. cluster.ErrNeedsAgent: nobody is at its
	// host who could.
	Stop(ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term, mode cluster.StopMode) (end cluster.LSN, err error)
	// Able tells whether somebody is at a server's host who could stop it under a term: nil, or why not.
	Able(ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term) error
	// Promote has a standby leave recovery and returns when it accepts writes. last is what was seen of its predecessor.
	Promote(
		ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term, last cluster.PrimaryGauge,
	) (cluster.Bounds, error)
	// Start has a server started that Stop has stopped, in the role it had.
	Start(ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term) error
}

// Drainer waits for the sessions of this pgpool; proxy fits.
type Drainer interface {
	// Drain returns when no session has a transaction or a statement at the primary of v, which is Draining, or with the cause of ctx.
	Drain(ctx context.Context, v *cluster.View) error
}
