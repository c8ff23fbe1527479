package conninfo

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"gopgpool/cluster"
)

// Info is a connection string taken apart: its settings in their order. The zero value is the empty one.
type Info struct{ settings []setting }

type setting struct{ key, value string }

// ErrSyntax is a text that libpq would not take either. The text is no part of it, since it may hold a password.
var ErrSyntax = errors.New("connection string cannot be read")

// Parse reads both forms libpq knows: key=value words and URIs.
func Parse(s string) (Info, error) {
	for _, scheme := range []string{"postgresql://", "postgres://"} {
		if rest, ok := strings.CutPrefix(s, scheme); ok {
			return parseURI(rest)
		}
	}
	return parseWords(s)
}

// parseWords reads key = 'quoted value'; a backslash takes the next character as it is.
func parseWords(s string) (Info, error) {
	var in Info
	for {
		s = strings.TrimLeft(s, blanks)
		if s == "" {
			return in, nil
		}
		key, rest, found := strings.Cut(s, "=")
		key = strings.TrimRight(key, blanks)
		if !found || key == "" || strings.ContainsAny(key, blanks+`'"\`) {
			return Info{}, fmt.Errorf("%w: a key and = were expected", ErrSyntax)
		}
		value, rest, closed := cutValue(strings.TrimLeft(rest, blanks))
		if !closed {
			return Info{}, fmt.Errorf("%w: the value of %s has no closing quote", ErrSyntax, key)
		}
		in.Set(key, value)
		s = rest
	}
}

const blanks = " \t\r\n\f\v"

// cutValue splits off the value s begins with.
func cutValue(s string) (value, rest string, closed bool) {
	s, quoted := strings.CutPrefix(s, "'")
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '\\': // libpq drops one at the end
		case quoted && s[i] == '\'':
			return b.String(), s[i+1:], true
		case !quoted && strings.IndexByte(blanks, s[i]) >= 0:
			return b.String(), s[i:], true
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), "", !quoted
}

// parseURI reads what stands behind the scheme: user:password@host:port,host:port/database?key=value&...
func parseURI(s string) (in Info, err error) {
	s, query, _ := strings.Cut(s, "?")
	authority, database, _ := strings.Cut(s, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		user, password, given := strings.Cut(authority[:at], ":")
		err = errors.Join(in.setEscaped("user", user), in.setEscapedIf(given, "password", password))
		authority = authority[at+1:]
	}
	var hosts, ports []string
	for one := range strings.SplitSeq(authority, ",") {
		host, port := one, ""
		if colon := strings.LastIndexByte(one, ':'); colon > strings.LastIndexByte(one, ']') {
			host, port = one[:colon], one[colon+1:]
		}
		hosts, ports = append(hosts, strings.Trim(host, "[]")), append(ports, port)
	}
	host, port := strings.Join(hosts, ","), strings.Join(ports, ",")
	err = errors.Join(err, in.setEscapedIf(host != "", "host", host), in.setEscapedIf(strings.Trim(port, ",") != "", "port", port),
		in.setEscapedIf(database != "", "dbname", database))
	for word := range strings.SplitSeq(query, "&") {
		key, value, found := strings.Cut(word, "=")
		if word != "" && !found {
			err = errors.Join(err, fmt.Errorf("%w: a parameter without value", ErrSyntax))
		}
		err = errors.Join(err, in.setEscapedIf(found, key, value))
	}
	if err != nil {
		return Info{}, err
	}
	return in, nil
}

func (in *Info) setEscapedIf(given bool, key, value string) error {
	if !given {
		return nil
	}
	return in.setEscaped(key, value)
}

func (in *Info) setEscaped(key, value string) error {
	k, err := url.PathUnescape(key)
	v, err2 := url.PathUnescape(value)
	if err != nil || err2 != nil || k == "" {
		return fmt.Errorf("%w: a percent sign without two hexadecimal digits", ErrSyntax)
	}
	in.Set(k, v)
	return nil
}

// Get is the value of a key, "" if it is not set.
func (in *Info) Get(key string) string {
	if i := in.index(key); i >= 0 {
		return in.settings[i].value
	}
	return ""
}

// Set sets a key; an empty value removes it.
func (in *Info) Set(key, value string) {
	i := in.index(key)
	switch {
	case value == "" && i >= 0:
		in.settings = slices.Delete(slices.Clone(in.settings), i, i+1)
	case value == "":
	case i >= 0:
		in.settings = slices.Clone(in.settings)
		in.settings[i].value = value
	default:
		in.settings = append(slices.Clip(in.settings), setting{key, value})
	}
}

func (in *Info) index(key string) int {
	return slices.IndexFunc(in.settings, func(s setting) bool { return s.key == key })
}

// String writes the key=value form. It may hold a password.
func (in *Info) String() string {
	var b strings.Builder
	for i, s := range in.settings {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(s.key + "=" + quote(s.value))
	}
	return b.String()
}

func quote(value string) string {
	plain := value != "" && !strings.ContainsFunc(value, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/:@", r))
	})
	if plain {
		return value
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// Follow changes the connection of a standby so that it leads to s: its host, port and, where s has them, user, password and
// application_name. Everything else stays, TLS for instance, but for what chooses among several hosts; what is not there is taken from how
// others log in (s.Login). What proves to be another user goes. An error is ErrLogin or ErrSyntax, and nothing was changed.
func (in *Info) Follow(s cluster.Source) error {
	login, err := ParseLogin(s.Login)
	if err != nil {
		return err
	}
	in.Set("host", s.Host)
	in.Set("port", strconv.Itoa(s.Port))
	for _, key := range []string{"hostaddr", "target_session_attrs", "load_balance_hosts"} {
		in.Set(key, "")
	}
	who := s.User
	if who == "" {
		who = login.Get("user")
	}
	if who != "" && who != in.Get("user") {
		in.forget()
		in.Set("user", who)
	}
	if s.Password != "" {
		in.forget()
		in.Set("password", s.Password)
	}
	in.fill(login)
	if s.ApplicationName != "" {
		in.Set("application_name", s.ApplicationName)
	}
	return nil
}
