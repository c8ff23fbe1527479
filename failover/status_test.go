package failover

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gopgpool/cluster"
)

func TestParseStatus(t *testing.T) {
	up := Mark{Status: cluster.StatusUp}
	down := Mark{Status: cluster.StatusDown}
	unused := Mark{Status: cluster.StatusUnused}
	garbled := func(s string) Mark { return Mark{Status: cluster.StatusWaiting, Line: s} }
	for _, c := range []struct {
		name, text string
		want       []Mark
	}{
		{"as written", "up\ndown\nunused\n", []Mark{up, down, unused}},
		{"any case, no last newline", "UP\nDown", []Mark{up, down}},
		{"carriage returns", "up\r\ndown\r\n", []Mark{up, down}},
		{"prefix counts", "upright\ndownstairs\n", []Mark{up, down}},
		{"a line that says nothing", "up\nrubbish\ndown\n", []Mark{up, garbled("rubbish"), down}},
		{"an empty line", "up\n\n", []Mark{up, garbled("")}},
		{"nobody up", "down\ndown\n", nil},
		{"nobody up but a garbled line", "down\nx\n", nil},
		{"empty", "", nil},
		{"blank before the word", " up\nup\n", []Mark{garbled(" up"), up}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ParseStatus([]byte(c.text)); !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestParseStatusBounded(t *testing.T) {
	got := ParseStatus([]byte(strings.Repeat("up\n", 1000)))
	if len(got) != cluster.MaxNodes {
		t.Errorf("%d marks of 1000 lines", len(got))
	}
}

func TestParseStatusBinary(t *testing.T) {
	data := make([]byte, 4*cluster.MaxNodes)
	for i, n := range []uint32{2, 1, 3, 0} {
		binary.NativeEndian.PutUint32(data[4*i:], n)
	}
	got := ParseStatus(data)
	want := []cluster.Status{cluster.StatusUp, cluster.StatusUp, cluster.StatusDown, cluster.StatusUnused}
	for i, s := range want {
		if got[i].Status != s {
			t.Errorf("node %d: %v, want %v", i, got[i].Status, s)
		}
	}
	// A text of the same size is text.
	text := []byte(strings.Repeat("unused\n", 100) + "up\n")
	if got := ParseStatus(text); len(got) != 101 || got[100].Status != cluster.StatusUp {
		t.Errorf("long text: %d marks", len(got))
	}
}

func TestFormatStatus(t *testing.T) {
	v := &cluster.View{}
	for _, s := range []cluster.Status{
		cluster.StatusWaiting, cluster.StatusUp, cluster.StatusDown, cluster.StatusQuarantine, cluster.StatusUnused,
	} {
		v.Nodes = append(v.Nodes, cluster.Node{Status: s})
	}
	if got := string(FormatStatus(v)); got != "up\nup\ndown\ndown\nunused\n" {
		t.Errorf("got %q", got)
	}
}

func TestReadStatus(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, StatusFileName)
	kind := func(discard bool) (int, Kind) {
		t.Helper()
		marks, why := ReadStatus(path, discard)
		if len(why) == 0 {
			return len(marks), 0
		}
		return len(marks), why[0].Kind
	}
	check := func(what string, discard bool, wantMarks int, wantKind Kind) {
		t.Helper()
		if n, k := kind(discard); n != wantMarks || k != wantKind {
			t.Errorf("%s: %d marks, kind %d, want %d, %d", what, n, k, wantMarks, wantKind)
		}
	}
	check("no file", false, 0, StatusMissing)
	check("no file to discard", true, 0, 0)
	write(t, path, "up\ndown\n")
	check("file", false, 2, 0)
	check("discard", true, 0, StatusDiscarded)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("discarded file is still there: %v", err)
	}
	write(t, path, "down\ndown\n")
	check("nobody up", false, 0, StatusBogus)
	write(t, path, strings.Repeat("x", maxStatusFile+1))
	check("oversized", false, 0, StatusNotRead)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	check("a directory", false, 0, StatusNotRead)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestWriteStatusLeavesNoRest(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, StatusFileName)
	for _, text := range []string{"up\nup\n", "up\ndown\n"} {
		if err := writeStatus(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Fatalf("read back %q, %v", got, err)
		}
	}
	// A target that cannot be replaced: the temporary file must go.
	blocked := filepath.Join(dir, "blocked")
	if err := os.MkdirAll(filepath.Join(blocked, "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeStatus(blocked, []byte("up\n")); err == nil {
		t.Error("a directory was replaced")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != StatusFileName && e.Name() != "blocked" {
			t.Errorf("left behind: %s", e.Name())
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("up\ndown\nunused\nx"))
	f.Add(bytes.Repeat([]byte{0, 0, 0, 2}, cluster.MaxNodes))
	f.Fuzz(func(t *testing.T, data []byte) {
		marks := ParseStatus(data)
		if len(marks) > cluster.MaxNodes {
			t.Fatalf("%d marks", len(marks))
		}
		// What is written from what was read reads back alike.
		v := &cluster.View{}
		up := false
		for _, m := range marks {
			v.Nodes = append(v.Nodes, cluster.Node{Status: m.Status})
			up = up || m.Status == cluster.StatusUp
		}
		if marks != nil && !up {
			t.Fatal("marks without anybody up")
		}
		again := ParseStatus(FormatStatus(v))
		if len(again) != len(marks) {
			t.Fatalf("%d marks became %d", len(marks), len(again))
		}
	})
}
