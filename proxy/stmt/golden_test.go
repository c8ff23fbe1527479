package stmt

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the expected facts in testdata")

// TestFacts runs the files of testdata: a statement, a line of dashes, what is known of it. \n, \t and \0 stand for
// those bytes.
func TestFacts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no test files", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runFile(t, file) })
	}
}

func runFile(t *testing.T, file string) {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	a := NewAnalyzer(NewCache(Limits{}))
	var out strings.Builder
	for _, block := range strings.Split(strings.TrimRight(string(content), "\n"), "\n\n") {
		var comments []string
		for strings.HasPrefix(block, "#") {
			line, rest, _ := strings.Cut(block, "\n")
			comments, block = append(comments, line+"\n"), rest
		}
		out.WriteString(strings.Join(comments, ""))
		sql, want, found := strings.Cut(block, "\n----\n")
		if !found && strings.HasPrefix(block, "----\n") {
			sql, want, found = "", strings.TrimPrefix(block, "----\n"), true
		}
		if !found && !*update {
			t.Fatalf("no expectation for %q", block)
		}
		text := unescape(sql)
		first := describe(a.Analyze([]byte(text)))
		if again := describe(a.Analyze([]byte(text))); again != first {
			t.Errorf("%s\nsecond look: %s\nfirst: %s", sql, again, first)
		}
		if first != want && !*update {
			t.Errorf("%s\n got %s\nwant %s", sql, first, want)
		}
		if sql != "" {
			sql += "\n"
		}
		fmt.Fprintf(&out, "%s----\n%s\n\n", sql, first)
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.TrimSuffix(out.String(), "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func unescape(s string) string {
	return strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\0`, "\x00").Replace(s)
}

var kindNames = [...]string{
	"unparsed", "empty", "select", "insert", "update", "delete", "merge", "copy-from", "copy-to", "begin", "commit",
	"rollback", "savepoint", "rollback-to", "release", "prepare-transaction", "commit-prepared", "rollback-prepared", "set",
	"reset", "discard", "prepare", "execute", "deallocate", "show", "explain", "lock", "declare", "fetch", "close",
	"listen", "notify", "unlisten", "call", "do", "vacuum", "load", "checkpoint", "other", "pool",
}

var (
	classNames   = [...]string{"primary", "either", "both", "prepared"}
	counterNames = [...]string{"other", "select", "insert", "update", "delete", "ddl"}
)

// describe prints facts on one line: kind, class, counter, then what differs from its zero value.
func describe(f *Facts) string {
	parts := []string{kindNames[f.Kind], classNames[f.Class], "count=" + counterNames[f.Counter]}
	flag := func(on bool, name string) {
		if on {
			parts = append(parts, name)
		}
	}
	text := func(s, name string) {
		if s != "" {
			parts = append(parts, name+"="+s)
		}
	}
	names := func(list []Name, name string) {
		var all []string
		for _, n := range list {
			all = append(all, strings.TrimPrefix(n.Schema+"."+n.Name, "."))
		}
		text(strings.Join(all, ","), name)
	}
	flag(f.ReadOnly, "readonly")
	flag(!f.FirstCharOK, "badstart")
	flag(f.LeadingSpace, "leadingspace")
	flag(f.NoLoadBalanceHint, "nobalance")
	flag(f.MayTouchSession, "touches")
	flag(f.Multi, "multi")
	flag(f.MultiBegins, "begins")
	flag(f.MultiState, "state")
	text(f.Name, "name")
	flag(f.Chain, "chain")
	flag(f.Hold, "hold")
	text(f.DiscardTarget, "discard")
	names(f.Relations, "rel")
	names(f.Functions, "func")
	names(f.Types, "type")
	if f.ServerCall.Name != "" {
		names([]Name{f.ServerCall}, "server")
	}
	text(strings.Join(f.Executes, ","), "executes")
	names(f.CreatesTemp, "temp")
	names(f.DropsTables, "drops")
	text(f.DatabaseDDL, "database")
	if g := f.Signal; g != nil && g.Terminate && g.PID > 0 {
		parts = append(parts, fmt.Sprintf("terminate=%d", g.PID))
	}
	if f.Modes != (TxModes{}) {
		parts = append(parts, fmt.Sprintf("modes=%+v", f.Modes))
	}
	if f.Setting != nil {
		parts = append(parts, fmt.Sprintf("setting=%+q", fmt.Sprintf("%+v", *f.Setting)))
	}
	if f.Pool != nil {
		parts = append(parts, fmt.Sprintf("pool=%+q", fmt.Sprintf("%+v", *f.Pool)))
	}
	if f.Inner != nil {
		parts = append(parts, "inner={"+describe(f.Inner)+"}")
	}
	return strings.Join(parts, " ")
}
