package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds the wait for one server's readiness when the caller's context has no deadline of its own.
const startTimeout = 60 * time.Second

// Options describe a cluster. The zero value is what tests want: a primary and two standbys on free ports in a temporary
// directory, without passwords and without fsync.
type Options struct {
	// Dir is the parent of everything; it is created if need be and stays after Close. Empty: a temporary directory, which goes.
	Dir string
	// BinDir is the directory of the server programs, see [FindBinaries].
	BinDir string
	// Nodes is the number of servers, default 3.
	Nodes int
	// Raw makes every server a primary of its own.
	Raw bool
	// BasePort is node 0's port; the others follow. Zero: free ports.
	BasePort int
	// Host is what clients connect to, default 127.0.0.1; Listen is listen_addresses, default Host.
	Host, Listen string
	// SocketDir holds the servers' unix sockets, default run/ below Dir.
	SocketDir string
	// User is the superuser, default postgres, and Password its password, needed unless Auth is trust.
	User, Password string
	// Auth is the method in the servers' pg_hba.conf for everybody (trust, md5, scram-sha-256, password; default trust);
	// HBA are lines that stand before those.
	Auth, HBA string
	// InitdbArgs are further arguments, default --no-locale -E UTF8.
	InitdbArgs []string
	// Slots lets standbys use physical replication slots named SlotPrefix (default server) and the node's number.
	Slots      bool
	SlotPrefix string
	// Archive turns on WAL archiving into archivedir/dataN below Dir and restoring from there.
	Archive bool
	// Fsync leaves fsync on. Off, a crash of the machine loses the cluster; nothing else does.
	Fsync bool
	// Config are further settings of every server.
	Config map[string]string
	// Progress, if not nil, is told what happens, one line each.
	Progress func(line string)
}

