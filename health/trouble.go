package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/cluster"
	"gopgpool/tlsconf"
)

// Trouble is what a failed probe says about its server.
type Trouble uint8

// Troubles, the weaker evidence first: where a host has several addresses, the strongest counts.
const (
	// NotAsked: no question reached a server, for a reason of ours. The password cannot be read, there is no free descriptor, the
	// name has never resolved, nobody waits for the answer any more.
	NotAsked Trouble = iota
	// Refused: nothing listens at any address of the node.
	Refused
	// Broken: the connection broke off, or the server is starting, stopping or damaged.
	Broken
	// Unreachable: there was no way to the host.
	Unreachable
	// Silent: no answer in time.
	Silent
	// Rejected: a server at work answered, and did not let us in.
	Rejected
)

var errSilent = errors.New("no answer in time")

// Error is a probe that failed.
type Error struct {
	Node    cluster.NodeID
	Trouble Trouble
	Err     error
}

func (e *Error) Error() string { return fmt.Sprintf("node %d: %v", e.Node, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// several are errors of one node on one line: those of its addresses, and of the name service.
type several []error

func (s several) Error() string {
	texts := make([]string, len(s))
	for i, err := range s {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (s several) Unwrap() []error { return s }

// gone reports whether err says that nothing listens at the node's address.
func gone(err error) bool { return err != nil && troubleIn(err) == Refused }

// troubleIn is the trouble of a probe's error.
func troubleIn(err error) Trouble {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Trouble
	case errors.Is(err, context.DeadlineExceeded):
		return Silent
	}
	return Broken
}

// sortTrouble finds the trouble of one address. Asked: the server had asked for a proof of who we are.
func sortTrouble(err error, unix, asked bool) Trouble {
	var answer *pgconn.PgError
	var network net.Error
	is := func(list ...error) bool {
		return slices.ContainsFunc(list, func(e error) bool { return errors.Is(err, e) })
	}
	switch {
	case errors.As(err, &answer):
		return troubleOfState(answer.Code)
	case is(context.Canceled, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL,
		syscall.EAFNOSUPPORT, syscall.EACCES, syscall.EPERM):
		return NotAsked
	case is(syscall.ECONNREFUSED), unix && is(syscall.ENOENT):
		return Refused
	case is(syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN):
		return Unreachable
	case errors.As(err, &network) && network.Timeout(), pgconn.Timeout(err), is(context.DeadlineExceeded):
		return Silent
	case tlsconf.Disagreed(err):
		return Rejected // it lives, and we and it want different things of TLS
	case asked && !errors.As(err, &network) && !broken(err):
		return Rejected // the server wants a proof we cannot give
	}
	return Broken
}

// troubleOfState judges an error message of a server. Who answers is alive, unless it says that it does not work: it is starting or
// stopping (57), its files cannot be read (58), it is damaged (XX).
func troubleOfState(code string) Trouble {
	for _, class := range []string{"57", "58", "XX"} {
		if strings.HasPrefix(code, class) {
			return Broken
		}
	}
	return Rejected
}

// sum is the trouble of a node with several addresses. Refused speaks of all of them.
func sum(each []Trouble) Trouble {
	all := each[0]
	for _, t := range each[1:] {
		switch {
		case t == all:
		case t <= Refused && all <= Refused:
			all = Broken
		default:
			all = max(all, t)
		}
	}
	return all
}

// hint tells an administrator what to look at where a health check failed and that says nothing against the server.
func hint(err error) string {
	const alive = " The server is alive: the node is not detached."
	switch troubleIn(err) {
	case NotAsked:
		return "No question reached the server: the node is not detached."
	case Rejected:
		return "Check " + culprit(err) + "." + alive
	case Refused, Broken, Unreachable, Silent:
	}
	return ""
}

// culprit names what a server that did not let us in finds fault with.
func culprit(err error) string {
	var answer *pgconn.PgError
	code := ""
	if errors.As(err, &answer) {
		code = answer.Code
	}
	const permission, notAccepting = "42501", "55000"
	switch {
	case strings.HasPrefix(code, "28"):
		return "health_check_user and health_check_password (or pool_passwd), and the server's pg_hba.conf"
	case strings.HasPrefix(code, "3D"), code == permission, code == notAccepting:
		return "health_check_database"
	case strings.HasPrefix(code, "53"):
		return "the server's max_connections against num_init_children and max_pool"
	}
	return "health_check_user, health_check_password and health_check_database"
}
