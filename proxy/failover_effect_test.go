package proxy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"gopgpool/cluster"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// run is one statement in the extended protocol, without Sync.
func run(sql string) []byte {
	return slices.Concat(pgwire.AppendParse(nil, "", sql), pgwire.AppendBind(nil, "", ""), pgwire.AppendExecute(nil, ""))
}

// flushed asks for the answers so far.
func flushed(messages ...[]byte) []byte {
	return append(slices.Concat(messages...), pgwire.AppendSimple(nil, pgwire.Flush)...)
}

func synced(messages ...[]byte) []byte {
	return append(slices.Concat(messages...), pgwire.AppendSimple(nil, pgwire.Sync)...)
}

const (
	insertCommit = "INSERT INTO t VALUES (1); COMMIT"
	readCommit   = "SELECT 1; COMMIT"
	newSyntax    = "INSERT AS NOBODY KNOWS IT; COMMIT"
	callsUnknown = "SELECT write_it()"
	callsNextval = "SELECT nextval('s')"
	callsNow     = "SELECT now()"
	prepare2PC   = "PREPARE TRANSACTION 'x'"
	commit2PC    = "COMMIT PREPARED 'x'"
)

// effects is a world of statements whose effect is not seen at once.
func effects() fakepg.World {
	w := maps.Clone(stateful())
	for _, sql := range []string{insertCommit, readCommit, newSyntax, callsUnknown, callsNextval, callsNow} {
		w[sql] = fakepg.One()
	}
	w[prepare2PC] = fakepg.Answer{Tag: "PREPARE TRANSACTION", Ends: true}
	w[commit2PC] = fakepg.Answer{Tag: "COMMIT PREPARED"}
	w["COMMIT AND CHAIN"] = fakepg.Answer{Tag: "COMMIT"}
	return w
}

const (
	maybe = "may have taken effect"
	none  = "has had no effect"
)

