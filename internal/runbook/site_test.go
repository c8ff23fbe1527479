package runbook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/internal/pgcluster"
)

// Where things are on the hosts; the sample scripts have the paths below /var/lib/pgsql in them.
const (
	examples  = "/usr/share/doc/pgpool2/examples"
	dataDir   = "/var/lib/pgsql/data"
	etcDir    = "/etc/pgpool2"
	pgpoolLog = "/var/log/pgpool/pgpool.log"
	callLog   = "/var/log/pgpool/calls" // on every host: the scripts that ran there, with their arguments
	ourDir    = "/srv/gopgpool"
)

// site is three servers and pgpool on hosts of their own.
type site struct {
	servers [3]*hosts.Host
	pgpool  *hosts.Host
	bin     string    // PostgreSQL's programs
	daemon  *exec.Cmd // pgpool
	ended   chan error
	read    int                 // what of the log was looked at
	called  map[*hosts.Host]int // what of the call logs was, in lines
}

// requirePackages skips where Debian's packages are not installed: they are what this compares with.
func requirePackages(t *testing.T) (bin string) {
	bin, err := pgcluster.FindBinaries("")
	if errors.Is(err, pgcluster.ErrNoServer) && os.Getenv(pgcluster.RequireEnv) == "" {
		t.Skip(err)
	}
	must(t, err)
	for _, file := range []string{
		"/usr/sbin/pgpool", "/usr/sbin/pcp_recovery_node", examples + "/scripts/failover.sh.sample",
		filepath.Join(filepath.Dir(bin), "lib", "pgpool-recovery.so"),
	} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("%v: Debian's packages pgpool2 and postgresql-NN-pgpool2 are needed to compare with", err)
		}
	}
	return bin
}

// newSite makes the hosts with what the runbook takes for granted: one server, and the files of pgpool.
func newSite(t *testing.T, bin, program string, settings ...string) *site {
	opts := hosts.Options{
		Users: []string{"postgres"}, Path: []string{bin, "/usr/sbin"},
		Shares: []hosts.Share{{Source: program, Target: ourDir}},
	}
	for i, name := range []string{"pgpool", "server1", "server2", "server3"} {
		address := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, 137, byte(100 + i)}), 24)
		opts.Hosts = append(opts.Hosts, hosts.Spec{Name: name, Devices: []hosts.Device{{Address: address}}})
	}
	w := hosts.StartTest(t, opts)
	s := &site{pgpool: w.Host("pgpool"), bin: bin, called: make(map[*hosts.Host]int)}
	for i := range s.servers {
		s.servers[i] = w.Host(serverName(i))
	}
	for _, h := range w.Hosts() {
		s.run(t, h, "root", "mkdir -p /var/lib/pgsql/archivedir /var/log/pgpool /var/log/postgresql /run/postgresql"+
			" && chown -R postgres: /var/lib/pgsql /var/log/pgpool /var/log/postgresql /run/postgresql "+etcDir)
		must(t, h.WriteFile("postgres", "/var/lib/pgsql/.pgpass", "*:*:*:*:none asks\n", 0o600))
		must(t, h.WriteFile("postgres", callLog, "", 0o644))
	}
	t.Cleanup(func() { s.keepLogs(t) })
	s.makePrimary(t)
	s.configure(t, settings)
	return s
}

func serverName(node int) string { return fmt.Sprintf("server%d", node+1) }

func (s *site) makePrimary(t *testing.T) {
	h := s.servers[0]
	s.run(t, h, "postgres", "initdb -D "+dataDir+" -A trust -N --no-instructions -E UTF8 --locale=C")
	s.run(t, h, "postgres", "cat >>"+dataDir+"/postgresql.conf <<'END'\n"+strings.Join([]string{
		"listen_addresses = '*'", "wal_log_hints = on", "archive_mode = on", "max_wal_size = 256MB", "fsync = off",
		"archive_command = 'cp \"%p\" \"/var/lib/pgsql/archivedir/%f\"'", "wal_retrieve_retry_interval = 200ms",
	}, "\n")+"\nEND")
	s.run(t, h, "postgres", "printf 'host all all samenet trust\\nhost replication all samenet trust\\n' >>"+dataDir+"/pg_hba.conf")
	s.script(t, h, "recovery_1st_stage", dataDir+"/recovery_1st_stage")
	s.script(t, h, "pgpool_remote_start", dataDir+"/pgpool_remote_start")
	s.run(t, h, "postgres", "pg_ctl -D "+dataDir+" -l /var/lib/pgsql/startup.log -w start >/dev/null")
	s.run(t, h, "postgres", "psql -X -q -h /run/postgresql -c 'CREATE ROLE repl LOGIN REPLICATION' template1")
	s.run(t, h, "postgres", "psql -X -q -h /run/postgresql -c 'CREATE EXTENSION pgpool_recovery' template1")
}

