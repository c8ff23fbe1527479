package listen

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pool"
)

// listener is the connection of one key and its task.
type listener struct {
	hub  *Hub
	key  Key
	home *loop.Loop
	task *loop.Task // set before anybody else knows the listener

	// of the task
	view    *cluster.View // of the last failure, for which retryAt counts
	pause   time.Duration // after the next failure
	retryAt time.Time
	broken  bool // there should be a connection, there is none, and the log says so

	mu      sync.Mutex
	reg     registry   // guarded by mu
	state   string     // guarded by mu
	conn    *pool.Conn // guarded by mu; its fields are read only
	hurry   bool       // guarded by mu: no grace
	counts  Status     // guarded by mu
	lastErr error      // guarded by mu: why there is no connection
}

// States of a listener, see the package comment.
const (
	waiting   = "waiting"
	opening   = "opening"
	listening = "listening"
	lingering = "lingering"
)

func newListener(h *Hub, key Key, home *loop.Loop) *listener {
	return &listener{hub: h, key: key, home: home, reg: newRegistry(), state: waiting}
}

// wake has the task look around.
func (l *listener) wake() { l.home.Post(l.task.Wake) }

func (l *listener) status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.counts
	s.Key, s.State, s.Node = l.key, l.state, cluster.NoNode
	s.Sessions, s.Channels = len(l.reg.members), len(l.reg.channels)
	if l.conn != nil {
		s.Node, s.PID = l.conn.Key.Node, l.conn.PID
	}
	return s
}

// wait gives up the loop of a session until its request is answered, see Hub.Listen.
func (l *listener) wait(t *loop.Task, r *request, cancelled func() bool, watched []loop.Interest) error {
	until := t.Now().Add(l.hub.cfg.Patience)
	for {
		l.mu.Lock()
		done, err := r.done, r.err
		l.mu.Unlock()
		if done {
			return err
		}
		cause := t.Wait(until, watched...)
		stopped := cause == loop.Stopped || cancelled != nil && cancelled()
		if !stopped && cause != loop.Timeout {
			continue
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		switch {
		case r.done:
			return r.err
		case stopped:
			err = loop.ErrStopped
		default:
			err = cannotListen("57P03", l.lastErr)
		}
		l.reg.abandon(r)
		l.wake()
		return err
	}
}

// run is the task: a connection after the other as long as somebody listens.
func (l *listener) run(t *loop.Task) {
	defer l.over()
	for {
		v := l.await(t)
		if v == nil {
			return
		}
		c, err := l.open(t, v)
		if err != nil {
			l.failed(t, v, err)
		}
		if c == nil {
			continue
		}
		began := t.Now()
		if err = l.converse(t, c); err == nil || t.Stopped() {
			return
		}
		l.lost(t, began, err)
	}
}

// await returns the View under which a connection is to be opened, when there is somebody to listen and somebody to connect to;
// nil when the task ends.
func (l *listener) await(t *loop.Task) *cluster.View {
	l.enter(waiting)
	for !t.Stopped() && !l.end() {
		v := l.hub.cfg.Store.Current()
		rested := v != l.view || !t.Now().Before(l.retryAt)
		if v.Writer() != cluster.NoNode && rested {
			return v
		}
		until := l.retryAt
		if v.Writer() == cluster.NoNode {
			until = time.Time{}
			l.because(errNoWriter)
		}
		t.Wait(until)
	}
	return nil
}

var errNoWriter = errors.New("no node takes writes")

func (l *listener) because(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastErr = err
}

func (l *listener) enter(state string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = state
}

// end takes the listener out of the hub if nobody listens, and reports whether it has.
func (l *listener) end() bool {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.reg.idle() {
		return false
	}
	delete(l.hub.places, l.key)
	return true
}

// over is the end of the task, however it ends.
func (l *listener) over() {
	l.hub.mu.Lock()
	defer l.hub.mu.Unlock()
	if l.hub.places[l.key] == l {
		delete(l.hub.places, l.key)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reg.lost(nil)
	l.reg.failAll(loop.ErrStopped)
}

// open asks one subscriber for a connection. Both results are nil where there is nobody to ask.
func (l *listener) open(t *loop.Task, v *cluster.View) (*pool.Conn, error) {
	l.mu.Lock()
	m := l.reg.lender()
	l.state = opening
	l.mu.Unlock()
	if m == nil {
		return nil, nil
	}
	c, err := m.sub.OpenListener(t, l.key, v)
	switch {
	case err == nil && moved(c, l.hub.cfg.Store.Current()):
		l.hub.cfg.Discard(c)
		return nil, nil
	case err == nil:
		return c, nil
	}
	if !passing(err) {
		l.refuse(m, refused(err))
	}
	return nil, err
}

// refuse answers those who wait and whose own way to open a connection this was.
func (l *listener) refuse(m *member, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reg.failOf(m, err)
}

// passing reports whether an error of opening may be over soon: the node is not there or does not serve yet, or the cluster is
// changing. Others are refusals.
func passing(err error) bool {
	var unreachable *pool.ConnectError
	var said *pool.ServerError
	return errors.As(err, &unreachable) || errors.Is(err, loop.ErrStopped) ||
		errors.As(err, &said) && (said.Fields.Code == "57P03" || said.Fields.Code == "57P01")
}

// refused is what a session is told whose way to open a connection was refused.
func refused(err error) *Error {
	var said interface{ SQLState() string }
	if errors.As(err, &said) {
		return cannotListen(said.SQLState(), err)
	}
	return cannotListen("08006", err)
}

// failed is an attempt to open that has failed under a View.
func (l *listener) failed(t *loop.Task, v *cluster.View, err error) {
	if !l.broken {
		l.log(logging.Warning, fmt.Sprintf("no connection to listen for notifications in database %q", l.key.Database), err)
	}
	if l.view != v {
		l.pause = 0
	}
	l.rest(t, v, err)
}

// lost is the end of a connection that others than we have decided.
func (l *listener) lost(t *loop.Task, began time.Time, err error) {
	if !l.broken {
		l.log(logging.Warning, fmt.Sprintf("the connection that listens for notifications in database %q is lost", l.key.Database),
			fmt.Errorf("%w; notifications are missed until there is another", err))
	}
	l.mu.Lock()
	l.counts.Interrupts++
	l.mu.Unlock()
	if t.Now().Sub(began) > l.hub.cfg.RetryMax {
		l.pause = 0
	}
	l.rest(t, l.hub.cfg.Store.Current(), err)
	if errors.Is(err, errMoved) {
		l.retryAt = t.Now()
	}
}

// rest plans the next attempt, unless the View changes before.
func (l *listener) rest(t *loop.Task, v *cluster.View, err error) {
	cfg := &l.hub.cfg
	l.because(err)
	l.pause = min(max(2*l.pause, cfg.RetryMin), cfg.RetryMax)
	l.view, l.broken = v, true
	l.retryAt = t.Now().Add(time.Duration((0.5 + l.hub.dice()/2) * float64(l.pause)))
}

func (l *listener) log(s logging.Severity, message string, why error) {
	e := logging.Event{Severity: s, Message: message, DB: l.key.Database}
	if why != nil {
		e.Detail = why.Error()
	}
	l.hub.cfg.Log.Log(e)
}

// quote writes a channel as an identifier.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
