package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"gopgpool/internal/pgcluster"
)

// This file is about runs in which pgpool promotes by itself and brings back what was lost (auto_failover): nothing is repaired here, but
// waited for.

// rejoin is how long pgpool is given to have all nodes up and streaming again.
const rejoin = 60 * time.Second

// ruleWhole is what must hold after each round.
const ruleWhole = "all nodes are up and stream again without a hand"

// losing kills a server as a lost machine would, but for the process that writes its log, which ends by itself: the witness hears what the
// others said last. Nothing is swept: pgpool may be starting the server again already.
func losing(ctx context.Context, n *pgcluster.Node) error {
	pids := n.Pids()
	if len(pids) == 0 {
		return nil
	}
	_ = syscall.Kill(pids[0], syscall.SIGSTOP) // it forks no more
	for _, pid := range n.Pids() {
		if !writesLog(pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone meanwhile
		}
	}
	return gone(ctx, n, pids[0])
}

// losingFirst kills the postmaster alone.
func losingFirst(ctx context.Context, n *pgcluster.Node) error {
	pids := n.Pids()
	if len(pids) == 0 {
		return nil
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		return err
	}
	return gone(ctx, n, pids[0])
}

// gone waits until a postmaster is not there any more.
func gone(ctx context.Context, n *pgcluster.Node, pid int) error {
	return pgcluster.Poll(ctx, n.Name+" is gone", func() (bool, error) {
		now := n.Pids()
		return len(now) == 0 || now[0] != pid, nil
	})
}

// writesLog tells whether a process is a server's logger.
func writesLog(pid int) bool {
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(title), ": logger")
}

// awaitWhole waits until all nodes are up and stream from the primary, and says what is missing if they do not.
func (s *stage) awaitWhole(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var missing error
	for {
		if err := s.whole(ctx); err == nil {
			return nil
		} else if ctx.Err() == nil {
			missing = err
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return errors.Join(fmt.Errorf("after %s: %w", within, err), missing)
		}
	}
}

// whole is nil if one server is the primary, all others stream from it and have replayed what it has written, and pgpool shows that.
func (s *stage) whole(ctx context.Context) error {
	soon, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	primary, err := s.primary(soon)
	if err != nil {
		return err
	}
	for _, n := range s.cluster.Nodes {
		if n == primary {
			continue
		}
		switch standby, err := n.Value(soon, "SELECT pg_is_in_recovery()"); {
		case err != nil:
			return fmt.Errorf("%s: %s", n.Name, oneLine(err))
		case standby != "t":
			return fmt.Errorf("%s and %s are primaries", primary.Name, n.Name)
		}
		if err := catchesUp(soon, n, primary); err != nil {
			return fmt.Errorf("%s: %s", n.Name, oneLine(err))
		}
	}
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	if !healthy(nodes, primary.ID) {
		return fmt.Errorf("pgpool shows %v", nodes)
	}
	return nil
}

// sameRows complains where nodes do not hold the same rows. Nobody may be writing.
func (s *stage) sameRows(ctx context.Context) ([]complaint, error) {
	primary, err := s.primary(ctx)
	if err != nil {
		return nil, err
	}
	soon, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	if err := s.cluster.WaitReplayed(soon, primary); err != nil {
		return nil, err
	}
	const sql = "SELECT count(*) || ' rows, ' || coalesce(sum(hashint4(client)::bigint * seq), 0) FROM ha_rows"
	var seen []string
	for _, n := range s.cluster.Nodes {
		text, err := n.Value(ctx, sql)
		if err != nil {
			return nil, err
		}
		seen = append(seen, text)
	}
	if len(slices.Compact(slices.Clone(seen))) > 1 {
		return []complaint{{"all nodes hold the same rows", strings.Join(seen, "; ")}}, nil
	}
	return nil, nil
}

// settle waits until all nodes are back, with the clients at work (committers would only fill disks), and ends the round: what follows
// needs no more of them. If they do not come back, that is found, and everything is built anew so that the next round has what it needs.
// look is done before, and told whether they have come back.
func (c *campaign) settle(ctx context.Context, f *fleet, r *roundResult, look func(whole bool)) (notes, error) {
	var seen notes
	if f.commits() {
		seen = f.gather(c.rows)
	}
	missing := c.awaitWhole(ctx, rejoin)
	r.Back = time.Since(r.At)
	if missing != nil {
		if err := context.Cause(ctx); err != nil {
			return notes{}, err
		}
		c.broken = true
		r.complain(complaint{ruleWhole, missing.Error()})
	}
	look(missing == nil)
	if !f.commits() {
		if err := wait(ctx, afterwards); err != nil {
			return notes{}, err
		}
		seen = f.gather(c.rows)
	}
	c.attempts = append(c.attempts, seen.Attempts...)
	if missing != nil {
		if err := c.startOver(ctx); err != nil { // the run ends here
			r.print(os.Stdout)
			return seen, fmt.Errorf("%w, after: %w", err, missing)
		}
		return seen, nil
	}
	differ, err := c.sameRows(ctx)
	r.complain(differ...)
	return seen, err
}

// startOver rebuilds all standbys with pgpool stopped.
func (c *campaign) startOver(ctx context.Context) error {
	primary, err := c.primary(ctx)
	if err != nil {
		return err
	}
	c.stage.notes = append(c.stage.notes, "nodes were rebuilt by the harness at "+clock(time.Now()))
	return c.withoutPool(ctx, primary, func() error {
		for _, sql := range []string{"ALTER SYSTEM RESET primary_conninfo", "ALTER SYSTEM RESET primary_slot_name"} {
			if err := primary.Exec(ctx, sql); err != nil { // the copies must not read them
				return err
			}
		}
		for _, n := range c.cluster.Nodes {
			if n == primary {
				continue
			}
			if err := errors.Join(n.Resume(), discard(ctx, n)); err != nil {
				return err
			}
			if err := n.Rebuild(ctx, primary); err != nil {
				return err
			}
			if err := n.WaitStreaming(ctx, primary); err != nil {
				return err
			}
		}
		return nil
	})
}
