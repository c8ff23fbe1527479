package auth

import (
	"net/netip"
	"regexp"
	"strconv"
)

// ConnType is the first column of pool_hba.conf.
type ConnType uint8

// The record types. TypeHost is TCP with or without TLS.
const (
	TypeLocal ConnType = iota + 1
	TypeHost
	TypeHostSSL
	TypeHostNoSSL
	TypeHostGSSEnc   // PostgreSQL's; never matches, there is no GSSAPI encryption here
	TypeHostNoGSSEnc // PostgreSQL's; the same as TypeHost here
)

func (t ConnType) String() string {
	switch t {
	case TypeLocal:
		return "local"
	case TypeHost:
		return "host"
	case TypeHostSSL:
		return "hostssl"
	case TypeHostNoSSL:
		return "hostnossl"
	case TypeHostGSSEnc:
		return "hostgssenc"
	case TypeHostNoGSSEnc:
		return "hostnogssenc"
	}
	return "none"
}

// Token is a word of a database or user list. A word that began with a quote is never a keyword nor a group.
type Token struct {
	Text   string
	Quoted bool

	regex *regexp.Regexp // of a text that begins with a slash
}

func (t *Token) is(keyword string) bool { return !t.Quoted && t.Text == keyword }

// Rule is one record of pool_hba.conf. Its slices belong to the [Rules] and are read only.
type Rule struct {
	File string
	Line int

	Type      ConnType
	Databases []Token
	Users     []Token
	Method    Method

	// ClientCert is what is asked of the client's certificate beside the method; ClientCertVerifyFull with method cert.
	// ClientName is the part of it that is compared with the user.
	ClientCert ClientCertCheck
	ClientName ClientName

	// Map is the map of pool_ident.conf that compares an outside name with the user, "" if they must be equal.
	Map string

	LDAP LDAPOptions // of method ldap
	PAM  PAMOptions  // of method pam

	address address
}

type addressKind uint8

const (
	addressNone addressKind = iota // local records
	addressAll
	addressSameHost
	addressSameNet
	addressMask
	addressName
)

// address is the fourth column.
type address struct {
	kind addressKind
	ip   netip.Addr // addressMask
	mask []byte     // as long as ip; need not be contiguous
	name string     // addressName; a leading dot means any host below
}

// Rules are the records of a pool_hba.conf without errors, in file order; they never change. The nil value has none
// and so refuses everybody.
type Rules struct {
	list    []Rule
	idents  *Idents
	notices []Notice
}

// Idents are the maps of pool_ident.conf that were given to [ParseHBA].
func (r *Rules) Idents() *Idents {
	if r == nil {
		return nil
	}
	return r.idents
}

// Len is the number of records.
func (r *Rules) Len() int {
	if r == nil {
		return 0
	}
	return len(r.list)
}

// Notices are what the log should say about records that are accepted but have no, or less, effect. ssl is the
// parameter of that name; ca tells that there are certificates to check those of clients against.
func (r *Rules) Notices(ssl, ca bool) []Notice {
	if r == nil {
		return nil
	}
	notices := append([]Notice(nil), r.notices...)
	for i := range r.list {
		rule := &r.list[i]
		switch {
		case rule.Type == TypeHostSSL && !ssl:
			notices = append(notices, Notice{rule.File, rule.Line, "hostssl record cannot match because SSL is disabled"})
		case rule.ClientCert != ClientCertNone && !ca:
			notices = append(notices, Notice{rule.File, rule.Line, noStore})
		}
	}
	return notices
}

const noStore = "client certificates can only be checked if a root certificate store is available"

// HBAError is one bad line. Its text and Context are the log's message and CONTEXT line.
type HBAError struct {
	File string
	Line int // 0: the file as a whole
	Text string
}

func (e *HBAError) Error() string {
	if c := e.Context(); c != "" {
		return e.Text + " (" + c + ")"
	}
	return e.Text
}

// Context says where.
func (e *HBAError) Context() string {
	if e.Line == 0 {
		return ""
	}
	return lineContext(e.File, e.Line)
}

func lineContext(file string, line int) string {
	return `line ` + strconv.Itoa(line) + ` of configuration file "` + file + `"`
}