// script installs a sample script. Its variables on top name where PostgreSQL and the pcp programs are; nothing else is changed. A
// wrapper of the name it is called by writes down the call.
func (s *site) script(t *testing.T, h *hosts.Host, name, path string) {
	text, err := os.ReadFile(examples + "/scripts/" + name + ".sample")
	must(t, err)
	for variable, value := range map[string]string{"PGHOME": filepath.Dir(s.bin), "PGPOOL_PATH": "/usr/sbin"} {
		text = regexp.MustCompile("(?m)^"+variable+"=.*$").ReplaceAllLiteral(text, []byte(variable+"="+value))
	}
	must(t, h.WriteFile("postgres", path+".sample", string(text), 0o755))
	must(t, h.WriteFile("postgres", path, "#!/bin/sh\n{ printf "+name+"; for a; do printf ' %s' \"${a:--}\"; done; echo; } >>"+callLog+
		"\nexec "+path+".sample \"$@\"\n", 0o755))
}

// configure writes pgpool.conf: the sample with what its reader is told to set.
func (s *site) configure(t *testing.T, settings []string) {
	sample, err := os.ReadFile(examples + "/pgpool.conf.sample")
	must(t, err)
	lines := append([]string{
		"", "listen_addresses = '*'", "pcp_listen_addresses = '*'", "sr_check_user = 'postgres'", "sr_check_period = 1",
		"health_check_user = 'postgres'", "health_check_period = 1", "health_check_timeout = 5", "health_check_max_retries = 0",
		"recovery_user = 'postgres'", "recovery_1st_stage_command = 'recovery_1st_stage'",
		"failover_command = '" + etcDir + "/failover.sh %d %h %p %D %m %H %M %P %r %R %N %S'",
		"follow_primary_command = '" + etcDir + "/follow_primary.sh %d %h %p %D %m %H %M %P %r %R'",
		"log_line_prefix = '%t: pid %p: '", "num_init_children = 4",
	}, settings...)
	for i := range s.servers {
		lines = append(lines, fmt.Sprintf("backend_hostname%d = '%s'", i, serverName(i)), fmt.Sprintf("backend_port%d = 5432", i),
			fmt.Sprintf("backend_weight%d = 1", i), fmt.Sprintf("backend_data_directory%d = '%s'", i, dataDir),
			fmt.Sprintf("backend_flag%d = 'ALLOW_TO_FAILOVER'", i), fmt.Sprintf("backend_application_name%d = '%s'", i, serverName(i)))
	}
	for path, text := range map[string]string{
		etcDir + "/pgpool.conf": string(sample) + strings.Join(lines, "\n") + "\n", etcDir + "/pool_hba.conf": "", etcDir + "/pool_passwd": "",
		etcDir + "/pcp.conf":           "pgpool:" + pgcluster.MD5Hex("secret") + "\n",
		"/var/lib/postgresql/.pcppass": "localhost:9898:pgpool:secret\n",
	} {
		must(t, s.pgpool.WriteFile("postgres", path, text, 0o600))
	}
	for _, name := range []string{"failover.sh", "follow_primary.sh"} {
		s.script(t, s.pgpool, name, etcDir+"/"+name)
	}
}

// start starts pgpool as the package's service does.
func (s *site) start(t *testing.T, program string) {
	log, err := s.pgpool.Append("postgres", pgpoolLog)
	must(t, err)
	defer log.Close()
	s.daemon, err = s.pgpool.Command(context.Background(), "postgres", program, "-n",
		"-f", etcDir+"/pgpool.conf", "-F", etcDir+"/pcp.conf", "-a", etcDir+"/pool_hba.conf")
	must(t, err)
	s.daemon.Stdout, s.daemon.Stderr = log, log
	must(t, s.pgpool.Start(s.daemon))
	s.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan<- error) { ended <- cmd.Wait() }(s.daemon, s.ended)
	t.Cleanup(func() {
		if s.daemon != nil {
			_ = s.daemon.Process.Kill() // a failed test did not stop it
			t.Log(<-s.ended)
		}
	})
}

