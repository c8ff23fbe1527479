package stmt

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// hostile are texts that nest deeper the longer they are.
var hostile = []struct {
	name string
	text func(n int) string
}{
	{"terms", func(n int) string { return "select 1" + strings.Repeat("+1", n) }},
	{"named terms", func(n int) string { return "select a" + strings.Repeat("+a", n) }},
	{"terms in a list", func(n int) string { return "select 1" + strings.Repeat("+1", n) + ", 2" + strings.Repeat("*2", n) }},
	{"and", func(n int) string { return "select a from t where a" + strings.Repeat(" and a", n) }},
	{"or in values", func(n int) string { return "insert into t values (1, true" + strings.Repeat(" or b", n) + ")" }},
	{"comparisons", func(n int) string { return "select a from t where a=1" + strings.Repeat(" or a=1", n) }},
	{"unary minus", func(n int) string { return "select " + strings.Repeat("- ", n) + "1" }},
	{"unary operators", func(n int) string { return "select " + strings.Repeat("@ ", n) + "1" }},
	{"not", func(n int) string { return "select " + strings.Repeat("not ", n) + "true" }},
	{"is null", func(n int) string { return "select a" + strings.Repeat(" is null", n) }},
	{"casts", func(n int) string { return "select a" + strings.Repeat("::int", n) }},
	{"collate", func(n int) string { return "select a" + strings.Repeat(` collate "C"`, n) }},
	{"at time zone", func(n int) string { return "select a" + strings.Repeat(" at time zone b", n) }},
	{"parentheses", func(n int) string { return "select " + strings.Repeat("(", n) + "1" + strings.Repeat(")", n) }},
	{"open parentheses", func(n int) string { return "select " + strings.Repeat("(", n) }},
	{"arrays", func(n int) string { return "select " + strings.Repeat("array[", n) + "1" + strings.Repeat("]", n) }},
	{"bare arrays", func(n int) string { return "select array" + strings.Repeat("[", n) + "1" + strings.Repeat("]", n) }},
	{"subscripts", func(n int) string { return "select " + strings.Repeat("a[", n) + "1" + strings.Repeat("]", n) }},
	{"calls", func(n int) string { return "select " + strings.Repeat("f(", n) + "1" + strings.Repeat(")", n) }},
	{"calls after commas", func(n int) string { return "select " + strings.Repeat("f(1,", n) + "1" + strings.Repeat(")", n) }},
	{"rows", func(n int) string { return "select " + strings.Repeat("(1,", n) + "1" + strings.Repeat(")", n) }},
	{"case", func(n int) string {
		return "select " + strings.Repeat("case when a then ", n) + "1" + strings.Repeat(" end", n)
	}},
	{"case else", func(n int) string {
		return "select " + strings.Repeat("case a when 1 then 2 else ", n) + "1" + strings.Repeat(" end", n)
	}},
	{"joins", func(n int) string { return "select 1 from a" + strings.Repeat(" join a on b", n) }},
	{"cross joins", func(n int) string { return "select 1 from a" + strings.Repeat(" natural join a", n) }},
	{"open joins", func(n int) string {
		return "select 1 from " + strings.Repeat("a join ", n) + "b" + strings.Repeat(" on c", n)
	}},
	{"unions", func(n int) string { return "select 1" + strings.Repeat(" union select 1", n) }},
	{"unions of lists", func(n int) string { return "select 1,1" + strings.Repeat(" union select 1,1", n) }},
	{"unions of tables", func(n int) string { return "table t" + strings.Repeat(" except table t", n) }},
	{"unions of values", func(n int) string { return "values(1),(1)" + strings.Repeat("intersect values(1),(1)", n) }},
	{"unions and commas", func(n int) string { return "select 1,1" + strings.Repeat(" union select 1,1+1 order by 1,1", n) }},
	{"sub-selects", func(n int) string {
		return strings.Repeat("select * from (", n) + "select 1" + strings.Repeat(") a", n)
	}},
	{"sub-selects in lists", func(n int) string { return strings.Repeat("select 1,(", n) + "select 1" + strings.Repeat(")", n) }},
	{"exists", func(n int) string { return strings.Repeat("select exists (", n) + "select 1" + strings.Repeat(")", n) }},
	{"with", func(n int) string {
		return strings.Repeat("with a as (", n) + "select 1" + strings.Repeat(") select 1", n)
	}},
	{"in", func(n int) string { return "select " + strings.Repeat("a in (1,", n) + "2" + strings.Repeat(")", n) }},
	{"between", func(n int) string { return "select a" + strings.Repeat(" between b and c", n) }},
	{"like escape", func(n int) string { return "select a" + strings.Repeat(" like b", n) }},
	{"operator()", func(n int) string { return "select a" + strings.Repeat(" operator(pg_catalog.+) a", n) }},
	{"quoted names", func(n int) string { return `select "a"` + strings.Repeat(`+"a"`, n) }},
	{"explain", func(n int) string { return strings.Repeat("explain ", n) + "select 1" }},
	{"prepare", func(n int) string { return strings.Repeat("prepare a as ", n) + "select 1" }},
	{"types", func(n int) string { return "create table t (a int" + strings.Repeat("[]", n) + ")" }},
	{"setof", func(n int) string { return "select a::" + strings.Repeat("setof ", n) + "int" }},
	{"indirection", func(n int) string { return "select a" + strings.Repeat(".a", n) }},
	{"subscript chain", func(n int) string { return "select a" + strings.Repeat("[1]", n) }},
	{"schema elements", func(n int) string { return "create schema s" + strings.Repeat(" create table t (a int)", n) }},
	{"statements", func(n int) string { return strings.Repeat("select 1,1;", n) }},
	{"long list", func(n int) string { return "select 1" + strings.Repeat(",1", n) }},
	{"json", func(n int) string {
		return "select " + strings.Repeat("json_object('a':", n) + "1" + strings.Repeat(")", n)
	}},
	{"merge", func(n int) string {
		return "merge into t using u on a" + strings.Repeat(" when matched then update set a=1,b=2", n)
	}},
	{"constraints", func(n int) string { return "create table t (a int" + strings.Repeat(" check (a)", n) + ")" }},
	{"mixed list", func(n int) string { return "select a" + strings.Repeat(",1,'a'", n) }},
	{"mixed rows", func(n int) string { return "insert into t values (1)" + strings.Repeat(",(a),(1)", n) }},
	{"literals", func(n int) string { return "select 1" + strings.Repeat(" 'a'", n) }},
	{"words", func(n int) string { return "select 1" + strings.Repeat(" a", n) }},
	{"keywords", func(n int) string { return strings.Repeat("select ", n) }},
}

