package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"gopgpool/auth"
	"gopgpool/auth/ldap"
	"gopgpool/auth/pam"
	"gopgpool/auth/query"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/failover"
	"gopgpool/health"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pcp"
	"gopgpool/pool"
	"gopgpool/proxy"
	"gopgpool/proxy/show"
	"gopgpool/recovery"
	"gopgpool/replication"
	"gopgpool/syncguard"
	"gopgpool/watchdog"
	"gopgpool/web"
)

// parts are the long-lived pieces of the daemon, wired by build.
type parts struct {
	opts      Options
	out       *logging.Output
	log       logging.Logger
	live      *conf.Live
	store     *cluster.Store
	passwords *auth.PasswordFile
	key       auth.Key
	tls       *encryption
	users     *query.Asker
	coord     *failover.Coordinator
	keeper    *replication.Keeper
	guard     *syncguard.Guard
	sr        *health.ReplicationCheck
	check     *health.Check
	prober    *health.Prober
	loops     *loop.Group
	pool      *pool.Pool
	hosts     hosts
	proxy     *proxy.Server
	listeners *listeners
	recoverer *recovery.Recoverer
	watchdog  *watchdog.Watchdog // nil: use_watchdog is off

	serving atomic.Bool // clients are served

	web        *web.Server // nil: http_port is 0
	pcp        *pcp.Server
	pcpSockets *listeners
	started    time.Time
}

