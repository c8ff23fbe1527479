package proxy

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pool"
	"gopgpool/proxy/listen"
	"gopgpool/proxy/meter"
	"gopgpool/proxy/relcache"
	"gopgpool/proxy/route"
	"gopgpool/proxy/show"
	"gopgpool/proxy/stmt"
)

// Parts are what the proxy is built from. What says what nil means is not required.
type Parts struct {
	Config    *conf.Live
	Store     *cluster.Store
	Pool      *pool.Pool
	Loops     *loop.Group
	Log       logging.Logger
	Passwords *auth.PasswordFile // nil with pool_passwd = ''
	Rules     *auth.Rules        // of pool_hba.conf; nil with enable_pool_hba = off
	Version   string             // of SHOW pool_version
	PID       int                // slots are numbered from PID + 1
	// LoginSecret makes the salts of users who have none of their own; it should be the same after a restart.
	LoginSecret auth.Random
	// ClientTLS is what clients meet now, nil without TLS; a nil function is without TLS for ever.
	ClientTLS func() *tls.Config
	// Users asks the servers about their users; nil: auth_query is off, and records with groups match nobody.
	Users Users
	// Outside asks LDAP or PAM, as the record says, about a client at the address (or "[local]"). It may block and is called off the
	// loops. Its error is an *auth.Error or the log's.
	Outside func(ctx context.Context, rule auth.Rule, user, password, address string) error
	// NodeUsed is told that a session uses a node; it must cost next to nothing.
	NodeUsed func(cluster.NodeID)
	// NodeLost is told that a node could not be connected to, or that a connection to it broke, with the View in force before and
	// the error (see loop.DialError). NodeShutdown is told that a node says it shuts down and takes no new connection. Neither may
	// block; nil tells nobody.
	NodeLost     func(id cluster.NodeID, seen *cluster.View, err error)
	NodeShutdown func(id cluster.NodeID, seen *cluster.View)
	// Probe asks the nodes for pg_status and pg_role; it may block and is called off the loops.
	Probe func(ctx context.Context, v *cluster.View) []show.Live
	// Switchover makes a standby the primary and returns when it is, or with an error, a *SwitchoverError where it says why. It tells
	// progress of each phase. When ctx ends it gives the switchover up, if that is still possible, and returns its cause, or a
	// *SwitchoverError; nil if it had come to its end. nil: there is none.
	Switchover func(ctx context.Context, node cluster.NodeID, progress func(cluster.Switchover)) error
	// Watchdog tells what SHOW pool_watchdog shows; it is called on the loops, so it must not wait. nil without a watchdog.
	Watchdog func() show.Watchdog
}

// Server is the proxy: listeners and sessions. Build it with NewServer, add listening sockets with Listen, then Run.
type Server struct {
	parts    Parts
	store    *cluster.Store
	pool     *pool.Pool
	log      logging.Logger
	keys     *registry
	admitted *admission // a place for each session that keeps its connections
	shared   *admission // and for those that share them
	counters *show.Counters
	authKeys *auth.Cache
	names    atomic.Pointer[relcache.Cache]
	current  atomic.Pointer[settings]
	rules    atomic.Pointer[auth.Rules]
	startups *startups
	homes    []*home
	listen   []int
	started  time.Time

	draining atomic.Bool                            // no new clients
	shunned  [cluster.MaxNodes]atomic.Pointer[shun] // standbys that could not be reached and are left alone for a while
	stopping atomic.Bool

	pauses        pauses
	renewals      renewals
	turns         atomic.Uint64 // of statements that PAUSE holds
	asksSequences atomic.Bool   // some session has asked for currval or lastval
	clients       clientCounts
	hub           *listen.Hub
	notifiers     notifiers
	numbers       atomic.Uint64 // of sessions
	statements    *sharedRegistry
	quiescing     atomic.Int32 // calls of Quiesce that have not resumed
	room          waitingRoom  // of statements that are held
	mute          muted
	served        [cluster.MaxNodes]atomic.Int64 // when a session was let in last, since started
}

// settings are what a reload replaces as one.
type settings struct {
	cfg    *conf.Config
	policy *route.Policy
}

// home is what the sessions of one loop share.
type home struct {
	loop     *loop.Loop
	buffers  buffers
	shells   []shell
	analyzer *stmt.Analyzer
	counters *show.Shard
	dice     *mathrand.Rand
	sessions map[*session]struct{}
	tally    meter.Loop
	reader   reader

	departures []*departure // what a switchover waits for, see drain.go
}

// authCacheSize bounds the derived SCRAM keys kept.
const authCacheSize = 4096

