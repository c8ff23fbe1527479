package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gopgpool/auth"
	"gopgpool/internal/pgcluster"
)

// Proxies that know no password but their own ask a server for each client's verifier.
const (
	pgbouncerByQuery = "pgbouncer-query"
	gopgpoolByQuery  = "gopgpool-query"
)

// loginRow is one way clients log in: by SCRAM-SHA-256 always, the servers ask the proxies for the same.
type loginRow struct {
	Name   string `json:"name"`
	TLS    bool   `json:"tls"`
	Derive bool   `json:"clients_derive"` // as libpq: keys are made anew by each client, each time
}

func (l loginRow) id() string { return "logins/" + l.Name }

// what is the row in words.
func (l loginRow) what() string {
	switch {
	case l.TLS:
		return "over TLS, clients keep their keys"
	case l.Derive:
		return "every client derives its keys, as libpq"
	default:
		return "clients keep their keys"
	}
}

func loginRows() []loginRow {
	return []loginRow{{Name: "scram"}, {Name: "derived", Derive: true}, {Name: "tls", TLS: true}}
}

// loginRows are the rows that are asked for; with -rows those that match, if any does.
func (o options) loginRows() []loginRow {
	some := slices.DeleteFunc(loginRows(), func(l loginRow) bool { return !o.rows.MatchString(l.id()) })
	if len(some) > 0 {
		return some
	}
	return loginRows()
}

// loginContenders are those of all rows, in order.
func (o options) loginContenders() []string {
	all := []string{direct, pgbouncer, pgbouncerByQuery, pgpool2, gopgpool, gopgpoolByQuery}
	return slices.DeleteFunc(all, func(name string) bool { return !o.contenders.MatchString(name) })
}

// takes tells who takes part: the server is left out of TLS, it would have to speak it with the proxies as well.
func (l loginRow) takes(contender string) bool { return !l.TLS || contender != direct }

// loginResult is how fast one contender takes logins. The rates are those of whole seconds.
type loginResult struct {
	Row string `json:"row"`
	connectResult
	Runs      []float64 `json:"logins_per_second_of_each_run"`
	ClientCPU float64   `json:"client_cpu_us_per_login"`
	Derived   float64   `json:"client_derivations_per_login"`
	Opened    float64   `json:"server_connections_per_login"`
}

// entering is what all runs of one contender in one row gave.
type entering struct {
	connecting
	runs      []float64
	clientCPU time.Duration
	derived   int64
	opened    int64 // connections to the server
}

// measureLogins lets all contenders take turns, row by row.
func (r *runner) measureLogins(ctx context.Context) (*loginsReport, error) {
	s, kit, err := r.startLogins(ctx, r.opts.loginContenders())
	if err != nil {
		return nil, err
	}
	defer s.close()
	for _, c := range s.contenders { // connections to the servers are opened, and caches filled
		_, _, _ = connectFor(ctx, 2, kit.client(c, loginRow{}).once)
	}
	report := &loginsReport{}
	for _, row := range r.opts.loginRows() {
		taking := slices.DeleteFunc(slices.Clone(s.contenders), func(c *contender) bool { return !row.takes(c.name) })
		all := make([]entering, len(taking))
		for round := range r.opts.rounds {
			for k := range taking {
				i := (k + round) % len(taking)
				all[i].run(ctx, s.servers.Nodes[0], taking[i], kit.client(taking[i], row), r.opts.seconds)
				if ctx.Err() != nil {
					return nil, context.Cause(ctx)
				}
			}
		}
		for i, c := range taking {
			result := all[i].result(row, c.name)
			printLogins(os.Stdout, result)
			report.Results = append(report.Results, result)
		}
	}
	report.Costs, err = r.measureLoginCosts(ctx, s, kit)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	printCosts(report.Costs, err)
	return report, nil
}

// run is one run, with what the server saw of it.
func (m *entering) run(ctx context.Context, server *pgcluster.Node, c *contender, client *loginClient, seconds int) {
	before, err := sessionsSoFar(ctx, server)
	m.add(ctx, c, client, seconds)
	after, afterErr := sessionsSoFar(ctx, server)
	m.opened += after - before
	m.err = errors.Join(m.err, err, afterErr)
}

