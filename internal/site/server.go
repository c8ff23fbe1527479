package site

import (
	"fmt"
	"strings"
	"testing"

	"gopgpool/internal/hosts"
)

// Server is a PostgreSQL server on a host, run by the user postgres. Its socket is in /run/postgresql, its port 5432.
type Server struct {
	Host *hosts.Host
	Data string // its data directory
	Log  string // what it says when started by us

	site *Site
}

// NewServer is a server to be; nothing is there yet.
func (s *Site) NewServer(h *hosts.Host, data string) *Server {
	p := &Server{Host: h, Data: data, Log: "/var/lib/pgsql/startup.log", site: s}
	s.Keep(h, p.Log, 25)
	s.Keep(h, data+"/startup.log", 25)
	return p
}

// Init makes the data directory. options go to initdb; settings and hba are appended to the server's files.
func (p *Server) Init(tb testing.TB, options string, settings, hba []string) {
	tb.Helper()
	p.site.Run(tb, p.Host, "root", "mkdir -p "+p.Data+" /run/postgresql && chown -R postgres: /var/lib/pgsql /run/postgresql")
	p.site.Run(tb, p.Host, "postgres", "initdb -D "+p.Data+" -N --no-instructions -E UTF8 --locale=C "+options)
	p.site.AppendTo(tb, p.Host, "postgres", p.Data+"/postgresql.conf",
		append([]string{"listen_addresses = '*'", "unix_socket_directories = '/run/postgresql'", "fsync = off"}, settings...)...)
	p.site.AppendTo(tb, p.Host, "postgres", p.Data+"/pg_hba.conf", hba...)
}

// Copy makes the data directory of a standby that follows up, without passwords, and leaves it stopped.
func (p *Server) Copy(tb testing.TB, up *Server) {
	tb.Helper()
	p.site.Run(tb, p.Host, "root", "mkdir -p "+p.Data+" /run/postgresql && chown -R postgres: /var/lib/pgsql /run/postgresql && chmod 700 "+p.Data)
	p.site.Run(tb, p.Host, "postgres", fmt.Sprintf("pg_basebackup -h %s -U postgres -w -D %s -X stream -c fast -R", up.Host.Name, p.Data))
	p.site.AppendTo(tb, p.Host, "postgres", p.Data+"/postgresql.conf", "cluster_name = '"+p.Host.Name+"'")
}

// Start starts the server and waits until it takes connections.
func (p *Server) Start(tb testing.TB) {
	tb.Helper()
	p.site.Run(tb, p.Host, "postgres", "pg_ctl -D "+p.Data+" -l "+p.Log+" -w start >/dev/null")
}

// Stop stops it: smart, fast or immediate.
func (p *Server) Stop(tb testing.TB, mode string) {
	tb.Helper()
	p.site.Run(tb, p.Host, "postgres", "pg_ctl -D "+p.Data+" -m "+mode+" -w stop")
}

// SQL runs statements on the server itself and returns what they return.
func (p *Server) SQL(tb testing.TB, sql string) string {
	tb.Helper()
	return p.site.Run(tb, p.Host, "postgres",
		"psql -X -q -At -h /run/postgresql -d postgres -v ON_ERROR_STOP=1 <<'END'\n"+strings.TrimSuffix(sql, ";")+";\nEND")
}
