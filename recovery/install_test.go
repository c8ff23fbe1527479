package recovery

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gopgpool/internal/pgcluster"
)

// installation is a PostgreSQL whose extension directory we may write to. Its programs are copies, since they look for their files
// relative to themselves; everything else is linked.
type installation struct {
	binDir, extensionDir string
	original             string // the directory of the installation it was made from
}

// newInstallation makes one below a temporary directory, without any pgpool_recovery.
func newInstallation(t *testing.T) installation {
	t.Helper()
	bin, err := pgcluster.FindBinaries("")
	if err != nil {
		if errors.Is(err, pgcluster.ErrNoServer) && os.Getenv(pgcluster.RequireEnv) == "" {
			t.Skip(err)
		}
		t.Fatal(err)
	}
	config := filepath.Join(bin, "pg_config")
	if _, err := os.Stat(config); err != nil {
		t.Skipf("a copy of PostgreSQL cannot be made without pg_config: %v", err)
	}
	share, lib := pgConfig(t, config, "--sharedir"), pgConfig(t, config, "--pkglibdir")
	root, err := os.MkdirTemp("", "recovery-install-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	check(t, os.Chmod(root, 0o755))
	in := installation{
		binDir: filepath.Join(root, bin), extensionDir: filepath.Join(root, share, "extension"),
		original: filepath.Join(share, "extension"),
	}
	check(t, os.MkdirAll(in.binDir, 0o755))
	check(t, os.MkdirAll(filepath.Dir(filepath.Join(root, lib)), 0o755))
	check(t, os.MkdirAll(in.extensionDir, 0o755))
	check(t, os.Symlink(lib, filepath.Join(root, lib)))
	linkAll(t, share, filepath.Join(root, share), func(name string) bool { return name != "extension" })
	linkAll(t, in.original, in.extensionDir, func(name string) bool { return !strings.HasPrefix(name, "pgpool") })
	for _, program := range []string{"postgres", "initdb", "pg_config", "pg_ctl", "psql", "pg_basebackup", "pg_rewind", "pg_controldata"} {
		copyFile(t, filepath.Join(bin, program), filepath.Join(in.binDir, program))
	}
	return in
}

// install runs what an operator runs.
func (in installation) install(t *testing.T, args ...string) (output string, err error) {
	t.Helper()
	args = append([]string{"--no-print-directory", "install-extension", "PG_CONFIG=" + filepath.Join(in.binDir, "pg_config")}, args...)
	cmd := exec.CommandContext(t.Context(), "make", args...)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func pgConfig(t *testing.T, program, what string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program, what).Output()
	check(t, err)
	return strings.TrimSpace(string(out))
}

func linkAll(t *testing.T, from, to string, wanted func(name string) bool) {
	t.Helper()
	entries, err := os.ReadDir(from)
	check(t, err)
	for _, e := range entries {
		if wanted(e.Name()) {
			check(t, os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())))
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	check(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	check(t, err)
	_, err = io.Copy(out, in)
	check(t, errors.Join(err, out.Close()))
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