// NewServer builds the proxy; nothing runs and nothing listens so far.
func NewServer(p Parts) *Server {
	cfg := p.Config.Current()
	s := &Server{
		statements: newSharedRegistry(), startups: newStartups(),
		parts: p, store: p.Store, pool: p.Pool, log: p.Log, keys: newRegistry(), started: time.Now(),
		counters: show.NewCounters(len(p.Loops.Loops)), authKeys: auth.NewCache(p.LoginSecret, authCacheSize),
	}
	s.admitted = newAdmission(cfg.Pool.NumInitChildren, cfg.Pool.ClientBound(), cfg.Pool.ReservedConnections, p.PID+1, s.started)
	s.shared = newSharedAdmission(cfg.SharedClients(), s.started)
	facts := stmt.NewCache(stmt.Limits{})
	for i, l := range p.Loops.Loops {
		s.homes = append(s.homes, &home{
			loop: l, analyzer: stmt.NewAnalyzer(facts), counters: s.counters.Shard(i),
			dice: mathrand.New(mathrand.NewPCG(seed(), seed())), sessions: make(map[*session]struct{}),
		})
	}
	s.names.Store(relcache.New(relcache.Options{Expire: cfg.RelationCache.RelcacheExpire, Size: cfg.RelationCache.RelcacheSize}))
	s.SetRules(p.Rules)
	s.hub = listen.New(listen.Config{Store: p.Store, Log: p.Log, Discard: p.Pool.Discard, PIDOf: s.notifiers.load})
	s.Configure(cfg)
	return s
}

func seed() uint64 {
	n, err := rand.Int(rand.Reader, new(big.Int).SetUint64(1<<63))
	if err != nil {
		panic("proxy: no randomness: " + err.Error())
	}
	return n.Uint64()
}

// Configure puts a configuration in force: sessions that begin from now on obey it.
func (s *Server) Configure(cfg *conf.Config) {
	policy := route.NewPolicy(&cfg.LoadBalance, &cfg.StreamingCheck, &cfg.RelationCache)
	if s.current.Swap(&settings{cfg: cfg, policy: policy}) != nil {
		s.wakeAll() // who is held may have waited long enough now
	}
	s.pool.Configure(limits(cfg))
	s.pool.SetBounds(func(k pool.Key) pool.Bounds {
		p := cfg.Pooling(k.Database, k.User)
		return bounds(&p)
	})
}

// SetRules replaces the rules of pool_hba.conf, with the maps of pool_ident.conf.
func (s *Server) SetRules(r *auth.Rules) { s.rules.Store(r) }

// limits are the pool's, from the parameters that bound processes and their connections.
func limits(c *conf.Config) pool.Limits {
	idle := c.Pool.ConnectionLifeTime
	if life := c.Pool.ChildLifeTime; life > 0 && (idle == 0 || life < idle) {
		idle = life
	}
	return pool.Limits{
		PerNode: max(c.Pool.NumInitChildren*max(c.Pool.MaxPool, 1), 1), Cache: c.Pool.ConnectionCache && c.Pool.MaxPool > 0,
		IdleTime: idle, MaxUses: c.Pool.ChildMaxConnections, WaitTimeout: c.Pool.QueryWaitTimeout,
		ConnectTimeout: c.HealthCheck.Global.ConnectTimeout,
	}
}

// Listen adds a listening, non-blocking socket; the server owns it. Call it before Run.
func (s *Server) Listen(fd int) { s.listen = append(s.listen, fd) }

// Run accepts clients on the first loop until ctx ends, then ends the sessions. The loops must be running.
func (s *Server) Run(ctx context.Context) error {
	defer s.store.Watch(s.viewChanged)() // before the first session is there, which hears of nothing else
	var acceptors []*loop.Task
	var mu sync.Mutex
	first := s.homes[0].loop
	for _, fd := range s.listen {
		first.Post(func() {
			t := first.Go("accept", func(t *loop.Task) {
				loop.Accept(t, fd, s.accepted, func(err error) {
					s.log.Log(logging.Event{Severity: logging.Log, Message: "could not accept a connection", Detail: err.Error()})
				})
			})
			mu.Lock()
			acceptors = append(acceptors, t)
			mu.Unlock()
		})
	}
	first.Post(func() {
		t := first.Go("min_pool_size", s.fillSpares)
		mu.Lock()
		acceptors = append(acceptors, t)
		mu.Unlock()
	})
	<-ctx.Done()
	s.stopping.Store(true)
	s.hub.Close()
	first.Post(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, t := range acceptors {
			t.Stop()
		}
	})
	return nil
}

