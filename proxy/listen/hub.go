package listen

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pool"
)

// Key says what a listener connection brings: the notifications of a database, in the encoding of the clients it is for, a
// client_encoding as the server reports it.
type Key struct {
	Database string
	Encoding string
}

// Subscriber is a session that listens. It is used as a key of maps: a pointer.
type Subscriber interface {
	// OpenListener opens a connection to the node of view that takes writes (View.Writer), with client_encoding as the key says. It
	// is called on a task of the hub, on any loop, while the session works or even ends, so it uses only what the login has fixed.
	// The connection becomes the hub's, which ends it by Config.Discard. The errors are those of package pool.
	OpenListener(t *loop.Task, key Key, view *cluster.View) (*pool.Conn, error)
	// Inbox is the session's, always the same.
	Inbox() *Inbox
}

// Config is what a Hub is made of. Durations of zero have defaults.
type Config struct {
	Store   *cluster.Store
	Log     logging.Logger
	Discard func(*pool.Conn) // closes a connection (pool.Pool.Discard)
	// PIDOf is the pid that clients know, in BackendKeyData, of the session that has notified through a server process; ok is false
	// for a process that is not one of ours. It is called on a loop, must not wait nor call the hub. nil: server pids stay.
	PIDOf func(serverPID uint32) (sessionPID uint32, ok bool)

	Grace    time.Duration // a connection nobody needs is kept so long, default 5 s
	RetryMin time.Duration // the pause after a failure, default 100 ms; it doubles up to RetryMax, default 2 s
	RetryMax time.Duration
	Patience time.Duration // how long Listen waits for a server, and a server may take to answer, default 30 s
}

// Hub is the listener connections of all databases. Its methods may be called from tasks of any loop.
type Hub struct {
	cfg     Config
	dice    func() float64
	unwatch func()

	mu     sync.Mutex // before that of a listener
	places map[Key]*listener
	closed bool
}

// New makes a hub without connections. Their tasks begin on the loop of the session that first listens, and end with Close or
// their loop.
func New(cfg Config) *Hub {
	cfg.Grace = or(cfg.Grace, 5*time.Second)
	cfg.RetryMin = or(cfg.RetryMin, 100*time.Millisecond)
	cfg.RetryMax = or(cfg.RetryMax, 2*time.Second)
	cfg.Patience = or(cfg.Patience, 30*time.Second)
	if cfg.PIDOf == nil {
		cfg.PIDOf = func(uint32) (uint32, bool) { return 0, false }
	}
	h := &Hub{cfg: cfg, dice: rand.Float64, places: map[Key]*listener{}}
	h.unwatch = cfg.Store.Watch(func(*cluster.View) { h.each((*listener).wake) })
	return h
}

func or(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return d
}

// Close asks the tasks of the hub to end and lets nobody listen any more. It does not wait: their loops do. Sessions that still
// listen find an error in their Inbox.
func (h *Hub) Close() {
	h.unwatch()
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	h.each(func(l *listener) { l.home.Post(l.task.Stop) })
}

// each calls f with every listener.
func (h *Hub) each(f func(*listener)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.places {
		f(l)
	}
}

// Listen adds channels, in the form Channel gives them, to what a session hears, and returns when the server has confirmed
// LISTEN for all of them: the session hears of every transaction that commits from then on. On an error it hears nothing that it
// did not hear before. The session calls it before it sends the COMMIT of a transaction that listens, so that it can still refuse
// it, and takes back by Unlisten what was added if the commit fails.
//
// It gives the loop up until the server has answered, Config.Patience is over (the error is an *Error then), or the task is stopped
// or finds, when it is woken or something watched happens, that cancelled (may be nil) reports true (loop.ErrStopped); what is
// watched must mean that. Where this session's own way to open a connection is refused, the error is an *Error with the reason.
func (h *Hub) Listen(
	t *loop.Task, key Key, sub Subscriber, channels []string, cancelled func() bool, watched ...loop.Interest,
) error {
	for _, name := range channels {
		if name == "" || len(name) > maxName || strings.IndexByte(name, 0) >= 0 {
			return &Error{Code: "42602", Message: "invalid channel name"}
		}
	}
	if len(channels) == 0 {
		return nil
	}
	l, r, err := h.join(t, key, sub, channels)
	if err != nil {
		return err
	}
	l.wake()
	return l.wait(t, r, cancelled, watched)
}

