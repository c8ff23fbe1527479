package ldap

import (
	"context"
	"net"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"gopgpool/auth/outside"
)

// maxServers bounds what DNS may name.
const maxServers = 16

// server is one to ask.
type server struct {
	host string
	port int
}

func (s server) address() string { return net.JoinHostPort(s.host, strconv.Itoa(s.port)) }

// servers are those of the options, or those that DNS names for the domain of the search base.
func (l *login) servers(ctx context.Context) ([]server, error) {
	if len(l.options.Servers) == 0 {
		return l.domainServers(ctx)
	}
	port := l.options.Port
	switch {
	case port != 0:
	case l.options.LDAPS:
		port = 636
	default:
		port = 389
	}
	var all []server
	for _, host := range l.options.Servers {
		all = append(all, server{host: strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), port: port})
	}
	return all, nil
}

func (l *login) domainServers(ctx context.Context) ([]server, error) {
	domain := domainOf(l.options.BaseDN)
	if domain == "" {
		return nil, outside.New(outside.Unusable, `LDAP server not specified, and ldapbasedn "`+l.options.BaseDN+`" names no domain (dc=...)`, nil)
	}
	turn, cancel := share(ctx, 2)
	defer cancel()
	_, records, err := l.lookupSRV(turn, "ldap", "tcp", domain)
	var all []server
	for _, r := range records {
		host := strings.TrimSuffix(r.Target, ".")
		if host != "" && len(all) < maxServers { // the target "." says that there is no such service
			all = append(all, server{host: host, port: int(r.Port)})
		}
	}
	if len(all) == 0 {
		return nil, outside.New(outside.Unavailable, `LDAP authentication could not find DNS SRV records for "`+domain+`"`, err)
	}
	return all, nil
}

// domainOf is the domain that the dc at the end of a distinguished name spell; "" if there are none.
func domainOf(dn string) string {
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return ""
	}
	var labels []string
	for _, rdn := range parsed.RDNs {
		if len(rdn.Attributes) != 1 || !strings.EqualFold(rdn.Attributes[0].Type, "dc") {
			labels = nil
			continue
		}
		labels = append(labels, rdn.Attributes[0].Value)
	}
	return strings.Join(labels, ".")
}
