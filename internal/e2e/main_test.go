package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
)

// password is that of every role whose server asks for one.
const password = "secret"

// Members of these roles have to show their password to the servers; everybody else is trusted.
const hba = `host all +ask_password 127.0.0.1/32 password
host all +ask_md5 127.0.0.1/32 md5
host all +ask_scram 127.0.0.1/32 scram-sha-256
`

var shared = pgcluster.NewShared(pgcluster.Options{
	HBA: hba,
	// A standby tells how far it is every second, not every ten.
	Config: map[string]string{"wal_receiver_status_interval": "1s"},
})

func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }

// patience bounds the wait for a condition.
const patience = time.Minute

func start(t *testing.T, conf map[string]string) *pgcluster.Pgpool {
	t.Helper()
	return startWith(t, pgcluster.PgpoolOptions{Conf: conf})
}

// startWith starts a pgpool, which does not wait before it refuses a password; one built with the race detector would wait for a second at
// its end otherwise.
func startWith(t *testing.T, opts pgcluster.PgpoolOptions) *pgcluster.Pgpool {
	t.Helper()
	opts.Env = append(opts.Env, "GORACE=atexit_sleep_ms=0")
	all := map[string]string{}
	if opts.Binary == "" { // Pgpool-II does not know it
		all["auth_delay"] = "0"
	}
	maps.Copy(all, opts.Conf)
	opts.Conf = all
	return shared.Pgpool(t, opts)
}

// connect opens a session that ends with the test.
func connect(t *testing.T, p *pgcluster.Pgpool, words ...string) *pgx.Conn {
	t.Helper()
	conn, err := p.Connect(t.Context(), words...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// simple is the word of a connection string that lets pgx use simple queries.
const simple = "default_query_exec_mode=simple_protocol"

func exec(t *testing.T, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// value is the first column of the first row, as text.
func value(t *testing.T, conn *pgx.Conn, sql string, args ...any) string {
	t.Helper()
	var v string
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// onServer runs SQL on a node, not through pgpool.
func onServer(t *testing.T, node int, sql string) string {
	t.Helper()
	v, err := shared.Cluster(t).Nodes[node].Value(t.Context(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// where asks which node answers a read; the mark keeps the statement apart from others.
const where = "SELECT inet_server_port()::text"

// nodeOf finds the node that answered where.
func nodeOf(t *testing.T, port string) int {
	t.Helper()
	for _, n := range shared.Cluster(t).Nodes {
		if strconv.Itoa(n.Port) == port {
			return n.ID
		}
	}
	t.Fatalf("%q is no server's port", port)
	return -1
}

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := pgcluster.Poll(ctx, what, func() (bool, error) { return ok(), nil }); err != nil {
		t.Fatal(err)
	}
}

// replayed waits until the standbys know what was written.
func replayed(t *testing.T) {
	t.Helper()
	c := shared.Cluster(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.WaitReplayed(ctx, c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
}

// sqlState is the code of a server's error; "" for other errors.
func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// table is the output of psql without alignment: one slice a line, the column names first.
type table [][]string

// psql runs statements through pgpool, each as a query of its own.
func psql(t *testing.T, p *pgcluster.Pgpool, sql string, words ...string) table {
	t.Helper()
	cmd := shared.Cluster(t).Command(t.Context(), "psql", "-X", "-q", "-A", "-P", "footer=off", "-v", "ON_ERROR_STOP=1",
		"-d", p.ConnString(words...))
	cmd.Stdin = strings.NewReader(sql + ";\n")
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("psql: %s: %v\n%s", sql, err, output)
	}
	var rows table
	for line := range strings.Lines(string(output)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "|"))
	}
	return rows
}

// column returns a column's values by its name.
func (rows table) column(t *testing.T, name string) []string {
	t.Helper()
	for i, head := range rows[0] {
		if head != name {
			continue
		}
		var out []string
		for _, row := range rows[1:] {
			out = append(out, row[i])
		}
		return out
	}
	t.Fatalf("no column %s in %v", name, rows[0])
	return nil
}

// selectCounts are the counters of SHOW pool_nodes.
func selectCounts(t *testing.T, p *pgcluster.Pgpool) []int {
	t.Helper()
	var counts []int
	for _, text := range psql(t, p, "SHOW pool_nodes").column(t, "select_cnt") {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		counts = append(counts, n)
	}
	return counts
}

// quoted is the list of values in SQL.
func quoted(values ...string) string {
	return "'" + strings.Join(values, "','") + "'"
}

// name makes a name for an object of this test.
func name(t *testing.T, prefix string) string {
	t.Helper()
	return fmt.Sprintf("%s_%s", prefix, strings.ToLower(strings.NewReplacer("/", "_", "-", "_", " ", "_").Replace(t.Name())))
}
