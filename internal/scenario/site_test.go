package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopgpool/auth"
	"gopgpool/internal/hosts"
	"gopgpool/internal/pgcluster"
)

// Where things are on the hosts.
const (
	dataDir    = "/var/lib/pgsql/15/data"
	archiveDir = "/var/lib/pgsql/archivedir"
	etcDir     = "/etc/pgpool-II"
	ourDir     = "/srv/gopgpool" // programs built for the test
	pgpoolLog  = "/var/log/pgpool/pgpool.log"
	commandLog = "/var/log/pgpool/commands" // failover_command and follow_primary_command with their arguments
	startLog   = "/var/lib/pgsql/startup.log"
)

// The passwords of the database users and of the pcp user.
var passwords = map[string]string{"postgres": "super secret", "pgpool": "check:me", "repl": "it's streaming"}

const (
	pcpPassword = "pcp's own"
	keyPhrase   = "key of pool_passwd"
)

// site is the example: three servers, pgpool on a host of its own, and somebody at a sixth machine.
type site struct {
	world   *hosts.World
	servers [3]*hosts.Host
	pgpool  *hosts.Host
	client  *hosts.Host
	bin     string    // PostgreSQL's programs
	daemon  *exec.Cmd // pgpool
	ended   chan error
	taken   int // lines of commandLog that have been looked at
}

// newSite makes the machines and what must be on them before anything starts.
func newSite(t *testing.T) *site {
	bin, err := pgcluster.FindBinaries("")
	if errors.Is(err, pgcluster.ErrNoServer) && os.Getenv(pgcluster.RequireEnv) == "" {
		t.Skip(err)
	}
	must(t, err)
	shares, path := ourPrograms(t)
	shares = append(shares, hosts.Share{Source: extensions(t, bin), Target: extensionDir(t, bin)})
	opts := hosts.Options{Users: []string{"postgres"}, Shares: shares, Path: append(path, bin)}
	for i, name := range []string{"pgpool", "server1", "server2", "server3", "client"} {
		address := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 137, byte(100 + i)}), 24)
		opts.Hosts = append(opts.Hosts, hosts.Spec{Name: name, Devices: []hosts.Device{{Name: "enp0s8", Address: address}}})
	}
	w := hosts.StartTest(t, opts)
	s := &site{world: w, pgpool: w.Host("pgpool"), client: w.Host("client"), bin: bin}
	for i := range s.servers {
		s.servers[i] = w.Host(serverName(i))
	}
	for _, h := range w.Hosts() {
		s.furnish(t, h)
	}
	t.Cleanup(func() { s.keepLogs(t) })
	return s
}

func serverName(node int) string { return fmt.Sprintf("server%d", node+1) }

// ourPrograms builds pgpool and the pcp programs, one program with many names, and shows them on the hosts.
func ourPrograms(t *testing.T) (shares []hosts.Share, path []string) {
	dir, links := filepath.Join(t.TempDir(), "bin"), t.TempDir()
	share := func(source, name string) {
		shares, path = append(shares, hosts.Share{Source: source, Target: ourDir + "/" + name}), append(path, ourDir+"/"+name)
	}
	share(filepath.Dir(pgcluster.BuildProgram(t, dir, "pgpool")), "bin")
	pgcluster.BuildProgram(t, dir, "pcp")
	for _, name := range []string{"attach_node", "detach_node", "node_info", "node_count", "promote_node", "recovery_node"} {
		must(t, os.Symlink(ourDir+"/bin/pcp", filepath.Join(links, "pcp_"+name)))
	}
	share(links, "pcp")
	return shares, path
}

func extensionDir(t *testing.T, bin string) string {
	out, err := exec.Command(filepath.Join(bin, "pg_config"), "--sharedir").Output()
	must(t, err)
	return filepath.Join(strings.TrimSpace(string(out)), "extension")
}

// extensions is the server's directory of extensions with ours added.
func extensions(t *testing.T, bin string) string {
	dir := filepath.Join(t.TempDir(), "extension")
	must(t, os.CopyFS(dir, os.DirFS(extensionDir(t, bin))))
	for _, name := range []string{"pgpool_recovery.control", "pgpool_recovery--1.4.sql"} {
		text, err := os.ReadFile(filepath.Join(repository(t), "extension", name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o644))
	}
	return dir
}

