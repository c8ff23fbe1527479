package failover

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

// server is one database server of a world.
type server struct {
	dead    bool
	role    cluster.Role
	becomes time.Time // a promotion is under way and ends then
}

// world models servers, and the sessions that use them. Time is that of a synctest bubble.
type world struct {
	t     *testing.T
	store *cluster.Store
	*Coordinator
	lines *bytes.Buffer
	out   *logging.Output
	stop  func()

	mu        sync.Mutex
	servers   []server
	ran       []string // commands, with the number of the View they ran under
	confirmed []cluster.NodeID
	asked     int           // rounds of asking
	seeking   time.Duration // how long a round takes
	fencing   time.Duration // how long the sessions take to let go
	fenced    []string      // what the Views looked like when sessions were fenced
	promoting time.Duration // how long a promotion takes
	command   time.Duration // how long a command takes
	policy    Policy
}

const (
	promoteMain = "promote%m failed%d was%P"
	noted       = "note%d"
)

// newWorld has n servers, 0 is the primary, the others are standbys; failover_command promotes the new main node where the primary
// has failed.
func newWorld(t *testing.T, n int) *world {
	t.Helper()
	v, _ := First(cluster.ModeStreaming, backends(n), nil, time.Now())
	v.Primary = 0
	assignRoles(v)
	w := &world{t: t, store: cluster.NewStore(v), lines: &bytes.Buffer{}, servers: make([]server, n)}
	for i := range w.servers {
		w.servers[i].role = cluster.RoleStandby
	}
	w.servers[0].role = cluster.RolePrimary
	w.policy.Failover = conf.Failover{
		FailoverCommand: promoteMain, SearchPrimaryNodeTimeout: 30 * time.Second, FailoverOnBackendError: true,
	}
	cfg := logging.Default()
	cfg.Writer, cfg.LinePrefix = w.lines, ""
	out, err := logging.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.out = out
	w.Coordinator = NewCoordinator(Parts{
		Store: w.store, StatusFile: filepath.Join(t.TempDir(), StatusFileName), Log: out.Logger(),
		Policy: w.current, Seeker: w, Fencer: w, Confirmer: w,
	})
	w.Coordinator.run = w.runCommand
	return w
}

// begin starts the coordinator. It is ended by stop, or with the test's bubble.
func (w *world) begin() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Run(ctx); err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	w.stop = func() { cancel(); wg.Wait() }
}

func (w *world) current() Policy {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.policy
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// Seek answers as the servers do now.
func (w *world) Seek(_ context.Context, v *cluster.View) RolesSeen {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	answer := w.answers(v)
	if w.seeking > 0 {
		w.mu.Unlock()
		time.Sleep(w.seeking)
		w.mu.Lock()
	}
	return answer
}

func (w *world) answers(v *cluster.View) RolesSeen {
	r := RolesSeen{Seen: v, Roles: make([]cluster.Role, len(v.Nodes)), Gone: make([]bool, len(v.Nodes))}
	for i := range w.servers {
		s := &w.servers[i]
		if !s.becomes.IsZero() && !time.Now().Before(s.becomes) {
			s.role, s.becomes = cluster.RolePrimary, time.Time{}
		}
		switch {
		case !v.Nodes[i].Status.Live():
		case s.dead:
			r.Gone[i] = true
		default:
			r.Roles[i] = s.role
		}
	}
	return r
}

// Fence takes as long as the sessions do, and notes what had been published by then.
func (w *world) Fence(ctx context.Context, v *cluster.View) error {
	w.mu.Lock()
	d := w.fencing
	w.fenced = append(w.fenced, describe(v))
	w.mu.Unlock()
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (w *world) Confirm(id cluster.NodeID) { w.set(func() { w.confirmed = append(w.confirmed, id) }) }

// runCommand does what the command says.
func (w *world) runCommand(ctx context.Context, text string) error {
	w.set(func() { w.ran = append(w.ran, text) })
	w.mu.Lock()
	d := w.command
	w.mu.Unlock()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var target, failed, was int
	if _, err := fmt.Sscanf(text, "promote %d failed %d was%d", &target, &failed, &was); err == nil && failed == was && target >= 0 {
		w.set(func() { w.servers[target].becomes = time.Now().Add(w.promoting) })
	}
	return nil
}

func (w *world) kill(id cluster.NodeID) { w.set(func() { w.servers[id].dead = true }) }

// lose kills a server, and a session notices.
func (w *world) lose(id cluster.NodeID) {
	w.kill(id)
	w.Report(Detach{Nodes: []cluster.NodeID{id}, Origin: ByBackendError, Seen: w.store.Current(), Evidence: Refused})
}

func (w *world) settled() *cluster.View {
	w.t.Helper()
	if err := w.Settle(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	return w.store.Current()
}

func (w *world) commands() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.ran, "; ")
}

func (w *world) wantCommands(want string) {
	w.t.Helper()
	if got := w.commands(); got != want {
		w.t.Errorf("commands %q, want %q", got, want)
	}
}

func (w *world) wantView(want string) {
	w.t.Helper()
	if got := describe(w.store.Current()); got != want {
		w.t.Errorf("view %q, want %q", got, want)
	}
}

func (w *world) wantLines(want ...string) {
	w.t.Helper()
	w.out.Flush(time.Minute)
	text := w.lines.String()
	for _, line := range want {
		if !strings.Contains(text, line+"\n") {
			w.t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

// describe is a View in short: each node's state, its epoch and where it is fenced, who is primary, what goes on.
func describe(v *cluster.View) string {
	var parts []string
	for i := range v.Nodes {
		n := &v.Nodes[i]
		word := n.Status.String()
		if n.Status.Live() {
			word = n.Role.String()
		}
		word = fmt.Sprintf("%d:%s %d", i, word, n.Epoch)
		if n.Fenced > 0 {
			word += "/" + strconv.Itoa(int(n.Fenced))
		}
		parts = append(parts, word)
	}
	if v.Op != cluster.OpNone {
		parts = append(parts, v.Op.String())
	}
	for _, f := range []struct {
		is   bool
		word string
	}{{v.Seeking, "seeking"}, {v.Following, "following"}} {
		if f.is {
			parts = append(parts, f.word)
		}
	}
	return strings.Join(parts, ", ")
}

func inWorld(t *testing.T, n int, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, n)
		f(t, w)
		w.stop()
	})
}

func TestPrimaryDies(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.fencing, w.promoting = 20*time.Millisecond, 250*time.Millisecond
		w.begin()
		began := time.Now()
		w.lose(0)
		w.settled()
		w.wantView("0:down 2/2, 1:primary 2, 2:standby 1")
		w.wantCommands("promote 1 failed 0 was0")
		if took := time.Since(began); took != 320*time.Millisecond {
			t.Errorf("took %v: want the fence, then rounds each 100 ms", took)
		}
		if got := w.fenced; !slices.Equal(got, []string{"0:down 2/2, 1:standby 1, 2:standby 1, failover, seeking"}) {
			t.Errorf("fenced under %q", got)
		}
		w.wantLines(
			"LOG:  Pgpool-II parent process has received failover request", "LOG:  === Starting degeneration. shutdown host h(5432) ===",
			"LOG:  execute command: promote 1 failed 0 was0", "LOG:  find_primary_node_repeatedly: waiting for finding a primary node",
			"LOG:  find_primary_node: primary node is 1", "LOG:  failover: set new primary node: 1", "LOG:  failover: set new main node: 1",
			"LOG:  === Failover done. shutdown host h(5432) ===",
		)
	})
}

