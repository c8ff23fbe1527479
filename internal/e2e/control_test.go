package e2e

import (
	"regexp"
	"strings"
	"syscall"
	"testing"

	"gopgpool/internal/pgcluster"
)

func reload(t *testing.T, p *pgcluster.Pgpool, conf map[string]string) {
	t.Helper()
	if err := p.Rewrite(conf); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// Manual, reload: parameters marked so take effect, others wait for a restart; ours refuses a file with a bad value as a whole.
func TestReload(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"backend_weight0": "0", "backend_weight2": "0", "client_idle_limit": "1000"})
	setting := func(parameter string) string {
		t.Helper()
		return psql(t, p, "PGPOOL SHOW "+parameter)[1][0]
	}
	if node := nodeOf(t, value(t, connect(t, p), where)); node != 1 {
		t.Fatalf("node %d", node)
	}
	reload(t, p, map[string]string{"backend_weight1": "0", "backend_weight2": "1", "client_idle_limit": "2000", "num_init_children": "5"})
	eventually(t, "the new file counts", func() bool { return strings.HasPrefix(setting("client_idle_limit"), "2000") })
	// The weights are the failover's, who learns of them last.
	eventually(t, "the new weights count", func() bool { return nodeOf(t, value(t, connect(t, p), where)) == 2 })
	if got := setting("num_init_children"); got != "32" {
		t.Errorf("num_init_children %s without a restart", got)
	}
	if _, err := p.WaitLog(t.Context(), regexp.MustCompile(`num_init_children`)); err != nil {
		t.Error(err)
	}
	reload(t, p, map[string]string{"backend_weight1": "1", "backend_weight2": "0", "client_idle_limit": "never"})
	if _, err := p.WaitLog(t.Context(), regexp.MustCompile(`client_idle_limit.*never|never.*client_idle_limit`)); err != nil {
		t.Fatal(err)
	}
	if got := setting("client_idle_limit"); !strings.HasPrefix(got, "2000") {
		t.Errorf("client_idle_limit %s after a refused reload", got)
	}
	if node := nodeOf(t, value(t, connect(t, p), where)); node != 2 {
		t.Errorf("after a refused reload: node %d", node)
	}
}

// Rules that were reloaded count for the next client; broken ones leave the old ones in force.
func TestReloadOfRules(t *testing.T) {
	t.Parallel()
	p := startWith(t, pgcluster.PgpoolOptions{Conf: map[string]string{"enable_pool_hba": "on"}})
	connect(t, p, "dbname=template1")
	rules := strings.TrimPrefix(p.EtcDir, shared.Cluster(t).Dir+"/") + "/pool_hba.conf"
	write := func(text string) {
		t.Helper()
		if err := shared.Cluster(t).WriteFile(rules, text, 0o600); err != nil {
			t.Fatal(err)
		}
		reload(t, p, nil)
	}
	write("host postgres all 127.0.0.1/32 trust\n")
	eventually(t, "the new rules count", func() bool {
		conn, err := p.Connect(t.Context(), "dbname=template1")
		if err == nil {
			conn.Close(t.Context())
		}
		return err != nil
	})
	write("host all all 127.0.0.1/32 nonsense\n")
	if _, err := p.WaitLog(t.Context(), regexp.MustCompile(`nonsense`)); err != nil {
		t.Fatal(err)
	}
	connect(t, p, "dbname=postgres")
	if _, err := p.Connect(t.Context(), "dbname=template1"); err == nil {
		t.Error("broken rules let everybody in")
	}
}

// Manual, pgpool stop: smart mode waits for the clients, fast mode does not.
func TestStopSmart(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	conn := connect(t, p)
	exec(t, conn, "BEGIN")
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nobody else is let in", func() bool {
		other, err := p.Connect(t.Context(), "connect_timeout=2")
		if err == nil {
			other.Close(t.Context())
		}
		return err != nil
	})
	if got := value(t, conn, "SELECT 'still served'"); got != "still served" {
		t.Error(got)
	}
	exec(t, conn, "COMMIT")
	select {
	case <-p.Done():
		t.Fatal("stopped under a client")
	default:
	}
	conn.Close(t.Context())
	if code, err := p.Wait(t.Context()); code != 0 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestStopFast(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	idle, busy := connect(t, p), connect(t, p)
	done := sleeping(t, busy, "e2e fast stop")
	code, err := p.Stop(t.Context(), syscall.SIGINT)
	if code != 0 || err != nil {
		t.Errorf("exit code %d, %v", code, err)
	}
	if err := <-done; err == nil {
		t.Error("the running statement ended well")
	}
	if err := idle.Ping(t.Context()); err == nil {
		t.Error("the idle session lives")
	}
	eventually(t, "the statement ends on the server", func() bool { return !running(t, 0, "e2e fast stop") })
}
