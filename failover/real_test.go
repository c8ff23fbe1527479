package failover

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/pgcluster"
)

// TestRealFailover kills the primary of three servers: a script promotes the main node, the other standby follows it through a
// script of its own, and pgpool tells so in the lines administrators look for, in their order.
func TestRealFailover(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: starts three servers and a pgpool")
	}
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 3})
	ran := filepath.Join(c.Dir, "ran")
	p := c.TestPgpool(t, pgcluster.PgpoolOptions{
		Binary: pgcluster.BuildProgram(t, t.TempDir(), "pgpool"), Env: []string{"GORACE=atexit_sleep_ms=0"},
		Conf: map[string]string{
			"health_check_period": "1", "sr_check_period": "1", "search_primary_node_timeout": "20",
			"failover_command": fmt.Sprintf(
				`echo failover "%%d %%h %%p %%m %%H %%M %%P %%r %%N %%S" >>%s; [ %%d -eq %%P ] && %s/psql -XAtq -h %%H -p %%r -U postgres postgres -c "SELECT 4711, pg_promote(false)"`,
				ran, c.BinDir),
			"follow_primary_command": fmt.Sprintf(`echo follow "%%d %%m %%P %%M" >>%s; exit 3`, ran),
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	conn, err := p.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "CREATE TABLE written (n int)"); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReplayed(ctx, c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	if err := c.Nodes[0].Kill(ctx); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err = pgcluster.Poll(ctx, "a write", func() (bool, error) { return writes(ctx, p), nil })
	if err != nil {
		t.Fatalf("%v\n%s", err, p.LogTail())
	}
	t.Logf("writes again after %v", time.Since(began).Round(time.Millisecond))
	for _, line := range []string{`Follow primary command for node 2 ended`, `4711\|t`} { // what a command says is read besides
		if _, err := p.WaitLog(ctx, regexp.MustCompile(line)); err != nil {
			t.Fatal(err)
		}
	}
	wantInOrder(
		t, p, "received degenerate backend request for node_id: 0 from pid", "Pgpool-II parent process has received failover request",
		"=== Starting degeneration. shutdown host 127.0.0.1(", "execute command: echo failover",
		"find_primary_node: primary node is 1", "starting follow degeneration", "failover: set new primary node: 1",
		"=== Failover done. shutdown host 127.0.0.1(", "=== Starting follow primary command for node 0 ===",
		"follow_primary_command for node 0 has failed", "exit status 3", "=== Starting follow primary command for node 2 ===",
	)
	wantInOrder(t, p, "execute command: echo failover", "4711|t")
	port := func(i int) int { return c.Nodes[i].Port }
	wantFile(t, ran, fmt.Sprintf("failover  0 127.0.0.1  %d  1 127.0.0.1 0 0 %d 127.0.0.1 %d\nfollow  0  1 0 0\nfollow  2  1 0 0\n",
		port(0), port(1), port(0)))
	wantFile(t, filepath.Join(p.LogDir, StatusFileName), "down\nup\ndown\n")
}

// writes reports whether a new session can write.
func writes(ctx context.Context, p *pgcluster.Pgpool) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := p.Connect(ctx)
	if err != nil {
		return false
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "INSERT INTO written VALUES (1)")
	return err == nil
}

func wantInOrder(t *testing.T, p *pgcluster.Pgpool, lines ...string) {
	t.Helper()
	text, err := p.LogText()
	if err != nil {
		t.Fatal(err)
	}
	rest := text
	for _, line := range lines {
		_, after, found := strings.Cut(rest, line)
		if !found {
			t.Fatalf("no %q, or not in its place, in\n%s", line, text)
		}
		rest = after
	}
}

func wantFile(t *testing.T, path, want string) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s: %v, got\n%swant\n%s", path, err, got, want)
	}
}

// TestRealTwoAtOnce kills the primary and the node that would be promoted: the third one is.
func TestRealTwoAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: starts three servers and a pgpool")
	}
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 3})
	p := c.TestPgpool(t, pgcluster.PgpoolOptions{
		Binary: pgcluster.BuildProgram(t, t.TempDir(), "pgpool"), Env: []string{"GORACE=atexit_sleep_ms=0"},
		Conf: map[string]string{
			"health_check_period": "1", "sr_check_period": "1", "search_primary_node_timeout": "20",
			"failover_command": fmt.Sprintf(
				`[ %%d -eq %%P ] && %s/psql -XAtq -h %%H -p %%r -U postgres postgres -c "SELECT pg_promote(false)"`, c.BinDir),
		},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := c.Nodes[0].Exec(ctx, "CREATE TABLE written (n int)"); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReplayed(ctx, c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{1, 0} {
		if err := c.Nodes[i].Kill(ctx); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	if err := pgcluster.Poll(ctx, "a write", func() (bool, error) { return writes(ctx, p), nil }); err != nil {
		t.Fatalf("%v\n%s", err, p.LogTail())
	}
	t.Logf("writes again after %v", time.Since(began).Round(time.Millisecond))
	wantFile(t, filepath.Join(p.LogDir, StatusFileName), "down\ndown\nup\n")
}

// TestRealFalsePrimary promotes a standby beside the primary, whom the other standby goes on to follow.
func TestRealFalsePrimary(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: starts three servers and a pgpool")
	}
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 3})
	p := c.TestPgpool(t, pgcluster.PgpoolOptions{
		Binary: pgcluster.BuildProgram(t, t.TempDir(), "pgpool"), Env: []string{"GORACE=atexit_sleep_ms=0"},
		Conf: map[string]string{"sr_check_period": "1", "detach_false_primary": "on"},
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := c.Nodes[1].Promote(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := p.WaitLog(ctx, regexp.MustCompile(`=== Failover done. shutdown host`)); err != nil {
		t.Fatalf("%v\n%s", err, p.LogTail())
	}
	wantInOrder(
		t, p, "node 1 says it is a primary, but node 0 is: it is a false primary",
		"received degenerate backend request for node_id: 1 from pid", "failover: set new primary node: 0", "=== Failover done",
	)
	wantFile(t, filepath.Join(p.LogDir, StatusFileName), "up\ndown\nup\n")
}
