package query

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/internal/pgcluster"
)

// sleepsOnPrimary answers at once on a standby.
const sleepsOnPrimary = "SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1" +
	" AND CASE WHEN pg_is_in_recovery() THEN '' ELSE pg_sleep(600)::text END = ''"

// TestNodesComeAndGo walks one cluster through the life of its nodes.
func TestNodesComeAndGo(t *testing.T) {
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 2, Auth: "scram-sha-256", Password: superPassword})
	first, second := c.Nodes[0], c.Nodes[1]
	b := newBed(t, viewOf(0, first, second))
	do(t, first, "CREATE ROLE u LOGIN PASSWORD 'a'")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := c.WaitReplayed(ctx, first); err != nil {
		t.Fatal(err)
	}
	answered := func(when string) {
		t.Helper()
		if _, err := b.Entry(t.Context(), "postgres", "u"); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	askers := func() string {
		var on string
		for i, n := range c.Nodes {
			if n.Running() && connections(t, n, "") != "0" {
				on += string(rune('0' + i))
			}
		}
		return on
	}

	answered("primary")
	if got := askers(); got != "0" {
		t.Errorf("connections on %q", got)
	}
	// The connection dies unnoticed: it is replaced.
	do(t, first, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgpool auth_query'")
	answered("after its connection was ended")
	if err := first.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	answered("after a restart")

	// A silent primary, in the middle of a question: the View that follows moves the question on.
	b.set(func(s *Settings) { s.Query = sleepsOnPrimary })
	moved := make(chan error)
	go func() {
		_, err := b.Entry(t.Context(), "postgres", "u")
		moved <- err
	}()
	eventually(t, "the query runs", func() bool {
		return value(t, first, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
	})
	if err := first.Pause(); err != nil {
		t.Fatal(err)
	}
	b.publish(func(v *cluster.View) {
		v.Primary, v.Seeking = cluster.NoNode, true
		v.Nodes[0].Status, v.Nodes[0].Epoch, v.Nodes[0].Fenced = cluster.StatusDown, 2, 2
	})
	if err := <-moved; err != nil {
		t.Errorf("the question did not move: %v", err)
	}
	if got := connections(t, second, ""); got != "1" {
		t.Errorf("%s connections on the standby", got)
	}

	// A silent primary that nobody has noticed yet.
	b.set(func(s *Settings) { s.Query, s.ConnectTimeout = defaultQuery, time.Second })
	b.publish(func(v *cluster.View) {
		v.Primary, v.Seeking, v.Nodes[0].Status, v.Nodes[0].Epoch = 0, false, cluster.StatusUp, 3
	})
	answered("while the primary is frozen")
	if err := first.Resume(); err != nil {
		t.Fatal(err)
	}
	b.set(func(s *Settings) { s.ConnectTimeout = 0 })
	answered("after that")
	if err := first.Pause(); err != nil {
		t.Fatal(err)
	}
	b.set(func(s *Settings) { s.ConnectTimeout = time.Second })
	answered("while the primary is frozen, over the connection from before")
	if err := first.Resume(); err != nil {
		t.Fatal(err)
	}

	// It is killed in the middle: the other node answers.
	b.set(func(s *Settings) { s.Query, s.ConnectTimeout = sleepsOnPrimary, 0 })
	eventually(t, "the old question has ended", func() bool {
		return value(t, first, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "0"
	})
	go func() {
		_, err := b.Entry(t.Context(), "postgres", "u")
		moved <- err
	}()
	eventually(t, "the query runs", func() bool {
		return value(t, first, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
	})
	if err := first.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-moved; err != nil {
		t.Errorf("killed in the middle: %v", err)
	}
	b.set(func(s *Settings) { s.Query = defaultQuery })
	answered("after the kill")

	// The standby becomes the primary: its old connection is not asked any more.
	if err := second.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	pid := "SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE application_name = 'pgpool auth_query'"
	before := value(t, second, pid)
	b.publish(func(v *cluster.View) {
		v.Primary, v.Nodes[0].Status, v.Nodes[1].Epoch = 1, cluster.StatusDown, 2
	})
	answered("after the promotion")
	eventually(t, "the connection to the standby has gone", func() bool {
		now := value(t, second, pid)
		return now != "" && !strings.Contains(now, ",") && now != before
	})
	do(t, second, "ALTER ROLE u NOLOGIN")
	if _, err := b.Entry(t.Context(), "postgres", "u"); whyOf(err) != WhyNoRow {
		t.Errorf("%v", err)
	}

	b.publish(func(v *cluster.View) { v.Primary, v.Nodes[1].Status = cluster.NoNode, cluster.StatusDown })
	if _, err := b.Entry(t.Context(), "postgres", "u"); !errors.Is(err, errNobody) {
		t.Errorf("no node: %v", err)
	}
	eventually(t, "no connection to a node that is down", func() bool { return connections(t, second, "") == "0" })
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	port := pgcluster.FreePort(t)
	b := newBed(t, viewOf(0, &pgcluster.Node{Host: "127.0.0.1", Port: port}, &pgcluster.Node{Host: "127.0.0.1", Port: port}))
	_, err := b.Entry(t.Context(), "postgres", "u")
	var whole *Error
	if !errors.As(err, &whole) || !strings.Contains(err.Error(), "node 0: ") || !strings.Contains(err.Error(), "; node 1: ") {
		t.Errorf("%v", err)
	}
	if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), superPassword) {
		t.Errorf("%q is no line for a log", err)
	}
}
