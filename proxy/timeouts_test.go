package proxy

import (
	"cmp"
	"errors"
	"testing"
	"time"

	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// TestTiming: what counts from when. Each step is a look the session takes before a wait; times are seconds.
func TestTiming(t *testing.T) {
	zero := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return zero.Add(time.Duration(seconds) * time.Second) }
	limits := conf.Pooling{
		Mode: conf.PoolModeTransaction, QueryTimeout: 10 * time.Second, TransactionTimeout: 30 * time.Second,
		IdleTransactionTimeout: 5 * time.Second, ClientIdleTimeout: 100 * time.Second,
	}
	type look struct {
		now, lastSeen int
		stage         stage
		inTx, ended   bool // ended: a transaction has ended since the last look
		until         int
		why           error
	}
	for name, looks := range map[string][]look{
		"idle counts from the last answer": {
			{now: 3, lastSeen: 1, stage: atRest, until: 101, why: errClientIdleTimeout},
			{now: 9, lastSeen: 1, stage: atRest, until: 101, why: errClientIdleTimeout},
			{now: 20, lastSeen: 18, stage: atRest, until: 118, why: errClientIdleTimeout},
		},
		"a statement counts from its own beginning": {
			{now: 1, lastSeen: 0, stage: answered, until: 11, why: errQueryTimeout},
			{now: 6, lastSeen: 0, stage: answered, until: 11, why: errQueryTimeout},
			{now: 7, lastSeen: 7, stage: answered, until: 17, why: errQueryTimeout}, // the next one of a pipeline
		},
		"a transaction counts from BEGIN, idle or not": {
			{now: 1, lastSeen: 1, stage: inBlock, inTx: true, until: 6, why: errIdleTransactionTimeout},
			{now: 4, lastSeen: 1, stage: answered, inTx: true, until: 14, why: errQueryTimeout},
			{now: 12, lastSeen: 12, stage: inBlock, inTx: true, until: 17, why: errIdleTransactionTimeout},
			{now: 16, lastSeen: 12, stage: answered, inTx: true, until: 26, why: errQueryTimeout},
			{now: 25, lastSeen: 25, stage: answered, inTx: true, until: 31, why: errTransactionTimeout},
			{now: 28, lastSeen: 28, stage: inBlock, inTx: true, until: 31, why: errTransactionTimeout},
			{now: 30, lastSeen: 30, stage: atRest, until: 130, why: errClientIdleTimeout},
		},
		"a BEGIN that a server answers": {
			{now: 2, lastSeen: 0, stage: answered, until: 12, why: errQueryTimeout},
			{now: 29, lastSeen: 29, stage: inBlock, inTx: true, until: 32, why: errTransactionTimeout},
		},
		"a transaction behind another": {
			{now: 0, lastSeen: 0, stage: inBlock, inTx: true, until: 5, why: errIdleTransactionTimeout},
			{now: 28, lastSeen: 28, stage: answered, inTx: true, ended: true, until: 38, why: errQueryTimeout},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var ti timing
			for i, l := range looks {
				if l.ended {
					ti.tx = time.Time{}
				}
				ti.enter(l.stage, l.inTx, at(l.lastSeen), at(l.now))
				if until, why := ti.nearest(&limits, true); !until.Equal(at(l.until)) || !errors.Is(why, l.why) {
					t.Errorf("look %d: %v in %v, want %v in %ds", i, why, until.Sub(zero), l.why, l.until)
				}
			}
		})
	}
	var ti timing
	if n := testing.AllocsPerRun(100, func() {
		ti.enter(answered, true, at(1), at(2))
		_, _ = ti.nearest(&limits, true)
	}); n != 0 {
		t.Errorf("a look allocates %v times", n)
	}
	ti = timing{}
	ti.enter(atRest, false, at(0), at(0))
	if until, _ := ti.nearest(&limits, false); !until.IsZero() {
		t.Error("client_idle_timeout counts in session mode, which has client_idle_limit")
	}
}

