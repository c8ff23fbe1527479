package recovery

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
	"gopgpool/tlsconf"
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

// Parts are what a Recoverer is built from. All but TLS and Reserve are required.
type Parts struct {
	Store    *cluster.Store
	Settings func() Settings // in force now
	// Password finds the clear password of recovery_user: the parameter's value where it is set, else the entry of pool_passwd. An
	// error whose method Hashed returns true is a password that is known as a hash only.
	Password func(user, param string) (string, error)
	// TLS tells how to speak to a node at a host; nil is in plain text.
	TLS      func(node cluster.NodeID, host string) tlsconf.Server
	Clients  Clients
	Attacher Attacher
	// Reserve has the other pgpools leave a node's server alone until it is attached, and returns when they do; nil: they would anyway.
	Reserve func(ctx context.Context, id cluster.NodeID) error
	Log     logging.Logger
}

// Settings are the parameters this package obeys.
type Settings struct {
	conf.Recovery
	Mode conf.ClusteringMode
}

// Recoverer carries out one recovery at a time. It may be used from any goroutine.
type Recoverer struct {
	parts  Parts
	base   *pgconn.Config // what all connections have in common
	defect error          // why there is no base
	pause  time.Duration  // between two looks at a server that is starting
	// startBound is how long a server may take to accept connections, beyond recovery_timeout.
	startBound time.Duration

	busy sync.Mutex   // held while a node is being recovered
	node atomic.Int64 // that node; NoNode: there is none
}

// New makes a Recoverer. The environment's PG* variables have no effect on its connections.
func New(p Parts) *Recoverer {
	base, err := baseConfig()
	r := &Recoverer{parts: p, base: base, defect: err, pause: 500 * time.Millisecond, startBound: 12 * time.Second}
	r.node.Store(int64(cluster.NoNode))
	return r
}

// Recovering is the node that is being rebuilt, NoNode where none is. Nobody else may touch its files.
func (r *Recoverer) Recovering() cluster.NodeID { return cluster.NodeID(r.node.Load()) }

// Recover rebuilds node id and attaches it. It returns when the node is attached; the errors are of type *Error. When ctx ends, the
// recovery is given up and the node stays down; a script that a server is running then runs to its end all the same.
func (r *Recoverer) Recover(ctx context.Context, id cluster.NodeID) error {
	v, s := r.parts.Store.Current(), r.parts.Settings()
	if err := Check(v, s, id); err != nil {
		return err
	}
	if !r.busy.TryLock() {
		return errBusy()
	}
	defer r.busy.Unlock()
	r.node.Store(int64(id))
	defer r.node.Store(int64(cluster.NoNode))
	plan, err := Decide(v, s, id)
	if err != nil {
		return err
	}
	return r.carryOut(ctx, plan, s)
}
