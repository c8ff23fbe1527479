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

// Stop has a node's server stopped by its host. From then on its agent's lease is not renewed, until the node is started or follows again.
//
// Where the host cannot be reached and agent_fencing is on, Stop returns when the agent must have stopped its server by itself, because
// its lease has run out: nobody renews it since. That counts from the last renewal that may have arrived, or from when this pgpool began
// to act. A server that answers as a primary all the same is not stopped. Without agent_fencing, or where mode is StopFast, the error says
// that nobody stopped the server; it is cluster.ErrNeedsAgent where there is no agent.
func (k *Keeper) Stop(
	ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term, mode cluster.StopMode,
) (cluster.LSN, error) {
	k.leases.acts(term)
	k.leases.condemn(node)
	h, err := k.parts.Host(v.Nodes[node])
	if err != nil {
		return 0, fmt.Errorf("node %d cannot be stopped: %w", node, err)
	}
	end, err := h.Stop(ctx, term, mode)
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

// Start has a node's server started by its host, in the role it had.
func (k *Keeper) Start(ctx context.Context, v *cluster.View, node cluster.NodeID, term cluster.Term) error {
	h, err := k.parts.Host(v.Nodes[node])
	if err != nil {
		return fmt.Errorf("node %d cannot be started: %w", node, err)
	}
	// A host that has not heard of a newer term would obey, and have an old primary at work again.
	if now, acts := k.parts.Office(); !acts || now != term {
		return fmt.Errorf("node %d: %w", node, errNoOffice)
	}
	if err := h.Start(ctx, term); err != nil {
		return fmt.Errorf("node %d: %w", node, err)
	}
	k.leases.pardon(node)
	return nil
}

// Able tells whether a node's host answers, so that its server could be stopped.
func (k *Keeper) Able(ctx context.Context, v *cluster.View, node cluster.NodeID) error {
	h, err := k.parts.Host(v.Nodes[node])
	if err == nil {
		_, err = h.Control(ctx)
	}
	if err != nil {
		return fmt.Errorf("node %d cannot be stopped: %w", node, err)
	}
	return nil
}
