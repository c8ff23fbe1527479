package e2e

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"gopgpool/internal/pgcluster"
)

// pgbench runs it on a database that was initialised and returns its report.
func pgbench(t *testing.T, connString string, args ...string) string {
	t.Helper()
	args = append(append([]string{"-n"}, args...), connString)
	output, err := shared.Cluster(t).Command(t.Context(), "pgbench", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("pgbench %s: %v\n%s", strings.Join(args, " "), err, output)
	}
	return string(output)
}

// benchDatabase makes a database with the tables of pgbench.
func benchDatabase(t *testing.T, p *pgcluster.Pgpool, db string) {
	t.Helper()
	onServer(t, 0, "CREATE DATABASE "+db+" TEMPLATE template0")
	output, err := shared.Cluster(t).Command(t.Context(), "pgbench", "-i", "-q", "-s", "1", p.ConnString("dbname="+db)).CombinedOutput()
	if err != nil {
		t.Fatalf("pgbench -i: %v\n%s", err, output)
	}
	replayed(t)
}

// Manual, statement_level_load_balance: "the load balancing node is decided for each read query". Each node's share of the
// statements is within 5 % of its weight.
func TestStatementLevelShare(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{
		"statement_level_load_balance": "on", "backend_weight0": "2", "backend_weight1": "1", "backend_weight2": "1",
	})
	benchDatabase(t, p, "e2e_share")
	before := selectCounts(t, p)
	const clients, each = 4, 5000
	pgbench(t, p.ConnString("dbname=e2e_share"), "-S", "-M", "prepared", "-c", fmt.Sprint(clients), "-t", fmt.Sprint(each))
	after := selectCounts(t, p)
	for node, weight := range []float64{0.5, 0.25, 0.25} {
		share := float64(after[node]-before[node]) / (clients * each)
		if math.Abs(share/weight-1) > 0.05 {
			t.Errorf("node %d: share %.4f, weight %.4f", node, share, weight)
		}
	}
}

// Manual, Load Balancing: without statement_level_load_balance the node is chosen once a session, by weight. The choices of
// some hundred sessions stand a χ² test that one in a million would fail by chance.
func TestSessionLevelChoice(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"backend_weight0": "1", "backend_weight1": "2", "backend_weight2": "3"})
	const sessions, limit = 300, 27.6 // two degrees of freedom
	seen := make([]float64, 3)
	for range sessions {
		conn, err := p.Connect(t.Context(), simple)
		if err != nil {
			t.Fatal(err)
		}
		first := value(t, conn, where)
		if again := value(t, conn, where); again != first {
			t.Fatalf("a session read from %s and %s", first, again)
		}
		seen[nodeOf(t, first)]++
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	chi2 := 0.0
	for node, weight := range []float64{1.0 / 6, 2.0 / 6, 3.0 / 6} {
		expected := weight * sessions
		chi2 += (seen[node] - expected) * (seen[node] - expected) / expected
	}
	if chi2 > limit {
		t.Errorf("χ² = %.1f for choices %v", chi2, seen)
	}
}

func TestWeightZero(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"backend_weight0": "0", "backend_weight2": "0", "statement_level_load_balance": "on"})
	conn := connect(t, p)
	for range 50 {
		if node := nodeOf(t, value(t, conn, where)); node != 1 {
			t.Fatalf("node %d", node)
		}
	}
}

func TestLoadBalanceModeOff(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"load_balance_mode": "off"})
	for range 10 {
		if node := nodeOf(t, value(t, connect(t, p), where)); node != 0 {
			t.Fatalf("node %d", node)
		}
	}
}

// Manual, database_redirect_preference_list, app_name_redirect_preference_list, user_redirect_preference_list.
func TestRedirectLists(t *testing.T) {
	t.Parallel()
	onServer(t, 0, "CREATE DATABASE e2e_redirect1 TEMPLATE template0")
	onServer(t, 0, "CREATE ROLE e2e_reader LOGIN")
	replayed(t)
	p := start(t, map[string]string{
		"statement_level_load_balance":      "on",
		"user_redirect_preference_list":     "e2e_reader:2",
		"database_redirect_preference_list": "postgres:primary,e2e_redirect[0-4]:1",
		"app_name_redirect_preference_list": "myapp:2,other.*:standby,half:1(0.5)",
	})
	for _, tc := range []struct {
		words string
		want  []int
	}{
		{"dbname=postgres", []int{0}},
		{"dbname=e2e_redirect1", []int{1}},
		{"dbname=e2e_redirect1 application_name=myapp", []int{2}},
		{"dbname=postgres application_name=otherapp", []int{1, 2}},
		{"dbname=postgres user=e2e_reader", []int{0}},
		{"dbname=template1 user=e2e_reader", []int{2}},
		{"dbname=template1", []int{0, 1, 2}},
		{"dbname=template1 application_name=half", []int{0, 1, 2}},
	} {
		conn := connect(t, p, tc.words)
		seen := map[int]int{}
		const reads = 60
		for range reads {
			seen[nodeOf(t, value(t, conn, where))]++
		}
		if len(seen) != len(tc.want) {
			t.Errorf("%s: reads on %v, want nodes %v", tc.words, seen, tc.want)
		}
		for _, node := range tc.want {
			if seen[node] == 0 {
				t.Errorf("%s: no read on node %d, %v", tc.words, node, seen)
			}
		}
	}
}

// Manual, PGPOOL EXPLAIN ROUTE is ours: the node and the reason, and nothing runs.
func TestExplainRoute(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"backend_weight0": "0", "backend_weight2": "0"})
	for sql, node := range map[string]string{"SELECT 1": "1", "CREATE TABLE e2e_never (a int)": "0"} {
		rows := psql(t, p, "PGPOOL EXPLAIN ROUTE "+sql)
		if len(rows) != 2 || rows[1][0] != node || rows[1][len(rows[1])-1] == "" {
			t.Errorf("%s: %v, want node %s and a reason", sql, rows, node)
		}
	}
	conn := connect(t, p)
	if _, err := conn.Exec(t.Context(), "SELECT * FROM e2e_never"); sqlState(err) != "42P01" {
		t.Errorf("the statement ran: %v", err)
	}
}
