package main

import (
	"errors"

	"gopgpool/auth"
)

// This file finds the passwords of our own users: those of the health check, the replication check, recovery, the watchdog's life
// check and auth_query.

// internalEntry is what we know of an own user's password: the parameter's value where it is set, with its prefix, else the entry of
// pool_passwd, else nothing (manual: sr_check_password and its kin).
func (p *parts) internalEntry(user, param string) (auth.Entry, error) {
	if param != "" {
		return auth.ParseEntry(param, p.key), nil
	}
	if p.passwords == nil {
		return auth.Entry{}, nil
	}
	all, err := p.passwords.Current()
	if all == nil {
		return auth.Entry{}, err
	}
	return all.Lookup(user), nil
}

// internalPassword is the same in clear, empty where there is none. A hash is refused with an error whose Hashed is true.
func (p *parts) internalPassword(user, param string) (string, error) {
	e, err := p.internalEntry(user, param)
	if err != nil || !e.Present() {
		return "", err
	}
	if e.Undecryptable() {
		return "", errUndecryptable
	}
	clear, ok := e.Clear()
	if !ok && e.Kind() != auth.EntryPlain && e.Kind() != auth.EntryAES { // an empty password is one
		return "", hashedError{}
	}
	return clear, nil
}

var errUndecryptable = errors.New("the AES password cannot be decrypted")

// hashedError is a password that is known as a hash or a verifier only.
type hashedError struct{}

func (hashedError) Error() string {
	return "the password is stored as a hash, which this server cannot be shown"
}

// Hashed tells the parts that have texts of their own for it.
func (hashedError) Hashed() bool { return true }
