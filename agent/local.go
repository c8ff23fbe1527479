package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// Local acts on the server of this host. Its exported fields are set before the first call and not changed; the methods may be called by
// several goroutines. One action is at work at a time, whoever asked for it in whatever process; Stop, and who comes with a newer term,
// end the one that is, the others are told cluster.ErrBusy. Nothing survives the end of an action's context but the server.
type Local struct {
	DataDirectory string // absolute
	BinDirectory  string // of PostgreSQL's programs; empty: they are looked for
	StateFile     string // where the term is kept; empty: beside the data directory
	ServerLog     string // where a started server's standard error goes; empty: beside the data directory
	Log           logging.Logger

	nextBin atomic.Pointer[string]
	lacks   atomic.Pointer[string] // what is not there of what the connection it was last given names
	noSync  bool                   // tests do not survive the machine either
	turn    turn
	child   childServer
}

// errAnother is a data directory whose server is another one than was meant.
var errAnother = errors.New("is another server's")

// Here reports why this process cannot act on the server at dir, which listens at port (0: whichever); nil: it can. A directory that is
// lost is no obstacle if it was acted on before.
func Here(dir string, port int) error {
	p, err := locate(dir)
	if err != nil {
		return err
	}
	err = p.owner.as(func() error {
		d, err := os.Open(p.data)
		if errors.Is(err, fs.ErrNotExist) { // a base backup may have been interrupted between two directories
			if ours, missing := os.Open(p.beside); missing == nil {
				d, err = ours, nil
			}
		}
		if err != nil {
			return err
		}
		return d.Close()
	})
	if err != nil {
		return err
	}
	if f := p.pidFile(); port != 0 && f.port != 0 && f.port != port {
		return fmt.Errorf("%s %w: it listens at port %d", dir, errAnother, f.port)
	}
	return nil
}

// Control tells what pg_controldata and the process table say. It changes nothing and waits for nobody.
func (l *Local) Control(ctx context.Context) (cluster.Control, error) {
	l.child.reap()
	p, err := locate(l.DataDirectory)
	if err != nil {
		return cluster.Control{}, err
	}
	if err := p.hidden(); err != nil {
		return cluster.Control{}, err
	}
	c := cluster.Control{Since: time.Now()}
	g := p.gang()
	c.Running, c.PID, c.Orphans = g.running(), g.first.pid, g.orphans()
	if c.Starting = c.Running && p.pidFile().status == "starting"; c.Starting {
		c.Says = l.says(&p)
	}
	if c.Broken, err = p.exists(p.mark()); err != nil {
		return c, err
	}
	if there, err := p.exists(filepath.Join(p.data, "global", "pg_control")); err != nil || !there {
		return c, err
	}
	d, err := l.controlData(ctx, &p)
	if err != nil {
		return c, err
	}
	c.State, c.SystemID, c.Timeline, c.Checkpoint = d.state, d.systemID, d.timeline, d.checkpoint
	if d.state == stateShutDown {
		c.Checkpoint = d.end(&p)
	}
	c.Standby, err = p.exists(filepath.Join(p.data, standbySignal))
	return c, err
}

// Renew refuses an old term; there is no lease to renew within one process.
func (l *Local) Renew(_ context.Context, term cluster.Term) error {
	l.child.reap()
	p, err := locate(l.DataDirectory)
	if err != nil {
		return err
	}
	return l.obey(&p, term)
}

// errBroken is a data directory that must not be started.
var errBroken = errors.New("a rewind of the data directory was begun and has not ended, only a base backup mends it")

// act has f done in term's name as the only action at work.
func (l *Local) act(ctx context.Context, term cluster.Term, name string, overtakes bool, f func(context.Context, *site) error) error {
	p, err := locate(l.DataDirectory)
	if err != nil {
		return err
	}
	if err := l.obey(&p, term); err != nil {
		return err
	}
	ctx, leave, err := l.turn.take(ctx, name, term, overtakes)
	if err != nil {
		return err
	}
	defer leave()
	lock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := l.obey(&p, term); err != nil { // a newer one may have come while we waited
		return err
	}
	l.child.reap()
	if err := p.hidden(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	s := &site{Local: l, place: p, lock: lock}
	if err := s.settle(); err != nil && !overtakes {
		return fmt.Errorf("%s: what was begun before: %w", name, err)
	} else if err != nil { // a server is stopped whatever its files are like
		l.Log.Log(logging.Event{Severity: logging.Warning, Message: name + " goes on though what was begun before cannot be ended", Detail: err.Error()})
	}
	l.Log.Log(logging.Event{Severity: logging.Log, Message: fmt.Sprintf("%s begins", name), Detail: fmt.Sprintf("In the name of term %d.", term)})
	began := time.Now()
	if err := f(ctx, s); err != nil {
		l.Log.Log(logging.Event{Severity: logging.Warning, Message: fmt.Sprintf("%s ended without success", name), Detail: err.Error()})
		return fmt.Errorf("%s: %w", name, err)
	}
	l.Log.Log(logging.Event{Severity: logging.Log, Message: fmt.Sprintf("%s done", name), Detail: "After " + time.Since(began).Round(time.Millisecond).String() + "."})
	return nil
}

// site is a server that is being acted on: the turn and the lock are ours.
type site struct {
	*Local
	place
	lock *os.File
	// launchedAt is how long the server's log was when we launched the server.
	launchedAt int64
}

const standbySignal = "standby.signal"

// mark names the file that is there while a rewind is under way: from its beginning to its success the data directory is neither the old
// server nor a new one.
func (p *place) mark() string { return filepath.Join(p.beside, "REWIND_NOT_FINISHED") }

// exists looks for a file as the owner.
func (p *place) exists(path string) (there bool, err error) {
	err = p.owner.as(func() error {
		_, err := os.Lstat(path)
		there = err == nil
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return there, err
}
