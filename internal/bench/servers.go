package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"gopgpool/internal/pgcluster"
)

// scale is pgbench's: 100,000 accounts each.
const scale = 10

// serverSettings are the same on every server. Nothing wakes up while figures are taken: no checkpoint, no vacuum.
func serverSettings() map[string]string {
	return map[string]string{
		"max_connections":    "400", // the sessions each proxy keeps, and 64 clients
		"shared_buffers":     "256MB",
		"max_wal_size":       "8GB",
		"checkpoint_timeout": "1h",
		"autovacuum":         "off",
	}
}

// idleSettings let a proxy in session mode open a server connection for every idle client, if it must.
func idleSettings() map[string]string {
	return map[string]string{
		"max_connections":           fmt.Sprint(idleSessions + 200),
		"shared_buffers":            "16MB",
		"max_locks_per_transaction": "10",
		"autovacuum":                "off",
	}
}

// startServers starts a primary and the standbys, with the role and database of the benchmark. The caller closes it.
func startServers(ctx context.Context, nodes int, settings map[string]string) (*pgcluster.Cluster, error) {
	servers, err := pgcluster.Start(ctx, pgcluster.Options{Nodes: nodes, User: adminName, Config: settings})
	if err != nil {
		return nil, err
	}
	if err := makeDatabase(ctx, servers, " LOGIN"); err != nil {
		return nil, closing(servers, err)
	}
	return servers, nil
}

// makeDatabase makes the benchmark's role, with options, and its database.
func makeDatabase(ctx context.Context, servers *pgcluster.Cluster, options string) error {
	err := servers.Nodes[0].Exec(ctx, "CREATE ROLE "+userName+options)
	if err == nil {
		err = servers.Nodes[0].Exec(ctx, "CREATE DATABASE "+databaseName+" OWNER "+userName)
	}
	return err
}

func closing(servers *pgcluster.Cluster, err error) error {
	if closeErr := servers.Close(); closeErr != nil {
		return fmt.Errorf("%w; and then: %w", err, closeErr)
	}
	return err
}

// fill makes pgbench's tables on the primary and waits until every standby has them.
func fill(ctx context.Context, servers *pgcluster.Cluster, pgbench string) error {
	cmd := exec.CommandContext(ctx, pgbench, "--initialize", "--quiet", fmt.Sprintf("--scale=%d", scale))
	cmd.Env = clientEnv(servers.Nodes[0].Port)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgbench --initialize: %w: %s", err, firstLines(string(out), 3))
	}
	// The first readers would otherwise write: hint bits, and a standby cannot keep them.
	if err := servers.Nodes[0].Exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	return servers.WaitReplayed(ctx, servers.Nodes[0])
}

// tidy gives every TPC-B run the same small tables to start with.
func tidy(ctx context.Context, port int) error {
	conn, err := connect(ctx, port, userName, databaseName)
	if err != nil {
		return err
	}
	for _, statement := range []string{
		"VACUUM pgbench_branches", "VACUUM pgbench_tellers", "TRUNCATE pgbench_history",
	} {
		if _, err = conn.Exec(ctx, statement).ReadAll(); err != nil {
			break
		}
	}
	if closeErr := conn.Close(ctx); err == nil {
		err = closeErr
	}
	return err
}

func ports(servers *pgcluster.Cluster) []int {
	var all []int
	for _, n := range servers.Nodes {
		all = append(all, n.Port)
	}
	return all
}

// pgbenchPath is the program itself, not the script Debian puts before it.
func pgbenchPath() (string, error) {
	dir, err := pgcluster.FindBinaries("")
	if err != nil {
		return "", err
	}
	return exec.LookPath(filepath.Join(dir, "pgbench"))
}

// serverVersion is what the server programs say of themselves.
func serverVersion(ctx context.Context, pgbench string) string {
	return strings.TrimPrefix(version(ctx, filepath.Join(filepath.Dir(pgbench), "postgres")), "postgres (PostgreSQL) ")
}
