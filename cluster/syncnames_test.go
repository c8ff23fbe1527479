package cluster

import (
	"slices"
	"strings"
	"testing"
)

func TestParseSyncNames(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, want string }{
		{"", ""},
		{"a", `FIRST 1 ("a")`},
		{" a ,\tB\n", `FIRST 1 ("a", "B")`},
		{"*", "FIRST 1 (*)"},
		{`"*"`, "FIRST 1 (*)"}, // the server stores both alike
		{"2 (a, b, c)", `FIRST 2 ("a", "b", "c")`},
		{"2(a,b)", `FIRST 2 ("a", "b")`},
		{"first 3 (s1, s2, s3, s4)", `FIRST 3 ("s1", "s2", "s3", "s4")`},
		{"aNy 2 (s1, s2, s3)", `ANY 2 ("s1", "s2", "s3")`},
		{"ANY 1 (*)", "ANY 1 (*)"},
		{"FIRST 2 (a, *)", `FIRST 2 ("a", *)`},
		{`"my ""one""", two`, `FIRST 1 ("my ""one""", "two")`},
		{`"any", "first"`, `FIRST 1 ("any", "first")`},
		{`""`, `FIRST 1 ("")`},
		{"1, 2", `FIRST 1 ("1", "2")`},
		{"7", `FIRST 1 ("7")`},
		{"1 (1, 2)", `FIRST 1 ("1", "2")`},
		{"a$1_, _b, ü", `FIRST 1 ("a$1_", "_b", "ü")`},
		{"ANY 5 (a)", `ANY 5 ("a")`},
		{"007 (a)", `FIRST 7 ("a")`},
		{"anything, firsts", `FIRST 1 ("anything", "firsts")`},
	} {
		s, err := ParseSyncNames(tc.text)
		if err != nil {
			t.Errorf("%q: %v", tc.text, err)
			continue
		}
		if got := s.String(); got != tc.want {
			t.Errorf("%q reads as %s, want %s", tc.text, got, tc.want)
		}
		if s.Empty() != (tc.want == "") {
			t.Errorf("%q: Empty is %v", tc.text, s.Empty())
		}
	}
}

func TestParseSyncNamesRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		" ", ",", "a,", ",a", "a b", "a-b", "ANY", "any, b", "ANY (a)", "ANY 1", "ANY 1 a", "ANY 1 (a", "ANY 1 ()", "FIRST 0 (a)", "0 (a)",
		"1 (a) b", "1 (a),", "99999999999 (a)", "2147483648 (a)", `"a`, "(a)", "1 2", "a (b)", "$a", "1a", "FIRST a (b)", "a;b", "'a'", "-1 (a)",
		"a, first", strings.Repeat("a", maxSyncNames+1),
	} {
		if s, err := ParseSyncNames(text); err == nil {
			t.Errorf("%.40q was read as %s", text, s)
		}
	}
}

func TestSyncNamesMembersAndNeeded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		text     string
		standbys string // the primary is p
		members  []int
		needed   int
	}{
		{"", "a b", nil, 0},
		{"a", "a b", []int{0}, 1},
		{"A", "a b", []int{0}, 1},
		{"a, b", "a b", []int{0, 1}, 2},
		{"FIRST 1 (a, b)", "a b c", []int{0, 1}, 2},
		{"ANY 2 (a, b, c)", "a b c", []int{0, 1, 2}, 2},
		{"ANY 3 (a, b, c)", "a b c", []int{0, 1, 2}, 1},
		{"ANY 1 (p, a, b)", "a b", []int{0, 1}, 2}, // the primary waits for nobody of its own name
		{"ANY 1 (a, strange)", "a b", []int{0}, 2}, // more than can ever answer
		{"ANY 2 (a, b, strange)", "a b", []int{0, 1}, 2},
		{"*", "a b c", []int{0, 1, 2}, 3},
		{"ANY 2 (*)", "a b c", []int{0, 1, 2}, 2},
		{"FIRST 2 (a, *)", "a b c", []int{0, 1, 2}, 2},
		{"ANY 1 (a)", "a a", []int{0, 1}, 2}, // two standbys of one name
		{"ANY 5 (a)", "a", []int{0}, 1},
		{"gone", "a", nil, 1},
	} {
		s, err := ParseSyncNames(tc.text)
		if err != nil {
			t.Fatal(err)
		}
		standbys := strings.Fields(tc.standbys)
		if got := s.Members(standbys); !slices.Equal(got, tc.members) {
			t.Errorf("%q: members of %v are %v, want %v", tc.text, standbys, got, tc.members)
		}
		if got := s.Needed("p", standbys); got != tc.needed {
			t.Errorf("%q: needed of %v are %d, want %d", tc.text, standbys, got, tc.needed)
		}
	}
}

// What is read can be written and read again as the same.
func FuzzParseSyncNames(f *testing.F) {
	for _, s := range []string{"", "a, b", "ANY 2 (a, \"b\"\"\", *)", "1 (1, 2)", "first 1(x)", "\"", "1, 2", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSyncNames(text)
		if err != nil {
			return
		}
		if s.Empty() != (text == "") || !s.Empty() && (s.Num < 1 || len(s.Names) == 0) {
			t.Fatalf("%q reads as %+v", text, s)
		}
		again, err := ParseSyncNames(s.String())
		if err != nil || again.Method != s.Method || again.Num != s.Num || !slices.Equal(again.Names, s.Names) {
			t.Fatalf("%q reads as %s, which reads as %s, %v", text, s, again, err)
		}
		if n := s.Needed("p", []string{"a", "b"}); n < 0 || s.Empty() != (n == 0) {
			t.Fatalf("%q: needed %d", text, n)
		}
	})
}
