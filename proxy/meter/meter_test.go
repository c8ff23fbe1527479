package meter

import (
	"reflect"
	"testing"
	"time"

	"gopgpool/cluster"
)

func TestHistogram(t *testing.T) {
	t.Parallel()
	bounds := Bounds()
	for _, c := range []struct {
		d      time.Duration
		bucket int
	}{
		{-time.Second, 0},
		{0, 0},
		{bounds[0], 0},
		{bounds[0] + 1, 1},
		{time.Second, 11},
		{bounds[len(bounds)-1], len(bounds) - 1},
		{time.Hour, len(bounds)},
	} {
		var h Histogram
		h.Observe(c.d)
		if h.Counts[c.bucket] != 1 || h.Count() != 1 || h.Sum != max(c.d, 0) {
			t.Errorf("%v: %+v", c.d, h)
		}
	}
	for i := 1; i < len(bounds); i++ {
		if bounds[i] <= bounds[i-1] {
			t.Errorf("bounds %v and %v", bounds[i-1], bounds[i])
		}
	}
}

// count counts one of everything.
func count(l *Loop, node cluster.NodeID) {
	l.Answered(node, Write, time.Millisecond)
	l.Routed(node, 3)
	l.Routed(node, 255) // no code
	l.ServerError(node, "23505")
	l.ServerError(node, "??\x00")
	l.Error("08006")
	l.Pinned(1<<2 | 1<<40>>9)
	l.Logins[LoginFailed]++
	l.Holds.Began++
	l.Holds.Refused++
	l.Holds.Expired++
	l.Holds.Waited.Observe(time.Second)
	l.Reruns++
	l.Ends[Unknown]++
}

func TestAddingUp(t *testing.T) {
	t.Parallel()
	var one, two, all, want Loop
	count(&one, 0)
	count(&two, 0)
	count(&two, 127)
	for _, n := range []cluster.NodeID{0, 0, 127} {
		count(&want, n)
	}
	all.Add(one.Clone())
	all.Add(two.Clone())
	if !reflect.DeepEqual(all, want) {
		t.Errorf("got %+v, want %+v", all, want)
	}
	if n := all.Nodes[0]; n.Routes[3] != 2 || n.Routes[0] != 2 || n.Errors["23"] != 2 || n.Errors["other"] != 2 || all.Pins[2] != 3 || all.Errors["08"] != 3 {
		t.Errorf("got %+v", n)
	}
	copied := one.Clone()
	count(&one, 0)
	count(&one, 5)
	if copied.Nodes[5] != nil || copied.Nodes[0].Errors["23"] != 1 || copied.Errors["08"] != 1 {
		t.Error("a copy changes with the original")
	}
}

// What was counted once is counted again without allocating.
func TestCountingAllocatesNothing(t *testing.T) {
	var l Loop
	count(&l, 1)
	if n := testing.AllocsPerRun(100, func() { count(&l, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNamesOfEnums(t *testing.T) {
	t.Parallel()
	for c := range Classes {
		if c.String() == "" {
			t.Error("a class without a name")
		}
	}
	for o := range Outcomes {
		if o.String() == "" {
			t.Error("an outcome without a name")
		}
	}
	for l := range Logins {
		if l.String() == "" {
			t.Error("an end of a login without a name")
		}
	}
}

func BenchmarkCounting(b *testing.B) {
	var l Loop
	b.ReportAllocs()
	for b.Loop() {
		l.Routed(1, 3)
		l.Answered(1, Read, 700*time.Microsecond)
	}
}
