package authtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/pgcluster"
)

// What pgpool demands of the server's certificate, and what it does without TLS there.
func TestTLSToServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ours, theirs := w.place(t, "roots.crt", read(t, w.ours.root())), w.place(t, "strangers.crt", read(t, w.theirs.root()))
	w.ours.mu.Lock()
	revoking := w.ours.listOf(t, "revoking.crl", []int{w.server.serial})
	w.ours.mu.Unlock()
	revoked := w.place(t, "revoking.crl", read(t, revoking))
	plain := pgcluster.StartTest(t, pgcluster.Options{Nodes: 1}) // a server without TLS
	for _, tt := range []struct {
		what   string
		server *pgcluster.Cluster
		conf   map[string]string
		want   string // pg_stat_ssl.ssl, or refused
	}{
		{"disable", w.cluster, map[string]string{"backend_sslmode": "disable"}, "false"},
		{"allow", w.cluster, map[string]string{"backend_sslmode": "allow"}, "false"},
		{"prefer", w.cluster, map[string]string{"backend_sslmode": "prefer"}, "true"},
		{"require", w.cluster, map[string]string{"backend_sslmode": "require"}, "true"},
		{"verify-ca", w.cluster, map[string]string{"backend_sslmode": "verify-ca", "backend_sslrootcert": ours}, "true"},
		{"verify-ca, another authority", w.cluster, map[string]string{"backend_sslmode": "verify-ca", "backend_sslrootcert": theirs}, "refused"},
		{"verify-ca, another name", w.cluster, map[string]string{"backend_sslmode": "verify-ca", "backend_sslrootcert": ours, "backend_hostname0": "127.0.0.2"}, "true"},
		{"verify-full", w.cluster, map[string]string{"backend_sslmode": "verify-full", "backend_sslrootcert": ours}, "true"},
		{"verify-full, by name", w.cluster, map[string]string{"backend_sslmode": "verify-full", "backend_sslrootcert": ours, "backend_hostname0": "localhost"}, "true"},
		{"verify-full, another name", w.cluster, map[string]string{"backend_sslmode": "verify-full", "backend_sslrootcert": ours, "backend_hostname0": "127.0.0.2"}, "refused"},
		{"verify-full, another authority", w.cluster, map[string]string{"backend_sslmode": "verify-full", "backend_sslrootcert": theirs}, "refused"},
		{"revoked", w.cluster, map[string]string{"backend_sslmode": "verify-full", "backend_sslrootcert": ours, "backend_sslcrl": revoked}, "refused"},
		{"of this node", w.cluster, map[string]string{"backend_sslmode": "verify-full", "backend_sslrootcert": theirs, "backend_sslrootcert0": ours}, "true"},
		{"ssl = on", w.cluster, map[string]string{"ssl": "on"}, "true"},
		{"ssl = on, another authority", w.cluster, map[string]string{"ssl": "on", "ssl_ca_cert": theirs, "ssl_crl_file": ""}, "refused"},
		{"prefer, no TLS there", plain, map[string]string{"backend_sslmode": "prefer"}, "false"},
		{"require, no TLS there", plain, map[string]string{"backend_sslmode": "require"}, "refused"},
		{"verify-full, no TLS there", plain, map[string]string{"backend_sslmode": "verify-full", "backend_sslrootcert": ours}, "refused"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			conf := map[string]string{"health_check_period": "0", "sr_check_period": "0", "failover_on_backend_error": "off"}
			if tt.conf["ssl"] == "on" {
				maps.Copy(conf, w.clientTLS(t))
			}
			maps.Copy(conf, tt.conf)
			p := tt.server.TestPgpool(t, pgcluster.PgpoolOptions{
				Binary: shared.Program(t, "pgpool"), Conf: conf, Env: []string{"GORACE=atexit_sleep_ms=0"},
			})
			ctx, cancel := contextWithin(t)
			defer cancel()
			got := "refused"
			conn, err := p.Connect(ctx)
			if err == nil {
				defer conn.Close(context.Background())
				got = value(t, conn, "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
			} else if refusal(err).state == "error" {
				t.Errorf("no answer: %v", err)
			}
			if got != tt.want {
				t.Errorf("%s, want %s: %v", got, tt.want, err)
			}
		})
	}
}

// A failover under sessions with TLS on both sides: who has nothing open goes on, new clients come in, with TLS to the new primary.
func TestFailoverWithTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 2})
	for _, n := range c.Nodes {
		data := filepath.Base(n.DataDir)
		for name, text := range map[string]string{
			"server.crt": read(t, w.server.cert), "server.key": read(t, w.server.key),
			pgcluster.NodeConf: read(t, filepath.Join(n.DataDir, pgcluster.NodeConf)) + "ssl = on\n",
		} {
			if err := c.WriteFile(filepath.Join(data, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := n.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range c.Nodes {
		waitFor(t, "TLS", func() bool { v, err := n.Value(t.Context(), "SHOW ssl"); return err == nil && v == "on" })
	}
	conf := w.clientTLS(t)
	maps.Copy(conf, map[string]string{
		"backend_sslmode": "verify-full", "backend_sslrootcert": conf["ssl_ca_cert"], "health_check_period": "1",
		"health_check_max_retries": "0", "sr_check_period": "1", "search_primary_node_timeout": "20", "backend_weight1": "0",
		"failover_command": fmt.Sprintf(`[ %%d = %%P ] && %s/psql -X -h %%H -p %%r -U postgres -d postgres -c "SELECT pg_promote()"`, c.BinDir),
	})
	p := c.TestPgpool(t, pgcluster.PgpoolOptions{Binary: shared.Program(t, "pgpool"), Conf: conf, Env: []string{"GORACE=atexit_sleep_ms=0"}})
	words := p.ConnString("sslmode=verify-full", "sslrootcert="+w.ours.root())
	idle, busy := session(t, words), session(t, words)
	const ask = "SELECT current_setting('port') || ' ' || ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
	if got, want := value(t, idle, ask), fmt.Sprintf("%d true", c.Nodes[0].Port); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, err := busy.Exec(t.Context(), "BEGIN; CREATE TABLE never (a int)"); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReplayed(t.Context(), c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	if err := c.Nodes[0].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%d true", c.Nodes[1].Port)
	if got := value(t, idle, ask); got != want {
		t.Errorf("the idle session: %s, want %s", got, want)
	}
	if _, err := busy.Exec(t.Context(), "SELECT 1"); err == nil || refusal(err).state == "error" {
		t.Errorf("the open transaction: %v", err)
	}
	waitFor(t, "a new session writes", func() bool {
		conn, err := pgx.Connect(t.Context(), words)
		if err != nil {
			return false
		}
		_, err = conn.Exec(t.Context(), "CREATE TABLE after (a int)")
		return errors.Join(err, conn.Close(t.Context())) == nil
	})
	if got := value(t, session(t, words), ask); got != want {
		t.Errorf("a new session: %s, want %s", got, want)
	}
}
