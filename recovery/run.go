package recovery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/tlsconf"
)

// run is one recovery on its way.
type run struct {
	*Recoverer
	plan      Plan
	settings  Settings
	source    server
	arguments int    // of the source's pgpool_recovery
	resume    func() // lets the clients in again; nil while they are
}

// carryOut does what the plan says.
func (r *Recoverer) carryOut(ctx context.Context, p Plan, s Settings) error {
	r.tell(p.Node, fmt.Sprintf("starting recovering node %d", p.Node.ID), "")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// A source that is lost meanwhile may be silent: nothing waits for it then.
	stop := r.parts.Store.Watch(func(v *cluster.View) {
		if p.lost(v) {
			cancel(errLost(p))
		}
	})
	defer stop()
	source, err := r.connect(ctx, p.Source, s, s.RecoveryDatabase)
	if err != nil {
		return orGivenUp(ctx, p, errUnreachable(p.Source.ID, err))
	}
	x := &run{Recoverer: r, plan: p, settings: s, source: source}
	defer func() { x.source.close() }()
	defer x.letIn()
	if err := x.prepare(ctx); err != nil {
		return orGivenUp(ctx, p, err)
	}
	if err := x.reserve(ctx); err != nil {
		return orGivenUp(ctx, p, err)
	}
	for _, step := range p.Steps {
		if err := x.do(ctx, step); err != nil {
			return orGivenUp(ctx, p, err)
		}
	}
	r.tell(p.Node, "recovery done", "")
	return nil
}

// orGivenUp is err, unless it came about because ctx ended.
func orGivenUp(ctx context.Context, p Plan, err *Error) error {
	var lost *Error
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return err
	case errors.As(cause, &lost):
		return lost
	default:
		return errGivenUp(cause, p.Node.ID)
	}
}

func (r *Recoverer) tell(n cluster.Node, message, detail string) {
	r.parts.Log.Log(logging.Event{Severity: logging.Log, Node: logging.OnNode(n.ID), Message: message, Detail: detail})
}

func (x *run) letIn() {
	if x.resume != nil {
		x.resume()
	}
}

// prepare makes sure, before anything is changed, that the source can run the scripts at all.
func (x *run) prepare(ctx context.Context) *Error {
	fail := func(err error) *Error { return errStage("preparation", "pgpool_recovery", x.plan.Source, err) }
	found, err := x.use(ctx, x.source)
	if err != nil {
		return fail(err)
	}
	if !found && x.settings.RecoveryDatabase == usualDatabase {
		found = x.moveToTemplate(ctx)
	}
	if !found {
		return fail(fmt.Errorf(`extension pgpool_recovery is missing in database "%s"`, x.settings.RecoveryDatabase))
	}
	return nil
}

// reserve keeps others from the node's server before anything is done to it.
func (x *run) reserve(ctx context.Context) *Error {
	if x.parts.Reserve == nil {
		return nil
	}
	if err := x.parts.Reserve(ctx, x.plan.Node.ID); err != nil {
		return refuse("the other pgpools could not be told to leave the node alone: " + reason(err))
	}
	return nil
}

// use looks for the functions where c is connected to.
func (x *run) use(ctx context.Context, c server) (found bool, err error) {
	if err := c.unlimited(ctx); err != nil {
		return false, err
	}
	arguments, remoteStart, err := c.functions(ctx)
	if err != nil {
		return false, err
	}
	x.arguments = arguments
	return arguments > 0 && remoteStart, nil
}

// The default of recovery_database, and where releases before 4.7 had the extension.
const (
	usualDatabase    = "postgres"
	templateDatabase = "template1"
)

// moveToTemplate goes on in the database of the older releases if the functions are there.
func (x *run) moveToTemplate(ctx context.Context) bool {
	c, err := x.connect(ctx, x.plan.Source, x.settings, templateDatabase)
	if err != nil {
		return false // what is missing in recovery_database is the error to tell
	}
	if found, err := x.use(ctx, c); err != nil || !found {
		c.close()
		return false
	}
	x.source.close()
	x.source = c
	x.tell(x.plan.Node, fmt.Sprintf("extension pgpool_recovery of database %q is used", templateDatabase),
		fmt.Sprintf("It is missing in %q, the recovery_database.", usualDatabase))
	return true
}

func (x *run) do(ctx context.Context, s Step) *Error {
	switch s.Kind {
	case StepCheckpoint:
		return x.checkpoint(ctx)
	case StepScript:
		return x.script(ctx, s)
	case StepQuiesce:
		return x.quiesce(ctx)
	case StepRemoteStart:
		return x.remoteStart(ctx)
	case StepAwait:
		return x.await(ctx)
	case StepAttach:
		return x.attach(ctx)
	}
	panic(fmt.Sprintf("recovery: bug: step %d", s.Kind))
}

func (x *run) checkpoint(ctx context.Context) *Error {
	if err := x.source.exec(ctx, "CHECKPOINT"); err != nil {
		return errFailed("executing recovery, CHECKPOINT failed", "CHECKPOINT", x.plan.Source, err)
	}
	return nil
}

