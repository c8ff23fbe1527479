package proxy

import (
	"context"
	"sort"
	"strconv"
	"strings"
	"time"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
	"gopgpool/proxy/relcache"
	"gopgpool/proxy/route"
	"gopgpool/proxy/show"
	"gopgpool/proxy/stmt"
)

// poolQuery answers SHOW pool_* and PGPOOL ... in a simple query.
func (s *session) poolQuery(f *stmt.Facts) error {
	if s.state.IsFailed() {
		return s.refuse(errFailedTransaction)
	}
	r, err := s.poolCommand(f)
	if err != nil {
		return s.refuse(err)
	}
	out := s.client.queued()
	if r.Notice != "" {
		out = pgwire.AppendNotice(out, pgwire.Fields{Severity: "NOTICE", Code: "00000", Message: r.Notice})
	}
	if len(r.Columns) > 0 {
		out = pgwire.AppendRowDescription(out, r.Columns)
	}
	out = appendRows(out, r)
	s.client.setQueued(pgwire.AppendReady(out, s.txByte()))
	s.lastSeen = s.t.Now()
	return nil
}

// poolColumns are the columns of an answer, for Describe before Execute. The commands only read, but for SET and RESET, which
// have no columns.
func (s *session) poolColumns(f *stmt.Facts) []string {
	switch f.Pool.Verb {
	case "set", "reset", "cache_delete", "pause", "resume", "reconnect", "kill", "switchover":
		return nil
	}
	r, err := s.poolCommand(f)
	if err != nil {
		return nil
	}
	return r.Columns
}

// poolCommand carries out a command of ours.
func (s *session) poolCommand(f *stmt.Facts) (*show.Result, error) {
	c := f.Pool
	var r show.Result
	var err error
	switch c.Verb {
	case "show_pool":
		return s.showPool(c.Name)
	case "show":
		r, err = show.Parameter(s.set.Config(), c.Name)
	case "set":
		r, err = show.Set(&s.set, c.Name, c.Value, c.Default)
		s.refreshSettings()
	case "reset":
		r, err = show.Reset(&s.set, c.Name)
		s.refreshSettings()
	case "cache_delete":
		r = show.CacheDelete(c.Value, false)
	case "explain_route":
		return s.explainRoute(c.Value)
	case "pause", "resume", "reconnect", "kill", "switchover":
		return s.operate(c)
	case "malformed":
		return nil, &clientError{
			Code: "42601", Message: "syntax error in PGPOOL " + strings.ToUpper(c.Name), Hint: "The command is " + c.Value + ".",
		}
	default:
		panic("proxy: unknown command " + c.Verb)
	}
	return &r, err
}

func (s *session) showPool(name string) (*show.Result, error) {
	view, gauges := s.srv.store.Current(), s.srv.store.Gauges()
	var r show.Result
	switch name {
	case "pool_nodes":
		if s.in.L == cluster.NoNode {
			s.chooseL()
		}
		r = show.PoolNodes(show.Nodes{
			View: view, Gauges: gauges, Live: s.probe(view),
			Stats: s.srv.counters.Snapshot(len(view.Nodes)), LoadBalanceNode: s.in.L,
		})
	case "pool_processes":
		workers, _ := s.srv.workers(s.t)
		r = show.PoolProcesses(workers)
	case "pool_pools":
		_, slots := s.srv.workers(s.t)
		r = show.PoolPools(slots)
	case "pool_sessions":
		r = show.PoolSessions(s.srv.sessions(s))
	case "pool_queues":
		r = show.PoolQueues(s.srv.queues(s.t))
	case "pool_hba":
		r = show.PoolHBA(s.rulesInForce())
	case "pool_ident":
		r = show.PoolIdent(s.rulesInForce().Idents())
	case "pool_version":
		r = show.PoolVersion(s.srv.parts.Version)
	case "pool_status":
		r = show.PoolStatus(s.set.Config(), view, gauges, show.Cache{}, s.srv.started)
	case "pool_cache":
		r = show.PoolCache(show.Cache{})
	case "pool_health_check_stats":
		r = show.PoolHealthCheckStats(view, gauges)
	case "pool_backend_stats":
		r = show.PoolBackendStats(view, s.srv.counters.Snapshot(len(view.Nodes)))
	case "pool_watchdog":
		r = show.PoolWatchdog(s.srv.watchdog())
	default:
		panic("proxy: unknown command SHOW " + name)
	}
	return &r, nil
}

// rulesInForce are the rules a client that came now would meet; none with enable_pool_hba = off.
func (s *session) rulesInForce() *auth.Rules {
	if !s.srv.current.Load().cfg.Auth.EnablePoolHba {
		return nil
	}
	return s.srv.rules.Load()
}

