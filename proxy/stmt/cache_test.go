package stmt

import (
	"fmt"
	"strings"
	"testing"
)

func TestTableBounds(t *testing.T) {
	for _, tt := range []struct {
		name           string
		entries, bytes int
		keyLen         int
		maxEntries     int
	}{
		{"entries", 64, 1 << 20, 10, 64},
		{"bytes", 1024, 20 << 10, 500, 20},
		{"one set", 1, 1 << 20, 10, ways},
		{"too large a key", 64, 1 << 10, 2000, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab := newTable(tt.entries, tt.bytes)
			for i := range 2000 {
				f := &Facts{}
				key := fmt.Appendf(nil, "%d%s", i, strings.Repeat("x", tt.keyLen))
				if tab.add(key, f) != f {
					t.Fatal("another's facts")
				}
				if got := tab.find(key); got != f && tt.maxEntries > 0 {
					t.Fatalf("key %d is not found after it was added", i)
				}
				if s := tab.stats(); s.Entries > tt.maxEntries || s.Bytes > tt.bytes {
					t.Fatalf("holds %+v", s)
				}
			}
			checkSums(t, tab)
		})
	}
}

// checkSums compares what the table says it holds with what it holds.
func checkSums(t *testing.T, tab *table) {
	t.Helper()
	var sum CacheStats
	for i := range tab.sets {
		for j := range tab.sets[i].ents {
			if e := tab.sets[i].ents[j].Load(); e != nil {
				sum.Entries++
				sum.Bytes += e.size
			}
		}
	}
	if got := tab.stats(); got != sum {
		t.Errorf("says %+v, holds %+v", got, sum)
	}
}

// TestClock: what is used stays, what was used once goes.
func TestClock(t *testing.T) {
	tab := newTable(64, 1<<20)
	hot := []byte("hot")
	f := tab.add(hot, &Facts{})
	for i := range 5000 {
		if tab.find(hot) != f {
			t.Fatalf("a shape in use was dropped after %d others", i)
		}
		tab.add(fmt.Appendf(nil, "cold %d", i), &Facts{})
	}
}

func TestFirstComerWins(t *testing.T) {
	tab := newTable(8, 1<<20)
	first := &Facts{}
	tab.add([]byte("k"), first)
	if got := tab.add([]byte("k"), &Facts{}); got != first {
		t.Error("two facts for one shape")
	}
	if s := tab.stats(); s.Entries != 1 {
		t.Errorf("holds %+v", s)
	}
}

// TestLiteralsDoNotFlush: any number of SET with different values leaves the shapes alone.
func TestLiteralsDoNotFlush(t *testing.T) {
	a := NewAnalyzer(NewCache(Limits{Entries: 64}))
	a.Analyze([]byte("select a from t where b = 1"))
	for i := range 3000 {
		f := a.Analyze(fmt.Appendf(nil, "set x = %d", i))
		if want := fmt.Sprint(i); f.Setting.Value != want {
			t.Fatalf("value %q, want %q", f.Setting.Value, want)
		}
	}
	if s := a.cache.shapes.stats(); s.Entries != 1 {
		t.Errorf("shapes hold %+v", s)
	}
	if s := a.cache.literals.stats(); s.Entries == 0 || s.Entries > 64 {
		t.Errorf("literals hold %+v", s)
	}
	long := []byte("set x = '" + strings.Repeat("y", maxLiteralKey) + "'")
	a.Analyze(long)
	if _, ok := a.Lookup(long); ok {
		t.Error("a long literal was kept")
	}
}
