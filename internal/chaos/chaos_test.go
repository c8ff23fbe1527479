package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gopgpool/internal/pgcluster"
	"gopgpool/pcp"
)

const (
	// harmed is how long a round does harm.
	harmed = 15 * time.Second
	// bound is how long pgpool may take to serve again when its servers do and it was told of them.
	bound = 25 * time.Second
)

// TestChaos runs rounds until one fails.
func TestChaos(t *testing.T) {
	s := startStage(t)
	seed, rounds := number(t, "CHAOS_SEED", 1), number(t, "CHAOS_ROUNDS", 1)
	ctx, cancel := context.WithCancel(context.Background())
	var agent sync.WaitGroup
	agent.Go(func() { s.serve(ctx) })
	defer agent.Wait()
	defer cancel()
	for i := range rounds {
		if !s.round(t, uint64(seed+i), int(i)) {
			s.keep(t, seed+i)
			if os.Getenv("CHAOS_GO_ON") == "" {
				return
			}
		}
	}
}

func number(t *testing.T, name string, otherwise int64) int64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// keep copies the logs where CHAOS_KEEP wants them.
func (s *stage) keep(t *testing.T, seed int64) {
	dir := os.Getenv("CHAOS_KEEP")
	if dir == "" {
		return
	}
	files := []string{s.pool.Log}
	for _, n := range s.Nodes {
		files = append(files, n.Log)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d-%s", seed, filepath.Base(name))), text, 0o644)
		}
		if err != nil {
			t.Log(err)
		}
	}
}

// round does harm and judges. It is false where something was wrong.
func (s *stage) round(t *testing.T, seed uint64, index int) bool {
	rng := rand.New(rand.NewPCG(seed, 0))
	schedule := drawSchedule(rng, len(s.Nodes), harmed)
	began := time.Now()
	s.mu.Lock()
	s.story, s.absent, s.rows = nil, nil, nil
	s.mu.Unlock()
	var mu sync.Mutex
	var breaches []string
	complain := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		breaches = append(breaches, fmt.Sprintf(format, args...))
	}

	clients, stop := s.crew(rng, index), make(chan struct{})
	var working sync.WaitGroup
	for _, c := range clients {
		c.stop = stop
		working.Go(c.run)
	}
	s.perform(t.Context(), schedule, complain)
	up, err := s.recover(t.Context())
	close(stop)
	working.Wait()
	s.tell("the clients have stopped")
	if err != nil {
		complain("%v", err)
	}
	if err == nil { // first, or what a client has sent that left at once would be written behind the judge's back, into the next round
		if err := s.settled(t.Context()); err != nil {
			complain("%v", err)
		}
	}
	var v verdict
	if up != nil {
		v, err = s.judge(t.Context(), clients, up, began)
		if err != nil {
			complain("%v", err)
		}
	}
	s.tell("judged")
	breaches = append(breaches, v.Breaches...)
	breaches = append(breaches, s.complaints(began)...)
	t.Logf("seed %d: %d acts in %v, %d breaches\n%s", seed, len(schedule), time.Since(began).Round(time.Second), len(breaches), v.summary())
	if len(breaches) == 0 {
		return true
	}
	t.Errorf("seed %d: what was done:\n%s\n%d breaches:\n%s", seed, strings.Join(s.story, "\n"), len(breaches), strings.Join(likes(breaches, 4), "\n"))
	return false
}

// likes are the breaches without those that are like n others.
func likes(all []string, n int) (some []string) {
	seen := map[string]int{}
	for _, b := range all {
		rule, rest, _ := strings.Cut(b, ": ")
		_, what, _ := strings.Cut(rest, ": ")
		if key := rule + nameless(what); seen[key] < n {
			seen[key]++
			some = append(some, b)
		}
	}
	return some[:min(len(some), 60)]
}

// crew are the clients of a round: one or two of each kind.
func (s *stage) crew(rng *rand.Rand, index int) []*client {
	var all []*client
	for i, k := range kinds() {
		for j := range 1 + i%2 {
			all = append(all, &client{
				id: index*1000 + len(all) + 1, kind: k, dsn: s.pool.ConnString(), rng: rand.New(rand.NewPCG(rng.Uint64(), uint64(j))),
			})
		}
	}
	return all
}

// recover ends the harm: it repairs the servers, tells pgpool of those it has down, and has it serve within the bound.
func (s *stage) recover(ctx context.Context) (*pgcluster.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	up, err := s.repair(ctx)
	if err != nil {
		s.tell("%v; once more", err)
		up, err = s.repair(ctx) // follow_primary_command may have worked against it
	}
	if err != nil {
		return nil, err
	}
	s.tell("the servers are repaired")
	ctx, cancel = context.WithTimeout(ctx, bound)
	defer cancel()
	var last error
	err = pgcluster.Poll(ctx, "pgpool serves again", func() (bool, error) {
		last = s.attachAll(ctx, up)
		return last == nil, nil
	})
	if err != nil {
		return up, fmt.Errorf("%w; last: %w", err, last)
	}
	s.tell("all nodes are up")
	return up, s.serves(ctx, up)
}

