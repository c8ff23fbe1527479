package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/site"
)

// This file is what an operator has at the sixth machine: psql, the pcp programs, and his eyes.

// psql runs a statement through pgpool and returns the lines, columns parted by "|".
func (s *example) psql(ctx context.Context, user, sql string, options ...string) ([]string, error) {
	out, err := s.client.Run(ctx, "postgres", fmt.Sprintf("psql -X -q -A -P footer=off -w -h %s -p 9999 -U %s -d postgres %s -c %q 2>&1",
		s.address, user, strings.Join(options, " "), sql))
	return strings.Split(strings.TrimSpace(out), "\n"), err
}

func (s *example) nodes(ctx context.Context) ([]map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lines, err := s.psql(ctx, "pgpool", "SHOW pool_nodes")
	if err != nil {
		return nil, err
	}
	return site.Rows(strings.Join(lines, "\n")), nil
}

// statuses is the short form in which the steps say what SHOW pool_nodes is to show.
func (s *example) statuses(ctx context.Context) string {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err.Error()
	}
	return site.Brief(nodes, "node_id", "status", "role")
}

// awaitNodes waits for what SHOW pool_nodes shows.
func (s *example) awaitNodes(t *testing.T, limit time.Duration, want string) {
	t.Helper()
	s.Await(t, want, limit, func() (string, bool) {
		seen := s.statuses(t.Context())
		return seen, seen == want
	})
}

// pcp runs one of the pcp programs as an operator does and returns what it says. It exits with 0 also when the server refuses.
func (s *example) pcp(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := s.client.Run(ctx, "postgres", "pcp_"+program+" -w -h "+s.address+" -p 9898 -U pgpool "+strings.Join(arguments, " "))
	site.Must(t, err)
	return strings.TrimSpace(out)
}

// recover has a node rebuilt from the primary.
func (s *example) recover(t *testing.T, id int) {
	t.Helper()
	began := time.Now()
	if said := s.pcp(t, "recovery_node", "-n", fmt.Sprint(id)); said != "pcp_recovery_node -- Command Successful" {
		t.Fatalf("pcp_recovery_node -n %d: %s", id, said)
	}
	t.Logf("%6.1f s for pcp_recovery_node -n %d", time.Since(began).Seconds(), id)
}

// pcpSays runs a pcp program that is to be refused.
func (s *example) pcpSays(t *testing.T, want, program string, arguments ...string) {
	t.Helper()
	if said := s.pcp(t, program, arguments...); !strings.Contains(said, want) {
		t.Errorf("pcp_%s %v: %q, want %q", program, arguments, said, want)
	}
}

// commands returns how failover_command and follow_primary_command were called since the last time.
func (s *example) commands(t *testing.T) []string {
	t.Helper()
	text := s.Run(t, s.pgpool.Host, "postgres", "cat "+commandLog)
	if text == "" {
		return nil
	}
	all := strings.Split(text, "\n")
	taken := s.taken[s.pgpool]
	s.taken[s.pgpool] = len(all)
	return all[taken:]
}

// awaitCommands waits until the commands were called, and expects no other call.
func (s *example) awaitCommands(t *testing.T, limit time.Duration, want ...string) {
	t.Helper()
	var got []string
	s.Await(t, fmt.Sprintf("%d commands were called", len(want)), limit, func() (string, bool) {
		got = append(got, s.commands(t)...)
		return strings.Join(got, "\n"), len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("commands called:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// awaitStreaming waits until a server has these standbys: user, host, state, sync_state.
func (s *example) awaitStreaming(t *testing.T, primary int, want ...string) {
	t.Helper()
	s.Await(t, fmt.Sprintf("%s streams to %s", serverName(primary), strings.Join(want, " and ")), patience, func() (string, bool) {
		got := s.onServer(t, primary, "SELECT concat_ws(' ', usename, application_name, host(client_addr), state, sync_state) "+
			"FROM pg_stat_replication ORDER BY application_name")
		return got, got == strings.Join(want, "\n")
	})
}

// expectRecovery asks the servers themselves whether they are standbys.
func (s *example) expectRecovery(t *testing.T, want map[int]string) {
	t.Helper()
	for id, w := range want {
		if got := s.onServer(t, id, "SELECT pg_is_in_recovery()"); got != w {
			t.Errorf("%s: pg_is_in_recovery is %s, want %s", serverName(id), got, w)
		}
	}
}
