package pgcluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/jackc/pgx/v5"
)

// ConnString is a connection string for libpq and pgx: the superuser in database postgres. Further words "key=value" win.
func (n *Node) ConnString(words ...string) string {
	return n.cluster.connString(n.Host, n.Port, words)
}

func (c *Cluster) connString(host string, port int, words []string) string {
	text := fmt.Sprintf("host=%s port=%d user=%s dbname=postgres sslmode=disable connect_timeout=10",
		conninfoQuote(host), port, conninfoQuote(c.opts.User))
	if c.opts.Password != "" {
		text += " password=" + conninfoQuote(c.opts.Password)
	}
	return strings.Join(append([]string{text}, words...), " ")
}

// Connect opens a connection, which the caller closes.
func (n *Node) Connect(ctx context.Context, words ...string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, n.ConnString(words...))
}

// Exec runs one statement on a connection of its own.
func (n *Node) Exec(ctx context.Context, sql string, args ...any) error {
	_, err := query(ctx, n.ConnString(), sql, args)
	return err
}

// Value runs one statement on a connection of its own and returns the first column of its first row as text; "" for NULL
// and without a row.
func (n *Node) Value(ctx context.Context, sql string, args ...any) (string, error) {
	return query(ctx, n.ConnString(), sql, args)
}

func query(ctx context.Context, connString, sql string, args []any) (value string, err error) {
	config, err := pgx.ParseConfig(connString)
	if err != nil {
		return "", err
	}
	config.RuntimeParams["client_encoding"] = "UTF8"              // pgx wants it for the simple protocol
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol // every value comes as text
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return "", err
	}
	// What closing says after the answer changes nothing.
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	if rows.Next() && len(rows.RawValues()) > 0 {
		value = string(rows.RawValues()[0])
	}
	rows.Close()
	return value, rows.Err()
}

// Command prepares a client program (psql, pgbench, pg_isready) of the servers' release with this process' user and
// without its personal settings. The connection is named by the arguments or by -d and a ConnString.
func (c *Cluster) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.program(program), args...)
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "PG") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	cmd.Env = append(cmd.Env, "PSQLRC=/dev/null", "PGSSLMODE=disable", "PGUSER="+c.opts.User)
	if c.opts.Password != "" {
		cmd.Env = append(cmd.Env, "PGPASSWORD="+c.opts.Password)
	}
	return cmd
}
