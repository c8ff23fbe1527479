package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gopgpool/internal/pgcluster"
)

// runner carries the plan out.
type runner struct {
	opts    options
	dir     string // everything of ours but the servers
	who     account
	pgbench string
	ports   *pgcluster.Ports // of the proxies
	used    int              // of ports
}

// newRunner makes the working directory; close removes it.
func newRunner(opts options) (*runner, error) {
	who, err := serverAccount()
	if err != nil {
		return nil, err
	}
	pgbench, err := pgbenchPath()
	if err != nil {
		return nil, err
	}
	reserved, err := pgcluster.ReservePorts(24)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gopgpool-bench-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // the servers' account passes through
		return nil, err
	}
	return &runner{opts: opts, dir: dir, who: who, pgbench: pgbench, ports: reserved}, nil
}

func (r *runner) close() {
	if r.opts.keep {
		fmt.Println("logs and files of the proxies:", r.dir)
	} else if err := os.RemoveAll(r.dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	_ = r.ports.Close() // they die with us anyway
}

func (r *runner) newPort() (int, error) {
	if r.used == len(r.ports.Numbers) {
		return 0, fmt.Errorf("all %d ports are used", r.used)
	}
	r.used++
	return r.ports.Numbers[r.used-1], nil
}

func (r *runner) places(dir string, servers []int) places {
	return places{dir: dir, who: r.who, servers: servers, newPort: r.newPort}
}

// contenders are the names measured over a set of servers, in order. PgBouncer knows one server.
func (o options) contendersOver(t topology) []string {
	all := []string{direct, pgbouncer, pgpool2, gopgpool}
	return slices.DeleteFunc(all, func(name string) bool {
		return t == threeBackends && name == pgbouncer || !o.contenders.MatchString(name)
	})
}

func (r *runner) idleContenders() []string {
	return slices.DeleteFunc(r.opts.contendersOver(oneBackend), func(name string) bool {
		return name == direct || name == pgpool2 // which would be one process for each client
	})
}

// startContender starts one by name.
func (r *runner) startContender(ctx context.Context, p places, name string, size capacity) (*contender, error) {
	switch name {
	case direct:
		return &contender{name: direct, port: p.servers[0]}, nil
	case pgbouncer:
		return p.startPgBouncer(ctx, r.opts.programs.pgbouncer, size)
	case pgpool2:
		return p.startPgpool(ctx, pgpool2, r.opts.programs.pgpool2, size)
	case gopgpool:
		return p.startPgpool(ctx, gopgpool, r.opts.programs.gopgpool, size)
	}
	panic("bench: no contender " + name)
}

// stage is a set of servers with every contender running over it.
type stage struct {
	servers    *pgcluster.Cluster
	contenders []*contender
}

func (s *stage) close() {
	for _, c := range s.contenders {
		c.stop()
	}
	if err := s.servers.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

// startStage builds a stage. The caller closes it.
func (r *runner) startStage(ctx context.Context, t topology) (*stage, error) {
	fmt.Printf("starting %d server(s) and the contenders\n", t.servers())
	servers, err := startServers(ctx, t.servers(), serverSettings())
	if err != nil {
		return nil, err
	}
	s := &stage{servers: servers}
	if err := r.furnish(ctx, t, s); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (r *runner) furnish(ctx context.Context, t topology, s *stage) error {
	if err := fill(ctx, s.servers, r.pgbench); err != nil {
		return err
	}
	p := r.places(filepath.Join(r.dir, string(t)), ports(s.servers))
	for _, name := range r.opts.contendersOver(t) {
		c, err := r.startContender(ctx, p, name, rowCapacity())
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil { // the others are still worth measuring
			fmt.Fprintln(os.Stderr, "bench:", err)
			c = &contender{name: name, broken: err}
		}
		s.contenders = append(s.contenders, c)
	}
	return nil
}

func (r *runner) bench(seconds int) bench {
	return bench{pgbench: r.pgbench, dir: r.dir, seconds: seconds, jobs: r.opts.jobs}
}

// warm lets every contender fill its caches and the servers theirs. What fails here fails again where it is reported.
func (r *runner) warm(ctx context.Context, s *stage, t topology) {
	for _, c := range s.contenders {
		_, _ = r.bench(1).measure(ctx, c, row{Topology: t, Script: selectOnly, Mode: simple, Clients: 16}, false)
	}
}

// measureStage measures all rows over one set of servers. each is told every row as it is complete.
func (r *runner) measureStage(ctx context.Context, t topology, rows []row, each func(rowResult)) error {
	s, err := r.startStage(ctx, t)
	if err != nil {
		return err
	}
	defer s.close()
	r.warm(ctx, s, t)
	for _, row := range rows {
		result := r.measureRow(ctx, s, row)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		each(result)
	}
	return nil
}

// measureRow lets the contenders take turns, round by round. Each round another one begins, so that none always follows
// the same neighbour.
func (r *runner) measureRow(ctx context.Context, s *stage, w row) rowResult {
	runs := make([][]sample, len(s.contenders))
	problems := make([][]error, len(s.contenders))
	for round := range r.opts.rounds {
		for k := range s.contenders {
			i := (k + round) % len(s.contenders)
			got, err := r.measureOnce(ctx, s, i, w, round == 0)
			if ctx.Err() != nil {
				return rowResult{}
			}
			if err != nil {
				problems[i] = append(problems[i], err)
				continue
			}
			runs[i] = append(runs[i], got)
		}
	}
	result := rowResult{row: w, ID: w.id()}
	for i, c := range s.contenders {
		result.Cells = append(result.Cells, sumUp(c.name, runs[i], problems[i]))
	}
	result.relate()
	return result
}

func (r *runner) measureOnce(ctx context.Context, s *stage, i int, w row, memory bool) (sample, error) {
	if w.Script == tpcb {
		if err := tidy(ctx, s.servers.Nodes[0].Port); err != nil {
			return sample{}, err
		}
	}
	c := s.contenders[i]
	got, err := r.bench(r.opts.seconds).measure(ctx, c, w, memory)
	if err != nil && c.proc != nil {
		err = fmt.Errorf("%w; its log ends: %s", err, c.proc.logTail(3))
	}
	return got, err
}

// measureAll carries the whole plan out.
func (r *runner) measureAll(ctx context.Context, rows []row) (report, error) {
	result := report{
		Started: time.Now(), Quick: r.opts.quick, Seconds: r.opts.seconds, Rounds: r.opts.rounds, Jobs: r.opts.jobs, Scale: scale,
		Machine: thisMachine(), Versions: r.versions(ctx),
	}
	for _, name := range []string{"postgresql", pgbouncer, pgpool2, gopgpool} {
		fmt.Printf("%-11s %s\n", name, result.Versions[name])
	}
	for _, t := range []topology{oneBackend, threeBackends} {
		mine := ofTopology(rows, t)
		if len(mine) == 0 {
			continue
		}
		err := r.measureStage(ctx, t, mine, func(done rowResult) {
			printRow(os.Stdout, done)
			result.Rows = append(result.Rows, done)
		})
		if err != nil {
			return result, err
		}
	}
	if r.opts.idle {
		var err error
		if result.Idle, err = r.measureAllIdle(ctx); err != nil {
			return result, err
		}
	}
	if r.opts.allocs {
		switch allocs, err := measureAllocs(ctx); {
		case err != nil:
			fmt.Println("allocations not measured:", err)
		default:
			result.Allocs = &allocs
		}
	}
	result.Targets = targets(result)
	return result, nil
}

func (r *runner) versions(ctx context.Context) map[string]string {
	p := r.opts.programs
	return map[string]string{
		"postgresql": serverVersion(ctx, r.pgbench),
		pgbouncer:    version(ctx, p.pgbouncer),
		pgpool2:      version(ctx, p.pgpool2),
		gopgpool:     version(ctx, p.gopgpool),
	}
}
