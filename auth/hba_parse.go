package auth

import (
	"net/netip"
	"strconv"
	"strings"
)

// HBAOptions are what ParseHBA must know besides the file.
type HBAOptions struct {
	// NoPAM: this program is built without PAM. Records with that method are then an error.
	NoPAM bool

	// Idents are what the map= of records refers to; [Rules.Idents] gives them back.
	Idents *Idents
}

// ParseHBA reads a pool_hba.conf (manual: the pool_hba.conf file). name is its path, to which included files are
// relative. With any error there are no rules, and every bad line has its error, an *[HBAError]. A file without records
// is an error too.
func ParseHBA(name string, data []byte, files Files, o HBAOptions) (*Rules, []error) {
	reader := hbaReader{files: files}
	rules := &Rules{idents: o.Idents}
	reader.records([]string{name}, data, func(line hbaLine) {
		p := recordParser{line: line, noPAM: o.NoPAM, rule: Rule{File: line.file, Line: line.number}}
		if problem := p.record(); problem != "" {
			reader.fail(line.file, line.number, problem)
			return
		}
		rules.list = append(rules.list, p.rule)
		rules.notices = append(rules.notices, p.notices...)
	})
	if len(reader.errs) == 0 && len(rules.list) == 0 {
		reader.fail(name, 0, `configuration file "`+name+`" contains no entries`)
	}
	if len(reader.errs) > 0 {
		return nil, reader.errs
	}
	return rules, nil
}

// recordParser turns the fields of one line into a rule. Its methods return what is wrong, or "".
type recordParser struct {
	line    hbaLine
	next    int
	noPAM   bool
	rule    Rule
	ldap    ldapSeen
	notices []Notice
}

func (p *recordParser) record() string {
	steps := [...]func() string{p.connType, p.databases, p.users, p.address, p.method, p.options, p.check}
	for _, step := range steps {
		if problem := step(); problem != "" {
			return problem
		}
	}
	return ""
}

// list takes the next field; one that is missing is named.
func (p *recordParser) list(what string) ([]Token, string) {
	if p.next >= len(p.line.fields) {
		return nil, "end-of-line before " + what
	}
	field := p.line.fields[p.next]
	p.next++
	return field, ""
}

// single takes the next field where a list makes no sense; the field has one name where it is missing, one where it is a list.
func (p *recordParser) single(what, many string) (Token, string) {
	field, problem := p.list(what)
	switch {
	case problem != "":
		return Token{}, problem
	case len(field) != 1:
		return Token{}, "multiple values specified for " + many
	}
	return field[0], ""
}

func (p *recordParser) connType() string {
	token, problem := p.single("connection type", "connection type")
	if problem != "" {
		return problem
	}
	for t := TypeLocal; t <= TypeHostNoGSSEnc; t++ {
		if t.String() == token.Text {
			p.rule.Type = t
			if t == TypeHostGSSEnc {
				p.notice("hostgssenc record cannot match because GSSAPI is not supported by this build")
			}
			return ""
		}
	}
	return `invalid connection type "` + token.Text + `"`
}

func (p *recordParser) databases() (problem string) {
	p.rule.Databases, problem = p.names("database specification")
	return problem
}

func (p *recordParser) users() (problem string) {
	p.rule.Users, problem = p.names("role specification")
	return problem
}

// names takes a list of which some may be regular expressions.
func (p *recordParser) names(what string) (list []Token, problem string) {
	list, problem = p.list(what)
	for i := range list {
		if problem == "" {
			problem = list[i].compile()
		}
	}
	return list, problem
}

func (p *recordParser) notice(text string) {
	p.notices = append(p.notices, Notice{File: p.rule.File, Line: p.rule.Line, Text: text})
}

func (p *recordParser) address() string {
	if p.rule.Type == TypeLocal {
		return ""
	}
	token, problem := p.single("IP address specification", "host address")
	if problem != "" {
		return problem
	}
	a := &p.rule.address
	switch {
	case token.is("all"):
		a.kind = addressAll
	case token.is("samehost"):
		a.kind = addressSameHost
	case token.is("samenet"):
		a.kind = addressSameNet
	default:
		return p.network(token.Text)
	}
	return ""
}

// network is an address with its mask in one field or two, or the name of a host.
func (p *recordParser) network(text string) string {
	host, length, slash := strings.Cut(text, "/")
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return p.hostName(text, host, slash)
	}
	p.rule.address = address{kind: addressMask, ip: ip.WithZone("")}
	if slash {
		return p.cidr(text, length)
	}
	return p.netmask()
}

// hostName takes what is no address for a name, unless it was meant to be one.
func (p *recordParser) hostName(text, host string, slash bool) string {
	switch {
	case strings.Trim(host, "0123456789.") == "" || strings.Contains(host, ":"):
		return `invalid IP address "` + host + `"`
	case slash:
		return `specifying both host name and CIDR mask is invalid: "` + text + `"`
	}
	p.rule.address = address{kind: addressName, name: strings.ToLower(host)}
	return ""
}

func (p *recordParser) cidr(text, length string) string {
	a := &p.rule.address
	bits, err := strconv.Atoi(length)
	if err != nil || bits < 0 || bits > a.ip.BitLen() || strings.ContainsAny(length, "+-") {
		return `invalid CIDR mask in address "` + text + `"`
	}
	a.mask = make([]byte, a.ip.BitLen()/8)
	for i := range bits {
		a.mask[i/8] |= 0x80 >> (i % 8)
	}
	return ""
}

func (p *recordParser) netmask() string {
	token, problem := p.single("netmask specification", "netmask")
	if problem != "" {
		return problem
	}
	mask, err := netip.ParseAddr(token.Text)
	switch {
	case err != nil || mask.Zone() != "":
		return `invalid IP mask "` + token.Text + `"`
	case mask.Is4() != p.rule.address.ip.Is4():
		return "IP address and mask do not match"
	}
	p.rule.address.mask = mask.AsSlice()
	return ""
}

func (p *recordParser) method() string {
	token, problem := p.single("authentication method", "authentication type")
	if problem != "" {
		return problem
	}
	p.rule.Method = methodNamed(token.Text)
	switch {
	case p.rule.Method == 0:
		return `invalid authentication method "` + token.Text + `"`
	case p.rule.Method == MethodPAM && p.noPAM:
		return `invalid authentication method "` + token.Text + `": not supported by this build`
	case p.rule.Method == MethodPeer && p.rule.Type != TypeLocal:
		return "peer authentication is only supported on local sockets"
	case p.rule.Method == MethodCert && (p.rule.Type == TypeLocal || p.rule.Type == TypeHostNoSSL):
		return "cert authentication is only supported on hostssl connections"
	}
	return ""
}
