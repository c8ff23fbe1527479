package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"gopgpool/internal/pgcluster"
	"gopgpool/pcp"
)

// act is one entry of a schedule.
type act struct {
	At   time.Duration // from the beginning of the round
	Verb string
	Node int           // one too high: the primary of the moment
	For  time.Duration // how long a server stays away
	Bits int           // options
}

func (a act) String() string {
	return fmt.Sprintf("%6.2fs %s node %d for %v bits %b", a.At.Seconds(), a.Verb, a.Node, a.For, a.Bits)
}

// verbs and how often they come.
var verbs = []struct {
	name string
	odds int
}{
	{"kill", 3},
	{"killfirst", 2},
	{"pause", 3},
	{"fast", 3},
	{"immediate", 2},
	{"restart", 2},
	{"terminate", 4},
	{"terminateall", 1},
	{"pgpromote", 1},
	{"detach", 2},
	{"attach", 3},
	{"promote", 2},
	{"look", 3},
	{"reload", 2},
	{"stop", 1},
	{"repair", 2},
}

// drawSchedule makes the schedule of a round of that length.
func drawSchedule(rng *rand.Rand, nodes int, length time.Duration) (all []act) {
	total := 0
	for _, v := range verbs {
		total += v.odds
	}
	for at := 500 * time.Millisecond; at < length; at += time.Duration(100+rng.IntN(1900)) * time.Millisecond {
		a := act{At: at, Node: rng.IntN(nodes + 1), For: time.Duration(300+rng.IntN(5000)) * time.Millisecond, Bits: rng.IntN(16)}
		n := rng.IntN(total)
		for _, v := range verbs {
			if n < v.odds {
				a.Verb = v.name
				break
			}
			n -= v.odds
		}
		all = append(all, a)
	}
	return all
}

// perform carries a schedule out, each act on its own time whatever the others do, and waits for all of them.
func (s *stage) perform(ctx context.Context, schedule []act, complain func(format string, args ...any)) {
	var all sync.WaitGroup
	began := time.Now()
	for _, a := range schedule {
		all.Go(func() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(began.Add(a.At))):
			}
			s.tell("%v", a)
			err := s.do(ctx, a)
			s.tell("%v: done: %v", a, err)
			if err != nil && a.Verb == "stop" {
				complain("%v: %v", a, err)
			}
		})
	}
	all.Wait()
}

// do carries one act out. What cannot be done now is an error and no harm.
func (s *stage) do(ctx context.Context, a act) error {
	if a.Node == len(s.Nodes) {
		a.Node = s.target(ctx)
	}
	n := s.Nodes[a.Node]
	switch a.Verb {
	case "kill":
		return s.away(ctx, a, n.Kill)
	case "killfirst":
		return s.away(ctx, a, n.KillFirst)
	case "fast":
		return s.away(ctx, a, func(ctx context.Context) error { return n.Stop(ctx, pgcluster.Fast) })
	case "immediate":
		return s.away(ctx, a, func(ctx context.Context) error { return n.Stop(ctx, pgcluster.Immediate) })
	case "restart":
		a.For = 0
		return s.away(ctx, a, func(ctx context.Context) error { return n.Stop(ctx, pgcluster.Fast) })
	case "pause":
		return s.freeze(ctx, a)
	case "terminate", "terminateall":
		return s.terminate(ctx, a)
	case "pgpromote":
		return n.Exec(ctx, "SELECT pg_promote(wait => false)")
	case "reload":
		return s.reload(a)
	case "stop":
		return s.restart(ctx)
	case "repair":
		return s.mend(ctx)
	default:
		return s.order(ctx, a)
	}
}

// target is pgpool's primary, or node 0 where it has none.
func (s *stage) target(ctx context.Context) int {
	nodes, _ := s.nodes(ctx) // pgpool may be away
	for i, n := range nodes {
		if n.Role == rolePrimary {
			return i
		}
	}
	return 0
}

