package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"gopgpool/internal/pgcluster"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	cancel()
	if errors.Is(err, errUsage) {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(1)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "watchdog_setup:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseOptions(args, os.Getenv)
	if err != nil {
		return err
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("the current directory %s must be empty", dir)
	}
	s := &setup{options: o, dir: dir, socketDir: os.Getenv("PGSOCKET_DIR"), key: rand.Text(), out: out}
	if s.socketDir == "" {
		s.socketDir = "/tmp"
	}
	if s.program, err = pgpoolSetup(); err != nil {
		return err
	}
	if s.binDir, err = pgcluster.FindBinaries(""); err != nil {
		return err
	}
	return s.make(ctx)
}

// pgpoolSetup finds the program that makes one pgpool.
func pgpoolSetup() (string, error) {
	if path := os.Getenv("PGPOOL_SETUP"); path != "" {
		path, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("$PGPOOL_SETUP: %w", err)
		}
		return filepath.Abs(path)
	}
	return pgcluster.FindProgram("pgpool_setup")
}

// setup is one run of the program.
type setup struct {
	options
	dir, socketDir string
	program        string // pgpool_setup
	binDir         string // of PostgreSQL
	key            string // wd_authkey
	out            io.Writer
}

func (s *setup) say(line string) {
	_, _ = fmt.Fprintln(s.out, line) // progress only
}

// make builds everything and leaves it stopped, unless it is to be left running.
func (s *setup) make(ctx context.Context) error {
	s.say("Starting set up")
	for i := range s.pgpools {
		s.say(fmt.Sprintf("============= setting up pgpool %d =============", i))
		if err := s.makePgpool(ctx, i); err != nil {
			return fmt.Errorf("pgpool %d: %w", i, err)
		}
	}
	if err := s.writeScripts(); err != nil {
		return err
	}
	s.say("To start the whole system, use " + filepath.Join(s.dir, "startall") + ".")
	s.say("To shut down the whole system, use " + filepath.Join(s.dir, "shutdownall") + ".")
	if !s.keepUp {
		return nil
	}
	return s.command(ctx, s.dir, filepath.Join(s.dir, "startall")).Run()
}

func (s *setup) command(ctx context.Context, dir, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, s.out, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it tidies up
	return cmd
}

// makePgpool makes the directory of a pgpool; the servers are in that of the first.
func (s *setup) makePgpool(ctx context.Context, id int) error {
	dir := s.place(id)
	if err := s.mkdir(dir); err != nil {
		return err
	}
	args := []string{"-m", s.mode, "-n", strconv.Itoa(s.servers), "-p", strconv.Itoa(s.port(id)), "-pg", strconv.Itoa(s.pgBasePort)}
	if s.debug {
		args = append(args, "-d")
	}
	if id > 0 {
		args = append(args, "-e")
	}
	if err := s.command(ctx, dir, s.program, args...).Run(); err != nil {
		return fmt.Errorf("pgpool_setup: %w", err)
	}
	if id > 0 {
		for i := range s.servers {
			if err := os.Symlink(fmt.Sprintf("../pgpool0/data%d", i), filepath.Join(dir, fmt.Sprintf("data%d", i))); err != nil {
				return err
			}
		}
	}
	return s.addWatchdog(id)
}

func (s *setup) place(id int) string { return filepath.Join(s.dir, fmt.Sprintf("pgpool%d", id)) }
