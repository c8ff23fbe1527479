package main

import (
	"gopgpool/auth/query"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/tlsconf"
)

// newUsers makes what asks servers about users. Its settings follow reloads.
func (p *parts) newUsers(server func(node cluster.NodeID, host string) tlsconf.Server) (*query.Asker, error) {
	return query.New(query.Parts{
		Store: p.store, Settings: func() query.Settings { return usersSettings(p.live.Current()) },
		Password: p.internalPassword, TLS: server,
	})
}

// usersSettings are those of auth_query. auth_user also asks for role membership, or where there is none sr_check_user does: any role
// may read it, so that +group and samerole need no auth_query.
func usersSettings(c *conf.Config) query.Settings {
	sr := &c.StreamingCheck
	s := query.Settings{
		Entries: query.Account{User: c.Auth.AuthUser, Database: c.Auth.AuthDbname},
		Query:   c.Auth.AuthQuery,
		Roles:   query.Account{User: sr.SrCheckUser, Password: sr.SrCheckPassword, Database: sr.SrCheckDatabase},
		Timeout: c.Auth.AuthenticationTimeout,
		// The index-free value holds for all connections to servers (manual: connect_timeout).
		ConnectTimeout: c.HealthCheck.Global.ConnectTimeout,
	}
	if c.Auth.AuthUser == "" {
		return s
	}
	s.Roles = s.Entries
	if s.Roles.Database == "" {
		s.Roles.Database = sr.SrCheckDatabase
	}
	return s
}
