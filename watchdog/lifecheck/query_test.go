package lifecheck

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/fakepg"
)

func TestSurvey(t *testing.T) {
	const node0, node1 = 0, 1
	type event struct {
		node          int
		well, started bool
	}
	fails, answers := event{node1, false, true}, event{node1, true, true}
	for name, row := range map[string]struct {
		events []event
		want   []Verdict
	}{
		"well":                 {[]event{answers, answers}, nil},
		"two failures":         {[]event{fails, fails, answers, fails, fails}, nil},
		"three":                {[]event{fails, fails, fails, fails}, []Verdict{{node1, true, "unable to connect to node"}}},
		"again":                {[]event{fails, fails, fails, answers, answers}, []Verdict{{node1, true, "unable to connect to node"}, {node1, false, "node answers again"}}},
		"itself":               {[]event{{node0, false, true}, {node0, false, true}, {node0, false, true}}, []Verdict{{node0, true, "parent process is dead"}}},
		"before it starts":     {[]event{{node1, false, false}, {node1, false, false}, {node1, false, false}, fails, fails}, nil},
		"each node on its own": {[]event{fails, fails, {node0, false, true}, {node0, true, true}}, nil},
		"a stranger":           {[]event{{7, false, true}, {7, false, true}, {7, false, true}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSurvey([]Node{{ID: node0}, {ID: node1}}, node0)
			var got []Verdict
			for _, e := range row.events {
				if v, changed := s.answered(e.node, e.well, e.started, 3); changed {
					got = append(got, v)
				}
			}
			if !slices.Equal(got, row.want) {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

var login = Question{SQL: "SELECT 1", User: "u", Database: "d", ConnectTime: patience, LifePoint: 3}

func TestAsk(t *testing.T) {
	server := fakepg.Start(t, fakepg.World{"SELECT 1": fakepg.One(), "wrong": {Error: fakepg.Failure("42601", "wrong")}})
	n := Node{ID: 1, Host: "127.0.0.1", Port: server.Port()}
	ask := func(q Question) error { return q.ask(t.Context(), n, 10*time.Second) }
	if err := ask(login); err != nil {
		t.Fatal(err)
	}
	st := server.Last().Startup()
	if got := fmt.Sprint(st); !strings.Contains(got, "lifecheck_ping") {
		t.Errorf("startup: %s", got)
	}
	with := func(change func(*Question)) Question {
		q := login
		change(&q)
		return q
	}
	password := func(p string, err error) func() (string, error) { return func() (string, error) { return p, err } }
	broken := errors.New("no key file")
	for name, row := range map[string]struct {
		q    Question
		want string
	}{
		"no user":     {with(func(q *Question) { q.User = "" }), errNoLogin.Error()},
		"no database": {with(func(q *Question) { q.Database = "" }), errNoLogin.Error()},
		"hash":        {with(func(q *Question) { q.Password = password("", hashed{}) }), "wd_lifecheck_password is not allowed to be md5 hashed format"},
		"no password": {with(func(q *Question) { q.Password = password("", broken) }), broken.Error()},
		"error":       {with(func(q *Question) { q.SQL = "wrong" }), "42601"},
	} {
		if err := ask(row.q); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := ask(with(func(q *Question) { q.Password = password("md5 is no hash", nil) })); err != nil {
		t.Error(err)
	}
}

// A node that is silent, at whatever moment, costs no more than the time it is given.
func TestAskTheDeaf(t *testing.T) {
	server := fakepg.Start(t, fakepg.World{"SELECT 1": fakepg.One()})
	q := login
	q.ConnectTime = 200 * time.Millisecond
	for _, at := range []fakepg.Moment{fakepg.Accepted, fakepg.Started, fakepg.Asked, fakepg.Rows} {
		server.Misbehave(fakepg.Fault{At: at, Do: fakepg.Deaf})
		begin := time.Now()
		err := q.ask(t.Context(), Node{Host: "127.0.0.1", Port: server.Port()}, time.Minute)
		if took := time.Since(begin); err == nil || took > 5*time.Second {
			t.Errorf("moment %d: %v after %v", at, err, took)
		}
		server.Behave()
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := q.ask(ctx, Node{Host: "127.0.0.1", Port: server.Port()}, time.Minute); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestQuery(t *testing.T) {
	world := fakepg.World{"SELECT 1": fakepg.One()}
	servers := []*fakepg.Server{fakepg.Start(t, world), fakepg.Start(t, world)}
	c := Config{Method: Query, Interval: often, Question: login, TrustedServers: []string{"a"}, TrustedServerCommand: "true"}
	for i, s := range servers {
		c.Nodes = append(c.Nodes, Node{ID: i, Host: "127.0.0.1", Port: s.Port()})
	}
	servers[1].Misbehave(fakepg.Fault{At: fakepg.LoggedIn, Do: fakepg.Drop, Times: 5})
	_, r := start(t, c)
	await(t, "started", func() bool { return strings.Contains(r.logged(), "watchdog: lifecheck started") })
	verdict := func(n int) Verdict {
		await(t, fmt.Sprintf("verdict %d", n), func() bool { _, v := r.count(); return v >= n })
		return r.verdicts[n-1]
	}
	if _, n := r.count(); n > 0 {
		t.Errorf("%+v", r.verdicts)
	}
	servers[1].Misbehave(fakepg.Fault{At: fakepg.Started, Do: fakepg.Drop})
	if v := verdict(1); v != (Verdict{1, true, "unable to connect to node"}) {
		t.Errorf("%+v", v)
	}
	if !strings.Contains(r.logged(), "watchdog lifecheck, failed to query node 1 at 127.0.0.1:") {
		t.Error(r.logged())
	}
	servers[1].Behave()
	if v := verdict(2); v != (Verdict{1, false, "node answers again"}) {
		t.Errorf("%+v", v)
	}
}

func TestQueryPaused(t *testing.T) {
	server := fakepg.Start(t, fakepg.World{"SELECT 1": fakepg.One()})
	looked := make(chan struct{}, 100)
	c := Config{Method: Query, Interval: often, Question: login, Nodes: []Node{{ID: 0, Host: "127.0.0.1", Port: server.Port()}}}
	c.Paused = func() bool {
		select {
		case looked <- struct{}{}:
		default:
		}
		return true
	}
	start(t, c)
	for range 5 {
		<-looked
	}
	if n := len(server.Conns()); n > 0 {
		t.Errorf("%d connections", n)
	}
}

// hashed is a password that is known as a hash only.
type hashed struct{}

func (hashed) Error() string { return "a hash" }

func (hashed) Hashed() bool { return true }