// join begins the listener of the key if need be and adds to it what the session wants.
func (h *Hub) join(t *loop.Task, key Key, sub Subscriber, channels []string) (*listener, *request, error) {
	l, err := h.enter(t, key)
	if err != nil {
		return nil, nil, err
	}
	defer l.mu.Unlock()
	return l, l.reg.join(t, sub, channels), nil
}

// enter returns the locked listener of the key.
func (h *Hub) enter(t *loop.Task, key Key) (*listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || t.Stopped() {
		return nil, loop.ErrStopped
	}
	l := h.places[key]
	if l == nil {
		l = newListener(h, key, t.Loop())
		h.places[key] = l
		l.task = t.Loop().Go("listener "+key.Database, l.run)
	}
	l.mu.Lock() // the listener cannot end before h.mu is free
	return l, nil
}

// find returns the locked listener of the key, nil if there is none.
func (h *Hub) find(key Key) *listener {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.places[key]
	if l != nil {
		l.mu.Lock()
	}
	return l
}

// Unlisten takes channels from what a session hears: nothing more of them comes into its Inbox (what is there already the session
// drops by itself, see Inbox.Append). It does not wait.
func (h *Hub) Unlisten(key Key, sub Subscriber, channels []string) {
	if len(channels) == 0 {
		return
	}
	if l := h.find(key); l != nil {
		defer l.mu.Unlock()
		l.reg.part(sub, channels)
		l.wake()
	}
}

// Leave is the end of a session, or of all it listens to. It does not wait.
func (h *Hub) Leave(sub Subscriber) {
	h.each(func(l *listener) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.reg.part(sub, nil)
		l.wake()
	})
}

// Flush returns when everything that was notified by transactions that have committed before is in the inboxes, at the cost of a
// round trip: a session that listens and has notified calls it before it passes on the ReadyForQuery of its COMMIT, since
// PostgreSQL's clients find their own notifications in front of that. Where the connection is lost it returns too. See Listen for
// the rest; the error is loop.ErrStopped or nil.
func (h *Hub) Flush(t *loop.Task, key Key, cancelled func() bool, watched ...loop.Interest) error {
	l := h.find(key)
	if l == nil {
		return nil
	}
	if !l.reg.connected {
		l.mu.Unlock()
		return nil
	}
	r := &request{task: t}
	l.reg.flushes = append(l.reg.flushes, r)
	l.mu.Unlock()
	l.wake()
	err := l.wait(t, r, cancelled, watched)
	if errors.Is(err, loop.ErrStopped) {
		return err
	}
	return nil
}

// Hasten closes at once the connections to a database that are only kept for their grace, so that DROP DATABASE and the like, which
// wait some seconds for the last to leave, find nobody.
func (h *Hub) Hasten(database string) {
	h.each(func(l *listener) {
		if l.key.Database == database {
			l.mu.Lock()
			l.hurry = true
			l.mu.Unlock()
			l.wake()
		}
	})
}

// Status is what SHOW and metrics tell of one listener connection.
type Status struct {
	Key
	State      string         // waiting, opening, listening, lingering
	Node       cluster.NodeID // NoNode while there is no connection
	PID        uint32         // of its server process
	Sessions   int            // that listen
	Channels   int
	Received   uint64 // notifications so far
	Interrupts uint64 // connections lost so far
}

// Status is the state of all listener connections, in no order.
func (h *Hub) Status() []Status {
	var all []Status
	h.each(func(l *listener) { all = append(all, l.status()) })
	return all
}
