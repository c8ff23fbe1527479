package pool

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/tlsconf"
)

// While a database is paused those who ask wait, and their time does not run out; then they go on in order.
func TestPause(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		pl := b.p.Place(key("db", "user"), Bounds{Size: 1, WaitTimeout: 3 * time.Second})
		giveBack := b.holder(pl)
		began := time.Now()
		var order []string
		wait := func(name string, want error, after time.Duration) chan struct{} {
			return b.task(0, func(t *loop.Task) {
				c, err := b.lease(t, &Ask{Place: pl})
				if order = append(order, name); !errors.Is(err, want) || t.Now().Sub(began) != after {
					b.Errorf("%s: %v after %v", name, err, t.Now().Sub(began))
				}
				if err == nil {
					t.Sleep(5 * time.Second)
					b.p.Return(c)
				}
			})
		}
		early := wait("early", nil, 61*time.Second)
		time.Sleep(time.Second)
		b.p.Pause("db")
		if n := b.p.Busy("db"); n != 1 || b.p.Busy("other") != 0 || !b.p.Paused("db") || b.p.Paused("other") {
			t.Errorf("busy %d", n)
		}
		giveBack()
		if n := b.p.Busy("db"); n != 0 {
			t.Errorf("busy %d", n)
		}
		late := wait("late", ErrWaitTimeout, 64*time.Second)
		b.do(func(t *loop.Task) { // another database goes on; an idle connection is not there for those who do not wait
			b.fill(t, b.p.Place(key("other", "user"), Bounds{}), 1)
			if c := b.p.Idle(t, pl.Key()); c != nil {
				b.Error("an idle connection of a paused database was leased")
			}
		})
		time.Sleep(60 * time.Second)
		if b.check(time.Now()); len(order) > 0 {
			t.Errorf("%v went on", order)
		}
		b.p.Resume("db")
		<-early
		<-late
	})
}

// A pause of all databases is ended by a Resume of all, which ends the others, too.
func TestPauseAll(t *testing.T) {
	b := newBed(t, 10)
	pl := b.p.Place(key("db", "user"), Bounds{})
	b.p.Pause("")
	b.p.Pause("db")
	b.p.Resume("db")
	if !pl.paused || !b.p.Place(key("new", "user"), Bounds{}).paused {
		t.Error("all are paused")
	}
	b.p.Pause("db")
	b.p.Resume("")
	if pl.paused || b.p.Paused("") {
		t.Error("none is paused")
	}
}

// One who wants the connection he had gets it after the pause, before others take it.
func TestPauseExactly(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		pl := b.p.Place(key("db", "user"), Bounds{Size: 1})
		a := &Ask{Place: pl, Owner: 1}
		var mine *Conn
		b.do(func(t *loop.Task) {
			mine, _ = b.lease(t, a)
			a.Exactly, a.Serial = mine, mine.Serial
			b.p.Return(mine)
		})
		b.p.Pause("db")
		other := b.task(0, func(t *loop.Task) {
			c, err := b.lease(t, &Ask{Place: pl, Owner: 2})
			if err != nil {
				b.Error(err)
				return
			}
			b.p.Return(c)
		})
		done := b.task(0, func(t *loop.Task) {
			c, err := b.p.Lease(t, a)
			if c != mine || err != nil {
				b.Errorf("%p, %v; want %p", c, err, mine)
				return
			}
			b.p.Return(c)
		})
		time.Sleep(time.Second)
		b.p.Resume("db")
		<-done
		<-other
	})
}

// RECONNECT closes what idles now and what is leased when it is returned.
func TestReconnect(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		b.do(func(t *loop.Task) {
			pl, other := b.p.Place(key("db", "user"), Bounds{}), b.p.Place(key("other", "user"), Bounds{})
			b.fill(t, pl, 2)
			b.fill(t, other, 1)
			c, _ := b.lease(t, &Ask{Place: pl})
			b.p.Reconnect("db")
			if s := b.stats(pl); s.Idle != 0 || s.Leased != 1 {
				b.Errorf("%+v", s)
			}
			b.p.Return(c)
			if s := b.stats(pl); s.Idle != 0 || s.Leased != 0 || s.Closed != 2 {
				b.Errorf("%+v", s)
			}
			b.fill(t, pl, 1)
			if b.stats(pl).Idle != 1 || b.stats(other).Idle != 1 {
				b.Error("new connections, or another database's, do not idle")
			}
			b.p.Reconnect("")
			if b.stats(pl).Idle+b.stats(other).Idle != 0 {
				b.Error("idle connections are left")
			}
		})
	})
}

// A connection that has begun before a RECONNECT, the way to speak to its server chosen already, is one of those to be replaced.
func TestReconnectWhileOpening(t *testing.T) {
	port := admitAll(t)
	onReal(t, 10, 1, func(b *bed) {
		var asked time.Time
		b.p.UseTLS(func(cluster.NodeID, string) tlsconf.Server {
			b.p.Reconnect("")
			asked = time.Now()
			return tlsconf.Server{Mode: conf.SSLModeDisable}
		})
		b.do(func(t *loop.Task) {
			k := key("db", "user")
			node := cluster.Node{Host: "127.0.0.1", Port: port, Status: cluster.StatusUp}
			if err := b.p.Reserve(t, k, nil); err != nil {
				b.Error(err)
				return
			}
			unasked := []pgwire.Param{{Name: "replication", Value: "on"}} // such a connection is asked nothing after its login
			o, err := b.p.Open(t, node, k, unasked, nil, time.Now().Add(10*time.Second))
			if err != nil {
				b.Error(err)
				return
			}
			c, err := o.Login(t, auth.Credential{}, nil)
			if err != nil {
				b.Error(err)
				return
			}
			if c.Created.After(asked) {
				b.Errorf("begun %v after it was asked", c.Created.Sub(asked))
			}
			c.Epoch = b.store.Current().Nodes[0].Epoch
			b.p.Return(c)
			if s := b.stats(c.place); s.Idle != 0 || s.Closed != 1 {
				b.Errorf("%+v", s)
			}
		})
	})
}

// admitAll is a server that lets everybody in without a question; the port is its.
func admitAll(t *testing.T) (port int) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				_, _ = c.Write(pgwire.AppendReady(pgwire.AppendAuthentication(nil, 0, nil), 'I'))
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		served.Wait()
	})
	return l.Addr().(*net.TCPAddr).Port
}

// DDL that wants a database for itself finds no idle connection, and none comes to idle meanwhile.
func TestHold(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		b.do(func(t *loop.Task) {
			pl := b.p.Place(key("db", "user"), Bounds{})
			b.fill(t, pl, 2)
			c, _ := b.lease(t, &Ask{Place: pl})
			release := b.p.Hold("db")
			if n := b.stats(pl).Idle; n != 0 {
				b.Errorf("%d idle", n)
			}
			b.p.Return(c)
			b.fill(t, pl, 1)
			if n := b.stats(pl).Idle; n != 0 {
				b.Errorf("%d idle", n)
			}
			release()
			b.fill(t, pl, 1)
			if n := b.stats(pl).Idle; n != 1 {
				b.Errorf("%d idle", n)
			}
			b.fill(t, b.p.Place(key("template1", "user"), Bounds{}), 1)
			if n := len(b.p.Stats()); n != 2 || b.p.Count(0) != 1 {
				b.Errorf("a connection to a template idles: %+v", b.p.Stats())
			}
		})
	})
}
