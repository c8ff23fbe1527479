package listen

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gopgpool/cluster"
	"gopgpool/internal/pgcluster"
	"gopgpool/loop"
)

// onServers is a world of two loops in front of real servers.
func onServers(t *testing.T, cfg Config, nodes ...*pgcluster.Node) (w *world, stop func()) {
	t.Helper()
	var loops []*loop.Loop
	for i := range 2 {
		l, err := loop.New(i, nil)
		if err != nil {
			t.Fatal(err)
		}
		loops = append(loops, l)
	}
	w, stop = newWorld(t, cfg, loops, len(nodes))
	w.dial = func(task *loop.Task, n cluster.NodeID) (*loop.Conn, error) {
		to := &net.TCPAddr{IP: net.ParseIP(nodes[n].Host), Port: nodes[n].Port}
		return task.Dial(to, task.Now().Add(dialTime))
	}
	return w, stop
}

func connect(t *testing.T, node *pgcluster.Node) *pgx.Conn {
	t.Helper()
	c, err := node.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func run(tb testing.TB, c *pgx.Conn, sql string) {
	tb.Helper()
	if _, err := c.PgConn().Exec(tb.Context(), sql).ReadAll(); err != nil {
		tb.Fatalf("%s: %v", sql, err)
	}
}

// until waits for a condition.
func until(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), time.Minute)
	defer cancel()
	if err := pgcluster.Poll(ctx, what, func() (bool, error) { return cond(), nil }); err != nil {
		tb.Fatal(err)
	}
}

// hears waits until the session has heard n notifications, and returns channel and payload of all.
func (s *tester) hears(n int) []string {
	s.w.Helper()
	until(s.w, fmt.Sprintf("%s hears %d notifications", s.name, n), func() bool { return len(s.heard()) >= n })
	var out []string
	for _, line := range s.heard() {
		_, rest, _ := strings.Cut(line, " ")
		out = append(out, rest)
	}
	return out
}

// Several sessions hear what a real server says, in the order of the commits, with the pid of who said it.
func TestOrderOnAServer(t *testing.T) {
	node := shared.Cluster(t).Nodes[0]
	w, stop := onServers(t, Config{}, node)
	defer stop()
	one, two := connect(t, node), connect(t, node)
	weird := `a "b; é`
	var all []*tester
	for i := range 4 {
		s := w.session(i, DefaultLimit)
		must(t, s.listen("x", weird))
		all = append(all, s)
	}
	must(t, all[3].listen("y"))
	run(t, one, "BEGIN; NOTIFY x, 'a1'")
	run(t, two, "BEGIN; NOTIFY x, 'b1'; NOTIFY y, 'b2'; COMMIT")
	run(t, one, fmt.Sprintf("NOTIFY %s, 'a2'; COMMIT", pgx.Identifier{weird}.Sanitize()))
	run(t, two, "NOTIFY z; NOTIFY x")
	want := []string{"x b1", "x a1", weird + " a2", "x "}
	for _, s := range all[:3] {
		if got := s.hears(4); !slices.Equal(got, want) {
			t.Errorf("%s heard %q", s.name, got)
		}
	}
	if got := all[3].hears(5); !slices.Equal(got, slices.Insert(want, 1, "y b2")) {
		t.Errorf("%s heard %q", all[3].name, got)
	}
	if got := all[0].heard()[1]; got != fmt.Sprintf("%d x a1", one.PgConn().PID()) {
		t.Errorf("heard %q of process %d", got, one.PgConn().PID())
	}
	for _, s := range all {
		must(t, s.end())
	}
}

// After Flush everything is there that was committed before.
func TestFlushOnAServer(t *testing.T) {
	node := shared.Cluster(t).Nodes[0]
	w, stop := onServers(t, Config{}, node)
	defer stop()
	s := w.session(0, DefaultLimit)
	flush := func(t *loop.Task) error { return w.hub.Flush(t, s.key, nil) }
	must(t, s.do(flush), s.listen("x"))
	c := connect(t, node)
	for i := range 300 {
		run(t, c, fmt.Sprintf("NOTIFY x, '%d'", i))
		must(t, s.do(func(t *loop.Task) error {
			if err := flush(t); err != nil {
				return err
			}
			s.drain()
			if n := len(s.heard()); n != i+1 {
				return fmt.Errorf("%d of %d notifications are there", n, i+1)
			}
			return nil
		}))
	}
	must(t, s.end())
}

