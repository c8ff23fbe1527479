package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// RequireEnv names the environment variable that turns a missing PostgreSQL server from a skipped test into a failed one.
const RequireEnv = "GOPGPOOL_REQUIRE_SERVER"

// ProgramsEnv names the environment variable with the directory of programs to test, instead of building them.
const ProgramsEnv = "GOPGPOOL_BIN"

// Shared is one cluster for all tests of a package, started when the first asks for it:
//
//	var shared = pgcluster.NewShared(pgcluster.Options{})
//
//	func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }
//
//	func TestRead(t *testing.T) {
//		primary := shared.Cluster(t).Nodes[0]
//
// Tests that stop servers or promote them start a cluster of their own with [StartTest].
type Shared struct {
	opts     Options
	start    func() (*Cluster, error)
	mu       sync.Mutex // guards what follows
	cluster  *Cluster
	programs map[string]string
}

// NewShared describes the cluster; nothing is started.
func NewShared(opts Options) *Shared {
	s := &Shared{opts: opts, programs: map[string]string{}}
	s.start = sync.OnceValues(s.startNow)
	return s
}

func (s *Shared) startNow() (*Cluster, error) {
	c, err := Start(context.Background(), s.opts)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cluster = c
	return c, err
}

// Main runs the tests, closes the cluster and returns the exit status for os.Exit: not 0 also when closing found a process
// that had to be killed or a pgpool with a defect.
func (s *Shared) Main(m *testing.M) int {
	status := m.Run()
	s.mu.Lock()
	c := s.cluster
	s.mu.Unlock()
	if c == nil {
		return status
	}
	if err := c.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "closing the cluster:", err)
		return max(status, 1)
	}
	return status
}

// Cluster returns the cluster. Without PostgreSQL the test is skipped, or fails if [RequireEnv] is set.
func (s *Shared) Cluster(tb testing.TB) *Cluster {
	tb.Helper()
	c, err := s.start()
	judge(tb, err)
	return c
}

// StartTest starts a cluster for one test, which closes it.
func StartTest(tb testing.TB, opts Options) *Cluster {
	tb.Helper()
	c, err := Start(tb.Context(), opts)
	judge(tb, err)
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

func judge(tb testing.TB, err error) {
	tb.Helper()
	if errors.Is(err, ErrNoServer) && os.Getenv(RequireEnv) == "" {
		tb.Skip(err)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// Program returns the path of a program of ours (a directory below cmd/), built once and with the race detector if the test
// has it.
func (s *Shared) Program(tb testing.TB, name string) string {
	tb.Helper()
	dir := filepath.Join(s.Cluster(tb).Dir, "bin")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.programs[name] == "" {
		s.programs[name] = BuildProgram(tb, dir, name)
	}
	return s.programs[name]
}

// BuildProgram builds a program of ours into dir and returns its path; or where it is in the directory that [ProgramsEnv] names.
func BuildProgram(tb testing.TB, dir, name string) string {
	tb.Helper()
	if given := os.Getenv(ProgramsEnv); given != "" {
		return filepath.Join(given, name)
	}
	path := filepath.Join(dir, name)
	// What go run has linked stays in Go's cache, for the tests of other packages; go build links each time.
	args := []string{"run", "-buildvcs=false", "-exec=cp -f"}
	if raceEnabled {
		args = append(args, "-race")
	}
	if withPAM() {
		args = append(args, "-tags=pam")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	out, err := exec.CommandContext(tb.Context(), "go", append(args, "gopgpool/cmd/"+name, path)...).CombinedOutput()
	if err != nil {
		tb.Fatalf("building %s: %v\n%s", name, err, out)
	}
	return path
}

// withPAM reports whether the Makefile would link PAM in; tags that somebody has chosen are left alone.
func withPAM() bool {
	_, err := os.Stat("/usr/include/security/pam_appl.h")
	return err == nil && os.Getenv("PAM") != "no" && !strings.Contains(os.Getenv("GOFLAGS"), "-tags")
}

// Pgpool starts a pgpool of ours in front of the shared cluster for one test, which closes it. opts.Binary is filled in.
func (s *Shared) Pgpool(tb testing.TB, opts PgpoolOptions) *Pgpool {
	tb.Helper()
	if opts.Binary == "" {
		opts.Binary = s.Program(tb, "pgpool")
	}
	return s.Cluster(tb).TestPgpool(tb, opts)
}

// TestPgpool starts a pgpool for one test, which closes it and shows the end of its log when it fails.
func (c *Cluster) TestPgpool(tb testing.TB, opts PgpoolOptions) *Pgpool {
	tb.Helper()
	p, err := c.StartPgpool(tb.Context(), opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(context.Background()); err != nil {
			tb.Error(err)
		}
		if tb.Failed() {
			tb.Logf("end of %s:\n%s", p.Log, tail(p.Log, 40))
		}
	})
	return p
}
