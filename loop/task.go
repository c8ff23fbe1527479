package loop

import (
	"iter"
	"os"
	"runtime/debug"
	"time"
)

// Cause tells why a Wait ended.
type Cause uint8

// Causes. Stopped wins over all others and stays; Woken comes before Ready, so that no amount of traffic hides it.
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

func (i *Interest) met() bool {
	c := i.Conn
	if i.Read && c.readable || i.HangUp && c.hup || i.Write && c.writable {
		return true
	}
	if c.closed {
		return i.Read || i.HangUp || i.Write
	}
	if i.Write {
		c.wantWrite()
	}
	return false
}

// Task is one coroutine. Its methods are for the task itself, unless they say otherwise.
type Task struct {
	loop  *Loop
	name  string
	fn    func(*Task)
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
	conns []*Conn // open connections it owns
	timer timer
	moved int // bytes through Conn.Read and Conn.Write since it was resumed

	refused int // waits, because asked

	queued    bool // in loop.runq
	woken     bool
	done      bool
	asked     bool // to stop
	dropped   bool // the loop is gone: the next wait unwinds
	offloaded bool // waits for a function of Offload
}

// unwound is the panic that ends a task which goes on waiting though its loop is gone.
type unwound struct{}

func newTask(l *Loop, name string, fn func(*Task)) *Task {
	t := &Task{loop: l, name: name, fn: fn}
	t.timer.task = t
	t.timer.index = -1
	t.next, t.stop = iter.Pull(t.run)
	return t
}

// run is the coroutine.
func (t *Task) run(yield func(struct{}) bool) {
	t.yield = yield
	defer t.recovered()
	t.fn(t)
}

// unwind takes the place of next for a task whose loop has ended: its waits return Stopped once, then they panic.
func (t *Task) unwind() (v struct{}, alive bool) {
	t.stop()
	return v, false
}

func (t *Task) recovered() {
	v := recover()
	switch p := v.(type) {
	case nil, unwound:
	case *offloadPanic:
		t.report(p.value, append(append(p.stack, "\noffloaded by\n"...), debug.Stack()...))
	default:
		t.report(v, debug.Stack())
	}
}

func (t *Task) report(value any, stack []byte) {
	if t.loop.reporter == nil {
		panic(value)
	}
	t.loop.reporter.TaskPanicked(t.name, value, stack)
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
	if t.loop.current != t { // or its next Wait sees it without a turn of its own
		t.loop.ready(t)
	}
}

// Wait gives up the loop until an interest is met, the task is woken or stopped, or the time until has come (zero: no limit).
// What is already the case is reported without giving up the loop. A connection that is closed meets every interest in it.
func (t *Task) Wait(until time.Time, interests ...Interest) Cause {
	for {
		if t.asked {
			t.refuse()
			return Stopped
		}
		if t.woken {
			t.woken = false
			return Woken
		}
		for i := range interests {
			if interests[i].met() {
				return Ready
			}
		}
		if t.loop.past(until) {
			return Timeout
		}
		t.park(until)
	}
}

// waitFor is Wait without wake-ups: they are kept for the task's own next Wait.
func (t *Task) waitFor(until time.Time, interests ...Interest) error {
	woken := false
	defer func() { t.woken = t.woken || woken }()
	for {
		switch t.Wait(until, interests...) {
		case Ready:
			return nil
		case Timeout:
			return os.ErrDeadlineExceeded
		case Stopped:
			return ErrStopped
		case Woken:
			woken = true
		}
	}
}

// past reports whether a deadline (zero: none) has come.
func (l *Loop) past(until time.Time) bool { return !until.IsZero() && !l.now.Before(until) }

// patience is how many waits of a stopped task are refused at once: more than any cleaning up needs.
const patience = 100

// refusalPause is how long each further one takes, so that a task which does not listen does not keep the loop to itself.
const refusalPause = 10 * time.Millisecond

// refuse is a wait of a task that was asked to end.
func (t *Task) refuse() {
	if t.refused++; t.refused > patience {
		t.park(t.loop.now.Add(refusalPause))
	}
}

// Yield lets every other ready task run before this one goes on.
func (t *Task) Yield() {
	t.loop.ready(t)
	t.giveUp()
}

// park gives up the loop until somebody calls loop.ready for the task or the time has come.
func (t *Task) park(until time.Time) {
	if until.IsZero() {
		t.timer.armed = false
	} else {
		t.loop.timers.set(&t.timer, until)
	}
	t.giveUp()
}

func (t *Task) giveUp() {
	if t.loop.current != t {
		panic("loop: wait in the name of task " + t.name + ", which does not run")
	}
	if t.dropped {
		panic(unwound{})
	}
	if !t.yield(struct{}{}) {
		t.asked, t.dropped = true, true
	}
}

// Sleep waits for d, or until the task is stopped. Wake-ups do not end it and are kept.
func (t *Task) Sleep(d time.Duration) {
	if t.asked {
		t.refuse()
	}
	end := t.loop.now.Add(d)
	for !t.asked && t.loop.now.Before(end) {
		t.park(end)
	}
}
