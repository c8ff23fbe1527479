package relcache

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"

	"gopgpool/proxy/stmt"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// reply answers an Ask as a server would where the named relations are unlogged and functions volatile.
func reply(t testing.TB, s *Session, a *Ask, now time.Time, bad ...string) Names {
	t.Helper()
	for i, q := range a.questions {
		isBad := false
		for _, b := range bad {
			isBad = isBad || q.name.Name == b
		}
		flag := map[bool]string{true: "t", false: "f"}
		row := [][]byte{
			[]byte(fmt.Sprint(i)), []byte("t"), []byte("f"), []byte(flag[isBad]), nil, nil, nil, []byte("f"),
		}
		if q.kind == function {
			row[2], row[3] = row[3], row[2]
		}
		if err := a.Row(row); err != nil {
			t.Fatal(err)
		}
	}
	names, err := s.Absorb(a, true, now)
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestAnswersExpire(t *testing.T) {
	for _, c := range []struct {
		expire, holds time.Duration
	}{{0, 5 * time.Minute}, {time.Minute, time.Minute}, {time.Second, time.Second}} {
		s := NewSession(New(Options{Expire: c.expire}).Database("d"))
		f := relationsOf("t")
		reply(t, &s, s.Ask(f, false, noon), noon)
		if _, ok := s.Look(f, false, noon.Add(c.holds-time.Nanosecond)); !ok {
			t.Errorf("relcache_expire %v: forgotten too early", c.expire)
		}
		if _, ok := s.Look(f, false, noon.Add(c.holds)); ok {
			t.Errorf("relcache_expire %v: still held after %v", c.expire, c.holds)
		}
	}
}

// That a name does not exist is believed for a short time only.
func TestMissesExpireEarly(t *testing.T) {
	s := NewSession(New(Options{}).Database("d"))
	f := relationsOf("t")
	a := s.Ask(f, false, noon)
	if err := a.Row([][]byte{[]byte("0"), nil, nil, nil, nil, nil, nil, []byte("f")}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Absorb(a, true, noon); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Look(f, false, noon.Add(missExpire-1)); !ok {
		t.Error("forgotten at once")
	}
	if _, ok := s.Look(f, false, noon.Add(missExpire)); ok {
		t.Error("held as long as a table that exists")
	}
}

// Answers to a question asked before Forget are used once and not kept.
func TestForgetWhileAsking(t *testing.T) {
	s := NewSession(New(Options{}).Database("d"))
	f := relationsOf("t")
	a := s.Ask(f, false, noon)
	s.Forget()
	if got := reply(t, &s, a, noon, "t"); got.Unlogged != 1 {
		t.Errorf("the answer was not used: %+v", got)
	}
	if got, ok := s.Look(f, false, noon); ok {
		t.Errorf("the answer was kept: %+v", got)
	}
}

func TestOnlyOpenNamesAreAsked(t *testing.T) {
	cache := New(Options{})
	s := NewSession(cache.Database("d"))
	reply(t, &s, s.Ask(relationsOf("a", "b"), false, noon), noon)
	f := &stmt.Facts{Relations: toNames([]string{"a", "c"}), Functions: toNames([]string{"f"})}
	a := s.Ask(f, false, noon)
	if len(a.questions) != 2 {
		t.Errorf("%d questions: %s", len(a.questions), a.SQL())
	}
	if got := reply(t, &s, a, noon, "c", "f"); got != (Names{Unlogged: 2, Volatile: 1}) {
		t.Errorf("%+v", got)
	}
	other := NewSession(cache.Database("other"))
	if _, ok := other.Look(f, false, noon); ok {
		t.Error("answers of another database")
	}
	cache.Forget("d")
	cache.Forget("no such database")
	if _, ok := s.Look(f, false, noon); ok {
		t.Error("not forgotten")
	}
}

func TestRowsThatMakeNoSense(t *testing.T) {
	row := func(columns ...string) (r [][]byte) {
		for _, c := range columns {
			r = append(r, []byte(c))
		}
		return r
	}
	for _, r := range [][][]byte{
		nil,
		row("0"),
		row("0", "t", "t", "t", "t", "t", "t"),
		row("2", "t", "t", "t", "t", "t", "t", "t"),
		row("-1", "t", "t", "t", "t", "t", "t", "t"),
		row("x", "t", "t", "t", "t", "t", "t", "t"),
		row("0", "true", "t", "t", "t", "t", "t", "t"),
	} {
		s := NewSession(New(Options{}).Database("d"))
		a := s.Ask(relationsOf("a", "b"), false, noon)
		if err := a.Row(r); err == nil {
			t.Errorf("%q was taken", r)
		}
		if names, err := s.Absorb(a, true, noon); err == nil || !names.Unknown {
			t.Errorf("%q: %+v, %v", r, names, err)
		}
	}
}

func TestTooManyNames(t *testing.T) {
	s := NewSession(New(Options{}).Database("d"))
	f := &stmt.Facts{}
	for i := range maxNames + 1 {
		f.Relations = append(f.Relations, stmt.Name{Name: fmt.Sprint("t", i)})
	}
	if got, ok := s.Look(f, true, noon); !ok || !got.Unknown {
		t.Errorf("%+v, %v", got, ok)
	}
}

// However many names and statements come by, a database's answers stay within bounds, and one statement is answered.
func TestSizeIsBounded(t *testing.T) {
	db := New(Options{Size: 100}).Database("d")
	s := NewSession(db)
	for i := range 3000 {
		f := relationsOf(fmt.Sprint("a", i), fmt.Sprint("b", i))
		bad := fmt.Sprint("b", i)
		if got := reply(t, &s, s.Ask(f, false, noon), noon, bad); got.Unlogged != 2 {
			t.Fatalf("statement %d: %+v", i, got)
		}
		s.Look(f, false, noon)
		if len(db.relations) > 102 || db.combined.Load() > minCombined {
			t.Fatalf("%d relations, %d statements", len(db.relations), db.combined.Load())
		}
	}
}

func TestLookAllocatesNothing(t *testing.T) {
	s := NewSession(New(Options{}).Database("d"))
	s.Touched()
	f := &stmt.Facts{Relations: toNames([]string{"a", "b"}), Functions: toNames([]string{"f"})}
	reply(t, &s, s.Ask(f, true, noon), noon)
	s.schema = schemaThere // so that the names are looked up too
	s.Look(f, true, noon)
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := s.Look(f, true, noon); !ok {
			t.Error("miss")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Sessions of many loops look, ask and forget at once; answers are never mixed up.
func TestManyLoops(t *testing.T) {
	cache := New(Options{Size: 64})
	var facts []*stmt.Facts
	for i := range 100 {
		facts = append(facts, relationsOf(fmt.Sprint("t", i), fmt.Sprint("t", i+1)))
	}
	var wg sync.WaitGroup
	for loop := range 4 {
		wg.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(loop), 1))
			s := NewSession(cache.Database("d"))
			for range 3000 {
				i := dice.IntN(len(facts))
				got, ok := s.Look(facts[i], false, noon)
				if !ok {
					got = reply(t, &s, s.Ask(facts[i], false, noon), noon, "t50")
				}
				want := map[int]uint16{50: 1, 49: 2}[i]
				if got.Unlogged != want && !got.Unknown {
					t.Errorf("statement %d: %+v", i, got)
				}
				if dice.IntN(200) == 0 {
					s.Forget()
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkLook(b *testing.B) {
	s := NewSession(New(Options{}).Database("d"))
	f := relationsOf("pgbench_accounts")
	reply(b, &s, s.Ask(f, true, noon), noon)
	b.ReportAllocs()
	for b.Loop() {
		s.Look(f, true, noon)
	}
}

// FuzzQuery: whatever the names, the query is one SELECT for PostgreSQL's own grammar, in which they are constants and
// nothing else has changed.
func FuzzQuery(f *testing.F) {
	for _, seed := range [][2]string{{"", "t"}, {"s", "t"}, {`o'`, `\`}, {`\'`, `'; DROP TABLE x; --`}, {"ö", "ß"}, {"$$", "/*"}} {
		f.Add(seed[0], seed[1], true)
		f.Add(seed[0], seed[1], false)
	}
	f.Fuzz(func(t *testing.T, schema, name string, isFunction bool) {
		n := stmt.Name{Schema: schema, Name: name}
		if !askable(n) || !utf8.ValidString(schema+name) {
			return
		}
		k := relation
		if isFunction {
			k = function
		}
		plain := stmt.Name{Name: "n"}
		if schema != "" {
			plain.Schema = "s"
		}
		got := fingerprint(t, build([]question{{kind: k, name: n}, {kind: k, name: n}}))
		if want := fingerprint(t, build([]question{{kind: k, name: plain}, {kind: k, name: plain}})); got != want {
			t.Errorf("%q makes another query: %s", n, build([]question{{kind: k, name: n}}))
		}
	})
}

func fingerprint(t *testing.T, sql string) string {
	t.Helper()
	p, err := pg.Fingerprint(sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return p
}
