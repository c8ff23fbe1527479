package stmt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// trickyTexts are texts whose tokens are easily taken for others.
var trickyTexts = []string{
	`select 'a' 'b'`, "select 'a'\n'b'", "select 'a' -- x\n  'b'", "select 'a'\n-- x\n'b'", "select 'a' /* x\n */ 'b'",
	`select e'a\'b', E'\\', e'''', 'a''b'`, "select e'a'\n'\\'b'", `select b'1''0'`, "select x'1'\n'f'", `select n'x'`,
	`select foo$$x$$`, `select $$a$b$$, $a$ $$ $a$, $a$b$a$a$`, `select 1$$a$$'b'`, `select $é$x$é$`, `select $1, $2.5, $1a`,
	`select 'a'E'b'`, `select 'a'"b"'c'`, `select u&E'a'`, `select u&$$a$$`, `select U&'a' uescape '!'`, `select U&"a"`,
	`select 1.5.5, 1..2, 1..2..3, .5, 5., 5.e1, 1e+5, 1e5e, a.5, a.b.5`, `select 0x1F, 0o17, 0b01, 1_000, 0x_f, 0x, 0xg, 1__0`,
	`select 1e, 1e+, 1a`, `select 1--x`, "select 1--x\n+2", `select 2*/*c*/3, 2 -/*c*/-3, @/*c*/1, @--c`, `select //* c */ 1`,
	`select a+-b, a<-b, a@-b, a=-1, ->>, <@>`, `/* a /* b */ c */ select 1`, `select /**/1/***/`, `select /*/ 1 */ 2 /*/`,
	`select "a""b", "A b", "", "x".5`, `select a::int, :x, b := c, d => e`, `select a[1:2], ?, ??, {x}`, `sel\ect`, "select 1\v+\f2",
	`;;select 1;;`, `select b''''b''''b''''`, "select 'x", `select "x`, `select $a$x`, `/* x`, `select é`, "select \xff\xfe", "a\x00b",
	`select 'a\'`, `select "set_config"('a','b',false)`, `SELECT SET_CONFIG('a', 'b', true)`, `set x = 'a'`, `pgpool show "x`, "\xef\xbb\xbfselect 1",
	`select 1 union select 1,1 union select 2`, `((((((((`, `))))`, `select '\''`, "select e'\xc3\\'a'", `explain (analyze 0) select 1`,
}

func seeds(f *testing.F) {
	for _, text := range trickyTexts {
		f.Add([]byte(text))
	}
	files, _ := filepath.Glob("testdata/*.txt")
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for block := range strings.SplitSeq(string(content), "\n\n") {
			sql, _, _ := strings.Cut(block, "\n----\n")
			f.Add([]byte(sql))
		}
	}
}

// FuzzShape compares our tokens with those of PostgreSQL's scanner: a text and its shape must have the same ones, but
// for the value of literals that were replaced.
func FuzzShape(f *testing.F) {
	seeds(f)
	f.Fuzz(checkShape)
}

// checkShape fails if a text and its shape differ in their tokens.
func checkShape(t *testing.T, text []byte) {
	t.Helper()
	if bytes.IndexByte(text, 0) >= 0 || len(text) > 4<<10 {
		return
	}
	want, ok := scanTokens(t, text)
	if !ok {
		return // PostgreSQL would refuse it too
	}
	var sc scratch
	s := reduce(text, &sc)
	switch s.verdict {
	case shapeUnparsed:
		if score(want) <= maxNesting {
			t.Fatalf("refused: %q", text)
		}
		return
	case shapeEmpty:
		if len(want) > 0 {
			t.Fatalf("%q called empty, has %v", text, want)
		}
		return
	case shapePool:
		return
	}
	got, ok := scanTokens(t, s.sql())
	if !s.literals {
		got, want = collapse(got), collapse(want)
	}
	if !ok || len(got) != len(want) {
		t.Fatalf("%q became %q:\n got %v\nwant %v", text, s.sql(), got, want)
	}
	for i := range want {
		if got[i].kind != want[i].kind || !want[i].literal && got[i].text != want[i].text {
			t.Fatalf("%q became %q: token %d is %v, want %v", text, s.sql(), i, got[i], want[i])
		}
		if s.literals && got[i].text != want[i].text {
			t.Fatalf("%q became %q: literal %d is %v, want %v", text, s.sql(), i, got[i], want[i])
		}
	}
}

// TestShapeOfFragments joins pieces of SQL at random, which finds more than random bytes do.
func TestShapeOfFragments(t *testing.T) {
	fragments := []string{
		"select", "SET", "e", "E", "b", "x", "u", "U", "n", "U&", "a1", "\"q\"", "\"Q\"\"\"", "'s'", "'it''s'", "'\\'", "e'\\''", "E'a\\\\'", "b'1'", "X'f'",
		"$$d$$", "$t$ $$ $t$", "$", "$1", "$2", "1", "0", "1.5", ".5", "5.", "1e5", "2E-3", "0x1F", "0b1", "1_0", ".", "..", ",", ";", "(", ")", "[", "]",
		"+", "-", "--", "-- c\n", "/", "*", "/*", "*/", "/* c */", "/*\n*/", "<", ">", "=", ":", "::", ":=", "=>", "@", "!", "|", "&", "%", "^", "~", "?", "#", "\\",
		" ", "\n", "\t", "\r\n", "  ", "é", "\xff", "_", "union", "set_config", "uescape", "explain", "{",
	}
	lists := []string{"1", "2", "'s'", "a", "$1", "f(", "(", ")", "(1, 1)", "(1,2)", "(a,'x')", ",", ",", ",", ", ", " , ", ",1,1", "[", "]", " ", "+", ";", "union"}
	n := 10000
	if testing.Short() {
		n = 1000
	}
	joinAtRandom(t, fragments, n, 12)
	joinAtRandom(t, lists, n, 30)
}

