package recovery

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/cluster"
)

// Error is a recovery that was refused or has failed; the texts are those of pcp_recovery_node. Neither begins with a letter that
// the original's client programs would take for the name of a field (S, M, D).
type Error struct {
	Fatal           bool // the connection the request came by is to be closed
	Message, Detail string
	err             error // what caused it; nil for a refusal
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Message
	}
	return e.Message + ": " + e.Detail
}

func (e *Error) Unwrap() error { return e.err }

// refuse is a request that is against the rules.
func refuse(detail string) *Error {
	return &Error{Message: "process recovery request failed", Detail: detail}
}

func errBusy() *Error {
	e := refuse("pgpool-II is already processing another recovery request.")
	e.Fatal = true
	return e
}

// errOperation is a request that comes while failover is at work.
func errOperation(op string) *Error {
	return &Error{Message: "failed to process PCP request at the moment", Detail: op + " is in progress"}
}

func errUnreachable(id cluster.NodeID, err error) *Error {
	var mine *Error
	if errors.As(err, &mine) {
		return mine // it is not for the node that we did not get there
	}
	return &Error{
		Message: fmt.Sprintf("node recovery failed, unable to connect to main node: %d ", id),
		Detail:  "the reason is: " + reason(err), err: err,
	}
}

// errPassword is a password of recovery_user that cannot be used. A hash serves for no login but one by MD5.
func errPassword(user string, err error) error {
	var h interface{ Hashed() bool }
	if errors.As(err, &h) && h.Hashed() {
		return &Error{
			Message: fmt.Sprintf("the password of recovery_user %s is invalid format", user),
			Detail:  "recovery_password is not allowed to be md5 hashed format", err: err,
		}
	}
	return fmt.Errorf("password of user %q: %w", user, err)
}

// errFailed is a script or a statement the source could not carry out. What a script itself had to say is in that server's log.
func errFailed(what, command string, source cluster.Node, err error) *Error {
	detail := fmt.Sprintf(`command:"%s"`, command)
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		detail += fmt.Sprintf(" (%s); more may be in the log of the server on %s:%d", reason(err), source.Host, source.Port)
	} else {
		detail += fmt.Sprintf(" (%s)", reason(err))
	}
	return &Error{Message: what, Detail: detail, err: err}
}

func errStage(stage, command string, source cluster.Node, err error) *Error {
	return errFailed(fmt.Sprintf(`executing recovery, execution of command failed at "%s"`, stage), command, source, err)
}

func errNotStarted(n cluster.Node, database, user string, seconds int, err error) *Error {
	return &Error{
		Message: "recovery is checking if postmaster is started",
		Detail: fmt.Sprintf(`postmaster on hostname:"%s" database:"%s" user:"%s" failed to start in %d second`,
			n.Host, database, user, seconds),
		err: err,
	}
}

func errNode(id cluster.NodeID, detail string, err error) *Error {
	return &Error{Message: fmt.Sprintf("node recovery failed, node id: %d", id), Detail: detail, err: err}
}

// errGivenUp is a recovery whose context has ended.
func errGivenUp(cause error, id cluster.NodeID) *Error {
	return errNode(id, "given up: "+cause.Error(), cause)
}

// errLost is a recovery whose source was lost on the way.
func errLost(p Plan) *Error {
	what := "up"
	if p.Standby {
		what = "the primary"
	}
	return errNode(p.Node.ID, fmt.Sprintf("its source, node %d, is not %s any more", p.Source.ID, what), nil)
}

// reason is err in as few words as tell what happened.
func reason(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		if pgErr.Detail != "" {
			return pgErr.Message + ": " + pgErr.Detail
		}
		return pgErr.Message
	}
	var ce *pgconn.ConnectError
	if errors.As(err, &ce) && ce.Unwrap() != nil {
		return ce.Unwrap().Error()
	}
	return err.Error()
}
