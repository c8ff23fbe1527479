package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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

// soon is how long a standby is given to find its primary before harder means are taken.
const soon = 3 * time.Second

// subject makes n a standby of up by the least that does it.
func (s *stage) subject(ctx context.Context, n, up *pgcluster.Node) error {
	if n.Running() {
		if s.follows(ctx, n, up) {
			return nil
		}
		s.withdraw(ctx, n) // it has what up has not, and must be stopped
	}
	if err := discard(ctx, n); err != nil {
		return err
	}
	if n.IsStandby() && n.Follow(ctx, up) == nil && n.Start(ctx) == nil && s.follows(ctx, n, up) {
		return nil
	}
	if err := discard(ctx, n); err != nil {
		return err
	}
	why := n.Rewind(ctx, up)
	if why == nil {
		why = catchesUpInTime(ctx, n, up)
	}
	if why == nil {
		return nil
	}
	s.notes = append(s.notes, fmt.Sprintf("%s was rebuilt: %s", n.Name, oneLine(why)))
	if err := discard(ctx, n); err != nil {
		return err
	}
	if err := n.Rebuild(ctx, up); err != nil {
		return err
	}
	return n.WaitStreaming(ctx, up)
}

// catchesUpInTime gives a rewound server some time.
func catchesUpInTime(ctx context.Context, n, up *pgcluster.Node) error {
	ctx, cancel := context.WithTimeout(ctx, 3*soon)
	defer cancel()
	return catchesUp(ctx, n, up)
}

func oneLine(err error) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	return text[:min(len(text), 200)]
}

// discard ends what is left of a server.
func discard(ctx context.Context, n *pgcluster.Node) error {
	return errors.Join(n.Stop(ctx, pgcluster.Immediate), n.Sweep(ctx))
}

// follows points a running standby to up and tells whether it comes to where up is within a short time. A former primary, or a standby
// that has more than up, does not, though it may look as if it streamed.
func (s *stage) follows(ctx context.Context, n, up *pgcluster.Node) bool {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	if standby, err := n.Value(ctx, "SELECT pg_is_in_recovery()"); err != nil || standby != "t" {
		return false
	}
	return n.Follow(ctx, up) == nil && catchesUp(ctx, n, up) == nil
}

func catchesUp(ctx context.Context, n, up *pgcluster.Node) error {
	if err := n.WaitStreaming(ctx, up); err != nil {
		return err
	}
	lsn, err := up.Value(ctx, "SELECT pg_current_wal_insert_lsn()")
	if err != nil {
		return err
	}
	return pgcluster.Poll(ctx, n.Name+" replays "+lsn, func() (bool, error) {
		done, err := n.Value(ctx, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)", lsn)
		return done == "t", err
	})
}

// withdraw has pgpool let go of a node before it is stopped. What the idle clients feel of that is judged as after any harm.
func (s *stage) withdraw(ctx context.Context, n *pgcluster.Node) {
	nodes, err := s.nodes(ctx)
	if err != nil || n.ID >= len(nodes) || !nodes[n.ID].live() {
		return
	}
	h := harm{At: time.Now(), Nodes: []string{n.Name}}
	_, err = s.pcp(ctx, "pcp_detach_node", n.ID)
	if err == nil {
		err = s.awaitNodes(ctx, n.Name+" is down", func(all []poolNode) bool { return !all[n.ID].live() })
	}
	if err != nil {
		s.notes = append(s.notes, fmt.Sprintf("%s was not withdrawn before its repair: %s", n.Name, oneLine(err)))
	}
	h.Fenced = time.Now()
	s.harms = append(s.harms, h)
}

// attachAll has pgpool take in the nodes it has down. Where that cannot be asked for, it is started anew without its memory.
func (s *stage) attachAll(ctx context.Context, primary *pgcluster.Node) error {
	nodes, err := s.nodes(ctx)
	if err != nil { // where all are down nobody is let in to ask
		nodes, err = make([]poolNode, len(s.cluster.Nodes)), nil
	}
	for id, n := range nodes {
		if err == nil && !n.live() {
			_, err = s.pcp(ctx, "pcp_attach_node", id)
		}
	}
	if err == nil {
		err = s.awaitNodes(ctx, "all nodes are back", func(n []poolNode) bool { return healthy(n, primary.ID) })
	}
	if err == nil {
		return nil
	}
	s.notes = append(s.notes, "pgpool was started anew: "+oneLine(err))
	return s.withoutPool(ctx, primary, func() error { return nil })
}

// withoutPool does something while pgpool is stopped.
func (s *stage) withoutPool(ctx context.Context, primary *pgcluster.Node, something func() error) error {
	s.harms = append(s.harms, harm{At: time.Now(), Restart: true})
	if _, err := s.pool.Stop(ctx, interrupt); err != nil {
		return err
	}
	if err := something(); err != nil {
		return err
	}
	if err := s.pool.Start(ctx); err != nil {
		return err
	}
	return s.awaitNodes(ctx, "all nodes are up", func(n []poolNode) bool { return healthy(n, primary.ID) })
}

// pcp runs one of pgpool's programs for a node.
func (s *stage) pcp(ctx context.Context, program string, node int, more ...string) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, switchoverBound)
	defer cancel()
	args := append([]string{"-h", s.pool.Host, "-p", strconv.Itoa(s.pool.PCPPort), "-U", "postgres", "-w", "-n", strconv.Itoa(node)}, more...)
	cmd := exec.CommandContext(ctx, filepath.Join(s.opts.pcpDir, program), args...)
	cmd.Env = append(os.Environ(), "PCPPASSFILE="+s.passFile())
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("%s -n %d: %w: %s", program, node, err, text)
	}
	if !strings.Contains(text, "Successful") { // the exit status does not tell
		return text, fmt.Errorf("%s -n %d: %s", program, node, text)
	}
	return text, nil
}

// synchronize has the primary wait for the standby that will be promoted.
func (s *stage) synchronize(ctx context.Context, primary, standby *pgcluster.Node) error {
	return s.awaitSynchronous(ctx, primary, standby.Name, "sync", 1)
}

// awaitSynchronous sets synchronous_standby_names and waits until some standbys are in a state.
func (s *stage) awaitSynchronous(ctx context.Context, primary *pgcluster.Node, setting, state string, count int) error {
	err := errors.Join(
		primary.Exec(ctx, fmt.Sprintf("ALTER SYSTEM SET synchronous_standby_names = '%s'", setting)),
		primary.Reload(),
	)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return pgcluster.Poll(ctx, "synchronous: "+setting, func() (bool, error) {
		n, err := primary.Value(ctx, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = $1", state)
		return n == strconv.Itoa(count), err
	})
}
