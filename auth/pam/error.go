package pam

import (
	"errors"
	"strings"

	"gopgpool/auth"
)

// Failure says where a login came to its end.
type Failure uint8

// The places. Refused: the modules were asked and the user is not to come in. Unavailable: they had no answer, the password is
// neither right nor wrong. Unusable: the service or this program cannot do it.
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

// Error is a login that failed. Its text has what the modules said and no password; it is for the log.
type Error struct {
	Failure Failure
	text    string
	err     error
}

func (e *Error) Error() string {
	if e.err == nil {
		return e.text
	}
	return e.text + ": " + printable(e.err.Error())
}

func (e *Error) Unwrap() error { return e.err }

func refused(text string, err error) error {
	return &Error{Failure: Refused, text: text, err: err}
}

func unavailable(text string, err error) error {
	return &Error{Failure: Unavailable, text: text, err: err}
}

func unusable(text string, err error) error {
	return &Error{Failure: Unusable, text: text, err: err}
}

const longestText = 300

// printable is foreign text for a line of the log: bounded, without line breaks.
func printable(text string) string {
	if len(text) > longestText {
		text = text[:longestText] + "..."
	}
	return strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text), "?")
}

// Refusal is what a client is told about an error of [Stack.Check], always the same, with what the log is told.
func Refusal(user string, err error) *auth.Error {
	e := &auth.Error{
		ClientMessage: `PAM authentication failed for user "` + user + `"`,
		SQLSTATE:      "28P01",
		LogText:       "failed authentication against PAM",
		LogDetail:     err.Error(),
	}
	failure := (*Error)(nil)
	if !errors.As(err, &failure) {
		return e
	}
	switch failure.Failure {
	case Unavailable:
		e.LogHint = "PAM gave no answer: this says nothing about the user or the password"
	case Unusable:
		e.LogHint = "the PAM service does not work: this says nothing about the user or the password"
	case Refused:
	}
	return e
}
