package failover

import (
	"context"
	"testing"
	"time"

	"gopgpool/internal/pgcluster"
)

// TestRealSerializable kills the primary of servers whose transactions are serializable by default. A standby refuses every query of
// such a transaction: it is found, promoted, and lets clients in meanwhile all the same.
func TestRealSerializable(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: starts two servers and a pgpool")
	}
	program := pgcluster.BuildProgram(t, t.TempDir(), "pgpool")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 2})
	for _, sql := range []string{
		"CREATE ROLE strict SUPERUSER LOGIN", "ALTER ROLE strict SET default_transaction_isolation = serializable", "CREATE TABLE written (n int)",
	} {
		if err := c.Nodes[0].Exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.WaitReplayed(ctx, c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	p := c.TestPgpool(t, pgcluster.PgpoolOptions{
		Binary: program, Env: []string{"GORACE=atexit_sleep_ms=0"},
		Conf: map[string]string{
			"health_check_period": "1", "sr_check_period": "1", "auto_failover": "on", "sr_check_user": "strict", "recovery_user": "strict",
		},
	})
	if err := c.Nodes[0].Kill(ctx); err != nil {
		t.Fatal(err)
	}
	conn, err := p.Connect(ctx, "user=strict") // a standby lets it in
	if err != nil {
		t.Fatalf("%v\n%s", err, p.LogTail())
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "INSERT INTO written VALUES (1)"); err != nil {
		t.Errorf("%v\n%s", err, p.LogTail())
	}
	wantInOrder(t, p, "auto_failover: node 1 is promoted")
}
