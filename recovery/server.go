package recovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/tlsconf"
)

// maxMessage bounds one message of a server, so that a broken one cannot make us allocate.
const maxMessage = 1 << 20

// connectTimeout bounds one attempt to log in.
const connectTimeout = 10 * time.Second

// baseConfig is what all connections have in common. Nothing of it comes from the environment; the driver refuses a PGSERVICE that
// cannot be read, though.
func baseConfig() (*pgconn.Config, error) {
	base, err := pgconn.ParseConfig("host=localhost port=5432 user=x password=x dbname=x sslmode=disable" +
		" connect_timeout=0 target_session_attrs=any channel_binding=prefer" +
		" min_protocol_version=3.0 max_protocol_version=3.0")
	if err != nil {
		return nil, fmt.Errorf("settings of connections: %w", err)
	}
	base.RuntimeParams = map[string]string{"application_name": "pgpool recovery"}
	base.Fallbacks, base.ValidateConnect, base.AfterConnect = nil, nil, nil
	base.RequireAuth = ""
	base.MaxProtocolMessageBodyLen = maxMessage
	return base, nil
}

// server is a connection to one node, used by one goroutine.
type server struct{ pg *pgconn.PgConn }

// connect logs in as recovery_user.
func (r *Recoverer) connect(ctx context.Context, n cluster.Node, s Settings, database string) (server, error) {
	if r.defect != nil {
		return server{}, r.defect
	}
	password, err := r.parts.Password(s.RecoveryUser, s.RecoveryPassword)
	if err != nil {
		return server{}, errPassword(s.RecoveryUser, err)
	}
	how := tlsconf.Server{Mode: conf.SSLModeDisable}
	if r.parts.TLS != nil {
		how = r.parts.TLS(n.ID, n.Host)
	}
	cfg := r.base.Copy()
	cfg.Host, cfg.Port = n.Host, uint16(n.Port)
	cfg.User, cfg.Password, cfg.Database = s.RecoveryUser, password, database
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	for _, w := range how.Ways() {
		var pg *pgconn.PgConn
		if pg, err = dial(ctx, cfg, w); err == nil {
			return server{pg}, nil
		}
		var answer *pgconn.PgError
		state := ""
		if errors.As(err, &answer) {
			state = answer.Code
		}
		if !w.Retry(state, err) {
			break
		}
	}
	return server{}, err
}

// dial logs in in one of the ways in which the server may be spoken to.
func dial(ctx context.Context, base *pgconn.Config, w tlsconf.Way) (*pgconn.PgConn, error) {
	cfg := base.Copy()
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		over, err := w.Upgrade(ctx, c)
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		return over, nil
	}
	return pgconn.ConnectConfig(ctx, cfg)
}

// close says goodbye; whether the server heard it makes no difference.
func (c server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.pg.Close(ctx)
}

func (c server) exec(ctx context.Context, sql string) error {
	_, err := c.pg.Exec(ctx, sql).ReadAll()
	return err
}

// row runs one statement with bound parameters and returns its only row.
func (c server) row(ctx context.Context, sql string, args ...string) ([][]byte, error) {
	values := make([][]byte, len(args))
	for i, a := range args {
		values[i] = []byte(a)
	}
	result := c.pg.ExecParams(ctx, sql, values, nil, nil, nil).Read()
	if result.Err != nil {
		return nil, result.Err
	}
	if len(result.Rows) != 1 {
		return nil, fmt.Errorf("%d rows where one was expected", len(result.Rows))
	}
	return result.Rows[0], nil
}

// call runs a function that returns true, or an error.
func (c server) call(ctx context.Context, sql string, args ...string) error {
	row, err := c.row(ctx, sql, args...)
	if err != nil {
		return err
	}
	if len(row) != 1 || string(row[0]) != "t" {
		return errors.New("the function did not return true")
	}
	return nil
}

// unlimited lifts the time limits under which a script might be cut short. transaction_timeout came with version 17.
func (c server) unlimited(ctx context.Context) error {
	if err := c.exec(ctx, "SET statement_timeout TO 0"); err != nil {
		return err
	}
	major, _, _ := strings.Cut(c.pg.ParameterStatus("server_version"), ".")
	if n, err := strconv.Atoi(major); err != nil || n < 17 {
		return nil
	}
	return c.exec(ctx, "SET transaction_timeout TO 0")
}

// The arguments of pgpool_recovery; extensions of older releases know fewer of them.
const (
	mostArguments  = 7
	leastArguments = 3
)

func argumentTypes() []string {
	return []string{"text", "text", "text", "text", "integer", "text", "text"}
}

// functions asks the source how many arguments its pgpool_recovery takes at most; 0 without the function, and whether it has
// pgpool_remote_start.
func (c server) functions(ctx context.Context) (arguments int, remoteStart bool, err error) {
	types := argumentTypes()
	columns := []string{"pg_catalog.to_regprocedure('pgpool_remote_start(text,text)') IS NOT NULL"}
	for n := leastArguments; n <= mostArguments; n++ {
		columns = append(columns,
			"pg_catalog.to_regprocedure('pgpool_recovery("+strings.Join(types[:n], ",")+")') IS NOT NULL")
	}
	row, err := c.row(ctx, "SELECT "+strings.Join(columns, ", "))
	if err != nil {
		return 0, false, err
	}
	for i, exists := range row[1:] {
		if string(exists) == "t" {
			arguments = leastArguments + i
		}
	}
	return arguments, string(row[0]) == "t", nil
}

// callRecovery is the statement that calls pgpool_recovery with n arguments.
func callRecovery(n int) string {
	parameters := make([]string, n)
	for i, t := range argumentTypes()[:n] {
		parameters[i] = fmt.Sprintf("$%d::pg_catalog.%s", i+1, strings.Replace(t, "integer", "int4", 1))
	}
	return "SELECT pgpool_recovery(" + strings.Join(parameters, ", ") + ")"
}

const callRemoteStart = "SELECT pgpool_remote_start($1::pg_catalog.text, $2::pg_catalog.text)"
