package vsession

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// play runs statements on server 0 and reports where a server, brought up, differs from it. Bit i of uses[n] says that server i
// is used after statement n.
func play(t testing.TB, statements []Statement, uses []int) *world {
	t.Helper()
	w := newWorld(3)
	for n, s := range statements {
		w.client(s)
		for i := 1; i < len(w.servers); i++ {
			if uses[n]&(1<<i) == 0 {
				continue
			}
			w.use(0)
			w.note("server %d is used", i)
			w.use(i)
			if got, want := w.servers[i].state(), w.servers[0].state(); got != want {
				t.Fatalf("%s\nserver %d: %s\nserver 0: %s", strings.Join(w.log, "\n"), i, got, want)
			}
		}
	}
	return w
}

// TestLazyServersFollow: a server that is brought up late is in the state of one that saw everything.
func TestLazyServersFollow(t *testing.T) {
	t.Parallel()
	kinds := []int{0, 2, 3, 4, 4, 4, 7, 8, 9, 10, 10, 10, 12, 12, 12, 12, 13, 14, 15} // savepoints in plenty
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 1))
		n := 3 + r.IntN(30)
		statements, uses := make([]Statement, n), make([]int, n)
		for i := range n {
			statements[i] = statement(kinds[r.IntN(len(kinds))], r.IntN(12), r.IntN(15))
			if r.IntN(4) == 0 || i == n-1 {
				uses[i] = r.IntN(8)
			}
		}
		uses[n-1] = 7
		play(t, statements, uses)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func FuzzLazyServersFollow(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 10, 0, 0, 0, 4, 1, 1, 0, 10, 0, 0, 0, 4, 1, 2, 0, 12, 0, 0, 0, 4, 2, 3, 0, 12, 0, 1, 0, 2, 0, 0, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		var statements []Statement
		var uses []int
		for c := range slices.Chunk(b[:min(len(b)/4*4, 400)], 4) {
			statements = append(statements, statement(int(c[0]), int(c[1]), int(c[2])))
			uses = append(uses, int(c[3]))
		}
		play(t, statements, uses)
	})
}

func set(name, value string) Statement {
	return Statement{Text: "SET " + name + " " + value, Effect: Setting, Name: name}
}

func setLocal(name, value string) Statement {
	return Statement{Text: "SET LOCAL " + name + " " + value, Effect: Local}
}

func savepoint(name string) Statement {
	return Statement{Text: "SAVEPOINT " + name, Effect: Savepoint, Name: name}
}

func release(name string) Statement {
	return Statement{Text: "RELEASE " + name, Effect: Release, Name: name}
}

func rollbackTo(name string) Statement {
	return Statement{Text: "ROLLBACK TO " + name, Effect: RollbackTo, Name: name}
}

