package watchdog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gopgpool/conf"
	"gopgpool/internal/pgcluster"
	"gopgpool/logging"
	"gopgpool/watchdog/machine"
)

// backends notes what a node's coordinator would be told.
type backends struct {
	mu      sync.Mutex
	office  Office
	decided []string
	seq     uint64 // of the last one
	resent  int
	run     []string
}

func (b *backends) Hold(o Office) { b.mu.Lock(); defer b.mu.Unlock(); b.office = o }
func (b *backends) Resend()       { b.mu.Lock(); defer b.mu.Unlock(); b.resent++ }

func (b *backends) Decided(seq uint64, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decided, b.seq = append(b.decided, string(data)), seq
}

func (b *backends) Execute(_ context.Context, request []byte) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.run = append(b.run, string(request))
	return append([]byte("did "), request...)
}

func (b *backends) last() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.decided) == 0 {
		return ""
	}
	return b.decided[len(b.decided)-1]
}

func (b *backends) lastSeq() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seq
}

// node is a running watchdog.
type node struct {
	*Watchdog
	backends *backends
	commands chan string
	stop     context.CancelFunc
	ended    chan error
	log      *lines
}

// lines is a log in memory.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.text.String() }

// cluster is a group of watchdogs on loopback addresses, without a virtual address.
type cluster struct {
	t     *testing.T
	ports []int
	dirs  []string
	extra string
	nodes []*node
}

func newCluster(t *testing.T, n int, extra string) *cluster {
	c := &cluster{t: t, extra: extra, nodes: make([]*node, n)}
	first := pgcluster.FreePorts(t, n)
	for id := range n {
		c.ports = append(c.ports, first+id)
		c.dirs = append(c.dirs, memory(t))
	}
	t.Cleanup(func() {
		for id := range c.nodes {
			c.kill(id)
		}
	})
	return c
}

// memory is a directory with a short name where flushing costs nothing: a lease does not outlive a disk that takes seconds.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "wd")
	if err != nil {
		t.Log("no /dev/shm, on disk instead:", err)
		dir, err = os.MkdirTemp("", "wd")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (c *cluster) config(id int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "use_watchdog = on\nbackend_hostname0 = 'h'\nbackend_port0 = 5432\nlisten_addresses = ''\nport = %d\nwd_authkey = 'secret'\n"+
		"wd_lifecheck_method = 'external'\nwd_lease_time = 3\nwd_ipc_socket_dir = '%s'\nwd_state_directory = '%s'\nwd_state_on_tmpfs = on\n%s\n",
		20000+id, c.dirs[id], filepath.Join(c.dirs[id], "state"), c.extra)
	for i, port := range c.ports {
		fmt.Fprintf(&b, "hostname%d = '127.0.0.1'\nwd_port%d = %d\npgpool_port%d = %d\n", i, i, port, i, 20000+i)
	}
	return b.String()
}

// start starts nodes one after the other. Who was there first leads: that must not be blurred by words that take their time.
func (c *cluster) start(ids ...int) {
	c.t.Helper()
	const apart = time.Second
	for _, id := range ids {
		c.startOne(id)
		n := c.nodes[id]
		c.await("the node lives", func() bool { return n.Snapshot().Nodes[id].State != machine.StateDead })
		born := n.Snapshot().At
		c.await("it is older than the next one", func() bool { return n.Snapshot().At-born > apart })
	}
}

