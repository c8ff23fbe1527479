package auth

import (
	"net/netip"
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

// Match gives the first record, in file order, whose type, TLS state, address, database and user match. Without one
// it is the zero Rule with method reject.
func (r *Rules) Match(c Client, database, user string) (Rule, Reason) {
	if r != nil {
		for i := range r.list {
			rule := &r.list[i]
			if rule.matchesType(c) && rule.matchesDatabase(database, user) && rule.matchesUser(user) &&
				rule.address.matches(c) {
				return *rule, Reason{Matched, rule.File, rule.Line}
			}
		}
	}
	return Rule{Method: MethodReject}, Reason{}
}

// Needs tells which facts must be gathered before Match, for this client: those of records that may come to decide.
// It takes a record that needs a fact for one that may match or not.
func (r *Rules) Needs(c Client, database, user string) (n Needs) {
	if r == nil {
		return n
	}
	for i := range r.list {
		rule := &r.list[i]
		if !rule.matchesType(c) || !rule.matchesDatabase(database, user) || !rule.matchesUser(user) {
			continue
		}
		switch rule.address.kind {
		case addressName:
			n.Names = true
		case addressSameHost, addressSameNet:
			n.Interfaces = true
		case addressNone, addressAll, addressMask:
			if rule.address.matches(c) {
				return n
			}
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

// matchesDatabase gives up at a group keyword: a record with one must not match by what stands behind it.
func (r *Rule) matchesDatabase(database, user string) bool {
	for _, t := range r.Databases {
		switch {
		case t.is("samegroup"), t.is("samerole"):
			return false
		case t.is("all"), t.is("sameuser") && database == user, !t.is("sameuser") && t.Text == database:
			return true
		}
	}
	return false
}

// group reports a +group name.
func (t Token) group() bool { return !t.Quoted && strings.HasPrefix(t.Text, "+") }

// matchesUser gives up at a group name, as above.
func (r *Rule) matchesUser(user string) bool {
	for _, t := range r.Users {
		switch {
		case t.group():
			return false
		case t.is("all"), t.Text == user:
			return true
		}
	}
	return false
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
