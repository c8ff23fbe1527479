package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"gopgpool/internal/pgcluster"
)

// httpGet asks pgpool's HTTP server.
func httpGet(t *testing.T, port int, path string) (status int, body string) {
	t.Helper()
	res, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d%s", port, path))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

// Health checks and metrics are answered while all places for clients are taken and the pool is paused, and tell what the servers are.
func TestHTTPWhenNobodyElseIsServed(t *testing.T) {
	t.Parallel()
	ports, err := pgcluster.ReservePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	defer ports.Close()
	port := ports.Numbers[0]
	p := start(t, map[string]string{
		"num_init_children": "2", "reserved_connections": "1", "http_port": fmt.Sprint(port), "http_listen_addresses": "127.0.0.1",
		"sr_check_period": "1", "delay_threshold_by_time": "1h",
	})
	admin := connect(t, p)
	exec(t, admin, "SELECT 1")
	if _, err := p.Connect(t.Context()); sqlState(err) != "53300" {
		t.Errorf("another client: %v", err)
	}
	eventually(t, "the standbys are measured", func() bool {
		status, _ := httpGet(t, port, "/replica?lag=1h")
		return status == http.StatusOK
	})
	exec(t, admin, "PGPOOL PAUSE")
	for path, want := range map[string]int{
		"/health": 200, "/liveness": 200, "/readiness": 200, "/primary": 200, "/replica?lag=1GB": 200, "/nodes/0/primary": 200, "/nodes/1/replica": 200,
		"/nodes/1/primary": 503, "/leader": 503, "/nodes/99": 404,
	} {
		status, body := httpGet(t, port, path)
		if strings.Contains(path, "lag=") { // what was measured some seconds ago does not count
			eventually(t, path, func() bool { status, body = httpGet(t, port, path); return status == want })
		}
		if status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	_, text := httpGet(t, port, "/metrics")
	for _, want := range []string{
		`pgpool_node_role{node="0",role="primary"} 1`, `pgpool_client_slots_used{mode="session"} 1`, `pgpool_logins_total{result="ok"} 1`,
		`pgpool_errors_total{class="53"} 1`, `pgpool_sessions{database="postgres",state="idle"} 1`, "go_goroutines", "process_open_fds",
		`pgpool_build_info{`, `pgpool_primary_node 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s in %s", want, text)
		}
	}
	exec(t, admin, "PGPOOL RESUME")
}
