package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// This file is what an operator has at the sixth machine: psql, the pcp programs, and his eyes.

// psql runs a statement through pgpool and returns the lines, columns parted by "|".
func (s *site) psql(ctx context.Context, user, sql string, options ...string) ([]string, error) {
	out, err := s.client.Run(ctx, "postgres", fmt.Sprintf("psql -X -q -A -P footer=off -w -h pgpool -p 9999 -U %s -d postgres %s -c %q 2>&1",
		user, strings.Join(options, " "), sql))
	return strings.Split(strings.TrimSpace(out), "\n"), err
}

// node is a line of SHOW pool_nodes.
type node map[string]string

func (n node) String() string { return n["node_id"] + " " + n["status"] + " " + n["role"] }

func (s *site) nodes(ctx context.Context) ([]node, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	lines, err := s.psql(ctx, "pgpool", "SHOW pool_nodes")
	if err != nil {
		return nil, err
	}
	names := strings.Split(lines[0], "|")
	var nodes []node
	for _, line := range lines[1:] {
		n := node{}
		for i, value := range strings.Split(line, "|") {
			if i < len(names) {
				n[names[i]] = value
			}
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// statuses is the short form in which the steps say what SHOW pool_nodes is to show.
func (s *site) statuses(ctx context.Context) string {
	nodes, err := s.nodes(ctx)
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, n := range nodes {
		all = append(all, n.String())
	}
	return strings.Join(all, ", ")
}

// awaitNodes waits for what SHOW pool_nodes shows. A node nobody has used yet is waiting, which is as good as up.
func (s *site) awaitNodes(t *testing.T, limit time.Duration, want string) {
	t.Helper()
	s.await(t, want, limit, func() (string, bool) {
		seen := strings.ReplaceAll(s.statuses(t.Context()), "waiting", "up")
		return seen, seen == want
	})
}

// pcp runs one of the pcp programs as an operator does and returns what it says. It exits with 0 also when the server refuses.
func (s *site) pcp(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	out, err := s.client.Run(ctx, "postgres", "pcp_"+program+" -w -h pgpool -p 9898 -U pgpool "+strings.Join(arguments, " "))
	must(t, err)
	return strings.TrimSpace(out)
}

// recover has a node rebuilt from the primary.
func (s *site) recover(t *testing.T, id int) {
	t.Helper()
	began := time.Now()
	if said := s.pcp(t, "recovery_node", "-n", fmt.Sprint(id)); said != "pcp_recovery_node -- Command Successful" {
		t.Fatalf("pcp_recovery_node -n %d: %s", id, said)
	}
	t.Logf("%6.1f s for pcp_recovery_node -n %d", time.Since(began).Seconds(), id)
}

// pcpSays runs a pcp program that is to be refused.
func (s *site) pcpSays(t *testing.T, want, program string, arguments ...string) {
	t.Helper()
	if said := s.pcp(t, program, arguments...); !strings.Contains(said, want) {
		t.Errorf("pcp_%s %v: %q, want %q", program, arguments, said, want)
	}
}

// logSays looks for texts in pgpool's log behind what was there at mark.
func (s *site) logSays(t *testing.T, mark int, texts ...string) {
	t.Helper()
	log := s.log(t)[mark:]
	for _, text := range texts {
		if !strings.Contains(log, text) {
			t.Errorf("pgpool's log does not say %q", text)
		}
	}
}

// awaitLog waits for a text in pgpool's log behind mark.
func (s *site) awaitLog(t *testing.T, limit time.Duration, mark int, text string) {
	t.Helper()
	s.await(t, fmt.Sprintf("%q in the log", text), limit, func() (string, bool) {
		log := s.log(t)[mark:]
		return "\n" + tail(log, 10), strings.Contains(log, text)
	})
}

func (s *site) log(t *testing.T) string {
	t.Helper()
	text, err := s.pgpool.ReadFile(pgpoolLog)
	must(t, err)
	return string(text)
}

// mark is where pgpool's log ends now.
func (s *site) mark(t *testing.T) int { return len(s.log(t)) }

// commands returns how failover_command and follow_primary_command were called since the last time.
func (s *site) commands(t *testing.T) []string {
	t.Helper()
	text := s.run(t, s.pgpool, "postgres", "cat "+commandLog)
	if text == "" {
		return nil
	}
	all := strings.Split(text, "\n")
	taken := s.taken
	s.taken = len(all)
	return all[taken:]
}

// awaitCommands waits until the commands were called, and expects no other call.
func (s *site) awaitCommands(t *testing.T, limit time.Duration, want ...string) {
	t.Helper()
	var got []string
	s.await(t, fmt.Sprintf("%d commands were called", len(want)), limit, func() (string, bool) {
		got = append(got, s.commands(t)...)
		return strings.Join(got, "\n"), len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("commands called:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// awaitStreaming waits until a server has these standbys: user, host, state, sync_state.
func (s *site) awaitStreaming(t *testing.T, primary int, want ...string) {
	t.Helper()
	s.await(t, fmt.Sprintf("%s streams to %s", serverName(primary), strings.Join(want, " and ")), 20*time.Second, func() (string, bool) {
		got := s.onServer(t, primary, "SELECT concat_ws(' ', usename, application_name, host(client_addr), state, sync_state) "+
			"FROM pg_stat_replication ORDER BY application_name")
		return got, got == strings.Join(want, "\n")
	})
}

// expectRecovery asks the servers themselves whether they are standbys.
func (s *site) expectRecovery(t *testing.T, want map[int]string) {
	t.Helper()
	for id, w := range want {
		if got := s.onServer(t, id, "SELECT pg_is_in_recovery()"); got != w {
			t.Errorf("%s: pg_is_in_recovery is %s, want %s", serverName(id), got, w)
		}
	}
}
