package runbook

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/internal/pgcluster"
	"gopgpool/internal/site"
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

// installation is three servers and pgpool on hosts of their own.
type installation struct {
	*site.Site
	servers   [3]*hosts.Host
	databases [3]*site.Server
	host      *hosts.Host // pgpool's
	pgpool    *site.Pgpool
	read      int                 // what of the log was looked at
	called    map[*hosts.Host]int // what of the call logs was, in lines
}

// requirePackages skips where Debian's packages are not installed: they are what this compares with.
func requirePackages(t *testing.T) {
	bin, err := pgcluster.FindBinaries("")
	if err != nil {
		return // site.New says so
	}
	for _, file := range []string{
		"/usr/sbin/pgpool", "/usr/sbin/pcp_recovery_node", examples + "/scripts/failover.sh.sample",
		filepath.Join(filepath.Dir(bin), "lib", "pgpool-recovery.so"),
	} {
		if _, err := os.Stat(file); err != nil {
			t.Skipf("%v: Debian's packages pgpool2 and postgresql-NN-pgpool2 are needed to compare with", err)
		}
	}
}

// install makes the hosts with what the runbook takes for granted: one server, and the files of a pgpool, whose program is given.
// programs is the directory of ours.
func install(t *testing.T, programs, program string, settings ...string) *installation {
	specs := site.LAN("eth0", netip.MustParsePrefix("192.168.137.100/24"), "pgpool", "server1", "server2", "server3")
	s := &installation{called: make(map[*hosts.Host]int)}
	s.Site = site.New(t, hosts.Options{Hosts: specs, Path: []string{"/usr/sbin"}, Shares: []hosts.Share{{Source: programs, Target: ourDir}}})
	s.host = s.Host("pgpool")
	for i := range s.servers {
		s.servers[i] = s.Host(serverName(i))
		s.databases[i] = s.NewServer(s.servers[i], dataDir)
	}
	for _, h := range s.Hosts() {
		s.Run(t, h, "root", "mkdir -p /var/lib/pgsql/archivedir /var/log/pgpool /var/log/postgresql /run/postgresql"+
			" && chown -R postgres: /var/lib/pgsql /var/log/pgpool /var/log/postgresql /run/postgresql "+etcDir)
		site.Must(t, h.WriteFile("postgres", "/var/lib/pgsql/.pgpass", "*:*:*:*:none asks\n", 0o600))
		site.Must(t, h.WriteFile("postgres", callLog, "", 0o644))
	}
	s.makePrimary(t)
	s.configure(t, settings)
	s.pgpool = s.NewPgpool(s.host, "postgres", pgpoolLog, program, "-n",
		"-f", etcDir+"/pgpool.conf", "-F", etcDir+"/pcp.conf", "-a", etcDir+"/pool_hba.conf")
	return s
}

func serverName(node int) string { return fmt.Sprintf("server%d", node+1) }

func (s *installation) makePrimary(t *testing.T) {
	p := s.databases[0]
	p.Init(t, "-A trust", []string{
		"wal_log_hints = on", "archive_mode = on", "max_wal_size = 256MB",
		"archive_command = 'cp \"%p\" \"/var/lib/pgsql/archivedir/%f\"'", "wal_retrieve_retry_interval = 200ms",
	}, []string{"host all all samenet trust", "host replication all samenet trust"})
	s.script(t, p.Host, "recovery_1st_stage", dataDir+"/recovery_1st_stage")
	s.script(t, p.Host, "pgpool_remote_start", dataDir+"/pgpool_remote_start")
	p.Start(t)
	s.Run(t, p.Host, "postgres", "psql -X -q -h /run/postgresql -c 'CREATE ROLE repl LOGIN REPLICATION' template1")
	s.Run(t, p.Host, "postgres", "psql -X -q -h /run/postgresql -c 'CREATE EXTENSION pgpool_recovery' template1")
}

// script installs a sample script. Its variables on top name where PostgreSQL and the pcp programs are; nothing else is changed. A
// wrapper of the name it is called by writes down the call.
func (s *installation) script(t *testing.T, h *hosts.Host, name, path string) {
	text, err := os.ReadFile(examples + "/scripts/" + name + ".sample")
	site.Must(t, err)
	for variable, value := range map[string]string{"PGHOME": filepath.Dir(s.Bin), "PGPOOL_PATH": "/usr/sbin"} {
		text = regexp.MustCompile("(?m)^"+variable+"=.*$").ReplaceAllLiteral(text, []byte(variable+"="+value))
	}
	site.Must(t, h.WriteFile("postgres", path+".sample", string(text), 0o755))
	site.Must(t, h.WriteFile("postgres", path, "#!/bin/sh\n{ printf "+name+"; for a; do printf ' %s' \"${a:--}\"; done; echo; } >>"+callLog+
		"\nexec "+path+".sample \"$@\"\n", 0o755))
}

// configure writes pgpool.conf: the sample with what its reader is told to set.
func (s *installation) configure(t *testing.T, settings []string) {
	sample, err := os.ReadFile(examples + "/pgpool.conf.sample")
	site.Must(t, err)
	lines := append([]string{
		"", "listen_addresses = '*'", "pcp_listen_addresses = '*'", "sr_check_user = 'postgres'", "sr_check_period = 1",
		"health_check_user = 'postgres'", "health_check_period = 1", "health_check_timeout = 20", "health_check_max_retries = 0",
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
		site.Must(t, s.host.WriteFile("postgres", path, text, 0o600))
	}
	for _, name := range []string{"failover.sh", "follow_primary.sh"} {
		s.script(t, s.host, name, etcDir+"/"+name)
	}
}

// shell is what a command on pgpool's host prints on both outputs and its exit status.
func (s *installation) shell(t *testing.T, command string) (stdout, stderr string, status int) {
	t.Helper()
	return s.Shell(t, s.host, "postgres", command)
}

// nodes is what SHOW pool_nodes has in the given columns.
func (s *installation) nodes(t *testing.T, columns ...string) string {
	t.Helper()
	stdout, stderr, status := s.shell(t, "psql -X -q -A -P footer=off -w -h localhost -p 9999 -d postgres -c 'SHOW pool_nodes'")
	if status != 0 {
		return strings.TrimSpace(stderr)
	}
	return site.Brief(site.Rows(stdout), columns...)
}

// settle waits until SHOW pool_nodes shows what is wanted, every standby that is up streams, the scripts have ended, and the log is at
// rest: Pgpool-II starts its processes again after each change, and a request to one that is about to end is lost.
func (s *installation) settle(t *testing.T, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	seen, size, since := "", -1, time.Now()
	err := pgcluster.Poll(ctx, want, func() (bool, error) {
		if _, _, status := s.shell(t, "grep -aqs '[.]sample' /proc/[0-9]*/cmdline"); status == 0 {
			size = -1
			return false, nil
		}
		if log := s.pgpool.LogText(t); size < 0 || stirs(log[size:]) {
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