// TestTimeoutsEndSessions: the client is told PostgreSQL's code for it, and what runs is cancelled.
func TestTimeoutsEndSessions(t *testing.T) {
	const short = 20 * time.Millisecond
	asking := pgwire.AppendQuery(nil, victimQ)
	for _, c := range []struct {
		name   string
		limit  func(p *conf.Pooling)
		mode   string
		begin  bool
		send   []byte
		code   string
		cancel bool
	}{
		{name: "query_timeout", limit: func(p *conf.Pooling) { p.QueryTimeout = short }, send: asking, code: "57014", cancel: true},
		{name: "query_timeout, extended", limit: func(p *conf.Pooling) { p.QueryTimeout = short }, send: extended(victimQ), code: "57014", cancel: true},
		{
			name: "query_timeout, no Sync", limit: func(p *conf.Pooling) { p.QueryTimeout = short },
			send: withoutSync(extended(victimQ)), code: "57014", cancel: true,
		},
		{name: "transaction_timeout", limit: func(p *conf.Pooling) { p.TransactionTimeout = short }, begin: true, code: "25P04"},
		{name: "transaction_timeout, running", limit: func(p *conf.Pooling) { p.TransactionTimeout = short }, send: asking, code: "25P04", cancel: true},
		{name: "idle_transaction_timeout", limit: func(p *conf.Pooling) { p.IdleTransactionTimeout = short }, begin: true, code: "25P03"},
		{name: "client_idle_timeout", mode: "transaction", limit: func(p *conf.Pooling) { p.ClientIdleTimeout = short }, code: "57P05"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: world(), conf: "pool_mode = " + cmp.Or(c.mode, "session") + "\n"})
			p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: victimQ, Do: fakepg.WaitForCancel})
			client := p.connect(t, "victim")
			if c.begin {
				ok(t, client, "BEGIN")
				ok(t, client, one)
			}
			p.sessionOf("victim", func(s *session) {
				c.limit(&s.pooling)
				s.t.Wake()
			})
			client.Send(c.send)
			out, _ := client.UntilEnd()
			got := errorsOf(out)
			if len(got) != 1 || got[0].Code != c.code || got[0].Severity != "FATAL" {
				t.Errorf("the client is told %v", got)
			}
			await(t, "the session is over", func() bool { return p.sessionCount() == 0 })
			if n := len(p.fakes[0].Cancels()); (n > 0) != c.cancel {
				t.Errorf("%d statements were cancelled", n)
			}
		})
	}
}

// withoutSync cuts the Sync from the end of messages.
func withoutSync(b []byte) []byte {
	return pgwire.AppendSimple(b[:len(b)-pgwire.HeaderSize], pgwire.Flush)
}

// TestTimeoutsSpare: who stays below the limits goes on.
func TestTimeoutsSpare(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), conf: "pool_mode = transaction\n"})
	c := p.connect(t, "victim")
	p.sessionOf("victim", func(s *session) {
		s.pooling.QueryTimeout, s.pooling.TransactionTimeout, s.pooling.IdleTransactionTimeout = time.Hour, time.Hour, time.Hour
		s.pooling.ClientIdleTimeout = time.Hour
	})
	for _, sql := range []string{one, "BEGIN", one, "COMMIT", one} {
		ok(t, c, sql)
	}
	c.Bye()
}

// TestWaitingForConnections: where the pool is used up a statement waits, is shown, can be ended, and not for longer than
// query_wait_timeout.
func TestWaitingForConnections(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), conf: "pool_mode = transaction\ndefault_pool_size = 1\n"})
	boss, holder := p.admin(t), p.connect(t, "victim")
	killed, late := p.connect(t, "victim"), p.connect(t, "victim")
	ok(t, holder, "BEGIN")
	ok(t, holder, one)
	waiting := func() (pids []string) {
		for pid, row := range rowsBy(t, boss, "SHOW pool_sessions", 0) {
			if row[5] == "waiting" {
				pids = append(pids, pid)
			}
		}
		return pids
	}
	killed.Send(pgwire.AppendQuery(nil, one))
	await(t, "the statement waits", func() bool { return len(waiting()) == 1 })
	if row := rowsBy(t, boss, "SHOW pool_queues", 1)["victim"]; row[2] != "transaction" || row[4] != "2" || row[5] != "1" || row[12] != "1" {
		t.Errorf("the queue is shown as %q", row)
	}
	ok(t, boss, "PGPOOL KILL "+waiting()[0])
	if f := pgwire.ReadFields([]byte(killed.Next().Body)); f.Code != "57P01" {
		t.Errorf("killed: %v", f)
	}
	killed.ExpectEnd()

	p.onLoops(func(h *home) {
		for s := range h.sessions {
			s.pooling.QueryWaitTimeout = 20 * time.Millisecond
			for i := range s.places {
				s.places[i] = nil
			}
		}
	})
	late.Send(pgwire.AppendQuery(nil, one))
	if f := pgwire.ReadFields([]byte(late.Next().Body)); f.Code != "53300" || f.Message != "query_wait_timeout" || f.Hint == "" {
		t.Errorf("too late: %v", f)
	}
	late.ExpectEnd()
	ok(t, holder, "COMMIT")
	holder.Bye()
	boss.Bye()
}
