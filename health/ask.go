package health

import (
	"context"
	"sync"
	"time"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
)

// askBound bounds how long a SHOW waits for a server that is silent.
const askBound = 2 * time.Second

// NodeProbe is what a node said when it was asked for SHOW pool_nodes or PCP: columns pg_status and pg_role.
type NodeProbe struct {
	Status string // "up", "down"; "unknown" where health checks of the node are off
	Role   string // "primary", "standby", in other modes the decided role; "unknown" where nobody asked or answered
}

const unknown = "unknown"

// Ask puts the question to all nodes at once, index of the answers = NodeID. It takes two seconds at most, less if ctx ends
// before. It blocks, so it is no call for an event loop.
func (p *Prober) Ask(ctx context.Context, v *cluster.View, s Settings) []NodeProbe {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	out := make([]NodeProbe, len(v.Nodes))
	var wg sync.WaitGroup
	for i := range v.Nodes {
		wg.Go(func() { out[i] = p.askNode(ctx, v, i, &s) })
	}
	wg.Wait()
	return out
}

func (p *Prober) askNode(ctx context.Context, v *cluster.View, i int, s *Settings) NodeProbe {
	n, check := v.Nodes[i], s.HealthCheck.For(i)
	probe := NodeProbe{Status: unknown, Role: unknown}
	if v.Mode != cluster.ModeStreaming {
		probe.Role = n.Role.String()
	}
	if n.Status == cluster.StatusUnused || check.Period <= 0 {
		return probe
	}
	probe.Status = "down"
	if p.Ping(ctx, n, healthLogin(check)) {
		probe.Status = "up"
	}
	if v.Mode != cluster.ModeStreaming || probe.Status != "up" || s.Streaming.SrCheckPeriod <= 0 {
		return probe
	}
	if a, err := p.position(ctx, n, s.srLogin()); err == nil {
		probe.Role = a.Role.String()
	}
	return probe
}

// Ping reports whether a server takes connections: it let us in or had a reason of its own not to. A server that is starting,
// stopping or recovering does not. Whether the password is right makes no difference.
func (p *Prober) Ping(ctx context.Context, n cluster.Node, l Login) bool {
	entry, err := p.passwords(l.User, l.Password)
	if err != nil {
		entry = auth.Entry{} // being refused is an answer too
	}
	c, err := p.connect(ctx, n, l, entry, nil)
	if err == nil {
		closeQuietly(c)
		return true
	}
	return troubleIn(err) == Rejected
}

// position asks a node over a connection of its own.
func (p *Prober) position(ctx context.Context, n cluster.Node, l Login) (Answer, error) {
	c, err := p.Connect(ctx, n, l, srParams())
	if err != nil {
		return Answer{}, err
	}
	defer closeQuietly(c)
	return c.Position(ctx)
}

// closeQuietly ends a connection nobody needs any more: whether the server heard it makes no difference.
func closeQuietly(c *Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx)
}

// srParams lets administrators tell the connections of the replication check from others.
func srParams() map[string]string { return map[string]string{"application_name": "pgpool sr_check"} }

// Settings are the sections this package obeys.
type Settings struct {
	Streaming     conf.StreamingCheck
	HealthCheck   conf.HealthCheck
	SearchTimeout time.Duration // search_primary_node_timeout, 0 = for ever

	DetachFalsePrimary   bool // standbys are asked whom they stream from
	AutoFailback         bool
	AutoFailbackInterval time.Duration
}

func (s *Settings) srLogin() Login {
	return Login{
		User: s.Streaming.SrCheckUser, Password: s.Streaming.SrCheckPassword, Database: s.Streaming.SrCheckDatabase,
		// The index-free value holds for all connections to servers (manual: connect_timeout).
		ConnectTimeout: s.HealthCheck.Global.ConnectTimeout,
	}
}

func healthLogin(c conf.NodeHealthCheck) Login {
	return Login{User: c.User, Password: c.Password, Database: c.Database, ConnectTimeout: c.ConnectTimeout}
}
