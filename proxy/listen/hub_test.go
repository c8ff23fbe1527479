package listen

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/pgwire"
)

const dialTime = 5 * time.Second

// The second session that listens to a channel costs no LISTEN, but is answered only when the first's is confirmed.
func TestOneListenForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes, stop := fakeNodes(t, Config{}, 2, 1)
		defer stop()
		nodes[0].set(func() { nodes[0].held = true })
		a, b := w.session(0, DefaultLimit), w.session(1, DefaultLimit)
		one, two := a.listen("x"), b.listen("x")
		time.Sleep(time.Second)
		if len(one)+len(two) > 0 {
			t.Fatal("answered before the server has confirmed anything")
		}
		nodes[0].set(func() { nodes[0].held = false })
		must(t, one, two, b.listen("x"), a.listen("x", "x"))
		if logins, asked := nodes[0].counts(); asked != 1 || logins != 1 {
			t.Fatalf("%d LISTEN on %d connections", asked, logins)
		}
		nodes[0].notify(9, "x", "to both")
		synctest.Wait()
		for _, s := range []*tester{a, b} {
			if got := s.heard(); !slices.Equal(got, []string{"9 x to both"}) {
				t.Errorf("%s got %q", s.name, got)
			}
		}
		time.Sleep(time.Hour)
		must(t, a.listen("z"))
		if logins, asked := nodes[0].counts(); asked != 2 || logins != 1 {
			t.Fatalf("an hour later: %d LISTEN on %d connections", asked, logins)
		}
	})
}

// A channel nobody wants any more is given up at once, the connection after the grace.
func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes, stop := fakeNodes(t, Config{Grace: 3 * time.Second}, 2, 1)
		defer stop()
		a, b := w.session(0, DefaultLimit), w.session(1, DefaultLimit)
		must(t, a.listen("x", "y"), b.listen("x"), a.unlisten("x", "never"))
		synctest.Wait()
		expect := func(when string, conns int, channels ...string) {
			t.Helper()
			if c, chs := nodes[0].listening(); c != conns || !slices.Equal(chs, channels) {
				t.Errorf("%s: %d connections, channels %q", when, c, chs)
			}
		}
		expect("one still wants x", 1, "x", "y")
		must(t, b.leave())
		synctest.Wait()
		expect("nobody wants x", 1, "y")
		must(t, a.unlisten("y"))
		time.Sleep(2 * time.Second)
		expect("in the grace", 1)
		if st := w.hub.Status(); len(st) != 1 || st[0].State != lingering || st[0].Channels != 0 || st[0].PID != 77 {
			t.Errorf("in the grace: %+v", st)
		}
		must(t, b.listen("z"))
		time.Sleep(2 * time.Second)
		expect("used again", 1, "z")
		must(t, b.end())
		time.Sleep(4 * time.Second)
		expect("after the grace", 0)
		if n, _ := nodes[0].counts(); n != 1 || len(w.hub.Status()) != 0 {
			t.Errorf("%d logins, status %+v", n, w.hub.Status())
		}
		must(t, a.listen("x"), a.leave())
		w.hub.Hasten("another")
		synctest.Wait()
		expect("another database", 1)
		w.hub.Hasten("postgres")
		synctest.Wait()
		expect("hastened", 0)
	})
}

