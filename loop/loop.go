package loop

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// ErrStopped is what a task's calls return once its loop shuts down.
var ErrStopped = errors.New("loop: stopped")

// Reporter is told of what no caller can be told: a task that panicked, and a loop that did not turn for [StallAfter].
type Reporter interface {
	TaskPanicked(task string, value any, stack []byte)
	Stalled(loop int, task string, after time.Duration, stack []byte)
}

// StallAfter is how long one task may keep the loop to itself before it is reported.
const StallAfter = 100 * time.Millisecond

// shutdownGrace bounds how long tasks may take to end after the loop was told to stop.
const shutdownGrace = 5 * time.Second

// Loop is one event loop. Its methods are for its own goroutine (tasks and posted functions) unless they say otherwise.
type Loop struct {
	id       int
	poll     poller
	reporter Reporter

	now     time.Time
	timers  timerHeap
	runq    []*Task // tasks with something to look at, in order
	batch   []*Task // runq's other half
	tasks   map[*Task]struct{}
	nTasks  atomic.Int64
	current *Task

	busySince atomic.Int64 // unix nanoseconds of the start of this turn, 0 while blocked
	running   atomic.Pointer[Task]

	mu       sync.Mutex
	posted   []func() // guarded by mu
	closed   bool     // guarded by mu
	signaled atomic.Bool
	swap     []func() // posted's other half, owned by the loop

	ended    bool // Run is over; nothing starts any more
	stopping bool
	offloads sync.WaitGroup
}

// New makes a loop on epoll. reporter may be nil.
func New(id int, reporter Reporter) (*Loop, error) {
	p, err := newEpoll()
	if err != nil {
		return nil, err
	}
	return newLoop(id, p, reporter), nil
}

func newLoop(id int, p poller, reporter Reporter) *Loop {
	l := &Loop{id: id, poll: p, reporter: reporter, tasks: make(map[*Task]struct{}), now: time.Now()}
	return l
}

// ID is the number given to New.
func (l *Loop) ID() int { return l.id }

// Now is the time at the start of this turn of the loop. It costs nothing.
func (l *Loop) Now() time.Time { return l.now }

// Tasks tells how many tasks live on the loop. Any goroutine may ask.
func (l *Loop) Tasks() int { return int(l.nTasks.Load()) }

// Post runs f on the loop, soon. Any goroutine may call it; it never blocks. It reports false, and f never runs, when the loop has ended.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, f)
	l.mu.Unlock()
	if l.signaled.CompareAndSwap(false, true) {
		l.poll.wake()
	}
	return true
}

// Go starts fn as a task named name (for reports). From another goroutine use GoFrom.
func (l *Loop) Go(name string, fn func(*Task)) *Task {
	if l.ended {
		panic("loop: Go on a loop that has ended")
	}
	t := newTask(l, name, fn)
	l.tasks[t] = struct{}{}
	l.nTasks.Add(1)
	l.ready(t)
	return t
}

// GoFrom starts a task from any goroutine. It reports false if the loop has ended.
func (l *Loop) GoFrom(name string, fn func(*Task)) bool {
	return l.Post(func() { l.Go(name, fn) })
}

// Run turns the loop until ctx ends, then gives every task the cause [Stopped], waits for them within a bound, and
// releases the descriptors. It returns nil after an orderly end. Call it once.
func (l *Loop) Run(ctx context.Context) error {
	unhook := context.AfterFunc(ctx, func() { l.Post(l.beginStop) })
	defer unhook()
	defer l.end()
	var deadline time.Time
	for {
		if l.stopping {
			if deadline.IsZero() {
				deadline = l.now.Add(shutdownGrace)
			}
			if len(l.tasks) == 0 {
				return nil
			}
			if l.now.After(deadline) {
				return fmt.Errorf("loop %d: %d tasks did not end in %v, first %q", l.id, len(l.tasks), shutdownGrace, l.anyTask())
			}
		}
		if err := l.turn(deadline); err != nil {
			return err
		}
	}
}

// turn polls once and runs whatever became ready.
func (l *Loop) turn(deadline time.Time) error {
	n, err := l.poll.poll(l, 0)
	if err != nil {
		return err
	}
	if n == 0 && len(l.runq) == 0 {
		l.busySince.Store(0)
		if _, err = l.poll.poll(l, l.sleepTime(deadline)); err != nil {
			return err
		}
	}
	l.now = time.Now()
	l.busySince.Store(l.now.UnixNano())
	if l.signaled.Load() {
		l.runPosted()
	}
	l.timers.fire(l)
	l.runReady()
	return nil
}

// sleepTime is how long the poll may block; negative is for ever.
func (l *Loop) sleepTime(deadline time.Time) time.Duration {
	next, ok := l.timers.next()
	if !deadline.IsZero() && (!ok || deadline.Before(next)) {
		next, ok = deadline, true
	}
	if !ok {
		return -1
	}
	return max(time.Until(next), time.Nanosecond)
}

func (l *Loop) runPosted() {
	l.signaled.Store(false)
	l.mu.Lock()
	l.posted, l.swap = l.swap[:0], l.posted
	l.mu.Unlock()
	for i, f := range l.swap {
		l.swap[i] = nil
		f()
	}
}

// runReady resumes the tasks that were ready when it began; those made ready meanwhile have their turn after the next poll.
func (l *Loop) runReady() {
	l.runq, l.batch = l.batch[:0], l.runq
	for i, t := range l.batch {
		l.batch[i] = nil
		t.queued = false
		l.resume(t)
	}
}

func (l *Loop) resume(t *Task) {
	if t.done {
		return
	}
	l.current = t
	l.running.Store(t)
	_, alive := t.next()
	l.current = nil
	l.running.Store(nil)
	if !alive {
		l.finish(t)
	}
}

func (l *Loop) finish(t *Task) {
	t.done = true
	t.stop()
	l.timers.remove(t)
	for len(t.conns) > 0 {
		t.conns[len(t.conns)-1].Close()
	}
	delete(l.tasks, t)
	l.nTasks.Add(-1)
}

// ready puts a task in line for its turn.
func (l *Loop) ready(t *Task) {
	if !t.queued && !t.done {
		t.queued = true
		l.runq = append(l.runq, t)
	}
}

func (l *Loop) beginStop() {
	l.stopping = true
	for t := range l.tasks {
		t.Stop()
	}
}

func (l *Loop) anyTask() string {
	for t := range l.tasks {
		return t.name
	}
	return ""
}

func (l *Loop) end() {
	l.ended = true
	for t := range l.tasks { // only those that ignored the stop
		l.finish(t)
	}
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.offloads.Wait()
	l.poll.close()
}
