package health

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
)

func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNames()
		asked, fails := 0, errors.New("name service is down")
		var answer []string
		var failure error
		n.lookup = func(context.Context, string) ([]string, error) { asked++; return answer, failure }
		find := func(host, wantAddress string, wantAsked int, wantNote, wantErr bool) {
			t.Helper()
			got, note, err := n.find(t.Context(), host)
			if (note != nil) != wantNote || (err != nil) != wantErr || asked != wantAsked ||
				wantAddress != "" && !slices.Equal(got, []string{wantAddress}) {
				t.Errorf("%s: %v, note %v, error %v, %d questions", host, got, note, err, asked)
			}
		}
		later := func(d time.Duration) { sleep(t.Context(), d) }

		find("/tmp", "/tmp", 0, false, false)
		find("192.0.2.1", "192.0.2.1", 0, false, false)
		find("2001:db8::1", "2001:db8::1", 0, false, false)

		failure = fails
		find("db", "", 1, false, true)
		find("db", "", 2, false, true) // nothing known: it is asked each time
		answer, failure = []string{"192.0.2.1"}, nil
		find("db", "192.0.2.1", 3, false, false)
		find("db", "192.0.2.1", 3, false, false)
		later(nameFresh)
		answer, failure = nil, fails
		find("db", "192.0.2.1", 4, true, false)
		later(nameFresh)
		find("db", "192.0.2.1", 4, true, false) // a name service that failed is left alone
		later(nameRests)
		answer, failure = nil, nil
		find("db", "192.0.2.1", 5, true, false) // no address is no answer
		later(nameRests)
		answer = []string{"192.0.2.9"}
		find("db", "192.0.2.9", 6, false, false)
	})
}

// TestNamesSlow asks a name service that is silent: half of the time is left for the addresses known from before.
func TestNamesSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNames()
		n.known["db"] = known{addresses: []string{"192.0.2.1"}}
		n.lookup = func(ctx context.Context, _ string) ([]string, error) { <-ctx.Done(); return nil, ctx.Err() }
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		began := time.Now()
		got, note, err := n.find(ctx, "db")
		if took := time.Since(began); len(got) != 1 || note == nil || err != nil || took != 2*time.Second {
			t.Errorf("%v, note %v, error %v after %v", got, note, err, took)
		}
		// Without a deadline it is bounded too, and a caller who gives up leaves no trace.
		began = time.Now()
		_, _, err = n.find(t.Context(), "other")
		if took := time.Since(began); err == nil || took != nameBound {
			t.Errorf("error %v after %v", err, took)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, _, err := n.find(gone, "third"); err == nil || n.recall("third").err != nil {
			t.Errorf("error %v, remembered %v", err, n.recall("third").err)
		}
	})
}

// TestUnresolved checks nodes whose names do not resolve: never resolved, it says nothing about the server; resolved before, the
// last address is tried.
func TestUnresolved(t *testing.T) {
	p := newProber(t)
	down := errors.New("name service is down")
	p.names.lookup = func(context.Context, string) ([]string, error) { return nil, down }
	p.names.known["before.example"] = known{addresses: []string{"127.0.0.1"}}
	never := cluster.Node{Host: "never.example", Port: 1, Status: cluster.StatusUp}
	before := cluster.Node{Host: "before.example", Port: 1, Status: cluster.StatusUp} // nobody listens on port 1
	if err := p.login(t.Context(), never, Login{User: "u"}); judge(never, err) != Spared || !errors.Is(err, down) {
		t.Errorf("never resolved: %v", err)
	}
	if err := p.login(t.Context(), before, Login{User: "u"}); judge(before, err) != Condemned || !errors.Is(err, down) || !gone(err) ||
		!strings.HasSuffix(err.Error(), "connection refused; the addresses are the last known: name service is down") {
		t.Errorf("resolved before: %v", err)
	}
}

// TestSeveralAddresses connects to a name with several addresses, of which the last one answers.
func TestSeveralAddresses(t *testing.T) {
	c := shared.Cluster(t)
	n := nodesOf(c)[0]
	p := newProber(t)
	p.names.known[name] = known{addresses: []string{"127.0.0.9", n.Host}, next: time.Now().Add(time.Hour)}
	n.Host = name
	good := Login{User: "postgres", Password: password, Database: "postgres"}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ok(t, p.login(ctx, n, good))
	bad := good
	bad.Password = "wrong"
	if err := p.login(ctx, n, bad); troubleIn(err) != Rejected {
		t.Error(err)
	}
}

const name = "several.example"

func TestShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
		defer cancel()
		for _, tc := range []struct {
			ctx         context.Context
			bound, want time.Duration
			left        int
		}{
			{t.Context(), time.Second, time.Second, 3},
			{t.Context(), 0, 0, 3},
			{ctx, 0, 2 * time.Second, 3},
			{ctx, time.Second, time.Second, 3},
			{ctx, 10 * time.Second, 2 * time.Second, 3},
			{ctx, 10 * time.Second, 10 * time.Second, 1},
		} {
			if got := share(tc.ctx, tc.bound, tc.left); got != tc.want {
				t.Errorf("%v for %d: %v", tc.bound, tc.left, got)
			}
		}
	})
}
