package scenario

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gopgpool/auth"
	"gopgpool/internal/hosts"
	"gopgpool/internal/pgcluster"
	"gopgpool/internal/site"
)

// Where things are on the hosts.
const (
	dataDir    = "/var/lib/pgsql/15/data"
	archiveDir = "/var/lib/pgsql/archivedir"
	etcDir     = "/etc/pgpool-II"
	pgpoolLog  = "/var/log/pgpool/pgpool.log"
	commandLog = "/var/log/pgpool/commands" // failover_command and follow_primary_command with their arguments
)

// The passwords of the database users and of the pcp user.
var passwords = map[string]string{"postgres": "super secret", "pgpool": "check:me", "repl": "it's streaming"}

const (
	pcpPassword = "pcp's own"
	keyPhrase   = "key of pool_passwd"
)

// example is three servers, pgpool on a host of its own or on each server, and somebody at another machine.
type example struct {
	*site.Site
	servers   [3]*hosts.Host
	databases [3]*site.Server
	pgpools   []*site.Pgpool
	pgpool    *site.Pgpool // the one whose log and commands are looked at
	client    *hosts.Host
	address   string               // where operators and clients find pgpool: a host's name, or an address
	ip        string               // the same as an address
	taken     map[*site.Pgpool]int // lines of commandLog that have been looked at
}

// newExample makes the machines and what must be on them before anything starts. pgpools are the hosts where one runs, by a user.
func newExample(t *testing.T, user string, pgpools ...string) *example {
	shares, path := site.Programs(t)
	names := []string{"server1", "server2", "server3", "client"}
	if len(pgpools) == 1 {
		names = append(names, pgpools[0])
	}
	specs := site.LAN("enp0s8", netip.MustParsePrefix("192.168.137.101/24"), names...)
	for i := range specs[:3] {
		specs[i].Shares = []hosts.Share{{Source: t.TempDir(), Target: site.StateDir, Writable: true}}
	}
	s := &example{taken: map[*site.Pgpool]int{}}
	s.Site = site.New(t, hosts.Options{Hosts: specs, Shares: append(shares, site.Extensions(t)), Path: path})
	s.client = s.Host("client")
	for i := range s.servers {
		s.servers[i] = s.Host(serverName(i))
		s.databases[i] = s.NewServer(s.servers[i], dataDir)
	}
	for _, h := range s.Hosts() {
		s.furnish(t, h, pgpools)
	}
	for _, name := range pgpools {
		s.Keep(s.Host(name), commandLog, 20)
		s.pgpools = append(s.pgpools, s.NewPgpool(s.Host(name), user, pgpoolLog, "pgpool", "-D", "-n",
			"-f", etcDir+"/pgpool.conf", "-F", etcDir+"/pcp.conf", "-a", etcDir+"/pool_hba.conf"))
	}
	s.pgpool, s.address = s.pgpools[0], pgpools[0]
	s.ip = s.pgpool.Host.Address().String()
	return s
}

func serverName(node int) string { return fmt.Sprintf("server%d", node+1) }

// furnish puts in place what is the same on all hosts: directories, the password files and a key for ssh.
func (s *example) furnish(t *testing.T, h *hosts.Host, pgpools []string) {
	s.Run(t, h, "root", "mkdir -p /var/lib/pgsql/15 "+archiveDir+" /var/log/pgpool /run/pgpool /run/postgresql "+etcDir+
		" && chown -R postgres: /var/lib/pgsql /var/log/pgpool /run/pgpool /run/postgresql "+etcDir)
	var pgpass, pcppass strings.Builder
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	for user, password := range passwords {
		fmt.Fprintf(&pgpass, "*:*:*:%s:%s\n", user, escape.Replace(password))
	}
	for _, name := range append([]string{"localhost", virtualIP}, pgpools...) {
		fmt.Fprintf(&pcppass, "%s:9898:pgpool:%s\n", name, pcpPassword)
	}
	for user, home := range map[string]string{"postgres": "/var/lib/postgresql", "root": "/root"} {
		for _, f := range []struct{ name, text string }{
			{".pgpass", pgpass.String()},
			{".pcppass", pcppass.String()},
			{".pgpoolkey", keyPhrase + "\n"},
			{".ssh/id_rsa_pgpool", "the stand-in for ssh does not look\n"},
		} {
			site.Must(t, h.WriteFile(user, home+"/"+f.name, f.text, 0o600))
		}
	}
}

