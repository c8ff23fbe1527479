package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gopgpool/internal/pgcluster"
)

// repair makes every other node a standby of the primary again and has pgpool take it in.
func (s *stage) repair(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	primary, err := s.primary(ctx)
	if err != nil {
		return err
	}
	for _, n := range s.cluster.Nodes {
		if n == primary {
			continue
		}
		if err := s.subject(ctx, n, primary); err != nil {
			return fmt.Errorf("%s back under %s: %w", n.Name, primary.Name, err)
		}
	}
	if err := s.cluster.WaitReplayed(ctx, primary); err != nil {
		return err
	}
	return s.attachAll(ctx, primary)
}

// subject makes n a standby of up by the least that does it.
func (s *stage) subject(ctx context.Context, n, up *pgcluster.Node) error {
	if n.Running() && s.follows(ctx, n, up) {
		return nil
	}
	if err := errors.Join(n.Stop(ctx, pgcluster.Immediate), n.Sweep(ctx)); err != nil {
		return err
	}
	if err := n.Rewind(ctx, up); err == nil && n.WaitStreaming(ctx, up) == nil {
		return nil
	}
	if err := errors.Join(n.Stop(ctx, pgcluster.Immediate), n.Sweep(ctx)); err != nil {
		return err
	}
	s.notes = append(s.notes, n.Name+" was rebuilt, as it could not be rewound")
	if err := n.Rebuild(ctx, up); err != nil {
		return err
	}
	return n.WaitStreaming(ctx, up)
}

// follows points a running standby to up and tells whether it streams within a short time. A former primary, or a standby that
// has more than up, does not.
func (s *stage) follows(ctx context.Context, n, up *pgcluster.Node) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if standby, err := n.Value(ctx, "SELECT pg_is_in_recovery()"); err != nil || standby != "t" {
		return false
	}
	return n.Follow(ctx, up) == nil && n.WaitStreaming(ctx, up) == nil
}

// attachAll has pgpool take in the nodes it has down. Where that cannot be asked for, it is started anew without its memory.
func (s *stage) attachAll(ctx context.Context, primary *pgcluster.Node) error {
	nodes, err := s.nodes(ctx)
	for id, n := range nodes {
		if err == nil && !n.live() {
			err = s.attach(ctx, id)
		}
	}
	if err == nil {
		err = s.awaitNodes(ctx, "all nodes are back", func(n []poolNode) bool { return healthy(n, primary.ID) })
	}
	if err == nil {
		return nil
	}
	s.notes = append(s.notes, fmt.Sprintf("pgpool was started anew: %v", err))
	if _, err := s.pool.Stop(ctx, interrupt); err != nil {
		return err
	}
	if err := s.pool.Start(ctx); err != nil {
		return err
	}
	return s.awaitNodes(ctx, "all nodes are up", func(n []poolNode) bool { return healthy(n, primary.ID) })
}

// synchronize has the primary wait for the standby that will be promoted.
func (s *stage) synchronize(ctx context.Context, primary, standby *pgcluster.Node) error {
	err := errors.Join(
		primary.Exec(ctx, fmt.Sprintf("ALTER SYSTEM SET synchronous_standby_names = '%s'", standby.Name)),
		primary.Reload(),
	)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return pgcluster.Poll(ctx, standby.Name+" is synchronous", func() (bool, error) {
		const sql = "SELECT sync_state FROM pg_stat_replication WHERE application_name = $1"
		state, err := primary.Value(ctx, sql, standby.Name)
		return state == "sync", err
	})
}
