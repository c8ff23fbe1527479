package loop

import (
	"errors"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// ErrStopped is what a task's calls return once it was asked to end.
var ErrStopped = errors.New("loop: stopped")

// Reporter is told of what no caller can be told: code that panicked, and a loop that did not turn for [StallAfter]. Its
// methods are called on the loop's goroutine and on that of [Group.Run], and must not block.
type Reporter interface {
	// TaskPanicked names the task, "posted function" or "connection event", with the panic's value and stack.
	TaskPanicked(task string, value any, stack []byte)
	// Stalled names the loop's number and the task that runs, "" for a posted function, with the stacks of what runs on loops.
	Stalled(loop int, task string, after time.Duration, stack []byte)
}

// StallAfter is how long one task may keep the loop to itself before it is reported.
const StallAfter = 100 * time.Millisecond

// Loop is one event loop. Its methods are for its own goroutine (tasks and posted functions) unless they say otherwise.
type Loop struct {
	id       int
	poll     poller
	reporter Reporter
	grace    time.Duration // shutdownGrace

	now     time.Time
	timers  timerHeap
	runq    []*Task  // tasks with something to look at, in order
	batch   []*Task  // runq's other half
	records []byte   // lent to a connection on TLS while it encrypts
	swap    []func() // posted's other half
	tasks   map[*Task]struct{}
	current *Task // whose code runs, nil for the loop's own

	alone     bool // one processor for the whole program
	busyTurns int  // since the last sleep
	stopping  bool // ctx of Run has ended
	ended     bool // Run is over; nothing starts any more

	nTasks    atomic.Int64         // also those GoFrom has not started yet
	busySince atomic.Int64         // unix nanoseconds of the start of this turn, 0 while blocked
	running   atomic.Pointer[Task] // current, for Group.Run
	signaled  atomic.Bool          // posted may hold something
	sleeping  atomic.Bool          // blocked in the poller, or about to
	offloads  sync.WaitGroup       // goroutines of Offload
	wakers    sync.WaitGroup       // calls of poll.wake; Add only under mu while not closed

	mu     sync.Mutex
	posted []func() // guarded by mu
	closed bool     // guarded by mu
}

// New makes a loop on epoll. Without a reporter (nil) a panic on the loop ends the program.
func New(id int, reporter Reporter) (*Loop, error) {
	p, err := newEpoll()
	if err != nil {
		return nil, err
	}
	return newLoop(id, p, reporter), nil
}

func newLoop(id int, p poller, reporter Reporter) *Loop {
	return &Loop{id: id, poll: p, reporter: reporter, grace: shutdownGrace, tasks: make(map[*Task]struct{}), now: time.Now()}
}

// ID is the number given to New.
func (l *Loop) ID() int { return l.id }

// Now is the time at the start of this turn of the loop. It costs nothing.
func (l *Loop) Now() time.Time { return l.now }

// Tasks tells how many tasks live on the loop. Any goroutine may ask.
func (l *Loop) Tasks() int { return int(l.nTasks.Load()) }

// Held tells how long the present turn of the loop has lasted; 0 while it waits for something to do. Any goroutine may ask.
func (l *Loop) Held(now time.Time) time.Duration {
	since := l.busySince.Load()
	if since == 0 {
		return 0
	}
	return max(time.Duration(now.UnixNano()-since), 0)
}

// Post runs f on the loop, soon, after what was posted before. Any goroutine may call it; it never blocks. It reports false
// when the loop has ended, and f never runs; after true it does.
func (l *Loop) Post(f func()) bool {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false
	}
	l.posted = append(l.posted, f)
	// The loop says that it sleeps and then looks at signaled, we the other way round: one of us sees the other.
	wake := !l.signaled.Swap(true) && l.sleeping.Load()
	if wake {
		l.wakers.Add(1) // the poller must not be closed under us
	}
	l.mu.Unlock()
	if wake {
		l.poll.wake()
		l.wakers.Done()
	}
	return true
}

// Go starts fn as a task named name (for reports). From another goroutine use GoFrom. On a loop that shuts down the task is
// asked to end before it begins; on one that has ended fn never runs.
func (l *Loop) Go(name string, fn func(*Task)) *Task {
	l.nTasks.Add(1)
	return l.start(name, fn)
}

// GoFrom starts a task from any goroutine. It counts in Tasks at once. It reports false if the loop has ended.
func (l *Loop) GoFrom(name string, fn func(*Task)) bool {
	l.nTasks.Add(1)
	if !l.Post(func() { l.start(name, fn) }) {
		l.nTasks.Add(-1)
		return false
	}
	return true
}

func (l *Loop) start(name string, fn func(*Task)) *Task {
	t := newTask(l, name, fn)
	t.asked = l.stopping
	l.tasks[t] = struct{}{}
	if l.ended {
		t.stop()
		l.retire(t)
		return t
	}
	l.ready(t)
	return t
}

// ready puts a task in line for its turn.
func (l *Loop) ready(t *Task) {
	if !t.queued && !t.done {
		t.queued = true
		l.runq = append(l.runq, t)
	}
}

// runReady resumes the tasks that were ready when it began; those made ready meanwhile have their turn after the next poll.
func (l *Loop) runReady() {
	l.runq, l.batch = l.batch[:0], l.runq
	for i, t := range l.batch {
		l.batch[i] = nil
		t.queued = false
		if t.done {
			continue
		}
		if !l.resume(t, t.next) {
			l.retire(t)
		}
	}
}

// resume lets the task run until it gives up the loop.
func (l *Loop) resume(t *Task, next func() (struct{}, bool)) (alive bool) {
	t.moved = 0
	l.current = t
	l.running.Store(t)
	_, alive = next()
	l.current = nil
	l.running.Store(nil)
	return alive
}

// retire forgets a task that will not run again and closes its connections.
func (l *Loop) retire(t *Task) {
	t.done = true
	l.timers.remove(t)
	for len(t.conns) > 0 {
		_ = t.conns[len(t.conns)-1].Close()
	}
	delete(l.tasks, t)
	l.nTasks.Add(-1)
}

// caught is deferred around code of others. A panic that nobody can be told of goes on.
func (l *Loop) caught(name string) {
	if l.reporter == nil {
		return
	}
	if v := recover(); v != nil {
		l.reporter.TaskPanicked(name, v, debug.Stack())
	}
}
