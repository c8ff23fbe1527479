package auth

import (
	"slices"
	"strconv"
	"strings"
)

func (p *recordParser) options() string {
	switch p.rule.Method {
	case MethodCert:
		p.rule.ClientCert = ClientCertVerifyFull
	case MethodPAM:
		p.rule.PAM.Service = "pgpool"
	case MethodTrust, MethodReject, MethodPassword, MethodMD5, MethodSCRAM, MethodLDAP, MethodPeer:
	}
	for _, field := range p.line.fields[p.next:] {
		for _, token := range field {
			if problem := p.option(token.Text); problem != "" {
				return problem
			}
		}
	}
	return ""
}

func (p *recordParser) option(text string) string {
	name, value, ok := strings.Cut(text, "=")
	switch {
	case !ok:
		return "authentication option not in name=value format: " + text
	case slices.Contains(pamOptions(), name):
		return p.pamOption(name, value)
	case slices.Contains(ldapOptions(), name):
		if p.rule.Method != MethodLDAP {
			return onlyFor(name, "ldap")
		}
		return p.ldapOption(name, value)
	}
	switch name {
	case "map":
		if p.rule.Method != MethodPeer && p.rule.Method != MethodCert {
			return onlyFor(name, "peer and cert")
		}
		p.rule.Map = value
	case "clientcert":
		return p.clientCert(value)
	case "clientname":
		return p.clientName(value)
	default:
		return `unrecognized authentication option name: "` + name + `"`
	}
	return ""
}

func onlyFor(name, methods string) string {
	return `authentication option "` + name + `" is only valid for authentication methods ` + methods
}

func (p *recordParser) clientCert(value string) string {
	switch {
	case p.rule.Type != TypeHostSSL:
		return `clientcert can only be configured for "hostssl" rows`
	case value == "verify-full":
		p.rule.ClientCert = ClientCertVerifyFull
	case value != "verify-ca":
		return `invalid value for clientcert: "` + value + `"`
	case p.rule.Method == MethodCert:
		return `clientcert can only be set to "verify-full" when using "cert" authentication`
	default:
		p.rule.ClientCert = ClientCertVerifyCA
	}
	return ""
}

func (p *recordParser) clientName(value string) string {
	switch {
	case p.rule.Type != TypeHostSSL:
		return `clientname can only be configured for "hostssl" rows`
	case value == "CN":
		p.rule.ClientName = ClientNameCN
	case value == "DN":
		p.rule.ClientName = ClientNameDN
	default:
		return `invalid value for clientname: "` + value + `"`
	}
	return ""
}

func pamOptions() []string { return []string{"pamservice", "pam_use_hostname"} }

func (p *recordParser) pamOption(name, value string) (problem string) {
	switch {
	case p.rule.Method != MethodPAM:
		p.notice(onlyFor(name, "pam"))
	case name == "pam_use_hostname":
		p.rule.PAM.UseHostname, problem = zeroOrOne(name, value)
	case value == "":
		return `invalid value for pamservice: ""`
	default:
		p.rule.PAM.Service = value
	}
	return problem
}

// zeroOrOne reads a switch.
func zeroOrOne(name, value string) (on bool, problem string) {
	if value != "0" && value != "1" {
		return false, `invalid value for ` + name + `: "` + value + `"`
	}
	return value == "1", ""
}

func ldapOptions() []string {
	return []string{
		"ldapserver", "ldapport", "ldapscheme", "ldaptls", "ldapprefix", "ldapsuffix", "ldapbasedn", "ldapbinddn",
		"ldapbindpasswd", "ldapsearchattribute", "ldapsearchfilter", "ldapurl", "backend_use_passwd",
	}
}

// ldapSeen are the options that were written, be it empty.
type ldapSeen struct {
	affix  bool // ldapprefix or ldapsuffix
	search bool // any option of a search
	base   bool // ldapbasedn
}

func (p *recordParser) ldapOption(name, value string) (problem string) {
	o := &p.rule.LDAP
	switch name {
	case "ldapserver":
		o.Servers = strings.Fields(value)
	case "ldapport":
		o.Port, problem = ldapPort(value)
	case "ldapscheme":
		if value != "ldap" && value != "ldaps" {
			return `invalid ldapscheme value: "` + value + `"`
		}
		o.LDAPS = value == "ldaps"
	case "ldaptls":
		o.StartTLS, problem = zeroOrOne(name, value)
	case "ldapprefix":
		o.Prefix, p.ldap.affix = value, true
	case "ldapsuffix":
		o.Suffix, p.ldap.affix = value, true
	case "ldapurl":
		problem = p.ldapURL(value)
	case "backend_use_passwd":
		o.BackendUsePasswd, problem = zeroOrOne(name, value)
	default:
		p.searchOption(name, value)
	}
	return problem
}

func (p *recordParser) searchOption(name, value string) {
	o := &p.rule.LDAP
	p.ldap.search = true
	switch name {
	case "ldapbasedn":
		o.BaseDN, p.ldap.base = value, true
	case "ldapbinddn":
		o.BindDN = value
	case "ldapbindpasswd":
		o.BindPassword = value
	case "ldapsearchattribute":
		o.SearchAttribute = value
	case "ldapsearchfilter":
		o.SearchFilter = value
	}
}

func ldapPort(value string) (int, string) {
	port, err := strconv.ParseUint(value, 10, 16)
	if err != nil || port == 0 {
		return 0, `invalid LDAP port number: "` + value + `"`
	}
	return int(port), ""
}

// ldapURL spreads a URL over the other options; later ones win. The scope can be set by nothing else, so it stays.
func (p *recordParser) ldapURL(value string) string {
	u, problem := parseLDAPURL(value)
	if problem != "" {
		return problem
	}
	o := &p.rule.LDAP
	o.LDAPS, o.Port, o.Servers = u.ldaps, u.port, nil
	if u.host != "" {
		o.Servers = []string{u.host}
	}
	if !u.search {
		return ""
	}
	o.BaseDN, o.Scope = u.baseDN, u.scope
	p.ldap.base, p.ldap.search = true, true
	if u.attribute != "" {
		o.SearchAttribute = u.attribute
	}
	if u.filter != "" {
		o.SearchFilter = u.filter
	}
	return ""
}

// check looks at the options together.
func (p *recordParser) check() string {
	if p.rule.Method != MethodLDAP {
		return ""
	}
	o := &p.rule.LDAP
	o.Search = p.ldap.base
	switch {
	case p.ldap.affix && p.ldap.search:
		return "cannot use ldapbasedn, ldapbinddn, ldapbindpasswd, ldapsearchattribute, ldapsearchfilter, or ldapurl together with ldapprefix"
	case !p.ldap.affix && !p.ldap.base:
		return `authentication method "ldap" requires argument "ldapbasedn", "ldapprefix", or "ldapsuffix" to be set`
	case o.SearchAttribute != "" && o.SearchFilter != "":
		return "cannot use ldapsearchattribute together with ldapsearchfilter"
	case len(o.Servers) == 0 && o.BaseDN == "":
		return "LDAP server not specified, and no ldapbasedn"
	case o.LDAPS && o.StartTLS:
		return "cannot use ldaptls together with ldapscheme=ldaps"
	case o.SearchFilter != "" && !strings.Contains(o.SearchFilter, ldapUser):
		return `ldapsearchfilter does not contain ` + ldapUser + `: "` + o.SearchFilter + `"`
	}
	if o.Search && o.SearchFilter == "" && o.SearchAttribute == "" {
		o.SearchAttribute = "uid"
	}
	return ""
}

// ldapUser stands in a filter for the user's name.
const ldapUser = "$username"