// sessionsSoFar is how many sessions the benchmark's database has had.
func sessionsSoFar(ctx context.Context, server *pgcluster.Node) (int64, error) {
	text, err := server.Value(ctx, "SELECT sessions::text FROM pg_stat_database WHERE datname = $1", databaseName)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// add is run without the server's view.
func (m *entering) add(ctx context.Context, c *contender, client *loginClient, seconds int) {
	before, err := c.cpu()
	if err != nil {
		m.err = errors.Join(m.err, err)
		return
	}
	own := ownCPU()
	done, latencies, err := connectFor(ctx, seconds, client.once)
	m.clientCPU += ownCPU() - own
	after, cpuErr := c.cpu()
	m.seconds = append(m.seconds, done...)
	m.latencies = append(m.latencies, latencies...)
	m.runs = append(m.runs, float64(len(latencies))/float64(seconds))
	m.derived += client.derived.Load()
	m.cpu += after - before
	m.err = errors.Join(m.err, err, cpuErr)
}

func (m *entering) result(row loginRow, name string) loginResult {
	result := loginResult{Row: row.id(), connectResult: m.connecting.result(name), Runs: m.runs}
	if result.Connects > 0 {
		result.ClientCPU = float64(m.clientCPU.Microseconds()) / float64(result.Connects)
		result.Derived = float64(m.derived) / float64(result.Connects)
		result.Opened = float64(m.opened) / float64(result.Connects)
	}
	return result
}

// ownCPU is the processor time of the clients, which are in this process.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// loginKit is what proxies that check passwords need.
type loginKit struct {
	cert, certKey string // files
	phrase        auth.Key
	tls           *tls.Config // of the clients
}

const loginPhrase = "a benchmark's key"

func (k loginKit) client(c *contender, row loginRow) *loginClient {
	client := &loginClient{port: c.port, derive: row.Derive}
	if row.TLS {
		client.tls = k.tls
	}
	return client
}

// startLogins starts a server that asks for SCRAM, with contenders over it. The caller closes the stage.
func (r *runner) startLogins(ctx context.Context, names []string) (*stage, loginKit, error) {
	fmt.Println("starting a server that asks for passwords and the contenders")
	p := r.places(filepath.Join(r.dir, "logins"), nil)
	kit, err := newLoginKit(p)
	if err != nil {
		return nil, kit, err
	}
	servers, err := startLoginServer(ctx)
	if err != nil {
		return nil, kit, err
	}
	p.servers = ports(servers)
	s := &stage{servers: servers}
	for _, name := range names {
		c, err := r.startLoginContender(ctx, p, kit, name)
		if ctx.Err() != nil {
			s.close()
			return nil, kit, context.Cause(ctx)
		}
		if err != nil { // the others are still worth measuring
			fmt.Fprintln(os.Stderr, "bench:", err)
			c = &contender{name: name, broken: err}
		}
		s.contenders = append(s.contenders, c)
	}
	return s, kit, nil
}

func startLoginServer(ctx context.Context) (*pgcluster.Cluster, error) {
	servers, err := pgcluster.Start(ctx, pgcluster.Options{
		Nodes: 1, User: adminName, Password: loginPassword, Auth: "scram-sha-256", Config: serverSettings(),
	})
	if err != nil {
		return nil, err
	}
	if err := makeDatabase(ctx, servers, " LOGIN PASSWORD "+quoted(loginPassword)); err != nil {
		return nil, closing(servers, err)
	}
	return servers, nil
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func (r *runner) startLoginContender(ctx context.Context, p places, kit loginKit, name string) (*contender, error) {
	switch name {
	case direct:
		return &contender{name: direct, port: p.servers[0]}, nil
	case pgbouncer, pgbouncerByQuery:
		return p.startLoginBouncer(ctx, name, r.opts.programs.pgbouncer, kit)
	case pgpool2:
		return p.startLoginPgpool(ctx, name, r.opts.programs.pgpool2, kit)
	case gopgpool, gopgpoolByQuery:
		return p.startLoginPgpool(ctx, name, r.opts.programs.gopgpool, kit)
	}
	panic("bench: no contender " + name)
}

// startLoginBouncer starts a PgBouncer that has the clients' password in its file, or asks for verifiers.
func (p places) startLoginBouncer(ctx context.Context, name, program string, kit loginKit) (*contender, error) {
	dir, port, err := p.room(name)
	if err != nil {
		return nil, err
	}
	ini := filepath.Join(dir, "pgbouncer.ini")
	text := pgbouncerINI(dir, port, p.servers[0], oneBackend.capacity()) + fmt.Sprintf(`auth_type = scram-sha-256
client_tls_sslmode = allow
client_tls_cert_file = %s
client_tls_key_file = %s
`, kit.cert, kit.certKey)
	users := fmt.Sprintf("%q %q\n", adminName, loginPassword)
	if name == pgbouncerByQuery {
		text += "auth_user = " + adminName + "\n"
	} else {
		users += fmt.Sprintf("%q %q\n", userName, loginPassword)
	}
	files := map[string]string{ini: text, filepath.Join(dir, "userlist.txt"): users}
	return p.launch(ctx, &contender{name: name, port: port, stopSig: syscall.SIGTERM}, dir, files, program, ini)
}

// startLoginPgpool starts a pgpool, Debian's or ours, with encrypted passwords and the same files for both; or ours with the
// password of the user who asks for verifiers.
func (p places) startLoginPgpool(ctx context.Context, name, program string, kit loginKit) (*contender, error) {
	dir, port, err := p.room(name)
	if err != nil {
		return nil, err
	}
	pcp, err := p.newPort()
	if err != nil {
		return nil, err
	}
	encrypted, err := kit.phrase.Encrypt(loginPassword)
	if err != nil {
		return nil, err
	}
	text := pgpoolConf(dir, port, pcp, p.servers, oneBackend.capacity()) +
		fmt.Sprintf("ssl = on\nssl_cert = '%s'\nssl_key = '%s'\n", kit.cert, kit.certKey)
	passwords := adminName + ":AES" + encrypted + "\n"
	if name == gopgpoolByQuery {
		text += "auth_user = '" + adminName + "'\n"
	} else {
		passwords += userName + ":AES" + encrypted + "\n"
	}
	in := func(file string) string { return filepath.Join(dir, file) }
	if err := os.WriteFile(in("pgpoolkey"), []byte(loginPhrase+"\n"), 0o600); err != nil {
		return nil, err
	}
	files := map[string]string{
		in("pgpool.conf"):   text,
		in("pool_hba.conf"): "host all all " + loopback + "/32 scram-sha-256\n",
		in("pool_passwd"):   passwords,
		in("pcp.conf"):      "",
	}
	return p.launch(ctx, &contender{name: name, port: port, stopSig: syscall.SIGINT}, dir, files,
		program, "-n", "-D", "-f", in("pgpool.conf"), "-a", in("pool_hba.conf"), "-F", in("pcp.conf"), "-k", in("pgpoolkey"))
}
