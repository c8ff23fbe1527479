package ldap

import (
	"errors"
	"strings"

	"gopgpool/auth"
)

// Failure says where a login came to its end.
type Failure uint8

// The places. Refused: the directory was asked and the user is not to come in. Unavailable: no server could be asked, the password
// is neither right nor wrong. Unusable: our own set-up is wrong (ldap.conf, the name for the search, the filter).
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

// Error is a login that failed. Its text names users, servers and filters, and holds no password; it is for the log.
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

func refused(text string, err error) error { return &Error{Failure: Refused, text: text, err: err} }

func unavailable(text string, err error) error {
	return &Error{Failure: Unavailable, text: text, err: err}
}

func unusable(text string, err error) error { return &Error{Failure: Unusable, text: text, err: err} }

// unreached are the errors of several servers, in one line.
type unreached []error

func (u unreached) Error() string {
	var texts []string
	for _, err := range u {
		texts = append(texts, err.Error())
	}
	return strings.Join(texts, "; ")
}

func (u unreached) Unwrap() []error { return u }

// Refusal is what a client is told about an error of [Client.Check], always the same, with what the log is told.
func Refusal(user string, err error) *auth.Error {
	e := &auth.Error{
		ClientMessage: `LDAP authentication failed for user "` + user + `"`,
		SQLSTATE:      "28P01",
		LogText:       "client authentication failed",
		LogDetail:     `LDAP authentication with pgpool failed for user "` + printable(user) + `": ` + err.Error(),
	}
	failure := (*Error)(nil)
	if !errors.As(err, &failure) {
		return e
	}
	switch failure.Failure {
	case Unavailable:
		e.LogHint = "no LDAP server gave an answer: this says nothing about the user or the password"
	case Unusable:
		e.LogHint = "the LDAP options in pool_hba.conf or ldap.conf do not work: this says nothing about the user or the password"
	case Refused:
	}
	return e
}
