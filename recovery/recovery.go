// Package recovery rebuilds a detached node while the others serve (manual: online recovery): the stages as a plan, then the scripts
// that the servers run.
//
// Attaching the node afterwards is left to failover, keeping clients out to proxy.
package recovery

import (
	"context"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

// Clients keeps clients out during the second stage; proxy fits.
type Clients interface {
	// Quiesce keeps new clients waiting and returns when none is connected, or with the cause of ctx. In either case resume lets them
	// in again; it may be called more than once.
	Quiesce(ctx context.Context) (resume func(), err error)
}

// Attacher takes the recovered node in again and returns when that is done; failover fits.
type Attacher interface {
	Attach(ctx context.Context, id cluster.NodeID) error
}

// Parts are what a Recoverer is built from. All are required.
type Parts struct {
	Store    *cluster.Store
	Settings func() Settings // in force now
	// Password finds the clear password of recovery_user: the parameter's value where it is set, else the entry of pool_passwd.
	Password func(user, param string) (string, error)
	Clients  Clients
	Attacher Attacher
	Log      logging.Logger
}

// Settings are the parameters this package obeys.
type Settings struct {
	conf.Recovery
	Mode conf.ClusteringMode
}

// Error is a recovery that was refused or has failed; the texts are those of pcp_recovery_node.
type Error struct {
	Fatal           bool
	Message, Detail string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Message
	}
	return e.Message + ": " + e.Detail
}

// Recoverer carries out one recovery at a time.
type Recoverer struct{ parts Parts }

// New makes a Recoverer.
func New(p Parts) *Recoverer { return &Recoverer{parts: p} }

// Recover rebuilds node id and attaches it. It returns when the node is attached; the errors are of type *Error.
func (r *Recoverer) Recover(context.Context, cluster.NodeID) error { return nil }
