package pool

import (
	"time"

	"gopgpool/loop"
)

// This file is about waiting: the queue of a place, and the task that stands in it.

// waiter stands in the queue of a place. It is part of an Ask.
type waiter struct {
	task *loop.Task
	ask  *Ask

	// All below is guarded by Pool.mu while the waiter stands in a queue; afterwards it is the task's.
	place     *Place
	since     time.Time // when it began to wait, moved on by the time a pause took
	placeOnly bool      // wants to open one, whatever idles
	granted   bool      // conn, err or, with neither, a reserved place
	conn      *Conn
	flight    *flight // of conn, if it is sent rather than fetched
	err       error
	prev      *waiter
	next      *waiter
}

// waitList is a queue through the waiters.
type waitList struct {
	first, last *waiter
	n           int
}

func (l *waitList) push(w *waiter) {
	w.prev, w.next = l.last, nil
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
	l.n++
}

func (l *waitList) remove(w *waiter) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
	l.n--
}

func (pl *Place) enqueueLocked(w *waiter) {
	w.place = pl
	if pl.queue.n == 0 {
		pl.node.waiting = append(pl.node.waiting, pl)
	}
	pl.queue.push(w)
}

func (pl *Place) dequeueLocked(w *waiter, now time.Time) {
	pl.waitTime += max(now.Sub(w.since), 0)
	if pl.queue.first == w {
		pl.passed = passes{}
	}
	pl.queue.remove(w)
	if pl.queue.n > 0 {
		return
	}
	list := pl.node.waiting
	for i := range list {
		if list[i] == pl {
			last := len(list) - 1
			list[i], list[last] = list[last], nil
			pl.node.waiting = list[:last]
			return
		}
	}
}

// queue has the waiter wait its turn, which may have come already. What is granted is in the waiter.
func (p *Pool) queue(pl *Place, w *waiter) error {
	out := outcome{here: w.task.Loop()}
	p.mu.Lock()
	pl = p.liveLocked(pl)
	pl.leases++
	pl.used = w.since
	pl.enqueueLocked(w)
	if pl.queue.first == w { // or he cannot be served, since those before him are not
		p.settleLocked(pl.node, w.since, &out)
	}
	waits := !w.granted
	switch {
	case waits && w.ask.NoWait:
		pl.dequeueLocked(w, w.since)
		w.granted, w.err, waits = true, ErrBusy, false
	case waits:
		pl.waits++
	}
	p.mu.Unlock()
	out.carryOut(w)
	if waits {
		return p.await(w)
	}
	return w.err
}

// await waits until something is granted. Whoever wakes the task meanwhile may mean its next wait.
func (p *Pool) await(w *waiter) (err error) {
	t, began, told := w.task, w.since, w.ask.Waiting == nil
	over := false
	defer func() {
		if !over {
			p.forsake(w)
		}
	}()
	for !over {
		until := p.nextLook(w)
		if !told {
			until = earlier(until, began.Add(WaitNotice))
		}
		cause := t.Wait(until, w.ask.Watched...)
		if over, err = p.look(w, cause); over {
			t.Wake()
			return err
		}
		if !told && t.Now().Sub(began) >= WaitNotice {
			told = true
			w.ask.Waiting()
		}
	}
	return err
}

// look sees after a wake-up whether the wait is over.
func (p *Pool) look(w *waiter, cause loop.Cause) (over bool, err error) {
	now := w.task.Now()
	out := outcome{here: w.task.Loop()}
	p.mu.Lock()
	granted := w.granted
	p.mu.Unlock()
	cancelled := !granted && (cause == loop.Stopped || cause == loop.Ready || w.ask.Cancelled != nil && w.ask.Cancelled())
	p.mu.Lock()
	if !w.granted {
		switch {
		case cancelled:
			err = loop.ErrStopped
		case p.tooLongLocked(w, now):
			err = ErrWaitTimeout
		}
		pl := w.place
		if err != nil {
			pl.dequeueLocked(w, now)
		}
		if err != nil || pl.queue.first == w && pl.bounds.reserveAt(w.since, now) { // who stood in the way is gone, or the reserve is open
			p.settleLocked(pl.node, now, &out)
		}
	}
	if w.granted {
		err = w.err
	}
	over = w.granted || err != nil
	p.mu.Unlock()
	out.carryOut(w)
	return over, err
}

// forsake ends the wait of a task that panics: nothing may be granted to it any more, what was goes back.
func (p *Pool) forsake(w *waiter) {
	out := outcome{here: w.task.Loop()}
	now := w.task.Now()
	p.mu.Lock()
	n := w.place.node
	switch {
	case !w.granted:
		w.place.dequeueLocked(w, now)
	case w.conn != nil:
		w.place.goneLocked(w.conn)
		if w.flight != nil {
			w.flight.forsaken = true
		} else {
			out.victims = append(out.victims, w.conn)
		}
	case w.err == nil:
		w.place.unreserveLocked()
	}
	p.settleLocked(n, now, &out)
	p.mu.Unlock()
	out.carryOut(w)
}

// nextLook is when a waiter has to look by itself; zero is never.
func (p *Pool) nextLook(w *waiter) (until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.granted || w.place.paused {
		return until
	}
	if d := p.patienceLocked(w); d > 0 {
		until = w.since.Add(d)
	}
	b := &w.place.bounds
	if b.Reserve > 0 && b.ReserveAfter > 0 && !b.reserveAt(w.since, w.task.Now()) {
		until = earlier(until, w.since.Add(b.ReserveAfter))
	}
	return until
}

func (p *Pool) tooLongLocked(w *waiter, now time.Time) bool {
	d := p.patienceLocked(w)
	return d > 0 && !w.place.paused && now.Sub(w.since) >= d
}

// patienceLocked is how long the waiter may wait, 0 for ever.
func (p *Pool) patienceLocked(w *waiter) time.Duration {
	if w.place.governed {
		return w.place.bounds.WaitTimeout
	}
	return p.limits.WaitTimeout
}

// earlier is the first of two deadlines, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
