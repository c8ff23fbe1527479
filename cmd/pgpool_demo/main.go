package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"gopgpool/internal/pgcluster"
)

// Exit statuses: 2 is a wrong command line, as package flag has it.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	o, err := parseOptions(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		os.Exit(exitUsage)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err = run(ctx, o, os.Stdout)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgpool_demo:", err)
		os.Exit(exitFailed)
	}
}

// options is the command line.
type options struct {
	port    int // pgpool's; PCP gets the next one, 9898 beside 9999, or a free one where a server has the next
	pgPort  int // of server 0; 0: free ports
	nodes   int
	check   bool
	program string
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("pgpool_demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.port, "port", 9999, "pgpool's port; 0 takes a free one")
	flags.IntVar(&o.pgPort, "pgport", 0, "port of the first PostgreSQL server; 0 takes free ones")
	flags.IntVar(&o.nodes, "nodes", 3, "number of PostgreSQL servers, the primary included")
	flags.BoolVar(&o.check, "check", false, "run some statements through pgpool and stop, instead of waiting for Ctrl-C")
	flags.StringVar(&o.program, "pgpool", "", "the pgpool program; default: the one beside this program")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if err := o.validate(flags.Args()); err != nil {
		_, _ = fmt.Fprintln(stderr, "pgpool_demo:", err)
		return o, err
	}
	return o, nil
}

func (o options) validate(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case o.nodes < 1 || o.nodes > 32:
		return fmt.Errorf("-nodes %d: from 1 to 32", o.nodes)
	case o.port < 0 || o.port > 65534 || o.pgPort < 0 || o.pgPort+o.nodes > 65535:
		return errors.New("a port is a number from 1 to 65535")
	}
	return nil
}

func (o options) pcpPort() int {
	switch o.port {
	case 0:
		return 0
	case 9999:
		return 9898
	}
	pcp := o.port + 1
	if pcp >= o.pgPort && pcp < o.pgPort+o.nodes {
		return 0 // that is a server's
	}
	return pcp
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	if o.program == "" {
		if o.program, err = pgcluster.FindProgram("pgpool"); err != nil {
			return err
		}
	}
	say := func(line string) { _, _ = fmt.Fprintln(out, line) } // progress only
	if o.check {
		o.port = 0
	}
	cluster, err := pgcluster.Start(ctx, pgcluster.Options{Nodes: o.nodes, BasePort: o.pgPort, Slots: true, Progress: say})
	if err != nil {
		return err
	}
	defer func() {
		say("stopping, removing " + cluster.Dir)
		err = errors.Join(err, cluster.Close())
	}()
	say("starting " + o.program)
	pgpool, err := cluster.StartPgpool(ctx, pgcluster.PgpoolOptions{
		Binary: o.program, Port: o.port, PCPPort: o.pcpPort(), Args: []string{"-D"},
		Conf: map[string]string{
			"enable_pool_hba": "on", "statement_level_load_balance": "on", "health_check_period": "5",
			"failover_command": promotion(cluster),
		},
	})
	if err != nil {
		return err
	}
	if o.check {
		return check(ctx, cluster, pgpool, say)
	}
	say(tour(cluster, pgpool))
	select {
	case <-ctx.Done():
		return nil
	case <-pgpool.Done():
		return fmt.Errorf("pgpool ended by itself; the end of its log:\n%s", pgpool.LogTail())
	}
}

// promotion is the failover_command: where the primary is lost, the new main node becomes the primary. The other standbys go on waiting for
// the old one; follow_primary_command would be there for them.
func promotion(c *pgcluster.Cluster) string {
	return fmt.Sprintf(`[ %%d = %%P ] && %s -X -q -h %%H -p %%r -U postgres -d postgres -c "SELECT pg_promote()"`, filepath.Join(c.BinDir, "psql"))
}

func tour(c *pgcluster.Cluster, p *pgcluster.Pgpool) string {
	psql := "psql -h 127.0.0.1 -p " + strconv.Itoa(p.Port) + " -U postgres"
	return fmt.Sprintf(`
pgpool listens on port %d, PCP on %d. Its files are in %s, its log is %s.
Try in another terminal:

  %[5]s -c 'SHOW pool_nodes'
  %[5]s -c 'CREATE TABLE t AS SELECT 1 AS a'        # the primary, port %[6]d
  %[5]s -c 'SELECT inet_server_port(), a FROM t'    # one of the %[7]d servers
  %[5]s -c 'PGPOOL EXPLAIN ROUTE SELECT 1'          # where, and why
  pgbench -h 127.0.0.1 -p %[1]d -U postgres -i postgres
  bin/pcp_node_info -h 127.0.0.1 -p %[2]d -U postgres -v   # the password is postgres

  kill -9 $(head -1 %[8]s)   # the primary dies; a psql that is open goes on with the next one

Ctrl-C stops everything and removes %[9]s.
`, p.Port, p.PCPPort, p.EtcDir, p.Log, psql, c.Nodes[0].Port, len(c.Nodes), filepath.Join(c.Nodes[0].DataDir, "postmaster.pid"), c.Dir)
}