func TestCandidateDiesDuringTheSearch(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.promoting = 10 * time.Second
		w.begin()
		w.lose(0)
		time.Sleep(3 * time.Second)
		w.set(func() { w.promoting = 0 })
		began := time.Now()
		w.lose(1)
		w.settled()
		w.wantView("0:down 2/2, 1:down 2/2, 2:primary 2")
		w.wantCommands("promote 1 failed 0 was0; promote 2 failed 1 was1")
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestTwoAtOnce(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.lose(0)
		w.lose(1)
		w.begin()
		w.settled()
		w.wantView("0:down 2/2, 1:down 2/2, 2:primary 2")
		w.wantCommands("promote 2 failed 0 was0; promote 2 failed 1 was0")
	})
}

func TestNodeDiesDuringTheCommand(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.command = 5 * time.Second
		w.begin()
		w.lose(0)
		time.Sleep(time.Second)
		w.lose(2)
		synctest.Wait()
		w.wantView("0:down 2/2, 1:standby 1, 2:down 2/2, failover, seeking")
		w.settled()
		w.wantView("0:down 2/2, 1:primary 2, 2:down 2/2")
		w.wantCommands("promote 1 failed 0 was0; promote 1 failed 2 was0")
	})
}

func TestSearchTimesOut(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.policy.FailoverCommand = ""
		w.begin()
		began := time.Now()
		w.lose(0)
		w.settled()
		w.wantView("0:down 2/2, 1:standby 1")
		if took := time.Since(began).Round(time.Second); took != 30*time.Second {
			t.Errorf("took %v", took)
		}
		if w.asked < 45 || w.asked > 52 {
			t.Errorf("%d rounds, want 20 in the first two seconds and one each second later", w.asked)
		}
		w.wantLines("WARNING:  failed to find primary node", "DETAIL:  expired after 30 seconds", "LOG:  failover: set new primary node: -1")
		// Somebody promotes it at last.
		w.set(func() { w.servers[1].role = cluster.RolePrimary })
		w.Report(w.Seek(t.Context(), w.store.Current()))
		w.settled()
		w.wantView("0:down 2/2, 1:primary 2")
	})
}

func TestEverybodyDies(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.promoting = time.Hour
		w.begin()
		w.lose(0)
		time.Sleep(time.Second)
		began := time.Now()
		w.lose(1)
		w.settled()
		w.wantView("0:down 2/2, 1:down 2/2")
		if took := time.Since(began); took > time.Second {
			t.Errorf("the search went on for %v though nobody is left", took)
		}
		w.wantCommands("promote 1 failed 0 was0; promote -1 failed 1 was1")
		w.wantLines("WARNING:  failover: no valid backend node found")
	})
}
