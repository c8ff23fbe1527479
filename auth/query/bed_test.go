package query

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/internal/pgcluster"
)

const superPassword = "s3cret"

var shared = pgcluster.NewShared(pgcluster.Options{Nodes: 1, Auth: "scram-sha-256", Password: superPassword})

func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }

const defaultQuery = "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END " +
	"FROM pg_authid WHERE rolname = $1 AND rolcanlogin"

// bed is an Asker that runs over real servers.
type bed struct {
	*Asker
	store    *cluster.Store
	settings atomic.Pointer[Settings]
}

func viewOf(primary cluster.NodeID, nodes ...*pgcluster.Node) *cluster.View {
	v := &cluster.View{Mode: cluster.ModeStreaming, Primary: primary}
	for i, n := range nodes {
		v.Nodes = append(v.Nodes, cluster.Node{ID: cluster.NodeID(i), Host: n.Host, Port: n.Port, Status: cluster.StatusUp, Epoch: 1})
	}
	return v
}

// newBed starts an Asker, which the test's end stops; nothing of it may be left then.
func newBed(t *testing.T, v *cluster.View, change ...func(*bed)) *bed {
	t.Helper()
	b := &bed{store: cluster.NewStore(v)}
	super := Account{User: "postgres", Password: superPassword}
	roles := super
	roles.Database = "postgres"
	b.settings.Store(&Settings{Entries: super, Query: defaultQuery, Roles: roles, Timeout: 2 * time.Minute})
	var err error
	b.Asker, err = New(Parts{
		Store: b.store, Settings: func() Settings { return *b.settings.Load() },
		Password: func(_, param string) (string, error) {
			if param == "hashed" {
				return "", errors.New("the password is a hash")
			}
			return param, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(b)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if n := len(b.places); n != 0 || len(b.idle) != 0 || len(b.seats) != 0 || len(b.under) != 0 {
			t.Errorf("left: %d places, %d idle, %d seats, %d attempts", n, len(b.idle), len(b.seats), len(b.under))
		}
		noGoroutine(t)
	})
	return b
}

// set changes the settings.
func (b *bed) set(change func(*Settings)) {
	s := *b.settings.Load()
	change(&s)
	b.settings.Store(&s)
}

// publish changes the View.
func (b *bed) publish(change func(*cluster.View)) {
	v := *b.store.Current()
	v.Nodes = append([]cluster.Node(nil), v.Nodes...)
	change(&v)
	b.store.Publish(&v)
}

// connections counts the server's connections of Askers to a database, "" = all.
func connections(t *testing.T, n *pgcluster.Node, database string) string {
	t.Helper()
	return value(t, n, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgpool auth_query' AND datname LIKE $1",
		database+"%")
}

// noConnections waits until those of earlier tests are gone: a server notices the end of a connection when it gets round to it.
func noConnections(t *testing.T, n *pgcluster.Node) {
	t.Helper()
	eventually(t, "the connections of earlier tests are gone", func() bool { return connections(t, n, "") == "0" })
}

func value(t *testing.T, n *pgcluster.Node, sql string, args ...any) string {
	t.Helper()
	v, err := n.Value(context.Background(), sql, args...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// do runs statements as the superuser.
func do(t *testing.T, n *pgcluster.Node, statements ...string) {
	t.Helper()
	ctx := context.Background() // also at the end of a test
	c, err := n.Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(ctx) }()
	for _, sql := range statements {
		if _, err := c.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// role makes a role, which goes with the test.
func role(t *testing.T, n *pgcluster.Node, name, options string) {
	t.Helper()
	do(t, n, fmt.Sprintf(`CREATE ROLE "%s" %s`, strings.ReplaceAll(name, `"`, `""`), options))
	t.Cleanup(func() {
		_ = n.Exec(context.Background(), fmt.Sprintf(`DROP ROLE IF EXISTS "%s"`, strings.ReplaceAll(name, `"`, `""`)))
	})
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := pgcluster.Poll(ctx, what, func() (bool, error) { return cond(), nil }); err != nil {
		stacks := make([]byte, 1<<20)
		t.Fatalf("%v\n%s", err, stacks[:runtime.Stack(stacks, true)])
	}
}

// noGoroutine waits until none of the package and its driver is left.
func noGoroutine(t *testing.T) {
	t.Helper()
	eventually(t, "goroutines of connections end", func() bool {
		stacks := make([]byte, 1<<20)
		all := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(all, "query.(*Asker)") && !strings.Contains(all, "pgconn.(*PgConn)")
	})
}
