package e2e

import (
	"regexp"
	"testing"
)

// pgbench's own transaction through three nodes in every protocol mode: none fails, and the books balance.
func TestPgbench(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"statement_level_load_balance": "on"})
	benchDatabase(t, p, "e2e_bench")
	db := p.ConnString("dbname=e2e_bench")
	transactions := regexp.MustCompile(`number of transactions actually processed: (\d+)/(\d+)`)
	failed := regexp.MustCompile(`number of failed transactions: 0 `)
	for _, mode := range []string{"simple", "extended", "prepared"} {
		for _, script := range []string{"tpcb-like", "select-only"} {
			report := pgbench(t, db, "-b", script, "-M", mode, "-c", "8", "-j", "2", "-t", "60")
			m := transactions.FindStringSubmatch(report)
			if m == nil || m[1] != m[2] || !failed.MatchString(report) {
				t.Errorf("%s, %s:\n%s", script, mode, report)
			}
		}
		report := pgbench(t, db, "-C", "-S", "-M", mode, "-c", "4", "-t", "10")
		if !failed.MatchString(report) {
			t.Errorf("-C, %s:\n%s", mode, report)
		}
	}
	replayed(t)
	conn := connect(t, p, "dbname=e2e_bench")
	delta := value(t, conn, "SELECT sum(delta)::text FROM pgbench_history")
	for _, sum := range []string{
		"SELECT sum(abalance)::text FROM pgbench_accounts", "SELECT sum(bbalance)::text FROM pgbench_branches",
		"SELECT sum(tbalance)::text FROM pgbench_tellers",
	} {
		if got := value(t, conn, sum); got != delta {
			t.Errorf("%s: %s, history says %s", sum, got, delta)
		}
	}
	if got := value(t, conn, "SELECT count(*)::text FROM pgbench_history"); got != "1440" {
		t.Errorf("%s transactions in pgbench_history, want 1440", got)
	}
}
