package proxy

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestTokens: a burst of what is saved, then one after the other, and never more than the rate says.
func TestTokens(t *testing.T) {
	began := time.Unix(1000, 0)
	for _, c := range []struct {
		name  string
		rate  int
		at    []time.Duration // of the takings
		wants []time.Duration
	}{
		{"no bound", 0, []time.Duration{0, 0, 0}, []time.Duration{0, 0, 0}},
		{"ten a second save one", 10, []time.Duration{0, 0, 0}, []time.Duration{0, 100e6, 200e6}},
		{"one a second", 1, []time.Duration{0, 0, 0}, []time.Duration{0, 1e9, 2e9}},
		{"forty save four", 40, []time.Duration{0, 0, 0, 0, 0, 0}, []time.Duration{0, 0, 0, 0, 25e6, 50e6}},
		{"a pause fills it", 40, []time.Duration{0, 0, 0, 0, 0, 1e9, 1e9, 1e9, 1e9, 1e9}, []time.Duration{0, 0, 0, 0, 25e6, 1e9, 1e9, 1e9, 1e9, 1025e6}},
		{"a short pause fills it a little", 40, []time.Duration{0, 0, 0, 0, 50e6, 50e6, 50e6}, []time.Duration{0, 0, 0, 0, 50e6, 50e6, 75e6}},
	} {
		var b tokens
		for i, at := range c.at {
			if got := b.take(began.Add(at), c.rate).Sub(began); got != c.wants[i] {
				t.Errorf("%s: token %d at %v, want %v", c.name, i, got, c.wants[i])
			}
		}
	}
}

// TestTokensRate: in no stretch of time are there more than the rate and one burst.
func TestTokensRate(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	for _, rate := range []int{3, 100, 5000} {
		var b tokens
		var due []time.Time
		now := time.Unix(1000, 0)
		for range 2000 {
			if dice.IntN(5) == 0 {
				now = now.Add(time.Duration(dice.Int64N(int64(2 * time.Second / time.Duration(rate)))))
			}
			due = append(due, b.take(now, rate))
		}
		if !slices.IsSortedFunc(due, time.Time.Compare) {
			t.Errorf("%d a second: not in order", rate)
		}
		saved := max(rate/10, 1)
		for i := range due {
			for _, j := range []int{i + 1, i + rate/2, i + 7*rate} {
				if j >= len(due) {
					break
				}
				allowed := saved + 1 + int(due[j].Sub(due[i]).Seconds()*float64(rate)+1e-6)
				if n := j - i + 1; n > allowed {
					t.Fatalf("%d a second: %d within %v", rate, n, due[j].Sub(due[i]))
				}
			}
		}
	}
}

// TestTurnstile: who came first goes first, whoever asks first, and leaving gives back what was taken.
func TestTurnstile(t *testing.T) {
	now := time.Unix(1000, 0)
	var ts turnstile
	var all []*ticket
	for i := range 6 {
		x, full := ts.enter(int64(i), 6, 100)
		if full != roomLeft {
			t.Fatal(full)
		}
		all = append(all, x)
	}
	if _, full := ts.enter(1, 6, 0); full != fullOfSessions {
		t.Errorf("a seventh: %v", full)
	}
	if _, full := ts.enter(86, 0, 100); full != fullOfBytes {
		t.Errorf("too many bytes: %v", full)
	}
	if x, full := ts.enter(85, 0, 100); full != roomLeft {
		t.Errorf("just as many bytes: %v", full)
	} else {
		ts.leave(x)
	}
	ts.leave(all[2])
	for _, i := range []int{4, 0, 5, 3, 1} {
		want := time.Duration([]int{0, 1, 0, 2, 3, 4}[i]) * time.Second
		if got := ts.turn(all[i], now, 1).Sub(now); got != want {
			t.Errorf("number %d goes after %v, want %v", i, got, want)
		}
	}
	ts.leave(all[0])
	ts.again(all[5]) // the primary is gone again
	ts.again(all[1])
	ts.again(all[3])
	late, _ := ts.enter(0, 0, 0)
	ts.again(all[4])
	var order []uint64
	for e := ts.held.Front(); e != nil; e = e.Next() {
		order = append(order, e.Value.(*ticket).number)
	}
	if !slices.Equal(order, []uint64{all[1].number, all[3].number, all[4].number, all[5].number, late.number}) {
		t.Errorf("the order is %v", order)
	}
	for _, x := range []*ticket{all[1], all[3], all[4], all[5], late} {
		ts.leave(x)
	}
	if ts.sessions() != 0 || ts.bytes != 0 {
		t.Errorf("%d sessions and %d bytes are left", ts.sessions(), ts.bytes)
	}
}