// TestDeepTexts: 50,000 repetitions never come to the C parser.
func TestDeepTexts(t *testing.T) {
	a := NewAnalyzer(NewCache(Limits{}))
	for _, h := range hostile {
		text := []byte(h.text(50000))
		f, ok := a.Lookup(text)
		if !ok || f.Kind != KindUnparsed || f.Class != ClassPrimary || !f.MayTouchSession {
			t.Errorf("%s of %d bytes: %v %v", h.name, len(text), ok, f)
		}
	}
}

const childEnv = "STMT_TEST_PARSE_STDIN"

// TestParserSurvivesBound runs the real grammar, in a process of its own since a crash of it ends the process, on the
// longest text of each kind that the bounds let through.
func TestParserSurvivesBound(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		parseStdin(t)
		return
	}
	var in bytes.Buffer
	for _, h := range hostile {
		text := longestAllowed(h.text)
		fmt.Fprintf(&in, "%s (%d bytes)\x00%s\x00", h.name, len(text), text)
	}
	// A quarter of the usual stack, to show that there is a margin.
	cmd := exec.Command("/bin/sh", "-c", `ulimit -s 2048; exec "$0" -test.run '^TestParserSurvivesBound$'`, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stdin = &in
	if out, err := cmd.CombinedOutput(); err != nil {
		crash := max(0, bytes.Index(out, []byte("SIG"))-200)
		t.Fatalf("%v: %.2000s", err, out[crash:])
	}
}

// longestAllowed answers the longest text a generator makes that our bounds let through.
func longestAllowed(gen func(int) string) []byte {
	var sc scratch
	low, high := 0, maxText
	for low < high {
		mid := (low + high + 1) / 2
		if s := reduce([]byte(gen(mid)), &sc); s.verdict == shapeOK {
			low = mid
		} else {
			high = mid - 1
		}
	}
	return []byte(gen(low))
}

func parseStdin(t *testing.T) {
	var in bytes.Buffer
	if _, err := in.ReadFrom(os.Stdin); err != nil {
		t.Fatal(err)
	}
	parts := bytes.Split(in.Bytes(), []byte{0})
	for i := 0; i+1 < len(parts); i += 2 {
		os.Stderr.Write(append(parts[i], '\n'))
		done := make(chan Kind)
		go func() { done <- NewAnalyzer(NewCache(Limits{})).Analyze(parts[i+1]).Kind }() // on another thread's stack than main's
		fmt.Fprintln(os.Stderr, "  ", kindNames[<-done])
	}
}

// TestLargeButFlat: bulk statements are no danger and are parsed.
func TestLargeButFlat(t *testing.T) {
	a := NewAnalyzer(NewCache(Limits{}))
	insert := "INSERT INTO t VALUES " + strings.Repeat("(1,2),", 9999) + "(1,2)"
	if len(insert) > maxText {
		t.Fatalf("test text has %d bytes", len(insert))
	}
	for text, want := range map[string]Kind{
		insert: KindInsert,
		"INSERT INTO t VALUES " + strings.Repeat("(1),(a),", 7000) + "(1)":                                  KindInsert,
		"SELECT * FROM t WHERE id IN (1" + strings.Repeat(",1234", 10000) + ")":                             KindSelect,
		"SELECT * FROM t WHERE " + strings.Repeat("(a, b) = (1, 2) OR ", 300) + "x":                         KindSelect,
		"SELECT * FROM t WHERE " + strings.Repeat("name_"+"of_column = 1 OR ", 900) + "x":                   KindSelect,
		"INSERT INTO t VALUES ('" + strings.Repeat("(+", 30000) + "')":                                      KindInsert,
		"SELECT 1 /*" + strings.Repeat("((((+", 10000) + "*/":                                               KindSelect,
		"INSERT INTO t VALUES " + strings.Repeat("(1,2),", 9999) + "(1,2)" + insert[:maxText-len(insert)-5]: KindUnparsed,
		strings.Repeat("INSERT INTO t VALUES (1 + 2, f(3) * 4); ", 1500):                                    KindInsert,
		strings.Repeat(" ", maxText) + "SELECT 1":                                                           KindUnparsed,
	} {
		if got := a.Analyze([]byte(text)).Kind; got != want {
			t.Errorf("%.40q of %d bytes is %s, want %s", text, len(text), kindNames[got], kindNames[want])
		}
	}
}