func joinAtRandom(t *testing.T, pieces []string, n, length int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	var text []byte
	for range n {
		text = text[:0]
		for range 1 + rnd.IntN(length) {
			text = append(text, pieces[rnd.IntN(len(pieces))]...)
		}
		checkShape(t, text)
	}
}

// collapse leaves out list items after two equal ones, as the shape does.
func collapse(tokens []realToken) (out []realToken) {
	type list struct {
		start int
		items []string
	}
	lists := []list{{}}
	end := func(at *list) {
		var item strings.Builder
		for _, tok := range out[at.start:] {
			text := tok.text
			if tok.literal {
				text = "literal"
			}
			fmt.Fprintf(&item, "%d %s\x00", tok.kind, text)
		}
		n := len(at.items)
		if n >= 2 && at.items[n-1] == item.String() && at.items[n-2] == item.String() {
			out = out[:at.start-1]
		} else {
			at.items = append(at.items, item.String())
		}
	}
	for _, tok := range tokens {
		at := &lists[len(lists)-1]
		switch tok.text {
		case ",":
			end(at)
		case ")", "]":
			end(at)
			if len(lists) == 1 {
				out = append(out, tok)
				*at = list{start: len(out)}
				continue
			}
			lists = lists[:len(lists)-1]
		}
		out = append(out, tok)
		switch tok.text {
		case ",":
			at.start = len(out)
		case ";":
			*at = list{start: len(out)}
		case "(", "[":
			lists = append(lists, list{start: len(out)})
		}
	}
	return out
}

// score is more than the nesting score of a text can be.
func score(tokens []realToken) int { return len(tokens) }

type realToken struct {
	kind    pg.Token
	text    string
	literal bool
}

// scanTokens answers what PostgreSQL's scanner sees, comments and outer semicolons left out; false if it refuses.
func scanTokens(t *testing.T, text []byte) (tokens []realToken, ok bool) {
	t.Helper()
	result, err := pg.Scan(string(text))
	if err != nil {
		return nil, false
	}
	end := int32(0)
	joins := false // only blanks and line comments since the last string
	for _, tok := range result.GetTokens() {
		r := realToken{kind: tok.GetToken(), text: string(text[tok.GetStart():tok.GetEnd()])}
		switch r.kind {
		case pg.Token_SQL_COMMENT:
			continue
		case pg.Token_C_COMMENT:
			joins = false
			continue
		case pg.Token_ASCII_59:
			if len(tokens) == 0 {
				continue
			}
		case pg.Token_FCONST:
			r.kind, r.literal = pg.Token_ICONST, true
		case pg.Token_ICONST, pg.Token_SCONST, pg.Token_BCONST, pg.Token_XCONST:
			r.literal = true
			if c := r.text[0]; c == 'E' || c == 'B' || c == 'X' {
				r.text = strings.ToLower(r.text[:1]) + r.text[1:]
			}
		default:
			if r.text[0] != '"' {
				r.text = foldASCII(r.text)
			}
		}
		// The library's scanner makes tokens of comments and so does not join the strings on both sides of one.
		if r.literal && r.text[0] == '\'' && joins && bytes.ContainsAny(text[end:tok.GetStart()], "\r\n") {
			if tokens[len(tokens)-1].text[0] != '\'' {
				return nil, false // goes on by the rules of another form, which its scanner did not apply
			}
			tokens[len(tokens)-1].text += string(text[end:tok.GetEnd()])
			end = tok.GetEnd()
			continue
		}
		end = tok.GetEnd()
		joins = r.literal && strings.HasSuffix(r.text, "'")
		tokens = append(tokens, r)
	}
	for len(tokens) > 0 && tokens[len(tokens)-1].kind == pg.Token_ASCII_59 {
		tokens = tokens[:len(tokens)-1]
	}
	return tokens, true
}

func foldASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

// FuzzAnalyze: any bytes have facts, the same at a second look and from a fresh cache, and Parse never goes unbounded.
func FuzzAnalyze(f *testing.F) {
	seeds(f)
	shared := NewAnalyzer(NewCache(Limits{Entries: 64, Bytes: 1 << 20}))
	f.Fuzz(func(t *testing.T, text []byte) {
		got := describe(shared.Analyze(text))
		if again := describe(shared.Analyze(text)); again != got {
			t.Fatalf("%q: %s, then %s", text, got, again)
		}
		if fresh := describe(NewAnalyzer(NewCache(Limits{Entries: 8})).Analyze(text)); fresh != got {
			t.Fatalf("%q: %s, fresh %s", text, got, fresh)
		}
	})
}