// away stops a server and starts it again some time later, unless somebody else has.
func (s *stage) away(ctx context.Context, a act, stop func(context.Context) error) error {
	n := s.Nodes[a.Node]
	s.hosts[n.ID].Lock()
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	err := stop(bounded)
	cancel()
	if err != nil {
		err = n.Kill(ctx)
	}
	s.hosts[n.ID].Unlock()
	if err != nil {
		return err
	}
	wait(ctx, a.For)
	s.hosts[n.ID].Lock()
	defer s.hosts[n.ID].Unlock()
	if n.Running() {
		return nil
	}
	if err := n.Sweep(ctx); err != nil {
		return err
	}
	return n.Start(ctx)
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// freeze stops a server's processes for some time.
func (s *stage) freeze(ctx context.Context, a act) error {
	n := s.Nodes[a.Node]
	s.hosts[n.ID].Lock()
	err := n.Pause()
	s.hosts[n.ID].Unlock()
	wait(ctx, a.For)
	return errors.Join(err, n.Resume()) // without the lock: whoever has it may wait for the frozen server
}

func (s *stage) terminate(ctx context.Context, a act) error {
	sql := `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name LIKE 'chaos-%' ORDER BY random()`
	if a.Verb == "terminate" {
		sql += fmt.Sprintf(" LIMIT %d", 1+a.Bits%4)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.Nodes[a.Node].Exec(ctx, sql)
}

func (s *stage) reload(a act) error {
	s.mu.Lock()
	err := s.pool.Rewrite(map[string]string{fmt.Sprintf("backend_weight%d", a.Node): fmt.Sprint(a.Bits % 4)})
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return s.pcp(context.Background(), func(ctx context.Context, c *pcp.Client) error { return c.Reload(ctx, false) })
}

// mend is what an operator does in between: nodes that pgpool has down, but that run as standbys, are attached; servers that pgpool does
// not write to, but that are primaries, are made standbys.
func (s *stage) mend(ctx context.Context) error {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	var up *pgcluster.Node
	for i, n := range nodes {
		if n.Role == rolePrimary && n.live() {
			up = s.Nodes[i]
		}
	}
	for i, n := range nodes {
		if s.Nodes[i] == up || n.live() && up == nil {
			continue
		}
		if up != nil {
			bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
			err := s.subject(bounded, s.Nodes[i], up)
			cancel()
			if err != nil {
				return err
			}
		}
		if !n.live() {
			if err := s.pcp(ctx, func(ctx context.Context, c *pcp.Client) error { return c.Attach(ctx, i) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// order is what administrators ask of pgpool.
func (s *stage) order(ctx context.Context, a act) error {
	gracefully, option := a.Bits&1 != 0 && a.Bits&8 != 0, a.Bits&2 != 0
	if a.Verb == "promote" && !option && a.Bits&4 != 0 { // the server first, as the manual wants it
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		_ = s.Nodes[a.Node].Promote(bounded) // it may not run, or be one
	}
	return s.pcp(ctx, func(ctx context.Context, c *pcp.Client) error {
		switch a.Verb {
		case "detach":
			return c.Detach(ctx, a.Node, gracefully)
		case "attach":
			return c.Attach(ctx, a.Node)
		case "promote":
			return c.Promote(ctx, a.Node, option, gracefully)
		default:
			return look(ctx, c, a.Node)
		}
	})
}

// look asks what there is to ask.
func look(ctx context.Context, c *pcp.Client, id int) error {
	if _, err := c.NodeInfo(ctx, id); err != nil {
		return err
	}
	if _, err := c.NodeInfo(ctx, pcp.AllNodes); err != nil {
		return err
	}
	if _, err := c.HealthCheckStats(ctx, id); err != nil {
		return err
	}
	if _, err := c.ProcessInfo(ctx, pcp.AllProcesses); err != nil {
		return err
	}
	_, err := c.PoolStatus(ctx)
	return err
}
