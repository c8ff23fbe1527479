package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
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
		fmt.Fprintln(os.Stderr, "pgpool_setup:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseOptions(args, os.Getenv)
	if err != nil {
		return err
	}
	dir, err := emptyWorkingDirectory()
	if err != nil {
		return err
	}
	program, err := pgcluster.FindProgram("pgpool")
	if err != nil {
		return err
	}
	s := &setup{options: o, dir: dir, program: program, out: out}
	if err := s.make(ctx); err != nil {
		return err
	}
	s.summary()
	if !o.keepUp {
		return nil
	}
	// The servers so far were children of this process, which is about to end.
	start := exec.CommandContext(ctx, filepath.Join(dir, "startall"))
	start.Stdout, start.Stderr = out, os.Stderr
	return start.Run()
}

func emptyWorkingDirectory() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("the current directory %s must be empty", dir)
	}
	return dir, nil
}

// setup is one run of the program.
type setup struct {
	options
	dir     string
	program string
	out     io.Writer
	cluster *pgcluster.Cluster
	pgpool  *pgcluster.Pgpool
}

func (s *setup) say(line string) {
	_, _ = fmt.Fprintln(s.out, line) // progress only
}

// make builds everything and leaves it stopped.
func (s *setup) make(ctx context.Context) (err error) {
	mode := "streaming replication"
	if s.raw {
		mode = "raw"
	}
	s.say("Starting set up in " + mode + " mode")
	socketDir := os.Getenv("PGSOCKET_DIR")
	if socketDir == "" {
		socketDir = "/tmp"
	}
	s.cluster, err = pgcluster.New(pgcluster.Options{
		Dir: s.dir, Nodes: s.nodes, Raw: s.raw, BasePort: s.pgBasePort, Host: "localhost", SocketDir: socketDir,
		User: pgcluster.DefaultAccount(), Slots: s.slots, SlotPrefix: slotPrefix, Archive: !s.slots && !s.raw, Fsync: true,
		InitdbArgs: strings.Fields(os.Getenv("INITDBARG")), Progress: s.say,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.cluster.Close()) }()
	if !s.noServers {
		if err := s.cluster.Build(ctx); err != nil {
			return err
		}
		if err := s.makeDatabases(ctx); err != nil {
			return err
		}
	}
	return s.makePgpool(ctx)
}

func (s *setup) makeDatabases(ctx context.Context) error {
	primaries := s.cluster.Nodes[:1]
	if s.raw {
		primaries = s.cluster.Nodes
	}
	for _, n := range primaries {
		if err := n.Exec(ctx, "CREATE DATABASE test"); err != nil {
			return err
		}
	}
	return nil
}

func (s *setup) makePgpool(ctx context.Context) error {
	s.say("creating pgpool.conf, pcp.conf, pool_hba.conf, pool_passwd")
	var args []string
	if s.debug {
		args = append(args, "-d")
	}
	var err error
	s.pgpool, err = s.cluster.NewPgpool(pgcluster.PgpoolOptions{
		Binary: s.program, Dir: s.dir, Port: s.basePort, PCPPort: s.basePort + 1, Conf: s.conf(),
		PCP: s.cluster.Account() + ":" + pgcluster.MD5Hex(s.cluster.Account()) + "\n", Args: append(args, "-D"),
	})
	if err != nil {
		return err
	}
	if err := s.writeScripts(); err != nil {
		return err
	}
	if s.noServers {
		return nil
	}
	s.say("temporarily start pgpool")
	if err := s.pgpool.Start(ctx); err != nil {
		return err
	}
	show := s.cluster.Command(ctx, "psql", "-X", "-P", "pager=off", "-d", s.pgpool.ConnString("dbname=test"), "-c", "SHOW pool_nodes")
	show.Stdout, show.Stderr = s.out, s.out
	if err := show.Run(); err != nil {
		return fmt.Errorf("SHOW pool_nodes: %w", err)
	}
	s.say("shutdown all")
	return s.cluster.Stop(ctx)
}

func (s *setup) summary() {
	s.say("To start the whole system, use " + filepath.Join(s.dir, "startall") + ".")
	s.say("To shut down the whole system, use " + filepath.Join(s.dir, "shutdownall") + ".")
	name := s.cluster.Account()
	s.say(fmt.Sprintf("pcp command user name is %q, password is %q.", name, name))
	s.say("Each PostgreSQL, pgpool and pcp port is as follows:")
	s.say(strings.TrimSpace(s.readmePort()))
	s.say("The info above is in README.port.")
}
