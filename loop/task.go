package loop

import (
	"iter"
	"runtime/debug"
	"time"
)

// Cause tells why a Wait ended.
type Cause uint8

// Causes. Stopped wins over all others and stays.
const (
	Ready   Cause = iota // one of the interests can make progress
	Woken                // Task.Wake was called
	Timeout              // the deadline passed
	Stopped              // the task is asked to end
)

// Interest is something to wait for: that a connection can be read (data, end of stream or an error), or written.
type Interest struct {
	Conn        *Conn
	Read, Write bool
	HangUp      bool // the peer has closed its side, though unread data may stand before the end
}

// Task is one coroutine. Its methods are for the task itself, unless they say otherwise.
type Task struct {
	loop   *Loop
	name   string
	next   func() (struct{}, bool)
	stop   func()
	yield  func(struct{}) bool
	conns  []*Conn // open connections it owns
	timer  timer
	queued bool // in loop.runq
	woken  bool
	done   bool
	asked  bool // to stop
}

func newTask(l *Loop, name string, fn func(*Task)) *Task {
	t := &Task{loop: l, name: name}
	t.timer.task = t
	t.timer.index = -1
	t.next, t.stop = iter.Pull(iter.Seq[struct{}](func(yield func(struct{}) bool) {
		t.yield = yield
		defer t.recovered()
		fn(t)
	}))
	return t
}

func (t *Task) recovered() {
	v := recover()
	if v == nil {
		return
	}
	if t.loop.reporter != nil {
		t.loop.reporter.TaskPanicked(t.name, v, debug.Stack())
	}
}

// Loop is the loop the task runs on.
func (t *Task) Loop() *Loop { return t.loop }

// Name is the name given to Go.
func (t *Task) Name() string { return t.name }

// Now is the time of this turn, see Loop.Now.
func (t *Task) Now() time.Time { return t.loop.now }

// Stopped reports whether the task has been asked to end.
func (t *Task) Stopped() bool { return t.asked }

// Stop asks the task to end: its waits return Stopped from now on. For the loop's goroutine.
func (t *Task) Stop() {
	t.asked = true
	t.loop.ready(t)
}

// Wake ends the task's wait with the cause Woken, the present one or the next. For the loop's goroutine; from others,
// Post a function that calls it.
func (t *Task) Wake() {
	t.woken = true
	t.loop.ready(t)
}

// Wait gives up the loop until an interest is met, the task is woken or stopped, or the time until has come (zero: no limit).
// What is already the case is reported without giving up the loop.
func (t *Task) Wait(until time.Time, interests ...Interest) Cause {
	for {
		if t.asked {
			return Stopped
		}
		for i := range interests {
			if interests[i].met() {
				return Ready
			}
		}
		if t.woken {
			t.woken = false
			return Woken
		}
		if !until.IsZero() && !t.loop.now.Before(until) {
			return Timeout
		}
		t.park(until)
	}
}

// Yield lets every other ready task run before this one goes on.
func (t *Task) Yield() {
	t.loop.ready(t)
	t.yield(struct{}{})
}

// park gives up the loop until somebody calls loop.ready for the task or the time has come. It reports false when the
// loop is gone and the task has to unwind at once.
func (t *Task) park(until time.Time) bool {
	if until.IsZero() {
		t.timer.armed = false
	} else {
		t.loop.timers.set(&t.timer, until)
	}
	if !t.yield(struct{}{}) {
		t.asked = true
		return false
	}
	return true
}

// Sleep waits for d, or until the task is stopped. Wake-ups do not end it and are kept.
func (t *Task) Sleep(d time.Duration) {
	end := t.loop.now.Add(d)
	for !t.asked && t.loop.now.Before(end) {
		t.park(end)
	}
}

// Offload runs f on a goroutine of its own and resumes the task when f has returned; the loop serves others meanwhile.
// It waits for f even when the task is stopped, so f may use the task's variables; f must end by itself.
func (t *Task) Offload(f func()) {
	over := false
	l := t.loop
	l.offloads.Add(1)
	go l.offload(f, func() {
		over = true
		l.ready(t)
	})
	for !over && t.park(time.Time{}) {
	}
}

func (l *Loop) offload(f, over func()) {
	defer l.offloads.Done()
	defer l.Post(over)
	defer func() {
		if v := recover(); v != nil && l.reporter != nil {
			l.reporter.TaskPanicked("offload", v, debug.Stack())
		}
	}()
	f()
}

func (i *Interest) met() bool {
	c := i.Conn
	if i.Read && (c.readable || c.closed) || i.HangUp && c.hup {
		return true
	}
	if i.Write {
		if c.writable || c.closed {
			return true
		}
		c.wantWrite()
	}
	return false
}
