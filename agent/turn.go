package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/cluster"
)

// errOvertaken ends an action that has to give way.
var errOvertaken = errors.New("gave way to a newer order")

const (
	// lockPatience is how long an order waits for another process that acts on the same server.
	lockPatience = time.Second
	// termPatience is how long it waits for another one that writes a new term down: as long as a slow disk takes.
	termPatience = 10 * time.Second
)

// turn lets one action at a time act on a server: within this process by order of arrival and term, between processes by a lock on a file.
type turn struct {
	mu  sync.Mutex // guards now
	now *action
}

// action is what is being done.
type action struct {
	name  string
	term  cluster.Term
	since time.Time
	end   context.CancelCauseFunc
	done  chan struct{} // closed when it has ended
}

// take waits for the turn and returns the context of the action and what ends the turn. Who comes with a newer term, or may overtake,
// ends what is at work; everybody else is refused.
func (t *turn) take(ctx context.Context, name string, term cluster.Term, overtakes bool) (context.Context, func(), error) {
	for {
		t.mu.Lock()
		before := t.now
		if before == nil {
			inner, end := context.WithCancelCause(ctx)
			a := &action{name: name, term: term, since: time.Now(), end: end, done: make(chan struct{})}
			t.now = a
			t.mu.Unlock()
			return inner, func() { t.leave(a) }, nil
		}
		t.mu.Unlock()
		if !overtakes && term <= before.term {
			return nil, nil, fmt.Errorf("%w: %s since %s", cluster.ErrBusy, before.name, before.since.Format(time.TimeOnly))
		}
		before.end(fmt.Errorf("%s %w", before.name, errOvertaken))
		select {
		case <-before.done:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

func (t *turn) leave(a *action) {
	t.mu.Lock()
	t.now = nil
	t.mu.Unlock()
	a.end(nil)
	close(a.done)
}

// lock takes the lock that all processes share which act on the server. Closing the file gives it back, once no child has it any more.
func (p *place) lock(ctx context.Context) (*os.File, error) {
	f, err := p.openBeside("lock", os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if err := flock(ctx, f, lockPatience, func() { p.endLeftovers(f) }); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// flock locks a file, and gives up after a time. taken is called when it finds that somebody else has the lock.
func flock(ctx context.Context, f *os.File, patience time.Duration, taken func()) error {
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := poll(short, func() (bool, error) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			taken()
			return false, nil
		}
		return err == nil, err
	})
	if err != nil && short.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w: of another process", cluster.ErrBusy)
	}
	return err
}

// openBeside opens a file of ours, as the owner, and makes our directory if need be.
func (p *place) openBeside(name string, flags int) (f *os.File, err error) {
	err = p.owner.as(func() error {
		if err := os.Mkdir(p.beside, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		f, err = os.OpenFile(filepath.Join(p.beside, name), flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
		return err
	})
	return f, err
}

// pollTime is how often a condition is looked at that cannot wake us.
const pollTime = 20 * time.Millisecond

// poll asks done until it is true, fails, or ctx ends.
func poll(ctx context.Context, done func() (bool, error)) error {
	t := time.NewTicker(pollTime)
	defer t.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