func repository(t *testing.T) string {
	dir, err := filepath.Abs("../..")
	must(t, err)
	return dir
}

// furnish puts in place what is the same on all hosts: directories, the password files and a key for ssh.
func (s *site) furnish(t *testing.T, h *hosts.Host) {
	s.run(t, h, "root", "mkdir -p /var/lib/pgsql/15 "+archiveDir+" /var/log/pgpool /run/pgpool /run/postgresql "+etcDir+
		" && chown -R postgres: /var/lib/pgsql /var/log/pgpool /run/pgpool /run/postgresql "+etcDir)
	var pgpass strings.Builder
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	for user, password := range passwords {
		fmt.Fprintf(&pgpass, "*:*:*:%s:%s\n", user, escape.Replace(password))
	}
	for _, f := range []struct{ name, text string }{
		{".pgpass", pgpass.String()},
		{".pcppass", fmt.Sprintf("localhost:9898:pgpool:%[1]s\npgpool:9898:pgpool:%[1]s\n", pcpPassword)},
		{".pgpoolkey", keyPhrase + "\n"},
		{".ssh/id_rsa_pgpool", "the stand-in for ssh does not look\n"},
	} {
		must(t, h.WriteFile("postgres", "/var/lib/postgresql/"+f.name, f.text, 0o600))
	}
}

// startPrimary makes the first server on server1 and starts it.
func (s *site) startPrimary(t *testing.T) {
	h := s.servers[0]
	must(t, h.WriteFile("postgres", "/tmp/password", passwords["postgres"], 0o600))
	s.run(t, h, "postgres", "initdb -D "+dataDir+" -A scram-sha-256 --auth-local=trust --pwfile=/tmp/password -N --no-instructions -E UTF8 --locale=C")
	settings := []string{
		"listen_addresses = '*'", "wal_log_hints = on", "archive_mode = on", "max_wal_size = 256MB", "fsync = off",
		"archive_command = 'cp \"%p\" \"" + archiveDir + "/%f\"'", "wal_receiver_status_interval = 1s", "wal_retrieve_retry_interval = 200ms",
		"wal_receiver_timeout = 5s", "wal_sender_timeout = 5s", "log_line_prefix = '%m [%p] %q%u@%d '",
	}
	s.appendTo(t, h, dataDir+"/postgresql.conf", settings...)
	s.appendTo(t, h, dataDir+"/pg_hba.conf", "host all all samenet scram-sha-256", "host replication repl samenet scram-sha-256")
	for _, name := range []string{"recovery_1st_stage", "pgpool_remote_start"} {
		s.script(t, h, name, dataDir+"/"+name)
	}
	s.startServer(t, 0)
	quote := strings.NewReplacer("'", "''")
	s.onServer(t, 0, "CREATE ROLE pgpool LOGIN PASSWORD '"+quote.Replace(passwords["pgpool"])+"'; GRANT pg_monitor TO pgpool")
	s.onServer(t, 0, "CREATE ROLE repl LOGIN REPLICATION PASSWORD '"+quote.Replace(passwords["repl"])+"'")
	s.onServer(t, 0, "CREATE EXTENSION pgpool_recovery")
	s.onServer(t, 0, "CREATE TABLE written (session text, at timestamptz DEFAULT clock_timestamp())")
}

func (s *site) appendTo(t *testing.T, h *hosts.Host, path string, lines ...string) {
	s.run(t, h, "postgres", "cat >>"+path+" <<'END'\n"+strings.Join(lines, "\n")+"\nEND")
}

// startServer starts a server that has a data directory.
func (s *site) startServer(t *testing.T, node int) {
	s.run(t, s.servers[node], "postgres", "pg_ctl -D "+dataDir+" -l "+startLog+" -w start >/dev/null")
}

func (s *site) stopServer(t *testing.T, node int, mode string) {
	s.run(t, s.servers[node], "postgres", "pg_ctl -D "+dataDir+" -m "+mode+" -w stop")
}

