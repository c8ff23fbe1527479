package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// The contenders' names in reports.
const (
	direct    = "direct"
	pgbouncer = "pgbouncer"
	pgpool2   = "pgpool2"
	gopgpool  = "gopgpool"
	// gopgpoolByTransaction is gopgpool where gopgpool itself pools by session.
	gopgpoolByTransaction = "gopgpool-transaction"
)

const (
	loopback     = "127.0.0.1"
	userName     = "bench" // no superuser
	adminName    = "postgres"
	databaseName = "bench"
)

// contender is something pgbench can be pointed at.
type contender struct {
	name    string
	port    int
	proc    *process // nil for direct
	stopSig syscall.Signal
	broken  error // why it did not start
}

// cpu is the processor time the contender itself has used so far.
func (c *contender) cpu() (time.Duration, error) {
	switch {
	case c.broken != nil:
		return 0, c.broken
	case c.proc == nil:
		return 0, nil
	}
	if err := c.proc.check(); err != nil {
		return 0, err
	}
	return cpuOf(c.proc.pid())
}

func (c *contender) stop() {
	if c.proc != nil {
		c.proc.stop(c.stopSig, 15*time.Second)
	}
}

// login opens and closes one session with a statement in it.
func (c *contender) login(ctx context.Context) error {
	conn, err := connect(ctx, c.port, userName, databaseName)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "SELECT 1").ReadAll()
	if closeErr := conn.Close(ctx); err == nil {
		err = closeErr
	}
	return err
}

// await waits until logins work.
func (c *contender) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		err := c.login(ctx)
		if err == nil {
			return nil
		}
		if c.proc != nil {
			if ended := c.proc.check(); ended != nil {
				return ended
			}
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("%s takes no login: %w: %s", c.name, err, c.proc.logTail(8))
		}
	}
}

// connect gives a password to whoever asks for one; most contenders do not.
func connect(ctx context.Context, port int, user, database string) (*pgconn.PgConn, error) {
	return pgconn.Connect(ctx, fmt.Sprintf(
		"host=%s port=%d user=%s dbname=%s password='%s' sslmode=disable connect_timeout=60",
		loopback, port, user, database, strings.ReplaceAll(loginPassword, "'", `\'`)))
}

// poolMode is what holds a server connection: a session, or a transaction.
type poolMode string

const (
	sessionMode     poolMode = "session"
	transactionMode poolMode = "transaction"
)

// capacity is what a proxy is set up for.
type capacity struct {
	mode    poolMode
	clients int // sessions served at once
	servers int // connections to one server at most
}

// places is where the contenders of one set of servers live.
type places struct {
	dir     string // each proxy gets a directory in it
	who     account
	servers []int // ports, the primary first
	newPort func() (int, error)
}

// startPgBouncer starts a PgBouncer over the first server.
func (p places) startPgBouncer(ctx context.Context, program []string, size capacity) (*contender, error) {
	dir, port, err := p.room(pgbouncer)
	if err != nil {
		return nil, err
	}
	ini := filepath.Join(dir, "pgbouncer.ini")
	files := map[string]string{
		ini:                                pgbouncerINI(dir, port, p.servers[0], size),
		filepath.Join(dir, "userlist.txt"): fmt.Sprintf("%q \"\"\n", userName),
	}
	return p.launch(ctx, &contender{name: pgbouncer, port: port, stopSig: syscall.SIGTERM}, dir, files, append(slices.Clone(program), ini)...)
}

// pgbouncerINI leaves everything at its default that does not have to differ.
func pgbouncerINI(dir string, port, server int, size capacity) string {
	ini := fmt.Sprintf(`[databases]
%s = host=%s port=%d

[pgbouncer]
listen_addr = %s
listen_port = %d
unix_socket_dir =
auth_type = trust
auth_file = %s
pool_mode = %s
max_client_conn = %d
default_pool_size = %d
`, databaseName, loopback, server, loopback, port, filepath.Join(dir, "userlist.txt"), size.mode, size.clients, size.servers)
	if size.mode == transactionMode {
		ini += "max_prepared_statements = 200\n" // its default from 1.24 on; before, they were off
	}
	return ini
}

// startPgpool starts a pgpool, Debian's or ours, with the same files and options for both.
func (p places) startPgpool(ctx context.Context, name, program string, size capacity) (*contender, error) {
	dir, port, err := p.room(name)
	if err != nil {
		return nil, err
	}
	pcp, err := p.newPort()
	if err != nil {
		return nil, err
	}
	config, hba, pcpConfig := filepath.Join(dir, "pgpool.conf"), filepath.Join(dir, "pool_hba.conf"), filepath.Join(dir, "pcp.conf")
	files := map[string]string{
		config:    pgpoolConf(dir, port, pcp, p.servers, size),
		hba:       "host all all " + loopback + "/32 trust\n",
		pcpConfig: "",
	}
	return p.launch(ctx, &contender{name: name, port: port, stopSig: syscall.SIGINT}, dir, files,
		program, "-n", "-D", "-f", config, "-a", hba, "-F", pcpConfig)
}

// pgpoolConf leaves everything at its default that does not have to differ. With several servers each statement is
// balanced by itself.
func pgpoolConf(dir string, port, pcp int, servers []int, size capacity) string {
	var b strings.Builder
	fmt.Fprintf(&b, `listen_addresses = '%[1]s'
port = %[2]d
pcp_listen_addresses = '%[1]s'
pcp_port = %[3]d
unix_socket_directories = '%[4]s'
pcp_socket_dir = '%[4]s'
pid_file_name = '%[4]s/pgpool.pid'
logdir = '%[4]s'
backend_clustering_mode = 'streaming_replication'
enable_pool_hba = on
num_init_children = %[5]d
max_pool = %[6]d
load_balance_mode = on
statement_level_load_balance = %[7]s
sr_check_user = '%[8]s'
sr_check_database = 'postgres'
`, loopback, port, pcp, dir, size.clients, max(1, size.servers/size.clients), onOff(len(servers) > 1), adminName)
	if size.mode == transactionMode { // Pgpool-II does not know these
		fmt.Fprintf(&b, "pool_mode = '%s'\ndefault_pool_size = %d\n", size.mode, size.servers)
	}
	for i, server := range servers {
		fmt.Fprintf(&b, `backend_hostname%[1]d = '%[2]s'
backend_port%[1]d = %[3]d
backend_weight%[1]d = 1
backend_flag%[1]d = 'DISALLOW_TO_FAILOVER'
`, i, loopback, server)
	}
	return b.String()
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// room makes a proxy's directory and finds it a port.
func (p places) room(name string) (dir string, port int, err error) {
	dir = filepath.Join(p.dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", 0, err
	}
	port, err = p.newPort()
	return dir, port, err
}

// launch writes the proxy's files, starts it and waits until it takes logins.
func (p places) launch(ctx context.Context, c *contender, dir string, files map[string]string, argv ...string) (*contender, error) {
	for path, text := range files {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if err := p.who.own(dir); err != nil {
		return nil, err
	}
	proc, err := startProcess(c.name, dir, p.who, c.stopSig, argv...)
	if err != nil {
		return nil, err
	}
	c.proc = proc
	if err := c.await(ctx); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}
