package replication

import (
	"context"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/tlsconf"
)

// Parts are what a Keeper is built from. All but TLS are required.
type Parts struct {
	Store    *cluster.Store
	Settings func() Settings // in force now
	// Office tells whether this pgpool acts on servers now, and under which term.
	Office func() (cluster.Term, bool)
	// Host finds who acts on a node's host; an error that is cluster.ErrNeedsAgent: nobody.
	Host func(n cluster.Node) (Host, error)
	// Attach reports that a node that is down follows the primary of v again. It must not block.
	Attach func(id cluster.NodeID, v *cluster.View)
	// Password finds the clear password of a user: the parameter's value where it is set, else the entry of pool_passwd.
	Password func(user, param string) (string, error)
	// TLS tells how to speak to a node at a host; nil is in plain text.
	TLS func(node cluster.NodeID, host string) tlsconf.Server
	Log logging.Logger
}

// Account is who logs in to servers. Password is as configured.
type Account struct{ User, Password, Database string }

// Settings are the parameters this package obeys.
type Settings struct {
	// Active: auto_failover is on and no script is configured. Without it servers are left alone.
	Active bool
	// Account is recovery_user with recovery_database; without a recovery_user it is sr_check_user.
	Account Account
	// ReplicationUser and ReplicationPassword, as configured, are what standbys stream as; an empty user keeps what they have.
	ReplicationUser, ReplicationPassword string
	// Fencing is agent_fencing, Lease agent_lease_time.
	Fencing bool
	Lease   time.Duration
}

// Keeper acts on servers by SQL and through their hosts. Its methods may be called from any goroutine.
type Keeper struct {
	parts Parts
}

// New makes a Keeper; it acts on its own while Run runs.
func New(p Parts) *Keeper { return &Keeper{parts: p} }

// Run keeps all nodes streaming from the primary, and renews the leases of their agents, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Survey asks nodes, all at once, for what a successor is chosen by. The states come in the order of nodes.
func (k *Keeper) Survey(_ context.Context, _ *cluster.View, nodes []cluster.NodeID) []cluster.ServerState {
	states := make([]cluster.ServerState, len(nodes))
	for i, id := range nodes {
		states[i] = cluster.ServerState{Node: id, Err: cluster.ErrNeedsAgent}
	}
	return states
}

// Stop has a node's server stopped by its host.
func (k *Keeper) Stop(
	ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term, mode cluster.StopMode,
) (cluster.LSN, error) {
	h, err := k.parts.Host(v.Nodes[node])
	if err != nil {
		return 0, err
	}
	return h.Stop(ctx, term, mode)
}

// Start has a node's server started by its host.
func (k *Keeper) Start(ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term) error {
	h, err := k.parts.Host(v.Nodes[node])
	if err != nil {
		return err
	}
	return h.Start(ctx, term)
}

// Promote has a standby leave recovery and returns when it accepts writes.
func (k *Keeper) Promote(ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term) (cluster.Bounds, error) {
	h, err := k.parts.Host(v.Nodes[node])
	if err != nil {
		return cluster.Bounds{}, err
	}
	return cluster.Bounds{}, h.Promote(ctx, term)
}