// listener is the pid of the hub's connection, once it listens to n channels.
func (w *world) listener(n int) (pid uint32) {
	w.Helper()
	until(w, "the hub listens", func() bool {
		st := w.hub.Status()
		if len(st) != 1 || st[0].State != listening || st[0].Channels != n {
			return false
		}
		pid = st[0].PID
		return pid != 0
	})
	return pid
}

// A listener that an administrator ends is replaced.
func TestTerminatedOnAServer(t *testing.T) {
	node := shared.Cluster(t).Nodes[0]
	w, stop := onServers(t, Config{}, node)
	defer stop()
	s := w.session(0, DefaultLimit)
	must(t, s.listen("x", "y"))
	c := connect(t, node)
	for i := range 5 {
		pid := w.listener(2)
		run(t, c, fmt.Sprintf("SELECT pg_terminate_backend(%d)", pid))
		until(t, "the hub has noticed", func() bool { return w.hub.Status()[0].Interrupts == uint64(i+1) })
		// A LISTEN that is answered is in force on the new connection, with all that was before.
		must(t, s.listen("y"), s.do(func(t *loop.Task) error { return w.hub.Flush(t, s.key, nil) }))
		run(t, c, fmt.Sprintf("NOTIFY y, '%d'", i))
		if got := s.hears(i + 1); got[i] != fmt.Sprint("y ", i) {
			t.Fatalf("heard %q", got)
		}
	}
	if n := w.log.count("is lost"); n != 5 {
		t.Errorf("the log tells of %d losses", n)
	}
	must(t, s.end())
}

// More channels than fit under way at once, while notifications pour in; all of them again after a loss.
func TestManyChannelsOnAServer(t *testing.T) {
	const n = 2000
	node := shared.Cluster(t).Nodes[0]
	w, stop := onServers(t, Config{}, node)
	defer stop()
	s := w.session(0, 1<<30)
	must(t, s.listen("x"))
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("%060d", i))
	}
	c := connect(t, node)
	waits := s.listen(names...)
	const flood = "SELECT count(pg_notify('x', repeat(i::text, 1000))) FROM generate_series(1, 2000) i"
	run(t, c, flood)
	must(t, waits)
	s.hears(2000)
	run(t, c, fmt.Sprintf("SELECT pg_terminate_backend(%d)", w.listener(n+1)))
	until(t, "the hub has noticed", func() bool { return w.hub.Status()[0].Interrupts == 1 })
	must(t, s.listen(names[n-1]))
	run(t, c, fmt.Sprintf(`NOTIFY "%s", 'end'`, names[n-1]))
	until(t, "the last is heard", func() bool {
		got := s.heard()
		return len(got) > 0 && strings.HasSuffix(got[len(got)-1], " end")
	})
	must(t, s.end())
}

// The database is gone, or never was: that is what the session is told.
func TestNoDatabaseOnAServer(t *testing.T) {
	w, stop := onServers(t, Config{}, shared.Cluster(t).Nodes[0])
	defer stop()
	w.database = "nowhere"
	s := w.session(0, DefaultLimit)
	var e *Error
	if err := result(t, s.listen("x")); !errors.As(err, &e) || e.SQLState() != "3D000" || !strings.Contains(e.Detail, "nowhere") {
		t.Errorf("%v", err)
	}
	must(t, s.end())
}

// A database can be dropped as soon as nobody listens in it.
func TestDropDatabaseOnAServer(t *testing.T) {
	node := shared.Cluster(t).Nodes[0]
	w, stop := onServers(t, Config{Grace: time.Hour}, node)
	defer stop()
	c := connect(t, node)
	run(t, c, "CREATE DATABASE shortlived")
	w.database = "shortlived"
	s := w.session(0, DefaultLimit)
	must(t, s.listen("x"), s.end())
	w.hub.Hasten("shortlived")
	run(t, c, "DROP DATABASE shortlived")
}