// After a loss all channels are listened to again, and the log says so at both ends.
func TestLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes, stop := fakeNodes(t, Config{}, 2, 1)
		defer stop()
		a, b := w.session(0, DefaultLimit), w.session(1, DefaultLimit)
		must(t, a.listen("x", "y"), b.listen("x", `q"q`))
		nodes[0].set(func() { nodes[0].down = true })
		nodes[0].cut()
		time.Sleep(20 * time.Second)
		if st := w.hub.Status()[0]; st.State != waiting && st.State != opening || st.Node != cluster.NoNode || st.Interrupts != 1 {
			t.Errorf("%+v", st)
		}
		nodes[0].set(func() { nodes[0].down = false })
		time.Sleep(3 * time.Second)
		if c, chs := nodes[0].listening(); c != 1 || !slices.Equal(chs, []string{`q"q`, "x", "y"}) {
			t.Errorf("%d connections, channels %q", c, chs)
		}
		nodes[0].notify(9, "x", "again")
		synctest.Wait()
		if !slices.Equal(a.heard(), []string{"9 x again"}) || !slices.Equal(b.heard(), []string{"9 x again"}) {
			t.Errorf("got %q and %q", a.heard(), b.heard())
		}
		for part, want := range map[string]int{
			"is lost": 1, "terminating connection due to administrator command": 1, "again, to 3 channels, on DB node 0": 1, "\n": 3,
		} {
			if n := w.log.count(part); n != want {
				t.Errorf("%q stands %d times in the log", part, n)
			}
		}
	})
}

// The connection follows the node that takes writes, and one that was opened under an older epoch is not used.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes, stop := fakeNodes(t, Config{}, 2, 2)
		defer stop()
		a := w.session(0, DefaultLimit)
		must(t, a.listen("x"))
		lost := view(2, 0)
		lost.Seeking, lost.Nodes[0].Status = true, cluster.StatusDown
		lost.Nodes[0].Epoch++
		w.store.Publish(lost)
		synctest.Wait()
		if c, _ := nodes[0].listening(); c != 0 {
			t.Errorf("while the primary is sought %d connections are open", c)
		}
		late := w.session(1, DefaultLimit).listen("y")
		time.Sleep(10 * time.Second)
		if len(late) > 0 {
			t.Fatalf("LISTEN without a primary: %v", <-late)
		}
		v := view(2, 1)
		v.Nodes[1].Epoch++
		w.store.Publish(v)
		synctest.Wait()
		must(t, late)
		if c, chs := nodes[1].listening(); c != 1 || !slices.Equal(chs, []string{"x", "y"}) {
			t.Errorf("on the new primary %d connections, channels %q", c, chs)
		}
		again := view(2, 1)
		again.Nodes[1].Epoch += 2
		w.store.Publish(again)
		synctest.Wait()
		logins, _ := nodes[1].counts()
		if c, chs := nodes[1].listening(); c != 1 || !slices.Equal(chs, []string{"x", "y"}) || logins != 2 {
			t.Errorf("in a new epoch %d connections, channels %q, %d logins", c, chs, logins)
		}
	})
}

// What a session is told that cannot listen.
func TestErrors(t *testing.T) {
	noRole := pgwire.Fields{Severity: "FATAL", Code: "28000", Message: `role "nobody" does not exist`}
	recovery := pgwire.Fields{Severity: "ERROR", Code: "25006", Message: "cannot execute LISTEN during recovery"}
	for _, c := range []struct {
		name   string
		before func(n *fakeNode)
		user   string
		want   string // SQLSTATE and message
		takes  time.Duration
	}{
		{"role", func(n *fakeNode) { n.noLogin = map[string]pgwire.Fields{"nobody": noRole} }, "nobody", "28000 role", 0},
		{"standby", func(n *fakeNode) { n.refuse = &recovery }, "postgres", "25006 cannot execute", 0},
		{"down", func(n *fakeNode) { n.down = true }, "postgres", "57P03 connection refused", 30 * time.Second},
		{"silent", func(n *fakeNode) { n.held = true }, "postgres", "57P03 no server has confirmed", 30 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, nodes, stop := fakeNodes(t, Config{}, 1, 1)
			defer stop()
			nodes[0].set(func() { c.before(nodes[0]) })
			defer nodes[0].set(func() { nodes[0].held = false })
			s := w.session(0, DefaultLimit)
			s.user = c.user
			began := time.Now()
			err := <-s.listen("x", "y")
			state, part, _ := strings.Cut(c.want, " ")
			var e *Error
			if !errors.As(err, &e) || e.SQLState() != state || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v", c.name, err)
			}
			if took := time.Since(began); took != c.takes {
				t.Errorf("%s: took %v", c.name, took)
			}
			time.Sleep(time.Minute)
			if st := w.hub.Status(); len(st) > 0 {
				t.Errorf("%s: left %+v", c.name, st)
			}
		})
	}
}

func TestBadChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes, stop := fakeNodes(t, Config{}, 1, 1)
		defer stop()
		s := w.session(0, DefaultLimit)
		for _, name := range []string{"", "a\x00b", strings.Repeat("x", 64)} {
			var e *Error
			if err := <-s.listen("x", name); !errors.As(err, &e) || e.Code != "42602" {
				t.Errorf("%q: %v", name, err)
			}
		}
		must(t, s.listen())
		if n, _ := nodes[0].counts(); n > 0 {
			t.Error("connected for nothing")
		}
	})
}

// One session's bad credentials are not another's: the next one lends its own.
func TestAnotherLends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes, stop := fakeNodes(t, Config{}, 2, 1)
		defer stop()
		a, b := w.session(0, DefaultLimit), w.session(1, DefaultLimit)
		a.user = "a"
		must(t, a.listen("x"), b.listen("x"))
		nodes[0].set(func() {
			nodes[0].noLogin = map[string]pgwire.Fields{"a": {Severity: "FATAL", Code: "28P01", Message: "no more"}}
		})
		nodes[0].cut()
		time.Sleep(5 * time.Second)
		if c, _ := nodes[0].listening(); c != 1 {
			t.Fatalf("%d connections", c)
		}
		must(t, b.end())
		nodes[0].cut()
		time.Sleep(5 * time.Second)
		if c, _ := nodes[0].listening(); c != 0 {
			t.Fatalf("%d connections, only a is left", c)
		}
		nodes[0].set(func() { nodes[0].noLogin = nil })
		time.Sleep(5 * time.Second)
		if c, _ := nodes[0].listening(); c != 1 {
			t.Fatalf("%d connections", c)
		}
	})
}

// A connection that is refused again and again is asked for ever more rarely.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes, stop := fakeNodes(t, Config{}, 1, 1)
		defer stop()
		a := w.session(0, DefaultLimit)
		must(t, a.listen("x"))
		nodes[0].set(func() { nodes[0].refuse = &pgwire.Fields{Severity: "ERROR", Code: "25006", Message: "recovery"} })
		nodes[0].cut()
		time.Sleep(time.Minute)
		if n, _ := nodes[0].counts(); n < 30 || n > 70 {
			t.Errorf("%d logins within a minute", n)
		}
		nodes[0].set(func() { nodes[0].refuse = nil })
		time.Sleep(2 * time.Second)
		if c, chs := nodes[0].listening(); c != 1 || len(chs) != 1 {
			t.Errorf("%d connections, channels %q", c, chs)
		}
	})
}

// A session that does not read is ended, and holds up nobody.
func TestSlowSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes, stop := fakeNodes(t, Config{}, 2, 1)
		defer stop()
		slow, quick := w.session(0, 64<<10), w.session(1, 64<<10)
		must(t, slow.listen("x"), quick.listen("x"))
		slow.setDeaf(true)
		const n = 1000
		for i := range n {
			nodes[0].notify(9, "x", fmt.Sprintf("%0100d", i))
			if i%10 == 0 {
				synctest.Wait()
			}
		}
		synctest.Wait()
		got := quick.heard()
		if len(got) != n || !slices.IsSorted(got) {
			t.Errorf("the quick one got %d, sorted %v", len(got), slices.IsSorted(got))
		}
		var e *Error
		if slow.mu.Lock(); !errors.As(slow.err, &e) || e.SQLState() != "53400" {
			t.Errorf("the slow one: %v", slow.err)
		}
		slow.mu.Unlock()
		if slow.inbox.Pending() {
			t.Error("the slow one's notifications are kept")
		}
	})
}

