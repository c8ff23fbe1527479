package wirescript

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"
)

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                  "nothing to do",
		"# a comment\n\n":                   "nothing to do",
		"qeury SELECT 1":                    `1: unknown step "qeury"`,
		"sync\n\nb: nosuch":                 `3: unknown step "nosuch"`,
		"sync\nsetup SELECT 1":              "2: setup comes first",
		"allow everything\nsync":            `1: no optional difference "everything"`,
		"allow place in the source\nsync\n": `no optional difference "place in the source"`,
	} {
		if _, err := Parse("s", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	s, err := Parse("s", "# comment\nsetup CREATE TABLE x ();\n  SELECT 1\nallow own-words\nb: query SELECT\n\t1\n< Z=\"a b\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.Setup, []string{"CREATE TABLE x ();\nSELECT 1"}) || !slices.Equal(s.Allow, []string{"own-words"}) {
		t.Errorf("%+v", s)
	}
	want := []step{{5, "b", "query", "SELECT\n1"}, {7, "a", "<", `Z="a b"`}}
	if !slices.Equal(s.steps, want) {
		t.Errorf("%+v", s.steps)
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":                      nil,
		" a  b ":                {"a", "b"},
		`D='"1"' E="x y" z`:     {`D='"1"'`, `E="x y"`, "z"},
		"'one two' x'00' NULL":  {"'one two'", "x'00'", "NULL"},
		"a\nb":                  {"a", "b"},
		`name="it's" other='"'`: {`name="it's"`, `other='"'`},
	} {
		if got, err := words(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	if _, err := words("'open"); err == nil {
		t.Error("an open quotation mark is accepted")
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a{b*3}c": "abbbc", "{xy*2}{z*1}": "xyxyz", "{*3}": "{*3}", "{a*b}": "{a*b}", "{a*99999999999}": "{a*99999999999}",
		"SELECT '{1,2}'": "SELECT '{1,2}'",
	} {
		if got := expand(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ verb, rest, want string }{
		{"query", "SELECT 1", "Q\x00\x00\x00\x0dSELECT 1\x00"},
		{"parse", "-(int4,25) x", "P\x00\x00\x00\x11\x00x\x00\x00\x02\x00\x00\x00\x17\x00\x00\x00\x19"},
		{"bind", "p - 'a b' NULL -> 1", "B\x00\x00\x00\x1ap\x00\x00\x00\x02\x00\x00\x00\x00\x00\x02\x00\x00\x00\x03a b\xff\xff\xff\xff\x00\x01\x00\x01"},
		{"execute", "p 7", "E\x00\x00\x00\x0ap\x00\x00\x00\x00\x07"},
		{"close", "S -", "C\x00\x00\x00\x06S\x00"},
		{"copydata", `"a\tb\n"`, "d\x00\x00\x00\x08a\tb\n"},
		{"message", `? "\x00"`, "?\x00\x00\x00\x05\x00"},
		{"raw", `"\x01"`, "\x01"},
		{"sync", "", "S\x00\x00\x00\x04"},
	} {
		got, err := messages()[tc.verb](nil, tc.rest)
		if err != nil {
			t.Errorf("%s %s: %v", tc.verb, tc.rest, err)
			continue
		}
		if tc.verb == "bind" { // its length is not what this is about
			got, tc.want = got[5:], tc.want[5:]
		}
		if string(got) != tc.want {
			t.Errorf("%s %s: %q, want %q", tc.verb, tc.rest, got, tc.want)
		}
	}
	for verb, rest := range map[string]string{
		"bind": "p", "describe": "statement", "execute": "p many", "copydata": "bare", "message": `Query "x"`, "parse": "-(nosuch) x", "call": "x",
	} {
		if _, err := messages()[verb](nil, rest); err == nil {
			t.Errorf("%s %s is accepted", verb, rest)
		}
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	want := strings.Split("a b c d e f g", " ")
	for _, tc := range []struct{ got, diff string }{
		{"a b c d e f g", ""},
		{"a b c d e x g", "  ...\n  b\n  c\n  d\n  e\n- f\n+ x\n"},
		{"a b c d e f", "  ...\n  c\n  d\n  e\n  f\n- g\n"},
		{"x a b c d e f g", "+ x\n"},
	} {
		if diff := Diff(want, strings.Split(tc.got, " ")); diff != tc.diff {
			t.Errorf("%s: %q, want %q", tc.got, diff, tc.diff)
		}
	}
}

// A difference is taken out where it is allowed, and nowhere else.
func TestErase(t *testing.T) {
	t.Parallel()
	strict, lenient := &Script{}, &Script{}
	for _, d := range Differences() {
		if d.Name == "" || d.Reason == "" || d.erase == nil {
			t.Errorf("%+v", d)
		}
		if d.Optional {
			lenient.Allow = append(lenient.Allow, d.Name)
		}
	}
	newError := func() *pgproto3.ErrorResponse {
		return &pgproto3.ErrorResponse{Severity: "ERROR", Code: "25P02", Message: "m", Detail: "d", File: "f.c", Line: 1, Routine: "r"}
	}
	e := newError()
	if !strict.erase(e) || show(e) != `ERROR 25P02 "m" detail="d" nonlocalized=""` && show(e) != `ERROR 25P02 "m" detail="d"` {
		t.Errorf("strict: %s", show(e))
	}
	e = newError()
	if !lenient.erase(e) || strings.Contains(show(e), "d=") || strings.Contains(show(e), `"m"`) {
		t.Errorf("lenient: %s", show(e))
	}
	if !strict.erase(&pgproto3.AuthenticationOk{}) || lenient.erase(&pgproto3.AuthenticationOk{}) {
		t.Error("AuthenticationOk")
	}
	rows := &pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("a"), TableOID: 16400, TableAttributeNumber: 2, DataTypeOID: 23, TypeModifier: -1}}}
	if strict.erase(rows); show(rows) != "a:int4@1.2" {
		t.Errorf("%s", show(rows))
	}
}
