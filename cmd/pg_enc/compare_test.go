package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// peers is where Debian and Ubuntu install the programs of Pgpool-II.
const peers program = "/usr/sbin"

func needPeers(t *testing.T) {
	t.Helper()
	for _, name := range []string{"pg_enc", "pg_md5"} {
		if _, err := os.Stat(filepath.Join(string(peers), name)); errors.Is(err, fs.ErrNotExist) {
			t.Skipf("%s/%s is not there: install pgpool2 to compare with it", peers, name)
		}
	}
}

// What our programs print, how they end and what they make of pool_passwd is known.
func TestOutputs(t *testing.T) {
	t.Parallel()
	usage := map[string]string{"pg_enc": ours.usageOf(t, "pg_enc"), "pg_md5": ours.usageOf(t, "pg_md5")}
	var all strings.Builder
	for _, r := range calls() {
		if r.local {
			continue
		}
		got := ours.run(t, r.call).normal(usage[r.args[0]])
		all.WriteString("$ " + r.call.String() + "\n" + got.String() + "\n")
	}
	path := filepath.Join("testdata", "outputs.txt")
	if *update {
		if err := os.WriteFile(path, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	wants := strings.Split(string(want), "\n$ ")
	for n, got := range strings.Split(all.String(), "\n$ ") {
		if n >= len(wants) || got != wants[n] {
			t.Fatalf("not as in %s (-update writes it):\n%s", path, got)
		}
	}
}

// Pgpool-II's programs do the same, but for the differences that the table explains.
func TestLikePeers(t *testing.T) {
	t.Parallel()
	needPeers(t)
	usage, theirUsage := map[string]string{}, map[string]string{}
	for _, name := range []string{"pg_enc", "pg_md5"} {
		usage[name], theirUsage[name] = ours.usageOf(t, name), peers.usageOf(t, name)
	}
	for _, r := range calls() {
		if len(r.typed) > 1 {
			continue // when theirs asks the second question cannot be told
		}
		got, want := ours.run(t, r.call).normal(usage[r.args[0]]), peers.run(t, r.call).normal(theirUsage[r.args[0]])
		switch {
		case r.differs == "" && got != want:
			t.Errorf("$ %v\nPgpool-II's:\n%vours:\n%v", r.call, want, got)
		case r.differs != "" && got == want:
			t.Errorf("$ %v\nno difference: %s", r.call, r.differs)
		}
	}
}
