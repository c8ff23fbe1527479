package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"gopgpool/internal/pgcluster"
)

// suite is one of PostgreSQL's, with the program that runs it.
type suite struct {
	dir      string // below the sources
	program  string // below the directory of the server's test programs
	schedule string
	database string
}

var (
	regression = suite{dir: "regress", program: "regress/pg_regress", schedule: "parallel_schedule", database: "regression"}
	isolation  = suite{dir: "isolation", program: "isolation/pg_isolation_regress", schedule: "isolation_schedule", database: "isolation_regression"}
)

// target is where the suite connects.
type target struct {
	host string
	port int
}

// printed is what each test of a run printed, by its name.
type printed map[string]string

// run runs the suite in a copy that belongs to the servers' user: servers read its data files, and write beside its results.
func (s suite) run(ctx context.Context, cluster *pgcluster.Cluster, o options, at target) (printed, error) {
	dir := filepath.Join(cluster.Dir, s.dir)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(o.sources, s.dir))); err != nil {
		return nil, err
	}
	owner, err := owned(cluster.Nodes[0].DataDir, dir)
	if err != nil {
		return nil, err
	}
	lib := filepath.Join(cluster.Dir, "lib")
	if err := os.CopyFS(lib, os.DirFS(filepath.Join(o.sources, "lib"))); err != nil {
		return nil, err
	}
	cmd := cluster.Command(ctx, "unused", s.arguments(cluster, dir, lib, o, at)...)
	cmd.Path = filepath.Join(filepath.Dir(cluster.BinDir), "lib/pgxs/src/test", s.program)
	cmd.Args[0] = cmd.Path
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: owner, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 { // some tests failed: the comparison judges
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, out)
	}
	got, err := load(filepath.Join(dir, "results"))
	if err == nil && o.keep != "" {
		fmt.Println(summary(string(out)))
	}
	return got, err
}

func (s suite) arguments(cluster *pgcluster.Cluster, dir, lib string, o options, at target) []string {
	args := []string{
		"--host", at.host, "--port", strconv.Itoa(at.port), "--user", "postgres", "--dbname", s.database,
		"--inputdir", dir, "--outputdir", dir, "--dlpath", lib, "--bindir", cluster.BinDir, "--encoding", "UTF8",
	}
	if o.width > 0 {
		args = append(args, "--max-connections", strconv.Itoa(o.width))
	}
	if len(o.tests) > 0 {
		return append(args, o.tests...)
	}
	return append(args, "--schedule", filepath.Join(dir, s.schedule))
}

// summary is pg_regress' own verdict, the last lines it writes.
func summary(out string) string {
	var kept []string
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, "FAILED") || strings.Contains(line, "tests") || strings.Contains(line, "failed") {
			kept = append(kept, strings.TrimSpace(line))
		}
	}
	return strings.Join(kept, "\n")
}

// owned gives everything below dir to whom model belongs to, and returns how to run programs as that user; nil is this process'.
func owned(model, dir string) (*syscall.Credential, error) {
	info, err := os.Stat(model)
	if err != nil {
		return nil, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == os.Geteuid() {
		return nil, nil
	}
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, int(stat.Uid), int(stat.Gid)))
	})
	return &syscall.Credential{Uid: stat.Uid, Gid: stat.Gid}, err
}

// load reads the results of a run from a directory.
func load(dir string) (printed, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.out"))
	if err != nil {
		return nil, err
	}
	got := printed{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		got[strings.TrimSuffix(filepath.Base(file), ".out")] = string(text)
	}
	if len(got) == 0 {
		return nil, fmt.Errorf("no results in %s", dir)
	}
	return got, nil
}

// save writes the results of a run into a directory.
func (p printed) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range p {
		if err := os.WriteFile(filepath.Join(dir, name+".out"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
