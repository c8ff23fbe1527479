// Package ldap asks an LDAP directory whether a client's password is right (manual: LDAP authentication). It owns the choice of the
// server, TLS towards it ([Client.Check] reads ldap.conf as other programs do), the name to bind with and what may stand in it, the
// search for an entry, and the bounds on time and on what a server may answer.
//
// Reading order: check.go is the course of a login, name.go whom it is for, server.go and conn.go whom is asked and how, conf.go what
// ldap.conf says, authorities.go whom it trusts, error.go what went wrong.
//
// It leaves to its callers: the options (package auth checks them), asking the client for the password, off which loop the
// check runs, and logging.
package ldap