func (o Options) withDefaults() Options {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&o.Host, "127.0.0.1")
	set(&o.Listen, o.Host)
	set(&o.User, "postgres")
	set(&o.Auth, "trust")
	set(&o.SlotPrefix, "server")
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if len(o.InitdbArgs) == 0 {
		o.InitdbArgs = []string{"--no-locale", "-E", "UTF8"}
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

// Cluster is a number of servers and the pgpools started in front of them. Its methods may be used by several goroutines, but a
// node is started and stopped by one at a time.
type Cluster struct {
	// Dir holds dataN, log/, run/, archivedir/ and the directories of the pgpools.
	Dir string
	// BinDir is where the server programs, psql and pgbench are.
	BinDir string
	// SocketDir is the directory of the servers' unix sockets.
	SocketDir string
	// Nodes are all servers. Node 0 starts as the primary.
	Nodes []*Node

	opts    Options
	as      account
	temp    bool
	ports   *Ports
	guard   *guard
	spawner *spawner

	mu      sync.Mutex // guards what follows
	pgpools []*Pgpool
	closed  bool
}

// Start builds the servers, starts them and waits until each answers and each standby streams. The caller must Close the
// cluster; after an error there is nothing to close.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	c, err := New(opts)
	if err != nil {
		return nil, err
	}
	if err := c.Build(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// New claims what needs no server: programs, directories, ports, and the guard over them. The caller must Close the cluster.
func New(opts Options) (_ *Cluster, err error) {
	opts = opts.withDefaults()
	c := &Cluster{opts: opts}
	if c.BinDir, err = FindBinaries(opts.BinDir); err != nil {
		return nil, err
	}
	if c.as, err = serverAccount(); err != nil {
		return nil, err
	}
	numbers, err := c.choosePorts()
	if err != nil {
		return nil, err
	}
	if err := c.makeDirs(); err != nil {
		return nil, errors.Join(err, c.ports.Close())
	}
	doomed := ""
	if c.temp {
		doomed = c.Dir
	}
	if c.guard, err = startGuard(doomed); err != nil {
		return nil, errors.Join(err, c.removeDir(), c.ports.Close())
	}
	c.spawner = startSpawner(c.as, c.guard)
	for i, port := range numbers {
		c.Nodes = append(c.Nodes, newNode(c, i, port))
	}
	return c, nil
}

func (c *Cluster) choosePorts() ([]int, error) {
	c.ports = &Ports{}
	if c.opts.BasePort == 0 {
		var err error
		c.ports, err = ReservePorts(c.opts.Nodes)
		if err != nil {
			return nil, err
		}
		return c.ports.Numbers, nil
	}
	var numbers []int
	for i := range c.opts.Nodes {
		numbers = append(numbers, c.opts.BasePort+i)
	}
	return numbers, nil
}

func (c *Cluster) makeDirs() (err error) {
	c.Dir = c.opts.Dir
	if c.Dir == "" {
		c.temp = true
		if c.Dir, err = os.MkdirTemp("", "pgc-"); err != nil {
			return err
		}
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return err
	}
	if err := c.as.checkReach(c.Dir); err != nil {
		return errors.Join(err, c.removeDir())
	}
	c.SocketDir = c.opts.SocketDir
	dirs := []string{c.Dir, filepath.Join(c.Dir, "log"), filepath.Join(c.Dir, "archivedir")}
	if c.SocketDir == "" {
		c.SocketDir = filepath.Join(c.Dir, "run")
		dirs = append(dirs, c.SocketDir)
	}
	for _, dir := range dirs {
		if err := c.as.mkdir(dir, 0o755); err != nil {
			return errors.Join(err, c.removeDir())
		}
	}
	return nil
}

// Build makes the servers of a new cluster and starts them, as [Start] does.
func (c *Cluster) Build(ctx context.Context) error {
	first := c.Nodes[0]
	independent := c.Nodes[:1]
	if c.opts.Raw {
		independent = c.Nodes
	}
	if err := parallel(len(independent), func(i int) error { return independent[i].create(ctx) }); err != nil {
		return err
	}
	standbys := c.Nodes[len(independent):]
	return parallel(len(standbys), func(i int) error {
		if err := standbys[i].Rebuild(ctx, first); err != nil {
			return err
		}
		return standbys[i].WaitStreaming(ctx, first)
	})
}

// Primary is the first running node that is not in recovery; nil when there is none.
func (c *Cluster) Primary(ctx context.Context) *Node {
	for _, n := range c.Nodes {
		if !n.Running() {
			continue
		}
		if answer, err := n.Value(ctx, "SELECT pg_is_in_recovery()"); err == nil && answer == "f" {
			return n
		}
	}
	return nil
}

// WaitReplayed waits until every running standby has replayed what from has written so far.
func (c *Cluster) WaitReplayed(ctx context.Context, from *Node) error {
	lsn, err := from.Value(ctx, "SELECT pg_current_wal_insert_lsn()")
	if err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if n == from || !n.Running() {
			continue
		}
		err := Poll(ctx, n.Name+" replays "+lsn, func() (bool, error) {
			done, err := n.Value(ctx, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, true)", lsn)
			return done == "t", err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Stop stops the pgpools, then the servers in an orderly way, and leaves the directory and the cluster usable: a node can be
// started again.
func (c *Cluster) Stop(ctx context.Context) error {
	errs := []error{c.stopPgpools(ctx)}
	for _, n := range c.Nodes { // the primary first, so that the standbys receive its last record
		errs = append(errs, n.Stop(ctx, Fast))
	}
	return errors.Join(errs...)
}

func (c *Cluster) stopPgpools(ctx context.Context) error {
	c.mu.Lock()
	pgpools := c.pgpools
	c.pgpools = nil
	c.mu.Unlock()
	return parallel(len(pgpools), func(i int) error { return pgpools[i].Close(ctx) })
}

// Close ends every process at once, gives the ports back and removes a temporary directory. It reports a pgpool that had
// to be killed, or whose log shows a panic or a data race. Closing twice is harmless.
func (c *Cluster) Close() error {
	c.mu.Lock()
	again := c.closed
	c.closed = true
	c.mu.Unlock()
	if again {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*closeTime)
	defer cancel()
	errs := []error{c.stopPgpools(ctx)}
	errs = append(errs, parallel(len(c.Nodes), func(i int) error { return c.Nodes[i].abandon(ctx) }))
	c.spawner.close()
	errs = append(errs, c.removeDir(), c.guard.close(), c.ports.Close())
	return errors.Join(errs...)
}

func (c *Cluster) removeDir() error {
	if !c.temp {
		return nil
	}
	return os.RemoveAll(c.Dir)
}

// Account is the name of the user the servers run as.
func (c *Cluster) Account() string { return c.as.name }

// WriteFile writes a file below Dir that belongs to the servers' user, in a directory made if need be.
func (c *Cluster) WriteFile(name, text string, mode fs.FileMode) error {
	path := filepath.Join(c.Dir, name)
	if _, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
		if err := c.as.mkdir(filepath.Dir(path), 0o755); err != nil {
			return err
		}
	}
	return c.as.write(path, text, mode)
}

// tail returns the last lines of a log, for error messages.
func tail(path string, lines int) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func openLog(path string, as account) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	if err := as.own(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// exitedEarly is the error of a child that should have come up.
func exitedEarly(p *process, log string) error {
	code, err := p.wait(context.Background()) // it is done already
	return errors.Join(err, fmt.Errorf("%s ended with status %d\n%s", p.name, code, tail(log, 15)))
}

func killAll(pids []int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // gone meanwhile
	}
}