// script puts a sample script on a host, its settings adapted as its reader is told to.
func (s *site) script(t *testing.T, h *hosts.Host, name, path string) {
	text, err := os.ReadFile(filepath.Join(repository(t), "samples/scripts", name))
	must(t, err)
	edited := string(text)
	for setting, value := range map[string]string{
		"PGHOME": filepath.Dir(s.bin), "PASSFILE": "/var/lib/postgresql/.pgpass", "ARCHIVEDIR": archiveDir,
	} {
		edited = regexp.MustCompile("(?m)^"+setting+"=[^ \n]*").ReplaceAllLiteralString(edited, setting+"="+value)
	}
	edited = regexp.MustCompile("ConnectTimeout=[0-9]+").ReplaceAllLiteralString(edited, "ConnectTimeout=2")
	must(t, h.WriteFile("postgres", path, edited, 0o755))
}

// configurePgpool writes pgpool's files: the shipped sample with what the example changes.
func (s *site) configurePgpool(t *testing.T) {
	sample, err := os.ReadFile(filepath.Join(repository(t), "pgpool.conf.sample"))
	must(t, err)
	var passwd string
	for _, user := range []string{"pgpool", "postgres"} {
		secret, err := auth.NewKey(keyPhrase).Encrypt(passwords[user])
		must(t, err)
		passwd += user + ":AES" + secret + "\n"
	}
	hba := ""
	for _, user := range []string{"pgpool", "postgres"} {
		hba += "host all " + user + " 0.0.0.0/0 scram-sha-256\nlocal all " + user + " scram-sha-256\n"
	}
	for name, text := range map[string]string{
		"pgpool.conf": string(sample) + s.settings(), "pool_hba.conf": hba, "pool_passwd": passwd,
		"pcp.conf": "pgpool:" + pgcluster.MD5Hex(pcpPassword) + "\n",
	} {
		must(t, s.pgpool.WriteFile("postgres", etcDir+"/"+name, text, 0o600))
	}
	// The scripts write down how they are called.
	for _, name := range []string{"failover", "follow_primary"} {
		s.script(t, s.pgpool, name+".sh", etcDir+"/"+name+".sample")
		must(t, s.pgpool.WriteFile("postgres", etcDir+"/"+name+".sh", "#!/bin/sh\n"+
			"{ printf "+name+"; for a; do printf ' %s' \"${a:--}\"; done; echo; } >>"+commandLog+"\nexec "+etcDir+"/"+name+".sample \"$@\"\n", 0o755))
	}
	must(t, s.pgpool.WriteFile("postgres", commandLog, "", 0o644))
}

// settings are the example's, with the fast profile of an automated run.
func (s *site) settings() string {
	lines := []string{
		"", "listen_addresses = '*'", "pcp_listen_addresses = '*'", "backend_clustering_mode = streaming_replication",
		"sr_check_user = 'pgpool'", "sr_check_password = ''", "sr_check_period = 1",
		"health_check_user = 'pgpool'", "health_check_password = ''", "health_check_period = 1", "health_check_timeout = 2",
		"health_check_max_retries = 1", "health_check_retry_delay = 1", "search_primary_node_timeout = 30",
		"failover_command = '" + etcDir + "/failover.sh %d %h %p %D %m %H %M %P %r %R'",
		"follow_primary_command = '" + etcDir + "/follow_primary.sh %d %h %p %D %m %M %H %P %r %R'",
		"recovery_user = 'postgres'", "recovery_password = ''", "recovery_1st_stage_command = 'recovery_1st_stage'",
		"enable_pool_hba = on", "log_line_prefix = '%m: %a pid %p: '", "work_dir = '/var/log/pgpool'",
	}
	for i := range s.servers {
		lines = append(lines, fmt.Sprintf("backend_hostname%d = '%s'", i, serverName(i)), fmt.Sprintf("backend_port%d = 5432", i),
			fmt.Sprintf("backend_weight%d = 1", i), fmt.Sprintf("backend_data_directory%d = '%s'", i, dataDir),
			fmt.Sprintf("backend_flag%d = 'ALLOW_TO_FAILOVER'", i), fmt.Sprintf("backend_application_name%d = '%s'", i, serverName(i)))
	}
	return strings.Join(lines, "\n") + "\n"
}

