package authtest

import (
	"context"
	"strings"
	"testing"
)

// attempt is one login.
type attempt struct {
	host         string // 127.0.0.1, or the directory of a socket
	port         int
	user, secret string
	database     string
	// client is the word of the matrix: off, plain, tls, cert, bind, direct; unix.
	client string
	leaf   leaf // shown if client says so
	// foreign: the leaf is of an authority that pgpool does not name.
	foreign bool
	root    string
}

func (a attempt) tls() bool { return a.client != "off" && a.client != "plain" && a.client != "unix" }

// words is the connection string of libpq and pgx.
func (a attempt) words() string {
	quote := func(value string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
	}
	words := []string{
		"host=" + quote(a.host), "port=" + itoa(a.port), "user=" + a.user, "dbname=" + a.database, "password=" + quote(a.secret),
		"connect_timeout=60",
	}
	if !a.tls() {
		return strings.Join(append(words, "sslmode=disable"), " ")
	}
	words = append(words, "sslmode=verify-full", "sslrootcert="+quote(a.root))
	if strings.Contains(a.client, "bind") {
		words = append(words, "channel_binding=require")
	}
	if strings.Contains(a.client, "direct") {
		words = append(words, "sslnegotiation=direct")
	}
	if strings.Contains(a.client, "cert") && a.leaf.cert != "" {
		words = append(words, "sslcert="+quote(a.leaf.cert), "sslkey="+quote(a.leaf.key))
	}
	return strings.Join(words, " ")
}

// outcome is how an attempt ended.
type outcome struct {
	// user is what SELECT current_user returned; "" if it did not.
	user string
	// state is the SQLSTATE of the refusal; "tls" if the handshake failed, "client" if the client itself refused to go on, "error" if
	// it cannot tell more, "" if it is in.
	state string
	text  string // the error as the client shows it
}

func (o outcome) String() string {
	if o.user != "" {
		return "in as " + o.user
	}
	return o.state + " " + o.text
}

// client is a program or library that logs in.
type client interface {
	name() string
	// can tells whether the client knows how to connect like this.
	can(a attempt) bool
	// login logs in, asks for current_user and disconnects.
	login(ctx context.Context, t *testing.T, a attempt) outcome
}