// attachAll is nil when all nodes are up and up is the primary; what is down is attached.
func (s *stage) attachAll(ctx context.Context, up *pgcluster.Node) error {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err
	}
	for i, n := range nodes {
		if !n.live() {
			s.tell("attach node %d", i)
			err = errors.Join(err, s.pcp(ctx, func(ctx context.Context, c *pcp.Client) error { return c.Attach(ctx, i) }), fmt.Errorf("node %d is down", i))
		} else if (n.Role == rolePrimary) != (s.Nodes[i] == up) {
			err = errors.Join(err, fmt.Errorf("node %d has role %d, and %s is the primary", i, n.Role, up.Name))
		}
		if err != nil {
			wait(ctx, 100*time.Millisecond)
		}
	}
	return err
}

// serves writes and reads through pgpool, and has it carry an operation out.
func (s *stage) serves(ctx context.Context, up *pgcluster.Node) error {
	conn, err := s.pool.Connect(ctx)
	if err != nil {
		return fmt.Errorf("a login after the repair: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var server string
	if err := conn.QueryRow(ctx, "UPDATE chaos_small SET v = v WHERE id = 1 RETURNING current_setting('cluster_name')").Scan(&server); err != nil || server != up.Name {
		return fmt.Errorf("a write after the repair: by %q: %w", server, errors.Join(err))
	}
	if err := conn.QueryRow(ctx, "SELECT v FROM chaos_small WHERE id = 1").Scan(&server); err != nil || server != "one" {
		return fmt.Errorf("a read after the repair: %q: %w", server, errors.Join(err))
	}
	standby := (up.ID + 1) % len(s.Nodes)
	for _, wanted := range []int{statusDown, statusWaiting} {
		err := s.pcp(ctx, func(ctx context.Context, c *pcp.Client) error {
			if wanted == statusDown {
				return c.Detach(ctx, standby, false)
			}
			return c.Attach(ctx, standby)
		})
		if err != nil {
			return fmt.Errorf("an order after the repair: %w", err)
		}
		err = pgcluster.Poll(ctx, fmt.Sprintf("node %d comes to status %d", standby, wanted), func() (bool, error) {
			nodes, err := s.nodes(ctx)
			return err == nil && nodes[standby].live() == (wanted != statusDown), err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// judge has the judges look at a round.
func (s *stage) judge(ctx context.Context, clients []*client, up *pgcluster.Node, began time.Time) (verdict, error) {
	e := evidence{Absent: s.absent}
	for _, c := range clients {
		e.Attempts = append(e.Attempts, c.attempts...)
	}
	if err := s.WaitReplayed(ctx, up); err != nil {
		return verdict{}, err
	}
	s.collect(ctx)
	e.Rows = s.rows
	var err error
	var timelines []stretch
	if e.Final, timelines, err = s.surviving(ctx, up); err != nil {
		return verdict{}, err
	}
	e.Ends, e.Begins = bounds(timelines)
	events, err := s.log(s.began)
	if err != nil {
		return verdict{}, err
	}
	e.Switches = switches(events, began)
	v := judge(e)
	return v, errors.Join(up.Exec(ctx, "TRUNCATE chaos_rows"), s.WaitReplayed(ctx, up))
}

// settled waits until nobody is left: the workers wait, the servers have idle connections alone.
func (s *stage) settled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var last string
	err := pgcluster.Poll(ctx, "pgpool is at rest", func() (bool, error) {
		last = ""
		err := s.pcp(ctx, func(ctx context.Context, c *pcp.Client) error {
			rows, err := c.ProcessInfo(ctx, pcp.AllProcesses)
			for _, r := range rows {
				if r.Connected || r.Status != "Wait for connection" && r.Status != "Idle" {
					last += fmt.Sprintf("worker %d: %s %v %s; ", r.PID, r.Status, r.Connected, r.Statement)
				}
			}
			return err
		})
		if err != nil {
			return false, err
		}
		sum := 0
		for _, n := range s.Nodes {
			busy, err := n.Value(ctx, `SELECT count(*) || ' ' || coalesce(string_agg(state || ' ' || query, ', ') FILTER (WHERE state <> 'idle'), '') FROM pg_stat_activity
				WHERE application_name LIKE 'chaos-%' AND backend_type = 'client backend' AND pid <> pg_backend_pid()`)
			if err != nil {
				return false, err
			}
			number, rest, _ := strings.Cut(busy, " ")
			if rest != "" {
				last += n.Name + ": " + rest + "; "
			}
			k, _ := strconv.Atoi(number)
			sum += k
		}
		if fds := s.descriptors(); fds > sum+60 {
			last += fmt.Sprintf("%d open files with %d server connections", fds, sum)
		}
		return last == "", nil
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, last)
	}
	return nil
}

// explained are parts of the messages that pgpool may log as an ERROR in such weather.
var explained = []string{
	"could not process", "invalid promote request", "invalid degenerate backend request", "clients are still connected", // answers to administrators
	"unable to read data from DB node", "ended the connection", "failed to create a backend", "is not accepting any new connections",
	"terminating connection due to", // what clients are told
}

// complaints are lines of pgpool's log that nothing explains.
func (s *stage) complaints(since time.Time) (all []string) {
	events, err := s.log(since)
	if err != nil {
		return []string{err.Error()}
	}
	for _, e := range events {
		grave := e.Level == "panic" || e.Level == "fatal" || e.Level == "error" || e.Level == "ERROR" || e.Level == "FATAL" || e.Level == "PANIC"
		if grave && !slices.ContainsFunc(explained, func(part string) bool { return strings.Contains(e.Message+e.Detail, part) }) {
			all = append(all, fmt.Sprintf("log: %s %s: %s (%s)", clock(e.Time), e.Level, e.Message, e.Detail))
		}
	}
	return all
}
