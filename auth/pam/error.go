package pam

import (
	"errors"

	"gopgpool/auth"
	"gopgpool/auth/outside"
)

// Refusal is what a client is told about an error of [Stack.Check], always the same, with what the log is told.
func Refusal(user string, err error) *auth.Error {
	e := &auth.Error{
		ClientMessage: `PAM authentication failed for user "` + user + `"`,
		SQLSTATE:      "28P01",
		LogText:       "failed authentication against PAM",
		LogDetail:     err.Error(),
	}
	failure := (*outside.Error)(nil)
	if !errors.As(err, &failure) {
		return e
	}
	switch failure.Failure {
	case outside.Unavailable:
		e.LogHint = "PAM gave no answer: this says nothing about the user or the password"
	case outside.Unusable:
		e.LogHint = "the PAM service does not work: this says nothing about the user or the password"
	case outside.Refused:
	}
	return e
}