// A session gives up waiting when it is told to, and leaves nothing behind.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes, stop := fakeNodes(t, Config{Grace: time.Second}, 1, 1)
		defer stop()
		s, other := w.session(0, DefaultLimit), w.session(1, DefaultLimit)
		must(t, other.listen("y"))
		nodes[0].set(func() { nodes[0].held = true })
		cancelled := false
		done := s.do(func(t *loop.Task) error {
			return w.hub.Listen(t, s.key, s, []string{"x"}, func() bool { return cancelled })
		})
		synctest.Wait()
		s.task.Loop().Post(func() { s.task.Wake() })
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("a wake-up is no cancel")
		}
		s.task.Loop().Post(func() { cancelled = true; s.task.Wake() })
		if err := <-done; !errors.Is(err, loop.ErrStopped) {
			t.Fatal(err)
		}
		nodes[0].set(func() { nodes[0].held = false })
		time.Sleep(2 * time.Second)
		if c, chs := nodes[0].listening(); c != 1 || !slices.Equal(chs, []string{"y"}) {
			t.Errorf("left: %d connections, %q", c, chs)
		}
		must(t, other.end())
	})
}

// PIDs of notifications are those that clients know.
func TestPIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, nodes, stop := fakeNodes(t, Config{PIDOf: func(pid uint32) (uint32, bool) { return pid + 1000, pid < 100 }}, 1, 1)
		defer stop()
		s := w.session(0, DefaultLimit)
		must(t, s.listen("x"))
		nodes[0].notify(5, "x", "ours")
		nodes[0].notify(500, "x", "a stranger's")
		synctest.Wait()
		if got := s.heard(); !slices.Equal(got, []string{"1005 x ours", "500 x a stranger's"}) {
			t.Errorf("%q", got)
		}
	})
}

// The hub's end is told to those who listen.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, stop := fakeNodes(t, Config{}, 2, 1)
		defer stop()
		a := w.session(0, DefaultLimit)
		must(t, a.listen("x"))
		w.hub.Close()
		synctest.Wait()
		var e *Error
		if !errors.As(a.inbox.Err(), &e) || e.SQLState() != "57P01" {
			t.Errorf("%v", a.inbox.Err())
		}
		if err := <-a.listen("y"); !errors.Is(err, loop.ErrStopped) {
			t.Errorf("%v", err)
		}
	})
}

// What the server must not say ends the connection, and another one is opened.
func TestNonsense(t *testing.T) {
	for name, said := range map[string][]byte{
		"an answer to nothing":        pgwire.AppendReady(nil, 'I'),
		"malformed":                   pgwire.AppendBody(nil, pgwire.NotificationResponse, []byte("abc")),
		"a row":                       pgwire.AppendDataRow(nil, []string{"x"}),
		"invalid message length":      {'A', 0, 0, 0, 1},
		"message 'A' of 65537 bytes":  {'A', 0, 1, 0, 0},
		"unexpected message":          pgwire.AppendAuthentication(nil, 0, nil),
		"the server has closed it":    nil,
		"an error nobody has asked":   pgwire.AppendError(nil, pgwire.Fields{Severity: "ERROR", Code: "XX000", Message: "an error nobody has asked"}),
		"terminating because of this": pgwire.AppendError(nil, pgwire.Fields{Severity: "FATAL", Message: "terminating because of this"}),
	} {
		synctest.Test(t, func(t *testing.T) {
			w, nodes, stop := fakeNodes(t, Config{}, 1, 1)
			defer stop()
			s := w.session(0, DefaultLimit)
			must(t, s.listen("x"))
			nodes[0].set(func() {
				for c := range nodes[0].conns {
					_, _ = c.Write(said)
					if said == nil {
						_ = c.Close()
					}
				}
			})
			time.Sleep(time.Second)
			logins, _ := nodes[0].counts()
			if c, chs := nodes[0].listening(); c != 1 || len(chs) != 1 || logins != 2 {
				t.Errorf("%s: %d connections, channels %q, %d logins", name, c, chs, logins)
			}
			if name != "a row" && w.log.count(name) == 0 {
				t.Errorf("%s is not in the log:\n%s", name, w.log.text.String())
			}
		})
	}
}
