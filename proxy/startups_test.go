package proxy

import (
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestStartups enters and leaves by a script: "+a" enters, "-a" ends one of a's, "+a!" is refused with a line in the log, "+a." without.
func TestStartups(t *testing.T) {
	addrs := map[string]string{
		"a": "192.0.2.1", "A": "::ffff:192.0.2.1", "b": "192.0.2.2",
		"c": "2001:db8::1", "C": "2001:db8::ffff:0:0:1", "d": "2001:db8:0:1::1", "e": "fe80::1%eth0", "E": "fe80::1%eth1",
	}
	cases := map[string]struct {
		most   int
		script string // "s" lets a second pass
	}{
		"no bound":                       {0, "+a +a +a -a +a"},
		"a bound":                        {2, "+a +a +a! -a +a"},
		"of each address":                {1, "+a +a! +b +b!"},
		"IPv4 in IPv6":                   {1, "+a +A! -a +A +a."},
		"64 bits of IPv6":                {1, "+c +C! +d"},
		"whatever the link":              {1, "+e +E!"},
		"one line a second":              {1, "+a +a! +a. s +a! +a."},
		"though it was empty in between": {1, "+a +a! -a +a +a."},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			x, now := newStartups(), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			open := map[netip.Addr][]*startup{}
			for step := range strings.FieldsSeq(c.script) {
				if step == "s" {
					now = now.Add(time.Second)
					continue
				}
				addr := netip.MustParseAddr(addrs[step[1:2]])
				key := startupKey(addr)
				if step[0] == '-' {
					n := len(open[key]) - 1
					open[key][n].leave()
					open[key][n].leave()
					open[key] = open[key][:n]
					continue
				}
				s, err := x.enter(addr, c.most, now)
				if err == nil {
					open[key] = append(open[key], &s)
				}
				if got, want := outcome(err), step[2:]; got != want {
					t.Fatalf("%s: %q, %v", step, got, err)
				}
			}
			for _, list := range open {
				for _, s := range list {
					s.leave()
				}
			}
			if len(x.counts) != 0 {
				t.Errorf("left: %v", x.counts)
			}
		})
	}
}

func outcome(err error) string {
	var full *startupsFull
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &full):
		return "?"
	case full.tell:
		return "!"
	default:
		return "."
	}
}

func TestStartupsOfUnix(t *testing.T) {
	x := newStartups()
	for range 3 {
		if s, err := x.enter(netip.Addr{}, 1, time.Time{}); err != nil || s != (startup{}) {
			t.Fatalf("%v, %v", s, err)
		}
	}
}

// TestStartupsLog bounds the lines about many addresses at once.
func TestStartupsLog(t *testing.T) {
	x, now := newStartups(), time.Unix(1000, 0)
	lines := func(first int) (n int) {
		for i := range 5 * maxTold {
			addr := netip.AddrFrom4([4]byte{10, byte(first), byte(i >> 8), byte(i)})
			s, _ := x.enter(addr, 1, now)
			_, err := x.enter(addr, 1, now)
			if outcome(err) == "!" {
				n++
			}
			s.leave()
		}
		return n
	}
	if n := lines(1); n != maxTold {
		t.Errorf("%d lines", n)
	}
	if n := lines(2); n != 0 {
		t.Errorf("%d further lines in the same second", n)
	}
	now = now.Add(tellEvery)
	if n := lines(3); n != maxTold {
		t.Errorf("%d lines in the next second", n)
	}
	if len(x.told) > maxTold || len(x.counts) != 0 {
		t.Errorf("kept %d and %d addresses", len(x.told), len(x.counts))
	}
}

// TestStartupsOfManyLoops has several loops count at once.
func TestStartupsOfManyLoops(t *testing.T) {
	const most = 3
	x, addr := newStartups(), netip.MustParseAddr("192.0.2.1")
	var inside, worst int
	var mu sync.Mutex
	count := func(d int) {
		mu.Lock()
		defer mu.Unlock()
		inside += d
		worst = max(worst, inside)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				s, err := x.enter(addr, most, time.Unix(0, 0))
				if err != nil {
					continue
				}
				count(1)
				count(-1)
				s.leave()
			}
		})
	}
	all.Wait()
	if worst > most || len(x.counts) != 0 {
		t.Errorf("%d at once, left %v", worst, x.counts)
	}
}

func TestStartupsAllocateNothing(t *testing.T) {
	x, addr := newStartups(), netip.MustParseAddr("2001:db8::1")
	keep, _ := x.enter(addr, 0, time.Unix(0, 0))
	defer keep.leave()
	if n := testing.AllocsPerRun(100, func() {
		s, _ := x.enter(addr, 2, time.Unix(0, 0))
		s.leave()
	}); n != 0 {
		t.Errorf("entering allocates %v times", n)
	}
}

// TestStartupsError is what the client and the log are told.
func TestStartupsError(t *testing.T) {
	full := &startupsFull{addr: startupKey(netip.MustParseAddr("2001:db8::9")), most: 7}
	f := fieldsOf(full)
	if f.Severity != "FATAL" || f.Code != "53300" || strings.Contains(f.Message+f.Hint, "2001") {
		t.Errorf("the client is told %+v", f)
	}
	if e := full.event(); !strings.Contains(e.Message, "2001:db8::/64") || !strings.Contains(e.Detail, " 7;") {
		t.Errorf("the log is told %+v", e)
	}
}
