package proxy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// TestVanishingClient lets a client go at each step of the protocol, in order and by a reset.
func TestVanishingClient(t *testing.T) {
	sync := pgwire.AppendSimple(nil, pgwire.Sync)
	startup := pgwire.AppendStartup(nil, "victim", "db", nil)
	cases := []struct {
		name   string
		raw    []byte // sent instead of a login
		send   []byte // sent after the login
		until  string // statement the server has to see before the client goes
		runs   bool   // it runs until it is cancelled
		reused bool   // the server connection is good for another session
	}{
		{name: "before it says a word", raw: []byte{}},
		{name: "within the startup packet", raw: startup[:9]},
		{name: "behind the startup packet", raw: startup},
		{name: "after the login", reused: true},
		{name: "within a header", send: []byte{'Q', 0}, reused: true},
		{name: "within a message", send: frame('Q', 100, "SELECT"), reused: true},
		{name: "within a long message", send: frame('Q', 1<<20, strings.Repeat(" ", 1<<18)), until: ""},
		{name: "within a batch", send: slices.Concat(pgwire.AppendParse(nil, "", one), pgwire.AppendBind(nil, "", ""), pgwire.AppendSimple(nil, 'H')), until: one},
		{name: "between statements", send: pgwire.AppendQuery(nil, one), until: one},
		{name: "in a transaction", send: append(pgwire.AppendQuery(nil, "BEGIN"), pgwire.AppendQuery(nil, one)...), until: one},
		{name: "while its query runs", send: pgwire.AppendQuery(nil, victimQ), until: victimQ, runs: true},
		{name: "while its batch runs", send: extended(victimQ), until: victimQ, runs: true},
		{name: "while its batch runs, before Sync", send: extended(victimQ)[:len(extended(victimQ))-len(sync)], until: victimQ, runs: true},
		{name: "while its query runs in a transaction", send: append(pgwire.AppendQuery(nil, "BEGIN"), pgwire.AppendQuery(nil, victimQ)...), until: victimQ, runs: true},
		{name: "while it sends COPY data", send: append(pgwire.AppendQuery(nil, copyIn), body('d', "1\n")...), until: copyIn},
		{name: "within COPY data", send: append(pgwire.AppendQuery(nil, copyIn), frame('d', 1<<20, "1\n")...), until: copyIn},
	}
	p := newTestProxy(t, setup{world: world()})
	p.unseen = true
	beside := p.bystander(t)
	for _, h := range cases {
		for _, ending := range []string{"closes", "resets", "ends its side"} {
			t.Run(h.name+"/"+ending, func(t *testing.T) {
				f := p.fakes[0]
				p.pool.CloseIdle(idleOf("victim"))
				if h.runs {
					f.Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: victimQ, Times: 1, Do: fakepg.WaitForCancel})
					defer f.Behave()
				}
				before, cancels := len(f.Conns()), len(f.Cancels())
				var c *fakepg.Client
				if h.raw != nil {
					c = p.dial(t)
					c.Send(h.raw)
				} else {
					c = p.connect(t, "victim")
					c.Send(h.send)
					if h.until != "" {
						f.Await("the statement", func() bool { return f.Last().Has(h.until) })
					}
				}
				switch ending {
				case "closes":
					c.Close()
				case "resets":
					c.CloseHard()
				default:
					c.CloseWrite()
					c.UntilEnd()
				}
				awaitVictim(t, p)
				if h.runs {
					got := f.Cancels()[cancels:]
					if len(got) != 1 || got[0].Conn != f.Conns()[before] {
						t.Errorf("the server saw the cancel requests %v", got)
					}
				} else if n := len(f.Cancels()); n != cancels && h.reused {
					t.Errorf("%d cancel requests", n-cancels)
				}
				if h.reused && p.idleCount() != 1 {
					t.Errorf("%d idle connections", p.idleCount())
				}
				again := p.connect(t, "victim")
				if got := fakepg.Transcript(again.Query(one)); !strings.HasSuffix(got, "Z \"I\"") || strings.Contains(got, "E ") {
					t.Errorf("the next session got %s", got)
				}
				again.Bye()
				awaitVictim(t, p)
				beside.check(t)
			})
		}
	}
	beside.c.Bye()
}

