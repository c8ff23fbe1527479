package conninfo

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// ErrLogin is a log-in that one server does not take over from another: it names a setting that is none of its words, or gives one a value
// that it cannot have. The value is no part of it.
var ErrLogin = errors.New("log-in of another server that is not taken over")

// form is what a setting's value looks like.
type form uint8

const (
	token form = iota + 1 // letters, digits and little else
	line                  // any text without control characters
	file                  // an absolute path that libpq reads
)

// formOf knows the settings by which one server logs in as another one does. What another server says is believed no further: no service
// and no servicefile, which stand for settings not seen here, no file that libpq writes (sslkeylogfile), nothing that says where to.
func formOf(key string) form {
	switch key {
	case "user", "password", "sslpassword", "options":
		return line
	case "passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslcrldir":
		return file
	case "sslmode", "sslnegotiation", "sslcompression", "sslcertmode", "sslsni", "ssl_min_protocol_version", "ssl_max_protocol_version",
		"channel_binding", "require_auth", "gssencmode", "gsslib", "gssdelegation", "krbsrvname", "requirepeer",
		"min_protocol_version", "max_protocol_version",
		"connect_timeout", "tcp_user_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count":
		return token
	}
	return 0
}

// maxLogin bounds a value.
const maxLogin = 4096

// allowed reports whether a setting may come from another server.
func (s setting) allowed() bool {
	f := formOf(s.key)
	if f == 0 || len(s.value) > maxLogin || strings.ContainsFunc(s.value, unicode.IsControl) {
		return false
	}
	switch {
	case f == token:
		return !strings.ContainsFunc(s.value, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-,!@", r))
		})
	case s.key == "sslrootcert" && s.value == "system":
		return true
	case s.key == "sslkey": // with a colon it would be a library that libpq loads, and a key of it
		return strings.HasPrefix(s.value, "/") && !strings.Contains(s.value, ":")
	case f == file:
		return strings.HasPrefix(s.value, "/")
	}
	return true
}

// Login is how a standby logs in, for others to do the same: all but where to, and what others do not take over.
func (in *Info) Login() Info {
	var out Info
	for _, s := range in.settings {
		if s.allowed() {
			out.Set(s.key, s.value)
		}
	}
	return out
}

// ParseLogin reads a log-in that came from elsewhere. It takes nothing that Login would leave out.
func ParseLogin(text string) (Info, error) {
	in, err := Parse(text)
	if err != nil {
		return Info{}, err
	}
	for _, s := range in.settings {
		switch {
		case formOf(s.key) == 0:
			return Info{}, fmt.Errorf("%w: %.40q is no word of it", ErrLogin, s.key)
		case !s.allowed():
			return Info{}, fmt.Errorf("%w: the value of %s", ErrLogin, s.key)
		}
	}
	return in, nil
}

// Compose puts together how a server is to log in where its own configuration does not say: as it was heard to do itself, else as the
// first of the others does. A user that is given takes the place of theirs with their password; everything else of theirs stays.
func Compose(user string, own Info, others []Info) Info {
	out := own.Login()
	out.serve(user)
	who := user
	if who == "" {
		who = out.Get("user")
	}
	if from := likeliest(who, user == "", others); from != nil {
		out.fill(from.Login())
	}
	out.serve(user)
	return out
}

// serve takes out who logs in and what proves that, unless it is the user that was asked for ("": any).
func (in *Info) serve(user string) {
	if user != "" && in.Get("user") != user {
		in.forget()
		in.Set("user", "")
	}
}

// likeliest is whom of the others to do as: who logs in as the same user; else, where only their user is sought or theirs does not matter,
// the first that says anything.
func likeliest(who string, same bool, others []Info) *Info {
	var first *Info
	for i := range others {
		o := &others[i]
		switch user := o.Get("user"); {
		case user == who && who != "":
			return o
		case user != "" && (first == nil || first.Get("user") == ""), o.String() != "" && first == nil:
			first = o
		}
	}
	if who != "" && same {
		return nil
	}
	return first
}

// forget removes what proves to be a user.
func (in *Info) forget() {
	in.Set("password", "")
	in.Set("passfile", "")
}

// fill takes over what in does not have. What belongs together comes together or not at all, and the proof of another user does not.
func (in *Info) fill(from Info) {
	if in.Get("user") == "" {
		in.Set("user", from.Get("user"))
	}
	if in.Get("user") != from.Get("user") || in.Get("password") != "" || in.Get("passfile") != "" {
		from.forget()
	}
	if in.Get("sslcert") != "" || in.Get("sslkey") != "" {
		for _, key := range []string{"sslcert", "sslkey", "sslpassword"} {
			from.Set(key, "")
		}
	}
	for _, s := range from.settings {
		if in.index(s.key) < 0 {
			in.Set(s.key, s.value)
		}
	}
}

// Files are the settings that name files of the host, in their order.
func (in *Info) Files() (keys []string) {
	for _, s := range in.settings {
		if formOf(s.key) == file && strings.HasPrefix(s.value, "/") {
			keys = append(keys, s.key)
		}
	}
	return keys
}