// TestEffectIsToldTruly: an error about a lost node never denies an effect that there may have been.
func TestEffectIsToldTruly(t *testing.T) {
	cases := []struct {
		name   string
		before []string // simple queries
		first  []byte   // answered up to its last CommandComplete, of count
		count  int
		stall  string // the statement the server is silent about; "" is none
		after  fakepg.Moment
		send   []byte
		detail string
	}{
		{"several statements that end the block", []string{"BEGIN"}, nil, 0, insertCommit, fakepg.Asked, pgwire.AppendQuery(nil, insertCommit), maybe},
		{"a read, and COMMIT", []string{"BEGIN", insert}, nil, 0, readCommit, fakepg.Asked, pgwire.AppendQuery(nil, readCommit), maybe},
		{"what the grammar does not know", []string{"BEGIN"}, nil, 0, newSyntax, fakepg.Asked, pgwire.AppendQuery(nil, newSyntax), maybe},
		{"COMMIT AND CHAIN", []string{"BEGIN", insert}, nil, 0, "COMMIT AND CHAIN", fakepg.Asked, pgwire.AppendQuery(nil, "COMMIT AND CHAIN"), maybe},
		{"PREPARE TRANSACTION", []string{"BEGIN", insert}, nil, 0, prepare2PC, fakepg.Asked, pgwire.AppendQuery(nil, prepare2PC), maybe},
		{"PREPARE TRANSACTION in a batch", []string{"BEGIN", insert}, nil, 0, prepare2PC, fakepg.Asked, flushed(run(prepare2PC)), maybe},
		{"PREPARE TRANSACTION with a row limit", []string{"BEGIN", insert}, nil, 0, prepare2PC, fakepg.Asked, flushed(
			pgwire.AppendParse(nil, "", prepare2PC), pgwire.AppendBind(nil, "", ""), body(pgwire.Execute, "\x00\x00\x00\x00\x07")), maybe},
		{"COMMIT PREPARED", nil, nil, 0, commit2PC, fakepg.Asked, pgwire.AppendQuery(nil, commit2PC), maybe},
		{"COMMIT PREPARED, before Sync", nil, flushed(run(commit2PC)), 1, "", 0, nil, maybe},
		{"COMMIT, before Sync", []string{"BEGIN", insert}, flushed(run("COMMIT")), 1, "", 0, nil, maybe},
		{"COMMIT, Sync sent", []string{"BEGIN", insert}, flushed(run("COMMIT")), 1, "SELECT 1", fakepg.Asked, synced(run("SELECT 1")), maybe},
		{"a block in a batch, before Sync", nil, flushed(run("BEGIN"), run(insert), run("COMMIT")), 3, "", 0, nil, maybe},
		{"COMMIT outside a block, in a batch", nil, flushed(run(insert)), 1, "COMMIT", fakepg.Asked, flushed(run("COMMIT")), maybe},
		{"ROLLBACK in a batch", []string{"BEGIN", insert}, nil, 0, "ROLLBACK", fakepg.Asked, flushed(run("ROLLBACK")), none},
		{"a write, before Sync", nil, flushed(run(insert)), 1, "", 0, nil, none},
		{"a write, Sync sent", nil, flushed(run(insert)), 1, "SELECT 1", fakepg.Asked, synced(run("SELECT 1")), maybe},
		{"a setting, Sync sent", nil, flushed(run("SET work_mem TO '5MB'")), 1, "SELECT 1", fakepg.Asked, synced(run("SELECT 1")), maybe},
		{"an unknown function", nil, nil, 0, callsUnknown, fakepg.Asked, pgwire.AppendQuery(nil, callsUnknown), maybe},
		{"an unknown function in a batch", nil, nil, 0, callsUnknown, fakepg.Asked, synced(run(callsUnknown)), maybe},
		{"an unknown function, Sync sent", nil, flushed(run(callsUnknown)), 1, "SELECT 1", fakepg.Asked, synced(run("SELECT 1")), maybe},
		{"an unknown function in a block", []string{"BEGIN"}, nil, 0, callsUnknown, fakepg.Asked, pgwire.AppendQuery(nil, callsUnknown), none},
		{"nextval", nil, nil, 0, callsNextval, fakepg.Asked, pgwire.AppendQuery(nil, callsNextval), maybe},
		{"a read, whose operators may call anything", nil, nil, 0, callsNow, fakepg.Asked, pgwire.AppendQuery(nil, callsNow), maybe},
		{"a read in a block", []string{"BEGIN"}, nil, 0, callsNow, fakepg.Asked, pgwire.AppendQuery(nil, callsNow), none},
		{"SHOW", nil, nil, 0, "SHOW work_mem", fakepg.Asked, pgwire.AppendQuery(nil, "SHOW work_mem"), none},
		{"COPY", nil, nil, 0, copyIn, fakepg.Asked, pgwire.AppendQuery(nil, copyIn), maybe},
		{"rows that were sent", nil, nil, 0, insert, fakepg.Completed, synced(run(insert)), maybe},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: effects(), nodes: 2, conf: "load_balance_mode = off\n"})
			p.unseen = true
			client := p.connect(t, "victim")
			for _, sql := range c.before {
				ok(t, client, sql)
			}
			if c.first != nil {
				client.Send(c.first)
				for n := 0; n < c.count; {
					if m := client.Next(); m.Type == pgwire.CommandComplete {
						n++
					} else if m.Type == pgwire.ErrorResponse {
						t.Fatal(fakepg.Show(m))
					}
				}
			}
			if c.stall != "" {
				p.fakes[0].Misbehave(fakepg.Fault{At: c.after, SQL: c.stall, User: "victim", Times: 1, Do: fakepg.Stall})
			}
			if c.send != nil {
				client.Send(c.send)
				await(t, "the statement runs", func() bool { return p.busyOn("victim", 0) })
			}
			p.publish(t, condemn)
			p.publish(t, crown(1))
			e := client.ExpectFatal("08006")
			if !strings.Contains(e.Detail, c.detail) {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// TestWriterAnswersTheEnd: whether a transaction is committed is told by the server that has written, though the View in force knows
// it no more.
func TestWriterAnswersTheEnd(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
	c := p.connect(t, "victim")
	ok(t, c, "BEGIN")
	ok(t, c, "SELECT 1")
	ok(t, c, insert)
	v := *p.store.Current()
	v.Nodes = slices.Clone(v.Nodes)
	condemn(&v)
	p.sessionOf("victim", func(s *session) {
		slices.SortFunc(s.backends, func(a, b *backend) int { return int(b.node - a.node) })
		p.store.Publish(&v) // it comes to the session behind this function
		lead := s.endLead()
		if lead == nil || lead.node != 0 {
			t.Errorf("the end is told by %+v", lead)
		}
	})
	if e := c.ExpectFatal("08006"); !strings.Contains(e.Detail, none) {
		t.Errorf("got %+v", e)
	}
}

// TestWriterAnswersSync: a batch that has written on the primary and read on a standby is not over before the primary says so.
func TestWriterAnswersSync(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
	p.unseen = true
	c := p.connect(t, "victim")
	p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Completed, SQL: insert, Do: fakepg.Stall})
	c.Send(synced(
		pgwire.AppendParse(nil, "", "SELECT 1"), pgwire.AppendBind(nil, "p", ""), run(insert), pgwire.AppendExecute(nil, "p")))
	await(t, "the primary has written, and Sync is on its way", func() bool { return p.endsOn("victim", 0) && p.fakes[0].Last().Has(insert) })
	p.publish(t, func(v *cluster.View) { condemn(v) })
	if e := c.ExpectFatal("08006"); !strings.Contains(e.Detail, maybe) {
		t.Errorf("got %+v", e)
	}
}

// endsOn reports whether the Sync of a batch has been sent to a server, which owes the answer.
func (p *testProxy) endsOn(user string, node cluster.NodeID) (ends bool) {
	p.sessionOf(user, func(s *session) {
		b := s.find(node)
		ends = b != nil && b.backlog() == 0 && b.outstanding() > 0 && b.queue[len(b.queue)-1].kind == pgwire.Sync
	})
	return ends
}