// TestCancel serves cancel requests of those who know the key, and of nobody else.
func TestCancel(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), conf: "num_init_children = 1\n"})
	f := p.fakes[0]
	c := p.connect(t, "victim")
	cancel := func(pid uint32, key []byte) {
		k := p.dial(t)
		k.Send(pgwire.AppendCancel(nil, pgwire.Cancel{PID: pid, Key: key}))
		k.ExpectEnd()
	}
	cancel(c.PID, c.Key) // nothing runs
	f.Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: victimQ, Do: fakepg.WaitForCancel})
	for i := range 3 {
		c.Send(pgwire.AppendQuery(nil, victimQ))
		f.Await("the query", func() bool { return strings.Count(strings.Join(f.Last().Statements(), " "), victimQ) == i+1 })
		wrong := slices.Clone(c.Key)
		wrong[0]++
		for _, key := range [][]byte{wrong, c.Key[:1], c.Key[:3], append(slices.Clone(c.Key), 0), make([]byte, 256)} {
			cancel(c.PID, key)
		}
		cancel(c.PID+1, c.Key)
		if n := len(f.Cancels()); n != i {
			t.Fatalf("wrong keys cancelled something: %v", f.Cancels())
		}
		cancel(c.PID, c.Key)
		if got := fakepg.Errors(c.UntilReady()); !slices.Equal(got, []string{"57014"}) {
			t.Fatalf("got %v", got)
		}
	}
	if n := len(f.Cancels()); n != 3 {
		t.Errorf("the server saw %d cancel requests", n)
	}
	c.Bye()
}

// TestFloodOfConnections has more clients than slots, and more sockets than max_client_conn.
func TestFloodOfConnections(t *testing.T) {
	const slots, bound = 2, 10
	p := newTestProxy(t, setup{world: world(), conf: "num_init_children = 2\nmax_client_conn = 10\n"})
	beside := p.bystander(t)
	var queued []*fakepg.Client
	for range bound - 1 {
		queued = append(queued, p.start(t, "victim"))
	}
	queued[0].Login()
	await(t, "the others queue", func() bool { return p.queued() == bound-slots })
	for range 30 {
		p.start(t, "late").ExpectFatal("53300")
	}
	await(t, "they are gone", func() bool { return p.sockets() == bound })
	var silent []*fakepg.Client
	for range lateSockets {
		silent = append(silent, p.dial(t))
	}
	await(t, "they are there", func() bool { return p.sockets() == bound+lateSockets })
	p.dial(t).ExpectFatal("53300") // without being asked
	for _, c := range silent {
		c.Close()
	}
	beside.check(t)
	queued[4].Close() // leaves the queue
	await(t, "it has left", func() bool { return p.queued() == bound-slots-1 })
	order := slices.Concat(queued[:4], queued[5:])
	for i, c := range order { // each in its turn
		if i > 0 {
			c.Login()
		}
		if got := c.Query(one); len(got) != 4 {
			t.Errorf("client %d got %s", i, fakepg.Transcript(got))
		}
		c.Bye()
	}
	beside.check(t)
	beside.c.Bye()
	await(t, "all are gone", func() bool { return p.sockets() == 0 })
	late := p.connect(t, "late")
	late.Bye()
}

// queued is the number of clients that wait for a slot.
func (p *testProxy) queued() int {
	p.admitted.mu.Lock()
	defer p.admitted.mu.Unlock()
	return len(p.admitted.queue)
}

// TestStalledLogin ends a login that the server does not get on with.
func TestStalledLogin(t *testing.T) {
	for _, at := range []fakepg.Moment{fakepg.Accepted, fakepg.Started, fakepg.Admitted} {
		p := newTestProxy(t, setup{world: world()})
		p.unseen = true
		beside := p.bystander(t)
		p.authenticateWithin(time.Second)
		p.fakes[0].Misbehave(fakepg.Fault{At: at, User: "", Do: fakepg.Stall})
		c, gone := p.start(t, "victim"), p.start(t, "victim")
		p.fakes[0].Await("both are stalled", func() bool { return p.fakes[0].Open() == 3 })
		beside.check(t)
		gone.Close()
		c.UntilEnd()
		awaitVictim(t, p)
		beside.check(t)
		beside.c.Bye()
	}
}
