package proxy

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gopgpool/cluster"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// fakeSwitchover is one that goes on when the test says so.
type fakeSwitchover struct {
	begun chan cluster.NodeID
	steps chan cluster.SwitchoverPhase // it ends with err behind the last, or when it is closed
	err   error
	cause chan error // of its context, where that ended first
}

func newFakeSwitchover() *fakeSwitchover {
	return &fakeSwitchover{
		begun: make(chan cluster.NodeID, 1), steps: make(chan cluster.SwitchoverPhase), cause: make(chan error, 1),
	}
}

func (f *fakeSwitchover) run(ctx context.Context, node cluster.NodeID, progress func(cluster.Switchover)) error {
	f.begun <- node
	for {
		select {
		case phase, more := <-f.steps:
			if !more {
				return f.err
			}
			progress(cluster.Switchover{To: node, Phase: phase})
			if phase == cluster.SwitchoverDone {
				return f.err
			}
		case <-ctx.Done():
			f.cause <- context.Cause(ctx)
			return f.err
		}
	}
}

// notices are the messages of the notices among what a client got.
func notices(got []fakepg.Message) (texts []string) {
	for _, m := range got {
		if m.Type == pgwire.NoticeResponse {
			texts = append(texts, pgwire.ReadFields([]byte(m.Body)).Message)
		}
	}
	return texts
}

// TestSwitchoverVerb tells its client of each phase when it comes, and of the end.
func TestSwitchoverVerb(t *testing.T) { inModes(t, testSwitchoverVerb) }

func testSwitchoverVerb(t *testing.T, line string) {
	f := newFakeSwitchover()
	p := newTestProxy(t, setup{world: world(), nodes: 2, conf: line, switchover: f.run})
	boss := p.admin(t)
	ok(t, boss, one) // in session mode it keeps this connection
	for _, message := range [][]byte{pgwire.AppendQuery(nil, "PGPOOL SWITCHOVER TO 1"), extended("pgpool switchover to 1")} {
		boss.Send(message)
		if got := <-f.begun; got != 1 {
			t.Errorf("to node %d", got)
		}
		f.steps <- cluster.SwitchoverDraining
		for m := boss.Next(); ; m = boss.Next() {
			if m.Type == pgwire.NoticeResponse {
				break // it was not kept until the end
			}
		}
		f.steps <- cluster.SwitchoverStopping
		f.steps <- cluster.SwitchoverPromoting
		f.steps <- cluster.SwitchoverDone
		got := boss.UntilReady()
		if text := strings.Join(notices(got), "|"); !strings.HasSuffix(text, "switchover to node 1: done") || strings.Count(text, "|") != 2 {
			t.Errorf("told %s", text)
		}
		if text := fakepg.Transcript(got); !strings.Contains(text, `C "SWITCHOVER`) {
			t.Errorf("got %s", text)
		}
	}
	ok(t, boss, one)
	boss.Bye()
}

func TestSwitchoverRefused(t *testing.T) {
	f := newFakeSwitchover()
	f.err = &SwitchoverError{Message: "could not process switchover request", Detail: "node 1 is tired"}
	close(f.steps)
	p := newTestProxy(t, setup{world: world(), nodes: 2, switchover: f.run})
	boss, other := p.admin(t), p.connect(t, "somebody")
	if got := errorsOf(boss.Query("PGPOOL SWITCHOVER TO 1")); len(got) != 1 || got[0].Code != "55000" || got[0].Detail != "node 1 is tired" ||
		got[0].Severity != "ERROR" {
		t.Errorf("got %v", got)
	}
	<-f.begun
	for sql, want := range map[string]string{
		"PGPOOL SWITCHOVER TO 128":                  "22023 there is no node 128",
		"PGPOOL SWITCHOVER TO node1":                "42601 syntax error in PGPOOL SWITCHOVER",
		"PGPOOL SWITCHOVER":                         "42601 syntax error in PGPOOL SWITCHOVER",
		"PGPOOL SWITCHOVER TO 1.5":                  "22023 there is no node 1.5",
		"PGPOOL SWITCHOVER TO 99999999999999999999": "22023 there is no node 99999999999999999999",
	} {
		if got := refusal(t, boss, sql); got != want {
			t.Errorf("%s: %s", sql, got)
		}
	}
	if got := refusal(t, other, "PGPOOL SWITCHOVER TO 1"); got != "42501 admin access needed" {
		t.Errorf("somebody: %s", got)
	}
	ok(t, boss, "BEGIN")
	if got := refusal(t, boss, "PGPOOL SWITCHOVER TO 1"); !strings.HasPrefix(got, "25001") {
		t.Errorf("in a transaction: %s", got)
	}
	ok(t, boss, "ROLLBACK")
	boss.Bye()
	other.Bye()

	p = newTestProxy(t, setup{world: world()})
	boss = p.admin(t)
	if got := refusal(t, boss, "PGPOOL SWITCHOVER TO 0"); !strings.HasPrefix(got, "0A000") {
		t.Errorf("where there is none: %s", got)
	}
	boss.Bye()
}

// TestSwitchoverLeft: who cancels it, goes or is stopped does not wait any more, and what he started is told so.
func TestSwitchoverLeft(t *testing.T) {
	for _, end := range []string{"cancels", "cancels too late", "goes", "is killed"} {
		f := newFakeSwitchover()
		f.err = &SwitchoverError{Message: "canceling statement due to user request", Detail: "The switchover goes on."}
		if end == "cancels too late" {
			f.err = nil
		}
		p := newTestProxy(t, setup{world: world(), nodes: 2, switchover: f.run})
		boss := p.admin(t)
		boss.Send(pgwire.AppendQuery(nil, "PGPOOL SWITCHOVER TO 1"))
		<-f.begun
		f.steps <- cluster.SwitchoverDraining
		switch end {
		case "cancels", "cancels too late":
			p.cancelRequest(t, boss)
			if cause := <-f.cause; !errors.Is(cause, errCancelled) {
				t.Errorf("%s: the cause is %v", end, cause)
			}
			got := errorsOf(boss.UntilReady())
			if f.err == nil && len(got) != 0 || f.err != nil && (len(got) != 1 || got[0].Code != "57014" || got[0].Detail == "") {
				t.Errorf("%s: %v", end, got)
			}
			ok(t, boss, one)
			boss.Bye()
		case "goes":
			boss.Close()
			gone := <-f.cause
			if gone == nil {
				t.Errorf("%s: its context ended without a cause", end)
			}
		case "is killed":
			other := p.admin(t)
			ok(t, other, "PGPOOL KILL "+itoa(p.numberOfBusy()))
			gone := <-f.cause
			if gone == nil {
				t.Errorf("%s: its context ended without a cause", end)
			}
			other.Bye()
			_, _ = boss.UntilEnd()
		}
	}
}

// numberOfBusy is the number KILL knows the session by that runs a command of ours.
func (p *testProxy) numberOfBusy() (pid int) {
	p.onLoops(func(h *home) {
		for s := range h.sessions {
			if s.placing {
				pid = s.slot.pid
			}
		}
	})
	return pid
}