// chooseL chooses the session's load balance node before its first read, so that SHOW pool_nodes can tell it.
func (s *session) chooseL() {
	in := s.in
	in.View, in.Gauges, in.Policy = s.srv.store.Current(), s.srv.store.Gauges(), s.policy
	in.Dice = s.home.dice.Float64()
	s.in.L = route.Choose(&in).Node
}

// probe asks the nodes how they are, off the loop.
func (s *session) probe(v *cluster.View) (live []show.Live) {
	if s.srv.parts.Probe == nil {
		return nil
	}
	s.t.Offload(func() {
		ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
		defer cancel()
		live = s.srv.parts.Probe(ctx, v)
	})
	return live
}

const probeTimeout = 6 * time.Second

// explainRoute tells where a statement would go, without running it.
func (s *session) explainRoute(text string) (*show.Result, error) {
	f := s.analyze([]byte(text))
	saved := s.in
	defer func() { l := saved.L; s.in = saved; s.in.L = l }()
	var r show.Result
	view := s.srv.store.Current()
	if f.Kind == stmt.KindPool {
		r = show.ExplainRoute(view, []show.Route{{Node: cluster.NoNode, Reason: "answered by pgpool"}})
		return &r, nil
	}
	in := &s.in
	in.Facts, in.View, in.Gauges, in.Policy = f, view, s.srv.store.Gauges(), s.policy
	in.Prepared, in.PreparedNode, in.Names, in.Text = nil, cluster.NoNode, route.Names{}, text
	if p := s.named[f.Name]; p != nil && (f.Kind == stmt.KindExecute || f.Kind == stmt.KindDeallocate) {
		in.Prepared, in.PreparedNode = p.facts, p.node
	}
	in.Dice = s.home.dice.Float64()
	if route.NeedsNames(in) {
		if err := s.lookUp(in); err != nil {
			return nil, err
		}
	}
	d := route.Decide(in)
	routes := []show.Route{{Node: d.Node, Reason: d.Reason.String()}}
	if d.Both {
		for i := range view.Nodes {
			if id := cluster.NodeID(i); id != d.Node && view.Live(id) && (d.All || id == d.L) {
				routes = append(routes, show.Route{Node: id, Reason: d.Reason.String()})
			}
		}
	}
	r = show.ExplainRoute(view, routes)
	return &r, nil
}

// sessionNames is the catalogue's answers as a new session sees them.
func (srv *Server) sessionNames(database string) relcache.Session {
	return relcache.NewSession(srv.names.Load().Database(database))
}

// worker is what one slot does, as its session told it.
type worker struct {
	process show.Process
	slots   []show.Slot
}

// workers gathers what SHOW pool_processes and pool_pools tell: every slot, what its session does, and the idle connections,
// which are shown in the places of slots that have room.
func (srv *Server) workers(t *loop.Task) ([]show.Process, []show.Slot) {
	cfg := srv.current.Load().cfg
	view := srv.store.Current()
	now := t.Now()
	byPID := make(map[int]*worker)
	for _, h := range srv.homes {
		srv.onLoop(t, h.loop, func() {
			for s := range h.sessions {
				byPID[s.slot.pid] = s.describeWorker(now)
			}
		})
	}
	idle := srv.idleSets()
	var processes []show.Process
	var slots []show.Slot
	processes = make([]show.Process, len(srv.admitted.all))
	for i, sl := range srv.admitted.all {
		w := byPID[sl.pid]
		if w == nil {
			w = &worker{process: show.Process{State: show.StateWait}}
		}
		p := &processes[i]
		*p = w.process
		p.PID = int64(sl.pid)
		p.Start, p.Clients, p.RestartIn = sl.life(now, cfg.Pool.ChildLifeTime, cfg.Pool.ChildMaxConnections)
		for pid := range max(cfg.Pool.MaxPool, 1) {
			own := w.slots
			if pid > 0 || own == nil {
				own = nil
				if len(idle) > 0 {
					own, idle = idle[0], idle[1:]
				}
			}
			slots = append(slots, slotRows(p, pid, len(view.Nodes), own)...)
		}
	}
	return processes, slots
}

// Workers tells what SHOW pool_processes and pool_pools tell. It may be called from any goroutine but a loop's.
func (s *Server) Workers(ctx context.Context) (processes []show.Process, slots []show.Slot) {
	type answer struct {
		processes []show.Process
		slots     []show.Slot
	}
	done := make(chan answer, 1)
	l := s.homes[0].loop
	began := l.Post(func() {
		l.Go("workers", func(t *loop.Task) {
			var a answer
			a.processes, a.slots = s.workers(t)
			done <- a
		})
	})
	if !began {
		return nil, nil
	}
	select {
	case a := <-done:
		return a.processes, a.slots
	case <-ctx.Done():
		return nil, nil
	}
}

