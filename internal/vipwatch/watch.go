package vipwatch

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gopgpool/internal/hosts"
)

// How often everybody looks.
const (
	lookEvery  = 20 * time.Millisecond
	tryEvery   = 50 * time.Millisecond
	askEvery   = 50 * time.Millisecond
	tryLimit   = time.Second            // for one SELECT, connecting included
	replyLimit = 500 * time.Millisecond // for one ping
)

// Options say what to watch.
type Options struct {
	VIP    netip.Addr    // IPv4
	Hosts  []*hosts.Host // who may have it
	Client *hosts.Host   // where the client and the sniffer are
	Device string        // the client's device on the network of the address
	Port   int           // where SELECT 1 is sent; 0 for no SELECTs
	User   string        // who connects, without a password, to the database postgres
}

// Watch is the observers at work. Whoever starts it calls [Watch.Stop].
type Watch struct {
	opts   Options
	began  time.Time
	cancel context.CancelFunc
	all    sync.WaitGroup

	mu     sync.Mutex // guards what follows
	record Record
	err    error // of an observer that cannot observe any more
}

// Start begins to watch.
func Start(opts Options) (_ *Watch, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &Watch{opts: opts, began: time.Now(), cancel: cancel}
	defer func() {
		if err != nil {
			_, stopped := w.Stop()
			err = errors.Join(err, stopped)
		}
	}()
	for _, h := range opts.Hosts {
		l, err := w.newLooker(h)
		if err != nil {
			return nil, err
		}
		w.all.Go(func() { w.note(l.run(ctx, lookEvery)) })
	}
	s, err := w.newSniffer()
	if err != nil {
		return nil, err
	}
	w.all.Go(func() { w.note(s.listen(ctx)) })
	w.all.Go(func() { w.note(s.ask(ctx)) })
	p, err := w.newPinger()
	if err != nil {
		return nil, err
	}
	w.all.Go(func() { w.note(p.listen(ctx)) })
	w.all.Go(func() { w.note(p.send(ctx)) })
	if opts.Port != 0 {
		c, err := w.newClient()
		if err != nil {
			return nil, err
		}
		w.all.Go(func() { c.run(ctx) })
	}
	return w, nil
}

// Since is a moment in the record's time.
func (w *Watch) Since(t time.Time) time.Duration { return t.Sub(w.began) }

// Now is now in the record's time.
func (w *Watch) Now() time.Duration { return time.Since(w.began) }

func (w *Watch) note(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, err)
}

// Peek is what was seen so far. Holdings that last are in it only up to a moment ago.
func (w *Watch) Peek() Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.record
	r.Selects, r.Pings, r.Held, r.Answers = slices.Clone(r.Selects), slices.Clone(r.Pings), slices.Clone(r.Held), slices.Clone(r.Answers)
	r.Lasted = time.Since(w.began)
	return r
}

// Stop ends the watch and returns what was seen. The error is that of an observer that could not do its work.
func (w *Watch) Stop() (Record, error) {
	w.cancel()
	w.all.Wait()
	r := w.Peek()
	slices.SortStableFunc(r.Selects, func(a, b Attempt) int { return int(a.Began - b.Began) })
	slices.SortStableFunc(r.Pings, func(a, b Attempt) int { return int(a.Began - b.Began) })
	return r, w.err
}
