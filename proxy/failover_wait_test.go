package proxy

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
	"gopgpool/pool"
)

// cancel sends a cancel request for a client's session and waits until it was taken.
func (p *testProxy) cancelRequest(tb testing.TB, c *fakepg.Client) {
	tb.Helper()
	x := p.dial(tb)
	x.Send(pgwire.AppendCancel(nil, pgwire.Cancel{PID: c.PID, Key: c.Key}))
	x.ExpectEnd()
}

// TestHeldStatementIsCancelled: a statement that waits for the primary ends when its client wants it no more, and the session goes on.
func TestHeldStatementIsCancelled(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 3, conf: onStandby})
	c := p.connect(t, "victim")
	p.publish(t, condemn)
	for _, message := range [][]byte{pgwire.AppendQuery(nil, insert), extended(insert)} {
		c.Send(message)
		await(t, "the statement is held", func() bool { return p.held("victim") })
		p.cancelRequest(t, c)
		got := errorsOf(c.UntilReady())
		if len(got) != 1 || got[0].Code != "57014" || got[0].Severity != "ERROR" {
			t.Errorf("got %v", got)
		}
		p.cancelRequest(t, c) // too late: it must not hit the next one
		ok(t, c, "SELECT 1")
	}
	p.publish(t, crown(2))
	ok(t, c, insert)
	if n := len(p.fakes[0].Conns()) + len(p.fakes[2].Conns()); n == 0 || !p.fakes[2].Last().Has(insert) {
		t.Error("the new primary has not got the last statement")
	}
	c.Bye()
}

// TestWaitForAPlace: who waits for a server connection to become free may cancel, or leave.
func TestWaitForAPlace(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
	holds, waits := p.connect(t, "holds"), p.connect(t, "victim")
	ok(t, holds, "SELECT 1")
	l := p.pool.Limits()
	l.PerNode = 1
	p.pool.Configure(l)

	waits.Send(pgwire.AppendQuery(nil, "SELECT 1"))
	placing := func() (yes bool) {
		p.onLoops(func(h *home) {
			for s := range h.sessions {
				yes = yes || s.placing
			}
		})
		return yes
	}
	await(t, "the statement waits", placing)
	p.cancelRequest(t, waits)
	if got := errorsOf(waits.UntilReady()); len(got) != 1 || got[0].Code != "57014" {
		t.Errorf("got %v", got)
	}
	waits.Send(pgwire.AppendQuery(nil, "SELECT 1"))
	await(t, "the statement waits", placing)
	waits.Close()
	await(t, "the session ends", func() bool { return p.sessionCount() == 1 })

	late := p.start(t, "late")
	await(t, "the login waits", func() bool { return p.sessionCount() == 2 })
	late.Close()
	await(t, "the session ends", func() bool { return p.sessionCount() == 1 })
	ok(t, holds, "SELECT 1")
	holds.Bye()
}

// TestHowLongItIsHeld: what is waited for now decides, not what was waited for first.
func TestHowLongItIsHeld(t *testing.T) {
	began := time.Unix(1000, 0)
	a := attempt{began: began}
	for _, c := range []struct {
		at, limit, pause, until time.Duration
		over                    bool
	}{
		{0, 2, 1, 1, false},
		{1, 2, 5, 2, false},
		{2, 2, 1, 2, true},
		{2, 30, 1, 3, false}, // seeking has begun
		{29, 30, 30, 30, false},
		{31, 30, 30, 30, true},
	} {
		until, over := a.until(began.Add(c.at*time.Second), c.limit*time.Second, c.pause*time.Second)
		if over != c.over || !over && !until.Equal(began.Add(c.until*time.Second)) {
			t.Errorf("%v: until %v, over %v", c, until.Sub(began), over)
		}
	}
}

// TestAbandonedStatementIsNotDelivered: when a client leaves in the middle of a statement, nothing of it can reach the server any more
// once its connection was given up: no fence would hold it back.
func TestAbandonedStatementIsNotDelivered(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful()})
	left, told := make(chan struct{}), make(chan error, 1)
	p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "SELECT 1", Do: func(c *fakepg.Conn) bool {
		<-left
		_, err := c.ReadMessage()
		told <- err
		return false
	}})
	c := p.connect(t, "victim")
	c.Send(pgwire.AppendQuery(nil, "SELECT 1"))
	await(t, "the statement runs", func() bool { return p.busyOn("victim", 0) })
	c.Close()
	await(t, "the session ends", func() bool { return p.sessionCount() == 0 })
	close(left)
	if err := <-told; !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the server read %v", err)
	}
}

// TestStandbyEndsDuringCommit: a standby that shuts down while a transaction ends takes nothing of it with it.
func TestStandbyEndsDuringCommit(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
	c := p.connect(t, "victim")
	ok(t, c, "BEGIN")
	ok(t, c, "SELECT 1")
	ok(t, c, insert)
	p.fakes[1].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "COMMIT", Times: 1, Do: fakepg.SayAndDrop(fatal("57P01", "shutdown"))})
	if got := fakepg.Transcript(c.Query("COMMIT")); got != "C \"COMMIT\\x00\"\nZ \"I\"" {
		t.Errorf("COMMIT got %s", got)
	}
	ok(t, c, insert)
	c.Bye()
}

// TestOtherNodesDoNotHideALoss: while a node is replaced for a read, the end of the session's transaction is not passed over.
func TestOtherNodesDoNotHideALoss(t *testing.T) {
	for _, c := range []struct {
		err  error
		ours bool
	}{
		{lostNodeError(0, errNodeLeft, transaction), true},
		{errPromoted, true},
		{errCancelled, true},
		{&pool.ConnectError{Err: errNodeLeft}, false},
		{&pool.ServerError{}, false},
		{pool.ErrWaitTimeout, false},
		{errChanged, false},
	} {
		if isOurs(c.err) != c.ours {
			t.Errorf("%v: %v", c.err, isOurs(c.err))
		}
	}
}

// TestLoginMoves: a client that is logging in when its server is lost is logged in to another, at whatever point it was.
func TestLoginMoves(t *testing.T) {
	for name, at := range map[string]fakepg.Moment{"connecting": fakepg.Started, "authenticated": fakepg.Admitted, "asked": fakepg.Asked} {
		t.Run(name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: "load_balance_mode = off\n"})
			p.unseen = true
			p.fakes[0].Misbehave(fakepg.Fault{At: at, User: "victim", Do: fakepg.Stall})
			c := p.start(t, "victim")
			p.fakes[0].Await("the login has begun", func() bool { return len(p.fakes[0].Conns()) > 0 })
			p.publish(t, condemn)
			p.publish(t, crown(1))
			if got := c.UntilReady(); len(fakepg.Errors(got)) > 0 {
				t.Errorf("got %s", fakepg.Transcript(got))
			}
			ok(t, c, insert)
			c.Bye()
		})
	}
}

// TestNameOfAFailedParse: the name of a statement that could not be parsed is free, though a Close of it stood behind.
func TestNameOfAFailedParse(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful()})
	c := p.connect(t, "victim")
	for range 2 {
		c.Send(synced(pgwire.AppendParse(nil, "x", "BAD"), pgwire.AppendClose(nil, 'S', "x")))
		if got := fakepg.Errors(c.UntilReady()); len(got) != 1 || got[0] != "42601" {
			t.Errorf("got %v", got)
		}
	}
	c.Send(synced(pgwire.AppendParse(nil, "x", "SELECT 1")))
	if got := c.UntilReady(); len(fakepg.Errors(got)) > 0 {
		t.Errorf("got %s", fakepg.Transcript(got))
	}
	c.Bye()
}