// startPrimary makes the first server on server1 and starts it.
func (s *example) startPrimary(t *testing.T) {
	p := s.databases[0]
	site.Must(t, p.Host.WriteFile("postgres", "/tmp/password", passwords["postgres"], 0o600))
	p.Init(t, "-A scram-sha-256 --auth-local=trust --pwfile=/tmp/password", []string{
		"wal_log_hints = on", "archive_mode = on", "max_wal_size = 256MB",
		"archive_command = 'cp \"%p\" \"" + archiveDir + "/%f\"'", "wal_receiver_status_interval = 1s", "wal_retrieve_retry_interval = 200ms",
		"wal_receiver_timeout = 5s", "wal_sender_timeout = 5s", "log_line_prefix = '%m [%p] %q%u@%d '",
	}, []string{"host all all samenet scram-sha-256", "host replication repl samenet scram-sha-256"})
	for _, name := range []string{"recovery_1st_stage", "pgpool_remote_start"} {
		s.script(t, p.Host, "postgres", name, dataDir+"/"+name)
	}
	p.Start(t)
	quote := strings.NewReplacer("'", "''")
	p.SQL(t, "CREATE ROLE pgpool LOGIN PASSWORD '"+quote.Replace(passwords["pgpool"])+"'; GRANT pg_monitor TO pgpool")
	p.SQL(t, "CREATE ROLE repl LOGIN REPLICATION PASSWORD '"+quote.Replace(passwords["repl"])+"'")
	p.SQL(t, "CREATE EXTENSION pgpool_recovery")
	p.SQL(t, "CREATE TABLE written (session text, at timestamptz DEFAULT clock_timestamp())")
}

// onServer runs SQL on a server itself.
func (s *example) onServer(t *testing.T, node int, sql string) string {
	t.Helper()
	return s.databases[node].SQL(t, sql)
}

// script puts a sample script on a host, its settings adapted as its reader is told to.
func (s *example) script(t *testing.T, h *hosts.Host, user, name, path string) {
	text, err := os.ReadFile(filepath.Join(site.Repository(t), "samples/scripts", name))
	site.Must(t, err)
	edited := string(text)
	for setting, value := range map[string]string{
		"PGHOME": filepath.Dir(s.Bin), "PASSFILE": "/var/lib/postgresql/.pgpass", "ARCHIVEDIR": archiveDir,
	} {
		edited = regexp.MustCompile("(?m)^"+setting+"=[^ \n]*").ReplaceAllLiteralString(edited, setting+"="+value)
	}
	edited = regexp.MustCompile("ConnectTimeout=[0-9]+").ReplaceAllLiteralString(edited, "ConnectTimeout=2")
	site.Must(t, h.WriteFile(user, path, edited, 0o755))
}

// configure writes the files of every pgpool: the shipped sample with what the example changes, and more settings.
func (s *example) configure(t *testing.T, more site.Settings) {
	sample, err := os.ReadFile(filepath.Join(site.Repository(t), "pgpool.conf.sample"))
	site.Must(t, err)
	var passwd string
	for _, user := range []string{"pgpool", "postgres"} {
		secret, err := auth.NewKey(keyPhrase).Encrypt(passwords[user])
		site.Must(t, err)
		passwd += user + ":AES" + secret + "\n"
	}
	hba := ""
	for _, user := range []string{"pgpool", "postgres"} {
		hba += "host all " + user + " 0.0.0.0/0 scram-sha-256\nlocal all " + user + " scram-sha-256\n"
	}
	for id, p := range s.pgpools {
		for name, text := range map[string]string{
			"pgpool.conf": string(sample) + "\n" + s.settings().With(more).Text(), "pool_hba.conf": hba, "pool_passwd": passwd,
			"pcp.conf": "pgpool:" + pgcluster.MD5Hex(pcpPassword) + "\n", "pgpool_node_id": fmt.Sprintln(id),
		} {
			site.Must(t, p.Host.WriteFile(p.User, etcDir+"/"+name, text, 0o600))
		}
		// The scripts write down how they are called.
		for _, name := range []string{"failover", "follow_primary"} {
			s.script(t, p.Host, p.User, name+".sh", etcDir+"/"+name+".sample")
			site.Must(t, p.Host.WriteFile(p.User, etcDir+"/"+name+".sh", "#!/bin/sh\n"+
				"{ printf "+name+"; for a; do printf ' %s' \"${a:--}\"; done; echo; } >>"+commandLog+"\nexec "+etcDir+"/"+name+".sample \"$@\"\n", 0o755))
		}
		site.Must(t, p.Host.WriteFile("postgres", commandLog, "", 0o666))
	}
}

// settings are the example's, with the fast profile of an automated run.
func (s *example) settings() site.Settings {
	all := site.Settings{
		"listen_addresses": "*", "pcp_listen_addresses": "*", "backend_clustering_mode": "streaming_replication",
		"sr_check_user": "pgpool", "sr_check_password": "", "sr_check_period": "1",
		"health_check_user": "pgpool", "health_check_password": "", "health_check_period": "1", "health_check_timeout": "2",
		"health_check_max_retries": "1", "health_check_retry_delay": "1", "search_primary_node_timeout": "30",
		"failover_command":       etcDir + "/failover.sh %d %h %p %D %m %H %M %P %r %R",
		"follow_primary_command": etcDir + "/follow_primary.sh %d %h %p %D %m %M %H %P %r %R",
		"recovery_user":          "postgres", "recovery_password": "", "recovery_1st_stage_command": "recovery_1st_stage",
		"enable_pool_hba": "on", "log_line_prefix": "%m: %a pid %p: ", "work_dir": "/var/log/pgpool",
	}
	maps.Copy(all, site.Backends(s.databases[:]...))
	return all
}
