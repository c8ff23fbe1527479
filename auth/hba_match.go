package auth

import (
	"net/netip"
	"slices"
	"strings"
)

// Client is what a record is compared with.
type Client struct {
	// Local is a Unix socket; Addr is then unused. Addr is the peer's address as the kernel gave it: an IPv4 address
	// mapped into IPv6 matches IPv6 records only.
	Local bool
	Addr  netip.Addr
	TLS   bool

	// Names are the host names of Addr whose own addresses contain Addr ([GatherNames]); Interfaces the addresses of
	// this host with their networks. Gather them when [Rules.Needs] says so; otherwise no record needs them.
	Names      []string
	Interfaces []netip.Prefix

	// Roles are the roles the user is a member of, itself included; empty and not nil for a user the servers do not
	// know. nil: not needed, or not learnt.
	Roles []string
}

// Needs are facts about a client that cost I/O.
type Needs struct {
	Names      bool
	Interfaces bool
	Roles      bool
}

// Verdict is the kind of a [Reason].
type Verdict uint8

// The verdicts. NoRecord refuses like a record with method reject.
const (
	NoRecord Verdict = iota
	Matched
)

// Reason says which record decided.
type Reason struct {
	Verdict Verdict
	File    string
	Line    int
}

func (r Reason) String() string {
	if r.Verdict == NoRecord {
		return "no record matches"
	}
	return lineContext(r.File, r.Line)
}

// answer is whether a record matches. dunno: it depends on roles that are not known.
type answer uint8

const (
	no answer = iota
	yes
	dunno
)

func answerOf(is bool) answer {
	if is {
		return yes
	}
	return no
}

// or and and join answers as SQL joins truth values.
func (a answer) or(b answer) answer {
	switch {
	case a == yes || b == yes:
		return yes
	case a == dunno || b == dunno:
		return dunno
	}
	return no
}

func (a answer) and(b answer) answer {
	switch {
	case a == no || b == no:
		return no
	case a == dunno || b == dunno:
		return dunno
	}
	return yes
}

// Match gives the first record, in file order, whose type, TLS state, address, database and user match. Without one
// it is the zero Rule with method reject. A record whose match depends on roles that could not be learnt lets nobody in:
// it counts as matching if it rejects, otherwise not.
func (r *Rules) Match(c Client, database, user string) (Rule, Reason) {
	if r != nil {
		for i := range r.list {
			rule := &r.list[i]
			is := rule.matches(c, database, user)
			if is == no || is == dunno && rule.Method != MethodReject || !rule.address.matches(c) {
				continue
			}
			return *rule, Reason{Matched, rule.File, rule.Line}
		}
	}
	return Rule{Method: MethodReject}, Reason{}
}

// Needs tells which facts must be gathered before Match, for this client: those of records that may come to decide.
// It takes a record that needs a fact for one that may match or not. What a map of pool_ident.conf needs is among them.
func (r *Rules) Needs(c Client, database, user string) (n Needs) {
	if r == nil {
		return n
	}
	c.Roles = nil
	for i := range r.list {
		rule := &r.list[i]
		is := rule.matches(c, database, user)
		if is == no {
			continue
		}
		certain := false
		switch rule.address.kind {
		case addressName:
			n.Names = true
		case addressSameHost, addressSameNet:
			n.Interfaces = true
		case addressNone, addressAll, addressMask:
			if certain = rule.address.matches(c); !certain {
				continue
			}
		}
		n.Roles = n.Roles || is == dunno || rule.Map != "" && r.idents.needsRoles(rule.Map)
		if certain && is == yes {
			return n
		}
	}
	return n
}

// Refusal is what a client is told whom no record lets in, or that of a reject.
func Refusal(c Client, database, user string, reason Reason) *Error {
	host, ssl := "[local]", "SSL off"
	if !c.Local {
		host = c.Addr.String()
	}
	if c.TLS {
		ssl = "SSL on"
	}
	detail := `no pool_hba.conf entry for host "` + host + `", user "` + user + `", database "` + database + `", ` + ssl
	return &Error{
		ClientMessage: refusedText, Detail: detail, Hint: seeLog, SQLSTATE: stateInvalidAuth,
		LogText: refusedText, LogDetail: detail + " (" + reason.String() + ")",
	}
}

// matches compares everything but the address.
func (r *Rule) matches(c Client, database, user string) answer {
	if !r.matchesType(c) {
		return no
	}
	is := no
	for i := range r.Databases {
		is = is.or(r.Databases[i].matchesDatabase(database, user, c.Roles))
	}
	if is == no {
		return no
	}
	of := no
	for i := range r.Users {
		of = of.or(r.Users[i].matchesRole(user, c.Roles))
	}
	return is.and(of)
}

func (r *Rule) matchesType(c Client) bool {
	switch r.Type {
	case TypeLocal:
		return c.Local
	case TypeHost, TypeHostNoGSSEnc:
		return !c.Local
	case TypeHostSSL:
		return !c.Local && c.TLS
	case TypeHostNoSSL:
		return !c.Local && !c.TLS
	case TypeHostGSSEnc:
	}
	return false
}

func (t *Token) matchesDatabase(database, user string, roles []string) answer {
	switch {
	case t.is("all"):
		return yes
	case t.is("sameuser"):
		return answerOf(database == user)
	case t.is("samegroup"), t.is("samerole"):
		return memberOf(database, roles)
	case t.regex != nil:
		return answerOf(t.regex.MatchString(database))
	}
	return answerOf(t.Text == database)
}

// group reports a +group name.
func (t *Token) group() bool { return !t.Quoted && strings.HasPrefix(t.Text, "+") }

func (t *Token) matchesRole(role string, roles []string) answer {
	switch {
	case t.group():
		return memberOf(t.Text[1:], roles)
	case t.is("all"):
		return yes
	case t.regex != nil:
		return answerOf(t.regex.MatchString(role))
	}
	return answerOf(t.Text == role)
}

func memberOf(group string, roles []string) answer {
	if roles == nil {
		return dunno
	}
	return answerOf(slices.Contains(roles, group))
}

func (a *address) matches(c Client) bool {
	switch a.kind {
	case addressNone, addressAll:
		return true
	case addressSameHost:
		return c.onInterface(func(p netip.Prefix) bool { return p.Addr() == c.Addr.WithZone("") })
	case addressSameNet:
		return c.onInterface(func(p netip.Prefix) bool { return p.Contains(c.Addr.WithZone("")) })
	case addressMask:
		return a.masked(c.Addr)
	case addressName:
		return a.named(c.Names)
	}
	return false
}

func (c Client) onInterface(is func(netip.Prefix) bool) bool {
	for _, p := range c.Interfaces {
		if is(netip.PrefixFrom(p.Addr().WithZone(""), p.Bits())) {
			return true
		}
	}
	return false
}

func (a *address) masked(addr netip.Addr) bool {
	if !addr.IsValid() || addr.Is4() != a.ip.Is4() {
		return false
	}
	theirs, ours := addr.As16(), a.ip.As16()
	offset := len(theirs) - len(a.mask)
	for i, m := range a.mask {
		if (theirs[offset+i]^ours[offset+i])&m != 0 {
			return false
		}
	}
	return true
}

func (a *address) named(names []string) bool {
	for _, name := range names {
		name = strings.ToLower(name)
		if name == a.name || strings.HasPrefix(a.name, ".") && strings.HasSuffix(name, a.name) {
			return true
		}
	}
	return false
}
