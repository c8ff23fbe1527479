package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// role is what a client does.
type role uint8

const (
	writer role = iota // inserts rows
	reader             // selects
	idler              // holds settings and a prepared statement, and works now and then
)

var roleNames = [...]string{"writer", "reader", "idle client"}

func (r role) String() string { return roleNames[r] }

// outcome of an attempt, as far as its client can tell.
type outcome uint8

const (
	acknowledged outcome = iota
	refused              // it has had no effect
	unknown              // it may have had its effect
)

// attempt is one statement, transaction or login of a client.
type attempt struct {
	Client int
	Role   role
	Seq    int // of this client; a writer's row
	Sent   time.Time
	Done   time.Time
	// Committing is when the end of the transaction was sent, of a write: its COMMIT, or the statement itself. Zero: it never was.
	Committing time.Time
	Block      bool // it was a COMMIT
	Outcome    outcome
	Node       string // cluster_name of the server that answered the session's statement before, of readers
	By         string // and that of the one that answered this
	Fault      *fault // nil if acknowledged
}

// took is how long the client waited.
func (a attempt) took() time.Duration { return a.Done.Sub(a.Sent) }

func (a attempt) String() string {
	text := fmt.Sprintf("%s %d statement %d, sent %s, answered after %s", a.Role, a.Client, a.Seq,
		clock(a.Sent), a.took().Round(time.Millisecond))
	if a.Fault != nil {
		text += ": " + a.Fault.String()
	}
	return text
}

// moment says during what a fault came.
type moment uint8

const (
	atWork  moment = iota // a statement or transaction was under way
	atLogin               // while connecting
	atRest                // nothing was under way
	atSetup               // right after login, while the session's settings were made
)

var momentNames = [...]string{"at work", "at login", "at rest", "at set-up"}

// fault is what a client saw in place of an answer.
type fault struct {
	During   moment
	Code     string // SQLSTATE, empty without an ErrorResponse
	Severity string
	Message  string
	Detail   string
	Cut      bool // the connection was over afterwards
	Hung     bool // nothing came within the client's patience
	Wrong    bool // an answer came, but a false one
}

// bare reports whether the client was given no reason.
func (f *fault) bare() bool { return f.Code == "" && !f.Wrong && !f.Hung }

// class is the key under which faults are counted.
func (f *fault) class() string {
	switch {
	case f.Wrong:
		return "wrong answer: " + f.Message
	case f.Hung:
		return "no answer"
	case f.bare():
		return "no ErrorResponse: " + f.Message
	}
	text := f.Code + " " + f.Message
	if f.Detail != "" {
		text += " (" + f.Detail + ")"
	}
	return text
}

func (f *fault) String() string {
	text := momentNames[f.During] + ": " + f.class()
	if f.Cut {
		text += " [cut]"
	}
	return text
}

// faultOf reads an error of pgconn. Where that lost the server's reason, because writing failed before it was read, last has it.
func faultOf(err error, at moment, cut bool, last *pgconn.PgError) *fault {
	var response *pgconn.PgError
	if !errors.As(err, &response) && cut {
		response = last
	}
	f := &fault{During: at, Cut: cut}
	switch {
	case response != nil:
		f.Code, f.Severity, f.Message, f.Detail = response.Code, response.Severity, response.Message, response.Detail
	case pgconn.Timeout(err):
		f.Hung, f.Message = true, err.Error()
	default:
		f.Message = innermost(err).Error()
	}
	return f
}

// innermost is the cause without the addresses that outer errors add, so that like is counted with like.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if several, ok := err.(interface{ Unwrap() []error }); ok && len(several.Unwrap()) > 0 {
			inner = several.Unwrap()[0]
		}
		if inner == nil {
			return err
		}
		err = inner
	}
}

// noEffect is what pgpool says where it knows that a statement has done nothing. It is taken at its word, which the rows prove or not.
const noEffect = "has had no effect"

// maybeEffect is what it says where it does not know.
const maybeEffect = "may have taken effect"

// lost tells whether the fault is the loss of a server connection, told properly.
func (f *fault) lost() bool {
	return f.Code == "57P01" || f.Code == "57P02" || f.Code == "08006" || f.Code == "08007"
}

// tells whether the client was told what has become of its statement.
func (f *fault) tells() bool {
	text := f.Message + f.Detail
	return strings.Contains(text, noEffect) || strings.Contains(text, maybeEffect)
}

// outcomeOf says what a failed write may have done. committing: what failed may have been the end of a transaction.
func outcomeOf(f *fault, committing bool) outcome {
	if !committing || strings.Contains(f.Message+f.Detail, noEffect) {
		return refused
	}
	lost := f.Code == "" || f.Code[:2] == "08" || f.Code[:2] == "57" || f.Code[:2] == "XX" || f.Code == "40003"
	if lost {
		return unknown
	}
	return refused
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000") }
