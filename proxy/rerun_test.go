package proxy

import (
	"slices"
	"strings"
	"testing"

	"gopgpool/cluster"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

const (
	rerunOn = "rerun_lost_reads = on\n"
)

// rereading is a world in which nothing hidden writes.
func rereading() fakepg.World {
	w := stateful()
	w[hiddenEffects] = fakepg.Answer{Columns: []fakepg.Column{fakepg.Int4Column("?column?")}, Tag: "SELECT 0"}
	return w
}

// TestLostReadsAreRunAgain: a read of which the client has got nothing is run on another node when its own is lost, in whichever
// protocol and however the loss shows.
func TestLostReadsAreRunAgain(t *testing.T) { inModes(t, testLostReads) }

func testLostReads(t *testing.T, line string) {
	named := pgwire.AppendParse(nil, "p", "SELECT 1")
	bound := slices.Concat(pgwire.AppendBind(nil, "", "p"), pgwire.AppendDescribe(nil, 'P', ""), pgwire.AppendExecute(nil, ""))
	messages := map[string][]byte{
		"simple": pgwire.AppendQuery(nil, "SELECT 1"), "extended": extended("SELECT 1"), "named": synced(named, bound),
		"closed": synced(named, bound, pgwire.AppendClose(nil, 'S', "p")),
	}
	for name, message := range messages {
		for how, do := range map[string]func(*fakepg.Conn) bool{
			"closed": over((*fakepg.Conn).Cut), "reset": over((*fakepg.Conn).CutHard),
			"frozen":  over(func(x *fakepg.Conn) { <-x.Gone() }),
			"crashed": fakepg.SayAndDrop(pgwire.AppendNotice(nil, pgwire.Fields{Severity: "WARNING", Code: "57P02", Message: "crash"})),
		} {
			if how == "crashed" && name != "simple" { // the server sends what it has, with its last words
				continue
			}
			t.Run(name+" "+how, func(t *testing.T) {
				p := newTestProxy(t, setup{world: rereading(), nodes: 3, conf: "backend_weight0 = 0\nbackend_weight2 = 0\n" + line + rerunOn})
				p.unseen = true
				c := p.connect(t, "victim")
				ok(t, c, insert)
				asked := make(chan struct{})
				p.fakes[1].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "SELECT 1", User: "victim", Times: 1, Do: func(x *fakepg.Conn) bool {
					p.fakes[1].Misbehave(fakepg.Fault{At: fakepg.Accepted, Do: fakepg.Drop}) // run there again it would be lost twice
					close(asked)
					return do(x)
				}})
				c.Send(message)
				<-asked
				if how == "frozen" {
					await(t, "the statement runs", func() bool { return p.busyOn("victim", 1) })
				}
				p.publish(t, func(v *cluster.View) { lose(v, 1) })
				t.Cleanup(func() {
					if t.Failed() {
						t.Log(p.log.String())
					}
				})
				got := c.UntilReady()
				if text := fakepg.Transcript(got); len(fakepg.Errors(got)) > 0 || strings.Count(text, "SELECT 1") != 1 || strings.Contains(text, "57P0") {
					t.Errorf("got %s", text)
				}
				if name == "named" { // and it is still known by its name
					c.Send(synced(bound))
					fine(t, c, "the named statement")
				}
				ok(t, c, insert)
				c.Bye()
			})
		}
	}
}

// over is the end of a server's part, without a word of what it has not said yet.
func over(how func(*fakepg.Conn)) func(*fakepg.Conn) bool {
	return func(c *fakepg.Conn) bool {
		how(c)
		return false
	}
}

// TestLostReadsWait: a read that only the primary could run is held until there is one again, and runs there.
func TestLostReadsWait(t *testing.T) {
	p := newTestProxy(t, setup{world: rereading(), nodes: 2, conf: "load_balance_mode = off\n" + rerunOn})
	p.unseen = true
	c := p.connect(t, "victim")
	p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "SELECT 1", User: "victim", Do: fakepg.Stall})
	c.Send(pgwire.AppendQuery(nil, "SELECT 1"))
	await(t, "the statement runs", func() bool { return p.busyOn("victim", 0) })
	p.publish(t, condemn)
	await(t, "it is held", func() bool { return p.waiting("victim") })
	p.publish(t, crown(1))
	fine(t, c, "the read")
	c.Bye()
}