// awaitEnd is how pgpool ended by itself.
func (s *site) awaitEnd(t *testing.T) string {
	select {
	case err := <-s.ended:
		s.daemon = nil
		if err != nil {
			return err.Error()
		}
		return "exit status 0"
	case <-time.After(20 * time.Second):
		t.Fatal("pgpool does not stop")
		return ""
	}
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

// shell is what a command on pgpool's host prints on both outputs and its exit status.
func (s *site) shell(t *testing.T, command string) (stdout, stderr string, status int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd, err := s.pgpool.Command(ctx, "postgres", "/bin/sh", "-c", command)
	must(t, err)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	must(t, s.pgpool.Start(cmd))
	if err := cmd.Wait(); err != nil && ctx.Err() != nil {
		t.Fatalf("%s: %v\n%s%s", command, err, out.String(), errs.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// nodes is what SHOW pool_nodes has in the given columns.
func (s *site) nodes(t *testing.T, columns ...string) string {
	t.Helper()
	stdout, stderr, status := s.shell(t, "psql -X -q -A -P footer=off -w -h localhost -p 9999 -d postgres -c 'SHOW pool_nodes'")
	if status != 0 {
		return strings.TrimSpace(stderr)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	var all []string
	for _, line := range lines[1:] {
		values := map[string]string{}
		for i, name := range strings.Split(lines[0], "|") {
			values[name] = strings.Split(line, "|")[i]
		}
		var chosen []string
		for _, c := range columns {
			chosen = append(chosen, values[c])
		}
		all = append(all, strings.Join(chosen, " "))
	}
	// A node nobody has used yet is waiting, which is as good as up.
	return strings.ReplaceAll(strings.Join(all, ", "), "waiting", "up")
}

// settle waits until SHOW pool_nodes shows what is wanted, every standby that is up streams, the scripts have ended, and the log is at
// rest: Pgpool-II starts its processes again after each change, and a request to one that is about to end is lost.
func (s *site) settle(t *testing.T, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	seen, size, since := "", -1, time.Now()
	err := pgcluster.Poll(ctx, want, func() (bool, error) {
		if _, _, status := s.shell(t, "grep -aqs '[.]sample' /proc/[0-9]*/cmdline"); status == 0 {
			size = -1
			return false, nil
		}
		if log := s.log(t); size < 0 || stirs(log[size:]) {
			size, since = len(log), time.Now()
		}
		if time.Since(since) < time.Second {
			return false, nil
		}
		streaming := strings.Count(s.nodes(t, "status", "replication_state", "replication_sync_state"), "up streaming async")
		seen = s.nodes(t, "node_id", "status", "role")
		return seen == want && streaming == strings.Count(want, "up standby"), nil
	})
	if err != nil {
		t.Fatalf("%v; seen last: %s", err, seen)
	}
}

// stirs tells whether a piece of the log tells of a change, or of processes that end after one.
func stirs(log string) bool {
	if strings.Contains(log, "exits with status 256") {
		return true
	}
	return slices.ContainsFunc(message.FindAllStringSubmatch(log, -1), func(m []string) bool {
		return sought.MatchString(m[1]) || banner.MatchString(m[1])
	})
}

func (s *site) log(t *testing.T) string {
	t.Helper()
	text, err := s.pgpool.ReadFile(pgpoolLog)
	must(t, err)
	return string(text)
}

// keepLogs leaves the logs to those who want artifacts, and prints their ends when the test has failed.
func (s *site) keepLogs(t *testing.T) {
	keep := func(h *hosts.Host, path string) {
		text, err := h.ReadFile(path)
		if err != nil {
			return // a host without it
		}
		must(t, os.WriteFile(filepath.Join(t.ArtifactDir(), h.Name+strings.ReplaceAll(path, "/", "_")), text, 0o644))
		if lines := strings.Split(string(text), "\n"); t.Failed() {
			t.Logf("---- %s: end of %s\n%s", h.Name, path, strings.Join(lines[max(0, len(lines)-60):], "\n"))
		}
	}
	keep(s.pgpool, pgpoolLog)
	for _, h := range s.servers {
		keep(h, "/var/lib/pgsql/startup.log")
	}
}