// The hub follows a failover to another server, where it says LISTEN again; a standby that was promoted is one.
func TestFailoverOnServers(t *testing.T) {
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 2})
	w, stop := onServers(t, Config{}, c.Nodes...)
	defer stop()
	s := w.session(0, DefaultLimit)
	must(t, s.listen("x"))
	run(t, connect(t, c.Nodes[0]), "NOTIFY x, 'before'")
	s.hears(1)
	if err := c.Nodes[0].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	late := w.session(1, DefaultLimit)
	waits := late.listen("y")
	v := view(2, 0)
	v.Seeking, v.Nodes[0].Status, v.Nodes[0].Epoch = true, cluster.StatusDown, 2
	w.store.Publish(v)
	if err := c.Nodes[1].Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	v = view(2, 1)
	v.Nodes[0].Status, v.Nodes[0].Epoch, v.Nodes[1].Epoch = cluster.StatusDown, 2, 2
	w.store.Publish(v)
	must(t, waits, s.listen("x"))
	w.listener(2)
	run(t, connect(t, c.Nodes[1]), "NOTIFY x, 'after'; NOTIFY y, 'after'")
	if got := s.hears(2); !slices.Equal(got, []string{"x before", "x after"}) {
		t.Errorf("heard %q", got)
	}
	if got := late.hears(1); !slices.Equal(got, []string{"y after"}) {
		t.Errorf("heard %q", got)
	}
	must(t, s.end(), late.end())
}

// Sessions of several loops come and go on the same few channels at the same time. What each says after its LISTEN was answered it
// hears; what it says after its UNLISTEN it does not.
func TestManyOnAServer(t *testing.T) {
	const sessions, rounds = 8, 40
	node := shared.Cluster(t).Nodes[0]
	w, stop := onServers(t, Config{Grace: 20 * time.Millisecond, RetryMin: time.Millisecond}, node)
	defer stop()
	var all sync.WaitGroup
	for i := range sessions {
		s, c := w.session(i, DefaultLimit), connect(t, node)
		all.Go(func() { s.comeAndGo(c, rand.New(rand.NewPCG(uint64(i), 8)), rounds) })
	}
	all.Wait()
}

func (s *tester) comeAndGo(c *pgx.Conn, dice *rand.Rand, rounds int) {
	for round := range rounds {
		channel := fmt.Sprint("c", dice.IntN(3))
		if !s.fine(<-s.listen(channel)) || !s.fine(s.notifies(c, channel, fmt.Sprint("due-", round), true)) {
			return
		}
		parts := s.leave
		if dice.IntN(2) == 0 {
			parts = func() <-chan error { return s.unlisten(channel) }
		}
		if !s.fine(<-parts()) || !s.fine(s.notifies(c, channel, fmt.Sprint("late-", round), false)) {
			return
		}
	}
	s.fine(<-s.end())
}

// notifies has the session say something and look whether it hears it.
func (s *tester) notifies(c *pgx.Conn, channel, what string, due bool) error {
	payload := s.name + " " + what
	if _, err := c.Exec(context.Background(), "SELECT pg_notify($1, $2)", channel, payload); err != nil {
		return err
	}
	err := <-s.do(func(task *loop.Task) error {
		defer s.drain()
		return s.w.hub.Flush(task, s.key, nil)
	})
	if err != nil {
		return err
	}
	suffix := fmt.Sprintf(" %s %s", channel, payload)
	if heard := slices.ContainsFunc(s.heard(), func(line string) bool { return strings.HasSuffix(line, suffix) }); heard != due {
		return fmt.Errorf("heard%q is %v", suffix, heard)
	}
	return nil
}

// fine reports an error of a session, on any goroutine.
func (s *tester) fine(err error) bool {
	if err != nil {
		s.w.Errorf("%s: %v", s.name, err)
	}
	return err == nil
}
