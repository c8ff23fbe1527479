package health

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// start lets the check work until the test ends.
func (w *world) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.check.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	synctest.Wait()
}

// verdicts are the findings so far about a node: W well, S spared, C condemned, R returned; a small t follows a time-out.
func (w *world) verdicts(id cluster.NodeID) string {
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	text := ""
	for _, f := range w.findings {
		if f.Node == id {
			text += string(" WSCR"[f.Verdict])
			if f.TimedOut {
				text += "t"
			}
		}
	}
	return text
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func TestConfirm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf.NodeHealthCheck{User: "u"})
		w.start(t)
		want := func(when, verdicts string) {
			t.Helper()
			if got := w.verdicts(1); got != verdicts {
				t.Errorf("%s: %q, want %q", when, got, verdicts)
			}
		}
		want("the check is off", "")
		w.check.Confirm(1)
		want("confirmed well", "W")
		w.fails[1] = -1
		w.check.Confirm(1)
		want("confirmed lost", "WC")
		if w.verdicts(0) != "" || w.verdicts(2) != "" {
			t.Error("another node was checked")
		}
		if s := w.stats(1); s != (cluster.HealthStats{}) {
			t.Errorf("statistics of a check that is off: %+v", s)
		}

		// Several wishes before and during a check are one each.
		w.set(func() { delete(w.fails, 1); w.silent[1] = true })
		for range 5 {
			w.check.Confirm(1)
		}
		synctest.Wait()
		for range 5 {
			w.check.Confirm(1)
		}
		sleep(t.Context(), 2*confirmBound)
		want("a silent node", "WCCt")
		w.set(func() { w.silent[1] = false })
		sleep(t.Context(), 2*confirmBound)
		want("the wish of meanwhile", "WCCtW")

		for _, id := range []cluster.NodeID{-1, 3, cluster.MaxNodes, 1 << 20} {
			w.check.Confirm(id)
		}
		v := three(cluster.ModeStreaming)
		v.Nodes[1].Status = cluster.StatusDown
		w.store.Publish(v)
		w.check.Confirm(1)
		want("a node that is down", "WCCtW")
	})
}

// TestConfirmObeys checks that a confirmation makes the retries of the configuration, and that the period goes on after it.
func TestConfirmObeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf.NodeHealthCheck{Period: 10 * time.Second, MaxRetries: 2, RetryDelay: time.Second})
		w.start(t)
		sleep(t.Context(), 5*time.Second)
		w.set(func() { w.fails[0] = -1 })
		w.check.Confirm(0)
		sleep(t.Context(), 1900*time.Millisecond)
		if got := w.verdicts(0); got != "W" {
			t.Errorf("before the retries were over: %s", got)
		}
		sleep(t.Context(), 200*time.Millisecond)
		if got := w.verdicts(0); got != "WC" {
			t.Errorf("after the retries: %s", got)
		}
		w.set(func() { w.fails[0] = 0 })
		sleep(t.Context(), 10*time.Second)
		if got, s := w.verdicts(0), w.stats(0); got != "WCW" || s.Total != 3 || s.Retry != 2 {
			t.Errorf("afterwards: %s, %+v", got, s)
		}
	})
}

// TestConfirmBounded confirms a node whose check has no time-out: the confirmation has one.
func TestConfirmBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf.NodeHealthCheck{Period: time.Hour})
		w.start(t)
		w.set(func() { w.silent[0] = true })
		w.check.Confirm(0)
		sleep(t.Context(), 2*confirmBound+time.Second)
		if got := w.verdicts(0); got != "WCt" {
			t.Errorf("findings %s", got)
		}
	})
}

// TestConfirmNobody has no health_check_user: any answer means that the server is alive, when somebody wants to know.
func TestConfirmNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf.NodeHealthCheck{})
		w.set(func() { w.fails[0], w.err = -1, &Error{Trouble: Rejected, Err: says("28000")} })
		w.start(t)
		w.check.Confirm(0)
		if got := w.verdicts(0); got != "W" {
			t.Errorf("rejected: %s", got)
		}
		w.set(func() { w.err = &Error{Trouble: Broken, Err: says("57P03")} })
		w.check.Confirm(0)
		if got := w.verdicts(0); got != "WC" {
			t.Errorf("shutting down: %s", got)
		}
	})
}

func TestHealthCheckDoubts(t *testing.T) {
	for _, tc := range []struct {
		name    string
		c       conf.NodeHealthCheck
		trouble Trouble
		fails   int // attempts that fail, -1 = all
		want    string
		retries uint64
	}{
		{"refused", conf.NodeHealthCheck{}, Refused, -1, "C", 0},
		{"one slow answer", conf.NodeHealthCheck{}, Silent, 1, "W", 1},
		{"two slow answers", conf.NodeHealthCheck{}, Silent, -1, "Ct", 1},
		{"slow with retries", conf.NodeHealthCheck{MaxRetries: 1}, Silent, -1, "Ct", 1},
		{"slow with more retries", conf.NodeHealthCheck{MaxRetries: 3}, Silent, 3, "W", 3},
		{"the way lost for a moment", conf.NodeHealthCheck{RetryDelay: time.Second}, Unreachable, 1, "W", 1},
		{"the way lost", conf.NodeHealthCheck{RetryDelay: time.Second}, Unreachable, -1, "C", 1},
		{"rejected", conf.NodeHealthCheck{}, Rejected, -1, "S", 0},
		{"not asked", conf.NodeHealthCheck{MaxRetries: 1}, NotAsked, -1, "S", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tc.c.Period = time.Hour
				w := newWorld(t, tc.c)
				w.fails[2], w.err = tc.fails, &Error{Node: 2, Trouble: tc.trouble, Err: errSilent}
				w.run(t, time.Minute)
				if got, s := w.verdicts(2), w.stats(2); got != tc.want || s.Retry != tc.retries {
					t.Errorf("%s with %d retries, want %s with %d", got, s.Retry, tc.want, tc.retries)
				}
				spared := strings.Contains(w.lines.String(), "HINT:")
				if spared != (tc.want == "S") {
					t.Errorf("log:\n%s", w.lines)
				}
			})
		})
	}
}

// TestHealthCheckOutdated condemns the node by other means while the check retries: it stops, and condemns nobody.
func TestHealthCheckOutdated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf.NodeHealthCheck{Period: time.Hour, MaxRetries: 1000, RetryDelay: time.Second})
		w.fails[1] = -1
		w.start(t)
		sleep(t.Context(), 2500*time.Millisecond)
		old := w.store.Current()
		v := three(cluster.ModeStreaming)
		v.Nodes[1].Epoch, v.Nodes[1].Status = 7, cluster.StatusDown
		w.store.Publish(v)
		sleep(t.Context(), time.Second)
		w.verdicts(1)
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, f := range w.findings {
			if f.Node == 1 && f.Seen == old && f.Retries == 3 && f.Verdict == Spared {
				return
			}
		}
		t.Errorf("findings %+v", w.findings)
	})
}

// TestHealthCheckAlone has a node that is silent for ever: the others are checked all the same.
func TestHealthCheckAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf.NodeHealthCheck{Period: time.Second}) // and no time-out
		w.silent[1] = true
		w.run(t, 10*time.Second-time.Millisecond)
		if a, b, c := w.stats(0).Total, w.stats(1).Total, w.stats(2).Total; a != 10 || b != 0 || c != 10 {
			t.Errorf("%d, %d, %d checks", a, b, c)
		}
	})
}
