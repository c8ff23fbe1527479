package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// fenceMargin is how long an agent may take, once its lease has run out, until no process of its server is at work any more: it notices, has
// it shut down for three seconds, stops it at once for one, and kills what is left.
const fenceMargin = 6 * time.Second

// shutBound is how long a server may take to shut down in a planned switchover, while clients wait for its successor. It does not end as
// long as its archiver is at work, or a standby that is frozen has not received everything.
const shutBound = 20 * time.Second

// Stop has a node's server stopped by its host. From then on its agent's lease is not renewed, until the node is started or follows again.
//
// Where the host cannot be reached and agent_fencing is on, Stop returns when the agent must have stopped its server by itself, because
// its lease has run out: nobody renews it since. That counts from the last renewal that may have arrived, or from when this pgpool began
// to act. A server that answers as a primary all the same is not stopped. Without agent_fencing, or where mode is StopFast, the error says
// that nobody stopped the server; it is cluster.ErrNeedsAgent where there is no agent.
//
// StopFast becomes StopNow after shutBound. Where the server had written the last of its WAL by then, its end is known all the same.
func (k *Keeper) Stop(
	ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term, mode cluster.StopMode,
) (cluster.LSN, error) {
	k.leases.acts(term)
	k.leases.condemn(node)
	h, err := k.parts.Host(v.Nodes[node])
	if err != nil {
		k.lacking(node, "stop", "it was the primary", err)
		return 0, fmt.Errorf("node %d cannot be stopped: %w", node, err)
	}
	end, err := k.halt(ctx, h, node, term, mode)
	if err == nil {
		return end, nil
	}
	s := k.parts.Settings()
	// A lease that has run out says nothing of where the WAL ends, which a planned stop is about.
	if !s.Fencing || mode == cluster.StopFast || v.Nodes[node].Agent == "" || errors.Is(err, cluster.ErrOldTerm) {
		return 0, fmt.Errorf("node %d: nobody could stop its server: %w", node, err)
	}
	wait := time.Until(k.leases.over(node, s.Lease, s.Others))
	k.tell(node, logging.Warning, "node %d: its agent does not answer: %v; waiting %v for its lease to run out",
		node, err, max(wait, 0).Round(time.Millisecond))
	if late := pause(ctx, wait); late != nil {
		return 0, fmt.Errorf("node %d: nobody could stop its server, and its agent's lease may still run: %w", node, errors.Join(err, late))
	}
	// An agent that never ran has no lease to lose.
	if st := k.Survey(ctx, v, []cluster.NodeID{node})[0]; st.Err == nil && !st.InRecovery {
		return 0, fmt.Errorf("node %d: nobody could stop its server, and it is at work though its agent's lease is over: %w", node, err)
	}
	return 0, nil
}

// halt has the server stopped, in the end by force.
func (k *Keeper) halt(ctx context.Context, h Host, node cluster.NodeID, term cluster.Term, mode cluster.StopMode) (cluster.LSN, error) {
	if mode != cluster.StopFast {
		return h.Stop(ctx, term, mode)
	}
	bounded, cancel := context.WithTimeout(ctx, shutBound)
	defer cancel()
	end, err := h.Stop(bounded, term, mode)
	if err == nil || bounded.Err() == nil || ctx.Err() != nil {
		return end, err
	}
	k.tell(node, logging.Warning, "node %d has not shut down within %v (its archive_command, a standby that is frozen?): it is stopped at once",
		node, shutBound)
	return h.Stop(ctx, term, cluster.StopNow)
}

// Start has a node's server started by its host, in the role it had.
func (k *Keeper) Start(ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term) error {
	h, err := k.parts.Host(v.Nodes[node])
	if err != nil {
		k.lacking(node, "start", "it was the primary, and nobody else can take over", err)
		return fmt.Errorf("node %d cannot be started: %w", node, err)
	}
	// A host that has not heard of a newer term would obey, and have an old primary at work again.
	if now, acts := k.parts.Office(); !acts || now != term {
		return fmt.Errorf("node %d: %w", node, errNoOffice)
	}
	if err := h.Start(ctx, term); err != nil {
		return fmt.Errorf("node %d: %w%s", node, err, startedSoFar(ctx, h))
	}
	k.leases.pardon(node)
	return nil
}

// Checkpoint has a server write what it has in memory, so that little is left to be written when it is shut down. Where the account may not
// order that, nothing is done.
func (k *Keeper) Checkpoint(ctx context.Context, n cluster.Node) error {
	bounded, cancel := context.WithTimeout(ctx, checkpointBound)
	defer cancel()
	err := k.links.use(bounded, n, func(s *server) error { return s.exec(bounded, "CHECKPOINT") })
	if err != nil && sqlState(err) != notAllowed {
		return fmt.Errorf("checkpoint at node %d: %w", n.ID, shorten(err))
	}
	return nil
}

// Able tells whether a node's host answers and obeys under a term, so that its server could be stopped.
func (k *Keeper) Able(ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term) error {
	h, err := k.parts.Host(v.Nodes[node])
	if err == nil {
		_, err = h.Control(ctx)
	}
	if err == nil {
		err = h.Renew(ctx, term)
	}
	if err != nil {
		return fmt.Errorf("node %d cannot be stopped: %w", node, err)
	}
	return nil
}