// watchdog is the state of the watchdog, if there is one.
func (s *Server) watchdog() show.Watchdog {
	if s.parts.Watchdog == nil {
		return show.Watchdog{}
	}
	return s.parts.Watchdog()
}

// Stats are the rows behind SHOW pool_backend_stats, index = NodeID, for n nodes.
func (s *Server) Stats(n int) []show.BackendStat { return s.counters.Snapshot(n) }

// slotRows are the rows of one pool slot, one per node.
func slotRows(p *show.Process, id, nodes int, used []show.Slot) []show.Slot {
	rows := make([]show.Slot, nodes)
	for n := range rows {
		rows[n] = show.Slot{Process: p, PoolID: id, Node: cluster.NodeID(n), ClientDisconnectsIn: -1}
		for _, u := range used {
			if int(u.Node) == n {
				u.Process, u.PoolID = p, id
				rows[n] = u
			}
		}
	}
	return rows
}

// idleSets groups the idle connections by key, as Pgpool-II's pool slots do.
func (srv *Server) idleSets() [][]show.Slot {
	type set struct {
		key   pool.Key
		slots []show.Slot
	}
	sets := make(map[pool.Key][]*set)
	var all []*set
	srv.pool.EachIdle(func(c *pool.Conn) {
		k := c.Key
		k.Node = cluster.NoNode
		var to *set
		for _, x := range sets[k] {
			taken := false
			for _, sl := range x.slots {
				taken = taken || sl.Node == c.Key.Node
			}
			if !taken {
				to = x
				break
			}
		}
		if to == nil {
			to = &set{key: k}
			sets[k] = append(sets[k], to)
			all = append(all, to)
		}
		to.slots = append(to.slots, show.Slot{
			Node: c.Key.Node, Database: k.Database, User: k.User, BackendConnected: c.Created,
			ClientDisconnected: c.IdleSince, Major: 3, PoolCounter: uint64(c.Uses), BackendPID: int64(c.PID),
			ClientDisconnectsIn: -1,
		})
	})
	sort.SliceStable(all, func(i, j int) bool { return all[i].key.User < all[j].key.User })
	out := make([][]show.Slot, len(all))
	for i, x := range all {
		out[i] = x.slots
	}
	return out
}

// describeWorker tells what the session does; for its loop.
func (s *session) describeWorker(now time.Time) *worker {
	w := &worker{process: show.Process{Connected: true, State: s.workerState()}}
	p := &w.process
	if s.startup == nil {
		return w
	}
	p.Database, p.User = s.startup.Database, s.startup.User
	for _, b := range s.backends {
		if p.BackendConnected.IsZero() || b.node == s.writer() {
			p.BackendConnected, p.PoolCounter = b.c.Created, uint64(b.c.Uses)
		}
		left := time.Duration(-1)
		if s.idleLimit > 0 && s.owed == 0 {
			left = max(s.lastSeen.Add(s.idleLimit).Sub(now), 0)
		}
		sl := show.Slot{
			Node: b.node, Database: p.Database, User: p.User, BackendConnected: b.c.Created, ClientConnected: s.began,
			Major: s.startup.Version.Major(), Minor: s.startup.Version.Minor(), PoolCounter: uint64(b.c.Uses),
			BackendPID: int64(b.c.PID), InUse: true, LoadBalanceNode: b.node == s.in.L,
			ClientHost: s.peer.host, ClientPort: s.peer.port, Statement: string(b.lastText), ClientDisconnectsIn: left,
		}
		if s.owed == 0 {
			sl.IdleFor = now.Sub(s.lastSeen)
		}
		w.slots = append(w.slots, sl)
	}
	return w
}

func (s *session) workerState() show.State {
	switch {
	case s.in.State == nil:
		return show.StateConnecting
	case s.owed > 0 || s.pumping:
		return show.StateExecute
	case s.journal.InTx():
		return show.StateIdleInTransaction
	}
	return show.StateIdle
}

// quoteName quotes an identifier.
func quoteName(name string) string {
	out := make([]byte, 0, len(name)+2)
	out = append(out, '"')
	for i := range len(name) {
		if name[i] == '"' {
			out = append(out, '"')
		}
		out = append(out, name[i])
	}
	return string(append(out, '"'))
}

func itoa[T ~int](n T) string { return strconv.Itoa(int(n)) }
