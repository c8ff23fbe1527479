package ldap

import (
	"errors"
	"strings"

	"gopgpool/auth"
	"gopgpool/auth/outside"
)

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
		LogDetail:     `LDAP authentication with pgpool failed for user "` + outside.Printable(user) + `": ` + err.Error(),
	}
	failure := (*outside.Error)(nil)
	if !errors.As(err, &failure) {
		return e
	}
	switch failure.Failure {
	case outside.Unavailable:
		e.LogHint = "no LDAP server gave an answer: this says nothing about the user or the password"
	case outside.Unusable:
		e.LogHint = "the LDAP options in pool_hba.conf or ldap.conf do not work: this says nothing about the user or the password"
	case outside.Refused:
	}
	return e
}
