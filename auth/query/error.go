package query

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/cluster"
	"gopgpool/tlsconf"
)

// Why says what is missing where a user has no entry.
type Why uint8

// The reasons of a NoEntry.
const (
	WhyOff        Why = iota + 1 // auth_user is not set
	WhySelf                      // the client is auth_user, about whom pool_passwd decides
	WhyNoRow                     // no row: there is no such role, or it may not log in
	WhyNoPassword                // a row without a password: there is none, or it has expired
	WhyOtherName                 // a row about somebody else
	WhyUnusable                  // a verifier of an unknown form
	WhyShape                     // not one row of two columns
	WhyFailed                    // the query was refused
	WhyNoDatabase                // the client's database does not exist or lets auth_user not in
)

func (w Why) String() string {
	switch w {
	case WhyOff:
		return "auth_user is not set"
	case WhySelf:
		return "auth_user itself logs in by pool_passwd"
	case WhyNoRow:
		return "auth_query returned no row: there is no such role, or it may not log in"
	case WhyNoPassword:
		return "auth_query returned no password: the role has none, or it has expired"
	case WhyOtherName:
		return "the first column of auth_query is another user's name"
	case WhyUnusable:
		return "auth_query returned a password verifier of an unknown form"
	case WhyShape:
		return "auth_query must return one row with two columns, name and password"
	case WhyFailed:
		return "auth_query was refused"
	case WhyNoDatabase:
		return "auth_user could not connect to the client's database"
	}
	return "unknown"
}

// NoEntry is a user for whom the servers have no password that serves. The client must not be able to tell the reasons apart, nor
// from a wrong password; the text is for the log and contains no password.
type NoEntry struct {
	User string
	Why  Why
	Err  error // of the server, nil if it said none
}

func (e *NoEntry) Error() string {
	text := fmt.Sprintf("no password for user %q: %v", e.User, e.Why)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *NoEntry) Unwrap() error { return e.Err }

// Error is a question that no server has answered. It does not depend on the user who was asked about.
type Error struct {
	Account  string // who asked
	Database string
	Err      error
}

func (e *Error) Error() string {
	return fmt.Sprintf("could not ask about users as %q in database %q: %v", e.Account, e.Database, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

var (
	errNobody = errors.New("no node is live")
	errClosed = errors.New("pgpool is shutting down")
	errMoved  = errors.New("the node was lost meanwhile")
)

// nodeError is what happened on one node.
type nodeError struct {
	node       cluster.NodeID
	connecting bool // before the question was put
	err        error
}

func (e *nodeError) Error() string { return fmt.Sprintf("node %d: %v", e.node, e.err) }

func (e *nodeError) Unwrap() error { return e.err }

// on says where an error happened; nil stays nil.
func on(k key, err error, connecting bool) error {
	if err == nil {
		return nil
	}
	return &nodeError{node: k.home.node, connecting: connecting, err: err}
}

// failures are what the nodes asked so far said.
type failures []error

// left are the candidates that have not been asked.
func (f failures) left(list []cluster.Node) []cluster.Node {
	return slices.DeleteFunc(list, func(n cluster.Node) bool {
		return slices.ContainsFunc(f, func(err error) bool {
			var at *nodeError
			return errors.As(err, &at) && at.node == n.ID
		})
	})
}

// sum is one error of one line.
func (f failures) sum() error {
	switch len(f) {
	case 0:
		return errNobody
	case 1:
		return f[0]
	}
	return fmt.Errorf("%w; %w", f[0], f[1:].sum())
}

// describe leaves out the driver's words around an error, which repeat who we are.
func describe(ctx context.Context, err error) error {
	var answer *pgconn.PgError
	var network *net.OpError
	var whole *pgconn.ConnectError
	switch {
	case errors.As(err, &answer):
		return answer
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &network) && !errors.Is(err, tlsconf.ErrHandshake):
		return network
	case errors.As(err, &whole) && whole.Unwrap() != nil:
		return whole.Unwrap()
	}
	return err
}

// state is the SQLSTATE a server has answered with, "" where it has not.
func state(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

// elsewhere reports whether another node may know better: this one does not answer, or takes nobody now.
func elsewhere(err error) bool {
	switch code := state(err); code {
	case "", "53300", "57P01", "57P02", "57P03":
		return true
	default:
		return strings.HasPrefix(code, "58") || strings.HasPrefix(code, "XX")
	}
}
