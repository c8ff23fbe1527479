package proxy

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
	"gopgpool/proxy/show"
)

// This file is the one place where errors become messages to clients. An error tells its SQLSTATE by a method
// SQLState() string; what is said and whether the session survives is decided here.

// clientError is an error of ours for the client.
type clientError struct {
	Severity              string // ERROR if empty
	Code                  string
	Message, Detail, Hint string
	Routine               string // of the server's error that it stands for; drivers know some by that
}

func (e *clientError) Error() string { return e.Message }

// SQLState is the code the client is told.
func (e *clientError) SQLState() string { return e.Code }

var (
	errFailedTransaction = &clientError{
		Code:    "25P02",
		Message: "current transaction is aborted, commands ignored until end of transaction block",
	}
	errNoNode = &clientError{
		Severity: "FATAL", Code: "08S01",
		Message: "pgpool is not accepting any new connections",
		Detail:  "all backend nodes are down, pgpool requires at least one valid node",
		Hint:    "repair the backend nodes and restart pgpool",
	}
	errQuarantined = &clientError{
		Severity: "FATAL", Code: "08S01",
		Message: "pgpool is not accepting any new connections",
		Detail:  "this pgpool reaches no backend node, and the other pgpools have not agreed that they are down",
		Hint:    "they are used again as soon as they answer",
	}
	errTooMany = &clientError{
		Severity: "FATAL", Code: "53300", Message: "Sorry, too many clients already",
		Hint: "See num_init_children, reserved_connections and max_client_conn.",
	}
	errShuttingDown = &clientError{
		Severity: "FATAL", Code: "57P03", Message: "the database system is shutting down",
	}
	errStopping = &clientError{
		Severity: "FATAL", Code: "57P01", Message: "terminating connection due to administrator command",
	}
	// errBatchFailed ends the handling of a message in a batch that has just failed; the client has the error already.
	errBatchFailed = errors.New("the extended batch has failed")
)

// noNode is why no node can be used in a View.
func noNode(v *cluster.View) error {
	for i := range v.Nodes {
		if v.Nodes[i].Status == cluster.StatusQuarantine {
			return errQuarantined
		}
	}
	return errNoNode
}

func protocolViolation(text string) error {
	return &clientError{Severity: "FATAL", Code: "08P01", Message: text}
}

func idleLimitError(limit time.Duration) error {
	return &clientError{
		Severity: "FATAL", Code: "57000", Message: "unable to read data",
		Detail: "child connection forced to terminate due to client_idle_limit:" + strconv.Itoa(int(limit/time.Second)) + " is reached",
	}
}

// lostNodeError is a server connection that ended under a session that needed it.
func lostNodeError(node cluster.NodeID, cause error, at stake) *clientError {
	return &clientError{
		Severity: "FATAL", Code: "08006",
		Message: fmt.Sprintf("unable to read data from DB node %d", node), Detail: fmt.Sprintf("%v; %v", cause, at),
	}
}

// unreachableError is a server that cannot be connected to.
func unreachableError(co *pool.ConnectError) *clientError {
	return &clientError{
		Severity: "FATAL", Code: "08001", Message: fmt.Sprintf("failed to create a backend %d connection", co.Node),
		Detail: co.Err.Error(),
	}
}

// fieldsOf turns an error into the fields of an ErrorResponse.
func fieldsOf(err error) pgwire.Fields {
	var ce *clientError
	var ae *auth.Error
	var se *show.Error
	var su *pgwire.StartupError
	var co *pool.ConnectError
	var to *pool.TLSError
	switch {
	case errors.As(err, &ce):
		f := pgwire.Fields{Severity: ce.Severity, Code: ce.Code, Message: ce.Message, Detail: ce.Detail, Hint: ce.Hint, Routine: ce.Routine}
		if f.Severity == "" {
			f.Severity = "ERROR"
		}
		return f
	case errors.As(err, &ae):
		return pgwire.Fields{Severity: "FATAL", Code: ae.SQLSTATE, Message: ae.ClientMessage, Detail: ae.Detail, Hint: ae.Hint}
	case errors.As(err, &se):
		return pgwire.Fields{Severity: "ERROR", Code: se.State, Message: se.Message, Detail: se.Detail, Hint: se.Hint}
	case errors.As(err, &su):
		return pgwire.Fields{Severity: "FATAL", Code: su.Code, Message: su.Text}
	case errors.As(err, &to):
		return pgwire.Fields{
			Severity: "FATAL", Code: to.SQLState(), Message: fmt.Sprintf("failed to create a backend %d connection", to.Node),
			Detail: to.Error(), Hint: "See backend_sslmode.",
		}
	case errors.As(err, &co):
		return fieldsOf(unreachableError(co))
	case errors.Is(err, pool.ErrWaitTimeout):
		return pgwire.Fields{Severity: "FATAL", Code: "53300", Message: "query_wait_timeout", Detail: err.Error(), Hint: waitHint}
	case errors.Is(err, loop.ErrStopped):
		return fieldsOf(errStopping)
	}
	return pgwire.Fields{Severity: "FATAL", Code: "XX000", Message: err.Error()}
}

// appendError appends the message an error is to the client: what a server said is passed on unchanged.
func appendError(dst []byte, err error) (out []byte, fatal bool) {
	var server *pool.ServerError
	if errors.As(err, &server) {
		return append(dst, server.Frame...), true
	}
	var startup *pgwire.StartupError
	if errors.As(err, &startup) {
		return pgwire.AppendStartupError(dst, startup), true
	}
	f := fieldsOf(err)
	return pgwire.AppendError(dst, f), f.Severity != "ERROR"
}

// refuse answers a simple query with an error. One that is the end of the session is returned.
func (s *session) refuse(err error) error {
	if s.mustEnd(err) {
		return err
	}
	s.countError(err)
	out, _ := appendError(s.client.queued(), err)
	s.state.Failed()
	s.client.setQueued(pgwire.AppendReady(out, s.txByte()))
	s.lastSeen = s.t.Now()
	return nil
}

// mustEnd reports whether an error is the end of the session: a client or a loop that is gone, and what is FATAL.
func (s *session) mustEnd(err error) bool {
	if s.mustEndNow(err) {
		return true
	}
	_, fatal := appendError(nil, err)
	return fatal
}

// mustEndNow reports whether nobody is left to serve: the client or the loop is gone.
func (s *session) mustEndNow(err error) bool {
	var gone *clientGone
	return s.gone || s.end != nil || errors.As(err, &gone) || errors.Is(err, errTerminated) || errors.Is(err, loop.ErrStopped)
}

// farewell tells the client why the session ends, where there is something to tell.
func farewell(err error) []byte {
	if !isFarewell(err) {
		return nil
	}
	out, _ := appendError(nil, err)
	return out
}

// isFarewell reports whether there is something to tell.
func isFarewell(err error) bool {
	var gone *clientGone
	var handshake *handshakeError
	return err != nil && !errors.Is(err, errTerminated) && !errors.Is(err, errServerEnded) && !errors.As(err, &gone) && !errors.As(err, &handshake)
}