// startPgpool is what the service does: the status file is ignored.
func (s *site) startPgpool(t *testing.T) {
	log, err := s.pgpool.Append("postgres", pgpoolLog)
	must(t, err)
	defer log.Close()
	mark := s.mark(t)
	s.daemon, err = s.pgpool.Command(context.Background(), "postgres", "pgpool", "-D", "-n",
		"-f", etcDir+"/pgpool.conf", "-F", etcDir+"/pcp.conf", "-a", etcDir+"/pool_hba.conf")
	must(t, err)
	s.daemon.Stdout, s.daemon.Stderr = log, log
	must(t, s.pgpool.Start(s.daemon))
	s.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan<- error) { ended <- cmd.Wait() }(s.daemon, s.ended)
	s.await(t, "pgpool has started", 20*time.Second, func() (string, bool) {
		log := s.log(t)[mark:]
		return log, strings.Contains(log, "successfully started")
	})
}

// stopPgpool stops it as the service does; after a failed test too.
func (s *site) stopPgpool(t *testing.T) {
	if s.daemon == nil {
		return
	}
	if err := s.daemon.Process.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	select {
	case err := <-s.ended:
		if err != nil {
			t.Errorf("pgpool: %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Error("pgpool does not stop")
		_ = s.daemon.Process.Kill() // the hosts could not end before it
		t.Log(<-s.ended)
	}
	s.daemon = nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// run has a command carried out that must succeed, and returns its output.
func (s *site) run(t *testing.T, h *hosts.Host, user, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	out, err := h.Run(ctx, user, command)
	must(t, err)
	return strings.TrimSpace(out)
}

// onServer runs SQL on a server itself.
func (s *site) onServer(t *testing.T, node int, sql string) string {
	t.Helper()
	return s.run(t, s.servers[node], "postgres", "psql -X -q -At -h /run/postgresql -d postgres -v ON_ERROR_STOP=1 <<'END'\n"+sql+";\nEND")
}

// await waits for a condition. look returns what it sees, which is shown when the wait ends in vain.
func (s *site) await(t *testing.T, what string, limit time.Duration, look func() (seen string, ok bool)) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	last := ""
	err := pgcluster.Poll(ctx, what, func() (bool, error) {
		seen, ok := look()
		last = seen
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waited %s in vain: %s; seen last: %s", limit, what, last)
	}
	t.Logf("%6.1f s until %s", time.Since(began).Seconds(), what)
}

// keepLogs leaves all logs to those who want artifacts, and prints their ends when the test has failed.
func (s *site) keepLogs(t *testing.T) {
	keep := func(h *hosts.Host, path string, lines int) {
		text, err := h.ReadFile(path)
		if err != nil || len(text) == 0 {
			return // a host without it
		}
		must(t, os.WriteFile(filepath.Join(t.ArtifactDir(), h.Name+strings.ReplaceAll(path, "/", "_")), text, 0o644))
		if t.Failed() {
			t.Logf("---- %s: end of %s\n%s", h.Name, path, tail(string(text), lines))
		}
	}
	keep(s.pgpool, pgpoolLog, 80)
	keep(s.pgpool, commandLog, 20)
	for _, h := range s.servers {
		keep(h, startLog, 25)
		keep(h, dataDir+"/startup.log", 25)
	}
	if t.Failed() {
		s.showCalls(t)
	}
}

// showCalls prints the calls of ssh and the like that failed; those of restore_command ask for files that are not there yet.
func (s *site) showCalls(t *testing.T) {
	for _, h := range s.world.Hosts() {
		calls, err := h.Calls()
		if err != nil {
			t.Log(err)
		}
		for _, c := range calls {
			if c.Exit != 0 && (c.Program != "scp" || c.Running) {
				t.Logf("%s: %s called %s %q: exit %d, running %v", h.Name, c.User, c.Program, c.Args, c.Exit, c.Running)
			}
		}
	}
}

func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
