package main

import (
	"context"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/failover"
	"gopgpool/health"
	"gopgpool/recovery"
)

// This file fits parts of equal rank to each other's interfaces.

// failoverPolicy is what the coordinator obeys now.
func (p *parts) failoverPolicy() failover.Policy {
	c := p.live.Current()
	return failover.Policy{
		Failover: c.Failover, WhenQuorumExists: c.Watchdog.FailoverWhenQuorumExists, VoteExpiry: voteExpiry(c),
	}
}

// voteExpiry is how long a vote about a backend must wait for the others (manual: failover consensus): the longest that one of them may
// take to find out, with the same configuration, and no less than 15 seconds.
func voteExpiry(c *conf.Config) time.Duration {
	longest := 15 * time.Second
	for i := range c.Backends {
		h := c.HealthCheck.For(i)
		longest = max(longest, h.Period+time.Duration(h.MaxRetries)*h.RetryDelay)
	}
	return longest
}

func rolesSeen(r health.Roles) failover.RolesSeen {
	return failover.RolesSeen{Seen: r.Seen, Roles: r.Roles, Gone: r.Gone, Timelines: r.Timelines, Upstream: r.Upstream}
}

// healthFinding turns what a health check found into a request to failover.
func (p *parts) healthFinding(f health.Finding) {
	switch f.Verdict {
	case health.Well:
		p.coord.Well(f.Node, f.Seen)
	case health.Condemned:
		p.coord.Report(failover.Detach{
			Nodes: []cluster.NodeID{f.Node}, Origin: failover.ByHealthCheck, Seen: f.Seen, TimedOut: f.TimedOut, Err: f.Err,
		})
	case health.Returned:
		p.coord.Report(failover.Attach{Node: f.Node, Origin: failover.ByAutoFailback, Seen: f.Seen})
	case health.Spared:
	}
}

// seeker asks the servers for their roles on behalf of failover.
type seeker struct{ p *parts }

func (s seeker) Seek(ctx context.Context, v *cluster.View) failover.RolesSeen {
	return rolesSeen(s.p.prober.Roles(ctx, v, s.p.healthSettings()))
}

// fencer has the proxy cut the connections of condemned nodes.
type fencer struct{ p *parts }

func (f fencer) Fence(ctx context.Context, v *cluster.View) error { return f.p.proxy.Fence(ctx, v) }

// openRecovery makes the part that rebuilds nodes.
func (p *parts) openRecovery() {
	p.recoverer = recovery.New(recovery.Parts{
		Store: p.store, Password: p.internalPassword, TLS: p.tls.Server, Clients: p.proxy, Attacher: attacher{p},
		Reserve: p.reserve, Log: p.log,
		Settings: func() recovery.Settings {
			c := p.live.Current()
			return recovery.Settings{Recovery: c.Recovery, Mode: c.BackendClusteringMode}
		},
	})
}

// reserve has the pgpool that leads, which may be another one, leave the server of a node that is down alone until the node is attached.
// If it acts on the servers it would rebuild this one at the same time.
func (p *parts) reserve(ctx context.Context, id cluster.NodeID) error {
	c := p.live.Current()
	if !c.Watchdog.UseWatchdog || !keeperSettings(c).Active || p.store.Current().Nodes[id].Detached {
		return nil
	}
	if err := p.coord.Submit(detachment(id)); err != nil {
		return err
	}
	return p.coord.Settle(ctx)
}

// attacher has a recovered node taken in again.
type attacher struct{ p *parts }

func (a attacher) Attach(ctx context.Context, id cluster.NodeID) error {
	if err := a.p.coord.Submit(failover.Attach{Node: id, Origin: failover.ByRecovery}); err != nil {
		return err
	}
	return a.p.coord.Settle(ctx)
}

// confirmer has a node checked now.
type confirmer struct{ p *parts }

func (c confirmer) Confirm(id cluster.NodeID) { c.p.check.Confirm(id) }