// build makes the parts of the daemon and joins them.
func build(o Options, cfg *conf.Config, out *logging.Output) (*daemon, error) {
	p := &parts{opts: o, out: out, log: out.Logger(), live: conf.NewLive(cfg), started: time.Now()}
	rules, err := p.openAuth(cfg)
	if err != nil {
		return nil, err
	}
	p.openCluster(cfg)
	p.tls = newEncryption(p.partLog("main"))
	if err := p.tls.load(cfg, p.store.Current()); err != nil {
		return nil, err
	}
	p.keeper = p.newKeeper(p.office, p.host)
	p.guard = p.newSyncGuard()
	if p.users, err = p.newUsers(p.tls.Server); err != nil {
		return nil, err
	}
	if err := p.openHealth(cfg); err != nil {
		return nil, err
	}
	if err := p.openProxy(cfg, rules); err != nil {
		return nil, err
	}
	p.openRecovery()
	if err := p.openPCP(); err != nil {
		p.listeners.removeFiles()
		return nil, err
	}
	if err := p.openWatchdog(); err != nil {
		p.listeners.removeFiles()
		p.pcpSockets.removeFiles()
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	if err := p.openWeb(); err != nil {
		p.listeners.removeFiles()
		p.pcpSockets.removeFiles()
		return nil, err
	}
	p.tellMeaningless(cfg)
	return p.daemon(), nil
}

// tellMeaningless says once which parameters about processes are set and mean nothing to a program that has one process.
func (p *parts) tellMeaningless(cfg *conf.Config) {
	usual := conf.Default().Pool
	var names []string
	if cfg.Pool.SerializeAccept != usual.SerializeAccept {
		names = append(names, "serialize_accept")
	}
	if cfg.Pool.ProcessManagementMode != usual.ProcessManagementMode {
		names = append(names, "process_management_mode")
	}
	if !cfg.RelationCache.EnableSharedRelcache {
		names = append(names, "enable_shared_relcache")
	}
	for _, n := range names {
		p.log.Log(logging.Event{
			Severity: logging.Log, Message: fmt.Sprintf("parameter %q is accepted and has no effect", n),
			Detail: "Sessions share one process.",
		})
	}
}

// openAuth reads the key, pool_passwd and pool_hba.conf.
func (p *parts) openAuth(cfg *conf.Config) (*auth.Rules, error) {
	key, warning, err := loadKey(p.opts, &cfg.Auth)
	if err != nil {
		return nil, err
	}
	if warning != nil {
		p.log.Log(logging.Event{Severity: logging.Warning, Message: warning.Error()})
	}
	p.key = key
	if cfg.Auth.PoolPasswd != "" {
		if err := createMissing(cfg.Auth.PoolPasswd); err != nil {
			return nil, fmt.Errorf("pool_passwd: %w", err)
		}
		file, notices, err := auth.OpenPasswordFile(cfg.Auth.PoolPasswd, key)
		if err != nil {
			return nil, fmt.Errorf("pool_passwd: %w", err)
		}
		p.notices(notices)
		p.passwords = file
	}
	if !cfg.Auth.EnablePoolHba {
		return nil, nil
	}
	return p.readRules(cfg)
}

// createMissing makes an empty file where there is none (manual: pool_passwd is created at start).
func createMissing(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func (p *parts) notices(list []auth.Notice) {
	for _, n := range list {
		p.log.Log(logging.Event{Severity: logging.Warning, Message: n.String()})
	}
}

// openCluster makes the first View from the configuration and the status file.
func (p *parts) openCluster(cfg *conf.Config) {
	path := filepath.Join(cfg.Files.WorkDir, "pgpool_status")
	marks, read := failover.ReadStatus(path, p.opts.DiscardStatus)
	view, made := failover.First(clusterMode(cfg), cfg.Backends, marks, time.Now())
	for _, why := range append(read, made...) {
		p.log.Log(why.Event(view.Generation))
	}
	p.store = cluster.NewStore(view)
	p.coord = failover.NewCoordinator(failover.Parts{
		Store: p.store, StatusFile: path, Discard: p.opts.DiscardStatus, Policy: p.failoverPolicy, Log: p.partLog("main"),
		Seeker: seeker{p}, Fencer: fencer{p}, Confirmer: confirmer{p}, Consensus: p.consensus(),
		Actor: actor{p}, Drainer: drainer{p},
	})
}

func clusterMode(cfg *conf.Config) cluster.Mode {
	if cfg.BackendClusteringMode == conf.ModeRaw {
		return cluster.ModeRaw
	}
	return cluster.ModeStreaming
}

// partLog is a logger that speaks for a part of the daemon.
func (p *parts) partLog(name string) logging.Logger {
	return p.log.With(&logging.Origin{App: name, ProcessName: name, PID: os.Getpid()})
}

func (p *parts) openHealth(*conf.Config) (err error) {
	p.prober, err = health.NewProber(p.internalEntry, p.tls.Server)
	if err != nil {
		return err
	}
	board := health.NewBoard(p.store)
	p.sr = health.NewReplicationCheck(p.store, board, p.prober, p.healthSettings, func(r health.Roles) {
		for i, role := range r.Roles {
			if role != cluster.RoleUnknown {
				p.coord.Used(cluster.NodeID(i)) // a node that answers is up, whether a session has used it or not
			}
		}
		p.coord.Report(rolesSeen(r))
	}, p.partLog("sr_check_worker"))
	down := filepath.Join(p.live.Current().Files.WorkDir, "backend_down_request")
	p.check = health.NewCheck(p.store, board, p.prober, p.healthSettings, p.healthFinding, down, p.partLog("health_check"))
	return nil
}

func (p *parts) healthSettings() health.Settings {
	c := p.live.Current()
	return health.Settings{
		Streaming: c.StreamingCheck, HealthCheck: c.HealthCheck, SearchTimeout: c.Failover.SearchPrimaryNodeTimeout,
		DetachFalsePrimary: c.Failover.DetachFalsePrimary,
		AutoFailback:       c.Failover.AutoFailback, AutoFailbackInterval: c.Failover.AutoFailbackInterval,
	}
}

func (p *parts) openProxy(cfg *conf.Config, rules *auth.Rules) (err error) {
	n := cfg.IO.IoLoops
	if n == 0 {
		n = max(runtime.NumCPU()/2, 1)
	}
	if p.loops, err = loop.NewGroup(n, loopReporter{p.log}); err != nil {
		return err
	}
	p.pool = pool.New(p.store, pool.Limits{})
	p.pool.UseTLS(p.tls.Server)
	p.proxy = proxy.NewServer(proxy.Parts{
		Config: p.live, Store: p.store, Pool: p.pool, Loops: p.loops, Log: p.log, Passwords: p.passwords, Rules: rules,
		Version: version, PID: os.Getpid(), NodeUsed: p.coord.Used, Probe: p.probe,
		ClientTLS: p.tls.Clients, LoginSecret: p.loginSecret(cfg.Files.WorkDir), Users: p.users, Outside: outside{ldap.New(), pam.New(pam.Places)}.ask,
		NodeLost: p.nodeLost, NodeShutdown: p.nodeShutdown, Watchdog: p.showWatchdog,
		Switchover: p.switchover,
	})
	if p.listeners, err = listen(cfg, p.log); err != nil {
		return err
	}
	for _, fd := range p.listeners.fds {
		p.proxy.Listen(fd)
	}
	return nil
}

func (p *parts) probe(ctx context.Context, v *cluster.View) []show.Live {
	probes := p.prober.Ask(ctx, v, p.healthSettings())
	live := make([]show.Live, len(probes))
	for i := range probes {
		live[i] = show.Live(probes[i])
	}
	return live
}

// loopReporter writes down what loops cannot tell anybody else.
type loopReporter struct{ log logging.Logger }

func (r loopReporter) TaskPanicked(task string, value any, stack []byte) {
	proxy.LogPanic(r.log, task, value, stack)
}

func (r loopReporter) Stalled(id int, task string, after time.Duration, stack []byte) {
	r.log.Log(logging.Event{
		Severity: logging.Warning,
		Message:  fmt.Sprintf("event loop %d has not turned for %v, running a %s", id, after.Round(time.Millisecond), task),
		Detail:   string(stack),
	})
}

// daemon lists the parts in the order in which they are told about.
func (p *parts) daemon() *daemon {
	ready := make(chan struct{})
	d := &daemon{
		log: p.log,
		parts: []part{
			{name: "event loops", run: p.loops.Run},
			{name: "failover", run: p.coord.Run},
			{name: "replication", run: p.keeper.Run},
			{name: "sync_standby_guard", run: p.guard.Run},
			{name: "replication check", run: p.sr.Run},
			{name: "health check", run: p.check.Run},
			{name: "pool", run: p.pool.Run},
			{name: "auth_query", run: p.users.Run},
			{name: "idle collector", run: collectWhenIdle},
			{name: "proxy", run: func(ctx context.Context) error { return p.serve(ctx, ready) }},
			{name: "pcp", run: func(ctx context.Context) error { return p.servePCP(ctx, ready) }},
		},
		ready: ready, announce: p.tellNodes,
		reload: p.reload,
		rotate: p.rotate,
		drain:  p.proxy.Drain,
		leave:  p.leave,
		close:  func() { p.listeners.removeFiles(); p.pcpSockets.removeFiles() },
	}
	if p.watchdog != nil {
		d.parts = append(d.parts, part{name: "watchdog", run: p.watchdog.Run})
	}
	if p.web != nil {
		d.parts = append(d.parts, part{name: "http", run: p.web.Run})
	}
	return d
}

// tellNodes tells what the nodes are at the start.
func (p *parts) tellNodes() {
	v := p.store.Current()
	for i := range v.Nodes {
		status := 3
		switch n := &v.Nodes[i]; {
		case n.Status == cluster.StatusUnused:
			status = 0
		case n.Role == cluster.RolePrimary || n.Role == cluster.RoleMain:
			status = 1
		case n.Role == cluster.RoleStandby || n.Role == cluster.RoleReplica:
			status = 2
		}
		p.log.Log(logging.NodeStatus(i, status))
	}
}

// firstRound bounds how long the start waits for the servers' roles; without them it serves what it knows.
const firstRound = 5 * time.Second

// serve waits for the first search for a primary, so that the first client meets one, then accepts.
func (p *parts) serve(ctx context.Context, ready chan<- struct{}) error {
	if !p.awaitWatchdog(ctx) {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, firstRound)
	select {
	case <-p.sr.Ready():
		_ = p.coord.Settle(wait) // late is no reason not to serve
	case <-wait.Done():
	}
	cancel()
	if ctx.Err() != nil {
		return nil
	}
	p.serving.Store(true)
	close(ready)
	return p.proxy.Run(ctx)
}

func (p *parts) rotate() {
	if err := p.out.Rotate(); err != nil {
		p.log.Log(logging.Event{Severity: logging.Warning, Message: "could not rotate the log file", Detail: err.Error()})
	}
}
