package watchdog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gopgpool/conf"
	"gopgpool/logging"
	"gopgpool/watchdog/disk"
	"gopgpool/watchdog/ipc"
	"gopgpool/watchdog/lifecheck"
	"gopgpool/watchdog/machine"
	"gopgpool/watchdog/mesh"
	"gopgpool/watchdog/pulse"
	"gopgpool/watchdog/vip"
)

// Office is what this node may decide about backends. Term rises with each leader. Fresh: it leads, was started without the status
// file, and nobody was running before.
type Office struct {
	Standing machine.Standing
	Term     uint64
	Leader   string // name of the leader, "" while there is none
	Fresh    bool
}

// Backends is who decides about backends; failover fits. But for Execute its methods must not block.
type Backends interface {
	Hold(Office)
	Decided(seq uint64, decision []byte)
	Resend()
	// Execute carries out a request that the nodes have agreed to. It is called on goroutines of its own.
	Execute(ctx context.Context, request []byte) (reply []byte)
}

// Parts are what a Watchdog is built from. All but Pause are required.
type Parts struct {
	Config   *conf.Live
	Backends Backends
	// Command carries out a command of another node that is meant for all (pcp_stop_pgpool and its like with scope c).
	Command func(name string, args map[string]string) error
	// Password finds the password of one of our own users; param is what the configuration says.
	Password func(user, param string) (string, error)
	// Pause tells that a life check would disturb: online recovery is running.
	Pause      func() bool
	VoteExpiry func(*conf.Config) time.Duration // how long a vote about a backend waits for others
	Fresh      bool                             // pgpool -D
	Log        logging.Logger
}

// Watchdog is this node's. Its methods may be called from any goroutine.
type Watchdog struct {
	parts  Parts
	cfg    *conf.Config // of the start
	self   int
	name   string
	log    logging.Logger
	store  *disk.Store
	mesh   *mesh.Mesh
	pulse  *pulse.Pulse // nil without heartbeats
	checks *lifecheck.Checks
	addr   *vip.Address
	ipc    *ipc.Server
	inbox  inbox
	status atomic.Pointer[snapshot]
	ready  chan struct{}
	// allHeard: every node has been heard once, so the life check may begin.
	allHeard atomic.Bool
	left     chan struct{}
	tasks    sync.WaitGroup // goroutines of Execute, probes and commands
	remote   remote         // commands for all nodes

	mu        sync.Mutex
	number    uint64                          // guarded by mu; of the last call
	commits   map[uint64]chan machine.Outcome // guarded by mu
	asks      map[uint64]chan machine.Answer  // guarded by mu
	committed uint64                          // guarded by mu; the last decision of this node's
	changed   chan struct{}                   // guarded by mu; closed when status changes

	// Owned by the loop.
	judge    *lifecheck.Judge
	office   Office
	isReady  bool
	lasting  lasting
	compared map[int]bool // nodes whose settings were compared
	settings map[int]map[string]string
	fatal    error
	ending   error // why this node is about to end; it hands over first, but no longer than until endBy
	endBy    time.Duration
}

// snapshot is what others see.
type snapshot struct {
	machine.Status
	at   time.Duration
	held bool
}

// ErrRejected is a node that the others do not want, as it is configured.
var ErrRejected = errors.New("Add to watchdog cluster request is rejected") //nolint:staticcheck // ST1005: the manual's text

