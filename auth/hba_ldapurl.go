package auth

import (
	"net"
	"net/url"
	"strings"
)

// ldapURL is what a URL of RFC 4516 says. Without a host, port is 0 or what stands there.
type ldapURL struct {
	ldaps bool
	host  string
	port  int // 0: that of the scheme

	search    bool // there is a base or something behind it
	baseDN    string
	attribute string // the first
	scope     LDAPScope
	filter    string
}

// parseLDAPURL reads ldap[s]://host[:port]/basedn[?attributes[?scope[?filter[?extensions]]]] and gives what is wrong,
// or "".
func parseLDAPURL(text string) (u ldapURL, problem string) {
	bad := func(why string) (ldapURL, string) {
		return ldapURL{}, `could not parse LDAP URL "` + text + `": ` + why
	}
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return bad("no scheme")
	}
	if u.ldaps = strings.EqualFold(scheme, "ldaps"); !u.ldaps && !strings.EqualFold(scheme, "ldap") {
		return u, "unsupported LDAP URL scheme: " + scheme
	}
	server, path, _ := strings.Cut(rest, "/")
	if strings.Contains(server, "?") {
		return bad("a slash is missing before the base")
	}
	if u.host, u.port, ok = ldapServer(server); !ok {
		return bad("invalid host or port")
	}
	parts := strings.Split(path, "?")
	if len(parts) > 5 {
		return bad("too many question marks")
	}
	for i, part := range parts {
		decoded, err := url.PathUnescape(part)
		if err != nil {
			return bad(err.Error())
		}
		if why := u.set(i, decoded); why != "" {
			return bad(why)
		}
	}
	u.search = path != ""
	return u, ""
}

// set takes one part of the URL. The scope of a URL that has none is the base (RFC 4516).
func (u *ldapURL) set(part int, value string) (problem string) {
	switch part {
	case 0:
		u.baseDN, u.scope = value, LDAPScopeBase
	case 1:
		u.attribute, _, _ = strings.Cut(value, ",")
	case 2:
		return u.setScope(value)
	case 3:
		u.filter = value
	case 4:
		for extension := range strings.SplitSeq(value, ",") {
			if strings.HasPrefix(extension, "!") {
				return `critical extension "` + extension + `"`
			}
		}
	}
	return ""
}

func (u *ldapURL) setScope(value string) string {
	switch strings.ToLower(value) {
	case "", "base":
	case "one":
		u.scope = LDAPScopeOne
	case "sub", "subtree":
		u.scope = LDAPScopeSub
	default:
		return `invalid scope "` + value + `"`
	}
	return ""
}

// ldapServer cuts host[:port], where an IPv6 address stands in brackets; it is given without them.
func ldapServer(text string) (host string, port int, ok bool) {
	text, err := url.PathUnescape(text)
	if err != nil || strings.ContainsAny(text, " \t@") {
		return "", 0, false
	}
	if address, bracketed := strings.CutSuffix(text, "]"); bracketed {
		address, ok = strings.CutPrefix(address, "[")
		return address, 0, ok && !strings.ContainsAny(address, "[]")
	}
	if !strings.Contains(text, ":") {
		return text, 0, !strings.ContainsAny(text, "[]")
	}
	host, number, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, false
	}
	port, problem := ldapPort(number)
	return host, port, problem == ""
}