func (x *run) script(ctx context.Context, s Step) *Error {
	arguments := x.plan.scriptArguments(s.Script)[:x.arguments]
	x.tell(x.plan.Node, "executing recovery",
		"starting recovery command: \"SELECT pgpool_recovery('"+strings.Join(arguments, "', '")+"')\"")
	if err := x.source.call(ctx, callRecovery(x.arguments), arguments...); err != nil {
		return errStage(s.Stage, s.Script, x.plan.Source, err)
	}
	x.tell(x.plan.Node, "node recovery, "+s.Stage+" is done", "")
	return nil
}

// quiesce waits until no client is connected, recovery_timeout at most. Where client_idle_limit_in_recovery was to have ended all
// idle ones by then, the recovery goes on with those that are left (manual: recovery_timeout).
func (x *run) quiesce(ctx context.Context) *Error {
	x.tell(x.plan.Node, "node recovery, starting 2nd stage", "")
	const look = time.Second // with recovery_timeout = 0
	limit, idle := x.settings.RecoveryTimeout, x.settings.ClientIdleLimitInRecovery
	bounded, cancel := context.WithTimeout(ctx, max(limit, look))
	defer cancel()
	resume, err := x.parts.Clients.Quiesce(bounded)
	x.resume = resume
	if err == nil {
		x.tell(x.plan.Node, "node recovery, all connections from clients have been closed", "")
		return nil
	}
	if ctx.Err() == nil && (idle < 0 || idle > 0 && idle <= limit) {
		x.tell(x.plan.Node, "node recovery, going on though clients are still connected", reason(err))
		return nil
	}
	return &Error{Message: "node recovery failed, waiting connection closed in the other pgpools timeout", err: err}
}

func (x *run) remoteStart(ctx context.Context) *Error {
	err := x.source.call(ctx, callRemoteStart, remoteHost(x.plan.Node), x.plan.Node.DataDirectory)
	if err != nil {
		return errFailed("executing remote start, execution of command failed", "pgpool_remote_start", x.plan.Source, err)
	}
	return nil
}

func (x *run) attach(ctx context.Context) *Error {
	if x.plan.lost(x.parts.Store.Current()) {
		return errLost(x.plan)
	}
	err := x.parts.Attacher.Attach(ctx, x.plan.Node.ID)
	var mine *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &mine):
		return mine
	}
	return errNode(x.plan.Node.ID, "it runs but could not be attached: "+reason(err), err)
}

// await waits until the node accepts connections, and looks whether it came up as what it is to be.
func (x *run) await(ctx context.Context) *Error {
	bounded, cancel := context.WithTimeout(ctx, x.startBound+x.settings.RecoveryTimeout)
	defer cancel()
	n, database := x.plan.Node, usualDatabase
	x.tell(n, "checking if postmaster is started", fmt.Sprintf(
		`trying to connect to postmaster on hostname:"%s" database:"%s" user:"%s"`, n.Host, database, x.settings.RecoveryUser))
	var last error
	for {
		c, err := x.connect(bounded, n, x.settings, database)
		if err == nil {
			defer c.close()
			return x.started(ctx, c)
		}
		if bounded.Err() == nil || last == nil {
			last = err
		}
		switch judge(err) {
		case answerRefused:
			// A copy of the source knows the same users: this may be another server altogether.
			return errNode(n.ID, "it runs but refuses recovery_user: "+reason(err), err)
		case answerNoDatabase:
			database = templateDatabase
		case answerNone:
		}
		if !sleep(bounded, x.pause) {
			return errNotStarted(n, database, x.settings.RecoveryUser, int(x.settings.RecoveryTimeout/time.Second), last)
		}
	}
}

// started looks at the node that runs now.
func (x *run) started(ctx context.Context, c server) *Error {
	n := x.plan.Node
	if x.plan.Standby {
		row, err := c.row(ctx, "SELECT pg_catalog.pg_is_in_recovery()")
		if err != nil {
			return errNode(n.ID, "it runs but does not tell whether it is a standby: "+reason(err), err)
		}
		if string(row[0]) != "t" {
			return errNode(n.ID, "it runs as a primary and was not attached: the scripts made no standby of it", nil)
		}
	}
	x.tell(n, fmt.Sprintf("node recovery, node: %d restarted", n.ID), "")
	return nil
}

// answer is what an attempt to log in to a starting server came to.
type answer uint8

const (
	answerNone       answer = iota // nobody is there, or the server takes no connections at the moment
	answerNoDatabase               // it runs, without this database
	answerRefused                  // it runs, and user, password or TLS are not what we think
)

func judge(err error) answer {
	const (
		noSuchDatabase       = "3D000"
		invalidAuthorization = "28" // class
	)
	var pgErr *pgconn.PgError
	switch {
	case tlsconf.Disagreed(err):
		return answerRefused
	case !errors.As(err, &pgErr):
		return answerNone
	case pgErr.Code == noSuchDatabase:
		return answerNoDatabase
	case strings.HasPrefix(pgErr.Code, invalidAuthorization):
		return answerRefused
	}
	return answerNone
}

// sleep waits for d and reports whether ctx still lasts.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
