package site

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gopgpool/internal/hosts"
	"gopgpool/internal/pgcluster"
)

// OurDir is where programs of ours are on the hosts.
const OurDir = "/srv/gopgpool"

// pcpPrograms are the names of pcp, without pcp_.
var pcpPrograms = [...]string{
	"attach_node", "detach_node", "node_count", "node_info", "promote_node", "recovery_node", "stop_pgpool", "watchdog_info",
}

// Programs builds pgpool, the pcp programs, one program with many names, and others of ours, for all hosts to have in their PATH.
func Programs(tb testing.TB, others ...string) (shares []hosts.Share, path []string) {
	tb.Helper()
	dir, links := filepath.Join(tb.TempDir(), "bin"), tb.TempDir()
	share := func(source, name string) {
		shares, path = append(shares, hosts.Share{Source: source, Target: OurDir + "/" + name}), append(path, OurDir+"/"+name)
	}
	share(filepath.Dir(pgcluster.BuildProgram(tb, dir, "pgpool")), "bin")
	for _, name := range append(others, "pcp") {
		pgcluster.BuildProgram(tb, dir, name)
	}
	for _, name := range pcpPrograms {
		Must(tb, os.Symlink(OurDir+"/bin/pcp", filepath.Join(links, "pcp_"+name)))
	}
	share(links, "pcp")
	return shares, path
}

// Extensions shows the hosts PostgreSQL's directory of extensions with pgpool_recovery added.
func Extensions(tb testing.TB) hosts.Share {
	tb.Helper()
	bin, err := pgcluster.FindBinaries("")
	if err != nil {
		tb.Skip(err) // as New does
	}
	out, err := exec.Command(filepath.Join(bin, "pg_config"), "--sharedir").Output()
	Must(tb, err)
	theirs := filepath.Join(strings.TrimSpace(string(out)), "extension")
	dir := filepath.Join(tb.TempDir(), "extension")
	Must(tb, os.CopyFS(dir, os.DirFS(theirs)))
	for _, name := range []string{"pgpool_recovery.control", "pgpool_recovery--1.4.sql"} {
		text, err := os.ReadFile(filepath.Join(Repository(tb), "extension", name))
		Must(tb, err)
		Must(tb, os.WriteFile(filepath.Join(dir, name), text, 0o644))
	}
	return hosts.Share{Source: dir, Target: theirs}
}