// TestEndedBeforeItWasRun: where the server ends while it is brought up to the session's state, what the client has sent goes to the next
// primary, writes and blocks included. Where only the session's connection was ended, the session ends.
func TestEndedBeforeItWasRun(t *testing.T) {
	const setting = "SET work_mem = '1MB'"
	last := fatal("57P01", "terminating connection due to unexpected postmaster exit")
	for _, c := range []struct {
		name, first, at string // what the client has sent first, and the statement of ours at which the server ends
		send            []byte
		alone           bool // the server goes on
	}{
		{"a block", "BEGIN", "BEGIN", pgwire.AppendQuery(nil, insert), false},
		{"an extended block", "BEGIN", "BEGIN", extended(insert), false},
		{"a setting", setting, setting, pgwire.AppendQuery(nil, insert), false},
		{"it alone", "BEGIN", "BEGIN", pgwire.AppendQuery(nil, insert), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := stateful()
			w[setting] = fakepg.Answer{Tag: "SET"}
			p := newTestProxy(t, setup{world: w, nodes: 2, conf: "load_balance_mode = off\nrerun_lost_reads = off\n"})
			p.unseen = true
			client := p.connect(t, "victim")
			ok(t, client, c.first)
			if c.at == setting { // a fresh connection has to be told of it
				p.fakes[0].Last().Cut()
				await(t, "the connection is gone", func() bool { return p.idleCount() == 0 && len(p.fakes[0].Conns()) == 1 && p.fakes[0].Conns()[0].Over() })
			}
			p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: c.at, User: "victim", Do: func(x *fakepg.Conn) bool {
				if !c.alone {
					p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Started, Do: fakepg.SayAndDrop(fatal("57P03", "the database system is shutting down"))})
				}
				return fakepg.SayAndDrop(last)(x)
			}})
			client.Send(c.send)
			if c.alone {
				if out, _ := client.UntilEnd(); len(errorsOf(out)) != 1 || errorsOf(out)[0].Code != "57P01" {
					t.Errorf("got %v", out)
				}
				return
			}
			await(t, "it is held", func() bool { return p.waiting("victim") })
			p.publish(t, condemn)
			p.publish(t, crown(1))
			fine(t, client, "the write")
			if got := p.fakes[1].Last().Statements(); len(got) < 2 || !slices.Equal(got[len(got)-2:], []string{c.at, insert}) {
				t.Errorf("the next primary was asked %q", got)
			}
			client.Bye()
		})
	}
}

// TestWhatIsNotRunAgain: what may have had an effect, what the client has got something of, and what it wants no more ends with the error
// of its loss.
func TestWhatIsNotRunAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines string
		tweak func(w fakepg.World)
		at    fakepg.Moment
		send  []byte
	}{
		{"switched off", "rerun_lost_reads = off\n", nil, fakepg.Asked, pgwire.AppendQuery(nil, "SELECT 1")},
		{"a write", "", nil, fakepg.Asked, pgwire.AppendQuery(nil, insert)},
		{"half a row", "", nil, fakepg.HalfRow, pgwire.AppendQuery(nil, manyRows)},
		{"its description", "", nil, fakepg.Described, pgwire.AppendQuery(nil, "SELECT 1")},
		{"in a transaction", "", nil, fakepg.Asked, slices.Concat(pgwire.AppendQuery(nil, "BEGIN"), pgwire.AppendQuery(nil, "SELECT 1"))},
		{"two in a batch", "", nil, fakepg.Asked, synced(run("SELECT 1"), run("SELECT 1"))},
		{"without Sync", "", nil, fakepg.Asked, flushed(run("SELECT 1"))},
		{"hidden effects", "", func(w fakepg.World) { w[hiddenEffects] = fakepg.One() }, fakepg.Asked, pgwire.AppendQuery(nil, "SELECT 1")},
		{"nobody tells of hidden effects", "", func(w fakepg.World) { delete(w, hiddenEffects) }, fakepg.Asked, pgwire.AppendQuery(nil, "SELECT 1")},
		{"a function nobody knows", "", func(w fakepg.World) { w["SELECT f()"] = fakepg.One() }, fakepg.Asked, pgwire.AppendQuery(nil, "SELECT f()")},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := rereading()
			if c.tweak != nil {
				c.tweak(w)
			}
			p := newTestProxy(t, setup{world: w, nodes: 2, conf: "load_balance_mode = off\n" + rerunOn + c.lines})
			p.unseen = true
			client := p.connect(t, "victim")
			p.fakes[0].Misbehave(fakepg.Fault{At: c.at, User: "victim", Do: func(x *fakepg.Conn) bool {
				if strings.HasPrefix(x.Statements()[len(x.Statements())-1], "BEGIN") {
					return true
				}
				return fakepg.Stall(x)
			}})
			client.Send(c.send)
			if c.at != fakepg.Asked {
				client.Next()
			}
			await(t, "the statement runs", func() bool { return p.busyOn("victim", 0) })
			p.publish(t, condemn)
			p.publish(t, crown(1))
			out, _ := client.UntilEnd()
			if got := errorsOf(out); len(got) != 1 || !strings.HasPrefix(got[0].Code, "08") || got[0].Severity != "FATAL" {
				t.Errorf("got %s", fakepg.Transcript(out))
			}
			for _, x := range p.fakes[1].Conns() {
				for _, sql := range x.Statements() {
					if strings.Contains(string(c.send), sql) && sql != "BEGIN" {
						t.Errorf("the new primary got %q", sql)
					}
				}
			}
		})
	}
}

