package wirescript_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/pgcluster"
	"gopgpool/internal/wirescript"
)

// With feedback the snapshot of a script that reads on a standby holds back no replay that another script waits for.
var shared = pgcluster.NewShared(pgcluster.Options{
	Config: map[string]string{"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s"},
})

func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }

// TestScripts runs every script of testdata/wire against the primary and through pgpool; what PostgreSQL answers is right.
func TestScripts(t *testing.T) {
	t.Parallel() // the tests that run scripts have databases and pgpools of their own
	files, err := filepath.Glob("../../testdata/wire/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	w := newWorld(t)
	variants := w.variants(t, "wire")
	t.Run("all", func(t *testing.T) {
		for _, file := range files {
			name := strings.TrimSuffix(filepath.Base(file), ".txt")
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				script := readScript(t, file)
				primary := shared.Cluster(t).Nodes[0]
				want, err := script.Run(t.Context(), w.direct(primary, "wire_direct"))
				if testing.Verbose() {
					t.Logf("PostgreSQL:\n%s", strings.Join(want.Lines(), "\n"))
				}
				if err != nil {
					lines := want.Lines()
					t.Fatalf("%v\n%s", err, strings.Join(lines[max(0, len(lines)-12):], "\n"))
				}
				for _, v := range variants {
					if v.name == "pooled" && slices.Contains(alone, name) {
						continue
					}
					t.Run(v.name, func(t *testing.T) { compare(t, script, want, v.target) })
				}
			})
		}
	})
}

// alone are the scripts that TestOneServerConnection runs instead of TestScripts where connections are shared: what currval tells outside
// a transaction is refused there when another session has used the connection since nextval.
var alone = []string{"functions"}

// TestOwnScripts runs the scripts of testdata/wire_own, where we do other than PostgreSQL and the script says what: with one server, for
// what each of several has heard of is a matter of chance.
func TestOwnScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../testdata/wire_own/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	w := newWorld(t)
	w.database(t, "own")
	p := w.pgpool(t, nil, 1)
	target := w.target(net.JoinHostPort(p.Host, fmt.Sprint(p.Port)), "own", 0)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			got, err := readScript(t, file).Run(t.Context(), target)
			if err != nil {
				lines := got.Lines()
				t.Fatalf("%v\n%s", err, strings.Join(lines[max(0, len(lines)-20):], "\n"))
			}
		})
	}
}

// TestOneServerConnection runs scripts where all sessions share one server connection: what a session does not have, another one has just
// left there.
func TestOneServerConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.database(t, "alone_direct")
	w.database(t, "alone")
	p := w.pgpool(t, map[string]string{"pool_mode": "transaction", "default_pool_size": "1"}, 1)
	target := w.target(net.JoinHostPort(p.Host, fmt.Sprint(p.Port)), "alone", 0)
	for _, name := range append([]string{"unnamed", "unknown_names"}, alone...) {
		t.Run(name, func(t *testing.T) {
			script := readScript(t, "../../testdata/wire/"+name+".txt")
			want, err := script.Run(t.Context(), w.direct(shared.Cluster(t).Nodes[0], "alone_direct"))
			if err != nil {
				t.Fatal(err)
			}
			compare(t, script, want, target)
		})
	}
}

// variantEnv names the ways to try, separated by commas; all without it.
const variantEnv = "WIRE_VARIANT"

// variant is a way through pgpool.
type variant struct {
	name   string
	target wirescript.Target
}

// variants starts a pgpool for each way, and makes it a database; the one for the direct way is made too.
func (w *world) variants(t *testing.T, prefix string) []variant {
	t.Helper()
	w.database(t, prefix+"_direct")
	var out []variant
	for _, v := range []struct {
		name string
		conf map[string]string
		chop int
	}{
		// The first reads on a standby always, so that reads and writes never meet on one server by chance.
		{"session", map[string]string{"backend_weight0": "0"}, 0},
		{"statement", map[string]string{"statement_level_load_balance": "on"}, 0},
		{"chopped", map[string]string{"statement_level_load_balance": "on", "backend_weight0": "0"}, 3},
		{"one", nil, 0},
		{"pooled", map[string]string{"pool_mode": "transaction"}, 0},
	} {
		if only := os.Getenv(variantEnv); only != "" && !slices.Contains(strings.Split(only, ","), v.name) {
			continue
		}
		w.database(t, prefix+"_"+v.name)
		servers := 0
		if v.name == "one" || v.name == "pooled" {
			servers = 1
		}
		p := w.pgpool(t, v.conf, servers)
		out = append(out, variant{v.name, w.target(net.JoinHostPort(p.Host, fmt.Sprint(p.Port)), prefix+"_"+v.name, v.chop)})
	}
	return out
}

