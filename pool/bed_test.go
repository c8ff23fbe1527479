package pool

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/cluster"
	"gopgpool/loop"
)

// bed is a pool with loops and servers that are nothing but the far ends of connections.
type bed struct {
	testing.TB
	p       *Pool
	store   *cluster.Store
	loops   []*loop.Loop
	virtual bool

	mu   sync.Mutex
	fars []interface{ Close() error } // guarded by mu
	last interface{ Close() error }   // guarded by mu: of the connection opened last
}

func newBed(tb testing.TB, perNode int) *bed {
	v := &cluster.View{Nodes: []cluster.Node{{ID: 0, Status: cluster.StatusUp}, {ID: 1, Status: cluster.StatusUp}}}
	b := &bed{TB: tb, store: cluster.NewStore(v)}
	b.p = New(b.store, Limits{PerNode: perNode, Cache: true})
	return b
}

// onVirtual runs f with a pool on one virtual loop in a bubble, where time passes when everybody waits.
func onVirtual(t *testing.T, perNode int, f func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, perNode)
		b.virtual, b.loops = true, []*loop.Loop{loop.NewVirtual(0, nil)}
		b.run(f)
	})
}

// onReal runs f with a pool on n loops of the kernel.
func onReal(tb testing.TB, perNode, n int, f func(b *bed)) {
	tb.Helper()
	b := newBed(tb, perNode)
	for i := range n {
		l, err := loop.New(i, nil)
		if err != nil {
			tb.Fatal(err)
		}
		b.loops = append(b.loops, l)
	}
	b.run(f)
}

func (b *bed) run(f func(*bed)) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	var loops sync.WaitGroup
	loopsCtx, stopLoops := context.WithCancel(context.Background())
	for _, l := range b.loops {
		loops.Go(func() {
			if err := l.Run(loopsCtx); err != nil {
				b.Error(err)
			}
		})
	}
	group.Go(func() { _ = b.p.Run(ctx) })
	f(b)
	cancel()
	group.Wait()
	stopLoops()
	loops.Wait()
	for _, far := range b.fars {
		_ = far.Close()
	}
}

// task runs f as a task on a loop; the channel is closed at its end.
func (b *bed) task(n int, f func(t *loop.Task)) (done chan struct{}) {
	done = make(chan struct{})
	b.loops[n].GoFrom("session", func(t *loop.Task) {
		defer close(done)
		f(t)
	})
	return done
}

// do runs f as a task on the first loop and waits for it.
func (b *bed) do(f func(t *loop.Task)) {
	b.Helper()
	<-b.task(0, f)
}

type far int

func (f far) Close() error { return unix.Close(int(f)) }

func (b *bed) wire(t *loop.Task) *loop.Conn {
	var c *loop.Conn
	var end interface{ Close() error }
	if b.isVirtual() {
		c, end = t.Loop().Pipe(1 << 10)
		t.Take(c)
	} else {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			panic(err)
		}
		if c, err = t.Adopt(fds[0]); err != nil {
			panic(err)
		}
		end = far(fds[1])
	}
	b.mu.Lock()
	b.fars, b.last = append(b.fars, end), end
	b.mu.Unlock()
	return c
}

func (b *bed) isVirtual() bool { return b.virtual }

// open is what Open and Login do with a reserved place.
func (b *bed) open(t *loop.Task, pl *Place) *Conn {
	key := pl.Key()
	c := b.p.newConn(t, b.wire(t), b.store.Current().Nodes[key.Node], b.p.birth(t, key))
	c.Uses = 1
	b.p.opened(c)
	return c
}

// lease leases a connection, opening one if that is what there is.
func (b *bed) lease(t *loop.Task, a *Ask) (*Conn, error) {
	c, err := b.p.Lease(t, a)
	if err == nil && c == nil {
		c = b.open(t, a.Place)
	}
	if c != nil {
		c.State.Owner = a.Owner
		c.State.Print = a.Print
		if c.Wire.Owner() != t {
			b.Error("a leased connection is not the task's")
		}
	}
	return c, err
}

func key(db, user string) Key { return Key{Database: db, User: user} }

// check counts again what the pool counts, and looks whether anybody waits for what is there.
func (b *bed) check(now time.Time) {
	b.Helper()
	p := b.p
	p.mu.Lock()
	defer p.mu.Unlock()
	type sum struct{ total, idle int }
	nodes, dbs, users := map[*space]sum{}, map[*tally]sum{}, map[*tally]sum{}
	for k, pl := range p.places {
		n := 0
		for c := pl.idle.first; c != nil; c = c.next {
			if n++; !c.idle || c.place != pl {
				b.Errorf("%v: a connection in the list is not idle, or another's", k)
			}
		}
		if n != pl.idle.n || pl.leased < 0 || pl.opening < 0 {
			b.Errorf("%v: %d idle, counted %d; %d leased, %d being opened", k, n, pl.idle.n, pl.leased, pl.opening)
		}
		if bd := pl.bounds; bd.Size > 0 && pl.total() > bd.Size+bd.Reserve {
			b.Errorf("%v: %d connections, bound %d+%d", k, pl.total(), bd.Size, bd.Reserve)
		}
		if roomUnder(pl.bounds.MaxDB, pl.db.total) < 0 || roomUnder(pl.bounds.MaxUser, pl.user.total) < 0 {
			b.Errorf("%v: %d for the database, %d for the user, bounds %+v", k, pl.db.total, pl.user.total, pl.bounds)
		}
		add := func(s sum) sum { return sum{s.total + pl.total(), s.idle + pl.idle.n} }
		nodes[pl.node], dbs[pl.db], users[pl.user] = add(nodes[pl.node]), add(dbs[pl.db]), add(users[pl.user])
	}
	same := func(what string, got *tally, want sum) {
		if got.total != want.total || got.idle != want.idle {
			b.Errorf("%s: counted %d, %d idle; there are %d, %d idle", what, got.total, got.idle, want.total, want.idle)
		}
	}
	for n, s := range nodes {
		same("node", &n.tally, s)
		if n.total > p.limits.PerNode {
			b.Errorf("%d connections of a node, bound %d", n.total, p.limits.PerNode)
		}
		p.claimsLocked(n, now.Add(-time.Millisecond)) // whose reserve opens in this turn may not have had it
		if i := next(p.claims); i >= 0 {
			b.Errorf("%v waits for what is there: %+v", p.claimers[i].key, p.claims)
		}
	}
	for t, s := range dbs {
		same("database", t, s)
	}
	for t, s := range users {
		same("user", t, s)
	}
}