// TestWhatAServerLacks shows what a second server is sent, in front of its first statement.
func TestWhatAServerLacks(t *testing.T) {
	t.Parallel()
	begin, commit, rollback := Statement{Text: "BEGIN"}, Statement{Text: "COMMIT"}, Statement{Text: "ROLLBACK"}
	resetAll := Statement{Text: "RESET ALL", Effect: ResetAll}
	discardAll := Statement{Text: "DISCARD ALL", Effect: DiscardAll}
	cases := []struct {
		name string
		run  []Statement
		want []string
	}{
		{"nothing", nil, nil},
		{"a setting", []Statement{set("a", "1")}, []string{"SET a 1"}},
		{"the last of two", []Statement{set("a", "1"), set("a", "2")}, []string{"SET a 2"}},
		{"in order", []Statement{set("a", "1"), set("b", "2"), set("a", "3")}, []string{"SET b 2", "SET a 3"}},
		{"nothing before RESET ALL", []Statement{set("a", "1"), resetAll, set("b", "2")}, []string{"RESET ALL", "SET b 2"}},
		{"nothing before DISCARD ALL", []Statement{set("a", "1"), discardAll}, []string{"DISCARD ALL"}},
		{"committed", []Statement{begin, set("a", "1"), setLocal("b", "2"), commit}, []string{"SET a 1"}},
		{"rolled back", []Statement{set("a", "0"), begin, set("a", "1"), rollback}, []string{"SET a 0"}},
		{"an empty transaction", []Statement{begin, commit}, nil},
		{"BEGIN alone", []Statement{begin}, []string{"BEGIN"}},
		{
			"an open transaction",
			[]Statement{set("a", "0"), begin, set("a", "1"), setLocal("b", "2"), savepoint("s")},
			[]string{"SET a 0", "BEGIN", "SET a 1", "SET LOCAL b 2", "SAVEPOINT s"},
		},
		{"rolled back to a savepoint", []Statement{begin, set("a", "1"), savepoint("s"), set("a", "2"), set("b", "2"), rollbackTo("s"), commit}, []string{"SET a 1"}},
		{"a savepoint released", []Statement{begin, savepoint("s"), set("a", "2"), release("s"), commit}, []string{"SET a 2"}},
		{"released, then back to an outer one", []Statement{begin, savepoint("o"), savepoint("s"), set("a", "2"), release("s"), rollbackTo("o"), commit}, nil},
		{"one name twice, the inner one released", []Statement{
			begin, savepoint("s"), set("a", "1"), savepoint("s"), set("b", "1"), release("s"), rollbackTo("s"), commit,
		}, nil},
		{"one name twice, back to the inner one", []Statement{
			begin, savepoint("s"), set("a", "1"), savepoint("s"), set("b", "1"), rollbackTo("s"), commit,
		}, []string{"SET a 1"}},
		{"RESET ALL rolled back", []Statement{set("a", "1"), begin, resetAll, rollback}, []string{"SET a 1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(2)
			for _, s := range c.run {
				w.client(s)
			}
			var got []string
			if w.journal.Behind(w.marks[1]) {
				for _, s := range w.journal.Lacks(w.marks[1], false, nil) {
					got = append(got, s.Text)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("sent %q instead of %q", got, c.want)
			}
			if w.journal.Behind(w.marks[1]) {
				t.Error("behind although it was sent everything")
			}
		})
	}
}

// TestBeginOfOthers: a standby can be neither read-write nor serializable.
func TestBeginOfOthers(t *testing.T) {
	t.Parallel()
	var j Journal
	j.Begin(Begin{Text: "BEGIN READ WRITE", Other: "BEGIN"})
	var writer, other Mark
	if got := j.Lacks(&writer, true, nil); len(got) != 1 || got[0].Text != "BEGIN READ WRITE" {
		t.Errorf("the writer gets %v", got)
	}
	if got := j.Lacks(&other, false, nil); len(got) != 1 || got[0].Text != "BEGIN" {
		t.Errorf("another gets %v", got)
	}
	if !writer.Joined() || !other.Joined() || j.Behind(&writer) {
		t.Error("they have not joined")
	}
	j.Commit([]*Mark{&writer, &other})
	if writer.Joined() || other.Joined() || j.InTx() {
		t.Error("they are still in the transaction")
	}
}

// TestSpoiled: a server that holds settings which were rolled back to a savepoint elsewhere cannot be used again.
func TestSpoiled(t *testing.T) {
	t.Parallel()
	w := newWorld(2)
	for _, s := range []Statement{{Text: "BEGIN"}, savepoint("s"), set("a", "1")} {
		w.client(s)
	}
	w.use(1)
	w.client(rollbackTo("s"))
	w.client(Statement{Text: "COMMIT"})
	if !w.marks[1].Spoiled() || w.marks[0].Spoiled() {
		t.Errorf("spoiled: server 0 %v, server 1 %v", w.marks[0].Spoiled(), w.marks[1].Spoiled())
	}
}

// TestBounds: what is recorded is bounded; beyond, no other server can follow.
func TestBounds(t *testing.T) {
	t.Parallel()
	var j Journal
	var m Mark
	for i := range maxSettings + 1 {
		if j.Full() {
			t.Fatalf("full after %d settings", i)
		}
		j.Ran(&m, set("p"+string(rune('a'+i%26))+strings.Repeat("x", i/26), "1"))
	}
	if !j.Full() {
		t.Error("not full")
	}
	j.Ran(&m, Statement{Text: "RESET ALL", Effect: ResetAll})
	if j.Full() {
		t.Error("full after RESET ALL")
	}
	j.Begin(Begin{Text: "BEGIN", Other: "BEGIN"})
	for range maxTx + 1 {
		j.Ran(&m, setLocal("a", "1"))
	}
	if !j.Full() {
		t.Error("not full within a transaction")
	}
	if n := len(j.tx); n > maxTx+1 {
		t.Errorf("%d statements are kept", n)
	}
	j.Rollback([]*Mark{&m})
	if j.Full() {
		t.Error("full after the transaction")
	}
}
