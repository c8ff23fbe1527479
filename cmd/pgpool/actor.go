package main

import (
	"context"

	"gopgpool/cluster"
)

// actor has servers acted on for auto_failover.
type actor struct{ p *parts }

func (a actor) Survey(ctx context.Context, v *cluster.View, nodes []cluster.NodeID) []cluster.ServerState {
	return a.p.keeper.Survey(ctx, v, nodes)
}

func (a actor) Stop(
	ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term, mode cluster.StopMode,
) (cluster.LSN, error) {
	return a.p.keeper.Stop(ctx, v, node, term, mode)
}

func (a actor) Promote(
	ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term, last cluster.PrimaryGauge,
) (cluster.Bounds, error) {
	return a.p.keeper.Promote(ctx, v, node, term, last)
}

func (a actor) Start(ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term) error {
	return a.p.keeper.Start(ctx, v, node, term)
}

// drainer waits for the sessions of this pgpool.
type drainer struct{ p *parts }

func (d drainer) Drain(ctx context.Context, v *cluster.View) error {
	return d.p.proxy.DrainPrimary(ctx, v)
}

// office tells under which term this pgpool acts on servers, and whether it does. With a watchdog the lease has the last word: a process that
// stood still believes that it leads until it has heard otherwise, but the clock tells it at once.
func (p *parts) office() (term cluster.Term, acts bool) {
	term, acts = p.coord.Office()
	if p.watchdog != nil {
		s := p.watchdog.Snapshot()
		acts = acts && s.LeaseEnd > s.At
	}
	return term, acts
}

func (a actor) Able(ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term) error {
	return a.p.keeper.Able(ctx, v, node, term)
}
