package stmt

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

// TestSharing: texts that differ only in literals, blanks, comments and case share facts; others do not.
func TestSharing(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"select a from t where b = 1", "select a from t where b = 22.5e3", true},
		{"select a from t where b = 'x'", "SELECT  a\nFROM t -- c\nWHERE b = 'it''s'", true},
		{"select a from t where b = 'x'", "select a from t where b = E'\\'' ;", true},
		{"select a from t where b = 'x'", "select a from t where b = $$x'y$$", true},
		{"select a /* x */ from t", "select a/* y /* z */ */from t", true},
		{"insert into t values (1, 'a')", "insert into t values (2, 'b')", true},
		{"execute p (1)", "execute p (2)", true},
		{"explain select 1", "explain select 2", true},
		{"do $$ a $$", "do $$ b $$", true},
		{"begin", "BEGIN;", true},
		{"select a from t where b in (1, 2)", "select a from t where b in (1,2, 3,4 , 5)", true},
		{"insert into t values (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')", "insert into t values (1,'a'),(2,'b'),(3,'c'),(4,'d'),(5,'e'),(6,'f')", true},
		{"select f(a,a,a)", "select f(a,a,a,a)", true},
		{"select a from t where b in (1)", "select a from t where b in (1, 2)", false},
		{"insert into t values (1), (2)", "insert into t values (1), (a)", false},
		{"select a from t where b in ($1, $2, $3)", "select a from t where b in ($1, $2, $3, $4)", false},
		{"set a = 1, 1, 1", "set a = 1, 1, 1, 1", false},
		{"select a from t", "select b from t", false},
		{"select a from t", `select a from "T"`, false},
		{"select a from t where b = 1", "select a from t where b = '1'", false},
		{"select a from t where b = $1", "select a from t where b = $2", false},
		{"select 1", " select 1", false},
		{"select 1", "/* c */ select 1", false},
		{"/* c */ select 1", "/*NO LOAD BALANCE*/ select 1", false},
		{"values (1)", "select 1", false},
		{"set a = 1", "set a = 2", false},
		{"set a = '1'", "set a = '2'", false},
		{"select set_config('a', 'b', false)", "select set_config('a', 'c', false)", false},
		{`select "set_config"('a', 'b', false)`, `select "set_config"('a', 'c', false)`, false},
		{"select pg_terminate_backend(1)", "select pg_terminate_backend(2)", false},
		{"create database a template 'b'", "create database a template 'c'", false},
		{"explain (analyze 0) select 1", "explain (analyze 1) select 1", false},
		{`select 'a\'`, `select 'a'`, false},
		{"copy t to '/a'", "copy t to stdout", false},
		{"prepare a as select 1", "prepare b as select 1", false},
	} {
		an := NewAnalyzer(NewCache(Limits{}))
		if got := an.Analyze([]byte(tt.a)) == an.Analyze([]byte(tt.b)); got != tt.want {
			t.Errorf("%q and %q: shared %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}

// TestLookup: Lookup alone never parses, Parse fills the cache, and the buffer of a text may be reused after.
func TestLookup(t *testing.T) {
	cache := NewCache(Limits{})
	a, b := NewAnalyzer(cache), NewAnalyzer(cache)
	text := []byte("select a from t where b = 1")
	if f, ok := a.Lookup(text); ok {
		t.Fatal("known before it was parsed:", f)
	}
	want := a.Parse(text)
	copy(text, "update")
	for range 3 {
		for _, an := range []*Analyzer{a, b} {
			if f, ok := an.Lookup([]byte("select a from t where b = 2")); !ok || f != want || f.Relations[0].Name != "t" {
				t.Fatal("not found or changed:", f, ok)
			}
		}
	}
	for _, text := range []string{"", ";", "-- c", "select 'x", "pgpool show port", "pgpool nonsense", "select 1\x00", strings.Repeat("(", maxText+1)} {
		if f, ok := a.Lookup([]byte(text)); !ok || f == nil {
			t.Errorf("%.20q needs a parse", text)
		}
	}
}

// TestRecent: texts without literals are found again by the text itself, and only those.
func TestRecent(t *testing.T) {
	a := NewAnalyzer(NewCache(Limits{}))
	for _, text := range []string{"BEGIN", "select a from t where b = $1"} {
		a.Analyze([]byte(text))
		want := a.Analyze([]byte(text))
		if got := a.recent.find([]byte(text)); got != want || got == nil {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{"select 1", "select 'a'", "set a = 1", ""} {
		a.Analyze([]byte(text))
		a.Analyze([]byte(text))
		if got := a.recent.find([]byte(text)); got != nil {
			t.Errorf("%q was kept", text)
		}
	}
}

// TestRecentPatience: a slot changes hands only after many misses.
func TestRecentPatience(t *testing.T) {
	var r recent
	first, second := &Facts{}, &Facts{}
	r.add([]byte("BEGIN"), first)
	other := collision(t, "BEGIN")
	for range recentPatience - 2 {
		r.add(other, second)
	}
	if r.find([]byte("BEGIN")) != first || r.find(other) != nil {
		t.Error("pushed out too early")
	}
	r.add(other, second)
	r.add(other, second)
	if r.find(other) != second || r.find([]byte("BEGIN")) != nil {
		t.Error("never pushed out")
	}
}

// collision answers another text for the slot of text.
func collision(t *testing.T, text string) []byte {
	t.Helper()
	for i := range 100000 {
		if other := fmt.Appendf(nil, "select a%d", i); recentIndex(other) == recentIndex([]byte(text)) {
			return other
		}
	}
	t.Fatal("no collision")
	return nil
}

// TestNoAllocation is the promise of the warm path.
func TestNoAllocation(t *testing.T) {
	a := NewAnalyzer(NewCache(Limits{}))
	for _, bt := range benchTexts {
		text := []byte(bt.text)
		a.Analyze(text)
		a.Analyze(text)
		if n := testing.AllocsPerRun(1000, func() { a.Analyze(text) }); n != 0 {
			t.Errorf("%s: %v allocations", bt.name, n)
		}
	}
}

// TestConcurrentUse shares a small cache among loops and goroutines that parse for them.
func TestConcurrentUse(t *testing.T) {
	cache := NewCache(Limits{Entries: 32, Bytes: 40 << 10})
	var all sync.WaitGroup
	for loop := range 4 {
		all.Go(func() {
			a := NewAnalyzer(cache)
			for i := range 400 {
				table := fmt.Sprintf("t%d", (i*7+loop)%60)
				text := []byte("select a from " + table + " where b = 1")
				if i%5 == 0 {
					text = []byte("set x = '" + table + "'")
				}
				f, ok := a.Lookup(text)
				if !ok {
					done := make(chan *Facts)
					go func() { done <- a.Parse(text) }()
					a.Lookup([]byte("select 1"))
					f = <-done
				}
				if f.Kind == KindSet && f.Setting.Value != table || f.Kind == KindSelect && f.Relations[0].Name != table {
					t.Errorf("%s: %s", text, describe(f))
					return
				}
			}
		})
	}
	all.Wait()
	if s := cache.Stats(); s.Entries > 64 || s.Bytes > 80<<10 || s.Entries == 0 {
		t.Errorf("cache holds %+v", s)
	}
}
