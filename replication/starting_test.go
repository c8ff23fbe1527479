package replication

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// slowHost is a host whose server starts when it is told to, or ends.
type slowHost struct {
	Host
	end chan error
}

func (h slowHost) Start(ctx context.Context, _ cluster.Term) error {
	select {
	case err := <-h.end:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// TestAStartThatDoesNotEndIsNoBadCopy: only a server that ended is suspected.
func TestAStartThatDoesNotEndIsNoBadCopy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := slowHost{end: make(chan error, 1)}
		r := &remedy{}
		began := time.Now()
		if err := r.startBy(t.Context(), h); !errors.Is(err, errLeft) || errors.Is(err, errNoStart) || time.Since(began) != startBound {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		away := errors.New("connection reset")
		h.end <- away
		if err := r.startBy(t.Context(), h); !errors.Is(err, away) || errors.Is(err, errNoStart) {
			t.Error(err)
		}
		h.end <- cluster.ErrEnded
		if err := r.startBy(t.Context(), h); !errors.Is(err, errNoStart) {
			t.Error(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		result := make(chan error)
		go func() { result <- r.startBy(ctx, h) }()
		synctest.Wait()
		if !r.watch.waiting.Load() {
			t.Error("it does not say that it waits")
		}
		cancel(errLeft)
		if err := <-result; !errors.Is(err, errLeft) || r.watch.waiting.Load() {
			t.Error(err)
		}
	})
}

// TestOnlyServersThatEndedAreRebuilt: one that was left to itself counts for nothing.
func TestOnlyServersThatEndedAreRebuilt(t *testing.T) {
	t.Parallel()
	k := New(Parts{Log: logging.Logger{}})
	ended := func(c *course, what Remedy, err error) {
		c.finding.Remedy, c.err, c.done, c.cancel = what, err, make(chan struct{}), func(error) {}
		close(c.done)
		k.settle(c, time.Now())
	}
	var c course
	for range 5 {
		ended(&c, AsItIs, errLeft)
		ended(&c, Rewind, errors.New("connection reset"))
	}
	if c.noStart(time.Now()) {
		t.Error("a server that runs is to be rebuilt")
	}
	if ended(&c, Rewind, errNoStart); !c.noStart(time.Now()) {
		t.Error("a server that ended is not rebuilt")
	}
	var other course
	for range 3 {
		ended(&other, Start, errNoStart)
	}
	if other.noStart(time.Now()) {
		t.Error("one that has failed three times in a moment is rebuilt")
	}
	if !other.noStart(time.Now().Add(enoughTime)) {
		t.Error("one that has failed for long is not rebuilt")
	}
}

// TestASlowStartIsTold: after a while, then each minute, with what its log says; a start of its own begins anew.
func TestASlowStartIsTold(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	k := New(Parts{Log: logging.To(&log, logging.Warning), Settings: func() Settings { return Settings{} }})
	f := &Facts{View: &cluster.View{Primary: cluster.NoNode, Nodes: make([]cluster.Node, 1)}, Nodes: make([]NodeFacts, 1)}
	at := &f.Nodes[0]
	at.State.Err = errNoAnswer
	at.Control = cluster.Control{Running: true, Starting: true, PID: 7, State: "in archive recovery"}
	began := time.Now()
	told := func(after time.Duration) string {
		log.Reset()
		k.timeStarts(f, began.Add(after))
		return log.String()
	}
	if got := told(0) + told(slowStart-1); got != "" {
		t.Error(got)
	}
	if got := told(slowStart); !strings.Contains(got, `node 0 is still starting after 15s: its control file says "in archive recovery"`) {
		t.Error(got)
	}
	at.Control.Says = "FATAL: no password supplied"
	if got := told(slowStart + slowAgain - 1); got != "" {
		t.Error(got)
	}
	if got := told(slowStart + slowAgain); !strings.Contains(got, "node 0 is still starting after 1m15s: FATAL: no password supplied") {
		t.Error(got)
	}
	at.Control.PID = 8
	if got := told(time.Hour); got != "" || at.Starting != 0 {
		t.Error(got)
	}
	at.Control.Running = false
	if told(time.Hour + 1); len(k.starts) != 0 {
		t.Error("it is timed though it does not run")
	}
}

// TestWhatIsKnownOfAStart: the error of a start in time's name says what the server does.
func TestWhatIsKnownOfAStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h := talker{c: cluster.Control{Running: true, Starting: true, Says: "LOG: redo in progress"}}
	if got := startedSoFar(ctx, h); got != "; LOG: redo in progress" {
		t.Error(got)
	}
	h.c.Starting = false
	if got := startedSoFar(ctx, h); got != "" {
		t.Error(got)
	}
}

// talker is a host that says something.
type talker struct {
	Host
	c cluster.Control
}

func (h talker) Control(ctx context.Context) (cluster.Control, error) { return h.c, ctx.Err() }

// TestVainWaits: a start is waited for no longer when nothing comes of it, and at once when it would be told something else now.
func TestVainWaits(t *testing.T) {
	t.Parallel()
	const refused = "FATAL: could not connect to the primary server: no password supplied"
	for _, tc := range []struct {
		name     string
		waiting  bool
		unled    bool
		says     string
		starting time.Duration
		want     bool
	}{
		{"it does not wait", false, true, refused, time.Hour, false},
		{"it replays", true, true, "LOG: redo in progress", time.Hour, false},
		{"too early", true, true, refused, slowStart - 1, false},
		{"it would be told something else", true, true, refused, slowStart, true},
		{"the same again", true, false, refused, vainStart - 1, false},
		{"for long", true, false, refused, vainStart, true},
		{"as later releases say it", true, false, `FATAL: streaming replication receiver "s1" could not connect to the primary server: x`, vainStart, true},
		{"it ends", true, false, "PANIC: could not locate a valid checkpoint record", vainStart, false},
	} {
		c := &course{remedy: &remedy{}, done: make(chan struct{})}
		c.remedy.watch.waiting.Store(tc.waiting)
		at := &NodeFacts{
			Starting: tc.starting, Unled: tc.unled, Control: cluster.Control{Running: true, Starting: true, Standby: true, Says: tc.says},
		}
		if c.vain(at) != tc.want {
			t.Errorf("%s: %v", tc.name, !tc.want)
		}
	}
}

// TestTheWayToLogInIsHandedOn: to a server that never was a standby, as the others do.
func TestTheWayToLogInIsHandedOn(t *testing.T) {
	t.Parallel()
	var s Settings
	k := New(Parts{
		Log: logging.Logger{}, Settings: func() Settings { return s },
		Password: func(_, param string) (string, error) { return param, nil },
	})
	v := &cluster.View{Primary: 1, Nodes: []cluster.Node{{ID: 0, Host: "a", Port: 1}, {ID: 1, Host: "b", Port: 2}, {ID: 2, Host: "c", Port: 3}}}
	k.remember(2, tidings{state: cluster.ServerState{ConnInfo: "host=x user=repl passfile=/p sslmode=require service=s application_name=c"}})
	f := &Facts{View: v, Nodes: make([]NodeFacts, 3)}
	source := func() cluster.Source {
		r := remedy{k: k, f: f, node: v.Nodes[0], primary: v.Nodes[1]}
		src, err := r.source()
		if err != nil {
			t.Fatal(err)
		}
		return src
	}
	if got := source(); got.User != "" || got.Password != "" || got.Login != "user=repl passfile=/p sslmode=require" {
		t.Errorf("%+v", got)
	}
	if got := source(); streamsAs(&got) != "repl" {
		t.Error(streamsAs(&got))
	}
	before := source()
	s.ReplicationUser, s.ReplicationPassword = "other", "secret"
	got := source()
	if got.User != "other" || got.Password != "secret" || got.Login != "sslmode=require" || sameWay(&before, &got) {
		t.Errorf("%+v", got)
	}
}

// TestWhoIsMisled: a standby that does not stream, by another log-in than replication_user's.
func TestWhoIsMisled(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		user, info string
		streaming  bool
		want       bool
	}{
		{"repl", "host=h user=old password=x", false, true},
		{"repl", "host=h user=repl password=wrong", false, true},
		{"repl", "host=h user=repl passfile=/nowhere", false, true},
		{"repl", "host=h user=repl password=secret", false, false},
		{"repl", "host=h user=old", true, false},
		{"repl", "", false, false}, // nobody may read it
		{"repl", "host='", false, false},
		{"", "host=h user=old", false, false},
	} {
		k := New(Parts{
			Settings: func() Settings { return Settings{ReplicationUser: tc.user} },
			Password: func(string, string) (string, error) { return "secret", nil },
		})
		v := &cluster.View{Mode: cluster.ModeStreaming, Nodes: []cluster.Node{{Host: "h", Port: 5432, Status: cluster.StatusUp}, {ID: 1}}}
		f := &Facts{View: v, Nodes: make([]NodeFacts, 2)}
		f.Nodes[0].State.Timeline = 1
		f.Nodes[1].State = cluster.ServerState{Node: 1, InRecovery: true, Streaming: tc.streaming, ConnInfo: tc.info}
		if got := k.misled(f, 1); got != tc.want {
			t.Errorf("%+v: misled %v", tc, got)
		}
	}
}