// Drain stops accepting and returns when the last session has ended, or with ctx.
func (s *Server) Drain(ctx context.Context) {
	s.draining.Store(true)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for s.admitted.busy()+s.shared.busy() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// viewChanged cuts what may not go on under a View and has every session look at it.
func (s *Server) viewChanged(v *cluster.View) {
	for _, h := range s.homes {
		h.loop.Post(func() {
			for x := range h.sessions {
				x.cutFenced(v)
				x.t.Wake()
			}
			h.lookAtDepartures(v)
		})
	}
}

// wakeAll has every session look at what may have changed.
func (s *Server) wakeAll() {
	for _, h := range s.homes {
		h.loop.Post(func() {
			for x := range h.sessions {
				x.t.Wake()
			}
		})
	}
}

// accepted deals a new connection to the loop with the fewest tasks.
func (s *Server) accepted(fd int, from net.Addr) {
	if s.draining.Load() {
		turnAway(fd, errShuttingDown)
		return
	}
	late, ok := s.admitted.open()
	if !ok {
		s.homes[0].tally.Error(errTooMany.Code)
		turnAway(fd, errTooMany)
		return
	}
	h := s.homes[0]
	for _, o := range s.homes[1:] {
		if o.loop.Tasks() < h.loop.Tasks() {
			h = o
		}
	}
	begin := func() { h.loop.Go("session", func(t *loop.Task) { s.welcome(t, h, fd, from, late) }) }
	if h == s.homes[0] {
		begin()
	} else if !h.loop.Post(begin) {
		unix.Close(fd)
		s.admitted.closed()
	}
}

// turnAway tells a client why it is not served, if its socket takes the words at once.
func turnAway(fd int, why error) {
	words, _ := appendError(nil, why)
	_ = unix.Sendto(fd, words, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, nil)
	unix.Close(fd)
}

// stopCause is why sessions end when the loops stop.
func (s *Server) stopCause() error { return errStopping }

// shunTime is how long a standby that could not be reached gets no reads.
const shunTime = 5 * time.Second

// shun is why a node gets no reads for a while. It is over sooner when something is decided about the node.
type shun struct {
	until time.Time
	epoch cluster.Epoch // of the node then
}

func (x shun) holds(v *cluster.View, n cluster.NodeID, now time.Time) bool {
	return now.Before(x.until) && int(n) < len(v.Nodes) && v.Nodes[n].Epoch == x.epoch
}

func (s *Server) avoid(n cluster.NodeID, now time.Time) {
	s.shunned[n].Store(&shun{until: now.Add(shunTime), epoch: s.store.Current().Nodes[n].Epoch})
}

func (s *Server) avoided(n cluster.NodeID, now time.Time) bool {
	x := s.shunned[n].Load()
	return x != nil && x.holds(s.store.Current(), n, now)
}

// nodeOfPID finds the node whose server process has the pid, among the connections of all sessions and the idle ones.
func (s *Server) nodeOfPID(t *loop.Task, pid uint32) (node cluster.NodeID, found bool) {
	s.pool.EachIdle(func(c *pool.Conn) {
		if c.PID == pid {
			node, found = c.Key.Node, true
		}
	})
	for _, h := range s.homes {
		s.onLoop(t, h.loop, func() {
			for x := range h.sessions {
				for _, b := range x.backends {
					if b.c.PID == pid {
						node, found = b.node, true
					}
				}
			}
		})
	}
	return node, found
}

func (s *Server) nodeUsed(n cluster.NodeID) { s.parts.NodeUsed(n) }

// tune sets the options of a client's or server's socket.
func (s *Server) tune(fd int) {
	c := &s.current.Load().cfg.IO
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // fails on unix sockets, where it means nothing
	if !c.TCPKeepalive {
		return
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1) != nil {
		return
	}
	set := func(opt int, d time.Duration, unit time.Duration) {
		if d > 0 {
			_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, opt, int(d/unit))
		}
	}
	set(unix.TCP_KEEPIDLE, c.TCPKeepidle, time.Second)
	set(unix.TCP_KEEPINTVL, c.TCPKeepintvl, time.Second)
	set(unix.TCP_USER_TIMEOUT, c.TCPUserTimeout, time.Millisecond)
	if c.TCPKeepcnt > 0 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, c.TCPKeepcnt)
	}
}

// LogPanic tells of a task that met a bug of ours. Its session has ended; all others go on.
func LogPanic(log logging.Logger, task string, value any, stack []byte) {
	log.Log(logging.Event{
		Severity: logging.Error, Message: fmt.Sprintf("internal error in a %s: %v", task, value), Detail: string(stack),
		SQLState: "XX000",
	})
}

// peerOf describes a client's address.
func peerOf(addr net.Addr) peer {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return peer{addr: addr, host: tcp.IP.String(), port: fmt.Sprint(tcp.Port)}
	}
	return peer{addr: addr, host: "[local]", local: true}
}
