package pgwire

import (
	"encoding/binary"
	"fmt"
	"sort"
	"strings"
)

// What the first packet of a connection asks for.
const (
	codeCancel = 80877102
	codeSSL    = 80877103
	codeGSS    = 80877104
)

// MaxStartup bounds the first packets of a connection, length word included (PostgreSQL: 10,000 bytes of body).
const MaxStartup = 10004

// Version is a protocol version: major in the upper, minor in the lower 16 bits.
type Version uint32

// Protocol versions the proxy speaks.
const (
	Version30 Version = 3 << 16
	Version32 Version = 3<<16 | 2
)

// Major and Minor are the halves of a version.
func (v Version) Major() int { return int(v >> 16) }

// Minor see Major.
func (v Version) Minor() int { return int(v & 0xffff) }

// Param is one option of a startup packet.
type Param struct{ Name, Value string }

// Startup is a decoded first packet: exactly one of the three requests, or a session's parameters.
type Startup struct {
	SSLRequest, GSSRequest bool
	Cancel                 *Cancel

	Version  Version
	User     string
	Database string   // User if not given
	Params   []Param  // all but user and database, sorted by name; _pq_ options left out
	Options  []string // names of the _pq_. options asked for
}

// Cancel is a CancelRequest.
type Cancel struct {
	PID uint32
	Key []byte // 4 bytes in protocol 3.0, up to 256 in 3.2
}

// StartupError is a first packet that cannot be served.
type StartupError struct {
	Code, Text string
}

func (e *StartupError) Error() string { return e.Text }

// SQLState is the code PostgreSQL uses.
func (e *StartupError) SQLState() string { return e.Code }

// StartupSize reads the length of a first packet. ok is false while fewer than four bytes are there.
func StartupSize(b []byte) (size int, ok bool, err error) {
	if len(b) < 4 {
		return 0, false, nil
	}
	n := binary.BigEndian.Uint32(b)
	if n < 8 || n > MaxStartup {
		return 0, false, &StartupError{"08P01", "invalid length of startup packet"}
	}
	return int(n), true, nil
}

const oldProtocol = "unsupported frontend protocol 2.0: server supports 3.0 to 3.2"

// AppendStartupError appends the answer to a first packet that cannot be served, to clients of protocol 2 in their form.
func AppendStartupError(dst []byte, e *StartupError) []byte {
	if e.Text != oldProtocol {
		return AppendError(dst, Fields{Severity: "FATAL", Code: e.Code, Message: e.Text})
	}
	dst = append(dst, ErrorResponse)
	dst = append(dst, "FATAL:  "...)
	dst = append(dst, e.Text...)
	return append(dst, '\n', 0)
}

// ParseStartup decodes a whole first packet (length word included). The result does not alias b.
func ParseStartup(b []byte) (*Startup, error) {
	if len(b) < 8 {
		return nil, &StartupError{"08P01", "invalid length of startup packet"}
	}
	code := binary.BigEndian.Uint32(b[4:])
	body := b[8:]
	switch code {
	case codeSSL:
		return &Startup{SSLRequest: true}, nil
	case codeGSS:
		return &Startup{GSSRequest: true}, nil
	case codeCancel:
		if len(body) < 5 || len(body) > 4+256 {
			return nil, &StartupError{"08P01", "invalid length of query cancel packet"}
		}
		return &Startup{Cancel: &Cancel{PID: binary.BigEndian.Uint32(body), Key: append([]byte(nil), body[4:]...)}}, nil
	}
	s := &Startup{Version: Version(code)}
	if s.Version.Major() == 2 {
		return nil, &StartupError{"0A000", oldProtocol}
	}
	if s.Version.Major() != 3 {
		return nil, &StartupError{"0A000", fmt.Sprintf("unsupported frontend protocol %d.%d: server supports 3.0 to 3.2", s.Version.Major(), s.Version.Minor())}
	}
	if err := s.readParams(body); err != nil {
		return nil, err
	}
	if s.User == "" {
		return nil, &StartupError{"28000", "no PostgreSQL user name specified in startup packet"}
	}
	if s.Database == "" {
		s.Database = s.User
	}
	sort.SliceStable(s.Params, func(i, j int) bool { return s.Params[i].Name < s.Params[j].Name })
	return s, nil
}

func (s *Startup) readParams(body []byte) error {
	for {
		name, rest, ok := CString(body)
		if !ok {
			return &StartupError{"08P01", "invalid startup packet layout: expected terminator as last byte"}
		}
		if len(name) == 0 {
			if len(rest) != 0 {
				return &StartupError{"08P01", "invalid startup packet layout: expected terminator as last byte"}
			}
			return nil
		}
		value, rest, ok := CString(rest)
		if !ok {
			return &StartupError{"08P01", "invalid startup packet layout: expected terminator as last byte"}
		}
		switch n := string(name); {
		case n == "user":
			s.User = string(value)
		case n == "database":
			s.Database = string(value)
		case strings.HasPrefix(n, "_pq_."):
			s.Options = append(s.Options, n)
		default:
			s.Params = append(s.Params, Param{n, string(value)})
		}
		body = rest
	}
}

// Param returns the value of an option, "" if it was not given.
func (s *Startup) Param(name string) string {
	for _, p := range s.Params {
		if p.Name == name {
			return p.Value
		}
	}
	return ""
}

// NeedsNegotiation reports whether the client must be told what the proxy does not have: a minor version above 3.2, or
// protocol options.
func (s *Startup) NeedsNegotiation() bool {
	return s.Version > Version32 || len(s.Options) > 0
}

// Negotiated is the version spoken with this client. 3.1 was never used and is answered by 3.0's rules.
func (s *Startup) Negotiated() Version {
	if s.Version >= Version32 {
		return Version32
	}
	return Version30
}

// AppendNegotiate appends NegotiateProtocolVersion: the newest version spoken and the options not understood.
func (s *Startup) AppendNegotiate(dst []byte) []byte {
	dst, at := begin(dst, NegotiateVersion)
	dst = binary.BigEndian.AppendUint32(dst, uint32(s.Negotiated()))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s.Options)))
	for _, o := range s.Options {
		dst = append(append(dst, o...), 0)
	}
	return end(dst, at)
}

// AppendStartup appends a startup packet of version 3.0.
func AppendStartup(dst []byte, user, database string, params []Param) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, uint32(Version30))
	put := func(name, value string) {
		dst = append(append(dst, name...), 0)
		dst = append(append(dst, value...), 0)
	}
	put("user", user)
	put("database", database)
	for _, p := range params {
		put(p.Name, p.Value)
	}
	return end(append(dst, 0), at)
}

// AppendSSLRequest appends an SSLRequest.
func AppendSSLRequest(dst []byte) []byte {
	return binary.BigEndian.AppendUint32(append(dst, 0, 0, 0, 8), codeSSL)
}

// AppendCancel appends a CancelRequest.
func AppendCancel(dst []byte, c Cancel) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, codeCancel)
	dst = binary.BigEndian.AppendUint32(dst, c.PID)
	return end(append(dst, c.Key...), at)
}
