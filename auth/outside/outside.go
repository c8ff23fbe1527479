// Package outside has the words for logins that others judge: a directory or PAM. It owns what such a judgement can come to ([Failure],
// [Error]) and how foreign text becomes part of a log line; asking is auth/ldap's and auth/pam's, what a client is told is theirs too.
package outside

import "strings"

// Failure says where a login came to its end.
type Failure uint8

// The places. Refused: who judges was asked, and the user is not to come in. Unavailable: there was no answer, the password is neither
// right nor wrong. Unusable: our own set-up is wrong.
const (
	Refused Failure = iota + 1
	Unavailable
	Unusable
)

func (f Failure) String() string {
	switch f {
	case Refused:
		return "refused"
	case Unavailable:
		return "unavailable"
	case Unusable:
		return "unusable"
	}
	return "none"
}

// Error is a login that failed. Its text holds no password; it is for the log.
type Error struct {
	Failure Failure
	text    string
	err     error
}

// New makes an [*Error]; err, what others said, may be nil.
func New(f Failure, text string, err error) error { return &Error{Failure: f, text: text, err: err} }

func (e *Error) Error() string {
	if e.err == nil {
		return e.text
	}
	return e.text + ": " + Printable(e.err.Error())
}

func (e *Error) Unwrap() error { return e.err }

const longestText = 300

// Printable is foreign text for a line of the log: bounded, without line breaks.
func Printable(text string) string {
	if len(text) > longestText {
		text = text[:longestText] + "..."
	}
	return strings.Map(func(r rune) rune {
		if IsControl(r) {
			return ' '
		}
		return r
	}, text) // what is no UTF-8 comes out as U+FFFD
}

// IsControl reports whether a character is none that is seen: a line break, an escape.
func IsControl(r rune) bool { return r < ' ' || r == 0x7f }
