package replication

import (
	"context"

	"gopgpool/cluster"
)

// Host does on a server's own host what SQL cannot. Each method returns when what it does is done, or with the cause of ctx. Orders with
// a term lower than one obeyed before are refused by cluster.ErrOldTerm; a host nobody can act on answers cluster.ErrNeedsAgent.
type Host interface {
	// Control tells what is there.
	Control(ctx context.Context) (cluster.Control, error)
	// Start starts the server and returns when it accepts connections.
	Start(ctx context.Context, term cluster.Term) error
	// Stop stops the server and returns when none of its processes is at work; end is the end of its WAL where it was shut down cleanly.
	Stop(ctx context.Context, term cluster.Term, mode cluster.StopMode) (end cluster.LSN, err error)
	// Promote is pg_ctl promote, for where SQL cannot.
	Promote(ctx context.Context, term cluster.Term) error
	// Standby has a stopped server start as a standby of s next time: standby.signal, primary_conninfo, primary_slot_name.
	Standby(ctx context.Context, term cluster.Term, s cluster.Source) error
	// Rewind takes a stopped server back to where it and s were one by pg_rewind, then is Standby.
	Rewind(ctx context.Context, term cluster.Term, s cluster.Source) error
	// BaseBackup replaces a stopped server by a copy of s, then is Standby.
	BaseBackup(ctx context.Context, term cluster.Term, s cluster.Source) error
	// Renew is contact: the agent's lease begins anew.
	Renew(ctx context.Context, term cluster.Term) error
}
