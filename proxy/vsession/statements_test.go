package vsession

import (
	"slices"
	"testing"
)

// TestStatementsLRU: what was used last stays longest.
func TestStatementsLRU(t *testing.T) {
	var st Statements
	for id := uint64(1); id <= 4; id++ {
		st.Add(id)
	}
	if !st.Has(1) || st.Has(9) {
		t.Fatal("1 is there and 9 is not")
	}
	var closed []uint64
	for {
		id, over := st.Oldest(2)
		if !over {
			break
		}
		st.Drop(id)
		closed = append(closed, id)
	}
	if want := []uint64{2, 3}; !slices.Equal(closed, want) {
		t.Errorf("closed %v, want %v", closed, want)
	}
	st.Doubt(func(uint64) bool { return true })
	if st.Has(1) || !st.MayHave(1) {
		t.Error("what is doubtful is not there, but may be")
	}
	st.Add(1)
	if !st.Has(1) {
		t.Error("it was prepared again")
	}
	if st.SetForm(1, 7); st.Form(1) != 7 || st.Form(2) != 0 {
		t.Error("what the rows look like is known of what is there")
	}
	if st.Doubt(func(uint64) bool { return true }); st.Form(1) != 0 {
		t.Error("the rows of what is doubtful are known")
	}
	if st.Add(1); st.Form(1) != 0 {
		t.Error("prepared again, its rows may be others")
	}
	st.DropAll()
	if _, over := st.Oldest(0); over || st.MayHave(1) || st.MayHave(4) {
		t.Error("nothing is left")
	}
}

// TestStatementsNames: a name belongs to one statement of one session.
func TestStatementsNames(t *testing.T) {
	var st Statements
	st.SetName("b", Named{Owner: 1, Version: 2})
	st.SetName("a", Named{Owner: 2, Version: 1})
	if n, ok := st.Name("b"); !ok || n != (Named{Owner: 1, Version: 2}) {
		t.Errorf("got %v %v", n, ok)
	}
	foreign := st.Names(func(_ string, n Named) bool { return n.Owner != 1 })
	if !slices.Equal(foreign, []string{"a"}) {
		t.Errorf("foreign names %v", foreign)
	}
	st.Unname("b")
	if _, ok := st.Name("b"); ok {
		t.Error("b stands for nothing any more")
	}
}

// TestMeaning: statements of sessions that find tables alike mean the same.
func TestMeaning(t *testing.T) {
	var plain, other, open Journal
	var m Mark
	other.Ran(&m, Statement{Text: "SET search_path = a", Effect: Setting, Name: "search_path"})
	other.Ran(&m, Statement{Text: "SET work_mem = '9MB'", Effect: Setting, Name: "work_mem"})
	open.Begin(Begin{Text: "BEGIN"})
	open.Ran(&m, Statement{Text: "SET LOCAL Search_Path = a", Effect: Local})
	for _, c := range []struct {
		j       *Journal
		meaning string
		private bool
	}{{&plain, "", false}, {&other, "SET search_path = a\x00", false}, {&open, "", true}} {
		if got, private := c.j.Meaning(); got != c.meaning || private != c.private {
			t.Errorf("got %q %v, want %q %v", got, private, c.meaning, c.private)
		}
	}
}
