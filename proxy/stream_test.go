package proxy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// rowOf is a row of n bytes.
func rowOf(n int) []byte { return pgwire.AppendDataRow(nil, []string{strings.Repeat("r", n)}) }

// TestClientDoesNotRead has a server that sends rows without end to a client that reads none of them: what is kept is bounded,
// others are served, and when the client goes the server is told.
func TestClientDoesNotRead(t *testing.T) {
	for _, protocol := range []struct {
		name string
		ask  []byte
	}{
		{"simple", pgwire.AppendQuery(nil, victimQ)},
		{"extended", extended(victimQ)},
		{"a batch without Sync", slices.Concat(extended(victimQ)[:len(extended(victimQ))-5], pgwire.AppendSimple(nil, pgwire.Flush))},
	} {
		for _, size := range []int{10, 1000, 1 << 20} {
			t.Run(protocol.name+" "+itoa(size), func(t *testing.T) {
				p := newTestProxy(t, setup{world: world()})
				beside := p.bystander(t)
				p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Described, SQL: victimQ, Do: fakepg.Flood(rowOf(size))})
				c := p.connect(t, "victim")
				conn := serverOf(t, p, c)
				c.Send(protocol.ask)
				full := func() (full bool) {
					p.sessionOf("victim", func(s *session) {
						n := s.client.backlog()
						full = n >= maxOut
						if bound := maxOut + bufferSize; n > bound {
							t.Errorf("%d bytes wait for the client, more than %d", n, bound)
						}
						if cap(s.client.out) > 2*(maxOut+bufferSize) {
							t.Errorf("a buffer of %d bytes", cap(s.client.out))
						}
					})
					return full
				}
				await(t, "the buffers are full", full)
				for range 20 {
					c.Send([]byte{'X'}) // part of what comes next: it must not open the gates
					beside.check(t)
				}
				full()
				c.CloseHard()
				awaitVictim(t, p)
				if n := len(p.fakes[0].Cancels()); n != 1 {
					t.Errorf("%d cancel requests", n)
				}
				p.fakes[0].Await("the connection is closed", conn.Over)
				beside.check(t)
				beside.c.Bye()
			})
		}
	}
}

// TestRowsWithoutEnd has a server that never stops sending and a client that reads as fast as it can: neither starves the
// others of the loop.
func TestRowsWithoutEnd(t *testing.T) {
	p := newTestProxy(t, setup{world: world()})
	beside := p.bystander(t)
	p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Described, SQL: victimQ, Do: fakepg.Flood(rowOf(1000))})
	c := p.connect(t, "victim")
	conn := serverOf(t, p, c)
	c.Send(pgwire.AppendQuery(nil, victimQ))
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.DiscardAll()
	}()
	longest := time.Duration(0)
	for range 50 {
		began := time.Now()
		beside.check(t)
		longest = max(longest, time.Since(began))
	}
	t.Logf("%d MB went by, a statement beside took %v at most", conn.Flooded()>>20, longest)
	p.fakes[0].Await("rows go by", func() bool { return conn.Flooded() >= 1<<20 })
	k := p.dial(t) // a cancel request is served meanwhile
	k.Send(pgwire.AppendCancel(nil, pgwire.Cancel{PID: c.PID, Key: c.Key}))
	k.ExpectEnd()
	if n := len(p.fakes[0].Cancels()); n != 1 {
		t.Errorf("%d cancel requests", n)
	}
	c.Close()
	<-done
	awaitVictim(t, p)
	p.fakes[0].Await("the connection is closed", conn.Over)
	beside.check(t)
	beside.c.Bye()
}

