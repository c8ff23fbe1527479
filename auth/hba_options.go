package auth

import "fmt"

// ClientCertCheck is the option clientcert: what is asked of a client's certificate besides what the method asks.
type ClientCertCheck uint8

// The checks. ClientCertVerifyCA asks for a certificate whose chain ends at ssl_ca_cert, ClientCertVerifyFull also for
// the user's name in it ([ClientName], Rule.Map).
const (
	ClientCertNone ClientCertCheck = iota
	ClientCertVerifyCA
	ClientCertVerifyFull
)

func (c ClientCertCheck) String() string {
	switch c {
	case ClientCertNone:
		return "none"
	case ClientCertVerifyCA:
		return "verify-ca"
	case ClientCertVerifyFull:
		return "verify-full"
	}
	return "none"
}

// ClientName is the option clientname: the part of a certificate's subject that is the client's name.
type ClientName uint8

// The parts. The distinguished name is in the form of RFC 2253.
const (
	ClientNameCN ClientName = iota
	ClientNameDN
)

func (n ClientName) String() string {
	switch n {
	case ClientNameCN:
		return "CN"
	case ClientNameDN:
		return "DN"
	}
	return "CN"
}

// LDAPScope is how far below the base a search looks.
type LDAPScope uint8

// The scopes. The default is the whole subtree, but within an ldapurl, where RFC 4516 says it is the base.
const (
	LDAPScopeSub LDAPScope = iota
	LDAPScopeOne
	LDAPScopeBase
)

func (s LDAPScope) String() string {
	switch s {
	case LDAPScopeSub:
		return "sub"
	case LDAPScopeOne:
		return "one"
	case LDAPScopeBase:
		return "base"
	}
	return "sub"
}

// LDAPOptions are the options of method ldap, checked (manual: LDAP authentication); those of an ldapurl are spread over
// the others. Either Search is set, or the name to bind with is Prefix, the user, Suffix.
type LDAPOptions struct {
	Servers  []string // in the order to try; none: ask DNS for the domain of BaseDN
	Port     int      // 0: that of the scheme
	LDAPS    bool     // TLS from the first byte
	StartTLS bool

	Prefix, Suffix string

	Search          bool
	BaseDN          string
	BindDN          string // "": the search is anonymous
	BindPassword    string `json:"-"` // never printed
	SearchAttribute string // "" if there is a SearchFilter, else set
	SearchFilter    string // holds $username
	Scope           LDAPScope

	// BackendUsePasswd: the client's password also serves to log in to the servers.
	BackendUsePasswd bool
}

// Format prints no content.
func (o LDAPOptions) Format(s fmt.State, _ rune) { redact(s, "LDAPOptions") }

// PAMOptions are the options of method pam.
type PAMOptions struct {
	Service     string // never empty
	UseHostname bool   // accepted; PAM is told the client's address
}
