package health

import (
	"context"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/pgcluster"
)

// TestProgram runs pgpool over two servers: a standby freezes and is detached, thaws and is attached again; a wrong password detaches
// nobody.
func TestProgram(t *testing.T) {
	t.Parallel()
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 2, Auth: "scram-sha-256", Password: password})
	program := shared.Program(t, "pgpool") // which may have to be built
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	settings := map[string]string{
		"health_check_period": "1", "sr_check_period": "1", // on a busy machine nobody but the frozen one must be taken for frozen
		"health_check_timeout": "20", "health_check_timeout1": "3",
		"auto_failback": "on", "auto_failback_interval": "1",
	}
	p, err := c.StartPgpool(ctx, pgcluster.PgpoolOptions{Binary: program, Conf: settings})
	ok(t, err)
	defer func() { ok(t, p.Close(context.WithoutCancel(ctx))) }()
	told := func(line string) {
		t.Helper()
		if _, err := p.WaitLog(ctx, regexp.MustCompile(line)); err != nil {
			text, _ := p.LogText()
			t.Fatalf("not told: %s: %v\n%s", line, err, text)
		}
	}
	client, err := p.Connect(ctx)
	ok(t, err)
	defer client.Close(context.WithoutCancel(ctx))

	ok(t, c.Nodes[1].Pause())
	told(`health check retrying on DB node: 1 \(round:1\)`)
	told(`health check failed on node 1 \(timeout:1\)`)
	told(`=== Failover done. shutdown host `)
	if s := nodeStatus(t, ctx, client); s != "up down" {
		t.Errorf("with a frozen standby the nodes are %s", s)
	}
	ok(t, c.Nodes[1].Resume())
	told(`request auto failback, node id:1`)
	told(`=== Failback done. reconnect host `)

	settings["health_check_password"] = "wrong"
	ok(t, p.Rewrite(settings))
	ok(t, p.Signal(syscall.SIGHUP))
	told(`health check failed on node 0 \(timeout:0\)\n.*password authentication failed.*\n.*HINT:  Check health_check_user and health_check_password`)
	if s := nodeStatus(t, ctx, client); s != "up up" && s != "up waiting" {
		t.Errorf("with a wrong password the nodes are %s", s)
	}
}

// nodeStatus is the column status of SHOW pool_nodes.
func nodeStatus(t *testing.T, ctx context.Context, client *pgx.Conn) string {
	t.Helper()
	rows, err := client.Query(ctx, "SHOW pool_nodes", pgx.QueryExecModeSimpleProtocol)
	ok(t, err)
	text, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (string, error) {
		all, err := r.Values()
		if err != nil {
			return "", err
		}
		return all[3].(string), nil
	})
	ok(t, err)
	if len(text) != 2 {
		t.Fatalf("nodes %q", text)
	}
	return text[0] + " " + text[1]
}
