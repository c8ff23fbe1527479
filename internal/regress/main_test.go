package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/pgcluster"
)

// quickTests are some of the suite, a few seconds' worth, in an order in which they can run: what they need, then what has to do
// with the state of a session.
var quickTests = []string{"test_setup", "create_index", "guc", "prepare", "portals", "transactions", "prepared_xacts", "temp", "with", "copy2", "plpgsql"}

// Some of the suite through pgpool, where its sources have been fetched.
func TestQuick(t *testing.T) {
	o := options{sources: defaultSources(), configs: regexp.MustCompile("^session$"), tests: quickTests, explained: "explained"}
	if _, err := os.Stat(filepath.Join(o.sources, "complete")); err != nil {
		t.Skip("make regress has not fetched the suite: ", err)
	}
	t.Setenv("GORACE", "atexit_sleep_ms=0") // with the race detector it waits for a second at its end otherwise
	o.pgpool = pgcluster.BuildProgram(t, t.TempDir(), "pgpool")
	err := perform(t.Context(), o)
	if errors.Is(err, pgcluster.ErrNoServer) && os.Getenv(pgcluster.RequireEnv) == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestDifferences(t *testing.T) {
	explained := t.TempDir()
	file := filepath.Join(explained, "c", "t.txt")
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	const reads = "What a read\ncounts is counted where it ran.\n---\n-[0-9]+ rows\n\\+[0-9]+ rows\n"
	for _, c := range []struct {
		name, direct, pooled, explanation string
		differ                            int
		reason                            string
		fails                             bool
	}{
		{name: "the same", direct: "a\nb\n", pooled: "a\nb\n"},
		{name: "unexplained", direct: "a\nb\n", pooled: "a\nc\n", differ: 1},
		{name: "nothing printed", direct: "a\n", differ: 1},
		{
			name: "explained", direct: "a\n1 rows\n", pooled: "a\n22 rows\n", explanation: reads, differ: 1,
			reason: "What a read counts is counted where it ran.",
		},
		{name: "more than explained", direct: "a\n1 rows\n", pooled: "b\n22 rows\n", explanation: reads, differ: 1},
		{name: "only a part of the line", direct: "1 rows\n", pooled: "22 rows of b\n", explanation: reads, differ: 1},
		{name: "a line that is missing", direct: "a\nb\n", pooled: "a\n", explanation: reads, differ: 1},
		{name: "no reason", direct: "a\n", pooled: "b\n", explanation: "---\n.*\n", fails: true},
		{name: "no expression", direct: "a\n", pooled: "b\n", explanation: "why\n---\n(\n", fails: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(c.explanation), 0o600); err != nil {
				t.Fatal(err)
			}
			if c.explanation == "" {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
			got, err := compare(configuration{name: "c"}, printed{"t": c.direct}, printed{"t": c.pooled}, options{explained: explained})
			if (err != nil) != c.fails {
				t.Fatalf("error %v", err)
			}
			if c.fails {
				return
			}
			if len(got.differences) != c.differ || c.differ > 0 && got.differences[0].reason != c.reason {
				t.Errorf("%+v", got.differences)
			}
			want := 0
			if c.differ > 0 && c.reason == "" {
				want = 1
			}
			if got.unexplained() != want {
				t.Errorf("%d unexplained, want %d", got.unexplained(), want)
			}
		})
	}
}

// A test that printed something directly and nothing through pgpool, and one that is not asked for.
func TestOnlyTheTestsAskedFor(t *testing.T) {
	o := options{tests: []string{"a"}}
	got, err := compare(configuration{}, printed{"a": "x\n", "b": "x\n"}, printed{"a": "y\n"}, o)
	if err != nil || len(got.differences) != 1 || got.differences[0].test != "a" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.md")
	all := []outcome{
		{config: configuration{title: "one server"}, tests: 3},
		{config: configuration{title: "three servers"}, tests: 3, differences: []difference{
			{test: "stats", diff: "a\nb\n", reason: "Counters are a server's own."},
			{test: "date", diff: "a\nb\n"},
		}},
	}
	if err := writePage(file, "PostgreSQL 15.1", time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), all); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"on 2026-01-02 with PostgreSQL 15.1", "| one server | 3 | 3 | 0 | 0 |\n", "| three servers | 3 | 1 | 1 | 1 |\n",
		"## three servers\n\n- `stats`: Counters are a server's own.\n- `date`: unexplained, 2 lines\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "## one server") {
		t.Error("a section about nothing")
	}
}

// Every explanation of the repository can be read.
func TestExplanations(t *testing.T) {
	files, err := filepath.Glob("explained/*/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if _, err := explain(file, "--- a\n+++ b\n"); err != nil {
			t.Error(err)
		}
	}
}