func (c *cluster) startOne(id int) {
	t := c.t
	t.Helper()
	file := filepath.Join(c.dirs[id], "pgpool.conf")
	for name, text := range map[string]string{file: c.config(id), filepath.Join(c.dirs[id], "pgpool_node_id"): fmt.Sprint(id)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, problems := conf.Load(file)
	if conf.Refused(problems) {
		t.Fatal(problems)
	}
	n := &node{backends: &backends{}, commands: make(chan string, 10), ended: make(chan error, 1), log: &lines{}}
	lc := logging.Default()
	lc.Writer = n.log
	out, err := logging.New(lc)
	if err != nil {
		t.Fatal(err)
	}
	n.Watchdog, err = New(Parts{
		Config: conf.NewLive(cfg), Backends: n.backends, Log: out.Logger(), VoteExpiry: func(*conf.Config) time.Duration { return time.Minute },
		Command:  func(name string, args map[string]string) error { n.commands <- name + args["mode"]; return nil },
		Password: func(string, string) (string, error) { return "", nil }, Pause: func() bool { return false },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n.stop = cancel
	go func() { n.ended <- n.Run(ctx); close(n.ended) }()
	c.nodes[id] = n
}

// kill ends a node without a word to the others.
func (c *cluster) kill(id int) {
	n := c.nodes[id]
	if n == nil {
		return
	}
	c.nodes[id] = nil
	n.stop()
	if err := <-n.ended; err != nil {
		c.t.Errorf("node %d: %v", id, err)
	}
	if c.t.Failed() {
		c.t.Logf("node %d:\n%s", id, n.log)
	}
}

func (c *cluster) await(what string, ok func() bool) {
	c.t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			c.t.Fatalf("not within a minute: %s", what)
		}
	}
}

// leads reports whether a node leads all that run.
func (c *cluster) leads(leader int) func() bool {
	return func() bool {
		for id, n := range c.nodes {
			if n == nil {
				continue
			}
			s := n.Snapshot()
			if s.Leader != leader || (id == leader) != (s.Standing == machine.Leads) || id != leader && s.Standing != machine.Follows ||
				s.Nodes[id].Role != "voter" {
				return false
			}
		}
		return true
	}
}

func TestCluster(t *testing.T) {
	c := newCluster(t, 3, "wd_priority = 1")
	c.start(0, 1, 2)
	for _, n := range c.nodes {
		<-n.Ready()
	}
	c.await("first started leads", c.leads(0))
	ctx := t.Context()

	if err := c.nodes[0].Commit(ctx, []byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := c.nodes[1].Commit(ctx, []byte("not mine")); err == nil {
		t.Error("a standby has committed")
	}
	for id := range c.nodes {
		c.await("decision", func() bool { return c.nodes[id].backends.last() == "one" })
	}
	c.awaitCarried(ctx)

	a, err := c.nodes[2].Ask(ctx, machine.Ask{Key: "k", Confirmed: true, Request: []byte("x")})
	if err != nil || a.Result != machine.ResultDone || string(a.Reply) != "did x" {
		t.Errorf("a standby's request: %+v, %v", a, err)
	}
	if a, _ := c.nodes[2].Ask(ctx, machine.Ask{Key: "vote", Request: []byte("y")}); a.Result != machine.ResultBuilding {
		t.Errorf("first vote: %+v", a)
	}
	c.await("asked to repeat", func() bool { b := c.nodes[1].backends; b.mu.Lock(); defer b.mu.Unlock(); return b.resent > 0 })
	if a, _ := c.nodes[1].Ask(ctx, machine.Ask{Key: "vote", Request: []byte("y")}); a.Result != machine.ResultDone || a.Votes != 2 {
		t.Errorf("second vote: %+v", a)
	}

	if err := c.nodes[1].Broadcast(ctx, "SHUTDOWN_CLUSTER", map[string]string{"mode": "f"}); err != nil {
		t.Error(err)
	}
	if got := []string{<-c.nodes[0].commands, <-c.nodes[2].commands}; !slices.Equal(got, []string{"SHUTDOWN_CLUSTERf", "SHUTDOWN_CLUSTERf"}) {
		t.Errorf("the others got %q", got)
	}
	c.leaveAndReturn(ctx)
}

// awaitCarried shows that Await waits for those who follow.
func (c *cluster) awaitCarried(ctx context.Context) {
	t := c.t
	early, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := c.nodes[0].Await(early); err == nil {
		t.Error("did not wait for the standbys")
	}
	for _, n := range c.nodes {
		n.Carried(n.backends.lastSeq()) // the status shows the decision a moment later only
	}
	if err := c.nodes[0].Await(ctx); err != nil {
		t.Error(err)
	}
}

func (c *cluster) leaveAndReturn(ctx context.Context) {
	t := c.t
	began := time.Now()
	c.nodes[0].Leave(ctx)
	c.kill(0)
	c.await("the next in order leads", c.leads(1))
	t.Logf("graceful change: %v", time.Since(began))
	c.await("shown as shut down", func() bool { return c.nodes[1].Cluster().Nodes[1].StateName == "SHUTDOWN" })
	list := c.nodes[1].Cluster()
	if list.Nodes[0].ID != 1 || list.LeaderName != list.Nodes[0].Name || list.Quorum != 1 {
		t.Errorf("node list: %+v", list)
	}
	c.start(0)
	c.await("back as a standby", c.leads(1))
	c.await("told of what was decided", func() bool { return c.nodes[0].backends.last() == "one" })
	for _, line := range []string{
		"watchdog node state changed from [DEAD] to [LOADING]", "watchdog node state changed from [LOADING] to [INITIALIZING]",
		"watchdog node state changed from [INITIALIZING] to [STANDBY]", "successfully joined the watchdog cluster as standby node",
	} {
		if !strings.Contains(c.nodes[0].log.String(), line) {
			t.Errorf("no line %q", line)
		}
	}
}

func TestNoQuorum(t *testing.T) {
	c := newCluster(t, 3, "")
	c.start(0)
	<-c.nodes[0].Ready()
	s := c.nodes[0].Snapshot()
	if s.Standing != machine.Alone || s.Quorum != machine.QuorumAbsent || s.Leader != 0 {
		t.Errorf("alone: %+v", s)
	}
	if a, _ := c.nodes[0].Ask(t.Context(), machine.Ask{Key: "k"}); a.Result != machine.ResultNoQuorum {
		t.Errorf("vote alone: %+v", a)
	}
	c.start(1)
	c.await("two of three", c.leads(0))
}

func TestOtherKey(t *testing.T) {
	c := newCluster(t, 2, "enable_consensus_with_half_votes = on")
	c.start(0)
	<-c.nodes[0].Ready()
	c.extra += "\nwd_authkey = 'other'"
	c.startOne(1)
	n := c.nodes[1]
	select {
	case err := <-n.ended:
		if err == nil || !strings.Contains(err.Error(), "Add to watchdog cluster request is rejected") {
			t.Errorf("ended with %v", err)
		}
		c.nodes[1] = nil
	case <-time.After(time.Minute):
		t.Error("a node with another key stays")
	}
	if s := c.nodes[0].Snapshot(); s.Standing != machine.Leads {
		t.Errorf("the first one: %+v", s)
	}
}