// TestServerDoesNotRead has a client that sends without end to a server that reads nothing.
func TestServerDoesNotRead(t *testing.T) {
	cases := []struct {
		name  string
		first []byte
		then  []byte
		at    fakepg.Moment
		sql   string
	}{
		{"COPY data", pgwire.AppendQuery(nil, copyIn), body('d', strings.Repeat("x", 10000)), fakepg.Asked, copyIn},
		{"a pipeline", extended(victimQ), extended(victimQ), fakepg.Asked, victimQ},
		{"a batch without Sync", nil, extended(victimQ)[:len(extended(victimQ))-5], fakepg.Asked, victimQ},
	}
	for _, h := range cases {
		t.Run(h.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: world()})
			p.unseen = true
			beside := p.bystander(t)
			do := fakepg.Stall
			if h.sql == copyIn {
				do = fakepg.SayAndStall(body(pgwire.CopyInResponse, "\x00\x00\x01\x00\x00"))
			}
			p.fakes[0].Misbehave(fakepg.Fault{At: h.at, SQL: h.sql, Do: do})
			c := p.connect(t, "victim")
			c.Send(h.first)
			flood := slices.Repeat(h.then, 1<<20/len(h.then))
			sent := 0
			for {
				n, err := c.TrySend(flood, 300*time.Millisecond)
				if sent += n; err != nil {
					break // nothing is taken any more
				}
				if sent > 64<<20 {
					t.Fatalf("%d bytes were taken", sent)
				}
			}
			p.sessionOf("victim", func(s *session) {
				for _, b := range s.backends {
					if n := b.backlog(); n > maxOut+bufferSize {
						t.Errorf("%d bytes wait for the server", n)
					}
					if n := len(b.queue); n > 100000 {
						t.Errorf("%d answers are outstanding", n)
					}
				}
			})
			for range 10 {
				beside.check(t)
			}
			c.CloseHard()
			awaitVictim(t, p)
			beside.check(t)
			beside.c.Bye()
		})
	}
}

// TestBothDoNotRead has a client that does not read and sends without end, and a server that does the same and then is gone.
func TestBothDoNotRead(t *testing.T) {
	p := newTestProxy(t, setup{world: world()})
	p.unseen = true
	beside := p.bystander(t)
	p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Described, SQL: victimQ, Do: fakepg.Flood(rowOf(1000))})
	c := p.connect(t, "victim")
	conn := serverOf(t, p, c)
	batch := slices.Repeat(extended(victimQ)[:len(extended(victimQ))-5], 5000)
	for sent := 0; sent < 64<<20; {
		n, err := c.TrySend(batch, 300*time.Millisecond)
		if sent += n; err != nil {
			break
		}
	}
	beside.check(t)
	conn.CutHard()
	for range 10 {
		beside.check(t)
	}
	c.CloseHard()
	awaitVictim(t, p)
	beside.check(t)
	beside.c.Bye()
}

// TestSlowServer has answers that come byte by byte, and cut in two at each byte.
func TestSlowServer(t *testing.T) {
	p := newTestProxy(t, setup{world: world()})
	f := p.fakes[0]
	rows := [][]string{{"one"}, {strings.Repeat("2", 300)}, {""}}
	f.Set(one, fakepg.Answer{Columns: []fakepg.Column{fakepg.TextColumn("c")}, Rows: rows, Tag: "SELECT 3", Notice: &pgwire.Fields{
		Severity: "NOTICE", Code: "00000", Message: "slowly",
	}})
	ask := slices.Concat(extended(one), pgwire.AppendQuery(nil, one), pgwire.AppendQuery(nil, setName), pgwire.AppendQuery(nil, "BEGIN"),
		pgwire.AppendQuery(nil, "SELECT fails"), pgwire.AppendQuery(nil, one), pgwire.AppendQuery(nil, "ROLLBACK"))
	f.Set("SELECT fails", fakepg.Answer{Error: fakepg.Failure("42703", "no such column")})
	run := func(port int) string {
		c := fakepg.Connect(t, port, "victim", "db")
		c.Send(ask)
		var all []fakepg.Message
		for range 7 {
			all = append(all, c.UntilReady()...)
		}
		c.Bye()
		return fakepg.Transcript(all)
	}
	want := run(f.Port())
	for _, cut := range []int{0, 1, 2, 3, 4, 5, 6, 7, 11, 64, 300, 1000} {
		f.Cut(cut)
		if got := run(p.port); got != want {
			t.Errorf("cut every %d bytes:\n%s\n\ninstead of\n%s", cut, shorten(got), shorten(want))
		}
		await(t, "the session ends", func() bool { return p.sockets() == 0 })
		p.pool.CloseIdle(idleOf("victim")) // the next login is slow as well
	}
	f.Cut(0)
}
