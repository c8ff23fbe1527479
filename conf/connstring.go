package conf

import (
	"fmt"
	"strings"
)

// setting is one key=value of a connection string.
type setting struct {
	key, value string
}

// splitConnectionString reads libpq's form key=value key = 'quoted value'. A backslash takes the next character as it is; two
// quotes within a quoted value stand for one. bad says what is wrong.
func splitConnectionString(s string) (settings []setting, bad string) {
	for {
		s = strings.TrimLeft(s, blanks)
		if s == "" {
			return settings, ""
		}
		key, rest, found := strings.Cut(s, "=")
		key = strings.TrimRight(key, blanks)
		switch {
		case !found:
			return nil, fmt.Sprintf("there is no = behind \"%s\"", s)
		case key == "":
			return nil, "there is no key before ="
		case strings.ContainsAny(key, blanks+`'"\`):
			return nil, fmt.Sprintf("\"%s\" is no key", key)
		}
		value, rest, closed := cutValue(strings.TrimLeft(rest, blanks))
		if !closed {
			return nil, fmt.Sprintf("the value of %s has no closing quote", key)
		}
		settings = append(settings, setting{key, value})
		s = rest
	}
}

const blanks = " \t\r\f\v"

// cutValue splits off the value s begins with.
func cutValue(s string) (value, rest string, closed bool) {
	var b strings.Builder
	quoted := strings.HasPrefix(s, "'")
	i := 0
	if quoted {
		i = 1
	}
	for ; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case quoted && strings.HasPrefix(s[i:], "''"):
			i++
			b.WriteByte('\'')
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
