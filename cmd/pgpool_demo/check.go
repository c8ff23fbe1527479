package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"gopgpool/internal/pgcluster"
)

// checkTimeout bounds the whole check.
const checkTimeout = 60 * time.Second

// step is one statement of the check and what its output must be.
type step struct {
	sql  string
	want func(output string) error
}

// check runs psql through the pgpool: that all nodes are shown, that a write arrives and can be read, and that reads are spread
// over the servers.
func check(ctx context.Context, c *pgcluster.Cluster, p *pgcluster.Pgpool, say func(string)) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if err := waitForNodes(ctx, c, p); err != nil {
		return err
	}
	steps := []step{
		{"CREATE TABLE demo AS SELECT 42 AS answer", nothing},
		{"SELECT answer FROM demo", equals("42")},
		{strings.Repeat("SELECT inet_server_port();", 20*len(c.Nodes)), spreads(c)},
	}
	for _, s := range steps {
		say("psql: " + shorten(s.sql))
		output, err := psql(ctx, c, p, s.sql)
		if err != nil {
			return err
		}
		if err := s.want(output); err != nil {
			return fmt.Errorf("%s: %w", shorten(s.sql), err)
		}
		if strings.HasPrefix(s.sql, "CREATE") {
			if err := c.WaitReplayed(ctx, c.Nodes[0]); err != nil {
				return err
			}
		}
	}
	say("all statements did what they should")
	return nil
}

// waitForNodes waits until the pgpool shows one line a server, all of them up, and one primary: it may answer before it has
// found out.
func waitForNodes(ctx context.Context, c *pgcluster.Cluster, p *pgcluster.Pgpool) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout/3)
	defer cancel()
	var last error
	err := pgcluster.Poll(ctx, "SHOW pool_nodes", func() (bool, error) {
		output, err := psql(ctx, c, p, "SHOW pool_nodes")
		if err == nil {
			last = showsNodes(output, len(c.Nodes))
		}
		return err == nil && last == nil, err
	})
	return errors.Join(err, last)
}

// psql sends each statement as a query of its own: the text goes through standard input.
func psql(ctx context.Context, c *pgcluster.Cluster, p *pgcluster.Pgpool, sql string) (string, error) {
	cmd := c.Command(ctx, "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", p.ConnString())
	cmd.Stdin = strings.NewReader(sql + ";\n")
	output, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql: %s: %w\n%s", shorten(sql), err, output)
	}
	return strings.TrimSpace(string(output)), nil
}

func shorten(sql string) string {
	first, _, more := strings.Cut(sql, ";")
	if more {
		return fmt.Sprintf("%s (%d times)", first, strings.Count(sql, ";"))
	}
	return sql
}

func nothing(output string) error { return equals("")(output) }

func equals(want string) func(string) error {
	return func(output string) error {
		if output != want {
			return fmt.Errorf("%q came, not %q", output, want)
		}
		return nil
	}
}

func showsNodes(output string, nodes int) error {
	lines := strings.Split(output, "\n")
	if len(lines) != nodes {
		return fmt.Errorf("%d lines for %d servers:\n%s", len(lines), nodes, output)
	}
	primaries := 0
	for _, line := range lines {
		fields := strings.Split(line, "|")
		if len(fields) < 8 || (fields[3] != "up" && fields[3] != "waiting") {
			return fmt.Errorf("a node is not up:\n%s", output)
		}
		if fields[6] == "primary" {
			primaries++
		}
	}
	if primaries != 1 {
		return fmt.Errorf("%d primaries:\n%s", primaries, output)
	}
	return nil
}

// spreads wants every line to be a server's port, and more than one server if there are several.
func spreads(c *pgcluster.Cluster) func(string) error {
	ports := map[string]bool{}
	for _, n := range c.Nodes {
		ports[fmt.Sprint(n.Port)] = true
	}
	return func(output string) error {
		seen := map[string]bool{}
		for line := range strings.Lines(output) {
			port := strings.TrimSpace(line)
			if !ports[port] {
				return fmt.Errorf("%q is no server's port", port)
			}
			seen[port] = true
		}
		if len(seen) < min(2, len(c.Nodes)) {
			return fmt.Errorf("all reads went to one server of %d", len(c.Nodes))
		}
		return nil
	}
}