// New opens what the watchdog needs: its disk, its port, its socket. It starts nothing; whoever does not call Run calls Close.
func New(p Parts) (_ *Watchdog, err error) {
	cfg := p.Config.Current()
	c := &cfg.Watchdog
	w := &Watchdog{
		parts: p, cfg: cfg, self: c.NodeID, log: p.Log, inbox: newInbox(), ready: make(chan struct{}), left: make(chan struct{}),
		commits: make(map[uint64]chan machine.Outcome), asks: make(map[uint64]chan machine.Answer), changed: make(chan struct{}),
		compared: make(map[int]bool), settings: make(map[int]map[string]string),
	}
	w.lasting.judged = make(map[int]machine.Judged)
	w.remote.waiting = make(map[uint64]chan string)
	w.name = nodeName(c)
	w.log.Log(logging.Event{Severity: logging.Log, Message: fmt.Sprintf("setting the local watchdog node name to %q", w.name)})
	w.status.Store(&snapshot{Status: machine.Status{Leader: -1, Quorum: machine.QuorumNoLeader, Nodes: make([]machine.NodeStatus, len(c.Nodes))}})
	w.tellNodes(c)
	defer func() {
		if err != nil {
			w.Close()
		}
	}()
	return w, w.open(c)
}

func (w *Watchdog) open(c *conf.Watchdog) (err error) {
	if w.store, err = disk.Open(c.StateDirectory(), c.WdStateOnTmpfs); err != nil {
		return err
	}
	if w.addr, err = vip.New(w.vipConfig(c), w.log, w.addressIs); err != nil {
		return err
	}
	tlsConfig, err := nodeTLS(c)
	if err != nil {
		return err
	}
	nodes := make([]mesh.Endpoint, len(c.Nodes))
	for i, n := range c.Nodes {
		nodes[i] = mesh.Endpoint{Host: n.Hostname, WdPort: n.WdPort, PgpoolPort: n.PgpoolPort}
	}
	w.mesh, err = mesh.New(mesh.Config{
		Self: w.self, Nodes: nodes, ListenAddress: c.WdListenAddress, ListenPort: c.WdListenPort, Name: w.name, Key: c.WdAuthkey,
		TLS: tlsConfig, NodesHash: c.NodesHash(), Version: protocolVersion, Idle: min(c.Lease(), 3*time.Second),
	}, meshEvents{w}, w.log)
	if err != nil {
		return err
	}
	if err := w.openLifecheck(c); err != nil {
		return err
	}
	w.ipc, err = ipc.New(ipc.Config{
		Dir: c.WdIpcSocketDir, Port: c.Nodes[w.self].WdPort, Key: func() string { return w.parts.Config.Current().Watchdog.WdAuthkey },
	}, w, w.log)
	return err
}

// protocolVersion is of what the nodes say to each other.
const protocolVersion = 1

// Close gives back what New has opened.
func (w *Watchdog) Close() {
	if w.ipc != nil {
		_ = w.ipc.Close()
	}
	if w.mesh != nil {
		_ = w.mesh.Close()
	}
	if w.store != nil {
		_ = w.store.Close()
	}
}

// nodeName is how the node is called everywhere: host:port and the system it runs on.
func nodeName(c *conf.Watchdog) string {
	var u syscall.Utsname
	system, host := "Linux", ""
	if err := syscall.Uname(&u); err == nil {
		system, host = charsToString(u.Sysname[:]), charsToString(u.Nodename[:])
	}
	if host == "" {
		host, _ = os.Hostname()
	}
	n := c.Nodes[c.NodeID]
	return fmt.Sprintf("%s:%d %s %s", n.Hostname, n.PgpoolPort, system, host)
}

func (w *Watchdog) tellNodes(c *conf.Watchdog) {
	n := 0
	for id := range c.Nodes {
		if id != w.self && c.Nodes[id].WdPort != 0 {
			n++
		}
	}
	w.log.Log(logging.Event{Severity: logging.Log, Message: fmt.Sprintf("watchdog cluster is configured with %d remote nodes", n)})
	i := 0
	for id, node := range c.Nodes {
		if id != w.self && node.WdPort != 0 {
			w.log.Log(logging.Event{Severity: logging.Log, Message: fmt.Sprintf("watchdog remote node:%d on %s:%d", i, node.Hostname, node.WdPort)})
			i++
		}
	}
}

