package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// columns are those of release 4.7, in its order.
var columns = map[string]string{
	"pool_nodes": "node_id hostname port status pg_status lb_weight role pg_role select_cnt load_balance_node replication_delay " +
		"replication_state replication_sync_state last_status_change",
	"pool_processes": "pool_pid start_time client_connection_count database username backend_connection_time pool_counter status",
	"pool_pools": "pool_pid start_time client_connection_count pool_id backend_id database username backend_connection_time " +
		"client_connection_time client_disconnection_time client_idle_duration majorversion minorversion pool_counter " +
		"pool_backendpid pool_connected status load_balance_node client_host client_port statement",
	"pool_version": "pool_version",
	"pool_cache": "num_cache_hits num_selects cache_hit_ratio num_hash_entries used_hash_entries num_cache_entries " +
		"used_cache_entries_size free_cache_entries_size fragment_cache_entries_size",
	"pool_health_check_stats": "node_id hostname port status role last_status_change total_count success_count fail_count skip_count " +
		"retry_count average_retry_count max_retry_count max_duration min_duration average_duration last_health_check " +
		"last_successful_health_check last_skip_health_check last_failed_health_check",
	"pool_backend_stats": "node_id hostname port status role select_cnt insert_cnt update_cnt delete_cnt ddl_cnt other_cnt panic_cnt " +
		"fatal_cnt error_cnt",
	"pool_status": "item value description",
	"pool_watchdog": "node_id host pgpool_port wd_port state role priority term leader quorum lease_left vip reason last_heard " +
		"membership", // ours
}

// Manual, SQL type commands: "pgpool-II has some SQL type commands", through simple and extended queries.
func TestShowColumns(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"num_init_children": "4", "max_pool": "2", "health_check_period": "1"})
	perProtocol := map[string]*pgx.Conn{"simple": connect(t, p, simple), "extended": connect(t, p)}
	rowsOf := map[string]int{
		"pool_nodes": 3, "pool_processes": 4, "pool_pools": 4 * 2 * 3, "pool_version": 1, "pool_cache": 1,
		"pool_health_check_stats": 3, "pool_backend_stats": 3, "pool_watchdog": 0,
	}
	for command, want := range columns {
		for protocol, conn := range perProtocol {
			rows, err := conn.Query(t.Context(), "SHOW "+command)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range rows.FieldDescriptions() {
				got = append(got, f.Name)
			}
			n := 0
			for rows.Next() {
				n++
			}
			if err := rows.Err(); err != nil {
				t.Errorf("%s, %s: %v", command, protocol, err)
			}
			if text := strings.Join(got, " "); text != want {
				t.Errorf("%s, %s: columns\n%s\nwant\n%s", command, protocol, text, want)
			}
			if count, ok := rowsOf[command]; ok && n != count {
				t.Errorf("%s, %s: %d rows, want %d", command, protocol, n, count)
			}
		}
	}
}

func TestShowNodesTellsWhatIs(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{
		"health_check_period": "1", "sr_check_period": "1", "backend_weight0": "1", "backend_weight1": "2", "backend_weight2": "1",
	})
	var rows table
	eventually(t, "the standbys are seen streaming, and all nodes answer within the time they are given", func() bool {
		rows = psql(t, p, "SHOW pool_nodes")
		return slices.Equal(rows.column(t, "replication_state"), []string{"", "streaming", "streaming"}) &&
			!slices.Contains(rows.column(t, "pg_status"), "down") && !slices.Contains(rows.column(t, "pg_role"), "unknown")
	})
	for column, want := range map[string][]string{
		"node_id":                {"0", "1", "2"},
		"pg_status":              {"up", "up", "up"},
		"lb_weight":              {"0.250000", "0.500000", "0.250000"},
		"role":                   {"primary", "standby", "standby"},
		"pg_role":                {"primary", "standby", "standby"},
		"replication_sync_state": {"", "async", "async"},
	} {
		if got := rows.column(t, column); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", column, got, want)
		}
	}
	for _, status := range rows.column(t, "status") {
		if status != "up" && status != "waiting" {
			t.Errorf("status %s", status)
		}
	}
	if n := len(slices.DeleteFunc(rows.column(t, "load_balance_node"), func(v string) bool { return v == "false" })); n != 1 {
		t.Errorf("%d load balance nodes", n)
	}
}

// SHOW in a transaction does not end it, and is refused in a failed one.
func TestShowKeepsTransaction(t *testing.T) {
	t.Parallel()
	conn := connect(t, start(t, nil), simple)
	exec(t, conn, "BEGIN")
	exec(t, conn, "SHOW pool_version")
	if got := conn.PgConn().TxStatus(); got != 'T' {
		t.Errorf("state %c after SHOW in a transaction", got)
	}
	if _, err := conn.Exec(t.Context(), "SELECT 1/0"); sqlState(err) != "22012" {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SHOW pool_version"); sqlState(err) != "25P02" {
		t.Errorf("in a failed transaction: %v", err)
	}
	exec(t, conn, "ROLLBACK")
	if got := value(t, conn, "SHOW pool_version"); !strings.HasPrefix(got, "4.7.") {
		t.Errorf("pool_version %s", got)
	}
}

func TestBackendStats(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"backend_weight0": "0", "backend_weight2": "0"})
	conn := connect(t, p, simple)
	tab := name(t, "s")
	for _, sql := range []string{
		"CREATE TABLE " + tab + " (a int)", "INSERT INTO " + tab + " VALUES (1)", "UPDATE " + tab + " SET a = 2",
		"DELETE FROM " + tab, "DROP TABLE " + tab, "SELECT 1", "SELECT 2",
	} {
		exec(t, conn, sql)
	}
	if _, err := conn.Exec(t.Context(), "SELECT 1/0"); err == nil {
		t.Fatal("no error")
	}
	rows := psql(t, p, "SHOW pool_backend_stats")
	for column, want := range map[string][]string{
		"select_cnt": {"0", "3", "0"}, "insert_cnt": {"1", "0", "0"}, "update_cnt": {"1", "0", "0"},
		"delete_cnt": {"1", "0", "0"}, "ddl_cnt": {"2", "0", "0"}, "error_cnt": {"0", "1", "0"}, "fatal_cnt": {"0", "0", "0"},
	} {
		if got := rows.column(t, column); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", column, got, want)
		}
	}
}

func TestPgpoolSetAndShow(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	conn := connect(t, p, simple)
	if got := value(t, conn, "PGPOOL SHOW client_idle_limit"); got != "0" {
		t.Errorf("client_idle_limit %s", got)
	}
	exec(t, conn, "PGPOOL SET client_idle_limit TO 77")
	if got := value(t, conn, "PGPOOL SHOW client_idle_limit"); !strings.HasPrefix(got, "77") {
		t.Errorf("after SET: %s", got)
	}
	if got := value(t, connect(t, p, simple), "PGPOOL SHOW client_idle_limit"); got != "0" {
		t.Errorf("another session: %s", got)
	}
	exec(t, conn, "PGPOOL RESET ALL")
	if got := value(t, conn, "PGPOOL SHOW client_idle_limit"); got != "0" {
		t.Errorf("after RESET: %s", got)
	}
	if _, err := conn.Exec(t.Context(), "PGPOOL SET port TO 1"); err == nil || !strings.Contains(err.Error(), "cannot be changed") {
		t.Errorf("SET port: %v", err)
	}
}