func (w *world) direct(primary *pgcluster.Node, database string) wirescript.Target {
	return w.target(net.JoinHostPort(primary.Host, fmt.Sprint(primary.Port)), database, 0)
}

// compare runs a script and wants the transcript of PostgreSQL.
func compare(t *testing.T, script *wirescript.Script, want wirescript.Transcript, target wirescript.Target) {
	t.Helper()
	if d := difference(t, script, want, target); d != "" {
		t.Error(d)
	}
}

// difference runs a script; "" if the transcript is as wanted.
func difference(t *testing.T, script *wirescript.Script, want wirescript.Transcript, target wirescript.Target) string {
	t.Helper()
	got, err := script.Run(t.Context(), target)
	expected := want.Lines()
	if err != nil { // what was to follow says nothing
		expected = expected[:min(len(expected), len(got)+2)]
	}
	diff := wirescript.Diff(expected, got.Lines())
	if diff == "" && err == nil {
		return ""
	}
	return fmt.Sprintf("%v\n- PostgreSQL, + pgpool:\n%s", err, diff)
}

func readScript(t *testing.T, file string) *wirescript.Script {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	script, err := wirescript.Parse(filepath.Base(file), string(text))
	if err != nil {
		t.Fatal(err)
	}
	return script
}

// world is what the targets share: connections of our own to all servers.
type world struct {
	mu    sync.Mutex // one question at a time
	nodes []*pgx.Conn
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	for _, n := range shared.Cluster(t).Nodes {
		conn, err := n.Connect(t.Context(), "default_query_exec_mode=simple_protocol", "application_name=wirescript")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		w.nodes = append(w.nodes, conn)
	}
	return w
}

func (w *world) pgpool(t *testing.T, conf map[string]string, servers int) *pgcluster.Pgpool {
	t.Helper()
	// One built with the race detector waits for a second at its end otherwise.
	return shared.Pgpool(t, pgcluster.PgpoolOptions{Conf: conf, Servers: servers, Env: []string{"GORACE=atexit_sleep_ms=0"}})
}

func (w *world) database(t *testing.T, name string) {
	t.Helper()
	for _, sql := range []string{"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "CREATE DATABASE " + name} {
		if err := shared.Cluster(t).Nodes[0].Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) target(address, database string, chop int) wirescript.Target {
	return wirescript.Target{
		Address: address, User: "postgres", Database: database, Chop: chop,
		Setup: func(ctx context.Context, sql string) error {
			config := w.nodes[0].Config()
			config.Database = database
			conn, err := pgx.ConnectConfig(ctx, config)
			if err != nil {
				return err
			}
			defer conn.Close(ctx)
			_, err = conn.Exec(ctx, sql)
			return err
		},
		Holds: w.holds, Settle: w.settle,
	}
}

func (w *world) holds(ctx context.Context, sql string) (bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, conn := range w.nodes {
		var yes bool
		if err := conn.QueryRow(ctx, sql).Scan(&yes); err != nil || yes {
			return yes, err
		}
	}
	return false, nil
}

// settle waits until the standbys have replayed what is committed. The commit of the message flushes whole records up to a place
// that can be reached; in an open transaction the flushed end may lie within a record.
func (w *world) settle(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lsn string
	if err := w.nodes[0].QueryRow(ctx, "SELECT pg_logical_emit_message(true, '', '')::text").Scan(&lsn); err != nil {
		return err
	}
	limit, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, conn := range w.nodes[1:] {
		err := pgcluster.Poll(limit, "a standby replays "+lsn, func() (done bool, err error) {
			err = conn.QueryRow(ctx, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, true)", lsn).Scan(&done)
			return done, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