func (w *Watchdog) vipConfig(c *conf.Watchdog) vip.Config {
	now := func(of func(*conf.Watchdog) string) func() string {
		return func() string { return of(&w.parts.Config.Current().Watchdog) }
	}
	ip, _ := netip.ParseAddr(c.DelegateIP) // checked when the file was read; empty is none
	return vip.Config{
		IP: ip, UpCommand: c.IfUpCmd, DownCommand: c.IfDownCmd, ArpingCommand: c.ArpingCmd,
		CommandPath: c.IfCmdPath, ArpingPath: c.ArpingPath, PingPath: c.PingPath, Device: c.DelegateDevice, Prefix: c.DelegatePrefix,
		EscalationCommand:   now(func(c *conf.Watchdog) string { return c.WdEscalationCommand }),
		DeEscalationCommand: now(func(c *conf.Watchdog) string { return c.WdDeEscalationCommand }),
		CommandTimeout:      c.WdCommandTimeout,
	}
}

func (w *Watchdog) machineConfig(cfg *conf.Config) machine.Config {
	c := &cfg.Watchdog
	nodes := make([]machine.Node, len(c.Nodes))
	for i, n := range c.Nodes {
		nodes[i] = machine.Node{Host: n.Hostname, WdPort: n.WdPort, PgpoolPort: n.PgpoolPort}
	}
	return machine.Config{
		Self: w.self, Nodes: nodes, Name: w.name, Priority: c.WdPriority, VIP: c.DelegateIP != "", Lease: c.Lease(), Loading: loadingTime,
		HalfVotes: c.EnableConsensusWithHalfVotes, RemoveShutdown: c.WdRemoveShutdownNodes,
		LostRemoval: c.WdLostNodeRemovalTimeout, NoShowRemoval: c.WdNoShowNodeRemovalTimeout,
		FailoverWhenQuorum: c.FailoverWhenQuorumExists, RequireConsensus: c.FailoverRequireConsensus,
		AllowMultiple: c.AllowMultipleFailoverRequestsFromNode, VoteExpiry: w.parts.VoteExpiry(cfg),
		AsksTrusted: len(c.TrustedServers) > 0, External: c.WdLifecheckMethod == conf.LifecheckExternal, Fresh: w.parts.Fresh, Random: random,
	}
}

// loadingTime is how long a node that meets nobody waits before it goes on alone (manual: the LOADING state).
const loadingTime = 5 * time.Second

func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// Run keeps this node in the cluster until ctx ends; a node that may not stay returns an error before. When it returns the address is
// gone and nothing of it runs any more. A graceful end begins with Leave.
func (w *Watchdog) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	run := func(name string, f func(context.Context) error) {
		parts.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	run("virtual IP", w.addr.Run)
	run("mesh", w.mesh.Run)
	run("IPC socket", w.ipc.Run)
	run("life check", w.checks.Run)
	if w.pulse != nil {
		run("heartbeat", w.pulse.Run)
	}
	run("state", w.loop)
	<-ctx.Done()
	parts.Wait()
	w.tasks.Wait()
	w.abandon()
	_ = w.store.Close()
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	w.log.Log(logging.Event{Severity: logging.Log, Message: "watchdog child process exit with fatal error. exiting pgpool-II"})
	return err
}

// Ready is closed once it is known whether this node leads, follows or is alone. Clients are not served before.
func (w *Watchdog) Ready() <-chan struct{} { return w.ready }

// Leave takes this node out of the cluster in good order: the address goes, another node leads. It returns when that is done, or when
// ctx ends. Run goes on until its context ends.
func (w *Watchdog) Leave(ctx context.Context) {
	w.inbox.put(machine.Leave{})
	select {
	case <-w.left:
	case <-ctx.Done():
	}
}

// abandon answers all who still wait.
func (w *Watchdog) abandon() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range slices.Sorted(maps.Keys(w.commits)) {
		w.commits[n] <- machine.Outcome{Number: n, Unknown: true}
		delete(w.commits, n)
	}
	for _, n := range slices.Sorted(maps.Keys(w.asks)) {
		w.asks[n] <- machine.Answer{Number: n, Result: machine.ResultNoLeader}
		delete(w.asks, n)
	}
}