// TestCancelledReadIsNotRunAgain: a cancel request was for the statement, wherever it runs.
func TestCancelledReadIsNotRunAgain(t *testing.T) {
	p := newTestProxy(t, setup{world: rereading(), nodes: 2, conf: "load_balance_mode = off\n" + rerunOn})
	p.unseen = true
	c := p.connect(t, "victim")
	p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, User: "victim", Do: fakepg.Stall})
	c.Send(pgwire.AppendQuery(nil, "SELECT 1"))
	await(t, "the statement runs", func() bool { return p.busyOn("victim", 0) })
	p.cancelRequest(t, c)
	p.publish(t, condemn)
	p.publish(t, crown(1))
	if out, _ := c.UntilEnd(); len(errorsOf(out)) != 1 {
		t.Errorf("got %s", fakepg.Transcript(out))
	}
	if p.got(1, "SELECT 1") {
		t.Error("it was run again")
	}
}

// TestReadIsRunAgainOnce: a statement that takes every server with it is not for all of them.
func TestReadIsRunAgainOnce(t *testing.T) {
	p := newTestProxy(t, setup{world: rereading(), nodes: 4, conf: "statement_level_load_balance = on\n" + rerunOn})
	p.unseen = true
	c := p.connect(t, "victim")
	for _, f := range p.fakes {
		f.Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "SELECT 1", User: "victim", Do: fakepg.Drop})
	}
	c.Send(pgwire.AppendQuery(nil, "SELECT 1"))
	if out, _ := c.UntilEnd(); len(errorsOf(out)) != 1 {
		t.Errorf("got %s", fakepg.Transcript(out))
	}
	times := 0
	for _, f := range p.fakes {
		for _, x := range f.Conns() {
			for _, sql := range x.Statements() {
				if sql == "SELECT 1" {
					times++
				}
			}
		}
	}
	if times != 1+maxReruns {
		t.Errorf("it was run %d times", times)
	}
}

// TestEndedProcess: a server that shuts down is lost, and its read runs elsewhere; where an administrator has ended one process of a server
// that serves on, the client was meant.
func TestEndedProcess(t *testing.T) {
	for _, down := range []bool{true, false} {
		p := newTestProxy(t, setup{world: rereading(), nodes: 2, conf: onStandby + rerunOn})
		p.unseen = true
		c := p.connect(t, "victim")
		ok(t, c, "SELECT 1")
		if down {
			p.fakes[1].Misbehave(fakepg.Fault{At: fakepg.Started, Do: fakepg.SayAndDrop(fatal("57P03", "the database system is shutting down"))})
		}
		p.fakes[1].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "SELECT 1", User: "victim", Times: 1, Do: fakepg.SayAndDrop(fatal("57P01", "terminating connection"))})
		c.Send(pgwire.AppendQuery(nil, "SELECT 1"))
		if down {
			fine(t, c, "the read")
			c.Bye()
			continue
		}
		if out, _ := c.UntilEnd(); len(errorsOf(out)) != 1 || errorsOf(out)[0].Code != "57P01" {
			t.Errorf("got %s", fakepg.Transcript(out))
		}
	}
}
