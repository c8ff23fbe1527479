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
	pooling bouncer          // what transaction mode is compared with; set by prepare
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
	reserved, err := pgcluster.ReservePorts(48)
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

// prepare finds what transaction mode is compared with. Without a PgBouncer that knows prepared statements there the simple
// protocol alone is compared.
func (r *runner) prepare(ctx context.Context) {
	var err error
	if r.pooling, err = pooledBouncer(ctx, r.opts.programs.pgbouncer, r.opts.bouncerDir); err != nil {
		fmt.Println("transaction mode, prepared: no comparison with PgBouncer:", err)
	}
}

func (r *runner) bouncerFor(mode poolMode) bouncer {
	if mode == transactionMode {
		return r.pooling
	}
	return bouncer{argv: []string{r.opts.programs.pgbouncer}}
}

func (r *runner) places(dir string, servers []int) places {
	return places{dir: dir, who: r.who, servers: servers, newPort: r.newPort}
}

// contenders are the names measured over a set of servers, in order. PgBouncer knows one server.
func (o options) contendersOver(t topology) []string {
	var all []string
	switch t {
	case threeBackends:
		all = []string{direct, pgpool2, gopgpool}
	case pooled:
		all = []string{pgbouncer, gopgpool}
	case ample:
		all = []string{gopgpool, gopgpoolByTransaction}
	default:
		all = []string{direct, pgbouncer, pgpool2, gopgpool}
	}
	return slices.DeleteFunc(all, func(name string) bool { return !o.contenders.MatchString(name) })
}

// idleContenders are those that can hold a crowd: Pgpool-II would be one process for each client.
func (r *runner) idleContenders(of crowd) []string {
	var names []string
	for _, name := range []string{pgbouncer, gopgpool} {
		able := name != pgbouncer || !of.Prepared || r.pooling.preparesPooled()
		if able && r.opts.contenders.MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

// startContender starts one by name.
func (r *runner) startContender(ctx context.Context, p places, name string, size capacity) (*contender, error) {
	switch name {
	case direct:
		return &contender{name: direct, port: p.servers[0]}, nil
	case pgbouncer:
		return p.startPgBouncer(ctx, r.bouncerFor(size.mode).argv, size)
	case pgpool2:
		return p.startPgpool(ctx, pgpool2, r.opts.programs.pgpool2, size)
	case gopgpool:
		return p.startPgpool(ctx, gopgpool, r.opts.programs.gopgpool, size)
	case gopgpoolByTransaction:
		size.mode = transactionMode
		return p.startPgpool(ctx, gopgpoolByTransaction, r.opts.programs.gopgpool, size)
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
		c, err := r.startContender(ctx, p, name, t.capacity())
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
	taking := r.taking(s, w)
	for round := range w.Topology.rounds(r.opts.rounds) {
		for k := range taking {
			i := taking[(k+round)%len(taking)]
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
	for _, i := range taking {
		result.Cells = append(result.Cells, sumUp(s.contenders[i].name, runs[i], problems[i]))
	}
	result.relate()
	return result
}

// taking are the contenders that take part in a row: all but a PgBouncer that cannot.
func (r *runner) taking(s *stage, w row) []int {
	var all []int
	for i, c := range s.contenders {
		if c.name != pgbouncer || w.Topology != pooled || w.Mode == simple || r.pooling.preparesPooled() {
			all = append(all, i)
		}
	}
	return all
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
	for _, name := range versioned() {
		fmt.Printf("%-28s %s\n", name, result.Versions[name])
	}
	for _, t := range topologies() {
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
	if r.opts.connects {
		var err error
		if result.Connects, err = r.measureConnects(ctx); err != nil {
			return result, err
		}
	}
	if r.opts.logins {
		var err error
		if result.Logins, err = r.measureLogins(ctx); err != nil {
			return result, err
		}
	}
	if err := r.measureInside(ctx, &result); err != nil {
		return result, err
	}
	result.Targets = targets(result)
	return result, nil
}

// measureInside looks into the proxy. What cannot be measured here is told and left out.
func (r *runner) measureInside(ctx context.Context, result *report) error {
	if r.opts.virtual {
		switch virtual, err := r.measureVirtual(ctx); {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			fmt.Println("cost of following the state not measured:", err)
		default:
			result.Virtual = &virtual
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
	return nil
}

// bouncerPooled is the PgBouncer of transaction mode in the list of versions.
const bouncerPooled = "pgbouncer (transaction mode)"

// versioned are the keys of report.Versions, in order.
func versioned() []string { return []string{"postgresql", pgbouncer, bouncerPooled, pgpool2, gopgpool} }

func (r *runner) versions(ctx context.Context) map[string]string {
	p := r.opts.programs
	return map[string]string{
		"postgresql":  serverVersion(ctx, r.pgbench),
		pgbouncer:     version(ctx, p.pgbouncer),
		bouncerPooled: r.pooling.version,
		pgpool2:       version(ctx, p.pgpool2),
		gopgpool:      version(ctx, p.gopgpool),
	}
}
