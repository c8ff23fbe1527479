package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// Fencing is what Guard obeys: agent_fencing and agent_lease_time.
type Fencing struct {
	On    bool
	Lease time.Duration
}

// expired reports whether the server may be a primary no more. Times are since the boot of the machine.
func (f Fencing) expired(contact, now time.Duration) bool { return f.On && now-contact >= f.Lease }

const (
	// guardTick is how often the lease is looked at.
	guardTick = 250 * time.Millisecond
	// fenceGrace is how long a primary that is fenced may take to end cleanly.
	fenceGrace = 3 * time.Second
	// fenceLimit bounds one attempt to stop it.
	fenceLimit = 30 * time.Second
)

// Guard stops the server of this host if it is a primary and nobody of the cluster has been in contact for the lease (agent_fencing). Its
// clock goes on while the machine is suspended. It never starts a server. An agent that is started again goes on with the lease of the one
// before (contact.go).
//
//	leased --- no contact for agent_lease_time ---> expired: what is a primary is stopped, fast, then at once
//	   ^                                               |
//	   +---- contact, after what had to be stopped ----+
type Guard struct {
	server  fenced
	fencing func() Fencing
	log     logging.Logger
	limiter logging.Limiter
	now     func() time.Duration         // since boot
	keep    func(at time.Duration) error // remembers a contact for the next process; nil: nobody does

	mu      sync.Mutex // guards contact
	contact time.Duration

	at chan struct{} // has room while nobody settles
}

// fenced is the server; *Local fits.
type fenced interface {
	primary() bool
	fence(ctx context.Context, soft time.Duration) error
}

// NewGuard begins the lease, or goes on with that of the process before.
func NewGuard(l *Local, fencing func() Fencing, log logging.Logger) *Guard {
	g := newGuard(l, fencing, log, sinceBoot)
	last, known := l.lastContact()
	g.contact = startContact(last, known, g.contact, fencing().Lease)
	g.keep = l.noteContact
	return g
}

func newGuard(s fenced, fencing func() Fencing, log logging.Logger, now func() time.Duration) *Guard {
	return &Guard{server: s, fencing: fencing, log: log, now: now, contact: now(), at: make(chan struct{}, 1)}
}

// sinceBoot is the time since the machine was booted, with the time it was suspended.
func sinceBoot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic("agent: CLOCK_BOOTTIME: " + err.Error()) // in every kernel since 2.6.39
	}
	return time.Duration(t.Nano())
}

// Run looks after the lease until ctx ends.
func (g *Guard) Run(ctx context.Context) error {
	t := time.NewTicker(guardTick)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			g.settle(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// contacted tells that the cluster was there at a time.
func (g *Guard) contacted(at time.Duration) {
	g.mu.Lock()
	g.contact = max(g.contact, at)
	at = g.contact
	g.mu.Unlock()
	if g.keep == nil || !g.fencing().On {
		return
	}
	if err := g.keep(at); err != nil {
		g.limiter.Log(g.log, logging.Event{Severity: logging.Warning, Message: "the contact with the cluster is not kept", Detail: err.Error()})
	}
}

func (g *Guard) silence() (contact time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.contact
}

// settle stops the server if its lease has ended. It is called before every order too: what a machine finds in its sockets when it wakes
// up must not hide that the lease has ended while it slept.
func (g *Guard) settle(ctx context.Context) {
	if !g.fencing().expired(g.silence(), g.now()) {
		return
	}
	select {
	case g.at <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-g.at }()
	f, now := g.fencing(), g.now()
	if !f.expired(g.silence(), now) || !g.server.primary() {
		return
	}
	g.log.Log(logging.Event{
		Severity: logging.Warning, Message: "the primary is being stopped: no contact with the cluster for longer than agent_lease_time",
		Detail: fmt.Sprintf("The last contact was %s ago.", (now - g.silence()).Round(time.Millisecond)),
		Hint:   "It is not started again before somebody of the cluster asks for it.",
	})
	ctx, cancel := context.WithTimeout(ctx, fenceLimit)
	defer cancel()
	if err := g.server.fence(ctx, fenceGrace); err != nil {
		g.log.Log(logging.Event{Severity: logging.Error, Message: "the primary could not be stopped", Detail: err.Error()})
	}
}

// primary reports whether the server takes writes, or may soon. When that cannot be told it may.
func (l *Local) primary() bool {
	p, err := locate(l.DataDirectory)
	if err != nil {
		return false // there is no data directory that we could act on
	}
	g := p.gang()
	if len(g.all) == 0 {
		return false
	}
	if standby, err := p.exists(p.data + "/" + standbySignal); err != nil || !standby {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), fenceGrace)
	defer cancel()
	d, err := l.controlData(ctx, &p)
	return err == nil && d.state == stateProduction
}

// fence stops the server in nobody's name: fast, and after a time at once.
func (l *Local) fence(ctx context.Context, soft time.Duration) error {
	halt := func(ctx context.Context, s *site) error {
		short, cancel := context.WithTimeout(ctx, soft)
		defer cancel()
		if err := s.halt(short, cluster.StopFast); err == nil || ctx.Err() != nil {
			return err
		}
		return s.halt(ctx, cluster.StopNow)
	}
	term, err := l.Term()
	if err == nil {
		err = l.act(ctx, term, "fencing", true, halt)
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, cluster.ErrBusy) || errors.Is(err, errHidden) {
		return err
	}
	// Others count on this. That our files cannot be read, or have another owner since a restore, must not keep the server alive.
	p, lost := locate(l.DataDirectory)
	if lost != nil {
		return errors.Join(err, lost)
	}
	ctx, leave, lost := l.turn.take(ctx, "fencing", term, true)
	if lost != nil {
		return errors.Join(err, lost)
	}
	defer leave()
	if lost = halt(ctx, &site{Local: l, place: p}); lost != nil {
		return errors.Join(err, lost)
	}
	l.Log.Log(logging.Event{Severity: logging.Warning, Message: "fencing done, though its files are out of order", Detail: err.Error()})
	return nil
}
